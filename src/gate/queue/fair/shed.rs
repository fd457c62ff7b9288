//! Load shedding: the requests that are rejected early, by controlled delay (`CoDel`, RFC 8289), and the order in which a leaf grants its
//! requests: newest first while the queue is standing ("adaptive LIFO").

use super::FairQueue;
use super::node::{LeafOrder, NextRequest, NodeId};
use super::shedder::{ArrivalRecord, Shedder, SheddingGate};
use crate::gate::priority::{Priority, PrioritySet};
use crate::gate::queue::waiter::{Removal, Removed};
use crate::gate::stats::add;
use crate::plan::Shed;

impl FairQueue {
    /// Adds a shedder for the requests that wait at a gate and below.
    pub(super) fn add_shedder(&mut self, gate: NodeId, shed: Shed) {
        self.shedding.push(SheddingGate { gate, shedder: Shedder::new(shed) });
    }

    /// Returns `true` if a gate of the tree sheds. Then each grant needs the present instant, and so does each arrival at a gate that sheds
    /// or is within one.
    #[inline]
    pub(in crate::gate) fn sheds(&self) -> bool {
        !self.shedding.is_empty()
    }

    /// Returns the order in which a leaf grants its requests.
    #[inline]
    pub(super) fn order(&self, leaf: NodeId) -> LeafOrder {
        if self
            .shedding
            .iter()
            .any(|shedding| shedding.shedder.is_standing() && self.is_within(leaf, shedding.gate))
        {
            LeafOrder::NewestFirst
        } else {
            LeafOrder::OldestFirst
        }
    }

    /// Returns `true` if the shedding gate with this index is the gate of a leaf or above it.
    fn is_shed_by(&self, leaf: NodeId, index: usize) -> bool {
        self.is_within(leaf, self.shedding[index].gate)
    }

