//! Which request is granted next.

use super::super::coverage::Event;
use super::{CLASSES, Cause, Chosen, Classes, Since, WaitingRequest, World};

/// How many requests of higher priorities may pass an eligible one.
pub(super) const MAX_PASSED: u32 = 16;

/// The request that is next by the rules: the first one of this priority in this leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    pub(super) leaf: usize,
    pub(super) priority: usize,
    /// The node at which it was chosen before.
    pub(super) chosen_at: Option<usize>,
    /// Whether a node on the way took the priority that was passed too often.
    pub(super) is_due: bool,
    /// Whether a sibling at a node on the way had an equal use.
    has_equals: bool,
    /// Whether the rules leave open which sibling is first.
    is_open: bool,
}

impl World<'_> {
    /// Grants the requests that are next and fit. The wake-ups in `log` say which they were. Adds the worlds that agree to `out`.
    ///
    /// All worlds go on by one request at a time, and equal ones become one: several requests that are put aside one after the other
    /// end in the same state in each of their many orders.
    pub(super) fn settle(self, cause: Cause, log: &[usize], out: &mut Vec<Self>) {
        let mut worlds = vec![self];
        while !worlds.is_empty() {
            let mut next = Vec::with_capacity(1);
            for mut world in worlds {
                if world.nodes[0].ready.is_empty() {
                    out.push(world);
                    continue;
                }
                let picks = world.search();
                let (first, others) = picks.split_first().expect("a node that is ready has a request");
                for other in others {
                    let mut fork = world.clone();
                    if fork.take(*other, cause, log) {
                        fork.join(&mut next);
                    }
                }
                if world.take(*first, cause, log) {
                    world.join(&mut next);
                }
            }
            worlds = next;
        }
    }

    /// Adds a world to others, unless it is equal to one of them.
    pub(super) fn join(self, worlds: &mut Vec<Self>) {
        if !worlds.iter_mut().any(|known| known.absorb(&self)) {
            worlds.push(self);
        }
    }

    /// Grants a request that fits, or keeps room for it. Returns `false` if the gate did not grant it.
    fn take(&mut self, pick: Pick, cause: Cause, log: &[usize]) -> bool {
        let request = self.first(pick.leaf, pick.priority);
        let Some(full) = self.lowest(pick.leaf, |id| self.available(id) < request.weight) else {
            if log.get(self.explained) != Some(&request.slot) {
                return false;
            }
            self.explained += 1;
            self.check_grant(pick, request);
            self.note_grant(pick, cause);
            self.grant(pick, request);
            return true;
        };
        let chosen = Chosen { leaf: pick.leaf, priority: pick.priority, weight: request.weight };
        let exceeds = |id: usize| self.nodes[id].is_paused || request.weight > self.nodes[id].limit;
        let awaits_limit = self.lowest(pick.leaf, exceeds).is_some();
        for id in &self.shape.nodes[pick.leaf].path {
            let node = &mut self.nodes[*id];
            node.chosen = node.chosen.filter(|before| *before != chosen);
        }
        if awaits_limit {
            let awaiting = &mut self.nodes[pick.leaf].awaiting;
            *awaiting = awaiting.with(pick.priority);
        } else {
            self.nodes[full].chosen = Some(chosen);
        }
        self.refresh(None);
        true
    }

    fn grant(&mut self, pick: Pick, request: WaitingRequest) {
        let Pick { leaf, priority, chosen_at, .. } = pick;
        // Up to the node where the request was chosen, the choice was made before, so the grant passes nothing there.
        let mut was_chosen = chosen_at.is_some();
        for id in &self.shape.nodes[leaf].path {
            let candidates = self.candidates(*id);
            let node = &mut self.nodes[*id];
            for lower in candidates.iter().filter(|lower| *lower < priority && !was_chosen) {
                node.passed[lower] += 1;
            }
            node.passed[priority] = 0;
            if chosen_at == Some(*id) {
                (was_chosen, node.chosen) = (false, None);
            }
            node.in_use += request.weight;
        }
        self.nodes[leaf].queue.retain(|waiting| waiting.slot != request.slot);
        self.admit_waiting(request);
        self.refresh(Some(leaf));
    }

    fn note_grant(&mut self, pick: Pick, cause: Cause) {
        self.events.extend(cause.event());
        let events = [
            (pick.chosen_at.is_some(), Event::GrantedHeavy),
            (pick.is_due, Event::GrantedLowerPriority),
            (pick.has_equals, Event::GrantedAmongEquals),
            (pick.is_open, Event::GrantedInOpenOrder),
        ];
        self.events.extend(events.iter().filter(|(happened, _)| *happened).map(|(_, event)| *event));
    }

    /// Returns the first request of a priority in a leaf.
    pub(super) fn first(&self, leaf: usize, priority: usize) -> WaitingRequest {
        let mut queue = self.nodes[leaf].queue.iter();
        *queue.find(|request| request.priority == priority).expect("a request of this priority waits")
    }

    /// Searches from the root downwards. Returns more than one request only if the rules leave open which one is next.
    fn search(&self) -> Vec<Pick> {
        let mut found = Vec::with_capacity(1);
        let start =
            Pick { leaf: 0, priority: 0, chosen_at: None, is_due: false, has_equals: false, is_open: false };
        self.search_below(0, None, start, &mut found);
        found
    }

    fn search_below(&self, id: usize, due_above: Option<usize>, so_far: Pick, found: &mut Vec<Pick>) {
        let node = &self.nodes[id];
        if let Some(Chosen { leaf, priority, .. }) = node.chosen {
            found.push(Pick { leaf, priority, chosen_at: Some(id), ..so_far });
            return;
        }
        let candidates = self.candidates(id);
        let due_here = candidates.iter().find(|priority| node.passed[*priority] >= MAX_PASSED);
        let due = [due_above, due_here].into_iter().flatten().min();
        let highest = candidates.iter().next_back();
        let Some(priority) = due.or(highest) else { return };
        let so_far = Pick { is_due: so_far.is_due || Some(priority) != highest, ..so_far };
        let children = &self.shape.nodes[id].children;
        if children.is_empty() {
            found.push(Pick { leaf: id, priority, ..so_far });
            return;
        }
        let ready: Vec<usize> =
            children.iter().copied().filter(|child| self.nodes[*child].ready.has(priority)).collect();
        let least = |child: &&usize| ready.iter().all(|other| self.use_order(**child, *other).is_le());
        let equal: Vec<usize> = ready.iter().filter(least).copied().collect();
        let since = |child: usize| self.standings[child][priority].since;
        let is_first = |child: &&usize| equal.iter().all(|other| !since(*other).is_before(since(**child)));
        let first: Vec<usize> = equal.iter().filter(is_first).copied().collect();
        let so_far = Pick {
            has_equals: so_far.has_equals || equal.len() > 1,
            is_open: so_far.is_open || first.len() > 1,
            ..so_far
        };
        for child in first {
            self.search_below(child, due, so_far, found);
        }
    }

    /// Compares the permits in use per weight of two siblings.
    pub(super) fn use_order(&self, one: usize, other: usize) -> std::cmp::Ordering {
        let share = |id: usize| self.shape.nodes[id].share;
        let (left, right) = (self.nodes[one].in_use * share(other), self.nodes[other].in_use * share(one));
        left.cmp(&right)
    }

    /// Puts a request behind the others of its leaf.
    pub(super) fn enqueue(&mut self, leaf: usize, request: WaitingRequest) {
        self.enqueued += 1;
        self.nodes[leaf].queue.push(WaitingRequest { number: self.enqueued, ..request });
        self.refresh(None);
    }

    /// Takes a request out of its leaf. The caller refreshes the nodes.
    pub(super) fn remove(&mut self, leaf: usize, request: WaitingRequest) {
        let was_first = self.first(leaf, request.priority).slot == request.slot;
        self.nodes[leaf].queue.retain(|waiting| waiting.slot != request.slot);
        if was_first {
            self.nodes[leaf].awaiting = self.nodes[leaf].awaiting.without(request.priority);
            for id in &self.shape.nodes[leaf].path {
                let node = &mut self.nodes[*id];
                node.chosen =
                    node.chosen.filter(|chosen| (chosen.leaf, chosen.priority) != (leaf, request.priority));
            }
        }
    }

    /// Takes or releases permits at a leaf and above.
    pub(super) fn change_use(&mut self, leaf: usize, change: impl Fn(u32) -> u32) {
        for id in &self.shape.nodes[leaf].path {
            self.nodes[*id].in_use = change(self.nodes[*id].in_use);
        }
        self.refresh(Some(leaf));
    }

    /// Forgets the requests that were put aside because of a limit at or below a node.
    pub(super) fn reset_put_aside(&mut self, top: usize) {
        for id in (0..self.nodes.len()).filter(|id| self.shape.is_within(*id, top)) {
            let node = &mut self.nodes[id];
            node.awaiting = Classes::default();
            node.chosen = node.chosen.filter(|chosen| chosen.weight <= node.limit);
        }
    }

    /// Returns `true` if room is kept for this request.
    pub(super) fn is_chosen(&self, leaf: usize, request: WaitingRequest) -> bool {
        let is_first = self.first(leaf, request.priority).slot == request.slot;
        let is_chosen_at = |id: usize| {
            self.nodes[id]
                .chosen
                .is_some_and(|chosen| (chosen.leaf, chosen.priority) == (leaf, request.priority))
        };
        is_first && self.lowest(leaf, is_chosen_at).is_some()
    }
}

impl Since {
    /// Returns `true` if this was before the other for certain.
    const fn is_before(self, other: Self) -> bool {
        self.latest < other.earliest
    }
}

const _: () = assert!(CLASSES == 4, "a set of priorities fits into the bits of `Classes`");
