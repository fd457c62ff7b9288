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
    at.checked_duration_since(origin()).map_or_else(|| nanos_before(at), length)
}

/// Of an instant before the first that was asked for, as a clock may show that stands still in a test.
#[cold]
#[inline(never)]
fn nanos_before(at: Instant) -> i64 {
    length(origin().saturating_duration_since(at)).wrapping_neg()
}

/// What the clock shows now. Never panics: tokio's does where it has stood still in some test of this process and a thread
/// is about to end; there it is the system's.
#[expect(clippy::inline_always, reason = "a third of it would be to save what it has no use for")]
#[inline(always)]
pub(crate) fn now() -> i64 {
    nanos(panic::catch_unwind(Instant::now).unwrap_or_else(|_| std::time::Instant::now().into()))
}

/// The instant of so many nanoseconds.
pub(crate) fn instant(nanos: i64) -> Option<Instant> {
    let length = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { origin().checked_sub(length) } else { origin().checked_add(length) }
}

/// The instant so long after another; [`NEVER`] if it is too far off.
#[inline]
pub(crate) fn after(now: i64, wait: Duration) -> i64 {
    nanos_after(now, length(wait))
}

/// The same of a length in nanoseconds.
#[inline]
pub(crate) fn nanos_after(now: i64, length: i64) -> i64 {
    match length {
        NEVER => NEVER,
        length => now.checked_add(length).unwrap_or(NEVER),
    }
}

/// A length of time in nanoseconds; [`NEVER`] stands for all from 292 years on.
#[inline]
pub(crate) fn length(duration: Duration) -> i64 {
    match i64::try_from(duration.as_secs()) {
        Ok(secs) if secs < NEVER / 1_000_000_000 => {
            secs.wrapping_mul(1_000_000_000).wrapping_add(duration.subsec_nanos().into())
        }
        _ => NEVER,
    }
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

    /// What is too long to be told comes never, from whatever instant on.
    #[test]
    fn what_is_too_far_off_never_comes() {
        let longest = Duration::from_nanos(NEVER.unsigned_abs());
        let longer = [1, 1_000_000_000].map(|more| longest + Duration::from_nanos(more));
        for wait in [longest, longer[0], longer[1], Duration::MAX] {
            assert_eq!([-1, 0, 1].map(|now| after(now, wait)), [NEVER; 3], "{wait:?}");
        }
        assert_eq!([-1, NEVER - 1].map(|now| after(now, Duration::from_secs(1))), [999_999_999, NEVER]);
        let whole = Duration::from_secs(longest.as_secs() - 1);
        assert_eq!(length(whole), NEVER / 1_000_000_000 * 1_000_000_000 - 1_000_000_000);
    }
}
