//! Whether the service gets the permit of its request.

use std::panic;
use std::sync::Arc;

use http::Request;
use tokio::runtime::Handle;

use super::admission::HeldPermit;
use crate::gate::{AcquireError, OwnedPermit};

/// The layer keeps the permit of a request for itself. This is the default of a [`GateLayer`](super::GateLayer).
#[derive(Clone, Copy, Debug)]
pub struct PermitInLayer(());

/// The layer puts the permit into the extensions of the request.
#[derive(Clone, Copy, Debug)]
pub struct PermitInRequest(());

impl PermitInLayer {
    pub(super) const NEW: Self = Self(());
}

impl PermitInRequest {
    pub(super) const NEW: Self = Self(());
}

/// The permit of a request; from the request's extensions, where [`GateLayer::pass_permit`](super::GateLayer::pass_permit)
/// puts it.
///
/// A clone shares the permit. The permit is released when the layer and every clone have dropped it.
#[derive(Clone, Debug)]
#[must_use = "the permit counts as in use while this value exists"]
pub struct RequestPermit(Arc<HeldPermit>);

impl RequestPermit {
    /// Returns the admission: its gate and its weight.
    pub fn permit(&self) -> &OwnedPermit {
        self.0.permit()
    }

    /// Runs `work` under this permit on a thread of tokio's blocking pool. A panic of `work` continues in the caller.
    ///
    /// It waits for no second permit, unlike [`Gate::run_blocking`](crate::Gate::run_blocking). The permit is in use until
    /// `work` ends, even if the future was dropped: a thread cannot be stopped, so it counts for as long as it runs.
    ///
    /// # Errors
    ///
    /// [`AcquireError::NoRuntime`] if there is no tokio runtime, or if it shut down before `work` started.
    ///
    /// # Panics
    ///
    /// As `work`, and if the system cannot start a thread.
    ///
    /// # Cancel safety
    ///
    /// Once the future has been polled, `work` runs to its end.
    pub async fn run_blocking<F, T>(self, work: F) -> Result<T, AcquireError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let gate = self.permit().gate().name();
        let Ok(runtime) = Handle::try_current() else { return Err(AcquireError::NoRuntime { gate }) };
        let running = runtime.spawn_blocking(move || {
            let _permit = self;
            work()
        });
        match running.await {
            Ok(output) => Ok(output),
            Err(ended) if ended.is_panic() => panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(AcquireError::NoRuntime { gate }),
        }
    }
}

/// Whether the service gets the permit of a request. Sealed: [`PermitInLayer`] and [`PermitInRequest`] are the only
/// implementations.
pub trait Passing<R>: sealed::PassPermit<R> {}

impl<R, P: sealed::PassPermit<R>> Passing<R> for P {}

/// Private, so that no other crate implements [`Passing`].
pub(super) mod sealed {
    use super::HeldPermit;

    pub trait PassPermit<R> {
        /// Attaches the permit to the request, if the service gets it. Returns the permit for the layer.
        fn pass(request: &mut R, permit: HeldPermit) -> HeldPermit;
    }
}

impl<R> sealed::PassPermit<R> for PermitInLayer {
    fn pass(_: &mut R, permit: HeldPermit) -> HeldPermit {
        permit
    }
}

impl<B> sealed::PassPermit<Request<B>> for PermitInRequest {
    fn pass(request: &mut Request<B>, permit: HeldPermit) -> HeldPermit {
        let shared = RequestPermit(Arc::new(permit));
        request.extensions_mut().insert(shared.clone());
        HeldPermit::Shared(shared)
    }
}
