//! The intrusive wait list: a doubly linked list whose nodes are part of the waiting futures and stack frames. With the lock in
//! `permits/mod.rs` it is the only unsafe code of the crate.
//!
//! Enqueuing allocates nothing, and a waiter leaves the list in constant time. Five rules make the list sound, whatever safe
//! code does; `docs/ORDERING.md` explains why they hold:
//!
//! 1. **A waiter in a list does not move and is not freed.** The waiter is inserted through `Pin<&mut Waiter>`, and its owner removes it
//!    from the list before dropping it. [`Waiter::drop`] ends the process if the waiter is still in a list.
//! 2. **While a waiter is in a list, its node belongs to the list**, and otherwise to the owner of the waiter. Functions of the list take
//!    `&mut WaitList`, which exists only under the lock of the gate. When an owner passes its waiter, `find` compares the number of the
//!    list with the number that the waiter stored at its last insertion. Each list has a number of its own.
//! 3. **The waker is written only by functions that have `&mut` to both the list and the waiter.** At any other time the
//!    owner and the list only read it, possibly at the same time. Taking the waker out copies the bits and leaves them in place.
//! 4. **The state changes last.** Storing a state in which the waiter is not in the list gives the node back to the owner,
//!    which may free it at once. The list does not touch the waiter after that.
//! 5. **Only the list changes the state of a waiter in the list**, so the owner may read the state without the lock.

#![expect(unsafe_code, reason = "the list links waiters that are part of the futures that wait")]

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::mem::{self, MaybeUninit};
use std::ops::ControlFlow;
use std::panic::Location;
use std::pin::Pin;
use std::process;
use std::ptr::NonNull;
use std::task::Waker;

use super::waiter::{Removal, Removed, WaitBounds, WaiterRules, WaiterState, WaitingRequest};
use crate::gate::holders::record::RecordId;
use crate::gate::priority::Priority;
use crate::gate::sync::{AtomicU8, Ordering, RelaxedU64, UnsafeCell};
use crate::gate::timer::TimerId;
use crate::plan::Limit;

/// The part of a request that can be in a wait list.
// In this order, most removals touch 64 bytes of a future: from the weight in the node to the gate, which follows the waiter. Benchmark
// rows `cancel` and `cancel-100k`.
#[repr(C)]
pub(in crate::gate) struct Waiter {
    node: UnsafeCell<NodeSlot>,
    weight: u32,
    /// Meaningful while `list` is the number of a list, `ADMITTED_TRACKED` or `TRACKED_POSTPONED`.
    state: AtomicU8,
    rules: WaiterRules,
    /// The number of the list that the waiter was last inserted into, or one of the constants below, which identify no list. Only the
    /// owner reads and writes it, so a request that never waits touches no atomic.
    list: Cell<u64>,
    /// Initialized while the state is [`Waiting`](WaiterState::Waiting).
    waker: UnsafeCell<MaybeUninit<Waker>>,
    _pinned: PhantomPinned,
}

#[derive(Clone, Copy)]
#[repr(C)] // see `Waiter`
struct Node {
    request: WaitingRequest,
    /// Stale, and possibly dangling, at the head of the list.
    previous: Option<NonNull<Waiter>>,
    next: Option<NonNull<Waiter>>,
}

/// What a request needs only until it arrives.
#[derive(Clone, Copy)]
struct BeforeArrival {
    /// The location in the source where the request was made.
    location: &'static Location<'static>,
    bounds: WaitBounds,
}

/// The memory of the node. Before the request arrives it holds a [`BeforeArrival`] instead, which takes no memory of its own then:
/// benchmark row `cancel-100k`.
#[derive(Clone, Copy)]
union NodeSlot {
    /// Valid while `list` is `NEVER_ENQUEUED` or `STRICTLY_IDLE`.
    before_arrival: BeforeArrival,
    /// Valid while `list` is the number of a list, `ADMITTED_TRACKED` or `TRACKED_POSTPONED`. Otherwise not: a request that was never in a
    /// queue has no node.
    node: Node,
}

