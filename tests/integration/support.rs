//! Helpers to run a future in a test.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Polls the future once, with a waker that does nothing.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Awaits the future. Panics after 20 s, so that a lost wake-up fails the test instead of blocking it.
#[cfg(any(feature = "metrics", feature = "tower"))]
pub(crate) async fn complete<F: Future>(future: F) -> F::Output {
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, future).await.expect("the future resolves within 20 s")
}
