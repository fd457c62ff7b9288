//! The rules of admission as a pure state machine.
//!
//! No lock, no clock and no waking: time and wakers come in as arguments, and wakers to wake or drop go out as
//! [`Calls`]. Nothing here calls code of the user's, and nothing here panics, so a step is all or nothing.
//!
//! The books: `out + available == limit + debt`, where `out` counts permits held and permits granted to a request that
//! has not been resumed yet; one of `available` and `debt` is 0. At rest the head of the line does not fit.

use std::mem;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Arrival, Barred, Polled, Refusal, TryRefusal, Turn};
use super::queue::{Queue, Ticket};
use super::wake::Calls;
use super::{GateStatus, Histogram, Resize, Totals};
use crate::plan::{GateName, Limit};

/// All that a gate knows.
#[derive(Debug)]
pub(super) struct State {
    limit: Limit,
    /// Never above `Limit::MAX`: permits go out only up to the limit of the moment.
    out: u32,
    closed: bool,
    bound: usize,
    line: Queue<Waiter>,
    /// Those who wait for the gate to be drained; `None` once it was.
    drains: Queue<Option<Waker>>,
    totals: Totals,
    waits: Histogram,
}

impl State {
    pub(super) fn new(limit: Limit, bound: usize) -> Self {
        Self {
            limit,
            out: 0,
            closed: false,
            bound,
            line: Queue::new(),
            drains: Queue::new(),
            totals: Totals::default(),
            waits: Histogram::default(),
        }
    }

    /// Admits now or not at all.
    pub(super) fn try_take(&mut self, weight: u32) -> Result<(), TryRefusal> {
        self.check(weight).map_err(TryRefusal::Barred)?;
        if self.take_unless_others_wait(weight) {
            return Ok(());
        }
        count(&mut self.totals.refused.no_permits);
        Err(TryRefusal::NoPermits)
    }

    /// Admits or refuses at the door a request that is willing to wait.
    pub(super) fn arrive(&mut self, weight: u32) -> Arrival {
        if let Err(barred) = self.check(weight) {
            return Arrival::Refused(Refusal::Barred(barred));
        }
        if self.take_unless_others_wait(weight) {
            return Arrival::Admitted;
        }
        if self.line.len() >= self.bound {
            count(&mut self.totals.refused.queue_full);
            return Arrival::Refused(Refusal::QueueFull { bound: self.bound });
        }
        Arrival::MustWait
    }

    /// Refuses a request that would have to wait and whose deadline has passed already.
    pub(super) fn refuse_late(&mut self) -> Refusal {
        count(&mut self.totals.refused.expired);
        Refusal::Expired { waited: Duration::ZERO }
    }

    /// Puts a request at the end of the line, unless it need not or may not wait any more.
    pub(super) fn join(&mut self, weight: u32, waker: Waker, now: Instant) -> (Turn, Calls) {
        let mut calls = Calls::default();
        let turn = match self.arrive(weight) {
            Arrival::MustWait => {
                count(&mut self.totals.line.joined);
                let waiter = Waiter { weight, since: now, phase: Phase::Waiting(waker) };
                return (Turn::Waiting(self.line.push(waiter)), calls);
            }
            Arrival::Admitted => Turn::Admitted,
            Arrival::Refused(refusal) => Turn::Refused(refusal),
        };
        calls.discard(waker);
        (turn, calls)
    }

    /// How a request in line stands, asked with the waker it would be woken by.
    pub(super) fn poll(&mut self, ticket: Ticket, waker: &Waker, now: Instant) -> Polled {
        match &self.line.get_mut(&ticket).phase {
            Phase::Waiting(known) if known.will_wake(waker) => Polled::Turn(Turn::Waiting(ticket)),
            Phase::Waiting(_) => Polled::Stale(ticket),
            Phase::Granted | Phase::Barred(_) => Polled::Turn(self.conclude(ticket, now)),
        }
    }

