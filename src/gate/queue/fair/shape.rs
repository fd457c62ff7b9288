//! The shape of the tree: adds and removes nodes, and follows their links to parents and children.

use std::{iter, mem};

use super::child_set::ChildSet;
use super::node::{ChildSetId, GateNode, NodeId, NodeKind, NodeMark, to_level};
use super::{FairQueue, NodeRules};
use crate::gate::stats::GateStats;
use crate::plan::Limit;

impl FairQueue {
    /// Adds a child of a parent.
    pub(in crate::gate) fn add(&mut self, parent: NodeId, rules: NodeRules) -> NodeId {
        let NodeRules { limit, share, queue_bound, is_parent, keys, shed, measures_waits } = rules;
        let kind = NodeKind::Gate { stats: Box::new(GateStats::new(measures_waits)) };
        let id = self.insert(GateNode::new(parent, kind, limit.get(), share));
        self.nodes[id].queue_bound = queue_bound;
        if is_parent || keys.is_some() {
            // The requests made directly on the gate wait in a leaf of their own, which competes with the children. The limit of the gate
            // bounds it already, so its own limit is `MAX`.
            let direct = self.insert(GateNode::new(id, NodeKind::Direct, Limit::MAX.get(), 1));
            let child_set = ChildSet::new(direct, keys);
            self.nodes[id].child_set = if let Some(index) = self.free_child_sets.pop() {
                self.child_sets[index.0 as usize] = child_set;
                index
            } else {
                self.child_sets.push(child_set);
                ChildSetId(u32::try_from(self.child_sets.len()).unwrap_or(u32::MAX).saturating_sub(1))
            };
            self.note_bound(id);
        }
        if let Some(shed) = shed {
            self.add_shedder(id, shed);
        }
        id
    }

    /// Removes a declared gate whose last handle is gone. Permits, requests, children and keys hold handles, so the gate is idle then,
    /// unless permits were forgotten or futures were leaked. In that case the node stays, and counts them.
    pub(in crate::gate) fn remove_if_idle(&mut self, id: NodeId) {
        if id != NodeId::ROOT && self.nodes[id].is_idle() {
            self.remove(id);
        }
    }

    pub(super) fn insert(&mut self, node: GateNode) -> NodeId {
        match self.free_nodes.pop() {
            Some(id) => {
                self.nodes[id] = node;
                id
            }
            None => self.nodes.push(node),
        }
    }

    /// Removes the node of a declared gate.
    fn remove(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        node.kind = NodeKind::Free; // drops its stats
        node.mark = NodeMark::None;
        let child_set = mem::replace(&mut node.child_set, ChildSetId::NONE);
        self.shedding.retain(|shedding| shedding.gate != id);
        self.lengths.retain(|lengths| lengths.gate != id);
        if let Some(direct) = self.child_sets.get(child_set.0 as usize).map(|child_set| child_set.direct) {
            self.free_child_sets.push(child_set);
            self.nodes[direct].kind = NodeKind::Free;
            self.free_nodes.push(direct);
            // The keys of the gate are idle, because the gate is. Their nodes are freed with it.
            for key in self.nodes.ids() {
                if self.nodes[key].parent == id && self.nodes[key].is_key() {
                    self.nodes[key].mark = NodeMark::None; // its list is dropped with the `ChildSet`
                    self.nodes[key].kind = NodeKind::Free;
                    self.free_nodes.push(key);
                }
            }
        }
        self.free_nodes.push(id);
    }

    /// Returns the children of a node, or `None` if it is a leaf.
    #[inline]
    pub(super) fn child_set(&self, id: NodeId) -> Option<&ChildSet> {
        self.child_sets.get(self.nodes[id].child_set.0 as usize)
    }

    /// Returns the leaf where the requests made on a gate wait.
    #[inline]
    pub(in crate::gate) fn leaf(&self, gate: NodeId) -> NodeId {
        self.child_set(gate).map_or(gate, |child_set| child_set.direct)
    }

    /// Returns this node and its ancestors, up to the root.
    #[inline]
    pub(super) fn path(&self, from: NodeId) -> impl Iterator<Item = NodeId> {
        let parent = |id: &NodeId| Some(self.nodes[*id].parent).filter(|parent| *parent != NodeId::NONE);
        iter::successors(Some(from), parent)
    }

    #[inline]
    pub(super) fn for_path(&mut self, from: NodeId, mut change: impl FnMut(&mut GateNode)) {
        let (nodes, mut id): (&mut [GateNode], _) = (&mut self.nodes, from);
        // No node has the number `NONE`, so the path ends there.
        while let Some(node) = nodes.get_mut(id.index()) {
            change(node);
            id = node.parent;
        }
    }

    /// Returns `true` if a node is `ancestor` or below it.
    pub(super) fn is_within(&self, id: NodeId, ancestor: NodeId) -> bool {
        self.path(id).any(|id| id == ancestor)
    }

    /// Returns the nodes that are `top` or below it.
    pub(super) fn nodes_within(&self, top: NodeId) -> impl Iterator<Item = NodeId> {
        let is_used = |id: &NodeId| !matches!(self.nodes[*id].kind, NodeKind::Free);
        self.nodes.ids().filter(move |id| is_used(id) && self.is_within(*id, top))
    }

    /// Returns the nodes that are `top` or below it, and have requests that wait.
    pub(super) fn waiting_within(&self, top: NodeId) -> impl Iterator<Item = NodeId> {
        self.nodes.ids().filter(move |id| self.nodes[*id].waiting > 0 && self.is_within(*id, top))
    }

    /// Returns the level of an ancestor, counted from the gate of this node, which has level 0.
    pub(in crate::gate) fn level(&self, id: NodeId, ancestor: NodeId) -> u8 {
        let steps = to_level(self.path(id).position(|id| id == ancestor).unwrap_or(0));
        match self.nodes[id].kind {
            NodeKind::Direct => steps.saturating_sub(1), // its gate is its parent
            _ => steps,
        }
    }
}
