//! What the handles, permits and futures of one gate share.

use std::mem;
use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;

use super::clock;
use super::counters::{Counter, ShardedCounters};
use super::error::PermanentRejection;
use super::permits::{Permits, Word};
use super::state::GateState;
use super::status::{GateStatus, Resize};
use super::sync::{Mutex, MutexGuard};
use super::wake_list::WakeList;
use crate::plan::{GateName, Limit};

/// One gate. Handles, owned permits and owned futures hold it by reference count; everything else borrows a handle.
///
/// What needs the lock is one [step](Self::step): the [state](GateState) decides under the lock, and the wakers are woken after
/// it.
pub(super) struct Shared {
    pub(super) permits: Permits,
    state: Mutex<GateState>,
    counters: ShardedCounters,
    pub(super) name: GateName,
    /// The longest wait of any request in nanoseconds, or [`NEVER`](clock::NEVER).
    pub(super) max_wait: i64,
}

impl Shared {
    pub(super) fn new(
        name: GateName,
        limit: Limit,
        queue_bound: usize,
        max_wait: i64,
        measures_waits: bool,
    ) -> Self {
        Self {
            permits: Permits::new(limit),
            state: Mutex::new(GateState::new(queue_bound, measures_waits)),
            counters: ShardedCounters::default(),
            name,
            max_wait,
        }
    }

    /// Locks the state. Nothing panics under the lock, so a poisoned lock is as good as any.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step under the lock, then wakes the wakers that it leaves.
    ///
    /// A permit that the step admits must have an owner before this returns: a waker may panic.
    #[inline]
    pub(super) fn step<R>(&self, step: impl FnOnce(&mut GateState, &Permits, &mut WakeList) -> R) -> R {
        let mut wakes = WakeList::default();
        let result = step(&mut self.lock(), &self.permits, &mut wakes);
        wakes.wake_all();
        mem::forget(wakes); // nothing is left in it
        result
    }

    /// Admits a request without the lock. Returns `false`, and changes nothing, if the slow path must decide.
    #[inline]
    pub(super) fn try_acquire(&self, weight: u32) -> bool {
        let is_admitted = weight > 0 && self.permits.try_acquire(weight);
        if is_admitted {
            self.counters.increment(Counter::Admitted);
        }
        is_admitted
    }

    /// Admits or rejects a request that does not wait. `Err(None)` means that there are too few permits.
    #[cold]
    #[inline(never)]
    pub(super) fn try_acquire_slow(&self, weight: u32) -> Result<(), Option<PermanentRejection>> {
        let word = self.permits.load();
        // The common case needs no lock: the gate is open, and the request fits under the limit, but not now.
        if weight > 0 && weight <= word.limit() && !word.has(Word::CLOSED) && !word.fits(weight) {
            self.counters.increment(Counter::NoPermits);
            return Err(None);
        }
        self.lock().try_acquire(&self.permits, weight)
    }

    /// Returns permits, and admits the waiters that fit then.
    #[inline]
    pub(super) fn release(&self, weight: u32) {
        if !self.permits.try_release(weight) {
            self.release_slow(weight);
        }
    }

    #[cold]
    #[inline(never)]
    fn release_slow(&self, weight: u32) {
        self.step(|state, permits, wakes| state.release(permits, weight, clock::now, wakes));
    }

    /// Sets the limit. The caller wakes the wakers.
    #[inline]
    pub(super) fn resize(&self, limit: Limit, wakes: &mut WakeList) -> Resize {
        let before = match self.permits.try_resize(limit) {
            Some(before) => {
                if before.limit() != limit.get() {
                    self.counters.increment(Counter::Resized);
                }
                before
            }
            None => self.lock().resize(&self.permits, limit, clock::now, wakes),
        };
        let debt = before.with_limit(limit.get()).debt();
        Resize { from: Limit::saturating(before.limit().into()), to: limit, debt }
    }

    pub(super) fn close(&self) {
        self.step(|state, permits, wakes| state.close(permits, clock::now, wakes));
    }

    /// Has the listener notified of each change of the limit, and of the closing of the gate.
    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        let mut state = self.lock();
        state.listeners.insert(listener);
        self.permits.update(|word| word.with(Word::LISTENERS));
    }

    pub(super) fn status(&self) -> GateStatus {
        self.lock().status(&self.permits, &self.counters, self.name)
    }
}
