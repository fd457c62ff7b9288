//! The rules of admission behind the lock.
//!
//! No clock and no waking: time, or whom to ask for it, and wakers come in as arguments, and wakers to wake or drop go
//! out as [`Calls`]. Nothing here calls code of the user's, and nothing here panics, so a step is all or nothing.
//!
//! The word in [`Front`] holds the limit and what is available, and changes without the lock while nobody waits. Whoever
//! holds the lock and has somebody wait has set [`Word::GUARDED`]; from then on the limit stays and available only grows
//! under it. The books: `out + available == limit + debt`, where `out` counts permits held and permits of requests that
//! were admitted and have not been resumed yet; one of `available` and `debt` is 0. At rest the head of the line does
//! not fit.

use std::mem;
use std::pin::Pin;
use std::task::Waker;

use super::answer::{Arrival, Barred, Refusal, TryRefusal, Turn};
use super::chain::Node;
use super::drains::Drains;
use super::front::{Change, Front};
use super::line::Line;
use super::sampler::Sampler;
use super::tally::{Count, Tally};
use super::wait::{Fate, Taken, Wait};
use super::wake::Calls;
use super::word::Word;
use super::{GateStatus, GateTotals, Histogram, QueueTotals, RejectedTotals};
use crate::plan::{GateName, Limit};

/// What of a gate is behind its lock.
#[repr(C)] // in this order, for the sake of where it stands in a gate
pub(super) struct State {
    pub(super) line: Line,
    /// Permits that were handed over to the line and that the word still shows as available. None unless somebody waits.
    handed_over: u32,
    /// The limit that there was when the last handle went, if it has.
    orphaned: Option<Limit>,
    pub(super) sampler: Sampler,
    bound: usize,
    pub(super) drains: Drains,
    is_vacant: bool,
    /// Counts of what was done behind the lock, but for what became of the line.
    admitted: u64,
    resized: u64,
    /// But for who joined the line and was admitted from it.
    pub(super) line_totals: QueueTotals,
    pub(super) refused: RejectedTotals,
    waits: Box<Histogram>,
}

/// A request that would wait.
pub(super) struct Joining<'n> {
    pub(super) node: Pin<&'n mut Node>,
    pub(super) weight: u32,
    pub(super) waker: Waker,
}

