//! A gate whose permits are leased from a ledger.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use crate::gate::{Gate, GateStatus, Holder, Key, KeyStatus, Resize, WakeList};
use crate::plan::{GateName, Limit};

use super::core::SharedCore;
use super::leased_items::LeasedItems;
use super::permit::{SharedHandle, SharedPermit};
use super::request::SharedRequest;
use super::status::{SharedAcquireError, SharedStatus, SharedTryError, Unleased};

/// A gate whose limit is a block of permits that is leased from a ledger, or a child or key of such a gate.
/// [`Governor::shared`](crate::Governor::shared) and [`Share::open`](crate::fleet::Share::open) return it.
///
/// Acquiring makes no call to the ledger: a thread of the gate renews the lease. Without a lease the gate is *paused*: requests stay in
/// the queue, in their order, and none is admitted. [`Unreachable`](crate::fleet::Unreachable) has policies that admit some. A request
/// that is admitted just as the lease ends arrives again, behind the others. A clone is another handle. The lease ends when the last
/// handle and the last permit are dropped.
///
/// Everything within the block is local: the queue with its order, children, [keys](Self::key), priorities, and rejection under
/// overload. The ledger divides the limit among the processes of the fleet by their demand.
#[derive(Clone)]
pub struct SharedGate {
    handle: Arc<SharedHandle>,
    /// The gate of the lease, or one of its children or keys.
    local: Gate,
}

impl SharedGate {
    pub(in crate::fleet) fn new(core: SharedCore) -> Self {
        let local = core.gate().clone();
        Self { handle: Arc::new(SharedHandle::new(core)), local }
    }

    /// Returns a handle of a child or a key of this gate, with the same lease.
    pub(crate) fn within(&self, local: Gate) -> Self {
        Self { handle: Arc::clone(&self.handle), local }
    }

    pub(in crate::fleet) fn core(&self) -> &Arc<SharedCore> {
        self.handle.core()
    }

    /// Returns the gate in this process. Its permits are valid only after [`SharedHandle::admit`] has checked the lease, so a caller must
    /// not acquire from it directly.
    pub(crate) const fn local(&self) -> &Gate {
        &self.local
    }

    /// Counts items as held by this process from now on, until they are dropped.
    pub(crate) fn add_items(&self, items: Weak<dyn LeasedItems>) {
        self.core().add_items(items);
    }

    /// Wakes the thread of the lease after items were dropped, so that it reports them as returned.
    pub(crate) fn note_items(&self) {
        self.core().kick();
    }

    /// Returns how many items may be live now: the number of permits of the block, or the limit of this gate if that is lower.
    pub(crate) fn item_limit(&self) -> u32 {
        self.core().item_limit().min(self.local.limit().get())
    }

    /// Returns an error if the gate has no permits from the ledger.
    pub(crate) fn unleased(&self) -> Option<Unleased> {
        self.lacks_permits().then(|| self.core().unleased())
    }

    /// Sets the limit. For the gate of the lease, this is the local limit.
    pub(crate) fn resize(&self, limit: Limit) -> Resize {
        if self.is_leased_gate() {
            let (resize, wake_list) = self.set_local_limit(limit);
            drop(wake_list); // wakes the waiters
            resize
        } else {
            self.local.resize(limit)
        }
    }

    /// Closes the gate. Its block is returned to the ledger when no permit is in use.
    pub(crate) fn begin_leave(&self) {
        self.core().begin_leave();
    }

    /// Returns `true` if the gate is paused because its lease has no permits.
    pub(crate) fn lacks_permits(&self) -> bool {
        self.core().has_no_block()
    }

    /// Returns the local limit: the upper bound of the block that this process requests from its ledger.
    pub(crate) fn local_limit(&self) -> Limit {
        self.core().local_limit()
    }

    /// Sets the local limit. The caller must drop the list while it holds no lock.
    pub(crate) fn set_local_limit(&self, limit: Limit) -> (Resize, WakeList) {
        self.core().set_local_limit(limit)
    }

