//! Why a request was rejected.

use std::fmt;
use std::time::Duration;

use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{GateName, Limit};

/// Why a request that may wait was rejected.
///
/// On arrival the reasons are checked in this order, and the first that applies is returned: `ZeroWeight`, because that is a mistake of the
/// caller in any state of the gate; `Closed`; `TooLarge`; then, if the request does not fit at once, `QueueFull`, `DeadlineExceeded` and
/// `WouldExpire`. A [strict](super::Request::strict_deadline) deadline is checked right after `TooLarge`. For a key, `TooManyKeys` is
/// checked right after `Closed`.
///
/// In a tree of gates, `gate` names the level that rejects the request. If the level is a key, `gate` names the gate that has this key.
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
    /// The queue is full: as many requests wait as the gate allows. In a tree of gates, an arriving request may take the room of a waiting
    /// one: of one in a longer queue, or of one with a lower priority in its own queue. The wait of that request then ends with this error.
    /// A request with a deadline is also rejected if 65 535 other runtimes already have such requests in the queue of the gate.
    #[error(
        "the queue of gate `{gate}` is full: {bound} of {bound} requests wait; raise its queue bound or its limit, or send less work"
    )]
    QueueFull {
        /// The gate.
        gate: GateName,
        /// The largest number of requests that may wait there.
        bound: u32,
        /// When the request may be retried; see [`retry_after`](Self::retry_after).
        retry_after: RetryAfter,
    },
    /// The gate was overloaded for long: requests had waited longer than the target of its [shedding](crate::Shed), and the gate rejected
    /// the oldest of those with the lowest priority. Only at gates that shed, or within one.
    #[error(
        "gate `{gate}` is overloaded, and rejected a request that had waited {:?}; send less work, retry later, or raise the limit of the gate",
        overload.wait()
    )]
    Shed {
        /// The gate that sheds.
        gate: GateName,
        /// How long the request was in the queue, and when it may be retried.
        overload: Overload,
    },
    /// At its present rate the gate could not have admitted the request before its deadline, so the request did not wait at all. Only at
    /// gates that [shed](crate::Shed), or within one.
    #[error(
        "a request to gate `{gate}` would have waited about {:?}, past its deadline; allow a later deadline, retry later, or raise the limit of the gate",
        overload.wait()
    )]
    WouldExpire {
        /// The gate.
        gate: GateName,
        /// How long the request would have waited, estimated from the rate at which requests were admitted last, and when it may be
        /// retried.
        overload: Overload,
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
        /// The largest weight that was allowed for this request: the limit at that time, or [`Limit::MAX`] if it [waits for the
        /// limit](super::Request::wait_for_limit).
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
    /// The request was made in the name of a key, and as many other keys are busy as the gate allows.
    #[error(
        "gate `{gate}` has {max} of {max} keys with permits in use or requests waiting; raise the number of its keys, or retry later"
    )]
    TooManyKeys {
        /// The gate that has the keys.
        gate: GateName,
        /// The largest number of keys that may be busy at a time.
        max: u32,
    },
    /// The request could wait for itself: the same work holds permits of another gate of the tree, or asks for them in the same call. Only
    /// for [nested](super::Request::under) requests and [`acquire_all`](super::acquire_all).
    #[error(
        "a request to gate `{gate}` could wait for itself, because the same work takes permits of another gate of its tree; acquire from one of them, or put one of the gates outside of the tree"
    )]
    SelfWait {
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
            | Self::Shed { gate, .. }
            | Self::WouldExpire { gate, .. }
            | Self::DeadlineExceeded { gate, .. }
            | Self::TooLarge { gate, .. }
            | Self::ZeroWeight { gate }
            | Self::NoRuntime { gate }
            | Self::SelfWait { gate }
            | Self::TooManyKeys { gate, .. } => *gate,
        }
    }

    /// Returns the time after which the same request may be retried with a fair chance. Only for a rejection by overload, and only at gates
    /// that [shed](crate::Shed), once their rate is known.
    ///
    /// It is the time in which the queue drains at its present rate, between 10 ms and 60 s. Requests that are rejected together get
    /// different times, so that they do not all come back at once.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. } => retry_after.get(),
            Self::Shed { overload, .. } | Self::WouldExpire { overload, .. } => overload.retry_after(),
            _ => None,
        }
    }

    /// Returns `true` if the gate was overloaded. The same request may succeed later, or when less work is sent. A caller that adapts its
    /// rate should slow down on these errors.
    #[must_use]
    pub const fn is_overload(&self) -> bool {
        match self {
            Self::QueueFull { .. }
            | Self::Shed { .. }
            | Self::WouldExpire { .. }
            | Self::DeadlineExceeded { .. }
            | Self::TooManyKeys { .. } => true,
            Self::Closed { .. }
            | Self::TooLarge { .. }
            | Self::ZeroWeight { .. }
            | Self::SelfWait { .. }
            | Self::NoRuntime { .. } => false,
        }
    }

    /// Creates the error of a rejection. `name` returns the name of the gate at a level.
    #[cold]
    #[inline(never)]
    pub(super) fn new(name: impl Fn(u8) -> GateName, weight: u32, rejection: Rejection) -> Self {
        match rejection {
            Rejection::Closed(at) => Self::Closed { gate: name(at.level()) },
            Rejection::ZeroWeight => Self::ZeroWeight { gate: name(0) },
            Rejection::TooLarge(at) => Self::TooLarge { gate: name(at.level()), weight, limit: at.limit() },
            Rejection::Shed(at) => Self::Shed { gate: name(at.level()), overload: Overload(at) },
            Rejection::WouldExpire(at) => {
                Self::WouldExpire { gate: name(at.level()), overload: Overload(at) }
            }
            // A request that may wait is never rejected for lack of permits.
            Rejection::QueueFull(at) | Rejection::NoPermits(at) | Rejection::Paused(at) => {
                Self::QueueFull { gate: name(at.level()), bound: at.bound(), retry_after: at.retry_after() }
            }
            Rejection::Expired { waited } => {
                Self::DeadlineExceeded { gate: name(0), waited: Duration::from_nanos(waited) }
            }
            Rejection::TooManyKeys(at) => Self::TooManyKeys { gate: name(at.level()), max: at.bound() },
        }
    }
}