impl State {
    /// With so many places in line; `look` is for the [sampler](Sampler::new).
    pub(super) fn new(bound: usize, look: Option<i64>) -> Self {
        Self {
            line: Line::new(),
            handed_over: 0,
            orphaned: None,
            sampler: Sampler::new(look),
            bound,
            drains: Drains::default(),
            is_vacant: false,
            admitted: 0,
            resized: 0,
            line_totals: QueueTotals::default(),
            refused: RejectedTotals::default(),
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
            return Arrival::Refused(barred.into());
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

    /// Puts a request at the end of the line, if nothing stands against it and its wait is not measured; else nothing has
    /// happened.
    #[expect(clippy::inline_always, reason = "as a call of its own it would pass all of it through memory")]
    #[inline(always)]
    pub(super) fn join_at_once(
        &mut self,
        front: &Front,
        node: Pin<&mut Node>,
        weight: u32,
        waker: Waker,
    ) -> Result<(), Waker> {
        if !self.sampler.skips() || !self.may_join(front, weight) {
            return Err(waker);
        }
        self.sampler.skip();
        self.line.join(node, waker, Wait::unwatched(weight, 0, 0));
        Ok(())
    }

    /// Whether a request may join the line as it is mostly found; nobody can overlook it any more then.
    #[inline]
    fn may_join(&self, front: &Front, weight: u32) -> bool {
        self.line.len() < self.bound
            && (self.line.has_as_heavy(weight) || self.line.is_empty() && front.guard_at_once(weight))
    }

    /// Puts a request at the end of the line, unless it need not or may not wait any more. The clock is asked if its wait
    /// is to be measured and nobody knows yet since when it waits.
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
        self.line.join(node, waker, Wait::unwatched(weight, since, sample));
        Ok(())
    }

    /// Past the door and in front of the line: what has become of the request, or `None` if it has to join, which nobody
    /// can overlook any more.
    #[inline]
    pub(super) fn enter(&mut self, front: &Front, weight: u32) -> Option<Turn> {
        if self.may_join(front, weight) { None } else { self.enter_slowly(front, weight) }
    }

    #[cold]
    #[inline(never)]
    fn enter_slowly(&mut self, front: &Front, weight: u32) -> Option<Turn> {
        loop {
            match self.arrive(front, weight) {
                Arrival::MustWait if !self.line.is_empty() || front.guard(weight) => return None,
                Arrival::MustWait => {} // there is room by now, or the limit has fallen below it
                Arrival::Admitted => return Some(Turn::Admitted),
                Arrival::Refused(refusal) => return Some(Turn::Refused(refusal)),
            }
        }
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

    /// Puts another limit in force, which is to be [heeded](Self::heeds) then.
    #[inline]
    pub(super) fn resize(&mut self, front: &Front, limit: Limit) -> Change {
        let word = front.word();
        let change = if word.has(Word::GUARDED) {
            // Nobody else changes the limit now, and what was handed over shows from here on.
            let handed_over = Word::returning(mem::take(&mut self.handed_over));
            let change = word.under(limit.get()).0.wrapping_sub(word.0).wrapping_sub(handed_over);
            Change { from: word.limit(), after: Word(front.add(change).0.wrapping_add(change)) }
        } else {
            front.resize(limit.get())
        };
        if change.from != limit.get() {
            count(&mut self.resized);
        }
        change
    }

    /// Whether anybody's wait ends with a limit that is in force by now.
    #[inline]
    pub(super) fn heeds(&mut self, Change { after, .. }: Change) -> bool {
        self.line.heeds(after.limit(), after.room())
    }

    /// Ends the waits of those whom a limit in force lets in, or has made impossible.
    pub(super) fn heed_limit(
        &mut self,
        front: &Front,
        limit: Limit,
        clock: impl Fn() -> i64,
        calls: &mut Calls,
    ) {
        let too_large = self.line.take_heavier(limit, calls);
        add(&mut self.line_totals.too_large, too_large);
        self.settle(front, 0, clock, calls);
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

    /// Lets the first in line in, if its wait is not measured and that is all there is to do: it fits, nobody behind it does,
    /// and no timer watches it. `None` if nothing has happened.
    #[inline]
    pub(super) fn hand_over(&mut self, front: &Front) -> Option<Waker> {
        self.hand_over_if(front, |wait| wait.sample == 0)?.waker
    }

    /// The same of any.
    pub(super) fn hand_over_measured(&mut self, front: &Front, clock: impl FnOnce() -> i64) -> Option<Waker> {
        let Taken { waker, wait, .. } = self.hand_over_if(front, |_| true)?;
        if wait.sample > 0 {
            record(&mut self.waits, wait.since, wait.sample, clock);
        }
        waker
    }

    #[inline]
    fn hand_over_if(&mut self, front: &Front, is_so: impl FnOnce(&Wait) -> bool) -> Option<Taken> {
        let word = front.word();
        if !self.drains.is_empty() || word.limit() > LIMIT_TO_HAND_OVER_UNDER {
            return None;
        }
        // While somebody waits nobody else admits, so there still is what there was, and the word may follow.
        let room = word.room().wrapping_sub(self.handed_over.into());
        let taken = self.line.admit_one(room, is_so)?;
        self.handed_over = self.handed_over.wrapping_add(taken.wait.weight); // no more than was said above
        if self.line.is_empty() {
            // The last one out of line leaves the door open. Whoever is in line has had it guarded.
            front.add(Word::GUARDED.wrapping_sub(Word::returning(mem::take(&mut self.handed_over))));
        } else if self.handed_over > MOST_HANDED_OVER {
            self.take_handed_over(front);
        }
        Some(taken) // with its waker, as no timer's end has had it woken before its time
    }

    /// The word as it would be if it showed what was handed over.
    #[inline]
    pub(super) fn word(&self, front: &Front) -> Word {
        Word(front.word().0.wrapping_sub(Word::returning(self.handed_over)))
    }

    /// Has the word show what was handed over.
    #[inline]
    fn take_handed_over(&mut self, front: &Front) {
        if self.handed_over > 0 {
            front.add(Word::returning(mem::take(&mut self.handed_over)).wrapping_neg());
        }
    }

    /// Admits whom there is room for, in order; then, if the gate is drained, says so to those who wait for that.
    /// Whatever raises the limit, takes the first out of line or gives permits back ends here. The clock is asked only for
    /// those whose wait is measured.
    #[inline]
    pub(super) fn settle(
        &mut self,
        front: &Front,
        given_back: u32,
        clock: impl Fn() -> i64,
        calls: &mut Calls,
    ) {
        let word = Word(self.word(front).0.wrapping_add(Word::returning(given_back)));
        let Self { line, waits, .. } = self;
        let available = word.available();
        let left = line.admit(available, calls, |wait| {
            if wait.sample > 0 {
                record(waits, wait.since, wait.sample, &clock);
            }
        });
        let taken = available.wrapping_sub(left);
        // Adding the flag where it is up takes it down.
        let flag = if self.needs_guard() { 0 } else { word.0 & Word::GUARDED };
        let change = Word::returning(given_back)
            .wrapping_sub(Word::returning(taken))
            .wrapping_sub(Word::returning(mem::take(&mut self.handed_over)))
            .wrapping_add(flag);
        if change != 0 {
            front.add(change);
        }
        if !self.drains.is_empty() || self.drains.has_ended() {
            self.settle_drains(front, calls);
        }
    }

    /// Whether anything needs the word to be guarded.
    #[inline]
    fn needs_guard(&self) -> bool {
        !self.line.is_empty() || !self.drains.is_empty() || self.orphaned.is_some()
    }

    /// Takes the guard away once nothing needs it any more.
    pub(super) fn unguard(&self, front: &Front) {
        if !self.needs_guard() {
            front.lower(Word::GUARDED);
        }
    }

    /// Brings the word in line with whether there is a handle. Of those who come here at once, the first does it and the
    /// others find it done.
    pub(super) fn settle_handles(&mut self, front: &Front, has_handles: bool) {
        match self.orphaned {
            None if !has_handles => {
                front.raise(Word::GUARDED);
                self.orphaned = Some(Limit::saturating(front.resize(0).from.into()));
            }
            Some(limit) if has_handles => {
                front.resize(limit.get());
                self.orphaned = None;
                self.unguard(front);
            }
            None | Some(_) => {}
        }
    }

    /// Whether the gate's place has just become vacant: the last handle is gone and no permit is out. It is said once.
    #[inline]
    pub(super) fn vacates(&mut self, front: &Front) -> bool {
        // Acquire: what was done under every permit happens before the place is given away.
        let vacates = self.orphaned.is_some() && !self.is_vacant && self.word(front).out() == 0;
        self.is_vacant |= vacates;
        vacates
    }

    /// Which gate this is, of all that were or will be in the same place.
    pub(super) const fn number(&self) -> u64 {
        self.line.number()
    }

    fn line_totals(&self) -> QueueTotals {
        let totals = QueueTotals { admitted: self.line.admitted(), ..self.line_totals };
        let mut joined = totals.ended();
        add(&mut joined, self.line.len());
        QueueTotals { enqueued: joined, ..totals }
    }

    pub(super) fn status(&self, front: &Front, tally: &Tally, name: GateName) -> GateStatus {
        // One look at the word, so that what it says is of one instant.
        let word = self.word(front);
        GateStatus {
            name,
            limit: word.in_force(),
            in_use: word.out(),
            available: word.available(),
            debt: word.debt(),
            waiting: self.line.len(),
            closed: word.has(Word::CLOSED),
            resized: self.resized.saturating_add(tally.sum(Count::Resized)),
            totals: GateTotals {
                admitted: self
                    .admitted
                    .saturating_add(tally.sum(Count::Admitted))
                    .saturating_add(self.line.admitted()),
                queue: self.line_totals(),
                rejected: RejectedTotals {
                    no_permits: self.refused.no_permits.saturating_add(tally.sum(Count::Refused)),
                    ..self.refused
                },
            },
            waits: (*self.waits).clone(),
        }
    }

    /// Refuses what cannot be admitted however long it waits, before anything is changed but the count of it.
    #[inline]
    fn check(&mut self, front: &Front, weight: u32) -> Result<(), Barred> {
        let word = front.word();
        let (counter, barred) = if weight == 0 {
            (&mut self.refused.zero_weight, Barred::ZeroWeight)
        } else if word.has(Word::CLOSED) {
            (&mut self.refused.closed, Barred::Closed)
        } else if weight > word.limit() {
            (&mut self.refused.too_large, Barred::TooLarge { limit: word.in_force() })
        } else {
            return Ok(());
        };
        count(counter);
        Err(barred)
    }

    /// Whoever comes while somebody waits comes behind them, even if there is room for it and not for them.
    #[inline]
    fn admit_past_nobody(&mut self, front: &Front, weight: u32) -> bool {
        if !self.line.is_empty() {
            return false;
        }
        let admits =
            if self.drains.is_empty() { front.admit(weight) } else { self.admit_past_drains(front, weight) };
        if admits {
            count(&mut self.admitted);
        }
        admits
    }

    #[cold]
    fn admit_past_drains(&mut self, front: &Front, weight: u32) -> bool {
        // Nobody else admits, so there still is what there was.
        let fits = front.word().fits(weight);
        if fits && self.is_drained(front.add(Word::returning(weight).wrapping_neg())) {
            // It was drained until now. Whoever gave the last permits back has yet to come for the lock, and wakes.
            self.drains.end();
            self.unguard(front);
        }
        fits
    }
}

/// So much may have been handed over without showing in the word, and the weight of one request more. A test of this file
/// gets there, and a model checker.
const MOST_HANDED_OVER: u32 = if cfg!(gate_loom) {
    1
} else if cfg!(test) {
    16
} else {
    1024
};
/// Up to this limit the word has room for all that: for twice the limit and what may have been handed over.
const LIMIT_TO_HAND_OVER_UNDER: u32 = Limit::MAX.get() >> 2;

/// Records a wait that ends now.
#[cold]
#[inline(never)]
fn record(waits: &mut Histogram, since: i64, sample: u16, clock: impl FnOnce() -> i64) {
    // Whoever came after the clock was read has not waited.
    let waited = u64::try_from(clock().saturating_sub(since)).unwrap_or(0);
    waits.record_many(waited, sample);
}

pub(super) fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1); // not in a lifetime
}

pub(super) fn add(counter: &mut u64, more: usize) {
    *counter = counter.saturating_add(more as u64);
}

#[cfg(test)]
mod tests {
    use std::array;
    use std::pin::Pin;

