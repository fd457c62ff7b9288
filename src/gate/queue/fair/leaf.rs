//! The requests that wait at one node: first come, first served within each priority.

use std::pin::Pin;
use std::task::Waker;

use crate::gate::priority::{CLASSES, Priority, PrioritySet};
use crate::gate::queue::list::{Visit, WaitList, Waiter};
use crate::gate::queue::waiter::{Removal, Removed, WaiterRules, WaitingRequest};
use crate::gate::timer::TimerId;

/// One list for each priority. Most nodes only use that of the normal priority.
#[derive(Default)]
pub(super) struct LeafQueue {
    normal: Option<WaitList>,
    others: Option<Box<[Option<WaitList>; CLASSES]>>,
    waiting: PrioritySet,
    /// At least the largest weight in the queue among the requests that do not wait for the limit. Meaningless while it is empty.
    max_weight: u32,
}

impl LeafQueue {
    /// Returns the priorities of the requests that wait.
    #[inline]
    pub(super) const fn waiting(&self) -> PrioritySet {
        self.waiting
    }

    #[inline]
    pub(super) const fn max_weight(&self) -> u32 {
        self.max_weight
    }

    pub(super) const fn set_max_weight(&mut self, weight: u32) {
        self.max_weight = weight;
    }

    /// Puts a request behind those of its priority.
    pub(super) fn enqueue(&mut self, waiter: Pin<&mut Waiter>, request: WaitingRequest, waker: Waker) {
        let others = if self.waiting.is_empty() { 0 } else { self.max_weight };
        self.max_weight = others.max(waiter.removable_weight());
        let priority = waiter.priority();
        self.list(priority).push_back(waiter, request, waker);
        self.waiting = self.waiting.with(priority);
    }

    /// Returns the weight of the first request of this priority.
    pub(super) fn first_weight(&mut self, priority: Priority) -> Option<u32> {
        Some(self.existing(priority)?.front()?.weight)
    }

    /// Removes the first request of this priority.
    pub(super) fn pop_first(&mut self, priority: Priority, removal: Removal) -> Option<Removed> {
        let removed = self.existing(priority)?.pop_front(removal);
        self.note_emptied(priority);
        removed
    }

    /// Removes the last request of the lowest priority.
    pub(super) fn pop_last(&mut self, removal: Removal) -> Option<(Priority, Removed)> {
        let priority = self.waiting.lowest()?;
        let removed = self.existing(priority)?.pop_back(removal)?;
        self.note_emptied(priority);
        Some((priority, removed))
    }

    /// Removes one request. Returns `None` if it does not wait here.
    pub(super) fn remove(&mut self, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let priority = waiter.priority();
        let removed = self.existing(priority)?.remove(waiter, removal)?;
        self.note_emptied(priority);
        Some(removed)
    }

    /// Visits the requests of every priority, the highest first, and removes those that `visit` selects. Returns the priorities whose
    /// first request was removed.
    pub(super) fn remove_where(
        &mut self,
        removal: Removal,
        mut visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut removed: impl FnMut(Removed),
    ) -> PrioritySet {
        let mut lost_first = PrioritySet::EMPTY;
        for priority in self.waiting.iter() {
            if let Some(list) = self.existing(priority) {
                list.remove_where(removal, &mut visit, |request| {
                    if request.was_head {
                        lost_first = lost_first.with(priority);
                    }
                    removed(request);
                });
            }
            self.note_emptied(priority);
        }
        lost_first
    }

    pub(super) fn mark_timer_lost(&mut self, timer: TimerId, mut wake: impl FnMut(Waker)) {
        for priority in self.waiting.iter() {
            if let Some(list) = self.existing(priority) {
                list.mark_timer_lost(timer, &mut wake);
            }
        }
    }

    /// As [`WaitList::replace_waker`].
    pub(super) fn replace_waker(&mut self, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        match self.existing(waiter.priority()) {
            Some(list) => list.replace_waker(waiter, waker),
            None => Some(waker),
        }
    }

    pub(super) fn request_mut(&mut self, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        self.existing(waiter.priority())?.request_mut(waiter)
    }

    fn existing(&mut self, priority: Priority) -> Option<&mut WaitList> {
        match priority {
            Priority::Normal => self.normal.as_mut(),
            _ => self.others.as_mut()?[priority.index()].as_mut(),
        }
    }

    fn list(&mut self, priority: Priority) -> &mut WaitList {
        match priority {
            Priority::Normal => &mut self.normal,
            _ => &mut self.others.get_or_insert_default()[priority.index()],
        }
        .get_or_insert_with(WaitList::new)
    }

    fn note_emptied(&mut self, priority: Priority) {
        if self.existing(priority).is_none_or(|list| list.is_empty()) {
            self.waiting = self.waiting.without(priority);
        }
    }
}
