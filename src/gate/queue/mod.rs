//! The wait queue: which request is admitted next.
//!
//! Four operations define the queue: [`enqueue`](WaitQueue::enqueue), [`cancel`](WaitQueue::cancel), [`peek`](WaitQueue::peek)
//! and [`next`](WaitQueue::next). The order is first in, first out, whatever the weights. Another order has to answer `peek` and
//! `next` differently, and to say which removals can make the next request fit (`Removed::was_head`). The other operations
//! remove several requests at once, or replace what one of them holds.

mod list;
mod waiter;

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::Waker;

use list::{Visit, WaitList};

pub(super) use list::Waiter;
pub(super) use waiter::{Removal, Removed, WaiterRules, WaiterState, WaitingRequest};

use super::timer::TimerId;
use crate::plan::Limit;

/// A first-in, first-out wait queue. Each operation on one request takes constant time.
pub(super) struct WaitQueue {
    list: WaitList,
    len: usize,
    /// At least the largest weight in the queue among the requests that do not wait for the limit. Meaningless while the queue is
    /// empty.
    max_weight: u32,
}

impl WaitQueue {
    pub(super) fn new() -> Self {
        Self { list: WaitList::new(), len: 0, max_weight: 0 }
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts a request behind all others.
    #[inline]
    pub(super) fn enqueue(&mut self, waiter: Pin<&mut Waiter>, request: WaitingRequest, waker: Waker) {
        let others = if self.is_empty() { 0 } else { self.max_weight };
        self.max_weight = others.max(waiter.removable_weight());
        self.list.push_back(waiter, request, waker);
        self.len = self.len.wrapping_add(1); // memory holds fewer waiters than a usize counts
    }

    /// Returns the request that is admitted next.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<&WaitingRequest> {
        self.list.front()
    }

    /// Removes the request that is admitted next.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Removed> {
        let removed = self.list.pop_front(Removal::Admitted)?;
        self.len = self.len.wrapping_sub(1); // the queue held it
        Some(removed)
    }

    /// Removes one request for another reason. Returns `None` if it is not in this queue.
    #[inline]
    pub(super) fn cancel(&mut self, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let removed = self.list.remove(waiter, removal)?;
        self.len = self.len.wrapping_sub(1); // the queue held it
        Some(removed)
    }

    /// Removes all requests because the gate is closed.
    pub(super) fn close(&mut self, removed: impl FnMut(Removed)) -> usize {
        self.remove_where(Removal::Closed, |_, _| Visit::Remove, removed)
    }

    /// Returns `true` if the weight of some request may be above this limit.
    #[inline]
    pub(super) const fn may_exceed(&self, limit: Limit) -> bool {
        self.max_weight > limit.get()
    }

    /// Removes the requests whose weight is above this limit and that do not wait for a higher one.
    pub(super) fn remove_too_large(&mut self, limit: Limit, on_removed: impl FnMut(Removed)) -> usize {
        if !self.may_exceed(limit) {
            return 0;
        }
        self.max_weight = limit.get();
        let visit = |request: &WaitingRequest, rules: WaiterRules| {
            if request.weight > limit.get() && !rules.waits_for_limit { Visit::Remove } else { Visit::Keep }
        };
        self.remove_where(Removal::TooLarge(limit), visit, on_removed)
    }

    /// Removes the `due` requests of this timer whose deadline has passed. The search ends at the last of them: where all
    /// requests wait equally long it visits no other request.
    pub(super) fn remove_expired(
        &mut self,
        timer: TimerId,
        due: usize,
        now: i64,
        removed: impl FnMut(Removed),
    ) -> usize {
        let mut left = due;
        let visit = |request: &WaitingRequest, _| {
            if left == 0 {
                return Visit::Stop;
            }
            if request.timer != timer || request.deadline > now {
                return Visit::Keep;
            }
            left = left.wrapping_sub(1);
            Visit::Remove
        };
        self.remove_where(Removal::Expired(now), visit, removed)
    }

    /// Marks the requests of a timer that will not fire, and passes their wakers to `wake`.
    pub(super) fn mark_timer_lost(&mut self, timer: TimerId, wake: impl FnMut(Waker)) {
        self.list.mark_timer_lost(timer, wake);
    }

    /// Replaces the waker of a request, and returns the waker that is no longer needed.
    pub(super) fn replace_waker(&mut self, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        self.list.replace_waker(waiter, waker)
    }

    /// Returns a request by its waiter, if it is in this queue.
    pub(super) fn request_mut(&mut self, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        self.list.request_mut(waiter)
    }

    fn remove_where(
        &mut self,
        removal: Removal,
        visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut removed: impl FnMut(Removed),
    ) -> usize {
        let mut count = 0_usize;
        self.list.remove_where(removal, visit, |request| {
            count = count.wrapping_add(1);
            removed(request);
        });
        self.len = self.len.wrapping_sub(count); // the queue held as many
        count
    }
}

/// Removes the waiters that are left. Their futures were leaked, so no owner can poll or drop them any more.
impl Drop for WaitQueue {
    fn drop(&mut self) {
        self.close(|Removed { waker, .. }| {
            // A panic here would only keep the wakers behind it from being dropped. The payload may panic in its drop, too.
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(waker)));
            mem::forget(dropped);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// A queue that is dropped removes the requests that are left in it, and drops their wakers.
    #[test]
    fn a_dropped_queue_removes_its_requests() {
        struct IdleWaker;
        impl Wake for IdleWaker {
            fn wake(self: Arc<Self>) {}
        }
        let (mut queue, mut waiter, waker) =
            (WaitQueue::new(), pin!(Waiter::new(1, WaiterRules::DEFAULT)), Arc::new(IdleWaker));
        let request = WaitingRequest { weight: 1, timer: TimerId::NONE, sample: 0, since: 0, deadline: 0 };
        queue.enqueue(waiter.as_mut(), request, Waker::from(Arc::clone(&waker)));
        drop(queue);
        assert_eq!((waiter.state(), Arc::strong_count(&waker)), (WaiterState::Closed, 1));
    }
}
