//! What a pool says about itself.

use std::fmt;
use std::time::Duration;

use crate::gate::Histogram;
use crate::plan::{GateName, Limit};

/// A pool at one instant, but for those in line at its gate, who are counted a moment later.
///
/// - `size == idle + in_use + creating + dropping`, and that is at most `limit` unless the limit was lowered below it.
/// - `totals.created` is `idle + in_use` and all that have left: `evicted + detached + discarded.sum()`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// The gate's name.
    pub gate: GateName,
    /// How many items there may be.
    pub limit: Limit,
    /// Items that count against the limit: those there are, those being made, and those not yet gone.
    pub size: usize,
    /// Items ready to be handed out. One that [`retain`](super::Pool::retain) is judging counts here.
    pub idle: usize,
    /// Items that are leased, or on their way to who waits for them.
    pub in_use: usize,
    /// Items being made.
    pub creating: usize,
    /// Items being dropped.
    pub dropping: usize,
    /// Checkouts that wait: in line at the gate (where others share it, theirs too) or, admitted, for an item.
    pub waiting: usize,
    /// How long until the next item is tried, since the last attempts have failed; `None` while all is well.
    pub backing_off: Option<Duration>,
    /// Whether it has been closed.
    pub closed: bool,
    /// What happened since it was built.
    pub totals: PoolTotals,
    /// How long it took to make an item, of those that were made.
    pub creates: Histogram,
    /// How long checkouts waited that did not get an item at once: from their arrival to the item, at the gate and after
    /// it. One that gave up is not recorded.
    pub waits: Histogram,
}

/// What a pool has counted since it was built. Counts saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolTotals {
    /// Items made.
    pub created: u64,
    /// Times that an item was handed out that was there before.
    pub reused: u64,
    /// Items dropped for having been idle too long.
    pub evicted: u64,
    /// Items taken out of the pool for good: [`PooledItem::detach`](super::PooledItem::detach).
    pub detached: u64,
    /// Items dropped for another reason, or being dropped now.
    pub discarded: Discarded,
    /// Attempts to make an item that failed.
    pub create_errors: CreateErrors,
}

/// Items that were dropped, by [`DiscardReason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Discarded {
    /// Marked broken, or discarded by hand.
    pub broken: u64,
    /// Dropped between `begin` and `complete`.
    pub incomplete: u64,
    /// Held while its thread unwound, or its `recycle` or `health` panicked.
    pub panicked: u64,
    /// Rejected by `recycle`.
    pub recycle: u64,
    /// Rejected by `health`, or its check was not over in time.
    pub health: u64,
    /// Older than the longest lifetime.
    pub expired: u64,
    /// One too many for a limit that was lowered.
    pub surplus: u64,
    /// Rejected by the closure of a `retain`.
    pub retain: u64,
    /// Came back to a pool that was closed, or was idle in it.
    pub closed: u64,
}

impl Discarded {
    /// All of them.
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

    pub(super) const fn of(&mut self, reason: DiscardReason) -> &mut u64 {
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

/// Why an item was not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiscardReason {
    /// It was [marked broken](super::PooledItem::mark_broken), or [discarded](super::PooledItem::discard) by hand.
    Broken,
    /// Its lease was dropped after [`begin`](super::PooledItem::begin) and before [`complete`](super::PooledItem::complete).
    Incomplete,
    /// Its lease was dropped by a panic, or `recycle` or `health` panicked over it.
    Panicked,
    /// [`Manager::recycle`](super::Manager::recycle) said so.
    Recycle,
    /// [`Manager::health`](super::Manager::health) said so, or was not over in time.
    Health,
    /// It was older than [`max_lifetime`](super::PoolBuilder::max_lifetime).
    Expired,
    /// The limit was lowered, and it was one too many.
    Surplus,
    /// The closure of a [`retain`](super::Pool::retain) said so.
    Retain,
    /// The pool was closed, or its last handle dropped.
    Closed,
}

impl fmt::Display for DiscardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "it was marked broken",
            Self::Incomplete => "its work was not completed",
            Self::Panicked => "a panic came while it was held, recycled or checked",
            Self::Recycle => "recycling refused it",
            Self::Health => "its health check refused it",
            Self::Expired => "it was older than the longest lifetime",
            Self::Surplus => "the limit was lowered",
            Self::Retain => "it was not retained",
            Self::Closed => "the pool was closed",
        })
    }
}

/// Attempts to make an item that failed, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateErrors {
    /// Ended with an error.
    pub failed: u64,
    /// Were not over in time.
    pub timed_out: u64,
    /// Panicked.
    pub panicked: u64,
    /// Were dropped with their runtime.
    pub abandoned: u64,
}

impl CreateErrors {
    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.failed
            .saturating_add(self.timed_out)
            .saturating_add(self.panicked)
            .saturating_add(self.abandoned)
    }
}
