//! Requests to a shared gate.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::gate::{self, AcquireError, OwnedPermit, Request, TryAcquireError};
use crate::plan::GateName;

use super::shared_core::{SharedCore, WaitingWeight};
use super::shared_permit::{SharedHandle, SharedPermit};
use super::shared_status::{SharedAcquireError, SharedTryError};

/// A request to a shared gate: its weight, and how long it waits. [`SharedGate::request`](super::SharedGate::request) creates it.
///
/// A shared gate admits first come, first served, so its requests have no priority.
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
    handle: &'g Arc<SharedHandle>,
    weight: u32,
    deadline: Option<Instant>,
    max_wait: Option<Duration>,
}

impl<'g> SharedRequest<'g> {
    pub(super) const fn new(handle: &'g Arc<SharedHandle>) -> Self {
        Self { handle, weight: 1, deadline: None, max_wait: None }
    }

    /// Sets the number of permits, which are acquired at once, all or none. It may be above the present block, and at most the limit of
    /// the fleet. Default: 1.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Ends the wait at this instant. If there are several limits to the wait, the earliest counts.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Ends the wait after this duration, counted from the arrival: for a future, its first poll. A duration too long for the clock is
    /// no limit.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Waits for the permits.
    ///
    /// # Errors
    ///
    /// [`SharedAcquireError::Unleased`] if the deadline passes while the gate is paused, and [`SharedAcquireError::Rejected`] if the
    /// gate rejects the request.
    ///
    /// # Panics
    ///
    /// If it waits with a deadline outside of a tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue and any permits that it was granted.
    pub async fn acquire(self) -> Result<SharedPermit, SharedAcquireError> {
        let arrival = self.arrive()?;
        loop {
            // The thread of the lease learns of the demand only if there is something to wait for.
            let permit = if let Some(permit) = self.try_local() {
                permit
            } else {
                let waiting = WaitingWeight::add(self.core(), self.weight);
                let acquired = arrival.request.acquire_owned().await;
                drop(waiting);
                acquired.map_err(|error| self.explain(error, arrival.at))?
            };
            if let Some(permit) = self.handle.admit(permit) {
                return Ok(permit);
            }
            arrival.check(&self)?;
        }
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
        let arrival = self.arrive()?;
        loop {
            let permit = if let Some(permit) = self.try_local() {
                permit
            } else {
                let waiting = WaitingWeight::add(self.core(), self.weight);
                let acquired = arrival.request.acquire_owned_blocking();
                drop(waiting);
                acquired.map_err(|error| self.explain(error, arrival.at))?
            };
            if let Some(permit) = self.handle.admit(permit) {
                return Ok(permit);
            }
            arrival.check(&self)?;
        }
    }

    /// Acquires the permits without waiting. Deadlines have no effect.
    ///
    /// # Errors
    ///
    /// [`SharedTryError`] if the gate has no lease, or the gate rejects the request.
    pub fn try_acquire(self) -> Result<SharedPermit, SharedTryError> {
        let core = self.core();
        match core.gate().try_acquire_many_owned(self.weight) {
            Ok(permit) => self.handle.admit(permit).ok_or_else(|| core.unleased().into()),
            Err(error) => {
                core.kick();
                let is_final =
                    matches!(error, TryAcquireError::Closed { .. } | TryAcquireError::ZeroWeight { .. });
                if is_final || core.is_leased() {
                    Err(SharedTryError::Rejected(error))
                } else {
                    Err(core.unleased().into())
                }
            }
        }
    }

    /// Waits for the permits, runs the future, and returns the permits when it has ended, also if it panics or is dropped.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). The future is then never polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work.
    pub async fn run<F: Future>(self, work: F) -> Result<F::Output, SharedAcquireError> {
        let permit = self.acquire().await?;
        let output = work.await;
        drop(permit);
        Ok(output)
    }

    /// Waits for the permits, and runs `work` on a thread of tokio's blocking pool. The permits return when it has ended, also if it
    /// panics.
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
    pub async fn run_blocking<F, T>(self, work: F) -> Result<T, SharedAcquireError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name = self.name();
        // Checked first: without a runtime the request would wait for permits that it cannot use.
        let Ok(runtime) = Handle::try_current() else {
            return Err(AcquireError::NoRuntime { gate: name }.into());
        };
        let permit = self.acquire().await?;
        Ok(gate::run_blocking(permit, name, &runtime, work).await?)
    }

    /// Rejects a weight that no block can have, and fixes the deadline, which counts also if a lease ends and the request waits anew.
    fn arrive(&self) -> Result<SharedArrival<'g>, AcquireError> {
        let core = self.core();
        let limit = core.fleet_limit();
        if self.weight > limit.get() {
            return Err(AcquireError::TooLarge { gate: self.name(), weight: self.weight, limit });
        }
        let mut request = core.gate().request().weight(self.weight).wait_for_limit();
        // An untimed request does not read the clock.
        let at = (self.deadline.is_some() || self.max_wait.is_some()).then(Instant::now);
        let latest = at.and_then(|at| at.checked_add(self.max_wait?));
        let deadline = match (self.deadline, latest) {
            (Some(deadline), Some(latest)) => Some(deadline.min(latest)),
            (deadline, latest) => deadline.or(latest),
        };
        if let Some(deadline) = deadline {
            request = request.deadline(deadline);
        }
        Ok(SharedArrival { request, at, deadline })
    }

    fn core(&self) -> &'g SharedCore {
        self.handle.core()
    }

    fn name(&self) -> GateName {
        self.core().gate().name()
    }

    fn try_local(&self) -> Option<OwnedPermit> {
        self.core().gate().try_acquire_many_owned(self.weight).ok()
    }

    /// Says why a deadline has passed: at a paused gate the lease is the reason.
    fn explain(&self, error: AcquireError, arrived: Option<Instant>) -> SharedAcquireError {
        let core = self.core();
        match error {
            AcquireError::DeadlineExceeded { .. } if !core.is_leased() => {
                let waited = arrived.map_or(Duration::ZERO, |arrived| arrived.elapsed());
                SharedAcquireError::Unleased { unleased: core.unleased(), waited }
            }
            error => SharedAcquireError::Rejected(error),
        }
    }
}

impl fmt::Debug for SharedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &mut f.debug_struct("SharedRequest");
        request.field("gate", &self.name()).field("weight", &self.weight);
        request.field("deadline", &self.deadline).field("max_wait", &self.max_wait).finish()
    }
}

/// A request that has arrived.
struct SharedArrival<'g> {
    request: Request<'g>,
    /// When it arrived, if it has a deadline.
    at: Option<Instant>,
    deadline: Option<Instant>,
}

impl SharedArrival<'_> {
    /// Ends a request whose lease has ended at the moment of its admission, if its deadline has passed. The gate would admit it late if
    /// a permit were free by then.
    fn check(&self, request: &SharedRequest<'_>) -> Result<(), SharedAcquireError> {
        match (self.at, self.deadline) {
            (Some(at), Some(deadline)) if Instant::now() >= deadline => {
                let error = AcquireError::DeadlineExceeded { gate: request.name(), waited: at.elapsed() };
                Err(request.explain(error, self.at))
            }
            _ => Ok(()),
        }
    }
}
