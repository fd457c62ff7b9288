//! The state of a gate, and the rules for requests, releases and changes of the limit.

use std::pin::Pin;
use std::task::Waker;

use super::drain_waiters::DrainWaiters;
use crate::gate::counters::{Counter, ShardedCounters};
use crate::gate::error::{AtLevel, Rejection};
use crate::gate::histogram::Histogram;
use crate::gate::permits::Word;
use crate::gate::queue::{FifoQueue, Queue, Removal, Removed, Waiter, WaitingRequest};
use crate::gate::stats::{GateStats, add, increment};
use crate::gate::status::{GateStatus, GateTotals, QueueTotals, RejectedTotals};
use crate::gate::timer::{TimerId, Timers};
use crate::gate::wake_list::{ChangeListeners, WakeList};
use crate::plan::{GateName, Limit};

/// What the lock of a gate protects.
// In this order, and in the orders of the fields of `FifoQueue` and `GateStats`, the fields that a wait needs take two cache lines. Threads
// that share a gate pass these lines from core to core: benchmark rows `tasks-cpu` and `tasks-wall`.
#[repr(C)]
pub(in crate::gate) struct GateState<Q: Queue> {
    /// The bound of the queue of a standalone gate. `usize::MAX` in a tree, whose nodes have bounds of their own.
    pub(in crate::gate) queue_bound: usize,
    pub(super) drain_waiters: DrainWaiters<Q::Node>,
    pub(in crate::gate) queue: Q,
    pub(super) timers: Timers<Q::Node>,
    /// The limit of a standalone gate while it is paused. Meaningless at any other time, and in a tree.
    pub(super) paused_limit: Limit,
    /// Whether all waits of a standalone gate were ended by `close`. `false` while a closed gate still serves its queue.
    pub(in crate::gate) has_ended_waits: bool,
}

/// What becomes of a request on arrival.
#[derive(Clone, Copy)]
#[must_use]
pub(in crate::gate) enum ArrivalDecision {
    /// The permits are counted as in use for the request.
    Admitted,
    /// The caller must enqueue the request before it releases the lock.
    MustWait,
    Rejected(Rejection),
    /// The request would be rejected, and the caller does not take a rejection now. The request was not counted. At a standalone gate
    /// nothing has changed; in a tree, other requests may have been removed to make room.
    NotYet,
}

/// When the wait of a request ends at the latest.
#[derive(Clone, Copy)]
pub(in crate::gate) struct WaitDeadline {
    /// The instant at which the wait begins.
    pub(in crate::gate) since: i64,
    pub(in crate::gate) instant: i64,
    /// The timer that ends the wait. [`TimerId::NONE`] if a blocked thread ends the wait itself, or if there is no deadline and a gate
    /// that sheds needs only `since`.
    pub(in crate::gate) timer: TimerId,
}

/// The rules of a [standalone](crate::gate) gate.
impl GateState<FifoQueue> {
    pub(in crate::gate) fn new(queue_bound: usize, measures_waits: bool) -> Self {
        Self::with_queue(FifoQueue::new(GateStats::new(measures_waits)), queue_bound)
    }

    /// Admits or rejects a request that does not wait.
    pub(in crate::gate) fn try_acquire(&mut self, word: &mut Word, weight: u32) -> Result<(), Rejection> {
        let rejection = match self.permanent_rejection(*word, weight, word.limit()) {
            Some(rejection) => rejection,
            None if self.admit_on_arrival(word, weight) => return Ok(()),
            None if word.is_paused() => Rejection::Paused(AtLevel::OWN),
            None => Rejection::NoPermits(AtLevel::OWN),
        };
        self.count_rejection(&rejection);
        Err(rejection)
    }

    /// Admits or rejects a request that may wait, or finds that it must wait.
    ///
    /// `may_reject` is called before a rejection. If it returns `false`, the decision is [`NotYet`](ArrivalDecision::NotYet), and nothing
    /// has changed.
    #[inline]
    pub(in crate::gate) fn decide_arrival(
        &mut self,
        word: &mut Word,
        waiter: &Waiter,
        may_reject: impl FnOnce() -> bool,
    ) -> ArrivalDecision {
        let weight = waiter.weight();
        let rejection = match self.permanent_rejection(*word, weight, waiter.weight_bound(word.limit())) {
            Some(rejection) => rejection,
            None if self.admit_on_arrival(word, weight) => return ArrivalDecision::Admitted,
            None if self.queue.len() < self.queue_bound => return ArrivalDecision::MustWait,
            None => Rejection::QueueFull(AtLevel::own(self.queue_bound as u64)),
        };
        self.reject(rejection, may_reject)
    }

