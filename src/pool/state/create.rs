//! Rules for item creation: for waiters, for the minimum of idle items, and while creation fails.

use std::time::Duration;

use super::{PoolPhase, PoolState, count, decrement, increment};
use crate::pool::backoff::BackoffDelay;
use crate::pool::create_error::{CreateError, FailedCreation};
use crate::pool::delivery::ItemDelivery;
use crate::pool::effects::{CreateAttempt, PoolEffects};
use crate::pool::error::CheckoutError;
use crate::pool::event::PoolEvent;
use crate::pool::item_record::ItemRecord;
use crate::pool::manager::{FailureVerdict, Manager};
use crate::pool::status::DiscardReason;

impl<M: Manager> PoolState<M> {
    /// Returns whether an attempt may still run when its task starts. The attempt ends here if the limit has fallen below
    /// the live items since it was spawned, or if the pool has closed.
    pub(in crate::pool) fn begin_attempt(
        &mut self,
        attempt: CreateAttempt,
        limit: usize,
        effects: &mut PoolEffects<M>,
    ) -> bool {
        self.set_limit(limit);
        self.unstarted.pop_front(); // the runtime is driven
        // Without a backoff, a stored error can only be `NotStarted`. This start shows that the runtime is driven again.
        if self.backoff.until().is_none() {
            self.set_last_error(None, effects);
        }
        let has_room = !self.is_closed() && self.is_within_limit();
        if !has_room {
            self.end_attempt(attempt);
            self.release_first_waiters(effects);
            effects.drained |= self.is_drained();
        }
        has_room
    }

    /// Takes a new item: hands it to the first waiter, makes it idle, or discards it.
    pub(in crate::pool) fn finish_attempt(
        &mut self,
        attempt: CreateAttempt,
        record: ItemRecord<M::Item>,
        took: Duration,
        now: i64,
        limit: usize,
        effects: &mut PoolEffects<M>,
    ) {
        self.set_limit(limit);
        self.end_attempt(attempt);
        self.backoff.reset();
        self.set_last_error(None, effects);

        count(&mut self.totals.created);
        self.creates.record(took);
        effects.events.push(PoolEvent::Created { gate: self.rules.gate, took });

        if self.is_closed() {
            self.discard(record, DiscardReason::Closed, effects);
        } else if let Some(waiter) = self.waiters.pop_first() {
            increment(&mut self.in_use);
            self.deliver(waiter, record, ItemDelivery::Created, || now, effects);
        } else if self.present() >= self.limit || self.is_above_limit() {
            self.discard(record, DiscardReason::Surplus, effects);
        } else {
            effects.has_idled = true;
            effects.wakes_maintenance |= self.push_warmest(record, Some(now));
        }
        self.start_attempts(now, limit, effects); // creation works again: the backoff held others up
    }

    /// Counts an attempt that was cancelled because the pool was closed.
    pub(in crate::pool) fn cancel_attempt(&mut self, attempt: CreateAttempt, effects: &mut PoolEffects<M>) {
        self.end_attempt(attempt);
        effects.drained |= self.is_drained();
    }

