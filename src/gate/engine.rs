//! The rules of admission behind the lock.
//!
//! No clock and no waking: time, or whom to ask for it, and wakers come in as arguments, and wakers to wake or drop go
//! out as [`Calls`]. Nothing here calls code of the user's, and nothing here panics, so a step is all or nothing.
//!
//! The word in [`Front`] holds what is available, and changes without the lock while nobody waits. Whoever holds the
//! lock and has somebody wait has set [`Word::WAITING`]; from then on available only grows under it. The books:
//! `out + available == limit + debt`, where `out` counts permits held and permits of requests that were admitted and
//! have not been resumed yet; one of `available` and `debt` is 0. At rest the head of the line does not fit.

use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Arrival, Barred, Refusal, TryRefusal, Turn};
use super::cells::{Cells, Fate};
use super::drains::{Drains, Ticket};
use super::line::Line;
use super::sync::{AtomicU64, Ordering};
use super::wake::Calls;
use super::word::Word;
use super::{GateStatus, Histogram, LineTotals, RefusedTotals, Resize, Totals};
use crate::plan::{GateName, Limit};

/// What of a gate is used without the lock.
pub(super) struct Front {
    word: AtomicU64,
    pub(super) cells: Cells,
}

impl Front {
    pub(super) fn new(word: Word) -> Self {
        Self { word: AtomicU64::new(word.0), cells: Cells::new() }
    }

    /// Admits a request if there is room and nothing stands against it; else it has to take the lock.
    #[inline]
    pub(super) fn admit(&self, weight: u32) -> bool {
        let mut word = Word(self.word.load(Ordering::Relaxed));
        while let Some(admitted) = word.admitting(weight) {
            // Acquire: what was done under the permits that came back happens before what is done under these.
            match self.word.compare_exchange_weak(word.0, admitted.0, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => word = Word(current),
            }
        }
        false
    }

    /// Gives permits back, and says what the word was before.
    #[inline]
    pub(super) fn give_back(&self, weight: u32) -> Word {
        // Release: what was done under these permits happens before what is done under them next.
        Word(self.word.fetch_add(Word::returning(weight), Ordering::Release))
    }

    /// Makes it known that somebody waits, unless there is room for this weight.
    pub(super) fn announce(&self, weight: u32) -> bool {
        let mut word = self.word();
        while !word.fits(weight) {
            let announced = word.0 | Word::WAITING;
            match self.word.compare_exchange_weak(word.0, announced, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => word = Word(current),
            }
        }
        false
    }

    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Changes the word by one addition, and says what it was before.
    pub(super) fn add(&self, change: u64) -> Word {
        Word(self.word.fetch_add(change, Ordering::AcqRel))
    }

    /// Sets a flag, and says what the word was before.
    pub(super) fn raise(&self, flag: u64) -> Word {
        Word(self.word.fetch_or(flag, Ordering::AcqRel))
    }

    /// Clears a flag.
    pub(super) fn lower(&self, flag: u64) {
        self.word.fetch_and(!flag, Ordering::AcqRel);
    }

    /// Puts a word in force whatever was there: for a gate that nobody has yet.
    pub(super) fn set(&self, word: Word) {
        self.word.store(word.0, Ordering::Release);
    }
}

/// What of a gate is behind its lock.
#[derive(Debug)]
pub(super) struct State {
    limit: Limit,
    bound: usize,
    line: Line,
    drains: Drains,
    /// Admissions that were moved out of the word.
    admitted: u64,
    line_totals: LineTotals,
    refused: RefusedTotals,
    waits: Box<Histogram>,
}

impl State {
    pub(super) fn new(limit: Limit, bound: usize) -> Self {
        Self {
            limit,
            bound,
            line: Line::default(),
            drains: Drains::default(),
            admitted: 0,
            line_totals: LineTotals::default(),
            refused: RefusedTotals::default(),
            waits: Box::default(),
        }
    }

