//! What is written down of a gate while a simulation runs.

use std::time::Duration;

use concurrency_governor::GateName;
use concurrency_governor::gate::{AcquireError, Histogram};

/// The course of one gate: totals, and how it went in each slice of the time.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) gate: GateName,
    /// How long a slice is.
    pub(crate) slice: Duration,
    pub(crate) slices: Vec<Slice>,
    /// Each limit from when on it held.
    pub(crate) limits: Vec<(Duration, u32)>,
    pub(crate) totals: Totals,
    now: Now,
}

/// One slice of the time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    pub(crate) in_flight: Level,
    pub(crate) waiting: Level,
    /// How long those admitted in it had waited, those at once included.
    pub(crate) waits: Histogram,
}

/// A number of requests over a slice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level {
    pub(crate) most: u32,
    /// Requests times nanoseconds.
    area: u128,
}

impl Level {
    /// The mean over a stretch of time.
    #[expect(clippy::cast_precision_loss, reason = "a picture needs three digits")]
    pub(crate) fn mean(self, over: Duration) -> f64 {
        let nanos = over.as_nanos();
        if nanos == 0 { 0.0 } else { self.area as f64 / nanos as f64 }
    }

    fn add(&mut self, level: u32, nanos: u128) {
        self.most = self.most.max(level);
        self.area = self.area.saturating_add(u128::from(level).saturating_mul(nanos));
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) arrived: u64,
    pub(crate) completed: u64,
    pub(crate) queue_full: u64,
    pub(crate) expired: u64,
    /// Refused for another reason, such as a limit lowered below a weight.
    pub(crate) other: u64,
}

impl Totals {
    pub(crate) fn shed(self) -> u64 {
        self.queue_full.saturating_add(self.expired).saturating_add(self.other)
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    since: Duration,
    in_flight: u32,
    waiting: u32,
}

impl Record {
    pub(super) fn new(gate: GateName, limit: u32, length: Duration) -> Self {
        let slice = length.checked_div(SLICES).unwrap_or_default().max(Duration::from_nanos(1));
        let slices = vec![Slice::default(); usize::try_from(SLICES).unwrap_or(1)];
        let limits = vec![(Duration::ZERO, limit)];
        Self { gate, slice, slices, limits, totals: Totals::default(), now: Now::default() }
    }

    pub(super) fn arrive(&mut self) {
        self.totals.arrived = self.totals.arrived.saturating_add(1);
    }

    pub(super) fn join(&mut self, at: Duration) {
        self.advance(at);
        self.now.waiting = self.now.waiting.saturating_add(1);
        self.touch(at);
    }

    pub(super) fn leave(&mut self, at: Duration) {
        self.advance(at);
        self.now.waiting = self.now.waiting.saturating_sub(1);
    }

    pub(super) fn admit(&mut self, at: Duration, waited: Duration) {
        self.advance(at);
        self.now.in_flight = self.now.in_flight.saturating_add(1);
        self.touch(at);
        let index = self.index(at);
        if let Some(slice) = self.slices.get_mut(index) {
            slice.waits.record(waited);
        }
    }

    pub(super) fn complete(&mut self, at: Duration) {
        self.advance(at);
        self.now.in_flight = self.now.in_flight.saturating_sub(1);
        self.totals.completed = self.totals.completed.saturating_add(1);
    }

    pub(super) fn refuse(&mut self, error: &AcquireError) {
        let count = match error {
            AcquireError::QueueFull { .. } => &mut self.totals.queue_full,
            AcquireError::DeadlineExceeded { .. } => &mut self.totals.expired,
            _ => &mut self.totals.other,
        };
        *count = count.saturating_add(1);
    }

    pub(super) fn limit(&mut self, at: Duration, limit: u32) {
        if self.limits.last().is_none_or(|(_, last)| *last != limit) {
            self.limits.push((at, limit));
        }
    }

    /// Nothing more is written down.
    pub(super) fn end(&mut self, at: Duration) {
        self.advance(at);
    }

    /// Requests that were at work, and that waited, at the end.
    pub(crate) fn left(&self) -> (u32, u32) {
        (self.now.in_flight, self.now.waiting)
    }

