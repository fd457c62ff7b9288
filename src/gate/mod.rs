//! Gates: how much work is in flight, held to a limit that may change at any time.
//!
//! A [`Gate`] admits requests first come, first served, weights included. What it admits holds a [`Permit`] until it is
//! dropped. [`Gate::run`] and [`Gate::run_blocking`] hold the permit for you.
//!
//! - **Nobody barges.** While anybody waits, whoever comes next waits behind them, even where it alone would fit, and
//!   [`try_acquire`](Gate::try_acquire) is refused.
//! - **A lowered limit revokes nothing.** Permits out above it are its *debt*; nobody is admitted until the debt is
//!   paid, and what comes back pays it first. A raised limit wakes exactly those who now fit, in order.
//! - **Nothing is lost.** A request that is dropped leaves the line at once and hands on what it had been granted. No
//!   panic, runtime shutdown or waker, however hostile, costs a permit.

mod abort;
mod acquire;
mod alarm;
mod answer;
mod bells;
mod blocking;
mod chain;
pub(crate) mod clock;
mod deadlines;
mod drained;
mod drains;
mod engine;
mod error;
mod front;
mod histogram;
mod inner;
mod line;
#[cfg(not(gate_loom))]
mod lock;
mod permit;
mod request;
mod sampler;
mod status;
mod sync;
mod tally;
mod timers;
mod vacant;
mod wait;
mod wake;
mod watch;
mod word;

pub use acquire::{Acquire, AcquireOwned};
pub use drained::Drained;
pub use error::{AcquireError, TryAcquireError};
pub use histogram::{Bucket, Histogram};
pub use permit::{OwnedPermit, Permit};
pub use request::Request;
pub use status::{GateStatus, GateTotals, QueueTotals, RejectedTotals};

use std::fmt;
use std::future::Future;
use std::time::Duration;

use acquire::Terms;
use clock::NEVER;
use front::Change;
use inner::{Inner, Profile};

pub(crate) use bells::Bell;
pub(crate) use wake::Calls;

use crate::plan::{GateName, Limit};

/// A named, live-resizable, first-come-first-served counting gate.
///
/// Cheap to clone: clones are handles of the same gate, and so is every permit of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::{GateName, Limit, gate::Gate};
///
/// const UPLOADS: GateName = GateName::new("uploads");
/// let uploads = Gate::new(UPLOADS, Limit::new(2));
///
/// let permit = uploads.acquire().await?; // give it back by dropping it
/// let sent = uploads.run(async { "sent" }).await?; // or never hold it at all
/// assert_eq!(sent, "sent");
///
/// let change = uploads.resize(Limit::new(64)); // any time, from anywhere
/// assert_eq!((change.from, change.debt), (Limit::new(2), 0));
/// drop(permit);
/// # Ok(())
/// # }
/// ```
///
/// A request admitted at once does not yield to the runtime: a task that loops over ready permits has to do so itself.
pub struct Gate {
    inner: &'static Inner,
    profile: Profile,
}

impl Gate {
    /// A gate on whose line any number of requests may wait as long as they will.
    #[must_use]
    pub fn new(name: impl Into<GateName>, limit: Limit) -> Self {
        Self::builder(name, limit).build()
    }

    /// A gate with a bound on who waits, or how long.
    pub fn builder(name: impl Into<GateName>, limit: Limit) -> GateBuilder {
        GateBuilder { name: name.into(), limit, queue: usize::MAX, max_wait: None, measures_waits: true }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.profile.name
    }