    use super::*;

    const NAME: GateName = GateName::new("tested");

    /// A line of so many requests for one permit each, and permits that are out.
    struct Scene {
        front: Front,
        tally: Tally,
        state: State,
        nodes: [Pin<Box<Node>>; 40],
    }

    impl Scene {
        fn new(limit: u32) -> Self {
            let mut state = State::new(usize::MAX, None);
            let front = Front::new(Word::of_limit(limit));
            assert!(front.admit(limit));
            let mut nodes = array::from_fn(|_| Box::pin(Node::new(1)));
            for node in &mut nodes {
                let joining = Joining { node: node.as_mut(), weight: 1, waker: Waker::noop().clone() };
                assert!(state.join(&front, joining, None, || 0).is_ok());
            }
            Self { front, tally: Tally::default(), state, nodes }
        }

        /// Gives a permit back, and says whether the short way has led on.
        fn give_back_one(&mut self) -> bool {
            assert!(self.front.give_back(1));
            let is_short = self.state.hand_over(&self.front).is_some();
            let mut calls = Calls::default();
            self.state.settle(&self.front, 0, || 0, &mut calls);
            is_short
        }

        fn books(&self) -> (u32, u32, usize) {
            let status = self.state.status(&self.front, &self.tally, NAME);
            (status.in_use, status.available, status.waiting)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.state.close(&self.front, || 0).make(); // a node that is dropped in line ends the process
            assert!(self.nodes.iter().all(|node| !node.fate().is_in_line()));
        }
    }

