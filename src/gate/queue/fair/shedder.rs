//! Detects a standing queue by the shortest wait of an interval, as controlled delay does (`CoDel`, RFC 8289), and measures how fast the
//! queue drains. Pure: the caller passes the instants, in nanoseconds.

use std::collections::VecDeque;

use super::node::NodeId;
use crate::gate::clock;
use crate::gate::priority::{PRIORITIES, Priority};
use crate::plan::Shed;

/// Observes the waits of the requests that are granted at one gate and below.
pub(super) struct Shedder {
    target: i64,
    interval: i64,
    interval_start: i64,
    /// The shortest time that the oldest request had waited, over all grants of this interval; `i64::MAX` if there was no grant.
    shortest_wait: i64,
    is_standing: bool,
    /// While the queue is standing: when the last request was shed, or when the queue became standing if none was shed since.
    last_shed: i64,
    drain: DrainRate,
    /// The last retry time that was reserved.
    last_retry: i64,
    /// For each priority, when and where requests arrived, the oldest first. Some of them have left the queue since.
    arrivals: [VecDeque<ArrivalRecord>; PRIORITIES],
}

/// A gate that sheds.
pub(super) struct SheddingGate {
    pub(super) gate: NodeId,
    pub(super) shedder: Shedder,
}

/// When and where a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArrivalRecord {
    pub(super) since: i64,
    pub(super) leaf: NodeId,
}

impl Shedder {
    pub(super) fn new(shed: Shed) -> Self {
        Self {
            target: clock::from_duration(shed.target()),
            interval: clock::from_duration(shed.interval()),
            interval_start: i64::MIN,
            shortest_wait: i64::MAX,
            is_standing: false,
            last_shed: i64::MIN,
            drain: DrainRate::default(),
            last_retry: i64::MIN,
            arrivals: Default::default(),
        }
    }

    #[inline]
    pub(super) const fn is_standing(&self) -> bool {
        self.is_standing
    }

    /// Observes the first request of a queue that was empty: an interval begins, unless the queue is standing.
    pub(super) fn begin_queue(&mut self, now: i64) {
        if !self.is_standing {
            (self.interval_start, self.shortest_wait) = (now, i64::MAX);
        }
        self.clear_arrivals();
        self.drain.begin(now);
    }

    /// Observes that a request was granted. `waited` is the wait of the oldest request at this instant. That may be another request, which
    /// waits behind others with a higher priority.
    pub(super) fn observe_wait(&mut self, waited: i64, now: i64) {
        self.shortest_wait = self.shortest_wait.min(waited.max(0));
        self.drain.count(now);
    }

    /// Observes that permits are available and no request waits: a request that arrived now would not wait.
    pub(super) const fn observe_room(&mut self) {
        self.shortest_wait = 0;
        self.drain.interrupt();
    }

    /// Begins a new interval after a pause, because the waits during the pause say nothing about the load. Returns `true` if the queue was
    /// standing.
    pub(super) const fn restart(&mut self, now: i64) -> bool {
        let was_standing = self.is_standing;
        self.is_standing = false;
        (self.interval_start, self.shortest_wait) = (now, i64::MAX);
        self.drain.interrupt();
        was_standing
    }

    /// Observes that a request was shed.
    pub(super) const fn observe_shed(&mut self, now: i64) {
        self.last_shed = now;
    }

    /// Ends the interval if its time is over. Returns `true` if this changes whether the queue is standing.
    ///
    /// A queue becomes standing after an interval in which requests waited all the time, some were granted, and at each grant the oldest
    /// request had waited longer than the target. The queue stays standing until no request was shed for a whole interval. The waits do not
    /// decide that, because the newest request is granted first meanwhile.
    pub(super) const fn end_interval(&mut self, now: i64) -> bool {
        let was_standing = self.is_standing;
        let start = if was_standing { self.last_shed } else { self.interval_start };
        if now.saturating_sub(start) < self.interval {
            return false;
        }
        // An interval in which no request was granted says nothing, so it goes on.
        if !was_standing && self.shortest_wait == i64::MAX {
            return false;
        }
        self.is_standing = !was_standing && self.shortest_wait > self.target;
        (self.interval_start, self.last_shed, self.shortest_wait) = (now, now, i64::MAX);
        was_standing != self.is_standing
    }

