//! The queue of a standalone gate: first come, first served, whatever the weights.

use std::pin::Pin;
use std::task::Waker;

use super::Queue;
use super::list::{ListEnd, Visit, WaitList, Waiter};
use super::waiter::{Removal, Removed, WaiterRules, WaitingRequest};
use crate::gate::permits::Word;
use crate::gate::stats::{GateStats, add, increment};
use crate::gate::timer::TimerId;
use crate::plan::Limit;

/// A first-in, first-out wait queue. Each operation on one request takes constant time.
#[repr(C)] // see `GateState`
pub(in crate::gate) struct FifoQueue {
    list: WaitList,
    len: usize,
    /// An upper bound of the weights of the queued requests that do not wait for the limit. Meaningless while the queue is empty.
    max_weight: u32,
    stats: GateStats,
}

impl FifoQueue {
    pub(in crate::gate) fn new(stats: GateStats) -> Self {
        Self { list: WaitList::new(), len: 0, max_weight: 0, stats }
    }

    #[inline]
    pub(in crate::gate) const fn stats(&self) -> &GateStats {
        &self.stats
    }

    #[inline]
    pub(in crate::gate) const fn stats_mut(&mut self) -> &mut GateStats {
        &mut self.stats
    }

    #[inline]
    pub(in crate::gate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Appends a request to the queue.
    #[inline]
    pub(in crate::gate) fn enqueue(
        &mut self,
        waiter: Pin<&mut Waiter>,
        request: WaitingRequest,
        waker: Waker,
    ) {
        let others = if self.is_empty() { 0 } else { self.max_weight };
        self.max_weight = others.max(waiter.removable_weight());
        self.list.push_back(waiter, request, waker);
        self.len = self.len.wrapping_add(1); // memory holds fewer waiters than a usize counts
    }

    /// Returns the request that is granted next.
    #[inline]
    pub(in crate::gate) fn peek(&mut self) -> Option<&WaitingRequest> {
        self.list.peek(ListEnd::Head)
    }

    /// Removes the request that is granted next.
    #[inline]
    pub(in crate::gate) fn pop(&mut self) -> Option<Removed> {
        let removed = self.list.pop(ListEnd::Head, Removal::Admitted)?;
        self.len = self.len.wrapping_sub(1); // the queue held it
        Some(removed)
    }

    /// Returns how many permits the requests that wait could use if the limit were `limit` and `in_use` permits were in use.
    #[cfg(feature = "fleet")]
    pub(in crate::gate) fn usable_weight(&mut self, in_use: u32, limit: u32) -> u32 {
        self.list.weight_within(limit.saturating_sub(in_use), limit)
    }

    /// Removes all requests because the gate is closed.
    pub(in crate::gate) fn close(&mut self, on_removed: impl FnMut(Removed)) -> usize {
        self.remove_where(Removal::Closed { level: 0 }, |_, _| Visit::Remove, on_removed)
    }

    /// Returns `true` if the weight of some request may be above this limit.
    #[inline]
    pub(in crate::gate) const fn may_exceed(&self, limit: Limit) -> bool {
        self.max_weight > limit.get()
    }

    /// Removes the requests whose weight is above this limit and that do not wait for a higher one.
    #[inline]
    pub(in crate::gate) fn remove_too_large(
        &mut self,
        limit: Limit,
        on_removed: impl FnMut(Removed),
    ) -> usize {
        if self.may_exceed(limit) { self.remove_too_large_slow(limit, on_removed) } else { 0 }
    }

    #[cold]
    fn remove_too_large_slow(&mut self, limit: Limit, on_removed: impl FnMut(Removed)) -> usize {
        self.max_weight = limit.get();
        let visit = |request: &WaitingRequest, rules| Visit::if_too_large(request, rules, limit.get());
        self.remove_where(Removal::TooLarge { level: 0, limit }, visit, on_removed)
    }

    fn remove_where(
        &mut self,
        removal: Removal,
        visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut on_removed: impl FnMut(Removed),
    ) -> usize {
        let mut count = 0_usize;
        self.list.remove_where(removal, visit, |request| {
            count = count.wrapping_add(1);
            on_removed(request);
        });
        self.len = self.len.wrapping_sub(count); // the queue held as many
        count
    }
}

impl Queue for FifoQueue {
    type Place<'p> = ();
    type Node = ();

