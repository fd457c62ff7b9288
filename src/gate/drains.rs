//! Those who wait for a gate to be drained. Few ever do, so a list will do.

use std::task::Waker;

use super::engine::State;
use super::front::Front;
use super::wake::Calls;
use super::word::Word;

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

impl State {
    /// Waits for a moment at which the gate is drained: gives a ticket to come back with, or `None` if it is, or has
    /// been since the ticket was given.
    pub(super) fn drain(
        &mut self,
        front: &Front,
        ticket: Option<Ticket>,
        waker: Waker,
    ) -> (Option<Ticket>, Calls) {
        let mut calls = Calls::default();
        if let Some(ticket) = ticket {
            let (ticket, spare) = match self.drains.rewake(ticket, waker) {
                Ok(known) => (Some(ticket), known),
                Err(waker) => (None, waker),
            };
            calls.discard(spare);
            return (ticket, calls);
        }
        // The flag first: whoever gives permits back from here on takes the lock, and comes after this step.
        let word = front.raise(Word::GUARDED);
        if self.is_drained(word) {
            self.unguard(front);
            calls.discard(waker);
            return (None, calls);
        }
        (Some(self.drains.join(waker)), calls)
    }

    /// Stops waiting for the gate to be drained.
    pub(super) fn cancel_drain(&mut self, front: &Front, ticket: Ticket) -> Calls {
        let mut calls = Calls::default();
        if let Some(waker) = self.drains.leave(ticket) {
            calls.discard(waker);
            self.unguard(front);
        }
        calls
    }

    #[cold]
    pub(super) fn settle_drains(&mut self, front: &Front, calls: &mut Calls) {
        if self.is_drained(front.word()) {
            self.drains.end();
            self.unguard(front);
        }
        self.drains.ended().for_each(|waker| calls.wake(waker));
    }

    pub(super) fn is_drained(&self, word: Word) -> bool {
        word.out() == 0 && self.line.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flag is up while somebody waits for it and no longer, since it keeps everybody from the ways without the lock.
    #[test]
    fn flag_is_up_while_somebody_waits() {
        let (front, mut state) = (Front::new(Word::of_limit(1)), State::new(usize::MAX, None));
        let is_up = || front.word().has(Word::GUARDED);
        assert!(state.drain(&front, None, Waker::noop().clone()).0.is_none() && !is_up(), "drained as it is");
        assert!(front.admit(1));
        let [gives_up, stays] = [(); 2].map(|()| state.drain(&front, None, Waker::noop().clone()).0.unwrap());
        assert!(is_up());
        state.cancel_drain(&front, gives_up).make();
        assert!(is_up());
        front.give_back(1);
        let mut calls = Calls::default();
        state.settle(&front, 0, || 0, &mut calls);
        assert!(!is_up() && state.drain(&front, Some(stays), Waker::noop().clone()).0.is_none());
        calls.make();
        assert!(front.admit(1));
        let gives_up = state.drain(&front, None, Waker::noop().clone()).0.unwrap();
        state.cancel_drain(&front, gives_up).make();
        assert!(!is_up());
    }
}
