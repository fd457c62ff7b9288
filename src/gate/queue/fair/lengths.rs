//! A bucket queue: the queues below one gate, in buckets by their length. Each request that arrives at a full queue needs the longest one,
//! which is found in constant time, however many keys there are.

use super::node::NodeId;

/// The queues of the leaves below one gate, by their length.
pub(super) struct QueueLengths {
    pub(super) gate: NodeId,
    /// The buckets: for each length from 1 on, the first leaf with a queue of this length, or [`NodeId::NONE`]. The last entry is never
    /// `NONE`.
    by_length: Vec<NodeId>,
    /// For each node, the length of its queue and its neighbours in the bucket of this length.
    leaves: Vec<LeafLength>,
}

#[derive(Clone, Copy)]
struct LeafLength {
    length: u32,
    previous: NodeId,
    next: NodeId,
}

impl QueueLengths {
    pub(super) const fn new(gate: NodeId) -> Self {
        Self { gate, by_length: Vec::new(), leaves: Vec::new() }
    }

    /// Returns a leaf with the longest queue, and its length. Returns `None` if no request waits.
    pub(super) fn longest(&self) -> Option<(NodeId, u32)> {
        let length = u32::try_from(self.by_length.len()).unwrap_or(u32::MAX);
        self.by_length.last().map(|leaf| (*leaf, length))
    }

    /// Sets the length of the queue of a leaf. Takes constant time if the length changes by one.
    pub(super) fn set(&mut self, leaf: NodeId, length: u32) {
        if self.leaves.len() <= leaf.index() {
            let none = LeafLength { length: 0, previous: NodeId::NONE, next: NodeId::NONE };
            self.leaves.resize(leaf.index().saturating_add(1), none);
        }
        // Unlink the leaf from the bucket of the old length.
        let LeafLength { length: before, previous, next } = self.leaves[leaf.index()];
        if before > 0 {
            match previous {
                NodeId::NONE => self.by_length[slot(before)] = next,
                previous => self.leaves[previous.index()].next = next,
            }
            if next != NodeId::NONE {
                self.leaves[next.index()].previous = previous;
            }
        }
        // Insert the leaf at the head of the bucket of the new length.
        let mut next = NodeId::NONE;
        if length > 0 {
            if self.by_length.len() < length as usize {
                self.by_length.resize(length as usize, NodeId::NONE);
            }
            next = std::mem::replace(&mut self.by_length[slot(length)], leaf);
            if next != NodeId::NONE {
                self.leaves[next.index()].previous = leaf;
            }
        }
        self.leaves[leaf.index()] = LeafLength { length, previous: NodeId::NONE, next };
        // The longest queue is in the last bucket, so no empty bucket may be left behind it.
        while self.by_length.last() == Some(&NodeId::NONE) {
            self.by_length.pop();
        }
    }
}

/// Returns the index of the bucket of a length in [`by_length`](QueueLengths::by_length).
const fn slot(length: u32) -> usize {
    length.saturating_sub(1) as usize
}
