//! Requests to a shared gate.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time::Instant;

use crate::feedback::Outcome;
use crate::gate::{self, AcquireError, Gate, OwnedPermit, Priority, Request, UnleasedRejection};
use crate::plan::{GateName, Limit};

use super::core::{SharedCore, WaitingWeight};
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
    handle: &'g Arc<SharedHandle>,
    /// The gate of the lease, or one of its children or keys.
    local: &'g Gate,
    weight: u32,
    priority: Priority,
    deadline: Option<Instant>,
    max_wait: Option<Duration>,
    /// Where the request is made, if that is not where it acquires.
    location: Option<&'static Location<'static>>,
}

impl<'g> SharedRequest<'g> {
    pub(super) const fn new(handle: &'g Arc<SharedHandle>, local: &'g Gate) -> Self {
        let priority = Priority::Normal;
        Self { handle, local, weight: 1, priority, deadline: None, max_wait: None, location: None }
    }

    /// Sets the number of permits, which are acquired at once, all or none. It may be above the present block. It is at most the lower
    /// one of the limit of the fleet and the local limit. Default: 1.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets the priority among the requests that wait in this process; see [`Request::priority`]. It has an effect only at a gate with
    /// children or keys, or within one.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
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

    /// Notes where the request is made.
    pub(crate) const fn made_at(mut self, location: &'static Location<'static>) -> Self {
        self.location = Some(location);
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
    #[track_caller]
    pub fn acquire(self) -> impl Future<Output = Result<SharedPermit, SharedAcquireError>> + Send {
        self.acquire_at(self.request_location())
    }

    const fn acquire_at(self, location: &'static Location<'static>) -> AcquireShared<'g> {
        AcquireShared { request: self, location, slow: None }
    }

    /// Waits for the permits in the queue of the local gate.
    async fn acquire_slow(
        self,
        location: &'static Location<'static>,
    ) -> Result<SharedPermit, SharedAcquireError> {
        let arrival = self.arrive(location)?;
        loop {
            let mut acquiring = pin!(arrival.request.acquire_owned());
            // The thread of the lease learns of the demand only if the request waits.
            let mut waiting = None;
            let acquired = poll_fn(|cx| {
                let polled = acquiring.as_mut().poll(cx);
                if polled.is_pending() {
                    waiting.get_or_insert_with(|| WaitingWeight::add(self.core(), self.weight));
                }
                polled
            });
            let acquired = acquired.await;
            drop(waiting);
            if let Some(permit) = self.admit(acquired, &arrival)? {
                return Ok(permit);
            }
        }
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
        let location = self.request_location();
        let Self { handle, local, weight, priority, deadline, max_wait, .. } = self;
        let (handle, local) = (Arc::clone(handle), local.clone());
        let gate = local.clone();
        let acquiring = async move {
            let (handle, local) = (&handle, &local);
            let request =
                SharedRequest { handle, local, weight, priority, deadline, max_wait, location: None };
            request.acquire_at(location).await
        };
        SharedAcquire { gate, weight, priority, acquiring: Box::pin(acquiring) }
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
        let arrival = self.arrive(self.request_location())?;
        loop {
            let waiting = WaitingWeight::add(self.core(), self.weight);
            let acquired = arrival.request.acquire_owned_blocking();
            drop(waiting);
            if let Some(permit) = self.admit(acquired, &arrival)? {
                return Ok(permit);
            }
        }
    }

