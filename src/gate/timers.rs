//! The timers of a gate: one for each runtime on which somebody waits until a deadline, however many do.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

pub(super) use tokio::runtime::Id as RuntimeId;
use tokio::task::unconstrained;
use tokio::time::{Sleep, sleep_until};

use super::clock::{self, NEVER};
use super::deadlines::Deadlines;
use super::wait::Timer;

/// Timers by number. A runtime drives its own, so that a deadline passes where its request is waited for, whatever
/// becomes of other runtimes.
#[derive(Default)]
pub(super) struct Timers(Vec<Slot>);

struct Slot {
    runtime: RuntimeId,
    /// Calls the gate.
    alarm: Waker,
    /// The deadlines that it watches.
    watched: Deadlines,
    /// When it will go off, or is about to be set for; [`NEVER`] if it will not. Not later than any deadline that it
    /// watches, or the request with the earliest has been woken to see to it.
    armed: i64,
    /// Not there while somebody sets it.
    sleep: Option<Alarm>,
}

/// A timer of tokio's.
pub(super) type Alarm = Pin<Box<Sleep>>;

impl Timers {
    /// Has the timer that this runtime drives watch one deadline more; it is made with the alarm, if need be. Says which
    /// that is, and whether it goes off in time; `None` if too many are in use.
    #[inline]
    pub(super) fn watch(
        &mut self,
        runtime: RuntimeId,
        deadline: i64,
        alarm: impl FnOnce(Timer) -> Waker,
    ) -> Option<(Timer, bool)> {
        let mut slots = self.0.iter_mut().zip(0..);
        match slots.find(|(slot, _)| slot.runtime == runtime) {
            Some((slot, at)) => Some((Timer(at), slot.watch(deadline))),
            None => self.make(runtime, deadline, alarm),
        }
    }

    /// One for a runtime that has none: another's that watches nothing, or a new one.
    #[cold]
    #[inline(never)]
    fn make(
        &mut self,
        runtime: RuntimeId,
        deadline: i64,
        alarm: impl FnOnce(Timer) -> Waker,
    ) -> Option<(Timer, bool)> {
        let at = self.0.iter().position(|slot| slot.watched.is_empty()).unwrap_or(self.0.len());
        let timer = Timer(u16::try_from(at).ok()?);
        if timer == Timer::NONE {
            return None;
        }
        if at == self.0.len() {
            let alarm = alarm(timer);
            self.0.push(Slot { runtime, alarm, watched: Deadlines::new(), armed: NEVER, sleep: None });
        }
        let slot = self.slot(timer)?;
        slot.runtime = runtime;
        Some((timer, slot.watch(deadline)))
    }

    /// As many as there can be, each watching something.
    #[cfg(test)]
    pub(super) fn all_used_by(runtime: RuntimeId) -> Self {
        let slot = |_| {
            let mut watched = Deadlines::new();
            watched.add(0);
            Slot { runtime, alarm: Waker::noop().clone(), watched, armed: NEVER, sleep: None }
        };
        Self((0..Timer::NONE.0).map(slot).collect())
    }

    /// One less. Gives back a timer that is of no use any more.
    pub(super) fn remove(&mut self, timer: Timer, deadline: i64) -> Option<Alarm> {
        let slot = self.slot(timer)?;
        if slot.watched.remove(deadline) { slot.spare() } else { None }
    }

    /// Less all that end by then: gives back how many those are, and a timer that is of no use any more.
    pub(super) fn remove_due(&mut self, timer: Timer, now: i64) -> (usize, Option<Alarm>) {
        let Some(slot) = self.slot(timer) else { return (0, None) };
        (slot.watched.remove_due(now), slot.spare())
    }

    /// Whether it goes off by then.
    pub(super) fn covers(&mut self, timer: Timer, deadline: i64) -> bool {
        self.slot(timer).is_some_and(|slot| slot.covers(deadline))
    }

    /// Promises that it will go off in time; whoever gets this has to see to it. `None` if it will anyway.
    pub(super) fn arm(&mut self, timer: Timer, line: u64) -> Option<Arming> {
        let slot = self.slot(timer)?;
        let deadline = slot.watched.first().filter(|first| !slot.covers(*first))?;
        slot.armed = deadline;
        let (runtime, alarm, sleep) = (slot.runtime, slot.alarm.clone(), slot.sleep.take());
        Some(Arming { line, timer, runtime, alarm, deadline, sleep })
    }

    /// Takes a timer that has been set. Gives back one that is of no use any more.
    pub(super) fn armed(&mut self, arming: Arming) -> Option<Alarm> {
        match self.slot(arming.timer) {
            Some(slot) if slot.runtime == arming.runtime && slot.armed == arming.deadline => {
                std::mem::replace(&mut slot.sleep, arming.sleep)
            }
            _ => arming.sleep,
        }
    }

