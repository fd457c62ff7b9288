//! Waiting for descriptors and time on a tokio runtime that may lack I/O or timers.
//!
//! The I/O driver and the timer of a runtime may each be disabled, and there may be no runtime at all. Nothing here
//! panics in these cases.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::runtime::Handle;
use tokio::time::sleep;

/// A descriptor that is registered with the runtime, for one kind of readiness.
#[derive(Debug)]
pub(in crate::probe) struct RegisteredFd {
    descriptor: AsyncFd<OwnedFd>,
    interest: Interest,
}

impl RegisteredFd {
    /// Registers a descriptor with the current runtime.
    #[expect(deprecated, reason = "it owns the descriptor, and the replacement requires `unsafe`")]
    pub(in crate::probe) fn new(descriptor: OwnedFd, interest: Interest) -> Result<Self, RegisterFdError> {
        if !is_in_runtime() {
            return Err(RegisterFdError::NoRuntime);
        }
        let registered = catch_missing_driver(|| AsyncFd::with_interest(descriptor, interest));
        Ok(Self { descriptor: registered.ok_or(RegisterFdError::NoIoDriver)??, interest })
    }

    /// Waits until the descriptor is ready. Never returns once the runtime is shutting down.
    ///
    /// The descriptor stays ready until the caller clears the guard. The guard must be older than the read that
    /// drains the descriptor: then an event that arrives after the read is not lost.
    async fn ready(&self) -> AsyncFdReadyGuard<'_, OwnedFd> {
        match self.descriptor.ready(self.interest).await {
            Ok(guard) => guard,
            Err(_) => pending().await,
        }
    }
}

/// The reason why a descriptor cannot be waited for.
#[derive(Debug, thiserror::Error)]
pub(in crate::probe) enum RegisterFdError {
    /// The caller does not run on a runtime.
    #[error("there is no runtime")]
    NoRuntime,
    /// Permanent for this runtime.
    #[error("{}", NO_IO_DRIVER)]
    NoIoDriver,
    /// The next attempt may succeed.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// The text of [`RegisterFdError::NoIoDriver`].
pub(super) const NO_IO_DRIVER: &str =
    if cfg!(panic = "abort") { "the program aborts on panic" } else { "the runtime has no I/O" };

/// Waits until the descriptor is ready or the time has passed. Returns `None` if the time has passed.
///
/// Without a descriptor it waits for the time alone; without a time, for the descriptor alone.
pub(in crate::probe) async fn ready_within(
    descriptor: Option<&RegisteredFd>,
    time: Option<Duration>,
) -> Option<AsyncFdReadyGuard<'_, OwnedFd>> {
    let mut ready = pin!(async {
        match descriptor {
            Some(descriptor) => descriptor.ready().await,
            None => pending().await,
        }
    });
    let mut elapsed = pin!(async {
        match time {
            Some(time) => pause(time).await,
            None => pending().await,
        }
    });
    poll_fn(|context| match ready.as_mut().poll(context) {
        Poll::Ready(guard) => Poll::Ready(Some(guard)),
        Poll::Pending => elapsed.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// The period at which a probe is polled, where the runtime has a timer.
#[derive(Debug)]
pub(in crate::probe) struct PollInterval {
    period: Duration,
    /// Set once a runtime had no timer, and never reset. It is detected by catching a panic, which should happen only once.
    has_no_timer: AtomicBool,
}

impl PollInterval {
    pub(in crate::probe) fn new(period: Duration) -> Self {
        Self { period, has_no_timer: AtomicBool::new(false) }
    }

    /// Returns the period, or `None` once a runtime had no timer.
    pub(in crate::probe) fn period(&self) -> Option<Duration> {
        // Relaxed: the flag guards no other data.
        (!self.has_no_timer.load(Ordering::Relaxed)).then_some(self.period)
    }

    /// Checks the current runtime and returns the period, or `None` if this runtime or an earlier one has no timer.
    pub(in crate::probe) fn detect_timer(&self) -> Option<Duration> {
        let period = self.period()?;
        let has_timer = catch_missing_driver(|| sleep(Duration::ZERO)).is_some();
        // Outside of a runtime nothing is known about the next one.
        self.has_no_timer.store(!has_timer && is_in_runtime(), Ordering::Relaxed);
        has_timer.then_some(period)
    }
}

impl Default for PollInterval {
    fn default() -> Self {
        Self::new(DEFAULT_POLL_INTERVAL)
    }
}

impl Clone for PollInterval {
    fn clone(&self) -> Self {
        Self::new(self.period)
    }
}

/// Waits for a duration. Never returns if there is no timer.
pub(in crate::probe) async fn pause(time: Duration) {
    let Some(sleep) = catch_missing_driver(|| sleep(time)) else { return pending().await };
    let mut sleep = pin!(sleep);
    // Polling panics, too, while the runtime is shutting down.
    poll_fn(|context| catch_missing_driver(|| sleep.as_mut().poll(context)).unwrap_or(Poll::Pending)).await;
}

/// Returns `true` if the caller runs on a runtime.
fn is_in_runtime() -> bool {
    Handle::try_current().is_ok()
}

/// Runs a call that panics if the runtime lacks a driver, and returns `None` in that case.
///
/// tokio offers no other way to find out. If the program aborts on panic, the call is not made.
fn catch_missing_driver<T>(call: impl FnOnce() -> T) -> Option<T> {
    if cfg!(panic = "abort") || !is_in_runtime() {
        return None;
    }
    panic::catch_unwind(AssertUnwindSafe(call)).ok()
}

/// How often the values are polled that no notification covers: the cgroup of the process, its affinity and its
/// limits. All of these change rarely, and a poll takes little time.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(30);
