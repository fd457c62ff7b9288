//! The state of a pool and its rules: which waiter gets which item, when an item is created, and which items are dropped.
//!
//! The state is pure: time is an argument, and a step leaves everything that runs user code in [`PoolEffects`], to be done
//! after the lock is released. That includes wakers and the drops of items. A step does not panic, so it is all or nothing.
//!
//! The rules rest on two invariants:
//!
//! - **Live items** are those idle, in review, in use, being created and being dropped. An attempt to create an item starts
//!   only while there are fewer live items than the limit, and an item stays live until its drop has returned.
//! - **While a waiter is queued, no item is idle.** Every waiter holds a permit of the gate, and an item that becomes free
//!   goes to the first waiter, so no later checkout overtakes a queued one.

mod create;
mod evict;
mod give_back;
mod group;
mod wait;

pub(super) use wait::CheckoutArrival;

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::time::Duration;

use super::backoff::{CreateBackoff, DuringBackoff};
use super::create_error::CreateError;
use super::delivery::{DeliverySender, ItemDelivery};
use super::effects::PoolEffects;
use super::event::PoolEvent;
use super::group_share::GroupShare;
use super::item_record::{CheckoutPlace, CheckoutWait, ItemRecord};
use super::manager::Manager;
use super::status::{DiscardReason, PoolStatus, PoolTotals};
use crate::gate::Histogram;
use crate::gate::clock::NEVER;
use crate::gate::wait_sampler::WaitSampler;
use crate::plan::GateName;

/// The settings that a pool was built with. Durations are in nanoseconds; [`NEVER`] stands for no bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolRules {
    pub(super) gate: GateName,
    pub(super) min_idle: usize,
    pub(super) idle_timeout: i64,
    pub(super) max_lifetime: i64,
    pub(super) create_timeout: Duration,
    pub(super) during_backoff: DuringBackoff,
}

impl PoolRules {
    /// Returns whether items are dropped because of their age or their idle time.
    pub(super) const fn has_time_bounds(&self) -> bool {
        self.idle_timeout != NEVER || self.max_lifetime != NEVER
    }
}

/// A request that waits for an item. It has been admitted by the gate.
struct ItemWaiter<M: Manager> {
    sender: DeliverySender<M>,
    wait: CheckoutWait,
    /// The round in which it arrived.
    round: u64,
    /// Whether it waits for one of the first items of a pool that is being built.
    is_first: bool,
}

/// The phases of a pool. A pool moves forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoolPhase {
    Open,
    /// The runtime that creates items has shut down. Idle items are still handed out.
    Abandoned,
    Closed,
}

pub(super) struct PoolState<M: Manager> {
    rules: PoolRules,
    /// The most items that may be live, when a step last read it.
    limit: usize,
    /// Idle items from the coldest to the warmest, in ascending sequence.
    idle: VecDeque<ItemRecord<M::Item>>,
    /// The wait queue. Tickets ascend in order of arrival.
    waiters: BTreeMap<u64, ItemWaiter<M>>,
    next_ticket: u64,
    next_sequence: u64,
    /// Idle items that a call of `retain` has taken out and is judging.
    in_review: usize,
    in_use: usize,
    /// Items in use whose health a checkout is waiting for.
    checking: usize,
    creating: usize,
    /// When each attempt that the runtime has not started was spawned.
    unstarted: VecDeque<i64>,
    dropping: usize,
    backoff: CreateBackoff,
    /// The last failure, if no item was created since.
    last_error: Option<CreateError>,
    /// Whether the single attempt after a backoff delay is running.
    retrying: bool,
    /// The number of attempts after a backoff delay, and of other failures that ended all waits.
    round: u64,
    /// Checkouts that arrived in an earlier round have been ended by the last failure, also those in the gate's queue.
    ended_before: u64,
    /// Whether idle items may be missing from the minimum, because items were dropped or the limit rose.
    refilling: bool,
    /// When the maintenance task runs next, at the latest.
    next_maintenance: i64,
    phase: PoolPhase,
    /// The part of this pool in the counts of its group, if it is in one.
    group: Option<GroupShare>,
    /// Waiters that lack a slot of the group for an item.
    unmet: usize,
    totals: PoolTotals,
    creates: Box<Histogram>,
    waits: Box<Histogram>,
    /// Chooses the waits that are recorded.
    sampler: WaitSampler,
}

