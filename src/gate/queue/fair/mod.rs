//! The fair queue: the requests of a tree of gates, and which of them is granted next.
//!
//! A node of the tree is a gate: the root, a declared child, or a key. A permit of a node is in use at the node and at each of its
//! ancestors. The requests made directly on a gate that has children wait in a node of their own beside the children.
//!
//! The next request is searched from the root downwards, at a moment when there is room. At each node the search takes
//!
//! 1. the lowest priority that was passed [`MAX_PASSED`] times, at this node or an ancestor; if there is none, the highest ready one;
//! 2. among the children that are ready for this priority, the one with the least permits in use per weight;
//! 3. among equals, the one that has been equal for longest;
//!
//! and in a leaf the request that arrived first. That is max-min fairness in permits in use. It needs no clock and no estimate.
//!
//! A node is *ready* if it has room, and a child of it is ready, or a request waits in it. If the request that was found does not fit
//! at some node, it stays *chosen* there: no other request passes this node before it is granted or leaves, so a heavy request is
//! not starved. A request that is heavier than the limit of a node on its path only stops the requests behind it in its leaf.

mod books;
mod idle_list;
mod key_index;
mod leaf;
mod node;
mod place;
mod ranks;

use std::iter;
use std::mem;
use std::pin::Pin;
use std::task::Waker;

use idle_list::IdleList;
use key_index::KeyIndex;
use node::{ChosenRequest, GateNode, NodeKind, Nodes};
use place::KeyPlace;
use ranks::Ranks;

pub(in crate::gate) use node::NodeId;
pub(in crate::gate) use place::Place;

use super::list::{Visit, Waiter};
use super::waiter::{Removal, Removed, WaiterRules, WaitingRequest};
use crate::gate::books::{Books, add};
use crate::gate::error::{AtLevel, Rejection};
use crate::gate::key::Key;
use crate::gate::priority::{CLASSES, Priority, PrioritySet};
use crate::gate::timer::TimerId;
use crate::plan::{Keys, Limit};

/// How often requests of a lower priority are passed before one of them is granted.
pub(super) const MAX_PASSED: u8 = 16;

/// The fair queue of a tree of gates. Its steps take time in proportion to the depth of the tree, unless their documentation says
/// otherwise.
pub(in crate::gate) struct FairQueue {
    nodes: Nodes,
    free_nodes: Vec<NodeId>,
    /// The idle keys, whose nodes are used for other keys before the number of nodes grows.
    idle: IdleList,
    families: Vec<Family>,
    free_families: Vec<u32>,
    /// The generation of the last key that got a node.
    generations: u32,
}

/// The children of one node.
#[derive(Default)]
struct Family {
    /// The node of the requests made directly on the parent.
    direct: Option<NodeId>,
    /// For each priority, the children that are ready for it.
    ranks: [Ranks; CLASSES],
    /// The priorities for which a child is ready.
    ready: PrioritySet,
    /// The keys that have a node, also those that are idle.
    keys: KeyIndex,
    /// The number of busy keys.
    busy: u32,
    /// `None` if the parent has no keys.
    key_rules: Option<Keys>,
}

impl Family {
    /// Ranks a child anew for the priorities for which it is ready, if these or its permits in use have changed.
    fn rank(&mut self, nodes: &mut Nodes, id: NodeId) {
        let node = &mut nodes[id];
        let (ready, in_use) = (node.ready, node.in_use);
        if ready == node.ranked && (in_use == node.ranked_use || ready.is_empty()) {
            return;
        }
        let (ranked, ranked_use) =
            (mem::replace(&mut node.ranked, ready), mem::replace(&mut node.ranked_use, in_use));
        let (removed, added) =
            if ranked_use == in_use { (ranked.minus(ready), ready.minus(ranked)) } else { (ranked, ready) };
        for priority in removed.iter() {
            let ranks = &mut self.ranks[priority.index()];
            ranks.remove(nodes, priority, id, ranked_use);
            if ranks.is_empty() {
                self.ready = self.ready.without(priority);
            }
        }
        for priority in added.iter() {
            self.ranks[priority.index()].insert(nodes, priority, id);
            self.ready = self.ready.with(priority);
        }
    }
}

