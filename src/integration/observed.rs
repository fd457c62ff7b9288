//! Requests whose wait has a span and whose hold time is recorded.

#[cfg(any(feature = "metrics", feature = "tracing"))]
use std::future::Future;

#[cfg(any(feature = "metrics", feature = "tracing"))]
use tokio::runtime::Handle;

#[cfg(feature = "metrics")]
use super::metrics::Timed;
#[cfg(any(feature = "metrics", feature = "tracing"))]
use crate::feedback::Outcome;
#[cfg(all(feature = "fleet", feature = "tower"))]
use crate::fleet::SharedPermit;
use crate::gate::OwnedPermit;
#[cfg(any(feature = "metrics", feature = "tracing"))]
use crate::gate::{AcquireError, Request, run_blocking};

/// How a request is observed: by a span around its wait, by the recording of its hold time, by both or by neither.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    #[cfg(feature = "metrics")]
    pub(super) timed: bool,
    #[cfg(feature = "tracing")]
    pub(super) traced: bool,
    /// Whether the span has the text of the key.
    #[cfg(all(feature = "tower", feature = "tracing"))]
    pub(super) shows_key: bool,
}

impl Observation {
    pub(super) const NONE: Self = Self {
        #[cfg(feature = "metrics")]
        timed: false,
        #[cfg(feature = "tracing")]
        traced: false,
        #[cfg(all(feature = "tower", feature = "tracing"))]
        shows_key: false,
    };

    /// Waits for the permits of a request, in a span if the request is traced.
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    pub(super) async fn acquire(self, request: Request<'_>) -> Result<OwnedPermit, AcquireError> {
        let acquire = request.acquire_owned();
        #[cfg(feature = "tracing")]
        if self.traced {
            return acquire.traced().await;
        }
        acquire.await
    }

    /// Wraps the permit so that its hold time is recorded, if the request is timed.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "only the feature `metrics` has a setting for it")
    )]
    pub(super) fn hold(self, permit: OwnedPermit) -> ObservedPermit {
        #[cfg(feature = "metrics")]
        if self.timed {
            return ObservedPermit::Timed(permit.timed());
        }
        ObservedPermit::Plain(permit)
    }

    /// As [`hold`](Self::hold), for a permit of a shared gate.
    #[cfg(all(feature = "fleet", feature = "tower"))]
    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "only the feature `metrics` has a setting for it")
    )]
    pub(super) fn hold_shared(self, permit: SharedPermit) -> ObservedPermit {
        #[cfg(feature = "metrics")]
        if self.timed {
            return ObservedPermit::TimedShared(permit.timed());
        }
        ObservedPermit::Shared(permit)
    }
}

/// The permit of an observed request. Dropping it releases the permit.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "tower"),
    expect(unreachable_pub, reason = "it is in the signature of a sealed trait of the tower layer")
)]
pub enum ObservedPermit {
    Plain(OwnedPermit),
    #[cfg(feature = "metrics")]
    Timed(Timed<OwnedPermit>),
    #[cfg(all(feature = "fleet", feature = "tower"))]
    Shared(SharedPermit),
    #[cfg(all(feature = "fleet", feature = "metrics", feature = "tower"))]
    TimedShared(Timed<SharedPermit>),
}

impl ObservedPermit {
    /// Returns the permit of the gate in this process. If this permit is one of a shared gate, its local gate must not be used for
    /// further requests, which would not check the lease.
    pub(super) fn local(&self) -> &OwnedPermit {
        match self {
            Self::Plain(permit) => permit,
            #[cfg(feature = "metrics")]
            Self::Timed(permit) => permit,
            #[cfg(all(feature = "fleet", feature = "tower"))]
            Self::Shared(permit) => permit.local(),
            #[cfg(all(feature = "fleet", feature = "metrics", feature = "tower"))]
            Self::TimedShared(permit) => permit.local(),
        }
    }

    /// Returns the permit if it is one of a shared gate.
    #[cfg(all(feature = "fleet", feature = "tower"))]
    pub(super) fn shared(&self) -> Option<&SharedPermit> {
        match self {
            Self::Shared(permit) => Some(permit),
            #[cfg(feature = "metrics")]
            Self::TimedShared(permit) => Some(permit),
            _ => None,
        }
    }
}

