//! The nodes of a tree of gates, in one slab.

use std::ops::{Deref, DerefMut, Index, IndexMut};

use crate::gate::key::Key;
use crate::gate::priority::{PRIORITIES, Priority, PrioritySet};
use crate::gate::queue::list::{ListEnd, WaitList};
use crate::gate::stats::GateStats;

/// Identifies a node of a tree. A number is used again after its node was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gate) struct NodeId(pub(super) u32);

impl NodeId {
    /// The root of the tree, which is never removed.
    pub(in crate::gate) const ROOT: Self = Self(0);
    /// No node: the parent of the root, or the end of a list.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Identifies the [`ChildSet`](super::child_set::ChildSet) of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChildSetId(pub(super) u32);

impl ChildSetId {
    /// No children: the node is a leaf.
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// One gate of a tree, or the requests made directly on a gate that has children.
///
/// A node takes two cache lines. A request that does not wait touches only the first, except for the check of a key.
#[repr(C, align(64))]
pub(super) struct GateNode {
    pub(super) parent: NodeId,
    /// The children. A node without children is a leaf, where requests wait.
    pub(super) child_set: ChildSetId,
    pub(super) limit: u32,
    /// Permits in use, those of its descendants included.
    pub(super) in_use: u32,
    /// Requests that wait, those of its descendants included.
    pub(super) waiting: u32,
    /// The largest number of requests that may wait, those of its descendants included.
    pub(super) queue_bound: u32,
    /// The weight relative to its siblings. It is called share here, because a request has a weight as well.
    pub(super) share: u32,
    /// The permits in use with which the node was inserted into the ranks of its parent.
    pub(super) ranked_use: u32,
    /// The neighbours in the ranks of the parent for the normal priority, or in the list of keys that may be idle.
    pub(super) links: Neighbours,
    /// Changes each time that the node is given to a key.
    pub(super) generation: u32,
    /// In a leaf: an upper bound of the weights of the requests that do not wait for the limit. Meaningless while no request waits.
    pub(super) max_weight: u32,
    chosen_leaf: NodeId,
    chosen_weight: u32,
    chosen_priority: Option<Priority>,
    pub(super) mark: NodeMark,
    /// The priorities for which this node is [ready](super). For these it is in the ranks of its parent.
    pub(super) ready: PrioritySet,
    /// In a leaf: the priorities of the requests that wait.
    pub(super) waiting_priorities: PrioritySet,
    /// In a leaf: the priorities whose first request is heavier than the limit of a node on the path.
    pub(super) awaits_limit: PrioritySet,
    pub(super) passed: PassedGrants,

    /// In a leaf: the requests of the normal priority.
    pub(super) normal: WaitList,
    /// `None` until the node is used for another priority.
    pub(super) others: Option<Box<OtherPriorities>>,
    pub(super) kind: NodeKind,
}

const _: () = assert!(size_of::<GateNode>() == 128, "a node takes two cache lines");

/// The links and queues of the priorities other than the normal one, which most nodes never use.
pub(super) struct OtherPriorities(pub(super) [OtherPriority; PRIORITIES]);

pub(super) struct OtherPriority {
    pub(super) links: Neighbours,
    pub(super) list: WaitList,
}

impl Default for OtherPriorities {
    fn default() -> Self {
        Self(Priority::ALL.map(|_| OtherPriority { links: Neighbours::NONE, list: WaitList::new() }))
    }
}

/// The gate, the key or the requests that a node represents.
pub(super) enum NodeKind {
    /// Not in use.
    Free,
    /// A declared gate. It is removed when its last handle is gone.
    Gate { stats: Box<GateStats> },
    /// The requests made directly on the parent node.
    Direct,
    /// A key of the parent node. While it is idle, its node may be given to another key.
    Key { key: Key, hash: u64 },
}

/// A flag of a node. No node has two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeMark {
    None,
    /// The declared gate is closed for requests that arrive.
    Closed,
    /// The key is in the list of keys that may be idle.
    MaybeIdle,
}

/// A request that stays chosen until it fits: the first one of its priority in this leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChosenRequest {
    pub(super) leaf: NodeId,
    pub(super) priority: Priority,
    pub(super) weight: u32,
}

