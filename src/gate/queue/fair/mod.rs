//! The fair queue: the requests of a tree of gates, and which of them is granted next.
//!
//! A node of the tree is a gate: the root, a declared child, or a key. A permit of a node is in use at the node and at each of its
//! ancestors. A node without children is a leaf, and all requests wait in leaves: the requests made directly on a gate that has children
//! wait in a leaf of their own beside the children.
//!
//! # Terms
//!
//! - A node has *room* if at least one permit is available there.
//! - A request is *chosen* at a node if its turn has come, but the node has too few permits for it. Until it is granted or leaves the
//!   queue, the node grants no other request. So a heavy request is not starved.
//! - A leaf is *ready* for a priority if it has room, and the first request of this priority is not heavier than a limit of its path. Any
//!   other node is ready for a priority if it has room and one of its children is ready for this priority. A node with a chosen request is
//!   ready only for the priority of this request, and only once it has room for it.
//! - A node *passes* a priority when it grants a request of a higher priority while it is ready for the lower one. The grant of a chosen
//!   request passes no priority at the node where it was chosen and below.
//!
//! # The search for the next request
//!
//! The search starts at the root if the root has room, and goes down to a leaf. At a node with a chosen request it ends with this request.
//! At any other node it takes
//!
//! 1. a priority for which the node is ready: the lowest one that was passed [`PassedGrants::MAX`] times at this node or an ancestor. If
//!    there is none, the highest one;
//! 2. of the children that are ready for this priority, the child with the fewest permits in use per weight;
//! 3. if several children have equally few, the child that entered this order first (`ranks.rs`).
//!
//! In the leaf it takes the oldest request of the priority, or the newest one while the queue of a gate that sheds is standing,
//! which means overloaded for long (`shedder.rs`).
//! If the request fits at every node of its path, it is granted. If it does not, it becomes the chosen request of the lowest node without
//! room for it, and the search starts again. A request that is heavier than the limit of a node on its path is not chosen. It blocks only
//! the requests of its priority behind it in its leaf.
//!
//! The result is max-min fairness in permits in use. It needs no clock and no estimate.

mod as_queue;
mod child_set;
mod choose;
#[cfg(feature = "fleet")]
mod demand;
mod holders;
mod key_index;
mod keys;
mod leaf;
mod lengths;
mod longest;
mod node;
mod node_list;
mod pause;
mod place;
mod quiet;
mod ranks;
mod shape;
mod shed;
mod shedder;
mod tracker;

use std::pin::Pin;
use std::task::Waker;

use child_set::ChildSet;
use lengths::QueueLengths;
#[cfg(doc)]
use node::PassedGrants;
use node::{
    ChildSetId, ChosenRequest, GateNode, LeafOrder, NextRequest, NodeKind, NodeMark, Nodes, to_level,
};
use shedder::SheddingGate;
use tracker::Tracker;

pub(in crate::gate) use node::NodeId;
pub(in crate::gate) use place::Place;
pub(in crate::gate) use tracker::{HolderRecord, Ownership, TrackedWait};

use super::list::{Visit, Waiter};
use super::waiter::{Removal, Removed, WaiterRules, WaitingRequest};
use crate::gate::priority::{Priority, PrioritySet};
use crate::gate::stats::{GateStats, add};
use crate::gate::timer::TimerId;
use crate::plan::{Keys, Limit, Shed};

/// The fair queue of a tree of gates. Its steps take time in proportion to the depth of the tree, unless their documentation says
/// otherwise.
pub(in crate::gate) struct FairQueue {
    nodes: Nodes,
    free_nodes: Vec<NodeId>,
    child_sets: Vec<ChildSet>,
    free_child_sets: Vec<ChildSetId>,
    /// The gates that shed, which are few.
    shedding: Vec<SheddingGate>,
    /// The lengths of the queues below each gate that has children and a bounded queue. Such gates are few.
    lengths: Vec<QueueLengths>,
    /// The generation of the last key that got a node.
    generations: u32,
    /// The number of paused gates.
    paused: u32,
    /// The records of the gates that track their holders.
    tracker: Tracker,
}

