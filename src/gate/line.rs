//! The line: who waits, in order of arrival, and until when.

use std::mem;
use std::pin::Pin;
use std::task::Waker;

use super::chain::{Chain, Node};
use super::timers::{Arming, RuntimeId, Timers};
use super::wait::{End, Fate, Taken, Timer, Wait};
use super::wake::{self, Calls};
use crate::plan::Limit;

/// Who waits for permits. Joining, leaving and being admitted take constant time, and for a request with a deadline also
/// the logarithm of how many deadlines there are.
#[repr(C)] // in this order, for the sake of where it stands in a gate
pub(super) struct Line {
    chain: Chain,
    len: usize,
    /// Nobody in line asks for more than this. Whoever asked for as much may have gone.
    heaviest: u32,
    /// How many it has let in.
    admitted: u64,
    timers: Timers,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { chain: Chain::new(), len: 0, heaviest: 0, admitted: 0, timers: Timers::default() }
    }

    /// A line whose timers are these.
    #[cfg(test)]
    pub(super) fn with_timers(timers: Timers) -> Self {
        let mut line = Self::new();
        line.timers = timers;
        line
    }

    /// What no other line has.
    pub(super) const fn number(&self) -> u64 {
        self.chain.number()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn admitted(&self) -> u64 {
        self.admitted
    }

    /// Whether somebody has asked for as much as this, or more, since the line was empty. They were allowed to, and are
    /// still, so whoever comes may, too.
    #[inline]
    pub(super) const fn has_as_heavy(&self, weight: u32) -> bool {
        weight.wrapping_sub(1) < self.heaviest
    }

    /// Puts a request at the end that no timer watches.
    #[inline]
    pub(super) fn join(&mut self, node: Pin<&mut Node>, waker: Waker, wait: Wait) {
        self.chain.join(node, waker, wait);
        self.len = self.len.wrapping_add(1); // there is not memory for as many
        if wait.weight > self.heaviest {
            self.heaviest = wait.weight;
        }
    }

    /// Wakes a request of this fate by another waker from now on; gives back the one before, or this one if there is no
    /// such request in this line.
    pub(super) fn rewake(&mut self, node: Pin<&mut Node>, fate: Fate, waker: Waker) -> Option<Waker> {
        self.chain.rewake(node, fate, waker)
    }

    /// Has the timer that this runtime drives watch for a request that joins now; says which that is, and whether it goes
    /// off in time. `None` if too many are in use.
    #[inline]
    pub(super) fn watch(
        &mut self,
        runtime: RuntimeId,
        deadline: i64,
        alarm: impl FnOnce(u64, Timer) -> Waker,
    ) -> Option<(Timer, bool)> {
        let Self { chain, timers, .. } = self;
        timers.watch(runtime, deadline, |timer| alarm(chain.number(), timer))
    }

    /// Has the timer that this runtime drives watch a request in this line from now on; says which that is. `None` if
    /// nothing has happened.
    pub(super) fn rewatch(
        &mut self,
        node: Pin<&mut Node>,
        runtime: RuntimeId,
        alarm: impl FnOnce(u64, Timer) -> Waker,
        calls: &mut Calls,
    ) -> Option<Timer> {
        let Self { chain, timers, .. } = self;
        let number = chain.number();
        let wait = chain.wait(node)?;
        let (timer, _) = timers.watch(runtime, wait.deadline, |timer| alarm(number, timer))?;
        let before = mem::replace(&mut wait.timer, timer);
        calls.dispose(timers.remove(before, wait.deadline));
        Some(timer)
    }

    /// What has to be done so that a timer goes off in time, if anything.
    #[cold]
    #[inline(never)]
    pub(super) fn arm(&mut self, timer: Timer) -> Option<Arming> {
        self.timers.arm(timer, self.chain.number())
    }

    /// Takes a timer that has been set; says whether it has gone off by now.
    pub(super) fn armed(&mut self, arming: Arming, calls: &mut Calls) -> bool {
        let timer = arming.timer();
        calls.dispose(self.timers.armed(arming));
        self.timers.has_gone_off(timer)
    }

    /// Notes that a timer has gone off, if it has; and says whether that was in time. One that went off too early went
    /// down with its runtime, so whoever it watched has to find another.
    pub(super) fn gone_off(&mut self, timer: Timer, now: i64, calls: &mut Calls) -> bool {
        if !self.timers.has_gone_off(timer) {
            return false;
        }
        let is_in_time = self.timers.covers(timer, now);
        if is_in_time {
            self.timers.disarm(timer);
        } else {
            self.lost(timer, calls);
        }
        is_in_time
    }

    /// Notes that a timer is gone, or cannot be set: whoever it watched is called to find another.
    pub(super) fn lost(&mut self, timer: Timer, calls: &mut Calls) {
        self.timers.disarm(timer);
        let is_watched = |wait: &Wait| Some(wait.timer == timer);
        self.chain.take_each(End::Unwatched, is_watched, |lost| {
            lost.waker.into_iter().for_each(|waker| calls.wake(waker));
        });
    }

    /// Admits those at the front for whom there is room; says how many permits are left, and shows their waits.
    #[inline]
    pub(super) fn admit(&mut self, mut available: u32, calls: &mut Calls, each: impl FnMut(Wait)) -> u32 {
        let fits = |wait: &Wait| {
            let left = available.checked_sub(wait.weight);
            available = left.unwrap_or(available);
            left.map(|_| true)
        };
        let admitted = self.take_each(End::Admitted, fits, calls, each);
        self.admitted = self.admitted.saturating_add(admitted as u64);
        available
    }

    /// Admits the first, if it fits, the one behind it then does not, no timer watches it, and this says so, too.
    #[inline]
    pub(super) fn admit_one(&mut self, room: i64, is_so: impl FnOnce(&Wait) -> bool) -> Option<Taken> {
        let taken = self.chain.admit(|first| {
            let left = u32::try_from(room.wrapping_sub(first.weight.into()));
            left.ok().filter(|_| is_so(first) && first.timer == Timer::NONE)
        })?;
        self.admitted = self.admitted.saturating_add(1);
        self.shorten(1);
        Some(taken)
    }

    /// Takes out all; says how many.
    pub(super) fn close(&mut self, calls: &mut Calls) -> usize {
        self.take_each(End::Closed, |_| Some(true), calls, |_| {})
    }

    /// Whether anybody's wait ends under this limit, with so much room.
    #[inline]
    pub(super) fn heeds(&mut self, limit: u32, room: i64) -> bool {
        let mut first_fits = false;
        self.chain.admit(|first| {
            first_fits = i64::from(first.weight) <= room;
            None
        });
        first_fits || self.heaviest > limit
    }

    /// Takes out all that ask for more than this; says how many.
    pub(super) fn take_heavier(&mut self, limit: Limit, calls: &mut Calls) -> usize {
        if self.heaviest <= limit.get() {
            return 0;
        }
        self.heaviest = limit.get();
        self.take_each(End::TooLarge { limit }, |wait| Some(wait.weight > limit.get()), calls, |_| {})
    }

    /// Takes out all that a timer watches and whose deadline has passed; says how many, and whether the first is among
    /// them. It looks no further than the last of them: where all wait equally long at most, no further than it has to.
    pub(super) fn take_late(&mut self, timer: Timer, now: i64, calls: &mut Calls) -> (usize, bool) {
        let (late, spare) = self.timers.remove_due(timer, now);
        calls.dispose(spare);
        calls.make_room(late);
        let mut left = late;
        let is_late = |wait: &Wait| {
            if left == 0 {
                return None;
            }
            let is_late = wait.timer == timer && wait.deadline <= now;
            if is_late {
                left = left.wrapping_sub(1);
            }
            Some(is_late)
        };
        let with_first = self.chain.take_each(End::Expired { now }, is_late, |late| {
            if let Some(waker) = late.waker {
                calls.wake(waker);
            }
        });
        let taken = late.wrapping_sub(left); // all of them
        self.shorten(taken);
        (taken, with_first)
    }

    #[inline]
    fn take_each(
        &mut self,
        end: End,
        is_asked: impl FnMut(&Wait) -> Option<bool>,
        calls: &mut Calls,
        mut each: impl FnMut(Wait),
    ) -> usize {
        let Self { chain, timers, .. } = self;
        let mut count = 0_usize;
        chain.take_each(end, is_asked, |Taken { waker, wait, .. }| {
            count = count.wrapping_add(1); // there are not as many
            if let Some(waker) = waker {
                calls.wake(waker);
            }
            if wait.timer != Timer::NONE {
                calls.dispose(timers.remove(wait.timer, wait.deadline));
            }
            each(wait);
        });
        self.shorten(count);
        count
    }

    /// Takes out a request whose deadline has passed; says whether it was first. `None` if it is not in this line.
    pub(super) fn expire(&mut self, node: Pin<&mut Node>, now: i64, calls: &mut Calls) -> Option<bool> {
        let taken = self.chain.take_this(node, End::Expired { now }, |_, _| true)?;
        Some(self.left(taken, calls))
    }

    /// Takes out a request that is given up; says whether it was first. `None` if it is not in this line.
    #[inline]
    pub(super) fn leave(&mut self, node: Pin<&mut Node>, calls: &mut Calls) -> Option<bool> {
        let taken = self.chain.take_this(node, End::GivenUp, |_, _| true)?;
        Some(self.left(taken, calls))
    }

    /// Takes out a request that is given up and that nobody and no timer depends on: it is not the first.
    #[inline]
    pub(super) fn leave_behind(&mut self, node: Pin<&mut Node>) -> Option<Waker> {
        let is_alone = |wait: &Wait, is_first: bool| !is_first && wait.timer == Timer::NONE;
        let taken = self.chain.take_this(node, End::GivenUp, is_alone)?;
        self.len = self.len.wrapping_sub(1); // the first is left
        taken.waker
    }

    #[inline]
    fn left(&mut self, taken: Taken, calls: &mut Calls) -> bool {
        if let Some(waker) = taken.waker {
            calls.discard(waker);
        }
        if taken.wait.timer != Timer::NONE {
            calls.dispose(self.timers.remove(taken.wait.timer, taken.wait.deadline));
        }
        self.shorten(1);
        taken.was_first
    }

    /// Takes one off the count of those in line, or several.
    #[inline]
    fn shorten(&mut self, by: usize) {
        self.len = self.len.wrapping_sub(by); // there were as many
        if self.len == 0 {
            self.heaviest = 0;
        }
    }
}

/// Whoever is in it by then was leaked: nobody can poll or drop it any more.
impl Drop for Line {
    fn drop(&mut self) {
        self.chain.take_each(
            End::Closed,
            |_| Some(true),
            |leaked| leaked.waker.into_iter().for_each(wake::bury),
        );
    }
}