impl<M: Manager> PoolState<M> {
    pub(super) fn new(
        rules: PoolRules,
        backoff: CreateBackoff,
        limit: usize,
        group: Option<GroupShare>,
    ) -> Self {
        Self {
            rules,
            limit,
            idle: VecDeque::new(),
            waiters: BTreeMap::new(),
            next_ticket: 0,
            next_sequence: 0,
            in_review: 0,
            in_use: 0,
            checking: 0,
            creating: 0,
            unstarted: VecDeque::new(),
            dropping: 0,
            backoff,
            last_error: None,
            retrying: false,
            round: 0,
            ended_before: 0,
            refilling: false,
            next_maintenance: NEVER,
            phase: PoolPhase::Open,
            group,
            unmet: 0,
            totals: PoolTotals::default(),
            creates: Box::default(),
            waits: Box::default(),
            sampler: WaitSampler::new(true),
        }
    }

    /// Returns the present round. A new round begins with each attempt after a backoff delay.
    pub(super) const fn round(&self) -> u64 {
        self.round
    }

    /// Takes the warmest idle item, whatever its age.
    #[inline]
    pub(super) fn take_warmest(&mut self) -> Option<ItemRecord<M::Item>> {
        let mut record = self.idle.pop_back()?;
        record.place = CheckoutPlace { ticket: self.take_ticket(), round: self.round };
        increment(&mut self.in_use);
        count(&mut self.totals.reused);
        Some(record)
    }

    /// Takes the warmest idle item that is within its lifetime. Discards expired items that are warmer.
    pub(super) fn take_unexpired(
        &mut self,
        now: i64,
        effects: &mut PoolEffects<M>,
    ) -> Option<ItemRecord<M::Item>> {
        while self.idle.back().is_some_and(|record| record.expires <= now) {
            let record = self.idle.pop_back()?;
            self.discard(record, DiscardReason::Expired, effects);
        }
        self.take_warmest()
    }

    /// Begins a wait. Reads `clock` only if the wait is recorded and `since` is not known.
    pub(super) fn begin_wait(&mut self, since: Option<i64>, clock: impl FnOnce() -> i64) -> CheckoutWait {
        match self.sampler.sample(|| since.unwrap_or_else(clock)) {
            Some((since, sample)) => CheckoutWait { since: Some(since), sample },
            None => CheckoutWait { since, sample: 0 },
        }
    }

    /// Records a wait that has ended with an item. Reads `clock` only if the wait is recorded.
    #[inline]
    pub(super) fn record_wait(&mut self, wait: CheckoutWait, clock: impl FnOnce() -> i64) {
        if let CheckoutWait { since: Some(since), sample: 1.. } = wait {
            let waited = u64::try_from(clock().saturating_sub(since)).unwrap_or(0);
            self.waits.record_many(waited, wait.sample);
        }
    }

    /// Returns whether a returned item can become idle by [`put_idle`](Self::put_idle) alone, as on the fast path.
    #[inline]
    pub(super) fn can_put_idle(&self, record: &ItemRecord<M::Item>, now: Option<i64>) -> bool {
        self.waiters.is_empty()
            && !self.is_closed()
            && self.present() <= self.limit
            && self.is_group_at_rest()
            && now.is_none_or(|now| now < record.expires)
    }

    /// Makes a returned item idle. Returns `true` if the maintenance task must be woken.
    #[inline]
    pub(super) fn put_idle(&mut self, record: ItemRecord<M::Item>, now: Option<i64>) -> bool {
        decrement(&mut self.in_use);
        self.push_warmest(record, now)
    }

    /// Closes the pool: ends every wait and discards every idle item.
    pub(super) fn close(&mut self, effects: &mut PoolEffects<M>) {
        if self.is_closed() {
            return;
        }
        self.phase = PoolPhase::Closed;
        self.backoff.reset();
        self.set_last_error(None, effects);
        for (_, waiter) in mem::take(&mut self.waiters) {
            effects.deliveries.push((waiter.sender, ItemDelivery::Ended(self.closed_error())));
        }
        while let Some(record) = self.idle.pop_front() {
            self.discard(record, DiscardReason::Closed, effects);
        }
        effects.events.push(PoolEvent::Closed { gate: self.rules.gate });
        effects.wakes_maintenance = true; // the task ends
        effects.ends_creations = true;
        effects.drained |= self.is_drained();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == PoolPhase::Closed
    }

    /// Returns whether no item and no waiter is left.
    pub(super) fn is_drained(&self) -> bool {
        self.live() == 0 && self.waiters.is_empty()
    }

