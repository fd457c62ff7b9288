//! The rules of a tree of gates: requests, changes of a limit, and the end of a gate.

use std::pin::Pin;
use std::task::Waker;
use std::time::Duration;

use super::admission::{ArrivalDecision, GateState, WaitDeadline, unclaimed};
use super::holders::TrackedRequest;
use crate::gate::clock::{self, NEVER};
use crate::gate::counters::{Counter, ShardedCounters};
use crate::gate::error::{AtLevel, Rejection};
use crate::gate::holders::record::HeldPermits;
use crate::gate::permits::Word;
use crate::gate::priority::Priority;
use crate::gate::queue::fair::{FairQueue, NodeId, NodeRules, Obstacle, Place, QueueArrival, QueueRoom};
use crate::gate::queue::{Queue, Removal, Waiter, WaitingRequest};
use crate::gate::stats::increment;
use crate::gate::status::{GateStatus, GateTotals, QueueTotals, RejectedTotals, Resize};
use crate::gate::timer::TimerId;
use crate::gate::wake_list::WakeList;
use crate::plan::{GateName, Limit};

/// A request that arrives at a gate of a tree.
#[derive(Clone, Copy)]
pub(in crate::gate) struct TreeArrival<'a> {
    pub(in crate::gate) place: &'a Place,
    pub(in crate::gate) waiter: &'a Waiter,
    pub(in crate::gate) time: ArrivalTime,
    /// The instant of the arrival. Meaningful if the request has a deadline, or is made at a gate that sheds.
    pub(in crate::gate) now: i64,
    /// The instant at which the wait ends at the latest, or [`NEVER`].
    pub(in crate::gate) deadline: i64,
}

/// The deadline and the origin of a request of a tree that is about to wait.
#[derive(Clone, Copy)]
pub(in crate::gate) struct TreeWait {
    /// `None` only if the wait has no deadline. A wait without a deadline may be `Some`, for its `since`.
    pub(in crate::gate) deadline: Option<WaitDeadline>,
    /// `Some` if its gate tracks its holders.
    pub(in crate::gate) tracked: Option<TrackedRequest>,
}

/// Whether the deadline of a request has passed on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum ArrivalTime {
    InTime,
    /// The request is admitted if it fits, and does not wait.
    Late,
    /// The request is rejected even if it fits.
    LateAndStrict,
}

impl GateState<FairQueue> {
    pub(in crate::gate) fn new_tree(root: NodeRules) -> Self {
        Self::with_queue(FairQueue::new(root), usize::MAX)
    }

    /// Admits or rejects a request that does not wait.
    pub(in crate::gate) fn try_acquire_in_tree(
        &mut self,
        place: &Place,
        weight: u32,
        priority: Priority,
    ) -> Result<(), Rejection> {
        let decided = self.admit_or_reject(place, weight, priority);
        self.queue.update_stats(place, |stats| match &decided {
            Ok(()) => increment(&mut stats.admitted),
            Err(rejection) => stats.count_rejection(rejection),
        });
        decided
    }

    /// Admits a request if no request waits in the tree and it fits. The caller has checked a strict deadline, and counts the admission.
    /// Returns `false` if another step must decide. Then nothing has changed, except that a key may have got a node.
    #[inline]
    pub(in crate::gate) fn admit_quiet(&mut self, word: Word, place: &Place, weight: u32) -> bool {
        weight > 0 && !word.has(Word::WAITERS) && self.queue.admit_quiet(place, weight)
    }

    /// Releases permits if no request waits in the tree. Returns `false`, and releases nothing, if another step must release them. Their
    /// record may be removed already.
    #[inline]
    pub(in crate::gate) fn release_quiet(&mut self, word: Word, place: &Place, held: HeldPermits) -> bool {
        if word.has(Word::WAITERS) || held.weight() == 0 {
            return false;
        }
        self.queue.untrack(held.record(), clock::now);
        self.queue.release_quiet(place, held.weight())
    }

