//! A gate whose permits are leased from a ledger.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{self, Ordering};

use crate::gate::{AcquireError, OwnedPermit, TryAcquireError};
use crate::plan::{GateName, Limit};

use super::shared_core::{SharedCore, WaitingWeight};
use super::shared_status::{LeaseLost, SharedStatus, SharedTryError};
use super::step::{Fence, LeaseTerms};

/// A gate whose limit is a block of permits that is leased from a ledger. [`Share::open`](super::Share::open) creates it.
///
/// Acquiring calls no engine: a thread of the gate renews the lease. Without a lease the gate is *paused*: requests stay in the queue, in
/// their order, and none is admitted. A clone is another handle. The lease ends when the last handle and the last permit are dropped.
#[derive(Clone)]
pub struct SharedGate {
    handle: Arc<SharedHandle>,
}

impl SharedGate {
    /// Creates a gate without a lease.
    pub(super) fn new(gate: GateName, name: String, terms: LeaseTerms, limit: Limit) -> Self {
        let core = SharedCore::new(gate, name, terms, limit);
        Self { handle: Arc::new(SharedHandle { core: Arc::new(core) }) }
    }

    pub(super) fn core(&self) -> &Arc<SharedCore> {
        &self.handle.core
    }

    /// Returns the name of the gate in this process.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.core().gate().name()
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Closed`] if the gate is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue and any permit that it was granted.
    pub async fn acquire(&self) -> Result<SharedPermit, AcquireError> {
        self.acquire_many(1).await
    }

    /// Waits for `weight` permits, as [`acquire`](Self::acquire). The weight may be above the present block, and at most the limit of
    /// the fleet.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the gate is closed, the weight is 0, or it is above the limit of the fleet.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, weight: u32) -> Result<SharedPermit, AcquireError> {
        let core = self.core();
        let limit = core.fleet_limit();
        if weight > limit.get() {
            return Err(AcquireError::TooLarge { gate: self.name(), weight, limit });
        }
        loop {
            // The thread learns of the demand only if there is something to wait for.
            let permit = if let Ok(permit) = core.gate().try_acquire_many_owned(weight) {
                permit
            } else {
                let _waiting = WaitingWeight::add(core, weight);
                core.gate().request().weight(weight).wait_for_limit().acquire_owned().await?
            };
            if let Some(permit) = self.admit(permit) {
                return Ok(permit);
            }
        }
    }

    /// Acquires a permit without waiting.
    ///
    /// # Errors
    ///
    /// [`SharedTryError`] if the gate has no lease, or the gate rejects the request.
    pub fn try_acquire(&self) -> Result<SharedPermit, SharedTryError> {
        self.try_acquire_many(1)
    }

    /// Acquires `weight` permits without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, weight: u32) -> Result<SharedPermit, SharedTryError> {
        let core = self.core();
        match core.gate().try_acquire_many_owned(weight) {
            Ok(permit) => self.admit(permit).ok_or_else(|| core.unleased()),
            Err(error) => {
                core.kick();
                let is_leased = core.is_leased();
                if is_leased
                    || matches!(error, TryAcquireError::Closed { .. } | TryAcquireError::ZeroWeight { .. })
                {
                    Err(SharedTryError::Rejected(error))
                } else {
                    Err(core.unleased())
                }
            }
        }
    }

    /// Waits for a permit, runs the future, and returns the permit when it has ended, also if it panics or is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, AcquireError> {
        let _permit = self.acquire().await?;
        Ok(work.await)
    }

    /// Closes the gate in this process: all waiting and future requests are rejected. The other processes are not affected.
    pub fn close(&self) {
        self.core().gate().close();
    }

    /// Returns the state of the gate and of its lease.
    #[must_use]
    pub fn status(&self) -> SharedStatus {
        self.core().status()
    }

    /// Turns a permit of the local gate into a leased one. Returns `None`, and gives the permit back, if the lease has ended: the clock
    /// is read after the permit was taken, so a permit that counts was in use before the deadline.
    fn admit(&self, permit: OwnedPermit) -> Option<SharedPermit> {
        let core = self.core();
        // Acquire: read before the deadline. If a lease ends in between, the permit belongs to the one that has ended.
        let lapses = core.lapses();
        // Orders the permit before the clock. `begin` has the same fence between the clock and the permits in use: so either the
        // report counts this permit, or this clock is past the deadline.
        atomic::fence(Ordering::SeqCst);
        if core.is_valid() {
            return Some(SharedPermit { permit: Some(permit), lapses, handle: Arc::clone(&self.handle) });
        }
        drop(permit);
        core.lapse_if_due();
        None
    }
}

impl fmt::Debug for SharedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGate").field("status", &self.status()).finish()
    }
}

/// Permits of a shared gate. Dropping it returns them.
pub struct SharedPermit {
    /// `None` only while it is dropped.
    permit: Option<OwnedPermit>,
    /// How often a lease had ended when the permit was granted.
    lapses: u64,
    handle: Arc<SharedHandle>,
}

impl SharedPermit {
    /// Returns the number of permits.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.permit.as_ref().map_or(0, OwnedPermit::weight)
    }

    /// Returns the fence of the lease: a number that rises with each exchange of the fleet. Work can pass it to a store that rejects
    /// lower ones. After the lease has ended, it is that of the last exchange before the end.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.handle.core.fence_of(self.lapses)
    }

    /// Checks that the lease has not ended since the permit was granted.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] if it has. Then the work should end within the rest of its longest hold.
    pub fn check(&self) -> Result<(), LeaseLost> {
        let core = &self.handle.core;
        if core.is_valid() && core.lapses() == self.lapses {
            Ok(())
        } else {
            Err(LeaseLost { gate: core.gate().name() })
        }
    }

    /// Waits until the lease has ended.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any time.
    pub async fn lost(&self) {
        self.handle.core.wait_for_lapse(self.lapses).await;
    }
}

impl Drop for SharedPermit {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.handle.core.note_return();
    }
}

impl fmt::Debug for SharedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPermit").field("weight", &self.weight()).finish_non_exhaustive()
    }
}

/// What the handles and permits share. The lease ends with the last of them.
struct SharedHandle {
    core: Arc<SharedCore>,
}

impl Drop for SharedHandle {
    fn drop(&mut self) {
        self.core.stop();
    }
}
