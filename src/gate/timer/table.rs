//! The table of the timers of one gate.

use std::pin::Pin;
use std::task::Waker;

use tokio::time::Sleep;

use super::deadlines::Deadlines;
use super::id::{RuntimeId, TimerId};
use super::rearm::Rearm;
use crate::gate::clock::NEVER;

/// The timer table, with the nodes of the requests. A slot is reused for another runtime once it has no deadlines.
pub(in crate::gate) struct Timers<N>(Vec<TimerSlot<N>>);

struct TimerSlot<N> {
    runtime: RuntimeId,
    /// Runs the expiry of the gate when the timer fires.
    waker: Waker,
    deadlines: Deadlines<N>,
    /// The instant that the `Sleep` is set for, or is being set for; [`NEVER`] if it will not fire. It is at most the earliest
    /// deadline, except from [`Timers::disarm`] or [`Timers::lose`] until the next [`Timers::rearm`].
    armed_for: i64,
    /// `None` while a [`Rearm`] has it.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<N> Default for Timers<N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<N> Timers<N> {
    /// Adds a deadline to the timer of this runtime, and creates the timer if there is none. Returns the timer, and a [`Rearm`] that the
    /// caller must carry out without the lock. There is no `Rearm` if the timer is already set for this instant or an earlier one.
    ///
    /// Returns `None` if 65 535 runtimes have a timer at this gate.
    #[inline]
    pub(in crate::gate) fn register(
        &mut self,
        runtime: RuntimeId,
        deadline: i64,
        node: N,
        make_waker: impl FnOnce(TimerId) -> Waker,
    ) -> Option<(TimerId, Option<Rearm>)> {
        // The slot of the runtime, else one that no other runtime needs, else a new one.
        let known = self.0.iter().position(|slot| slot.runtime == runtime);
        let free = || self.0.iter().position(|slot| slot.deadlines.is_empty());
        let index = known.or_else(free).unwrap_or(self.0.len());
        let timer = u16::try_from(index).ok().map(TimerId).filter(|timer| *timer != TimerId::NONE)?;
        if index == self.0.len() {
            let (waker, deadlines) = (make_waker(timer), Deadlines::new());
            self.0.push(TimerSlot { runtime, waker, deadlines, armed_for: NEVER, sleep: None });
        }
        let slot = self.slot(timer)?;
        slot.runtime = runtime;
        slot.deadlines.insert(deadline, node);
        // Under the same lock as the insertion: later the slot may belong to another runtime, and this thread would create the
        // `Sleep` in the wrong one.
        Some((timer, self.rearm(timer)))
    }

    /// Removes one deadline. Returns the `Sleep` of a timer that has no deadlines left, to be dropped without the lock.
    #[must_use = "the timer must be dropped after the lock is released"]
    pub(in crate::gate) fn unregister(&mut self, timer: TimerId, deadline: i64) -> Option<Pin<Box<Sleep>>> {
        let slot = self.slot(timer)?;
        slot.deadlines.remove(deadline);
        slot.take_unused_sleep()
    }

    /// Removes the deadlines up to `now`. Returns the nodes of their requests, and the `Sleep` if no deadline is left. If several requests
    /// had equal deadlines, a node may be that of one that was unregistered.
    pub(in crate::gate) fn unregister_due(
        &mut self,
        timer: TimerId,
        now: i64,
    ) -> (Vec<N>, Option<Pin<Box<Sleep>>>) {
        let Some(slot) = self.slot(timer) else { return (Vec::new(), None) };
        (slot.deadlines.remove_due(now), slot.take_unused_sleep())
    }

    /// Marks the timer as set for its earliest deadline. The caller must carry out the returned [`Rearm`] without the lock, and
    /// then [put the `Sleep` back](Self::put_back). Returns `None` if the timer is already set for this instant or an earlier one, or has
    /// no deadline.
    pub(in crate::gate) fn rearm(&mut self, timer: TimerId) -> Option<Rearm> {
        let slot = self.slot(timer)?;
        let deadline = slot.deadlines.first().filter(|first| slot.armed_for > *first)?;
        slot.armed_for = deadline;
        Some(Rearm::new(timer, slot.runtime, deadline, slot.waker.clone(), slot.sleep.take()))
    }

    /// Puts the `Sleep` of a [`Rearm`] back. Returns a `Sleep` that is no longer needed, because the timer was set again or
    /// lost its last deadline in the meantime.
    pub(in crate::gate) fn put_back(&mut self, rearm: Rearm) -> Option<Pin<Box<Sleep>>> {
        let timer = rearm.timer();
        match self.slot(timer) {
            Some(slot) if rearm.is_current(slot.runtime, slot.armed_for) => {
                std::mem::replace(&mut slot.sleep, rearm.into_sleep())
            }
            _ => rearm.into_sleep(),
        }
    }

