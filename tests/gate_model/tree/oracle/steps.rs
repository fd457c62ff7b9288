//! What each step but an arrival does to the tree.

use std::mem;
use std::time::Duration;

use concurrency_governor::gate::AcquireError;

use super::super::coverage::Event;
use super::super::shape::NodeKind;
use super::arrival::too_large;
use super::{Cause, GateCounts, Outcome, WaitingRequest, World};

impl World<'_> {
    /// A request that waited has been granted.
    pub(super) fn admit_waiting(&mut self, request: WaitingRequest) {
        self.outcomes[request.slot] = Outcome::Admitted;
        let counts = &mut self.counts[self.shape.places[request.place].gate];
        counts.totals.admitted += 1;
        counts.totals.queue.admitted += 1;
        counts.unclaimed += 1;
    }

    /// The future of the request in this slot has returned its outcome. `had_waited` says whether the request was ever in the queue.
    pub(crate) fn claim(&mut self, slot: usize, place: usize, had_waited: bool) {
        let outcome = mem::replace(&mut self.outcomes[slot], Outcome::Absent);
        if outcome == Outcome::Admitted && had_waited {
            self.counts[self.shape.places[place].gate].unclaimed -= 1;
        }
    }

    /// Nothing changes.
    pub(crate) fn rest(self, _: &[usize], out: &mut Vec<Self>) {
        out.push(self);
    }

    /// Permits of a place are released.
    pub(crate) fn release(mut self, place: usize, weight: u32, log: &[usize], out: &mut Vec<Self>) {
        self.return_permits(place, weight);
        self.settle(Cause::Release, log, out);
    }

    fn return_permits(&mut self, place: usize, weight: u32) {
        let leaf = self.shape.places[place].leaf;
        self.change_use(leaf, |in_use| in_use - weight);
        let is_idle_key = self.shape.nodes[leaf].kind == NodeKind::Key && self.is_node_idle(leaf);
        self.events.extend(is_idle_key.then_some(Event::KeyIdle));
    }

    /// The future of a request that waited is dropped.
    pub(crate) fn cancel(
        mut self,
        slot: usize,
        place: usize,
        weight: u32,
        log: &[usize],
        out: &mut Vec<Self>,
    ) {
        let leaf = self.shape.places[place].leaf;
        match mem::replace(&mut self.outcomes[slot], Outcome::Absent) {
            Outcome::Waiting => {
                let mut queue = self.nodes[leaf].queue.iter();
                let request = *queue.find(|request| request.slot == slot).expect("it waits");
                let was_chosen = self.is_chosen(leaf, request);
                self.events.push(if was_chosen { Event::CancelledChosen } else { Event::CancelledWaiting });
                let is_equal = |other: &WaitingRequest| other.deadline == request.deadline;
                let mut others = (0..self.nodes.len()).filter(|id| *id != leaf);
                let is_beside_equal =
                    request.deadline.is_some() && others.any(|id| self.nodes[id].queue.iter().any(is_equal));
                self.events.extend(is_beside_equal.then_some(Event::CancelledBesideEqual));
                self.remove(leaf, request);
                self.refresh(None);
                self.totals(leaf).queue.cancelled += 1;
            }
            Outcome::Admitted => {
                self.events.push(Event::CancelledGranted);
                let counts = &mut self.counts[self.shape.places[place].gate];
                counts.totals.queue.abandoned += 1;
                counts.unclaimed -= 1;
                self.return_permits(place, weight);
            }
            Outcome::Absent | Outcome::Rejected(_) => {}
        }
        self.settle(Cause::Cancel, log, out);
    }

    /// The limit of a gate is set.
    pub(crate) fn resize(mut self, gate: usize, limit: u32, log: &[usize], out: &mut Vec<Self>) {
        let node = self.shape.gates[gate].node;
        if self.nodes[node].limit != limit {
            self.counts[gate].resized += 1;
            self.nodes[node].limit = limit;
            let (keys, shape) = (self.shape.gates[gate].keys, self.shape);
            for key in shape.nodes[node].children.iter().filter(|id| shape.nodes[**id].kind == NodeKind::Key)
            {
                self.nodes[*key].limit = keys.map_or(limit, |keys| keys.cap(limit));
                self.events.extend(self.in_debt(*key).then_some(Event::DebtOfKey));
            }
            self.events.extend(self.in_debt(node).then_some(Event::DebtOfGate));
            self.reset_put_aside(node);
            let ended = self.end_waits(node, log, |world, leaf, request| {
                let path = &world.shape.nodes[leaf].path;
                let at = path.iter().copied().min_by_key(|id| world.nodes[*id].limit)?;
                let limit = world.nodes[at].limit;
                let is_too_large = request.weight > limit && !request.waits_for_limit;
                is_too_large.then(|| too_large(world.name(at), request.weight, limit))
            });
            if !ended {
                return;
            }
            self.refresh_subtree(node);
        }
        self.settle(Cause::Resize, log, out);
    }

    /// The time of the run advances. The waits whose deadline has passed end.
    pub(crate) fn advance_time(mut self, time: u64, log: &[usize], out: &mut Vec<Self>) {
        self.time = time;
        let is_due = |request: &WaitingRequest| request.deadline.is_some_and(|deadline| deadline <= time);
        let due: Vec<(usize, WaitingRequest)> = (0..self.nodes.len())
            .flat_map(|leaf| self.nodes[leaf].queue.iter().map(move |request| (leaf, *request)))
            .filter(|(_, request)| is_due(request))
            .collect();
        let is_any_chosen = due.iter().any(|(leaf, request)| self.is_chosen(*leaf, *request));
        self.events.extend(is_any_chosen.then_some(Event::ExpiredChosen));
        let is_in_one_leaf = due.iter().all(|(leaf, _)| *leaf == due[0].0);
        self.events.extend((!is_in_one_leaf).then_some(Event::ExpiredTogether));
        let ended = self.end_waits(0, log, |world, leaf, request| {
            let (gate, waited) = (world.name(leaf), Duration::from_millis(time - request.since));
            is_due(&request).then_some(AcquireError::DeadlineExceeded { gate, waited })
        });
        if !ended {
            return;
        }
        // The waits of one leaf end at one moment, and the order of the leaves is open.
        if is_in_one_leaf {
            self.refresh(None);
        } else {
            self.refresh_subtree(0);
        }
        self.settle(Cause::Expiry, log, out);
    }

    fn in_debt(&self, node: usize) -> bool {
        self.nodes[node].in_use > self.nodes[node].limit
    }

    /// A gate, or one handle of a key, is closed with the requests that wait there.
    pub(crate) fn close(mut self, place: usize, log: &[usize], out: &mut Vec<Self>) {
        let node = self.shape.places[place].node;
        if self.shape.nodes[node].kind == NodeKind::Gate {
            self.nodes[node].is_closed = true;
        }
        let name = self.name(node);
        if self.end_waits(node, log, |_, _, _| Some(AcquireError::Closed { gate: name })) {
            self.refresh_subtree(node);
            self.settle(Cause::Close, log, out);
        }
    }

    /// Ends the waits within a node for which `ending` returns an error. Their order is open. Returns `false` if the gate ended others.
    /// The caller refreshes the nodes.
    fn end_waits(
        &mut self,
        top: usize,
        log: &[usize],
        ending: impl Fn(&Self, usize, WaitingRequest) -> Option<AcquireError>,
    ) -> bool {
        let mut ended = Vec::new();
        for leaf in (0..self.nodes.len()).filter(|id| self.shape.is_within(*id, top)) {
            for request in self.nodes[leaf].queue.clone() {
                let Some(error) = ending(self, leaf, request) else { continue };
                self.remove(leaf, request);
                let is_key = self.shape.nodes[top].kind == NodeKind::Key;
                let totals = self.totals(leaf);
                match error {
                    AcquireError::Closed { .. } => totals.queue.closed += 1,
                    AcquireError::DeadlineExceeded { .. } => totals.queue.expired += 1,
                    _ => totals.queue.too_large += 1,
                }
                self.events.push(match error {
                    AcquireError::Closed { .. } if is_key => Event::EndedClosedKey,
                    AcquireError::Closed { .. } => Event::EndedClosed,
                    AcquireError::DeadlineExceeded { .. } => Event::Expired,
                    _ => Event::EndedTooLarge,
                });
                self.outcomes[request.slot] = Outcome::Rejected(error);
                ended.push(request.slot);
            }
        }
        let Some(woken) = log.get(self.explained..self.explained + ended.len()) else { return false };
        let mut woken = woken.to_vec();
        woken.sort_unstable();
        ended.sort_unstable();
        self.explained += ended.len();
        woken == ended
    }

    /// A gate rejects the requests that arrive from now on.
    pub(crate) fn close_arrivals(&mut self, gate: usize) {
        let node = self.shape.gates[gate].node;
        self.nodes[node].is_closed = true;
        self.events.extend((self.nodes[node].waiting > 0).then_some(Event::ClosedArrivals));
    }

    pub(crate) fn pause(mut self, gate: usize, log: &[usize], out: &mut Vec<Self>) {
        let node = self.shape.gates[gate].node;
        if !mem::replace(&mut self.nodes[node].is_paused, true) {
            self.events.extend((self.nodes[node].waiting > 0).then_some(Event::Paused));
            // A request from below for which room is kept further up must not keep others waiting.
            let shape = self.shape;
            for id in &shape.nodes[node].path {
                let kept = self.nodes[*id].chosen;
                self.nodes[*id].chosen = kept.filter(|chosen| !shape.is_within(chosen.leaf, node));
            }
            self.refresh(None);
        }
        self.settle(Cause::Pause, log, out);
    }

    pub(crate) fn resume(mut self, gate: usize, log: &[usize], out: &mut Vec<Self>) {
        let node = self.shape.gates[gate].node;
        if mem::replace(&mut self.nodes[node].is_paused, false) {
            self.reset_put_aside(node);
            self.refresh_subtree(node);
        }
        self.settle(Cause::Resume, log, out);
    }

    pub(crate) fn set_queue_bound(&mut self, gate: usize, bound: u32) {
        let node = &mut self.nodes[self.shape.gates[gate].node];
        let is_lower = (bound as usize) < node.waiting;
        node.queue_bound = bound;
        self.events.extend(is_lower.then_some(Event::QueueBoundLowered));
    }

    /// An idle gate without child gates is dropped, and created again with another limit.
    pub(crate) fn recreate(&mut self, gate: usize, limit: u32) {
        let new = World::new(self.shape);
        for (id, state) in new.nodes.into_iter().enumerate() {
            if self.shape.nodes[id].gate == gate {
                self.nodes[id] = state;
            }
        }
        let keys = self.shape.gates[gate].keys;
        for id in (0..self.nodes.len()).filter(|id| self.shape.nodes[*id].gate == gate) {
            self.nodes[id].limit = match self.shape.nodes[id].kind {
                NodeKind::Gate => limit,
                NodeKind::Key => keys.map_or(limit, |keys| keys.cap(limit)),
                NodeKind::Direct => u32::MAX,
            };
        }
        self.counts[gate] = GateCounts::default();
        self.events.push(Event::Recreated);
    }
}
