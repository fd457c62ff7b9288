//! A span around a wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tracing::field::{Empty, display};
use tracing::{Span, debug_span};

use super::TARGET;
#[cfg(feature = "fleet")]
use crate::fleet::{SharedAcquire, SharedAcquireError};
use crate::gate::{Acquire, AcquireError, AcquireFuture, AcquireOwned, Gate, Priority};
use crate::integration::reason;

impl Acquire<'_> {
    /// Opens a span around the wait of this request, if it has to wait.
    ///
    /// A request that is admitted or rejected at once opens no span and costs one more comparison.
    ///
    /// The span `gate.wait` has level `DEBUG`. It starts when the request enters the queue and ends when the future
    /// resolves or is dropped. If the task has used up its cooperative budget, it starts with the first poll, also if the request is then
    /// admitted without a wait in the queue. Its parent is the span in which the future is first polled. Its fields are `gate`, `weight`,
    /// and `outcome`: `admitted`, `expired`, `closed`, `too_large`, `shed`, `queue_full` (pushed out by another
    /// request), `unleased` (a shared gate without permits from its ledger) or `cancelled`. At a key, `keyed` is
    /// true. `priority` is `critical`, `sheddable` or `batch`, and missing if it is normal.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// # let uploads = Gate::new(GateName::new("uploads"), Limit::new(8));
    /// let permit = uploads.request().weight(3).acquire().traced().await?;
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    pub fn traced(self) -> Traced<Self> {
        Traced { acquire: self, span: None, shows_key: false }
    }
}

impl AcquireOwned {
    /// Opens a span around the wait of this request, if it has to wait. See [`Acquire::traced`].
    pub fn traced(self) -> Traced<Self> {
        Traced { acquire: self, span: None, shows_key: false }
    }
}

#[cfg(feature = "fleet")]
impl SharedAcquire {
    /// Opens a span around the wait of this request, if it has to wait. See [`Acquire::traced`].
    pub fn traced(self) -> Traced<Self> {
        Traced { acquire: self, span: None, shows_key: false }
    }
}

impl<F> Traced<F> {
    /// Adds the field `key` to the span of a request that waits at a [key](crate::Gate::key): the key itself, which may be a secret.
    pub fn with_key(mut self) -> Self {
        self.shows_key = true;
        self
    }
}

pin_project! {
    /// A request with a span around its wait; from [`Acquire::traced`].
    ///
    /// # Cancel safety
    ///
    /// As [`Acquire`]: dropping the future removes the request from the queue. The span then ends with the outcome
    /// `cancelled`.
    ///
    /// # Panics
    ///
    /// As [`Acquire`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Traced<F> {
        #[pin]
        acquire: F,
        span: Option<Span>,
        shows_key: bool,
    }

    impl<F> PinnedDrop for Traced<F> {
        fn drop(this: Pin<&mut Self>) {
            // The span is taken when the future resolves, so a span that is still here belongs to a cancelled request.
            if let Some(span) = this.project().span {
                span.record("outcome", "cancelled");
            }
        }
    }
}

impl<F, P, E> Future for Traced<F>
where
    F: AcquireFuture + Future<Output = Result<P, E>>,
    E: HasReason,
{
    type Output = Result<P, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = {
            let _entered = this.span.as_ref().map(Span::enter);
            this.acquire.as_mut().poll(cx)
        };
        let Poll::Ready(result) = polled else {
            // A request that waits gets here, or one of a task without cooperative budget. Only its first poll opens the span.
            let shows_key = *this.shows_key;
            let (gate, weight, priority) = this.acquire.target();
            this.span.get_or_insert_with(|| open_span(gate, weight, priority, shows_key));
            return Poll::Pending;
        };
        if let Some(span) = this.span.take() {
            let outcome = match &result {
                Ok(_) => "admitted",
                Err(error) => error.reason(),
            };
            span.record("outcome", outcome);
        }
        Poll::Ready(result)
    }
}

/// An error with a reason of one word.
pub(crate) trait HasReason {
    fn reason(&self) -> &'static str;
}

impl HasReason for AcquireError {
    fn reason(&self) -> &'static str {
        reason::of_acquire(self)
    }
}

#[cfg(feature = "fleet")]
impl HasReason for SharedAcquireError {
    fn reason(&self) -> &'static str {
        reason::of_shared_acquire(self)
    }
}

/// Opens the span of a wait. Fields with their default value are left out.
fn open_span(gate: Option<&Gate>, weight: u32, priority: Priority, shows_key: bool) -> Span {
    let key = gate.and_then(Gate::as_key);
    let keyed = key.is_some().then_some(true);
    let key = key.filter(|_| shows_key).map(display);
    let gate = gate.map(|gate| display(gate.name()));
    let priority = (priority != Priority::Normal).then(|| display(priority));
    debug_span!(target: TARGET, "gate.wait", gate, weight, keyed, key, priority, outcome = Empty)
}

impl<F: fmt::Debug> fmt::Debug for Traced<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced")
            .field("acquire", &self.acquire)
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}