    /// Admits a request that does not wait. If it was not admitted, nothing was counted, and nothing has changed, except that a key may
    /// have got a node.
    pub(in crate::gate) fn admit_in_tree(&mut self, place: &Place, weight: u32, priority: Priority) -> bool {
        let Ok(id) = self.node_for(place, weight) else { return false };
        let is_admitted = self.queue.admit(id, priority, weight);
        if is_admitted {
            self.queue.update_stats_at(id, |stats| increment(&mut stats.admitted));
        }
        is_admitted
    }

    /// Admits a request if it fits and may overtake all that wait, or finds that it may wait. The caller has checked a strict deadline. If
    /// the request was not admitted, nothing has changed, except that a key may have got a node.
    #[inline]
    pub(in crate::gate) fn arrive(&mut self, place: &Place, waiter: &Waiter) -> QueueArrival {
        let weight = waiter.weight();
        let Ok(id) = self.node_for(place, weight) else { return QueueArrival::Unclear };
        let arrival = self.queue.arrive(id, waiter.priority(), weight, waiter.removable_weight());
        if arrival == QueueArrival::Admitted {
            self.queue.update_stats_at(id, |stats| increment(&mut stats.admitted));
        }
        arrival
    }

    /// Admits a request that does not wait, or returns its rejection. Counts nothing.
    fn admit_or_reject(&mut self, place: &Place, weight: u32, priority: Priority) -> Result<(), Rejection> {
        let id = self.node_for(place, weight)?;
        if self.queue.admit(id, priority, weight) {
            return Ok(());
        }
        let obstacle = self.queue.obstacle(id, weight, false);
        let level = self.queue.full_level(id, weight);
        if let Some(obstacle) = obstacle {
            return Err(rejection(obstacle));
        }
        let paused = self.queue.paused_level(id).map(|level| Rejection::Paused(AtLevel::new(level, 0)));
        Err(paused.unwrap_or(Rejection::NoPermits(AtLevel::new(level, 0))))
    }

    /// Admits or rejects a request that may wait, or finds that it must wait. If the queue is full, another request may be pushed out for
    /// this one.
    ///
    /// `may_reject` is called before a rejection. If it returns `false`, the request is not counted, and the decision is
    /// [`NotYet`](ArrivalDecision::NotYet). Other requests that were removed to make room stay removed. After `MustWait` the caller calls
    /// [`enqueue_in_tree`](Self::enqueue_in_tree) in the same step.
    pub(in crate::gate) fn decide_arrival_in_tree(
        &mut self,
        word: &mut Word,
        arrival: TreeArrival<'_>,
        clock: impl Fn() -> i64,
        may_reject: impl FnOnce() -> bool,
        wake_list: &mut WakeList,
    ) -> ArrivalDecision {
        let TreeArrival { place, waiter, time, .. } = arrival;
        // The usual cases visit each node from the leaf to the root once. If a gate sheds, the wait must be predicted before a request may
        // wait.
        if time == ArrivalTime::InTime {
            match self.arrive(place, waiter) {
                QueueArrival::Admitted => return ArrivalDecision::Admitted,
                QueueArrival::MayWait(_) if !self.queue.sheds() => return ArrivalDecision::MustWait,
                QueueArrival::MayWait(_) | QueueArrival::Unclear => {}
            }
        }
        let decided = match self.node_unless_rejected(place, waiter.weight(), waiter.waits_for_limit()) {
            Err(rejection) => Err(rejection),
            Ok(_) if time == ArrivalTime::LateAndStrict => Err(Rejection::Expired { waited: 0 }),
            Ok(id) => self.admit_or_make_room(word, id, arrival, clock, wake_list),
        };
        match decided {
            Ok(true) => {
                self.queue.update_stats(place, |stats| increment(&mut stats.admitted));
                ArrivalDecision::Admitted
            }
            Ok(false) => ArrivalDecision::MustWait,
            Err(rejection) => {
                if !may_reject() {
                    return ArrivalDecision::NotYet;
                }
                self.queue.update_stats(place, |stats| stats.count_rejection(&rejection));
                ArrivalDecision::Rejected(rejection)
            }
        }
    }

