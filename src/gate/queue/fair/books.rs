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
    /// As [`grant`](Queue::grant), if a gate of the tree sheds. The request that is removed may also have expired.
    #[cold]
    #[inline(never)]
    fn grant_shedding(&mut self, now: i64) -> Option<Removed> {
        if let Some(expired) = self.remove_expired_next(now) {
            return Some(expired);
        }
        let (leaf, admitted, record) = self.next()?;
        self.complete_grant(record, now);
        self.count_at(leaf, |books| {
            count(&mut books.queue.admitted);
            books.record_wait(admitted.since, admitted.sample, now);
        });
        self.observe_granted(leaf, admitted.since, now);
        Some(admitted)
    }
}

impl Queue for FairQueue {
    type Place<'p> = &'p Place;
    type Drained = NodeId;

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
    fn grant(&mut self, _: &mut Word, clock: impl Fn() -> i64) -> Option<Removed> {
        if self.sheds() {
            return self.grant_shedding(clock());
        }
        let (leaf, admitted, record) = self.next()?;
        let waited = if admitted.sample > 0 { Some(clock()) } else { None };
        if !record.is_none() {
            self.complete_grant(record, waited.unwrap_or_else(clock));
        }
        self.count_at(leaf, |books| {
            count(&mut books.queue.admitted);
            if let Some(now) = waited {
                books.record_wait(admitted.since, admitted.sample, now);
            }
        });
        Some(admitted)
    }

    #[inline]
    fn shed(&mut self, clock: impl Fn() -> i64, removed: impl FnMut(Removed)) -> bool {
        self.sheds() && self.waiting() > 0 && self.shed_overdue(clock(), removed)
    }

    fn cancel(&mut self, place: &Place, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let id = self.resolve(place)?;
        self.cancel_at(id, waiter, removal)
    }

    fn remove_expired(&mut self, timer: TimerId, due: usize, now: i64, removed: impl FnMut(Removed)) {
        self.expire(timer, due, now, removed);
    }

    fn mark_timer_lost(&mut self, timer: TimerId, wake: impl FnMut(Waker)) {
        self.lose_timer(timer, wake);
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
