//! The share of one pool in the items of its group.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::Notify;

use super::sync::Mutex;
#[cfg(feature = "fleet")]
use crate::fleet::LeasedItems;

/// The counts of a group: the sums over its pools. Each pool changes its part of them under the lock of its own state.
///
/// Two races could leave a waiter without an item. The order of the steps prevents both:
///
/// - A slot becomes free while another pool finds none. The pool that frees the slot subtracts it from `live` before it calls the other
///   pools. So a pool that found no free slot is called afterwards.
/// - An item becomes idle while another pool looks for idle items. The pool without a slot adds its waiters to `unmet` before it looks at
///   the idle items of each pool, under the lock of that pool. A pool whose item becomes idle reads `unmet` under the same lock. So one of
///   the two sees the change of the other.
#[derive(Debug, Default)]
pub(super) struct GroupCounts {
    /// Live items.
    live: AtomicUsize,
    /// Live items that are being dropped.
    leaving: AtomicUsize,
    /// Waiters that lack a slot for an item.
    unmet: AtomicUsize,
    /// The minimums of idle items of the pools.
    min_idle: AtomicUsize,
    /// Wakes the maintenance tasks of the pools.
    pools: Mutex<Vec<Weak<Notify>>>,
}

#[cfg(feature = "fleet")]
impl LeasedItems for GroupCounts {
    fn live(&self) -> usize {
        Self::live(self)
    }

    fn wanted(&self) -> usize {
        self.min_idle.load(SeqCst)
    }

    fn limit_has_changed(&self) {
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).for_each(|pool| pool.notify_one());
    }
}

impl GroupCounts {
    pub(super) fn live(&self) -> usize {
        self.live.load(SeqCst)
    }

    pub(super) fn unmet(&self) -> usize {
        self.unmet.load(SeqCst)
    }
}

/// The part of one pool in the [`GroupCounts`].
#[derive(Debug)]
pub(super) struct GroupShare {
    counts: Arc<GroupCounts>,
    /// Slots that the pool has taken: one for each live item.
    slots: usize,
    leaving: usize,
    unmet: usize,
    min_idle: usize,
    /// Whether slots have become free since the last [`update`](Self::update).
    has_freed: bool,
}

/// The present counts of one pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupUse {
    pub(super) live: usize,
    pub(super) leaving: usize,
    pub(super) unmet: usize,
    pub(super) min_idle: usize,
}

impl GroupShare {
    /// Creates the share of a pool. `changed` is notified when a lease allows more or fewer items.
    pub(super) fn new(counts: &Arc<GroupCounts>, changed: &Arc<Notify>) -> Self {
        let mut pools = counts.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(changed));
        drop(pools);
        Self { counts: Arc::clone(counts), slots: 0, leaving: 0, unmet: 0, min_idle: 0, has_freed: false }
    }

    /// Takes a slot for another item, if one is free. `live` is the number of live items of this pool.
    pub(super) fn take_slot(&mut self, live: usize, limit: usize) -> bool {
        self.free_slots(live);
        let add_one = |of_group: usize| (of_group < limit).then(|| of_group.saturating_add(1));
        let has_slot = self.counts.live.fetch_update(SeqCst, SeqCst, add_one).is_ok();
        self.slots = self.slots.saturating_add(usize::from(has_slot));
        has_slot
    }

    /// Returns whether a waiter of another pool lacks a slot.
    pub(super) fn others_lack_slots(&self) -> bool {
        self.counts.unmet() > self.unmet
    }

    /// Returns whether the group has more items than the limit, without those that are being dropped. `leaving` is the number of
    /// items of this pool that are being dropped.
    pub(super) fn is_above(&self, limit: usize, leaving: usize) -> bool {
        let of_others = self.counts.leaving.load(SeqCst).saturating_sub(self.leaving);
        self.counts.live().saturating_sub(of_others).saturating_sub(leaving) > limit
    }

    /// Returns whether the group has no more items than the limit, those that are being dropped included.
    pub(super) fn is_within(&self, limit: usize) -> bool {
        self.counts.live() <= limit
    }

    /// Publishes the counts of the pool. Returns whether slots have become free since the last update.
    pub(super) fn update(&mut self, used: GroupUse) -> bool {
        publish(&self.counts.unmet, &mut self.unmet, used.unmet);
        publish(&self.counts.min_idle, &mut self.min_idle, used.min_idle);
        publish(&self.counts.leaving, &mut self.leaving, used.leaving);
        self.free_slots(used.live);
        std::mem::take(&mut self.has_freed)
    }

    /// Frees the slots of items that are gone.
    fn free_slots(&mut self, live: usize) {
        if live < self.slots {
            publish(&self.counts.live, &mut self.slots, live);
            self.has_freed = true;
        }
    }
}

/// Replaces this pool's part of the sum.
fn publish(sum: &AtomicUsize, part: &mut usize, now: usize) {
    if now > *part {
        sum.fetch_add(now.saturating_sub(*part), SeqCst);
    } else if now < *part {
        sum.fetch_sub(part.saturating_sub(now), SeqCst);
    }
    *part = now;
}
