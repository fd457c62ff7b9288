//! What the requests of a tree could use if the root had another limit.

use super::FairQueue;
use super::node::{NodeId, to_level};
use super::place::Place;
use crate::plan::{Limit, Part};

impl FairQueue {
    /// Returns the limit of the root that the permits in use and the requests that wait now need: the lowest one that is as useful to them
    /// as `limit`. A request that fits only in part counts with the room that is left for it. The result is higher than the sum of all
    /// these permits if a key needs a higher limit of the root, because the cap of a key is a part of it.
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

    /// Returns the lowest level whose limit would be below `weight` if the root had this limit, and the limit of that level. For a key,
    /// level 0 is the key.
    pub(in crate::gate) fn level_below_weight(
        &self,
        place: &Place,
        weight: u32,
        limit: Limit,
    ) -> Option<(u8, Limit)> {
        let own = match place {
            Place::Gate(_) => None,
            Place::Key(key) if key.parent == NodeId::ROOT => Some(self.root_cap().of_limit(limit)),
            Place::Key(key) => Some(self.key_limit(key.parent)),
        };
        let limit_of = |id| if id == NodeId::ROOT { limit } else { Limit::saturating(self.limit(id).into()) };
        let limits = own.into_iter().chain(self.path(place.declared()).map(limit_of));
        let (level, limit) = limits.enumerate().find(|(_, limit)| weight > limit.get())?;
        Some((to_level(level), limit))
    }

    /// Returns the limit that a node would have if the root had this limit. A paused gate has the limit 0, but a pause of the root is
    /// ignored, because it may only mean that the lease has no permits now.
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