    /// Records a failed attempt: fails waiters and starts or extends the backoff. `jitter` varies the backoff delay.
    pub(in crate::pool) fn fail_attempt(
        &mut self,
        attempt: CreateAttempt,
        failed: &FailedCreation,
        now: i64,
        limit: usize,
        jitter: impl FnOnce(Duration) -> Duration,
        effects: &mut PoolEffects<M>,
    ) {
        let FailedCreation { error, verdict } = failed;
        self.end_attempt(attempt);
        let errors = &mut self.totals.create_errors;
        count(match error {
            CreateError::Failed { .. } => &mut errors.failed,
            CreateError::TimedOut { .. } => &mut errors.timed_out,
            CreateError::Panicked { .. } => &mut errors.panicked,
            CreateError::NotStarted { .. } => &mut errors.not_started,
            CreateError::Abandoned { .. } => &mut errors.abandoned,
        });
        if self.is_closed() {
            effects.drained |= self.is_drained();
            return;
        }
        self.refilling = true; // the item may have been for the minimum
        if matches!(error, CreateError::Abandoned { .. }) {
            self.abandon(effects);
            return;
        }

        // A permanent failure: no further attempt is made, so no waiter may keep waiting for one.
        if *verdict == FailureVerdict::GiveUp {
            self.end_all_waits(error.clone(), effects);
            self.backoff.give_up();
            effects.events.push(PoolEvent::GaveUp { gate: self.rules.gate });
            effects.drained |= self.is_drained();
            return;
        }

        // The failed attempt after a delay ends the waits of all checkouts that arrived before it. Any other failed attempt ends one wait.
        let delay = match attempt {
            CreateAttempt::Retry { round } => {
                self.end_waits_before(round, error.clone(), effects);
                (!self.backoff.has_given_up()).then(|| self.backoff.extend(now, jitter))
            }
            CreateAttempt::Normal => {
                self.note_failure(error.clone(), effects);
                // The wait ends only if the attempts that still run cannot serve every waiter.
                if self.waiters.len() > self.creating {
                    if let Some((_, waiter)) = self.waiters.pop_first() {
                        let end = ItemDelivery::Ended(CheckoutError::Create(error.clone()));
                        effects.deliveries.push((waiter.sender, end));
                    }
                }
                self.backoff.start(now, jitter)
            }
        };
        if let Some(BackoffDelay { delay, failures }) = delay {
            effects.events.push(PoolEvent::BackingOff { gate: self.rules.gate, delay, failures });
        }
        self.start_attempts(now, limit, effects);
        effects.drained |= self.is_drained();
    }

    /// Stops creating items and fails every waiter, because the runtime of the pool has shut down.
    pub(in crate::pool) fn abandon(&mut self, effects: &mut PoolEffects<M>) {
        self.unstarted.clear();
        if self.is_closed() {
            return; // no wait is left, and a closed pool creates nothing in any case
        }
        self.phase = PoolPhase::Abandoned;
        self.end_all_waits(CreateError::Abandoned { gate: self.rules.gate }, effects);
        effects.drained |= self.is_drained();
    }

    /// Ends the backoff, and tries to create the items that are needed.
    pub(in crate::pool) fn retry_now(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.backoff.reset();
        self.set_last_error(None, effects);
        self.start_attempts(now, limit, effects);
    }

    /// Starts to create the minimum of idle items.
    pub(in crate::pool) fn warm(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.refill(now, limit, effects);
    }

    /// Starts as many attempts as are needed and fit below the limit. During a backoff it starts one attempt, and only
    /// after the delay.
    pub(super) fn start_attempts(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.set_limit(limit);
        self.unmet = 0;
        if self.phase != PoolPhase::Open {
            return;
        }
        self.reject_waiters(now, effects);
        self.release_first_waiters(effects);
        let needed = self.needed_attempts();
        self.refilling &= needed > self.waiters.len(); // the refill ends when the minimum is complete
        let Some(until) = self.backoff.until() else {
            while self.creating < needed && self.take_slot() {
                self.start_attempt(CreateAttempt::Normal, now, effects);
            }
            effects.lacks_slots |= self.unmet > 0;
            return;
        };
        if needed == 0 || self.retrying {
            return;
        }
        if now < until {
            // The maintenance task starts the attempt when the delay is over.
            if until < self.next_maintenance {
                self.next_maintenance = until;
                effects.wakes_maintenance = true;
            }
        } else if self.take_slot() {
            self.retrying = true;
            self.round = self.round.saturating_add(1);
            self.start_attempt(CreateAttempt::Retry { round: self.round }, now, effects);
        } else {
            self.unmet = self.unmet.min(1); // only one attempt is made
            effects.lacks_slots |= self.unmet > 0;
        }
    }

    /// Returns how many attempts should be running: one for each waiter, and one for each idle item that is missing.
    pub(super) fn needed_attempts(&self) -> usize {
        let idle = self.idle.len().saturating_add(self.in_review);
        let missing = if self.refilling { self.effective_min_idle().saturating_sub(idle) } else { 0 };
        self.waiters.len().saturating_add(missing)
    }

    fn start_attempt(&mut self, attempt: CreateAttempt, now: i64, effects: &mut PoolEffects<M>) {
        increment(&mut self.creating);
        self.unstarted.push_back(now);
        effects.attempts.push(attempt);
    }

    fn end_attempt(&mut self, attempt: CreateAttempt) {
        decrement(&mut self.creating);
        self.retrying &= attempt == CreateAttempt::Normal;
    }
}
