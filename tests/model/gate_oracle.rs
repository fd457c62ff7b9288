//! What a gate should do, done the obvious way.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, GateStatus, Totals, TryAcquireError};
use concurrency_governor::{GateName, Limit};

pub(super) const NAME: GateName = GateName::new("model");

/// What a poll gives.
#[derive(Debug)]
pub(super) enum Answer {
    Admitted,
    Waits,
    Refused(AcquireError),
}

pub(super) struct Oracle {
    limit: u32,
    bound: usize,
    max_wait: Option<u64>,
    closed: bool,
    held: u32,
    line: VecDeque<Waiter>,
    /// What was decided for those who have not been polled since.
    decided: BTreeMap<usize, (Waiter, Result<(), AcquireError>)>,
    drain: Drain,
    totals: Totals,
    waits: Vec<u64>,
    /// Whom the current step wakes: a request, or whoever waits for the gate to be drained.
    woken: Vec<Option<usize>>,
    ids: usize,
    /// Milliseconds since the start; whoever moves the clock moves this.
    pub(super) now: u64,
}

struct Waiter {
    id: usize,
    weight: u32,
    since: u64,
    deadline: Option<u64>,
}

#[derive(PartialEq)]
enum Drain {
    Nobody,
    Waits,
    Done,
}

impl Oracle {
    pub(super) fn new(limit: u32, bound: usize, max_wait: Option<u64>) -> Self {
        Self {
            limit,
            bound,
            max_wait,
            closed: false,
            held: 0,
            line: VecDeque::new(),
            decided: BTreeMap::new(),
            drain: Drain::Nobody,
            totals: Totals::default(),
            waits: Vec::new(),
            woken: Vec::new(),
            ids: 0,
            now: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> usize {
        self.ids += 1;
        self.ids
    }

    pub(super) fn try_take(&mut self, weight: u32) -> Result<(), TryAcquireError> {
        let refused = &mut self.totals.refused;
        if weight == 0 {
            refused.zero_weight += 1;
            Err(TryAcquireError::ZeroWeight { gate: NAME })
        } else if self.closed {
            refused.closed += 1;
            Err(TryAcquireError::Closed { gate: NAME })
        } else if weight > self.limit {
            refused.too_large += 1;
            Err(TryAcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(self.limit) })
        } else if !self.line.is_empty() || self.in_use() + weight > self.limit {
            self.totals.refused.no_permits += 1;
            Err(TryAcquireError::NoPermits { gate: NAME })
        } else {
            self.held += weight;
            self.totals.admitted += 1;
            Ok(())
        }
    }

    pub(super) fn arrive(
        &mut self,
        id: usize,
        weight: u32,
        now: u64,
        deadline: Option<u64>,
        max_wait: Option<u64>,
    ) -> Answer {
        match self.try_take(weight) {
            Ok(()) => return Answer::Admitted,
            Err(TryAcquireError::ZeroWeight { gate }) => {
                return Answer::Refused(AcquireError::ZeroWeight { gate });
            }
            Err(TryAcquireError::Closed { gate }) => return Answer::Refused(AcquireError::Closed { gate }),
            Err(TryAcquireError::TooLarge { gate, weight, limit }) => {
                return Answer::Refused(AcquireError::TooLarge { gate, weight, limit });
            }
            Err(_) => self.totals.refused.no_permits -= 1,
        }
        if self.line.len() >= self.bound {
            self.totals.refused.queue_full += 1;
            return Answer::Refused(AcquireError::QueueFull { gate: NAME, bound: self.bound });
        }
        let waits = [max_wait, self.max_wait].map(|wait| wait.map(|wait| now + wait));
        let deadline = [deadline, waits[0], waits[1]].into_iter().flatten().min();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.totals.refused.expired += 1;
            return Answer::Refused(AcquireError::DeadlineExceeded { gate: NAME, waited: Duration::ZERO });
        }
        self.totals.line.joined += 1;
        self.line.push_back(Waiter { id, weight, since: now, deadline });
        Answer::Waits
    }

    pub(super) fn poll(&mut self, id: usize, now: u64) -> Answer {
        if let Some((waiter, decision)) = self.decided.remove(&id) {
            if let Err(error) = decision {
                return Answer::Refused(error);
            }
            self.held += waiter.weight;
            return Answer::Admitted;
        }
        let at = self.position(id).expect("undecided and in line");
        if self.line[at].deadline.is_none_or(|deadline| deadline > now) {
            return Answer::Waits;
        }
        let waiter = self.line.remove(at).unwrap();
        self.totals.line.expired += 1;
        self.settle();
        Answer::Refused(AcquireError::DeadlineExceeded {
            gate: NAME,
            waited: Duration::from_millis(now - waiter.since),
        })
    }

