//! The steps, one function for each kind. Each returns `false` if it has nothing to act on.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::Gate;

use super::coverage::Event;
use super::driver::{HandleId, HeldPermit, MAX_PERMITS, Slot, TreeDriver};
use super::oracle::{Arrival, Outcome, PRIORITIES, SLOTS, Terms, World};

impl TreeDriver<'_, '_> {
    fn pick(&mut self, end: usize) -> usize {
        self.decisions.below(end as u32) as usize
    }

    fn decide_arrival(&mut self) -> (Arrival, Option<Gate>, HandleId) {
        let place = self.pick(self.shape.places.len());
        let choice = self.decisions.below(64);
        let waits_for_limit = choice / 4 == 11;
        let weight = match (choice % 16, self.mix.has_weights) {
            _ if choice == 0 => 0,
            _ if waits_for_limit => 1 + self.decisions.below(9),
            (1..=5, true) => 2,
            (6..=7, true) => 3,
            (8, true) => 1 + self.decisions.below(7),
            _ => 1,
        };
        let priority = if self.mix.has_priorities { self.pick(PRIORITIES.len()) } else { 2 };
        // The deadlines are so few instants that requests in different queues often have the same one.
        let deadline = match choice {
            40 | 41 => Some(self.time),
            _ if self.mix.has_deadlines && choice % 2 == 0 => {
                Some(self.time + 1 + u64::from(self.decisions.below(3)))
            }
            _ => None,
        };
        let terms = Terms { weight, priority, waits_for_limit, deadline, is_strict: choice == 41 };
        let (own, handle_is_closed) = match choice {
            50..=63 => (Some(self.shape.handle(place, &self.gates)), choice == 50),
            _ => (None, false),
        };
        let is_key = self.shape.places[place].key.is_some();
        let handle =
            if own.is_some() && is_key { HandleId::Own(self.coverage.steps) } else { HandleId::Kept };
        (Arrival { place, terms, handle_is_closed: handle_is_closed && is_key }, own, handle)
    }

    /// Makes a request that may wait, and mostly polls it.
    pub(super) fn acquire(&mut self) -> bool {
        let Some(free) = self.slots.iter().position(Option::is_none) else { return false };
        let (arrival, own, handle) = self.decide_arrival();
        let Arrival { place, terms, handle_is_closed } = arrival;
        let gate = own.as_ref().unwrap_or(&self.handles[place]);
        if handle_is_closed {
            gate.close();
            self.step(|world, log, out| world.close(place, log, out));
            self.explain(|_| format!("{place}: a handle of the key is closed"));
        }
        let gate = own.as_ref().unwrap_or(&self.handles[place]);
        let mut request = gate.request().weight(terms.weight).priority(PRIORITIES[terms.priority]);
        if terms.waits_for_limit {
            request = request.wait_for_limit();
        }
        if let Some(deadline) = terms.deadline {
            request = request.deadline(self.start + Duration::from_millis(deadline));
        }
        if terms.is_strict {
            request = request.strict_deadline();
        }
        let future = Box::pin(request.acquire_owned());
        let latest_waker = self.decisions.below(2) as usize;
        self.slots[free] = Some(Slot { future, arrival, handle, is_polled: false, latest_waker });
        self.explain(|_| format!("request {free}: {arrival:?}"));
        if self.decisions.below(8) > 0 && self.permits.len() < MAX_PERMITS {
            self.poll(free);
        }
        true
    }

