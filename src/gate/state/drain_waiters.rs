//! The `drained` futures that wait. There are few, so a list is enough.

use std::mem;
use std::task::Waker;

use crate::gate::wake_list::WakeList;

/// The `drained` futures that wait, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct DrainWaiters {
    waiting: Vec<(DrainTicket, Waker)>,
    issued: u64,
}

/// Identifies a `drained` future that waits. Its entry is removed when the gate is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct DrainTicket(u64);

impl DrainWaiters {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Ends all waits.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_all(&mut self, wake_list: &mut WakeList) {
        self.waiting.drain(..).for_each(|(_, waker)| wake_list.push(waker));
    }

    pub(super) fn insert(&mut self, waker: Waker) -> DrainTicket {
        self.issued = self.issued.wrapping_add(1);
        let ticket = DrainTicket(self.issued);
        self.waiting.push((ticket, waker));
        ticket
    }

    /// Replaces the waker of a future that waits, and returns the old one. Returns `waker` if the future does not wait any more.
    pub(super) fn replace_waker(&mut self, ticket: DrainTicket, waker: Waker) -> Result<Waker, Waker> {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            Some((_, known)) => Ok(mem::replace(known, waker)),
            None => Err(waker),
        }
    }

    /// Removes a future that waits, and returns its waker.
    pub(super) fn remove(&mut self, ticket: DrainTicket) -> Option<Waker> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == ticket)?;
        Some(self.waiting.remove(at).1)
    }
}