    /// Returns the state of the timer, and the current instant if it has fired.
    pub(in crate::gate) fn poll(&mut self, timer: TimerId, clock: impl FnOnce() -> i64) -> TimerState {
        let Some(slot) = self.slot(timer) else { return TimerState::Pending };
        let is_elapsed =
            slot.armed_for != NEVER && slot.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed());
        if !is_elapsed {
            return TimerState::Pending;
        }
        // The clock is read last: an earlier instant would make a timer that fires in between look lost.
        let now = clock();
        if slot.armed_for <= now { TimerState::Fired(now) } else { TimerState::Lost }
    }

    /// Marks the timer as lost, and returns its `Sleep`, which must be dropped: after its runtime was shut down it can never be set again.
    #[must_use = "the timer must be dropped after the lock is released"]
    pub(in crate::gate) fn lose(&mut self, timer: TimerId) -> Option<Pin<Box<Sleep>>> {
        let slot = self.slot(timer)?;
        slot.armed_for = NEVER;
        slot.sleep.take()
    }

    /// Marks the timer as fired: it is not set until the next [`rearm`](Self::rearm).
    pub(in crate::gate) fn disarm(&mut self, timer: TimerId) {
        if let Some(slot) = self.slot(timer) {
            slot.armed_for = NEVER;
        }
    }

    #[inline]
    fn slot(&mut self, timer: TimerId) -> Option<&mut TimerSlot<N>> {
        self.0.get_mut(usize::from(timer.0))
    }
}

#[cfg(test)]
impl Timers<()> {
    /// Returns a full table, in which this runtime has every timer.
    pub(in crate::gate) fn full(runtime: RuntimeId) -> Self {
        let slot = |_| {
            let mut deadlines = Deadlines::new();
            deadlines.insert(0, ());
            TimerSlot { runtime, waker: Waker::noop().clone(), deadlines, armed_for: NEVER, sleep: None }
        };
        Self((0..TimerId::NONE.0).map(slot).collect())
    }
}

/// The state of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum TimerState {
    Pending,
    /// The timer has fired. Holds the current instant.
    Fired(i64),
    /// The `Sleep` ended before the instant that it was set for, because its runtime was shut down.
    Lost,
}

impl<N> TimerSlot<N> {
    fn take_unused_sleep(&mut self) -> Option<Pin<Box<Sleep>>> {
        if !self.deadlines.is_empty() {
            return None;
        }
        self.armed_for = NEVER;
        self.sleep.take()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::time::advance;

    use super::*;
    use crate::gate::clock;

    fn register(timers: &mut Timers<()>, on: &Runtime, deadline: i64) -> (TimerId, Option<Rearm>) {
        timers.register(on.handle().id(), deadline, (), |_| Waker::noop().clone()).unwrap()
    }

    /// If two threads set one timer at once, the earlier of both settings is kept, whichever thread returns last.
    #[test]
    fn the_earlier_of_two_settings_is_kept() {
        for late_is_last in [true, false] {
            let paused = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _inside = paused.enter();
            let (mut timers, start) = (Timers::default(), clock::now());
            let [mut late, mut early] = [2_000_000, 1_000_000]
                .map(|after: i64| register(&mut timers, &paused, start.saturating_add(after)).1.unwrap());
            let timer = early.timer();
            late.set();
            early.set();
            let (first, last) = if late_is_last { (early, late) } else { (late, early) };
            assert_eq!(
                [timers.put_back(first), timers.put_back(last)].map(|unused| unused.is_some()),
                [!late_is_last, late_is_last]
            );
            assert_eq!(timers.poll(timer, || unreachable!("it is pending")), TimerState::Pending);
            paused.block_on(advance(Duration::from_millis(1)));
            let fired = clock::now();
            assert_eq!(timers.poll(timer, || fired), TimerState::Fired(fired));
            assert_eq!(timers.poll(timer, || start), TimerState::Lost, "it ended before its instant");
        }
    }

    /// A timer without deadlines gives its `Sleep` up, and its slot is reused for any runtime.
    #[test]
    fn a_timer_without_deadlines_is_given_up() {
        let runtimes = [(); 2].map(|()| Builder::new_current_thread().enable_time().build().unwrap());
        let _inside = runtimes[0].enter();
        let (mut timers, timer) = (Timers::default(), TimerId(0));
        for are_due in [true, false] {
            let (first, rearm) = register(&mut timers, &runtimes[0], 1);
            let (second, none) = register(&mut timers, &runtimes[0], 2);
            assert_eq!((first, second, none.is_some()), (timer, timer, false), "one timer serves both");
            let mut rearm = rearm.unwrap();
            rearm.set();
            assert!(timers.put_back(rearm).is_none() && timers.rearm(timer).is_none());
            let other = register(&mut timers, &runtimes[1], 1);
            assert_eq!((other.0, other.1.is_some()), (TimerId(1), true), "another runtime, another timer");
            assert!(register(&mut timers, &runtimes[0], 3).1.is_none());
            let mut unregister = |deadline| {
                if are_due {
                    timers.unregister_due(timer, deadline).1
                } else {
                    timers.unregister(timer, deadline)
                }
            };
            assert_eq!([1, 2, 3].map(|deadline| unregister(deadline).is_some()), [false, false, true]);
            assert!(timers.rearm(timer).is_none());
            assert_eq!(register(&mut timers, &runtimes[1], 1).0, TimerId(1));
            assert_eq!(timers.unregister_due(TimerId(1), 1).0.len(), 2);
        }
        assert_eq!(timers.0.len(), 2);
    }
}
