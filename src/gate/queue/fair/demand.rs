//! What the requests of a tree could use if the root had another limit.

use super::FairQueue;
use super::node::NodeId;
use crate::plan::Limit;

impl FairQueue {
    /// Returns the permits in use in the tree, and those that the requests that wait could use if the limit of the root were `limit`.
    /// Visits all nodes if a request waits, and in each leaf no more requests than fit.
    pub(in crate::gate) fn demand(&mut self, limit: Limit) -> u32 {
        let in_use = self.nodes[NodeId::ROOT].in_use;
        if self.waiting() == 0 {
            return in_use;
        }
        // For each node, the permits that the leaves visited so far would use. Each leaf takes as much as the limits on its path leave.
        // Limits of a tree are nested, so the sum does not depend on the order of the leaves.
        let mut used = vec![0_u32; self.nodes.len()];
        for leaf in self.nodes.ids() {
            if self.nodes[leaf].waiting_priorities.is_empty() {
                continue;
            }
            let (mut room, mut max_weight) = (u32::MAX, u32::MAX);
            for id in self.path(leaf) {
                let node = &self.nodes[id];
                // A paused gate has the limit 0 here. The root may be paused because its block is 0.
                let most = if id == NodeId::ROOT { limit.get() } else { node.limit };
                room = room.min(most.saturating_sub(node.in_use).saturating_sub(used[id.index()]));
                max_weight = max_weight.min(most);
            }
            let usable = self.nodes[leaf].weight_within(room, max_weight);
            for id in self.path(leaf) {
                used[id.index()] = used[id.index()].saturating_add(usable);
            }
        }
        in_use.saturating_add(used[NodeId::ROOT.index()])
    }
}
