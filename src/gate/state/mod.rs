//! The rules of admission: everything a gate decides under its lock.
//!
//! This module is pure. It reads no clock and wakes no waker: instants come in as arguments, or as a function that is called
//! only if the instant is needed, and wakers go out in a [`WakeList`]. It calls no foreign code and cannot panic, so each
//! step happens as a whole or not at all.
//!
//! Invariants between two steps, where `in_use` includes the permits of admitted requests that were not polled yet:
//!
//! - `in_use + available == limit + debt`, and `available` or `debt` is 0.
//! - The request at the head of the queue does not fit.
//! - [`Word::WAITERS`] is set if and only if a request or a `drained` future waits.

mod deadline;
mod drain;

use std::pin::Pin;
use std::task::Waker;

use super::counters::{Counter, ShardedCounters};
use super::error::{PermanentRejection, Rejection};
use super::histogram::Histogram;
use super::permits::{Permits, Word};
use super::queue::{Removal, Removed, WaitQueue, Waiter, WaiterState, WaitingRequest};
use super::status::{GateStatus, GateTotals, QueueTotals, RejectedTotals};
use super::timer::{RuntimeId, TimerId, Timers};
use super::wait_sampler::WaitSampler;
use super::wake_list::{ChangeListeners, WakeList};
use crate::plan::{GateName, Limit};
use drain::DrainWaiters;

pub(super) use drain::DrainTicket;

/// What the lock of a gate protects.
pub(super) struct GateState {
    queue: WaitQueue,
    sampler: WaitSampler,
    queue_bound: usize,
    timers: Timers,
    drain_waiters: DrainWaiters,
    pub(super) listeners: ChangeListeners,
    /// Requests admitted on arrival under the lock.
    admitted: u64,
    /// Changes of the limit under the lock.
    resized: u64,
    /// Without `enqueued`, which is the sum of the others and the requests that wait.
    queue_totals: QueueTotals,
    rejected: RejectedTotals,
    /// `None` if waits are not measured.
    waits: Option<Box<Histogram>>,
}

/// A request that did not fit on the fast path.
pub(super) struct Arrival<'w> {
    pub(super) waiter: Pin<&'w mut Waiter>,
    pub(super) weight: u32,
    pub(super) waker: Waker,
}

/// A wait that ends at a deadline.
#[derive(Clone, Copy)]
pub(super) struct TimedWait {
    pub(super) now: i64,
    pub(super) deadline: i64,
    /// The runtime whose timer ends the wait, or `None` if the owner ends it.
    pub(super) runtime: Option<RuntimeId>,
}

/// What became of an [`Arrival`].
pub(super) enum Arrived {
    /// The request waits. The caller must rearm the timer, if there is one here.
    Enqueued { rearm: Option<TimerId> },
    /// The request was admitted or rejected at once, so its waker is not needed.
    Decided { result: Result<(), Rejection>, unused: Waker },
}

impl GateState {
    pub(super) fn new(queue_bound: usize, measures_waits: bool) -> Self {
        Self {
            queue: WaitQueue::new(),
            sampler: WaitSampler::new(measures_waits),
            queue_bound,
            timers: Timers::default(),
            drain_waiters: DrainWaiters::default(),
            listeners: ChangeListeners::default(),
            admitted: 0,
            resized: 0,
            queue_totals: QueueTotals::default(),
            rejected: RejectedTotals::default(),
            waits: measures_waits.then(Box::default),
        }
    }

    /// Admits a request or rejects it. It never waits: `Err(None)` means that there are too few permits.
    pub(super) fn try_acquire(
        &mut self,
        permits: &Permits,
        weight: u32,
    ) -> Result<(), Option<PermanentRejection>> {
        if self.admit_on_arrival(permits, weight)?.is_none() {
            return Ok(());
        }
        count(&mut self.rejected.no_permits);
        Err(None)
    }

