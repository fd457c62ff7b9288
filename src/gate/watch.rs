//! Requests that wait until a deadline at most, as the engine sees them.

use std::pin::Pin;
use std::task::Waker;

use super::answer::{Refusal, Turn};
use super::chain::Node;
use super::engine::{Joining, State, add, count};
use super::front::Front;
use super::timers::{Arming, RuntimeId};
use super::wait::{Fate, Timer, Wait};
use super::wake::Calls;

/// How long a request waits at most, and where it is waited for.
pub(super) struct Watch {
    pub(super) runtime: RuntimeId,
    pub(super) now: i64,
    pub(super) deadline: i64,
}

impl State {
    /// Refuses a request that would have to wait and whose deadline has passed already.
    pub(super) fn refuse_late(&mut self) -> Refusal {
        count(&mut self.refused.expired);
        Refusal::Expired { waited: 0 }
    }

    /// Puts a request that gives up at a deadline at the end of the line, as [`join`](Self::join). `alarm` makes what a
    /// timer calls; gives back one that does not go off in time and has to be [armed](Self::arm).
    #[expect(clippy::inline_always, reason = "as a call of its own it would pass all of it through memory")]
    #[inline(always)]
    pub(super) fn join_until(
        &mut self,
        front: &Front,
        joining: Joining<'_>,
        Watch { runtime, now: since, deadline }: Watch,
        alarm: impl FnOnce(u64, Timer) -> Waker,
    ) -> Result<Option<Timer>, (Turn, Waker)> {
        let Joining { node, weight, waker } = joining;
        if let Some(turn) = self.enter(front, weight) {
            return Err((turn, waker));
        }
        let Some((timer, is_armed)) = self.line.watch(runtime, deadline, alarm) else {
            return Err((self.refuse_unwatched(front), waker));
        };
        let sample = self.sampler.draw(|| since).map_or(0, |(_, sample)| sample);
        self.line.join(node, waker, Wait { weight, timer, sample, since, deadline });
        Ok(if is_armed { None } else { Some(timer) })
    }

    /// What has to be done so that a timer goes off in time, if anything.
    pub(super) fn arm(&mut self, timer: Timer) -> Option<Arming> {
        self.line.arm(timer)
    }

    /// Refuses a request that was about to join where there are no more timers.
    #[cold]
    #[inline(never)]
    fn refuse_unwatched(&mut self, front: &Front) -> Turn {
        self.unguard(front);
        count(&mut self.refused.queue_full);
        Turn::Refused(Refusal::QueueFull { bound: self.line.len() })
    }

    /// Wakes a request whose timer is lost by another waker, and has this runtime's timer watch it from now on; that may
    /// have to be set.
    pub(super) fn rewatch(
        &mut self,
        mut node: Pin<&mut Node>,
        waker: Waker,
        runtime: RuntimeId,
        alarm: impl FnOnce(u64, Timer) -> Waker,
        calls: &mut Calls,
    ) -> Option<Arming> {
        self.rewake(node.as_mut(), Fate::Unwatched, waker, calls);
        let timer = self.line.rewatch(node, runtime, alarm, calls)?;
        self.line.arm(timer)
    }

    /// Notes that a timer could not be set.
    pub(super) fn lose(&mut self, timer: Timer, calls: &mut Calls) {
        self.line.lost(timer, calls);
    }

    /// Takes a timer that has been set; if it has gone off by now, gives back what has to be set next.
    pub(super) fn armed(
        &mut self,
        front: &Front,
        arming: Arming,
        clock: impl Fn() -> i64,
        calls: &mut Calls,
    ) -> Option<Arming> {
        let timer = arming.timer();
        if self.line.armed(arming, calls) { self.go_off(front, timer, clock, calls) } else { None }
    }

    /// Ends the waits that a timer has watched and whose deadline has passed; gives back what has to be set next.
    pub(super) fn go_off(
        &mut self,
        front: &Front,
        timer: Timer,
        clock: impl Fn() -> i64,
        calls: &mut Calls,
    ) -> Option<Arming> {
        let now = clock();
        if !self.line.gone_off(timer, now, calls) {
            return None;
        }
        let (expired, with_first) = self.line.take_late(timer, now, calls);
        add(&mut self.line_totals.expired, expired);
        if with_first {
            self.settle(front, 0, || now, calls);
        }
        self.line.arm(timer)
    }

