//! The rules of a pool: who gets which item, when one is made, and which has to go.
//!
//! No clock and no waking: time comes in as an argument, and what is left to be done goes out as [`Effects`]. Nothing here
//! calls code of the user's, not even a drop, and nothing here panics, so a step is all or nothing.
//!
//! What counts against the limit is `live`: items idle, in use, being made and being dropped. An item is made only while
//! that is less than the limit, and an item counts until whoever drops it says that it is gone. Whoever waits for an item
//! holds a permit of the gate, and while anybody waits nothing is idle: so an item that comes free goes to the first in
//! line, and nobody passes.

mod growth;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::backoff::Backoff;
use super::effects::{Delivery, Effects, Sender};
use super::{CreateError, DiscardReason, PoolEvent, PoolStatus, PoolTotals};
use crate::gate::Histogram;
use crate::gate::clock::NEVER;
use crate::plan::{GateName, Limit};

/// What a pool was built with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) gate: GateName,
    pub(super) min_idle: usize,
    /// Nanoseconds, as all times here; [`NEVER`] if there is no end to it.
    pub(super) idle_timeout: i64,
    pub(super) max_lifetime: i64,
}

impl Rules {
    /// Whether the age of an item can be a reason to drop it.
    pub(super) const fn looks_at_the_clock(&self) -> bool {
        self.idle_timeout != NEVER || self.max_lifetime != NEVER
    }

    const fn outlived<I>(&self, entry: &Entry<I>, now: i64) -> bool {
        self.max_lifetime != NEVER && after(entry.created, self.max_lifetime) <= now
    }
}

/// An item with its history.
#[derive(Debug)]
pub(super) struct Entry<I> {
    pub(super) item: I,
    pub(super) created: i64,
    /// When it came to be idle, where somebody wants to know.
    since: i64,
    /// Rises with each that comes to be idle.
    rank: u64,
}

impl<I> Entry<I> {
    pub(super) const fn new(item: I, created: i64) -> Self {
        Self { item, created, since: created, rank: 0 }
    }

    pub(super) const fn rank(&self) -> u64 {
        self.rank
    }
}

/// Somebody who waits for an item.
struct Wanter<I, E> {
    sender: Sender<I, E>,
    /// Since when, if that is to be recorded.
    arrived: Option<i64>,
}

/// How far a pool has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// Nobody is left who could make items.
    Abandoned,
    Closed,
}

pub(super) struct Books<I, E> {
    rules: Rules,
    /// Of the gate, when it was last looked at.
    limit: usize,
    /// From the coldest to the warmest, their ranks rising.
    idle: VecDeque<Entry<I>>,
    /// By ticket: first come, first served.
    wanters: BTreeMap<u64, Wanter<I, E>>,
    next_ticket: u64,
    next_rank: u64,
    /// Idle, but in the hands of a `retain`.
    aside: usize,
    in_use: usize,
    creating: usize,
    dropping: usize,
    backoff: Backoff,
    /// An attempt after a pause is under way.
    probing: bool,
    /// Items have gone, and fewer may be idle than should be.
    refilling: bool,
    /// When the keeper will look again at the latest.
    next_due: i64,
    stage: Stage,
    totals: PoolTotals,
    creates: Box<Histogram>,
    waits: Box<Histogram>,
}

impl<I, E> Books<I, E> {
    pub(super) fn new(rules: Rules, backoff: Backoff, limit: Limit) -> Self {
        Self {
            rules,
            limit: number(limit),
            idle: VecDeque::new(),
            wanters: BTreeMap::new(),
            next_ticket: 0,
            next_rank: 0,
            aside: 0,
            in_use: 0,
            creating: 0,
            dropping: 0,
            backoff,
            probing: false,
            refilling: false,
            next_due: NEVER,
            stage: Stage::Open,
            totals: PoolTotals::default(),
            creates: Box::default(),
            waits: Box::default(),
        }
    }