    /// Decides a request whose deadline has passed on arrival. It never waits: it is admitted if it fits, unless its deadline is
    /// strict.
    pub(in crate::gate) fn decide_expired_arrival(
        &mut self,
        word: &mut Word,
        waiter: &Waiter,
        is_strict: bool,
        may_reject: impl FnOnce() -> bool,
    ) -> ArrivalDecision {
        let weight = waiter.weight();
        let rejection = match self.permanent_rejection(*word, weight, waiter.weight_bound(word.limit())) {
            Some(rejection) => rejection,
            None if !is_strict && self.admit_on_arrival(word, weight) => return ArrivalDecision::Admitted,
            None if !is_strict && self.queue.len() >= self.queue_bound => {
                Rejection::QueueFull(AtLevel::own(self.queue_bound as u64))
            }
            None => Rejection::Expired { waited: 0 },
        };
        self.reject(rejection, may_reject)
    }

    /// Returns the rejection of a request that the gate would reject even if all permits were available.
    #[inline]
    fn permanent_rejection(&self, word: Word, weight: u32, weight_bound: u32) -> Option<Rejection> {
        if weight == 0 {
            // A mistake of the caller, so it is reported even if the gate is closed.
            Some(Rejection::ZeroWeight)
        } else if word.has(Word::CLOSED) {
            Some(Rejection::Closed(AtLevel::OWN))
        } else if weight > weight_bound {
            self.rejection_by_weight(weight, weight_bound)
        } else {
            None
        }
    }

    /// Returns the rejection of a request whose weight is above `weight_bound`. This bound is the limit in the word, which is 0 while the
    /// gate is paused, or `Limit::MAX` if the request waits for the limit.
    #[cold]
    fn rejection_by_weight(&self, weight: u32, weight_bound: u32) -> Option<Rejection> {
        let bound = if weight_bound == 0 { self.paused_limit.get() } else { weight_bound };
        (weight > bound).then(|| Rejection::TooLarge(AtLevel::own(bound.into())))
    }

    /// Rejects a request on arrival and counts the rejection, if `may_reject` returns `true`.
    #[cold]
    fn reject(&mut self, rejection: Rejection, may_reject: impl FnOnce() -> bool) -> ArrivalDecision {
        if !may_reject() {
            return ArrivalDecision::NotYet;
        }
        self.count_rejection(&rejection);
        ArrivalDecision::Rejected(rejection)
    }

    fn count_rejection(&mut self, rejection: &Rejection) {
        self.queue.stats_mut().count_rejection(rejection);
    }

    /// Appends a request to the queue. Its wait has no deadline.
    #[expect(clippy::inline_always, reason = "benchmark row `enqueue`")]
    #[inline(always)]
    pub(in crate::gate) fn enqueue(
        &mut self,
        word: &mut Word,
        waiter: Pin<&mut Waiter>,
        waker: Waker,
        clock: impl FnOnce() -> i64,
    ) {
        // Only a measured wait reads the clock.
        let (since, sample) = self.queue.stats_mut().sampler.sample(clock).unwrap_or((0, 0));
        let weight = waiter.weight();
        let request = WaitingRequest { weight, timer: TimerId::NONE, sample, since, deadline: 0 };
        self.queue.enqueue(waiter, request, waker);
        *word = word.with(Word::WAITERS); // from here on each release takes the lock
    }

    /// Appends a request with a deadline to the queue.
    pub(in crate::gate) fn enqueue_with_deadline(
        &mut self,
        word: &mut Word,
        waiter: Pin<&mut Waiter>,
        waker: Waker,
        deadline: WaitDeadline,
    ) {
        let WaitDeadline { since, instant, timer } = deadline;
        let (_, sample) = self.queue.stats_mut().sampler.sample(|| since).unwrap_or((since, 0));
        let weight = waiter.weight();
        let request = WaitingRequest { weight, timer, sample, since, deadline: instant };
        self.queue.enqueue(waiter, request, waker);
        *word = word.with(Word::WAITERS);
    }