    /// Admits now or not at all.
    pub(super) fn try_take(&mut self, front: &Front, weight: u32) -> Result<(), TryRefusal> {
        self.check(front, weight).map_err(TryRefusal::Barred)?;
        if self.admit_past_nobody(front, weight) {
            return Ok(());
        }
        count(&mut self.refused.no_permits);
        Err(TryRefusal::NoPermits)
    }

    /// Admits or refuses at the door a request that is willing to wait.
    #[inline]
    pub(super) fn arrive(&mut self, front: &Front, weight: u32) -> Arrival {
        if let Err(barred) = self.check(front, weight) {
            return Arrival::Refused(Refusal::Barred(barred));
        }
        if self.admit_past_nobody(front, weight) {
            return Arrival::Admitted;
        }
        if self.line.len() >= self.bound {
            count(&mut self.refused.queue_full);
            return Arrival::Refused(Refusal::QueueFull { bound: self.bound });
        }
        Arrival::MustWait
    }

    /// Refuses a request that would have to wait and whose deadline has passed already.
    pub(super) fn refuse_late(&mut self) -> Refusal {
        count(&mut self.refused.expired);
        Refusal::Expired { waited: Duration::ZERO }
    }

    /// Puts a request at the end of the line and gives it its place, unless it need not or may not wait any more.
    pub(super) fn join(
        &mut self,
        front: &Front,
        weight: u32,
        waker: Waker,
        now: Instant,
    ) -> Result<u32, (Turn, Waker)> {
        let turn = match self.arrive(front, weight) {
            Arrival::MustWait if !self.announce(front, weight) => Turn::Admitted,
            Arrival::MustWait => match self.line.join(&front.cells, weight, waker, now) {
                Ok(place) => {
                    count(&mut self.line_totals.joined);
                    return Ok(place);
                }
                Err(waker) => {
                    count(&mut self.refused.queue_full);
                    return Err((Turn::Refused(Refusal::QueueFull { bound: self.line.len() }), waker));
                }
            },
            Arrival::Admitted => Turn::Admitted,
            Arrival::Refused(refusal) => Turn::Refused(refusal),
        };
        Err((turn, waker))
    }

    /// Wakes a request in line by `waker` from now on, unless its fate is decided by now.
    pub(super) fn rewake(
        &mut self,
        front: &Front,
        place: u32,
        waker: Waker,
        calls: &mut Calls,
    ) -> Option<Turn> {
        let turn = self.conclude(front, place);
        let spare = if turn.is_none() { self.line.rewake(place, waker) } else { Some(waker) };
        if let Some(spare) = spare {
            calls.discard(spare);
        }
        turn
    }

    /// What became of a request in line; it has vacated its place then. `None` while it waits.
    #[inline]
    pub(super) fn conclude(&mut self, front: &Front, place: u32) -> Option<Turn> {
        let turn = match front.cells.fate(place) {
            Fate::Waiting => return None,
            Fate::Admitted | Fate::Vacant => Turn::Admitted,
            Fate::Closed => Turn::Refused(Refusal::Barred(Barred::Closed)),
            Fate::TooLarge => {
                let (weight, limit) = self.line.too_large(place);
                Turn::Refused(Refusal::Barred(Barred::TooLarge { weight, limit }))
            }
        };
        front.cells.decide(place, Fate::Vacant);
        Some(turn)
    }

    /// Takes a request out of line at its deadline, unless its fate was decided first.
    pub(super) fn expire(&mut self, front: &Front, place: u32, now: Instant, calls: &mut Calls) -> Turn {
        if let Some(turn) = self.conclude(front, place) {
            return turn;
        }
        let is_first = self.line.first() == Some(place);
        let since = self.leave(front, place, calls);
        count(&mut self.line_totals.expired);
        if is_first {
            self.settle(front, || now, calls);
        }
        Turn::Refused(Refusal::Expired { waited: now.saturating_duration_since(since) })
    }