    /// The warmest item there is, where its age is of no matter.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Entry<I>> {
        let entry = self.idle.pop_back()?;
        add(&mut self.in_use);
        count(&mut self.totals.reused);
        Some(entry)
    }

    /// The warmest item that is not too old.
    pub(super) fn take_young(&mut self, now: i64, effects: &mut Effects<I, E>) -> Option<Entry<I>> {
        while self.idle.back().is_some_and(|entry| self.rules.outlived(entry, now)) {
            let entry = self.idle.pop_back()?;
            self.leave(entry, DiscardReason::Expired, effects);
        }
        self.take()
    }

    /// Stands in line for an item, where nothing is idle. Whoever cannot is told so the same way as who waits.
    pub(super) fn want(
        &mut self,
        sender: Sender<I, E>,
        arrived: Option<i64>,
        now: i64,
        limit: Limit,
        effects: &mut Effects<I, E>,
    ) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.saturating_add(1);
        if self.is_closed() {
            effects.deliveries.push((sender, Delivery::Closed));
        } else if self.stage == Stage::Abandoned {
            let error = CreateError::Abandoned { gate: self.rules.gate };
            effects.deliveries.push((sender, Delivery::Failed(error)));
        } else {
            self.wanters.insert(ticket, Wanter { sender, arrived });
            self.grow(now, limit, effects);
        }
        ticket
    }

    /// Leaves the line; whoever was no longer in it has been sent something, or will be.
    pub(super) fn give_up(&mut self, ticket: u64, effects: &mut Effects<I, E>) -> Option<Sender<I, E>> {
        let in_line = self.wanters.remove(&ticket);
        effects.drained |= self.is_drained();
        in_line.map(|wanter| wanter.sender)
    }

    pub(super) fn waited(&mut self, nanos: i64) {
        self.waits.record(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
    }

    /// Whether an item that comes back can simply be [put](Self::put) with the others, as on the warm way.
    #[inline]
    pub(super) fn takes_back(&self, entry: &Entry<I>, now: Option<i64>) -> bool {
        self.wanters.is_empty()
            && !self.is_closed()
            && self.present() <= self.limit
            && !now.is_some_and(|now| self.rules.outlived(entry, now))
    }

    /// Puts an item that comes back with the others; says whether the keeper is to look at it earlier than it would.
    #[inline]
    pub(super) fn put(&mut self, entry: Entry<I>, now: Option<i64>) -> bool {
        subtract(&mut self.in_use);
        self.push(entry, now)
    }

    /// An item has come back, or could not be handed over. `clock` is asked if somebody waits for it.
    pub(super) fn put_in_order(
        &mut self,
        entry: Entry<I>,
        now: Option<i64>,
        clock: impl FnOnce() -> i64,
        effects: &mut Effects<I, E>,
    ) {
        if self.is_closed() {
            self.leave_use(entry, DiscardReason::Closed, effects);
        } else if now.is_some_and(|now| self.rules.outlived(&entry, now)) {
            self.leave_use(entry, DiscardReason::Expired, effects);
        } else if let Some((_, wanter)) = self.wanters.pop_first() {
            count(&mut self.totals.reused);
            self.deliver(wanter, Delivery::Used(entry), clock, effects);
        } else if self.present() > self.limit {
            self.leave_use(entry, DiscardReason::Surplus, effects);
        } else {
            effects.rings |= self.put(entry, now);
        }
    }

    /// An item that was in use has to go.
    pub(super) fn leave_use(&mut self, entry: Entry<I>, reason: DiscardReason, effects: &mut Effects<I, E>) {
        subtract(&mut self.in_use);
        self.leave(entry, reason, effects);
    }

    /// An item that was in use belongs to somebody else from now on.
    pub(super) fn detached(&mut self, now: i64, limit: Limit, effects: &mut Effects<I, E>) {
        subtract(&mut self.in_use);
        count(&mut self.totals.detached);
        self.has_left(now, limit, effects);
    }

    /// So many items that were to be dropped are gone.
    pub(super) fn gone(&mut self, items: usize, now: i64, limit: Limit, effects: &mut Effects<I, E>) {
        self.dropping = self.dropping.saturating_sub(items);
        self.has_left(now, limit, effects);
    }

    /// Hands out nothing from now on, and drops what is idle.
    pub(super) fn close(&mut self, effects: &mut Effects<I, E>) {
        if self.is_closed() {
            return;
        }
        self.stage = Stage::Closed;
        self.backoff.reset();
        for (_, wanter) in std::mem::take(&mut self.wanters) {
            effects.deliveries.push((wanter.sender, Delivery::Closed));
        }
        while let Some(entry) = self.idle.pop_front() {
            self.leave(entry, DiscardReason::Closed, effects);
        }
        effects.events.push(PoolEvent::Closed { gate: self.rules.gate });
        effects.rings = true;
        effects.drained |= self.is_drained();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Nothing is left, and nobody waits.
    pub(super) fn is_drained(&self) -> bool {
        self.live() == 0 && self.wanters.is_empty()
    }

    pub(super) fn status(&self, now: i64, limit: Limit) -> PoolStatus {
        let pause = |until: i64| nanos_to(now, until);
        PoolStatus {
            gate: self.rules.gate,
            limit,
            size: self.live(),
            idle: self.idle.len().saturating_add(self.aside),
            in_use: self.in_use,
            creating: self.creating,
            dropping: self.dropping,
            waiting: self.wanters.len(),
            backing_off: self.backoff.until().map(pause),
            closed: self.is_closed(),
            totals: self.totals,
            creates: (*self.creates).clone(),
            waits: (*self.waits).clone(),
        }
    }

    /// The gate's limit as it is now. One that rose may leave room for more of the minimum, whoever sees it first.
    fn note_limit(&mut self, limit: Limit) {
        let limit = number(limit);
        self.refilling |= limit > self.limit;
        self.limit = limit;
    }

    /// What counts against the limit.
    fn live(&self) -> usize {
        self.present().saturating_add(self.dropping)
    }

    /// The same without what is on its way out already.
    #[inline]
    fn present(&self) -> usize {
        let there = self.idle.len().saturating_add(self.aside).saturating_add(self.in_use);
        there.saturating_add(self.creating)
    }

    /// Behind all that are idle, as the warmest. Says whether the keeper is to look earlier than it would.
    #[inline]
    fn push(&mut self, mut entry: Entry<I>, now: Option<i64>) -> bool {
        entry.rank = self.next_rank;
        self.next_rank = entry.rank.saturating_add(1);
        let Some(now) = now else {
            self.idle.push_back(entry);
            return false;
        };
        entry.since = now;
        let created = entry.created;
        self.idle.push_back(entry);
        self.is_due_early(created)
    }

    fn deliver(
        &mut self,
        wanter: Wanter<I, E>,
        delivery: Delivery<I, E>,
        clock: impl FnOnce() -> i64,
        effects: &mut Effects<I, E>,
    ) {
        if let Some(arrived) = wanter.arrived {
            self.waited(clock().saturating_sub(arrived));
        }
        effects.deliveries.push((wanter.sender, delivery));
    }

    /// From here on it counts as dropping.
    fn leave(&mut self, entry: Entry<I>, reason: DiscardReason, effects: &mut Effects<I, E>) {
        add(&mut self.dropping);
        count(self.totals.discarded.of(reason));
        effects.leaving.push(entry.item);
        effects.events.push(PoolEvent::Discarded { gate: self.rules.gate, reason });
    }

    /// There is room that was not there before.
    fn has_left(&mut self, now: i64, limit: Limit, effects: &mut Effects<I, E>) {
        self.refilling = true;
        self.grow(now, limit, effects);
        effects.drained |= self.is_drained();
    }
}

/// From one instant to another, nothing if that was before it.
fn nanos_to(from: i64, to: i64) -> Duration {
    Duration::from_nanos(u64::try_from(to.saturating_sub(from)).unwrap_or(0))
}

/// When that much time has passed since then.
const fn after(since: i64, length: i64) -> i64 {
    if length == NEVER { NEVER } else { since.saturating_add(length) }
}

const fn add(items: &mut usize) {
    *items = items.saturating_add(1);
}

const fn subtract(items: &mut usize) {
    *items = items.saturating_sub(1);
}

const fn count(total: &mut u64) {
    *total = total.saturating_add(1);
}

fn number(limit: Limit) -> usize {
    usize::try_from(limit.get()).unwrap_or(usize::MAX)
}
