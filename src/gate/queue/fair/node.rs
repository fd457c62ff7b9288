//! The nodes of a tree of gates, in one slab.

use std::ops::{Index, IndexMut};

use super::leaf::LeafQueue;
use crate::gate::books::Books;
use crate::gate::key::Key;
use crate::gate::priority::{CLASSES, Priority, PrioritySet};

/// Identifies a node of a tree. A number is used again after its node was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) struct NodeId(pub(super) u32);

impl NodeId {
    /// The root of the tree, which is never removed.
    pub(in crate::gate) const ROOT: Self = Self(0);
    /// No node: the parent of the root, or the end of a list.
    pub(super) const NONE: Self = Self(u32::MAX);

    const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One gate of a tree, or the requests made directly on a gate that has children.
pub(super) struct GateNode {
    pub(super) parent: NodeId,
    pub(super) kind: NodeKind,
    pub(super) limit: u32,
    /// Permits in use, those of its descendants included.
    pub(super) in_use: u32,
    /// The share relative to its siblings.
    pub(super) share: u32,
    /// Requests that wait, those of its descendants included.
    pub(super) waiting: u32,
    /// The largest number of requests that may wait, those of its descendants included.
    pub(super) queue_bound: u32,
    pub(super) is_closed: bool,
    /// The priorities of the requests that this node may be asked to grant now.
    pub(super) ready: PrioritySet,
    /// The priorities for which the node stands in the ranks of its parent.
    pub(super) ranked: PrioritySet,
    /// The permits in use with which it stands there.
    pub(super) ranked_use: u32,
    /// Changes each time that the node is given to a key.
    pub(super) generation: u32,
    /// For each priority, how many requests of a higher one were granted here while it was ready, since the last of its own.
    pub(super) passed: [u8; CLASSES],
    /// The request that was chosen at this node and does not fit yet. Until it is granted or leaves, no other is granted here.
    pub(super) chosen: Option<ChosenRequest>,
    /// In a leaf: the priorities whose first request is heavier than the limit of a node on the path.
    pub(super) awaits_limit: PrioritySet,
    /// The neighbours in the ranks of the parent, for each priority.
    pub(super) neighbours: [Neighbours; CLASSES],
    /// The requests that wait at this node itself. Empty in a node with children.
    pub(super) queue: LeafQueue,
    /// `None` if nothing was counted yet.
    pub(super) books: Option<Box<Books>>,
}

/// What a node stands for.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// Not in use.
    Free,
    /// A declared gate. It is removed when its last handle is gone.
    Gate,
    /// A declared gate that has children or keys.
    Parent { family: u32 },
    /// The requests made directly on the parent node.
    Direct,
    /// A key of the parent node. While it is idle, its node may be given to another key.
    Key { key: Key, hash: u64 },
}

/// A request that stays chosen until it fits: the first one of its priority in this leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChosenRequest {
    pub(super) leaf: NodeId,
    pub(super) priority: Priority,
    pub(super) weight: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
}

impl Neighbours {
    pub(super) const NONE: Self = Self { previous: NodeId::NONE, next: NodeId::NONE };
}

impl GateNode {
    pub(super) fn new(parent: NodeId, kind: NodeKind, limit: u32, share: u32) -> Self {
        Self {
            parent,
            kind,
            limit,
            in_use: 0,
            share,
            waiting: 0,
            queue_bound: u32::MAX,
            is_closed: false,
            ready: PrioritySet::EMPTY,
            ranked: PrioritySet::EMPTY,
            ranked_use: 0,
            generation: 0,
            passed: [0; CLASSES],
            chosen: None,
            awaits_limit: PrioritySet::EMPTY,
            neighbours: [Neighbours::NONE; CLASSES],
            queue: LeafQueue::default(),
            books: None,
        }
    }

    #[inline]
    pub(super) const fn available(&self) -> u32 {
        self.limit.saturating_sub(self.in_use)
    }

    pub(super) const fn family(&self) -> Option<u32> {
        match self.kind {
            NodeKind::Parent { family } => Some(family),
            _ => None,
        }
    }

    #[inline]
    pub(super) const fn is_key_with(&self, hash: u64) -> bool {
        matches!(self.kind, NodeKind::Key { hash: known, .. } if known == hash)
    }

    /// Returns `true` if no permit is in use and no request waits.
    #[inline]
    pub(super) const fn is_idle(&self) -> bool {
        self.in_use == 0 && self.waiting == 0
    }
}

/// The nodes, by their number.
pub(super) struct Nodes(pub(super) Vec<GateNode>);

impl Index<NodeId> for Nodes {
    type Output = GateNode;

    #[inline]
    fn index(&self, id: NodeId) -> &GateNode {
        &self.0[id.index()]
    }
}

impl IndexMut<NodeId> for Nodes {
    #[inline]
    fn index_mut(&mut self, id: NodeId) -> &mut GateNode {
        &mut self.0[id.index()]
    }
}
