//! A list of nodes, whose links are part of the nodes.

use super::node::{GateNode, Neighbours, NodeId};
use crate::gate::priority::Priority;

/// A doubly linked list of nodes. It uses the links that its nodes have for one priority, so for each priority a node is in
/// at most one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeList {
    head: NodeId,
    tail: NodeId,
}

impl NodeList {
    pub(super) const EMPTY: Self = Self { head: NodeId::NONE, tail: NodeId::NONE };

    #[inline]
    pub(super) fn head(self) -> Option<NodeId> {
        if self.head == NodeId::NONE { None } else { Some(self.head) }
    }

    /// Adds a node that is in no list for this priority.
    #[inline]
    pub(super) fn push_back(&mut self, nodes: &mut [GateNode], priority: Priority, id: NodeId) {
        let tail = std::mem::replace(&mut self.tail, id);
        *nodes[id].links_mut(priority) = Neighbours { previous: tail, next: NodeId::NONE };
        match tail {
            NodeId::NONE => self.head = id,
            tail => nodes[tail].links_mut(priority).next = id,
        }
    }

    /// Removes a node that is in this list.
    #[inline]
    pub(super) fn remove(&mut self, nodes: &mut [GateNode], priority: Priority, id: NodeId) {
        let Neighbours { previous, next } = *nodes[id].links_mut(priority);
        match previous {
            NodeId::NONE => self.head = next,
            previous => nodes[previous].links_mut(priority).next = next,
        }
        match next {
            NodeId::NONE => self.tail = previous,
            next => nodes[next].links_mut(priority).previous = previous,
        }
    }
}