/// Which of the requests of one priority is the first in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeafOrder {
    OldestFirst,
    /// While the queue of the gate, or of one above it, is standing.
    NewestFirst,
}

impl LeafOrder {
    /// Returns the end of the list at which the first request is.
    #[inline]
    pub(super) const fn first(self) -> ListEnd {
        match self {
            Self::OldestFirst => ListEnd::Head,
            Self::NewestFirst => ListEnd::Tail,
        }
    }

    /// Returns the end of the list at which the last request is.
    #[inline]
    pub(super) const fn last(self) -> ListEnd {
        match self {
            Self::OldestFirst => ListEnd::Tail,
            Self::NewestFirst => ListEnd::Head,
        }
    }
}

/// The request that is granted next. It fits at every level.
#[derive(Clone, Copy)]
pub(super) struct NextRequest {
    pub(super) leaf: NodeId,
    pub(super) priority: Priority,
    pub(super) order: LeafOrder,
    pub(super) weight: u32,
    /// The node at which the request was chosen before, or [`NodeId::NONE`].
    pub(super) chosen_at: NodeId,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    pub(super) previous: NodeId,
    pub(super) next: NodeId,
}

impl Neighbours {
    pub(super) const NONE: Self = Self { previous: NodeId::NONE, next: NodeId::NONE };
}

/// For each priority except the highest: how often the node granted a request of a higher priority while it was ready for this one, since
/// the last grant of this priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PassedGrants([u8; PRIORITIES - 1]);

impl PassedGrants {
    /// How often requests of a lower priority are passed before one of them is granted.
    pub(super) const MAX: u8 = 16;

    /// Returns the lowest of these priorities that was passed [`MAX`](Self::MAX) times.
    #[inline]
    pub(super) fn due(self, among: PrioritySet) -> Option<Priority> {
        if self == Self::default() {
            return None;
        }
        Priority::ALL
            .into_iter()
            .find(|priority| among.contains(*priority) && self.of(*priority) >= Self::MAX)
    }

    /// Counts the grant of a request for each priority of `ready` that is lower than `granted`.
    #[inline]
    pub(super) fn count_grant(&mut self, granted: Priority, ready: PrioritySet) {
        for passed in ready.below(granted).iter() {
            if let Some(passed) = self.0.get_mut(passed.index()) {
                *passed = passed.saturating_add(1);
            }
        }
    }

    /// Resets the count of a priority.
    #[inline]
    pub(super) fn reset(&mut self, priority: Priority) {
        if let Some(passed) = self.0.get_mut(priority.index()) {
            *passed = 0;
        }
    }

    #[inline]
    pub(super) fn of(self, priority: Priority) -> u8 {
        self.0.get(priority.index()).copied().unwrap_or(0)
    }
}

impl GateNode {
    pub(super) fn new(parent: NodeId, kind: NodeKind, limit: u32, share: u32) -> Self {
        Self {
            parent,
            child_set: ChildSetId::NONE,
            limit,
            in_use: 0,
            waiting: 0,
            queue_bound: u32::MAX,
            share,
            ranked_use: 0,
            links: Neighbours::NONE,
            generation: 0,
            max_weight: 0,
            chosen_leaf: NodeId::NONE,
            chosen_weight: 0,
            chosen_priority: None,
            mark: NodeMark::None,
            ready: PrioritySet::EMPTY,
            waiting_priorities: PrioritySet::EMPTY,
            awaits_limit: PrioritySet::EMPTY,
            passed: PassedGrants::default(),
            normal: WaitList::new(),
            others: None,
            kind,
        }
    }

    #[inline]
    pub(super) const fn available(&self) -> u32 {
        self.limit.saturating_sub(self.in_use)
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.mark == NodeMark::Closed
    }

    #[inline]
    pub(super) fn is_leaf(&self) -> bool {
        self.child_set == ChildSetId::NONE
    }

    #[inline]
    pub(super) const fn is_key(&self) -> bool {
        matches!(self.kind, NodeKind::Key { .. })
    }

    #[inline]
    pub(super) const fn is_key_with(&self, hash: u64) -> bool {
        matches!(self.kind, NodeKind::Key { hash: known, .. } if known == hash)
    }