    /// Acquires the permits without waiting. Deadlines have no effect.
    ///
    /// # Errors
    ///
    /// [`SharedTryError`] if the gate has no lease, or the gate rejects the request.
    #[track_caller]
    pub fn try_acquire(self) -> Result<SharedPermit, SharedTryError> {
        let core = self.core();
        // The gate is closed for good, also without a lease, and no permits are needed to reject a weight of 0.
        if self.weight > 0 && !self.local.is_closed() && core.has_no_block() {
            self.local.count_unleased(UnleasedRejection::Try);
            core.kick();
            return Err(core.unleased().into());
        }
        let location = self.request_location();
        let request = self.local.request().weight(self.weight).priority(self.priority).made_at(location);
        let acquired = request.try_acquire_owned().map(|permit| self.handle.admit(permit));
        let acquired = match acquired {
            // The end of the lease was noted just now. The policy for a ledger that cannot be reached may allow a permit.
            Ok(None) if core.allows_no_lease() => {
                request.try_acquire_owned().map(|permit| self.handle.admit(permit))
            }
            acquired => acquired,
        };
        match acquired {
            Ok(admitted) => admitted.ok_or_else(|| core.unleased().into()),
            Err(error) => {
                core.kick();
                Err(SharedTryError::Rejected(error))
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
    /// [`Request::observe`].
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
    #[track_caller]
    pub fn run_blocking<F, T>(self, work: F) -> impl Future<Output = Result<T, SharedAcquireError>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (name, acquiring) = (self.name(), self.acquire());
        async move {
            // Checked first: without a runtime the request would wait for permits that it cannot use.
            let Ok(runtime) = Handle::try_current() else {
                return Err(AcquireError::NoRuntime { gate: name }.into());
            };
            let permit = acquiring.await?;
            Ok(gate::run_blocking(permit, name, &runtime, work).await?)
        }
    }

    /// Rejects a weight that no block can have, and fixes the deadline, which counts also if a lease ends and the request waits anew.
    fn arrive(&self, location: &'static Location<'static>) -> Result<SharedArrival<'g>, AcquireError> {
        // A weight of 1 is never too large.
        let limit = if self.weight > 1 { self.core().weight_bound_at(self.local) } else { Limit::MIN };
        if self.weight > limit.get() {
            return Err(AcquireError::TooLarge { gate: self.name(), weight: self.weight, limit });
        }
        let request = self.local.request().weight(self.weight).priority(self.priority);
        let mut request = request.wait_for_limit().made_at(location);
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

    /// Turns a permit of the local gate into a leased one. Returns `None` if the request must wait anew, because the lease has ended
    /// at the moment of its admission.
    fn admit(
        &self,
        acquired: Result<OwnedPermit, AcquireError>,
        arrival: &SharedArrival<'_>,
    ) -> Result<Option<SharedPermit>, SharedAcquireError> {
        let permit = acquired.map_err(|error| self.reject(error, arrival.at))?;
        if let Some(permit) = self.handle.admit(permit) {
            return Ok(Some(permit));
        }
        // The gate would admit the request late if a permit were free by then.
        match (arrival.at, arrival.deadline) {
            (Some(at), Some(deadline)) if Instant::now() >= deadline => {
                let error = AcquireError::DeadlineExceeded { gate: self.name(), waited: at.elapsed() };
                Err(self.explain(error, arrival.at))
            }
            _ => Ok(None),
        }
    }

    /// Returns where the request is made: unless that was noted, at the caller.
    #[track_caller]
    fn request_location(&self) -> &'static Location<'static> {
        match self.location {
            Some(location) => location,
            None => Location::caller(), // in a closure it would be this line
        }
    }

    fn core(&self) -> &'g SharedCore {
        self.handle.core()
    }

    fn name(&self) -> GateName {
        self.local.name()
    }

    /// Turns a rejection by the local gate into one of this gate. If the lease is the reason, it is counted so.
    fn reject(&self, error: AcquireError, arrived: Option<Instant>) -> SharedAcquireError {
        let counted_as = match &error {
            AcquireError::DeadlineExceeded { waited, .. } if waited.is_zero() => UnleasedRejection::Arrival,
            _ => UnleasedRejection::Wait,
        };
        let error = self.explain(error, arrived);
        if matches!(error, SharedAcquireError::Unleased { .. }) {
            self.local.count_unleased(counted_as);
        }
        error
    }

    /// Says why a deadline has passed: at a paused gate the lease is the reason.
    fn explain(&self, error: AcquireError, arrived: Option<Instant>) -> SharedAcquireError {
        let core = self.core();
        match error {
            AcquireError::DeadlineExceeded { waited, .. } if !core.is_leased() => {
                let waited = arrived.map_or(waited, |arrived| arrived.elapsed());
                SharedAcquireError::Unleased { unleased: core.unleased(), waited }
            }
            error => SharedAcquireError::Rejected(error),
        }
    }
}

/// The future of a request. Its first poll takes the fast path, so what the slow path needs is behind a box: a request that is admitted at once
/// moves little memory and allocates none.
struct AcquireShared<'g> {
    request: SharedRequest<'g>,
    location: &'static Location<'static>,
    /// The slow path, once it was taken.
    slow: Option<BoxedAcquire<'g>>,
}

/// The slow path of a request.
struct BoxedAcquire<'g>(Pin<Box<dyn Future<Output = Result<SharedPermit, SharedAcquireError>> + Send + 'g>>);

impl Future for AcquireShared<'_> {
    type Output = Result<SharedPermit, SharedAcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { request, location, slow } = &mut *self;
        if slow.is_none() && request.weight == 1 {
            // Takes part in the budget of the task, as all acquiring does.
            let budget = ready!(coop::poll_proceed(cx));
            if let Some(permit) = request.local.try_acquire_fast() {
                if let Some(permit) = request.handle.admit(permit) {
                    budget.made_progress();
                    return Poll::Ready(Ok(permit));
                }
            }
        }
        let slow = slow.get_or_insert_with(|| BoxedAcquire(Box::pin(request.acquire_slow(location))));
        slow.0.as_mut().poll(cx)
    }
}

/// Resolves to a [`SharedPermit`]; from [`SharedRequest::acquire_owned`]. It has a handle of its own, so it can be spawned.
///
/// # Cancel safety
///
/// Dropping the future gives up its place in the queue and any permits that it was granted.
#[must_use = "a future does nothing unless it is polled"]
pub struct SharedAcquire {
    gate: Gate,
    weight: u32,
    priority: Priority,
    acquiring: Pin<Box<dyn Future<Output = Result<SharedPermit, SharedAcquireError>> + Send>>,
}

impl Future for SharedAcquire {
    type Output = Result<SharedPermit, SharedAcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.acquiring.as_mut().poll(cx)
    }
}

#[cfg(feature = "tracing")]
impl gate::AcquireFuture for SharedAcquire {
    fn target(&self) -> (Option<&Gate>, u32, Priority) {
        (Some(&self.gate), self.weight, self.priority)
    }
}

impl fmt::Debug for SharedAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, weight, priority, .. } = self;
        let acquire = &mut f.debug_struct("SharedAcquire");
        acquire.field("gate", &gate.name()).field("weight", weight).field("priority", priority);
        acquire.finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &mut f.debug_struct("SharedRequest");
        request.field("gate", &self.name()).field("weight", &self.weight).field("priority", &self.priority);
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
