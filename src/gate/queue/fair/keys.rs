//! The keys of a gate: which node a key has, and which keys are idle.

use std::cmp::Reverse;

use super::FairQueue;
use super::node::{GateNode, NodeId, NodeKind, NodeMark};
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
            Place::Key(key) => self.hinted(key).or_else(|| self.find_key(key)),
        }
    }

    /// Returns the node where the requests of a gate wait, or `None` if it is a key that has none.
    #[inline]
    pub(super) fn leaf_of(&self, place: &Place) -> Option<NodeId> {
        match place {
            Place::Gate(id) => Some(self.leaf(*id)),
            Place::Key(_) => self.resolve(place), // a key has no children
        }
    }

    /// Returns the node that a key had when it was last resolved, if it still has it.
    #[inline]
    fn hinted(&self, key: &KeyPlace) -> Option<NodeId> {
        let (id, generation) = key.hint();
        let node = self.nodes.get(id.index())?;
        // With an equal generation, no other key has had this node since. Generations repeat after 2^32 keys, so the hash is compared, too.
        (node.generation == generation && node.is_key_with(key.hash)).then_some(id)
    }

    /// Returns the node of a gate, and adds one for a key that has none. A gate has at most as many nodes for keys as it allows busy keys,
    /// so a key that has a node needs no further check.
    ///
    /// # Errors
    ///
    /// If the key is idle, and as many keys are busy as the gate allows.
    #[inline]
    pub(in crate::gate) fn resolve_or_add(&mut self, place: &Place) -> Result<NodeId, Rejection> {
        match (self.resolve(place), place) {
            (Some(id), _) => Ok(id),
            (None, Place::Gate(id)) => Ok(*id),
            (None, Place::Key(key)) => self.add_key(key).ok_or_else(|| self.too_many_keys(key.parent)),
        }
    }

    #[cold]
    fn too_many_keys(&self, parent: NodeId) -> Rejection {
        let rules = self.child_set(parent).and_then(|child_set| child_set.key_rules);
        let max = rules.map_or(0, |rules| rules.max());
        // `closed_level` counts from the parent, which is one level above the key.
        let closed = self.closed_level(parent).map(|level| AtLevel::new(level.saturating_add(1), 0));
        closed.map_or(Rejection::TooManyKeys(AtLevel::own(max.into())), Rejection::Closed)
    }

    /// Returns the limit of each key of a gate.
    pub(in crate::gate) fn key_limit(&self, parent: NodeId) -> Limit {
        let limit = Limit::saturating(self.limit(parent).into());
        let rules = self.child_set(parent).and_then(|child_set| child_set.key_rules);
        rules.map_or(limit, |rules| rules.cap_part().of_limit(limit))
    }

    /// Searches for the node of a key.
    #[cold]
    fn find_key(&self, place: &KeyPlace) -> Option<NodeId> {
        let is_equal = |id: NodeId| match &self.nodes[id].kind {
            NodeKind::Key { key, hash } => *hash == place.hash && *key == place.key,
            _ => false,
        };
        let id = self.child_set(place.parent)?.keys.find(place.hash, is_equal)?;
        place.set_hint(id, self.nodes[id].generation);
        Some(id)
    }

    /// Returns the number of busy keys of a gate. Visits all nodes: a count would have to change with each permit.
    pub(in crate::gate) fn busy_keys(&self, parent: NodeId) -> usize {
        self.keys(parent).count()
    }

    /// Returns the busy keys of a gate with the permits in use and the requests that wait. Visits all nodes.
    fn keys(&self, parent: NodeId) -> impl Iterator<Item = (&Key, u32, u32)> {
        self.nodes.iter().filter_map(move |node| match &node.kind {
            NodeKind::Key { key, .. } if node.parent == parent && !node.is_idle() => {
                Some((key, node.in_use, node.waiting))
            }
            _ => None,
        })
    }

    /// Returns up to `most` busy keys of a gate, in no order: those with the most requests waiting, and among equals those with the most
    /// permits in use. Visits all nodes.
    pub(in crate::gate) fn busiest_keys(&self, parent: NodeId, most: usize) -> Vec<(&Key, u32, u32)> {
        let mut busy: Vec<_> = self.keys(parent).collect();
        if busy.len() > most {
            busy.select_nth_unstable_by_key(most, |(_, in_use, waiting)| Reverse((*waiting, *in_use)));
            busy.truncate(most);
        }
        busy
    }

    /// Gives a node to a key: the node of an idle key, or a new one. Returns `None` if no key is idle and the gate has as many keys as it
    /// allows.
    #[cold]
    fn add_key(&mut self, place: &KeyPlace) -> Option<NodeId> {
        let KeyPlace { parent, hash, .. } = *place;
        let limit = self.key_limit(parent).get();
        let child_set = self.child_set(parent)?;
        let (rules, known) = (child_set.key_rules?, child_set.keys.len());
        let id = match self.take_idle(parent) {
            Some(id) => id,
            None if known < rules.max() as usize => {
                self.insert(GateNode::new(parent, NodeKind::Free, limit, 1))
            }
            None => return None,
        };
        self.generations = self.generations.wrapping_add(1);
        // The node was idle, so its other fields have the values of a new node, or are meaningless. The lists of its queue are used again.
        let node = &mut self.nodes[id];
        node.limit = limit;
        node.kind = NodeKind::Key { key: place.key.clone(), hash };
        node.generation = self.generations;
        node.queue_bound =
            rules.queue_bound().map_or(u32::MAX, |bound| u32::try_from(bound).unwrap_or(u32::MAX));
        place.set_hint(id, node.generation);
        let Self { nodes, child_sets, .. } = self;
        if let Some(child_set) = child_sets.get_mut(nodes[parent].child_set.0 as usize) {
            child_set.keys.insert(hash, id);
        }
        self.push_maybe_idle(id);
        Some(id)
    }

    /// Takes the node from an idle key of a gate: the first one in the list of keys that may be idle. The time is constant on average,
    /// because the search removes each key that is not idle from the list.
    fn take_idle(&mut self, parent: NodeId) -> Option<NodeId> {
        while let Some(id) = self.child_set(parent)?.maybe_idle.head() {
            self.remove_maybe_idle(id);
            if self.nodes[id].is_idle() {
                self.forget_key(id);
                return Some(id);
            }
        }
        None
    }

    /// Takes the node from a key that is idle.
    fn forget_key(&mut self, id: NodeId) {
        let Self { nodes, child_sets, .. } = self;
        let (parent, hash) = (nodes[id].parent, nodes[id].key_hash());
        if let Some(child_set) = child_sets.get_mut(nodes[parent].child_set.0 as usize) {
            child_set.keys.remove(hash, id);
        }
        nodes[id].kind = NodeKind::Free;
    }

    /// Adds a key to the list of those that may be idle.
    #[inline(never)]
    pub(super) fn push_maybe_idle(&mut self, id: NodeId) {
        let Self { nodes, child_sets, .. } = self;
        let child_set = nodes[nodes[id].parent].child_set;
        if let Some(child_set) = child_sets.get_mut(child_set.0 as usize) {
            child_set.maybe_idle.push_back(nodes, MAYBE_IDLE, id);
            nodes[id].mark = NodeMark::MaybeIdle;
        }
    }

    /// Removes a node from the list of keys that may be idle, if it is there.
    #[inline]
    pub(super) fn remove_maybe_idle(&mut self, id: NodeId) {
        let Self { nodes, child_sets, .. } = self;
        if nodes[id].mark != NodeMark::MaybeIdle {
            return;
        }
        let child_set = nodes[nodes[id].parent].child_set;
        if let Some(child_set) = child_sets.get_mut(child_set.0 as usize) {
            child_set.maybe_idle.remove(nodes, MAYBE_IDLE, id);
            nodes[id].mark = NodeMark::None;
        }
    }

    /// Adds a key to the list of those that may be idle, if it has become idle. The caller has removed a permit or a request of the node.
    #[inline]
    pub(super) fn note_idle(&mut self, id: NodeId) {
        if self.nodes[id].is_unlisted_idle_key() {
            self.push_maybe_idle(id);
        }
    }
}

/// The list of keys that may be idle uses the links of this priority. Its nodes have no waiting request, so no ranks use these links.
const MAYBE_IDLE: Priority = Priority::Normal;
