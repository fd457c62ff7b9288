//! Pools on one gate whose items together keep to its limit.

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::Notify;

use super::gate::PoolGate;
use super::group_share::{GroupCounts, GroupShare};
use super::sync::Mutex;

/// Pools that share one limit on their items, the limit of a gate.
///
/// A gate alone bounds the checkouts of its pools together, but the items of each pool separately: an idle item holds no permit,
/// so eleven pools may hold eleven times as many items. In a group, the live items of all pools keep to the limit together. The
/// group has one slot for each permit of the limit, and each live item takes one.
///
/// A checkout that needs an item while no slot is free drops an idle item of another pool: the coldest one of the pool with the
/// most idle items above its minimum. Items that belong to the minimum of a pool are dropped only if no pool has others. There is always an
/// item to wait for: the waiting checkout and each item in use hold a permit, so at least one live item is idle, being created or being
/// dropped. [`build`](super::PoolBuilder::build) makes room for its first items in the same way, but without permits: while all slots are
/// in use, it waits without bound.
///
/// ```
/// use concurrency_governor::pool::PoolGroup;
/// use concurrency_governor::{Gate, GateName, Limit};
#[doc = include_str!("example_setup.txt")]
/// let group = PoolGroup::new(Gate::new(GateName::new("instances"), Limit::new(2)));
/// let small = Pool::builder(Buffers).group(&group).build().await?;
/// let large = Pool::builder(Buffers).group(&group).build().await?;
/// let both = (small.checkout().await?, small.checkout().await?);
/// drop(both); // both are idle
/// let other = large.checkout().await?; // drops one of them
/// assert_eq!((small.status().size, large.status().size, group.items()), (1, 1, 2));
/// # drop(other);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PoolGroup {
    shared: Arc<GroupShared>,
}

struct GroupShared {
    gate: PoolGate,
    counts: Arc<GroupCounts>,
    members: Mutex<Vec<Weak<dyn GroupMember>>>,
}

/// The methods of a pool that the other pools of its group call.
pub(super) trait GroupMember: Send + Sync {
    /// Returns the number of idle items that may be dropped for another pool.
    fn spare_items(&self, spare: SpareItems) -> usize;

    /// Drops the coldest idle item. Returns whether there was one that may be dropped.
    fn drop_spare_item(self: Arc<Self>, spare: SpareItems) -> bool;

    /// Creates the items that the pool needs, as far as slots are free.
    fn fill(self: Arc<Self>);
}

/// Which idle items are dropped for another pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpareItems {
    AboveMinimum,
    All,
}

impl PoolGroup {
    /// Creates a group without pools. Its limit is that of the gate, which may change. The gate is a [`Gate`](crate::Gate),
    /// or a `SharedGate` of the feature `fleet`.
    #[must_use]
    pub fn new(gate: impl Into<PoolGate>) -> Self {
        let (gate, counts) = (gate.into(), Arc::default());
        #[cfg(feature = "fleet")]
        gate.count_items(&counts);
        Self { shared: Arc::new(GroupShared { gate, counts, members: Mutex::new(Vec::new()) }) }
    }

    /// Returns the gate.
    #[must_use]
    pub fn gate(&self) -> &PoolGate {
        &self.shared.gate
    }

    /// Returns the number of live items of all pools: idle, in use, being created and being dropped.
    #[must_use]
    pub fn items(&self) -> usize {
        self.shared.counts.live()
    }

    /// Returns the share of a new pool, which is notified when a lease allows more or fewer items.
    pub(super) fn share(&self, changed: &Arc<Notify>) -> GroupShare {
        GroupShare::new(&self.shared.counts, changed)
    }

    /// Adds a pool. It leaves the group when it is gone.
    pub(super) fn join(&self, member: Weak<dyn GroupMember>) {
        let mut members = self.shared.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| member.strong_count() > 0);
        members.push(member);
    }

    /// Drops an idle item of the pool that has the most. Returns `false` if no pool has one.
    pub(super) fn drop_spare_item(&self) -> bool {
        for spare in [SpareItems::AboveMinimum, SpareItems::All] {
            let mut members = self.members();
            members.retain(|member| member.spare_items(spare) > 0);
            members.sort_by_cached_key(|member| member.spare_items(spare));
            if members.into_iter().rev().any(|member| member.drop_spare_item(spare)) {
                return true;
            }
        }
        false
    }

    /// Lets the pools use the slots that have become free.
    pub(super) fn fill(&self) {
        for member in self.members() {
            member.fill();
        }
    }

    fn members(&self) -> Vec<Arc<dyn GroupMember>> {
        let members = self.shared.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for PoolGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolGroup").field("gate", &self.gate().name()).field("items", &self.items()).finish()
    }
}
