//! The errors of checkouts and of item creation.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::gate::{AcquireError, TryAcquireError};
use crate::plan::GateName;

/// Why a checkout got no item. The pool itself goes on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError {
    /// The gate rejected the checkout, the pool was closed, or the deadline passed during the wait for an item.
    #[error(transparent)]
    Rejected(AcquireError),
    /// The item could not be created.
    #[error(transparent)]
    Create(CreateError),
}

impl CheckoutError {
    /// Returns the name of the pool's gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Rejected(error) => error.gate(),
            Self::Create(error) => error.gate(),
        }
    }
}

/// Why an item could not be created. Cheap to clone, because one failure may end several checkouts.
#[derive(Clone, Debug)]
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
            Self::TimedOut { .. } | Self::Panicked { .. } | Self::Abandoned { .. } => None,
        }
    }
}

/// Why a checkout that does not wait got no item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryCheckoutError {
    /// The gate rejected the checkout.
    #[error(transparent)]
    Rejected(TryAcquireError),
    /// The gate has a permit, but no item is idle, and creating one takes time.
    #[error("the pool of gate `{gate}` has no idle item: wait for one with `checkout`, or raise `min_idle`")]
    NoneIdle {
        /// The pool's gate.
        gate: GateName,
    },
}

impl TryCheckoutError {
    /// Returns the name of the pool's gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Rejected(error) => error.gate(),
            Self::NoneIdle { gate } => *gate,
        }
    }
}
