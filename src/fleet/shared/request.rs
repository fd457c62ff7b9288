//! Requests to a shared gate.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::feedback::Outcome;
use crate::gate::{self, AcquireError, Gate, Priority};

use super::acquire::{SharedAcquire, SharedOptions};
use super::permit::{SharedHandle, SharedPermit};
use super::status::{SharedAcquireError, SharedTryError};

/// A request to a shared gate: its weight, and how long it waits. [`SharedGate::request`](super::SharedGate::request) creates it.
///
/// ```
/// use std::time::Duration;
///
/// use concurrency_governor::fleet::{MemoryLedger, Share};
/// use concurrency_governor::{GateName, Limit};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let share = Share::of(MemoryLedger::new(), "prod/io").limit(Limit::new(200));
/// let io = share.open(GateName::new("io"))?;
/// let permit = io.request().weight(3).max_wait(Duration::from_secs(2)).acquire().await?;
/// assert_eq!(permit.weight(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use = "a request does nothing until it acquires"]
pub struct SharedRequest<'g> {
    options: SharedOptions<'g>,
    /// Where the request is made, if that is not where it acquires.
    location: Option<&'static Location<'static>>,
}

impl<'g> SharedRequest<'g> {
    pub(super) const fn new(handle: &'g Arc<SharedHandle>, local: &'g Gate) -> Self {
        Self { options: SharedOptions::new(handle, local), location: None }
    }

    /// Sets the number of permits, which are acquired together, all or none. It may be above the present block. It must be at most the
    /// limit of the fleet and the local limit. Default: 1.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.options.weight = weight;
        self
    }

    /// Sets the priority among the requests that wait in this process; see [`Request::priority`](crate::gate::Request::priority).
    /// It has no effect at a [standalone](crate::gate) gate.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// Ends the wait at this instant. If there are several limits to the wait, the earliest counts.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Ends the wait after this duration, counted from the arrival: for a future, its first poll. A duration too long for the clock is
    /// no limit.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.options.max_wait = Some(wait);
        self
    }

    /// Notes where the request is made.
    pub(crate) const fn made_at(mut self, location: &'static Location<'static>) -> Self {
        self.location = Some(location);
        self
    }

    /// Waits for the permits.
    ///
    /// # Errors
    ///
    /// [`SharedAcquireError::Unleased`] if the deadline passes while the gate has no permits from the ledger, and
    /// [`SharedAcquireError::Rejected`] if the gate rejects the request.
    ///
    /// # Panics
    ///
    /// If it waits with a deadline outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the request from the queue, and releases any permits that it was granted.
    #[track_caller]
    pub fn acquire(self) -> impl Future<Output = Result<SharedPermit, SharedAcquireError>> + Send {
        self.options.acquire(self.request_location())
    }

    /// As [`acquire`](Self::acquire), with a future that has a handle of its own, so it can be spawned.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(self) -> SharedAcquire {
        self.options.acquire_owned(self.request_location())
    }

    /// Blocks the thread until the permits are acquired.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// If it waits on a thread that runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_blocking(self) -> Result<SharedPermit, SharedAcquireError> {
        self.options.acquire_blocking(self.request_location())
    }

    /// Acquires the permits without waiting. Deadlines have no effect.
    ///
    /// # Errors
    ///
    /// [`SharedTryError`] if the gate has no lease, or the gate rejects the request.
    #[track_caller]
    pub fn try_acquire(self) -> Result<SharedPermit, SharedTryError> {
        self.options.try_acquire(self.request_location())
    }

    /// Waits for the permits, runs the future, and releases the permits when the future has ended, also if it panics or is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). The future is then never polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work.
    #[track_caller]
    pub fn run<F: Future>(self, work: F) -> impl Future<Output = Result<F::Output, SharedAcquireError>> {
        let acquiring = self.acquire();
        async move {
            let permit = acquiring.await?;
            let output = work.await;
            drop(permit);
            Ok(output)
        }
    }

    /// Runs `work` as [`run`](Self::run) does, and reports its outcome to a gate whose limit is [adaptive](crate::GateSpec::adaptive); see
    /// [`Request::observe`](crate::gate::Request::observe).
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). The future is then never polled, and there is no outcome.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work. There is no outcome.
    #[track_caller]
    pub fn observe<F: Future>(
        self,
        work: F,
        classify: impl FnOnce(&F::Output) -> Outcome,
    ) -> impl Future<Output = Result<F::Output, SharedAcquireError>> {
        let acquiring = self.acquire();
        async move {
            let attempt = acquiring.await?.attempt();
            let output = work.await;
            attempt.finish(classify(&output));
            Ok(output)
        }
    }

    /// Waits for the permits, and runs `work` on a thread of tokio's blocking pool. The permits are released when `work` has ended, also
    /// if it panics.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire), and [`AcquireError::NoRuntime`] outside of a tokio runtime or while it shuts down. `work` then never
    /// runs.
    ///
    /// # Panics
    ///
    /// As `work`, and if the system cannot start a thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, it runs to its end, and the permits are
    /// in use until then.
    #[track_caller]
    pub fn run_blocking<F, T>(self, work: F) -> impl Future<Output = Result<T, SharedAcquireError>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (name, acquiring) = (self.options.local.name(), self.acquire());
        async move {
            // Checked first: without a runtime the request would wait for permits that it cannot use.
            let Ok(runtime) = Handle::try_current() else {
                return Err(AcquireError::NoRuntime { gate: name }.into());
            };
            let permit = acquiring.await?;
            Ok(gate::run_blocking(permit, name, &runtime, work).await?)
        }
    }

    /// Returns the location at which the request is made: the noted one, or that of the caller.
    #[track_caller]
    fn request_location(&self) -> &'static Location<'static> {
        match self.location {
            Some(location) => location,
            None => Location::caller(), // not in a closure, where it would return this line
        }
    }
}

impl fmt::Debug for SharedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SharedOptions { local, weight, priority, deadline, max_wait, .. } = &self.options;
        let request = &mut f.debug_struct("SharedRequest");
        request.field("gate", &local.name()).field("weight", weight).field("priority", priority);
        request.field("deadline", deadline).field("max_wait", max_wait).finish()
    }
}
