//! What a gate says about itself.

use super::Histogram;
use crate::plan::{GateName, Limit};

/// A gate at one instant: its limit, permits and line are of the same moment, so the books balance in each status.
///
/// What needs no lock is counted by each thread for itself: requests admitted or refused at once, and changes of the limit
/// while nobody waits. Of those a total may lack what a thread is in the midst of just then; none is ever lost.
///
/// - `in_use + available == limit + debt`, and one of `available` and `debt` is 0.
/// - `totals.queue.enqueued` is the sum of its other fields (without `unclaimed`) and `waiting`.
///
/// ```
/// use concurrency_governor::{Limit, gate::Gate};
///
/// let gate = Gate::new("uploads".parse::<concurrency_governor::GateName>()?, Limit::new(3));
/// let permit = gate.try_acquire_many(2)?;
/// gate.resize(Limit::MIN);
/// let status = gate.status();
/// assert_eq!((status.in_use, status.available, status.debt), (2, 0, 1));
/// # drop(permit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateStatus {
    /// The gate's name.
    pub name: GateName,
    /// How many permits may be out.
    pub limit: Limit,
    /// Permits out: held, or handed to a request that has not been resumed yet.
    pub in_use: u32,
    /// Permits that could be handed out: `limit - in_use`, or 0 under debt.
    pub available: u32,
    /// Permits out above a limit that was lowered under them: `in_use - limit`, or 0.
    pub debt: u32,
    /// Requests in line, whatever their weight.
    pub waiting: usize,
    /// Whether the gate has been closed.
    pub closed: bool,
    /// How many times its limit has changed since the gate was made.
    pub resized: u64,
    /// What happened since the gate was made.
    pub totals: GateTotals,
    /// How long those admitted after a wait have waited; empty if the gate does not
    /// [measure](super::GateBuilder::measure_waits) that.
    pub waits: Histogram,
}

/// What a gate has counted since it was made, in requests. Counts saturate.
///
/// Every request is counted where it arrives: admitted at once, in line, or refused. So requests in all are
/// `admitted - line.admitted + queue.enqueued + refused.sum()`; an [`Acquire`](super::Acquire) that was never polled is
/// none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateTotals {
    /// Requests admitted, at once or after a wait.
    pub admitted: u64,
    /// What became of the requests that had to wait.
    pub queue: QueueTotals,
    /// Requests refused when they arrived.
    pub rejected: RejectedTotals,
}

/// What became of the requests that had to wait:
/// `joined == admitted + cancelled + expired + too_large + closed`, and those [waiting](GateStatus::waiting) now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueTotals {
    /// Took a place in line.
    pub enqueued: u64,
    /// Were handed their permits.
    pub admitted: u64,
    /// Of those admitted: were dropped before they were resumed, so their permits went on unused.
    pub unclaimed: u64,
    /// Were dropped while they waited.
    pub cancelled: u64,
    /// Gave up at their deadline.
    pub expired: u64,
    /// Were ended by a limit lowered below their weight.
    pub too_large: u64,
    /// Were ended by the closing of the gate.
    pub closed: u64,
}

impl QueueTotals {
    /// All whose wait has ended.
    pub(super) const fn ended(&self) -> u64 {
        self.admitted
            .saturating_add(self.cancelled)
            .saturating_add(self.expired)
            .saturating_add(self.too_large)
            .saturating_add(self.closed)
    }
}

/// Requests refused when they arrived, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedTotals {
    /// Would have had to wait, and only tried.
    pub no_permits: u64,
    /// Would have had to wait, and the line was full.
    pub queue_full: u64,
    /// Would have had to wait, and their deadline had passed already.
    pub expired: u64,
    /// Asked for more than the limit.
    pub too_large: u64,
    /// Asked for nothing.
    pub zero_weight: u64,
    /// Came after the gate was closed.
    pub closed: u64,
}

impl RejectedTotals {
    /// All that were refused.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.no_permits
            .saturating_add(self.queue_full)
            .saturating_add(self.expired)
            .saturating_add(self.too_large)
            .saturating_add(self.zero_weight)
            .saturating_add(self.closed)
    }
}
