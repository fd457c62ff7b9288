//! Requests: how a caller asks a gate for permits.

use std::future::Future;
use std::panic::{self, Location};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::acquire::{Acquire, AcquireOwned, RequestOptions};
use super::blocking;
use super::error::{AcquireError, TryAcquireError};
use super::handle::Gate;
use super::holders::record::HeldPermits;
use super::permit::{OwnedPermit, Permit};
use super::priority::Priority;
use super::queue::fair::Ownership;
use crate::plan::GateName;

impl Gate {
    /// Returns a request for one permit, to set its weight, deadline or maximum wait.
    #[inline]
    pub const fn request(&self) -> Request<'_> {
        Request { gate: self, options: RequestOptions::new(1), location: None }
    }

    /// Waits for one permit.
    ///
    /// A [standalone](crate::gate) gate admits requests first come, first served, whatever their weights.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.acquire().await?;
    /// // do the work, then release the permit
    /// drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The future resolves to [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// See [`Acquire`]: only a gate with a maximum wait needs a runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the request from the queue. Permits that it was admitted with go to the next waiters.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Acquire<'_> {
        self.request().acquire()
    }

    /// Waits for `weight` permits at once, all or none; otherwise as [`acquire`](Self::acquire).
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, weight: u32) -> Acquire<'_> {
        self.request().weight(weight).acquire()
    }

    /// Waits for one permit that keeps the gate alive; otherwise as [`acquire`](Self::acquire). The future is `'static`.
    #[inline]
    #[track_caller]
    pub fn acquire_owned(&self) -> AcquireOwned {
        self.request().acquire_owned()
    }

    /// Waits for `weight` permits at once that keep the gate alive; otherwise as [`acquire`](Self::acquire). The future is
    /// `'static`.
    #[inline]
    #[track_caller]
    pub fn acquire_many_owned(&self, weight: u32) -> AcquireOwned {
        self.request().weight(weight).acquire_owned()
    }

    /// Acquires one permit if it is available and no waiting request comes first. At a [standalone](crate::gate) gate every waiting request
    /// comes first.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(1));
    /// let permit = jobs.try_acquire()?;
    /// assert!(jobs.try_acquire().is_err());
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if the permit is not available now.
    #[inline]
    #[track_caller]
    pub fn try_acquire(&self) -> Result<Permit<'_>, TryAcquireError> {
        self.request().try_acquire()
    }

    /// Acquires `weight` permits, all or none, if they are available and no waiting request comes first; see
    /// [`try_acquire`](Self::try_acquire).
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if the permits are not available now.
    #[inline]
    #[track_caller]
    pub fn try_acquire_many(&self, weight: u32) -> Result<Permit<'_>, TryAcquireError> {
        self.request().weight(weight).try_acquire()
    }

    /// Acquires one permit that keeps the gate alive, if it is available and no waiting request comes first; see
    /// [`try_acquire`](Self::try_acquire).
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if the permit is not available now.
    #[inline]
    #[track_caller]
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, TryAcquireError> {
        self.request().try_acquire_owned()
    }

    /// Acquires `weight` permits that keep the gate alive, all or none, if they are available and no waiting request comes first; see
    /// [`try_acquire`](Self::try_acquire).
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if the permits are not available now.
    #[inline]
    #[track_caller]
    pub fn try_acquire_many_owned(&self, weight: u32) -> Result<OwnedPermit, TryAcquireError> {
        self.request().weight(weight).try_acquire_owned()
    }

    /// Blocks the thread until one permit is acquired. The thread waits in the same queue as the futures, and needs no runtime even
    /// with a deadline.
    ///
    /// Use it on threads of your own, in `spawn_blocking` and in `block_in_place`.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// If the thread runs asynchronous tasks, even if a permit is available: blocking would stop the other tasks.
    #[track_caller]
    pub fn acquire_blocking(&self) -> Result<Permit<'_>, AcquireError> {
        self.request().acquire_blocking()
    }

    /// Blocks the thread until `weight` permits are acquired at once; otherwise as [`acquire_blocking`](Self::acquire_blocking).
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// If the thread runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_many_blocking(&self, weight: u32) -> Result<Permit<'_>, AcquireError> {
        self.request().weight(weight).acquire_blocking()
    }

    /// Blocks the thread until one permit is acquired that keeps the gate alive; otherwise as
    /// [`acquire_blocking`](Self::acquire_blocking).
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// If the thread runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_owned_blocking(&self) -> Result<OwnedPermit, AcquireError> {
        self.request().acquire_owned_blocking()
    }

    /// Waits for one permit, runs `work`, and releases the permit when `work` ends, is dropped or panics.
    ///
    /// Use it for asynchronous work, which does not occupy its thread while it is pending. [`run_blocking`](Self::run_blocking) is for work
    /// that blocks its thread.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let io = Gate::new(GateName::new("io"), Limit::new(64));
    /// let page = io.run(async { "fetched" }).await?;
    /// assert_eq!(page, "fetched");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` is then never polled.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`. The permit is released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, `work` is dropped first, and then the permit.
    #[track_caller]
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = Result<F::Output, AcquireError>> {
        self.request().run(work)
    }

    /// Waits for one permit, and runs `work` on a thread of tokio's blocking pool. A panic of `work` continues in the caller.
    ///
    /// The permit is in use until `work` ends, even if the future was dropped: a thread cannot be stopped, so it counts for as
    /// long as it runs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let blocking = Gate::new(GateName::new("blocking"), Limit::new(2));
    /// let digest = blocking.run_blocking(|| 6 * 7).await?;
    /// assert_eq!(digest, 42);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, and [`AcquireError::NoRuntime`] if there is no tokio runtime or it shut
    /// down. `work` then never runs.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`, and if the system cannot start a thread. The permit is released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, it runs to its end.
    #[track_caller]
    pub fn run_blocking<F, T>(&self, work: F) -> impl Future<Output = Result<T, AcquireError>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.request().run_blocking(work)
    }

    /// Waits for one permit, and runs `work` on this thread with `tokio::task::block_in_place`, so that `work` may borrow. The
    /// other tasks of the thread move to another thread meanwhile.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let blocking = Gate::new(GateName::new("blocking"), Limit::new(2));
    /// let mut words = vec!["to", "be", "sorted"];
    /// blocking.run_in_place(|| words.sort()).await?;
    /// assert_eq!(words, ["be", "sorted", "to"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` then never runs.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`. In a current-thread runtime, `block_in_place` panics. The permit is released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. `work` runs within one poll.
    #[cfg(feature = "multi-thread")]
    #[cfg_attr(docsrs, doc(cfg(feature = "multi-thread")))]
    #[track_caller]
    pub fn run_in_place<T>(&self, work: impl FnOnce() -> T) -> impl Future<Output = Result<T, AcquireError>> {
        self.request().run_in_place(work)
    }

    /// Acquires one permit by the fast path alone. Returns `None`, and counts nothing, if the slow path must decide.
    #[inline]
    pub(crate) fn try_acquire_fast(&self) -> Option<OwnedPermit> {
        self.shared().try_acquire(1).then(|| OwnedPermit::new(self.clone(), HeldPermits::untracked(1)))
    }
}