    /// Completes the insertion of a request into the queue of a tree that sheds.
    #[cold]
    pub(super) fn finish_enqueue(&mut self, leaf: NodeId, priority: Priority, now: i64) {
        // In newest-first order the new request is the first of its priority. So the previous first one is no longer chosen, and does not
        // mark the priority as waiting for a higher limit any more.
        let is_first = self.order(leaf) == LeafOrder::NewestFirst;
        if is_first {
            self.nodes[leaf].awaits_limit = self.nodes[leaf].awaits_limit.without(priority);
        }
        self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| {
            node.waiting = node.waiting.saturating_add(1);
            node.forget_chosen(|chosen| is_first && chosen.leaf == leaf && chosen.priority == priority);
        });
        self.note_length(leaf);
        self.observe_enqueued(leaf, priority, now);
    }

    /// Observes that a request was put into the queue.
    fn observe_enqueued(&mut self, leaf: NodeId, priority: Priority, now: i64) {
        for index in 0..self.shedding.len() {
            if !self.is_shed_by(leaf, index) {
                continue;
            }
            let SheddingGate { gate, ref mut shedder } = self.shedding[index];
            let waiting = self.nodes[gate].waiting;
            if waiting == 1 {
                shedder.begin_queue(now);
            }
            shedder.push_arrival(priority, ArrivalRecord { since: now, leaf });
            // The record of a request that has left is removed only when it is the oldest. Without a rebuild, the records of requests that
            // leave from the middle of the queue would accumulate without a bound.
            if shedder.has_too_many_arrivals(waiting) {
                self.collect_arrivals(index);
            }
            self.end_interval(index, now);
        }
    }

    /// Observes that a request was granted after a wait.
    #[cold]
    pub(super) fn observe_granted(&mut self, leaf: NodeId, since: i64, now: i64) {
        if self.is_any_paused() {
            return;
        }
        for index in 0..self.shedding.len() {
            if self.is_shed_by(leaf, index) {
                // The wait of the oldest request decides, of any priority: otherwise requests of a high priority, which are granted soon,
                // would hide that the others wait.
                let oldest = |priority| self.oldest(index, priority).map(|oldest| oldest.since);
                let oldest = Priority::ALL.into_iter().filter_map(oldest).min();
                let oldest = oldest.map_or(since, |oldest| oldest.min(since));
                self.shedding[index].shedder.observe_wait(now.saturating_sub(oldest), now);
                self.end_interval(index, now);
            }
        }
    }

    /// Begins a new interval for each gate that sheds, after a pause.
    pub(super) fn restart_shedders(&mut self, now: i64) {
        for index in 0..self.shedding.len() {
            if self.shedding[index].shedder.restart(now) {
                self.clear_choices(index);
            }
        }
    }

    /// Observes that permits were released or acquired at a leaf: a gate above it may have room, and no request waiting.
    #[cold]
    pub(super) fn observe_room(&mut self, leaf: NodeId) {
        for index in 0..self.shedding.len() {
            let node = &self.nodes[self.shedding[index].gate];
            if node.waiting == 0 && node.available() > 0 && self.is_shed_by(leaf, index) {
                self.shedding[index].shedder.observe_room();
            }
        }
    }

    /// Removes the request that is granted next if its deadline has passed, and counts it.
    pub(super) fn remove_expired_next(&mut self, now: i64) -> Option<Removed> {
        let NextRequest { leaf, priority, order, .. } = self.find_next()?;
        if self.nodes[leaf].first(priority, order)?.deadline > now {
            return None;
        }
        self.forget_first(leaf, priority, order);
        let removed = self.nodes[leaf].pop_first(priority, order, Removal::Expired(now))?;
        self.finish_removal(leaf, PrioritySet::of(priority), 1);
        self.update_stats_at(leaf, |stats| add(&mut stats.queue.expired, 1));
        Some(removed)
    }

    /// Returns a pair: `true` if the queue of a gate, or of one above it, is standing; and the nanoseconds until the next retry time, or
    /// `None` if no gate above sheds or no rate is known yet.
    pub(in crate::gate) fn shed_status(
        &self,
        gate: NodeId,
        clock: impl FnOnce() -> i64,
    ) -> (bool, Option<i64>) {
        if !self.sheds() {
            return (false, None);
        }
        let now = clock();
        let above = self.shedding.iter().filter(|shedding| self.is_within(gate, shedding.gate));
        above.fold((false, None), |(is_standing, retry_after), SheddingGate { gate, shedder }| {
            let next_retry = shedder.next_retry(self.nodes[*gate].waiting, now);
            (is_standing || shedder.is_standing_at(now), retry_after.max(next_retry))
        })
    }

    /// Removes requests from each standing queue in which one has waited too long: the oldest ones of the lowest priority. Counts them, and
    /// returns `true` if it removed any.
    #[cold]
    pub(super) fn shed_overdue(&mut self, now: i64, mut on_removed: impl FnMut(Removed)) -> bool {
        let mut has_shed = false;
        if self.is_any_paused() {
            return false;
        }
        for index in 0..self.shedding.len() {
            self.end_interval(index, now);
            // Requests of one priority only. Once these have left, those of a higher priority may fit. They are granted before any is shed.
            let mut lowest = None;
            while let Some((priority, arrival)) = self.next_shed(index, now) {
                if *lowest.get_or_insert(priority) != priority {
                    break;
                }
                let gate = self.shedding[index].gate;
                let shedder = &mut self.shedding[index].shedder;
                shedder.pop_arrival(priority);
                shedder.observe_shed(now);
                let retry_after = shedder.reserve_retry(self.nodes[gate].waiting, now);
                let level = self.level(arrival.leaf, gate);
                let removal = Removal::Shed { level, now, retry_after };
                self.forget_first(arrival.leaf, priority, LeafOrder::OldestFirst);
                let Some(removed) =
                    self.nodes[arrival.leaf].pop_first(priority, LeafOrder::OldestFirst, removal)
                else {
                    break;
                };
                // While the queue is standing the newest request is the first one, and the oldest the last one.
                self.finish_last_removal(arrival.leaf, priority);
                self.update_stats_at(arrival.leaf, |stats| add(&mut stats.queue.shed, 1));
                on_removed(removed);
                has_shed = true;
            }
        }
        has_shed
    }

    /// Returns the request that is shed next if the queue is standing: the oldest of the lowest priority, if it or one of a higher
    /// priority has waited too long.
    fn next_shed(&mut self, index: usize, now: i64) -> Option<(Priority, ArrivalRecord)> {
        if !self.shedding[index].shedder.is_standing() {
            return None;
        }
        let mut lowest = None;
        for priority in Priority::ALL {
            if let Some(oldest) = self.oldest(index, priority) {
                let lowest = *lowest.get_or_insert((priority, oldest));
                if self.shedding[index].shedder.is_overdue(oldest.since, now) {
                    return Some(lowest);
                }
            }
        }
        None
    }

    /// Returns the oldest request of a priority that waits at a gate or below. Removes the records in front of it, whose
    /// requests have left.
    fn oldest(&mut self, index: usize, priority: Priority) -> Option<ArrivalRecord> {
        let gate = self.shedding[index].gate;
        while let Some(arrival) = self.shedding[index].shedder.oldest_arrival(priority) {
            // The oldest waiter of the leaf decides whether the request of this record still waits: if that waiter is newer, the request
            // has left.
            let oldest = self.nodes[arrival.leaf].first(priority, LeafOrder::OldestFirst);
            if oldest.is_some_and(|oldest| oldest.since == arrival.since)
                && self.is_within(arrival.leaf, gate)
            {
                return Some(arrival);
            }
            self.shedding[index].shedder.pop_arrival(priority);
        }
        None
    }

    /// Rebuilds the arrival records from the waiting requests, without those that have left. Visits all nodes.
    #[cold]
    fn collect_arrivals(&mut self, index: usize) {
        let SheddingGate { gate, ref mut shedder } = self.shedding[index];
        shedder.clear_arrivals();
        for leaf in self.waiting_within(gate).collect::<Vec<_>>() {
            let shedder = &mut self.shedding[index].shedder;
            self.nodes[leaf].for_each_waiting(|priority, request| {
                shedder.push_arrival(priority, ArrivalRecord { since: request.since, leaf });
            });
        }
        self.shedding[index].shedder.sort_arrivals();
    }

    /// Ends the interval of a gate if its time is over. Visits all nodes if that changes whether the queue is standing.
    fn end_interval(&mut self, index: usize, now: i64) {
        if self.shedding[index].shedder.end_interval(now) {
            self.clear_choices(index);
        }
    }

    /// Clears the chosen requests, and the priorities that wait for a higher limit, at a gate and below: another request is the first in
    /// each leaf now.
    fn clear_choices(&mut self, index: usize) {
        let gate = self.shedding[index].gate;
        for leaf in self.waiting_within(gate).filter(|id| self.nodes[*id].is_leaf()).collect::<Vec<_>>() {
            self.nodes[leaf].awaits_limit = PrioritySet::EMPTY;
            self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| {
                node.forget_chosen(|chosen| chosen.leaf == leaf);
            });
        }
    }

    /// Estimates how long a request that arrives now will wait at least. Returns `None` if no gate above the leaf sheds, the rate is not
    /// known yet, or no request of its leaf is certain to be granted before this one. So a request may always wait in an empty leaf,
    /// however low the rate is. That is needed because only grants of requests that waited correct a rate that is too low.
    pub(in crate::gate) fn predict_wait(&self, gate: NodeId, priority: Priority) -> Option<i64> {
        let leaf = self.leaf(gate);
        let node = &self.nodes[leaf];
        // If requests of a lower priority wait, this one overtakes them, so their number predicts nothing.
        let is_last = node.waiting_priorities.lowest().is_none_or(|lowest| lowest >= priority);
        let ahead = if is_last && self.order(leaf) == LeafOrder::OldestFirst { node.waiting } else { 0 };
        if ahead == 0 {
            return None;
        }
        let predict = |index: usize| self.shedding[index].shedder.predict(ahead.saturating_add(1));
        (0..self.shedding.len()).filter(|index| self.is_shed_by(leaf, *index)).filter_map(predict).max()
    }

    /// Reserves the next retry time for a request that is rejected on arrival, and returns the nanoseconds until then. Returns `None` if no
    /// gate above sheds, or the rate is not known yet.
    #[cold]
    pub(in crate::gate) fn reserve_retry(&mut self, gate: NodeId, now: i64) -> Option<i64> {
        let leaf = self.leaf(gate);
        let mut latest = None;
        for index in 0..self.shedding.len() {
            if self.is_shed_by(leaf, index) {
                let SheddingGate { gate: shedding, ref mut shedder } = self.shedding[index];
                latest = latest.max(shedder.reserve_retry(self.nodes[shedding].waiting, now));
            }
        }
        latest
    }
}