    pub(super) fn cancel(&mut self, id: usize) {
        if let Some(at) = self.position(id) {
            self.line.remove(at);
            self.totals.line.cancelled += 1;
        } else if let Some((_, Ok(()))) = self.decided.remove(&id) {
            self.totals.line.unclaimed += 1;
        }
        self.settle();
    }

    pub(super) fn release(&mut self, weight: u32) {
        self.held -= weight;
        self.settle();
    }

    pub(super) fn resize(&mut self, limit: u32) {
        self.limit = limit;
        for waiter in std::mem::take(&mut self.line) {
            let weight = waiter.weight;
            if weight <= limit {
                self.line.push_back(waiter);
            } else {
                self.totals.line.too_large += 1;
                self.decide(
                    waiter,
                    Err(AcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(limit) }),
                );
            }
        }
        self.settle();
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        for waiter in std::mem::take(&mut self.line) {
            self.totals.line.closed += 1;
            self.decide(waiter, Err(AcquireError::Closed { gate: NAME }));
        }
        self.settle();
    }

    /// Whether whoever waits for the gate to be drained is done at once.
    pub(super) fn drain(&mut self) -> bool {
        let done = self.in_use() == 0 && self.line.is_empty();
        self.drain = if done { Drain::Nobody } else { Drain::Waits };
        done
    }

    pub(super) fn poll_drain(&mut self) -> bool {
        let done = self.drain == Drain::Done;
        if done {
            self.drain = Drain::Nobody;
        }
        done
    }

    pub(super) fn cancel_drain(&mut self) {
        self.drain = Drain::Nobody;
    }

    /// Held and granted.
    pub(super) fn in_use(&self) -> u32 {
        let granted = self.decided.values().filter(|(_, decision)| decision.is_ok());
        self.held + granted.map(|(waiter, _)| waiter.weight).sum::<u32>()
    }

    pub(super) fn debt(&self) -> u32 {
        self.in_use().saturating_sub(self.limit)
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    pub(super) fn is_in_line(&self, id: usize) -> bool {
        self.position(id).is_some()
    }

    /// The deadline of a request that waits or is granted and not polled yet.
    pub(super) fn deadline_of(&self, id: usize) -> Option<u64> {
        let granted = self.decided.get(&id).map(|(waiter, _)| waiter);
        granted.or_else(|| self.line.get(self.position(id)?))?.deadline
    }

    pub(super) fn take_woken(&mut self) -> std::vec::IntoIter<Option<usize>> {
        std::mem::take(&mut self.woken).into_iter()
    }

    /// Every number of a status, and the laws that need no oracle.
    pub(super) fn check(&self, status: &GateStatus) {
        assert_eq!((status.name, status.limit.get(), status.closed), (NAME, self.limit, self.closed));
        assert_eq!((status.in_use, status.waiting), (self.in_use(), self.waiting()));
        assert_eq!(status.totals, self.totals);
        assert_eq!(status.in_use + status.available, self.limit + status.debt, "the books");
        assert!(status.available == 0 || status.debt == 0, "the books");
        let line = status.totals.line;
        let left = line.admitted + line.cancelled + line.expired + line.too_large + line.closed;
        assert_eq!(line.joined, left + status.waiting as u64, "all who joined the line are accounted for");
        assert_eq!(status.waits.count(), self.waits.len() as u64);
        assert_eq!(status.waits.max(), self.waits.iter().max().map(|ms| Duration::from_millis(*ms)));
        let mean = (self.waits.iter().sum::<u64>() * 1_000_000).checked_div(self.waits.len() as u64);
        assert_eq!(status.waits.mean(), mean.map(Duration::from_nanos));
        let head = self.line.front();
        assert!(
            head.is_none_or(|head| head.weight > status.available && !status.closed),
            "a head that fits waits"
        );
    }

    fn position(&self, id: usize) -> Option<usize> {
        self.line.iter().position(|waiter| waiter.id == id)
    }

    fn decide(&mut self, waiter: Waiter, decision: Result<(), AcquireError>) {
        self.woken.push(Some(waiter.id));
        self.decided.insert(waiter.id, (waiter, decision));
    }

    fn settle(&mut self) {
        while self.line.front().is_some_and(|head| self.in_use() + head.weight <= self.limit) {
            let head = self.line.pop_front().unwrap();
            self.totals.admitted += 1;
            self.totals.line.admitted += 1;
            self.waits.push(self.now - head.since);
            self.decide(head, Ok(()));
        }
        if self.drain == Drain::Waits && self.in_use() == 0 && self.line.is_empty() {
            self.drain = Drain::Done;
            self.woken.push(None);
        }
    }
}