    /// Admits a request if it fits and no other waits. Returns `false` if it must wait.
    #[inline]
    fn admit_on_arrival(&mut self, word: &mut Word, weight: u32) -> bool {
        // A request that would fit waits behind the others all the same: first come, first served.
        let is_admitted = self.queue.is_empty() && word.fits(weight);
        if is_admitted {
            *word = word.acquired(weight);
            increment(&mut self.queue.stats_mut().admitted);
        }
        is_admitted
    }

    /// Sets the limit, rejects the waiters whose weight is now too large unless they wait for the limit, and grants permits to those that
    /// fit. Returns the limit before.
    pub(in crate::gate) fn resize(
        &mut self,
        word: &mut Word,
        limit: Limit,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) -> Limit {
        let before = self.limit(*word);
        self.set_limit(word, limit);
        if before != limit {
            increment(&mut self.queue.stats_mut().resized);
        }
        // The requests that have become too large are removed first: they must not block those behind them.
        let Self { queue, timers, .. } = self;
        let removed = queue.remove_too_large(limit, |removed| Self::wake_removed(timers, removed, wake_list));
        add(&mut self.queue.stats_mut().queue.too_large, removed);
        // After the limit was lowered, a waiter can fit only if one before it was removed.
        if word.has(Word::WAITERS) && (limit > before || removed > 0) {
            self.serve_queue_slow(word, clock, wake_list);
        }
        let listeners = &self.queue.stats().listeners;
        if !listeners.is_empty() {
            listeners.notify(wake_list);
        }
        before
    }

    /// Ends all waits of a gate whose [`Word::CLOSED`] flag is set.
    pub(in crate::gate) fn end_waits(
        &mut self,
        word: &mut Word,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        let Self { queue, timers, .. } = self;
        let removed = queue.close(|removed| Self::wake_removed(timers, removed, wake_list));
        add(&mut self.queue.stats_mut().queue.closed, removed);
        self.has_ended_waits = true;
        // No request is left. This clears the flag, or wakes the `drained` futures if no permit is in use.
        if word.has(Word::WAITERS) {
            self.serve_queue_slow(word, clock, wake_list);
        }
        self.queue.stats().listeners.notify(wake_list);
    }

    /// Returns the listeners that are notified each time the limit is set, and when the gate is closed.
    pub(in crate::gate) const fn listeners_mut(&mut self) -> &mut ChangeListeners {
        &mut self.queue.stats_mut().listeners
    }

    pub(in crate::gate) fn notify_listeners(&self, wake_list: &mut WakeList) {
        self.queue.stats().listeners.notify(wake_list);
    }

    /// Returns the number of requests that wait.
    pub(in crate::gate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Returns the status.
    pub(in crate::gate) fn status(
        &self,
        word: Word,
        counters: &ShardedCounters,
        name: GateName,
    ) -> GateStatus {
        let paused = word.is_paused();
        let word = self.unpaused(word);
        let stats = self.queue.stats();
        let waiting = self.queue.len();
        // Enqueued requests are not counted on arrival, because each of them waits now or is counted as one that has left the queue.
        let mut enqueued = stats.queue.ended();
        add(&mut enqueued, waiting);
        let queue = QueueTotals { enqueued, ..stats.queue };
        let no_permits = stats.rejected.no_permits.saturating_add(counters.sum(Counter::NoPermits));
        let admitted = stats.admitted.saturating_add(counters.sum(Counter::Admitted));
        GateStatus {
            name,
            limit: Limit::saturating(word.limit().into()),
            in_use: word.in_use(),
            available: word.available(),
            debt: word.debt(),
            waiting,
            queue_bound: Some(self.queue_bound).filter(|bound| *bound < usize::MAX),
            max_wait: None,
            unclaimed: unclaimed(&queue, counters),
            paused,
            closed: word.has(Word::CLOSED),
            standing: false,
            retry_after: None,
            resized: stats.resized.saturating_add(counters.sum(Counter::Resized)),
            totals: GateTotals {
                admitted: admitted.saturating_add(queue.admitted),
                borrowed: counters.sum(Counter::Borrowed),
                queue,
                rejected: RejectedTotals { no_permits, ..stats.rejected },
            },
            waits: stats.waits.as_deref().cloned().unwrap_or_default(),
            holds: Histogram::default(),
            oldest_permit: None,
        }
    }
}

/// The rules of every gate.
impl<Q: Queue> GateState<Q> {
    pub(in crate::gate) fn with_queue(queue: Q, queue_bound: usize) -> Self {
        Self {
            queue_bound,
            drain_waiters: DrainWaiters::default(),
            queue,
            timers: Timers::default(),
            paused_limit: Limit::MIN,
            has_ended_waits: false,
        }
    }