    /// Whether it has gone off since it was set.
    pub(super) fn has_gone_off(&mut self, timer: Timer) -> bool {
        let Some(slot) = self.slot(timer) else { return false };
        slot.armed != NEVER && slot.sleep.as_ref().is_some_and(|sleep| sleep.is_elapsed())
    }

    /// Notes that it will not go off any more.
    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(slot) = self.slot(timer) {
            slot.armed = NEVER;
        }
    }

    #[inline]
    fn slot(&mut self, timer: Timer) -> Option<&mut Slot> {
        self.0.get_mut(usize::from(timer.0))
    }
}

impl Slot {
    /// One more to watch; says whether it goes off in time for that.
    #[inline]
    fn watch(&mut self, deadline: i64) -> bool {
        self.watched.add(deadline);
        self.covers(deadline)
    }

    /// Whether it goes off by then.
    #[inline]
    fn covers(&self, deadline: i64) -> bool {
        self.armed <= deadline
    }

    /// Its timer, if there is nothing to watch any more.
    #[inline]
    fn spare(&mut self) -> Option<Alarm> {
        if !self.watched.is_empty() {
            return None;
        }
        self.armed = NEVER;
        self.sleep.take()
    }
}

/// A timer on its way to being set, for which the gate's lock is not held: tokio has locks of its own.
#[must_use = "others rely on it being set"]
pub(super) struct Arming {
    line: u64,
    timer: Timer,
    runtime: RuntimeId,
    alarm: Waker,
    deadline: i64,
    sleep: Option<Alarm>,
}

impl Arming {
    /// The number of the line it is for.
    pub(super) const fn line(&self) -> u64 {
        self.line
    }

    pub(super) const fn timer(&self) -> Timer {
        self.timer
    }

    /// Sets it.
    ///
    /// # Panics
    ///
    /// If there is a timer to be made and no tokio runtime whose timer is enabled to make it on.
    pub(super) fn set(&mut self) {
        let Some(at) = clock::instant(self.deadline) else { return };
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(at);
                sleep
            }
            none => none.insert(Box::pin(sleep_until(at))),
        };
        // One that has gone off at once needs nobody to call, and one whose runtime is gone would panic.
        if !sleep.is_elapsed() {
            // No work of the task's, so not out of its budget.
            let mut sleep = unconstrained(sleep.as_mut());
            let _is_over = Pin::new(&mut sleep).poll(&mut Context::from_waker(&self.alarm));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::time::advance;

    use super::*;

    fn watch(timers: &mut Timers, on: &Runtime, deadline: i64) -> (Timer, bool) {
        timers.watch(on.handle().id(), deadline, |_| Waker::noop().clone()).unwrap()
    }

    /// Of two who set one timer at once, the one that goes off first is kept, whoever comes back last.
    #[test]
    fn earlier_of_two_is_kept() {
        for late_is_last in [true, false] {
            let paused = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let _inside = paused.enter();
            let mut timers = Timers::default();
            let now = clock::now();
            let [mut late, mut early] = [2_000_000, 1_000_000].map(|after: i64| {
                let timer = watch(&mut timers, &paused, now.saturating_add(after)).0;
                timers.arm(timer, 0).unwrap()
            });
            let timer = early.timer();
            late.set();
            early.set();
            let (first, last) = if late_is_last { (early, late) } else { (late, early) };
            assert_eq!(
                [timers.armed(first), timers.armed(last)].map(|spare| spare.is_some()),
                [!late_is_last, late_is_last]
            );
            assert!(!timers.has_gone_off(timer));
            paused.block_on(advance(Duration::from_millis(1)));
            assert!(timers.has_gone_off(timer));
        }
    }

    /// A timer that has nothing left to watch is given back, whichever way that came to be: its place is for any runtime.
    #[test]
    fn timer_with_nothing_to_watch_is_given_back() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let (mut timers, timer) = (Timers::default(), Timer(0));
        for are_due in [true, false] {
            assert_eq!([1, 2].map(|deadline| watch(&mut timers, &runtime, deadline)), [(timer, false); 2]);
            let mut arming = timers.arm(timer, 0).unwrap();
            arming.set();
            assert!(timers.armed(arming).is_none());
            assert_eq!(watch(&mut timers, &runtime, 3), (timer, true));
            let mut less = |deadline| {
                if are_due { timers.remove_due(timer, deadline).1 } else { timers.remove(timer, deadline) }
            };
            assert_eq!([1, 2, 3].map(|deadline| less(deadline).is_some()), [false, false, true]);
            assert!(timers.arm(timer, 0).is_none());
        }
    }
}