    /// Admits a request, rejects it, or puts it at the end of the queue.
    ///
    /// `make_waker` creates the waker of a timer that does not exist yet.
    #[inline]
    pub(super) fn enqueue(
        &mut self,
        permits: &Permits,
        arrival: Arrival<'_>,
        timed: Option<TimedWait>,
        clock: impl FnOnce() -> i64,
        make_waker: impl FnOnce(TimerId) -> Waker,
    ) -> Arrived {
        let Arrival { waiter, weight, waker } = arrival;
        // Make sure that the request must wait, and that no release can overlook it: once the flag is set, each release takes
        // the lock. A release before that changes the word, so `set_waiters` fails and the request is checked again.
        loop {
            let word = match self.admit_on_arrival(permits, weight) {
                Ok(Some(word)) => word,
                Ok(None) => return Arrived::Decided { result: Ok(()), unused: waker },
                Err(rejection) => return Arrived::Decided { result: Err(rejection.into()), unused: waker },
            };
            if self.queue.len() >= self.queue_bound {
                return Arrived::Decided {
                    result: Err(self.reject_queue_full(self.queue_bound)),
                    unused: waker,
                };
            }
            if word.has(Word::WAITERS) || permits.set_waiters(word) {
                break;
            }
        }
        let mut request = WaitingRequest { weight, timer: TimerId::NONE, sample: 0, since: 0, deadline: 0 };
        let mut rearm = None;
        if let Some(timed) = timed {
            request.since = timed.now;
            request.sample = self.sampler.sample(|| timed.now).map_or(0, |(_, sample)| sample);
            match self.register_deadline(permits, timed, make_waker) {
                Ok((timer, fires_in_time)) => {
                    (request.timer, request.deadline) = (timer, timed.deadline);
                    rearm = (!fires_in_time).then_some(timer);
                }
                Err(rejection) => return Arrived::Decided { result: Err(rejection), unused: waker },
            }
        } else if let Some((now, sample)) = self.sampler.sample(clock) {
            // Only a measured wait reads the clock.
            (request.since, request.sample) = (now, sample);
        }
        self.queue.enqueue(waiter, request, waker);
        Arrived::Enqueued { rearm }
    }

    /// Admits a request if it fits and no other waits. Returns the word that was read if the request must wait.
    #[inline]
    fn admit_on_arrival(
        &mut self,
        permits: &Permits,
        weight: u32,
    ) -> Result<Option<Word>, PermanentRejection> {
        loop {
            let word = permits.load();
            // A request that can never be admitted must not block the requests behind it.
            if weight == 0 {
                count(&mut self.rejected.zero_weight);
                return Err(PermanentRejection::ZeroWeight);
            } else if word.has(Word::CLOSED) {
                count(&mut self.rejected.closed);
                return Err(PermanentRejection::Closed);
            } else if weight > word.limit() {
                count(&mut self.rejected.too_large);
                return Err(PermanentRejection::TooLarge { limit: word.limit() });
            }
            // A request that would fit waits behind the others all the same: first come, first served.
            if !self.queue.is_empty() || !word.fits(weight) {
                return Ok(Some(word));
            }
            // If the flag is set without a queue, `drained` futures wait, and only the lock holder may change the word.
            let is_admitted = if word.has(Word::WAITERS) {
                permits.store(word.acquired(weight));
                true
            } else {
                permits.try_acquire(weight) // fails only if the word has changed
            };
            if is_admitted {
                count(&mut self.admitted);
                return Ok(None);
            }
        }
    }

    /// Checks a request whose deadline has passed on arrival: it is admitted or rejected as if it waited, but it does not wait.
    pub(super) fn try_acquire_expired(&mut self, permits: &Permits, weight: u32) -> Result<(), Rejection> {
        if self.admit_on_arrival(permits, weight)?.is_none() {
            return Ok(());
        }
        if self.queue.len() >= self.queue_bound {
            return Err(self.reject_queue_full(self.queue_bound));
        }
        count(&mut self.rejected.expired);
        Err(Rejection::Expired { waited: 0 })
    }

