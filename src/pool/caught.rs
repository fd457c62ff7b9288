//! Code of the user's, whose panics end nothing but itself.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// What the step came to, or the message of its panic. The panic hook has reported it.
#[inline]
pub(super) fn caught<T>(step: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    panic::catch_unwind(AssertUnwindSafe(step)).map_err(message_of)
}

/// The same for a future. One that panicked is not polled again.
pub(super) async fn caught_async<F: Future>(future: F) -> Result<F::Output, Arc<str>> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(message) => Poll::Ready(Err(message)),
    })
    .await
}

#[cold]
fn message_of(payload: Box<dyn Any + Send>) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let message = Arc::from(text);
    mem::forget(payload); // dropping it runs its destructor, which may panic in turn
    message
}
