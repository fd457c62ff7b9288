//! Rules for idle items that are dropped: above the limit, expired, idle for too long, or not retained.

use std::mem;

use super::{PoolState, count, decrement, elapsed, increment};
use crate::gate::clock::{NEVER, add_nanos};
use crate::pool::delivery::ItemDelivery;
use crate::pool::effects::PoolEffects;
use crate::pool::event::PoolEvent;
use crate::pool::item_record::ItemRecord;
use crate::pool::manager::Manager;
use crate::pool::status::DiscardReason;

impl<M: Manager> PoolState<M> {
    /// Applies the gate's limit and the time: discards and evicts items, the coldest first, and starts creating those that
    /// are missing. Returns when the maintenance task must run again.
    pub(in crate::pool) fn maintain(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) -> i64 {
        self.discard_surplus(limit, effects);
        self.discard_expired(now, effects);
        self.evict(now, effects);
        self.start_attempts(now, limit, effects);
        effects.wakes_maintenance = false; // the maintenance task is the caller
        self.next_maintenance = self.next_due(now);
        self.next_maintenance
    }

    /// Applies a new limit at once, without waiting for the maintenance task.
    pub(in crate::pool) fn resize(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        self.discard_surplus(limit, effects);
        self.start_attempts(now, limit, effects);
    }

    /// Returns the sequence that the next item gets: every item that is idle now has a lower one.
    pub(in crate::pool) const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Takes out the coldest idle item whose sequence is in this range, so that `retain` can judge it without the lock. The
    /// item still counts as idle.
    pub(in crate::pool) fn take_for_review(&mut self, from: u64, below: u64) -> Option<ItemRecord<M::Item>> {
        let at = self.idle.partition_point(|record| record.sequence < from);
        if self.idle.get(at)?.sequence >= below {
            return None;
        }
        increment(&mut self.in_review);
        self.idle.remove(at)
    }

    /// Takes back an item that was in review and stays. It is handed to the first waiter, or returns to its place in the
    /// order of idle items. It is discarded if it expired during the review, or if the pool was closed or the limit lowered.
    pub(in crate::pool) fn keep_reviewed(
        &mut self,
        record: ItemRecord<M::Item>,
        now: Option<i64>,
        clock: impl FnOnce() -> i64,
        effects: &mut PoolEffects<M>,
    ) {
        decrement(&mut self.in_review);
        if self.is_closed() {
            self.discard(record, DiscardReason::Closed, effects);
        } else if now.is_some_and(|now| record.expires <= now) {
            self.discard(record, DiscardReason::Expired, effects);
        } else if let Some(waiter) = self.waiters.pop_first() {
            increment(&mut self.in_use);
            count(&mut self.totals.reused);
            self.deliver(waiter, record, ItemDelivery::Reused, clock, effects);
        } else if self.present() >= self.limit || self.is_above_limit() {
            self.discard(record, DiscardReason::Surplus, effects);
        } else {
            effects.has_idled = true;
            // The item has kept its sequence, so it is as cold as before the review.
            let at = self.idle.partition_point(|other| other.sequence < record.sequence);
            let expires = record.expires;
            self.idle.insert(at, record);
            effects.wakes_maintenance |= self.advance_maintenance(expires);
        }
    }

    /// Discards the idle items with a lower sequence than `below`. They have been idle for longer than an item whose health
    /// check did not end in time.
    pub(in crate::pool) fn discard_unchecked(&mut self, below: u64, effects: &mut PoolEffects<M>) {
        self.discard_idle(|record| record.sequence < below, DiscardReason::Health, effects);
    }

    /// Discards an item that was in review.
    pub(in crate::pool) fn discard_reviewed(
        &mut self,
        record: ItemRecord<M::Item>,
        effects: &mut PoolEffects<M>,
    ) {
        decrement(&mut self.in_review);
        self.discard(record, DiscardReason::Retain, effects);
    }

    /// Advances the next maintenance if an item that became idle is due earlier. Returns `true` in that case: the
    /// maintenance task must be woken.
    #[inline]
    pub(super) fn advance_maintenance(&mut self, expires: i64) -> bool {
        let due = expires.min(self.next_eviction());
        let is_earlier = due < self.next_maintenance;
        if is_earlier {
            self.next_maintenance = due;
        }
        is_earlier
    }

    /// Returns the number of idle items that eviction leaves and that are created again.
    pub(super) fn effective_min_idle(&self) -> usize {
        self.rules.min_idle.min(self.limit)
    }

    /// Discards idle items above the limit, the coldest first.
    fn discard_surplus(&mut self, limit: usize, effects: &mut PoolEffects<M>) {
        self.set_limit(limit);
        while self.is_above_limit() {
            let Some(record) = self.idle.pop_front() else { break };
            self.discard(record, DiscardReason::Surplus, effects);
        }
    }

    /// Discards idle items that have reached their maximum lifetime, also below the minimum.
    fn discard_expired(&mut self, now: i64, effects: &mut PoolEffects<M>) {
        if self.rules.max_lifetime == NEVER {
            return;
        }
        // Items are ordered by when they became idle, not by age, so all of them are checked.
        self.discard_idle(|record| record.expires <= now, DiscardReason::Expired, effects);
    }

    /// Discards the idle items that match, the coldest first.
    fn discard_idle(
        &mut self,
        is_unfit: impl Fn(&ItemRecord<M::Item>) -> bool,
        reason: DiscardReason,
        effects: &mut PoolEffects<M>,
    ) {
        for record in mem::take(&mut self.idle) {
            if is_unfit(&record) {
                self.discard(record, reason, effects);
            } else {
                self.idle.push_back(record);
            }
        }
    }

    /// Evicts items that have been idle for too long, the coldest first, down to the minimum.
    fn evict(&mut self, now: i64, effects: &mut PoolEffects<M>) {
        while self.next_eviction() <= now && self.rules.idle_timeout != NEVER {
            let Some(record) = self.idle.pop_front() else { break };
            let idle_for = elapsed(record.idle_since, now);
            increment(&mut self.dropping);
            count(&mut self.totals.evicted);
            effects.discarded.push(record.item);
            effects.events.push(PoolEvent::Evicted { gate: self.rules.gate, idle_for });
        }
    }

    /// Returns when the coldest item reaches the idle timeout, or [`NEVER`] if it belongs to the minimum.
    fn next_eviction(&self) -> i64 {
        match self.idle.front() {
            Some(coldest) if self.idle.len().saturating_add(self.in_review) > self.effective_min_idle() => {
                add_nanos(coldest.idle_since, self.rules.idle_timeout)
            }
            _ => NEVER,
        }
    }

    /// Returns when an item is next evicted or expires, or a backoff delay ends.
    fn next_due(&self, now: i64) -> i64 {
        let mut due = self.next_eviction();
        if self.rules.max_lifetime != NEVER {
            due = self.idle.iter().map(|record| record.expires).fold(due, i64::min);
        }
        match self.backoff.until() {
            // A delay that is over has nothing to wait for: the attempt runs, or starts once there is room.
            Some(until) if self.needed_attempts() > 0 && until > now => due.min(until),
            _ => due,
        }
    }
}
