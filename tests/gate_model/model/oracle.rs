//! The oracle: the rules of a gate in their simplest form, and the invariants that hold without an oracle.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use concurrency_governor::gate::{
    AcquireError, GateStatus, GateTotals, Histogram, RetryAfter, TryAcquireError,
};
use concurrency_governor::{GateName, Limit};

use super::events::{Coverage, Event};

pub(super) const NAME: GateName = GateName::new("model");
/// The maximum number of requests at once.
pub(super) const REQUEST_SLOTS: usize = 16;
/// The maximum number of `drained` futures at once.
pub(super) const DRAINED_SLOTS: usize = 2;

/// The settings of the gate under test. Times are in milliseconds.
pub(super) struct GateSettings {
    pub(super) limit: u32,
    pub(super) queue_bound: usize,
    pub(super) max_wait: Option<u64>,
    pub(super) measures_waits: bool,
}

/// The expected result of a poll.
#[derive(Debug)]
pub(super) enum PollOutcome {
    Admitted,
    Pending,
    Rejected(AcquireError),
}

/// Whether a poll passes the waker of the poll before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PollWaker {
    Same,
    New,
}

/// The future that a step wakes: a request or a `drained`, with its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WakeTarget {
    Request(usize),
    Drained(usize),
}

pub(super) struct Oracle {
    settings: GateSettings,
    closed: bool,
    paused: bool,
    /// The weights of all permits.
    held: u32,
    /// The weights of requests that were admitted from the queue and have not been polled since.
    unclaimed: u32,
    /// The number of requests that were admitted and not polled since.
    unclaimed_requests: usize,
    /// The slots of the waiters, in arrival order.
    queue: VecDeque<usize>,
    requests: [RequestRecord; REQUEST_SLOTS],
    /// The slots of the `drained` futures that wait.
    drained_queue: VecDeque<usize>,
    /// The `drained` futures that were woken and have not been polled since.
    drained_woken: [bool; DRAINED_SLOTS],
    totals: GateTotals,
    resized: u64,
    waits: Histogram,
    /// The futures that the current step wakes, in order.
    woken: Vec<WakeTarget>,
    /// The number of requests enqueued so far.
    enqueued: u64,
    /// The largest arrival number that was admitted from the queue.
    last_admitted: u64,
    /// The number of admitted requests at the last check.
    checked_admitted: u64,
    /// The number of measured waits at the last check.
    checked_waits: u64,
    /// The current time, in milliseconds since the start.
    now: u64,
    pub(super) coverage: Coverage,
}

/// What a request asks for. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestTerms {
    pub(super) weight: u32,
    pub(super) deadline: Option<u64>,
    pub(super) max_wait: Option<u64>,
    pub(super) is_strict: bool,
    pub(super) waits_for_limit: bool,
}

/// What the oracle knows about the request in a slot.
#[derive(Clone)]
struct RequestRecord {
    state: RequestState,
    weight: u32,
    waits_for_limit: bool,
    /// The request was the `arrival`-th that was enqueued.
    arrival: u64,
    enqueued_at: u64,
    deadline: Option<u64>,
    /// Whether the deadline is due to the `max_wait` of the gate.
    deadline_is_gates: bool,
    has_new_waker: bool,
}

#[derive(Clone, Debug)]
enum RequestState {
    /// There is no request, or it has not been polled yet.
    Absent,
    Waiting,
    /// Admitted from the queue, and not polled since.
    Admitted,
    /// Rejected while it waited, and not polled since.
    Rejected(AcquireError),
}

impl Oracle {
    pub(super) fn new(settings: GateSettings, now: u64, coverage: Coverage) -> Self {
        let absent = RequestRecord {
            state: RequestState::Absent,
            weight: 0,
            waits_for_limit: false,
            arrival: 0,
            enqueued_at: 0,
            deadline: None,
            deadline_is_gates: false,
            has_new_waker: false,
        };
        Self {
            settings,
            closed: false,
            paused: false,
            held: 0,
            unclaimed: 0,
            unclaimed_requests: 0,
            queue: VecDeque::with_capacity(REQUEST_SLOTS),
            requests: std::array::from_fn(|_| absent.clone()),
            drained_queue: VecDeque::with_capacity(DRAINED_SLOTS),
            drained_woken: [false; DRAINED_SLOTS],
            totals: GateTotals::default(),
            resized: 0,
            waits: Histogram::default(),
            woken: Vec::with_capacity(REQUEST_SLOTS + DRAINED_SLOTS),
            enqueued: 0,
            last_admitted: 0,
            checked_admitted: 0,
            checked_waits: 0,
            now,
            coverage,
        }
    }

