//! What a gate reports about itself.

use std::time::Duration;

use super::histogram::Histogram;
use super::key::Key;
use crate::plan::{GateName, Limit};

/// The status of a gate. Its limit, permits and queue belong to one instant:
///
/// - `in_use + available == limit + debt`, and `available` or `debt` is 0.
/// - `totals.queue.enqueued` is the sum of the other fields of `totals.queue` except `abandoned`, and of the waiting requests of the gate
///   itself and its keys. `in_use` and `waiting` also include those of declared children, and the totals do not.
/// - The requests of a [key](super::Gate::key) are counted in the totals of its gate, and its own totals are 0.
///
/// Events on the fast path are counted per thread: admissions, rejections, changes of the limit, and futures that resolve with their
/// permit. A total can lack such an event that happens during the call, and `unclaimed` is approximate then. No event is lost.
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
    /// The name of the gate.
    pub name: GateName,
    /// The largest number of permits that may be in use.
    pub limit: Limit,
    /// Permits in use: held, or granted to a request whose permit has not been taken yet.
    pub in_use: u32,
    /// Permits that are not in use: `limit - in_use`, or 0 under debt.
    pub available: u32,
    /// Permits in use above a limit that was lowered: `in_use - limit`, or 0.
    pub debt: u32,
    /// Requests in the queue, whatever their weight.
    pub waiting: usize,
    /// The largest number of requests that may wait. `None` if there is no bound.
    pub queue_bound: Option<usize>,
    /// The longest wait that the gate, and those above it, allow. `None` if there is no such limit.
    pub max_wait: Option<Duration>,
    /// Admitted requests whose permit has not been taken yet: the future was not polled again, its task had no budget left, or the blocked
    /// thread has not run again. Their permits are in use.
    ///
    /// On a busy gate a few requests are always between admission and the next poll. A number that stays above 0 while nothing
    /// else happens means that some task keeps a future that it does not poll, such as the other branch of a `select!`.
    pub unclaimed: usize,
    /// Whether the gate, or one above it, is [paused](super::Gate::pause). Then no request is admitted, whatever is available.
    pub paused: bool,
    /// Whether the gate was closed.
    pub closed: bool,
    /// Whether the queue of the gate, or of one above it, is standing: for a whole interval, the oldest request had waited longer than the
    /// target of its [shedding](crate::Shed) at each admission. Then the oldest requests are rejected. Always `false` at a gate that
    /// does not shed and is not within one that does.
    pub standing: bool,
    /// The [retry time](super::AcquireError::retry_after) of the next request that is rejected. Always `None` at a gate that does not
    /// [shed](crate::Shed) and is not within one that does.
    pub retry_after: Option<Duration>,
    /// How many times the limit has changed.
    pub resized: u64,
    /// What happened since the gate was created.
    pub totals: GateTotals,
    /// How long the requests that were admitted from the queue had waited. Empty if the gate does not
    /// [measure](super::GateBuilder::measure_waits) waits.
    pub waits: Histogram,
    /// How long the released permits had been held, those of the children not included. Empty if the gate does not [track its
    /// holders](super::GateBuilder::track_holders). On a busy gate a sample is measured, as for `waits`.
    pub holds: Histogram,
    /// How long the oldest permit has been in use, those of children and keys included. `None` if no permit is in use, or the gate does
    /// not track its holders.
    pub oldest_permit: Option<Duration>,
}

/// What a gate has counted since it was created, in requests.
///
/// Every request is counted on arrival: admitted at once, enqueued, or rejected. So the number of all requests is
/// `admitted - queue.admitted + queue.enqueued + rejected.sum()`. An [`Acquire`](super::Acquire) that was never polled is not a request.
///
/// A [nested](super::Request::under) request is not part of this number if it makes no request at the gate itself: it borrows all of its
/// permits at once or from several permits above it, or is rejected with [`SelfWait`](super::AcquireError::SelfWait).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateTotals {
    /// Requests admitted, at once or from the queue.
    pub admitted: u64,
    /// [Nested](super::Request::under) requests that borrowed permits of the work that they are part of. A request that waited for a
    /// loan and at the gate as well is also counted there: mostly as cancelled, or by the reason for which the gate rejected it.
    pub borrowed: u64,
    /// What became of the requests that had to wait.
    pub queue: QueueTotals,
    /// Requests rejected on arrival.
    pub rejected: RejectedTotals,
}

