//! Acquires permits as a future, by blocking the thread, or without waiting.
//!
//! A permit of the local gate is valid only after [`SharedHandle::admit`] has read the clock. If the lease has ended by then, the request
//! arrives again, behind the others.

use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop;
use tokio::time::Instant;

use crate::gate::{AcquireError, Gate, OwnedPermit, Priority, Request, UnleasedRejection, reject};
use crate::plan::GateName;

use super::core::SharedCore;
use super::permit::{SharedHandle, SharedPermit};
use super::status::{SharedAcquireError, SharedTryError};

/// Where a request is made, its weight and priority, and how long it waits.
#[derive(Clone, Copy)]
pub(super) struct SharedOptions<'g> {
    pub(super) handle: &'g Arc<SharedHandle>,
    /// The gate of the lease, or one of its children or keys.
    pub(super) local: &'g Gate,
    pub(super) weight: u32,
    pub(super) priority: Priority,
    pub(super) deadline: Option<Instant>,
    pub(super) max_wait: Option<Duration>,
}

impl<'g> SharedOptions<'g> {
    pub(super) const fn new(handle: &'g Arc<SharedHandle>, local: &'g Gate) -> Self {
        Self { handle, local, weight: 1, priority: Priority::Normal, deadline: None, max_wait: None }
    }

    /// Waits for the permits.
    pub(super) const fn acquire(self, location: &'static Location<'static>) -> AcquireShared<'g> {
        AcquireShared { options: self, location, slow: None }
    }

    /// As [`acquire`](Self::acquire), with a future that has a handle of its own.
    pub(super) fn acquire_owned(self, location: &'static Location<'static>) -> SharedAcquire {
        let Self { handle, local, weight, priority, deadline, max_wait } = self;
        let (handle, local) = (Arc::clone(handle), local.clone());
        let gate = local.clone();
        let acquiring = async move {
            let (handle, local) = (&handle, &local);
            let options = SharedOptions { handle, local, weight, priority, deadline, max_wait };
            options.acquire(location).await
        };
        SharedAcquire { gate, weight, priority, acquiring: Box::pin(acquiring) }
    }

    /// Blocks the thread until the permits are acquired.
    #[track_caller]
    pub(super) fn acquire_blocking(
        self,
        location: &'static Location<'static>,
    ) -> Result<SharedPermit, SharedAcquireError> {
        let arrival = self.arrive(location)?;
        loop {
            // Once the request is in the queue, the thread of the lease is woken, so that it requests more permits.
            let acquired = arrival.request.acquire_owned_blocking_with(|| self.core().kick());
            if let Some(permit) = self.admit(acquired, &arrival)? {
                return Ok(permit);
            }
        }
    }

    /// Acquires the permits without waiting.
    pub(super) fn try_acquire(
        self,
        location: &'static Location<'static>,
    ) -> Result<SharedPermit, SharedTryError> {
        let core = self.core();
        // A weight of 0, and a request at a closed gate, are rejected by the local gate below, also without a lease.
        if self.weight > 0 && !self.local.is_closed() && core.has_no_block() {
            self.local.count_unleased(UnleasedRejection::Try);
            core.kick();
            return Err(core.unleased().into());
        }
        let request = self.local.request().weight(self.weight).priority(self.priority).made_at(location);
        let acquired = request.try_acquire_owned().map(|permit| self.handle.admit(permit));
        let acquired = match acquired {
            // `admit` has just noted the end of the lease. Since then, the policy for an unreachable ledger may allow a permit.
            Ok(None) if core.may_admit_without_lease() => {
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

    /// Waits for the permits in the queue of the local gate.
    async fn acquire_slow(
        self,
        location: &'static Location<'static>,
    ) -> Result<SharedPermit, SharedAcquireError> {
        let arrival = match self.arrive(location) {
            Ok(arrival) => arrival,
            Err(error) => return reject(error.into()).await,
        };
        loop {
            let mut acquiring = pin!(arrival.request.acquire_owned());
            // Once the request is in the queue, the thread of the lease is woken, so that it requests more permits.
            let mut is_waiting = false;
            let acquired = poll_fn(|cx| {
                let polled = acquiring.as_mut().poll(cx);
                if polled.is_pending() && !mem::replace(&mut is_waiting, true) {
                    self.core().kick();
                }
                polled
            });
            let acquired = acquired.await;
            if let Some(permit) = self.admit(acquired, &arrival)? {
                return Ok(permit);
            }
        }
    }

    /// Rejects a weight that no block can have, and computes the deadline once: it stays the same if the lease ends and the request enters
    /// the queue again.
    fn arrive(&self, location: &'static Location<'static>) -> Result<SharedArrival<'g>, AcquireError> {
        // A weight of 1 is never too large, so the usual request needs no check.
        if self.weight > 1 {
            if let Some((gate, limit)) = self.core().limit_below_weight(self.local, self.weight) {
                return Err(AcquireError::TooLarge { gate, weight: self.weight, limit });
            }
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

    /// Turns a permit of the local gate into a leased one. Returns `None` if the lease had ended by the time of the admission. Then the
    /// request must arrive again: it is behind the others, the maximum wait of the gate begins again, and the request is rejected if the
    /// queue is full or the gate is closed.
    fn admit(
        &self,
        acquired: Result<OwnedPermit, AcquireError>,
        arrival: &SharedArrival<'_>,
    ) -> Result<Option<SharedPermit>, SharedAcquireError> {
        let permit = acquired.map_err(|error| self.reject(error, arrival.at))?;
        if let Some(permit) = self.handle.admit(permit) {
            return Ok(Some(permit));
        }
        // Checked here, because the local gate would admit the request after its deadline if a permit were available on arrival.
        match (arrival.at, arrival.deadline) {
            (Some(at), Some(deadline)) if Instant::now() >= deadline => {
                let error = AcquireError::DeadlineExceeded { gate: self.name(), waited: at.elapsed() };
                Err(self.explain(error, arrival.at))
            }
            _ => Ok(None),
        }
    }

    fn core(&self) -> &'g SharedCore {
        self.handle.core()
    }

    fn name(&self) -> GateName {
        self.local.name()
    }

    /// Turns a rejection by the local gate into an error of the shared gate. Counts the rejection as unleased if the missing lease is the
    /// reason.
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

    /// Adds the reason to an error for a passed deadline: if the gate has no permits from the ledger, this is the reason.
    fn explain(&self, error: AcquireError, arrived: Option<Instant>) -> SharedAcquireError {
        let core = self.core();
        match error {
            AcquireError::DeadlineExceeded { waited, .. } if core.has_no_block() => {
                let waited = arrived.map_or(waited, |arrived| arrived.elapsed());
                SharedAcquireError::Unleased { unleased: core.unleased(), waited }
            }
            error => SharedAcquireError::Rejected(error),
        }
    }
}

/// The future of a request. Its first poll tries the fast path. The state of the slow path is in a box, so that a request that is admitted
/// at the first poll moves little memory and allocates none.
pub(super) struct AcquireShared<'g> {
    options: SharedOptions<'g>,
    location: &'static Location<'static>,
    /// The slow path, if the request has taken it.
    slow: Option<BoxedAcquire<'g>>,
}

/// The slow path of a request.
struct BoxedAcquire<'g>(Pin<Box<dyn Future<Output = Result<SharedPermit, SharedAcquireError>> + Send + 'g>>);

