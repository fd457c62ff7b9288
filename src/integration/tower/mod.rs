//! A layer that limits the requests in flight in a service.
//!
//! ```
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use concurrency_governor::integration::tower::{GateError, GateLayer};
//! use concurrency_governor::{Gate, GateName, Limit};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! const API: GateName = GateName::new("api");
//! let gate = Gate::new(API, Limit::new(2));
//! let layer = GateLayer::new(gate.clone()).max_wait(Duration::from_millis(50));
//! let mut service = layer.layer(service_fn(|name: &'static str| async move { Ok::<_, Infallible>(name.len()) }));
//!
//! assert_eq!(service.ready().await?.call("seven").await?, 5);
//!
//! let permits = gate.try_acquire_many(2)?;
//! let Err(GateError::Rejected(rejected)) = service.ready().await?.call("seven").await else {
//!     panic!("all permits are in use")
//! };
//! assert_eq!((rejected.reason(), rejected.retry_after()), ("expired", Duration::from_secs(1)));
//! # drop(permits);
//! # Ok(())
//! # }
//! ```
//!
//! # Readiness
//!
//! `poll_ready` polls the inner service only and takes no permit. The request takes its permit when the response future
//! is first polled. Therefore an idle clone of a [`GateService`] holds no permit and no place in the queue, even if it is
//! ready. A server keeps one such clone for each connection. Each release wakes only the next waiter.
//!
//! `tower::limit::ConcurrencyLimit` takes the permit in `poll_ready` instead. There, a service that is ready but not
//! called blocks other requests. A first-come, first-served gate cannot avoid that problem, so this layer has no such
//! mode.
//!
//! A layer [by key](GateLayer::by_key) could not take the permit in `poll_ready` at all: the key is part of the request, which is
//! not known before `call`.
//!
//! Consequences for a stack of layers:
//!
//! - `LoadShed` outside of this layer sheds nothing, because a full gate does not make the service unready. Bound the
//!   queue instead, by [`GateSpec::queue`](crate::GateSpec::queue) or [`GateLayer::max_wait`], or let no request wait,
//!   by [`GateLayer::no_wait`].
//! - `Buffer` outside of this layer forwards its requests without waiting for the gate. The requests wait in the gate's
//!   queue, and the gate's bound applies.
//! - `Timeout` outside of this layer includes the wait; inside, it covers the service only.
//! - An inner service that reserves something in `poll_ready` keeps it while the request waits. Put such layers outside
//!   of this one.
//!
//! # Blocking work in a request
//!
//! A service must not acquire a second permit from the gate of its own request. At a limit of 1,
//! [`Gate::run_blocking`](crate::Gate::run_blocking) would wait for ever for the permit that its own request holds. At a higher limit,
//! the same happens if as many requests as the limit do this at the same time. With [`GateLayer::pass_permit`], the service
//! finds the permit in the extensions of the request, and [`RequestPermit::run_blocking`] uses it:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use concurrency_governor::integration::tower::{GateLayer, RequestPermit};
//! use concurrency_governor::{AcquireError, Gate, GateName, Limit};
//! use http::{Request, Response};
//! use tower::{Layer, Service, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! async fn hash(request: Request<String>) -> Result<Response<usize>, AcquireError> {
//!     let (mut parts, body) = request.into_parts();
//!     // In an axum handler: the extractor `Extension(permit): Extension<RequestPermit>`.
//!     let permit: RequestPermit = parts.extensions.remove().expect("the layer passes the permit");
//!     let hash = permit.run_blocking(move || body.len()).await?; // counts until the closure has ended
//!     Ok(Response::new(hash))
//! }
//!
//! let gate = Gate::new(GateName::new("blocking"), Limit::new(1));
//! let mut service = GateLayer::new(gate).pass_permit().layer(service_fn(hash));
//! let response = service.ready().await?.call(Request::new("seven".to_owned())).await?;
//! assert_eq!(*response.body(), 5);
//! # Ok(())
//! # }
//! ```

mod admission;
mod body;
mod classify;
mod future;
mod layer_gate;
mod outcome;
mod pass;
mod permit;
mod rejected;
mod release;

