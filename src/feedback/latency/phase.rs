//! The phases of the rule.

/// The present phase of the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Phase {
    /// Doubles the limit while the throughput follows.
    #[default]
    SlowStart,
    /// Keeps the queue between its bounds.
    Follow,
    /// Falls on trial after slow start: no baseline is known yet.
    FirstTrial,
    /// Falls on trial after many busy windows, to see whether the baseline still holds.
    RegularTrial,
    /// Falls because of congestion, until the queue is short or the throughput falls.
    CongestedTrial,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::SlowStart, Self::Follow, Self::FirstTrial, Self::RegularTrial, Self::CongestedTrial];

    /// Returns the phase as a number, for the memory of the rule.
    pub(super) fn number(self) -> f64 {
        let place = Self::ALL.iter().position(|phase| *phase == self).unwrap_or_default();
        f64::from(u8::try_from(place).unwrap_or_default())
    }

    /// Returns the phase with this number; slow start for any other number.
    pub(super) fn of_number(number: f64) -> Self {
        let mut places = Self::ALL.into_iter().zip(0_u8..);
        let found = places.find(|(_, place)| (f64::from(*place) - number).abs() < 0.5);
        found.map_or(Self::SlowStart, |(phase, _)| phase)
    }
}