    pub(super) fn try_acquire(&mut self) -> bool {
        if self.permits.len() >= MAX_PERMITS {
            return false;
        }
        let (mut arrival, own, handle) = self.decide_arrival();
        let Arrival { place, ref mut terms, ref mut handle_is_closed } = arrival;
        (*handle_is_closed, terms.waits_for_limit, terms.deadline) = (false, false, None);
        let gate = own.as_ref().unwrap_or(&self.handles[place]);
        let request = gate.request().weight(terms.weight).priority(PRIORITIES[terms.priority]);
        let result = request.try_acquire_owned();
        self.explain(|_| format!("try: {arrival:?} -> {result:?}"));
        let actual = result.as_ref().map(drop).map_err(Clone::clone);
        self.worlds.decide(&mut self.coverage, &actual, |world| world.try_acquire(arrival));
        self.permits.extend(result.ok().map(|permit| HeldPermit { permit, place, handle }));
        self.step(World::rest);
        true
    }

    /// Polls a request: mostly one that has ended, as an executor does.
    pub(super) fn poll_some(&mut self) -> bool {
        let world = self.worlds.any();
        let has_ended = |slot: &usize| {
            self.slots[*slot].as_ref().is_some_and(|slot| slot.is_polled)
                && *world.outcome(*slot) != Outcome::Waiting
        };
        let ended: Vec<usize> = (0..SLOTS).filter(has_ended).collect();
        let any: Vec<usize> = (0..SLOTS).filter(|slot| self.slots[*slot].is_some()).collect();
        let candidates = if ended.is_empty() || self.decisions.below(4) == 0 { any } else { ended };
        if candidates.is_empty() || self.permits.len() >= MAX_PERMITS {
            return false;
        }
        let slot = candidates[self.pick(candidates.len())];
        if self.decisions.below(4) == 0 {
            let polled = self.slots[slot].as_mut().unwrap();
            polled.latest_waker ^= 1;
        }
        self.poll(slot);
        true
    }

    fn poll(&mut self, slot: usize) {
        let request = self.slots[slot].as_mut().unwrap();
        let (arrival, was_polled) = (request.arrival, request.is_polled);
        request.is_polled = true;
        let waker = self.wakers[slot][request.latest_waker].as_waker();
        let polled = request.future.as_mut().poll(&mut Context::from_waker(waker));
        if was_polled {
            self.step(World::rest);
        } else {
            self.step(|world, log, out| world.arrive(slot, arrival, log, out));
        }
        self.explain(|_| format!("poll of {slot}: {polled:?}"));
        self.worlds.observe("the result of a poll", |world| {
            let expected = world.outcome(slot);
            let is_equal = match (&polled, expected) {
                (Poll::Pending, Outcome::Waiting) => true,
                (Poll::Ready(Ok(permit)), Outcome::Admitted) => permit.weight() == arrival.terms.weight,
                (Poll::Ready(Err(actual)), Outcome::Rejected(expected)) => actual == expected,
                _ => false,
            };
            if is_equal {
                Ok(())
            } else {
                Err(format!("request {slot}: expected {expected:?}, got {polled:?}"))
            }
        });
        let Poll::Ready(result) = polled else { return };
        let place = arrival.place;
        self.worlds.change(&mut self.coverage, |world| world.claim(slot, place, was_polled));
        let handle = self.slots[slot].take().map_or(HandleId::Kept, |slot| slot.handle);
        self.permits.extend(result.ok().map(|permit| HeldPermit { permit, place, handle }));
    }

    pub(super) fn cancel_some(&mut self) -> bool {
        let any: Vec<usize> = (0..SLOTS).filter(|slot| self.slots[*slot].is_some()).collect();
        if any.is_empty() {
            return false;
        }
        let slot = any[self.pick(any.len())];
        self.cancel(slot);
        true
    }

    pub(super) fn cancel(&mut self, slot: usize) {
        let Some(Slot { future, arrival, .. }) = self.slots[slot].take() else { return };
        drop(future);
        self.explain(|_| format!("cancelled: {slot}"));
        let (place, weight) = (arrival.place, arrival.terms.weight);
        self.step(|world, log, out| world.cancel(slot, place, weight, log, out));
    }