impl Waiter {
    /// Creates a waiter for a request that was made at this location in the source.
    #[inline]
    pub(in crate::gate) fn made_at(
        location: &'static Location<'static>,
        weight: u32,
        rules: WaiterRules,
        bounds: WaitBounds,
    ) -> Self {
        Self {
            weight,
            state: AtomicU8::new(WaiterState::Idle as u8),
            rules,
            list: Cell::new(if rules.is_strict { STRICTLY_IDLE } else { NEVER_ENQUEUED }),
            waker: UnsafeCell::new(MaybeUninit::uninit()),
            node: UnsafeCell::new(NodeSlot { before_arrival: BeforeArrival { location, bounds } }),
            _pinned: PhantomPinned,
        }
    }

    #[cfg(test)]
    #[track_caller]
    pub(in crate::gate) fn new(weight: u32, rules: WaiterRules) -> Self {
        Self::made_at(Location::caller(), weight, rules, WaitBounds::NONE)
    }

    /// Returns the address of the request, which identifies it while it is in a list.
    pub(in crate::gate) fn request_address(&self) -> usize {
        // Loom's cell has fields in front of its value, so the offset of the cell would not be that of the request.
        self.node.with(|slot| slot.addr().wrapping_add(mem::offset_of!(Node, request)))
    }

    /// Returns where the request was made, or `None` after its arrival.
    pub(in crate::gate) fn location(self: Pin<&mut Self>) -> Option<&'static Location<'static>> {
        self.before_arrival().map(|before_arrival| before_arrival.location)
    }

    /// Returns the bounds on the wait; none after the arrival of the request.
    #[inline]
    pub(in crate::gate) fn bounds(self: Pin<&mut Self>) -> WaitBounds {
        self.before_arrival().map_or(WaitBounds::NONE, |before_arrival| before_arrival.bounds)
    }

    #[inline]
    fn before_arrival(self: Pin<&mut Self>) -> Option<BeforeArrival> {
        // SAFETY: the slot holds a `BeforeArrival` until the arrival, and belongs to the owner (2), which lent it by `&mut`.
        let read = |slot: *const NodeSlot| unsafe { (*slot).before_arrival };
        matches!(self.list.get(), NEVER_ENQUEUED | STRICTLY_IDLE).then(|| self.node.with(read))
    }

    #[inline]
    pub(in crate::gate) const fn weight(&self) -> u32 {
        self.weight
    }

    #[inline]
    pub(in crate::gate) const fn is_strict(&self) -> bool {
        self.rules.is_strict
    }

    #[inline]
    pub(in crate::gate) const fn priority(&self) -> Priority {
        self.rules.priority
    }

    #[inline]
    pub(in crate::gate) const fn waits_for_limit(&self) -> bool {
        self.rules.waits_for_limit
    }

    /// Returns the weight for which a lowered limit may remove the waiter; 0 if it waits for the limit.
    #[inline]
    pub(in crate::gate) const fn removable_weight(&self) -> u32 {
        if self.rules.waits_for_limit { 0 } else { self.weight }
    }

    /// Returns the largest weight that the gate accepts from this request under a limit.
    #[inline]
    pub(in crate::gate) const fn weight_bound(&self, limit: u32) -> u32 {
        if self.rules.waits_for_limit { Limit::MAX.get() } else { limit }
    }

    /// Returns the state. Acquire: the work of earlier holders of the permits happens before the work of this request.
    #[inline]
    pub(in crate::gate) fn state(&self) -> WaiterState {
        match self.list.get() {
            NEVER_ENQUEUED => WaiterState::Idle,
            FINISHED => WaiterState::Done,
            STRICTLY_IDLE => WaiterState::StrictlyIdle,
            ADMITTED | POSTPONED => WaiterState::Admitted,
            _ => WaiterState::from_u8(self.state.load(Ordering::Acquire)),
        }
    }

    /// Resets a waiter that is in no list to the state before its arrival. Does nothing while it is in a list. The location of the request
    /// is replaced by that of the caller.
    #[track_caller]
    pub(in crate::gate) fn reset(self: Pin<&mut Self>, bounds: WaitBounds) {
        if !self.state().is_queued() {
            let before_arrival = BeforeArrival { location: Location::caller(), bounds };
            // SAFETY: the waiter is in no list, so the slot belongs to the owner (2), which lent it by `&mut`.
            self.node.with_mut(|slot| unsafe { *slot = NodeSlot { before_arrival } });
            self.list.set(if self.rules.is_strict { STRICTLY_IDLE } else { NEVER_ENQUEUED });
        }
    }