pub use body::HeldBody;
pub use classify::{ByKey, ByPriority, Classifying, IntoRequestKey, NoKeysError, Unclassified};
pub use future::GateFuture;
pub use layer_gate::LayerGate;
pub use outcome::{ByOutcome, Observing, Unobserved};
pub use pass::{Passing, PermitInLayer, PermitInRequest};
pub use permit::RequestPermit;
pub use rejected::{GateError, Rejected};
pub use release::{Holding, UntilBodyEnds, UntilResponse};

use std::mem;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::feedback::Outcome;
use crate::gate::Priority;
use crate::integration::observed::Observation;
use admission::{LayerSettings, RequestAdmission, WaitPolicy};
use rejected::DEFAULT_RETRY_AFTER;
use release::sealed::ReleasePermit;

/// A layer that gives each request a permit of a gate while the request is in the service.
///
/// Several layers and services may share a gate. By default, requests wait in the gate's queue for as long as the gate
/// allows.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it wraps a service"]
pub struct GateLayer<H = UntilResponse, P = PermitInLayer, C = Unclassified, O = Unobserved> {
    settings: LayerSettings,
    holding: H,
    passing: P,
    classifying: C,
    observing: O,
}

impl GateLayer {
    /// Creates a layer whose services share this gate: a [`Gate`](crate::Gate), or a `SharedGate` of the feature `fleet`. A gate that
    /// [tracks its holders](crate::GateSpec::track_holders) records the location of this call for each request.
    ///
    /// While a shared gate has no permits from its ledger, it rejects each request that may not wait or whose deadline passes, with the
    /// reason `unleased`.
    #[track_caller]
    pub fn new(gate: impl Into<LayerGate>) -> Self {
        let settings = LayerSettings {
            gate: gate.into(),
            location: Location::caller(),
            wait_policy: WaitPolicy::AsGateAllows,
            retry_after: DEFAULT_RETRY_AFTER,
            observation: Observation::NONE,
        };
        Self {
            settings,
            holding: UntilResponse::NEW,
            passing: PermitInLayer::NEW,
            classifying: Unclassified::NEW,
            observing: Unobserved::NEW,
        }
    }
}

impl<P, C, O> GateLayer<UntilResponse, P, C, O> {
    /// Holds the permit until the body of the response has ended or is dropped. The service must respond with an
    /// [`http::Response`].
    ///
    /// By default, the permit is released when the service has responded. For a streamed body, that is before most of the
    /// work. With this setting, a client that reads slowly holds its permit for as long as it reads. An upgraded
    /// connection has no body, so it holds no permit.
    pub fn hold_until_body_ends(self) -> GateLayer<UntilBodyEnds, P, C, O> {
        let Self { settings, passing, classifying, observing, .. } = self;
        GateLayer { settings, holding: UntilBodyEnds::NEW, passing, classifying, observing }
    }
}

impl<H, C, O> GateLayer<H, PermitInLayer, C, O> {
    /// Puts the permit into the extensions of the request, as a [`RequestPermit`]. The request must be an
    /// [`http::Request`].
    ///
    /// The service can then keep the permit in use for work that outlasts its response, and can run
    /// [blocking work](RequestPermit::run_blocking) under it. The permit is released when the layer and the service have
    /// dropped it. This allocates memory for each request.
    pub fn pass_permit(self) -> GateLayer<H, PermitInRequest, C, O> {
        let Self { settings, holding, classifying, observing, .. } = self;
        GateLayer { settings, holding, passing: PermitInRequest::NEW, classifying, observing }
    }
}

