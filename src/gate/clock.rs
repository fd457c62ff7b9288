//! The clock of the gates: tokio's, in nanoseconds, so that an instant takes 8 bytes.

use std::panic;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// No instant: what never comes.
pub(crate) const NEVER: i64 = i64::MAX;

/// Nanoseconds since an instant of this process, below 0 before it; [`NEVER`] from 292 years on.
#[inline]
pub(crate) fn nanos(at: Instant) -> i64 {
    let origin = origin();
    match at.checked_duration_since(origin) {
        Some(since) => i64::try_from(length(since)).unwrap_or(NEVER),
        // A clock that stands still in a test may show an instant before the first that was asked for.
        None => {
            i64::try_from(length(origin.saturating_duration_since(at))).map_or(i64::MIN, i64::wrapping_neg)
        }
    }
}

/// What the clock shows now. Never panics: tokio's does where it has stood still in some test of this process and a thread
/// is about to end; there it is the system's.
#[inline]
pub(crate) fn now() -> i64 {
    nanos(panic::catch_unwind(Instant::now).unwrap_or_else(|_| std::time::Instant::now().into()))
}

/// The instant of so many nanoseconds.
pub(crate) fn instant(nanos: i64) -> Option<Instant> {
    let length = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { origin().checked_sub(length) } else { origin().checked_add(length) }
}

/// A length of time in nanoseconds; `u64::MAX` stands for all from 584 years on.
#[inline]
pub(crate) const fn length(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

#[inline]
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instant is the same in nanoseconds and back, those before the first that was asked for included.
    #[test]
    fn instants_are_nanoseconds_and_back() {
        let length = Duration::from_nanos(1_000_000_007);
        for (at, since) in [
            (origin().checked_sub(length), -1_000_000_007),
            (Some(origin()), 0),
            (origin().checked_add(length), 1_000_000_007),
        ] {
            assert_eq!((instant(since), at.map(nanos)), (at, Some(since)));
        }
    }
}
