//! The fair queue as a [`Queue`].

use std::pin::Pin;
use std::task::Waker;

use super::FairQueue;
use super::node::NodeId;
use super::place::Place;
use crate::gate::permits::Word;
use crate::gate::queue::{Queue, Removal, Removed, Waiter, WaitingRequest};
use crate::gate::stats::{GateStats, increment};
use crate::gate::timer::TimerId;

impl FairQueue {
    /// As [`grant`](Queue::grant), if a gate of the tree sheds, or a request waits at a gate that tracks its holders.
    #[cold]
    #[inline(never)]
    fn grant_slow(&mut self, clock: impl Fn() -> i64) -> Option<Removed> {
        let shed_now = if self.sheds() { Some(clock()) } else { None };
        // A gate that sheds grants no request after its deadline, even if the timer of the request has not fired yet.
        if let Some(expired) = shed_now.and_then(|now| self.remove_expired_next(now)) {
            return Some(expired);
        }
        let next = self.find_next()?;
        // The record is added before `take`, because the waiter belongs to its owner afterwards.
        let removal = self.prepare_grant(next.leaf, next.priority, next.order);
        let record = removal.record();
        let granted = self.take(next, removal)?;
        // In a tree that does not shed, the clock is read only for a record or a measured wait.
        let now = match shed_now {
            Some(now) => now,
            None if granted.sample > 0 || !record.is_none() => clock(),
            None => 0,
        };
        self.complete_grant(record, now);
        self.count_granted(next.leaf, &granted, || now);
        self.observe_granted(next.leaf, granted.since, now);
        Some(granted)
    }

    #[inline]
    fn count_granted(&mut self, leaf: NodeId, granted: &Removed, clock: impl FnOnce() -> i64) {
        let Some(stats) = self.stats_of(leaf) else { return };
        increment(&mut stats.queue.admitted);
        if granted.sample > 0 {
            stats.record_wait(granted.since, granted.sample, clock());
        }
    }
}

impl Queue for FairQueue {
    type Place<'p> = &'p Place;
    type Node = NodeId;

    #[inline]
    fn len(&self) -> usize {
        self.waiting() as usize
    }

    fn update_stats(&mut self, place: &Place, change: impl FnMut(&mut GateStats)) {
        match (self.resolve(place), place) {
            (Some(id), _) => self.update_stats_at(id, change),
            // A key without a node: the request was rejected, or the node was given to another key.
            (None, Place::Key(key)) => self.update_stats_at(key.parent, change),
            (None, Place::Gate(_)) => {}
        }
    }

    fn release(&mut self, _: &mut Word, place: &Place, weight: u32) -> bool {
        if let Some(id) = self.resolve(place) {
            self.release_at(id, weight);
        }
        true // a `drained` future may wait for the release, too
    }

    #[expect(clippy::inline_always, reason = "benchmark row `key-cycle`: the request stays in registers")]
    #[inline(always)]
    fn grant(&mut self, _: &mut Word, clock: impl Fn() -> i64, mut on_removed: impl FnMut(Removed)) -> bool {
        if self.sheds() || self.tracker.has_waits() {
            return self.grant_slow(clock).map(on_removed).is_some();
        }
        let Some(next) = self.find_next() else { return false };
        let Some(granted) = self.take(next, Removal::Admitted) else { return false };
        self.count_granted(next.leaf, &granted, clock);
        on_removed(granted);
        true
    }

    #[inline]
    fn shed(&mut self, clock: impl Fn() -> i64, on_removed: impl FnMut(Removed)) -> bool {
        self.sheds() && self.waiting() > 0 && self.shed_overdue(clock(), on_removed)
    }

    fn cancel(&mut self, place: &Place, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let id = self.resolve(place)?;
        self.cancel_at(id, waiter, removal)
    }

    fn node(&self, place: &Place) -> NodeId {
        self.resolve(place).unwrap_or(NodeId::ROOT) // a gate at which a request waits has a node
    }

    fn remove_expired(
        &mut self,
        timer: TimerId,
        due: Vec<NodeId>,
        now: i64,
        on_removed: impl FnMut(Removed),
    ) {
        self.expire(timer, due, now, on_removed);
    }

    /// Visits all nodes.
    fn mark_timer_lost(&mut self, timer: TimerId, mut wake: impl FnMut(Waker)) {
        for node in self.nodes.iter_mut() {
            node.mark_timer_lost(timer, &mut wake);
        }
    }

    fn wake_early(&mut self, place: &Place, wake: impl FnMut(Waker)) {
        if let Some(leaf) = self.leaf_of(place) {
            self.nodes[leaf].wake_early(wake);
        }
    }

    fn replace_waker(&mut self, place: &Place, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        match self.leaf_of(place) {
            Some(leaf) => self.nodes[leaf].replace_waker(waiter, waker),
            None => Some(waker),
        }
    }

    fn request_mut(&mut self, place: &Place, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        let leaf = self.leaf_of(place)?;
        self.nodes[leaf].request_mut(waiter)
    }

    #[inline]
    fn may_be_drained(&self) -> bool {
        true
    }

    #[inline]
    fn clear_waiters(&self, word: &mut Word) {
        if self.waiting() == 0 {
            *word = word.without(Word::WAITERS);
        }
    }

    fn node_if_busy(&self, _: Word, place: &Place) -> Option<NodeId> {
        self.resolve(place).filter(|id| self.is_node_busy(*id))
    }

    fn is_busy(&self, _: Word, id: NodeId) -> bool {
        self.is_node_busy(id)
    }
}
