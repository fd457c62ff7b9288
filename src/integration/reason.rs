//! One word for each reason not to admit a request: the same in metrics, spans and answers.

#[cfg(any(feature = "tower", feature = "tracing"))]
use crate::gate::AcquireError;
#[cfg(feature = "tower")]
use crate::gate::TryAcquireError;

#[cfg(any(feature = "metrics", feature = "tower"))]
pub(super) const NO_PERMITS: &str = "no_permits";
pub(super) const QUEUE_FULL: &str = "queue_full";
pub(super) const EXPIRED: &str = "expired";
pub(super) const TOO_LARGE: &str = "too_large";
pub(super) const ZERO_WEIGHT: &str = "zero_weight";
pub(super) const CLOSED: &str = "closed";

/// The word for what became of a request that was willing to wait.
#[cfg(any(feature = "tower", feature = "tracing"))]
pub(super) const fn of(error: &AcquireError) -> &'static str {
    match error {
        AcquireError::QueueFull { .. } => QUEUE_FULL,
        AcquireError::DeadlineExceeded { .. } => EXPIRED,
        AcquireError::TooLarge { .. } => TOO_LARGE,
        AcquireError::ZeroWeight { .. } => ZERO_WEIGHT,
        AcquireError::Closed { .. } | AcquireError::NoRuntime { .. } => CLOSED,
    }
}

/// The word for what became of a request that would not wait.
#[cfg(feature = "tower")]
pub(super) const fn of_try(error: &TryAcquireError) -> &'static str {
    match error {
        TryAcquireError::NoPermits { .. } => NO_PERMITS,
        TryAcquireError::TooLarge { .. } => TOO_LARGE,
        TryAcquireError::ZeroWeight { .. } => ZERO_WEIGHT,
        TryAcquireError::Closed { .. } => CLOSED,
    }
}