    #[cold]
    fn reject_queue_full(&mut self, bound: usize) -> Rejection {
        count(&mut self.rejected.queue_full);
        Rejection::QueueFull { bound }
    }

    /// Releases permits, and admits the waiters that fit then.
    #[inline]
    pub(super) fn release(
        &mut self,
        permits: &Permits,
        weight: u32,
        clock: impl Fn() -> i64,
        wakes: &mut WakeList,
    ) {
        let word = permits.load();
        if word.has(Word::WAITERS) {
            self.admit_waiters(permits, word.released(weight), clock, wakes);
        } else {
            // The last waiter left after the caller saw the flag. Without the flag other threads change the word, too.
            permits.update(|word| word.released(weight));
        }
    }

    /// Admits the waiters at the head that fit, ends the wait for a drained gate if it is drained, and stores the word.
    ///
    /// `word` is the word that this step would leave without waiters. [`Word::WAITERS`] must be set in it. Every step that may
    /// make room ends here.
    #[inline]
    fn admit_waiters(
        &mut self,
        permits: &Permits,
        mut word: Word,
        clock: impl Fn() -> i64,
        wakes: &mut WakeList,
    ) {
        while self.queue.peek().is_some_and(|head| word.fits(head.weight)) {
            let Some(admitted) = self.queue.next() else { break };
            word = word.acquired(admitted.request.weight);
            count(&mut self.queue_totals.admitted);
            if admitted.request.sample > 0 {
                self.record_wait(admitted.request.since, admitted.request.sample, clock());
            }
            if let Some(waker) = admitted.waker {
                wakes.push(waker);
            }
            if admitted.request.timer != TimerId::NONE {
                let unused = self.timers.unregister(admitted.request.timer, admitted.request.deadline);
                wakes.push_unused_timer(unused);
            }
        }
        if self.queue.is_empty() {
            if word.in_use() == 0 {
                self.drain_waiters.wake_all(wakes);
            }
            if self.drain_waiters.is_empty() {
                word = word.without(Word::WAITERS);
            }
        }
        // From the store on, if it clears the flag, other threads admit and release without the lock. An admitted request that
        // releases its permits before that sees the flag and waits for the lock.
        permits.store(word);
    }

    /// Takes a request out that its owner gives up. What it was admitted with goes to the next waiters.
    #[inline]
    pub(super) fn cancel(
        &mut self,
        permits: &Permits,
        mut waiter: Pin<&mut Waiter>,
        clock: impl Fn() -> i64,
        wakes: &mut WakeList,
    ) {
        match self.queue.cancel(waiter.as_mut(), Removal::Cancelled) {
            Some(cancelled) => {
                count(&mut self.queue_totals.cancelled);
                self.discard_removed(permits, cancelled, clock, wakes);
            }
            None if waiter.state() == WaiterState::Admitted => {
                count(&mut self.queue_totals.unclaimed);
                let weight = waiter.weight();
                waiter.finish();
                self.release(permits, weight, clock, wakes);
            }
            None => {}
        }
    }

    /// Sets the limit, and ends the waits that it admits or makes impossible. Returns the word before the change.
    pub(super) fn resize(
        &mut self,
        permits: &Permits,
        limit: Limit,
        clock: impl Fn() -> i64,
        wakes: &mut WakeList,
    ) -> Word {
        let before = permits.update(|word| word.with_limit(limit.get()));
        if before.limit() != limit.get() {
            count(&mut self.resized);
        }
        // The requests that have become too large go first: they must not block those behind them.
        let Self { queue, timers, .. } = self;
        let removed = queue.remove_too_large(limit, |removed| Self::wake_removed(timers, removed, wakes));
        add(&mut self.queue_totals.too_large, removed);
        if before.has(Word::WAITERS) {
            self.admit_waiters(permits, permits.load(), clock, wakes);
        }
        self.listeners.notify(wakes);
        before
    }

