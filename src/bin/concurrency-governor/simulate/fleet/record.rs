//! What a simulation of a fleet observes.

use std::time::Duration;

/// The observations of a run, in slices of equal length.
#[derive(Debug)]
pub(super) struct FleetRecord {
    slices: Vec<FleetSlice>,
    /// The instant of the last change, in milliseconds of the run.
    changed: u64,
    in_flight: u64,
}

/// What happened in one slice of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FleetSlice {
    /// The sum over all requests of the milliseconds in flight.
    pub(super) permit_ms: u64,
    /// The most requests in flight at one instant.
    pub(super) most: u64,
    /// The exchanges that the ledger made.
    pub(super) exchanges: u64,
}

impl FleetRecord {
    /// The length of a slice in milliseconds.
    pub(super) const SLICE_MS: u64 = 100;

    /// Creates the record of a run of this length in milliseconds, rounded up to whole slices.
    pub(super) fn new(length: u64) -> Self {
        let slices = usize::try_from(length.div_ceil(Self::SLICE_MS)).unwrap_or(usize::MAX);
        Self { slices: vec![FleetSlice::default(); slices], changed: 0, in_flight: 0 }
    }

    /// Returns the length of the run in milliseconds.
    pub(super) fn length(&self) -> u64 {
        u64::try_from(self.slices.len()).unwrap_or(u64::MAX).saturating_mul(Self::SLICE_MS)
    }

    /// Sets the number of requests in flight from an instant on.
    pub(super) fn set_in_flight(&mut self, now: u64, in_flight: u64) {
        self.advance(now);
        self.in_flight = in_flight;
        if let Some(slice) = self.slice_at(now) {
            slice.most = slice.most.max(in_flight);
        }
    }

    pub(super) fn count_exchange(&mut self, now: u64) {
        if let Some(slice) = self.slice_at(now) {
            slice.exchanges = slice.exchanges.saturating_add(1);
        }
    }

    /// Adds the time since the last change to its slices.
    pub(super) fn advance(&mut self, now: u64) {
        while self.changed < now {
            let next = self.changed.saturating_add(1).next_multiple_of(Self::SLICE_MS);
            let (end, in_flight) = (next.min(now), self.in_flight);
            let time = end.saturating_sub(self.changed);
            if let Some(slice) = self.slice_at(self.changed) {
                slice.permit_ms = slice.permit_ms.saturating_add(time.saturating_mul(in_flight));
                slice.most = slice.most.max(in_flight);
            }
            self.changed = end;
        }
    }

    fn slice_at(&mut self, now: u64) -> Option<&mut FleetSlice> {
        let index = now.checked_div(Self::SLICE_MS).and_then(|index| usize::try_from(index).ok())?;
        self.slices.get_mut(index)
    }

    /// Returns the sum of the slices from one index to another.
    fn between(&self, from: usize, until: usize) -> FleetSlice {
        let until = until.min(self.slices.len());
        let slices = self.slices.get(from.min(until)..until).unwrap_or_default();
        slices.iter().fold(FleetSlice::default(), |sum, slice| FleetSlice {
            permit_ms: sum.permit_ms.saturating_add(slice.permit_ms),
            most: sum.most.max(slice.most),
            exchanges: sum.exchanges.saturating_add(slice.exchanges),
        })
    }

    /// Returns the whole run in one slice.
    pub(super) fn total(&self) -> FleetSlice {
        self.between(0, self.slices.len())
    }

    /// Returns the run in parts of this number of slices. The last part can be shorter.
    pub(super) fn parts(&self, slices: usize) -> Vec<FleetSlice> {
        let starts = (0..self.slices.len()).step_by(slices.max(1));
        starts.map(|from| self.between(from, from.saturating_add(slices.max(1)))).collect()
    }

    /// Returns the time from a fault to its recovery. From the recovery until the next fault or the end of the run, each second has at
    /// least nine tenths of the mean requests in flight of the second before the fault. Returns `None` if there is no recovery.
    pub(super) fn recovery(&self, fault: Duration, next: Option<Duration>) -> Option<Duration> {
        let index = |time: Duration| {
            usize::try_from(time.as_millis())
                .unwrap_or(usize::MAX)
                .div_euclid(SLICE_MS)
                .min(self.slices.len())
        };
        let (start, end) = (index(fault), next.map_or(self.slices.len(), index));
        let before = self.between(start.saturating_sub(SLICES_OF_A_SECOND), start).permit_ms;
        let seconds: Vec<u64> = (start..end.saturating_sub(SLICES_OF_A_SECOND.saturating_sub(1)))
            .map(|from| self.between(from, from.saturating_add(SLICES_OF_A_SECOND)).permit_ms)
            .collect();
        let is_lacking = |permit_ms: &u64| permit_ms.saturating_mul(10) < before.saturating_mul(9);
        let recovered = seconds.iter().rposition(is_lacking).map_or(0, |last| last.saturating_add(1));
        let slice = Duration::from_millis(Self::SLICE_MS);
        let time = slice.saturating_mul(u32::try_from(recovered).unwrap_or(u32::MAX));
        (recovered < seconds.len()).then_some(time)
    }
}

const SLICE_MS: usize = 100;

/// The number of slices in one second.
pub(super) const SLICES_OF_A_SECOND: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The time in flight is split at the borders of the slices.
    #[test]
    fn time_is_added_to_its_slices() {
        let mut record = FleetRecord::new(300);
        record.set_in_flight(50, 4);
        record.set_in_flight(210, 1);
        record.advance(300);
        let slices = record.parts(1);
        let times: Vec<u64> = slices.iter().map(|slice| slice.permit_ms).collect();
        assert_eq!(times, [200, 400, 130]);
        assert_eq!(record.total().most, 4);
    }

    /// The recovery ends with the last second that has too little in flight.
    #[test]
    fn a_recovery_ends_with_the_last_lack() {
        let mut record = FleetRecord::new(6000);
        for (at, in_flight) in [(0, 10), (2000, 5), (2300, 10), (2500, 5), (3000, 10)] {
            record.set_in_flight(at, in_flight);
        }
        record.advance(6000);
        let recovery = |fault, next: Option<u64>| {
            record.recovery(Duration::from_millis(fault), next.map(Duration::from_millis))
        };
        // The second that begins at 2.8 s has nine tenths.
        assert_eq!(recovery(2000, None), Some(Duration::from_millis(800)));
        assert_eq!(recovery(1000, Some(2000)), Some(Duration::ZERO));
        assert_eq!(recovery(2000, Some(3500)), None, "the next fault comes first");
    }
}
