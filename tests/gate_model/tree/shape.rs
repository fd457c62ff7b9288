//! The shape of a tree: its gates, and the nodes where permits count and requests wait.

use concurrency_governor::gate::Gate;
use concurrency_governor::{GateName, Keys, Limit, Part};

use crate::model::decisions::Decisions;

/// What does not change while a run uses a tree.
pub(super) struct Shape {
    pub(super) gates: Vec<GateRules>,
    /// The gates, the requests made directly on them, and every key that the run uses. A parent stands before its children.
    pub(super) nodes: Vec<Node>,
    /// Where requests can be made.
    pub(super) places: Vec<Place>,
}

/// A declared gate.
pub(super) struct GateRules {
    pub(super) name: GateName,
    /// The gate above it, by its index. `None` for the root.
    parent: Option<usize>,
    depth: u32,
    pub(super) limit: u32,
    weight: u32,
    /// The bound of the queue; `u32::MAX` if there is none.
    pub(super) queue_bound: u32,
    may_have_children: bool,
    pub(super) keys: Option<KeyRules>,
    /// The node of the gate.
    pub(super) node: usize,
}

/// The keys of a gate.
#[derive(Clone, Copy)]
pub(super) struct KeyRules {
    /// How many may be busy.
    pub(super) max: u32,
    /// The cap of each, as a part of the limit of the gate.
    numerator: u32,
    denominator: u32,
    /// The bound of the queue of each key; `u32::MAX` if there is none.
    pub(super) queue_bound: u32,
}

impl KeyRules {
    /// Returns the cap of each key under this limit of the gate: rounded down, and at least 1.
    pub(super) fn cap(self, limit: u32) -> u32 {
        (limit * self.numerator / self.denominator).max(1)
    }
}

/// Where permits count.
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// The gate; for a key and for direct requests, the gate that has them.
    pub(super) gate: usize,
    pub(super) share: u32,
    pub(super) children: Vec<usize>,
    /// This node and those above it, up to the root.
    pub(super) path: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Gate,
    /// The requests made directly on a gate that has children or keys.
    Direct,
    Key,
}

/// Where a request can be made: a gate or a key.
pub(super) struct Place {
    pub(super) gate: usize,
    pub(super) key: Option<u64>,
    /// The lowest level of its requests.
    pub(super) node: usize,
    /// Where its requests wait.
    pub(super) leaf: usize,
}

const NAMES: [&str; 5] = ["root", "a", "b", "c", "d"];
/// How many keys of each gate a run uses.
const KEYS: u64 = 4;
const MAX_DEPTH: u32 = 3;

impl Shape {
    /// Decides on a tree with up to four gates below the root.
    pub(super) fn decide(decisions: &mut Decisions<'_>) -> Self {
        let mut shape = Self { gates: Vec::new(), nodes: Vec::new(), places: Vec::new() };
        shape.add_gate(None, decisions);
        for _ in 0..decisions.below(NAMES.len() as u32) {
            let parents: Vec<usize> = (0..shape.gates.len())
                .filter(|gate| shape.gates[*gate].may_have_children && shape.gates[*gate].depth < MAX_DEPTH)
                .collect();
            let parent = parents[decisions.below(parents.len() as u32) as usize];
            shape.add_gate(Some(parent), decisions);
        }
        shape
    }

    fn add_gate(&mut self, parent: Option<usize>, decisions: &mut Decisions<'_>) {
        let gate = self.gates.len();
        let keys = (decisions.below(2) == 0).then(|| {
            let denominator = 1 + decisions.below(3);
            KeyRules {
                max: 1 + decisions.below(KEYS as u32),
                numerator: 1 + decisions.below(denominator),
                denominator,
                queue_bound: [u32::MAX, u32::MAX, 3, 1][decisions.below(4) as usize],
            }
        });
        let rules = GateRules {
            name: GateName::new(NAMES[gate]),
            parent,
            depth: parent.map_or(1, |parent| self.gates[parent].depth + 1),
            limit: 1 + decisions.below(6),
            weight: 1 + decisions.below(3),
            queue_bound: [u32::MAX, u32::MAX, u32::MAX, 8, 5, 3, 1, 0][decisions.below(8) as usize],
            may_have_children: parent.is_none() || keys.is_some() || decisions.below(3) > 0,
            keys,
            node: self.nodes.len(),
        };
        let (has_leaves, share) = (rules.may_have_children, rules.weight);
        let node = self.add_node(NodeKind::Gate, gate, parent.map(|parent| self.gates[parent].node), share);
        self.gates.push(rules);
        let leaf = if has_leaves { self.add_node(NodeKind::Direct, gate, Some(node), 1) } else { node };
        self.places.push(Place { gate, key: None, node, leaf });
        for key in 0..keys.map_or(0, |_| KEYS) {
            let node = self.add_node(NodeKind::Key, gate, Some(node), 1);
            self.places.push(Place { gate, key: Some(key), node, leaf: node });
        }
    }

    fn add_node(&mut self, kind: NodeKind, gate: usize, parent: Option<usize>, share: u32) -> usize {
        let id = self.nodes.len();
        let mut path = vec![id];
        if let Some(parent) = parent {
            self.nodes[parent].children.push(id);
            path.extend_from_slice(&self.nodes[parent].path);
        }
        self.nodes.push(Node { kind, gate, share, children: Vec::new(), path });
        id
    }

    /// Creates a gate. Those above it must be in `above`, at their indexes.
    pub(super) fn create_gate(&self, gate: usize, limit: u32, above: &[Gate]) -> Gate {
        let GateRules { name, parent, weight, queue_bound, may_have_children, keys, .. } = &self.gates[gate];
        let mut builder = Gate::builder(*name, Limit::new(limit)).weight(*weight).measure_waits(gate == 1);
        if *queue_bound < u32::MAX {
            builder = builder.queue(*queue_bound as usize);
        }
        if *may_have_children {
            builder = builder.with_children();
        }
        if let Some(rules) = keys {
            let keys = Keys::up_to(rules.max).cap(Part::of(rules.numerator, rules.denominator));
            let bounded = rules.queue_bound < u32::MAX;
            builder = builder.keyed(if bounded { keys.queue(rules.queue_bound as usize) } else { keys });
        }
        match parent {
            Some(parent) => builder.within(&above[*parent]).unwrap().build(),
            None => builder.build(),
        }
    }

    /// Returns the handle of a place.
    pub(super) fn handle(&self, place: usize, gates: &[Gate]) -> Gate {
        let Place { gate, key, .. } = self.places[place];
        key.map_or_else(|| gates[gate].clone(), |key| gates[gate].key(key))
    }

    /// Returns `true` if a gate has no child gates.
    pub(super) fn has_no_child_gates(&self, gate: usize) -> bool {
        self.gates.iter().all(|rules| rules.parent != Some(gate))
    }

    pub(super) fn is_within(&self, node: usize, top: usize) -> bool {
        self.nodes[node].path.contains(&top)
    }
}
