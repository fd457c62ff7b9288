//! The events of a pool and their observers.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::status::DiscardReason;
use crate::plan::{Escaped, GateName};

/// An event of a pool, sent to its [observers](super::PoolBuilder::observer). It prints as one line.
///
/// Checkouts of idle items, and returns, emit no event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// An item was created.
    Created {
        /// The pool's gate.
        gate: GateName,
        /// How long the creation took.
        took: Duration,
    },
    /// An attempt to create an item failed.
    CreateFailed {
        /// The pool's gate.
        gate: GateName,
        /// The [`CreateError`](super::CreateError) that the waiting checkout gets.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// A failure delays the next attempt to create an item.
    BackingOff {
        /// The pool's gate.
        gate: GateName,
        /// The delay.
        delay: Duration,
        /// Failed attempts in a row: the first failure, and the attempt after each delay.
        failures: u32,
    },
    /// Creation failed with a permanent error, so no further attempt is made; see
    /// [`FailureVerdict::GiveUp`](super::FailureVerdict::GiveUp).
    GaveUp {
        /// The pool's gate.
        gate: GateName,
    },
    /// An item was dropped instead of used again.
    Discarded {
        /// The pool's gate.
        gate: GateName,
        /// The reason.
        reason: DiscardReason,
    },
    /// An item was dropped because it reached the idle timeout.
    Evicted {
        /// The pool's gate.
        gate: GateName,
        /// How long the item had been idle.
        idle_for: Duration,
    },
    /// The pool was closed, or its last handle dropped.
    Closed {
        /// The pool's gate.
        gate: GateName,
    },
}

/// Receives every [`PoolEvent`] of a pool, on the thread that caused the event and with no lock held.
///
/// Closures of type `Fn(&PoolEvent)` are observers. A slow observer delays the calling thread. A panic is caught.
pub trait PoolObserver: Send + Sync {
    /// Receives an event.
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
                write!(f, "pool {gate}: {}", Escaped(&error.to_string()))?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {}", Escaped(&error.to_string()))?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::BackingOff { gate, delay, failures } => {
                write!(
                    f,
                    "pool {gate}: next attempt to create an item in {delay:?} (failures in a row: {failures})"
                )
            }
            Self::GaveUp { gate } => {
                write!(f, "pool {gate}: no further attempt to create an item before `retry_now`")
            }
            Self::Discarded { gate, reason } => write!(f, "pool {gate}: item discarded: {reason}"),
            Self::Evicted { gate, idle_for } => {
                write!(f, "pool {gate}: item evicted after {idle_for:?} idle")
            }
            Self::Closed { gate } => write!(f, "pool {gate}: closed"),
        }
    }
}
