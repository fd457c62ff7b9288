//! The `drained` futures that wait. There are few, so a list is enough.

use std::mem;
use std::task::Waker;

use crate::gate::wake_list::WakeList;

/// The `drained` futures that wait, in order of arrival.
#[derive(Debug)]
pub(super) struct DrainWaiters<G> {
    waiting: Vec<DrainWaiter<G>>,
    issued: u64,
}

#[derive(Debug)]
struct DrainWaiter<G> {
    ticket: DrainTicket,
    /// The gate that the future waits for.
    gate: G,
    waker: Waker,
}

/// Identifies a `drained` future that waits. Its entry is removed when the gate is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct DrainTicket(u64);

impl<G: Copy> DrainWaiters<G> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends the waits for the gates that are drained.
    pub(super) fn wake_where(&mut self, mut is_drained: impl FnMut(G) -> bool, wake_list: &mut WakeList) {
        let all = mem::take(&mut self.waiting).into_iter();
        let (drained, waiting): (Vec<_>, Vec<_>) = all.partition(|waiter| is_drained(waiter.gate));
        self.waiting = waiting;
        for waiter in drained {
            wake_list.push(waiter.waker);
        }
    }

    pub(super) fn insert(&mut self, gate: G, waker: Waker) -> DrainTicket {
        self.issued = self.issued.wrapping_add(1);
        let ticket = DrainTicket(self.issued);
        self.waiting.push(DrainWaiter { ticket, gate, waker });
        ticket
    }

    /// Replaces the waker of a future that waits, and returns the old one. Returns `waker` if the future does not wait any more.
    pub(super) fn replace_waker(&mut self, ticket: DrainTicket, waker: Waker) -> Result<Waker, Waker> {
        match self.waiting.iter_mut().find(|waiter| waiter.ticket == ticket) {
            Some(waiter) => Ok(mem::replace(&mut waiter.waker, waker)),
            None => Err(waker),
        }
    }

    /// Removes a future that waits, and returns its waker.
    pub(super) fn remove(&mut self, ticket: DrainTicket) -> Option<Waker> {
        let index = self.waiting.iter().position(|waiter| waiter.ticket == ticket)?;
        Some(self.waiting.remove(index).waker)
    }
}

impl<G> Default for DrainWaiters<G> {
    fn default() -> Self {
        Self { waiting: Vec::new(), issued: 0 }
    }
}