    /// How many permits may be out.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.inner.limit()
    }

    /// Waits for one permit.
    ///
    /// # Errors
    ///
    /// The future resolves to [`AcquireError`] if the request is refused, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// See [`Acquire`]: only a gate with a maximum wait needs a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in line and hands on what it had been granted.
    #[inline]
    pub fn acquire(&self) -> Acquire<'_> {
        self.request().acquire()
    }

    /// Waits for `weight` permits at once, all or none; otherwise as [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_many(&self, weight: u32) -> Acquire<'_> {
        self.request().weight(weight).acquire()
    }

    /// Waits for one permit that outlives every handle; otherwise as [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_owned(&self) -> AcquireOwned<'_> {
        self.request().acquire_owned()
    }

    /// Waits for `weight` permits at once that outlive every handle; otherwise as [`acquire`](Self::acquire).
    #[inline]
    pub fn acquire_many_owned(&self, weight: u32) -> AcquireOwned<'_> {
        self.request().weight(weight).acquire_owned()
    }

    /// Takes one permit if there is room and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if it is not to be had at once.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.request().try_acquire()
    }

    /// Takes `weight` permits, all or none, if there is room and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if they are not to be had at once.
    #[inline]
    pub fn try_acquire_many(&self, weight: u32) -> Result<Permit<'_>, TryAcquireError> {
        self.request().weight(weight).try_acquire()
    }

    /// Takes one permit that outlives every handle, if there is room and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if it is not to be had at once.
    #[inline]
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, TryAcquireError> {
        self.request().try_acquire_owned()
    }

    /// Takes `weight` permits that outlive every handle, all or none, if there is room and nobody waits.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if they are not to be had at once.
    #[inline]
    pub fn try_acquire_many_owned(&self, weight: u32) -> Result<OwnedPermit, TryAcquireError> {
        self.request().weight(weight).try_acquire_owned()
    }

    /// Blocks the thread until one permit is there: for threads of your own, `spawn_blocking` and `block_in_place`. It
    /// stands in the same line as everybody else, and needs no runtime even with a deadline.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused, then or while it waits.
    ///
    /// # Panics
    ///
    /// On a thread that is running asynchronous tasks, which blocking would stop, even if there is room.
    #[track_caller]
    pub fn acquire_blocking(&self) -> Result<Permit<'_>, AcquireError> {
        self.request().acquire_blocking()
    }

    /// A request with a weight, a deadline or both.
    #[inline]
    pub const fn request(&self) -> Request<'_> {
        Request::new(self, Terms::of(1))
    }

    /// Waits for one permit, runs `work` with it, and gives it back when `work` ends, however it ends.
    ///
    /// For work that leaves its thread free while it is pending. See [`run_blocking`](Self::run_blocking) for the rest.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused; `work` is then never polled.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`; the permit is given back.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `work` where it stands and then gives the permit back.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, AcquireError> {
        self.request().run(work).await
    }

    /// Waits for one permit, and runs `work` with it on a thread of tokio's that may block. A panic in `work` goes on
    /// in the caller.
    ///
    /// The permit is out until `work` really ends, even if nobody waits for it any more: a thread that cannot be
    /// stopped counts for as long as it runs.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is refused, or [`AcquireError::NoRuntime`] if there is no tokio runtime or it
    /// shut down; `work` then never ran.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`; the permit is given back. Also if the system cannot start a thread.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while it waits gives up its place in line. Once `work` has been handed to a thread it runs to its
    /// end, watched or not.
    pub async fn run_blocking<F, T>(&self, work: F) -> Result<T, AcquireError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.request().run_blocking(work).await
    }

    /// Puts another limit in force at once, and says what that leaves to be paid.
    ///
    /// Holders are never disturbed. Lowered below what is out, the gate admits nobody until the debt is paid; a request
    /// in line that asks for more than the new limit ends with [`AcquireError::TooLarge`]. Raised, it wakes exactly
    /// those who now fit, in order.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    #[inline]
    pub fn resize(&self, limit: Limit) -> Resize {
        match self.inner.resize_at_once(limit) {
            Some(resize) => resize,
            None => self.inner.resize(limit),
        }
    }

    /// A [`resize`](Self::resize) that leaves the waking to its caller, who holds a lock.
    pub(crate) fn resize_unwoken(&self, limit: Limit) -> (Resize, Calls) {
        match self.inner.resize_at_once(limit) {
            Some(resize) => (resize, Calls::default()),
            None => self.inner.resize_unwoken(limit),
        }
    }

    /// Admits nothing from now on: those in line and those to come get `Closed`. Permits out stay valid. There is no
    /// way back.
    pub fn close(&self) {
        self.inner.close().make();
    }

    /// Whether it has been [closed](Self::close).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Waits until no permit is out and nobody waits.
    ///
    /// It resolves after the first such moment, even if work has come in again since: close the gate first to wait for
    /// its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub const fn drained(&self) -> Drained<'_> {
        Drained::new(self)
    }

    /// What the gate is doing at this instant, and has done.
    #[must_use]
    pub fn status(&self) -> GateStatus {
        self.inner.status()
    }

    #[inline]
    const fn inner(&self) -> &'static Inner {
        self.inner
    }

    /// Takes one permit if there is room and nobody waits. Otherwise nothing has happened: no request was made, none counted.
    #[inline]
    pub(crate) fn admit_at_once(&self) -> Option<OwnedPermit> {
        self.inner.admit(1).then(|| OwnedPermit::new(self, 1))
    }

    /// Has this bell rung whenever a limit is set or the gate is closed, for as long as somebody keeps the bell.
    pub(crate) fn ring_on_change(&self, bell: &Bell) {
        self.inner.ring_on_change(bell);
    }

    /// No request waits longer than so many nanoseconds, whatever it asks for; [`NEVER`] if it may.
    pub(crate) const fn longest_wait(&self) -> i64 {
        self.profile.max_wait
    }

    /// A handle, though there may be no other.
    fn of_permit(inner: &'static Inner) -> Self {
        Self { inner, profile: inner.add_handle_of_permit() }
    }
}