    /// Releases permits, and grants permits to the waiters that fit then.
    #[inline]
    pub(in crate::gate) fn release(
        &mut self,
        word: &mut Word,
        place: Q::Place<'_>,
        weight: u32,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        if self.queue.release(word, place, weight) {
            self.serve_queue(word, clock, wake_list);
        }
    }

    /// Grants permits to the waiters that are next and fit, and [sheds](Self::shed) others under overload. Then wakes the `drained` futures
    /// of gates that are drained, or clears [`Word::WAITERS`] if nothing waits any more. Every step that may make room while a request
    /// waits ends with this.
    #[expect(clippy::inline_always, reason = "benchmark row `drain`: the word stays in a register")]
    #[inline(always)]
    pub(in crate::gate) fn serve_queue(
        &mut self,
        word: &mut Word,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        self.grant_waiters(word, &clock, wake_list);
        // Sheds after granting: a waiter that fits now is not rejected, however long it has waited.
        if self.shed(&clock, wake_list) {
            self.grant_waiters(word, &clock, wake_list);
        }
        self.finish_serving(word, wake_list);
    }

    /// As [`serve_queue`](Self::serve_queue), for the arrival of a request in a tree that sheds. It sheds no request: an arrival does that
    /// only to make room in a full queue.
    #[cold]
    pub(in crate::gate) fn serve_queue_on_arrival(
        &mut self,
        word: &mut Word,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        self.grant_waiters(word, clock, wake_list);
        self.finish_serving(word, wake_list);
    }

    /// Wakes the `drained` futures of gates that are drained, or clears [`Word::WAITERS`] if nothing waits any more.
    #[expect(clippy::inline_always, reason = "benchmark row `drain`: the word stays in a register")]
    #[inline(always)]
    fn finish_serving(&mut self, word: &mut Word, wake_list: &mut WakeList) {
        // Once no request waits, the fast path is enabled again, unless `drained` futures still wait.
        if self.queue.may_be_drained() {
            if self.drain_waiters.is_empty() {
                self.queue.clear_waiters(word);
            } else {
                *word = self.wake_drained(*word, wake_list);
            }
        }
    }

    /// Grants permits to the waiters that are next and fit.
    #[expect(clippy::inline_always, reason = "benchmark row `drain`: the word stays in a register")]
    #[inline(always)]
    fn grant_waiters(&mut self, word: &mut Word, clock: impl Fn() -> i64, wake_list: &mut WakeList) {
        let Self { queue, timers, .. } = self;
        while queue.grant(word, &clock, |removed| Self::wake_removed(timers, removed, wake_list)) {}
    }

    /// Rejects waiters under lasting overload, if one of them has waited too long. Returns `true` if it rejected any: then others may fit.
    #[inline]
    pub(super) fn shed(&mut self, clock: impl Fn() -> i64, wake_list: &mut WakeList) -> bool {
        let Self { queue, timers, .. } = self;
        queue.shed(clock, |removed| Self::wake_removed(timers, removed, wake_list))
    }

    /// As [`serve_queue`](Self::serve_queue), for the steps that rarely make room.
    #[inline(never)]
    pub(in crate::gate) fn serve_queue_slow(
        &mut self,
        word: &mut Word,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        self.serve_queue(word, clock, wake_list);
    }

    #[cold]
    #[inline(never)]
    fn wake_drained(&mut self, mut word: Word, wake_list: &mut WakeList) -> Word {
        let Self { queue, drain_waiters, .. } = self;
        drain_waiters.wake_where(|gate| !queue.is_busy(word, gate), wake_list);
        self.clear_waiters_if_unused(&mut word);
        word
    }

