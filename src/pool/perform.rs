//! Performing the effects of a step, without the lock.

use std::sync::Arc;

use super::creation::CreationTask;
use super::delivery::ItemDelivery;
use super::effects::PoolEffects;
use super::manager::Manager;
use super::shared::PoolShared;
use super::sync::{Ordering, yield_point};
use crate::catch_panic::catch_panic;
use crate::gate::clock;

impl<M: Manager> PoolShared<M> {
    /// Performs effects, and those that follow from them, until none is left. A panic of user code interrupts nothing.
    pub(super) fn perform(self: &Arc<Self>, mut effects: PoolEffects<M>) {
        loop {
            // Waiters first: nothing below may delay them. A waiter that has gone leaves its item with this thread.
            let mut undelivered = Vec::new();
            for (sender, delivery) in effects.deliveries.drain(..) {
                yield_point();
                // Sending calls the waiter's waker. If that panics, the delivery is in the channel nevertheless.
                match catch_panic(|| sender.send(delivery)) {
                    Ok(Err(ItemDelivery::Reused(record) | ItemDelivery::Created(record))) => {
                        undelivered.push(record);
                    }
                    Ok(Err(ItemDelivery::Ended(error))) => {
                        let _ = catch_panic(|| drop(error)); // it may be the last reference to an error of the manager
                    }
                    Ok(Ok(()) | Err(ItemDelivery::NoRoom)) | Err(_) => {}
                }
            }

            for attempt in effects.attempts.drain(..) {
                self.runtime.spawn(CreationTask::new(self, attempt).run());
            }
            if effects.wakes_maintenance {
                self.maintenance_wake.notify_one();
            }
            // These call wakers of users, too.
            if let Some(round) = effects.ended_before {
                // Stored before the waiters are woken: a checkout that enters the queue too late to be woken reads it. Release: see
                // `failure`.
                self.ended_before.fetch_max(round, Ordering::Release);
                let _ = catch_panic(|| self.gate.wake_early());
            }
            if effects.ends_creations {
                let _ = catch_panic(|| self.closing.notify_waiters());
            }
            yield_point();

            let dropped = effects.discarded.len();
            for item in effects.discarded.drain(..) {
                let _ = catch_panic(|| drop(item));
            }
            for error in effects.errors.drain(..) {
                let _ = catch_panic(|| drop(error));
            }
            for event in effects.events.drain(..) {
                for observer in &self.observers {
                    let _ = catch_panic(|| observer.observe(&event));
                }
                let _ = catch_panic(|| drop(event)); // it may have the last reference to an error of the manager
            }
            if effects.drained {
                let _ = catch_panic(|| self.drained.notify_waiters());
            }
            if let Some(group) = &self.group {
                if effects.fills_group {
                    group.fill();
                }
                if effects.lacks_slots {
                    self.make_room(group);
                }
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
                state.finish_drops(dropped, now, self.gate.item_limit(), &mut effects);
            }
            state.update_group(&mut effects);
            drop(state);
            self.gate.note_items();
        }
    }
}