    /// Marks a waiter that is in no list as `Done`. Does nothing while it is in a list.
    #[inline]
    pub(in crate::gate) fn finish(self: Pin<&mut Self>) {
        if !self.state().is_queued() {
            self.list.set(FINISHED);
        }
    }

    /// Marks a waiter that is `Idle` as `Admitted`, if `admit` returns `true`. Returns `true` if the waiter was marked.
    #[inline]
    pub(in crate::gate) fn admit_if(self: Pin<&mut Self>, admit: impl FnOnce() -> bool) -> bool {
        let is_admitted = self.list.get() == NEVER_ENQUEUED && admit();
        if is_admitted {
            self.list.set(ADMITTED); // still in no list: an insertion since the check would have needed the `&mut` of this function
        }
        is_admitted
    }

    /// Marks a waiter that is in no list as `Admitted`. Does nothing while it is in a list.
    #[inline]
    pub(in crate::gate) fn mark_admitted(self: Pin<&mut Self>) {
        if !self.state().is_queued() {
            self.list.set(ADMITTED);
        }
    }

    /// Marks a waiter that is in no list as [`AdmittedTracked`](WaiterState::AdmittedTracked), with the record of its permits. Does nothing
    /// while it is in a list.
    pub(in crate::gate) fn mark_admitted_tracked(self: Pin<&mut Self>, record: RecordId) {
        if !self.state().is_queued() {
            let request = WaitingRequest {
                weight: self.weight,
                timer: TimerId::NONE,
                sample: 0,
                since: record.to_detail(),
                deadline: 0,
            };
            let node = Node { previous: None, next: None, request };
            // SAFETY: the waiter is in no list, so the slot belongs to the owner (2), which lent it by `&mut`.
            self.node.with_mut(|slot| unsafe { *slot = NodeSlot { node } });
            self.state.store(WaiterState::AdmittedTracked as u8, Ordering::Relaxed);
            self.list.set(ADMITTED_TRACKED);
        }
    }

    /// Returns the record of the permits of a waiter that is [`AdmittedTracked`](WaiterState::AdmittedTracked).
    pub(in crate::gate) fn record(self: Pin<&mut Self>) -> RecordId {
        match self.state() {
            WaiterState::AdmittedTracked => RecordId::from_detail(self.removal_detail()),
            _ => RecordId::NONE,
        }
    }

    /// Records that the owner of a waiter that was admitted on arrival does not take the permits yet. Returns `true` the first time.
    pub(in crate::gate) fn postpone(self: Pin<&mut Self>) -> bool {
        let postponed = match self.list.get() {
            ADMITTED => POSTPONED,
            ADMITTED_TRACKED => TRACKED_POSTPONED,
            _ => return false,
        };
        self.list.set(postponed);
        true
    }

    /// Finishes a waiter that is [`AdmittedTracked`](WaiterState::AdmittedTracked), and returns the record of its permits. Also returns
    /// `true` if the waiter was in a list before, or was postponed.
    pub(in crate::gate) fn finish_tracked(mut self: Pin<&mut Self>) -> (RecordId, bool) {
        let (record, was_queued_or_postponed) = (self.as_mut().record(), self.list.get() != ADMITTED_TRACKED);
        self.finish();
        (record, was_queued_or_postponed)
    }

    /// Finishes a waiter that was admitted. Returns `true` if it was in a list before, or was postponed.
    #[inline]
    pub(in crate::gate) fn finish_admitted(self: Pin<&mut Self>) -> bool {
        if self.list.get() == ADMITTED {
            self.list.set(FINISHED); // it is in no list
            return false;
        }
        self.finish();
        true
    }

