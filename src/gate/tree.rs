//! Trees of gates: children that share the permits of a parent, and keys that are made on demand.
//!
//! All gates of a tree share one lock, so one acquisition passes all levels in one step. There is no fast path without the lock: taking
//! the lock needs no more atomic operations.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::Notify;

use super::clock;
use super::core::Core;
use super::counters::ShardedCounters;
use super::error::Rejection;
use super::key::Key;
use super::permits::{Permits, Word};
use super::priority::Priority;
use super::queue::FairQueue;
use super::queue::fair::{NodeId, NodeRules, Place};
use super::state::GateState;
use super::status::{GateStatus, KeyStatus, Resize};
use super::wake_list::WakeList;
use crate::plan::{GateName, Limit};

/// The tree of a root gate.
pub(super) struct Tree {
    permits: Permits<GateState<FairQueue>>,
    /// Seeds the hashes of the keys, so that no client can choose keys that collide.
    hasher: RandomState,
}

impl Core for Tree {
    type Queue = FairQueue;

    #[inline]
    fn permits(&self) -> &Permits<GateState<FairQueue>> {
        &self.permits
    }
}

/// The place of one gate in a tree.
pub(super) struct TreeNode {
    tree: Arc<Tree>,
    place: Place,
    /// The name of the gate; for a key, that of the gate that has the key.
    name: GateName,
    /// The gate above it. `None` for the root.
    parent: Option<Arc<TreeNode>>,
    is_parent: bool,
    has_keys: bool,
}

impl Tree {
    /// Returns `true` if a request may wait in the tree. Reads the word without the lock.
    pub(super) fn has_waiters(&self) -> bool {
        self.permits.load().has(Word::WAITERS)
    }
}

impl TreeNode {
    /// Creates a tree with its root.
    pub(super) fn root(name: GateName, rules: NodeRules) -> Self {
        let permits = Permits::new(Limit::MIN, GateState::new_tree(rules));
        let tree = Arc::new(Tree { permits, hasher: RandomState::new() });
        Self::declared(tree, NodeId::ROOT, name, None, rules)
    }

    /// Adds a declared child to a gate, which [may have](Self::is_parent) one.
    pub(super) fn child(parent: &Arc<Self>, name: GateName, rules: NodeRules) -> Self {
        let tree = Arc::clone(&parent.tree);
        let added = tree.locked(|state, _| state.queue.add(parent.place.declared(), rules));
        Self::declared(tree, added, name, Some(Arc::clone(parent)), rules)
    }

    fn declared(
        tree: Arc<Tree>,
        id: NodeId,
        name: GateName,
        parent: Option<Arc<Self>>,
        rules: NodeRules,
    ) -> Self {
        let has_keys = rules.keys.is_some();
        let is_parent = rules.is_parent || has_keys;
        Self { tree, place: Place::Gate(id), name, parent, is_parent, has_keys }
    }

    /// Returns the place of a key of a gate. Returns `None` if the gate has no keys.
    pub(super) fn of_key(parent: &Arc<Self>, key: Key) -> Option<Self> {
        if !parent.has_keys {
            return None;
        }
        let tree = Arc::clone(&parent.tree);
        let hash = tree.hasher.hash_one(&key);
        Some(Self {
            tree,
            place: Place::key(parent.place.declared(), key, hash),
            name: parent.name,
            parent: Some(Arc::clone(parent)),
            is_parent: false,
            has_keys: false,
        })
    }

    /// Returns `true` if children can be added to the gate.
    pub(super) const fn is_parent(&self) -> bool {
        self.is_parent
    }

    pub(super) const fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// Returns the number of gates from the root to this one.
    pub(super) fn depth(&self) -> usize {
        self.parent.as_ref().map_or(1, |parent| parent.depth().saturating_add(1))
    }

    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    pub(super) const fn name(&self) -> GateName {
        self.name
    }

    /// Returns the name of the gate that many levels further up.
    pub(super) fn name_at(&self, level: u8) -> GateName {
        match &self.parent {
            Some(parent) if level > 0 => parent.name_at(level.saturating_sub(1)),
            _ => self.name,
        }
    }

    pub(super) const fn key(&self) -> Option<&Key> {
        self.place.as_key()
    }

    pub(super) fn try_acquire(&self, weight: u32, priority: Priority) -> Result<(), Rejection> {
        self.tree.locked(|state, _| state.try_acquire_in_tree(&self.place, weight, priority))
    }

    pub(super) fn release(&self, weight: u32) {
        self.tree
            .step(|state, word, wake_list| state.release(word, &self.place, weight, clock::now, wake_list));
    }

    /// The caller wakes the wakers.
    pub(super) fn resize(&self, change: impl Fn(Limit) -> Limit, wake_list: &mut WakeList) -> Resize {
        self.tree.locked(|state, word| {
            let resize = state.resize_in_tree(&self.place, change, wake_list);
            state.admit_waiters_slow(word, clock::now, wake_list);
            resize
        })
    }

    pub(super) fn close(&self) {
        self.tree.step(|state, word, wake_list| {
            state.close_in_tree(&self.place, wake_list);
            state.admit_waiters_slow(word, clock::now, wake_list);
        });
    }

    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        self.tree.locked(|state, _| {
            // The limit of a key changes with that of its gate.
            if let Some(books) = state.queue.books_mut(self.place.declared()) {
                books.listeners.insert(listener);
            }
        });
    }

    /// Returns the limit, the permits in use, and whether the gate is closed.
    pub(super) fn load(&self) -> (Limit, u32, bool) {
        self.tree.locked(|state, _| {
            let id = state.queue.resolve(&self.place);
            let in_use = id.map_or(0, |id| state.queue.node(id).in_use);
            (state.limit_in_tree(&self.place), in_use, state.is_closed_in_tree(&self.place))
        })
    }

    pub(super) fn waiting(&self) -> usize {
        self.tree.locked(|state, _| {
            let id = state.queue.resolve(&self.place);
            id.map_or(0, |id| state.queue.node(id).waiting as usize)
        })
    }

    pub(super) fn status(&self, counters: &ShardedCounters) -> GateStatus {
        // A key has no counters of its own.
        let counters = self.key().is_none().then_some(counters);
        self.tree.locked(|state, _| state.status_in_tree(&self.place, counters, self.name))
    }

    /// Returns the busy keys, those with the most requests waiting first, then those with the most permits in use, at most `most`.
    pub(super) fn busiest_keys(&self, most: usize) -> Vec<KeyStatus> {
        let Place::Gate(id) = self.place else { return Vec::new() };
        let mut keys: Vec<KeyStatus> = self.tree.locked(|state, _| {
            let busy = state.queue.keys(id);
            busy.map(|(key, in_use, waiting)| KeyStatus {
                key: key.clone(),
                in_use,
                waiting: waiting as usize,
            })
            .collect()
        });
        keys.sort_by_key(|key| Reverse((key.waiting, key.in_use)));
        keys.truncate(most);
        keys
    }

    /// Returns the number of busy keys.
    pub(super) fn busy_keys(&self) -> usize {
        match self.place {
            Place::Gate(id) => self.tree.locked(|state, _| state.queue.busy_keys(id)),
            Place::Key(_) => 0,
        }
    }
}

impl Drop for TreeNode {
    /// Removes a declared gate from its tree. Its permits and requests hold handles, so it is idle.
    fn drop(&mut self) {
        if let Place::Gate(id) = self.place {
            self.tree.locked(|state, _| state.queue.drop_handles(id));
        }
    }
}

impl std::fmt::Debug for TreeNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeNode").field("name", &self.name).field("key", &self.key()).finish_non_exhaustive()
    }
}
