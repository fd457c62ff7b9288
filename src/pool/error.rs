//! Why there is no item.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::gate::{AcquireError, TryAcquireError};
use crate::plan::{GateName, LimitError};

/// Why a checkout ended without an item. The pool goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError<E: Error + 'static> {
    /// The gate refused it, the pool was closed, or the deadline passed while it waited for an item.
    #[error(transparent)]
    Rejected(AcquireError),
    /// The item could not be made.
    #[error(transparent)]
    Create(CreateError<E>),
}

impl<E: Error + 'static> CheckoutError<E> {
    /// The gate of the pool that was asked.
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

/// Why an item could not be made. Cheap to clone: several checkouts may end by one failure.
#[derive(Debug)]
#[non_exhaustive]
pub enum CreateError<E> {
    /// The manager's own error, which is the [source](Error::source).
    Failed {
        /// The gate of the pool.
        gate: GateName,
        /// What the manager said.
        error: Arc<E>,
    },
    /// It took longer than the pool's [`create_timeout`](super::PoolBuilder::create_timeout).
    TimedOut {
        /// The gate of the pool.
        gate: GateName,
        /// How long it was given.
        after: Duration,
    },
    /// It panicked.
    Panicked {
        /// The gate of the pool.
        gate: GateName,
        /// The panic's message, where it has one.
        message: Arc<str>,
    },
    /// The runtime that the pool was built on has shut down, so no item is made any more. Those that are idle are still
    /// handed out.
    Abandoned {
        /// The gate of the pool.
        gate: GateName,
    },
}

impl<E> CreateError<E> {
    /// The gate of the pool.
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
                "the pool of gate `{gate}` could not create an item within {after:?}: raise its create timeout, or find \
                 out what holds it up"
            ),
            Self::Panicked { gate, message } => {
                write!(f, "the pool of gate `{gate}` panicked creating an item: {message}")
            }
            Self::Abandoned { gate } => write!(
                f,
                "the runtime that the pool of gate `{gate}` was built on has shut down: build it on one that outlives it"
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

/// Why a checkout that would not wait ended without an item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryCheckoutError {
    /// The gate refused it.
    #[error(transparent)]
    Rejected(TryAcquireError),
    /// The gate has room, and no item is idle: making one takes time.
    #[error("the pool of gate `{gate}` has no idle item: wait for one with `checkout`, or raise `min_idle`")]
    NoneIdle {
        /// The gate of the pool.
        gate: GateName,
    },
}

impl TryCheckoutError {
    /// The gate of the pool that was asked.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Rejected(error) => error.gate(),
            Self::NoneIdle { gate } => *gate,
        }
    }
}

/// Why a pool was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolBuildError<E: Error + 'static> {
    /// What the builder was told makes no pool: every problem at once.
    #[error("{}", list(problems))]
    Invalid {
        /// The problems, at least one.
        problems: Vec<PoolProblem>,
    },
    /// There is no tokio runtime to create items on.
    #[error("the pool of gate `{gate}` needs a tokio runtime to create items on: build it inside one")]
    NoRuntime {
        /// The gate of the pool.
        gate: GateName,
    },
    /// One of the items that were to be idle from the start could not be made.
    #[error(transparent)]
    Create(CreateError<E>),
    /// The gate was closed while the first items were made.
    #[error("gate `{gate}` was closed while its pool was built")]
    Closed {
        /// The gate of the pool.
        gate: GateName,
    },
}

fn list(problems: &[PoolProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One thing that is wrong with a [`PoolBuilder`](super::PoolBuilder).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolProblem {
    /// Neither a gate nor a maximum was given.
    #[error("a pool needs `gate` or `max` (given: neither)")]
    NoLimit,
    /// Both a gate and a maximum were given.
    #[error("a pool takes its limit from `gate` or from `max` (given: both, gate `{gate}` and {max})")]
    TwoLimits {
        /// The gate.
        gate: GateName,
        /// The maximum.
        max: u32,
    },
    /// A gate was given, and a name for another.
    #[error("`name` is for the gate that `max` makes (given: `{name}` for gate `{gate}`)")]
    NameOfAnother {
        /// The gate.
        gate: GateName,
        /// The name.
        name: GateName,
    },
    /// The maximum is no limit.
    #[error("`max`: {0}")]
    Max(LimitError),
    /// The gate was closed before.
    #[error("gate `{gate}` is closed and admits nothing more")]
    Closed {
        /// The gate.
        gate: GateName,
    },
    /// A length of time that makes no sense as zero.
    #[error("`{setting}` is zero (allowed: more than that)")]
    Zero {
        /// The builder's method.
        setting: &'static str,
    },
    /// The longest backoff is shorter than the first.
    #[error("`create_backoff` ends at {longest:?}, below the {first:?} it begins with")]
    Backoff {
        /// The first pause.
        first: Duration,
        /// The longest.
        longest: Duration,
    },
}
