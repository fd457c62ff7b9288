//! A response body that holds a permit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::permit::HeldPermit;

pin_project! {
    /// A response body that holds a permit until it has ended, failed or been dropped.
    ///
    /// From [`GateLayer::hold_until_body_ends`](super::GateLayer::hold_until_body_ends).
    pub struct HeldBody<B> {
        #[pin]
        body: B,
        permit: Option<HeldPermit>,
    }
}

impl<B: Body> HeldBody<B> {
    /// Attaches the permit to the body. An empty body releases it at once.
    pub(super) fn new(body: B, permit: Option<HeldPermit>) -> Self {
        let permit = permit.filter(|_| !body.is_end_stream());
        Self { body, permit }
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        // The permit is on the stack while the inner body runs, so that a panic of the body releases it at once.
        let permit = this.permit.take();
        let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
            *this.permit = permit;
            return Poll::Pending;
        };
        // A server does not poll again after a frame that `is_end_stream` reports as the last one.
        if matches!(frame, Some(Ok(_))) && !this.body.is_end_stream() {
            *this.permit = permit;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody")
            .field("body", &self.body)
            .field("holds_permit", &self.permit.is_some())
            .finish_non_exhaustive()
    }
}
