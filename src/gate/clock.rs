//! The clock of gates and pools: instants of tokio's clock as nanoseconds, so that an instant takes 8 bytes.
//!
//! It is tokio's clock, so that tests with paused time work.

use std::panic;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// An instant that never comes, and a duration without end.
pub(crate) const NEVER: i64 = i64::MAX;

/// Returns the current instant. Never panics.
#[expect(
    clippy::inline_always,
    reason = "a function call would add about half of the cost of reading the clock"
)]
#[inline(always)]
pub(crate) fn now() -> i64 {
    from_instant(current_instant())
}

/// Returns the current instant, and `true` if it may differ from the system's clock: a test has paused tokio's clock, or the thread was
/// preempted between the two reads.
pub(crate) fn now_and_whether_virtual() -> (i64, bool) {
    let instant = current_instant();
    let difference = std::time::Instant::now().checked_duration_since(instant.into_std());
    (from_instant(instant), difference.is_none_or(|difference| difference > READ_TIME))
}

/// Longer than it takes to read the clock again.
const READ_TIME: Duration = Duration::from_micros(1);

#[inline]
fn current_instant() -> Instant {
    // tokio's clock panics on a thread that is ending, if a test of this process has paused the clock. The system's clock is
    // good enough there.
    panic::catch_unwind(Instant::now).unwrap_or_else(|_| std::time::Instant::now().into())
}

/// Converts an instant to nanoseconds since the first use of the clock; negative before that, and [`NEVER`] after 292 years.
#[inline]
pub(crate) fn from_instant(instant: Instant) -> i64 {
    instant.checked_duration_since(origin()).map_or_else(|| from_earlier_instant(instant), from_duration)
}

/// Converts an instant before the first use of the clock, as a paused clock can return it.
#[cold]
#[inline(never)]
fn from_earlier_instant(instant: Instant) -> i64 {
    from_duration(origin().saturating_duration_since(instant)).wrapping_neg()
}

/// Converts nanoseconds to an instant. Returns `None` if the system cannot represent it.
pub(crate) fn to_instant(nanos: i64) -> Option<Instant> {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    if nanos < 0 { origin().checked_sub(distance) } else { origin().checked_add(distance) }
}

/// Converts the instant at which a wait ends. Returns `None` for [`NEVER`], or if the system cannot represent the instant.
pub(crate) fn to_deadline(nanos: i64) -> Option<Instant> {
    if nanos == NEVER { None } else { to_instant(nanos) }
}

/// Converts a duration to nanoseconds; [`NEVER`] from 292 years on.
#[inline]
pub(crate) fn from_duration(duration: Duration) -> i64 {
    match i64::try_from(duration.as_secs()) {
        Ok(secs) if secs < NEVER / 1_000_000_000 => {
            secs.wrapping_mul(1_000_000_000).wrapping_add(duration.subsec_nanos().into())
        }
        _ => NEVER,
    }
}

/// Returns the time from one instant to another, or zero if they are in the other order.
pub(crate) fn elapsed(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// Returns the instant that is this duration after `instant`, or [`NEVER`].
#[inline]
pub(crate) fn add(instant: i64, duration: Duration) -> i64 {
    add_nanos(instant, from_duration(duration))
}

/// Returns the instant that is this number of nanoseconds after `instant`, or [`NEVER`].
#[inline]
pub(crate) fn add_nanos(instant: i64, nanos: i64) -> i64 {
    match nanos {
        NEVER => NEVER,
        nanos => instant.checked_add(nanos).unwrap_or(NEVER),
    }
}

#[inline]
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(current_instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instant survives the conversion to nanoseconds and back, also before the first use of the clock.
    #[test]
    fn instants_convert_both_ways() {
        let distance = Duration::from_nanos(1_000_000_007);
        for (instant, nanos) in [
            (origin().checked_sub(distance), -1_000_000_007),
            (Some(origin()), 0),
            (origin().checked_add(distance), 1_000_000_007),
        ] {
            assert_eq!((to_instant(nanos), instant.map(from_instant)), (instant, Some(nanos)));
        }
    }

    /// A duration that is too long never ends, from whatever instant on.
    #[test]
    fn durations_too_long_never_end() {
        let longest = Duration::from_nanos(NEVER.unsigned_abs());
        let longer = [1, 1_000_000_000].map(|more| longest + Duration::from_nanos(more));
        for duration in [longest, longer[0], longer[1], Duration::MAX] {
            assert_eq!([-1, 0, 1].map(|instant| add(instant, duration)), [NEVER; 3], "{duration:?}");
        }
        assert_eq!([-1, NEVER - 1].map(|instant| add(instant, Duration::from_secs(1))), [999_999_999, NEVER]);
        let whole = Duration::from_secs(longest.as_secs() - 1);
        assert_eq!(from_duration(whole), NEVER / 1_000_000_000 * 1_000_000_000 - 1_000_000_000);
    }
}
