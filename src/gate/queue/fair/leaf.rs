//! The requests that wait at one node: a list for each priority, in order of arrival.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Waker;

use super::node::{GateNode, LeafOrder, Neighbours, OtherPriority};
use crate::gate::priority::{Priority, PrioritySet};
use crate::gate::queue::list::{Visit, WaitList, Waiter};
use crate::gate::queue::waiter::{Removal, Removed, WaiterRules, WaitingRequest};
use crate::gate::timer::TimerId;

/// The queue of a leaf.
impl GateNode {
    /// Returns the priorities of the requests that a leaf could grant if it had room.
    #[inline]
    pub(super) const fn own_candidates(&self) -> PrioritySet {
        self.waiting_priorities.minus(self.awaits_limit)
    }

    /// Appends a request to those of its priority.
    #[inline]
    pub(super) fn push_waiter(&mut self, waiter: Pin<&mut Waiter>, request: WaitingRequest, waker: Waker) {
        let others = if self.waiting_priorities.is_empty() { 0 } else { self.max_weight };
        self.max_weight = others.max(waiter.removable_weight());
        let priority = waiter.priority();
        self.list(priority).push_back(waiter, request, waker);
        self.waiting_priorities = self.waiting_priorities.with(priority);
    }

    /// Returns the first request of this priority.
    #[inline]
    pub(super) fn first(&mut self, priority: Priority, order: LeafOrder) -> Option<&WaitingRequest> {
        self.list(priority).peek(order.first())
    }

    /// Removes the first request of this priority.
    #[expect(clippy::inline_always, reason = "benchmark row `key-cycle`: a copy of the result would stall")]
    #[inline(always)]
    pub(super) fn pop_first(
        &mut self,
        priority: Priority,
        order: LeafOrder,
        removal: Removal,
    ) -> Option<Removed> {
        let removed = self.list(priority).pop(order.first(), removal);
        self.note_removed(priority);
        removed
    }

    /// Returns the last request of the lowest priority.
    pub(super) fn last(&mut self, order: LeafOrder) -> Option<&WaitingRequest> {
        self.list(self.waiting_priorities.lowest()?).peek(order.last())
    }

    /// Removes the last request of the lowest priority.
    pub(super) fn pop_last(&mut self, order: LeafOrder, removal: Removal) -> Option<(Priority, Removed)> {
        let priority = self.waiting_priorities.lowest()?;
        let removed = self.list(priority).pop(order.last(), removal)?;
        self.note_removed(priority);
        Some((priority, removed))
    }

    /// Removes one request. Returns `None` if it does not wait here.
    pub(super) fn remove_waiter(&mut self, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let priority = waiter.priority();
        let removed = self.list(priority).remove(waiter, removal)?;
        self.note_removed(priority);
        Some(removed)
    }

    /// Calls `visit` for each request that waits, within a priority the oldest first.
    pub(super) fn for_each_waiting(&mut self, mut visit: impl FnMut(Priority, &WaitingRequest)) {
        for priority in self.waiting_priorities.iter() {
            self.list(priority).for_each(|request| {
                visit(priority, request);
                ControlFlow::Continue(())
            });
        }
    }

    /// Returns the sum of the weights of the requests that wait, at most `room`; see [`WaitList::weight_within`].
    #[cfg(feature = "fleet")]
    pub(super) fn weight_within(&mut self, room: u32, max_weight: u32) -> u32 {
        let priorities = self.waiting_priorities;
        priorities.iter().fold(0, |sum: u32, priority| {
            let rest = room.saturating_sub(sum);
            sum.saturating_add(self.list(priority).weight_within(rest, max_weight))
        })
    }

    /// Visits the requests of every priority, the highest first, and removes those that `visit` selects. Returns the priorities whose
    /// first request was removed.
    pub(super) fn remove_waiters_where(
        &mut self,
        order: LeafOrder,
        removal: Removal,
        mut visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut on_removed: impl FnMut(Removed),
    ) -> PrioritySet {
        let mut lost_first = PrioritySet::EMPTY;
        for priority in self.waiting_priorities.iter() {
            let first = self.first(priority, order).map(WaitingRequest::address);
            self.list(priority).remove_where(removal, &mut visit, |mut request| {
                // In newest-first order, any removed request may have been the first.
                request.was_head |= order == LeafOrder::NewestFirst;
                on_removed(request);
            });
            self.note_removed(priority);
            if self.first(priority, order).map(WaitingRequest::address) != first {
                lost_first = lost_first.with(priority);
            }
        }
        lost_first
    }

    /// As [`WaitList::mark_timer_lost`].
    pub(super) fn mark_timer_lost(&mut self, timer: TimerId, mut wake: impl FnMut(Waker)) {
        for priority in self.waiting_priorities.iter() {
            self.list(priority).mark_timer_lost(timer, &mut wake);
        }
    }

    /// As [`WaitList::wake_early`].
    pub(super) fn wake_early(&mut self, mut wake: impl FnMut(Waker)) {
        for priority in self.waiting_priorities.iter() {
            self.list(priority).wake_early(&mut wake);
        }
    }

    /// As [`WaitList::replace_waker`].
    pub(super) fn replace_waker(&mut self, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        self.list(waiter.priority()).replace_waker(waiter, waker)
    }

    pub(super) fn request_mut(&mut self, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        self.list(waiter.priority()).request_mut(waiter)
    }

    /// Returns the neighbours of the node in the ranks of its parent for this priority.
    #[inline]
    pub(super) fn links_mut(&mut self, priority: Priority) -> &mut Neighbours {
        match priority {
            Priority::Normal => &mut self.links,
            _ => &mut self.other(priority).links,
        }
    }

    #[inline]
    fn list(&mut self, priority: Priority) -> &mut WaitList {
        match priority {
            Priority::Normal => &mut self.normal,
            _ => &mut self.other(priority).list,
        }
    }

    #[cold]
    fn other(&mut self, priority: Priority) -> &mut OtherPriority {
        &mut self.others.get_or_insert_default().0[priority.index()]
    }

    #[inline]
    fn note_removed(&mut self, priority: Priority) {
        if self.list(priority).is_empty() {
            self.waiting_priorities = self.waiting_priorities.without(priority);
        }
    }
}
