//! The status of a pool: sizes, totals and histograms.

use std::fmt;
use std::time::Duration;

use crate::gate::Histogram;
use crate::plan::{GateName, Limit};

/// A snapshot of a pool, from [`Pool::status`](super::Pool::status).
///
/// All values are of one instant, except that the requests in the gate's queue are counted a moment later.
///
/// - `size == idle + in_use + creating + dropping`, and `size` is at most `limit`, unless the limit was lowered below it.
/// - `totals.created == idle + in_use + totals.evicted + totals.detached + totals.discarded.sum()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The gate's name.
    pub gate: GateName,
    /// The most items that may be live.
    pub limit: Limit,
    /// Live items, which count against the limit: idle, in use, being created and being dropped.
    pub size: usize,
    /// Items ready to be checked out. An item that [`retain`](super::Pool::retain) is judging counts as idle.
    pub idle: usize,
    /// Items that are checked out, or that are being delivered to a waiter.
    pub in_use: usize,
    /// Items being created.
    pub creating: usize,
    /// Items being dropped.
    pub dropping: usize,
    /// Checkouts that wait: in the gate's queue for a permit, or admitted and waiting for an item. On a shared gate, the
    /// other requests in its queue are included.
    pub waiting: usize,
    /// The time until the next attempt to create an item, because the last one failed. `None` while creation works.
    pub backing_off: Option<Duration>,
    /// Whether the pool has been closed.
    pub closed: bool,
    /// What has happened since the pool was built.
    pub totals: PoolTotals,
    /// How long successful creations took.
    pub creates: Histogram,
    /// How long checkouts waited that were served after a wait: from their arrival to their item, in the gate's queue and
    /// after it. A checkout that gave up or failed is not recorded.
    pub waits: Histogram,
}

/// Counters of a pool since it was built. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolTotals {
    /// Items created.
    pub created: u64,
    /// Checkouts served with an item that had been used before.
    pub reused: u64,
    /// Items dropped because they reached the idle timeout.
    pub evicted: u64,
    /// Items that [`detach`](super::PooledItem::detach) took out of the pool.
    pub detached: u64,
    /// Items dropped for another reason, including those being dropped now.
    pub discarded: Discarded,
    /// Failed attempts to create an item.
    pub create_errors: CreateErrors,
}

/// Dropped items by [`DiscardReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// Items marked broken, or discarded by the user.
    pub broken: u64,
    /// Items returned between `begin` and `complete`.
    pub incomplete: u64,
    /// Items in use when their thread panicked, or whose `recycle` or `health` panicked.
    pub panicked: u64,
    /// Items that `recycle` rejected.
    pub recycle: u64,
    /// Items that `health` rejected, or whose check did not end in time.
    pub health: u64,
    /// Items older than the maximum lifetime.
    pub expired: u64,
    /// Items above a lowered limit.
    pub surplus: u64,
    /// Items that the closure of `retain` rejected.
    pub retain: u64,
    /// Items that were idle when the pool was closed, or that came back after it.
    pub closed: u64,
}

impl Discarded {
    /// Returns the sum over all reasons.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.broken
            .saturating_add(self.incomplete)
            .saturating_add(self.panicked)
            .saturating_add(self.recycle)
            .saturating_add(self.health)
            .saturating_add(self.expired)
            .saturating_add(self.surplus)
            .saturating_add(self.retain)
            .saturating_add(self.closed)
    }

    pub(super) const fn counter_mut(&mut self, reason: DiscardReason) -> &mut u64 {
        match reason {
            DiscardReason::Broken => &mut self.broken,
            DiscardReason::Incomplete => &mut self.incomplete,
            DiscardReason::Panicked => &mut self.panicked,
            DiscardReason::Recycle => &mut self.recycle,
            DiscardReason::Health => &mut self.health,
            DiscardReason::Expired => &mut self.expired,
            DiscardReason::Surplus => &mut self.surplus,
            DiscardReason::Retain => &mut self.retain,
            DiscardReason::Closed => &mut self.closed,
        }
    }
}

/// The reason why an item was dropped instead of used again. It prints as a clause, such as "it was marked broken".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiscardReason {
    /// The item was [marked broken](super::PooledItem::mark_broken) or [discarded](super::PooledItem::discard).
    Broken,
    /// The item came back after [`begin`](super::PooledItem::begin) and before [`complete`](super::PooledItem::complete).
    Incomplete,
    /// The thread panicked while the item was in use, or the item's `recycle` or `health` panicked.
    Panicked,
    /// [`Manager::recycle`](super::Manager::recycle) rejected the item.
    Recycle,
    /// [`Manager::health`](super::Manager::health) rejected the item, or did not end in time.
    Health,
    /// The item was older than [`max_lifetime`](super::PoolBuilder::max_lifetime).
    Expired,
    /// The limit was lowered, and the item was above it.
    Surplus,
    /// The closure of [`retain`](super::Pool::retain) rejected the item.
    Retain,
    /// The pool was closed, or its last handle dropped.
    Closed,
}

impl fmt::Display for DiscardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "it was marked broken",
            Self::Incomplete => "its work was not completed",
            Self::Panicked => "a panic occurred while it was in use, recycled or checked",
            Self::Recycle => "`recycle` rejected it",
            Self::Health => "its health check rejected it or took too long",
            Self::Expired => "it was older than the maximum lifetime",
            Self::Surplus => "the limit was lowered",
            Self::Retain => "`retain` rejected it",
            Self::Closed => "the pool was closed",
        })
    }
}

/// Failed attempts to create an item, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateErrors {
    /// Attempts that returned an error.
    pub failed: u64,
    /// Attempts that took longer than the create timeout.
    pub timed_out: u64,
    /// Attempts that panicked.
    pub panicked: u64,
    /// Attempts that were dropped because their runtime shut down.
    pub abandoned: u64,
}

impl CreateErrors {
    /// Returns the sum over all kinds.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.failed
            .saturating_add(self.timed_out)
            .saturating_add(self.panicked)
            .saturating_add(self.abandoned)
    }
}
