//! What the handles, permits and futures of one gate share.

use std::mem;
use std::sync::Arc;

use tokio::sync::Notify;

use super::clock;
use super::counters::{Counter, ShardedCounters};
use super::error::TryAcquireError;
use super::permits::{Permits, Word};
use super::state::GateState;
use super::status::{GateStatus, Resize};
use super::sync::{AtomicBool, Ordering};
use super::wake_list::WakeList;
use crate::plan::{GateName, Limit};

/// One gate. Handles, owned permits and owned futures hold it by reference count; everything else borrows a handle.
///
/// What needs the lock is a step of the [state](GateState): [`locked`](Self::locked) runs it, and [`step`](Self::step) also wakes
/// the wakers after it.
pub(super) struct Shared {
    pub(super) permits: Permits<GateState>,
    /// Set under the lock with the first listener, and never cleared.
    has_listeners: AtomicBool,
    pub(super) counters: ShardedCounters,
    pub(super) name: GateName,
    /// The maximum wait that the gate allows, in nanoseconds, or [`NEVER`](clock::NEVER).
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
            permits: Permits::new(limit, GateState::new(queue_bound, measures_waits)),
            has_listeners: AtomicBool::new(false),
            counters: ShardedCounters::default(),
            name,
            max_wait,
        }
    }

    /// Runs a step under the lock.
    #[inline]
    pub(super) fn locked<R>(&self, step: impl FnOnce(&mut GateState, &mut Word) -> R) -> R {
        let mut locked = self.permits.lock();
        let (state, word) = locked.parts();
        step(state, word)
    }

    /// Runs a step under the lock, then wakes the wakers that it leaves.
    ///
    /// If the step admits the request of the caller, the waiter must record that before wakers run: a waker may panic.
    #[inline]
    pub(super) fn step<R>(&self, step: impl FnOnce(&mut GateState, &mut Word, &mut WakeList) -> R) -> R {
        let mut wake_list = WakeList::default();
        let result = self.locked(|state, word| step(state, word, &mut wake_list));
        wake_list.wake_all();
        mem::forget(wake_list); // nothing is left in it
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

    /// Admits or rejects a request that does not wait.
    #[cold]
    #[inline(never)]
    pub(super) fn try_acquire_slow(&self, weight: u32) -> Result<(), TryAcquireError> {
        let word = self.permits.load();
        // The common case needs no lock: the gate is open, and the request fits under the limit, but not now.
        if weight > 0 && weight <= word.limit() && !word.has(Word::CLOSED) && !word.fits(weight) {
            self.counters.increment(Counter::NoPermits);
            return Err(TryAcquireError::NoPermits { gate: self.name });
        }
        let decided = self.locked(|state, word| state.try_acquire(word, weight));
        decided.map_err(|rejection| TryAcquireError::new(self.name, weight, rejection))
    }

    /// Returns permits, and admits the waiters that fit then.
    #[inline]
    pub(super) fn release(&self, weight: u32) {
        if !self.permits.try_release(weight) {
            self.release_slow(weight);
        }
    }

    #[inline(never)]
    fn release_slow(&self, weight: u32) {
        self.step(|state, word, wake_list| state.release(word, weight, clock::now, wake_list));
    }

    /// Sets the limit to the result of `change`, which gets the present limit, and wakes the waiters that fit then.
    #[inline]
    pub(super) fn resize(&self, change: impl Fn(Limit) -> Limit) -> Resize {
        let Some(before) = self.permits.try_resize(&change) else { return self.resize_slow(change) };
        let from = Limit::saturating(before.limit().into());
        let limit = change(from);
        if from != limit {
            self.counters.increment(Counter::Resized);
        }
        // After the change: a listener that is inserted at the same time is either seen here, or sees the new limit. The
        // `Acquire` of the change and the lock of `listen` order the two.
        if self.has_listeners.load(Ordering::Relaxed) {
            self.step(|state, _, wake_list| state.listeners.notify(wake_list));
        }
        Resize { from, to: limit, debt: before.with_limit(limit.get()).debt() }
    }

    #[inline(never)]
    fn resize_slow(&self, change: impl Fn(Limit) -> Limit) -> Resize {
        self.step(|state, word, wake_list| {
            let limit = change(Limit::saturating(word.limit().into()));
            let from = state.resize(word, limit, clock::now, wake_list);
            Resize { from, to: limit, debt: word.debt() }
        })
    }

    /// Sets the limit. The caller wakes the wakers.
    pub(super) fn resize_without_waking(&self, limit: Limit, wake_list: &mut WakeList) -> Resize {
        self.locked(|state, word| {
            let from = state.resize(word, limit, clock::now, wake_list);
            Resize { from, to: limit, debt: word.debt() }
        })
    }

    pub(super) fn close(&self) {
        // In two steps, because a waiter reads its state without the lock: after it has read `Closed`, `is_closed` must return `true`.
        self.locked(|_, word| *word = word.with(Word::CLOSED));
        self.step(|state, word, wake_list| state.end_waits(word, clock::now, wake_list));
    }

    /// Has the listener notified each time the limit is set, and when the gate is closed.
    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        self.locked(|state, _| {
            state.listeners.insert(listener);
            self.has_listeners.store(true, Ordering::Relaxed);
        });
    }

    pub(super) fn status(&self) -> GateStatus {
        self.locked(|state, word| state.status(*word, &self.counters, self.name))
    }
}
