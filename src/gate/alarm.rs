//! A gate and its timers: what sets them, and what they call.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::answer::Turn;
use super::chain::Node;
use super::clock;
use super::engine::Joining;
use super::inner::{Guard, Inner};
use super::timers::{Arming, RuntimeId};
use super::wait::Timer;
use super::wake::Calls;
use super::watch::Watch;

impl Inner {
    #[expect(clippy::inline_always, reason = "as a call of its own it would pass all of it through memory")]
    #[inline(always)]
    pub(super) fn join_until(
        &'static self,
        joining: Joining<'_>,
        watch: Watch,
    ) -> Result<Option<(Guard<'static>, Timer)>, (Turn, Waker)> {
        let alarm = |number, timer| self.alarm(number, timer);
        let mut body = self.lock();
        let unarmed = body.get().state.join_until(&self.front, joining, watch, alarm)?;
        Ok(unarmed.map(|timer| (body, timer)))
    }

    pub(super) fn rewatch(
        &'static self,
        node: Pin<&mut Node>,
        waker: Waker,
        runtime: RuntimeId,
    ) -> Option<Arming> {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        let alarm = |number, timer| self.alarm(number, timer);
        self.lock().get().state.rewatch(node, waker, runtime, alarm, &mut calls)
    }

    /// Sets a timer, and what comes of that.
    ///
    /// # Panics
    ///
    /// As [`Arming::set`]; whoever relied on it is told.
    pub(super) fn set(&'static self, arming: Arming) {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        let mut next = Some(arming);
        while let Some(mut arming) = next.take() {
            let on_panic = Loses { inner: self, number: arming.line(), timer: arming.timer() };
            arming.set();
            mem::forget(on_panic);
            let mut body = self.lock();
            if body.get().state.number() == arming.line() {
                next = body.get().state.armed(&self.front, arming, clock::now, &mut calls);
            }
        }
    }

    /// What a timer calls.
    fn alarm(&'static self, number: u64, timer: Timer) -> Waker {
        Waker::from(Arc::new(Alarm { inner: self, number, timer }))
    }

    /// A timer has gone off.
    fn go_off(&'static self, number: u64, timer: Timer) {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        let mut body = self.lock();
        if body.get().state.number() != number {
            return; // it was another gate's, whose place this one has
        }
        let next = body.get().state.go_off(&self.front, timer, clock::now, &mut calls);
        drop(body);
        if let Some(arming) = next {
            // tokio calls this while it looks after its timers. If it cannot set another, those who wait are told.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.set(arming)));
        }
    }

    pub(super) fn expire(&self, node: Pin<&mut Node>, now: i64) {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        self.lock().get().state.expire(&self.front, node, now, &mut calls);
    }
}

/// Tells a gate that a timer could not be set, unless it could.
struct Loses {
    inner: &'static Inner,
    number: u64,
    timer: Timer,
}

impl Drop for Loses {
    fn drop(&mut self) {
        let mut calls = Calls::default(); // made as it goes out of scope, where it stands
        let mut body = self.inner.lock();
        if body.get().state.number() == self.number {
            body.get().state.lose(self.timer, &mut calls);
        }
    }
}

/// What a timer of a gate's calls: one that outlives the gate calls nobody.
struct Alarm {
    inner: &'static Inner,
    number: u64,
    timer: Timer,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inner.go_off(self.number, self.timer);
    }
}