    /// Returns the hash of a key; 0 for any other node.
    pub(super) const fn key_hash(&self) -> u64 {
        match self.kind {
            NodeKind::Key { hash, .. } => hash,
            _ => 0,
        }
    }

    /// Returns `true` if no permit is in use and no request waits.
    #[inline]
    pub(super) const fn is_idle(&self) -> bool {
        self.in_use == 0 && self.waiting == 0
    }

    /// Returns `true` for an idle key that is not in the list of keys that may be idle.
    #[inline]
    pub(super) fn is_unlisted_idle_key(&self) -> bool {
        self.mark == NodeMark::None && self.is_key() && self.is_idle()
    }

    /// Returns the request that was chosen at this node and is not granted yet. Until it is granted or leaves, no other is granted here.
    #[inline]
    pub(super) fn chosen(&self) -> Option<ChosenRequest> {
        let priority = self.chosen_priority?;
        Some(ChosenRequest { leaf: self.chosen_leaf, priority, weight: self.chosen_weight })
    }

    pub(super) const fn set_chosen(&mut self, ChosenRequest { leaf, priority, weight }: ChosenRequest) {
        (self.chosen_leaf, self.chosen_weight, self.chosen_priority) = (leaf, weight, Some(priority));
    }

    /// Forgets the chosen request if `is_gone` returns `true` for it.
    #[inline]
    pub(super) fn forget_chosen(&mut self, is_gone: impl FnOnce(ChosenRequest) -> bool) {
        if self.chosen().is_some_and(is_gone) {
            self.chosen_priority = None;
        }
    }

    /// Returns the priorities for which this node is [ready](super). `candidates` are the priorities of the requests that it could grant
    /// if it had room and no chosen request.
    #[inline]
    pub(super) fn ready_among(&self, candidates: PrioritySet) -> PrioritySet {
        let available = self.available();
        match self.chosen() {
            _ if available == 0 => PrioritySet::EMPTY,
            None => candidates,
            Some(chosen) if chosen.weight > available => PrioritySet::EMPTY,
            Some(chosen) => PrioritySet::of(chosen.priority),
        }
    }

    /// Returns the statistics of a declared gate.
    #[inline]
    pub(super) fn stats_mut(&mut self) -> Option<&mut GateStats> {
        match &mut self.kind {
            NodeKind::Gate { stats } => Some(stats),
            _ => None,
        }
    }

    /// Returns the statistics of a declared gate.
    pub(super) fn stats(&self) -> Option<&GateStats> {
        match &self.kind {
            NodeKind::Gate { stats } => Some(stats),
            _ => None,
        }
    }
}

/// The nodes, by their index.
pub(super) struct Nodes(Vec<GateNode>);

impl Nodes {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a node at the end. Grows by an eighth, because an idle key keeps its node: doubling could waste half of the memory for ever.
    pub(super) fn push(&mut self, node: GateNode) -> NodeId {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact((self.0.len() / 8).max(SMALLEST_GROWTH));
        }
        self.0.push(node);
        NodeId(u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_sub(1))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.0.len()).unwrap_or(u32::MAX)).map(NodeId)
    }
}

/// Functions that change several nodes take a slice: its address and length stay in registers, benchmark row `key-cycle`.
impl Index<NodeId> for [GateNode] {
    type Output = GateNode;

    #[inline]
    fn index(&self, id: NodeId) -> &GateNode {
        &self[id.index()]
    }
}

impl IndexMut<NodeId> for [GateNode] {
    #[inline]
    fn index_mut(&mut self, id: NodeId) -> &mut GateNode {
        &mut self[id.index()]
    }
}

impl Deref for Nodes {
    type Target = [GateNode];

    #[inline]
    fn deref(&self) -> &[GateNode] {
        &self.0
    }
}

impl DerefMut for Nodes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [GateNode] {
        &mut self.0
    }
}

/// Converts a number of steps upwards to a level. A tree has at most 8 levels of gates, and one of keys.
pub(super) fn to_level(steps: usize) -> u8 {
    u8::try_from(steps).unwrap_or(u8::MAX)
}

const SMALLEST_GROWTH: usize = 8;
