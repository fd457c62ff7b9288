//! Randomized periods, so that the processes of a fleet do not act at the same time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Returns the period plus or minus up to a tenth.
pub(crate) fn jittered(period: Duration) -> Duration {
    let tenth = period.checked_div(10).unwrap_or_default();
    period.saturating_sub(tenth).saturating_add(random_part(tenth.saturating_mul(2)))
}

/// Returns a random duration between half of the period and all of it. Retries that collided once get different delays.
pub(crate) fn scattered(period: Duration) -> Duration {
    let half = period.checked_div(2).unwrap_or_default();
    period.saturating_sub(half).saturating_add(random_part(half))
}

/// Returns a random duration from zero to `length`, in steps of 1/255.
fn random_part(length: Duration) -> Duration {
    // The standard library's only source of randomness is the random key of its hasher. Its quality suffices for jitter.
    let random = RandomState::new().hash_one(0_u8) & 0xff;
    let step = length.checked_div(0xff).unwrap_or_default();
    step.saturating_mul(u32::try_from(random).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jittered periods stay within a tenth of the given one, and differ.
    #[test]
    fn jittered_periods_differ_by_up_to_a_tenth() {
        let periods: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        let within = Duration::from_secs(9)..=Duration::from_secs(11);
        assert!(periods.iter().all(|period| within.contains(period)), "{periods:?}");
        assert!(periods.iter().any(|period| *period != periods[0]));
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }

    /// Scattered periods are spread over the second half of the given one.
    #[test]
    fn scattered_periods_spread_over_the_second_half() {
        let periods: Vec<Duration> = (0..200).map(|_| scattered(Duration::from_secs(10))).collect();
        let within = Duration::from_secs(5)..=Duration::from_secs(10);
        assert!(periods.iter().all(|period| within.contains(period)), "{periods:?}");
        let late = periods.iter().filter(|period| **period > Duration::from_millis(7500)).count();
        assert!((1..200).contains(&late), "{late} of 200 are in the later half");
        assert_eq!(scattered(Duration::ZERO), Duration::ZERO);
    }
}
