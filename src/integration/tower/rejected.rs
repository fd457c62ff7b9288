//! What a service behind a gate fails with.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::gate::{AcquireError, TryAcquireError};
use crate::integration::reason;
use crate::plan::GateName;

/// What a [`GateService`](super::GateService) fails with. Closed: a request is refused by the gate, or fails in the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateError<E> {
    /// The gate did not admit the request, so the service never saw it.
    Rejected(Rejected),
    /// The service failed.
    Service(E),
}

impl GateError<Infallible> {
    /// The answer to a request that was refused, where the service itself cannot fail: [`Rejected::into_response`].
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        match self {
            Self::Rejected(refused) => refused.into_response(),
            Self::Service(never) => match never {},
        }
    }
}

impl<E> From<Rejected> for GateError<E> {
    fn from(refused: Rejected) -> Self {
        Self::Rejected(refused)
    }
}

impl<E: fmt::Display> fmt::Display for GateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(refused) => refused.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

/// An error whatever the service fails with, boxed errors included: so it names no source. Match it for the service's own.
impl<E: fmt::Debug + fmt::Display> Error for GateError<E> {}

/// Why a request was refused, and when it is worth another try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Rejected {
    cause: Cause,
    retry_after: Duration,
}

/// What the gate said. Its message is what the operator needs to know, and no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Cause {
    #[error(transparent)]
    Waited(#[from] AcquireError),
    #[error(transparent)]
    Tried(#[from] TryAcquireError),
}

impl Rejected {
    pub(super) fn new(cause: impl Into<Cause>, retry_after: Duration) -> Self {
        Self { cause: cause.into(), retry_after }
    }

    /// The gate that refused.
    #[must_use]
    pub const fn gate(&self) -> GateName {
        match &self.cause {
            Cause::Waited(error) => error.gate(),
            Cause::Tried(error) => error.gate(),
        }
    }

    /// Why, in a word: `no_permits`, `queue_full`, `expired`, `closed`. The metrics have the same words.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match &self.cause {
            Cause::Waited(error) => reason::of(error),
            Cause::Tried(error) => reason::of_try(error),
        }
    }

    /// When the client should try again: what [`GateLayer::retry_after`](super::GateLayer::retry_after) was given.
    #[must_use]
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// The answer for the client: status 503, `Retry-After` in whole seconds (rounded up, at least 1), and a line of text.
    ///
    /// It names neither the gate nor its limit, which are the operator's business.
    #[must_use]
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let part = u64::from(self.retry_after.subsec_nanos() > 0);
        let seconds = self.retry_after.as_secs().saturating_add(part).max(1);
        let body = format!("the service is busy: try again in {seconds} s\n");
        let mut response = Response::new(B::from(body));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}
