//! The keys of a gate: which node a key has, and which keys are idle.

use super::FairQueue;
use super::node::{GateNode, NodeId, NodeKind};
use super::place::{KeyPlace, Place};
use crate::gate::error::{AtLevel, Rejection};
use crate::gate::key::Key;
use crate::gate::priority::Priority;
use crate::plan::Limit;

impl FairQueue {
    /// Returns the node of a gate, or `None` if it is a key that has none.
    #[inline]
    pub(in crate::gate) fn resolve(&self, place: &Place) -> Option<NodeId> {
        match place {
            Place::Gate(id) => Some(*id),
            Place::Key(key) => {
                let (id, generation) = key.hint();
                match self.nodes.get(id) {
                    // No other key has had this node since. Generations repeat after 2^32 keys, so the hash is compared, too.
                    Some(node) if node.generation == generation && node.is_key_with(key.hash) => Some(id),
                    _ => self.find_key(key),
                }
            }
        }
    }

    /// Returns the node of a gate. A key that has none gets one.
    ///
    /// # Errors
    ///
    /// If the key is idle, and as many keys are busy as the gate allows.
    #[inline]
    pub(in crate::gate) fn resolve_or_add(&mut self, place: &Place) -> Result<NodeId, Rejection> {
        let found = self.resolve(place);
        match (place, found) {
            (Place::Gate(id), _) => Ok(*id),
            (Place::Key(_), Some(id)) if !self.nodes[id].is_idle() => Ok(id),
            (Place::Key(key), _) if self.may_be_busy(key.parent) => {
                Ok(found.unwrap_or_else(|| self.add_key(key)))
            }
            (Place::Key(key), _) => Err(self.too_many_keys(key.parent)),
        }
    }

    /// Returns `true` if one more key of a gate may be busy.
    #[inline]
    fn may_be_busy(&self, parent: NodeId) -> bool {
        let family = self.family(parent);
        family.is_some_and(|family| family.key_rules.is_some_and(|rules| family.busy < rules.max()))
    }

    #[cold]
    fn too_many_keys(&self, parent: NodeId) -> Rejection {
        let rules = self.family(parent).and_then(|family| family.key_rules);
        let max = rules.map_or(0, |rules| rules.max());
        // The level counts from the key on.
        let closed = self.closed_level(parent).map(|level| AtLevel::new(level.saturating_add(1), 0));
        closed.map_or(Rejection::TooManyKeys(AtLevel::own(max.into())), Rejection::Closed)
    }

    /// Returns the limit of each key of a gate.
    pub(in crate::gate) fn key_limit(&self, parent: NodeId) -> Limit {
        let limit = Limit::saturating(self.nodes[parent].limit.into());
        let rules = self.family(parent).and_then(|family| family.key_rules);
        rules.map_or(limit, |rules| rules.cap_part().of_limit(limit))
    }

    /// Searches the node of a key.
    #[cold]
    fn find_key(&self, place: &KeyPlace) -> Option<NodeId> {
        let is_equal = |id: NodeId| match &self.nodes[id].kind {
            NodeKind::Key { key, hash } => *hash == place.hash && *key == place.key,
            _ => false,
        };
        let id = self.family(place.parent)?.keys.find(place.hash, is_equal)?;
        place.set_hint(id, self.nodes[id].generation);
        Some(id)
    }

    /// Returns `true` if a gate has keys.
    #[cfg(test)]
    pub(super) fn has_keys(&self, id: NodeId) -> bool {
        self.family(id).is_some_and(|family| family.key_rules.is_some())
    }

    /// Returns the number of busy keys of a gate.
    pub(in crate::gate) fn busy_keys(&self, parent: NodeId) -> usize {
        self.family(parent).map_or(0, |family| family.busy as usize)
    }

    /// Returns the busy keys of a gate with the permits in use and the requests that wait. Visits all nodes.
    pub(in crate::gate) fn keys(&self, parent: NodeId) -> impl Iterator<Item = (&Key, u32, u32)> {
        self.nodes.iter().filter_map(move |node| match &node.kind {
            NodeKind::Key { key, .. } if node.parent == parent && !node.is_idle() => {
                Some((key, node.in_use, node.waiting))
            }
            _ => None,
        })
    }

    /// Gives a node to a key: one that is free, or that of the key that has been idle for longest.
    #[cold]
    fn add_key(&mut self, place: &KeyPlace) -> NodeId {
        let KeyPlace { parent, hash, .. } = *place;
        let limit = self.key_limit(parent).get();
        let bound = self.family(parent).and_then(|family| family.key_rules?.queue_bound());
        let id = match self.free_nodes.pop() {
            Some(id) => id,
            None => match self.idle.head() {
                Some(id) => {
                    self.idle.remove(&mut self.nodes, IDLE, id);
                    self.forget_key(id);
                    id
                }
                None => self.insert(GateNode::new(parent, NodeKind::Free, limit, 1)),
            },
        };
        self.generations = self.generations.wrapping_add(1);
        // The node was idle, so the rest of it is as it was when it was new. The lists of its queue are used again.
        let node = &mut self.nodes[id];
        (node.parent, node.limit, node.share) = (parent, limit, 1);
        node.kind = NodeKind::Key { key: place.key.clone(), hash };
        node.generation = self.generations;
        node.queue_bound = bound.map_or(u32::MAX, |bound| u32::try_from(bound).unwrap_or(u32::MAX));
        place.set_hint(id, node.generation);
        self.idle.push_back(&mut self.nodes, IDLE, id);
        let Self { nodes, families, .. } = self;
        if let Some(family) = families.get_mut(nodes[parent].family.0 as usize) {
            family.keys.insert(hash, id, |id| nodes[id].key_hash());
        }
        id
    }

    /// Takes the node from a key that is idle.
    fn forget_key(&mut self, id: NodeId) {
        let Self { nodes, families, .. } = self;
        let (parent, hash) = (nodes[id].parent, nodes[id].key_hash());
        if let Some(family) = families.get_mut(nodes[parent].family.0 as usize) {
            family.keys.remove(hash, id, |id| nodes[id].key_hash());
        }
        nodes[id].kind = NodeKind::Free;
    }

    /// Notes that a permit or a request of a node is about to be counted.
    #[inline]
    pub(super) fn note_busy(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        if node.is_idle() && node.is_key() {
            let family = self.nodes[node.parent].family;
            self.idle.remove(&mut self.nodes, IDLE, id);
            if let Some(family) = self.families.get_mut(family.0 as usize) {
                family.busy = family.busy.saturating_add(1);
            }
        }
    }

    /// Notes that a permit or a request of a node is gone: a key may be idle now.
    #[inline]
    pub(super) fn note_idle(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        if node.is_idle() && node.is_key() {
            let family = self.nodes[node.parent].family;
            if let Some(family) = self.families.get_mut(family.0 as usize) {
                family.busy = family.busy.saturating_sub(1);
            }
            self.idle.push_back(&mut self.nodes, IDLE, id);
        }
    }
}

/// The links that the list of idle keys uses. An idle node stands in no ranks, so they are free.
pub(super) const IDLE: Priority = Priority::Normal;