/// When a rejected request may be retried. Smaller than an `Option<Duration>`, so that results stay small.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// 0 if it is not known.
    millis: u16,
}

impl RetryAfter {
    /// The gate does not [shed](crate::Shed), or does not know its rate yet.
    pub const UNKNOWN: Self = Self { millis: 0 };

    /// Returns the time after which the request may be retried, in whole milliseconds.
    #[must_use]
    pub const fn get(self) -> Option<Duration> {
        match self.millis {
            0 => None,
            millis => Some(Duration::from_millis(millis as u64)),
        }
    }
}

impl fmt::Debug for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// How long a request has waited, or would have waited, at an overloaded gate, and when it may be retried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Overload(AtLevel);

impl Overload {
    /// Returns how long the request has waited, or would have waited, in whole microseconds.
    #[must_use]
    pub const fn wait(self) -> Duration {
        Duration::from_micros(self.0.number())
    }

    /// Returns the time after which the request may be retried; see [`AcquireError::retry_after`].
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        self.0.retry_after().get()
    }
}

impl fmt::Debug for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overload")
            .field("wait", &self.wait())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

const _: () = assert!(size_of::<AcquireError>() <= 48, "an admitted request moves a result of this size");

/// Why a request that does not wait was rejected. The reasons are checked in the order `ZeroWeight`, `Closed`, `TooLarge`, `Paused` and
/// `NoPermits`. For a key, `TooManyKeys` is checked right after `Closed`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryAcquireError {
    /// Too few permits are available, or waiting requests come first.
    #[error(
        "gate `{gate}` has too few permits available, or waiting requests come first; wait with `acquire`, or raise its limit"
    )]
    NoPermits {
        /// The gate.
        gate: GateName,
    },
    /// The gate is [paused](super::Gate::pause), or one above it is.
    #[error(
        "gate `{gate}` is paused and admits nothing for now; wait with `acquire`, or retry after it is resumed"
    )]
    Paused {
        /// The gate that is paused.
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
    /// The request was made in the name of a key, and as many other keys are busy as the gate allows.
    #[error(
        "gate `{gate}` has {max} of {max} keys with permits in use or requests waiting; raise the number of its keys, or retry later"
    )]
    TooManyKeys {
        /// The gate that has the keys.
        gate: GateName,
        /// The largest number of keys that may be busy at a time.
        max: u32,
    },
}

