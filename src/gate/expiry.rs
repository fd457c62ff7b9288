//! The timers of a gate at work: setting them, and ending the waits whose deadline has passed.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::clock;
use super::shared::Shared;
use super::timer::{Rearm, TimerId};

impl Shared {
    /// Sets a timer, and ends the waits whose deadline passed in the meantime.
    ///
    /// # Panics
    ///
    /// As [`Rearm::set`]. The requests that rely on the timer are woken before the panic continues.
    pub(super) fn set_timer(&self, rearm: Rearm) {
        let mut next = Some(rearm);
        while let Some(mut rearm) = next.take() {
            let on_panic = LoseTimer { shared: self, timer: rearm.timer() };
            rearm.set(); // without the lock: it calls tokio
            mem::forget(on_panic);
            next =
                self.step(|state, word, wake_list| state.put_timer_back(word, rearm, clock::now, wake_list));
        }
    }

    /// Runs when a timer has fired, or when its runtime was shut down.
    fn handle_timer(&self, timer: TimerId) {
        let next = self.step(|state, word, wake_list| state.handle_timer(word, timer, clock::now, wake_list));
        if let Some(rearm) = next {
            // tokio calls this while it processes its timers, so no panic may leave. If the timer cannot be set, the requests
            // that rely on it are woken.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.set_timer(rearm)));
        }
    }
}

/// Wakes the requests that rely on a timer, unless it could be set.
struct LoseTimer<'s> {
    shared: &'s Shared,
    timer: TimerId,
}

impl Drop for LoseTimer<'_> {
    fn drop(&mut self) {
        self.shared.step(|state, _, wake_list| state.lose_timer(self.timer, wake_list));
    }
}

/// The waker of a timer. It does not keep the gate alive.
struct TimerWaker {
    shared: Weak<Shared>,
    timer: TimerId,
}

/// Returns the waker of a timer.
pub(super) fn timer_waker(shared: &Arc<Shared>, timer: TimerId) -> Waker {
    Waker::from(Arc::new(TimerWaker { shared: Arc::downgrade(shared), timer }))
}

impl Wake for TimerWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.handle_timer(self.timer);
        }
    }
}
