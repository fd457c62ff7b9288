//! Rules for checkouts that wait: in the pool's queue, and in the gate's while creating items fails.

use std::time::Duration;

use super::{ItemWaiter, PoolPhase, PoolState, count, decrement, elapsed, increment};
use crate::gate::AcquireError;
use crate::pool::backoff::DuringBackoff;
use crate::pool::checkout_timeout::{CheckoutStage, CheckoutTimeout};
use crate::pool::create_error::CreateError;
use crate::pool::delivery::{DeliverySender, ItemDelivery};
use crate::pool::effects::PoolEffects;
use crate::pool::error::CheckoutError;
use crate::pool::item_record::{CheckoutPlace, CheckoutWait};
use crate::pool::manager::Manager;

/// What is known of a checkout that joins the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::pool) struct CheckoutArrival {
    pub(in crate::pool) wait: CheckoutWait,
    /// The round in which it arrived at the gate or the pool.
    pub(in crate::pool) round: u64,
    /// Its place, if it has had an item that failed the health check.
    pub(in crate::pool) place: Option<CheckoutPlace>,
    /// Whether it is not a checkout, but waits for one of the first items of a pool that is being built.
    pub(in crate::pool) is_first: bool,
}

impl<M: Manager> PoolState<M> {
    /// Returns the present round, for a checkout that is about to wait for a permit. A new round begins with each attempt
    /// after a backoff delay.
    ///
    /// # Errors
    ///
    /// If nothing would serve the checkout: no item exists that could come back, and no attempt is made.
    pub(in crate::pool) fn arrive(&self, clock: impl FnOnce() -> i64) -> Result<u64, CheckoutError> {
        match self.rejection(clock) {
            Some(rejection) if self.existing() == 0 => Err(rejection),
            _ => Ok(self.round),
        }
    }

    /// Returns the error of a checkout that arrived in this round, if a failure has ended its wait.
    pub(in crate::pool) fn ended(&self, round: u64) -> Option<CheckoutError> {
        let error = self.last_error.as_ref().filter(|_| round < self.ended_before)?;
        Some(CheckoutError::Create(error.clone()))
    }

    /// Adds a waiter to the queue and starts creating an item if there is room. Returns the waiter's ticket. If the pool is
    /// closed or abandoned, or if nothing will serve the waiter, it gets its error as a delivery instead.
    pub(in crate::pool) fn enqueue(
        &mut self,
        sender: DeliverySender<M>,
        arrival: CheckoutArrival,
        now: i64,
        limit: usize,
        effects: &mut PoolEffects<M>,
    ) -> u64 {
        let CheckoutArrival { wait, round, place, is_first } = arrival;
        let CheckoutPlace { ticket, round } =
            place.unwrap_or_else(|| CheckoutPlace { ticket: self.take_ticket(), round });
        // A failure may have ended the waits of this round after the checkout got its permit.
        let end = match self.phase {
            PoolPhase::Open => self.ended(round),
            PoolPhase::Abandoned => {
                Some(CheckoutError::Create(CreateError::Abandoned { gate: self.rules.gate }))
            }
            PoolPhase::Closed => Some(self.closed_error()),
        };
        if let Some(error) = end {
            effects.deliveries.push((sender, ItemDelivery::Ended(error)));
        } else {
            self.waiters.insert(ticket, ItemWaiter { sender, wait, round, is_first });
            self.start_attempts(now, limit, effects);
        }
        ticket
    }

    /// Removes the waiter from the queue and returns its sender. Returns `None` if it has already left the queue: then its
    /// delivery has been sent or is about to be.
    pub(in crate::pool) fn cancel(
        &mut self,
        ticket: u64,
        effects: &mut PoolEffects<M>,
    ) -> Option<DeliverySender<M>> {
        let waiter = self.waiters.remove(&ticket);
        effects.drained |= self.is_drained();
        waiter.map(|waiter| waiter.sender)
    }

    /// Ends all waits if the pool's runtime has not started a creation for as long as a creation may take. Starts an attempt
    /// that is due, because a maintenance task that does not run starts none.
    pub(in crate::pool) fn check_start(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.start_attempts(now, limit, effects);
        let delay = self.start_delay(now).filter(|delay| *delay >= self.rules.create_timeout);
        if let Some(after) = delay.filter(|_| !self.waiters.is_empty()) {
            count(&mut self.totals.create_errors.not_started);
            self.end_all_waits(CreateError::NotStarted { gate: self.rules.gate, after }, effects);
        }
    }

