//! What the requests of a tree could use if the root had another limit.

use super::FairQueue;
use super::node::NodeId;
use super::place::Place;
use crate::plan::{Limit, Part};

impl FairQueue {
    /// Returns the smallest limit of the root, at most `limit`, that the permits in use and the requests that wait now could use up. A
    /// request that does not fit any more counts with the room that is left for it. The result is higher than the sum of all these permits
    /// if a key needs a higher limit of the root, because the cap of a key is a part of it.
    ///
    /// Visits all nodes if a request waits or keys have a cap. In each leaf and priority it visits the requests that fit, and at most two
    /// more.
    pub(in crate::gate) fn demand(&mut self, limit: Limit) -> u32 {
        let in_use = self.nodes[NodeId::ROOT].in_use;
        let cap = self.root_cap();
        if self.waiting() == 0 && cap == Part::WHOLE {
            return in_use;
        }
        // For each node, the permits that the leaves visited so far would use. Each leaf takes as much as the limits on its path leave.
        // Limits of a tree are nested, so the sum does not depend on the order of the leaves.
        let mut used = vec![0_u32; self.nodes.len()];
        let mut needed = 0;
        for leaf in self.nodes.ids() {
            if !self.nodes[leaf].is_leaf() || self.nodes[leaf].is_idle() {
                continue;
            }
            let (mut room, mut max_weight) = (u32::MAX, u32::MAX);
            for id in self.path(leaf) {
                let most = self.node_limit_under(id, limit, cap);
                let in_use = self.nodes[id].in_use.saturating_add(used[id.index()]);
                room = room.min(most.saturating_sub(in_use));
                max_weight = max_weight.min(most);
            }
            let usable = self.nodes[leaf].weight_within(room, max_weight);
            for id in self.path(leaf) {
                used[id.index()] = used[id.index()].saturating_add(usable);
            }
            let used_here = self.nodes[leaf].in_use.saturating_add(usable);
            if self.is_key_of_root(leaf) && used_here > 0 {
                needed = cap.limit_for(used_here).get().max(needed);
            }
        }
        in_use.saturating_add(used[NodeId::ROOT.index()]).max(needed.min(limit.get()))
    }

    /// Returns the largest number of permits that could be in use at a gate if the root had this limit.
    pub(in crate::gate) fn limit_under(&self, place: &Place, limit: Limit) -> Limit {
        match place {
            Place::Gate(NodeId::ROOT) => limit,
            Place::Key(key) if key.parent == NodeId::ROOT => self.root_cap().of_limit(limit),
            Place::Key(key) => self.key_limit(key.parent).min(limit),
            Place::Gate(id) => Limit::saturating(self.limit(*id).into()).min(limit),
        }
    }

    /// As [`limit_under`](Self::limit_under), for a node, but a paused gate has the limit 0. A pause of the root is ignored, because it
    /// may only mean that the lease has no permits now.
    fn node_limit_under(&self, id: NodeId, limit: Limit, cap: Part) -> u32 {
        if id == NodeId::ROOT {
            limit.get()
        } else if self.is_key_of_root(id) {
            cap.of_limit(limit).get()
        } else {
            self.nodes[id].limit
        }
    }

    fn is_key_of_root(&self, id: NodeId) -> bool {
        self.nodes[id].parent == NodeId::ROOT && self.nodes[id].is_key()
    }

    /// Returns the cap of each key of the root.
    fn root_cap(&self) -> Part {
        let rules = self.child_set(NodeId::ROOT).and_then(|child_set| child_set.key_rules);
        rules.map_or(Part::WHOLE, |rules| rules.cap_part())
    }
}
