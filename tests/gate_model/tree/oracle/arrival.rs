//! The arrival of a request: whether it is admitted, rejected or waits.

use concurrency_governor::gate::{AcquireError, GateTotals, RetryAfter, TryAcquireError};
use concurrency_governor::{GateName, Limit};

use super::super::coverage::Event;
use super::super::shape::NodeKind;
use super::{Cause, Outcome, WaitingRequest, World};

/// A request that arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) place: usize,
    pub(crate) terms: Terms,
    /// Whether the handle is one of a key, and was closed.
    pub(crate) handle_is_closed: bool,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) weight: u32,
    /// By its index; the highest is the most important.
    pub(crate) priority: usize,
    pub(crate) waits_for_limit: bool,
    /// In milliseconds of the run.
    pub(crate) deadline: Option<u64>,
    /// Whether the request is rejected on arrival if its deadline has passed, even if it fits.
    pub(crate) is_strict: bool,
}

/// Why a request is rejected on arrival, and by which gate.
#[derive(Clone, Copy, Debug)]
enum Rejection {
    ZeroWeight(GateName),
    Closed(GateName),
    TooManyKeys(GateName, u32),
    TooLarge(GateName, u32, u32),
    NoPermits(GateName),
    Paused(GateName),
    QueueFull(GateName, u32),
    Late(GateName),
}

impl Rejection {
    fn count(self, totals: &mut GateTotals) {
        let rejected = &mut totals.rejected;
        *match self {
            Self::ZeroWeight(_) => &mut rejected.zero_weight,
            Self::Closed(_) => &mut rejected.closed,
            Self::TooManyKeys(..) => &mut rejected.too_many_keys,
            Self::TooLarge(..) => &mut rejected.too_large,
            Self::NoPermits(_) => &mut rejected.no_permits,
            Self::Paused(_) => &mut rejected.paused,
            Self::QueueFull(..) => &mut rejected.queue_full,
            Self::Late(_) => &mut rejected.expired,
        } += 1;
    }

    const fn event(self) -> Event {
        match self {
            Self::ZeroWeight(_) => Event::RejectedZeroWeight,
            Self::Closed(_) => Event::RejectedClosed,
            Self::TooManyKeys(..) => Event::RejectedTooManyKeys,
            Self::TooLarge(..) => Event::RejectedTooLarge,
            Self::NoPermits(_) => Event::RejectedTry,
            Self::Paused(_) => Event::RejectedPaused,
            Self::QueueFull(..) => Event::RejectedQueueFull,
            Self::Late(_) => Event::RejectedLate,
        }
    }

    fn of_acquire(self) -> AcquireError {
        match self {
            Self::ZeroWeight(gate) => AcquireError::ZeroWeight { gate },
            Self::Closed(gate) => AcquireError::Closed { gate },
            Self::TooManyKeys(gate, max) => AcquireError::TooManyKeys { gate, max },
            Self::TooLarge(gate, weight, limit) => too_large(gate, weight, limit),
            Self::QueueFull(gate, bound) => queue_full(gate, bound),
            Self::Late(gate) => AcquireError::DeadlineExceeded { gate, waited: std::time::Duration::ZERO },
            Self::NoPermits(_) | Self::Paused(_) => unreachable!("only a try is rejected for lack of room"),
        }
    }

    fn of_try(self) -> TryAcquireError {
        match self {
            Self::ZeroWeight(gate) => TryAcquireError::ZeroWeight { gate },
            Self::Closed(gate) => TryAcquireError::Closed { gate },
            Self::TooManyKeys(gate, max) => TryAcquireError::TooManyKeys { gate, max },
            Self::TooLarge(gate, weight, limit) => {
                TryAcquireError::TooLarge { gate, weight, limit: Limit::new(limit) }
            }
            Self::NoPermits(gate) => TryAcquireError::NoPermits { gate },
            Self::Paused(gate) => TryAcquireError::Paused { gate },
            Self::QueueFull(..) | Self::Late(_) => unreachable!("a try does not wait"),
        }
    }
}

pub(super) fn too_large(gate: GateName, weight: u32, limit: u32) -> AcquireError {
    AcquireError::TooLarge { gate, weight, limit: Limit::new(limit) }
}

fn queue_full(gate: GateName, bound: u32) -> AcquireError {
    AcquireError::QueueFull { gate, bound, retry_after: RetryAfter::UNKNOWN }
}

