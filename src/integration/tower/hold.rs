//! How long a permit is held: until the service has answered, or until the body has ended.

use http::Response;
use http_body::Body;

use super::HeldBody;
use crate::gate::OwnedPermit;
#[cfg(feature = "metrics")]
use crate::integration::metrics::Timed;

/// A permit in the hands of a response: held, and given back by being dropped.
#[derive(Debug)]
pub enum Hold {
    Plain(OwnedPermit),
    #[cfg(feature = "metrics")]
    Timed(Timed<OwnedPermit>),
}

/// The permit is given back when the service has answered, before its body is sent; what a [`GateLayer`](super::GateLayer)
/// does unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct UntilResponse(());

/// The permit is given back when the response's body has ended or is dropped.
#[derive(Clone, Copy, Debug)]
pub struct UntilBodyEnds(());

impl UntilResponse {
    pub(super) const NEW: Self = Self(());
}

impl UntilBodyEnds {
    pub(super) const NEW: Self = Self(());
}

/// What becomes of the permit when the service has answered. [`UntilResponse`] and [`UntilBodyEnds`] are all there are.
pub trait Holding<T>: sealed::Holding<T> {}

impl<T, H: sealed::Holding<T>> Holding<T> for H {}

/// Nobody else says what becomes of a permit.
pub(super) mod sealed {
    use super::Hold;

    pub trait Holding<T> {
        type Response;

        fn answer(response: T, hold: Option<Hold>) -> Self::Response;
    }
}

impl<T> sealed::Holding<T> for UntilResponse {
    type Response = T;

    fn answer(response: T, hold: Option<Hold>) -> T {
        drop(hold);
        response
    }
}

impl<B: Body> sealed::Holding<Response<B>> for UntilBodyEnds {
    type Response = Response<HeldBody<B>>;

    fn answer(response: Response<B>, hold: Option<Hold>) -> Self::Response {
        response.map(|body| HeldBody::new(body, hold))
    }
}
