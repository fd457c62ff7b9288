//! The oracle: the rules of a tree of gates, computed anew from the whole tree at each step.
//!
//! The rules leave one thing open: which of several siblings is first if one step makes them equal at the same moment, such as a raised
//! limit. So the oracle is a set of *worlds*, nearly always one. Where a choice is open, each possibility goes on as a world of its
//! own, and a world that the gate contradicts is dropped. The model fails when no world is left.

mod arrival;
mod choose;
mod laws;
mod steps;
mod worlds;

use std::fmt;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, GateStatus, GateTotals, Priority};

use super::coverage::Event;
use super::shape::{Node, NodeKind, Shape};

pub(super) use arrival::{Arrival, Terms};
pub(super) use worlds::Worlds;

/// The maximum number of requests at once.
pub(super) const SLOTS: usize = 20;
/// The number of priorities. A priority is a number below it, and a higher one goes first.
pub(super) const CLASSES: usize = 4;
pub(super) const PRIORITIES: [Priority; CLASSES] =
    [Priority::Batch, Priority::Sheddable, Priority::Normal, Priority::Critical];

/// One state of the tree that explains everything that the gate has shown so far.
#[derive(Clone)]
pub(super) struct World<'s> {
    shape: &'s Shape,
    nodes: Vec<NodeState>,
    /// For each node and each priority.
    standings: Vec<[Standing; CLASSES]>,
    counts: Vec<GateCounts>,
    outcomes: [Outcome; SLOTS],
    /// The time of the run, in milliseconds.
    time: u64,
    /// Counts the changes of the tree.
    now: u64,
    /// The number of requests enqueued so far.
    enqueued: u64,
    /// How many of the wake-ups of this step are explained.
    explained: usize,
    /// The events of this step.
    events: Vec<Event>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is no request, or its owner knows what became of it.
    Absent,
    Waiting,
    Admitted,
    Rejected(AcquireError),
}

/// What a declared gate counts.
#[derive(Clone, Copy, Default, PartialEq)]
struct GateCounts {
    totals: GateTotals,
    unclaimed: usize,
    resized: u64,
}

#[derive(Clone, PartialEq)]
struct NodeState {
    limit: u32,
    queue_bound: u32,
    is_paused: bool,
    is_closed: bool,
    in_use: u32,
    /// In a leaf: the requests that wait, in order of arrival.
    queue: Vec<WaitingRequest>,
    /// Requests that wait here and below.
    waiting: usize,
    /// The request that was next and did not fit here. No other passes this node until it is granted or leaves.
    chosen: Option<Chosen>,
    /// In a leaf: the priorities whose first request is heavier than a limit, and waits for a higher one.
    awaiting: Classes,
    /// The priorities of which a request may be granted here.
    ready: Classes,
    /// For each priority, how many requests of a higher one were granted here while it was eligible.
    passed: [u32; CLASSES],
}

/// The place of a node among those of its siblings that are ready for the same priority.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// Since when the node is ready with its present use.
    since: Since,
    /// How many grants went to siblings with an equal use since then.
    turns: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct WaitingRequest {
    slot: usize,
    place: usize,
    priority: usize,
    weight: u32,
    waits_for_limit: bool,
    /// In milliseconds of the run, as `since`.
    deadline: Option<u64>,
    since: u64,
    /// The request was the `number`-th that was enqueued.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chosen {
    leaf: usize,
    priority: usize,
    weight: u32,
}

/// When something happened, as the number of a change of the tree. If the rules leave it open, it is one of these changes.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    earliest: u64,
    latest: u64,
}

/// A set of priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Classes(u8);

impl Classes {
    const fn has(self, priority: usize) -> bool {
        self.0 & 1 << priority != 0
    }

    const fn with(self, priority: usize) -> Self {
        Self(self.0 | 1 << priority)
    }

    const fn without(self, priority: usize) -> Self {
        Self(self.0 & !(1 << priority))
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the priorities in it, the lowest first.
    fn iter(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..CLASSES).filter(move |priority| self.has(*priority))
    }
}

impl<'s> World<'s> {
    pub(super) fn new(shape: &'s Shape) -> Self {
        let state = |limit, queue_bound| NodeState {
            limit,
            queue_bound,
            is_paused: false,
            is_closed: false,
            in_use: 0,
            queue: Vec::new(),
            waiting: 0,
            chosen: None,
            awaiting: Classes::default(),
            ready: Classes::default(),
            passed: [0; CLASSES],
        };
        let nodes = shape.nodes.iter().map(|node| {
            let rules = &shape.gates[node.gate];
            match (node.kind, rules.keys) {
                (NodeKind::Gate, _) => state(rules.limit, rules.queue_bound),
                (NodeKind::Key, Some(keys)) => state(keys.cap(rules.limit), keys.queue_bound),
                _ => state(u32::MAX, u32::MAX),
            }
        });
        Self {
            shape,
            nodes: nodes.collect(),
            standings: vec![[Standing::default(); CLASSES]; shape.nodes.len()],
            counts: vec![GateCounts::default(); shape.gates.len()],
            outcomes: [const { Outcome::Absent }; SLOTS],
            time: 0,
            now: 0,
            enqueued: 0,
            explained: 0,
            events: Vec::new(),
        }
    }