/// What is known about a gate when it is added.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct NodeRules {
    pub(in crate::gate) limit: Limit,
    pub(in crate::gate) share: u32,
    pub(in crate::gate) queue_bound: u32,
    /// Whether the gate may have children. A gate with keys may.
    pub(in crate::gate) is_parent: bool,
    pub(in crate::gate) keys: Option<Keys>,
    pub(in crate::gate) measures_waits: bool,
}

/// The numbers of one gate.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gate) struct NodeStatus {
    pub(in crate::gate) limit: u32,
    pub(in crate::gate) in_use: u32,
    pub(in crate::gate) waiting: u32,
}

/// Why a request cannot be admitted, and at which level: 0 is the gate of the request, 1 its parent, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Obstacle {
    Closed { level: u8 },
    TooLarge { level: u8, limit: u32 },
}

/// Whether one more request may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum QueueRoom {
    Free,
    /// The queue of this level is full.
    Full {
        level: u8,
        bound: u32,
    },
    /// The queue of this level is full, and the last request of a longer queue can be removed: that of this node.
    PushOut {
        at: NodeId,
        bound: u32,
        longest: NodeId,
    },
}

impl FairQueue {
    pub(in crate::gate) fn new(root: NodeRules) -> Self {
        let mut queue = Self {
            nodes: Nodes(Vec::new()),
            free_nodes: Vec::new(),
            idle: IdleList::default(),
            generations: 0,
            families: Vec::new(),
            free_families: Vec::new(),
        };
        queue.add(NodeId::NONE, NodeRules { is_parent: true, ..root });
        queue
    }

    /// Adds a child of a parent.
    pub(in crate::gate) fn add(&mut self, parent: NodeId, rules: NodeRules) -> NodeId {
        let NodeRules { limit, share, queue_bound, is_parent, keys, measures_waits } = rules;
        let kind = NodeKind::Gate;
        let books = Some(Box::new(Books::new(measures_waits)));
        let id =
            self.insert(GateNode { queue_bound, books, ..GateNode::new(parent, kind, limit.get(), share) });
        if is_parent || keys.is_some() {
            let direct = self.insert(GateNode::new(id, NodeKind::Direct, Limit::MAX.get(), 1));
            let family = Family { direct: Some(direct), key_rules: keys, ..Family::default() };
            let index = if let Some(index) = self.free_families.pop() {
                self.families[index as usize] = family;
                index
            } else {
                self.families.push(family);
                u32::try_from(self.families.len()).unwrap_or(u32::MAX).saturating_sub(1)
            };
            self.nodes[id].kind = NodeKind::Parent { family: index };
        }
        id
    }

    /// Removes a declared gate whose last handle is gone. Its permits, requests, children and keys held handles, so it is idle, unless
    /// permits were forgotten or futures were leaked. These stay counted.
    pub(in crate::gate) fn drop_handles(&mut self, id: NodeId) {
        if id != NodeId::ROOT && self.nodes[id].is_idle() {
            self.remove(id);
        }
    }

