//! Which thread closes the pool, while the others wait for it.

use std::sync::PoisonError;

use super::sync::{Condvar, Mutex, MutexGuard, ThreadId, current_thread_id};

/// One thread closes the pool and drops its idle items. Other threads that close it wait until these have been dropped.
#[derive(Debug)]
pub(super) struct CloseTurn {
    phase: Mutex<ClosePhase>,
    ended: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClosePhase {
    NotBegun,
    /// The thread is dropping the idle items.
    RunsOn(ThreadId),
    Ended,
}

impl CloseTurn {
    pub(super) fn new() -> Self {
        Self { phase: Mutex::new(ClosePhase::NotBegun), ended: Condvar::new() }
    }

    /// Gives the turn to this thread. Returns `None` if a thread has taken it before.
    pub(super) fn take(&self) -> Option<CloseTurnGuard<'_>> {
        let mut phase = self.lock();
        if *phase != ClosePhase::NotBegun {
            return None;
        }
        *phase = ClosePhase::RunsOn(current_thread_id());
        drop(phase);
        Some(CloseTurnGuard(self))
    }

    /// Blocks until the turn has ended. Returns at once on the thread that has the turn: the drop of an item may close the pool again.
    pub(super) fn wait(&self) {
        let mut phase = self.lock();
        while matches!(*phase, ClosePhase::RunsOn(thread) if thread != current_thread_id()) {
            phase = self.ended.wait(phase).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ClosePhase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the turn when it is dropped, also by a panic.
pub(super) struct CloseTurnGuard<'t>(&'t CloseTurn);

impl Drop for CloseTurnGuard<'_> {
    fn drop(&mut self) {
        *self.0.lock() = ClosePhase::Ended;
        self.0.ended.notify_all();
    }
}
