//! The gate of a pool: a gate of this process, or one that shares its limit with other processes.

#[cfg(feature = "fleet")]
use std::future::pending;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::TryCheckoutError;
#[cfg(feature = "fleet")]
use super::group_share::GroupCounts;
#[cfg(feature = "fleet")]
use crate::fleet::{LeasedItems, SharedAcquireError, SharedGate, SharedPermit, SharedTryError, Unleased};
use crate::gate::{AcquireError, Gate, GateStatus, OwnedPermit, Resize};
use crate::plan::{GateName, Limit};

/// The gate of a [`Pool`](super::Pool): a [`Gate`], or a `SharedGate` of the feature `fleet`. Both convert to it.
#[derive(Clone, Debug)]
pub struct PoolGate(PoolGateKind);

#[derive(Clone, Debug)]
enum PoolGateKind {
    Local(Gate),
    #[cfg(feature = "fleet")]
    Shared(SharedGate),
}

impl PoolGate {
    /// Returns the name of the gate.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.local().name()
    }

    /// Returns the state of the gate in this process.
    #[must_use]
    pub fn status(&self) -> GateStatus {
        self.local().status()
    }

    /// Returns `true` if the gate was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.local().is_closed()
    }

    /// Closes the gate in this process for all of its users, as [`Gate::close`]. For a key, it closes only this handle and its clones.
    pub fn close(&self) {
        self.local().close();
    }

    /// Sets the limit of the gate, as [`Gate::resize`]. For a gate that shares its limit, it is the largest number of permits that
    /// this process requests from its ledger.
    #[expect(clippy::must_use_candidate, reason = "callers may ignore the description of the change")]
    pub fn resize(&self, limit: Limit) -> Resize {
        match &self.0 {
            PoolGateKind::Local(gate) => gate.resize(limit),
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(gate) => gate.resize(limit),
        }
    }

    /// Returns the gate if it is one of this process alone.
    #[must_use]
    pub const fn as_gate(&self) -> Option<&Gate> {
        match &self.0 {
            PoolGateKind::Local(gate) => Some(gate),
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(_) => None,
        }
    }

    /// Returns the gate if it shares its limit with other processes.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    #[must_use]
    pub const fn as_shared(&self) -> Option<&SharedGate> {
        match &self.0 {
            PoolGateKind::Local(_) => None,
            PoolGateKind::Shared(gate) => Some(gate),
        }
    }

    /// Returns how many items may be live now: the limit, or the block of a lease, which may be 0.
    pub(super) fn item_limit(&self) -> usize {
        let items = match &self.0 {
            PoolGateKind::Local(gate) => gate.limit().get(),
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(gate) => gate.item_limit(),
        };
        usize::try_from(items).unwrap_or(usize::MAX)
    }

    /// Acquires a permit by the fast path alone.
    #[inline]
    pub(super) fn try_acquire_fast(&self) -> Option<PoolPermit> {
        match &self.0 {
            PoolGateKind::Local(gate) => gate.try_acquire_fast().map(PoolPermit::Local),
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(gate) => gate.try_acquire_fast().map(PoolPermit::Shared),
        }
    }

    /// Acquires a permit without waiting.
    #[track_caller]
    pub(super) fn try_acquire(&self) -> Result<PoolPermit, TryCheckoutError> {
        match &self.0 {
            PoolGateKind::Local(gate) => match gate.try_acquire_owned() {
                Ok(permit) => Ok(PoolPermit::Local(permit)),
                Err(error) => Err(TryCheckoutError::Rejected(error)),
            },
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(gate) => match gate.try_acquire() {
                Ok(permit) => Ok(PoolPermit::Shared(permit)),
                Err(SharedTryError::Rejected(error)) => Err(TryCheckoutError::Rejected(error)),
                Err(SharedTryError::Unleased(unleased)) => {
                    Err(TryCheckoutError::Unleased(Box::new(unleased)))
                }
            },
        }
    }

    /// Waits for a permit. The error of a wait that has ended at its deadline is always `DeadlineExceeded`.
    pub(super) async fn acquire(
        &self,
        location: Option<&'static Location<'static>>,
        deadline: Option<Instant>,
        max_wait: Option<Duration>,
    ) -> Result<PoolPermit, AcquireError> {
        // The requests of the two gates have different types and the same methods.
        macro_rules! acquire {
            ($gate:expr) => {{
                let mut request = $gate.request();
                if let Some(location) = location {
                    request = request.made_at(location);
                }
                if let Some(deadline) = deadline {
                    request = request.deadline(deadline);
                }
                if let Some(wait) = max_wait {
                    request = request.max_wait(wait);
                }
                request.acquire_owned()
            }};
        }
        match &self.0 {
            PoolGateKind::Local(gate) => acquire!(gate).await.map(PoolPermit::Local),
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(gate) => {
                // Boxed, so that a checkout at another gate is not larger for it.
                acquire!(gate).await.map(PoolPermit::Shared).map_err(|error| match error {
                    SharedAcquireError::Rejected(error) => error,
                    SharedAcquireError::Unleased { waited, .. } => {
                        AcquireError::DeadlineExceeded { gate: gate.name(), waited }
                    }
                })
            }
        }
    }

    /// Returns why the gate has no permits from its ledger, or `None` if it has some.
    #[cfg(feature = "fleet")]
    pub(super) fn unleased(&self) -> Option<Unleased> {
        self.as_shared().and_then(SharedGate::unleased)
    }

    /// Waits until no permit is in use and no request waits.
    pub(super) async fn drained(&self) {
        self.local().drained().await;
    }

    /// As [`Gate::has_shut_down`].
    pub(super) fn has_shut_down(&self) -> bool {
        self.local().has_shut_down()
    }

    /// Registers a listener, which is notified each time the limit is set, and when the gate is closed.
    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        self.local().listen(listener);
    }

    /// Wakes the checkouts that wait at the gate. They keep waiting.
    pub(super) fn wake_early(&self) {
        self.local().wake_early();
    }

    /// Returns the longest wait that the gate allows, in nanoseconds.
    pub(super) fn max_wait_nanos(&self) -> i64 {
        self.local().max_wait_nanos()
    }

    /// Makes the lease count the items of a group as held.
    #[cfg(feature = "fleet")]
    pub(super) fn count_items(&self, counts: &Arc<GroupCounts>) {
        if let PoolGateKind::Shared(gate) = &self.0 {
            let items: std::sync::Weak<dyn LeasedItems> = Arc::<GroupCounts>::downgrade(counts);
            gate.add_items(items);
        }
    }

    /// Notifies the lease that items were dropped.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "no gate has a lease"))]
    pub(super) fn note_items(&self) {
        #[cfg(feature = "fleet")]
        if let PoolGateKind::Shared(gate) = &self.0 {
            gate.note_items();
        }
    }

    /// Returns `true` if the gate shares its limit with other processes.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "no gate has a lease"))]
    pub(super) const fn is_shared(&self) -> bool {
        #[cfg(feature = "fleet")]
        return self.as_shared().is_some();
        #[cfg(not(feature = "fleet"))]
        false
    }

    /// Returns the gate in this process. Requests are not made at it, because a shared gate must also check its lease.
    fn local(&self) -> &Gate {
        match &self.0 {
            PoolGateKind::Local(gate) => gate,
            #[cfg(feature = "fleet")]
            PoolGateKind::Shared(gate) => gate.local(),
        }
    }
}

impl From<Gate> for PoolGate {
    fn from(gate: Gate) -> Self {
        Self(PoolGateKind::Local(gate))
    }
}

#[cfg(feature = "fleet")]
impl From<SharedGate> for PoolGate {
    fn from(gate: SharedGate) -> Self {
        Self(PoolGateKind::Shared(gate))
    }
}

/// The permit of a checkout, which is released on drop.
#[derive(Debug)]
pub(super) enum PoolPermit {
    Local(#[expect(dead_code, reason = "held until it is dropped")] OwnedPermit),
    #[cfg(feature = "fleet")]
    Shared(SharedPermit),
}

impl PoolPermit {
    /// Waits until the lease of the permit has ended. A permit without a lease keeps waiting.
    #[cfg(feature = "fleet")]
    pub(super) async fn lost(&self) {
        match self {
            Self::Local(_) => pending().await,
            Self::Shared(permit) => permit.lost().await,
        }
    }

    /// Returns the permit if it has a lease.
    #[cfg(feature = "fleet")]
    pub(super) const fn as_shared(&self) -> Option<&SharedPermit> {
        match self {
            Self::Local(_) => None,
            Self::Shared(permit) => Some(permit),
        }
    }
}
