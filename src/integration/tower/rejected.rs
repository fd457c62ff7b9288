//! The errors of a service behind a gate.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

#[cfg(feature = "fleet")]
use crate::fleet::{SharedAcquireError, SharedTryError};
use crate::gate::{AcquireError, TryAcquireError};
use crate::integration::reason;
use crate::jitter;
use crate::plan::GateName;
use crate::plan::debug_as_display::impl_debug_as_display;

/// The error of a [`GateService`](super::GateService). The enum is closed: either the gate rejects a request, or the service
/// fails.
#[derive(Clone, PartialEq, Eq)]
pub enum GateError<E> {
    /// The gate rejected the request, so the service was not called.
    Rejected(Rejected),
    /// The service failed.
    Service(E),
}

impl GateError<Infallible> {
    /// Converts the rejection to an HTTP response, for a service that cannot fail: see [`Rejected::into_response`].
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        match self {
            Self::Rejected(rejected) => rejected.into_response(),
            Self::Service(never) => match never {},
        }
    }
}

impl<E> From<Rejected> for GateError<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E> From<AcquireError> for GateError<E> {
    fn from(error: AcquireError) -> Self {
        Self::Rejected(error.into())
    }
}

impl<E> From<TryAcquireError> for GateError<E> {
    fn from(error: TryAcquireError) -> Self {
        Self::Rejected(error.into())
    }
}

/// A rejection prints the same with `Debug` as with `Display`.
impl<E: fmt::Debug> fmt::Debug for GateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Display> fmt::Display for GateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

/// `E` need not implement `Error`, because a boxed error does not. Therefore there is no `source`: match the enum to get the
/// service's own error.
impl<E: fmt::Debug + fmt::Display> Error for GateError<E> {}

/// Why a request was rejected, and when the client should retry.
///
/// A rejection by the gate itself converts to it, and both convert to an [`http::Response`]. So a handler that acquires
/// permits itself responds with 503 and `Retry-After` by `?`. In axum, whose `Response` is an [`http::Response`]:
///
/// ```
/// # #[derive(Debug)] struct Body(String);
/// # impl From<String> for Body { fn from(text: String) -> Self { Self(text) } }
/// # type Response = http::Response<Body>;
/// # use concurrency_governor::{Gate, GateName, Limit};
/// async fn download(gate: Gate) -> Result<String, Response> { // axum::response::Response
///     let _permit = gate.acquire().await?;
///     Ok("the file".to_owned())
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let gate = Gate::builder(GateName::new("downloads"), Limit::new(1)).queue(0).build();
/// let _other_download = gate.try_acquire().unwrap();
/// let response = download(gate.clone()).await.unwrap_err();
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "1");
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Rejected {
    cause: RejectionCause,
    retry_after: Duration,
}

impl_debug_as_display!(Rejected);