    /// Takes over what another world leaves open, if the two differ in nothing but the order of siblings. Returns `false` if they
    /// differ in anything else.
    fn absorb(&mut self, other: &Self) -> bool {
        let is_equal =
            self.nodes == other.nodes && self.outcomes == other.outcomes && self.counts == other.counts;
        if is_equal {
            let standings = self.standings.iter_mut().flatten().zip(other.standings.iter().flatten());
            for (own, other) in standings {
                own.since.earliest = own.since.earliest.min(other.since.earliest);
                own.since.latest = own.since.latest.max(other.since.latest);
                own.turns = own.turns.min(other.turns);
            }
            self.now = self.now.max(other.now);
        }
        is_equal
    }

    /// Returns the earliest deadline of the requests that wait.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let waiting = self.nodes.iter().flat_map(|node| &node.queue);
        waiting.filter_map(|request| request.deadline).min()
    }

    pub(super) fn outcome(&self, slot: usize) -> &Outcome {
        &self.outcomes[slot]
    }

    pub(super) fn in_use(&self, node: usize) -> u32 {
        self.nodes[node].in_use
    }

    pub(super) fn waiting(&self, node: usize) -> usize {
        self.nodes[node].waiting
    }

    pub(super) fn limit(&self, node: usize) -> u32 {
        self.nodes[node].limit
    }

    pub(super) fn is_gate_idle(&self, gate: usize) -> bool {
        let node = &self.nodes[self.shape.gates[gate].node];
        node.in_use == 0 && node.waiting == 0
    }

    pub(super) fn busy_keys(&self, gate: usize) -> usize {
        let is_busy_key = |id: &usize| {
            let node = &self.shape.nodes[*id];
            node.kind == NodeKind::Key && node.gate == gate && !self.is_node_idle(*id)
        };
        (0..self.nodes.len()).filter(is_busy_key).count()
    }

    fn is_node_idle(&self, id: usize) -> bool {
        self.nodes[id].in_use == 0 && self.nodes[id].queue.is_empty()
    }

    /// Returns the permits that a node has left: none while it is paused.
    fn available(&self, id: usize) -> u32 {
        let node = &self.nodes[id];
        if node.is_paused { 0 } else { node.limit.saturating_sub(node.in_use) }
    }

    /// Returns the lowest level at which `holds` returns `true`.
    fn lowest(&self, node: usize, holds: impl Fn(usize) -> bool) -> Option<usize> {
        self.shape.nodes[node].path.iter().copied().find(|id| holds(*id))
    }

    /// Compares the status of a gate.
    pub(super) fn check_status(&self, gate: usize, status: &GateStatus) -> Result<(), String> {
        let rules = &self.shape.gates[gate];
        let (node, counts) = (&self.nodes[rules.node], &self.counts[gate]);
        let below = |id: &usize| {
            let other = &self.shape.nodes[*id];
            other.gate == gate && (other.kind != NodeKind::Gate || other.children.is_empty())
        };
        let counted: usize = (0..self.nodes.len()).filter(below).map(|id| self.nodes[id].queue.len()).sum();
        let mut totals = counts.totals;
        let queue = totals.queue;
        totals.queue.enqueued = counted as u64
            + (queue.admitted + queue.cancelled + queue.expired + queue.too_large)
            + (queue.closed + queue.pushed_out + queue.shed);
        let expected = (
            (rules.name, Limit::new(node.limit), node.in_use, node.limit.saturating_sub(node.in_use)),
            (node.in_use.saturating_sub(node.limit), node.waiting, counts.unclaimed, counts.resized),
            (node.queue_bound < u32::MAX).then_some(node.queue_bound as usize),
            self.lowest(rules.node, |id| self.nodes[id].is_paused).is_some(),
            self.lowest(rules.node, |id| self.nodes[id].is_closed).is_some(),
            totals,
        );
        let actual = (
            (status.name, status.limit, status.in_use, status.available),
            (status.debt, status.waiting, status.unclaimed, status.resized),
            status.queue_bound,
            status.paused,
            status.closed,
            status.totals,
        );
        if actual == expected { Ok(()) } else { Err(format!("status {actual:#?}\nexpected {expected:#?}")) }
    }

    /// Notes the change that has just been made to the nodes: which of them are ready, and since when. `changed_use` is the leaf whose
    /// permits in use have changed, with those of the nodes above it.
    fn refresh(&mut self, changed_use: Option<usize>) {
        self.now += 1;
        let now = Since { earliest: self.now, latest: self.now };
        self.refresh_with(|world, id, before| {
            let use_changed = changed_use.is_some_and(|leaf| world.shape.is_within(leaf, id));
            if use_changed { Some(now) } else { before.is_none().then_some(now) }
        });
    }

    /// As [`refresh`](Self::refresh), after a change of a whole subtree. The order of its parts is open, and a part may have been not
    /// ready meanwhile.
    fn refresh_subtree(&mut self, top: usize) {
        self.now += 1;
        let now = self.now;
        self.refresh_with(|world, id, before| {
            let is_part = world.shape.is_within(id, top) || world.shape.is_within(top, id);
            match before {
                None => Some(Since { earliest: now, latest: now }),
                Some(before) => is_part.then_some(Since { latest: now, ..before }),
            }
        });
    }

    /// Computes which nodes are ready for which priorities. `restamp` gets each such node, and since when it has been ready, or `None` if
    /// it was not ready before. It returns the new start of that time, if it changes.
    fn refresh_with(&mut self, restamp: impl Fn(&Self, usize, Option<Since>) -> Option<Since>) {
        // From the leaves upwards: a parent stands before its children.
        for id in (0..self.nodes.len()).rev() {
            let children = &self.shape.nodes[id].children;
            let below: usize = children.iter().map(|child| self.nodes[*child].waiting).sum();
            self.nodes[id].waiting = self.nodes[id].queue.len() + below;
            let (before, ready) = (self.nodes[id].ready, self.ready(id));
            self.nodes[id].ready = ready;
            if self.nodes[id].waiting == 0 {
                self.nodes[id].passed = [0; CLASSES];
            }
            for priority in ready.iter() {
                let since = before.has(priority).then_some(self.standings[id][priority].since);
                if let Some(since) = restamp(self, id, since) {
                    self.standings[id][priority] = Standing { since, turns: 0 };
                }
            }
        }
    }

    /// Returns the priorities of which a request may be granted at a node, as far as the nodes below it allow.
    fn candidates(&self, id: usize) -> Classes {
        let node = &self.nodes[id];
        let own = node.queue.iter().fold(Classes::default(), |all, request| all.with(request.priority));
        let own = Classes(own.0 & !node.awaiting.0);
        let children = self.shape.nodes[id].children.iter();
        children.fold(own, |all, child| Classes(all.0 | self.nodes[*child].ready.0))
    }

    fn ready(&self, id: usize) -> Classes {
        let available = self.available(id);
        match self.nodes[id].chosen {
            _ if available == 0 => Classes::default(),
            None => self.candidates(id),
            Some(chosen) if chosen.weight > available => Classes::default(),
            Some(chosen) => Classes::default().with(chosen.priority),
        }
    }
}