/// The rules of a gate that is added.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct NodeRules {
    pub(in crate::gate) limit: Limit,
    /// The weight relative to the siblings. It is called share here, because a request has a weight as well.
    pub(in crate::gate) share: u32,
    pub(in crate::gate) queue_bound: u32,
    /// Whether the gate may have children. Ignored for a gate with keys, which may always have children.
    pub(in crate::gate) is_parent: bool,
    pub(in crate::gate) keys: Option<Keys>,
    pub(in crate::gate) shed: Option<Shed>,
    pub(in crate::gate) measures_waits: bool,
}

/// The limit of one gate, its permits in use and its waiting requests.
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

/// Whether a request that arrives fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum QueueArrival {
    /// Its permits are in use now.
    Admitted,
    /// It was not admitted, and nothing keeps it from waiting in this leaf.
    MayWait(NodeId),
    /// It was not admitted, and this step does not say whether it may wait: a queue is full, or the request must be rejected.
    Unclear,
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
    /// The queue of the node `full` is full, and a request of the leaf `from` must be pushed out to make room.
    PushOut {
        full: NodeId,
        bound: u32,
        from: NodeId,
    },
}

impl FairQueue {
    pub(in crate::gate) fn new(root: NodeRules) -> Self {
        let mut queue = Self {
            nodes: Nodes::new(),
            free_nodes: Vec::new(),
            generations: 0,
            paused: 0,
            child_sets: Vec::new(),
            free_child_sets: Vec::new(),
            shedding: Vec::new(),
            lengths: Vec::new(),
            tracker: Tracker::default(),
        };
        queue.add(NodeId::NONE, NodeRules { is_parent: true, ..root });
        queue
    }

    /// Returns why a request cannot be admitted now, even if all permits are available.
    pub(in crate::gate) fn obstacle(
        &self,
        gate: NodeId,
        weight: u32,
        waits_for_limit: bool,
    ) -> Option<Obstacle> {
        if let Some(level) = self.closed_level(gate) {
            return Some(Obstacle::Closed { level });
        }
        let levels = || self.path(gate).enumerate();
        let bound = |id: NodeId| if waits_for_limit { Limit::MAX.get() } else { self.limit(id) };
        levels()
            .map(|(level, id)| (level, bound(id)))
            .find(|(_, bound)| weight > *bound)
            .map(|(level, limit)| Obstacle::TooLarge { level: to_level(level), limit })
    }

    /// Admits a request if it fits at every level and may overtake all that wait. Otherwise returns `false`, and changes nothing.
    pub(in crate::gate) fn admit(&mut self, gate: NodeId, priority: Priority, weight: u32) -> bool {
        self.arrive(gate, priority, weight, weight) == QueueArrival::Admitted
    }

    /// Admits a request, or finds whether it may wait. It may if each level is open, has room in its queue, and has a limit of at least
    /// `removable_weight`: the weight, or 0 if the request waits for the limit.
    #[inline]
    pub(in crate::gate) fn arrive(
        &mut self,
        gate: NodeId,
        priority: Priority,
        weight: u32,
        removable_weight: u32,
    ) -> QueueArrival {
        let leaf = self.leaf(gate);
        // In newest-first order the new request precedes the chosen one of its own leaf.
        let is_first = self.order(leaf) == LeafOrder::NewestFirst;
        let is_before =
            |chosen: ChosenRequest| is_first && chosen.leaf == leaf && chosen.priority == priority;
        let (mut fits, mut may_wait, mut id) = (true, weight <= Limit::MAX.get(), leaf);
        while id != NodeId::NONE {
            let node = &self.nodes[id];
            fits &= node.available() >= weight && node.chosen().is_none_or(is_before) && !node.is_closed();
            may_wait &=
                node.waiting < node.queue_bound && removable_weight <= node.limit && !node.is_closed();
            id = node.parent;
        }
        // Each waiting request lacks room at some node, or is behind a request that lacks room. So a request that fits may overtake all
        // waiting requests, except those of its own leaf that are granted before it.
        let node = &self.nodes[leaf];
        if !node.waiting_priorities.is_empty() {
            let is_behind = node.own_candidates().highest().is_some_and(|first| first > priority);
            fits &= !is_behind && (is_first || !node.waiting_priorities.contains(priority));
        }
        if fits {
            self.change_use(leaf, |in_use| in_use.saturating_add(weight));
            if self.sheds() {
                self.observe_room(leaf);
            }
            return QueueArrival::Admitted;
        }
        if may_wait { QueueArrival::MayWait(leaf) } else { QueueArrival::Unclear }
    }