    /// Returns the name of the gate in this process.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.local.name()
    }

    /// Returns the gate of a key, as [`Gate::key`].
    ///
    /// The cap of a key is its part of the block of this process, at least 1. So the caps of a key in all processes together are
    /// its part of the limit of the fleet. Keys share the block as the keys of any gate share its limit.
    ///
    /// ```
    /// use concurrency_governor::fleet::{MemoryLedger, Share};
    /// use concurrency_governor::{Formula, GateSpec, Governor, Keys, Limit};
    ///
    /// const IO: GateSpec = GateSpec::new("io", Formula::fixed(64)).keyed(Keys::up_to(4096));
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let share = Share::of(MemoryLedger::new(), "prod/io").limit(Limit::new(200));
    /// let governor = Governor::builder().gate(IO).share(IO, share).build().await?;
    /// let permit = governor.shared(IO)?.key("tenant-42").acquire().await?;
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the gate was created without keys. Check with [`has_keys`](Self::has_keys).
    #[must_use]
    #[track_caller]
    pub fn key(&self, key: impl Into<Key>) -> Self {
        self.within(self.local.key(key))
    }

    /// Returns `true` if the gate was created with keys.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.local.has_keys()
    }

    /// Returns the keys with the most requests waiting, as [`Gate::busiest_keys`].
    #[must_use]
    pub fn busiest_keys(&self, most: usize) -> Vec<KeyStatus> {
        self.local.busiest_keys(most)
    }

    /// Returns the permits in use, as [`Gate::holders`].
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.local.holders()
    }

    /// Starts a request with a weight, a priority, a deadline or a maximum wait.
    pub const fn request(&self) -> SharedRequest<'_> {
        SharedRequest::new(&self.handle, &self.local)
    }

    /// Waits for a permit. While the gate is paused, the wait has no end, unless the gate has a maximum wait. To bound it, set a deadline
    /// by [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`SharedAcquireError`] if the gate is closed, or rejects the request because of the bound of its queue, its maximum wait, its
    /// shedding, or its number of keys.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the request from the queue, and releases any permit that it was granted.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<SharedPermit, SharedAcquireError>> + Send {
        self.request().acquire()
    }

    /// Waits for `weight` permits, as [`acquire`](Self::acquire). The weight may be above the present block. It must be at most the limit
    /// of the fleet and the local limit.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and if the weight is 0 or above one of these limits.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_many(
        &self,
        weight: u32,
    ) -> impl Future<Output = Result<SharedPermit, SharedAcquireError>> + Send {
        self.request().weight(weight).acquire()
    }

    /// Blocks the thread until a permit is acquired.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// If it waits on a thread that runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_blocking(&self) -> Result<SharedPermit, SharedAcquireError> {
        self.request().acquire_blocking()
    }

    /// Acquires a permit without waiting.
    ///
    /// # Errors
    ///
    /// [`SharedTryError`] if the gate has no lease, or the gate rejects the request.
    #[track_caller]
    pub fn try_acquire(&self) -> Result<SharedPermit, SharedTryError> {
        self.request().try_acquire()
    }

    /// Acquires `weight` permits without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    #[track_caller]
    pub fn try_acquire_many(&self, weight: u32) -> Result<SharedPermit, SharedTryError> {
        self.request().weight(weight).try_acquire()
    }

    /// Waits for a permit, runs the future, and releases the permit when the future has ended, also if it panics or is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work.
    #[track_caller]
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = Result<F::Output, SharedAcquireError>> {
        self.request().run(work)
    }

    /// Waits for a permit, and runs `work` on a thread of tokio's blocking pool; see [`SharedRequest::run_blocking`].
    ///
    /// # Errors
    ///
    /// As [`SharedRequest::run_blocking`].
    ///
    /// # Panics
    ///
    /// As `work`, and if the system cannot start a thread.
    ///
    /// # Cancel safety
    ///
    /// As [`SharedRequest::run_blocking`].
    #[track_caller]
    pub fn run_blocking<F, T>(&self, work: F) -> impl Future<Output = Result<T, SharedAcquireError>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.request().run_blocking(work)
    }

    /// Acquires a permit by the fast path alone. Returns `None`, and counts nothing, if the request must take the slow path.
    pub(crate) fn try_acquire_fast(&self) -> Option<SharedPermit> {
        self.handle.admit(self.local.try_acquire_fast()?)
    }

    /// Returns `true` if this is the gate of a key.
    #[cfg(feature = "tower")]
    pub(crate) fn is_key(&self) -> bool {
        self.local.as_key().is_some()
    }

    /// Pauses the gate in this process until it is [resumed](Self::resume), as [`Gate::pause`]. While it is paused, the demand that this
    /// process reports falls, by at most a quarter per exchange, to the permits in use, so other processes can get the rest. Without
    /// reserved permits, it does not fall below 1. A key cannot be paused: for a key, nothing changes.
    pub fn pause(&self) {
        if self.is_leased_gate() {
            self.core().pause();
        } else {
            self.local.pause();
        }
    }

    /// Ends a [pause](Self::pause), and admits the requests that wait and fit. Without permits from the ledger the gate stays paused.
    pub fn resume(&self) {
        if self.is_leased_gate() {
            self.core().resume();
        } else {
            self.local.resume();
        }
    }

    /// Returns `true` if this is the gate of the lease, and not one within it.
    fn is_leased_gate(&self) -> bool {
        self.local.name() == self.core().gate().name() && self.local.as_key().is_none()
    }

    /// Closes the gate in this process: all waiting and future requests are rejected. The other processes are not affected.
    pub fn close(&self) {
        self.local.close();
    }

    /// Closes the gate in this process for all future requests, and serves those that wait, as [`Gate::close_after_queue`].
    pub fn close_after_queue(&self) {
        self.local.close_after_queue();
    }

    /// Returns the state of the lease, with the permits in use and the requests that wait at its gate.
    #[must_use]
    pub fn status(&self) -> SharedStatus {
        self.core().status()
    }

    /// Returns the state of this gate in this process. Its limit is that of the block, unless this is a child with a lower one.
    #[must_use]
    pub fn gate_status(&self) -> GateStatus {
        self.local.status()
    }
}

impl fmt::Debug for SharedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGate").field("status", &self.status()).finish()
    }
}
