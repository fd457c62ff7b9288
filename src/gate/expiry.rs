//! Setting the timers of a gate, and ending the waits whose deadline has passed.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use super::clock;
use super::lock::GateLock;
use super::timer::{Rearm, TimerId};
use super::wake_list::WakeList;

/// Sets a timer, and ends the waits whose deadline passed in the meantime.
///
/// # Panics
///
/// As [`Rearm::set`]. The requests that rely on the timer are woken before the panic continues.
pub(super) fn set_timer<L: GateLock>(lock: &L, rearm: Rearm) {
    let mut wake_list = WakeList::default();
    set_until_pending(lock, Some(rearm), &mut wake_list);
    wake_list.wake_all();
}

/// Runs when a timer has fired, or when its runtime was shut down.
fn handle_timer<L: GateLock>(lock: &L, timer: TimerId) {
    // tokio calls this while it processes its timers, so no panic may escape, whether from setting a timer or from a waker.
    let handled = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut wake_list = WakeList::default();
        let next = lock.locked(|state, word| state.handle_timer(word, timer, clock::now, &mut wake_list));
        // Before the wakers: a waker that panics must not keep the timer from being set for the other requests.
        set_until_pending(lock, next, &mut wake_list);
        wake_list.wake_all();
    }));
    mem::forget(handled); // the drop of a payload may panic, too
}

/// Sets a timer. If it fired while it was being set, ends the waits whose deadline has passed, and sets it for the next deadline.
fn set_until_pending<L: GateLock>(lock: &L, mut next: Option<Rearm>, wake_list: &mut WakeList) {
    while let Some(mut rearm) = next.take() {
        let on_panic = LoseTimerOnPanic { lock, timer: rearm.timer() };
        rearm.set(); // without the lock: it calls tokio
        mem::forget(on_panic);
        next = lock.locked(|state, word| state.put_timer_back(word, rearm, clock::now, wake_list));
    }
}

/// Marks a timer as lost, and wakes its requests, if setting it panics.
struct LoseTimerOnPanic<'l, L: GateLock> {
    lock: &'l L,
    timer: TimerId,
}

impl<L: GateLock> Drop for LoseTimerOnPanic<'_, L> {
    fn drop(&mut self) {
        self.lock.step(|state, _, wake_list| state.lose_timer(self.timer, wake_list));
    }
}

/// The waker of a timer. It does not keep the gate alive.
struct TimerWaker<L> {
    lock: Weak<L>,
    timer: TimerId,
}

/// Returns the waker of a timer.
pub(super) fn timer_waker<L: GateLock>(lock: &Arc<L>, timer: TimerId) -> Waker {
    Waker::from(Arc::new(TimerWaker { lock: Arc::downgrade(lock), timer }))
}

impl<L: GateLock> Wake for TimerWaker<L> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(lock) = self.lock.upgrade() {
            handle_timer(&*lock, self.timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::runtime::Builder;

    use super::*;
    use crate::gate::clock::NEVER;
    use crate::gate::queue::{Waiter, WaiterRules, WaiterState};
    use crate::gate::shared::Shared;
    use crate::gate::state::WaitDeadline;
    use crate::plan::{GateName, Limit};

    fn shared() -> Arc<Shared> {
        Arc::new(Shared::new(GateName::new("tested"), Limit::new(1), usize::MAX, NEVER, true, None))
    }

    /// If setting a timer panics, the requests that rely on the timer are woken to register with another.
    #[test]
    fn a_timer_that_cannot_be_set_is_reported() {
        let (shared, mut waiter) = (shared(), pin!(Waiter::new(1, WaiterRules::DEFAULT)));
        assert!(shared.try_acquire(1));
        let rearm = shared.locked(|state, word| {
            let runtime = Builder::new_current_thread().build().unwrap().handle().id();
            let registered = state.register_deadline((), runtime, 1, |timer| timer_waker(&shared, timer));
            let Ok((timer, Some(rearm))) = registered else { panic!("the first timer must be set") };
            let deadline = WaitDeadline { since: 0, instant: 1, timer };
            state.enqueue_with_deadline(word, waiter.as_mut(), Waker::noop().clone(), deadline);
            rearm
        });
        let set = || set_timer(&*shared, rearm);
        assert!(panic::catch_unwind(AssertUnwindSafe(set)).is_err(), "this thread is in no runtime");
        assert_eq!(waiter.state(), WaiterState::TimerLost);
        shared.step(|state, word, wake_list| {
            let removed = state.cancel((), waiter.as_mut());
            state.finish_cancel(word, (), waiter, removed, || 0, wake_list);
        });
    }

    /// The waker of a timer does not keep the gate alive, and does nothing once the gate is gone.
    #[test]
    fn a_timer_waker_does_not_keep_the_gate_alive() {
        let shared = shared();
        let waker = timer_waker(&shared, TimerId::NONE);
        waker.wake_by_ref();
        assert_eq!(Arc::strong_count(&shared), 1);
        drop(shared);
        waker.wake();
    }
}
