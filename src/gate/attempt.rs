//! Attempts: permits that report the outcome of their work.

use std::fmt;
use std::future::Future;

use super::error::AcquireError;
use super::handle::Gate;
use super::outcomes::AttemptStart;
use super::permit::{OwnedPermit, Permit};
use super::request::Request;
use crate::feedback::Outcome;

/// A permit together with the measurement of one attempt at its work; from [`Permit::attempt`].
///
/// A gate with an [adaptive](crate::GateSpec::adaptive) limit learns from the outcome of the attempt, and from the time between its start
/// and its [`finish`](Self::finish). Dropping the attempt releases the permit and records no outcome: cancelled work says nothing about the
/// server.
///
/// Put the attempt inside of a retry loop, not around it. Otherwise the time of all tries counts as the latency of one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::feedback::Outcome;
/// use concurrency_governor::{Gate, GateName, Limit};
///
/// # async fn call() -> Result<&'static str, std::io::Error> { Ok("pong") }
/// let upstream = Gate::new(GateName::new("upstream"), Limit::new(16));
/// let attempt = upstream.acquire().await?.attempt();
/// let answer = call().await;
/// attempt.finish(match &answer {
///     Ok(_) => Outcome::Success,
///     Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Outcome::Overload,
///     Err(_) => Outcome::Ignore, // says nothing about the load
/// });
/// assert_eq!(upstream.in_use(), 0);
/// # Ok(())
/// # }
/// ```
#[must_use = "an attempt that is dropped has no outcome"]
pub struct Attempt<P> {
    permit: P,
    start: AttemptStart,
}

impl Permit<'_> {
    /// Starts an attempt at the work of this permit. Its latency is measured from now on. Has no effect at a gate whose limit is not
    /// adaptive.
    #[inline]
    pub fn attempt(self) -> Attempt<Self> {
        Attempt { start: self.gate().begin_attempt(), permit: self }
    }
}

impl OwnedPermit {
    /// Starts an attempt at the work of this permit; see [`Permit::attempt`].
    #[inline]
    pub fn attempt(self) -> Attempt<Self> {
        Attempt { start: self.gate().begin_attempt(), permit: self }
    }
}

impl<P> Attempt<P> {
    /// Returns the permit.
    pub const fn permit(&self) -> &P {
        &self.permit
    }
}

impl<P: sealed::HasGate> Attempt<P> {
    /// Starts an attempt at the work of this permit.
    #[cfg(feature = "fleet")]
    pub(crate) fn start(permit: P) -> Self {
        Self { start: permit.gate().begin_attempt(), permit }
    }

    /// Reports the outcome, and releases the permit.
    #[inline]
    pub fn finish(self, outcome: Outcome) {
        drop(self.report(outcome));
    }

    /// Reports the outcome, and returns the permit for work that goes on, such as the transfer of a body.
    #[inline]
    pub fn report(self, outcome: Outcome) -> P {
        self.permit.gate().finish_attempt(self.start, outcome);
        self.permit
    }
}

impl<P: fmt::Debug> fmt::Debug for Attempt<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("permit", &self.permit).finish_non_exhaustive()
    }
}

impl Request<'_> {
    /// Runs `work` with the permits as [`run`](Self::run) does, and reports its outcome to a gate whose limit is
    /// [adaptive](crate::GateSpec::adaptive). The latency is counted from the admission, so waiting for the permits is no part of it.
    ///
    /// `classify` returns what the output says about the load of the server: the latency is valid, the server was overloaded, or neither.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::feedback::Outcome;
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let upstream = Gate::new(GateName::new("upstream"), Limit::new(16));
    /// let call = async { Ok::<_, std::io::Error>("pong") };
    /// let answer = upstream.request().observe(call, |answer| match answer {
    ///     Ok(_) => Outcome::Success,
    ///     Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Outcome::Overload,
    ///     Err(_) => Outcome::Ignore,
    /// });
    /// assert_eq!(answer.await??, "pong");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`] if the request is rejected. `work` is then never polled, and there is no outcome.
    ///
    /// # Panics
    ///
    /// As [`Acquire`](super::Acquire), as `work` and as `classify`. The permits are released, and there is no outcome.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes a waiting request from the queue. Once `work` has started, `work` is dropped first, and then the
    /// permits. There is no outcome.
    #[track_caller]
    pub fn observe<F: Future>(
        self,
        work: F,
        classify: impl FnOnce(&F::Output) -> Outcome,
    ) -> impl Future<Output = Result<F::Output, AcquireError>> {
        let request = self.made_here();
        async move {
            let attempt = request.acquire().await?.attempt();
            let output = work.await;
            attempt.finish(classify(&output));
            Ok(output)
        }
    }
}

impl sealed::HasGate for Permit<'_> {
    #[inline]
    fn gate(&self) -> &Gate {
        self.gate()
    }
}

impl sealed::HasGate for OwnedPermit {
    #[inline]
    fn gate(&self) -> &Gate {
        self.gate()
    }
}

/// Private, so that no other crate implements it.
pub(crate) mod sealed {
    use super::Gate;

    pub trait HasGate {
        fn gate(&self) -> &Gate;
    }
}