impl World<'_> {
    /// Returns the name of the gate that errors name for a node.
    pub(super) fn name(&self, node: usize) -> GateName {
        self.shape.gates[self.shape.nodes[node].gate].name
    }

    pub(super) fn totals(&mut self, node: usize) -> &mut GateTotals {
        &mut self.counts[self.shape.nodes[node].gate].totals
    }

    /// A request that does not wait.
    pub(crate) fn try_acquire(&mut self, arrival: Arrival) -> Result<(), TryAcquireError> {
        let Arrival { place, terms, .. } = arrival;
        let (node, leaf) = (self.shape.places[place].node, self.shape.places[place].leaf);
        let rejection = match self.obstacle(arrival, Limit::MAX.get()) {
            Some(rejection) => rejection,
            None if self.fits(arrival) => {
                self.admit_on_arrival(arrival);
                return Ok(());
            }
            None => {
                let paused = self.lowest(node, |id| self.nodes[id].is_paused);
                let full = self.lowest(node, |id| self.available(id) < terms.weight);
                let no_permits = Rejection::NoPermits(self.name(full.unwrap_or(node)));
                paused.map_or(no_permits, |paused| Rejection::Paused(self.name(paused)))
            }
        };
        rejection.count(self.totals(leaf));
        self.events.push(rejection.event());
        Err(rejection.of_try())
    }

    /// A request in this slot that may wait. If the queue is full, another one may have to leave it; `log` says which.
    pub(crate) fn arrive(mut self, slot: usize, arrival: Arrival, log: &[usize], out: &mut Vec<Self>) {
        let Arrival { place, terms, .. } = arrival;
        let (node, leaf) = (self.shape.places[place].node, self.shape.places[place].leaf);
        let bound = if terms.waits_for_limit { u32::MAX } else { Limit::MAX.get() };
        let is_late = terms.deadline.is_some_and(|deadline| deadline <= self.time);
        let late = Rejection::Late(self.name(node));
        let obstacle = self.obstacle(arrival, bound).or((is_late && terms.is_strict).then_some(late));
        if obstacle.is_none() && self.fits(arrival) {
            self.admit_on_arrival(arrival);
            self.outcomes[slot] = Outcome::Admitted;
            out.push(self);
            return;
        }
        let full = self.lowest(node, |id| self.nodes[id].waiting >= self.nodes[id].queue_bound as usize);
        let leaves = full.map(|full| self.leaves_to_push_out(full, leaf, terms.priority));
        let rejection = match (obstacle, full, &leaves) {
            (Some(obstacle), ..) => Some(obstacle),
            (None, Some(full), Some(leaves)) if leaves.is_empty() => {
                self.check_queue_full(leaf, full);
                Some(Rejection::QueueFull(self.name(full), self.nodes[full].queue_bound))
            }
            _ => is_late.then_some(late),
        };
        if let Some(rejection) = rejection {
            rejection.count(self.totals(leaf));
            self.events.push(rejection.event());
            self.outcomes[slot] = Outcome::Rejected(rejection.of_acquire());
            out.push(self);
            return;
        }
        let (Some(full), Some(leaves)) = (full, leaves) else {
            self.note_enqueued(arrival);
            let Terms { weight, priority, waits_for_limit, deadline, .. } = terms;
            let (number, since) = (0, self.time);
            let request =
                WaitingRequest { slot, place, priority, weight, waits_for_limit, deadline, since, number };
            self.enqueue(leaf, request);
            self.outcomes[slot] = Outcome::Waiting;
            return self.settle(Cause::Arrival, log, out);
        };
        for from in leaves {
            let mut world = self.clone();
            if world.push_out(from, full, node, log) {
                if from == leaf {
                    world.events.push(Event::PushedOutByPriority);
                }
                let mut settled = Vec::new();
                world.settle(Cause::PushOut, log, &mut settled);
                for world in settled {
                    world.arrive(slot, arrival, log, out);
                }
            }
        }
    }

    /// Returns why a request can never be admitted.
    fn obstacle(&self, arrival: Arrival, bound: u32) -> Option<Rejection> {
        let Arrival { place, terms: Terms { weight, waits_for_limit, .. }, handle_is_closed } = arrival;
        let place = &self.shape.places[place];
        let rules = &self.shape.gates[place.gate];
        if weight == 0 {
            return Some(Rejection::ZeroWeight(rules.name));
        }
        if handle_is_closed {
            return Some(Rejection::Closed(rules.name));
        }
        // Of several closed gates the highest is named: the others are closed with it.
        let path = &self.shape.nodes[place.node].path;
        if let Some(closed) = path.iter().rev().find(|id| self.nodes[**id].is_closed) {
            return Some(Rejection::Closed(self.name(*closed)));
        }
        if let (Some(keys), NodeKind::Key) = (rules.keys, self.shape.nodes[place.node].kind) {
            if self.is_node_idle(place.node) && self.busy_keys(place.gate) >= keys.max as usize {
                return Some(Rejection::TooManyKeys(rules.name, keys.max));
            }
        }
        let limit = |id: usize| if waits_for_limit { bound } else { self.nodes[id].limit };
        let exceeded = self.lowest(place.node, |id| weight > limit(id))?;
        Some(Rejection::TooLarge(self.name(exceeded), weight, limit(exceeded)))
    }

    /// Returns `true` if a request fits at every level, and goes before all that wait.
    fn fits(&self, arrival: Arrival) -> bool {
        let Arrival { place, terms: Terms { weight, priority, .. }, .. } = arrival;
        let leaf = self.shape.places[place].leaf;
        let state = &self.nodes[leaf];
        let is_before = |request: &WaitingRequest| {
            request.priority == priority
                || request.priority > priority && !state.awaiting.has(request.priority)
        };
        self.lowest(leaf, |id| self.available(id) < weight || self.nodes[id].chosen.is_some()).is_none()
            && !state.queue.iter().any(is_before)
    }

    fn admit_on_arrival(&mut self, arrival: Arrival) {
        let leaf = self.shape.places[arrival.place].leaf;
        let others_wait = self.nodes[0].waiting > 0;
        self.events.push(if others_wait { Event::AdmittedPastOthers } else { Event::AdmittedOnArrival });
        self.totals(leaf).admitted += 1;
        self.change_use(leaf, |in_use| in_use + arrival.terms.weight);
    }

    fn note_enqueued(&mut self, arrival: Arrival) {
        let leaf = self.shape.places[arrival.place].leaf;
        let weight = arrival.terms.weight;
        let holds = |holds: &dyn Fn(usize) -> bool| self.lowest(leaf, holds).is_some();
        let event = if holds(&|id| self.nodes[id].is_paused) {
            Event::EnqueuedPaused
        } else if holds(&|id| weight > self.nodes[id].limit) {
            Event::EnqueuedAboveLimit
        } else if holds(&|id| self.available(id) < weight) {
            Event::EnqueuedForRoom
        } else if holds(&|id| self.nodes[id].chosen.is_some()) {
            Event::EnqueuedBehindChosen
        } else {
            Event::EnqueuedBehindOther
        };
        let is_capped = self.is_capped_key(leaf, weight);
        self.events.push(event);
        self.events.extend(is_capped.then_some(Event::KeyCapped));
    }

    /// Returns the leaves of which any may lose a request, if the queue of the node `top` is full and a request of this priority arrives at
    /// the leaf `own`. Returns none if the request is rejected.
    fn leaves_to_push_out(&self, top: usize, own: usize, priority: usize) -> Vec<usize> {
        let length = |id: usize| self.nodes[id].queue.len();
        let leaves = (0..self.nodes.len()).filter(|id| self.shape.is_within(*id, top));
        let longest = leaves.clone().map(length).max().unwrap_or(0);
        if longest > length(own) {
            return leaves.filter(|id| length(*id) == longest).collect();
        }
        let has_lower = self.nodes[own].queue.iter().any(|request| request.priority < priority);
        if has_lower { vec![own] } else { Vec::new() }
    }

    /// Removes the newest request of the lowest priority from a leaf. Returns `false` if the gate removed another one.
    fn push_out(&mut self, leaf: usize, full: usize, arrived_at: usize, log: &[usize]) -> bool {
        let lowest =
            self.nodes[leaf].queue.iter().min_by_key(|request| (request.priority, u64::MAX - request.number));
        let request = *lowest.expect("the longest queue is not empty");
        if log.get(self.explained) != Some(&request.slot) {
            return false;
        }
        self.explained += 1;
        let error = queue_full(self.name(full), self.nodes[full].queue_bound);
        self.events.push(if full == arrived_at { Event::PushedOutByDirect } else { Event::PushedOut });
        self.remove(leaf, request);
        self.refresh(None);
        self.outcomes[request.slot] = Outcome::Rejected(error);
        self.totals(leaf).queue.pushed_out += 1;
        true
    }
}
