//! Whether the service gets the permit of its request.

use http::Request;

use super::permit::{HeldPermit, RequestPermit};
use crate::integration::observed::ObservedPermit;

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

/// Whether the service gets the permit of a request. Sealed: [`PermitInLayer`] and [`PermitInRequest`] are the only
/// implementations.
pub trait Passing<R>: sealed::PassPermit<R> {}

impl<R, P: sealed::PassPermit<R>> Passing<R> for P {}

/// Private, so that no other crate implements [`Passing`].
pub(super) mod sealed {
    use super::{HeldPermit, ObservedPermit};

    pub trait PassPermit<R> {
        /// Attaches the permit to the request, if the service gets it. Returns the permit for the layer.
        fn pass(request: &mut R, permit: ObservedPermit) -> HeldPermit;
    }
}

impl<R> sealed::PassPermit<R> for PermitInLayer {
    fn pass(_: &mut R, permit: ObservedPermit) -> HeldPermit {
        HeldPermit::Own(permit)
    }
}

impl<B> sealed::PassPermit<Request<B>> for PermitInRequest {
    fn pass(request: &mut Request<B>, permit: ObservedPermit) -> HeldPermit {
        let shared = RequestPermit::new(permit);
        request.extensions_mut().insert(shared.clone());
        HeldPermit::Shared(shared)
    }
}
