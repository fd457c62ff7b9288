//! The longest queue below each gate that has children and a bounded queue.

use super::FairQueue;
use super::lengths::QueueLengths;
use super::node::NodeId;

impl FairQueue {
    /// Updates the lengths after the queue of a leaf has become longer or shorter.
    #[inline]
    pub(super) fn note_length(&mut self, leaf: NodeId) {
        if !self.lengths.is_empty() {
            self.note_length_slow(leaf);
        }
    }

    #[cold]
    fn note_length_slow(&mut self, leaf: NodeId) {
        let length = self.nodes[leaf].waiting;
        for index in 0..self.lengths.len() {
            if self.is_within(leaf, self.lengths[index].gate) {
                self.lengths[index].set(leaf, length);
            }
        }
    }

    /// Builds or drops the lengths below a declared gate after the bound of its queue has changed. Visits all nodes.
    pub(super) fn note_bound(&mut self, gate: NodeId) {
        self.lengths.retain(|lengths| lengths.gate != gate);
        if self.child_set(gate).is_none() || self.nodes[gate].queue_bound == u32::MAX {
            return;
        }
        let mut lengths = QueueLengths::new(gate);
        for id in self.waiting_within(gate).filter(|id| self.nodes[*id].is_leaf()) {
            lengths.set(id, self.nodes[id].waiting);
        }
        self.lengths.push(lengths);
    }

    /// Returns a leaf with the longest queue below a gate that has children and a bounded queue, and the length of that queue. Returns
    /// `None` for any other gate, or if no request waits.
    pub(super) fn longest_queue(&self, gate: NodeId) -> Option<(NodeId, u32)> {
        self.lengths.iter().find(|lengths| lengths.gate == gate)?.longest()
    }
}