    /// Returns the lowest level that has no room for a request that was not admitted. Returns 0 if every level has room, and only
    /// waiting requests come first.
    pub(in crate::gate) fn full_level(&self, gate: NodeId, weight: u32) -> u8 {
        to_level(self.path(gate).position(|id| self.nodes[id].available() < weight).unwrap_or(0))
    }

    /// Releases permits that were in use at this gate.
    fn release_at(&mut self, gate: NodeId, weight: u32) {
        let leaf = self.leaf(gate);
        self.change_use(leaf, |in_use| in_use.saturating_sub(weight));
        self.note_idle(leaf);
        if self.sheds() {
            self.observe_room(leaf);
        }
    }

    /// Returns whether one more request of this priority may wait at this gate.
    ///
    /// If the queue of a gate on the path is full, the leaf with the longest queue below that gate makes room, if its queue is longer than
    /// that of the request's own leaf. Otherwise the own leaf makes room, if a request of a lower priority waits there.
    pub(in crate::gate) fn queue_room(&self, gate: NodeId, priority: Priority) -> QueueRoom {
        for (level, id) in self.path(gate).enumerate() {
            let GateNode { waiting, queue_bound: bound, .. } = self.nodes[id];
            if waiting < bound {
                continue;
            }
            let leaf = self.leaf(gate);
            let own = &self.nodes[leaf];
            return match self.longest_queue(id) {
                Some((longest, length)) if length > own.waiting => {
                    QueueRoom::PushOut { full: id, bound, from: longest }
                }
                _ if own.waiting_priorities.lowest().is_some_and(|lowest| lowest < priority) => {
                    QueueRoom::PushOut { full: id, bound, from: leaf }
                }
                _ => QueueRoom::Full { level: to_level(level), bound },
            };
        }
        QueueRoom::Free
    }

    /// Removes a request from this leaf: among those of the lowest priority, the one that would be granted last.
    pub(in crate::gate) fn push_out(&mut self, leaf: NodeId, removal: Removal) -> Option<Removed> {
        let order = self.order(leaf);
        if self.tracker.has_waits() {
            let last = self.nodes[leaf].last(order).map(WaitingRequest::address);
            self.tracker.forget_wait(last.unwrap_or(0));
        }
        let (priority, removed) = self.nodes[leaf].pop_last(order, removal)?;
        self.finish_last_removal(leaf, priority);
        self.update_stats_at(leaf, |stats| add(&mut stats.queue.pushed_out, 1));
        Some(removed)
    }

    /// Appends a request to those of its priority in a leaf. The request must not fit now. If a gate of the tree [sheds](Self::sheds), the
    /// new request may take the place of a chosen one. Then other waiters may fit, so the caller must serve the queue.
    #[inline]
    pub(in crate::gate) fn enqueue(
        &mut self,
        leaf: NodeId,
        waiter: Pin<&mut Waiter>,
        request: WaitingRequest,
        waker: Waker,
    ) {
        // The leaf enters the ranks of its parent in this step. They use the same links as the list of keys that may be idle.
        self.remove_maybe_idle(leaf);
        let priority = waiter.priority();
        self.nodes[leaf].push_waiter(waiter, request, waker);
        if self.sheds() {
            return self.finish_enqueue(leaf, priority, request.since);
        }
        self.update_path(leaf, PrioritySet::EMPTY, |_, node, _| {
            node.waiting = node.waiting.saturating_add(1);
        });
        self.note_length(leaf);
        // If permits are available, but too few for this request, the search may make it the chosen one of a node.
        if !self.nodes[NodeId::ROOT].ready.is_empty() {
            self.find_next_slow();
        }
    }