    /// Returns `true` if the waiter waits, and its list will wake it with this waker. Takes no lock.
    #[inline]
    pub(in crate::gate) fn is_waiting_with(self: Pin<&mut Self>, waker: &Waker) -> bool {
        // SAFETY: a waiter that waits has a waker. The list may take it out meanwhile, but it does not write there (3), and
        // `will_wake` only compares addresses.
        let will_wake = |own: *const MaybeUninit<Waker>| unsafe { (*own).assume_init_ref() }.will_wake(waker);
        self.state() == WaiterState::Waiting && self.waker.with(will_wake)
    }

    /// Returns the [detail](Removal::detail) of a removal that has one.
    pub(in crate::gate) fn removal_detail(self: Pin<&mut Self>) -> i64 {
        if self.state().is_queued() || matches!(self.list.get(), NEVER_ENQUEUED..=FINISHED) {
            return 0;
        }
        // SAFETY: the waiter was in a list or is tracked, so the node is initialized. The waiter is in no list now, so the node belongs to
        // the owner (2), which lent it by `&mut`.
        self.node.with_mut(|slot| unsafe { (*slot).node }.request.since)
    }
}

impl Drop for Waiter {
    #[inline]
    fn drop(&mut self) {
        if self.state().is_queued() {
            abort(); // Rule 1: the list would still link to freed memory.
        }
        // Tells a model checker that no other thread may access the cells now; without one it has no effect.
        self.waker.with_mut(|_| {});
        self.node.with_mut(|_| {});
    }
}

// SAFETY: a waiter moves to another thread with its owner. Other threads access it by the rules 2 to 5.
unsafe impl Send for Waiter {}
// SAFETY: a shared reference gives access to the state, which is atomic, and to the weight, the rules and the number of the list,
// which only change through `Pin<&mut Waiter>`.
unsafe impl Sync for Waiter {}

/// Waiters in order of arrival: those of a standalone gate, or those of one priority in one leaf of a tree.
pub(super) struct WaitList {
    /// Identifies the list, see rule 2.
    number: u64,
    head: Option<NonNull<Waiter>>,
    tail: Option<NonNull<Waiter>>,
}

// SAFETY: the waiters in the list may be accessed from any thread that has `&mut` to the list (2).
unsafe impl Send for WaitList {}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListEnd {
    /// The request that arrived first.
    Head,
    /// The request that arrived last.
    Tail,
}

/// What [`WaitList::remove_where`] does with a waiter.
pub(super) enum Visit {
    Remove,
    Keep,
    Stop,
}

impl Visit {
    /// Selects a request of this timer whose deadline has passed. `left` is the number of such requests that are still to be found.
    #[inline]
    pub(super) fn if_expired(request: &WaitingRequest, timer: TimerId, now: i64, left: &mut usize) -> Self {
        if *left == 0 {
            return Self::Stop;
        }
        if request.timer != timer || request.deadline > now {
            return Self::Keep;
        }
        *left = left.wrapping_sub(1);
        Self::Remove
    }

    /// Selects a request whose weight is above this limit and that does not wait for a higher one.
    #[inline]
    pub(super) const fn if_too_large(request: &WaitingRequest, rules: WaiterRules, limit: u32) -> Self {
        if request.weight > limit && !rules.waits_for_limit { Self::Remove } else { Self::Keep }
    }
}

impl WaitList {
    pub(super) fn new() -> Self {
        static NUMBERS: RelaxedU64 = RelaxedU64::new(1);
        Self { number: NUMBERS.fetch_add(1, Ordering::Relaxed), head: None, tail: None }
    }

