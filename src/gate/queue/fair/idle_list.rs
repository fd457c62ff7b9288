//! The keys that are idle, in the order in which they became idle.

use super::node::{Neighbours, NodeId, Nodes};
use crate::gate::priority::Priority;

/// A linked list of nodes. An idle node stands in no ranks, so its links there are free for this list.
#[derive(Debug)]
pub(super) struct IdleList {
    oldest: NodeId,
    newest: NodeId,
}

const LINKS: usize = Priority::Normal.index();

impl IdleList {
    pub(super) fn push(&mut self, nodes: &mut Nodes, id: NodeId) {
        nodes[id].neighbours[LINKS] = Neighbours { previous: self.newest, next: NodeId::NONE };
        match std::mem::replace(&mut self.newest, id) {
            NodeId::NONE => self.oldest = id,
            newest => nodes[newest].neighbours[LINKS].next = id,
        }
    }

    pub(super) fn remove(&mut self, nodes: &mut Nodes, id: NodeId) {
        let Neighbours { previous, next } = nodes[id].neighbours[LINKS];
        match previous {
            NodeId::NONE => self.oldest = next,
            previous => nodes[previous].neighbours[LINKS].next = next,
        }
        match next {
            NodeId::NONE => self.newest = previous,
            next => nodes[next].neighbours[LINKS].previous = previous,
        }
    }

    pub(super) fn pop_oldest(&mut self, nodes: &mut Nodes) -> Option<NodeId> {
        let oldest = Some(self.oldest).filter(|id| *id != NodeId::NONE)?;
        self.remove(nodes, oldest);
        Some(oldest)
    }
}

impl Default for IdleList {
    fn default() -> Self {
        Self { oldest: NodeId::NONE, newest: NodeId::NONE }
    }
}