    /// Appends a request to the queue of a leaf. Its wait has no deadline.
    #[inline]
    pub(in crate::gate) fn enqueue_in_leaf(
        &mut self,
        word: &mut Word,
        leaf: NodeId,
        waiter: Pin<&mut Waiter>,
        waker: Waker,
        clock: impl FnOnce() -> i64,
    ) {
        let stats = self.queue.stats_of(leaf);
        let (since, sample) = stats.and_then(|stats| stats.sampler.sample(clock)).unwrap_or((0, 0));
        let weight = waiter.weight();
        let request = WaitingRequest { weight, timer: TimerId::NONE, sample, since, deadline: NEVER };
        self.queue.enqueue(leaf, waiter, request, waker);
        *word = word.with(Word::WAITERS);
    }

    /// Appends a request to the queue of its gate.
    pub(in crate::gate) fn enqueue_in_tree(
        &mut self,
        word: &mut Word,
        place: &Place,
        waiter: Pin<&mut Waiter>,
        waker: Waker,
        wait: TreeWait,
        clock: impl Fn() -> i64,
    ) {
        let TreeWait { deadline, tracked } = wait;
        let Some(id) = self.queue.resolve(place) else { return }; // never: the arrival, decided in this step, gave the key a node
        let leaf = self.queue.leaf(id);
        // The record exists before the request can be granted: then the grant turns it into the record of the permits.
        if let Some(tracked) = tracked {
            let since = deadline.map_or_else(&clock, |deadline| deadline.since);
            self.queue.track_wait(waiter.request_address(), tracked.wait(id, waiter.weight(), since));
        }
        let Some(WaitDeadline { since, instant, timer }) = deadline else {
            return self.enqueue_in_leaf(word, leaf, waiter, waker, clock);
        };
        let sampled = self.queue.stats_of(leaf).and_then(|stats| stats.sampler.sample(|| since));
        let (weight, sample) = (waiter.weight(), sampled.map_or(0, |(_, sample)| sample));
        let request = WaitingRequest { weight, timer, sample, since, deadline: instant };
        self.queue.enqueue(leaf, waiter, request, waker);
        *word = word.with(Word::WAITERS);
    }

    /// Sets the limit of a declared gate, and with it that of its keys. Ends the waits of requests that have become too large, and
    /// notifies the listeners. The caller then serves the queue. Has no effect if `place` is a key.
    pub(in crate::gate) fn resize_in_tree(
        &mut self,
        place: &Place,
        change: impl Fn(Limit) -> Limit,
        wake_list: &mut WakeList,
    ) -> Resize {
        let Place::Gate(id) = place else {
            let limit = self.limit_in_tree(place);
            return Resize { from: limit, to: limit, debt: 0 };
        };
        let from = self.limit_in_tree(place);
        let to = change(from);
        // An unchanged limit removes no request, so the visit of all nodes is not needed.
        if from != to {
            let Self { queue, timers, .. } = self;
            queue.set_limit(*id, to, |removed| Self::wake_removed(timers, removed, wake_list));
        }
        // The listeners are notified even if the limit did not change: they were promised a notification each time that the limit is set.
        if let Some(stats) = self.queue.stats_mut(*id) {
            if from != to {
                increment(&mut stats.resized);
            }
            stats.listeners.notify(wake_list);
        }
        Resize { from, to, debt: self.queue.node(*id).in_use.saturating_sub(to.get()) }
    }

    /// Closes a gate, and ends the waits there and below.
    pub(in crate::gate) fn close_in_tree(&mut self, place: &Place, wake_list: &mut WakeList) {
        place.close_key_and_waits();
        // A key without a node has no requests.
        if let Some(id) = self.queue.resolve(place) {
            let Self { queue, timers, .. } = self;
            queue.close(id, |removed| Self::wake_removed(timers, removed, wake_list));
        }
        self.notify_closed(place, wake_list);
    }