    /// Returns `true` if the queue is standing, and it became standing or a request was shed within the last interval.
    pub(super) const fn is_standing_at(&self, now: i64) -> bool {
        self.is_standing && now.saturating_sub(self.last_shed) < self.interval
    }

    /// Returns `true` if a request that arrived at `since` has waited longer than the target.
    pub(super) const fn is_overdue(&self, since: i64, now: i64) -> bool {
        now.saturating_sub(since) > self.target
    }

    /// Returns the expected wait of the request at a position of the queue, from 1 on. Returns `None` if the rate is not known.
    pub(super) fn predict(&self, position: u32) -> Option<i64> {
        Some(self.drain.mean_gap()?.saturating_mul(position.into()))
    }

    /// Reserves the next retry time, and returns the nanoseconds until then. Returns `None` if the rate is not known.
    pub(super) fn reserve_retry(&mut self, waiting: u32, now: i64) -> Option<i64> {
        let wait = self.next_retry(waiting, now)?;
        self.last_retry = now.saturating_add(wait);
        Some(wait)
    }

    /// Returns the nanoseconds until the next retry time, and does not reserve it.
    ///
    /// A rejected request should be made again at its retry time. That is when the queue will have drained. Each further request gets a
    /// later time, so that they do not all come back at once. Retries get half of the rate; the other half is left to new requests.
    pub(super) fn next_retry(&self, waiting: u32, now: i64) -> Option<i64> {
        let gap = self.drain.mean_gap()?;
        let drained = gap.saturating_mul(waiting.into());
        let next = self.last_retry.saturating_add(gap.saturating_mul(2)).saturating_sub(now);
        Some(drained.max(next).clamp(SHORTEST_RETRY, LONGEST_RETRY))
    }

    pub(super) fn push_arrival(&mut self, priority: Priority, arrival: ArrivalRecord) {
        self.arrivals[priority.index()].push_back(arrival);
    }

    pub(super) fn oldest_arrival(&self, priority: Priority) -> Option<ArrivalRecord> {
        self.arrivals[priority.index()].front().copied()
    }

    pub(super) fn pop_arrival(&mut self, priority: Priority) {
        self.arrivals[priority.index()].pop_front();
    }

    pub(super) fn sort_arrivals(&mut self) {
        for arrivals in &mut self.arrivals {
            arrivals.make_contiguous().sort_by_key(|arrival| arrival.since);
        }
    }

    pub(super) fn clear_arrivals(&mut self) {
        for arrivals in &mut self.arrivals {
            arrivals.clear();
        }
    }

    /// Returns `true` if more than half of the arrival records, beyond a few, are of requests that have left.
    pub(super) fn has_too_many_arrivals(&self, waiting: u32) -> bool {
        let records = self.arrivals.iter().fold(0_usize, |sum, arrivals| sum.saturating_add(arrivals.len()));
        records > FEW_ARRIVALS.saturating_add((waiting as usize).saturating_mul(2))
    }
}

/// The mean time between two grants, as an exponentially weighted moving average. Only gaps of a busy gate count: a gap
/// in which permits were available says nothing about the rate.
#[derive(Debug, Default)]
struct DrainRate {
    mean_gap: i64,
    gaps: i64,
    last: Option<i64>,
}

impl DrainRate {
    fn count(&mut self, now: i64) {
        if let Some(last) = self.last.replace(now) {
            let gap = now.saturating_sub(last).max(0);
            self.gaps = self.gaps.saturating_add(1).min(AVERAGED);
            // The mean of the first gaps, then the weight 1/32 for each further one.
            let change = gap.saturating_sub(self.mean_gap).checked_div(self.gaps).unwrap_or(0);
            self.mean_gap = self.mean_gap.saturating_add(change);
        }
    }

    /// Begins a gap, unless one has begun already.
    const fn begin(&mut self, now: i64) {
        if self.last.is_none() {
            self.last = Some(now);
        }
    }

    /// Discards the gap that has begun.
    const fn interrupt(&mut self) {
        self.last = None;
    }

    /// Returns the mean time between two grants, or `None` until a gap was measured.
    const fn mean_gap(&self) -> Option<i64> {
        if self.gaps > 0 { Some(self.mean_gap) } else { None }
    }
}

