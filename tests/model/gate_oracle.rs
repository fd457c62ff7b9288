//! What a gate should do, done the obvious way, and the books, which hold whatever it does.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, GateStatus, GateTotals, Histogram, TryAcquireError};
use concurrency_governor::{GateName, Limit};

use super::events::{Event, Seen};

pub(super) const NAME: GateName = GateName::new("model");
/// So many requests at once, at most.
pub(super) const PLACES: usize = 16;
/// So many who wait for the gate to be drained.
pub(super) const DRAINS: usize = 2;

/// What a poll gives.
#[derive(Debug)]
pub(super) enum Answer {
    Admitted,
    Waits,
    Refused(AcquireError),
}

/// Whom a step wakes: who stands in a place, or waits for the gate to be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Request(usize),
    Drain(usize),
}

pub(super) struct Oracle {
    limit: u32,
    bound: usize,
    max_wait: Option<u64>,
    closed: bool,
    /// Weights of permits, and of requests that were granted theirs and have not been polled since.
    held: u32,
    granted: u32,
    line: VecDeque<usize>,
    places: [Place; PLACES],
    draining: VecDeque<usize>,
    drained: [bool; DRAINS],
    totals: GateTotals,
    resized: u64,
    /// Whether the gate measures waits.
    measures: bool,
    waits: Histogram,
    woken: Vec<Call>,
    /// How many have joined the line, and which of them was granted last.
    joined: u64,
    last_granted: u64,
    /// As of the last check.
    admitted: u64,
    recorded: u64,
    /// Milliseconds since the start.
    now: u64,
    pub(super) seen: Seen,
}

#[derive(Clone)]
struct Place {
    fate: Fate,
    weight: u32,
    /// The how manieth to join the line it was.
    nth: u64,
    since: u64,
    deadline: Option<u64>,
    by_gate: bool,
    rewoken: bool,
}

#[derive(Clone, Debug)]
enum Fate {
    Away,
    InLine,
    Granted,
    Refused(AcquireError),
}

impl Oracle {
    pub(super) fn new(
        limit: u32,
        bound: usize,
        max_wait: Option<u64>,
        measures: bool,
        now: u64,
        seen: Seen,
    ) -> Self {
        let away = Place {
            fate: Fate::Away,
            weight: 0,
            nth: 0,
            since: 0,
            deadline: None,
            by_gate: false,
            rewoken: false,
        };
        Self {
            limit,
            bound,
            max_wait,
            closed: false,
            held: 0,
            granted: 0,
            line: VecDeque::with_capacity(PLACES),
            places: std::array::from_fn(|_| away.clone()),
            draining: VecDeque::with_capacity(DRAINS),
            drained: [false; DRAINS],
            totals: GateTotals::default(),
            resized: 0,
            measures,
            waits: Histogram::default(),
            woken: Vec::with_capacity(PLACES + DRAINS),
            joined: 0,
            last_granted: 0,
            admitted: 0,
            recorded: 0,
            now,
            seen,
        }
    }

