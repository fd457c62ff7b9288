//! Items that are made: for who waits, and for those that had to go; and what is done while they cannot be made.

use std::mem;
use std::time::Duration;

use super::super::backoff::Pause;
use super::super::effects::{Attempt, Delivery, Effects};
use super::super::{CreateError, DiscardReason, PoolEvent};
use super::{Books, Entry, Stage, add, count, nanos_to, subtract};
use crate::plan::Limit;

impl<I, E> Books<I, E> {
    /// Whether an attempt still has a place when its task comes to run: it has none if the limit fell in between.
    pub(in crate::pool) fn begins(
        &mut self,
        attempt: Attempt,
        limit: Limit,
        effects: &mut Effects<I, E>,
    ) -> bool {
        self.note_limit(limit);
        let has_place = !self.is_closed() && self.live() <= self.limit;
        if !has_place {
            self.over(attempt);
            effects.drained |= self.is_drained();
        }
        has_place
    }

    /// An item was made.
    pub(in crate::pool) fn created(
        &mut self,
        attempt: Attempt,
        item: I,
        began: i64,
        now: i64,
        limit: Limit,
        effects: &mut Effects<I, E>,
    ) {
        self.note_limit(limit);
        self.over(attempt);
        self.backoff.reset();
        count(&mut self.totals.created);
        let took = nanos_to(began, now);
        self.creates.record(took);
        effects.events.push(PoolEvent::Created { gate: self.rules.gate, took });
        let entry = Entry::new(item, now);
        if self.is_closed() {
            self.leave(entry, DiscardReason::Closed, effects);
        } else if let Some((_, wanter)) = self.wanters.pop_first() {
            add(&mut self.in_use);
            self.deliver(wanter, Delivery::New(entry), || now, effects);
        } else if self.present() >= self.limit {
            self.leave(entry, DiscardReason::Surplus, effects);
        } else {
            effects.rings |= self.push(entry, Some(now));
        }
        self.grow(now, limit, effects);
    }

    /// An item could not be made. `scatter` moves the time of the next attempt.
    pub(in crate::pool) fn failed(
        &mut self,
        attempt: Attempt,
        error: &CreateError<E>,
        now: i64,
        limit: Limit,
        scatter: impl FnOnce(Duration) -> Duration,
        effects: &mut Effects<I, E>,
    ) {
        self.over(attempt);
        let errors = &mut self.totals.create_errors;
        count(match error {
            CreateError::Failed { .. } => &mut errors.failed,
            CreateError::TimedOut { .. } => &mut errors.timed_out,
            CreateError::Panicked { .. } => &mut errors.panicked,
            CreateError::Abandoned { .. } => &mut errors.abandoned,
        });
        if self.is_closed() {
            effects.drained |= self.is_drained();
            return;
        }
        self.refilling = true;
        if matches!(error, CreateError::Abandoned { .. }) {
            self.abandon(effects);
            return;
        }
        match attempt {
            Attempt::Probe { tickets_below } => self.end_those_below(tickets_below, error, effects),
            // Those under way serve the others: each failure ends one wait, and none ends for want of luck alone.
            Attempt::Ordinary if self.wanters.len() > self.creating => self.end_first(error, effects),
            Attempt::Ordinary => {}
        }
        let pause = match attempt {
            Attempt::Probe { .. } => Some(self.backoff.go_on(now, scatter)),
            Attempt::Ordinary => self.backoff.begin(now, scatter),
        };
        if let Some(Pause { delay, failures }) = pause {
            effects.events.push(PoolEvent::BackingOff { gate: self.rules.gate, delay, failures });
        }
        self.grow(now, limit, effects);
        effects.drained |= self.is_drained();
    }

    /// Nobody makes items any more, and whoever waits for one is told so.
    pub(in crate::pool) fn abandon(&mut self, effects: &mut Effects<I, E>) {
        self.stage = self.stage.max(Stage::Abandoned);
        let error = CreateError::Abandoned { gate: self.rules.gate };
        self.end_those_below(u64::MAX, &error, effects);
        effects.drained |= self.is_drained();
    }

    /// How many items are to be under way: one for each who waits, and what is missing from the minimum.
    pub(super) fn needs(&self) -> usize {
        let idle = self.idle.len().saturating_add(self.aside);
        let missing = if self.refilling { self.least_idle().saturating_sub(idle) } else { 0 };
        self.wanters.len().saturating_add(missing)
    }

    /// Has items made, as far as they are needed and there is room; and one at a time while they cannot be made.
    pub(super) fn grow(&mut self, now: i64, limit: Limit, effects: &mut Effects<I, E>) {
        self.note_limit(limit);
        if self.stage != Stage::Open {
            return;
        }
        let needs = self.needs();
        self.refilling &= needs > self.wanters.len();
        let Some(until) = self.backoff.until() else {
            while self.creating < needs && self.live() < self.limit {
                self.attempt(Attempt::Ordinary, effects);
            }
            return;
        };
        if needs == 0 || self.probing {
            return;
        }
        if now < until {
            if until < self.next_due {
                self.next_due = until;
                effects.rings = true;
            }
        } else if self.live() < self.limit {
            self.probing = true;
            self.attempt(Attempt::Probe { tickets_below: self.next_ticket }, effects);
        }
    }

    pub(super) fn attempt(&mut self, attempt: Attempt, effects: &mut Effects<I, E>) {
        add(&mut self.creating);
        effects.attempts.push(attempt);
    }

    pub(super) fn over(&mut self, attempt: Attempt) {
        subtract(&mut self.creating);
        self.probing &= attempt == Attempt::Ordinary;
    }

    pub(super) fn end_first(&mut self, error: &CreateError<E>, effects: &mut Effects<I, E>) {
        if let Some((_, wanter)) = self.wanters.pop_first() {
            effects.deliveries.push((wanter.sender, Delivery::Failed(error.clone())));
        }
    }

    pub(super) fn end_those_below(
        &mut self,
        ticket: u64,
        error: &CreateError<E>,
        effects: &mut Effects<I, E>,
    ) {
        let others = self.wanters.split_off(&ticket);
        let ended = mem::replace(&mut self.wanters, others);
        let ended = ended.into_values().map(|wanter| (wanter.sender, Delivery::Failed(error.clone())));
        effects.deliveries.extend(ended);
    }
}
