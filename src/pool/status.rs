//! The status of a pool: sizes, totals and histograms.

use std::fmt;
use std::time::Duration;

use super::checkout_timeout::CheckoutStage;
use crate::gate::Histogram;
use crate::plan::GateName;

/// A snapshot of a pool, from [`Pool::status`](super::Pool::status).
///
/// All values are of one instant, except that the requests in the gate's queue are counted a moment later.
///
/// - `size == idle + in_use + creating + dropping`, and `size` is at most `limit`, unless the limit was lowered below it.
/// - `totals.created + totals.added == idle + in_use + totals.evicted + totals.detached + totals.discarded.sum()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The gate's name.
    pub gate: GateName,
    /// The most items that may be live: the limit of the gate. For a gate that shares its limit it is the block of this process, which is 0
    /// without a lease.
    pub limit: usize,
    /// Live items, which count against the limit: idle, in use, being created and being dropped.
    pub size: usize,
    /// Items ready to be checked out. An item that [`retain`](super::Pool::retain) is judging counts as idle.
    pub idle: usize,
    /// Items that are checked out, that are being delivered to a waiter, or whose health is being checked.
    pub in_use: usize,
    /// Items in use whose health a checkout is waiting for.
    pub checking: usize,
    /// Items being created.
    pub creating: usize,
    /// Items being dropped.
    pub dropping: usize,
    /// Checkouts that wait: in the gate's queue for a permit, or admitted and waiting for an item. If the gate has other users,
    /// their requests in its queue are included.
    pub waiting: usize,
    /// The age of the oldest creation that the pool's runtime has not started. `None` if all have been started. More than a
    /// moment means that the runtime is not driven, or that its threads are blocked.
    pub start_delay: Option<Duration>,
    /// The time until the next attempt to create an item, because the last one failed. `None` while creation works, and in a
    /// closed pool. [`Duration::MAX`] if no attempt follows before [`Pool::retry_now`](super::Pool::retry_now).
    pub backing_off: Option<Duration>,
    /// Whether the pool has been closed.
    pub closed: bool,
    /// What has happened since the pool was built.
    pub totals: PoolTotals,
    /// How long successful creations took.
    pub creates: Histogram,
    /// The waits of the checkouts that got an item after a wait, from their arrival to each item that was handed to them, unhealthy ones
    /// included. The wait in the gate's queue is included. A wait without an item is not recorded. Waits at the gate are sampled as
    /// described at [`Histogram`].
    pub waits: Histogram,
}

/// Counters of a pool since it was built. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolTotals {
    /// Items created.
    pub created: u64,
    /// Items that [`initial`](super::PoolBuilder::initial) and [`add`](super::Pool::add) put into the pool.
    pub added: u64,
    /// Existing items that were handed to a checkout, unhealthy ones included.
    pub reused: u64,
    /// Items dropped because they reached the idle timeout.
    pub evicted: u64,
    /// Items that [`detach`](super::PooledItem::detach) took out of the pool.
    pub detached: u64,
    /// Items dropped for another reason, including those being dropped now.
    pub discarded: Discarded,
    /// Failed attempts to create an item.
    pub create_errors: CreateErrors,
    /// Checkouts whose time was over, by what they were waiting for.
    pub expired: ExpiredCheckouts,
}

/// Dropped items by [`DiscardReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// Items marked broken, or discarded by the user.
    pub broken: u64,
    /// Items returned between `begin` and `complete`.
    pub incomplete: u64,
    /// Items in use when their thread panicked, unless `after_panic` kept them, or whose `recycle` or `health` panicked.
    pub panicked: u64,
    /// Items that `recycle` rejected.
    pub recycle: u64,
    /// Items that `health` rejected, whose check did not end in time, or that had been idle for longer than such an item.
    pub health: u64,
    /// Items older than the maximum lifetime.
    pub expired: u64,
    /// Items above a lowered limit, or that made room for another pool of the group.
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
    /// [`Manager::health`](super::Manager::health) rejected the item, or did not end in time for it or for an item that had
    /// been idle for a shorter time.
    Health,
    /// The item was older than [`max_lifetime`](super::PoolBuilder::max_lifetime).
    Expired,
    /// The limit was lowered, and the item was above it, or it made room for another pool of the
    /// [group](super::PoolGroup).
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
            Self::Surplus => "the limit was lowered, or another pool of the group needed its slot",
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
    /// Attempts that the runtime of the pool did not start in time, and that ended the waits of checkouts. They may still start.
    pub not_started: u64,
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
            .saturating_add(self.not_started)
            .saturating_add(self.abandoned)
    }
}

/// Checkouts whose time was over, by what they were waiting for then; see [`CheckoutStage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpiredCheckouts {
    /// For a permit.
    pub admission: u64,
    /// For an item that comes back.
    pub item: u64,
    /// For the end of a delay after a failed creation.
    pub backoff: u64,
    /// For the pool's runtime to start a creation.
    pub start: u64,
    /// For a creation.
    pub creation: u64,
    /// For a health check.
    pub check: u64,
}

impl ExpiredCheckouts {
    /// Returns the sum over all stages.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.admission
            .saturating_add(self.item)
            .saturating_add(self.backoff)
            .saturating_add(self.start)
            .saturating_add(self.creation)
            .saturating_add(self.check)
    }

    pub(super) const fn counter_mut(&mut self, stage: CheckoutStage) -> &mut u64 {
        match stage {
            CheckoutStage::Admission => &mut self.admission,
            CheckoutStage::Item => &mut self.item,
            CheckoutStage::Backoff => &mut self.backoff,
            CheckoutStage::Start => &mut self.start,
            CheckoutStage::Creation => &mut self.creation,
            CheckoutStage::Check => &mut self.check,
        }
    }
}
