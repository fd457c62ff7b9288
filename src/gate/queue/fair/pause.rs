//! Pausing a gate of a tree.

use super::FairQueue;
use super::node::{NodeId, to_level};
use crate::gate::priority::PrioritySet;

impl FairQueue {
    /// Pauses a declared gate and its descendants until it is [resumed](Self::resume): sets the limit in its node to 0. Then waiters
    /// elsewhere in the tree may fit, and the caller grants them. Visits all nodes.
    pub(in crate::gate) fn pause(&mut self, id: NodeId) {
        let limit = self.nodes[id].limit;
        if limit == 0 {
            return;
        }
        if let Some(stats) = self.stats_mut(id) {
            stats.paused_limit = limit;
        }
        self.nodes[id].limit = 0;
        self.paused = self.paused.saturating_add(1);
        // A request from here that is chosen at an ancestor cannot be granted during the pause, so it must not keep others waiting.
        let below: Vec<NodeId> = self.waiting_within(id).collect();
        self.update_path(id, PrioritySet::EMPTY, |_, node, _| {
            node.forget_chosen(|chosen| below.contains(&chosen.leaf));
        });
    }

    /// Ends the pause of a gate.
    pub(in crate::gate) fn resume(&mut self, id: NodeId, clock: impl Fn() -> i64) {
        if self.nodes[id].limit > 0 {
            return;
        }
        self.nodes[id].limit = self.limit(id);
        self.paused = self.paused.saturating_sub(1);
        self.update_from(id); // without room, the gate was not ready during the pause
        if self.paused == 0 && self.sheds() {
            self.restart_shedders(clock());
        }
    }

    /// Returns the limit of a node, also that of a paused gate.
    pub(in crate::gate) fn limit(&self, id: NodeId) -> u32 {
        match self.nodes[id].limit {
            0 => self.stats(id).map_or(0, |stats| stats.paused_limit),
            limit => limit,
        }
    }

    /// Returns the level of the ancestor that is paused; 0 is the gate itself. Of several it is the lowest.
    pub(in crate::gate) fn paused_level(&self, id: NodeId) -> Option<u8> {
        self.path(id).position(|id| self.nodes[id].limit == 0).map(to_level)
    }

    /// Returns `true` if a gate of the tree is paused. Then no request is shed: requests may be old because of the pause.
    #[inline]
    pub(super) const fn is_any_paused(&self) -> bool {
        self.paused > 0
    }
}