/// A request with a weight, a deadline or a maximum wait; from [`Gate::request`].
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
    options: RequestOptions,
    /// Where the request is made. `None`: where the method that acquires is called.
    location: Option<&'static Location<'static>>,
}

impl<'g> Request<'g> {
    /// Sets the number of permits, which are acquired at once, all or none. Default: 1.
    #[inline]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.options.weight = weight;
        self
    }

    /// Ends the wait at this instant. If there are several limits to the wait, the earliest counts.
    ///
    /// A request whose deadline has passed is still admitted if it fits at once, like a future in `tokio::time::timeout_at` that
    /// is ready. [`strict_deadline`](Self::strict_deadline) rejects it instead. A deadline that passes while the request waits
    /// removes it from the queue, whether its future is polled or not.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Ends the wait after this duration, counted from the arrival: for a future, its first poll. If there are several limits to
    /// the wait, the earliest counts. A duration too long for the clock is no limit.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.options.max_wait = Some(wait);
        self
    }

    /// Rejects the request with [`AcquireError::DeadlineExceeded`] if its [`deadline`](Self::deadline) has passed when it arrives, even if
    /// permits are available: for work that is useless after the deadline. Such a request always takes the lock of the gate. A maximum wait
    /// of zero does not have this effect.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// # use tokio::time::Instant;
    /// # let uploads = Gate::new(GateName::new("uploads"), Limit::new(8));
    /// let late = uploads.request().deadline(Instant::now());
    /// assert!(late.acquire().await.is_ok());
    /// assert!(late.strict_deadline().acquire().await.is_err());
    /// # }
    /// ```
    pub const fn strict_deadline(mut self) -> Self {
        self.options.rules.is_strict = true;
        self
    }

    /// Lets the request wait while its weight is above the limit, instead of ending it with [`AcquireError::TooLarge`].
    ///
    /// Use it at a gate whose limit may fall for a while, such as one with a [`Governor`](crate::Governor). By default such a request is
    /// rejected. While it waits, it blocks all requests behind it until the limit rises, so set a maximum wait as well. A weight above
    /// [`Limit::MAX`](crate::Limit::MAX) is always rejected.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// let uploads = Gate::new(GateName::new("uploads"), Limit::new(4));
    /// let whole = uploads.request().weight(8).wait_for_limit().max_wait(Duration::from_secs(5));
    /// let (permit, _) = tokio::join!(whole.acquire(), async { uploads.resize(Limit::new(8)) });
    /// assert_eq!(permit?.weight(), 8);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn wait_for_limit(mut self) -> Self {
        self.options.rules.waits_for_limit = true;
        self
    }

    /// Sets the priority among the requests that wait. It has no effect at a [standalone](crate::gate) gate, which admits first come, first
    /// served. Default: [`Priority::Normal`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use concurrency_governor::{Gate, GateName, Keys, Limit};
    /// use concurrency_governor::gate::Priority;
    ///
    /// let io = Gate::builder(GateName::new("io"), Limit::new(8)).keyed(Keys::up_to(100)).build();
    /// let permit = io.key("tenant-42").request().priority(Priority::Critical).acquire_owned().await?;
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.options.rules.priority = priority;
        self
    }

    /// Waits for the permits; see [`Gate::acquire`].
    #[inline]
    #[track_caller]
    pub fn acquire(self) -> Acquire<'g> {
        Acquire::new(self.gate, self.options, self.location.unwrap_or(Location::caller()))
    }

    /// Waits for permits that keep the gate alive; see [`Gate::acquire_owned`].
    #[inline]
    #[track_caller]
    pub fn acquire_owned(self) -> AcquireOwned {
        AcquireOwned::new(self.gate, self.options, self.location.unwrap_or(Location::caller()))
    }

    /// Acquires the permits if they are available now; see [`Gate::try_acquire`]. Deadlines and
    /// [`wait_for_limit`](Self::wait_for_limit) have no effect.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if the permits are not available now.
    #[inline]
    #[track_caller]
    pub fn try_acquire(self) -> Result<Permit<'g>, TryAcquireError> {
        let weight = self.options.weight;
        let held = if self.gate.shared().try_acquire(weight) {
            HeldPermits::untracked(weight)
        } else {
            let location = self.location.unwrap_or(Location::caller());
            self.gate.shared().try_acquire_slow(weight, self.options.rules.priority, location)?
        };
        Ok(Permit::new(self.gate, held))
    }

    /// Acquires permits that keep the gate alive, if they are available now. Deadlines and
    /// [`wait_for_limit`](Self::wait_for_limit) have no effect.
    ///
    /// # Errors
    ///
    /// [`TryAcquireError`] if the permits are not available now.
    #[inline]
    #[track_caller]
    pub fn try_acquire_owned(self) -> Result<OwnedPermit, TryAcquireError> {
        let permit = self.try_acquire()?;
        Ok(permit.into_owned())
    }

    /// Blocks the thread until the permits are acquired; see [`Gate::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// If the thread runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_blocking(self) -> Result<Permit<'g>, AcquireError> {
        blocking::acquire(
            self.gate,
            self.options,
            Ownership::Borrowed,
            self.location.unwrap_or(Location::caller()),
        )
    }

    /// Blocks the thread until permits are acquired that keep the gate alive; see [`Gate::acquire_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, on arrival or while it waits.
    ///
    /// # Panics
    ///
    /// If the thread runs asynchronous tasks.
    #[track_caller]
    pub fn acquire_owned_blocking(self) -> Result<OwnedPermit, AcquireError> {
        let location = self.location.unwrap_or(Location::caller());
        blocking::acquire(self.gate, self.options, Ownership::Owned, location).map(Permit::into_owned)
    }

    /// As [`acquire_owned_blocking`](Self::acquire_owned_blocking). Calls `before_park` each time before the thread parks. The request is
    /// in the queue then.
    #[cfg(feature = "fleet")]
    #[track_caller]
    pub(crate) fn acquire_owned_blocking_with(
        self,
        before_park: impl Fn(),
    ) -> Result<OwnedPermit, AcquireError> {
        let location = self.location.unwrap_or(Location::caller());
        let acquired = blocking::acquire_unless(self.gate, self.options, Ownership::Owned, location, |_| {
            before_park();
            None
        });
        acquired.map(Permit::into_owned)
    }

    /// Runs `work` with the permits, and releases them when it ends; see [`Gate::run`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` is then never polled.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`. The permits are released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, `work` is dropped first, and then the
    /// permits.
    #[track_caller]
    pub fn run<F: Future>(self, work: F) -> impl Future<Output = Result<F::Output, AcquireError>> {
        let request = self.made_here();
        async move {
            let permit = request.acquire().await?;
            let output = work.await;
            drop(permit);
            Ok(output)
        }
    }

    /// Runs `work` with the permits on a thread of tokio's blocking pool; see [`Gate::run_blocking`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, or [`AcquireError::NoRuntime`]. `work` then never runs.
    ///
    /// # Panics
    ///
    /// As [`Acquire`] and as `work`, and if the system cannot start a thread. The permits are released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, it runs to its end, and the
    /// permits are in use until then.
    #[track_caller]
    pub fn run_blocking<F, T>(self, work: F) -> impl Future<Output = Result<T, AcquireError>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let request = self.made_here();
        async move {
            let gate = request.gate.name();
            // Checked first: without a runtime the request would wait for permits that it cannot use.
            let Ok(runtime) = Handle::try_current() else { return Err(AcquireError::NoRuntime { gate }) };
            let permit = request.acquire_owned().await?;
            run_blocking(permit, gate, &runtime, work).await
        }
    }

    /// Runs `work` with the permits on this thread; see [`Gate::run_in_place`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` then never runs.
    ///
    /// # Panics
    ///
    /// As [`Gate::run_in_place`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. `work` runs within one poll.
    #[cfg(feature = "multi-thread")]
    #[cfg_attr(docsrs, doc(cfg(feature = "multi-thread")))]
    #[track_caller]
    pub fn run_in_place<T>(self, work: impl FnOnce() -> T) -> impl Future<Output = Result<T, AcquireError>> {
        let request = self.made_here();
        async move {
            let permit = request.acquire().await?;
            let output = tokio::task::block_in_place(work);
            drop(permit);
            Ok(output)
        }
    }

    pub(super) const fn of_parts(gate: &'g Gate, options: RequestOptions) -> Self {
        Self { gate, options, location: None }
    }

    pub(super) const fn into_parts(self) -> (&'g Gate, RequestOptions) {
        (self.gate, self.options)
    }

    /// Sets the location of the request.
    pub(crate) const fn made_at(mut self, location: &'static Location<'static>) -> Self {
        self.location = Some(location);
        self
    }

    /// Sets the location of the request to the caller, if it is not set yet.
    #[track_caller]
    pub(crate) fn made_here(mut self) -> Self {
        self.location = self.location.or(Some(Location::caller()));
        self
    }
}

/// Runs `work` on a thread of the blocking pool, and then drops the permit. A panic of `work` continues in the caller.
pub(crate) async fn run_blocking<P, F, T>(
    permit: P,
    gate: GateName,
    runtime: &Handle,
    work: F,
) -> Result<T, AcquireError>
where
    P: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
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
