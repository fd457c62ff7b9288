//! Damping: a fall counts at once, a rise only when it lasts.

use std::cmp::Ordering;
use std::mem;
use std::num::NonZeroU32;

use crate::plan::{Measurement, Reading};

/// The reading of one resource that holds, and a rise that may come to hold.
///
/// A fall is believed at once, since too much work in flight does harm and too little only costs. A rise, or a change
/// from or to an unknown reading, has to be seen several times in a row; of those the least counts. So a reading that
/// flaps holds its limits at the low end, where they stand still.
#[derive(Debug)]
pub(super) struct Damper {
    held: Measurement,
    rise: Option<Rise>,
}

#[derive(Debug)]
struct Rise {
    least: Measurement,
    seen: u32,
}

/// What became of a measurement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds now.
    Believed,
    /// It has to be seen so many more times in a row.
    Held { remaining: u32 },
}

impl Damper {
    /// The first measurement is believed, whatever it is.
    pub(super) fn new(first: Measurement) -> Self {
        Self { held: first, rise: None }
    }

    /// What holds.
    pub(super) fn held(&self) -> &Measurement {
        &self.held
    }

    /// Takes in a measurement.
    pub(super) fn see(&mut self, seen: Measurement, rise_after: NonZeroU32) -> Verdict {
        if is_at_most(seen.reading(), self.held.reading()) {
            self.believe(seen);
            return Verdict::Believed;
        }
        let rise = match self.rise.take() {
            Some(rise) if is_at_most(rise.least.reading(), seen.reading()) => {
                Rise { seen: rise.seen.saturating_add(1), ..rise }
            }
            Some(rise) if is_at_most(seen.reading(), rise.least.reading()) => {
                Rise { seen: rise.seen.saturating_add(1), least: seen }
            }
            _ => Rise { seen: 1, least: seen },
        };
        match rise_after.get().saturating_sub(rise.seen) {
            0 => {
                self.believe(rise.least);
                Verdict::Believed
            }
            remaining => {
                self.rise = Some(rise);
                Verdict::Held { remaining }
            }
        }
    }

    /// The last measurement failed: what holds goes on to hold, marked stale, and no rise has lasted.
    pub(super) fn miss(&mut self, reason: &str) {
        self.held = mem::take(&mut self.held).stale(reason);
        self.rise = None;
    }

    fn believe(&mut self, measurement: Measurement) {
        self.held = measurement;
        self.rise = None;
    }
}

/// Whether `one` is known to be no more than `other`. An unknown reading compares only with another.
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

    fn see(damper: &mut Damper, reading: Reading, rise_after: u32) -> Reading {
        let _ = damper.see(reading.into(), NonZeroU32::new(rise_after).unwrap());
        damper.held().reading()
    }

    const TWO: Reading = Reading::whole(2);
    const FOUR: Reading = Reading::whole(4);
    const SIX: Reading = Reading::whole(6);

    /// A flapping reading stands still at its low end, however long it flaps.
    #[test]
    fn flapping_stands_still_at_the_low_end() {
        let mut damper = damper(FOUR);
        for _ in 0..100 {
            assert_eq!(see(&mut damper, TWO, 2), TWO);
            assert_eq!(see(&mut damper, FOUR, 2), TWO);
        }
    }

    /// A rise holds once it was seen as often as asked, and then it is the least of what was seen.
    #[test]
    fn lasting_rise_comes_to_its_least() {
        let mut damper = damper(TWO);
        assert_eq!(see(&mut damper, SIX, 3), TWO);
        assert_eq!(see(&mut damper, FOUR, 3), TWO);
        assert_eq!(see(&mut damper, Reading::Unlimited, 3), FOUR);
        assert_eq!(see(&mut damper, SIX, 1), SIX);
    }

    /// Unknown compares with nothing, so a change to or from it has to last, too.
    #[test]
    fn change_to_or_from_unknown_has_to_last() {
        let mut damper = damper(TWO);
        assert_eq!(see(&mut damper, Reading::Unknown, 2), TWO);
        assert_eq!(see(&mut damper, FOUR, 2), TWO);
        assert_eq!(see(&mut damper, Reading::Unknown, 2), TWO);
        assert_eq!(see(&mut damper, Reading::Unknown, 2), Reading::Unknown);
        assert_eq!(see(&mut damper, TWO, 2), Reading::Unknown);
        assert_eq!(see(&mut damper, TWO, 2), TWO);
    }

    /// A failed measurement between two sightings of a rise means that it has not lasted.
    #[test]
    fn miss_ends_a_rise_and_marks_what_holds_as_stale() {
        let mut damper = damper(TWO);
        assert_eq!(see(&mut damper, FOUR, 2), TWO);
        damper.miss("it broke");
        assert_eq!(damper.held().staleness(), Some("it broke"));
        assert_eq!(see(&mut damper, FOUR, 2), TWO);
        assert_eq!(see(&mut damper, FOUR, 2), FOUR);
        assert_eq!(damper.held().staleness(), None);
    }
}