    pub(super) fn status(&self, now: i64, limit: usize) -> PoolStatus {
        PoolStatus {
            gate: self.rules.gate,
            limit,
            size: self.live(),
            idle: self.idle.len().saturating_add(self.in_review),
            in_use: self.in_use,
            checking: self.checking,
            creating: self.creating,
            dropping: self.dropping,
            waiting: self.waiters.len(),
            start_delay: self.start_delay(now),
            backing_off: self.backoff.until().map(|until| match until {
                NEVER => Duration::MAX,
                until => elapsed(now, until),
            }),
            closed: self.is_closed(),
            totals: self.totals,
            creates: (*self.creates).clone(),
            waits: (*self.waits).clone(),
        }
    }

    /// Returns the ticket of the next checkout.
    const fn take_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.saturating_add(1);
        ticket
    }

    /// Stores the gate's limit. A limit that rose may leave room for more of the minimum, whichever step reads it first.
    fn set_limit(&mut self, limit: usize) {
        self.refilling |= limit > self.limit;
        self.limit = limit;
    }

    /// Returns the number of items that count against the limit.
    fn live(&self) -> usize {
        self.present().saturating_add(self.dropping)
    }

    /// Returns the number of live items without those being dropped, which leave in any case.
    #[inline]
    fn present(&self) -> usize {
        self.existing().saturating_add(self.creating)
    }

    /// Returns the number of items that are idle or in use, and so may serve a checkout.
    #[inline]
    fn existing(&self) -> usize {
        self.idle.len().saturating_add(self.in_review).saturating_add(self.in_use)
    }

    /// Makes the item the warmest idle one. Returns `true` if the maintenance task must be woken.
    #[inline]
    fn push_warmest(&mut self, mut record: ItemRecord<M::Item>, now: Option<i64>) -> bool {
        record.sequence = self.next_sequence;
        self.next_sequence = record.sequence.saturating_add(1);
        let Some(now) = now else {
            self.idle.push_back(record);
            return false; // nothing is due by time in this pool
        };
        record.idle_since = now;
        let expires = record.expires;
        self.idle.push_back(record);
        self.advance_maintenance(expires)
    }

    /// Hands the item to the waiter and records its wait.
    fn deliver(
        &mut self,
        (ticket, waiter): (u64, ItemWaiter<M>),
        mut record: ItemRecord<M::Item>,
        deliver_as: fn(ItemRecord<M::Item>) -> ItemDelivery<M>,
        clock: impl FnOnce() -> i64,
        effects: &mut PoolEffects<M>,
    ) {
        record.place = CheckoutPlace { ticket, round: waiter.round };
        self.record_wait(waiter.wait, clock);
        effects.deliveries.push((waiter.sender, deliver_as(record)));
    }

    /// Discards the item. It counts as dropping until [`finish_drops`](Self::finish_drops).
    fn discard(&mut self, record: ItemRecord<M::Item>, reason: DiscardReason, effects: &mut PoolEffects<M>) {
        increment(&mut self.dropping);
        count(self.totals.discarded.counter_mut(reason));
        effects.discarded.push(record.item);
        effects.events.push(PoolEvent::Discarded { gate: self.rules.gate, reason });
    }

    /// Stores a failure. A permanent one stays, because it is the reason why no attempt is made.
    fn note_failure(&mut self, error: CreateError, effects: &mut PoolEffects<M>) {
        if !self.backoff.has_given_up() {
            self.set_last_error(Some(error), effects);
        }
    }

    /// Replaces the last failure. The replaced error may be the last reference to an error of the manager, whose drop is user code.
    fn set_last_error(&mut self, error: Option<CreateError>, effects: &mut PoolEffects<M>) {
        effects.errors.extend(mem::replace(&mut self.last_error, error));
    }

    /// Uses the room that an item has left: for waiters, and for the minimum of idle items.
    fn refill(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.refilling = true;
        self.start_attempts(now, limit, effects);
        effects.drained |= self.is_drained();
    }
}

/// Returns the time from one instant to another, zero if the second is earlier.
#[inline]
pub(super) fn elapsed(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

const fn increment(items: &mut usize) {
    *items = items.saturating_add(1);
}

const fn decrement(items: &mut usize) {
    *items = items.saturating_sub(1);
}

const fn count(total: &mut u64) {
    *total = total.saturating_add(1);
}
