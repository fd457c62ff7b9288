//! Why a request was rejected.

use std::time::Duration;

use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{GateName, Limit};

/// Why a request that was willing to wait was rejected.
///
/// On arrival the reasons are checked in this order, and the first that applies is returned: `ZeroWeight`, because that is a mistake
/// of the caller in any state of the gate; `Closed`; `TooLarge`; then, if the request does not fit at once, `QueueFull` and
/// `DeadlineExceeded`. A [strict](super::Request::strict_deadline) deadline is checked right after `TooLarge`.
///
/// A weight of 0 is rejected, where `tokio::sync::Semaphore` admits it: a computed weight of 0 is mostly a rounding mistake, and a
/// permit for nothing would hide it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// The gate was closed, before the request arrived or while it waited.
    #[error("gate `{gate}` is closed and admits no more requests")]
    Closed {
        /// The gate.
        gate: GateName,
    },
    /// The queue is full: as many requests wait as the gate allows. Also, even without a bound, if 65 535 runtimes have requests with
    /// a deadline in the queue of one gate.
    #[error(
        "the queue of gate `{gate}` is full: {bound} of {bound} requests wait; raise its queue bound or its limit, or send less work"
    )]
    QueueFull {
        /// The gate.
        gate: GateName,
        /// The largest number of requests that may wait there.
        bound: usize,
    },
    /// The deadline of the request, or the maximum wait of the gate, passed first.
    #[error(
        "the deadline of a request to gate `{gate}` passed after it had waited {waited:?}; allow a later deadline or a longer maximum wait, or raise the limit of the gate"
    )]
    DeadlineExceeded {
        /// The gate.
        gate: GateName,
        /// How long the request was in the queue; zero if its deadline had passed on arrival.
        waited: Duration,
    },
    /// The weight of the request is above the limit. The gate cannot admit it before the limit is raised.
    #[error(
        "weight {weight} is above the limit of gate `{gate}` (allowed: 1 to {limit}); lower the weight or raise the limit"
    )]
    TooLarge {
        /// The gate.
        gate: GateName,
        /// The number of permits requested.
        weight: u32,
        /// The largest weight that the gate accepted from this request when it rejected it: its limit, or
        /// [`Limit::MAX`] for a request that [waits for the limit](super::Request::wait_for_limit).
        limit: Limit,
    },
    /// The weight of the request is 0.
    #[error(
        "weight 0 at gate `{gate}` (allowed: 1 to its limit); raise the weight, or skip the gate for work that needs no permit"
    )]
    ZeroWeight {
        /// The gate.
        gate: GateName,
    },
    /// There is no tokio runtime to run a blocking closure on, or it shut down before the closure started.
    #[error(
        "no tokio runtime ran the closure for gate `{gate}`; call `run_blocking` inside a runtime that is not shutting down"
    )]
    NoRuntime {
        /// The gate.
        gate: GateName,
    },
}

impl AcquireError {
    /// Returns the name of the gate.
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

    #[cold]
    #[inline(never)]
    pub(super) fn new(gate: GateName, weight: u32, rejection: Rejection) -> Self {
        match rejection {
            Rejection::Closed => Self::Closed { gate },
            Rejection::ZeroWeight => Self::ZeroWeight { gate },
            Rejection::TooLarge { limit } => Self::TooLarge { gate, weight, limit: Limit::saturating(limit) },
            Rejection::QueueFull { bound } => Self::QueueFull { gate, bound },
            Rejection::Expired { waited } => {
                Self::DeadlineExceeded { gate, waited: Duration::from_nanos(waited) }
            }
        }
    }
}

/// Why a request that would not wait was rejected. The reasons are checked in the order `ZeroWeight`, `Closed`, `TooLarge`,
/// `NoPermits`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Too few permits are available, or other requests wait.
    #[error(
        "gate `{gate}` has too few permits available, or other requests wait; wait with `acquire`, or raise its limit"
    )]
    NoPermits {
        /// The gate.
        gate: GateName,
    },
    /// The gate is closed.
    #[error("gate `{gate}` is closed and admits no more requests")]
    Closed {
        /// The gate.
        gate: GateName,
    },
    /// The weight of the request is above the limit.
    #[error(
        "weight {weight} is above the limit of gate `{gate}` (allowed: 1 to {limit}); lower the weight or raise the limit"
    )]
    TooLarge {
        /// The gate.
        gate: GateName,
        /// The number of permits requested.
        weight: u32,
        /// The limit of the gate when it rejected the request.
        limit: Limit,
    },
    /// The weight of the request is 0.
    #[error(
        "weight 0 at gate `{gate}` (allowed: 1 to its limit); raise the weight, or skip the gate for work that needs no permit"
    )]
    ZeroWeight {
        /// The gate.
        gate: GateName,
    },
}

impl TryAcquireError {
    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::NoPermits { gate }
            | Self::Closed { gate }
            | Self::TooLarge { gate, .. }
            | Self::ZeroWeight { gate } => *gate,
        }
    }

    /// `None` stands for too few permits.
    #[cold]
    #[inline(never)]
    pub(super) fn new(gate: GateName, weight: u32, rejection: Option<PermanentRejection>) -> Self {
        match rejection {
            None => Self::NoPermits { gate },
            Some(PermanentRejection::Closed) => Self::Closed { gate },
            Some(PermanentRejection::ZeroWeight) => Self::ZeroWeight { gate },
            Some(PermanentRejection::TooLarge { limit }) => {
                Self::TooLarge { gate, weight, limit: Limit::saturating(limit.into()) }
            }
        }
    }
}

/// Why the state rejects a request that would wait. Each variant has at most one number, so that it is returned in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    Closed,
    ZeroWeight,
    TooLarge { limit: u64 },
    QueueFull { bound: usize },
    Expired { waited: u64 },
}

/// Why a request can never be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PermanentRejection {
    Closed,
    ZeroWeight,
    TooLarge { limit: u32 },
}

impl From<PermanentRejection> for Rejection {
    fn from(rejection: PermanentRejection) -> Self {
        match rejection {
            PermanentRejection::Closed => Self::Closed,
            PermanentRejection::ZeroWeight => Self::ZeroWeight,
            PermanentRejection::TooLarge { limit } => Self::TooLarge { limit: limit.into() },
        }
    }
}

impl_debug_as_display!(AcquireError, TryAcquireError);
