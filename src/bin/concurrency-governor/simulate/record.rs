//! The record of a gate or of a tenant during a simulation.

use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Histogram};

/// The record of one gate, or of one tenant: totals, and what happened in each slice of the time.
#[derive(Debug)]
pub(crate) struct GateRecord {
    /// The name of the gate or of the tenant.
    pub(crate) name: String,
    /// The length of a slice.
    pub(crate) slice: Duration,
    pub(crate) slices: Vec<TimeSlice>,
    /// Each limit, with the time from which it was in force.
    pub(crate) limits: Vec<(Duration, u32)>,
    pub(crate) totals: RequestTotals,
    current: CurrentCounts,
}

/// One slice of the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeSlice {
    /// Permits in use, those of the gates within the gate included.
    pub(crate) in_use: TimeWeightedCount,
    pub(crate) waiting: TimeWeightedCount,
    /// The waits of the requests that were admitted in this slice. Includes waits of zero.
    pub(crate) waits: Histogram,
}

/// A number of requests over a slice of time: its peak, and its mean weighted by time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimeWeightedCount {
    pub(crate) peak: u32,
    /// The sum of the number of requests times the nanoseconds for which it held.
    area: u128,
}

impl TimeWeightedCount {
    /// Returns the mean over a length of time.
    #[expect(clippy::cast_precision_loss, reason = "three digits are enough for a chart")]
    pub(crate) fn mean(self, over: Duration) -> f64 {
        let nanos = over.as_nanos();
        if nanos == 0 { 0.0 } else { self.area as f64 / nanos as f64 }
    }

