//! Hysteresis for readings: a fall takes effect at once, a rise only after it has lasted for some time.

use std::cmp::Ordering;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::{Measurement, Reading};

/// The measurement of one resource that is in force, with a rise that is not confirmed yet.
///
/// A fall takes effect at once, because too much work in flight does harm, while too little only costs throughput. A rise,
/// and a change from or to an unknown reading, must last: every measurement since the first one that saw it must show it.
/// Then the lowest of these readings takes effect. So a reading that flaps keeps its limits stable at the low end.
#[derive(Debug)]
pub(super) struct Damper {
    current: Measurement,
    rise: Option<UnconfirmedRise>,
}

#[derive(Debug)]
struct UnconfirmedRise {
    lowest: Measurement,
    first_seen: Instant,
}

/// Whether a new measurement has changed the one in force.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DampingDecision {
    /// The new measurement is in force.
    Accepted,
    /// The rise must last for this time further.
    Held { remaining: Duration },
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

    /// Returns the instant from which an unconfirmed rise takes effect, if the next measurement shows it.
    ///
    /// `None` also if the instant is too far away to be represented.
    pub(super) fn rise_due(&self, rise_after: Duration) -> Option<Instant> {
        self.rise.as_ref()?.first_seen.checked_add(rise_after)
    }

    /// Applies a new measurement, taken at `now`. A rise takes effect when it has lasted for `rise_after`.
    pub(super) fn update(&mut self, new: Measurement, now: Instant, rise_after: Duration) -> DampingDecision {
        if is_at_most(new.reading(), self.current.reading()) {
            self.accept(new);
            return DampingDecision::Accepted;
        }
        // Continues this rise, and keeps the lowest reading of the series. A reading that cannot be compared with the
        // series (known against unknown) starts a new one.
        let rise = match self.rise.take() {
            Some(rise) if is_at_most(rise.lowest.reading(), new.reading()) => rise,
            Some(rise) if is_at_most(new.reading(), rise.lowest.reading()) => {
                UnconfirmedRise { lowest: new, ..rise }
            }
            _ => UnconfirmedRise { lowest: new, first_seen: now },
        };
        let remaining = rise_after.saturating_sub(now.saturating_duration_since(rise.first_seen));
        if remaining.is_zero() {
            self.accept(rise.lowest);
            return DampingDecision::Accepted;
        }
        self.rise = Some(rise);
        DampingDecision::Held { remaining }
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

    fn damper(first: Reading) -> (Damper, Instant) {
        (Damper::new(first.into()), Instant::now())
    }

    /// Applies a reading that is measured `at` seconds after the start. A rise must last for `rise_after` seconds.
    fn update(
        (damper, start): &mut (Damper, Instant),
        reading: Reading,
        at: u64,
        rise_after: u64,
    ) -> Reading {
        let now = start.checked_add(Duration::from_secs(at)).unwrap();
        let _ = damper.update(reading.into(), now, Duration::from_secs(rise_after));
        damper.current().reading()
    }

    const TWO: Reading = Reading::whole(2);
    const FOUR: Reading = Reading::whole(4);
    const SIX: Reading = Reading::whole(6);

    /// A flapping reading stays at its low end, however long it flaps.
    #[test]
    fn a_flapping_reading_stays_at_its_low_end() {
        let mut damper = damper(FOUR);
        for round in 0..100 {
            assert_eq!(update(&mut damper, TWO, 4 * round, 2), TWO);
            assert_eq!(update(&mut damper, FOUR, 4 * round + 1, 2), TWO);
            assert_eq!(update(&mut damper, FOUR, 4 * round + 2, 2), TWO);
        }
    }

    /// A rise takes effect once it has lasted, at the lowest reading since then. How often it was seen does not matter.
    #[test]
    fn a_lasting_rise_takes_its_lowest_reading() {
        let mut damper = damper(TWO);
        for _ in 0..100 {
            assert_eq!(update(&mut damper, SIX, 10, 5), TWO);
        }
        assert_eq!(update(&mut damper, FOUR, 11, 5), TWO);
        assert_eq!(update(&mut damper, Reading::Unlimited, 14, 5), TWO);
        let due = damper.1.checked_add(Duration::from_secs(15));
        assert_eq!(damper.0.rise_due(Duration::from_secs(5)), due);
        assert_eq!(damper.0.rise_due(Duration::MAX), None);
        assert_eq!(update(&mut damper, Reading::Unlimited, 15, 5), FOUR);
        assert_eq!(damper.0.rise_due(Duration::from_secs(5)), None);
        assert_eq!(update(&mut damper, SIX, 15, 0), SIX);
    }

    /// The remaining time is counted from the first measurement that saw the rise.
    #[test]
    fn the_remaining_time_is_counted_from_the_first_look() {
        let (mut damper, start) = damper(TWO);
        let mut remaining_at = |millis| {
            let now = start.checked_add(Duration::from_millis(millis)).unwrap();
            match damper.update(FOUR.into(), now, Duration::from_secs(5)) {
                DampingDecision::Held { remaining } => remaining,
                DampingDecision::Accepted => Duration::ZERO,
            }
        };
        assert_eq!(remaining_at(1000), Duration::from_secs(5));
        assert_eq!(remaining_at(1180), Duration::from_millis(4820));
        assert_eq!(remaining_at(5999), Duration::from_millis(1));
        assert_eq!(remaining_at(6000), Duration::ZERO);
    }

    /// A change from or to an unknown reading must last, because unknown compares with no other reading.
    #[test]
    fn a_change_from_or_to_unknown_must_last() {
        let mut damper = damper(TWO);
        assert_eq!(update(&mut damper, Reading::Unknown, 0, 2), TWO);
        assert_eq!(update(&mut damper, FOUR, 2, 2), TWO);
        assert_eq!(update(&mut damper, Reading::Unknown, 4, 2), TWO);
        assert_eq!(update(&mut damper, Reading::Unknown, 6, 2), Reading::Unknown);
        assert_eq!(update(&mut damper, TWO, 8, 2), Reading::Unknown);
        assert_eq!(update(&mut damper, TWO, 10, 2), TWO);
    }

    /// A failed measurement restarts the time of a rise and marks the measurement in force as stale.
    #[test]
    fn a_failure_restarts_a_rise_and_marks_the_reading_stale() {
        let mut damper = damper(TWO);
        assert_eq!(update(&mut damper, FOUR, 0, 2), TWO);
        damper.0.record_failure("it broke");
        assert_eq!(damper.0.current().staleness(), Some("it broke"));
        assert_eq!(update(&mut damper, FOUR, 2, 2), TWO);
        assert_eq!(update(&mut damper, FOUR, 4, 2), FOUR);
        assert_eq!(damper.0.current().staleness(), None);
    }
}