    /// Advances the clock, mostly to the exact deadline of a request that waits.
    pub(super) fn advance_time(&mut self) -> bool {
        if !self.mix.has_deadlines {
            return false;
        }
        let next = self.worlds.any().next_deadline().filter(|_| self.decisions.below(4) > 0);
        let time = next.unwrap_or(self.time + 1);
        self.clock.block_on(tokio::time::advance(Duration::from_millis(time - self.time)));
        self.time = time;
        self.explain(|_| format!("time: {time} ms"));
        self.step(|world, log, out| world.advance_time(time, log, out));
        true
    }

    pub(super) fn release(&mut self) -> bool {
        if self.permits.is_empty() {
            return false;
        }
        let at = self.pick(self.permits.len());
        let HeldPermit { permit, place, handle } = self.permits.swap_remove(at);
        let weight = permit.weight();
        drop(permit);
        self.explain(|_| format!("released: {weight} of place {place}"));
        self.coverage.record_if(handle != HandleId::Kept, Event::KeyHandleDropped);
        self.step(
            |world, log, out| {
                if weight > 0 { world.release(place, weight, log, out) } else { world.rest(log, out) }
            },
        );
        true
    }

    pub(super) fn resize(&mut self) -> bool {
        let gate = self.pick(self.gates.len());
        let node = self.shape.gates[gate].node;
        let (from, in_use) = (self.worlds.any().limit(node), self.worlds.any().in_use(node));
        let to = match self.decisions.below(8) {
            0 => from,
            1 => (in_use / 2).max(1),
            2 => in_use.max(1),
            3 => in_use + 1,
            _ => 1 + self.decisions.below(8),
        };
        let change = self.gates[gate].resize(Limit::new(to));
        self.explain(|_| format!("limit of gate {gate}: {from} -> {to}"));
        assert_eq!((change.from.get(), change.to.get(), change.debt), (from, to, in_use.saturating_sub(to)));
        self.step(|world, log, out| world.resize(gate, to, log, out));
        true
    }

    pub(super) fn pause_or_resume(&mut self) -> bool {
        let gate = self.pick(self.gates.len());
        let pauses = self.decisions.below(3) == 0;
        self.explain(|_| format!("gate {gate}: {}", if pauses { "paused" } else { "resumed" }));
        if pauses {
            self.gates[gate].pause();
            self.step(|world, log, out| world.pause(gate, log, out));
        } else {
            self.gates[gate].resume();
            self.step(|world, log, out| world.resume(gate, log, out));
        }
        true
    }

    pub(super) fn set_queue_bound(&mut self) -> bool {
        let gate = self.pick(self.gates.len());
        let bound = [u32::MAX, 8, 6, 4, 3, 2, 1, 0][self.pick(8)];
        self.gates[gate].set_queue(if bound == u32::MAX { usize::MAX } else { bound as usize });
        self.explain(|_| format!("bound of gate {gate}: {bound}"));
        self.worlds.change(&mut self.coverage, |world| world.set_queue_bound(gate, bound));
        true
    }

    /// Closes a gate or a key, gates mostly towards the end of the bytes: a closed gate reaches few states.
    pub(super) fn close(&mut self) -> bool {
        let place = self.pick(self.handles.len());
        let choice = self.decisions.below(4);
        if self.shape.places[place].key.is_some() {
            self.shape.handle(place, &self.gates).close();
            self.explain(|_| format!("a handle of place {place} is closed"));
            self.step(|world, log, out| world.close(place, log, out));
            return true;
        }
        if !self.decisions.is_almost_empty() && (choice > 0 || self.shape.places[place].gate == 0) {
            return false;
        }
        let gate = self.shape.places[place].gate;
        if choice % 2 == 0 {
            self.gates[gate].close();
            self.explain(|_| format!("gate {gate} is closed"));
            self.step(|world, log, out| world.close(place, log, out));
        } else {
            self.gates[gate].close_after_queue();
            self.explain(|_| format!("gate {gate} is closed for arrivals"));
            self.worlds.change(&mut self.coverage, |world| world.close_arrivals(gate));
        }
        true
    }

