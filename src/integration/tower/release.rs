//! When a permit is released: after the response of the service, or after the end of the response's body.

use http::Response;
use http_body::Body;

use super::body::HeldBody;
use super::permit::HeldPermit;

/// Releases the permit when the service has responded, before the body is sent. This is the default of a
/// [`GateLayer`](super::GateLayer).
#[derive(Clone, Copy, Debug)]
pub struct UntilResponse(());

/// Releases the permit when the body of the response has ended or is dropped.
#[derive(Clone, Copy, Debug)]
pub struct UntilBodyEnds(());

impl UntilResponse {
    pub(super) const NEW: Self = Self(());
}

impl UntilBodyEnds {
    pub(super) const NEW: Self = Self(());
}

/// When the permit of a request is released. Sealed: [`UntilResponse`] and [`UntilBodyEnds`] are the only implementations.
pub trait Holding<T>: sealed::ReleasePermit<T> {}

impl<T, H: sealed::ReleasePermit<T>> Holding<T> for H {}

/// Private, so that no other crate implements [`Holding`].
pub(super) mod sealed {
    use super::HeldPermit;

    pub trait ReleasePermit<T> {
        type Response;

        /// Releases the permit, or attaches it to the response.
        fn respond(response: T, permit: Option<HeldPermit>) -> Self::Response;
    }
}

impl<T> sealed::ReleasePermit<T> for UntilResponse {
    type Response = T;

    fn respond(response: T, permit: Option<HeldPermit>) -> T {
        drop(permit);
        response
    }
}

impl<B: Body> sealed::ReleasePermit<Response<B>> for UntilBodyEnds {
    type Response = Response<HeldBody<B>>;

    fn respond(response: Response<B>, permit: Option<HeldPermit>) -> Self::Response {
        response.map(|body| HeldBody::new(body, permit))
    }
}
