//! What the handles, the pooled items and the tasks of a pool share.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::close_turn::CloseTurn;
use super::effects::PoolEffects;
use super::error::{AddError, CheckoutError};
use super::event::PoolObserver;
use super::gate::PoolGate;
use super::group::PoolGroup;
use super::item_record::{CheckoutWait, ItemRecord};
use super::manager::Manager;
use super::state::PoolState;
use super::status::{DiscardReason, PoolStatus};
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering, PoolRuntime};
use crate::gate::clock::NEVER;
use crate::gate::{Resize, clock};
use crate::jitter::scattered;
use crate::plan::Limit;

/// A pool behind its handles.
///
/// Every operation is a step of the [state](PoolState) under the lock, followed by its [effects](Self::perform) without the
/// lock. The lock order is: state, then gate. Each is held for one step only.
pub(super) struct PoolShared<M: Manager> {
    pub(super) manager: M,
    pub(super) gate: PoolGate,
    pub(super) group: Option<PoolGroup>,
    /// The calls of [`make_room`](Self::make_room) since the running one started, itself included. 0 if none runs.
    pub(super) room_requests: AtomicUsize,
    /// Whether the pool created the gate, so that only the pool's checkouts use it.
    pub(super) owns_gate: bool,
    pub(super) create_timeout: Duration,
    /// Whether the clock must be read when an item comes back, because items are evicted or expire.
    pub(super) reads_clock: bool,
    pub(super) max_lifetime: Option<Duration>,
    /// The longest wait of each checkout in nanoseconds, or [`NEVER`]. The gate may have a shorter one.
    pub(super) max_wait: i64,
    pub(super) check_timeout: Duration,
    /// Whether each item counts as incomplete from its checkout on.
    pub(super) incomplete_by_default: bool,
    pub(super) observers: Vec<Box<dyn PoolObserver>>,
    pub(super) runtime: PoolRuntime,
    /// Wakes the maintenance task. The gate notifies it, too, when its limit is set or it is closed.
    pub(super) maintenance_wake: Arc<Notify>,
    /// A copy of [`PoolState::ended_before`] for the checkouts in the gate's queue, which read it without the lock. It may lag behind
    /// for a moment.
    pub(super) ended_before: AtomicU64,
    /// Ends the running creations when the pool is closed.
    pub(super) closing: Notify,
    pub(super) close_turn: CloseTurn,
    /// Wakes the callers of `drained`.
    pub(super) drained: Notify,
    pub(super) state: Mutex<PoolState<M>>,
}

impl<M: Manager> PoolShared<M> {
    /// Takes the warmest idle item, if there is one, and then records the wait for it.
    ///
    /// # Errors
    ///
    /// The present round, if no item is idle. It precedes every attempt that this call causes.
    #[inline]
    pub(super) fn take_idle(self: &Arc<Self>, wait: CheckoutWait) -> Result<ItemRecord<M::Item>, u64> {
        if self.max_lifetime.is_some() {
            return self.take_unexpired(wait);
        }
        let mut state = self.lock();
        let Some(record) = state.take_warmest() else { return Err(state.round()) };
        state.record_wait(wait, clock::now);
        Ok(record)
    }

    #[cold]
    fn take_unexpired(self: &Arc<Self>, wait: CheckoutWait) -> Result<ItemRecord<M::Item>, u64> {
        let now = clock::now();
        self.apply(|state, effects| {
            let Some(record) = state.take_unexpired(now, effects) else { return Err(state.round()) };
            state.record_wait(wait, || now);
            Ok(record)
        })
    }