impl Future for AcquireShared<'_> {
    type Output = Result<SharedPermit, SharedAcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { options, location, slow } = &mut *self;
        if slow.is_none() && options.weight == 1 {
            // Uses tokio's cooperative budget, as every future that acquires does. If the budget is exhausted, the slow path puts the
            // request into the queue, so that the request keeps its turn and its deadline applies.
            if let Poll::Ready(budget) = coop::poll_proceed(cx) {
                if let Some(permit) = options.local.try_acquire_fast() {
                    if let Some(permit) = options.handle.admit(permit) {
                        budget.made_progress();
                        return Poll::Ready(Ok(permit));
                    }
                }
            }
        }
        let slow = slow.get_or_insert_with(|| BoxedAcquire(Box::pin(options.acquire_slow(location))));
        slow.0.as_mut().poll(cx)
    }
}

/// The future of [`SharedRequest::acquire_owned`](super::SharedRequest::acquire_owned), which resolves to a [`SharedPermit`]. It has a
/// handle of its own, so it can be spawned.
///
/// # Cancel safety
///
/// Dropping the future removes the request from the queue, and releases any permits that it was granted.
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
impl crate::gate::AcquireFuture for SharedAcquire {
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

/// A request that has arrived.
struct SharedArrival<'g> {
    request: Request<'g>,
    /// When it arrived, if it has a deadline.
    at: Option<Instant>,
    deadline: Option<Instant>,
}
