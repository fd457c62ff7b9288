//! The search for the next request, and the update of the ancestors after a change of a leaf.

use super::FairQueue;
use super::node::{ChosenRequest, GateNode, NextRequest, NodeId, PassedGrants};
use crate::gate::priority::{Priority, PrioritySet};

impl FairQueue {
    /// Finds the request that is granted next. It fits at every level. If the search returns a request that does not fit at some node, the
    /// request becomes the chosen one of that node, and the search begins again.
    #[inline]
    pub(super) fn find_next(&mut self) -> Option<NextRequest> {
        // The loop ends: each iteration without a result makes a node unready, or marks a priority of a leaf as waiting for a higher limit.
        while !self.nodes[NodeId::ROOT].ready.is_empty() {
            let (leaf, priority, chosen_at) = self.search()?;
            let order = self.order(leaf);
            let weight = self.nodes[leaf].first(priority, order)?.weight;
            let next = NextRequest { leaf, priority, order, weight, chosen_at };
            // Each node on the path of the search was ready, so it has a permit available.
            if weight == 1 && chosen_at == NodeId::NONE {
                return Some(next);
            }
            let Some(full) = self.path(leaf).find(|id| self.nodes[*id].available() < weight) else {
                return Some(next);
            };
            self.choose_at(full, ChosenRequest { leaf, priority, weight });
        }
        None
    }

    /// As [`find_next`](Self::find_next), after a request that does not fit has arrived. It may become a chosen request.
    #[cold]
    pub(super) fn find_next_slow(&mut self) {
        let next = self.find_next();
        debug_assert!(next.is_none(), "a request that fits is admitted on arrival");
    }

    /// Makes a request the chosen one of the node without room for it. If the request is heavier than the limit of a node on its path, its
    /// priority is marked in the leaf as waiting for a higher limit instead.
    #[cold]
    fn choose_at(&mut self, full: NodeId, request: ChosenRequest) {
        let ChosenRequest { leaf, priority, weight } = request;
        let awaits_limit = self.path(leaf).any(|id| weight > self.nodes[id].limit);
        if awaits_limit {
            self.nodes[leaf].awaits_limit = self.nodes[leaf].awaits_limit.with(priority);
        }
        self.update_path(leaf, self.nodes[leaf].own_candidates(), |id, node, _| {
            // The request may have been chosen at another node before. From now on it is chosen only at `full`.
            node.forget_chosen(|chosen| chosen == request);
            if id == full && !awaits_limit {
                node.set_chosen(request);
            }
        });
    }

    /// Searches from the root downwards. Returns a leaf, the priority whose first request is next there, and the node at which that
    /// request was chosen before.
    #[inline]
    fn search(&self) -> Option<(NodeId, Priority, NodeId)> {
        let (mut id, mut forced) = (NodeId::ROOT, None);
        loop {
            let node = &self.nodes[id];
            if let Some(ChosenRequest { leaf, priority, .. }) = node.chosen() {
                return Some((leaf, priority, id));
            }
            let child_set = self.child_sets.get(node.child_set.0 as usize);
            let candidates = child_set.map_or(node.own_candidates(), |child_set| child_set.ready);
            // A priority that is due at an ancestor is due here as well, unless a lower one is due here. The lower one goes first: its
            // grant neither passes nor resets the one of the ancestor, which stays due.
            forced = match (forced, node.passed.due(candidates)) {
                (Some(forced), Some(due)) => Some(due.min(forced)),
                (forced, due) => forced.or(due),
            };
            let priority = forced.or(candidates.highest())?;
            match child_set {
                None => return Some((id, priority, NodeId::NONE)),
                Some(child_set) => id = child_set.ranks[priority.index()].first()?,
            }
        }
    }

    /// Changes the nodes from this one to the root, and updates which of them are ready, and their ranks. Visits each node once.
    ///
    /// `change` gets each node with the priorities of the requests that it could have granted before the change. For the first node these
    /// are `before`.
    #[expect(
        clippy::inline_always,
        reason = "benchmark row `key-cycle`: each caller changes two or three fields"
    )]
    #[inline(always)]
    pub(super) fn update_path(
        &mut self,
        from: NodeId,
        mut before: PrioritySet,
        mut change: impl FnMut(NodeId, &mut GateNode, PrioritySet),
    ) {
        let Self { nodes, child_sets, .. } = self;
        let nodes: &mut [GateNode] = nodes;
        let mut id = from;
        let child_set = child_sets.get(nodes[from].child_set.0 as usize);
        let mut candidates = child_set.map_or(nodes[from].own_candidates(), |child_set| child_set.ready);
        loop {
            let node = &mut nodes[id];
            change(id, node, before);
            let ready = node.ready_among(candidates);
            // Reset only when no request waits: a priority that waits without room is not ready, but keeps its count.
            if node.waiting == 0 {
                node.passed = PassedGrants::default();
            }
            let parent = node.parent;
            if parent == NodeId::NONE {
                node.ready = ready;
                return;
            }
            let child_set = nodes[parent].child_set;
            let child_set = &mut child_sets[child_set.0 as usize];
            before = child_set.ready;
            child_set.rank(nodes, id, ready);
            candidates = child_set.ready;
            id = parent;
        }
    }

    /// Updates from this node to the root which nodes are ready, and their ranks.
    pub(super) fn update_from(&mut self, id: NodeId) {
        self.update_path(id, PrioritySet::EMPTY, |_, _, _| {});
    }

    /// Changes the permits in use from a leaf to the root.
    #[inline]
    pub(super) fn change_use(&mut self, leaf: NodeId, change: impl Fn(u32) -> u32) {
        if self.waiting() == 0 {
            self.for_path(leaf, |node| node.in_use = change(node.in_use));
        } else {
            self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| node.in_use = change(node.in_use));
        }
    }

    /// Updates the nodes from a leaf to the root after requests have left the leaf: `lost_first` are the priorities whose first
    /// request is gone.
    pub(super) fn finish_removal(&mut self, leaf: NodeId, lost_first: PrioritySet, count: u32) {
        self.nodes[leaf].awaits_limit = self.nodes[leaf].awaits_limit.minus(lost_first);
        self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| {
            node.waiting = node.waiting.saturating_sub(count);
            node.forget_chosen(|chosen| chosen.leaf == leaf && lost_first.contains(chosen.priority));
        });
        // Last: the list of keys that may be idle uses the links of the ranks, so the node must have left its ranks.
        if count > 0 {
            self.note_length(leaf);
            self.note_idle(leaf);
        }
    }

    /// As [`finish_removal`](Self::finish_removal), after the request of this priority that would be granted last has left the leaf.
    pub(super) fn finish_last_removal(&mut self, leaf: NodeId, priority: Priority) {
        // The last request was also the first one only if there was no other.
        let has_others = self.nodes[leaf].waiting_priorities.contains(priority);
        let lost_first = if has_others { PrioritySet::EMPTY } else { PrioritySet::of(priority) };
        self.finish_removal(leaf, lost_first, 1);
    }
}
