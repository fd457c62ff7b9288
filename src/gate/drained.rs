//! Waiting for a gate to be empty.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Gate;
use super::drains::Ticket;

/// Resolves when no permit is out and nobody waits; made by [`Gate::drained`].
///
/// # Cancel safety
///
/// Dropping it changes nothing for the gate or for anybody else.
#[must_use = "a future does nothing unless it is polled"]
pub struct Drained<'g> {
    gate: &'g Gate,
    ticket: Option<Ticket>,
}

impl<'g> Drained<'g> {
    pub(super) const fn new(gate: &'g Gate) -> Self {
        Self { gate, ticket: None }
    }
}

impl Future for Drained<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone(); // may panic, so before the ticket is taken
        let ticket = self.ticket.take();
        let (ticket, calls) = self.gate.inner().drain(ticket, waker);
        self.ticket = ticket;
        calls.make();
        if self.ticket.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.inner().cancel_drain(ticket).make();
        }
    }
}

impl fmt::Debug for Drained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drained").field("gate", &self.gate.name()).finish_non_exhaustive()
    }
}