    /// Closes the gate, and ends all waits.
    pub(super) fn close(&mut self, permits: &Permits, clock: impl Fn() -> i64, wakes: &mut WakeList) {
        // The flag first: a waiter that is woken must find the gate closed.
        let before = permits.update(|word| word.with(Word::CLOSED));
        let Self { queue, timers, .. } = self;
        let removed = queue.close(|removed| Self::wake_removed(timers, removed, wakes));
        add(&mut self.queue_totals.closed, removed);
        if before.has(Word::WAITERS) {
            self.admit_waiters(permits, permits.load(), clock, wakes);
        }
        self.listeners.notify(wakes);
    }

    /// Replaces the waker of a request, unless its wait has ended.
    pub(super) fn replace_waker(&mut self, waiter: Pin<&mut Waiter>, waker: Waker, wakes: &mut WakeList) {
        wakes.set_unused(self.queue.replace_waker(waiter, waker));
    }

    /// Returns the status. The word is read once, so that the permits and the limit belong to one instant.
    pub(super) fn status(&self, permits: &Permits, counters: &ShardedCounters, name: GateName) -> GateStatus {
        let word = permits.load();
        let waiting = self.queue.len();
        let mut enqueued = self.queue_totals.ended();
        add(&mut enqueued, waiting);
        let queue = QueueTotals { enqueued, ..self.queue_totals };
        let no_permits = self.rejected.no_permits.saturating_add(counters.sum(Counter::NoPermits));
        let admitted = self.admitted.saturating_add(counters.sum(Counter::Admitted));
        GateStatus {
            name,
            limit: Limit::saturating(word.limit().into()),
            in_use: word.in_use(),
            available: word.available(),
            debt: word.debt(),
            waiting,
            closed: word.has(Word::CLOSED),
            resized: self.resized.saturating_add(counters.sum(Counter::Resized)),
            totals: GateTotals {
                admitted: admitted.saturating_add(queue.admitted),
                queue,
                rejected: RejectedTotals { no_permits, ..self.rejected },
            },
            waits: self.waits.as_deref().cloned().unwrap_or_default(),
        }
    }

    /// Clears [`Word::WAITERS`] if it is set and nothing waits any more.
    fn clear_waiters_if_unused(&self, permits: &Permits) {
        let word = permits.load();
        if word.has(Word::WAITERS) && self.queue.is_empty() && self.drain_waiters.is_empty() {
            permits.store(word.without(Word::WAITERS));
        }
    }

    /// Finishes the removal of a request that its owner must be woken for.
    fn wake_removed(timers: &mut Timers, removed: Removed, wakes: &mut WakeList) {
        if let Some(waker) = removed.waker {
            wakes.push(waker);
        }
        if removed.request.timer != TimerId::NONE {
            wakes.push_unused_timer(timers.unregister(removed.request.timer, removed.request.deadline));
        }
    }

    /// Finishes the removal of a request by its owner, and admits the waiters behind it if it was the head.
    #[inline]
    fn discard_removed(
        &mut self,
        permits: &Permits,
        removed: Removed,
        clock: impl Fn() -> i64,
        wakes: &mut WakeList,
    ) {
        wakes.set_unused(removed.waker);
        if removed.request.timer != TimerId::NONE {
            wakes.push_unused_timer(self.timers.unregister(removed.request.timer, removed.request.deadline));
        }
        if removed.was_head {
            self.admit_waiters(permits, permits.load(), clock, wakes);
        }
    }

    #[cold]
    #[inline(never)]
    fn record_wait(&mut self, since: i64, sample: u16, now: i64) {
        if let Some(waits) = &mut self.waits {
            // The clock of the request may be ahead: it was read before the lock was taken.
            let waited = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
            waits.record_many(waited, sample);
        }
    }
}

fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1); // not in a lifetime
}

fn add(counter: &mut u64, more: usize) {
    *counter = counter.saturating_add(more as u64);
}

#[cfg(test)]
mod tests;
