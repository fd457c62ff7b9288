//! Those who wait for a gate to be drained. Few ever do, so a list will do.

use std::task::Waker;

/// Waits for a moment at which the gate is drained, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Drains {
    waiting: Vec<(Ticket, Waker)>,
    /// Whom to wake, because their wait is over.
    ended: Vec<Waker>,
    joined: u64,
}

/// A wait for the gate to be drained: over, once it is not on the list any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Drains {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn join(&mut self, waker: Waker) -> Ticket {
        self.joined = self.joined.wrapping_add(1);
        self.waiting.push((Ticket(self.joined), waker));
        Ticket(self.joined)
    }

    /// Wakes by another waker from now on; gives back the old one, or this one if the wait is over.
    pub(super) fn rewake(&mut self, ticket: Ticket, waker: Waker) -> Result<Waker, Waker> {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            Some((_, known)) => Ok(std::mem::replace(known, waker)),
            None => Err(waker),
        }
    }

    /// Takes a wait off the list, if it is not over.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waker> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == ticket)?;
        Some(self.waiting.remove(at).1)
    }

    /// Ends every wait.
    pub(super) fn end(&mut self) {
        self.ended.extend(self.waiting.drain(..).map(|(_, waker)| waker));
    }

    /// Whether there is anybody to wake.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Whom to wake now.
    pub(super) fn ended(&mut self) -> impl Iterator<Item = Waker> + '_ {
        self.ended.drain(..)
    }
}