/// What became of the requests that had to wait: `enqueued == admitted + cancelled + expired + too_large + closed + pushed_out + shed +
/// unleased +` the requests of the gate itself and its keys that wait now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueTotals {
    /// Requests that were put into the queue.
    pub enqueued: u64,
    /// Requests that were admitted from the queue.
    pub admitted: u64,
    /// Requests that were admitted, and dropped before their permit was taken. The permits went to the next waiters. Includes requests that
    /// were admitted on arrival while their task had no budget left.
    pub abandoned: u64,
    /// Requests that were dropped while they waited.
    pub cancelled: u64,
    /// Requests whose deadline passed while they waited.
    pub expired: u64,
    /// Requests that ended because the limit was lowered below their weight.
    pub too_large: u64,
    /// Requests that ended because the gate was closed.
    pub closed: u64,
    /// Requests that were removed from a full queue to make room for another request: of a shorter queue, or of a higher priority. Only at
    /// a gate that is not [standalone](crate::gate).
    pub pushed_out: u64,
    /// Requests that were rejected while they waited, because the gate, or one above it, was overloaded. Only at a gate that
    /// [sheds](crate::Shed), or within one.
    pub shed: u64,
    /// Requests whose deadline passed while the gate had no permits from its ledger. Only at a gate that shares its limit with other
    /// processes through a ledger, or within one.
    pub unleased: u64,
}

impl QueueTotals {
    /// Returns the number of requests that have left the queue.
    pub(super) const fn ended(&self) -> u64 {
        self.admitted
            .saturating_add(self.cancelled)
            .saturating_add(self.expired)
            .saturating_add(self.too_large)
            .saturating_add(self.closed)
            .saturating_add(self.pushed_out)
            .saturating_add(self.shed)
            .saturating_add(self.unleased)
    }
}

/// Requests rejected on arrival, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedTotals {
    /// The request was made by `try_acquire`, and would have had to wait.
    pub no_permits: u64,
    /// The request was made by `try_acquire`, and the gate, or one above it, was paused.
    pub paused: u64,
    /// The request would have had to wait, and the queue was full.
    pub queue_full: u64,
    /// The deadline had passed, and the request would have had to wait or was [strict](super::Request::strict_deadline).
    pub expired: u64,
    /// The weight was above the limit.
    pub too_large: u64,
    /// The weight was 0.
    pub zero_weight: u64,
    /// The gate was closed.
    pub closed: u64,
    /// The request was made in the name of a key that was idle, and as many keys were busy as the gate allows.
    pub too_many_keys: u64,
    /// The gate could not have admitted the request before its deadline at its present rate. Only at a gate that
    /// [sheds](crate::Shed), or within one.
    pub would_expire: u64,
    /// The request was made by `try_acquire`, or its deadline had passed, and the gate had no permits from its ledger. Only at a gate that
    /// shares its limit with other processes through a ledger, or within one.
    pub unleased: u64,
}

impl RejectedTotals {
    /// Returns the sum over all reasons.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.no_permits
            .saturating_add(self.paused)
            .saturating_add(self.queue_full)
            .saturating_add(self.expired)
            .saturating_add(self.too_large)
            .saturating_add(self.zero_weight)
            .saturating_add(self.closed)
            .saturating_add(self.too_many_keys)
            .saturating_add(self.would_expire)
            .saturating_add(self.unleased)
    }
}

/// What one key of a gate uses at present; from [`Gate::busiest_keys`](super::Gate::busiest_keys).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key.
    pub key: Key,
    /// Permits in use in the name of the key.
    pub in_use: u32,
    /// Requests that wait in the name of the key.
    pub waiting: usize,
}

/// What [`Gate::resize`](super::Gate::resize) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resize {
    /// The limit before.
    pub from: Limit,
    /// The limit now.
    pub to: Limit,
    /// Permits in use above the new limit. No request is admitted until they are released.
    pub debt: u32,
}