    #[inline]
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn update_stats(&mut self, (): (), mut change: impl FnMut(&mut GateStats)) {
        change(&mut self.stats);
    }

    #[inline]
    fn release(&mut self, word: &mut Word, (): (), weight: u32) -> bool {
        *word = word.released(weight);
        // Without waiters the slow path was taken only because another thread held the lock.
        word.has(Word::WAITERS)
    }

    #[inline]
    fn grant(
        &mut self,
        word: &mut Word,
        clock: impl Fn() -> i64,
        mut on_removed: impl FnMut(Removed),
    ) -> bool {
        // The first request that does not fit ends the search. If no permit is available, no request fits. Then the head is not read,
        // because another core may have it in its cache: benchmark rows `tasks-cpu` and `tasks-wall`.
        if !word.fits(1) || !self.peek().is_some_and(|head| word.fits(head.weight)) {
            return false;
        }
        let Some(granted) = self.pop() else { return false };
        *word = word.acquired(granted.weight);
        increment(&mut self.stats.queue.admitted);
        if granted.sample > 0 {
            self.stats.record_wait(granted.since, granted.sample, clock());
        }
        on_removed(granted);
        true
    }

    /// A gate that sheds has a fair queue.
    #[inline]
    fn shed(&mut self, _: impl Fn() -> i64, _: impl FnMut(Removed)) -> bool {
        false
    }

    #[inline]
    fn cancel(&mut self, (): (), waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let removed = self.list.remove(waiter, removal)?;
        self.len = self.len.wrapping_sub(1); // the queue held it
        Some(removed)
    }

    fn node(&self, (): ()) {}

    /// Stops behind the last request that is due. If all requests have the same maximum wait, the due requests are at the head, and at most
    /// one other request is visited.
    fn remove_expired(&mut self, timer: TimerId, due: Vec<()>, now: i64, on_removed: impl FnMut(Removed)) {
        let mut left = due.len();
        let visit = |request: &WaitingRequest, _| Visit::if_expired(request, timer, now, &mut left);
        let expired = self.remove_where(Removal::Expired(now), visit, on_removed);
        add(&mut self.stats.queue.expired, expired);
    }

    fn mark_timer_lost(&mut self, timer: TimerId, wake: impl FnMut(Waker)) {
        self.list.mark_timer_lost(timer, wake);
    }

    fn wake_early(&mut self, (): (), wake: impl FnMut(Waker)) {
        self.list.wake_early(wake);
    }

    fn replace_waker(&mut self, (): (), waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        self.list.replace_waker(waiter, waker)
    }

    fn request_mut(&mut self, (): (), waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        self.list.request_mut(waiter)
    }

    #[inline]
    fn may_be_drained(&self) -> bool {
        self.is_empty()
    }

    #[inline]
    fn clear_waiters(&self, word: &mut Word) {
        *word = word.without(Word::WAITERS);
    }

    fn node_if_busy(&self, word: Word, (): ()) -> Option<()> {
        if word.in_use() == 0 && self.is_empty() { None } else { Some(()) }
    }

    fn is_busy(&self, word: Word, (): ()) -> bool {
        self.node_if_busy(word, ()).is_some()
    }
}

/// Removes the waiters that are left. Their futures were leaked, so no owner can poll or drop them any more.
impl Drop for FifoQueue {
    fn drop(&mut self) {
        self.close(Removed::discard);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;
    use crate::gate::queue::WaiterState;

    /// A queue that is dropped removes the requests that are left in it, and drops their wakers.
    #[test]
    fn a_dropped_queue_removes_its_requests() {
        struct IdleWaker;
        impl Wake for IdleWaker {
            fn wake(self: Arc<Self>) {}
        }
        let (mut queue, mut waiter, waker) = (
            FifoQueue::new(GateStats::new(false)),
            pin!(Waiter::new(1, WaiterRules::DEFAULT)),
            Arc::new(IdleWaker),
        );
        let request = WaitingRequest { weight: 1, timer: TimerId::NONE, sample: 0, since: 0, deadline: 0 };
        queue.enqueue(waiter.as_mut(), request, Waker::from(Arc::clone(&waker)));
        drop(queue);
        assert_eq!((waiter.state(), Arc::strong_count(&waker)), (WaiterState::Closed, 1));
    }
}