    /// Inserts a waiter at the tail. Ends the process if the waiter is in a list already.
    #[inline]
    pub(super) fn push_back(&mut self, waiter: Pin<&mut Waiter>, request: WaitingRequest, waker: Waker) {
        if waiter.state().is_queued() {
            abort(); // Rule 2: the node belongs to another list.
        }
        let node = Node { previous: self.tail, next: None, request };
        // SAFETY: the waiter is in no list, so both belong to the owner (2, 3), which lent them by `&mut`.
        waiter.waker.with_mut(|own| unsafe { &mut *own }.write(waker));
        waiter.node.with_mut(|own| unsafe { *own = NodeSlot { node } });
        // Relaxed: other threads learn of the waiter through the lock.
        waiter.state.store(WaiterState::Waiting as u8, Ordering::Relaxed);
        waiter.list.set(self.number);
        let waiter = NonNull::from(waiter.into_ref().get_ref());
        match self.tail.replace(waiter) {
            Some(tail) => self.node(tail).next = Some(waiter),
            None => self.head = Some(waiter),
        }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Returns the request at this end.
    #[inline]
    pub(super) fn peek(&mut self, end: ListEnd) -> Option<&WaitingRequest> {
        let waiter = self.end(end)?;
        Some(&self.node(waiter).request)
    }

    /// Removes the request at this end.
    #[expect(clippy::inline_always, reason = "benchmark row `key-cycle`: a copy of the result would stall")]
    #[inline(always)]
    pub(super) fn pop(&mut self, end: ListEnd, removal: Removal) -> Option<Removed> {
        let waiter = self.end(end)?;
        Some(self.unlink(waiter, removal))
    }

    #[inline]
    const fn end(&self, end: ListEnd) -> Option<NonNull<Waiter>> {
        match end {
            ListEnd::Head => self.head,
            ListEnd::Tail => self.tail,
        }
    }

    /// Removes this waiter. Returns `None` if it is not in this list.
    #[inline]
    pub(super) fn remove(&mut self, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let waiter = self.find(waiter)?;
        Some(self.unlink(waiter, removal))
    }

    /// Visits the waiters from the head on, removes those that `visit` selects, and passes each to `on_removed`.
    pub(super) fn remove_where(
        &mut self,
        removal: Removal,
        mut visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut on_removed: impl FnMut(Removed),
    ) {
        let mut cursor = self.head;
        while let Some(waiter) = cursor {
            // SAFETY: the waiter is in this list, so it exists (1), and its rules never change.
            let rules = unsafe { (*waiter.as_ptr()).rules };
            // Read before the removal: the owner may free the waiter right after it (4). The next waiter stays in the list.
            let node = self.node(waiter);
            cursor = node.next;
            match visit(&node.request, rules) {
                Visit::Remove => on_removed(self.unlink(waiter, removal)),
                Visit::Keep => {}
                Visit::Stop => return,
            }
        }
    }

    /// Visits the requests from the head on, until `visit` breaks.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(&WaitingRequest) -> ControlFlow<()>) {
        let mut cursor = self.head;
        while let Some(waiter) = cursor {
            let node = self.node(waiter);
            cursor = node.next;
            if visit(&node.request).is_break() {
                return;
            }
        }
    }

    /// Returns the sum of the weights from the head on, at most `room`. Stops before a request that is heavier than `max_weight`, which
    /// blocks all requests behind it. Visits at most two requests beyond those that fit.
    #[cfg(feature = "fleet")]
    pub(super) fn weight_within(&mut self, room: u32, max_weight: u32) -> u32 {
        let mut sum = 0_u32;
        self.for_each(|request| {
            if sum >= room || request.weight > max_weight {
                return ControlFlow::Break(());
            }
            sum = sum.saturating_add(request.weight);
            ControlFlow::Continue(())
        });
        sum.min(room)
    }

    /// Marks the waiters of this timer as [`TimerLost`](WaiterState::TimerLost), and passes their wakers to `wake`.
    pub(super) fn mark_timer_lost(&mut self, timer: TimerId, mut wake: impl FnMut(Waker)) {
        let mut cursor = self.head;
        while let Some(waiter) = cursor {
            let node = self.node(waiter);
            cursor = node.next;
            if node.request.timer == timer {
                self.set_state(waiter, WaiterState::TimerLost).into_iter().for_each(&mut wake);
            }
        }
    }

    /// Marks all waiters that have a waker as [`WokenEarly`](WaiterState::WokenEarly), and passes their wakers to `wake`.
    pub(super) fn wake_early(&mut self, mut wake: impl FnMut(Waker)) {
        let mut cursor = self.head;
        while let Some(waiter) = cursor {
            cursor = self.node(waiter).next;
            // SAFETY: the waiter is in this list, so it exists (1). Relaxed: the state changes only under `&mut` to the list (5).
            let state = unsafe { (*waiter.as_ptr()).state.load(Ordering::Relaxed) };
            if state == WaiterState::Waiting as u8 {
                self.set_state(waiter, WaiterState::WokenEarly).into_iter().for_each(&mut wake);
            }
        }
    }

