//! Permits of a shared gate, and how a local permit becomes one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{self, Ordering};

use crate::gate::OwnedPermit;

use super::shared_core::SharedCore;
use super::shared_status::LeaseLost;
use super::step::Fence;

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

    /// Turns a permit of the local gate into a leased one. Returns `None`, and gives the permit back, if the lease has ended: the clock
    /// is read after the permit was taken, so a permit that counts was in use before the deadline.
    pub(super) fn admit(self: &Arc<Self>, permit: OwnedPermit) -> Option<SharedPermit> {
        let core = &self.core;
        // Acquire: read before the deadline. If a lease ends in between, the permit belongs to the one that has ended.
        let lapses = core.lapses();
        // Orders the permit before the clock. `begin` has the same fence between the clock and the permits in use: so either the
        // report counts this permit, or this clock is past the deadline.
        atomic::fence(Ordering::SeqCst);
        if core.is_valid() {
            return Some(SharedPermit { permit: Some(permit), lapses, handle: Arc::clone(self) });
        }
        drop(permit);
        core.lapse_if_due();
        None
    }
}

impl Drop for SharedHandle {
    fn drop(&mut self) {
        self.core.stop();
    }
}
