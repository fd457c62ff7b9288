//! The children of one node.

use std::mem;

use super::key_index::KeyIndex;
use super::node::{GateNode, NodeId};
use super::node_list::NodeList;
use super::ranks::Ranks;
use crate::gate::priority::{PRIORITIES, Priority, PrioritySet};
use crate::plan::Keys;

/// The children of one node.
pub(super) struct ChildSet {
    /// The node of the requests made directly on the parent.
    pub(super) direct: NodeId,
    /// The priorities for which a child is ready.
    pub(super) ready: PrioritySet,
    /// For each priority, the children that are ready for it.
    pub(super) ranks: [Ranks; PRIORITIES],
    /// The keys that have a node, also those that are idle.
    pub(super) keys: KeyIndex,
    /// The keys that may be idle: every idle key, and some keys with permits in use but no waiting request. So acquiring a permit of an
    /// idle key does not change the list.
    pub(super) maybe_idle: NodeList,
    /// `None` if the parent has no keys.
    pub(super) key_rules: Option<Keys>,
}

impl ChildSet {
    pub(super) fn new(direct: NodeId, key_rules: Option<Keys>) -> Self {
        Self {
            direct,
            ready: PrioritySet::EMPTY,
            ranks: Default::default(),
            keys: KeyIndex::default(),
            maybe_idle: NodeList::EMPTY,
            key_rules,
        }
    }

    /// Ranks a child that is ready for these priorities now, if they or its permits in use have changed.
    #[inline]
    pub(super) fn rank(&mut self, nodes: &mut [GateNode], id: NodeId, ready: PrioritySet) {
        let node = &mut nodes[id];
        if ready != node.ready || (node.in_use != node.ranked_use && !ready.is_empty()) {
            self.rank_changed(nodes, id, ready);
        }
    }

    #[inline(never)]
    fn rank_changed(&mut self, nodes: &mut [GateNode], id: NodeId, ready: PrioritySet) {
        let node = &mut nodes[id];
        let was_ready = mem::replace(&mut node.ready, ready);
        let ranked_use = mem::replace(&mut node.ranked_use, node.in_use);
        // A child whose permits in use have changed gets another position in the ranks of each of its priorities.
        let unmoved = if ranked_use == node.in_use { was_ready.and(ready) } else { PrioritySet::EMPTY };
        let (left, entered) = (was_ready.minus(unmoved), ready.minus(unmoved));
        // In the usual case all requests have the normal priority.
        if was_ready.or(ready) == PrioritySet::NORMAL {
            if !left.is_empty() {
                self.leave(nodes, Priority::Normal, id, ranked_use);
            }
            if !entered.is_empty() {
                self.enter(nodes, Priority::Normal, id);
            }
        } else {
            self.rank_each(nodes, id, left, ranked_use, entered);
        }
    }

    /// Removes a child from the ranks of the priorities `left`, and adds it to those of the priorities `entered`.
    #[cold]
    fn rank_each(
        &mut self,
        nodes: &mut [GateNode],
        id: NodeId,
        left: PrioritySet,
        ranked_use: u32,
        entered: PrioritySet,
    ) {
        for priority in left.iter() {
            self.leave(nodes, priority, id, ranked_use);
        }
        for priority in entered.iter() {
            self.enter(nodes, priority, id);
        }
    }

    /// Removes a child from the ranks of a priority, into which it was inserted with `ranked_use` permits in use.
    #[expect(
        clippy::inline_always,
        reason = "benchmark row `key-cycle`: the usual priority is known to the compiler"
    )]
    #[inline(always)]
    fn leave(&mut self, nodes: &mut [GateNode], priority: Priority, id: NodeId, ranked_use: u32) {
        let ranks = &mut self.ranks[priority.index()];
        ranks.remove(nodes, priority, id, ranked_use);
        if ranks.is_empty() {
            self.ready = self.ready.without(priority);
        }
    }

    /// Adds a child to the ranks of a priority.
    #[expect(
        clippy::inline_always,
        reason = "benchmark row `key-cycle`: the usual priority is known to the compiler"
    )]
    #[inline(always)]
    fn enter(&mut self, nodes: &mut [GateNode], priority: Priority, id: NodeId) {
        self.ranks[priority.index()].insert(nodes, priority, id);
        self.ready = self.ready.with(priority);
    }
}