    /// Replaces the waker of this waiter, and returns the waker that is no longer needed: the old one, or `waker` itself if
    /// the waiter is not in this list.
    pub(super) fn replace_waker(&mut self, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        let Some(waiter) = self.find(waiter) else { return Some(waker) };
        let old = self.set_state(waiter, WaiterState::Waiting);
        // SAFETY: the waiter is in this list, so it exists (1), and both are lent by `&mut` (3).
        unsafe { (*waiter.as_ptr()).waker.with_mut(|own| (*own).write(waker)) };
        old
    }

    /// Returns the request of this waiter, if it is in this list.
    pub(super) fn request_mut(&mut self, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        let waiter = self.find(waiter)?;
        Some(&mut self.node(waiter).request)
    }

    /// Removes a waiter that is in this list, and takes its waker.
    #[expect(clippy::inline_always, reason = "as for `pop`")]
    #[inline(always)]
    fn unlink(&mut self, waiter: NonNull<Waiter>, removal: Removal) -> Removed {
        let is_head = self.head == Some(waiter);
        let node = self.node(waiter);
        let (previous, next) = (node.previous, node.next);
        // Field by field: a copy of the whole request would stall on the narrow stores that wrote it.
        let request = &mut node.request;
        let WaitingRequest { weight, timer, sample, .. } = *request;
        // These are not needed for a cancelled request without a timer, and mostly on a cache line of their own: benchmark row
        // `cancel-100k`.
        let (since, deadline) = match removal {
            Removal::Cancelled if timer == TimerId::NONE => (0, 0),
            _ => (request.since, request.deadline),
        };
        if let Some(detail) = removal.detail(since) {
            request.since = detail;
        }
        // If the head is removed, the next node keeps its stale link: another core may have that node in its cache. Benchmark rows
        // `tasks-cpu` and `drain`.
        if is_head {
            self.head = next;
            if next.is_none() {
                self.tail = None;
            }
        } else {
            if let Some(previous) = previous {
                self.node(previous).next = next;
            }
            match next {
                Some(next) => self.node(next).previous = previous,
                None => self.tail = previous,
            }
        }
        // Last: the owner may free the waiter from here on (4).
        let waker = self.set_state(waiter, removal.state());
        Removed { waker, was_head: is_head, weight, timer, sample, since, deadline }
    }

    /// Returns a pointer to this waiter if it is in this list.
    #[inline]
    fn find(&self, waiter: Pin<&mut Waiter>) -> Option<NonNull<Waiter>> {
        // Relaxed: the state of a waiter of this list changes only under `&mut` to the list (5).
        let is_here = waiter.list.get() == self.number
            && WaiterState::from_u8(waiter.state.load(Ordering::Relaxed)).is_queued();
        is_here.then(|| NonNull::from(waiter.into_ref().get_ref()))
    }

    /// Returns the node of a waiter that is in this list.
    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "`&mut` to the list gives access to its nodes"
    )]
    #[inline]
    fn node(&mut self, waiter: NonNull<Waiter>) -> &mut Node {
        // SAFETY: the waiter is in this list, so it exists (1), and its node is initialized and belongs to the list (2), which
        // is borrowed by `&mut`.
        unsafe { &mut (*(*waiter.as_ptr()).node.with_mut(|slot| slot)).node }
    }

    /// Stores the state of a waiter that is in this list, and takes its waker if it has one.
    #[expect(
        clippy::unused_self,
        clippy::needless_pass_by_ref_mut,
        reason = "only the list changes the state"
    )]
    #[inline]
    fn set_state(&mut self, waiter: NonNull<Waiter>, state: WaiterState) -> Option<Waker> {
        // SAFETY: the waiter is in this list until the store, so it exists (1). While it waits it has a waker, and after the
        // store the bits that are left in place count as uninitialized (3).
        unsafe {
            let waiter = waiter.as_ptr();
            let is_waiting = (*waiter).state.load(Ordering::Relaxed) == WaiterState::Waiting as u8;
            let waker = is_waiting.then(|| (*waiter).waker.with(|own| (*own).assume_init_read()));
            // Release: what led to the state, and the last access to the waiter, happen before the owner reads it.
            (*waiter).state.store(state as u8, Ordering::Release);
            waker
        }
    }
}

