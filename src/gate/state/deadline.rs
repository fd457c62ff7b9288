//! Waits that end at a deadline.

use std::pin::Pin;
use std::task::Waker;

use super::admission::GateState;
use crate::gate::error::{AtLevel, Rejection};
use crate::gate::permits::Word;
use crate::gate::queue::{Queue, Removal, Waiter, WaiterState};
use crate::gate::stats::increment;
use crate::gate::timer::{Rearm, RuntimeId, TimerId, TimerState};
use crate::gate::wake_list::WakeList;

impl<Q: Queue> GateState<Q> {
    /// Registers the deadline of a request that is about to wait. Returns the timer, and a [`Rearm`] that the caller must carry out
    /// without the lock.
    ///
    /// # Errors
    ///
    /// If too many runtimes have a timer at this gate. The rejection is counted.
    #[cold]
    pub(in crate::gate) fn register_deadline(
        &mut self,
        place: Q::Place<'_>,
        runtime: RuntimeId,
        instant: i64,
        make_waker: impl FnOnce(TimerId) -> Waker,
    ) -> Result<(TimerId, Option<Rearm>), Rejection> {
        let registered = self.timers.register(runtime, instant, self.queue.node(place), make_waker);
        registered.ok_or_else(|| {
            let rejection = Rejection::QueueFull(AtLevel::own(self.queue.len() as u64));
            self.queue.update_stats(place, |stats| stats.count_rejection(&rejection));
            rejection
        })
    }

    /// After the timer of a request was lost, registers its deadline with the timer of `runtime`, and stores its new waker.
    pub(in crate::gate) fn reregister(
        &mut self,
        place: Q::Place<'_>,
        mut waiter: Pin<&mut Waiter>,
        waker: Waker,
        runtime: RuntimeId,
        make_waker: impl FnOnce(TimerId) -> Waker,
        wake_list: &mut WakeList,
    ) -> Option<Rearm> {
        // The caller has checked this under the same lock. It is repeated so that this step is correct on its own.
        if waiter.state() != WaiterState::TimerLost {
            wake_list.set_unused(Some(waker));
            return None;
        }
        wake_list.set_unused(self.queue.replace_waker(place, waiter.as_mut(), waker));
        let node = self.queue.node(place);
        let request = self.queue.request_mut(place, waiter)?;
        // If the table is full, the request keeps waiting, and its deadline does not end the wait any more.
        let (timer, rearm) = self.timers.register(runtime, request.deadline, node, make_waker)?;
        let lost = std::mem::replace(&mut request.timer, timer);
        wake_list.push_unused_timer(self.timers.unregister(lost, request.deadline));
        rearm
    }

    /// Puts a timer back that was set. Returns the next setting if the timer has fired already.
    pub(in crate::gate) fn put_timer_back(
        &mut self,
        word: &mut Word,
        rearm: Rearm,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) -> Option<Rearm> {
        let timer = rearm.timer();
        wake_list.push_unused_timer(self.timers.put_back(rearm));
        self.handle_timer(word, timer, clock, wake_list)
    }

    /// Ends the waits whose deadline has passed, if the timer has fired. Returns the next setting of the timer.
    pub(in crate::gate) fn handle_timer(
        &mut self,
        word: &mut Word,
        timer: TimerId,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) -> Option<Rearm> {
        let now = match self.timers.poll(timer, clock) {
            TimerState::Pending => return None,
            TimerState::Lost => {
                self.lose_timer(timer, wake_list);
                return None;
            }
            TimerState::Fired(now) => now,
        };
        // Disarm the timer first, so that `rearm` below sets it for the deadlines that are left.
        self.timers.disarm(timer);
        let (due, unused) = self.timers.unregister_due(timer, now);
        wake_list.push_unused_timer(unused);
        wake_list.reserve(due.len());
        let mut was_head = false;
        self.queue.remove_expired(timer, due, now, |removed| {
            // `unregister_due` has already unregistered the deadlines of these requests.
            was_head |= removed.was_head;
            if let Some(waker) = removed.waker {
                wake_list.push(waker);
            }
        });
        if was_head {
            self.serve_queue_slow(word, || now, wake_list);
        }
        self.timers.rearm(timer)
    }

    /// Wakes the requests of a timer that will not fire, so that they register with another timer.
    pub(in crate::gate) fn lose_timer(&mut self, timer: TimerId, wake_list: &mut WakeList) {
        wake_list.push_unused_timer(self.timers.lose(timer));
        self.queue.mark_timer_lost(timer, |waker| wake_list.push(waker));
    }

    /// Ends the wait of a blocked thread at its deadline, unless it has ended before.
    pub(in crate::gate) fn expire(
        &mut self,
        word: &mut Word,
        place: Q::Place<'_>,
        waiter: Pin<&mut Waiter>,
        now: i64,
        wake_list: &mut WakeList,
    ) {
        if let Some(expired) = self.queue.cancel(place, waiter, Removal::Expired(now)) {
            self.queue.update_stats(place, |stats| increment(&mut stats.queue.expired));
            self.discard_removed(word, expired, || now, wake_list);
        }
    }
}
