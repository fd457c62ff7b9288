//! Permits: proof of admission, released on drop.

use std::borrow::Cow;
use std::fmt;
use std::mem;

use super::handle::Gate;
use super::holders::record::HeldPermits;

/// An admission through a [`Gate`], borrowed from its handle. Dropping it releases its permits.
///
/// It stays valid whatever happens to the gate: neither a lowered limit nor closing the gate revokes it.
#[must_use = "a permit that is dropped at once protects no work"]
pub struct Permit<'g> {
    gate: &'g Gate,
    held: HeldPermits,
}

/// An admission through a [`Gate`] that keeps the gate alive, to be stored or sent. Dropping it releases its permits.
#[must_use = "a permit that is dropped at once protects no work"]
pub struct OwnedPermit {
    gate: Gate,
    held: HeldPermits,
}

impl<'g> Permit<'g> {
    /// Takes over permits that were acquired just now.
    #[inline]
    pub(super) const fn new(gate: &'g Gate, held: HeldPermits) -> Self {
        Self { gate, held }
    }

    /// Returns the number of permits.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.held.weight()
    }

    /// Returns the gate.
    #[must_use]
    pub const fn gate(&self) -> &'g Gate {
        self.gate
    }

    /// Names what the permits are used for, such as `"upload"`, in the reports of a gate that
    /// [tracks its holders](super::GateBuilder::track_holders). It has no effect at other gates.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use concurrency_governor::{Gate, GateName, Holders, Limit};
    /// let tracked = Holders::overdue_after(Duration::from_secs(30));
    /// let jobs = Gate::builder(GateName::new("jobs"), Limit::new(4)).track_holders(tracked).build();
    /// let permit = jobs.try_acquire()?;
    /// permit.label("upload");
    /// assert_eq!(jobs.holders()[0].label.as_deref(), Some("upload"));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    pub fn label(&self, label: impl Into<Cow<'static, str>>) {
        self.gate.shared().label(self.held, label);
    }

    /// Moves `weight` permits into a permit of their own. Returns `None`, and changes nothing, if there are fewer.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let mut all = jobs.try_acquire_many(4)?;
    /// let one = all.split(1);
    /// assert_eq!((all.weight(), one.map(|permit| permit.weight())), (3, Some(1)));
    /// assert_eq!(jobs.available(), 1); // `one` was dropped
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    pub fn split(&mut self, weight: u32) -> Option<Self> {
        let (kept, split) = self.gate.shared().split(self.held, weight)?;
        self.held = kept;
        Some(Self { gate: self.gate, held: split })
    }

    /// Takes over the permits of another permit of the same gate. All handles of a [key](Gate::key) are the same gate.
    ///
    /// # Errors
    ///
    /// Returns `other`, and changes nothing, if it belongs to another gate.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !self.gate.is_same(other.gate) {
            return Err(other);
        }
        self.held = self.gate.shared().merge(self.held, take(&mut other.held));
        Ok(())
    }

    /// Keeps the permits in use for good: nothing releases them. To lower the limit, use [`Gate::resize_by`].
    pub fn forget(mut self) {
        self.gate.shared().forget(take(&mut self.held));
    }

    /// Converts the permit into one that owns its handle.
    #[inline]
    pub(super) fn into_owned(self) -> OwnedPermit {
        let owned = OwnedPermit::new(self.gate.clone(), self.held);
        mem::forget(self); // its permits have a new owner, and it has nothing else to drop
        owned
    }
}

impl OwnedPermit {
    /// Takes over permits that were acquired just now.
    #[inline]
    pub(super) const fn new(gate: Gate, held: HeldPermits) -> Self {
        Self { gate, held }
    }

    /// Returns the number of permits.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.held.weight()
    }

    /// Returns the gate.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Names what the permits are used for, such as `"upload"`, in the reports of a gate that
    /// [tracks its holders](super::GateBuilder::track_holders). It has no effect at other gates.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use concurrency_governor::{Gate, GateName, Holders, Limit};
    /// let tracked = Holders::overdue_after(Duration::from_secs(30));
    /// let jobs = Gate::builder(GateName::new("jobs"), Limit::new(4)).track_holders(tracked).build();
    /// let permit = jobs.try_acquire_owned()?;
    /// permit.label("upload");
    /// assert_eq!(jobs.holders()[0].label.as_deref(), Some("upload"));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    pub fn label(&self, label: impl Into<Cow<'static, str>>) {
        self.gate.shared().label(self.held, label);
    }

    /// Declares that the permits stay in the task that acquired them until they are released.
    ///
    /// A gate that tracks its holders reports a wait cycle only if the cycle is certain. An owned permit may move to another task, which
    /// may release it at any time, so the permit is part of a reported cycle only after this call. The call has no effect at other gates,
    /// nor on permits from `try_acquire`.
    pub fn stay_in_task(&self) {
        self.gate.shared().bind(self.held);
    }

    /// Moves `weight` permits into a permit of their own. Returns `None`, and changes nothing, if there are fewer.
    pub fn split(&mut self, weight: u32) -> Option<Self> {
        let (kept, split) = self.gate.shared().split(self.held, weight)?;
        self.held = kept;
        Some(Self { gate: self.gate.clone(), held: split })
    }

    /// Takes over the permits of another permit of the same gate. All handles of a [key](Gate::key) are the same gate.
    ///
    /// # Errors
    ///
    /// Returns `other`, and changes nothing, if it belongs to another gate.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !self.gate.is_same(&other.gate) {
            return Err(other);
        }
        self.held = self.gate.shared().merge(self.held, take(&mut other.held));
        Ok(())
    }

    /// Keeps the permits in use for good: nothing releases them. To lower the limit, use [`Gate::resize_by`].
    pub fn forget(mut self) {
        self.gate.shared().forget(take(&mut self.held));
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        release(self.gate, self.held);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        release(&self.gate, self.held);
    }
}

/// Releases permits, and grants permits to the waiters that fit then.
#[inline]
fn release(gate: &Gate, held: HeldPermits) {
    if !gate.shared().try_release(held) {
        release_slow(gate, held);
    }
}

// Takes the handle, because its address is in a register already on the fast path: benchmark row `try`.
#[inline(never)]
fn release_slow(gate: &Gate, held: HeldPermits) {
    gate.shared().release_slow(held);
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_permit("Permit", self.gate, self.weight(), f)
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_permit("OwnedPermit", &self.gate, self.weight(), f)
    }
}

/// Takes the permits out of a permit that is about to be dropped.
const fn take(held: &mut HeldPermits) -> HeldPermits {
    mem::replace(held, HeldPermits::untracked(0))
}

fn debug_permit(kind: &str, gate: &Gate, weight: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.debug_struct(kind).field("gate", &gate.name()).field("weight", &weight).finish_non_exhaustive()
}