    /// Removes the request that [`find_next`](Self::find_next) returned, and takes its permits.
    #[expect(clippy::inline_always, reason = "benchmark row `key-cycle`: the request stays in registers")]
    #[inline(always)]
    fn take(&mut self, next: NextRequest, removal: Removal) -> Option<Removed> {
        let NextRequest { leaf, priority, order, weight, chosen_at } = next;
        let before = self.nodes[leaf].own_candidates();
        let removed = self.nodes[leaf].pop_first(priority, order, removal)?;
        let mut was_chosen = chosen_at != NodeId::NONE;
        self.update_path(leaf, before, |id, node, before| {
            // Counts the grant against the lower priorities that it passes. From the leaf up to the node where the request was chosen,
            // nothing is counted: the choice was made earlier, perhaps before the lower priorities were ready.
            if !was_chosen {
                node.passed.count_grant(priority, before);
            }
            node.passed.reset(priority);
            if id == chosen_at {
                was_chosen = false;
                node.forget_chosen(|_| true);
            }
            node.in_use = node.in_use.saturating_add(weight);
            node.waiting = node.waiting.saturating_sub(1);
        });
        self.note_length(leaf);
        Some(removed)
    }

    /// Removes one request without granting it. Returns `None` if it does not wait at this gate.
    fn cancel_at(&mut self, gate: NodeId, waiter: Pin<&mut Waiter>, removal: Removal) -> Option<Removed> {
        let leaf = self.leaf(gate);
        let priority = waiter.priority();
        let address = waiter.request_address();
        // In newest-first order, `was_head` must say whether the newest request was removed, but the list sets it for the oldest one. So
        // the newest one is read before the removal.
        let newest = match self.order(leaf) {
            LeafOrder::NewestFirst => self.nodes[leaf].first(priority, LeafOrder::NewestFirst),
            LeafOrder::OldestFirst => None,
        };
        let newest = newest.map(WaitingRequest::address);
        let mut removed = self.nodes[leaf].remove_waiter(waiter, removal)?;
        self.tracker.forget_wait(address);
        if let Some(newest) = newest {
            removed.was_head = newest == address;
        }
        let lost_first = if removed.was_head { PrioritySet::of(priority) } else { PrioritySet::EMPTY };
        self.finish_removal(leaf, lost_first, 1);
        Some(removed)
    }

    /// Sets the limit of a gate, and that of its keys. Removes the requests whose weight is above the limit of a level,
    /// unless they wait for the limit. Visits all nodes.
    pub(in crate::gate) fn set_limit(
        &mut self,
        gate: NodeId,
        limit: Limit,
        mut on_removed: impl FnMut(Removed),
    ) {
        // The limit 0 in the node means that the gate is paused. Then `resume` sets the limit that is stored here.
        if self.nodes[gate].limit > 0 {
            self.nodes[gate].limit = limit.get();
        } else if let Some(stats) = self.stats_mut(gate) {
            stats.paused_limit = limit.get();
        }
        let key_limit = self.key_limit(gate).get();
        for node in self.nodes.iter_mut().filter(|node| node.parent == gate && node.is_key()) {
            node.limit = key_limit;
        }
        for id in self.waiting_within(gate).collect::<Vec<_>>() {
            let node = &mut self.nodes[id];
            // The requests that waited for a higher limit may fit now, so the search must find them again.
            node.awaits_limit = PrioritySet::EMPTY;
            // A chosen request that is heavier than the limit now cannot be granted, so it must not keep others waiting.
            let limit = node.limit;
            node.forget_chosen(|chosen| chosen.weight > limit);
            if node.is_leaf() {
                self.remove_too_large(id, &mut on_removed);
            }
            self.update_from(id);
        }
    }

    /// Closes a declared gate with its descendants for the requests that arrive from now on.
    pub(in crate::gate) fn close_arrivals(&mut self, id: NodeId) {
        self.nodes[id].mark = NodeMark::Closed;
    }

    /// Closes a gate with its descendants, and removes their requests. Visits all nodes.
    pub(in crate::gate) fn close(&mut self, gate: NodeId, mut on_removed: impl FnMut(Removed)) {
        if !self.nodes[gate].is_key() {
            self.nodes[gate].mark = NodeMark::Closed; // a key is closed in its handle
        }
        if let Some(stats) = self.stats_mut(gate) {
            stats.has_ended_waits = true;
        }
        for id in self.waiting_within(gate).collect::<Vec<_>>() {
            if self.nodes[id].is_leaf() {
                let removal = Removal::Closed { level: self.level(id, gate) };
                self.remove_where(id, removal, |_, _| Visit::Remove, &mut on_removed);
            }
        }
    }

