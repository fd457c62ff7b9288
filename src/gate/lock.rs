//! The lock of a gate, and how steps run under it.

use std::mem;

use super::permits::{LockedPermits, Permits, Word};
use super::queue::Queue;
use super::state::GateState;
use super::wake_list::WakeList;

/// A lock with the state that it protects: the state of a standalone gate, or of a tree of gates.
///
/// Each operation that needs the lock is a step of the [state](GateState). [`locked`](Self::locked) runs a step. [`step`](Self::step) also
/// wakes the wakers that the step collects.
pub(super) trait GateLock: Send + Sync + 'static {
    type Queue: Queue;

    fn permits(&self) -> &Permits<GateState<Self::Queue>>;

    /// Runs a step under the lock.
    #[inline]
    fn locked<R>(&self, step: impl FnOnce(&mut GateState<Self::Queue>, &mut Word) -> R) -> R {
        let mut locked = self.lock();
        let (state, word) = locked.parts();
        step(state, word)
    }

    /// Takes the lock. Panics for a gate in a tree, which has no lock of its own: its operations take the lock of the tree.
    #[inline]
    fn lock(&self) -> LockedPermits<'_, GateState<Self::Queue>> {
        self.permits().lock().expect("the gate is not part of a tree")
    }

    /// Runs a step under the lock, then wakes the wakers that it has collected.
    ///
    /// A step that admits the request of its caller must store that in the waiter: a waker may panic, and permits without an owner are
    /// lost.
    #[inline]
    fn step<R>(&self, step: impl FnOnce(&mut GateState<Self::Queue>, &mut Word, &mut WakeList) -> R) -> R {
        let mut wake_list = WakeList::default();
        let result = self.locked(|state, word| step(state, word, &mut wake_list));
        wake_list.wake_all();
        mem::forget(wake_list); // nothing is left in it
        result
    }
}
