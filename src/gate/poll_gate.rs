//! A gate for hand-written futures, streams and services.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::acquire::AcquireOwned;
use super::error::AcquireError;
use super::handle::Gate;
use super::permit::OwnedPermit;

/// A handle of a gate with at most one pending request, for code that is polled instead of awaited: `poll_ready` of a service,
/// `poll_next` of a stream. It is to a gate what tokio-util's `PollSemaphore` is to a semaphore.
///
/// Cloning the handle does not clone its pending request. Dropping a handle cancels its own request.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::future::poll_fn;
/// use concurrency_governor::{Gate, GateName, Limit};
/// use concurrency_governor::gate::PollGate;
///
/// let mut uploads = PollGate::new(Gate::new(GateName::new("uploads"), Limit::new(2)));
/// let permit = poll_fn(|cx| uploads.poll_acquire(cx)).await?;
/// assert_eq!(uploads.gate().in_use(), 1);
/// # drop(permit);
/// # Ok(())
/// # }
/// ```
pub struct PollGate {
    gate: Gate,
    /// The allocation of the last request, reused for the next. Its request is pending if and only if `weight` is `Some`.
    request: Option<Pin<Box<AcquireOwned>>>,
    /// The weight of the pending request.
    weight: Option<u32>,
}

impl PollGate {
    /// Creates a handle without a pending request.
    #[must_use]
    pub const fn new(gate: Gate) -> Self {
        Self { gate, request: None, weight: None }
    }

    /// Returns the gate.
    #[must_use]
    pub const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Polls for one permit; see [`poll_acquire_many`](Self::poll_acquire_many).
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected.
    #[track_caller]
    pub fn poll_acquire(&mut self, cx: &mut Context<'_>) -> Poll<Result<OwnedPermit, AcquireError>> {
        self.poll_acquire_many(cx, 1)
    }

    /// Polls for `weight` permits at once. The first poll makes the request. It keeps its position in the queue until a poll returns
    /// `Ready`, so keep polling or call [`cancel`](Self::cancel): an admitted request holds its permits. If another weight is pending,
    /// that request is cancelled and a new one is made.
    ///
    /// The request has the maximum wait of the gate, and takes part in tokio's cooperative scheduling.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. The next poll makes a new request.
    ///
    /// # Panics
    ///
    /// As [`Acquire`](super::Acquire).
    #[track_caller]
    pub fn poll_acquire_many(
        &mut self,
        cx: &mut Context<'_>,
        weight: u32,
    ) -> Poll<Result<OwnedPermit, AcquireError>> {
        // Taken out first: if anything panics, the request is dropped with it, and the next poll makes a new one.
        let pending = self.weight.take();
        let mut request = match self.request.take() {
            Some(request) if pending == Some(weight) => request,
            Some(mut old) => {
                old.set(self.gate.acquire_many_owned(weight));
                old
            }
            None => Box::pin(self.gate.acquire_many_owned(weight)),
        };
        let polled = request.as_mut().poll(cx);
        self.request = Some(request);
        if polled.is_pending() {
            self.weight = Some(weight);
        }
        polled
    }

    /// Cancels the pending request, if there is one. Permits that it was admitted with go to the next waiters.
    pub fn cancel(&mut self) {
        if self.weight.take().is_some() {
            self.request = None;
        }
    }
}

impl Clone for PollGate {
    fn clone(&self) -> Self {
        Self::new(self.gate.clone())
    }
}

impl From<Gate> for PollGate {
    fn from(gate: Gate) -> Self {
        Self::new(gate)
    }
}

impl fmt::Debug for PollGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollGate")
            .field("gate", &self.gate.name())
            .field("pending", &self.weight)
            .finish_non_exhaustive()
    }
}