    fn add(&mut self, count: u32, nanos: u128) {
        self.peak = self.peak.max(count);
        self.area = self.area.saturating_add(u128::from(count).saturating_mul(nanos));
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestTotals {
    pub(crate) arrived: u64,
    pub(crate) completed: u64,
    pub(crate) rejected_queue_full: u64,
    pub(crate) rejected_deadline: u64,
    /// Rejected by shedding, or because the deadline would pass.
    pub(crate) rejected_early: u64,
    /// Rejected for another reason.
    pub(crate) rejected_other: u64,
}

impl RequestTotals {
    pub(crate) fn rejected(self) -> u64 {
        let late = self.rejected_deadline.saturating_add(self.rejected_early);
        self.rejected_queue_full.saturating_add(late).saturating_add(self.rejected_other)
    }
}

/// The numbers of requests at the present time of the simulation.
#[derive(Clone, Copy, Debug, Default)]
struct CurrentCounts {
    /// The time up to which the slices are filled.
    filled_until: Duration,
    in_use: u32,
    waiting: u32,
    /// Permits in use by the gates within the gate.
    in_use_within: u32,
}

impl CurrentCounts {
    fn all_in_use(self) -> u32 {
        self.in_use.saturating_add(self.in_use_within)
    }
}

impl GateRecord {
    pub(super) fn new(name: String, limit: u32, length: Duration) -> Self {
        let slice = length.checked_div(SLICES).unwrap_or_default().max(Duration::from_nanos(1));
        let slices = vec![TimeSlice::default(); usize::try_from(SLICES).unwrap_or(1)];
        let limits = vec![(Duration::ZERO, limit)];
        Self {
            name,
            slice,
            slices,
            limits,
            totals: RequestTotals::default(),
            current: CurrentCounts::default(),
        }
    }

    pub(super) fn arrive(&mut self) {
        self.totals.arrived = self.totals.arrived.saturating_add(1);
    }

    /// Records a request that has to wait. `waiting` is the number of requests in the queue of the gate.
    ///
    /// A request that was admitted at this very time is counted as waiting until its task runs. So the peak is at most `waiting`;
    /// otherwise it could be above the bound of the queue.
    pub(super) fn enqueue(&mut self, at: Duration, waiting: usize) {
        self.fill_until(at);
        self.current.waiting = self.current.waiting.saturating_add(1);
        let index = self.slice_index(at);
        let waiting = self.current.waiting.min(u32::try_from(waiting).unwrap_or(u32::MAX));
        if let Some(slice) = self.slices.get_mut(index) {
            slice.waiting.add(waiting, 0);
        }
    }

    pub(super) fn dequeue(&mut self, at: Duration) {
        self.fill_until(at);
        self.current.waiting = self.current.waiting.saturating_sub(1);
    }

    pub(super) fn admit(&mut self, at: Duration, waited: Duration) {
        self.fill_until(at);
        self.current.in_use = self.current.in_use.saturating_add(1);
        self.record_peak_in_use(at);
        let index = self.slice_index(at);
        if let Some(slice) = self.slices.get_mut(index) {
            slice.waits.record(waited);
        }
    }

    pub(super) fn complete(&mut self, at: Duration) {
        self.fill_until(at);
        self.current.in_use = self.current.in_use.saturating_sub(1);
        self.totals.completed = self.totals.completed.saturating_add(1);
    }

    /// Records a permit of a gate within this one.
    pub(super) fn admit_within(&mut self, at: Duration) {
        self.fill_until(at);
        self.current.in_use_within = self.current.in_use_within.saturating_add(1);
        self.record_peak_in_use(at);
    }

    /// Records the release of a permit of a gate within this one.
    pub(super) fn complete_within(&mut self, at: Duration) {
        self.fill_until(at);
        self.current.in_use_within = self.current.in_use_within.saturating_sub(1);
    }

    pub(super) fn reject(&mut self, error: &AcquireError) {
        let count = match error {
            AcquireError::QueueFull { .. } => &mut self.totals.rejected_queue_full,
            AcquireError::DeadlineExceeded { .. } => &mut self.totals.rejected_deadline,
            AcquireError::Shed { .. } | AcquireError::WouldExpire { .. } => &mut self.totals.rejected_early,
            _ => &mut self.totals.rejected_other,
        };
        *count = count.saturating_add(1);
    }

    /// Records the limit from this time on. Does nothing if it is the present one.
    pub(super) fn set_limit(&mut self, at: Duration, limit: u32) {
        if self.limits.last().is_none_or(|(_, last)| *last != limit) {
            self.limits.push((at, limit));
        }
    }

    /// Completes the record at the end of the run.
    pub(super) fn finish(&mut self, at: Duration) {
        self.fill_until(at);
    }

    /// Returns the number of requests that held a permit or waited at the end.
    pub(crate) fn pending(&self) -> u32 {
        self.current.in_use.saturating_add(self.current.waiting)
    }

    /// Returns the limit in force at a time.
    pub(crate) fn limit_at(&self, at: Duration) -> u32 {
        let before = self.limits.iter().take_while(|(since, _)| *since <= at);
        before.last().map_or(0, |(_, limit)| *limit)
    }

    /// Returns the waits of all admitted requests.
    pub(crate) fn waits(&self) -> Histogram {
        let mut all = Histogram::default();
        self.slices.iter().for_each(|slice| all.merge(&slice.waits));
        all
    }

    pub(crate) fn peak_in_use(&self) -> u32 {
        self.slices.iter().map(|slice| slice.in_use.peak).max().unwrap_or(0)
    }

    pub(crate) fn peak_waiting(&self) -> u32 {
        self.slices.iter().map(|slice| slice.waiting.peak).max().unwrap_or(0)
    }

    /// Returns the mean number of permits in use over the whole run.
    #[expect(clippy::cast_precision_loss, reason = "there are a few hundred slices")]
    pub(crate) fn mean_in_use(&self) -> f64 {
        let sum: f64 = self.slices.iter().map(|slice| slice.in_use.mean(self.slice)).sum();
        sum / self.slices.len().max(1) as f64
    }

    /// Adds the current counts to the slices, for the time from the last call until now.
    fn fill_until(&mut self, at: Duration) {
        while self.current.filled_until < at {
            let from = self.current.filled_until;
            let index = self.slice_index(from);
            // The last slice has no end, because rounding can leave a rest after it.
            let end = self.slice.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
            let until = if end > from { end.min(at) } else { at };
            let nanos = until.saturating_sub(from).as_nanos();
            if let Some(slice) = self.slices.get_mut(index) {
                slice.in_use.add(self.current.all_in_use(), nanos);
                slice.waiting.add(self.current.waiting, nanos);
            }
            self.current.filled_until = until;
        }
    }

    /// Records the permits in use as a peak, even if they are in use for no time at all.
    fn record_peak_in_use(&mut self, at: Duration) {
        let (index, in_use) = (self.slice_index(at), self.current.all_in_use());
        if let Some(slice) = self.slices.get_mut(index) {
            slice.in_use.add(in_use, 0);
        }
    }

    /// Returns the slice of a time. The end of the run belongs to the last slice.
    fn slice_index(&self, at: Duration) -> usize {
        let index = at.as_nanos().checked_div(self.slice.as_nanos()).unwrap_or(0);
        usize::try_from(index).unwrap_or(usize::MAX).min(self.slices.len().saturating_sub(1))
    }
}

/// The number of slices: enough for a smooth curve at the width of a page.
const SLICES: u32 = 240;

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> GateRecord {
        GateRecord::new("uploads".to_owned(), 4, at(240)) // a slice is one second
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Each slice has the mean of the permits in use, weighted by time.
    #[test]
    fn means_are_weighted_by_time() {
        let mut record = record();
        record.admit(at(1), Duration::ZERO);
        record.admit(Duration::from_millis(2500), at(1));
        record.complete(at(4));
        record.finish(at(240));
        let means: Vec<f64> = record.slices[..5].iter().map(|slice| slice.in_use.mean(at(1))).collect();
        assert_eq!(means, [0.0, 1.0, 1.5, 2.0, 1.0]);
        assert_eq!((record.peak_in_use(), record.pending()), (2, 1));
        assert_eq!((record.current.in_use, record.current.waiting), (1, 0));
        assert_eq!(record.waits().count(), 2);
    }

    /// The permits of the gates within a gate are in use there, too, and are no requests of the gate itself.
    #[test]
    fn permits_of_gates_within_count_as_in_use() {
        let mut record = record();
        record.admit(at(0), Duration::ZERO);
        record.admit_within(at(1));
        record.complete_within(at(2));
        record.admit_within(at(3));
        record.finish(at(240));
        let means: Vec<f64> = record.slices[..4].iter().map(|slice| slice.in_use.mean(at(1))).collect();
        assert_eq!(means, [1.0, 2.0, 1.0, 2.0]);
        assert_eq!((record.peak_in_use(), record.pending(), record.waits().count()), (2, 1, 1));
    }

    /// A queue that exists for no time is seen as a peak, and does not change the mean.
    #[test]
    fn peaks_of_no_length_are_recorded() {
        let mut record = record();
        record.enqueue(at(10), 1);
        record.enqueue(at(10), 1); // the first one was admitted, and its task has not run yet
        record.dequeue(at(10));
        record.dequeue(at(10));
        record.finish(at(240));
        assert_eq!(record.peak_waiting(), 1);
        assert!(record.slices.iter().all(|slice| slice.waiting.mean(at(1)) == 0.0));
    }

    /// The limit at a time is the last one that was set before or at that time.
    #[test]
    fn limits_are_in_force_from_the_time_they_are_set() {
        let mut record = record();
        record.set_limit(at(10), 4);
        record.set_limit(at(20), 2);
        assert_eq!([0, 19, 20, 240].map(|seconds| record.limit_at(at(seconds))), [4, 4, 2, 2]);
        assert_eq!(record.limits.len(), 2, "an unchanged limit is not recorded again");
    }
}
