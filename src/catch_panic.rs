//! Catches panics of user code, such as managers, probes, rules, ledgers and wakers.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// Runs the closure. Returns its result, or the message of its panic. The panic hook has already reported the panic.
#[inline]
pub(crate) fn catch_panic<T>(step: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    panic::catch_unwind(AssertUnwindSafe(step)).map_err(panic_message)
}

/// Awaits the future. Returns its output, or the message of its panic. A future that panicked is not polled again.
pub(crate) async fn catch_panic_async<F: Future>(future: F) -> Result<F::Output, Arc<str>> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_panic(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(message) => Poll::Ready(Err(message)),
    })
    .await
}

/// Returns the message of a panic, if its payload is a text.
#[cold]
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let message = Arc::from(text);
    mem::forget(payload); // its destructor is user code and may panic again
    message
}