    pub(super) fn try_acquire(&mut self, weight: u32) -> Result<(), TryAcquireError> {
        let fits = self.queue.is_empty() && self.fits(weight);
        let fits_unpaused = self.queue.is_empty() && self.has_room(weight);
        let limit = self.settings.limit;
        let rejected = &mut self.totals.rejected;
        if weight == 0 {
            rejected.zero_weight += 1;
            self.coverage.record(Event::RejectedZeroWeight);
            Err(TryAcquireError::ZeroWeight { gate: NAME })
        } else if self.closed {
            rejected.closed += 1;
            self.coverage.record(Event::RejectedClosed);
            Err(TryAcquireError::Closed { gate: NAME })
        } else if weight > limit {
            rejected.too_large += 1;
            self.coverage.record(Event::RejectedTooLarge);
            Err(TryAcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(limit) })
        } else if self.paused {
            rejected.paused += 1;
            self.coverage.record_if(fits_unpaused, Event::TryRejectedPaused);
            Err(TryAcquireError::Paused { gate: NAME })
        } else if !fits {
            rejected.no_permits += 1;
            Err(TryAcquireError::NoPermits { gate: NAME })
        } else {
            self.held += weight;
            self.totals.admitted += 1;
            self.coverage.record(Event::AdmittedImmediately);
            self.coverage.record_if(weight == limit, Event::AdmittedWithWholeLimit);
            Ok(())
        }
    }

    /// Returns the outcome of the first poll of a request.
    pub(super) fn first_poll(&mut self, slot: usize, terms: RequestTerms) -> PollOutcome {
        let RequestTerms { weight, deadline, max_wait, is_strict, waits_for_limit } = terms;
        let now = self.now;
        let [own_wait, gates_wait] =
            [max_wait, self.settings.max_wait].map(|wait| wait.map(|wait| now + wait));
        let own = [deadline, own_wait].into_iter().flatten().min();
        let deadline = [own, gates_wait].into_iter().flatten().min();
        let has_expired = deadline.is_some_and(|deadline| deadline <= now);
        let is_expired_strictly = is_strict && terms.deadline.is_some_and(|deadline| deadline <= now);
        // A request with room, and one that is invalid, gets the answer of `try_acquire`.
        match self.try_acquire(weight) {
            Ok(()) if is_expired_strictly => {
                self.held -= weight;
                self.totals.admitted -= 1;
                self.coverage.record(Event::RejectedStrictly);
            }
            Ok(()) => return PollOutcome::Admitted,
            Err(TryAcquireError::ZeroWeight { gate }) => {
                return PollOutcome::Rejected(AcquireError::ZeroWeight { gate });
            }
            Err(TryAcquireError::Closed { gate }) => {
                return PollOutcome::Rejected(AcquireError::Closed { gate });
            }
            Err(TryAcquireError::TooLarge { .. }) if waits_for_limit && weight <= Limit::MAX.get() => {
                self.totals.rejected.too_large -= 1;
                self.coverage.record_if(!has_expired, Event::EnqueuedAboveLimit);
                self.coverage.record_if(is_expired_strictly, Event::RejectedStrictlyAboveLimit);
            }
            Err(TryAcquireError::TooLarge { gate, weight, limit }) => {
                let limit = if waits_for_limit { Limit::MAX } else { limit };
                return PollOutcome::Rejected(AcquireError::TooLarge { gate, weight, limit });
            }
            // The request waits, so it does not count as rejected.
            Err(TryAcquireError::Paused { .. }) => self.totals.rejected.paused -= 1,
            Err(_) => self.totals.rejected.no_permits -= 1,
        }
        // A request that must wait is rejected if the queue is full or if its deadline has passed.
        let bound = self.settings.queue_bound;
        if self.queue.len() >= bound && !is_expired_strictly {
            self.totals.rejected.queue_full += 1;
            self.coverage.record(Event::RejectedQueueFull);
            return PollOutcome::Rejected(AcquireError::QueueFull {
                gate: NAME,
                bound: u32::try_from(bound).unwrap(),
                retry_after: RetryAfter::UNKNOWN,
            });
        }
        if has_expired {
            self.totals.rejected.expired += 1;
            self.coverage.record(Event::RejectedExpired);
            let waited = Duration::ZERO;
            return PollOutcome::Rejected(AcquireError::DeadlineExceeded { gate: NAME, waited });
        }
        // Every other request waits at the end of the queue.
        self.coverage.record_if(self.fits(weight), Event::EnqueuedBehindQueue);
        self.coverage.record_if(self.paused && self.has_room(weight), Event::EnqueuedPaused);
        self.coverage.record_if(self.debt() > 0, Event::EnqueuedUnderDebt);
        self.coverage.record_if(self.queue.is_empty(), Event::EnqueuedFirst);
        self.totals.queue.enqueued += 1;
        self.enqueued += 1;
        self.queue.push_back(slot);
        self.requests[slot] = RequestRecord {
            state: RequestState::Waiting,
            weight,
            waits_for_limit,
            arrival: self.enqueued,
            enqueued_at: now,
            deadline,
            deadline_is_gates: deadline != own,
            has_new_waker: false,
        };
        PollOutcome::Pending
    }

    /// Returns the outcome of a later poll.
    pub(super) fn poll(&mut self, slot: usize, waker: PollWaker) -> PollOutcome {
        let now = self.now;
        let RequestRecord { weight, deadline, .. } = self.requests[slot];
        let has_new_waker = waker == PollWaker::New;
        match mem::replace(&mut self.requests[slot].state, RequestState::Absent) {
            RequestState::Admitted => {
                self.unclaimed -= weight;
                self.unclaimed_requests -= 1;
                self.held += weight;
                self.coverage.record(match waker {
                    PollWaker::Same => Event::ClaimedWithSameWaker,
                    PollWaker::New => Event::ClaimedWithNewWaker,
                });
                let is_late = deadline.is_some_and(|deadline| deadline <= now);
                self.coverage.record_if(is_late, Event::ClaimedAfterDeadline);
                self.coverage.record_if(self.closed, Event::ClaimedAfterClose);
                PollOutcome::Admitted
            }
            RequestState::Rejected(error) => PollOutcome::Rejected(error),
            RequestState::Waiting => {
                self.requests[slot].state = RequestState::Waiting;
                self.requests[slot].has_new_waker |= has_new_waker;
                self.coverage.record(match waker {
                    PollWaker::Same => Event::PolledWithSameWaker,
                    PollWaker::New => Event::PolledWithNewWaker,
                });
                self.coverage.record_if(self.debt() > 0, Event::PolledUnderDebt);
                PollOutcome::Pending
            }
            RequestState::Absent => panic!("the slot has no request that was polled"),
        }
    }

    pub(super) fn cancel(&mut self, slot: usize) {
        match mem::replace(&mut self.requests[slot].state, RequestState::Absent) {
            RequestState::Absent => self.coverage.record(Event::CancelledUnpolled),
            RequestState::Rejected(_) => self.coverage.record(Event::CancelledRejected),
            RequestState::Waiting => {
                let is_head = self.queue.front() == Some(&slot);
                let is_last = self.queue.back() == Some(&slot);
                self.coverage.record(match (is_head, is_last) {
                    (true, true) => Event::CancelledAlone,
                    (true, false) => Event::CancelledHead,
                    (false, true) => Event::CancelledLast,
                    (false, false) => Event::CancelledMiddle,
                });
                self.remove_from_queue(slot);
                self.totals.queue.cancelled += 1;
                self.admit_waiters(Event::AdmittedByCancelledHead);
            }
            RequestState::Admitted => {
                self.coverage.record(Event::CancelledAdmitted);
                self.coverage.record_if(self.queue.is_empty(), Event::CancelledAdmittedWithoutQueue);
                self.coverage.record_if(self.debt() > 0, Event::CancelledAdmittedUnderDebt);
                self.unclaimed -= self.requests[slot].weight;
                self.unclaimed_requests -= 1;
                self.totals.queue.abandoned += 1;
                self.admit_waiters(Event::AdmittedByUnclaimedPermit);
            }
        }
    }

    pub(super) fn release(&mut self, weight: u32) {
        let (debt, waiting) = (self.debt(), self.queue.len());
        self.held -= weight;
        self.admit_waiters(Event::AdmittedByRelease);
        let has_admitted = self.queue.len() < waiting;
        self.coverage.record_if(waiting == 0, Event::Released);
        self.coverage.record_if(waiting > 0 && !has_admitted, Event::ReleasedTooLittle);
        if debt > 0 {
            self.coverage.record(if self.debt() > 0 { Event::DebtPaidInPart } else { Event::DebtPaid });
            self.coverage.record_if(has_admitted, Event::DebtPaidAndAdmitted);
        }
    }

    pub(super) fn resize(&mut self, limit: u32) {
        let from = mem::replace(&mut self.settings.limit, limit);
        self.resized += u64::from(from != limit);
        self.coverage.record_if(self.paused, Event::ResizedPaused);
        let (in_use, debt, waiting) = (self.in_use(), self.debt(), self.queue.len());
        // Waiters that are heavier than the new limit are rejected, wherever they are in the queue.
        let mut at = 0;
        while let Some(&slot) = self.queue.get(at) {
            let RequestRecord { weight, waits_for_limit, .. } = self.requests[slot];
            if weight <= limit || waits_for_limit {
                self.coverage.record_if(weight > limit, Event::KeptAboveLimit);
                at += 1;
                continue;
            }
            self.coverage.record(if at == 0 { Event::LoweredBelowHead } else { Event::LoweredBelowOther });
            self.queue.remove(at);
            self.totals.queue.too_large += 1;
            self.reject(slot, AcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(limit) });
        }
        self.admit_waiters(if limit < from {
            Event::AdmittedByLoweredLimit
        } else {
            Event::AdmittedByRaisedLimit
        });
        let still_waiting = self.queue.len();
        self.coverage.record_if(limit == from, Event::ResizedToSame);
        self.coverage.record_if(limit == Limit::MAX.get(), Event::ResizedToMaximum);
        self.coverage.record_if(limit < from && debt > 0, Event::DebtCreated);
        self.coverage.record_if(limit < from && debt > 0 && waiting > 0, Event::DebtCreatedWithQueue);
        self.coverage.record_if(in_use > from && debt == 0, Event::DebtEndedByRaisedLimit);
        self.coverage
            .record_if(limit > from && waiting > 0 && still_waiting == waiting, Event::RaisedTooLittle);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn pause(&mut self) {
        self.coverage.record(if self.queue.is_empty() { Event::Paused } else { Event::PausedWithQueue });
        self.coverage.record_if(self.debt() > 0, Event::PausedUnderDebt);
        self.paused = true;
    }

    pub(super) fn resume(&mut self) {
        self.paused = false;
        let waiting = self.queue.len();
        self.admit_waiters(Event::AdmittedByResume);
        self.coverage.record_if(waiting > 0 && self.queue.len() == waiting, Event::ResumedTooLittle);
    }

    pub(super) fn close(&mut self) {
        self.coverage.record(match (self.closed, self.queue.is_empty()) {
            (true, _) => Event::ClosedAgain,
            (false, true) => Event::Closed,
            (false, false) => Event::ClosedWithQueue,
        });
        self.coverage.record_if(self.unclaimed > 0, Event::ClosedWithUnclaimedPermit);
        self.coverage.record_if(self.debt() > 0, Event::ClosedUnderDebt);
        self.closed = true;
        while let Some(slot) = self.queue.pop_front() {
            self.totals.queue.closed += 1;
            self.reject(slot, AcquireError::Closed { gate: NAME });
        }
        self.wake_drained();
    }

    /// Returns `true` if the first poll of a `drained` future resolves.
    pub(super) fn first_poll_drained(&mut self, slot: usize) -> bool {
        let is_drained = self.is_drained();
        self.coverage.record(if is_drained { Event::DrainedImmediately } else { Event::DrainedPending });
        if !is_drained {
            self.drained_queue.push_back(slot);
        }
        is_drained
    }

    /// Returns `true` if a later poll of a `drained` future resolves.
    pub(super) fn poll_drained(&mut self, slot: usize) -> bool {
        let was_woken = mem::take(&mut self.drained_woken[slot]);
        self.coverage.record_if(was_woken && !self.is_drained(), Event::DrainedLate);
        was_woken
    }

    pub(super) fn cancel_drained(&mut self, slot: usize) {
        self.coverage.record(Event::DrainedCancelled);
        self.drained_queue.retain(|waiting| *waiting != slot);
        self.drained_woken[slot] = false;
    }

    /// Advances the time to `now`. Every waiter whose deadline has passed leaves the queue, whether it is
    /// polled or not.
    ///
    /// Returns the number of expired waiters. The gate wakes them first, in an order of its own.
    pub(super) fn advance_time_to(&mut self, now: u64) -> usize {
        self.now = now;
        let head = self.queue.front().copied();
        let is_due = |slot: &usize| self.requests[*slot].deadline.is_some_and(|deadline| deadline <= now);
        let due: Vec<usize> = self.queue.iter().copied().filter(is_due).collect();
        for &slot in &due {
            self.remove_from_queue(slot);
            self.totals.queue.expired += 1;
            let RequestRecord { enqueued_at, deadline, deadline_is_gates, .. } = self.requests[slot];
            let was_head = head == Some(slot);
            self.coverage.record(if was_head { Event::ExpiredHead } else { Event::ExpiredBehindHead });
            self.coverage.record_if(deadline == Some(now), Event::ExpiredOnTime);
            self.coverage.record_if(deadline_is_gates, Event::ExpiredByGate);
            let waited = Duration::from_millis(now - enqueued_at);
            self.reject(slot, AcquireError::DeadlineExceeded { gate: NAME, waited });
        }
        self.coverage.record_if(due.len() > 1, Event::ExpiredTogether);
        self.admit_waiters(Event::AdmittedByExpiredHead);
        due.len()
    }

    /// Returns the earliest deadline of a waiter that is later than now.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let deadlines = self.queue.iter().filter_map(|slot| self.requests[*slot].deadline);
        deadlines.filter(|deadline| *deadline > self.now).min()
    }

    /// Returns the number of permits in use: held, or admitted and not claimed yet.
    pub(super) fn in_use(&self) -> u32 {
        self.held + self.unclaimed
    }

    pub(super) fn limit(&self) -> u32 {
        self.settings.limit
    }

    pub(super) fn debt(&self) -> u32 {
        self.in_use().saturating_sub(self.settings.limit)
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Returns `true` if a request of this weight, without a deadline, would wait now.
    pub(super) fn would_wait(&self, weight: u32) -> bool {
        let is_rejected = weight == 0
            || self.closed
            || weight > self.settings.limit
            || self.queue.len() >= self.settings.queue_bound;
        !is_rejected && (!self.queue.is_empty() || !self.fits(weight))
    }

    /// Returns the slot and the weight of the head of the queue.
    pub(super) fn head(&self) -> Option<(usize, u32)> {
        self.queue.front().map(|slot| (*slot, self.requests[*slot].weight))
    }

    pub(super) fn is_waiting(&self, slot: usize) -> bool {
        matches!(self.requests[slot].state, RequestState::Waiting)
    }

    /// Returns `true` if the request was admitted or rejected while it waited, and has not been polled since.
    pub(super) fn is_decided(&self, slot: usize) -> bool {
        matches!(self.requests[slot].state, RequestState::Admitted | RequestState::Rejected(_))
    }

    pub(super) fn woken(&self) -> &[WakeTarget] {
        &self.woken
    }

    /// Checks every number of a status after a step. `held` is the sum of the weights of all permits.
    pub(super) fn check(&mut self, status: &GateStatus, held: u32) {
        // The status is as the oracle expects.
        assert_eq!(
            (status.name, status.limit.get(), status.paused, status.closed),
            (NAME, self.settings.limit, self.paused, self.closed)
        );
        assert_eq!((status.in_use, status.waiting), (self.in_use(), self.waiting()));
        assert_eq!(status.resized, self.resized);
        assert_eq!(status.totals, self.totals);
        assert_eq!(status.unclaimed, self.unclaimed_requests, "unclaimed requests");
        if self.checked_waits != status.waits.count() {
            assert!(status.waits == self.waits, "waits: {:?}, expected {:?}", status.waits, self.waits);
            self.checked_waits = self.waits.count();
        }

        // The invariants of a status hold. These need no oracle.
        let GateStatus { in_use, available, debt, waiting, .. } = *status;
        let limit = status.limit.get();
        assert_eq!(held + self.unclaimed + available, limit + debt, "in use + available == limit + debt");
        assert!(available == 0 || debt == 0, "available permits and debt at once");
        assert_eq!(debt, (held + self.unclaimed).saturating_sub(limit), "debt is what exceeds the limit");
        let queue = status.totals.queue;
        let left = queue.admitted + queue.cancelled + queue.expired + queue.too_large + queue.closed;
        assert_eq!(queue.enqueued, left + waiting as u64, "every enqueued request is accounted for");
        let measured = if self.settings.measures_waits { queue.admitted } else { 0 };
        assert_eq!(
            status.waits.count(),
            measured,
            "one measured wait for each request admitted from the queue"
        );
        if self.checked_admitted != status.totals.admitted {
            assert!(in_use <= limit, "admitted above the limit");
            self.checked_admitted = status.totals.admitted;
        }
        let fits = |head: usize| self.requests[head].weight <= available && !status.paused;
        assert!(!self.queue.front().is_some_and(|head| fits(*head)), "the head waits although it fits");
        assert!(!status.closed || waiting == 0, "a request waits at a closed gate");

        // Requests were admitted in arrival order.
        for target in self.woken.drain(..) {
            let WakeTarget::Request(slot) = target else { continue };
            let RequestRecord { state: RequestState::Admitted, arrival, .. } = self.requests[slot] else {
                continue;
            };
            assert!(arrival > self.last_admitted, "admitted before an earlier request");
            self.last_admitted = arrival;
        }
        self.coverage.steps += 1;
    }

    fn fits(&self, weight: u32) -> bool {
        !self.paused && self.has_room(weight)
    }

    fn has_room(&self, weight: u32) -> bool {
        self.in_use().saturating_add(weight) <= self.settings.limit
    }

    fn is_drained(&self) -> bool {
        self.in_use() == 0 && self.queue.is_empty()
    }

    fn remove_from_queue(&mut self, slot: usize) {
        let at = self.queue.iter().position(|waiting| *waiting == slot).expect("the request is in the queue");
        self.queue.remove(at);
    }

    /// Rejects and wakes a request that was just removed from the queue.
    fn reject(&mut self, slot: usize, error: AcquireError) {
        self.woken.push(WakeTarget::Request(slot));
        self.requests[slot].state = RequestState::Rejected(error);
    }

    /// Admits and wakes waiters from the head of the queue while they fit, then wakes `drained` futures.
    /// `cause` is the event to record for each admitted waiter.
    fn admit_waiters(&mut self, cause: Event) {
        let woken_before = self.woken.len();
        while let Some((slot, weight)) = self.head() {
            if !self.fits(weight) {
                break;
            }
            self.queue.pop_front();
            self.unclaimed += weight;
            self.unclaimed_requests += 1;
            self.totals.admitted += 1;
            self.totals.queue.admitted += 1;
            self.woken.push(WakeTarget::Request(slot));
            self.coverage.record(cause);
            let request = &mut self.requests[slot];
            request.state = RequestState::Admitted;
            if self.settings.measures_waits {
                self.waits.record(Duration::from_millis(self.now - request.enqueued_at));
            }
            self.coverage.record_if(request.has_new_waker, Event::AdmittedWithNewWaker);
        }
        self.coverage.record_if(self.woken.len() > woken_before + 1, Event::AdmittedTogether);
        self.wake_drained();
    }

    /// Wakes every `drained` future if the gate is drained.
    fn wake_drained(&mut self) {
        if !self.is_drained() || self.drained_queue.is_empty() {
            return;
        }
        self.coverage.record(Event::DrainedWoken);
        self.coverage.record_if(self.drained_queue.len() > 1, Event::DrainedSeveralWoken);
        while let Some(slot) = self.drained_queue.pop_front() {
            self.drained_woken[slot] = true;
            self.woken.push(WakeTarget::Drained(slot));
        }
    }
}
