//! A request put together step by step.

use std::future::Future;
use std::panic;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::acquire::{self, Terms};
use super::blocking;
use super::{Acquire, AcquireError, AcquireOwned, Gate, OwnedPermit, Permit, TryAcquireError};

/// A request to a [`Gate`] that is more than "one, however long it takes"; made by [`Gate::request`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use concurrency_governor::{GateName, Limit, gate::Gate};
///
/// const UPLOADS: GateName = GateName::new("uploads");
/// let uploads = Gate::new(UPLOADS, Limit::new(8));
/// let permit = uploads.request().weight(3).max_wait(Duration::from_millis(250)).acquire().await?;
/// assert_eq!(permit.weight(), 3);
/// # drop(permit);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a request does nothing until it acquires"]
pub struct Request<'g> {
    gate: &'g Gate,
    terms: Terms,
}

impl<'g> Request<'g> {
    pub(super) const fn new(gate: &'g Gate, terms: Terms) -> Self {
        Self { gate, terms }
    }

    /// Asks for this many permits at once, all or none; 1 unless said.
    #[inline]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.terms.weight = weight;
        self
    }

    /// Gives up at `deadline` if it still waits then. With several limits to its wait, the earliest counts.
    ///
    /// A deadline that has passed still lets the request in where there is room. One that passes while it waits takes it
    /// out of line, whether its future is polled then or not.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.terms.deadline = Some(deadline);
        self
    }

    /// Gives up after waiting this long, counted from its arrival (for a future: its first poll). With several limits
    /// to its wait, the earliest counts; one too far off for the clock is none.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.terms.max_wait = Some(wait);
        self
    }

    /// Waits for the permits; see [`Gate::acquire`].
    #[inline]
    pub fn acquire(self) -> Acquire<'g> {
        Acquire::new(self.gate, self.terms)
    }

    /// Waits for permits that outlive every handle; see [`Gate::acquire_owned`].
    #[inline]
    pub fn acquire_owned(self) -> AcquireOwned<'g> {
        Acquire::new(self.gate, self.terms)
    }

    /// Takes the permits if there is room now, whatever its deadline; see [`Gate::try_acquire`].
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if they are not to be had at once.
    #[inline]
    pub fn try_acquire(self) -> Result<Permit<'g>, TryAcquireError> {
        acquire::attempt(self.gate, self.terms.weight).map(|()| Permit::new(self.gate, self.terms.weight))
    }

    /// Takes permits that outlive every handle if there is room now, whatever its deadline.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if they are not to be had at once.
    #[inline]
    pub fn try_acquire_owned(self) -> Result<OwnedPermit, TryAcquireError> {
        acquire::attempt(self.gate, self.terms.weight)
            .map(|()| OwnedPermit::new(self.gate, self.terms.weight))
    }

    /// Blocks the thread until the permits are there; see [`Gate::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused, then or while it waits.
    ///
    /// # Panics
    ///
    /// On a thread that is running asynchronous tasks, which blocking would stop.
    #[track_caller]
    pub fn acquire_blocking(self) -> Result<Permit<'g>, AcquireError> {
        blocking::block(self.gate, self.terms).map(|()| Permit::new(self.gate, self.terms.weight))
    }

    /// Blocks the thread until permits that outlive every handle are there; see [`Gate::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused, then or while it waits.
    ///
    /// # Panics
    ///
    /// On a thread that is running asynchronous tasks, which blocking would stop.
    #[track_caller]
    pub fn acquire_blocking_owned(self) -> Result<OwnedPermit, AcquireError> {
        blocking::block(self.gate, self.terms).map(|()| OwnedPermit::new(self.gate, self.terms.weight))
    }

    /// Runs `work` with the permits, and gives them back when it ends; see [`Gate::run`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused; `work` is then never polled.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`; the permits are given back.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `work` where it stands and then gives the permits back.
    pub async fn run<F: Future>(self, work: F) -> Result<F::Output, AcquireError> {
        let permit = self.acquire().await?;
        let output = work.await;
        drop(permit);
        Ok(output)
    }

    /// Runs `work` with the permits on a thread of tokio's that may block; see [`Gate::run_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused, or [`AcquireError::NoRuntime`]; `work` then never ran.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`; the permits are given back. Also if the system cannot start a thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it waits gives up its place in line. Once `work` has been handed to a thread it runs to its
    /// end, watched or not, and the permits are out until then.
    pub async fn run_blocking<F, T>(self, work: F) -> Result<T, AcquireError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let gate = self.gate.name();
        // Asked first: nobody should stand in line for a permit there is nothing to do with.
        let Ok(runtime) = Handle::try_current() else { return Err(AcquireError::NoRuntime { gate }) };
        let permit = self.acquire_owned().await?;
        let running = runtime.spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match running.await {
            Ok(output) => Ok(output),
            Err(ended) if ended.is_panic() => panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(AcquireError::NoRuntime { gate }),
        }
    }
}
