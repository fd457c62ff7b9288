//! Permits of a shared gate, and the check that turns a local permit into one.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{self, Ordering};

use crate::gate::{Attempt, Gate, HasGate, OwnedPermit};

use super::core::SharedCore;
use super::status::LeaseLost;
use crate::fleet::step::Fence;

/// Permits of a shared gate. Dropping it returns them.
pub struct SharedPermit {
    // Dropped before `handle`, whose drop reports the release: by then, the permits must be released.
    permit: OwnedPermit,
    /// The number of leases of the gate that had ended when the permit was granted.
    lapses: u64,
    handle: PermitHandle,
}

impl SharedPermit {
    /// Returns the number of permits.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.permit.weight()
    }

    /// Returns the fence of the lease: a number that rises with each exchange of the fleet. Work can pass it to a store that rejects
    /// lower numbers. With a limit above 1, this also rejects valid work of other processes; use it where one process at a time may
    /// write. After the lease has ended, this is the fence of the last exchange before the end.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.core().fence_of(self.lapses)
    }

    /// Checks that the lease has not ended since the permit was granted. A permit that [`Unreachable`](crate::fleet::Unreachable) has
    /// admitted without a lease passes until the next lease ends.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] if the lease has ended. Then the work should end before it has held the permit for the
    /// [longest hold](crate::fleet::Share::max_hold).
    pub fn check(&self) -> Result<(), LeaseLost> {
        let core = self.core();
        if core.lapses() == self.lapses && (core.is_valid() || core.may_admit_without_lease()) {
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
        self.core().wait_for_lapse(self.lapses).await;
    }

    /// Starts an attempt at the work of this permit: the latency is counted from now on; see [`Permit::attempt`](crate::Permit::attempt).
    pub fn attempt(self) -> Attempt<Self> {
        Attempt::start(self)
    }

    /// Names the work, for [`SharedGate::holders`](super::SharedGate::holders). It has an effect only at a gate that
    /// [tracks its holders](crate::GateSpec::track_holders).
    pub fn label(&self, label: impl Into<Cow<'static, str>>) {
        self.permit.label(label);
    }

    /// Splits off `weight` permits into a new permit. Returns `None`, and changes nothing, if there are fewer.
    pub fn split(&mut self, weight: u32) -> Option<Self> {
        let permit = self.permit.split(weight)?;
        Some(Self { permit, lapses: self.lapses, handle: PermitHandle(Arc::clone(&self.handle.0)) })
    }

    /// Returns the permit of the gate in this process.
    #[cfg(any(feature = "metrics", feature = "tower"))]
    pub(crate) const fn local(&self) -> &OwnedPermit {
        &self.permit
    }

    fn core(&self) -> &SharedCore {
        self.handle.0.core()
    }
}

impl HasGate for SharedPermit {
    fn gate(&self) -> &Gate {
        self.permit.gate()
    }
}

impl fmt::Debug for SharedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPermit")
            .field("gate", &self.permit.gate().name())
            .field("weight", &self.weight())
            .finish_non_exhaustive()
    }
}

/// The handle of a permit. Its drop reports that the permits were returned.
struct PermitHandle(Arc<SharedHandle>);

impl Drop for PermitHandle {
    #[inline]
    fn drop(&mut self) {
        self.0.core.note_return();
    }
}

/// What the handles and permits share. The lease ends with the last of them.
pub(super) struct SharedHandle {
    core: Arc<SharedCore>,
}

impl SharedHandle {
    pub(super) fn new(core: SharedCore) -> Self {
        Self { core: Arc::new(core) }
    }

    pub(super) fn core(&self) -> &Arc<SharedCore> {
        &self.core
    }

    /// Turns a permit of the local gate into a leased one. Returns `None`, and releases the permit, if the lease has ended. The clock is
    /// read after the permit was taken, so each permit that this method accepts was in use before the deadline. Without a lease, the
    /// permit is accepted if the policy for an unreachable ledger allows as many permits as are in use.
    #[inline]
    pub(super) fn admit(self: &Arc<Self>, permit: OwnedPermit) -> Option<SharedPermit> {
        let core = &self.core;
        // Acquire: read before the deadline. If a lease ends in between, the permit counts as one of the ended lease.
        let lapses = core.lapses();
        // Orders the permit before the clock. `begin` has the same fence between the clock and the permits in use: so either the
        // report counts this permit, or this clock is past the deadline.
        atomic::fence(Ordering::SeqCst);
        if core.is_valid() || core.is_admitted_without_lease() {
            return Some(SharedPermit { permit, lapses, handle: PermitHandle(Arc::clone(self)) });
        }
        self.reject_late(permit);
        None
    }

    /// Releases a permit that was admitted after the end of the lease, and notes that the lease has ended.
    #[cold]
    #[inline(never)]
    fn reject_late(&self, permit: OwnedPermit) {
        drop(permit);
        self.core.lapse_if_due();
    }
}

impl Drop for SharedHandle {
    fn drop(&mut self) {
        self.core.stop();
    }
}
