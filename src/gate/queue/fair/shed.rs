//! Which requests are rejected early, and in which order a leaf admits its own.

use super::FairQueue;
use super::node::{LeafOrder, NextRequest, NodeId};
use super::shedder::{ArrivalRecord, Shedder, SheddingGate};
use crate::gate::books::add;
use crate::gate::priority::{Priority, PrioritySet};
use crate::gate::queue::waiter::{Removal, Removed};
use crate::plan::Shed;

impl FairQueue {
    /// Has a gate shed the requests that wait there and below.
    pub(super) fn add_shedder(&mut self, gate: NodeId, shed: Shed) {
        self.shedding.push(SheddingGate { gate, shedder: Shedder::new(shed) });
    }

    /// Returns `true` if a gate of the tree sheds. Then each step needs the present instant.
    #[inline]
    pub(in crate::gate) fn sheds(&self) -> bool {
        !self.shedding.is_empty()
    }

    /// Returns which request of a leaf is the first one.
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

    pub(super) fn is_within(&self, id: NodeId, ancestor: NodeId) -> bool {
        self.path(id).any(|id| id == ancestor)
    }

    /// Returns `true` if this one of the gates that shed sheds the requests of a leaf.
    fn sheds_of(&self, at: usize, leaf: NodeId) -> bool {
        self.is_within(leaf, self.shedding[at].gate)
    }

