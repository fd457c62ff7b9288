//! The wait for a drained gate.

use std::task::Waker;

use super::admission::GateState;
use super::drain_waiters::DrainTicket;
use crate::gate::permits::Word;
use crate::gate::queue::Queue;
use crate::gate::wake_list::WakeList;

impl<Q: Queue> GateState<Q> {
    /// Polls the wait for a drained gate: no permit is in use and no request waits.
    ///
    /// Returns a ticket for the next poll, or `None` if the gate is drained, or was since the ticket was issued.
    pub(in crate::gate) fn poll_drained(
        &mut self,
        word: &mut Word,
        place: Q::Place<'_>,
        ticket: Option<DrainTicket>,
        waker: Waker,
        wake_list: &mut WakeList,
    ) -> Option<DrainTicket> {
        if let Some(ticket) = ticket {
            let (ticket, unused) = match self.drain_waiters.replace_waker(ticket, waker) {
                Ok(old) => (Some(ticket), old),
                Err(waker) => (None, waker),
            };
            wake_list.set_unused(Some(unused));
            return ticket;
        }
        let Some(gate) = self.queue.node_if_busy(*word, place) else {
            wake_list.set_unused(Some(waker));
            return None;
        };
        *word = word.with(Word::WAITERS); // each release takes the lock, so no drained moment can be missed
        Some(self.drain_waiters.insert(gate, waker))
    }

    /// Ends the wait of one `drained` future.
    pub(in crate::gate) fn cancel_drained(
        &mut self,
        word: &mut Word,
        ticket: DrainTicket,
        wake_list: &mut WakeList,
    ) {
        if let Some(unused) = self.drain_waiters.remove(ticket) {
            wake_list.set_unused(Some(unused));
            self.clear_waiters_if_unused(word);
        }
    }
}
