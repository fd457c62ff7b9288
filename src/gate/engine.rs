//! The rules of admission behind the lock.
//!
//! No clock and no waking: time, or whom to ask for it, and wakers come in as arguments, and wakers to wake or drop go
//! out as [`Calls`]. Nothing here calls code of the user's, and nothing here panics, so a step is all or nothing.
//!
//! The word in [`Front`] holds what is available, and changes without the lock while nobody waits. Whoever holds the
//! lock and has somebody wait has set [`Word::WAITING`]; from then on available only grows under it. The books:
//! `out + available == limit + debt`, where `out` counts permits held and permits of requests that were admitted and
//! have not been resumed yet; one of `available` and `debt` is 0. At rest the head of the line does not fit.

use std::pin::Pin;
use std::task::Waker;

use super::answer::{Arrival, Barred, Refusal, TryRefusal, Turn};
use super::chain::Node;
use super::clock::NEVER;
use super::drains::Drains;
use super::front::Front;
use super::line::Line;
use super::sampler::Sampler;
use super::wait::{Fate, Taken, Timer, Wait};
use super::wake::Calls;
use super::word::Word;
use super::{GateStatus, Histogram, LineTotals, RefusedTotals, Resize, Totals};
use crate::plan::{GateName, Limit};

/// What of a gate is behind its lock.
pub(super) struct State {
    pub(super) limit: Limit,
    /// How many times the limit has changed.
    resized: u64,
    bound: usize,
    pub(super) line: Line,
    pub(super) drains: Drains,
    /// Admissions that were moved out of the word. Those from the line never are in it.
    admitted: u64,
    pub(super) line_totals: LineTotals,
    pub(super) refused: RefusedTotals,
    pub(super) sampler: Sampler,
    waits: Box<Histogram>,
}

/// A request that would wait.
pub(super) struct Joining<'n> {
    pub(super) node: Pin<&'n mut Node>,
    pub(super) weight: u32,
    pub(super) waker: Waker,
}