/// The gate's own error. Its message is for the operator, not for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RejectionCause {
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    #[error(transparent)]
    TryAcquire(#[from] TryAcquireError),
    #[cfg(feature = "fleet")]
    #[error(transparent)]
    SharedAcquire(#[from] SharedAcquireError),
    #[cfg(feature = "fleet")]
    #[error(transparent)]
    SharedTry(#[from] SharedTryError),
}

impl Rejected {
    /// `otherwise` is the time to retry if the gate gives none.
    pub(super) fn new(cause: RejectionCause, otherwise: Duration) -> Self {
        let hint = match &cause {
            RejectionCause::Acquire(error) => error.retry_after(),
            #[cfg(feature = "fleet")]
            RejectionCause::SharedAcquire(SharedAcquireError::Rejected(error)) => error.retry_after(),
            _ => None,
        };
        // Clients that get the same whole number of seconds retry together, so the hint of the gate is randomized once more.
        Self { cause, retry_after: hint.map_or(otherwise, jitter::spread) }
    }

    /// Sets the time after which the client should retry. Default: at a gate that [sheds](crate::Shed), the time that
    /// [the gate gives](AcquireError::retry_after), plus or minus up to a quarter; else 1 s, or the time of the
    /// [layer](super::GateLayer::retry_after) that rejected the request.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = wait;
        self
    }

    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match &self.cause {
            RejectionCause::Acquire(error) => error.gate(),
            RejectionCause::TryAcquire(error) => error.gate(),
            #[cfg(feature = "fleet")]
            RejectionCause::SharedAcquire(error) => error.gate(),
            #[cfg(feature = "fleet")]
            RejectionCause::SharedTry(error) => error.gate(),
        }
    }

    /// Returns the reason as one word: `no_permits`, `paused`, `queue_full`, `expired`, `shed`, `would_expire`, `too_many_keys`, `closed`,
    /// or `unleased` at a shared gate without permits from its ledger. The error of a request that a handler makes itself can also have
    /// the reason `too_large`, `zero_weight` or `self_wait`. The metrics use the same words, but count a `queue_full` after a wait as
    /// `pushed_out`. They do not count `self_wait`, nor a `closed` because of a missing runtime.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match &self.cause {
            RejectionCause::Acquire(error) => reason::of_acquire(error),
            RejectionCause::TryAcquire(error) => reason::of_try_acquire(error),
            #[cfg(feature = "fleet")]
            RejectionCause::SharedAcquire(error) => reason::of_shared_acquire(error),
            #[cfg(feature = "fleet")]
            RejectionCause::SharedTry(error) => reason::of_shared_try(error),
        }
    }

    /// Returns the time after which the client should retry.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// Converts the rejection to an HTTP response: status 503, `Retry-After` in whole seconds (rounded up, at least 1),
    /// and one line of text. A gate that is closed does not open again, so its response says that the service is shutting down,
    /// and has no `Retry-After`.
    ///
    /// The text names neither the gate nor its limit, because they are internals of the server.
    ///
    /// Each reason has the same status, also `too_many_keys`. The status 429 would mean that this client has sent too many requests, but
    /// the table of keys is full because of other clients. nginx also responds with 503 when the memory for the keys of `limit_conn` is
    /// exhausted.
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let has_fraction = u64::from(self.retry_after.subsec_nanos() > 0);
        let seconds = self.retry_after.as_secs().saturating_add(has_fraction).max(1);
        let is_closed = self.reason() == "closed";
        let body = if is_closed {
            "the service is shutting down\n".to_owned()
        } else {
            format!("the service is busy: try again in {seconds} s\n")
        };
        let mut response = Response::new(B::from(body));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        if !is_closed {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

impl From<AcquireError> for Rejected {
    fn from(error: AcquireError) -> Self {
        Self::new(error.into(), DEFAULT_RETRY_AFTER)
    }
}

impl From<TryAcquireError> for Rejected {
    fn from(error: TryAcquireError) -> Self {
        Self::new(error.into(), DEFAULT_RETRY_AFTER)
    }
}

#[cfg(feature = "fleet")]
impl From<SharedAcquireError> for Rejected {
    fn from(error: SharedAcquireError) -> Self {
        Self::new(error.into(), DEFAULT_RETRY_AFTER)
    }
}

#[cfg(feature = "fleet")]
impl From<SharedTryError> for Rejected {
    fn from(error: SharedTryError) -> Self {
        Self::new(error.into(), DEFAULT_RETRY_AFTER)
    }
}

/// Converts as [`Rejected::into_response`] does.
#[cfg(feature = "fleet")]
impl<B: From<String>> From<SharedAcquireError> for Response<B> {
    fn from(error: SharedAcquireError) -> Self {
        Rejected::from(error).into_response()
    }
}

/// Converts as [`Rejected::into_response`] does.
impl<B: From<String>> From<Rejected> for Response<B> {
    fn from(rejected: Rejected) -> Self {
        rejected.into_response()
    }
}

/// Converts as [`GateError::into_response`] does.
impl<B: From<String>> From<GateError<Infallible>> for Response<B> {
    fn from(error: GateError<Infallible>) -> Self {
        error.into_response()
    }
}

/// Converts as [`Rejected::into_response`] does.
impl<B: From<String>> From<AcquireError> for Response<B> {
    fn from(error: AcquireError) -> Self {
        Rejected::from(error).into_response()
    }
}

/// Converts as [`Rejected::into_response`] does.
impl<B: From<String>> From<TryAcquireError> for Response<B> {
    fn from(error: TryAcquireError) -> Self {
        Rejected::from(error).into_response()
    }
}

/// The default time after which clients should retry: longer than most requests take, and short enough for an interactive
/// client.
pub(super) const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
