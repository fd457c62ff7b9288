//! Periods that differ a little, so that a fleet does not do the same thing in step.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The period, moved by up to a tenth either way.
pub(crate) fn jittered(period: Duration) -> Duration {
    // Random keys are what the standard library has for randomness; nothing here needs more.
    let random = RandomState::new().hash_one(0_u8) & 0xff;
    let tenth = period.checked_div(10).unwrap_or_default();
    let shift = tenth.saturating_mul(2).checked_div(0xff).unwrap_or_default();
    let shift = shift.saturating_mul(u32::try_from(random).unwrap_or(0));
    period.saturating_sub(tenth).saturating_add(shift)
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
}
