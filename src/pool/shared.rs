//! What the handles, the pooled items and the tasks of a pool share.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::catch_panic::{catch_panic, catch_panic_async};
use super::delivery::{ItemDelivery, delivery_channel};
use super::effects::{CreateAttempt, PoolEffects};
use super::error::CreateError;
use super::event::{PoolEvent, PoolObserver};
use super::item_record::ItemRecord;
use super::manager::Manager;
use super::state::{PoolState, elapsed};
use super::status::{DiscardReason, PoolStatus};
use super::sync::{Mutex, MutexGuard, PoolRuntime, with_deadline, yield_point};
use crate::gate::{Gate, Resize, clock};
use crate::jitter::scattered;
use crate::plan::Limit;

/// A pool behind its handles.
///
/// Every operation is a step of the [state](PoolState) under the lock, followed by its [effects](Self::perform) without the
/// lock. The lock order is: state, then gate. Each is held for one step only.
pub(super) struct PoolShared<M: Manager> {
    pub(super) manager: M,
    pub(super) gate: Gate,
    /// Whether the pool created the gate, so that only the pool's checkouts use it.
    pub(super) owns_gate: bool,
    pub(super) create_timeout: Duration,
    /// Whether the clock must be read when an item comes back, because items are evicted or expire.
    pub(super) reads_clock: bool,
    /// Whether items expire.
    pub(super) has_lifetime: bool,
    pub(super) observers: Vec<Box<dyn PoolObserver>>,
    pub(super) runtime: PoolRuntime,
    /// Wakes the maintenance task. The gate notifies it, too, when its limit is set or it is closed.
    pub(super) maintenance_wake: Arc<Notify>,
    /// Wakes the callers of `drained`.
    pub(super) drained: Notify,
    pub(super) state: Mutex<PoolState<M>>,
}

impl<M: Manager> PoolShared<M> {
    /// Takes the warmest idle item, if there is one, and then records the wait.
    #[inline]
    pub(super) fn take_idle(self: &Arc<Self>, waited: Option<Duration>) -> Option<ItemRecord<M::Item>> {
        if self.has_lifetime {
            return self.take_unexpired(waited);
        }
        let mut state = self.lock();
        let record = state.take_warmest()?;
        if let Some(waited) = waited {
            state.record_wait(waited);
        }
        Some(record)
    }

    #[cold]
    fn take_unexpired(self: &Arc<Self>, waited: Option<Duration>) -> Option<ItemRecord<M::Item>> {
        let now = clock::now();
        self.apply(|state, effects| {
            let record = state.take_unexpired(now, effects)?;
            if let Some(waited) = waited {
                state.record_wait(waited);
            }
            Some(record)
        })
    }

    /// Takes the warmest idle item, or joins the wait queue if no item is idle. The wait is recorded if its start is given.
    pub(super) fn take_or_enqueue(
        self: &Arc<Self>,
        arrived: Option<i64>,
    ) -> Result<ItemRecord<M::Item>, ItemWait<'_, M>> {
        let (sender, receiver) = delivery_channel();
        let now = clock::now();
        let taken = self.apply(|state, effects| {
            if let Some(record) = state.take_unexpired(now, effects) {
                if let Some(arrived) = arrived {
                    state.record_wait(elapsed(arrived, now));
                }
                return Ok(record);
            }
            Err(state.enqueue(sender, arrived, now, self.gate.limit(), effects))
        });
        taken.map_err(|ticket| ItemWait { shared: self, ticket, receiver, is_over: false })
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
        self.apply(|state, effects| state.detach(now, self.gate.limit(), effects));
    }

    pub(super) fn resize(self: &Arc<Self>, limit: Limit) -> Resize {
        let resize = self.gate.resize(limit);
        let now = clock::now();
        self.apply(|state, effects| state.resize(now, self.gate.limit(), effects));
        resize
    }

    /// Closes the pool, and not the gate.
    pub(super) fn close(self: &Arc<Self>) {
        self.apply(PoolState::close);
    }

    /// Stops creating items, because the runtime of the pool has shut down.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.apply(PoolState::abandon);
    }

    /// Runs one round of maintenance. Returns when the next one is due.
    pub(super) fn maintain(self: &Arc<Self>) -> i64 {
        if self.gate.is_closed() {
            self.close();
        }
        let now = clock::now();
        self.apply(|state, effects| state.maintain(now, self.gate.limit(), effects))
    }

    pub(super) fn status(&self) -> PoolStatus {
        let now = clock::now();
        let mut status = self.lock().status(now, self.gate.limit());
        status.waiting = status.waiting.saturating_add(self.gate.status().waiting);
        status
    }

    /// Runs one step of the state under the lock, then performs its effects without the lock.
    pub(super) fn apply<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut PoolState<M>, &mut PoolEffects<M>) -> T,
    ) -> T {
        let mut effects = PoolEffects::default();
        let result = step(&mut self.lock(), &mut effects);
        self.perform(effects);
        result
    }

    /// Performs effects, and those that follow from them, until none is left. A panic of user code interrupts nothing.
    fn perform(self: &Arc<Self>, mut effects: PoolEffects<M>) {
        loop {
            // Waiters first: nothing below may delay them. A waiter that has gone leaves its item with this thread.
            let mut undelivered = Vec::new();
            for (sender, delivery) in effects.deliveries.drain(..) {
                yield_point();
                // Sending calls the waiter's waker. If that panics, the delivery is in the channel nevertheless.
                if let Ok(Err(delivery)) = catch_panic(|| sender.send(delivery)) {
                    undelivered.extend(delivery.into_record());
                }
            }

            for attempt in effects.attempts.drain(..) {
                self.runtime.spawn(CreationTask::new(self, attempt).run());
            }
            if effects.wakes_maintenance {
                self.maintenance_wake.notify_one();
            }
            yield_point();

            let dropped = effects.discarded.len();
            for item in effects.discarded.drain(..) {
                let _ = catch_panic(|| drop(item));
            }
            for event in &effects.events {
                for observer in &self.observers {
                    let _ = catch_panic(|| observer.observe(event));
                }
            }
            if effects.drained {
                self.drained.notify_waiters();
            }

            // Undelivered items and finished drops make room, which may serve further waiters: the next round.
            if undelivered.is_empty() && dropped == 0 {
                return;
            }
            let now = clock::now();
            effects = PoolEffects::default();
            let mut state = self.lock();
            for record in undelivered {
                state.put_back(record, Some(now), || now, &mut effects);
            }
            if dropped > 0 {
                state.finish_drops(dropped, now, self.gate.limit(), &mut effects);
            }
        }
    }

    /// Locks the state. No code panics under the lock, so a poisoned lock still holds a consistent state.
    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the wait queue for items. Dropping it leaves the queue, and passes on an item that has already been sent.