    /// Takes a request that was given up out of line; what it had been granted goes on to the next. The clock is asked
    /// only if that lets somebody in, which it rarely does: nobody has to wait for it otherwise.
    pub(super) fn cancel(
        &mut self,
        front: &Front,
        place: u32,
        weight: u32,
        clock: impl FnOnce() -> Instant,
        calls: &mut Calls,
    ) {
        let is_first = self.line.first() == Some(place);
        let makes_way = match self.conclude(front, place) {
            None => {
                self.leave(front, place, calls);
                count(&mut self.line_totals.cancelled);
                is_first // who else leaves was not in anybody's way
            }
            Some(Turn::Admitted) => {
                front.add(Word::returning(weight));
                count(&mut self.line_totals.unclaimed);
                true
            }
            Some(_) => false,
        };
        if makes_way {
            self.settle(front, clock, calls);
        }
    }

    /// Puts another limit in force. Requests in line that it has made impossible end at once.
    pub(super) fn resize(
        &mut self,
        front: &Front,
        limit: Limit,
        clock: impl FnOnce() -> Instant,
        calls: &mut Calls,
    ) -> Resize {
        let from = std::mem::replace(&mut self.limit, limit);
        front.add(Word::resizing(from.get(), limit.get()));
        if self.line.heaviest() > limit.get() {
            let mut at = self.line.first();
            while let Some(place) = at {
                at = self.line.after(place);
                if self.line.weight(place) > limit.get() {
                    self.line.note_limit(place, limit);
                    self.decide(front, place, Fate::TooLarge, calls);
                    count(&mut self.line_totals.too_large);
                }
            }
            self.line.lighten(limit.get());
        }
        self.settle(front, clock, calls);
        Resize { from, to: limit, debt: self.debt(front.word()) }
    }