impl<H, P, C> GateLayer<H, P, C, Unobserved> {
    /// Reports the outcome of each request to the gate, whose limit may be [adaptive](crate::GateSpec::adaptive). The latency is the time
    /// from the admission to the response of the service, without the time of its body.
    ///
    /// `classify` gets the result of the service, and returns what this result says about the load. A request that is dropped before the
    /// result has no outcome.
    ///
    /// Put retries outside of this layer: otherwise the time of all tries counts as the latency of one.
    ///
    /// ```
    /// use concurrency_governor::feedback::Outcome;
    /// use concurrency_governor::integration::tower::GateLayer;
    /// use concurrency_governor::{Gate, GateName, Limit};
    /// use http::{Response, StatusCode};
    ///
    /// let gate = Gate::new(GateName::new("upstream"), Limit::new(16));
    /// let layer = GateLayer::new(gate).observe(|result: &Result<Response<String>, std::io::Error>| match result {
    ///     Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => Outcome::Overload,
    ///     Ok(response) if response.status().is_server_error() => Outcome::Ignore, // says nothing about the load
    ///     Ok(_) => Outcome::Success,
    ///     Err(_) => Outcome::Overload,
    /// });
    /// # let _ = layer;
    /// ```
    pub fn observe<F, T, E>(self, classify: F) -> GateLayer<H, P, C, ByOutcome<F>>
    where
        F: Fn(&Result<T, E>) -> Outcome,
    {
        let Self { settings, holding, passing, classifying, .. } = self;
        GateLayer { settings, holding, passing, classifying, observing: ByOutcome::new(classify) }
    }
}

impl<H, P, C, O> GateLayer<H, P, C, O> {
    /// Shares the gate fairly among keys, such as tenants: each request acquires from the [gate of its key](crate::Gate::key).
    ///
    /// `key_of` gets the request, and returns its key: a `String`, a `u64`, a [`Key`](crate::gate::Key), or an `Option` of these. A
    /// request for which it returns `None` acquires from the gate itself. All such requests together get the share of one more key. A
    /// text of the request has to be copied, as in the example.
    ///
    /// If as many keys are busy as the gate allows, a request of another key is rejected with the reason `too_many_keys`. So derive
    /// the key from something that the client has proved, such as its account, and not from a text that it may invent.
    ///
    /// `key_of` is called in `Service::call`, before the wait. Its first parameter needs a type. A second call of this method replaces
    /// the first.
    ///
    /// ```
    /// use concurrency_governor::gate::Key;
    /// use concurrency_governor::integration::tower::GateLayer;
    /// use concurrency_governor::{Gate, GateName, Keys, Limit};
    /// use http::Request;
    ///
    /// let gate = Gate::builder(GateName::new("api"), Limit::new(64)).keyed(Keys::up_to(4096)).build();
    /// let layer = GateLayer::new(gate).by_key(|request: &Request<String>| {
    ///     let tenant = request.headers().get("x-tenant")?; // without this header: the gate itself
    ///     tenant.to_str().ok().map(Key::from)
    /// });
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// If the gate has no keys. [`try_by_key`](Self::try_by_key) returns an error instead. No request panics for this reason.
    #[track_caller]
    pub fn by_key<F, R, K>(self, key_of: F) -> GateLayer<H, P, ByKey<F, C>, O>
    where
        F: Fn(&R) -> K,
        K: IntoRequestKey,
    {
        match self.try_by_key(key_of) {
            Ok(layer) => layer,
            Err(error) => panic!("{error}"),
        }
    }

    /// Same as [`by_key`](Self::by_key), for a gate that may have no keys, such as one of a plan file.
    ///
    /// # Errors
    ///
    /// [`NoKeysError`] if the gate has no keys.
    pub fn try_by_key<F, R, K>(self, key_of: F) -> Result<GateLayer<H, P, ByKey<F, C>, O>, NoKeysError>
    where
        F: Fn(&R) -> K,
        K: IntoRequestKey,
    {
        let Self { settings, holding, passing, classifying, observing } = self;
        NoKeysError::check(&settings.gate)?;
        let classifying = ByKey::new(key_of, classifying);
        Ok(GateLayer { settings, holding, passing, classifying, observing })
    }

    /// Sets the [priority](crate::gate::Request::priority) of each request. It has no effect at a [standalone](crate::gate) gate.
    ///
    /// `priority_of` is called in `Service::call`, before the wait. Its parameter needs a type. A second call of this method replaces
    /// the first.
    ///
    /// ```
    /// use concurrency_governor::gate::Priority;
    /// use concurrency_governor::integration::tower::GateLayer;
    /// use concurrency_governor::{Gate, GateName, Keys, Limit};
    /// use http::Request;
    ///
    /// let gate = Gate::builder(GateName::new("api"), Limit::new(64)).keyed(Keys::up_to(4096)).build();
    /// let layer = GateLayer::new(gate).priority(|request: &Request<String>| match request.uri().path() {
    ///     "/checkout" => Priority::Critical,
    ///     path if path.starts_with("/export/") => Priority::Batch,
    ///     _ => Priority::Normal,
    /// });
    /// # let _ = layer;
    /// ```
    pub fn priority<F, R>(self, priority_of: F) -> GateLayer<H, P, ByPriority<F, C>, O>
    where
        F: Fn(&R) -> Priority,
    {
        let Self { settings, holding, passing, classifying, observing } = self;
        let classifying = ByPriority::new(priority_of, classifying);
        GateLayer { settings, holding, passing, classifying, observing }
    }

