//! Items that go: too old, idle for too long, too many for the limit, or judged and not retained.

use std::collections::VecDeque;
use std::mem;

use super::super::effects::{Delivery, Effects};
use super::super::{DiscardReason, PoolEvent};
use super::{Books, Entry, add, after, count, nanos_to, subtract};
use crate::gate::clock::NEVER;
use crate::plan::Limit;

impl<I, E> Books<I, E> {
    /// The limit may have changed, and time has passed: what is too much goes, the coldest first, and what is missing is
    /// made. Says when to look again.
    pub(in crate::pool) fn keep_up(&mut self, now: i64, limit: Limit, effects: &mut Effects<I, E>) -> i64 {
        self.heed_limit(limit, effects);
        self.evict(now, effects);
        self.grow(now, limit, effects);
        effects.rings = false; // whoever looks after it is here
        self.next_due = self.next_due_after(now);
        self.next_due
    }

    /// As [`keep_up`](Self::keep_up) does with a limit, without waiting for the keeper.
    pub(in crate::pool) fn resized(&mut self, now: i64, limit: Limit, effects: &mut Effects<I, E>) {
        self.heed_limit(limit, effects);
        self.grow(now, limit, effects);
    }

    /// Those that are idle now rank below this.
    pub(in crate::pool) const fn rank_to_come(&self) -> u64 {
        self.next_rank
    }

    /// Takes the coldest item aside whose rank is within these bounds.
    pub(in crate::pool) fn take_aside(&mut self, at_least: u64, below: u64) -> Option<Entry<I>> {
        let at = self.idle.partition_point(|entry| entry.rank < at_least);
        if self.idle.get(at)?.rank >= below {
            return None;
        }
        add(&mut self.aside);
        self.idle.remove(at)
    }

    /// An item that was taken aside is to stay.
    pub(in crate::pool) fn put_aside_back(
        &mut self,
        entry: Entry<I>,
        clock: impl FnOnce() -> i64,
        effects: &mut Effects<I, E>,
    ) {
        subtract(&mut self.aside);
        if self.is_closed() {
            self.leave(entry, DiscardReason::Closed, effects);
        } else if let Some((_, wanter)) = self.wanters.pop_first() {
            add(&mut self.in_use);
            count(&mut self.totals.reused);
            self.deliver(wanter, Delivery::Used(entry), clock, effects);
        } else if self.present() >= self.limit {
            self.leave(entry, DiscardReason::Surplus, effects);
        } else {
            let at = self.idle.partition_point(|other| other.rank < entry.rank);
            let created = entry.created;
            self.idle.insert(at, entry);
            effects.rings |= self.is_due_early(created);
        }
    }

    /// An item that was taken aside has to go.
    pub(in crate::pool) fn leave_aside(&mut self, entry: Entry<I>, effects: &mut Effects<I, E>) {
        subtract(&mut self.aside);
        self.leave(entry, DiscardReason::Retain, effects);
    }

    /// Whether an item that came to be idle makes something due before the keeper looks again. It is told once.
    #[inline]
    pub(super) fn is_due_early(&mut self, created: i64) -> bool {
        let due = after(created, self.rules.max_lifetime).min(self.idle_due());
        let is_early = due < self.next_due;
        if is_early {
            self.next_due = due;
        }
        is_early
    }

    pub(super) fn heed_limit(&mut self, limit: Limit, effects: &mut Effects<I, E>) {
        self.note_limit(limit);
        while self.present() > self.limit {
            let Some(entry) = self.idle.pop_front() else { break };
            self.leave(entry, DiscardReason::Surplus, effects);
        }
    }

    /// What is idle for too long, down to the minimum, and what is too old.
    pub(super) fn evict(&mut self, now: i64, effects: &mut Effects<I, E>) {
        if self.rules.max_lifetime != NEVER {
            let rules = self.rules;
            let (old, young): (VecDeque<_>, _) =
                mem::take(&mut self.idle).into_iter().partition(|entry| rules.outlived(entry, now));
            self.idle = young;
            for entry in old {
                self.leave(entry, DiscardReason::Expired, effects);
            }
        }
        while self.idle_due() <= now && self.rules.idle_timeout != NEVER {
            let Some(entry) = self.idle.pop_front() else { break };
            let idle_for = nanos_to(entry.since, now);
            add(&mut self.dropping);
            count(&mut self.totals.evicted);
            effects.leaving.push(entry.item);
            effects.events.push(PoolEvent::Evicted { gate: self.rules.gate, idle_for });
        }
    }

    /// When the coldest item has been idle for too long, where there are more than the minimum.
    pub(super) fn idle_due(&self) -> i64 {
        match self.idle.front() {
            Some(coldest) if self.idle.len().saturating_add(self.aside) > self.least_idle() => {
                after(coldest.since, self.rules.idle_timeout)
            }
            _ => NEVER,
        }
    }

    pub(super) fn least_idle(&self) -> usize {
        self.rules.min_idle.min(self.limit)
    }

    pub(super) fn next_due_after(&self, now: i64) -> i64 {
        let mut due = self.idle_due();
        if self.rules.max_lifetime != NEVER {
            let oldest = self.idle.iter().map(|entry| entry.created).min();
            due = due.min(oldest.map_or(NEVER, |oldest| after(oldest, self.rules.max_lifetime)));
        }
        match self.backoff.until() {
            Some(until) if self.needs() > 0 && until > now => due.min(until),
            _ => due,
        }
    }
}