pub(super) struct ItemWait<'s, M: Manager> {
    shared: &'s Arc<PoolShared<M>>,
    ticket: u64,
    receiver: oneshot::Receiver<ItemDelivery<M>>,
    is_over: bool,
}

impl<M: Manager> ItemWait<'_, M> {
    /// Waits for the delivery. Dropping the future drops the place in the queue.
    pub(super) async fn delivery(mut self) -> ItemDelivery<M> {
        let delivery = (&mut self.receiver).await;
        self.is_over = true;
        delivery.unwrap_or(ItemDelivery::Closed) // the pool sends to every waiter before it drops the sender
    }
}

impl<M: Manager> Drop for ItemWait<'_, M> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let sender = self.shared.apply(|state, effects| state.cancel(self.ticket, effects));
        yield_point();
        // The channel is closed first: from then on the sending thread keeps its item. What was sent before is received here.
        self.receiver.close();
        if let Some(record) = self.receiver.try_recv().ok().and_then(ItemDelivery::into_record) {
            self.shared.put_back_slow(record);
        }
        drop(sender); // wakes no task, because the receiver is closed
    }
}

/// A task that creates one item. Its drop reports a failure if the task ends without an outcome.
struct CreationTask<M: Manager> {
    shared: Arc<PoolShared<M>>,
    attempt: CreateAttempt,
    began: i64,
    is_over: bool,
}

impl<M: Manager> CreationTask<M> {
    fn new(shared: &Arc<PoolShared<M>>, attempt: CreateAttempt) -> Self {
        Self { shared: Arc::clone(shared), attempt, began: clock::now(), is_over: false }
    }

    async fn run(mut self) {
        let limit = || self.shared.gate.limit();
        if !self.shared.apply(|state, effects| state.begin_attempt(self.attempt, limit(), effects)) {
            self.is_over = true;
            return;
        }
        let outcome = self.create_item().await; // the manager's future has been dropped when this returns
        self.is_over = true;
        self.report(outcome);
    }

    async fn create_item(&self) -> Result<M::Item, CreateError> {
        let shared = &self.shared;
        let (gate, after) = (shared.gate.name(), shared.create_timeout);
        // The async block calls `create` at its first poll, so that a panic before there is a future is caught, too.
        let creating = catch_panic_async(async { shared.manager.create().await });
        match with_deadline(clock::add(self.began, after), creating).await {
            Some(Ok(Ok(item))) => Ok(item),
            Some(Ok(Err(error))) => Err(CreateError::Failed { gate, error: Arc::from(error.into()) }),
            Some(Err(message)) => Err(CreateError::Panicked { gate, message }),
            None => Err(CreateError::TimedOut { gate, after }),
        }
    }

    fn report(&self, outcome: Result<M::Item, CreateError>) {
        let Self { shared, attempt, began, .. } = self;
        let now = clock::now();
        shared.apply(|state, effects| {
            let limit = shared.gate.limit();
            match outcome {
                Ok(item) => state.finish_attempt(*attempt, item, *began, now, limit, effects),
                Err(error) => {
                    state.fail_attempt(*attempt, &error, now, limit, scattered, effects);
                    // Observers see the failure before the backoff that follows from it.
                    let gate = shared.gate.name();
                    let event = PoolEvent::CreateFailed { gate, error: Arc::new(error) };
                    effects.events.insert(0, event);
                }
            }
        });
    }
}

impl<M: Manager> Drop for CreationTask<M> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let gate = self.shared.gate.name();
        let error = if thread::panicking() {
            CreateError::Panicked { gate, message: Arc::from("the future panicked when it was dropped") }
        } else {
            CreateError::Abandoned { gate } // only a runtime that shuts down drops a task that has not ended
        };
        self.report(Err(error));
    }
}