    /// Closes a gate and those below for requests that arrive from now on. The requests that wait stay in the queue.
    pub(in crate::gate) fn close_arrivals_in_tree(&mut self, place: &Place, wake_list: &mut WakeList) {
        match place {
            Place::Key(_) => place.close_key(),
            Place::Gate(id) => self.queue.close_arrivals(*id),
        }
        self.notify_closed(place, wake_list);
    }

    /// Notifies the listeners of a gate and of those below it. The listeners of a key are among those of the gate that has the key.
    fn notify_closed(&self, place: &Place, wake_list: &mut WakeList) {
        match place {
            Place::Gate(id) => {
                self.queue.stats_within(*id).for_each(|stats| stats.listeners.notify(wake_list));
            }
            Place::Key(_) => {
                self.queue.stats(place.declared()).iter().for_each(|stats| stats.listeners.notify(wake_list));
            }
        }
    }

    /// Returns `true` if a gate, one of its ancestors, or the handle of a key is closed.
    pub(in crate::gate) fn is_closed_in_tree(&self, place: &Place) -> bool {
        place.is_closed_key() || self.queue.closed_level(place.declared()).is_some()
    }

    /// Returns the limit of a gate.
    pub(in crate::gate) fn limit_in_tree(&self, place: &Place) -> Limit {
        match self.queue.resolve(place) {
            Some(id) => Limit::saturating(self.queue.node(id).limit.into()),
            None => self.queue.key_limit(place.declared()),
        }
    }

    /// Returns the status of a gate.
    pub(in crate::gate) fn status_in_tree(
        &self,
        place: &Place,
        counters: Option<&ShardedCounters>,
        name: GateName,
        clock: impl Fn() -> i64,
    ) -> GateStatus {
        let id = self.queue.resolve(place);
        let limit = self.limit_in_tree(place);
        let node = id.map(|id| self.queue.node(id)).unwrap_or_default();
        // The events of a key are counted for its gate.
        let stats = if place.as_key().is_some() { None } else { self.queue.stats(place.declared()) };
        // The statistics of a gate count its own requests and those of its keys. Declared children have statistics of their own.
        let counted_waiting = id.filter(|_| stats.is_some()).map_or(0, |id| self.queue.counted_waiting(id));
        let mut queue = stats.map_or_else(QueueTotals::default, |stats| stats.queue);
        queue.enqueued = queue.ended().saturating_add(counted_waiting.into());
        let sum = |counter| counters.map_or(0, |counters| counters.sum(counter));
        let (standing, retry_after) = id.map_or((false, None), |id| self.queue.shed_status(id, &clock));
        let oldest = id
            .filter(|_| self.queue.watch(place.declared()).is_some())
            .and_then(|id| self.queue.oldest_since(id));
        GateStatus {
            name,
            limit,
            in_use: node.in_use,
            available: limit.get().saturating_sub(node.in_use),
            debt: node.in_use.saturating_sub(limit.get()),
            waiting: node.waiting as usize,
            queue_bound: self
                .queue
                .queue_bound(place)
                .filter(|bound| *bound < u32::MAX)
                .map(|bound| bound as usize),
            max_wait: None,
            unclaimed: counters.map_or(0, |counters| unclaimed(&queue, counters)),
            paused: self.is_paused_in_tree(place),
            closed: self.is_closed_in_tree(place),
            standing,
            retry_after: retry_after.map(|wait| Duration::from_nanos(wait.unsigned_abs())),
            resized: stats.map_or(0, |stats| stats.resized),
            totals: GateTotals {
                admitted: stats
                    .map_or(0, |stats| stats.admitted)
                    .saturating_add(sum(Counter::Admitted))
                    .saturating_add(queue.admitted),
                borrowed: sum(Counter::Borrowed),
                queue,
                rejected: stats.map_or_else(RejectedTotals::default, |stats| stats.rejected),
            },
            waits: stats.and_then(|stats| stats.waits.as_deref()).cloned().unwrap_or_default(),
            holds: stats
                .and_then(|stats| stats.watch.as_deref())
                .map(|watch| watch.holds.clone())
                .unwrap_or_default(),
            oldest_permit: oldest.map(|since| clock::elapsed(since, clock())),
        }
    }