/// How many gaps are averaged: enough that permits which are released together do not count as a high rate.
const AVERAGED: i64 = 32;
/// Up to this number of arrival records the list is not rebuilt.
const FEW_ARRIVALS: usize = 64;
/// 10 ms.
const SHORTEST_RETRY: i64 = 10_000_000;
/// 60 s.
const LONGEST_RETRY: i64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: i64 = 1_000_000;

    fn shedder() -> Shedder {
        Shedder::new(Shed::after(Duration::from_millis(20)))
    }

    /// A queue is standing after an interval whose shortest wait was above the target, and until no request is shed for an interval.
    #[test]
    fn the_shortest_wait_of_an_interval_decides() {
        let mut shedder = shedder();
        shedder.begin_queue(0);
        for now in 1..10 {
            shedder.observe_wait(30 * MS, now * 10 * MS);
            assert!(!shedder.end_interval(now * 10 * MS));
        }
        assert!(shedder.end_interval(100 * MS) && shedder.is_standing());
        shedder.observe_wait(MS, 110 * MS);
        shedder.observe_shed(150 * MS);
        assert!(!shedder.end_interval(249 * MS) && shedder.is_standing_at(249 * MS));
        assert!(!shedder.is_standing_at(250 * MS) && shedder.is_standing());
        assert!(shedder.end_interval(250 * MS) && !shedder.is_standing());
        // The next interval begins here.
        shedder.observe_wait(30 * MS, 260 * MS);
        assert!(!shedder.end_interval(349 * MS) && shedder.end_interval(350 * MS));
    }

    /// One short wait among long ones keeps a queue from being standing, and so does room.
    #[test]
    fn one_short_wait_is_enough() {
        for room in [false, true] {
            let mut shedder = shedder();
            shedder.begin_queue(0);
            shedder.observe_wait(500 * MS, 10 * MS);
            if room {
                shedder.observe_room();
            } else {
                shedder.observe_wait(20 * MS, 11 * MS);
            }
            shedder.observe_wait(500 * MS, 12 * MS);
            assert!(!shedder.end_interval(100 * MS));
        }
    }

    /// An interval without an admission goes on until the next one. An empty queue begins a new interval.
    #[test]
    fn an_interval_without_admissions_says_nothing() {
        for is_empty in [false, true] {
            let mut shedder = shedder();
            shedder.begin_queue(0);
            assert!(!shedder.end_interval(500 * MS) && !shedder.is_standing());
            if is_empty {
                shedder.begin_queue(550 * MS);
            }
            shedder.observe_wait(30 * MS, 600 * MS);
            assert_eq!(shedder.end_interval(600 * MS), !is_empty);
        }
    }

    /// The rate counts the gaps between admissions while the gate is busy, whether the permits come one by one or together.
    #[test]
    fn the_rate_is_that_of_the_busy_time() {
        let mut shedder = shedder();
        assert_eq!(shedder.predict(1), None);
        let mut now = 0;
        for _ in 0..100 {
            for _ in 0..5 {
                shedder.observe_wait(0, now);
            }
            now += 50 * MS;
        }
        let predicted = shedder.predict(10).unwrap();
        assert!((90 * MS..110 * MS).contains(&predicted), "{predicted}");
        // An idle hour changes nothing.
        shedder.observe_room();
        shedder.observe_wait(0, now + 3_600_000 * MS);
        assert_eq!(shedder.predict(10), Some(predicted));
    }

    /// Rejected requests get different retry times, not before the queue has drained, between 10 ms and 60 s.
    #[test]
    fn retries_are_spread() {
        let mut shedder = shedder();
        assert_eq!(shedder.reserve_retry(100, 0), None);
        for number in 0..10 {
            shedder.observe_wait(0, number * 10 * MS);
        }
        let retries: Vec<i64> = (0..4).map(|_| shedder.reserve_retry(5, 100 * MS).unwrap() / MS).collect();
        assert_eq!(retries, [50, 70, 90, 110]);
        assert_eq!(shedder.reserve_retry(0, 100_000 * MS), Some(10 * MS));
        assert_eq!(shedder.reserve_retry(u32::MAX, 200_000 * MS), Some(60_000 * MS));
    }
}