    /// Removes a cancelled request. The caller must pass the result to
    /// [`finish_cancel`](Self::finish_cancel), unless the request was not the head and has no timer.
    #[inline]
    pub(in crate::gate) fn cancel(
        &mut self,
        place: Q::Place<'_>,
        waiter: Pin<&mut Waiter>,
    ) -> Option<Removed> {
        let removed = self.queue.cancel(place, waiter, Removal::Cancelled)?;
        self.queue.update_stats(place, |stats| increment(&mut stats.queue.cancelled));
        Some(removed)
    }

    /// Completes a cancellation: releases the permits of an admitted request, or grants permits to the waiters behind a request that was
    /// the head.
    pub(in crate::gate) fn finish_cancel(
        &mut self,
        word: &mut Word,
        place: Q::Place<'_>,
        waiter: Pin<&mut Waiter>,
        removed: Option<Removed>,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        match removed {
            Some(removed) => self.discard_removed(word, removed, clock, wake_list),
            None if waiter.state().has_permits() => {
                self.queue.update_stats(place, |stats| increment(&mut stats.queue.abandoned));
                let weight = waiter.weight();
                waiter.finish();
                if self.queue.release(word, place, weight) {
                    self.serve_queue_slow(word, clock, wake_list);
                }
            }
            None => {}
        }
    }

    /// Wakes the tasks of the requests that wait at a gate itself. They keep waiting.
    pub(in crate::gate) fn wake_early(&mut self, place: Q::Place<'_>, wake_list: &mut WakeList) {
        self.queue.wake_early(place, |waker| wake_list.push(waker));
    }

    /// Replaces the waker of a request, unless its wait has ended. Returns the waker that is no longer needed.
    pub(in crate::gate) fn replace_waker(
        &mut self,
        place: Q::Place<'_>,
        waiter: Pin<&mut Waiter>,
        waker: Waker,
    ) -> Option<Waker> {
        self.queue.replace_waker(place, waiter, waker)
    }

    /// Clears [`Word::WAITERS`] if it is set and nothing waits any more.
    #[inline]
    pub(super) fn clear_waiters_if_unused(&self, word: &mut Word) {
        if self.queue.len() == 0 && self.drain_waiters.is_empty() {
            *word = word.without(Word::WAITERS);
        }
    }

    /// Adds the waker of a removed request to the wake list, and unregisters its deadline.
    #[inline]
    pub(in crate::gate) fn wake_removed(
        timers: &mut Timers<Q::Node>,
        removed: Removed,
        wake_list: &mut WakeList,
    ) {
        if let Some(waker) = removed.waker {
            wake_list.push(waker);
        }
        if removed.timer != TimerId::NONE {
            unregister(timers, removed.timer, removed.deadline, wake_list);
        }
    }

    /// Finishes the removal of a request by its owner: the waker is dropped after the lock is released, and the deadline is unregistered.
    /// Grants permits to the waiters behind the request if it was the head.
    #[inline]
    pub(super) fn discard_removed(
        &mut self,
        word: &mut Word,
        removed: Removed,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) {
        wake_list.set_unused(removed.waker);
        if removed.timer != TimerId::NONE {
            unregister(&mut self.timers, removed.timer, removed.deadline, wake_list);
        }
        if removed.was_head {
            self.serve_queue_slow(word, clock, wake_list);
        }
    }
}

/// Returns the number of admitted requests whose permits were not taken yet. The queue counts those that were admitted after a wait,
/// and the counters those that were admitted on arrival and postponed.
pub(super) fn unclaimed(queue: &QueueTotals, counters: &ShardedCounters) -> usize {
    // Claims are read first, so that a request that is postponed and claimed in between counts as unclaimed. The loads are Relaxed, so
    // the result is approximate while that happens.
    let claimed = counters.sum(Counter::Claimed).saturating_add(queue.abandoned);
    let to_be_claimed = queue.admitted.saturating_add(counters.sum(Counter::Postponed));
    usize::try_from(to_be_claimed.saturating_sub(claimed)).unwrap_or(usize::MAX)
}

/// Removes the deadline of a request from its timer.
#[cold]
#[inline(never)]
fn unregister<N>(timers: &mut Timers<N>, timer: TimerId, deadline: i64, wake_list: &mut WakeList) {
    wake_list.push_unused_timer(timers.unregister(timer, deadline));
}
