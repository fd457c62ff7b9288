//! Why a request was not admitted.

use std::time::Duration;

use super::answer::{Barred, Refusal, TryRefusal};
use crate::plan::{GateName, Limit};

/// Why a request that was willing to wait was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The gate was closed, before the request came or while it waited.
    #[error("gate `{gate}` is closed and admits nothing more")]
    Closed {
        /// The gate asked.
        gate: GateName,
    },
    /// As many requests wait as may.
    #[error(
        "all {bound} places in line at gate `{gate}` are taken: raise its queue bound or its limit, or send less work"
    )]
    QueueFull {
        /// The gate asked.
        gate: GateName,
        /// The most requests that may wait there.
        bound: usize,
    },
    /// The deadline passed first, be it the request's own or the gate's longest wait.
    #[error(
        "gate `{gate}` had no room within the {waited:?} the request could wait: raise its limit, or the deadline or \
         maximum wait"
    )]
    DeadlineExceeded {
        /// The gate asked.
        gate: GateName,
        /// How long the request was in line; zero if its deadline had passed when it came.
        waited: Duration,
    },
    /// The request asked for more than the gate has, so it could only have waited for ever.
    #[error(
        "weight {weight} is more than the limit of gate `{gate}` (allowed: 1 to {limit}): lower it or raise the limit"
    )]
    TooLarge {
        /// The gate asked.
        gate: GateName,
        /// The permits asked for.
        weight: u32,
        /// The gate's limit when it refused.
        limit: Limit,
    },
    /// The request asked for nothing.
    #[error(
        "weight 0 asks gate `{gate}` for nothing (allowed: 1 up to its limit): skip the gate or raise the weight"
    )]
    ZeroWeight {
        /// The gate asked.
        gate: GateName,
    },
    /// There is no tokio runtime to run a blocking closure on, or it shut down before the closure began.
    #[error(
        "no tokio runtime ran the closure for gate `{gate}`: call `run_blocking` inside one that is not shutting down"
    )]
    NoRuntime {
        /// The gate asked.
        gate: GateName,
    },
}

impl AcquireError {
    /// The gate that was asked.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::Closed { gate }
            | Self::QueueFull { gate, .. }
            | Self::DeadlineExceeded { gate, .. }
            | Self::TooLarge { gate, .. }
            | Self::ZeroWeight { gate }
            | Self::NoRuntime { gate } => *gate,
        }
    }

    /// Why a request of this weight was refused.
    pub(super) fn new(gate: GateName, weight: u32, refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed { gate },
            Refusal::ZeroWeight => Self::ZeroWeight { gate },
            Refusal::TooLarge { limit } => Self::TooLarge { gate, weight, limit: Limit::saturating(limit) },
            Refusal::QueueFull { bound } => Self::QueueFull { gate, bound },
            Refusal::Expired { waited } => {
                Self::DeadlineExceeded { gate, waited: Duration::from_nanos(waited) }
            }
        }
    }
}

/// Why a request that would not wait was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Too few permits are left, or somebody is waiting and comes first.
    #[error("gate `{gate}` has no permits to spare: wait with `acquire`, or raise its limit")]
    NoPermits {
        /// The gate asked.
        gate: GateName,
    },
    /// The gate was closed.
    #[error("gate `{gate}` is closed and admits nothing more")]
    Closed {
        /// The gate asked.
        gate: GateName,
    },
    /// The request asked for more than the gate has.
    #[error(
        "weight {weight} is more than the limit of gate `{gate}` (allowed: 1 to {limit}): lower it or raise the limit"
    )]
    TooLarge {
        /// The gate asked.
        gate: GateName,
        /// The permits asked for.
        weight: u32,
        /// The gate's limit when it refused.
        limit: Limit,
    },
    /// The request asked for nothing.
    #[error(
        "weight 0 asks gate `{gate}` for nothing (allowed: 1 up to its limit): skip the gate or raise the weight"
    )]
    ZeroWeight {
        /// The gate asked.
        gate: GateName,
    },
}

impl TryAcquireError {
    /// The gate that was asked.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::NoPermits { gate }
            | Self::Closed { gate }
            | Self::TooLarge { gate, .. }
            | Self::ZeroWeight { gate } => *gate,
        }
    }

    /// Why a request of this weight was refused.
    pub(super) const fn new(gate: GateName, weight: u32, refusal: TryRefusal) -> Self {
        match refusal {
            TryRefusal::NoPermits => Self::NoPermits { gate },
            TryRefusal::Barred(Barred::Closed) => Self::Closed { gate },
            TryRefusal::Barred(Barred::TooLarge { limit }) => Self::TooLarge { gate, weight, limit },
            TryRefusal::Barred(Barred::ZeroWeight) => Self::ZeroWeight { gate },
        }
    }
}