    /// Returns the node of a gate, or `None` if it is a key that has none.
    #[inline]
    pub(in crate::gate) fn resolve(&self, place: &Place) -> Option<NodeId> {
        match place {
            Place::Gate(id) => Some(*id),
            Place::Key(key) => {
                let (id, generation) = key.hint();
                match self.nodes.0.get(id.0 as usize) {
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
        let Place::Key(key) = place else { return Ok(found.unwrap_or(NodeId::ROOT)) };
        if let Some(id) = found.filter(|id| !self.nodes[*id].is_idle()) {
            return Ok(id);
        }
        let family = self.family(key.parent);
        let max = family.and_then(|family| family.key_rules).map_or(0, |rules| rules.max());
        if family.is_none_or(|family| family.busy >= max) {
            // The level counts from the key on.
            let closed = self.closed_level(key.parent).map(|level| AtLevel::new(level.saturating_add(1), 0));
            return Err(closed.map_or(Rejection::TooManyKeys(AtLevel::own(max.into())), Rejection::Closed));
        }
        Ok(found.unwrap_or_else(|| self.add_key(key)))
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
    fn has_keys(&self, id: NodeId) -> bool {
        self.family(id).is_some_and(|family| family.key_rules.is_some())
    }

    /// Returns the number of busy keys of a gate.
    pub(in crate::gate) fn busy_keys(&self, parent: NodeId) -> usize {
        self.family(parent).map_or(0, |family| family.busy as usize)
    }

    /// Returns the busy keys of a gate with the permits in use and the requests that wait.
    pub(in crate::gate) fn keys(&self, parent: NodeId) -> impl Iterator<Item = (&Key, u32, u32)> {
        self.nodes.0.iter().filter_map(move |node| match &node.kind {
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
            None => match self.idle.pop_oldest(&mut self.nodes) {
                Some(id) => {
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
        self.idle.push(&mut self.nodes, id);
        let Self { nodes, families, .. } = self;
        if let Some(index) = nodes[parent].family() {
            families[index as usize].keys.insert(hash, id, |id| key_hash(nodes, id));
        }
        id
    }

    /// Takes the node from a key that is idle.
    fn forget_key(&mut self, id: NodeId) {
        let Self { nodes, families, .. } = self;
        let (parent, hash) = (nodes[id].parent, key_hash(nodes, id));
        if let Some(index) = nodes[parent].family() {
            families[index as usize].keys.remove(hash, id, |id| key_hash(nodes, id));
        }
        nodes[id].kind = NodeKind::Free;
    }

    /// Notes that a permit or a request of a node is about to be counted.
    #[inline]
    fn note_busy(&mut self, id: NodeId) {
        if self.nodes[id].is_idle() && matches!(self.nodes[id].kind, NodeKind::Key { .. }) {
            self.idle.remove(&mut self.nodes, id);
            let Self { nodes, families, .. } = self;
            if let Some(index) = nodes[nodes[id].parent].family() {
                families[index as usize].busy = families[index as usize].busy.saturating_add(1);
            }
        }
    }

    /// Notes that a permit or a request of a node is gone: a key may be idle now.
    #[inline]
    fn note_idle(&mut self, id: NodeId) {
        if self.nodes[id].is_idle() && matches!(self.nodes[id].kind, NodeKind::Key { .. }) {
            let Self { nodes, families, .. } = self;
            if let Some(index) = nodes[nodes[id].parent].family() {
                families[index as usize].busy = families[index as usize].busy.saturating_sub(1);
            }
            self.idle.push(&mut self.nodes, id);
        }
    }

    /// Returns why a request can never be admitted under the present limits.
    pub(in crate::gate) fn obstacle(
        &self,
        place: NodeId,
        weight: u32,
        waits_for_limit: bool,
    ) -> Option<Obstacle> {
        if let Some(level) = self.closed_level(place) {
            return Some(Obstacle::Closed { level });
        }
        let levels = || self.path(place).enumerate();
        let bound = |id: NodeId| if waits_for_limit { Limit::MAX.get() } else { self.nodes[id].limit };
        levels()
            .map(|(level, id)| (level, bound(id)))
            .find(|(_, bound)| weight > *bound)
            .map(|(level, limit)| Obstacle::TooLarge { level: to_level(level), limit })
    }

    /// Admits a request if it fits at every level and goes before all that wait. Returns `false`, and changes nothing, if not.
    #[inline]
    pub(in crate::gate) fn admit(&mut self, place: NodeId, priority: Priority, weight: u32) -> bool {
        let leaf = self.leaf(place);
        let mut id = leaf;
        while id != NodeId::NONE {
            let node = &self.nodes[id];
            if node.available() < weight || node.chosen.is_some() || node.is_closed {
                return false;
            }
            id = node.parent;
        }
        // Every request that waits lacks room at some node, or is behind one that does. So a request that fits goes before it, unless
        // it is in the same leaf.
        let waiting = self.nodes[leaf].queue.waiting();
        if !waiting.is_empty() {
            let is_behind = self.candidates(leaf).highest().is_some_and(|first| first > priority);
            if is_behind || waiting.contains(priority) {
                return false;
            }
        }
        self.note_busy(leaf);
        self.change_use(leaf, |in_use| in_use.saturating_add(weight));
        true
    }

    /// Returns `true` if nothing keeps a request from waiting: no level is closed, has a lower limit, or has a full queue.
    #[inline]
    pub(in crate::gate) fn may_wait(&self, place: NodeId, weight: u32, waits_for_limit: bool) -> bool {
        let mut id = place;
        while id != NodeId::NONE {
            let node = &self.nodes[id];
            let is_too_large = weight > node.limit && !waits_for_limit;
            if node.is_closed || is_too_large || node.waiting >= node.queue_bound {
                return false;
            }
            id = node.parent;
        }
        weight <= Limit::MAX.get()
    }

    /// Returns the lowest level that has no room for a request that was not admitted, or 0 if it is behind another one.
    pub(in crate::gate) fn full_level(&self, place: NodeId, weight: u32) -> u8 {
        to_level(self.path(place).position(|id| self.nodes[id].available() < weight).unwrap_or(0))
    }

    /// Returns permits that were in use at this gate.
    fn release_at(&mut self, place: NodeId, weight: u32) {
        let leaf = self.leaf(place);
        self.change_use(leaf, |in_use| in_use.saturating_sub(weight));
        self.note_idle(leaf);
    }

    /// Returns whether one more request may wait at this gate. Visits all nodes if a queue with a bound is full.
    pub(in crate::gate) fn queue_room(&self, place: NodeId) -> QueueRoom {
        for (level, id) in self.path(place).enumerate() {
            let GateNode { waiting, queue_bound: bound, .. } = self.nodes[id];
            if waiting < bound {
                continue;
            }
            let own = self.nodes[self.leaf(place)].waiting;
            let leaves = self.nodes_within(id).filter(|leaf| self.nodes[*leaf].family().is_none());
            let longest = leaves.max_by_key(|leaf| self.nodes[*leaf].waiting);
            return match longest {
                Some(longest) if level > 0 && self.nodes[longest].waiting > own => {
                    QueueRoom::PushOut { at: id, bound, longest }
                }
                _ => QueueRoom::Full { level: to_level(level), bound },
            };
        }
        QueueRoom::Free
    }

    /// Removes the newest request of the lowest priority that waits in this leaf.
    pub(in crate::gate) fn push_out(&mut self, leaf: NodeId, removal: Removal) -> Option<Removed> {
        let (priority, removed) = self.nodes[leaf].queue.pop_last(removal)?;
        let lost_first = if removed.was_head { PrioritySet::of(priority) } else { PrioritySet::EMPTY };
        self.finish_removal(leaf, lost_first, 1);
        self.count_at(leaf, |books| add(&mut books.queue.pushed_out, 1));
        Some(removed)
    }

    /// Puts a request behind those of its priority at this gate. It must not fit now.
    pub(in crate::gate) fn enqueue(
        &mut self,
        place: NodeId,
        waiter: Pin<&mut Waiter>,
        request: WaitingRequest,
        waker: Waker,
    ) {
        let leaf = self.leaf(place);
        self.note_busy(leaf);
        self.nodes[leaf].queue.enqueue(waiter, request, waker);
        self.for_path(leaf, |node| node.waiting = node.waiting.saturating_add(1));
        self.rank_path(leaf);
        // If there is room, but not enough for this request, it may be the chosen one from now on.
        let granted = self.choose();
        debug_assert!(granted.is_none(), "a request that fits is admitted on arrival");
    }

    /// Removes the request that is granted next, and takes its permits. Returns its leaf.
    fn next(&mut self) -> Option<(NodeId, Removed)> {
        if self.nodes[NodeId::ROOT].ready.is_empty() {
            return None;
        }
        let granted = self.choose()?;
        let ChosenRequest { leaf, priority, weight } = granted;
        let removed = self.nodes[leaf].queue.pop_first(priority, Removal::Admitted)?;
        let chosen_at = self.path(leaf).find(|id| self.nodes[*id].chosen == Some(granted));
        let Self { nodes, families, .. } = self;
        let (mut id, mut was_chosen) = (leaf, chosen_at.is_some());
        while id != NodeId::NONE {
            // Counts the grant against the lower priorities that it passes. The ranks still are those from before the grant. Up to the
            // node where the request was chosen, the choice was made before.
            let passed = if was_chosen {
                PrioritySet::EMPTY
            } else {
                candidates(&nodes[id], families).below(priority)
            };
            was_chosen &= Some(id) != chosen_at;
            let node = &mut nodes[id];
            for passed in passed.iter() {
                node.passed[passed.index()] = node.passed[passed.index()].saturating_add(1);
            }
            node.passed[priority.index()] = 0;
            node.in_use = node.in_use.saturating_add(weight);
            node.waiting = node.waiting.saturating_sub(1);
            if node.chosen == Some(granted) {
                node.chosen = None;
            }
            id = node.parent;
        }
        self.rank_path(leaf);
        Some((leaf, removed))
    }

    /// Removes one request for another reason. Returns `None` if it does not wait at this gate.
    fn cancel_at(&mut self, place: NodeId, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let leaf = self.leaf(place);
        let priority = waiter.priority();
        let removed = self.nodes[leaf].queue.remove(waiter, removal)?;
        let lost_first = if removed.was_head { PrioritySet::of(priority) } else { PrioritySet::EMPTY };
        self.finish_removal(leaf, lost_first, 1);
        Some(removed)
    }

    /// Sets the limit of a gate, and that of its keys. Removes the requests whose weight is above the limit of a level,
    /// unless they wait for the limit. Visits all nodes.
    pub(in crate::gate) fn set_limit(
        &mut self,
        place: NodeId,
        limit: Limit,
        mut on_removed: impl FnMut(Removed),
    ) {
        self.nodes[place].limit = limit.get();
        let key_limit = self.key_limit(place);
        for id in self.collect_within(place) {
            if self.nodes[id].parent == place && matches!(self.nodes[id].kind, NodeKind::Key { .. }) {
                self.nodes[id].limit = key_limit.get();
            }
            let node = &mut self.nodes[id];
            node.awaits_limit = PrioritySet::EMPTY;
            node.chosen = node.chosen.filter(|chosen| chosen.weight <= node.limit);
            if node.family().is_none() {
                self.remove_too_large(id, &mut on_removed);
            }
            self.rank_path(id);
        }
    }

    /// Closes a gate with its descendants, and removes their requests. Visits all nodes.
    pub(in crate::gate) fn close(&mut self, place: NodeId, mut on_removed: impl FnMut(Removed)) {
        if !matches!(self.nodes[place].kind, NodeKind::Key { .. }) {
            self.nodes[place].is_closed = true; // a key is closed in its handle
        }
        for id in self.collect_within(place) {
            if self.nodes[id].waiting > 0 && self.nodes[id].family().is_none() {
                let removal = Removal::Closed { level: self.level(id, place) };
                self.remove_where(id, removal, |_, _| Visit::Remove, &mut on_removed);
            }
        }
    }

    /// Removes the `due` requests of this timer whose deadline has passed. Visits the nodes up to the last of them.
    fn expire(&mut self, timer: TimerId, due: usize, now: i64, mut on_removed: impl FnMut(Removed)) {
        let mut left = due;
        for index in 0..self.nodes.0.len() {
            let id = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
            if left == 0 {
                return;
            }
            if self.nodes[id].queue.waiting().is_empty() {
                continue;
            }
            let visit = |request: &WaitingRequest, _| Visit::if_expired(request, timer, now, &mut left);
            self.remove_where(id, Removal::Expired(now), visit, &mut on_removed);
        }
    }

    /// Marks the requests of a timer that will not fire, and passes their wakers to `wake`. Visits all nodes.
    fn lose_timer(&mut self, timer: TimerId, mut wake: impl FnMut(Waker)) {
        for node in &mut self.nodes.0 {
            node.queue.mark_timer_lost(timer, &mut wake);
        }
    }

    /// Replaces the waker of a request, and returns the waker that is no longer needed.
    fn replace_waker_at(&mut self, place: NodeId, waiter: Pin<&mut Waiter>, waker: Waker) -> Option<Waker> {
        let leaf = self.leaf(place);
        self.nodes[leaf].queue.replace_waker(waiter, waker)
    }

    /// Returns a request by its waiter, if it waits at this gate.
    fn request_at(&mut self, place: NodeId, waiter: Pin<&mut Waiter>) -> Option<&mut WaitingRequest> {
        let leaf = self.leaf(place);
        self.nodes[leaf].queue.request_mut(waiter)
    }

    /// Changes the books of the gate whose requests wait in this node: for a key, the books of its parent.
    #[inline]
    pub(in crate::gate) fn count_at(&mut self, id: NodeId, mut change: impl FnMut(&mut Books)) {
        let counted = match self.nodes[id].kind {
            NodeKind::Direct | NodeKind::Key { .. } => self.nodes[id].parent,
            NodeKind::Gate | NodeKind::Parent { .. } | NodeKind::Free => id,
        };
        if let Some(books) = self.nodes[counted].books.as_deref_mut() {
            change(books);
        }
    }

    /// Returns `true` if a permit is in use or a request waits here.
    fn is_node_busy(&self, id: NodeId) -> bool {
        let node = &self.nodes[id];
        !matches!(node.kind, NodeKind::Free) && !node.is_idle()
    }

    /// Returns the books of a declared gate.
    pub(in crate::gate) fn books(&self, id: NodeId) -> Option<&Books> {
        self.nodes[id].books.as_deref()
    }

    /// Returns the books of a gate and of those below it. Visits all nodes.
    pub(in crate::gate) fn books_within(&self, top: NodeId) -> impl Iterator<Item = &Books> {
        self.nodes_within(top).filter_map(|id| self.nodes[id].books.as_deref())
    }

    /// Returns the books of a declared gate.
    pub(in crate::gate) fn books_mut(&mut self, id: NodeId) -> Option<&mut Books> {
        self.nodes[id].books.as_deref_mut()
    }

    /// Returns the requests that wait at a gate itself or at its keys.
    pub(in crate::gate) fn counted_waiting(&self, id: NodeId) -> u32 {
        if self.family(id).is_none() {
            return self.nodes[id].waiting;
        }
        let of_children = self.nodes.0.iter().filter(|node| {
            node.parent == id && matches!(node.kind, NodeKind::Gate | NodeKind::Parent { .. })
        });
        of_children.fold(self.nodes[id].waiting, |waiting, child| waiting.saturating_sub(child.waiting))
    }

    /// Returns the permits in use and the requests that wait at a gate and below, and its limit.
    pub(in crate::gate) fn node(&self, id: NodeId) -> NodeStatus {
        let GateNode { limit, in_use, waiting, .. } = self.nodes[id];
        NodeStatus { limit, in_use, waiting }
    }

    /// Returns the level of the ancestor that was closed: of several the one furthest up, because its descendants are closed with it.
    pub(in crate::gate) fn closed_level(&self, id: NodeId) -> Option<u8> {
        let closed = self.path(id).enumerate().filter(|(_, id)| self.nodes[*id].is_closed);
        closed.last().map(|(level, _)| to_level(level))
    }

    /// Returns the number of requests that wait in the tree.
    #[inline]
    pub(in crate::gate) fn waiting(&self) -> u32 {
        self.nodes[NodeId::ROOT].waiting
    }
}

/// Removes the waiters that are left. Their futures were leaked, so no owner can poll or drop them any more.
impl Drop for FairQueue {
    fn drop(&mut self) {
        for node in &mut self.nodes.0 {
            let removal = Removal::Closed { level: 0 };
            node.queue.remove_where(removal, |_, _| Visit::Remove, Removed::discard);
        }
    }
}

/// How the search for the next request works.
impl FairQueue {
    /// Chooses the request that is granted next, if it fits at every level. If the request that is found does not fit at some node, it
    /// becomes the chosen request of that node, and the search begins again.
    fn choose(&mut self) -> Option<ChosenRequest> {
        // Each round makes a node unready, so the rounds end.
        while !self.nodes[NodeId::ROOT].ready.is_empty() {
            let (leaf, priority) = self.search()?;
            let weight = self.nodes[leaf].queue.first_weight(priority)?;
            let request = ChosenRequest { leaf, priority, weight };
            let Some(full) = self.path(leaf).find(|id| self.nodes[*id].available() < weight) else {
                return Some(request);
            };
            // Wherever it was chosen before, it lacks room here now.
            self.for_path(leaf, |node| node.chosen = node.chosen.filter(|chosen| *chosen != request));
            if self.path(leaf).any(|id| weight > self.nodes[id].limit) {
                self.nodes[leaf].awaits_limit = self.nodes[leaf].awaits_limit.with(priority);
            } else {
                self.nodes[full].chosen = Some(request);
            }
            self.rank_path(leaf);
        }
        None
    }

    /// Searches from the root downwards. Returns a leaf and the priority whose first request is next there.
    fn search(&self) -> Option<(NodeId, Priority)> {
        let (mut at, mut forced) = (NodeId::ROOT, None);
        loop {
            let node = &self.nodes[at];
            if let Some(ChosenRequest { leaf, priority, .. }) = node.chosen {
                return Some((leaf, priority));
            }
            let candidates = candidates(node, &self.families);
            // A priority that is due further up is due here, too, unless a lower one is due here. The lower one passes no other.
            let is_due = |priority: &Priority| {
                candidates.contains(*priority) && node.passed[priority.index()] >= MAX_PASSED
            };
            let due = Priority::ALL.into_iter().find(is_due);
            forced = match (forced, due) {
                (Some(forced), Some(due)) => Some(due.min(forced)),
                (forced, due) => forced.or(due),
            };
            let priority = forced.or(candidates.highest())?;
            match node.family() {
                None => return Some((at, priority)),
                Some(index) => at = self.families[index as usize].ranks[priority.index()].first()?,
            }
        }
    }

    /// Updates from this node to the root which nodes are ready, and their ranks.
    fn rank_path(&mut self, from: NodeId) {
        let Self { nodes, families, .. } = self;
        let mut id = from;
        while id != NodeId::NONE {
            let candidates = candidates(&nodes[id], families);
            let node = &mut nodes[id];
            let available = node.available();
            let ready = match node.chosen {
                _ if available == 0 => PrioritySet::EMPTY,
                None => candidates,
                Some(chosen) if chosen.weight > available => PrioritySet::EMPTY,
                Some(chosen) => PrioritySet::of(chosen.priority),
            };
            node.ready = ready;
            // Not for a priority that is not ready: it may lack room for a moment only.
            if node.waiting == 0 {
                node.passed = [0; CLASSES];
            }
            let parent = node.parent;
            if let Some(index) = parent_family(nodes, parent) {
                families[index as usize].rank(nodes, id);
            }
            id = parent;
        }
    }

    /// Changes the permits in use from this leaf to the root.
    fn change_use(&mut self, leaf: NodeId, change: impl Fn(u32) -> u32) {
        self.for_path(leaf, |node| node.in_use = change(node.in_use));
        if self.waiting() > 0 {
            self.rank_path(leaf);
        }
    }

    /// Removes requests of one leaf, and updates the nodes up to the root.
    fn remove_where(
        &mut self,
        leaf: NodeId,
        removal: Removal,
        visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut on_removed: impl FnMut(Removed),
    ) {
        let mut count = 0_u32;
        let lost_first = self.nodes[leaf].queue.remove_where(removal, visit, |removed| {
            count = count.saturating_add(1);
            on_removed(removed);
        });
        self.finish_removal(leaf, lost_first, count);
        self.count_at(leaf, |books| {
            let total = match removal {
                Removal::Expired(_) => &mut books.queue.expired,
                Removal::Closed { .. } => &mut books.queue.closed,
                Removal::TooLarge { .. } => &mut books.queue.too_large,
                Removal::QueueFull { .. } => &mut books.queue.pushed_out,
                Removal::Admitted | Removal::Cancelled => return, // counted by the caller
            };
            add(total, count as usize);
        });
    }

    /// Removes the requests of a leaf whose weight is above the lowest limit on the path, unless they wait for the limit.
    fn remove_too_large(&mut self, leaf: NodeId, on_removed: &mut impl FnMut(Removed)) {
        let lowest = self.path(leaf).min_by_key(|id| self.nodes[*id].limit);
        let Some((at, limit)) = lowest.map(|id| (id, self.nodes[id].limit)) else { return };
        if self.nodes[leaf].waiting == 0 || self.nodes[leaf].queue.max_weight() <= limit {
            return;
        }
        self.nodes[leaf].queue.set_max_weight(limit);
        let removal =
            Removal::TooLarge { limit: Limit::saturating(limit.into()), level: self.level(leaf, at) };
        let visit = |request: &WaitingRequest, rules| Visit::if_too_large(request, rules, limit);
        self.remove_where(leaf, removal, visit, on_removed);
    }

    /// Updates the nodes from a leaf to the root after requests have left the leaf: `lost_first` are the priorities whose first
    /// request is gone.
    fn finish_removal(&mut self, leaf: NodeId, lost_first: PrioritySet, count: u32) {
        let is_gone = |chosen: &ChosenRequest| chosen.leaf == leaf && lost_first.contains(chosen.priority);
        self.for_path(leaf, |node| {
            node.waiting = node.waiting.saturating_sub(count);
            node.chosen = node.chosen.filter(|chosen| !is_gone(chosen));
        });
        if !lost_first.is_empty() {
            let awaits_limit = self.nodes[leaf].awaits_limit;
            self.nodes[leaf].awaits_limit = awaits_limit.minus(lost_first);
            self.rank_path(leaf);
        }
        // Last: an idle node stands in no ranks.
        if count > 0 {
            self.note_idle(leaf);
        }
    }

    fn candidates(&self, id: NodeId) -> PrioritySet {
        candidates(&self.nodes[id], &self.families)
    }
}

/// The shape of the tree.
impl FairQueue {
    fn insert(&mut self, node: GateNode) -> NodeId {
        if let Some(id) = self.free_nodes.pop() {
            self.nodes[id] = node;
            return id;
        }
        self.nodes.0.push(node);
        NodeId(u32::try_from(self.nodes.0.len()).unwrap_or(u32::MAX).saturating_sub(1))
    }

    /// Removes the node of a declared gate.
    fn remove(&mut self, id: NodeId) {
        let Self { nodes, families, .. } = self;
        let kind = mem::replace(&mut nodes[id].kind, NodeKind::Free);
        nodes[id].books = None;
        nodes[id].is_closed = false;
        if let NodeKind::Parent { family } = kind {
            let direct = families[family as usize].direct.take();
            self.free_families.push(family);
            if let Some(direct) = direct {
                self.nodes[direct].kind = NodeKind::Free;
                self.free_nodes.push(direct);
            }
            // Its keys are idle.
            for index in 0..self.nodes.0.len() {
                let key = NodeId(u32::try_from(index).unwrap_or(u32::MAX));
                if self.nodes[key].parent == id && matches!(self.nodes[key].kind, NodeKind::Key { .. }) {
                    self.idle.remove(&mut self.nodes, key);
                    self.nodes[key].kind = NodeKind::Free;
                    self.free_nodes.push(key);
                }
            }
        }
        self.free_nodes.push(id);
    }

    fn family(&self, id: NodeId) -> Option<&Family> {
        self.families.get(self.nodes[id].family()? as usize)
    }

    /// Returns where the requests made on a gate wait.
    #[inline]
    fn leaf(&self, place: NodeId) -> NodeId {
        self.family(place).and_then(|family| family.direct).unwrap_or(place)
    }

    /// Returns this node and its ancestors, up to the root.
    #[inline]
    fn path(&self, from: NodeId) -> impl Iterator<Item = NodeId> {
        let parent = |id: &NodeId| Some(self.nodes[*id].parent).filter(|parent| *parent != NodeId::NONE);
        iter::successors(Some(from), parent)
    }

    #[inline]
    fn for_path(&mut self, from: NodeId, mut change: impl FnMut(&mut GateNode)) {
        let mut id = from;
        while id != NodeId::NONE {
            change(&mut self.nodes[id]);
            id = self.nodes[id].parent;
        }
    }

    /// Returns the nodes that are `top` or below it.
    fn nodes_within(&self, top: NodeId) -> impl Iterator<Item = NodeId> {
        let ids = (0..self.nodes.0.len()).filter_map(|index| u32::try_from(index).ok()).map(NodeId);
        ids.filter(move |id| {
            !matches!(self.nodes[*id].kind, NodeKind::Free) && self.path(*id).any(|id| id == top)
        })
    }

    fn collect_within(&self, top: NodeId) -> Vec<NodeId> {
        self.nodes_within(top).collect()
    }

    /// Returns the level of an ancestor, as the gate of this node counts: its own level is 0.
    pub(in crate::gate) fn level(&self, id: NodeId, ancestor: NodeId) -> u8 {
        let steps = to_level(self.path(id).position(|id| id == ancestor).unwrap_or(0));
        match self.nodes[id].kind {
            NodeKind::Direct => steps.saturating_sub(1), // its gate is its parent
            _ => steps,
        }
    }
}

/// The depth of a tree is at most 8, plus one level for keys.
fn to_level(steps: usize) -> u8 {
    u8::try_from(steps).unwrap_or(u8::MAX)
}

/// Returns the priorities of the requests that a node could grant if it had room.
#[inline]
fn candidates(node: &GateNode, families: &[Family]) -> PrioritySet {
    match node.family() {
        Some(index) => families[index as usize].ready,
        None => node.queue.waiting().minus(node.awaits_limit),
    }
}

fn parent_family(nodes: &Nodes, parent: NodeId) -> Option<u32> {
    if parent == NodeId::NONE { None } else { nodes[parent].family() }
}

fn key_hash(nodes: &Nodes, id: NodeId) -> u64 {
    match nodes[id].kind {
        NodeKind::Key { hash, .. } => hash,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
