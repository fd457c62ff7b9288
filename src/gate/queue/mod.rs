//! The wait queue: which request is granted next.
//!
//! [`FifoQueue`] is the queue of a standalone gate: first come, first served. [`FairQueue`] is the queue of a tree of gates: it shares
//! the permits among children and keys. [`Queue`] has the operations that the rules behind the lock need from both.

pub(super) mod fair;
mod fifo;
mod list;
mod waiter;

use std::pin::Pin;
use std::task::Waker;

pub(super) use fair::FairQueue;
pub(super) use fifo::FifoQueue;
pub(super) use list::Waiter;
pub(super) use waiter::{Removal, Removed, WaitBounds, WaiterRules, WaiterState, WaitingRequest};

use super::permits::Word;
use super::stats::GateStats;
use super::timer::TimerId;

/// A wait queue, with the permits that it grants and the counters of its gates.
pub(super) trait Queue: Sized + Send + 'static {
    /// Identifies the gate of a request within the queue.
    type Place<'p>: Copy;
    /// Identifies a gate that has permits in use or requests waiting.
    type Node: Copy + Ord + Send;

    /// Returns the number of requests that wait.
    fn len(&self) -> usize;

    /// Updates the statistics of a gate. The events of a key are counted for the gate that has the key.
    fn update_stats(&mut self, place: Self::Place<'_>, change: impl FnMut(&mut GateStats));

    /// Releases permits. Returns `true` if a waiter may fit now, or a `drained` future may have to be woken.
    fn release(&mut self, word: &mut Word, place: Self::Place<'_>, weight: u32) -> bool;

    /// Removes the request that is granted next, if it fits, takes its permits, counts it, and passes it to `on_removed`. In a queue
    /// that sheds, it may instead remove a request whose deadline has passed. Returns `false` if it removed none.
    fn grant(&mut self, word: &mut Word, clock: impl Fn() -> i64, on_removed: impl FnMut(Removed)) -> bool;

    /// Removes the requests that are rejected early, and counts them. Returns `true` if it removed any.
    fn shed(&mut self, clock: impl Fn() -> i64, on_removed: impl FnMut(Removed)) -> bool;

    /// Removes one request without granting it. Returns `None` if it does not wait at this gate. If [`Removed::was_head`] is `true`,
    /// another request may fit now.
    fn cancel(
        &mut self,
        place: Self::Place<'_>,
        waiter: Pin<&mut Waiter>,
        removal: Removal,
    ) -> Option<Removed>;

    /// Returns the node of a gate at which a request is about to wait.
    fn node(&self, place: Self::Place<'_>) -> Self::Node;

    /// Removes the requests of this timer whose deadline has passed, and counts them. `due` has one node for each of them: the node at
    /// which the request waits, or, if several deadlines are equal, possibly that of another request (see `Deadlines`).
    fn remove_expired(
        &mut self,
        timer: TimerId,
        due: Vec<Self::Node>,
        now: i64,
        on_removed: impl FnMut(Removed),
    );

    /// Marks the requests of a timer that will not fire, and passes their wakers to `wake`.
    fn mark_timer_lost(&mut self, timer: TimerId, wake: impl FnMut(Waker));

    /// Passes the wakers of the requests that wait at this gate itself to `wake`. The requests stay in the queue.
    fn wake_early(&mut self, place: Self::Place<'_>, wake: impl FnMut(Waker));

    /// Replaces the waker of a request, and returns the waker that is no longer needed: the old one, or `waker` itself if the request
    /// does not wait.
    fn replace_waker(
        &mut self,
        place: Self::Place<'_>,
        waiter: Pin<&mut Waiter>,
        waker: Waker,
    ) -> Option<Waker>;

    /// Returns a request by its waiter, if it waits at this gate.
    fn request_mut(
        &mut self,
        place: Self::Place<'_>,
        waiter: Pin<&mut Waiter>,
    ) -> Option<&mut WaitingRequest>;

    /// Returns `false` if no gate of the queue can be drained now.
    fn may_be_drained(&self) -> bool;

    /// Clears [`Word::WAITERS`] if no request waits. The caller has checked [`may_be_drained`](Self::may_be_drained), and that no `drained`
    /// future waits.
    fn clear_waiters(&self, word: &mut Word);

    /// Returns the node of a gate, or `None` if the gate is drained: no permit is in use and no request waits.
    fn node_if_busy(&self, word: Word, place: Self::Place<'_>) -> Option<Self::Node>;

    /// Returns `true` if the gate is not drained.
    fn is_busy(&self, word: Word, gate: Self::Node) -> bool;
}
