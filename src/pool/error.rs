//! The errors of checkouts, of item creation and of building a pool.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::gate::{AcquireError, TryAcquireError};
use crate::plan::{GateName, LimitError};

/// Why a checkout got no item. The pool itself goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError<E: Error + 'static> {
    /// The gate rejected the checkout, the pool was closed, or the deadline passed during the wait for an item.
    #[error(transparent)]
    Rejected(AcquireError),
    /// The item could not be created.
    #[error(transparent)]
    Create(CreateError<E>),
}

impl<E: Error + 'static> CheckoutError<E> {
    /// Returns the name of the pool's gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Rejected(error) => error.gate(),
            Self::Create(error) => error.gate(),
        }
    }
}

impl<E: Error + 'static> Clone for CheckoutError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Rejected(error) => Self::Rejected(error.clone()),
            Self::Create(error) => Self::Create(error.clone()),
        }
    }
}

/// Why an item could not be created. Cheap to clone, because one failure may end several checkouts.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError<E> {
    /// The manager returned an error, which is the [source](Error::source).
    Failed {
        /// The pool's gate.
        gate: GateName,
        /// The manager's error.
        error: Arc<E>,
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

impl<E> CreateError<E> {
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

impl<E> Clone for CreateError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed { gate, error } => Self::Failed { gate: *gate, error: Arc::clone(error) },
            Self::TimedOut { gate, after } => Self::TimedOut { gate: *gate, after: *after },
            Self::Panicked { gate, message } => Self::Panicked { gate: *gate, message: Arc::clone(message) },
            Self::Abandoned { gate } => Self::Abandoned { gate: *gate },
        }
    }
}

impl<E> fmt::Display for CreateError<E> {
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

impl<E: Error + 'static> Error for CreateError<E> {
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

/// Why a pool could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolBuildError<E: Error + 'static> {
    /// The settings are invalid. The error lists every problem.
    #[error("{}", join(problems))]
    Invalid {
        /// The problems, at least one.
        problems: Vec<PoolProblem>,
    },
    /// There is no tokio runtime to create items on.
    #[error("the pool of gate `{gate}` needs a tokio runtime to create items on: call `build` inside one")]
    NoRuntime {
        /// The pool's gate.
        gate: GateName,
    },
    /// One of the first items, for `min_idle`, could not be created.
    #[error(transparent)]
    Create(CreateError<E>),
    /// The gate was closed while the first items were being created.
    #[error(
        "gate `{gate}` was closed while its pool was being built: build the pool on a gate that stays open"
    )]
    Closed {
        /// The pool's gate.
        gate: GateName,
    },
}

fn join(problems: &[PoolProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One problem with the settings of a [`PoolBuilder`](super::PoolBuilder).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolProblem {
    /// Neither a gate nor a maximum was given.
    #[error("a pool takes its limit from `gate` or from `max` (given: neither): call one of them")]
    NoLimit,
    /// Both a gate and a maximum were given.
    #[error(
        "a pool takes its limit from `gate` or from `max` (given: gate `{gate}` and max {max}): remove one of them"
    )]
    TwoLimits {
        /// The gate.
        gate: GateName,
        /// The maximum.
        max: u32,
    },
    /// A name was given together with a gate, which has a name already.
    #[error(
        "`name` names the gate that `max` creates (given: name `{name}` with gate `{gate}`): remove `name`"
    )]
    NameOfAnother {
        /// The gate.
        gate: GateName,
        /// The name.
        name: GateName,
    },
    /// The maximum is not a valid limit.
    #[error("`max`: {0}")]
    Max(LimitError),
    /// The gate is already closed.
    #[error("gate `{gate}` is closed (allowed: an open gate): build the pool before the gate is closed")]
    Closed {
        /// The gate.
        gate: GateName,
    },
    /// A duration is zero that must not be.
    #[error("`{setting}` is zero (allowed: any longer duration)")]
    Zero {
        /// The builder's method.
        setting: &'static str,
    },
    /// The longest backoff delay is shorter than the first one.
    #[error(
        "`create_backoff`: the longest delay {longest:?} is shorter than the first delay (allowed: {first:?} or more)"
    )]
    Backoff {
        /// The first delay.
        first: Duration,
        /// The longest delay.
        longest: Duration,
    },
}