    /// Removes the requests of this timer whose deadline has passed, as many as there are nodes in `due`. Visits the queues of these nodes.
    /// If requests of two nodes have the same deadline to the nanosecond, `due` may have the wrong node of the two (see `Deadlines`). Only
    /// then all nodes are visited.
    fn expire(
        &mut self,
        timer: TimerId,
        mut due: Vec<NodeId>,
        now: i64,
        mut on_removed: impl FnMut(Removed),
    ) {
        due.sort_unstable();
        let mut left = 0;
        for nodes in due.chunk_by(|node, next| node == next) {
            let mut left_here = nodes.len();
            let leaf = self.leaf(nodes[0]);
            self.expire_at(leaf, timer, &mut left_here, now, &mut on_removed);
            left = left_here.saturating_add(left);
        }
        for id in self.nodes.ids() {
            if left == 0 {
                return;
            }
            self.expire_at(id, timer, &mut left, now, &mut on_removed);
        }
    }

    /// Removes from a leaf up to `left` requests of this timer whose deadline has passed, and subtracts their number from `left`.
    fn expire_at(
        &mut self,
        leaf: NodeId,
        timer: TimerId,
        left: &mut usize,
        now: i64,
        on_removed: &mut impl FnMut(Removed),
    ) {
        if !self.nodes[leaf].waiting_priorities.is_empty() {
            let visit = |request: &WaitingRequest, _| Visit::if_expired(request, timer, now, left);
            self.remove_where(leaf, Removal::Expired(now), visit, on_removed);
        }
    }

    /// Removes requests of one leaf, and updates the nodes up to the root.
    fn remove_where(
        &mut self,
        leaf: NodeId,
        removal: Removal,
        mut visit: impl FnMut(&WaitingRequest, WaiterRules) -> Visit,
        mut on_removed: impl FnMut(Removed),
    ) {
        let mut count = 0_u32;
        let order = self.order(leaf);
        let Self { nodes, tracker, .. } = self;
        let visit = |request: &WaitingRequest, rules| {
            let visited = visit(request, rules);
            if matches!(visited, Visit::Remove) {
                tracker.forget_wait(request.address());
            }
            visited
        };
        let lost_first = nodes[leaf].remove_waiters_where(order, removal, visit, |removed| {
            count = count.saturating_add(1);
            on_removed(removed);
        });
        self.finish_removal(leaf, lost_first, count);
        self.update_stats_at(leaf, |stats| {
            let total = match removal {
                Removal::Expired(_) => &mut stats.queue.expired,
                Removal::Closed { .. } => &mut stats.queue.closed,
                Removal::TooLarge { .. } => &mut stats.queue.too_large,
                Removal::QueueFull { .. } => &mut stats.queue.pushed_out,
                // Counted by the caller.
                Removal::Admitted
                | Removal::AdmittedTracked(_)
                | Removal::Cancelled
                | Removal::Shed { .. } => return,
            };
            add(total, count as usize);
        });
    }

    /// Removes the requests of a leaf whose weight is above the lowest limit on the path, unless they wait for the limit.
    fn remove_too_large(&mut self, leaf: NodeId, on_removed: &mut impl FnMut(Removed)) {
        let limits = self.path(leaf).map(|id| (id, self.limit(id)));
        let Some((at, limit)) = limits.min_by_key(|(_, limit)| *limit) else { return };
        let node = &mut self.nodes[leaf];
        if node.waiting == 0 || node.max_weight <= limit {
            return;
        }
        node.max_weight = limit;
        let removal =
            Removal::TooLarge { limit: Limit::saturating(limit.into()), level: self.level(leaf, at) };
        let visit = |request: &WaitingRequest, rules| Visit::if_too_large(request, rules, limit);
        self.remove_where(leaf, removal, visit, on_removed);
    }

