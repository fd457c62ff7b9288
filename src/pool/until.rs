//! Awaiting a future until a signal comes first.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Awaits the future until the signal. Returns `None` if the signal comes first.
pub(super) async fn until<F: Future, S: Future>(
    mut future: Pin<&mut F>,
    mut signal: Pin<&mut S>,
) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => signal.as_mut().poll(cx).map(|_| None),
    })
    .await
}