impl Clone for Gate {
    fn clone(&self) -> Self {
        self.inner.add_handle();
        Self { inner: self.inner, profile: self.profile }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.inner.drop_handle();
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Gate")
            .field("name", &status.name)
            .field("limit", &status.limit)
            .field("in_use", &status.in_use)
            .field("waiting", &status.waiting)
            .field("closed", &status.closed)
            .finish_non_exhaustive()
    }
}

/// A [`Gate`] in the making; from [`Gate::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder makes no gate until `build`"]
pub struct GateBuilder {
    name: GateName,
    limit: Limit,
    queue: usize,
    max_wait: Option<Duration>,
    measures_waits: bool,
}

impl GateBuilder {
    /// The most requests that may wait, whatever their weight; 0 lets none wait. Unbounded unless said.
    pub const fn queue(mut self, bound: usize) -> Self {
        self.queue = bound;
        self
    }

    /// No request waits longer than this, whatever it asks for itself. Unbounded unless said.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Whether it measures how long requests wait, for [`GateStatus::waits`]; it does unless said. Where it does not, only
    /// requests with a deadline cost a look at the clock.
    pub const fn measure_waits(mut self, measures: bool) -> Self {
        self.measures_waits = measures;
        self
    }

    /// Makes the gate.
    #[must_use]
    pub fn build(self) -> Gate {
        let max_wait = self.max_wait.map_or(NEVER, clock::length);
        let profile = Profile { name: self.name, max_wait, measures_waits: self.measures_waits };
        Gate { inner: Inner::open(profile, self.limit, self.queue), profile }
    }
}

/// What a [`Gate::resize`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resize {
    /// The limit before.
    pub from: Limit,
    /// The limit in force now.
    pub to: Limit,
    /// Permits out above it, to be paid back before anybody is admitted.
    pub debt: u32,
}

impl Resize {
    #[inline]
    fn of(Change { from, after }: Change, to: Limit) -> Self {
        Self { from: Limit::saturating(from.into()), to, debt: after.debt() }
    }
}
