//! The futures that wait for the gate to be drained. There are few, so a list is enough.

use std::mem;
use std::task::Waker;

use super::GateState;
use crate::gate::permits::Word;
use crate::gate::wake_list::WakeList;

/// The `drained` futures that wait, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct DrainWaiters {
    waiting: Vec<(DrainTicket, Waker)>,
    issued: u64,
}

/// Identifies a `drained` future. It is in the list until the gate was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct DrainTicket(u64);

impl DrainWaiters {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends all waits.
    pub(super) fn wake_all(&mut self, wake_list: &mut WakeList) {
        self.waiting.drain(..).for_each(|(_, waker)| wake_list.push(waker));
    }

    fn insert(&mut self, waker: Waker) -> DrainTicket {
        self.issued = self.issued.wrapping_add(1);
        let ticket = DrainTicket(self.issued);
        self.waiting.push((ticket, waker));
        ticket
    }

    fn position(&self, ticket: DrainTicket) -> Option<usize> {
        self.waiting.iter().position(|(waiting, _)| *waiting == ticket)
    }
}

impl GateState {
    /// Waits for the gate to be drained: no permit in use, no request waiting.
    ///
    /// Returns a ticket for the next poll, or `None` if the gate is drained, or was since the ticket was issued.
    pub(in crate::gate) fn poll_drained(
        &mut self,
        word: &mut Word,
        ticket: Option<DrainTicket>,
        waker: Waker,
        wake_list: &mut WakeList,
    ) -> Option<DrainTicket> {
        if let Some(ticket) = ticket {
            let known =
                self.drain_waiters.position(ticket).and_then(|at| self.drain_waiters.waiting.get_mut(at));
            let (ticket, unused) = match known {
                Some((ticket, known)) => (Some(*ticket), mem::replace(known, waker)),
                None => (None, waker),
            };
            wake_list.set_unused(Some(unused));
            return ticket;
        }
        if word.in_use() == 0 && self.queue.is_empty() {
            wake_list.set_unused(Some(waker));
            return None;
        }
        *word = word.with(Word::WAITERS); // each release takes the lock, so no drained moment can be missed
        Some(self.drain_waiters.insert(waker))
    }

    /// Ends the wait of one `drained` future.
    pub(in crate::gate) fn cancel_drained(
        &mut self,
        word: &mut Word,
        ticket: DrainTicket,
        wake_list: &mut WakeList,
    ) {
        if let Some(at) = self.drain_waiters.position(ticket) {
            let (_, waker) = self.drain_waiters.waiting.remove(at);
            wake_list.set_unused(Some(waker));
            self.clear_waiters_if_unused(word);
        }
    }
}
