//! Periods that differ, so that a fleet does not do the same thing in step.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The period, moved by up to a tenth either way.
pub(crate) fn jittered(period: Duration) -> Duration {
    let tenth = period.checked_div(10).unwrap_or_default();
    period.saturating_sub(tenth).saturating_add(part_of(tenth.saturating_mul(2)))
}

/// Between half of the period and all of it: for attempts that should not meet again where the last ones did.
pub(crate) fn scattered(period: Duration) -> Duration {
    let half = period.checked_div(2).unwrap_or_default();
    period.saturating_sub(half).saturating_add(part_of(half))
}

/// Between nothing and all of it.
fn part_of(length: Duration) -> Duration {
    // Random keys are what the standard library has for randomness; nothing here needs more.
    let random = RandomState::new().hash_one(0_u8) & 0xff;
    let step = length.checked_div(0xff).unwrap_or_default();
    step.saturating_mul(u32::try_from(random).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Periods stay within a tenth of what was asked, and are not all the same.
    #[test]
    fn periods_differ_a_little() {
        let periods: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        let within = Duration::from_secs(9)..=Duration::from_secs(11);
        assert!(periods.iter().all(|period| within.contains(period)), "{periods:?}");
        assert!(periods.iter().any(|period| *period != periods[0]));
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }

    /// Attempts are scattered over half of the period.
    #[test]
    fn attempts_are_scattered() {
        let periods: Vec<Duration> = (0..200).map(|_| scattered(Duration::from_secs(10))).collect();
        let within = Duration::from_secs(5)..=Duration::from_secs(10);
        assert!(periods.iter().all(|period| within.contains(period)), "{periods:?}");
        let late = periods.iter().filter(|period| **period > Duration::from_millis(7500)).count();
        assert!((1..200).contains(&late), "{late} of 200 are in the later half");
        assert_eq!(scattered(Duration::ZERO), Duration::ZERO);
    }
}
