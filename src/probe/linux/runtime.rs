//! What a runtime offers to whoever waits: descriptors that become ready, and time. Either may be switched off, and
//! there may be no runtime at all; nothing here panics for that.

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

/// A descriptor that a runtime watches, for one thing that may become of it.
#[derive(Debug)]
pub(super) struct Watched {
    descriptor: AsyncFd<OwnedFd>,
    interest: Interest,
}

impl Watched {
    /// Has the runtime watch a descriptor.
    #[expect(deprecated, reason = "it owns the descriptor, which is all that the unsafe one asks for")]
    pub(super) fn new(descriptor: OwnedFd, interest: Interest) -> Result<Self, Unwatched> {
        if !is_there() {
            return Err(Unwatched::NoRuntime);
        }
        let made = attempt(|| AsyncFd::with_interest(descriptor, interest)).ok_or(Unwatched::NoDriver)?;
        Ok(Self { descriptor: made?, interest })
    }

    /// Waits until the descriptor is ready; for ever once the runtime is shutting down.
    ///
    /// It stays ready until the guard is told otherwise, which is to be one from before the descriptor gave all that it
    /// had: what comes after that is then not forgotten.
    async fn ready(&self) -> AsyncFdReadyGuard<'_, OwnedFd> {
        match self.descriptor.ready(self.interest).await {
            Ok(guard) => guard,
            Err(_) => pending().await,
        }
    }
}

/// Why a descriptor cannot be waited for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwatched {
    /// This is no place for it.
    #[error("there is no runtime")]
    NoRuntime,
    /// For as long as the runtime is this one.
    #[error("the runtime has no I/O")]
    NoDriver,
    /// It may go better the next time.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// Waits until a descriptor is ready, if there is one, or the time has passed, if any is to; `None` if it was the time.
pub(super) async fn ready_within(
    watched: Option<&Watched>,
    time: Option<Duration>,
) -> Option<AsyncFdReadyGuard<'_, OwnedFd>> {
    let mut ready = pin!(async {
        match watched {
            Some(watched) => watched.ready().await,
            None => pending().await,
        }
    });
    let mut pause = pin!(async {
        match time {
            Some(time) => pause(time).await,
            None => pending().await,
        }
    });
    poll_fn(|context| match ready.as_mut().poll(context) {
        Poll::Ready(guard) => Poll::Ready(Some(guard)),
        Poll::Pending => pause.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// A clock of a period, where there is a timer.
#[derive(Debug)]
pub(super) struct Clock {
    every: Duration,
    /// Set once a runtime had no timer, which is found out by a panic that is caught: once is enough.
    is_timeless: AtomicBool,
}

impl Clock {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, is_timeless: AtomicBool::new(false) }
    }

    /// The period; none once a runtime had no timer.
    pub(super) fn period(&self) -> Option<Duration> {
        // Nothing else hangs on it.
        (!self.is_timeless.load(Ordering::Relaxed)).then_some(self.every)
    }

    /// The period, if there is a timer here.
    pub(super) fn period_here(&self) -> Option<Duration> {
        let period = self.period()?;
        let has_timer = attempt(|| sleep(Duration::ZERO)).is_some();
        // Without a runtime it is the next one that counts.
        self.is_timeless.store(!has_timer && is_there(), Ordering::Relaxed);
        has_timer.then_some(period)
    }
}

impl Clone for Clock {
    fn clone(&self) -> Self {
        Self::new(self.every)
    }
}

/// Waits for so long; for ever where there is no timer.
pub(super) async fn pause(time: Duration) {
    let Some(sleep) = attempt(|| sleep(time)) else { return pending().await };
    let mut sleep = pin!(sleep);
    // A runtime that is shutting down panics here, too.
    poll_fn(|context| attempt(|| sleep.as_mut().poll(context)).unwrap_or(Poll::Pending)).await;
}

/// Whether this runs in a runtime.
fn is_there() -> bool {
    Handle::try_current().is_ok()
}

/// Calls what panics where a runtime lacks something: tokio has no other way to find that out. A program that aborts on
/// panic does without.
fn attempt<T>(call: impl FnOnce() -> T) -> Option<T> {
    if cfg!(panic = "abort") || !is_there() {
        return None;
    }
    panic::catch_unwind(AssertUnwindSafe(call)).ok()
}

/// How often to look at what nothing tells of: a process that is moved, its affinity, its own limits. All of these are
/// rare, and a look takes microseconds.
pub(super) const EVERY: Duration = Duration::from_secs(30);