/// The gates, and the other nodes that are in use, for the printed steps of a run.
impl fmt::Display for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, node) in self.nodes.iter().enumerate() {
            let Node { kind, gate, share, path, .. } = &self.shape.nodes[id];
            if *kind != NodeKind::Gate && node.in_use == 0 && node.queue.is_empty() {
                continue;
            }
            write!(
                f,
                "    {id:>2} {kind:?} of {} below {:?}, share {share}:",
                self.shape.gates[*gate].name,
                path.get(1)
            )?;
            write!(
                f,
                " {} of {} in use, {} of {} wait",
                node.in_use, node.limit, node.waiting, node.queue_bound
            )?;
            let flags = (node.is_paused, node.is_closed, node.ready, node.awaiting, node.passed);
            writeln!(f, ", {:?} chosen, paused, closed, ready, awaiting, passed: {flags:?}", node.chosen)?;
            for request in &node.queue {
                writeln!(f, "       {request:?}")?;
            }
        }
        Ok(())
    }
}

/// What made room for the requests that are granted in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Arrival,
    Release,
    Cancel,
    Expiry,
    Resize,
    Pause,
    Resume,
    Close,
    PushOut,
}

impl Cause {
    const fn event(self) -> Option<Event> {
        match self {
            Self::Arrival => None,
            Self::Release => Some(Event::GrantedByRelease),
            Self::Cancel => Some(Event::GrantedByCancel),
            Self::Expiry => Some(Event::GrantedByExpiry),
            Self::Resize => Some(Event::GrantedByResize),
            Self::Pause => Some(Event::GrantedByPause),
            Self::Resume => Some(Event::GrantedByResume),
            Self::Close => Some(Event::GrantedByClose),
            Self::PushOut => Some(Event::GrantedByPushOut),
        }
    }
}