/// A request whose wait has a span, whose hold time is recorded, or both; from [`Request`].
#[cfg_attr(feature = "metrics", doc = "[`Request::timed`] records the hold time.")]
#[cfg_attr(feature = "tracing", doc = "[`Request::traced`] opens the span.")]
#[cfg(any(feature = "metrics", feature = "tracing"))]
#[derive(Clone, Copy, Debug)]
#[must_use = "a request does nothing until it runs its work"]
pub struct ObservedRequest<'g> {
    request: Request<'g>,
    observation: Observation,
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl<'g> Request<'g> {
    /// Records the hold time of the permits in the histogram [`HOLD`](crate::integration::metrics::HOLD).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// # let blocking = Gate::new(GateName::new("blocking"), Limit::new(2));
    /// let digest = blocking.request().timed().run_blocking(|| 6 * 7).await?;
    /// assert_eq!(digest, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "metrics")]
    pub const fn timed(self) -> ObservedRequest<'g> {
        ObservedRequest { request: self, observation: Observation::NONE }.timed()
    }

    /// Opens a span around the wait, if the request has to wait; see
    /// [`Acquire::traced`](crate::gate::Acquire::traced).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// # let io = Gate::new(GateName::new("io"), Limit::new(64));
    /// let page = io.request().weight(2).traced().run(async { "fetched" }).await?;
    /// assert_eq!(page, "fetched");
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tracing")]
    pub const fn traced(self) -> ObservedRequest<'g> {
        ObservedRequest { request: self, observation: Observation::NONE }.traced()
    }
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl ObservedRequest<'_> {
    /// Records the hold time of the permits, too; see [`Request::timed`].
    #[cfg(feature = "metrics")]
    pub const fn timed(mut self) -> Self {
        self.observation.timed = true;
        self
    }

    /// Opens a span around the wait, too; see [`Request::traced`].
    #[cfg(feature = "tracing")]
    pub const fn traced(mut self) -> Self {
        self.observation.traced = true;
        self
    }

    /// Runs `work` with the permits, and releases them when it ends; see [`Gate::run`](crate::Gate::run).
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` is then never polled, and no hold time is recorded.
    ///
    /// # Panics
    ///
    /// As [`Acquire`](crate::gate::Acquire) and as `work`. The permits are released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, it drops `work` first and then releases
    /// the permits.
    #[track_caller]
    pub fn run<F: Future>(self, work: F) -> impl Future<Output = Result<F::Output, AcquireError>> {
        let Self { request, observation } = self.made_here();
        async move {
            let permit = observation.acquire(request).await?;
            let permit = observation.hold(permit);
            let output = work.await;
            drop(permit);
            Ok(output)
        }
    }

    /// Runs `work` with the permits, and reports its outcome; see [`Request::observe`].
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` is then never polled, and no hold time is recorded.
    ///
    /// # Panics
    ///
    /// As [`Request::observe`]. The permits are released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, it drops `work` first and then releases
    /// the permits. There is no outcome.
    #[track_caller]
    pub fn observe<F: Future>(
        self,
        work: F,
        classify: impl FnOnce(&F::Output) -> Outcome,
    ) -> impl Future<Output = Result<F::Output, AcquireError>> {
        let Self { request, observation } = self.made_here();
        async move {
            let permit = observation.acquire(request).await?;
            let start = permit.gate().begin_attempt();
            let permit = observation.hold(permit);
            let output = work.await;
            permit.local().gate().finish_attempt(start, classify(&output));
            drop(permit);
            Ok(output)
        }
    }

    /// Runs `work` with the permits on a thread of tokio's blocking pool; see
    /// [`Gate::run_blocking`](crate::Gate::run_blocking). The hold time ends when `work` does.
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected, or [`AcquireError::NoRuntime`]. `work` then never runs.
    ///
    /// # Panics
    ///
    /// As [`Acquire`](crate::gate::Acquire) and as `work`, and if the system cannot start a thread. The permits are released.
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
        let Self { request, observation } = self.made_here();
        async move {
            // Checked first: without a runtime the request would wait for permits that it cannot use. The gate's own method
            // returns the error.
            let Ok(runtime) = Handle::try_current() else { return request.run_blocking(work).await };
            let permit = observation.acquire(request).await?;
            let gate = permit.gate().name();
            run_blocking(observation.hold(permit), gate, &runtime, work).await
        }
    }

    /// Records the location of the caller as that of the request.
    #[track_caller]
    fn made_here(self) -> Self {
        Self { request: self.request.made_here(), observation: self.observation }
    }
}
