//! Hysteresis for readings: a fall takes effect at once, a rise only after it was seen several times in a row.

use std::cmp::Ordering;
use std::mem;
use std::num::NonZeroU32;

use crate::plan::{Measurement, Reading};

/// The measurement of one resource that is in force, with a rise that is not confirmed yet.
///
/// A fall takes effect at once, because too much work in flight does harm, while too little only costs throughput. A rise,
/// and a change from or to an unknown reading, must be seen several times in a row. Then the lowest of these readings takes
/// effect. So a reading that flaps keeps its limits stable at the low end.
#[derive(Debug)]
pub(super) struct Damper {
    current: Measurement,
    rise: Option<UnconfirmedRise>,
}

#[derive(Debug)]
struct UnconfirmedRise {
    lowest: Measurement,
    times_seen: u32,
}

/// Whether a new measurement has changed the one in force.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DampingDecision {
    /// The new measurement is in force.
    Accepted,
    /// The rise must be seen this many more times in a row.
    Held { remaining: u32 },
}

impl Damper {
    /// Puts the first measurement in force, whatever it is.
    pub(super) fn new(first: Measurement) -> Self {
        Self { current: first, rise: None }
    }

    /// Returns the measurement in force.
    pub(super) fn current(&self) -> &Measurement {
        &self.current
    }

    /// Applies a new measurement. A rise takes effect when it was seen `rise_after` times in a row.
    pub(super) fn update(&mut self, new: Measurement, rise_after: NonZeroU32) -> DampingDecision {
        if is_at_most(new.reading(), self.current.reading()) {
            self.accept(new);
            return DampingDecision::Accepted;
        }
        // Counts this rise, and keeps the lowest reading of the series. A reading that cannot be compared with the series
        // (known against unknown) starts a new one.
        let rise = match self.rise.take() {
            Some(rise) if is_at_most(rise.lowest.reading(), new.reading()) => {
                UnconfirmedRise { times_seen: rise.times_seen.saturating_add(1), ..rise }
            }
            Some(rise) if is_at_most(new.reading(), rise.lowest.reading()) => {
                UnconfirmedRise { times_seen: rise.times_seen.saturating_add(1), lowest: new }
            }
            _ => UnconfirmedRise { times_seen: 1, lowest: new },
        };
        match rise_after.get().saturating_sub(rise.times_seen) {
            0 => {
                self.accept(rise.lowest);
                DampingDecision::Accepted
            }
            remaining => {
                self.rise = Some(rise);
                DampingDecision::Held { remaining }
            }
        }
    }

    /// Records a failed measurement: the measurement in force stays, marked stale, and an unconfirmed rise starts again.
    pub(super) fn record_failure(&mut self, reason: &str) {
        self.current = mem::take(&mut self.current).stale(reason);
        self.rise = None;
    }

    fn accept(&mut self, measurement: Measurement) {
        self.current = measurement;
        self.rise = None;
    }
}

/// Returns `true` if `one` is known to be at most `other`. An unknown reading compares only with another unknown one.
fn is_at_most(one: Reading, other: Reading) -> bool {
    let order = match (one, other) {
        (Reading::Finite(one), Reading::Finite(other)) => one.cmp(&other),
        (Reading::Finite(_), Reading::Unlimited) => Ordering::Less,
        _ if one == other => Ordering::Equal,
        _ => Ordering::Greater,
    };
    order.is_le()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damper(first: Reading) -> Damper {
        Damper::new(first.into())
    }

    fn update(damper: &mut Damper, reading: Reading, rise_after: u32) -> Reading {
        let _ = damper.update(reading.into(), NonZeroU32::new(rise_after).unwrap());
        damper.current().reading()
    }

    const TWO: Reading = Reading::whole(2);
    const FOUR: Reading = Reading::whole(4);
    const SIX: Reading = Reading::whole(6);

    /// A flapping reading stays at its low end, however long it flaps.
    #[test]
    fn a_flapping_reading_stays_at_its_low_end() {
        let mut damper = damper(FOUR);
        for _ in 0..100 {
            assert_eq!(update(&mut damper, TWO, 2), TWO);
            assert_eq!(update(&mut damper, FOUR, 2), TWO);
        }
    }

    /// A rise takes effect once it was seen `rise_after` times in a row, at the lowest reading of these.
    #[test]
    fn a_confirmed_rise_takes_its_lowest_reading() {
        let mut damper = damper(TWO);
        assert_eq!(update(&mut damper, SIX, 3), TWO);
        assert_eq!(update(&mut damper, FOUR, 3), TWO);
        assert_eq!(update(&mut damper, Reading::Unlimited, 3), FOUR);
        assert_eq!(update(&mut damper, SIX, 1), SIX);
    }

    /// A change from or to an unknown reading must be confirmed, because unknown compares with no other reading.
    #[test]
    fn a_change_from_or_to_unknown_must_be_confirmed() {
        let mut damper = damper(TWO);
        assert_eq!(update(&mut damper, Reading::Unknown, 2), TWO);
        assert_eq!(update(&mut damper, FOUR, 2), TWO);
        assert_eq!(update(&mut damper, Reading::Unknown, 2), TWO);
        assert_eq!(update(&mut damper, Reading::Unknown, 2), Reading::Unknown);
        assert_eq!(update(&mut damper, TWO, 2), Reading::Unknown);
        assert_eq!(update(&mut damper, TWO, 2), TWO);
    }

    /// A failed measurement restarts the confirmation of a rise and marks the measurement in force as stale.
    #[test]
    fn a_failure_restarts_a_rise_and_marks_the_reading_stale() {
        let mut damper = damper(TWO);
        assert_eq!(update(&mut damper, FOUR, 2), TWO);
        damper.record_failure("it broke");
        assert_eq!(damper.current().staleness(), Some("it broke"));
        assert_eq!(update(&mut damper, FOUR, 2), TWO);
        assert_eq!(update(&mut damper, FOUR, 2), FOUR);
        assert_eq!(damper.current().staleness(), None);
    }
}
