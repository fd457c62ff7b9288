//! The reasons for a rejection, as one word each. Metrics, spans and HTTP responses use the same words. Metrics have no
//! `self_wait`.

#[cfg(all(feature = "fleet", any(feature = "tower", feature = "tracing")))]
use crate::fleet::SharedAcquireError;
#[cfg(all(feature = "fleet", feature = "tower"))]
use crate::fleet::SharedTryError;
#[cfg(any(feature = "tower", feature = "tracing"))]
use crate::gate::AcquireError;
#[cfg(feature = "tower")]
use crate::gate::TryAcquireError;

#[cfg(any(feature = "metrics", feature = "tower"))]
pub(super) const NO_PERMITS: &str = "no_permits";
#[cfg(any(feature = "metrics", feature = "tower"))]
pub(super) const PAUSED: &str = "paused";
pub(super) const QUEUE_FULL: &str = "queue_full";
pub(super) const EXPIRED: &str = "expired";
pub(super) const TOO_LARGE: &str = "too_large";
pub(super) const ZERO_WEIGHT: &str = "zero_weight";
pub(super) const CLOSED: &str = "closed";
pub(super) const TOO_MANY_KEYS: &str = "too_many_keys";
#[cfg(any(feature = "tower", feature = "tracing"))]
pub(super) const SELF_WAIT: &str = "self_wait";
pub(super) const SHED: &str = "shed";
pub(super) const WOULD_EXPIRE: &str = "would_expire";
/// Only in metrics. The error of such a request is that of a full queue.
#[cfg(feature = "metrics")]
pub(super) const PUSHED_OUT: &str = "pushed_out";

/// Returns the reason why an `acquire` was rejected.
#[cfg(any(feature = "tower", feature = "tracing"))]
pub(super) const fn of_acquire(error: &AcquireError) -> &'static str {
    match error {
        AcquireError::QueueFull { .. } => QUEUE_FULL,
        AcquireError::DeadlineExceeded { .. } => EXPIRED,
        AcquireError::Shed { .. } => SHED,
        AcquireError::WouldExpire { .. } => WOULD_EXPIRE,
        AcquireError::TooLarge { .. } => TOO_LARGE,
        AcquireError::ZeroWeight { .. } => ZERO_WEIGHT,
        AcquireError::TooManyKeys { .. } => TOO_MANY_KEYS,
        AcquireError::SelfWait { .. } => SELF_WAIT,
        AcquireError::Closed { .. } | AcquireError::NoRuntime { .. } => CLOSED,
    }
}

/// Returns the reason why a `try_acquire` was rejected.
#[cfg(feature = "tower")]
pub(super) const fn of_try_acquire(error: &TryAcquireError) -> &'static str {
    match error {
        TryAcquireError::NoPermits { .. } => NO_PERMITS,
        TryAcquireError::Paused { .. } => PAUSED,
        TryAcquireError::TooLarge { .. } => TOO_LARGE,
        TryAcquireError::ZeroWeight { .. } => ZERO_WEIGHT,
        TryAcquireError::TooManyKeys { .. } => TOO_MANY_KEYS,
        TryAcquireError::Closed { .. } => CLOSED,
    }
}

/// A shared gate has no permits from its ledger.
#[cfg(any(feature = "metrics", all(feature = "fleet", any(feature = "tower", feature = "tracing"))))]
pub(super) const UNLEASED: &str = "unleased";

/// Returns the reason why an `acquire` at a shared gate was rejected.
#[cfg(all(feature = "fleet", any(feature = "tower", feature = "tracing")))]
pub(super) const fn of_shared_acquire(error: &SharedAcquireError) -> &'static str {
    match error {
        SharedAcquireError::Unleased { .. } => UNLEASED,
        SharedAcquireError::Rejected(error) => of_acquire(error),
    }
}

/// Returns the reason why a `try_acquire` at a shared gate was rejected.
#[cfg(all(feature = "fleet", feature = "tower"))]
pub(super) const fn of_shared_try(error: &SharedTryError) -> &'static str {
    match error {
        SharedTryError::Unleased(_) => UNLEASED,
        SharedTryError::Rejected(error) => of_try_acquire(error),
    }
}
