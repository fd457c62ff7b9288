//! The client of the provider.

use std::fmt;

use axum::BoxError;
use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri};
use concurrency_governor::feedback::Outcome;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::limits::MAX_HOLD;

/// A pool of connections to the provider. A clone shares it.
#[derive(Clone)]
pub struct Provider {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

impl Provider {
    /// Creates a client for the provider at this address, such as `http://127.0.0.1:9000`.
    pub fn new(address: &str) -> Result<Self, BoxError> {
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            uri: format!("{address}/complete").parse()?,
        })
    }

    /// Makes one call, and reads the whole answer: the provider works until its end.
    pub async fn complete(&self, prompt: Bytes) -> Result<(StatusCode, Bytes), CallError> {
        let call = async {
            let request = Request::post(self.uri.clone()).body(Full::new(prompt))?;
            let (head, body) = self.client.request(request).await?.into_parts();
            Ok((head.status, body.collect().await?.to_bytes()))
        };
        timeout(MAX_HOLD, call).await.map_err(|_| CallError::TimedOut)?.map_err(CallError::Failed)
    }
}

/// Returns what an answer means for the load of the provider.
pub fn outcome_of(answer: &Result<(StatusCode, Bytes), CallError>) -> Outcome {
    match answer {
        Ok((StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, _)) => Outcome::Overload,
        Ok((status, _)) if status.is_success() => Outcome::Success, // its latency counts
        Ok(_) => Outcome::Ignore, // the content of the request, or a bug: says nothing about load
        Err(_) => Outcome::Overload,
    }
}

/// Why a call has no answer.
pub enum CallError {
    TimedOut,
    Failed(BoxError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => write!(f, "the provider did not answer within {MAX_HOLD:?}"),
            Self::Failed(error) => write!(f, "the call to the provider has failed: {error}"),
        }
    }
}
