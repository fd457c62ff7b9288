//! The order in which the children of one node are granted: the least permits in use per weight first, and among equals the one
//! that has stood there longest.

use std::cmp::Ordering;

use super::node::{Neighbours, NodeId, Nodes};
use crate::gate::priority::Priority;

/// The children of one node that are ready to be granted a request of one priority.
///
/// Children with an equal share of use have one rank, a linked list whose links are part of the nodes. There are as many
/// ranks as different shares, which are few, so each operation takes constant time in practice.
#[derive(Debug, Default)]
pub(super) struct Ranks(Vec<Rank>);

/// Children with an equal number of permits in use per weight, the first to be granted at the head.
#[derive(Clone, Copy, Debug)]
struct Rank {
    usage: Usage,
    head: NodeId,
    tail: NodeId,
}

/// Permits in use per weight, compared exactly.
#[derive(Clone, Copy, Debug)]
struct Usage {
    in_use: u32,
    share: u32,
}

impl Usage {
    fn cmp(self, other: Self) -> Ordering {
        let cross = |in_use: u32, share: u32| u64::from(in_use).wrapping_mul(share.into()); // below 2^64
        cross(self.in_use, other.share).cmp(&cross(other.in_use, self.share))
    }
}

impl Ranks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the child that is granted first.
    pub(super) fn first(&self) -> Option<NodeId> {
        self.0.first().map(|rank| rank.head)
    }

    /// Adds a child behind those with the same share of use.
    pub(super) fn insert(&mut self, nodes: &mut Nodes, priority: Priority, id: NodeId) {
        let usage = Usage { in_use: nodes[id].in_use, share: nodes[id].share };
        match self.find(usage) {
            Ok(at) => {
                let tail = std::mem::replace(&mut self.0[at].tail, id);
                nodes[tail].neighbours[priority.index()].next = id;
                nodes[id].neighbours[priority.index()] = Neighbours { previous: tail, next: NodeId::NONE };
            }
            Err(at) => {
                nodes[id].neighbours[priority.index()] = Neighbours::NONE;
                self.0.insert(at, Rank { usage, head: id, tail: id });
            }
        }
    }

    /// Removes a child that was inserted with `in_use` permits in use.
    pub(super) fn remove(&mut self, nodes: &mut Nodes, priority: Priority, id: NodeId, in_use: u32) {
        let usage = Usage { in_use, share: nodes[id].share };
        let Ok(at) = self.find(usage) else { return };
        let Neighbours { previous, next } = nodes[id].neighbours[priority.index()];
        if previous == NodeId::NONE {
            self.0[at].head = next;
        } else {
            nodes[previous].neighbours[priority.index()].next = next;
        }
        if next == NodeId::NONE {
            self.0[at].tail = previous;
        } else {
            nodes[next].neighbours[priority.index()].previous = previous;
        }
        if self.0[at].head == NodeId::NONE {
            self.0.remove(at);
        }
    }

    /// Returns the index of the rank with this usage, or where it belongs.
    fn find(&self, usage: Usage) -> Result<usize, usize> {
        // Most children are in the first ranks.
        self.0.binary_search_by(|rank| rank.usage.cmp(usage))
    }
}
