//! Why an item could not be created.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::manager::FailureVerdict;
use crate::plan::GateName;
use crate::plan::debug_as_display::impl_debug_with_causes;

/// Why an item could not be created. Cheap to clone, because one failure may end several checkouts.
#[derive(Clone)]
#[non_exhaustive]
pub enum CreateError {
    /// The manager returned an error, which is the [source](Error::source).
    Failed {
        /// The pool's gate.
        gate: GateName,
        /// The manager's error. Its [`downcast_ref`](Error) returns the type that the manager returned, if that is an
        /// [`Error`] itself.
        error: Arc<dyn Error + Send + Sync>,
    },
    /// The creation took longer than the pool's [`create_timeout`](super::PoolBuilder::create_timeout).
    TimedOut {
        /// The pool's gate.
        gate: GateName,
        /// The timeout.
        after: Duration,
    },
    /// The manager panicked.
    Panicked {
        /// The pool's gate.
        gate: GateName,
        /// The message of the panic, or "no message".
        message: Arc<str>,
    },
    /// The runtime that the pool was built on has not started the creation, although it has not shut down: no thread drives
    /// it, or its threads are blocked. The creation runs when the runtime goes on.
    NotStarted {
        /// The pool's gate.
        gate: GateName,
        /// How long the creation has waited for the runtime.
        after: Duration,
    },
    /// The runtime that the pool was built on has shut down, so the pool creates no more items. Idle items are still handed
    /// out.
    Abandoned {
        /// The pool's gate.
        gate: GateName,
    },
}

impl CreateError {
    /// Returns the name of the pool's gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Failed { gate, .. }
            | Self::TimedOut { gate, .. }
            | Self::Panicked { gate, .. }
            | Self::NotStarted { gate, .. }
            | Self::Abandoned { gate } => *gate,
        }
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { gate, .. } => write!(f, "the pool of gate `{gate}` could not create an item"),
            Self::TimedOut { gate, after } => write!(
                f,
                "the pool of gate `{gate}` could not create an item within its `create_timeout` of {after:?}: raise the \
                 timeout, or find out what blocks `Manager::create`"
            ),
            Self::Panicked { gate, message } => write!(
                f,
                "the pool of gate `{gate}` could not create an item because `Manager::create` panicked: {message}"
            ),
            Self::NotStarted { gate, after } => write!(
                f,
                "the pool of gate `{gate}` could not create an item because the runtime that it was built on has not run its \
                 task for {after:?}: drive that runtime, or find out what blocks its threads"
            ),
            Self::Abandoned { gate } => write!(
                f,
                "the pool of gate `{gate}` creates no more items because the runtime that it was built on has shut down: \
                 build it on a runtime that outlives it"
            ),
        }
    }
}

impl Error for CreateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { error, .. } => Some(&**error),
            _ => None,
        }
    }
}

/// A failed attempt to create an item, and whether another may succeed.
pub(super) struct FailedCreation {
    pub(super) error: CreateError,
    pub(super) verdict: FailureVerdict,
}

impl_debug_with_causes!(CreateError);
