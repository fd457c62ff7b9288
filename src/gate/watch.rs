//! Requests that wait until a deadline at most, as the engine sees them.

use std::pin::Pin;
use std::task::Waker;
use std::time::Duration;

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
        Refusal::Expired { waited: Duration::ZERO }
    }

    /// Puts a request that gives up at a deadline at the end of the line, as [`join`](Self::join). `alarm` makes what a
    /// timer calls; where there is none that goes off in time, one has to be set then.
    pub(super) fn join_until(
        &mut self,
        front: &Front,
        joining: Joining<'_>,
        &Watch { runtime, now: since, deadline }: &Watch,
        alarm: impl FnOnce(Timer) -> Waker,
    ) -> Result<Option<Arming>, (Turn, Waker)> {
        let Joining { node, weight, waker } = joining;
        let Some(timer) = self.line.timer_of(runtime, alarm) else {
            count(&mut self.refused.queue_full);
            return Err((Turn::Refused(Refusal::QueueFull { bound: self.line.len() }), waker));
        };
        if let Some(turn) = self.enter(front, weight) {
            return Err((turn, waker));
        }
        let sample = self.sampler.draw(|| since).map_or(0, |(_, sample)| sample);
        self.line.join(node, waker, Wait { weight, timer, sample, since, deadline });
        Ok(self.line.arm(timer))
    }

    /// Wakes a request whose timer is lost by another waker, and has this runtime's timer watch it from now on; that may
    /// have to be set.
    pub(super) fn rewatch(
        &mut self,
        mut node: Pin<&mut Node>,
        waker: Waker,
        runtime: RuntimeId,
        alarm: impl FnOnce(Timer) -> Waker,
        calls: &mut Calls,
    ) -> Option<Arming> {
        self.rewake(node.as_mut(), Fate::Unwatched, waker, calls);
        let timer = self.line.timer_of(runtime, alarm)?;
        self.line.watch(node, timer, calls);
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