    /// Rejects each request that would have to wait. Replaces [`max_wait`](Self::max_wait).
    pub const fn no_wait(mut self) -> Self {
        self.settings.wait_policy = WaitPolicy::Never;
        self
    }

    /// Rejects each request that has waited this long, even if the gate allows a longer wait. Replaces
    /// [`no_wait`](Self::no_wait).
    ///
    /// A request that waits then needs a tokio runtime with time enabled.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.wait_policy = WaitPolicy::AtMost(wait);
        self
    }

    /// Sets the time after which rejected clients should retry. Default: 1 s. A longer time spreads the retries. At a gate that
    /// [sheds](crate::Shed), the [time that the gate gives](crate::AcquireError::retry_after) replaces it, plus or minus up to a quarter.
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.settings.retry_after = wait;
        self
    }

    /// Records the hold time of each permit in the histogram [`HOLD`](super::metrics::HOLD). This reads the clock twice per
    /// request.
    #[cfg(feature = "metrics")]
    pub const fn timed(mut self) -> Self {
        self.settings.observation.timed = true;
        self
    }

    /// Opens a span for each request that waits, as [`Acquire::traced`](crate::gate::Acquire::traced) does.
    ///
    /// The span of a request with a key has the field `keyed`, and not the key itself, which may be a secret. The span has the field
    /// `priority` unless it is normal.
    #[cfg(feature = "tracing")]
    pub const fn traced(mut self) -> Self {
        self.settings.observation.traced = true;
        self
    }

    /// Opens a span as [`traced`](Self::traced) does, with the text of the request's key in the field `key`.
    #[cfg(feature = "tracing")]
    pub const fn traced_with_keys(mut self) -> Self {
        self.settings.observation.traced = true;
        self.settings.observation.shows_key = true;
        self
    }
}

impl<S, H: Clone, P: Clone, C: Clone, O: Clone> Layer<S> for GateLayer<H, P, C, O> {
    type Service = GateService<S, H, P, C, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { settings, holding, passing, classifying, observing } = self.clone();
        GateService { inner, settings: Arc::new(settings), holding, passing, classifying, observing }
    }
}

/// A service behind a gate; from a [`GateLayer`].
///
/// The inner service must be `Clone`, because each request takes the instance that is ready with it into the queue.
#[derive(Clone, Debug)]
pub struct GateService<S, H = UntilResponse, P = PermitInLayer, C = Unclassified, O = Unobserved> {
    inner: S,
    settings: Arc<LayerSettings>,
    holding: H,
    passing: P,
    classifying: C,
    observing: O,
}

impl<S, R, H, P, C, O> Service<R> for GateService<S, H, P, C, O>
where
    S: Service<R> + Clone,
    H: Holding<S::Response> + Clone,
    P: Passing<R> + Clone,
    C: Classifying<R>,
    O: Observing<S::Response, S::Error> + Clone,
{
    type Response = <H as ReleasePermit<S::Response>>::Response;
    type Error = GateError<S::Error>;
    type Future = GateFuture<S, R, H, P, O>;

    /// Polls the inner service. Takes no permit: the request, which has the key and the priority, is not known yet.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(GateError::Service)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let admission = RequestAdmission::new(&self.settings, &self.classifying, &request);
        // The instance that is ready serves this request. The fresh clone that replaces it is not ready yet.
        let fresh = self.inner.clone();
        let ready = mem::replace(&mut self.inner, fresh);
        let permit_use = (self.holding.clone(), self.passing.clone(), self.observing.clone());
        GateFuture::new(admission, ready, request, permit_use)
    }
}