    /// Changes the statistics of the gate whose requests wait in this node: for a key, the statistics of its parent.
    #[inline]
    pub(in crate::gate) fn update_stats_at(&mut self, id: NodeId, mut change: impl FnMut(&mut GateStats)) {
        if let Some(stats) = self.stats_of(id) {
            change(stats);
        }
    }

    /// Returns the statistics of the gate whose requests wait in this node: for a key, the statistics of its parent.
    #[inline]
    pub(in crate::gate) fn stats_of(&mut self, id: NodeId) -> Option<&mut GateStats> {
        let node = &self.nodes[id];
        let counted = match node.kind {
            NodeKind::Direct | NodeKind::Key { .. } => node.parent,
            NodeKind::Gate { .. } | NodeKind::Free => id,
        };
        self.nodes[counted].stats_mut()
    }

    /// Returns `true` if a permit is in use or a request waits here.
    fn is_node_busy(&self, id: NodeId) -> bool {
        let node = &self.nodes[id];
        !matches!(node.kind, NodeKind::Free) && !node.is_idle()
    }

    /// Returns the statistics of a declared gate.
    pub(in crate::gate) fn stats(&self, id: NodeId) -> Option<&GateStats> {
        self.nodes[id].stats()
    }

    /// Returns the statistics of a gate and of those below it. Visits all nodes.
    pub(in crate::gate) fn stats_within(&self, top: NodeId) -> impl Iterator<Item = &GateStats> {
        self.nodes_within(top).filter_map(|id| self.nodes[id].stats())
    }

    /// Returns the statistics of a declared gate.
    pub(in crate::gate) fn stats_mut(&mut self, id: NodeId) -> Option<&mut GateStats> {
        self.nodes[id].stats_mut()
    }

    /// Returns the number of requests that wait at a gate itself or at its keys.
    pub(in crate::gate) fn counted_waiting(&self, id: NodeId) -> u32 {
        if self.child_set(id).is_none() {
            return self.nodes[id].waiting;
        }
        let of_children =
            self.nodes.iter().filter(|node| node.parent == id && matches!(node.kind, NodeKind::Gate { .. }));
        of_children.fold(self.nodes[id].waiting, |waiting, child| waiting.saturating_sub(child.waiting))
    }

    /// Returns the largest number of requests that may wait at a gate and below; `u32::MAX` if there is no bound, and `None` for an idle
    /// key that has no node.
    pub(in crate::gate) fn queue_bound(&self, place: &Place) -> Option<u32> {
        self.resolve(place).map(|id| self.nodes[id].queue_bound)
    }

    /// Sets the largest number of requests that may wait at a declared gate and below. Those that wait now stay.
    pub(in crate::gate) fn set_queue_bound(&mut self, id: NodeId, bound: u32) {
        self.nodes[id].queue_bound = bound;
        self.note_bound(id);
    }

    /// Returns the permits in use and the requests that wait at a gate and below, and its limit.
    pub(in crate::gate) fn node(&self, id: NodeId) -> NodeStatus {
        let GateNode { in_use, waiting, .. } = self.nodes[id];
        NodeStatus { limit: self.limit(id), in_use, waiting }
    }

    /// Returns the level at which the gate or an ancestor was closed; 0 is the gate itself. Of several levels it is the highest one,
    /// because its descendants are closed with it.
    pub(in crate::gate) fn closed_level(&self, id: NodeId) -> Option<u8> {
        let closed = self.path(id).enumerate().filter(|(_, id)| self.nodes[*id].is_closed());
        closed.last().map(|(level, _)| to_level(level))
    }

    /// Returns `true` if `close` has ended the waits at a gate or at one above it. For a key, the call must have been made on this handle.
    pub(in crate::gate) fn has_ended_waits(&self, place: &Place) -> bool {
        let has_ended = |id| self.stats(id).is_some_and(|stats| stats.has_ended_waits);
        place.has_ended_waits_of_key() || self.path(place.declared()).any(has_ended)
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
        for node in self.nodes.iter_mut() {
            let removal = Removal::Closed { level: 0 };
            node.remove_waiters_where(
                LeafOrder::OldestFirst,
                removal,
                |_, _| Visit::Remove,
                Removed::discard,
            );
        }
    }
}

#[cfg(test)]
mod tests;