    /// Takes back an item that is fit to be used again.
    #[inline]
    pub(super) fn put_back(self: &Arc<Self>, record: ItemRecord<M::Item>) {
        let now = self.reads_clock.then(clock::now);
        let mut state = self.lock();
        if state.can_put_idle(&record, now) {
            let wakes_maintenance = state.put_idle(record, now);
            drop(state);
            if wakes_maintenance {
                self.maintenance_wake.notify_one();
            }
        } else {
            drop(state);
            self.put_back_slow(record);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn put_back_slow(self: &Arc<Self>, record: ItemRecord<M::Item>) {
        let now = self.reads_clock.then(clock::now);
        self.apply(|state, effects| state.put_back(record, now, clock::now, effects));
    }

    /// Discards an item that was in use. The item has been dropped when this returns.
    #[cold]
    #[inline(never)]
    pub(super) fn discard(self: &Arc<Self>, record: ItemRecord<M::Item>, reason: DiscardReason) {
        self.apply(|state, effects| state.discard_in_use(record, reason, effects));
    }

    /// Stops counting an item that was in use and now belongs to the user.
    pub(super) fn detach(self: &Arc<Self>) {
        let now = clock::now();
        self.apply(|state, effects| state.detach(now, self.gate.item_limit(), effects));
    }

    pub(super) fn resize(self: &Arc<Self>, limit: Limit) -> Resize {
        let resize = self.gate.resize(limit);
        let now = clock::now();
        self.apply(|state, effects| state.resize(now, self.gate.item_limit(), effects));
        resize
    }

    /// Closes the pool, and then the gate with `close_gate`. The idle items have been dropped when this returns.
    ///
    /// Waiters and observers are notified only after both are closed, so that none of them finds one of the two open.
    pub(super) fn close(self: &Arc<Self>, close_gate: impl FnOnce()) {
        let Some(_turn) = self.close_turn.take() else {
            close_gate();
            return self.close_turn.wait();
        };
        let mut effects = PoolEffects::default();
        let mut state = self.lock();
        state.close(&mut effects);
        state.update_group(&mut effects);
        drop(state);
        // Closing the gate wakes its waiters, and so may panic. The effects are performed nevertheless.
        let outcome = panic::catch_unwind(AssertUnwindSafe(close_gate));
        self.perform(effects);
        if let Err(payload) = outcome {
            panic::resume_unwind(payload);
        }
    }

    /// Runs one round of maintenance. Returns when the next one is due.
    pub(super) fn maintain(self: &Arc<Self>) -> i64 {
        if self.gate.has_shut_down() {
            // If another thread is closing the pool, the task does not wait for it.
            if let Some(_turn) = self.close_turn.take() {
                self.apply(PoolState::close);
            }
        }
        let now = clock::now();
        self.apply(|state, effects| state.maintain(now, self.gate.item_limit(), effects))
    }

    pub(super) fn status(&self) -> PoolStatus {
        let now = clock::now();
        let mut status = self.lock().status(now, self.gate.item_limit());
        status.waiting = status.waiting.saturating_add(self.gate.status().waiting);
        status
    }

    /// Stops creating items, because the runtime of the pool has shut down.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.apply(PoolState::abandon);
    }

    /// Takes an item of the user.
    pub(super) fn add(self: &Arc<Self>, item: M::Item) -> Result<(), AddError<M::Item>> {
        let now = clock::now();
        let record = self.new_record(item, now);
        self.apply(|state, effects| state.add(record, now, || self.gate.item_limit(), effects))
    }

    /// Records an item that exists since this instant. Its lifetime is up to a tenth shorter than the maximum, so that items
    /// that were created together are not renewed together.
    pub(super) fn new_record(&self, item: M::Item, created: i64) -> ItemRecord<M::Item> {
        let expires = self.max_lifetime.map_or(NEVER, |longest| {
            let fifth = longest.checked_div(5).unwrap_or_default();
            let less = fifth.saturating_sub(scattered(fifth));
            clock::add(created, longest.saturating_sub(less))
        });
        ItemRecord::new(item, created, expires)
    }

    /// Runs one step of the state under the lock, then performs its effects without the lock.
    pub(super) fn apply<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut PoolState<M>, &mut PoolEffects<M>) -> T,
    ) -> T {
        let mut effects = PoolEffects::default();
        let mut state = self.lock();
        let result = step(&mut state, &mut effects);
        state.update_group(&mut effects);
        drop(state);
        self.perform(effects);
        result
    }

    /// Returns the error of a checkout in the gate's queue that arrived in this round, if a failure has ended its wait.
    ///
    /// Acquire pairs with the Release in `perform`. A checkout that entered the queue too late to be woken by the failure reads the round
    /// here: `perform` stores it before it locks the gate.
    #[inline]
    pub(super) fn failure(&self, round: u64) -> Option<CheckoutError> {
        if self.ended_before.load(Ordering::Acquire) > round { self.lock().ended(round) } else { None }
    }

    /// Locks the state. No code panics under the lock, so a poisoned lock still holds a consistent state.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