    pub(super) fn try_take(&mut self, weight: u32) -> Result<(), TryAcquireError> {
        let fits = self.line.is_empty() && self.fits(weight);
        let refused = &mut self.totals.rejected;
        if weight == 0 {
            refused.zero_weight += 1;
            self.seen.note(Event::RefusedZero);
            Err(TryAcquireError::ZeroWeight { gate: NAME })
        } else if self.closed {
            refused.closed += 1;
            self.seen.note(Event::RefusedClosed);
            Err(TryAcquireError::Closed { gate: NAME })
        } else if weight > self.limit {
            refused.too_large += 1;
            self.seen.note(Event::RefusedTooLarge);
            Err(TryAcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(self.limit) })
        } else if !fits {
            refused.no_permits += 1;
            Err(TryAcquireError::NoPermits { gate: NAME })
        } else {
            self.held += weight;
            self.totals.admitted += 1;
            self.seen.note(Event::AdmittedAtOnce);
            self.seen.note_if(weight == self.limit, Event::AdmittedWhole);
            Ok(())
        }
    }

    pub(super) fn arrive(
        &mut self,
        place: usize,
        weight: u32,
        deadline: Option<u64>,
        max_wait: Option<u64>,
    ) -> Answer {
        let now = self.now;
        match self.try_take(weight) {
            Ok(()) => return Answer::Admitted,
            Err(TryAcquireError::ZeroWeight { gate }) => {
                return Answer::Refused(AcquireError::ZeroWeight { gate });
            }
            Err(TryAcquireError::Closed { gate }) => return Answer::Refused(AcquireError::Closed { gate }),
            Err(TryAcquireError::TooLarge { gate, weight, limit }) => {
                return Answer::Refused(AcquireError::TooLarge { gate, weight, limit });
            }
            Err(_) => self.totals.rejected.no_permits -= 1,
        }
        if self.line.len() >= self.bound {
            self.totals.rejected.queue_full += 1;
            self.seen.note(Event::RefusedFull);
            return Answer::Refused(AcquireError::QueueFull { gate: NAME, bound: self.bound });
        }
        let waits = [max_wait, self.max_wait].map(|wait| wait.map(|wait| now + wait));
        let own = [deadline, waits[0]].into_iter().flatten().min();
        let deadline = [own, waits[1]].into_iter().flatten().min();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.totals.rejected.expired += 1;
            self.seen.note(Event::RefusedLate);
            return Answer::Refused(AcquireError::DeadlineExceeded { gate: NAME, waited: Duration::ZERO });
        }
        self.seen.note_if(self.fits(weight), Event::JoinedPastRoom);
        self.seen.note_if(self.debt() > 0, Event::JoinedUnderDebt);
        self.seen.note_if(self.line.is_empty(), Event::JoinedFirst);
        self.totals.queue.enqueued += 1;
        self.joined += 1;
        self.line.push_back(place);
        let by_gate = deadline != own;
        self.places[place] = Place {
            fate: Fate::InLine,
            weight,
            nth: self.joined,
            since: now,
            deadline,
            by_gate,
            rewoken: false,
        };
        Answer::Waits
    }

    /// A later poll, with another waker or the same.
    pub(super) fn poll(&mut self, place: usize, anew: bool) -> Answer {
        let now = self.now;
        let Place { weight, deadline, .. } = self.places[place];
        let is_due = deadline.is_some_and(|deadline| deadline <= now);
        match mem::replace(&mut self.places[place].fate, Fate::Away) {
            Fate::Granted => {
                self.granted -= weight;
                self.held += weight;
                self.seen.note(if anew { Event::ClaimedAnew } else { Event::ClaimedAtOnce });
                self.seen.note_if(is_due, Event::ClaimedPastDeadline);
                self.seen.note_if(self.closed, Event::ClaimedClosed);
                Answer::Admitted
            }
            Fate::Refused(error) => Answer::Refused(error),
            Fate::InLine => {
                self.places[place].fate = Fate::InLine;
                self.places[place].rewoken |= anew;
                self.seen.note(if anew { Event::PolledAnew } else { Event::PolledAgain });
                self.seen.note_if(self.debt() > 0, Event::PolledUnderDebt);
                Answer::Waits
            }
            Fate::Away => panic!("nobody is there"),
        }
    }

    pub(super) fn cancel(&mut self, place: usize) {
        match mem::replace(&mut self.places[place].fate, Fate::Away) {
            Fate::Away => self.seen.note(Event::CancelledUnpolled),
            Fate::Refused(_) => self.seen.note(Event::CancelledRefused),
            Fate::InLine => {
                self.seen.note(match (self.line.front() == Some(&place), self.line.back() == Some(&place)) {
                    (true, true) => Event::CancelledAlone,
                    (true, false) => Event::CancelledHead,
                    (false, true) => Event::CancelledLast,
                    (false, false) => Event::CancelledInside,
                });
                self.leave(place);
                self.totals.queue.cancelled += 1;
                self.settle(Event::GrantedByCancelledHead);
            }
            Fate::Granted => {
                self.seen.note(Event::CancelledGranted);
                self.seen.note_if(self.line.is_empty(), Event::CancelledGrantedForNobody);
                self.seen.note_if(self.debt() > 0, Event::CancelledGrantedUnderDebt);
                self.granted -= self.places[place].weight;
                self.totals.queue.unclaimed += 1;
                self.settle(Event::GrantedByUnclaimed);
            }
        }
    }

    pub(super) fn release(&mut self, weight: u32) {
        let (debt, waiting) = (self.debt(), self.line.len());
        self.held -= weight;
        self.settle(Event::GrantedByRelease);
        let has_granted = self.line.len() < waiting;
        self.seen.note_if(waiting == 0, Event::Released);
        self.seen.note_if(waiting > 0 && !has_granted, Event::ReleasedTooLittle);
        if debt > 0 {
            self.seen.note(if self.debt() > 0 { Event::DebtPaidInPart } else { Event::DebtPaid });
            self.seen.note_if(has_granted, Event::DebtPaidAndGranted);
        }
    }

    pub(super) fn resize(&mut self, limit: u32) {
        let from = mem::replace(&mut self.limit, limit);
        self.resized += u64::from(from != limit);
        let (out, debt, waiting) = (self.in_use(), self.debt(), self.line.len());
        let mut at = 0;
        while let Some(&place) = self.line.get(at) {
            let weight = self.places[place].weight;
            if weight <= limit {
                at += 1;
                continue;
            }
            self.seen.note(if at == 0 { Event::ShrunkPastHead } else { Event::ShrunkPastOther });
            self.line.remove(at);
            self.totals.queue.too_large += 1;
            self.refuse(place, AcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(limit) });
        }
        self.settle(if limit < from { Event::GrantedByShrink } else { Event::GrantedByGrowth });
        self.seen.note_if(limit == from, Event::ResizedToSame);
        self.seen.note_if(limit == Limit::MAX.get(), Event::ResizedToTheMost);
        self.seen.note_if(limit < from && debt > 0, Event::DebtMade);
        self.seen.note_if(limit < from && debt > 0 && waiting > 0, Event::DebtMadeWithLine);
        self.seen.note_if(out > from && debt == 0, Event::DebtForgiven);
        self.seen.note_if(limit > from && waiting > 0 && self.line.len() == waiting, Event::GrownInVain);
    }

    pub(super) fn close(&mut self) {
        self.seen.note(match (self.closed, self.line.is_empty()) {
            (true, _) => Event::ClosedAgain,
            (false, true) => Event::Closed,
            (false, false) => Event::ClosedLine,
        });
        self.seen.note_if(self.granted > 0, Event::ClosedPastGrant);
        self.seen.note_if(self.debt() > 0, Event::ClosedUnderDebt);
        self.closed = true;
        while let Some(place) = self.line.pop_front() {
            self.totals.queue.closed += 1;
            self.refuse(place, AcquireError::Closed { gate: NAME });
        }
        self.settle(Event::Closed);
    }

    /// Whether one who asks for the gate to be drained is told so at once.
    pub(super) fn drain(&mut self, drain: usize) -> bool {
        let is_drained = self.is_drained();
        self.seen.note(if is_drained { Event::DrainedAtOnce } else { Event::DrainJoined });
        if !is_drained {
            self.draining.push_back(drain);
        }
        is_drained
    }

    /// Whether one who asks again is told so.
    pub(super) fn poll_drain(&mut self, drain: usize) -> bool {
        let is_told = mem::take(&mut self.drained[drain]);
        self.seen.note_if(is_told && !self.is_drained(), Event::DrainEndedLate);
        is_told
    }

    pub(super) fn cancel_drain(&mut self, drain: usize) {
        self.seen.note(Event::DrainCancelled);
        self.draining.retain(|waiting| *waiting != drain);
        self.drained[drain] = false;
    }

    /// Time has moved to here: whose deadline has passed leaves the line for that, polled or not. Says how many did; they
    /// are the first to be woken, in an order of the gate's own.
    pub(super) fn pass_time_to(&mut self, now: u64) -> usize {
        self.now = now;
        let head = self.line.front().copied();
        let is_due = |place: &usize| self.places[*place].deadline.is_some_and(|deadline| deadline <= now);
        let due: Vec<usize> = self.line.iter().copied().filter(is_due).collect();
        for &place in &due {
            self.leave(place);
            self.totals.queue.expired += 1;
            let Place { since, deadline, by_gate, .. } = self.places[place];
            let was_first = head == Some(place);
            self.seen.note(if was_first { Event::ExpiredHead } else { Event::ExpiredInside });
            self.seen.note_if(deadline == Some(now), Event::ExpiredOnTime);
            self.seen.note_if(by_gate, Event::ExpiredByGate);
            let waited = Duration::from_millis(now - since);
            self.refuse(place, AcquireError::DeadlineExceeded { gate: NAME, waited });
        }
        self.seen.note_if(due.len() > 1, Event::ExpiredTogether);
        self.settle(Event::GrantedByExpiredHead);
        due.len()
    }

    /// The earliest deadline still to come of those who wait.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let deadlines = self.line.iter().filter_map(|place| self.places[*place].deadline);
        deadlines.filter(|deadline| *deadline > self.now).min()
    }

    /// Held and granted.
    pub(super) fn in_use(&self) -> u32 {
        self.held + self.granted
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn debt(&self) -> u32 {
        self.in_use().saturating_sub(self.limit)
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Whether a request that would wait would be in line then.
    pub(super) fn would_wait(&self, weight: u32) -> bool {
        let is_refused = weight == 0 || self.closed || weight > self.limit || self.line.len() >= self.bound;
        !is_refused && (!self.line.is_empty() || !self.fits(weight))
    }

    pub(super) fn head(&self) -> Option<(usize, u32)> {
        self.line.front().map(|place| (*place, self.places[*place].weight))
    }

    pub(super) fn is_in_line(&self, place: usize) -> bool {
        matches!(self.places[place].fate, Fate::InLine)
    }

    /// Whether it was granted or refused and has not been told.
    pub(super) fn is_decided(&self, place: usize) -> bool {
        matches!(self.places[place].fate, Fate::Granted | Fate::Refused(_))
    }

    pub(super) fn woken(&self) -> &[Call] {
        &self.woken
    }

    /// Every number of a status, then the books, which would hold without an oracle. `held` is what is in permits.
    pub(super) fn check(&mut self, status: &GateStatus, held: u32) {
        assert_eq!((status.name, status.limit.get(), status.closed), (NAME, self.limit, self.closed));
        assert_eq!((status.in_use, status.waiting), (self.in_use(), self.waiting()));
        assert_eq!(status.resized, self.resized);
        assert_eq!(status.totals, self.totals);
        if self.recorded != status.waits.count() {
            assert!(status.waits == self.waits, "waits: {:?}, not {:?}", status.waits, self.waits);
            self.recorded = self.waits.count();
        }

        let GateStatus { in_use, available, debt, waiting, .. } = *status;
        let limit = status.limit.get();
        assert_eq!(held + self.granted + available, limit + debt, "the books");
        assert!(available == 0 || debt == 0, "the books");
        assert_eq!(debt, (held + self.granted).saturating_sub(limit), "the books");
        let queue = status.totals.queue;
        let left = queue.admitted + queue.cancelled + queue.expired + queue.too_large + queue.closed;
        assert_eq!(queue.enqueued, left + waiting as u64, "all who joined the line are accounted for");
        let measured = if self.measures { queue.admitted } else { 0 };
        assert_eq!(status.waits.count(), measured, "each who was granted has waited");
        if self.admitted != status.totals.admitted {
            assert!(in_use <= limit, "admitted above the limit");
            self.admitted = status.totals.admitted;
        }
        let fits = |head: usize| self.places[head].weight <= available;
        assert!(!self.line.front().is_some_and(|head| fits(*head)), "a head that fits waits");
        assert!(!status.closed || waiting == 0, "somebody waits for a gate that is closed");
        for call in self.woken.drain(..) {
            let Call::Request(place) = call else { continue };
            let Place { fate: Fate::Granted, nth, .. } = self.places[place] else { continue };
            assert!(nth > self.last_granted, "granted past one who came before");
            self.last_granted = nth;
        }
        self.seen.steps += 1;
    }

    fn fits(&self, weight: u32) -> bool {
        self.in_use().saturating_add(weight) <= self.limit
    }

    fn is_drained(&self) -> bool {
        self.in_use() == 0 && self.line.is_empty()
    }

    /// Takes a request out of line; says whether it was the head.
    fn leave(&mut self, place: usize) -> bool {
        let at = self.line.iter().position(|waiting| *waiting == place).expect("it is in line");
        self.line.remove(at);
        at == 0
    }

    fn refuse(&mut self, place: usize, error: AcquireError) {
        self.woken.push(Call::Request(place));
        self.places[place].fate = Fate::Refused(error);
    }

    fn settle(&mut self, cause: Event) {
        let before = self.woken.len();
        while let Some((place, weight)) = self.head() {
            if !self.fits(weight) {
                break;
            }
            self.line.pop_front();
            self.granted += weight;
            self.totals.admitted += 1;
            self.totals.queue.admitted += 1;
            self.woken.push(Call::Request(place));
            self.seen.note(cause);
            let granted = &mut self.places[place];
            granted.fate = Fate::Granted;
            if self.measures {
                self.waits.record(Duration::from_millis(self.now - granted.since));
            }
            self.seen.note_if(granted.rewoken, Event::GrantedByNewWaker);
        }
        self.seen.note_if(self.woken.len() > before + 1, Event::GrantedTogether);
        if self.is_drained() && !self.draining.is_empty() {
            self.seen.note(Event::DrainEnded);
            self.seen.note_if(self.draining.len() > 1, Event::DrainsEnded);
            while let Some(drain) = self.draining.pop_front() {
                self.drained[drain] = true;
                self.woken.push(Call::Drain(drain));
            }
        }
    }
}
