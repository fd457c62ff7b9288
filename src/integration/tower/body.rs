//! A body that holds a permit.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::hold::Hold;

pin_project! {
    /// The body of a response that holds its permit until it has ended, failed or been dropped.
    ///
    /// From [`GateLayer::hold_until_body_ends`](super::GateLayer::hold_until_body_ends).
    pub struct HeldBody<B> {
        #[pin]
        body: B,
        hold: Option<Hold>,
    }
}

impl<B: Body> HeldBody<B> {
    /// A body that has nothing to send holds nothing.
    pub(super) fn new(body: B, hold: Option<Hold>) -> Self {
        let hold = hold.filter(|_| !body.is_end_stream());
        Self { body, hold }
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
        // Out of the body while it runs, so that its panic gives the permit back at once.
        let hold = this.hold.take();
        let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
            *this.hold = hold;
            return Poll::Pending;
        };
        // Who knows that this was the last frame need not ask for another.
        if matches!(frame, Some(Ok(_))) && !this.body.is_end_stream() {
            *this.hold = hold;
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
            .field("holds", &self.hold.is_some())
            .finish_non_exhaustive()
    }
}