    /// Admits nothing from now on, and ends all that wait.
    pub(super) fn close(&mut self, front: &Front, clock: impl FnOnce() -> Instant) -> Calls {
        let mut calls = Calls::default();
        front.raise(Word::CLOSED);
        while let Some(place) = self.line.first() {
            self.decide(front, place, Fate::Closed, &mut calls);
            count(&mut self.line_totals.closed);
        }
        self.settle(front, clock, &mut calls);
        calls
    }

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
        let word = front.raise(Word::DRAINING);
        if self.is_drained(word) {
            self.end_drains(front);
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
            self.end_drains(front);
        }
        calls
    }

    /// Admits whom there is room for, in order; then, if the gate is drained, says so to those who wait for that.
    /// Whatever gives permits back, raises the limit or takes the first out of line ends here. The clock is asked once
    /// if anybody is admitted, else not at all.
    pub(super) fn settle(&mut self, front: &Front, clock: impl FnOnce() -> Instant, calls: &mut Calls) {
        let word = self.move_out(front);
        let (mut requests, mut weight, available) = (0_u32, 0_u32, word.available());
        let mut at = self.line.first();
        while let Some(place) = at {
            let together = weight.saturating_add(self.line.weight(place));
            if together > available {
                break;
            }
            (requests, weight) = (requests.saturating_add(1), together);
            at = self.line.after(place);
        }
        // While somebody waits nobody else admits, so there still is what there was. The last one out of line leaves
        // the door open in the same step, and before anybody who was admitted can tell.
        let flag = if at.is_none() { word.0 & Word::WAITING } else { 0 };
        if requests > 0 {
            let now = clock();
            front.add(Word::admissions(requests, weight).wrapping_sub(flag));
            for _ in 0..requests {
                let Some(place) = self.line.first() else { break };
                let since = self.decide(front, place, Fate::Admitted, calls);
                // Whoever came after the clock was read has not waited.
                self.waits.record(now.saturating_duration_since(since));
                count(&mut self.line_totals.admitted);
            }
        } else if flag != 0 {
            front.lower(flag);
        }
        if word.has(Word::DRAINING) && self.is_drained(front.word()) {
            self.drains.end();
            self.end_drains(front);
        }
        if self.drains.has_ended() {
            self.drains.ended().for_each(|waker| calls.wake(waker));
        }
    }

    pub(super) const fn limit(&self) -> Limit {
        self.limit
    }

    pub(super) fn status(&self, front: &Front, name: GateName) -> GateStatus {
        // One look at the word, so that what it says is of one instant.
        let word = front.word();
        GateStatus {
            name,
            limit: self.limit,
            in_use: word.out(self.limit.get()),
            available: word.available(),
            debt: self.debt(word),
            waiting: self.line.len(),
            closed: word.has(Word::CLOSED),
            totals: Totals {
                admitted: self.admitted.saturating_add(word.admitted()),
                line: self.line_totals,
                refused: self.refused,
            },
            waits: (*self.waits).clone(),
        }
    }

    fn debt(&self, word: Word) -> u32 {
        word.out(self.limit.get()).saturating_sub(self.limit.get())
    }

    fn is_drained(&self, word: Word) -> bool {
        word.out(self.limit.get()) == 0 && self.line.is_empty()
    }

    /// Takes the flag back once nobody waits for the gate to be drained any more.
    fn end_drains(&mut self, front: &Front) {
        if self.drains.is_empty() {
            front.lower(Word::DRAINING);
        }
    }

    /// Refuses what cannot be admitted however long it waits, before anything is changed but the count of it.
    #[inline]
    fn check(&mut self, front: &Front, weight: u32) -> Result<(), Barred> {
        let (counter, barred) = if weight == 0 {
            (&mut self.refused.zero_weight, Barred::ZeroWeight)
        } else if front.word().has(Word::CLOSED) {
            (&mut self.refused.closed, Barred::Closed)
        } else if weight > self.limit.get() {
            (&mut self.refused.too_large, Barred::TooLarge { weight, limit: self.limit })
        } else {
            return Ok(());
        };
        count(counter);
        Err(barred)
    }

    /// Whoever comes while somebody waits comes behind them, even if there is room for it and not for them.
    #[inline]
    fn admit_past_nobody(&mut self, front: &Front, weight: u32) -> bool {
        let word = self.move_out(front);
        if !self.line.is_empty() {
            return false;
        }
        if !word.has(Word::DRAINING) {
            return front.admit(weight);
        }
        // Nobody else admits, so there still is what there was.
        let fits = word.fits(weight);
        if fits && self.is_drained(front.add(Word::admissions(1, weight))) {
            // It was drained until now. Whoever gave the last permits back has yet to come for the lock, and wakes.
            self.drains.end();
            self.end_drains(front);
        }
        fits
    }

    /// Makes it known that somebody waits, unless there is room for it by now, which it then has taken: `false`.
    #[inline]
    fn announce(&mut self, front: &Front, weight: u32) -> bool {
        while self.line.is_empty() && !front.announce(weight) {
            if self.admit_past_nobody(front, weight) {
                return false;
            }
        }
        true
    }

    /// Moves the count of admissions out of the word before it overflows; gives the word as it was just then.
    #[inline]
    fn move_out(&mut self, front: &Front) -> Word {
        let word = front.word();
        if !word.is_overdue() {
            return word;
        }
        let admitted = word.admitted();
        self.admitted = self.admitted.saturating_add(admitted);
        front.add(Word::moving_out(admitted).wrapping_neg());
        front.word()
    }

    #[inline]
    fn decide(&mut self, front: &Front, place: u32, fate: Fate, calls: &mut Calls) -> Instant {
        let (waker, since) = self.line.decide(&front.cells, place, fate);
        if let Some(waker) = waker {
            calls.wake(waker);
        }
        since
    }

    #[inline]
    fn leave(&mut self, front: &Front, place: u32, calls: &mut Calls) -> Instant {
        let (waker, since) = self.line.leave(&front.cells, place);
        if let Some(waker) = waker {
            calls.discard(waker);
        }
        since
    }
}

fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
