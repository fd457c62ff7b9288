//! The statistics of a gate that are written under its lock.

use super::error::Rejection;
use super::histogram::Histogram;
use super::holders::watch::GateWatch;
use super::status::{QueueTotals, RejectedTotals};
use super::wait_sampler::WaitSampler;
use super::wake_list::ChangeListeners;

/// What the lock protects for one gate beside its permits and its queue: counters, histograms, listeners, and three fields that only a gate
/// in a tree uses.
#[repr(C)] // see `GateState`
pub(super) struct GateStats {
    pub(super) sampler: WaitSampler,
    /// The fields `enqueued` and `unleased` stay 0. A status computes `enqueued` from the other fields and the number of waiting requests,
    /// and takes `unleased` from the sharded counters.
    pub(super) queue: QueueTotals,
    /// `None` if waits are not measured.
    pub(super) waits: Option<Box<Histogram>>,
    pub(super) listeners: ChangeListeners,
    /// Requests admitted on arrival that were counted under the lock. Those of a quiet tree are in `Counter::Admitted`.
    pub(super) admitted: u64,
    /// Changes of the limit under the lock.
    pub(super) resized: u64,
    pub(super) rejected: RejectedTotals,
    /// Whether `close` has ended the waits at this gate and below. Only in a tree: a standalone gate uses `GateState::has_ended_waits`.
    pub(super) has_ended_waits: bool,
    /// The limit of a gate of a tree while it is paused. Meaningless otherwise.
    pub(super) paused_limit: u32,
    /// `Some` if the gate tracks its holders.
    pub(super) watch: Option<Box<GateWatch>>,
}

impl GateStats {
    pub(super) fn new(measures_waits: bool) -> Self {
        Self {
            sampler: WaitSampler::new(measures_waits),
            listeners: ChangeListeners::default(),
            admitted: 0,
            resized: 0,
            queue: QueueTotals::default(),
            rejected: RejectedTotals::default(),
            waits: measures_waits.then(Box::default),
            has_ended_waits: false,
            paused_limit: 0,
            watch: None,
        }
    }

    pub(super) fn count_rejection(&mut self, rejection: &Rejection) {
        increment(match rejection {
            Rejection::Closed(_) => &mut self.rejected.closed,
            Rejection::ZeroWeight => &mut self.rejected.zero_weight,
            Rejection::TooLarge(_) => &mut self.rejected.too_large,
            Rejection::QueueFull(_) => &mut self.rejected.queue_full,
            Rejection::Expired { .. } => &mut self.rejected.expired,
            Rejection::TooManyKeys(_) => &mut self.rejected.too_many_keys,
            Rejection::NoPermits(_) => &mut self.rejected.no_permits,
            Rejection::Paused(_) => &mut self.rejected.paused,
            // `Shed` does not occur on arrival: requests that are shed while they wait are counted in `QueueTotals::shed`.
            Rejection::WouldExpire(_) | Rejection::Shed(_) => &mut self.rejected.would_expire,
        });
    }

    /// Records the wait of a request that was measured.
    #[cold]
    #[inline(never)]
    pub(super) fn record_wait(&mut self, since: i64, sample: u16, now: i64) {
        if let Some(waits) = self.waits.as_mut().filter(|_| sample > 0) {
            // `now` may be earlier than `since`: a caller may have read it before it took the lock.
            let waited = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
            waits.record_many(waited, sample);
        }
    }
}

pub(super) fn increment(counter: &mut u64) {
    *counter = counter.wrapping_add(1); // a u64 does not overflow within the lifetime of a process
}

pub(super) fn add(counter: &mut u64, more: usize) {
    *counter = counter.saturating_add(more as u64);
}