    /// Takes a request out of line at its deadline, unless its fate was decided first.
    pub(super) fn expire(&mut self, front: &Front, node: Pin<&mut Node>, now: i64, calls: &mut Calls) {
        if let Some(was_first) = self.line.expire(node, now, calls) {
            count(&mut self.line_totals.expired);
            if was_first {
                self.settle(front, 0, || now, calls);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::runtime::Builder;

    use super::*;
    use crate::gate::line::Line;
    use crate::gate::tally::Tally;
    use crate::gate::timers::Timers;
    use crate::gate::word::Word;
    use crate::plan::GateName;

    const NAME: GateName = GateName::new("tested");

    /// On one runtime more than there are timers for, a request with a deadline is refused as by a full line.
    #[test]
    fn a_runtime_too_many_is_refused() {
        let [first, another] =
            [(), ()].map(|()| Builder::new_current_thread().build().unwrap().handle().id());
        let (front, mut state) = (Front::new(Word::of_limit(1)), State::new(usize::MAX, None));
        assert!(front.admit(1));
        state.line = Line::with_timers(Timers::all_used_by(first));
        let joining = Joining { node: pin!(Node::new(1)), weight: 1, waker: Waker::noop().clone() };
        let watch = Watch { runtime: another, now: 0, deadline: 1 };
        let joined = state.join_until(&front, joining, watch, |_, _| unreachable!());
        assert!(matches!(joined, Err((Turn::Refused(Refusal::QueueFull { .. }), _))));
        let status = state.status(&front, &Tally::default(), NAME);
        assert_eq!((status.totals.rejected.queue_full, status.totals.queue.enqueued), (1, 0));
        assert!(!front.give_back(1) && front.admit(1), "nothing is left of it");
    }

    /// Whoever relied on a timer that then could not be set is woken to find another.
    #[test]
    fn a_timer_that_cannot_be_set_is_told_to_those_who_rely_on_it() {
        let runtime = Builder::new_current_thread().build().unwrap().handle().id();
        let (front, mut state) = (Front::new(Word::of_limit(1)), State::new(usize::MAX, None));
        assert!(front.admit(1));
        let (mut sets, mut relies) = (pin!(Node::new(1)), pin!(Node::new(1)));
        let mut join = |node: Pin<&mut Node>| {
            let joining = Joining { node, weight: 1, waker: Waker::noop().clone() };
            let watch = Watch { runtime, now: 0, deadline: 1 };
            let unarmed =
                state.join_until(&front, joining, watch, |_, _| Waker::noop().clone()).ok().unwrap();
            unarmed.and_then(|timer| state.arm(timer))
        };
        let timer = join(sets.as_mut()).unwrap().timer();
        assert!(join(relies.as_mut()).is_none(), "one is on its way to being set");
        let mut calls = Calls::default();
        state.lose(timer, &mut calls);
        assert_eq!([sets.fate(), relies.fate()], [Fate::Unwatched; 2]);
        for node in [sets, relies] {
            state.cancel(&front, node, 1, || 0, &mut calls);
        }
    }

    /// A call of a timer that is not set yet ends nobody's wait, however late it is: whoever sets it sees to that.
    #[test]
    fn a_timer_on_its_way_to_being_set_ends_nothing() {
        let runtime = Builder::new_current_thread().build().unwrap().handle().id();
        let (front, mut state) = (Front::new(Word::of_limit(1)), State::new(usize::MAX, None));
        assert!(front.admit(1));
        let mut node = pin!(Node::new(1));
        let joining = Joining { node: node.as_mut(), weight: 1, waker: Waker::noop().clone() };
        let watch = Watch { runtime, now: 0, deadline: 1 };
        let unarmed = state.join_until(&front, joining, watch, |_, _| Waker::noop().clone()).ok().unwrap();
        let _arming = state.arm(unarmed.unwrap()).unwrap();
        let mut calls = Calls::default();
        assert!(state.go_off(&front, unarmed.unwrap(), || 1, &mut calls).is_none());
        assert_eq!((node.fate(), state.line_totals.expired), (Fate::Waiting, 0));
        state.cancel(&front, node, 1, || 0, &mut calls);
    }

    /// A request takes its deadline along, whichever way it leaves: a timer with nothing left to watch is for any runtime.
    #[test]
    fn a_deadline_goes_with_its_request() {
        fn joining(node: Pin<&mut Node>) -> Joining<'_> {
            Joining { node, weight: 1, waker: Waker::noop().clone() }
        }
        let runtimes = [(), ()].map(|()| Builder::new_current_thread().build().unwrap().handle().id());
        for is_admitted in [true, false] {
            let (front, mut state) = (Front::new(Word::of_limit(2)), State::new(usize::MAX, None));
            assert!(front.admit(2));
            let mut nodes = [(); 3].map(|()| Box::pin(Node::new(1)));
            let [first, mut behind, later] = nodes.each_mut().map(|node| node.as_mut());
            assert!(state.join(&front, joining(first), None, || 0).is_ok());
            let watch = |runtime| Watch { runtime, now: 0, deadline: 1 };
            let alarm = |_, _| Waker::noop().clone();
            let joined = state.join_until(&front, joining(behind.as_mut()), watch(runtimes[0]), alarm);
            assert!(joined.is_ok());
            let mut calls = Calls::default();
            if is_admitted {
                state.settle(&front, 2, || 0, &mut calls);
            } else {
                assert!(state.leave_behind(behind.as_mut()).is_none(), "it is watched");
                state.cancel(&front, behind, 1, || 0, &mut calls);
            }
            let another = |_, _| unreachable!("there is one with nothing to watch");
            assert!(state.join_until(&front, joining(later), watch(runtimes[1]), another).is_ok());
            state.close(&front, || 0).make();
        }
    }

    /// A request that was let in before its deadline does not expire, however late its thread comes to that.
    #[test]
    fn what_was_let_in_first_does_not_expire() {
        let (front, mut state) = (Front::new(Word::of_limit(1)), State::new(usize::MAX, None));
        assert!(front.admit(1));
        let mut node = pin!(Node::new(1));
        let joining = Joining { node: node.as_mut(), weight: 1, waker: Waker::noop().clone() };
        assert!(state.join(&front, joining, Some(0), || 0).is_ok());
        let mut calls = Calls::default();
        state.settle(&front, 1, || 0, &mut calls);
        state.expire(&front, node.as_mut(), 1, &mut calls);
        assert_eq!((node.fate(), state.line_totals.expired), (Fate::Admitted, 0));
    }
}
