//! A layer that holds a service to a gate.
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
//! let busy = gate.try_acquire_many(2)?;
//! let Err(GateError::Rejected(refused)) = service.ready().await?.call("seven").await else { panic!("no room") };
//! assert_eq!((refused.reason(), refused.retry_after()), ("expired", Duration::from_secs(1)));
//! # drop(busy);
//! # Ok(())
//! # }
//! ```
//!
//! # Readiness
//!
//! `poll_ready` asks the service inside, and reserves nothing of the gate: the permit is asked for when the response's
//! future is first polled, and belongs to that request. So an idle clone of a [`GateService`], of which a server makes
//! one for each connection, holds no permit and no place in line, whether it was made ready or not; and nobody is woken
//! but whose turn it is. `tower::limit::ConcurrencyLimit` reserves in `poll_ready` instead: there, a service that was
//! made ready and is not called keeps others out. A gate that is first come, first served could not mend that, so this
//! layer has no such mode.
//!
//! What follows from that for a stack of layers:
//!
//! - `LoadShed` outside of this layer sheds nothing, since the service is always ready as far as the gate goes. Bound the
//!   line instead: by [`GateSpec::queue`](crate::GateSpec::queue), by [`GateLayer::max_wait`], or by [`GateLayer::shed`],
//!   with which no request waits.
//! - `Buffer` outside of it passes its requests on without waiting for the gate: the line is at the gate, and the bound on
//!   it is the gate's.
//! - `Timeout` outside of it covers the wait, too; inside, only the service.
//! - A service inside that reserves something in `poll_ready` holds that while the request waits. Layers that limit
//!   belong outside, so the gate goes inside of them.

mod body;
mod future;
mod hold;
mod rejected;
mod terms;

pub use body::HeldBody;
pub use future::GateFuture;
pub use hold::{Holding, UntilBodyEnds, UntilResponse};
pub use rejected::{GateError, Rejected};

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_layer::Layer;
use tower_service::Service;

use crate::gate::Gate;
use terms::{Patience, Terms};

/// Holds services to a gate: each request has a permit while it is in the service.
///
/// Several layers, services and clones of them may share a gate. Requests wait in the gate's line, for as long as the gate
/// lets them, unless said otherwise.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct GateLayer<H = UntilResponse> {
    terms: Terms,
    holding: H,
}

impl GateLayer {
    /// A layer around services that share this gate.
    pub const fn new(gate: Gate) -> Self {
        let terms = Terms {
            gate,
            patience: Patience::Wait { at_most: None },
            retry_after: RETRY_AFTER,
            #[cfg(feature = "metrics")]
            timed: false,
            #[cfg(feature = "tracing")]
            traced: false,
        };
        Self { terms, holding: UntilResponse::NEW }
    }

    /// Holds the permit until the body of the response has ended or is dropped, for services that answer with an
    /// [`http::Response`]. A connection that is upgraded has no body, and holds no permit.
    ///
    /// Without this the permit is given back when the service has answered, which for a streamed body is before most of
    /// the work. With it, a client that reads slowly keeps a permit for as long as it reads.
    pub fn hold_until_body_ends(self) -> GateLayer<UntilBodyEnds> {
        GateLayer { terms: self.terms, holding: UntilBodyEnds::NEW }
    }
}

impl<H> GateLayer<H> {
    /// Lets no request wait: what has no room at once is refused. Takes the place of [`max_wait`](Self::max_wait).
    pub const fn shed(mut self) -> Self {
        self.terms.patience = Patience::Try;
        self
    }

    /// Refuses what has waited this long, even if the gate allows longer. Takes the place of [`shed`](Self::shed).
    ///
    /// Who waits then needs a tokio runtime with its timer.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.terms.patience = Patience::Wait { at_most: Some(wait) };
        self
    }

    /// When clients that were refused should try again: 1 s unless said. A longer time spreads what comes back.
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.terms.retry_after = wait;
        self
    }

    /// Records how long each permit is held, in the histogram [`HOLD`](super::metrics::HOLD). This costs two looks at the
    /// clock a request.
    #[cfg(feature = "metrics")]
    pub const fn timed(mut self) -> Self {
        self.terms.timed = true;
        self
    }

    /// Opens a span for each request that has to wait, as [`Acquire::traced`](crate::gate::Acquire::traced) does.
    #[cfg(feature = "tracing")]
    pub const fn traced(mut self) -> Self {
        self.terms.traced = true;
        self
    }
}

impl<S, H: Clone> Layer<S> for GateLayer<H> {
    type Service = GateService<S, H>;

    fn layer(&self, inner: S) -> Self::Service {
        GateService { inner, terms: Arc::new(self.terms.clone()), holding: self.holding.clone() }
    }
}

/// A service held to a gate; from a [`GateLayer`].
///
/// It has to be cloned for each request, since the one that is ready goes along with the request while it waits.
#[derive(Clone, Debug)]
pub struct GateService<S, H = UntilResponse> {
    inner: S,
    terms: Arc<Terms>,
    holding: H,
}

impl<S, R, H> Service<R> for GateService<S, H>
where
    S: Service<R> + Clone,
    H: Holding<S::Response> + Clone,
{
    type Response = <H as hold::sealed::Holding<S::Response>>::Response;
    type Error = GateError<S::Error>;
    type Future = GateFuture<S, R, H>;

    /// Ready when the service inside is. Reserves nothing of the gate.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(GateError::Service)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The one that was made ready takes the request; a fresh clone stays, and has to be made ready itself.
        let fresh = self.inner.clone();
        let ready = mem::replace(&mut self.inner, fresh);
        GateFuture::new(Arc::clone(&self.terms), ready, request, self.holding.clone())
    }
}

/// Long enough for most requests to be over, short enough for a client that is a person.
const RETRY_AFTER: Duration = Duration::from_secs(1);