    /// The short way to the first in line leaves the word as it is, some permits behind, and nobody can tell.
    #[test]
    fn handing_over_need_not_show() {
        let mut scene = Scene::new(3);
        for handed_over in 1..=39_u32 {
            assert!(scene.front.give_back(1) && scene.state.hand_over(&scene.front).is_some());
            assert_eq!(scene.books(), (3, 0, 40 - handed_over as usize));
            assert_eq!(scene.state.handed_over, handed_over % (MOST_HANDED_OVER + 1), "in time it shows");
        }
        assert!(scene.give_back_one());
        assert_eq!((scene.books(), scene.state.handed_over), ((3, 0, 0), 0));
        assert!(!scene.front.word().has(Word::GUARDED) && !scene.front.admit(1));
    }

    /// Whoever comes to the short way for any wait may find one that is not measured: that asks no clock.
    #[test]
    fn handing_over_measures_what_is_measured() {
        let mut scene = Scene::new(3);
        assert!(scene.front.give_back(1));
        assert!(scene.state.hand_over_measured(&scene.front, || unreachable!()).is_some());
        assert_eq!(scene.books(), (3, 0, 39));
    }

    /// What was handed over shows before the limit changes, whichever way.
    #[test]
    fn limit_changes_under_what_shows() {
        let mut scene = Scene::new(3);
        for (limit, books) in [(5, (5, 0, 37)), (1, (5, 0, 36)), (6, (6, 0, 35))] {
            if scene.state.handed_over == 0 && scene.front.word().debt() == 0 {
                assert!(scene.front.give_back(1) && scene.state.hand_over(&scene.front).is_some());
            }
            let change = scene.state.resize(&scene.front, Limit::new(limit));
            if scene.state.heeds(change) {
                let mut calls = Calls::default();
                scene.state.heed_limit(&scene.front, Limit::new(limit), || 0, &mut calls);
            }
            assert_eq!((scene.books(), scene.state.handed_over), (books, 0), "under {limit}");
        }
    }

    /// Under a limit that leaves no room in the word everything shows at once.
    #[test]
    fn great_limits_are_handed_over_in_sight() {
        let mut scene = Scene::new(LIMIT_TO_HAND_OVER_UNDER + 1);
        assert!(!scene.give_back_one());
        assert_eq!((scene.books().0, scene.state.handed_over), (LIMIT_TO_HAND_OVER_UNDER + 1, 0));
    }
}
