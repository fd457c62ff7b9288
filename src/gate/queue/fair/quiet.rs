//! The steps of a quiet tree, in which no request waits. They change the permits in use along the path, and nothing else: a node is in the
//! ranks of its parent only while a request waits below it, and only a waiting request can be chosen.

use super::FairQueue;
use super::node::{GateNode, NodeId};
use super::place::Place;

impl FairQueue {
    /// Admits a request if it fits at every level. The caller counts it. Returns `false` if another step must decide. Then nothing has
    /// changed, except that a key may have got a node.
    ///
    /// The caller has checked that no request waits in the tree and that `weight` is not 0.
    #[expect(clippy::inline_always, reason = "benchmark row `key`")]
    #[inline(always)]
    pub(in crate::gate) fn admit_quiet(&mut self, place: &Place, weight: u32) -> bool {
        if self.sheds() || place.is_closed_key() {
            return false;
        }
        let known = self.leaf_of(place);
        let Some(leaf) = known.or_else(|| self.resolve_or_add(place).ok()) else { return false };
        // No node has the number `NONE`, so the path ends there.
        let (nodes, mut id): (&mut [GateNode], _) = (&mut self.nodes, leaf);
        while let Some(node) = nodes.get_mut(id.index()) {
            let in_use = node.in_use.saturating_add(weight);
            if in_use > node.limit || node.is_closed() {
                self.return_below(id, leaf, weight);
                return false;
            }
            node.in_use = in_use;
            id = node.parent;
        }
        true
    }

    /// Gives back the permits that a request took at the nodes from its leaf up to the node without room, which is not changed.
    #[cold]
    fn return_below(&mut self, full: NodeId, leaf: NodeId, weight: u32) {
        let mut id = leaf;
        while id != full {
            let node = &mut self.nodes[id];
            node.in_use = node.in_use.saturating_sub(weight);
            id = node.parent;
        }
    }

    /// Releases permits. Returns `false`, and changes nothing, if another step must release them.
    ///
    /// The caller has checked that no request waits in the tree.
    #[inline]
    pub(in crate::gate) fn release_quiet(&mut self, place: &Place, weight: u32) -> bool {
        if self.sheds() {
            return false;
        }
        let Some(leaf) = self.leaf_of(place) else { return false };
        let nodes: &mut [GateNode] = &mut self.nodes;
        let node = &mut nodes[leaf];
        node.in_use = node.in_use.saturating_sub(weight);
        let (has_become_idle, mut id) = (node.is_unlisted_idle_key(), node.parent);
        while let Some(node) = nodes.get_mut(id.index()) {
            node.in_use = node.in_use.saturating_sub(weight);
            id = node.parent;
        }
        // After the loop, which borrows the nodes: this needs the whole `FairQueue`.
        if has_become_idle {
            self.push_maybe_idle(leaf);
        }
        true
    }
}
