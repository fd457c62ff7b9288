//! The errors of a service behind a gate.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::gate::{AcquireError, TryAcquireError};
use crate::integration::reason;
use crate::plan::GateName;

/// The error of a [`GateService`](super::GateService). The enum is closed: either the gate rejects a request, or the service
/// fails.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl<E: fmt::Display> fmt::Display for GateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

/// `E` need not be an `Error`, because a boxed error is none. Therefore there is no `source`: match the enum to get the
/// service's own error.
impl<E: fmt::Debug + fmt::Display> Error for GateError<E> {}

/// Why a request was rejected, and when the client should retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Rejected {
    cause: RejectionCause,
    retry_after: Duration,
}

/// The gate's own error. Its message is for the operator, not for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RejectionCause {
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    #[error(transparent)]
    TryAcquire(#[from] TryAcquireError),
}

impl Rejected {
    pub(super) fn new(cause: RejectionCause, retry_after: Duration) -> Self {
        Self { cause, retry_after }
    }

    /// Returns the name of the gate.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match &self.cause {
            RejectionCause::Acquire(error) => error.gate(),
            RejectionCause::TryAcquire(error) => error.gate(),
        }
    }

    /// Returns the reason as one word: `no_permits`, `queue_full`, `expired` or `closed`. The metrics use the same words.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match &self.cause {
            RejectionCause::Acquire(error) => reason::of_acquire(error),
            RejectionCause::TryAcquire(error) => reason::of_try_acquire(error),
        }
    }

    /// Returns the time after which the client should retry, as set by
    /// [`GateLayer::retry_after`](super::GateLayer::retry_after).
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// Converts the rejection to an HTTP response: status 503, `Retry-After` in whole seconds (rounded up, at least 1),
    /// and one line of text.
    ///
    /// The text names neither the gate nor its limit, because they are internals of the server.
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let has_fraction = u64::from(self.retry_after.subsec_nanos() > 0);
        let seconds = self.retry_after.as_secs().saturating_add(has_fraction).max(1);
        let body = format!("the service is busy: try again in {seconds} s\n");
        let mut response = Response::new(B::from(body));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}