// The numbers of lists lie below `ADMITTED_TRACKED`.
/// Admitted on arrival at a gate that tracks its holders, and not counted as postponed. The state is in the field of the waiter.
const ADMITTED_TRACKED: u64 = u64::MAX - 6;
/// Admitted on arrival at a gate that tracks its holders, and counted as postponed. The state is in the field of the waiter.
const TRACKED_POSTPONED: u64 = u64::MAX - 5;
const NEVER_ENQUEUED: u64 = u64::MAX - 4;
const STRICTLY_IDLE: u64 = u64::MAX - 3;
/// Admitted on arrival, and not counted as postponed.
const ADMITTED: u64 = u64::MAX - 2;
/// Admitted on arrival, and counted as postponed.
const POSTPONED: u64 = u64::MAX - 1;
const FINISHED: u64 = u64::MAX;

/// Ends the process where continuing would access freed memory. `extern "C"`: the compiler knows that it does not unwind.
#[cold]
extern "C" fn abort() -> ! {
    process::abort()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::pin::pin;
    use std::process::Command;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    fn push(list: &mut WaitList, waiter: Pin<&mut Waiter>, weight: u32) {
        let request = WaitingRequest { weight, timer: TimerId::NONE, sample: 0, since: 0, deadline: 0 };
        list.push_back(waiter, request, Waker::noop().clone());
    }

    fn weights(list: &mut WaitList) -> Vec<u32> {
        let mut weights = Vec::new();
        list.for_each(|request| {
            weights.push(request.weight);
            ControlFlow::Continue(())
        });
        weights
    }

    /// A waiter leaves only the list that it is in, and can be inserted again after that.
    #[test]
    fn a_waiter_leaves_only_its_own_list() {
        let (mut list, mut other, mut waiter) =
            (WaitList::new(), WaitList::new(), pin!(Waiter::new(1, WaiterRules::DEFAULT)));
        push(&mut list, waiter.as_mut(), 1);
        waiter.as_mut().finish();
        assert_eq!(waiter.state(), WaiterState::Waiting, "the list alone changes the state");
        assert!(other.remove(waiter.as_mut(), Removal::Cancelled).is_none());
        assert!(list.remove(waiter.as_mut(), Removal::Cancelled).is_some_and(|removed| removed.was_head));
        assert!(list.remove(waiter.as_mut(), Removal::Cancelled).is_none());
        push(&mut other, waiter.as_mut(), 1);
        assert!(list.remove(waiter.as_mut(), Removal::Cancelled).is_none());
        assert!(other.remove(waiter.as_mut(), Removal::Cancelled).is_some());
    }

    /// Whichever waiter is removed from a list of three, the others stay linked in order.
    #[test]
    fn links_stay_whole_whichever_waiter_leaves() {
        for leaver in 0..3 {
            let (mut list, mut waiters) = (
                WaitList::new(),
                [1, 2, 3].map(|weight| Box::pin(Waiter::new(weight, WaiterRules::DEFAULT))),
            );
            for (waiter, weight) in waiters.iter_mut().zip(1..) {
                push(&mut list, waiter.as_mut(), weight);
            }
            let removed = list.remove(waiters[leaver].as_mut(), Removal::Cancelled).unwrap();
            assert_eq!(removed.was_head, leaver == 0);
            let rest: Vec<u32> =
                [1, 2, 3].into_iter().filter(|weight| *weight as usize != leaver + 1).collect();
            assert_eq!(weights(&mut list), rest);
            push(&mut list, waiters[leaver].as_mut(), 4);
            assert_eq!(weights(&mut list), [&rest[..], &[4]].concat());
            while list.pop(ListEnd::Head, Removal::Closed { level: 0 }).is_some() {}
            assert!(list.head.is_none() && list.tail.is_none());
        }
    }

    /// Waiters that lost their timer keep their place, give up their waker once, and can get another.
    #[test]
    fn waiters_without_a_timer_keep_their_place() {
        let (mut list, mut waiters) =
            (WaitList::new(), [1, 2, 3].map(|weight| Box::pin(Waiter::new(weight, WaiterRules::DEFAULT))));
        for (waiter, weight) in waiters.iter_mut().zip(1..) {
            push(&mut list, waiter.as_mut(), weight);
        }
        let mut woken = 0;
        for _ in 0..2 {
            list.mark_timer_lost(TimerId::NONE, |_| woken += 1);
        }
        assert_eq!(
            (woken, waiters[1].state(), weights(&mut list)),
            (3, WaiterState::TimerLost, vec![1, 2, 3])
        );
        assert!(list.replace_waker(waiters[1].as_mut(), Waker::noop().clone()).is_none());
        assert_eq!(waiters[1].state(), WaiterState::Waiting);
        let wakers =
            [(); 3].map(|()| list.pop(ListEnd::Head, Removal::Closed { level: 0 }).unwrap().waker.is_some());
        assert_eq!(wakers, [false, true, false]);
    }

    /// Waiters that are woken early keep their place and their timer, give up their waker once, and can get another. One that has lost
    /// its timer must still register with another.
    #[test]
    fn waiters_woken_early_keep_their_place() {
        let (mut list, mut waiters) =
            (WaitList::new(), [1, 2].map(|weight| Box::pin(Waiter::new(weight, WaiterRules::DEFAULT))));
        push(&mut list, waiters[0].as_mut(), 1);
        list.mark_timer_lost(TimerId::NONE, drop);
        push(&mut list, waiters[1].as_mut(), 2);
        let mut woken = 0;
        for _ in 0..2 {
            list.wake_early(|_| woken += 1);
        }
        let states = waiters.each_ref().map(|waiter| waiter.state());
        assert_eq!((woken, states), (1, [WaiterState::TimerLost, WaiterState::WokenEarly]));
        assert_eq!(weights(&mut list), [1, 2]);
        assert!(list.replace_waker(waiters[1].as_mut(), Waker::noop().clone()).is_none());
        assert_eq!(waiters[1].state(), WaiterState::Waiting);
        let wakers =
            [(); 2].map(|()| list.pop(ListEnd::Head, Removal::Closed { level: 0 }).unwrap().waker.is_some());
        assert_eq!(wakers, [false, true]);
    }

    /// A waiter waits with its latest waker, and with none once its timer is lost.
    #[test]
    fn a_waiter_without_a_timer_waits_with_no_waker() {
        struct IdleWaker;
        impl Wake for IdleWaker {
            fn wake(self: Arc<Self>) {}
        }
        let (mut list, mut waiter) = (WaitList::new(), pin!(Waiter::new(1, WaiterRules::DEFAULT)));
        let waker = Waker::from(Arc::new(IdleWaker));
        push(&mut list, waiter.as_mut(), 1);
        assert!(list.replace_waker(waiter.as_mut(), waker.clone()).is_some());
        assert!(waiter.as_mut().is_waiting_with(&waker));
        list.mark_timer_lost(TimerId::NONE, drop);
        assert!(!waiter.as_mut().is_waiting_with(&waker));
        assert!(list.remove(waiter, Removal::Cancelled).is_some_and(|removed| removed.waker.is_none()));
    }

    /// Dropping a waiter that is in a list, or inserting it into another list, ends the process.
    #[test]
    fn misuse_of_a_queued_waiter_ends_the_process() {
        const TEST: &str = "gate::queue::list::tests::misuse_of_a_queued_waiter_ends_the_process";
        const CASE: &str = "GATE_TEST_CASE";
        match env::var(CASE) {
            Ok(case) => {
                let mut waiter = pin!(Waiter::new(1, WaiterRules::DEFAULT));
                push(&mut WaitList::new(), waiter.as_mut(), 1);
                if case == "insert" {
                    push(&mut WaitList::new(), waiter, 1);
                    process::exit(0); // Reached only if the second insertion was allowed.
                }
            }
            Err(_) => {
                for case in ["drop", "insert"] {
                    let mut run = Command::new(env::current_exe().unwrap());
                    let status = run.args(["--exact", TEST]).env(CASE, case).output().unwrap().status;
                    assert_eq!(status.code(), None, "{case}: ended by a signal, not {status}");
                }
            }
        }
    }
}