    /// Returns the node of a request. A key that has none gets one.
    ///
    /// # Errors
    ///
    /// If the weight is 0, the handle of the key is closed, or too many keys are busy.
    #[inline]
    fn node_for(&mut self, place: &Place, weight: u32) -> Result<NodeId, Rejection> {
        if weight == 0 {
            return Err(Rejection::ZeroWeight);
        }
        if place.is_closed_key() {
            return Err(Rejection::Closed(AtLevel::OWN));
        }
        self.queue.resolve_or_add(place)
    }

    /// Returns the node of a request. A key that has none gets one.
    ///
    /// # Errors
    ///
    /// As for [`node_for`](Self::node_for), and if a gate of the path is closed, or the weight is above its limit and the request does not
    /// wait for the limit.
    fn node_unless_rejected(
        &mut self,
        place: &Place,
        weight: u32,
        waits_for_limit: bool,
    ) -> Result<NodeId, Rejection> {
        let id = self.node_for(place, weight)?;
        match self.queue.obstacle(id, weight, waits_for_limit) {
            None => Ok(id),
            Some(obstacle) => Err(rejection(obstacle)),
        }
    }

    /// Returns `true` if the request was admitted, and `false` if it may wait. If the queue of a level is full, another request may be
    /// pushed out to make room; [`FairQueue::queue_room`] chooses its leaf.
    fn admit_or_make_room(
        &mut self,
        word: &mut Word,
        id: NodeId,
        arrival: TreeArrival<'_>,
        clock: impl Fn() -> i64,
        wake_list: &mut WakeList,
    ) -> Result<bool, Rejection> {
        let TreeArrival { waiter, time, now, deadline, .. } = arrival;
        loop {
            if self.queue.admit(id, waiter.priority(), waiter.weight()) {
                return Ok(true);
            }
            let room = self.queue.queue_room(id, waiter.priority());
            // Requests that have waited too long make room first.
            if room != QueueRoom::Free && self.shed(&clock, wake_list) {
                self.serve_queue_on_arrival(word, &clock, wake_list);
                continue;
            }
            match room {
                QueueRoom::Full { level, bound } => {
                    let full = AtLevel::new(level, bound.into());
                    return Err(Rejection::QueueFull(
                        full.with_retry_after(self.queue.reserve_retry(id, now)),
                    ));
                }
                _ if time == ArrivalTime::Late => return Err(Rejection::Expired { waited: 0 }),
                // The request is rejected now if its deadline would pass before it is granted.
                QueueRoom::Free => {
                    return match self.queue.predict_wait(id, waiter.priority()) {
                        Some(predicted) if predicted > deadline.saturating_sub(now) => {
                            let wait = AtLevel::of_time(0, predicted);
                            Err(Rejection::WouldExpire(
                                wait.with_retry_after(self.queue.reserve_retry(id, now)),
                            ))
                        }
                        _ => Ok(false),
                    };
                }
                QueueRoom::PushOut { full, bound, from } => {
                    let level = self.queue.level(from, full);
                    if let Some(removed) = self.queue.push_out(from, Removal::QueueFull { level, bound }) {
                        Self::wake_removed(&mut self.timers, removed, wake_list);
                    }
                    // The removed request may have been *chosen* at a node (see `queue/fair/mod.rs`), which kept others waiting there.
                    // Then others fit now, or this one does: decide again.
                    self.serve_queue_slow(word, &clock, wake_list);
                }
            }
        }
    }
}

fn rejection(obstacle: Obstacle) -> Rejection {
    match obstacle {
        Obstacle::Closed { level } => Rejection::Closed(AtLevel::new(level, 0)),
        Obstacle::TooLarge { level, limit } => Rejection::TooLarge(AtLevel::new(level, limit.into())),
    }
}