impl State {
    pub(super) fn new(limit: Limit, bound: usize, measures_waits: bool) -> Self {
        Self {
            limit,
            resized: 0,
            bound,
            line: Line::new(),
            drains: Drains::default(),
            admitted: 0,
            line_totals: LineTotals::default(),
            refused: RefusedTotals::default(),
            sampler: Sampler::new(measures_waits),
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

    /// Puts a request at the end of the line, unless it need not or may not wait any more. The clock is asked if its wait
    /// is to be measured and nobody knows yet since when it waits.
    #[expect(clippy::inline_always, reason = "as a call of its own it would pass all of it through memory")]
    #[inline(always)]
    pub(super) fn join(
        &mut self,
        front: &Front,
        joining: Joining<'_>,
        since: Option<i64>,
        clock: impl FnOnce() -> i64,
    ) -> Result<(), (Turn, Waker)> {
        let Joining { node, weight, waker } = joining;
        if let Some(turn) = self.enter(front, weight) {
            return Err((turn, waker));
        }
        let (since, sample) = match since {
            Some(since) => (since, self.sampler.draw(|| since).map_or(0, |(_, sample)| sample)),
            None => self.sampler.draw(clock).unwrap_or_default(),
        };
        self.line.join(node, waker, Wait { weight, timer: Timer::NONE, sample, since, deadline: NEVER });
        Ok(())
    }

    /// Past the door and in front of the line: what has become of the request, or `None` if it has to join, which nobody
    /// can overlook any more.
    #[inline]
    pub(super) fn enter(&mut self, front: &Front, weight: u32) -> Option<Turn> {
        let may_wait = weight.wrapping_sub(1) < self.limit.get() && self.line.len() < self.bound;
        let is_admitted = match may_wait {
            // Whoever comes while somebody waits comes behind them.
            true if !self.line.is_empty() => Some(false),
            true => front.admit_or_announce(weight),
            false => None,
        };
        match is_admitted {
            Some(true) => Some(Turn::Admitted),
            Some(false) => self.joins(),
            None => self.enter_slowly(front, weight),
        }
    }

    #[cold]
    #[inline(never)]
    fn enter_slowly(&mut self, front: &Front, weight: u32) -> Option<Turn> {
        match self.arrive(front, weight) {
            Arrival::MustWait if self.announce(front, weight) => self.joins(),
            Arrival::MustWait | Arrival::Admitted => Some(Turn::Admitted),
            Arrival::Refused(refusal) => Some(Turn::Refused(refusal)),
        }
    }

    #[inline]
    fn joins(&mut self) -> Option<Turn> {
        count(&mut self.line_totals.joined);
        None
    }

    /// Wakes a request in line by `waker` from now on, unless its fate has changed since.
    pub(super) fn rewake(&mut self, node: Pin<&mut Node>, fate: Fate, waker: Waker, calls: &mut Calls) {
        if let Some(spare) = self.line.rewake(node, fate, waker) {
            calls.discard(spare);
        }
    }

    /// Takes a request that was given up out of line, if it waits behind others and no timer watches it: then that is all
    /// there is to do but to drop its waker. `None` if nothing has happened.
    #[inline]
    pub(super) fn leave_behind(&mut self, node: Pin<&mut Node>) -> Option<Waker> {
        let waker = self.line.leave_behind(node)?;
        count(&mut self.line_totals.cancelled);
        Some(waker)
    }

    /// Takes a request that was given up out of line; what it had been granted goes on to the next.
    #[inline]
    pub(super) fn cancel(
        &mut self,
        front: &Front,
        mut node: Pin<&mut Node>,
        weight: u32,
        clock: impl Fn() -> i64,
        calls: &mut Calls,
    ) {
        match self.line.leave(node.as_mut(), calls) {
            Some(was_first) => {
                count(&mut self.line_totals.cancelled);
                // Who else leaves was not in anybody's way.
                if was_first {
                    self.settle(front, 0, clock, calls);
                }
            }
            None if node.fate() == Fate::Admitted => {
                count(&mut self.line_totals.unclaimed);
                self.settle(front, weight, clock, calls);
            }
            None => {}
        }
    }

    /// Puts another limit in force. Requests in line that it has made impossible end at once.
    #[inline]
    pub(super) fn resize(
        &mut self,
        front: &Front,
        limit: Limit,
        clock: impl Fn() -> i64,
    ) -> (Resize, Option<Calls>) {
        let from = std::mem::replace(&mut self.limit, limit);
        if from != limit {
            count(&mut self.resized);
        }
        let change = Word::resizing(from.get(), limit.get());
        let word = Word(front.add(change).0.wrapping_add(change));
        let resize = Resize { from, to: limit, debt: self.debt(word) };
        // What has changed for nobody in line is done.
        let calls = self.line.heeds(limit, word.available()).then(|| self.heed_limit(front, limit, clock));
        (resize, calls)
    }

    #[cold]
    #[inline(never)]
    fn heed_limit(&mut self, front: &Front, limit: Limit, clock: impl Fn() -> i64) -> Calls {
        let mut calls = Calls::default();
        let too_large = self.line.take_heavier(limit, &mut calls);
        add(&mut self.line_totals.too_large, too_large);
        self.settle(front, 0, clock, &mut calls);
        calls
    }

    /// Admits nothing from now on, and ends all that wait.
    pub(super) fn close(&mut self, front: &Front, clock: impl Fn() -> i64) -> Calls {
        let mut calls = Calls::default();
        front.raise(Word::CLOSED);
        let closed = self.line.close(&mut calls);
        add(&mut self.line_totals.closed, closed);
        self.settle(front, 0, clock, &mut calls);
        calls
    }

    /// Hands permits that come back to the first in line, if that is all there is to do: it fits, nobody behind it does,
    /// and no timer watches it. `None` if nothing has happened.
    #[inline]
    pub(super) fn hand_over(
        &mut self,
        front: &Front,
        word: Word,
        given_back: u32,
        clock: impl FnOnce() -> i64,
    ) -> Option<Waker> {
        if !word.only_waits() {
            return None;
        }
        let available = Word(word.0.wrapping_add(Word::returning(given_back))).available();
        let Taken { waker, wait, .. } = self.line.admit_one(available)?;
        count(&mut self.line_totals.admitted);
        if wait.sample > 0 {
            record(&mut self.waits, &wait, clock);
        }
        let flag = if self.line.is_empty() { Word::WAITING } else { 0 };
        let change =
            Word::returning(given_back).wrapping_sub(Word::returning(wait.weight)).wrapping_sub(flag);
        if change != 0 {
            front.add(change);
        }
        waker // which is there, as no timer's end has had it woken before its time
    }

    /// Admits whom there is room for, in order; then, if the gate is drained, says so to those who wait for that.
    /// Whatever raises the limit or takes the first out of line ends here, and whatever gives permits back, unless it has
    /// put them into the word before. The clock is asked only for those whose wait is measured.
    #[inline]
    pub(super) fn settle(
        &mut self,
        front: &Front,
        given_back: u32,
        clock: impl Fn() -> i64,
        calls: &mut Calls,
    ) {
        let change = Word::returning(given_back);
        let word = Word(self.move_out(front).0.wrapping_add(change));
        let Self { line, line_totals, waits, .. } = self;
        // While somebody waits nobody else admits, so there still is what there was, and the word may follow them.
        let available = word.available();
        let left = line.admit(available, calls, |wait| {
            count(&mut line_totals.admitted);
            if wait.sample > 0 {
                record(waits, &wait, &clock);
            }
        });
        let taken = Word::returning(available.wrapping_sub(left));
        // The last one out of line leaves the door open.
        let flag = if line.is_empty() { word.0 & Word::WAITING } else { 0 };
        let change = change.wrapping_sub(taken).wrapping_sub(flag);
        if change != 0 {
            front.add(change);
        }
        if word.has(Word::DRAINING) || self.drains.has_ended() {
            self.settle_drains(front, calls);
        }
    }

    /// Which gate this is, of all that were or will be in the same place.
    pub(super) const fn number(&self) -> u64 {
        self.line.number()
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
            resized: self.resized,
            totals: Totals {
                admitted: self
                    .admitted
                    .saturating_add(word.admitted())
                    .saturating_add(self.line_totals.admitted),
                line: self.line_totals,
                refused: RefusedTotals {
                    no_permits: self.refused.no_permits.saturating_add(word.refused()),
                    ..self.refused
                },
            },
            waits: (*self.waits).clone(),
        }
    }

    fn debt(&self, word: Word) -> u32 {
        word.out(self.limit.get()).saturating_sub(self.limit.get())
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
        let mut is_admitted = false;
        while !is_admitted && self.line.is_empty() && !front.announce(weight) {
            is_admitted = self.admit_past_nobody(front, weight);
        }
        !is_admitted
    }

    /// Moves the counts out of the word before one overflows; gives the word as it was just then.
    #[inline]
    fn move_out(&mut self, front: &Front) -> Word {
        let word = front.word();
        if !word.is_overdue() {
            return word;
        }
        let (admitted, refused) = (word.admitted(), word.refused());
        self.admitted = self.admitted.saturating_add(admitted);
        self.refused.no_permits = self.refused.no_permits.saturating_add(refused);
        front.add(Word::moving_out(admitted, refused).wrapping_neg());
        front.word()
    }
}

/// Records a wait that ends now.
#[cold]
#[inline(never)]
fn record(waits: &mut Histogram, wait: &Wait, clock: impl FnOnce() -> i64) {
    // Whoever came after the clock was read has not waited.
    let waited = u64::try_from(clock().saturating_sub(wait.since)).unwrap_or(0);
    waits.record_many(waited, wait.sample);
}

pub(super) fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1); // not in a lifetime
}

pub(super) fn add(counter: &mut u64, more: usize) {
    *counter = counter.saturating_add(more as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: GateName = GateName::new("tested");

    /// However many are admitted, each is counted: the count is moved out of the word before it overflows, by the first to
    /// come for the lock, and until then nobody is admitted without it.
    #[test]
    fn admissions_are_counted_beyond_the_word() {
        let almost_full = (1 << 20) - 1;
        let word = Word::of_limit(4).0.wrapping_add(Word::admissions(almost_full, 0));
        let (front, mut state) = (Front::new(Word(word)), State::new(Limit::new(4), 0, false));
        assert!(front.admit(1) && !front.admit(1));
        assert_eq!(state.try_take(&front, 1), Ok(()));
        assert!(front.admit(1));
        let status = state.status(&front, NAME);
        assert_eq!((status.totals.admitted, status.in_use, status.available), (almost_full + 3, 3, 1));
    }
}
