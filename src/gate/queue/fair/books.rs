//! The operations of the fair queue that count what happens.

use std::pin::Pin;
use std::task::Waker;

use super::FairQueue;
use super::node::NodeId;
use super::place::Place;
use crate::gate::books::{Books, count};
use crate::gate::permits::Word;
use crate::gate::queue::{Queue, Removal, Removed, Waiter, WaitingRequest};
use crate::gate::timer::TimerId;

impl FairQueue {
    /// As [`grant`](Queue::grant), if a gate of the tree sheds or tracks its holders.
    #[cold]
    #[inline(never)]
    fn grant_slow(&mut self, clock: impl Fn() -> i64) -> Option<Removed> {
        let shed_at = if self.sheds() { Some(clock()) } else { None };
        if let Some(expired) = shed_at.and_then(|now| self.remove_expired_next(now)) {
            return Some(expired);
        }
        let next = self.choose()?;
        let removal = self.grant_removal(next.leaf, next.priority, next.order);
        let record = removal.record();
        let admitted = self.take(next, removal)?;
        let now = match shed_at {
            Some(now) => now,
            None if admitted.sample > 0 || !record.is_none() => clock(),
            None => 0,
        };
        self.complete_grant(record, now);
        self.count_granted(next.leaf, &admitted, || now);
        self.observe_granted(next.leaf, admitted.since, now);
        Some(admitted)
    }

    #[inline]
    fn count_granted(&mut self, leaf: NodeId, admitted: &Removed, clock: impl FnOnce() -> i64) {
        let Some(books) = self.books_of(leaf) else { return };
        count(&mut books.queue.admitted);
        if admitted.sample > 0 {
            books.record_wait(admitted.since, admitted.sample, clock());
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

    fn count(&mut self, place: &Place, change: impl FnMut(&mut Books)) {
        match (self.resolve(place), place) {
            (Some(id), _) => self.count_at(id, change),
            // A key that became idle by the event has no node any more.
            (None, Place::Key(key)) => self.count_at(key.parent, change),
            (None, Place::Gate(_)) => {}
        }
    }

    fn release(&mut self, _: &mut Word, place: &Place, weight: u32) -> bool {
        if let Some(id) = self.resolve(place) {
            self.release_at(id, weight);
        }
        true // a drained gate may be waited for, too
    }

    #[expect(clippy::inline_always, reason = "benchmark row `key-cycle`: the request stays in registers")]
    #[inline(always)]
    fn grant(&mut self, _: &mut Word, clock: impl Fn() -> i64, mut removed: impl FnMut(Removed)) -> bool {
        if self.nodes[NodeId::ROOT].ready.is_empty() && !self.sheds() {
            return false;
        }
        if self.sheds() || self.tracker.has_waits() {
            return self.grant_slow(clock).map(removed).is_some();
        }
        let Some(next) = self.choose() else { return false };
        let Some(admitted) = self.take(next, Removal::Admitted) else { return false };
        self.count_granted(next.leaf, &admitted, clock);
        removed(admitted);
        true
    }

    #[inline]
    fn shed(&mut self, clock: impl Fn() -> i64, removed: impl FnMut(Removed)) -> bool {
        self.sheds() && self.waiting() > 0 && self.shed_overdue(clock(), removed)
    }

    fn cancel(&mut self, place: &Place, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let id = self.resolve(place)?;
        self.cancel_at(id, waiter, removal)
    }

    fn node(&self, place: &Place) -> NodeId {
        self.resolve(place).unwrap_or(NodeId::ROOT) // a gate at which a request waits has a node
    }

    fn remove_expired(&mut self, timer: TimerId, due: Vec<NodeId>, now: i64, removed: impl FnMut(Removed)) {
        self.expire(timer, due, now, removed);
    }

    fn mark_timer_lost(&mut self, timer: TimerId, wake: impl FnMut(Waker)) {
        self.lose_timer(timer, wake);
    }

    fn wake_early(&mut self, place: &Place, wake: impl FnMut(Waker)) {
        if let Some(id) = self.resolve(place) {
            let leaf = self.leaf(id);
            self.nodes[leaf].wake_early(wake);
        }
    }

    fn replace_waker(&mut self, place: &Place, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        match self.resolve(place) {
            Some(id) => self.replace_waker_at(id, waiter, waker),
            None => Some(waker),
        }
    }

    fn request_mut(&mut self, place: &Place, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        let id = self.resolve(place)?;
        self.request_at(id, waiter)
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

    fn busy(&self, _: Word, place: &Place) -> Option<NodeId> {
        self.resolve(place).filter(|id| self.is_node_busy(*id))
    }

    fn is_busy(&self, _: Word, id: NodeId) -> bool {
        self.is_node_busy(id)
    }
}