    /// Counts a checkout whose time is over, and describes what it was waiting for. `stage` is the one that the checkout
    /// knows; for a wait for an item, this finds out which of the reasons applies.
    pub(in crate::pool) fn expire(
        &mut self,
        stage: CheckoutStage,
        waited: Duration,
        limit: usize,
    ) -> CheckoutTimeout {
        // A running creation would have served the checkout first, then one that the runtime has not started, then the next attempt.
        let stage = match stage {
            CheckoutStage::Item if self.creating > self.unstarted.len() => CheckoutStage::Creation,
            CheckoutStage::Item if self.creating > 0 => CheckoutStage::Start,
            CheckoutStage::Item if self.backoff.until().is_some() => CheckoutStage::Backoff,
            stage => stage,
        };
        count(self.totals.expired.counter_mut(stage));
        CheckoutTimeout {
            gate: self.rules.gate,
            waited,
            stage,
            limit,
            in_use: self.in_use,
            creating: self.creating,
            error: self.last_error.clone(),
        }
    }

    /// Counts an item in use whose health a checkout waits for.
    pub(in crate::pool) const fn begin_check(&mut self) {
        increment(&mut self.checking);
    }

    pub(in crate::pool) const fn finish_check(&mut self) {
        decrement(&mut self.checking);
    }

    /// Ends the waits of all checkouts that have arrived, except for those at the gate that an existing item may serve.
    pub(super) fn end_all_waits(&mut self, error: CreateError, effects: &mut PoolEffects<M>) {
        self.round = self.round.saturating_add(1);
        self.end_waits_before(self.round, error, effects);
    }

    /// Ends the waits of the checkouts that arrived before this round and wait for an item. If no item exists that could come
    /// back, also ends the waits of those in the gate's queue.
    pub(super) fn end_waits_before(&mut self, round: u64, error: CreateError, effects: &mut PoolEffects<M>) {
        if self.existing() == 0 {
            self.ended_before = self.ended_before.max(round); // a later failure may have ended more waits
            effects.ended_before = Some(round);
        }
        for (ticket, waiter) in std::mem::take(&mut self.waiters) {
            if waiter.round < round {
                let end = ItemDelivery::Ended(CheckoutError::Create(error.clone()));
                effects.deliveries.push((waiter.sender, end));
            } else {
                self.waiters.insert(ticket, waiter);
            }
        }
        self.note_failure(error, effects);
    }

    /// Rejects the waiters that must not wait for the end of the backoff, the newest first, if an attempt could start without the backoff.
    /// The running attempts and the items in review may still serve as many waiters.
    pub(super) fn reject_waiters(&mut self, now: i64, effects: &mut PoolEffects<M>) {
        let Some(rejection) = self.rejection(|| now) else { return };
        let provided = self.creating.saturating_add(self.in_review);
        while self.waiters.len() > provided && self.live() < self.limit {
            let Some((_, waiter)) = self.waiters.pop_last() else { return };
            effects.deliveries.push((waiter.sender, ItemDelivery::Ended(rejection.clone())));
        }
    }

    /// Ends waits for first items, the last first, if no attempt runs for them and the limit, which has fallen, has no room for them.
    pub(super) fn release_first_waiters(&mut self, effects: &mut PoolEffects<M>) {
        while self.waiters.len() > self.creating && self.present() >= self.limit {
            let Some(last) = self.waiters.last_entry().filter(|last| last.get().is_first) else { return };
            effects.deliveries.push((last.remove().sender, ItemDelivery::NoRoom));
        }
    }

    pub(super) const fn closed_error(&self) -> CheckoutError {
        CheckoutError::Rejected(AcquireError::Closed { gate: self.rules.gate })
    }

    /// Returns the age of the oldest creation that the runtime has not started. `None` if all have been started.
    pub(super) fn start_delay(&self, now: i64) -> Option<Duration> {
        self.unstarted.front().map(|spawned| elapsed(*spawned, now))
    }

    /// Returns the error of a checkout that needs a new item, if no attempt is made for it and it must not wait for one.
    fn rejection(&self, clock: impl FnOnce() -> i64) -> Option<CheckoutError> {
        let (error, until) = (self.last_error.as_ref()?, self.backoff.until()?);
        let now = clock();
        let retry_after = match self.rules.during_backoff {
            _ if self.backoff.has_given_up() => None,
            DuringBackoff::Reject if now < until => Some(elapsed(now, until)),
            DuringBackoff::Reject | DuringBackoff::Wait => return None,
        };
        Some(CheckoutError::BackingOff { error: error.clone(), retry_after })
    }
}