    /// Completes the insertion of a request into the queue of a tree that sheds.
    #[cold]
    pub(super) fn finish_enqueue(&mut self, leaf: NodeId, priority: Priority, now: i64) {
        let is_first = self.order(leaf) == LeafOrder::NewestFirst;
        if is_first {
            self.nodes[leaf].awaits_limit = self.nodes[leaf].awaits_limit.without(priority);
        }
        self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| {
            node.waiting = node.waiting.saturating_add(1);
            // The chosen request is not the first one any more.
            node.forget_chosen(|chosen| is_first && chosen.leaf == leaf && chosen.priority == priority);
        });
        self.note_length(leaf);
        self.observe_enqueued(leaf, priority, now);
    }

    /// Observes that a request was put into the queue.
    fn observe_enqueued(&mut self, leaf: NodeId, priority: Priority, now: i64) {
        for at in 0..self.shedding.len() {
            if !self.sheds_of(at, leaf) {
                continue;
            }
            let SheddingGate { gate, ref mut shedder } = self.shedding[at];
            let waiting = self.nodes[gate].waiting;
            if waiting == 1 {
                shedder.begin_queue(now);
            }
            shedder.push_arrival(priority, ArrivalRecord { since: now, leaf });
            if shedder.has_too_many_arrivals(waiting) {
                self.collect_arrivals(at);
            }
            self.end_interval(at, now);
        }
    }

    /// Observes that a request was granted after a wait.
    #[cold]
    pub(super) fn observe_granted(&mut self, leaf: NodeId, since: i64, now: i64) {
        if self.is_any_paused() {
            return;
        }
        for at in 0..self.shedding.len() {
            if self.sheds_of(at, leaf) {
                let oldest = |priority| self.oldest(at, priority).map(|oldest| oldest.since);
                let oldest = Priority::ALL.into_iter().filter_map(oldest).min();
                let oldest = oldest.map_or(since, |oldest| oldest.min(since));
                self.shedding[at].shedder.observe_wait(now.saturating_sub(oldest), now);
                self.end_interval(at, now);
            }
        }
    }

    /// Begins an interval for each gate that sheds, after a pause.
    pub(super) fn restart_shedders(&mut self, now: i64) {
        for at in 0..self.shedding.len() {
            if self.shedding[at].shedder.restart(now) {
                self.reverse_order(at);
            }
        }
    }

    /// Observes that permits were released or acquired at a leaf: a gate above it may have room, and no request waiting.
    #[cold]
    pub(super) fn observe_room(&mut self, leaf: NodeId) {
        for at in 0..self.shedding.len() {
            let node = &self.nodes[self.shedding[at].gate];
            if node.waiting == 0 && node.available() > 0 && self.sheds_of(at, leaf) {
                self.shedding[at].shedder.observe_room();
            }
        }
    }

    /// Removes the request that is granted next if its deadline has passed, and counts it.
    pub(super) fn remove_expired_next(&mut self, now: i64) -> Option<Removed> {
        let NextRequest { leaf, priority, order, .. } = self.choose()?;
        if self.nodes[leaf].first(priority, order)?.deadline > now {
            return None;
        }
        self.forget_first(leaf, priority, order);
        let removed = self.nodes[leaf].pop_first(priority, order, Removal::Expired(now))?;
        self.finish_removal(leaf, PrioritySet::of(priority), 1);
        self.count_at(leaf, |books| add(&mut books.queue.expired, 1));
        Some(removed)
    }

    /// Returns whether the queue of a gate, or of one above it, is standing, and after how many nanoseconds a request that is rejected now
    /// should be made again.
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

    /// Removes the requests that have waited too long in a standing queue, and counts them. Returns `true` if there was one.
    #[cold]
    pub(super) fn shed_overdue(&mut self, now: i64, mut on_removed: impl FnMut(Removed)) -> bool {
        let mut has_shed = false;
        if self.is_any_paused() {
            return false;
        }
        for at in 0..self.shedding.len() {
            self.end_interval(at, now);
            // Requests of one priority only: with those gone, the ones of a higher priority may be in time.
            let mut lowest = None;
            while let Some((priority, arrival)) = self.next_shed(at, now) {
                if *lowest.get_or_insert(priority) != priority {
                    break;
                }
                let gate = self.shedding[at].gate;
                let shedder = &mut self.shedding[at].shedder;
                shedder.pop_arrival(priority);
                shedder.observe_shed(now);
                let retry_after = shedder.retry_after(self.nodes[gate].waiting, now);
                let level = self.level(arrival.leaf, gate);
                let removal = Removal::Shed { level, now, retry_after };
                self.forget_first(arrival.leaf, priority, LeafOrder::OldestFirst);
                let Some(removed) =
                    self.nodes[arrival.leaf].pop_first(priority, LeafOrder::OldestFirst, removal)
                else {
                    break;
                };
                // The newest one is the first: it has left only if it was the last one.
                let is_left = self.nodes[arrival.leaf].waiting_priorities.contains(priority);
                let lost_first = if is_left { PrioritySet::EMPTY } else { PrioritySet::of(priority) };
                self.finish_removal(arrival.leaf, lost_first, 1);
                self.count_at(arrival.leaf, |books| add(&mut books.queue.shed, 1));
                on_removed(removed);
                has_shed = true;
            }
        }
        has_shed
    }

    /// Returns the request that is shed next if the queue is standing: the oldest of the lowest priority, if it or one of a higher
    /// priority has waited too long.
    fn next_shed(&mut self, at: usize, now: i64) -> Option<(Priority, ArrivalRecord)> {
        if !self.shedding[at].shedder.is_standing() {
            return None;
        }
        let mut lowest = None;
        for priority in Priority::ALL {
            if let Some(oldest) = self.oldest(at, priority) {
                let lowest = *lowest.get_or_insert((priority, oldest));
                if self.shedding[at].shedder.is_overdue(oldest.since, now) {
                    return Some(lowest);
                }
            }
        }
        None
    }

    /// Returns the oldest request of a priority that waits at a gate or below.
    fn oldest(&mut self, at: usize, priority: Priority) -> Option<ArrivalRecord> {
        let gate = self.shedding[at].gate;
        while let Some(arrival) = self.shedding[at].shedder.oldest_arrival(priority) {
            // Older requests of this leaf have left: a newer one in front tells that this one has, too.
            let oldest = self.nodes[arrival.leaf].first(priority, LeafOrder::OldestFirst);
            if oldest.is_some_and(|oldest| oldest.since == arrival.since)
                && self.is_within(arrival.leaf, gate)
            {
                return Some(arrival);
            }
            self.shedding[at].shedder.pop_arrival(priority);
        }
        None
    }

    /// Notes all requests anew, without those that have left. Visits all nodes.
    #[cold]
    fn collect_arrivals(&mut self, at: usize) {
        let SheddingGate { gate, ref mut shedder } = self.shedding[at];
        shedder.clear_arrivals();
        for leaf in self.waiting_within(gate).collect::<Vec<_>>() {
            let shedder = &mut self.shedding[at].shedder;
            self.nodes[leaf].for_each_waiting(|priority, request| {
                shedder.push_arrival(priority, ArrivalRecord { since: request.since, leaf });
            });
        }
        self.shedding[at].shedder.sort_arrivals();
    }

    /// Ends the interval of a gate if its time is over. If the queue is standing then and was not, or the other way round, visits all
    /// nodes.
    fn end_interval(&mut self, at: usize, now: i64) {
        if self.shedding[at].shedder.end_interval(now) {
            self.reverse_order(at);
        }
    }

    /// Chooses anew among all requests of a gate, because another request is the first in each leaf now.
    fn reverse_order(&mut self, at: usize) {
        let gate = self.shedding[at].gate;
        for leaf in self.waiting_within(gate).filter(|id| self.nodes[*id].is_leaf()).collect::<Vec<_>>() {
            self.nodes[leaf].awaits_limit = PrioritySet::EMPTY;
            self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| {
                node.forget_chosen(|chosen| chosen.leaf == leaf);
            });
        }
    }

    /// Returns how long a request that arrives now will wait at least. Returns `None` if no gate above the leaf sheds, the rate is not
    /// known yet, or the request is the first one: without any that waits, a rate that is too low would never be corrected.
    pub(in crate::gate) fn predict_wait(&self, place: NodeId, priority: Priority) -> Option<i64> {
        let leaf = self.leaf(place);
        let node = &self.nodes[leaf];
        // Requests of a lower priority are passed.
        let is_last = node.waiting_priorities.lowest().is_none_or(|lowest| lowest >= priority);
        let ahead = if is_last && self.order(leaf) == LeafOrder::OldestFirst { node.waiting } else { 0 };
        if ahead == 0 {
            return None;
        }
        let predict = |at: usize| self.shedding[at].shedder.predict(ahead.saturating_add(1));
        (0..self.shedding.len()).filter(|at| self.sheds_of(*at, leaf)).filter_map(predict).max()
    }

    /// Returns after how many nanoseconds a request that is rejected on arrival should be made again. Returns `None` if no gate above
    /// sheds, or the rate is not known yet.
    #[cold]
    pub(in crate::gate) fn retry_after(&mut self, place: NodeId, now: i64) -> Option<i64> {
        let leaf = self.leaf(place);
        let mut latest = None;
        for at in 0..self.shedding.len() {
            if self.sheds_of(at, leaf) {
                let SheddingGate { gate, ref mut shedder } = self.shedding[at];
                latest = latest.max(shedder.retry_after(self.nodes[gate].waiting, now));
            }
        }
        latest
    }
}