impl TryAcquireError {
    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match self {
            Self::NoPermits { gate }
            | Self::Paused { gate }
            | Self::Closed { gate }
            | Self::TooLarge { gate, .. }
            | Self::TooManyKeys { gate, .. }
            | Self::ZeroWeight { gate } => *gate,
        }
    }

    /// Creates the error of a rejection. `name` returns the name of the gate at a level.
    #[cold]
    #[inline(never)]
    pub(super) fn new(name: impl Fn(u8) -> GateName, weight: u32, rejection: Rejection) -> Self {
        match rejection {
            Rejection::Closed(at) => Self::Closed { gate: name(at.level()) },
            Rejection::ZeroWeight => Self::ZeroWeight { gate: name(0) },
            Rejection::TooLarge(at) => Self::TooLarge { gate: name(at.level()), weight, limit: at.limit() },
            Rejection::TooManyKeys(at) => Self::TooManyKeys { gate: name(at.level()), max: at.bound() },
            Rejection::NoPermits(at) | Rejection::QueueFull(at) => Self::NoPermits { gate: name(at.level()) },
            Rejection::Paused(at) => Self::Paused { gate: name(at.level()) },
            // A request that does not wait has no deadline, and is not shed.
            Rejection::Expired { .. } | Rejection::Shed(_) | Rejection::WouldExpire(_) => {
                Self::NoPermits { gate: name(0) }
            }
        }
    }
}

/// Why the state rejects a request. Each variant has at most one number, so that it is returned in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    Closed(AtLevel),
    ZeroWeight,
    /// Holds the limit.
    TooLarge(AtLevel),
    /// Holds the bound.
    QueueFull(AtLevel),
    Expired {
        waited: u64,
    },
    /// Holds the time that the request has waited.
    Shed(AtLevel),
    /// Holds the time that the request would have waited.
    WouldExpire(AtLevel),
    /// Holds the largest number of keys.
    TooManyKeys(AtLevel),
    /// Only for a request that does not wait.
    NoPermits(AtLevel),
    /// Only for a request that does not wait.
    Paused(AtLevel),
}

/// A level of a tree with one value, such as a limit or a bound, and a retry time. Level 0 is the gate of the request, 1 its parent, and so
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AtLevel(u64);

impl AtLevel {
    /// The gate of the request.
    pub(super) const OWN: Self = Self(0);

    const LEVEL_SHIFT: u32 = 56;
    /// 16 bits for the retry time in milliseconds, at most 65 s; 0 if it is not known.
    const RETRY_SHIFT: u32 = 40;
    const NUMBER_MASK: u64 = (1 << Self::RETRY_SHIFT) - 1;

    /// Creates the value for a level. The number must be below 2^40.
    #[inline]
    pub(super) const fn new(level: u8, number: u64) -> Self {
        Self((level as u64) << Self::LEVEL_SHIFT | number & Self::NUMBER_MASK)
    }

    /// Creates the value for level 0, the gate of the request.
    #[inline]
    pub(super) const fn own(number: u64) -> Self {
        Self::new(0, number)
    }

    /// Creates the value from a time in nanoseconds. The time is stored in whole microseconds, up to 12 days.
    pub(super) const fn of_time(level: u8, nanos: i64) -> Self {
        let micros = nanos.unsigned_abs() / 1000;
        Self::new(level, if micros < Self::NUMBER_MASK { micros } else { Self::NUMBER_MASK })
    }

    /// Adds the time after which the request may be retried, in nanoseconds.
    pub(super) const fn with_retry_after(self, nanos: Option<i64>) -> Self {
        let Some(nanos) = nanos else { return self };
        let millis = nanos.unsigned_abs().div_ceil(1_000_000);
        let millis = if millis < u16::MAX as u64 { millis } else { u16::MAX as u64 };
        Self(self.0 | millis << Self::RETRY_SHIFT)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the other bits are masked")]
    const fn retry_after(self) -> RetryAfter {
        RetryAfter { millis: (self.0 >> Self::RETRY_SHIFT & u16::MAX as u64) as u16 }
    }

    const fn level(self) -> u8 {
        (self.0 >> Self::LEVEL_SHIFT) as u8
    }

    const fn number(self) -> u64 {
        self.0 & Self::NUMBER_MASK
    }

    const fn limit(self) -> Limit {
        Limit::saturating(self.number())
    }

    /// Returns the value as a number of requests or keys.
    fn bound(self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    /// Returns the value as the [detail](super::queue::Removal::detail) of a removal.
    pub(super) const fn to_detail(self) -> i64 {
        i64::from_ne_bytes(self.0.to_ne_bytes())
    }

    pub(super) const fn from_detail(detail: i64) -> Self {
        Self(u64::from_ne_bytes(detail.to_ne_bytes()))
    }
}

impl_debug_as_display!(AcquireError, TryAcquireError);
