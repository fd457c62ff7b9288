//! A gate whose permits are leased from a ledger.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::plan::{GateName, Limit};

use super::shared_core::SharedCore;
use super::shared_permit::{SharedHandle, SharedPermit};
use super::shared_request::SharedRequest;
use super::shared_status::{SharedAcquireError, SharedStatus, SharedTryError};
use super::step::LeaseTerms;

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
        Self { handle: Arc::new(SharedHandle::new(core)) }
    }

    pub(super) fn core(&self) -> &Arc<SharedCore> {
        self.handle.core()
    }

    /// Returns the name of the gate in this process.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.core().gate().name()
    }

    /// Starts a request with a weight, a deadline or a maximum wait.
    pub const fn request(&self) -> SharedRequest<'_> {
        SharedRequest::new(&self.handle)
    }

    /// Waits for a permit. While the gate is paused it waits without a limit; [`request`](Self::request) sets one.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Closed`](crate::gate::AcquireError::Closed) if the gate is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue and any permit that it was granted.
    pub async fn acquire(&self) -> Result<SharedPermit, SharedAcquireError> {
        self.request().acquire().await
    }

    /// Waits for `weight` permits, as [`acquire`](Self::acquire). The weight may be above the present block, and at most the limit of
    /// the fleet.
    ///
    /// # Errors
    ///
    /// [`SharedAcquireError`] if the gate is closed, the weight is 0, or it is above the limit of the fleet.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_many(&self, weight: u32) -> Result<SharedPermit, SharedAcquireError> {
        self.request().weight(weight).acquire().await
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
    pub fn try_acquire(&self) -> Result<SharedPermit, SharedTryError> {
        self.request().try_acquire()
    }

    /// Acquires `weight` permits without waiting.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_many(&self, weight: u32) -> Result<SharedPermit, SharedTryError> {
        self.request().weight(weight).try_acquire()
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
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, SharedAcquireError> {
        self.request().run(work).await
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
    pub async fn run_blocking<F, T>(&self, work: F) -> Result<T, SharedAcquireError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.request().run_blocking(work).await
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
}

impl fmt::Debug for SharedGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGate").field("status", &self.status()).finish()
    }
}
