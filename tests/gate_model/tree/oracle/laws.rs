//! Promises of docs/GUARANTEES.md, checked at each grant, at each rejection by a full queue and after each step. The checks do not use
//! the sets of nodes that are ready, with which the oracle chooses the next request.

use super::choose::{MAX_PASSED, Pick};
use super::{NodeKind, WaitingRequest, World};

impl World<'_> {
    /// Checks the grant of a request that is about to happen.
    pub(super) fn check_grant(&mut self, pick: Pick, request: WaitingRequest) {
        let Pick { leaf, priority, chosen_at, is_due, .. } = pick;
        let path = &self.shape.nodes[leaf].path;
        // P49, P50: no level exceeds its limit or cap.
        for id in path {
            let node = &self.nodes[*id];
            assert!(!node.is_paused, "a grant at a paused gate");
            assert!(node.in_use + request.weight <= node.limit, "a grant above a limit at node {id}");
        }
        // P54: first come, first served in a leaf.
        let mut queue = self.nodes[leaf].queue.iter();
        assert!(
            queue.all(|other| other.priority != priority || other.number >= request.number),
            "an earlier request of the same priority waits in the same queue"
        );
        if chosen_at.is_some() || is_due {
            return; // it was chosen before, or it is the turn of a lower priority
        }
        let steps: Vec<(usize, usize)> =
            path.iter().zip(path.iter().skip(1)).map(|(child, parent)| (*child, *parent)).collect();
        for (child, parent) in steps {
            let siblings = &self.shape.nodes[parent].children;
            for sibling in siblings.iter().filter(|sibling| **sibling != child) {
                if !self.is_eligible(*sibling, priority) {
                    continue;
                }
                // P52: max-min fairness in permits in use.
                let order = self.use_order(child, *sibling);
                assert!(
                    order.is_le(),
                    "node {sibling} has less in use than node {child}, and an eligible request"
                );
                // P53: equal children take turns.
                if order.is_eq() {
                    let turns = &mut self.standings[*sibling][priority].turns;
                    *turns += 1;
                    assert!(
                        (*turns as usize) < siblings.len(),
                        "node {sibling} is passed over by its equals"
                    );
                }
            }
        }
    }

    /// Returns `true` if a request of this priority waits at a node or below, and everything from the node down to the request has a
    /// permit available, and keeps none for another request.
    fn is_eligible(&self, id: usize, priority: usize) -> bool {
        let node = &self.nodes[id];
        let is_kept = node.chosen.is_some();
        let own = node.queue.iter().any(|request| request.priority == priority);
        self.available(id) > 0
            && !is_kept
            && (own && !node.awaiting.has(priority)
                || self.shape.nodes[id].children.iter().any(|child| self.is_eligible(*child, priority)))
    }

    /// Checks what holds after each step.
    pub(super) fn check_rest(&self) {
        for (id, node) in self.nodes.iter().enumerate() {
            // P55: a lower priority is passed at most 16 times.
            let passed = node.passed.iter().max().copied().unwrap_or(0);
            assert!(passed <= MAX_PASSED, "node {id}: a priority was passed {passed} times");
            for request in &node.queue {
                self.check_waits_for_a_reason(id, *request);
            }
        }
        for (gate, rules) in self.shape.gates.iter().enumerate() {
            // P58: the table of keys has a bound.
            let busy = self.busy_keys(gate);
            assert!(rules.keys.is_none_or(|keys| busy <= keys.max as usize), "{busy} keys are busy");
        }
    }

    /// P51: a request waits because a level lacks room for it, or keeps room for another one, or a request of its own queue is before it.
    fn check_waits_for_a_reason(&self, leaf: usize, request: WaitingRequest) {
        let is_before = |other: &WaitingRequest| {
            other.priority > request.priority
                || other.priority == request.priority && other.number < request.number
        };
        let lacks_room = |id: usize| {
            let node = &self.nodes[id];
            self.available(id) < request.weight || node.chosen.is_some()
        };
        let queue = &self.nodes[leaf].queue;
        assert!(
            self.lowest(leaf, lacks_room).is_some() || queue.iter().any(is_before),
            "a request waits beside room at node {leaf}"
        );
    }

    /// P57: a request is rejected because of a full queue only if its own queue is the longest, and so has its part of the bound.
    pub(super) fn check_queue_full(&self, leaf: usize, full: usize) {
        let is_leaf =
            |id: &usize| self.shape.is_within(*id, full) && self.shape.nodes[*id].children.is_empty();
        let lengths = (0..self.nodes.len()).filter(is_leaf).map(|id| self.nodes[id].queue.len());
        let busy = lengths.filter(|length| *length > 0).count().max(1);
        let (own, bound) = (self.nodes[leaf].queue.len(), self.nodes[full].queue_bound as usize);
        assert!(
            own * busy >= bound,
            "a queue of {own} is rejected where {busy} queues share a bound of {bound}"
        );
    }

    /// Returns `true` if a key waits because of its cap alone.
    pub(super) fn is_capped_key(&self, leaf: usize, weight: u32) -> bool {
        let mut above = self.shape.nodes[leaf].path.iter().skip(1);
        self.shape.nodes[leaf].kind == NodeKind::Key
            && self.available(leaf) < weight
            && above.all(|id| self.available(*id) >= weight)
    }
}