    /// As [`poll`](Self::poll), and wakes the request by `waker` from now on.
    pub(super) fn rewake(&mut self, ticket: Ticket, waker: Waker, now: Instant) -> (Turn, Calls) {
        let mut calls = Calls::default();
        if let Phase::Waiting(known) = &mut self.line.get_mut(&ticket).phase {
            calls.discard(mem::replace(known, waker));
            return (Turn::Waiting(ticket), calls);
        }
        calls.discard(waker);
        (self.conclude(ticket, now), calls)
    }

    /// Takes a request out of line at its deadline, unless its turn came first.
    pub(super) fn expire(&mut self, ticket: Ticket, now: Instant) -> (Turn, Calls) {
        let mut calls = Calls::default();
        if !matches!(self.line.get_mut(&ticket).phase, Phase::Waiting(_)) {
            return (self.conclude(ticket, now), calls);
        }
        let Waiter { since, phase, .. } = self.line.remove(ticket);
        if let Phase::Waiting(waker) = phase {
            calls.discard(waker);
        }
        count(&mut self.totals.line.expired);
        self.settle(&mut calls);
        (Turn::Refused(Refusal::Expired { waited: now.saturating_duration_since(since) }), calls)
    }

    /// Takes a request that was given up out of line; what it had been granted goes on to the next.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Calls {
        let mut calls = Calls::default();
        let Waiter { weight, phase, .. } = self.line.remove(ticket);
        match phase {
            Phase::Waiting(waker) => {
                calls.discard(waker);
                count(&mut self.totals.line.cancelled);
            }
            Phase::Granted => {
                self.out = self.out.saturating_sub(weight);
                count(&mut self.totals.line.unclaimed);
            }
            Phase::Barred(_) => {}
        }
        self.settle(&mut calls);
        calls
    }

    /// Takes permits back: they pay the debt first, then admit the head of the line.
    pub(super) fn release(&mut self, weight: u32) -> Calls {
        let mut calls = Calls::default();
        self.out = self.out.saturating_sub(weight);
        self.settle(&mut calls);
        calls
    }

    /// Puts another limit in force. Requests in line that it has made impossible end at once.
    pub(super) fn resize(&mut self, limit: Limit) -> (Resize, Calls) {
        let mut calls = Calls::default();
        let from = mem::replace(&mut self.limit, limit);
        if limit < from {
            let ended = &mut self.totals.line.too_large;
            self.line.unlink_where(|waiter| {
                let weight = waiter.weight;
                let impossible = weight > limit.get();
                if impossible {
                    waiter.bar(Barred::TooLarge { weight, limit }, &mut calls);
                    count(ended);
                }
                impossible
            });
        }
        self.settle(&mut calls);
        (Resize { from, to: limit, debt: self.debt() }, calls)
    }

    /// Admits nothing from now on, and ends all that wait.
    pub(super) fn close(&mut self) -> Calls {
        let mut calls = Calls::default();
        self.closed = true;
        while let Some(waiter) = self.line.pop() {
            waiter.bar(Barred::Closed, &mut calls);
            count(&mut self.totals.line.closed);
        }
        self.settle(&mut calls);
        calls
    }

    /// Waits for a moment at which the gate is drained: gives a ticket to come back with, or `None` if it is, or has
    /// been since the ticket was given.
    pub(super) fn drain(&mut self, ticket: Option<Ticket>, waker: Waker) -> (Option<Ticket>, Calls) {
        let mut calls = Calls::default();
        let Some(ticket) = ticket else {
            if self.is_drained() {
                calls.discard(waker);
                return (None, calls);
            }
            return (Some(self.drains.push(Some(waker))), calls);
        };
        if let Some(known) = self.drains.get_mut(&ticket) {
            calls.discard(mem::replace(known, waker));
            return (Some(ticket), calls);
        }
        self.drains.remove(ticket);
        calls.discard(waker);
        (None, calls)
    }

    /// Stops waiting for the gate to be drained.
    pub(super) fn cancel_drain(&mut self, ticket: Ticket) -> Calls {
        let mut calls = Calls::default();
        if let Some(waker) = self.drains.remove(ticket) {
            calls.discard(waker);
        }
        calls
    }

    pub(super) const fn limit(&self) -> Limit {
        self.limit
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn status(&self, name: GateName) -> GateStatus {
        GateStatus {
            name,
            limit: self.limit,
            in_use: self.out,
            available: self.available(),
            debt: self.debt(),
            waiting: self.line.len(),
            closed: self.closed,
            totals: self.totals,
            waits: self.waits.clone(),
        }
    }

    const fn available(&self) -> u32 {
        self.limit.get().saturating_sub(self.out)
    }

    const fn debt(&self) -> u32 {
        self.out.saturating_sub(self.limit.get())
    }

    const fn is_drained(&self) -> bool {
        self.out == 0 && self.line.is_empty()
    }

    /// Refuses what cannot be admitted however long it waits, before anything is changed but the count of it.
    fn check(&mut self, weight: u32) -> Result<(), Barred> {
        let refused = &mut self.totals.refused;
        let (counter, barred) = if weight == 0 {
            (&mut refused.zero_weight, Barred::ZeroWeight)
        } else if self.closed {
            (&mut refused.closed, Barred::Closed)
        } else if weight > self.limit.get() {
            (&mut refused.too_large, Barred::TooLarge { weight, limit: self.limit })
        } else {
            return Ok(());
        };
        count(counter);
        Err(barred)
    }

    /// Whoever comes while somebody waits comes behind them, even if there is room for it and not for them.
    fn take_unless_others_wait(&mut self, weight: u32) -> bool {
        let takes = self.line.is_empty() && weight <= self.available();
        if takes {
            self.take(weight);
        }
        takes
    }

    fn take(&mut self, weight: u32) {
        self.out = self.out.saturating_add(weight);
        count(&mut self.totals.admitted);
    }

    /// Hands a request that is no longer in line what was decided for it.
    fn conclude(&mut self, ticket: Ticket, now: Instant) -> Turn {
        let waiter = self.line.remove(ticket);
        match waiter.phase {
            Phase::Barred(barred) => Turn::Refused(Refusal::Barred(barred)),
            Phase::Granted | Phase::Waiting(_) => {
                self.waits.record(now.saturating_duration_since(waiter.since));
                Turn::Admitted
            }
        }
    }

    /// The weight of the head of the line, if there is room for it.
    fn weight_that_fits(&self) -> Option<u32> {
        self.line.front().map(|head| head.weight).filter(|weight| *weight <= self.available())
    }

    /// Grants the head of the line for as long as it fits; then, if the gate is drained, says so to those who wait for
    /// that. Whatever gives permits back, raises the limit or takes somebody out of line ends here.
    fn settle(&mut self, calls: &mut Calls) {
        while let Some(weight) = self.weight_that_fits() {
            self.take(weight);
            count(&mut self.totals.line.admitted);
            if let Some(head) = self.line.pop() {
                head.decide(Phase::Granted, calls);
            }
        }
        if self.is_drained() {
            while let Some(waker) = self.drains.pop() {
                if let Some(waker) = waker.take() {
                    calls.wake(waker);
                }
            }
        }
    }
}

/// A request that had to wait.
#[derive(Debug)]
struct Waiter {
    weight: u32,
    since: Instant,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// In line, to be woken when something is decided.
    Waiting(Waker),
    /// Its permits are out in its name.
    Granted,
    /// It waits no more, and in vain.
    Barred(Barred),
}

impl Waiter {
    fn bar(&mut self, barred: Barred, calls: &mut Calls) {
        self.decide(Phase::Barred(barred), calls);
    }

    fn decide(&mut self, phase: Phase, calls: &mut Calls) {
        if let Phase::Waiting(waker) = mem::replace(&mut self.phase, phase) {
            calls.wake(waker);
        }
    }
}

fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