    /// The limit at a time.
    pub(crate) fn limit_at(&self, at: Duration) -> u32 {
        let before = self.limits.iter().take_while(|(since, _)| *since <= at);
        before.last().map_or(0, |(_, limit)| *limit)
    }

    /// How long all that were admitted had waited.
    pub(crate) fn waits(&self) -> Histogram {
        let mut all = Histogram::default();
        self.slices.iter().for_each(|slice| all.merge(&slice.waits));
        all
    }

    pub(crate) fn peak(&self) -> u32 {
        self.slices.iter().map(|slice| slice.in_flight.most).max().unwrap_or(0)
    }

    pub(crate) fn longest_line(&self) -> u32 {
        self.slices.iter().map(|slice| slice.waiting.most).max().unwrap_or(0)
    }

    /// How many were at work on average.
    #[expect(clippy::cast_precision_loss, reason = "there are a few hundred slices")]
    pub(crate) fn mean_in_flight(&self) -> f64 {
        let sum: f64 = self.slices.iter().map(|slice| slice.in_flight.mean(self.slice)).sum();
        sum / self.slices.len().max(1) as f64
    }

    /// Writes down how it stood until now.
    fn advance(&mut self, at: Duration) {
        while self.now.since < at {
            let index = self.index(self.now.since);
            let end = self.slice.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1));
            let until = if end > self.now.since { end.min(at) } else { at };
            let nanos = until.saturating_sub(self.now.since).as_nanos();
            if let Some(slice) = self.slices.get_mut(index) {
                slice.in_flight.add(self.now.in_flight, nanos);
                slice.waiting.add(self.now.waiting, nanos);
            }
            self.now.since = until;
        }
    }

    /// A peak counts however short it is.
    fn touch(&mut self, at: Duration) {
        let (index, now) = (self.index(at), self.now);
        if let Some(slice) = self.slices.get_mut(index) {
            slice.in_flight.add(now.in_flight, 0);
            slice.waiting.add(now.waiting, 0);
        }
    }

    /// The slice of a time; the last one holds the end.
    fn index(&self, at: Duration) -> usize {
        let index = at.as_nanos().checked_div(self.slice.as_nanos()).unwrap_or(0);
        usize::try_from(index).unwrap_or(usize::MAX).min(self.slices.len().saturating_sub(1))
    }
}

/// Enough for a line that looks smooth at the width of a page.
const SLICES: u32 = 240;

#[cfg(test)]
mod tests {
    use super::*;

    const GATE: GateName = GateName::new("uploads");

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is in flight is spread over the slices that it lasts for.
    #[test]
    fn levels_are_weighted_by_time() {
        let mut record = Record::new(GATE, 4, at(240)); // a slice is a second
        record.admit(at(1), Duration::ZERO);
        record.admit(Duration::from_millis(2500), at(1));
        record.complete(at(4));
        record.end(at(240));
        let means: Vec<f64> = record.slices[..5].iter().map(|slice| slice.in_flight.mean(at(1))).collect();
        assert_eq!(means, [0.0, 1.0, 1.5, 2.0, 1.0]);
        assert_eq!((record.peak(), record.left()), (2, (1, 0)));
        assert_eq!(record.waits().count(), 2);
    }

    /// A line that forms and goes within no time is seen as a peak, and weighs nothing.
    #[test]
    fn short_peaks_are_kept() {
        let mut record = Record::new(GATE, 4, at(240));
        record.join(at(10));
        record.leave(at(10));
        record.end(at(240));
        assert_eq!(record.longest_line(), 1);
        assert!(record.slices.iter().all(|slice| slice.waiting.mean(at(1)) == 0.0));
    }

    /// The limit of a time is the last one set before.
    #[test]
    fn limits_hold_from_when_they_are_set() {
        let mut record = Record::new(GATE, 4, at(240));
        record.limit(at(10), 4);
        record.limit(at(20), 2);
        assert_eq!([0, 19, 20, 240].map(|seconds| record.limit_at(at(seconds))), [4, 4, 2, 2]);
        assert_eq!(record.limits.len(), 2, "what does not change is not written down");
    }
}
