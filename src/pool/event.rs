//! What a pool tells its observers.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::DiscardReason;
use crate::plan::GateName;

/// Something that a pool did or met; to [observers](super::PoolBuilder::observer). It prints as one line.
///
/// The warm way tells nothing: a checkout that finds an item, and an item that comes back, are only counted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// An item was made.
    Created {
        /// The pool's gate.
        gate: GateName,
        /// How long that took.
        took: Duration,
    },
    /// An item could not be made.
    CreateFailed {
        /// The pool's gate.
        gate: GateName,
        /// Why: a [`CreateError`](super::CreateError), as whoever waited for the item gets it.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// No item is tried for this long, since one has failed.
    BackingOff {
        /// The pool's gate.
        gate: GateName,
        /// How long.
        delay: Duration,
        /// How many attempts have failed in a row, each after such a pause.
        failures: u32,
    },
    /// An item was not used again.
    Discarded {
        /// The pool's gate.
        gate: GateName,
        /// Why.
        reason: DiscardReason,
    },
    /// An item was dropped that had been idle too long.
    Evicted {
        /// The pool's gate.
        gate: GateName,
        /// How long it had been idle.
        idle_for: Duration,
    },
    /// The pool was closed, or its last handle dropped.
    Closed {
        /// The pool's gate.
        gate: GateName,
    },
}

/// Told about every [`PoolEvent`] of a pool, in the thread that caused it and with no lock held.
///
/// A closure `Fn(&PoolEvent)` is one. What it does holds that thread up; a panic in it is caught and ends nothing else.
pub trait PoolObserver: Send + Sync {
    /// Takes note of an event.
    fn observe(&self, event: &PoolEvent);
}

impl<F: Fn(&PoolEvent) + Send + Sync> PoolObserver for F {
    fn observe(&self, event: &PoolEvent) {
        self(event);
    }
}

impl fmt::Display for PoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { gate, took } => write!(f, "pool {gate}: item created in {took:?}"),
            Self::CreateFailed { gate, error } => {
                write!(f, "pool {gate}: {error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::BackingOff { gate, delay, failures } => {
                write!(f, "pool {gate}: next item is tried in {delay:?}, after {failures} failures in a row")
            }
            Self::Discarded { gate, reason } => write!(f, "pool {gate}: item discarded, since {reason}"),
            Self::Evicted { gate, idle_for } => write!(f, "pool {gate}: item evicted, idle for {idle_for:?}"),
            Self::Closed { gate } => write!(f, "pool {gate}: closed"),
        }
    }
}
