//! Rules for items that users return, add or keep.

use super::{PoolState, count, decrement, increment};
use crate::pool::delivery::ItemDelivery;
use crate::pool::effects::PoolEffects;
use crate::pool::error::AddError;
use crate::pool::item_record::ItemRecord;
use crate::pool::manager::Manager;
use crate::pool::status::DiscardReason;

impl<M: Manager> PoolState<M> {
    /// Takes back an item that was in use or could not be delivered: discards it, hands it to the first waiter, or makes it
    /// idle. Reads `clock` only if the wait of a waiter ends.
    pub(in crate::pool) fn put_back(
        &mut self,
        mut record: ItemRecord<M::Item>,
        now: Option<i64>,
        clock: impl FnOnce() -> i64,
        effects: &mut PoolEffects<M>,
    ) {
        if self.is_closed() {
            self.discard_in_use(record, DiscardReason::Closed, effects);
        } else if now.is_some_and(|now| record.expires <= now) {
            self.discard_in_use(record, DiscardReason::Expired, effects);
        } else if let Some(waiter) = self.waiters.pop_first() {
            // The item stays in use. A lowered limit does not matter: the number of items does not change.
            count(&mut self.totals.reused);
            record.sequence = self.next_sequence; // as if it were idle: all other idle items have been idle for longer
            self.deliver(waiter, record, ItemDelivery::Reused, clock, effects);
        } else if self.is_above_limit() {
            self.discard_in_use(record, DiscardReason::Surplus, effects);
        } else {
            effects.has_idled = true;
            effects.wakes_maintenance |= self.put_idle(record, now);
        }
    }

    /// Discards an item that was in use.
    pub(in crate::pool) fn discard_in_use(
        &mut self,
        record: ItemRecord<M::Item>,
        reason: DiscardReason,
        effects: &mut PoolEffects<M>,
    ) {
        decrement(&mut self.in_use);
        self.discard(record, reason, effects);
    }

    /// Takes an item of the user: hands it to the first waiter, or makes it idle.
    ///
    /// # Errors
    ///
    /// If the pool is closed, or has as many live items as the limit allows.
    pub(in crate::pool) fn add(
        &mut self,
        record: ItemRecord<M::Item>,
        now: i64,
        limit: impl Fn() -> usize,
        effects: &mut PoolEffects<M>,
    ) -> Result<(), AddError<M::Item>> {
        self.set_limit(limit());
        let gate = self.rules.gate;
        if self.is_closed() {
            return Err(AddError::Closed { gate, item: record.item });
        }
        if self.take_slot() {
            increment(&mut self.in_use);
            // The block of a lease may have shrunk before the item was counted. The lease counts the item from here on.
            self.set_limit(limit());
            if self.is_within_limit() {
                count(&mut self.totals.added);
                self.put_back(record, Some(now), || now, effects);
                return Ok(());
            }
            decrement(&mut self.in_use);
        }
        Err(AddError::Full { gate, limit: self.limit, item: record.item })
    }

    /// Stops counting an item that was in use and now belongs to the user.
    pub(in crate::pool) fn detach(&mut self, now: i64, limit: usize, effects: &mut PoolEffects<M>) {
        decrement(&mut self.in_use);
        count(&mut self.totals.detached);
        self.refill(now, limit, effects);
    }

    /// Stops counting discarded items whose drops have returned.
    pub(in crate::pool) fn finish_drops(
        &mut self,
        items: usize,
        now: i64,
        limit: usize,
        effects: &mut PoolEffects<M>,
    ) {
        self.dropping = self.dropping.saturating_sub(items);
        self.refill(now, limit, effects);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;
    use crate::gate::clock::NEVER;
    use crate::plan::GateName;
    use crate::pool::backoff::{CreateBackoff, DuringBackoff};
    use crate::pool::group_share::{GroupCounts, GroupShare};
    use crate::pool::state::PoolRules;

    struct Units;

    impl Manager for Units {
        type Item = ();
        type Error = Infallible;

        async fn create(&self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    /// An added item is counted before the limit is read for the last time. A block that shrank meanwhile has no room for it.
    #[test]
    fn added_item_is_counted_before_the_limit_is_read() {
        let counts = Arc::<GroupCounts>::default();
        let share = GroupShare::new(&counts, &Arc::new(Notify::new()));
        let rules = PoolRules {
            gate: GateName::new("io"),
            min_idle: 0,
            idle_timeout: NEVER,
            max_lifetime: NEVER,
            create_timeout: Duration::MAX,
            during_backoff: DuringBackoff::Wait,
        };
        let backoff = CreateBackoff::new(Duration::MAX, Duration::MAX);
        let mut state = PoolState::<Units>::new(rules, backoff, 1, Some(share));
        let mut effects = PoolEffects::default();

        let shrinking = || usize::from(counts.live() == 0);
        let added = state.add(ItemRecord::new((), 0, NEVER), 0, shrinking, &mut effects);
        state.update_group(&mut effects);
        assert!(matches!(added, Err(AddError::Full { limit: 0, .. })), "{added:?}");
        assert_eq!((counts.live(), state.live()), (0, 0));

        assert!(state.add(ItemRecord::new((), 0, NEVER), 0, || 1, &mut effects).is_ok());
        assert_eq!((counts.live(), state.live(), state.totals.added), (1, 1, 1));
    }
}
