//! Requests that are cancelled, because their future is dropped or a panic ends their poll.

use std::pin::Pin;
use std::thread;

use super::acquire::{GateRef, PendingRequest};
use super::clock;
use super::counters::Counter;
use super::lock::GateLock;
use super::permits::LockedPermits;
use super::queue::{Queue, Removed, Waiter};
use super::shared::Shared;
use super::state::GateState;
use super::timer::TimerId;
use super::wake_list::WakeList;

impl<G: GateRef> PendingRequest<G> {
    /// Removes the request from the queue, or releases the permits that it was admitted with.
    #[inline(never)]
    pub(super) fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        let Some(gate) = this.gate.gate() else { return };
        let shared = gate.shared();
        let is_panicking = thread::panicking();
        let Some(mut locked) = shared.permits.lock() else { return cancel_in_tree(shared, this.waiter) };
        let removed = locked.parts().0.cancel((), this.waiter.as_mut());
        match removed {
            // For a request behind the head and without a timer, only its waker is left to be dropped. While the thread panics, the wake
            // list drops the waker, and catches a panic of its destructor.
            Some(Removed { waker, was_head: false, timer: TimerId::NONE, .. }) if !is_panicking => {
                drop(locked);
                drop(waker);
            }
            // `removed` is built again, so that the fast path above does not write its other fields to memory: benchmark rows `cancel` and
            // `cancel-100k`.
            Some(Removed { waker, was_head, weight, timer, sample, since, deadline }) => {
                let removed = Removed { waker, was_head, weight, timer, sample, since, deadline };
                finish_cancel_and_wake(shared, locked, (), this.waiter, Some(removed));
            }
            None => finish_cancel_and_wake(shared, locked, (), this.waiter, None),
        }
    }
}

/// Cancels a request at a gate that is part of a tree.
#[cold]
#[inline(never)]
fn cancel_in_tree(shared: &Shared, mut waiter: Pin<&mut Waiter>) {
    let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
    let mut locked = node.tree().lock();
    let (state, _) = locked.parts();
    let removed = state.cancel(node.place(), waiter.as_mut());
    state.queue.untrack(waiter.as_mut().record(), clock::now);
    finish_cancel_and_wake(shared, locked, node.place(), waiter, removed);
}

/// Completes a cancellation under the lock, then wakes the waiters that were granted. The wake list catches a panic of a waker while the
/// thread panics.
#[cold]
#[inline(never)]
fn finish_cancel_and_wake<Q: Queue>(
    shared: &Shared,
    mut locked: LockedPermits<'_, GateState<Q>>,
    place: Q::Place<'_>,
    mut waiter: Pin<&mut Waiter>,
    removed: Option<Removed>,
) {
    // A panic may have ended the poll between admission and claim. Such a request counts as abandoned below, which lowers the number of
    // unclaimed requests. So it must count as postponed first, which raises that number.
    if waiter.as_mut().postpone() {
        shared.counters.increment(Counter::Postponed);
    }
    let mut wake_list = WakeList::default();
    let (state, word) = locked.parts();
    state.finish_cancel(word, place, waiter, removed, clock::now, &mut wake_list);
    drop(locked);
    wake_list.wake_all();
}
