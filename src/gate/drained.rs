//! Waiting for a gate to be drained.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::handle::Gate;
use super::lock::GateLock;
use super::state::DrainTicket;

impl Gate {
    /// Waits until no permit is in use and no request waits.
    ///
    /// The future resolves after the first such moment, even if another request has been admitted in the meantime. Close the gate first to
    /// wait for the end of all work.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire_owned()?;
    /// tokio::spawn(async move { drop(permit) });
    /// jobs.close();
    /// jobs.drained().await;
    /// assert_eq!(jobs.status().in_use, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect on the gate or on other futures.
    pub const fn drained(&self) -> Drained<'_> {
        Drained { gate: self, ticket: None }
    }
}

/// Resolves after a moment at which no permit was in use and no request waited; from [`Gate::drained`].
///
/// # Cancel safety
///
/// Dropping the future has no effect on the gate or on other futures.
#[must_use = "a future does nothing unless it is polled"]
pub struct Drained<'g> {
    gate: &'g Gate,
    ticket: Option<DrainTicket>,
}

impl Future for Drained<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone(); // may panic, so before anything changes
        let this = &mut *self;
        let (shared, ticket) = (this.gate.shared(), this.ticket);
        this.ticket = match &shared.node {
            None => {
                shared.step(|state, word, wake_list| state.poll_drained(word, (), ticket, waker, wake_list))
            }
            Some(node) => node.tree().step(|state, word, wake_list| {
                state.poll_drained(word, node.place(), ticket, waker, wake_list)
            }),
        };
        if self.ticket.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let shared = self.gate.shared();
            match &shared.node {
                None => shared.step(|state, word, wake_list| state.cancel_drained(word, ticket, wake_list)),
                Some(node) => {
                    node.tree().step(|state, word, wake_list| state.cancel_drained(word, ticket, wake_list));
                }
            }
        }
    }
}

impl fmt::Debug for Drained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drained").field("gate", &self.gate.name()).finish_non_exhaustive()
    }
}