    /// Splits a permit, merges two, or forgets one.
    pub(super) fn change_permits(&mut self) -> bool {
        if self.permits.is_empty() {
            return false;
        }
        let at = self.pick(self.permits.len());
        match self.decisions.below(16) {
            0 => {
                let HeldPermit { permit, place, .. } = self.permits.swap_remove(at);
                self.forgotten[place] += permit.weight();
                permit.forget();
                self.explain(|_| format!("forgotten: a permit of place {place}"));
                self.coverage.record(Event::Forgotten);
            }
            1..=7 if self.permits.len() < MAX_PERMITS => {
                let weight = self.decisions.below(4);
                let HeldPermit { permit, place, handle } = &mut self.permits[at];
                let before = permit.weight();
                let part = permit.split(weight);
                assert_eq!(part.is_some(), weight <= before);
                self.coverage.record_if(part.is_some() && weight > 0, Event::Split);
                let (place, handle) = (*place, *handle);
                self.permits.extend(part.map(|permit| HeldPermit { permit, place, handle }));
            }
            _ => {
                let HeldPermit { permit, place, handle } = self.permits.swap_remove(at);
                // With a permit of the same gate if there is one, else with a permit of another gate.
                let same = self.permits.iter().position(|other| other.place == place);
                let Some(other) = self.permits.get_mut(same.unwrap_or(0)) else {
                    self.permits.push(HeldPermit { permit, place, handle });
                    return true;
                };
                let is_across_handles = other.handle != handle;
                let merged = other.permit.merge(permit);
                assert_eq!(
                    merged.is_ok(),
                    same.is_some(),
                    "permits of one gate merge, whatever their handles"
                );
                let event = if merged.is_ok() { Event::Merged } else { Event::MergedElsewhere };
                self.coverage.record(event);
                self.coverage.record_if(merged.is_ok() && is_across_handles, Event::MergedAcrossHandles);
                self.permits.extend(merged.err().map(|permit| HeldPermit { permit, place, handle }));
            }
        }
        true
    }

    /// Polls a new `drained` future once, and drops it.
    pub(super) fn poll_drained(&mut self) -> bool {
        let place = self.pick(self.handles.len());
        let is_ready = Box::pin(self.handles[place].drained())
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        let (node, world) = (self.shape.places[place].node, self.worlds.any());
        assert_eq!(is_ready, world.in_use(node) == 0 && world.waiting(node) == 0, "drained");
        self.coverage.record(if is_ready { Event::DrainedNow } else { Event::DrainedLater });
        true
    }

    /// Drops the last handle of an idle child, and creates it again.
    pub(super) fn recreate(&mut self) -> bool {
        let gate = self.pick(self.gates.len());
        let is_in_use = |place: usize| self.shape.places[place].gate == gate;
        let is_held = self.permits.iter().any(|held| is_in_use(held.place))
            || self.slots.iter().flatten().any(|slot| is_in_use(slot.arrival.place));
        if gate == 0
            || is_held
            || !self.shape.has_no_child_gates(gate)
            || !self.worlds.any().is_gate_idle(gate)
        {
            return false;
        }
        let limit = 1 + self.decisions.below(6);
        let (first, rest) = self.gates.split_at_mut(gate);
        // The root stands in for the handles meanwhile: the gate is gone before it is created again.
        rest[0] = first[0].clone();
        let places: Vec<usize> = (0..self.handles.len()).filter(|place| is_in_use(*place)).collect();
        for place in &places {
            self.handles[*place] = self.gates[0].clone();
        }
        self.gates[gate] = self.shape.create_gate(gate, limit, &self.gates);
        for place in places {
            self.handles[place] = self.shape.handle(place, &self.gates);
        }
        self.explain(|_| format!("gate {gate} is created again, with limit {limit}"));
        self.worlds.change(&mut self.coverage, |world| world.recreate(gate, limit));
        true
    }
}
