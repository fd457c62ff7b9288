//! Randomized periods, so that the processes of a fleet do not act at the same time.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

thread_local! {
    /// The state of this thread's reproducible sequence, if a test has asked for one.
    static SEQUENCE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes the jitter on this thread a reproducible sequence that starts from the seed.
pub(crate) fn seed(seed: u64) {
    SEQUENCE.set(Some(seed));
}

/// Returns the period plus or minus up to a tenth.
pub(crate) fn jittered(period: Duration) -> Duration {
    let tenth = period.checked_div(10).unwrap_or_default();
    period.saturating_sub(tenth).saturating_add(random_part(tenth.saturating_mul(2)))
}

/// Returns the period plus or minus up to a quarter. Clients that are told the same time come back at different ones.
#[cfg(feature = "tower")]
pub(crate) fn spread(period: Duration) -> Duration {
    let quarter = period.checked_div(4).unwrap_or_default();
    period.saturating_sub(quarter).saturating_add(random_part(quarter.saturating_mul(2)))
}

/// Returns a random duration between half of the period and all of it. Retries that collided once get different delays.
pub(crate) fn scattered(period: Duration) -> Duration {
    let half = period.checked_div(2).unwrap_or_default();
    period.saturating_sub(half).saturating_add(random_part(half))
}

/// Returns a random duration from zero to `length`, in steps of 1/255.
fn random_part(length: Duration) -> Duration {
    let random = random() & 0xff;
    let step = length.checked_div(0xff).unwrap_or_default();
    step.saturating_mul(u32::try_from(random).unwrap_or(0))
}

fn random() -> u64 {
    if let Some(state) = SEQUENCE.get() {
        // A linear congruential generator with Knuth's constants. Its high bits are the random ones.
        let state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        SEQUENCE.set(Some(state));
        return state >> 32;
    }
    // The standard library's only source of randomness is the random key of its hasher. Its quality suffices for jitter.
    RandomState::new().hash_one(0_u8)
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

    /// A seed makes the sequence of its own thread reproducible.
    #[test]
    fn seeded_jitter_repeats() {
        let periods = |first| {
            std::thread::spawn(move || {
                seed(first);
                (0..10).map(|_| jittered(Duration::from_secs(10))).collect::<Vec<_>>()
            })
            .join()
            .unwrap()
        };
        assert_eq!(periods(1), periods(1));
        assert_ne!(periods(1), periods(2));
        assert_ne!(periods(1)[0], periods(1)[1]);
    }
}
