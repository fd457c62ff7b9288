//! Wait cycles: tasks that wait for each other's permits.
//!
//! Deadlock detection by reduction of the wait-for graph. A task releases nothing while it waits at a gate. The search assumes that
//! every other task releases all of its permits. It then removes each waiting task whose request would fit, counts the permits of this
//! task as released, and repeats this until no more request would fit. The tasks that are left are deadlocked: each of them waits for
//! another one. The search follows these waits until it reaches a task for the second time.
//!
//! Permits whose task is not known for certain count as released, so the search reports no cycle that does not exist.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tokio::task;

use super::holder::format_duration;
use super::requester::Flow;
use crate::gate::clock;
use crate::plan::GateName;

/// Tasks that wait for each other's permits, so that none of them can continue. It prints as one line.
///
/// A cycle is found only if it is certain: among tokio tasks and blocked threads, and among permits that cannot leave their task, which
/// are borrowed ones and those declared with [`OwnedPermit::stay_in_task`](crate::gate::OwnedPermit::stay_in_task). A `Permit<'static>`
/// counts as a borrowed one, although it can be sent to another task. Permits from `try_acquire` are never part of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitCycle {
    /// The waits, in order. Each task waits for permits that the task of the next link holds. The last task waits for permits of the
    /// first one.
    pub links: Vec<CycleLink>,
}

/// One wait of a [`WaitCycle`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CycleLink {
    /// The task that waits. `None` for a thread that is no task of tokio.
    pub task: Option<task::Id>,
    /// The gate at which it waits.
    pub gate: GateName,
    /// Where the waiting request was made.
    pub location: &'static Location<'static>,
    /// The number of permits that it waits for.
    pub weight: u32,
    /// How long it has waited.
    pub waited: Duration,
    /// Where the task acquired the permits for which the previous task of the cycle waits.
    pub holds_from: &'static Location<'static>,
    /// The label of these permits.
    pub label: Option<Cow<'static, str>>,
}

impl fmt::Display for WaitCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.links.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            match link.task {
                Some(task) => write!(f, "task {task}")?,
                None => f.write_str("a thread")?,
            }
            write!(f, " holds permits requested at {}", link.holds_from)?;
            if let Some(label) = &link.label {
                write!(f, " for {label:?}")?;
            }
            let waited = format_duration(link.waited);
            write!(f, ", and has waited {waited} at {} for gate {}", link.location, link.gate)?;
        }
        Ok(())
    }
}

/// The permits in use and the waiting requests of one tree of gates, as the search needs them.
#[derive(Default)]
pub(in crate::gate) struct TreeSnapshot {
    /// All nodes of the tree, by their index. Empty if no request has waited for too long.
    pub(in crate::gate) nodes: Vec<NodeSnapshot>,
    pub(in crate::gate) holds: Vec<HoldSnapshot>,
    pub(in crate::gate) waits: Vec<WaitSnapshot>,
}

pub(in crate::gate) struct NodeSnapshot {
    pub(in crate::gate) parent: Option<usize>,
    pub(in crate::gate) limit: u32,
}

/// Permits that certainly stay with their flow while it waits.
pub(in crate::gate) struct HoldSnapshot {
    pub(in crate::gate) flow: Flow,
    pub(in crate::gate) location: &'static Location<'static>,
    pub(in crate::gate) label: Option<Cow<'static, str>>,
    pub(in crate::gate) node: usize,
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) since: i64,
}

/// A request that waits.
#[derive(Clone)]
pub(in crate::gate) struct WaitSnapshot {
    /// The address of the request. Together with `since` it identifies the wait.
    pub(in crate::gate) address: usize,
    pub(in crate::gate) flow: Flow,
    pub(in crate::gate) task: Option<task::Id>,
    pub(in crate::gate) location: &'static Location<'static>,
    pub(in crate::gate) node: usize,
    pub(in crate::gate) gate: GateName,
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) since: i64,
    /// Whether the request has waited for longer than its gate allows.
    pub(in crate::gate) is_long: bool,
}

/// A cycle, with its waits and, for each wait, the index of its tree.
pub(in crate::gate) struct FoundCycle {
    pub(in crate::gate) cycle: WaitCycle,
    pub(in crate::gate) waits: Vec<(usize, WaitSnapshot)>,
}

/// Finds the cycles among the flows of several trees. Each flow is in at most one cycle.
pub(in crate::gate) fn find_cycles(trees: &[TreeSnapshot], now: i64) -> Vec<FoundCycle> {
    let mut search = Search::new(trees);
    search.reduce();
    search.index_oldest();
    search.cycles(now)
}

struct Search<'t> {
    trees: &'t [TreeSnapshot],
    blocked: HashMap<Flow, BlockedFlow<'t>>,
    /// The permits of blocked flows in each node of each tree.
    stuck: Vec<Vec<u64>>,
    /// The oldest hold of a blocked flow in each node of each tree. Filled in after the reduction.
    oldest: HashMap<(usize, usize), (Flow, &'t HoldSnapshot)>,
}

struct BlockedFlow<'t> {
    /// The index of the tree in which the flow waits.
    tree: usize,
    wait: &'t WaitSnapshot,
    /// The permits of the flow, each with the index of its tree.
    holds: Vec<(usize, &'t HoldSnapshot)>,
}

impl<'t> Search<'t> {
    /// Creates the search with each flow that has exactly one wait, if that wait is too long.
    fn new(trees: &'t [TreeSnapshot]) -> Self {
        let mut waits: HashMap<Flow, Vec<(usize, &WaitSnapshot)>> = HashMap::new();
        for (tree, snapshot) in trees.iter().enumerate() {
            for wait in snapshot.waits.iter().filter(|wait| wait.flow != Flow::Unknown) {
                waits.entry(wait.flow).or_default().push((tree, wait));
            }
        }
        let mut blocked = HashMap::new();
        for (flow, waits) in waits {
            // A flow with two waits runs several futures at a time, so it may release permits while it waits.
            if let [(tree, wait)] = waits[..] {
                if wait.is_long {
                    blocked.insert(flow, BlockedFlow { tree, wait, holds: Vec::new() });
                }
            }
        }
        let mut stuck: Vec<Vec<u64>> = trees.iter().map(|tree| vec![0; tree.nodes.len()]).collect();
        for (tree, snapshot) in trees.iter().enumerate() {
            for hold in &snapshot.holds {
                let Some(flow) = blocked.get_mut(&hold.flow) else { continue };
                // A flow acquires nothing while it waits, so it is not certain that a hold younger than the wait belongs to this flow.
                if hold.since > flow.wait.since {
                    continue;
                }
                flow.holds.push((tree, hold));
                update_path(&mut stuck[tree], &snapshot.nodes, hold.node, |stuck| {
                    stuck.saturating_add(hold.weight.into())
                });
            }
        }
        Self { trees, blocked, stuck, oldest: HashMap::new() }
    }

    /// Reduces the graph: removes each blocked flow whose request would fit if all flows that are not blocked released their permits,
    /// until no such flow is left.
    fn reduce(&mut self) {
        loop {
            let is_free = |flow: &BlockedFlow<'_>| self.obstacle(flow).is_none();
            let free: Vec<Flow> =
                self.blocked.iter().filter(|(_, flow)| is_free(flow)).map(|(flow, _)| *flow).collect();
            if free.is_empty() {
                break;
            }
            // A flow that can continue may release its permits, so they do not keep the others blocked.
            for flow in free {
                let holds = self.blocked.remove(&flow).map_or_else(Vec::new, |flow| flow.holds);
                for (tree, hold) in holds {
                    let weight = u64::from(hold.weight);
                    update_path(&mut self.stuck[tree], &self.trees[tree].nodes, hold.node, |stuck| {
                        stuck.saturating_sub(weight)
                    });
                }
            }
        }
    }

    /// Stores the oldest hold of each node. Called after the reduction: from then on, the flows that are left keep their permits.
    fn index_oldest(&mut self) {
        let holds = self
            .blocked
            .iter()
            .flat_map(|(flow, blocked)| blocked.holds.iter().map(move |hold| (*flow, *hold)));
        for (flow, (tree, hold)) in holds {
            for node in path(&self.trees[tree].nodes, hold.node) {
                // The address makes the choice unambiguous if two flows acquired permits at the same instant.
                let start = |flow: &Flow, hold: &HoldSnapshot| (hold.since, self.blocked[flow].wait.address);
                let oldest = self.oldest.entry((tree, node)).or_insert((flow, hold));
                if start(&flow, hold) < start(&oldest.0, oldest.1) {
                    *oldest = (flow, hold);
                }
            }
        }
    }

    /// Returns the lowest node that has no room for the request of a flow as long as the blocked flows keep their permits. A request
    /// that waits for a higher limit has none.
    fn obstacle(&self, flow: &BlockedFlow<'_>) -> Option<usize> {
        let (nodes, stuck) = (&self.trees[flow.tree].nodes, &self.stuck[flow.tree]);
        let weight = flow.wait.weight;
        if path(nodes, flow.wait.node).any(|node| weight > nodes[node].limit) {
            return None;
        }
        path(nodes, flow.wait.node)
            .find(|node| stuck[*node].saturating_add(weight.into()) > nodes[*node].limit.into())
    }

    /// Follows the waits of the blocked flows, and returns the cycles that they end in.
    fn cycles(&self, now: i64) -> Vec<FoundCycle> {
        let mut order: Vec<Flow> = self.blocked.keys().copied().collect();
        // Longest wait first, so that the result does not depend on the order of the hash map.
        order.sort_by_key(|flow| (self.blocked[flow].wait.since, self.blocked[flow].wait.address));
        let (mut visited, mut found) = (HashMap::new(), Vec::new());
        for (round, start) in order.into_iter().enumerate() {
            // The flows of this round, each with the hold for which the one before it waits.
            let mut steps: Vec<(Flow, Option<&HoldSnapshot>)> = Vec::new();
            let mut next = Some((start, None));
            while let Some((flow, hold)) = next.take() {
                match visited.get(&flow) {
                    // The flows from the first visit of this one on are a cycle. The last of them waits for `hold`.
                    Some(earlier) if *earlier == round => {
                        let first = steps.iter().position(|(step, _)| *step == flow).unwrap_or(0);
                        steps[first].1 = hold;
                        found.push(self.to_cycle(&steps[first..], now));
                    }
                    Some(_) => {} // leads to a cycle that was found before
                    None => {
                        visited.insert(flow, round);
                        steps.push((flow, hold));
                        next = self.next(flow);
                    }
                }
            }
        }
        found
    }

    /// Returns a blocked flow for whose permits this one waits, and these permits.
    fn next(&self, flow: Flow) -> Option<(Flow, Option<&'t HoldSnapshot>)> {
        let waiting = self.blocked.get(&flow)?;
        let full = self.obstacle(waiting)?;
        let (flow, hold) = self.oldest.get(&(waiting.tree, full))?;
        Some((*flow, Some(*hold)))
    }

    /// Converts the flows of a cycle to their public description.
    fn to_cycle(&self, steps: &[(Flow, Option<&HoldSnapshot>)], now: i64) -> FoundCycle {
        let (mut links, mut waits) = (Vec::new(), Vec::new());
        for (flow, hold) in steps {
            // Never skipped: each flow of a cycle is blocked, and the flow before it waits for its hold.
            let (Some(blocked), Some(hold)) = (self.blocked.get(flow), hold) else { continue };
            let wait = blocked.wait;
            links.push(CycleLink {
                task: wait.task,
                gate: wait.gate,
                location: wait.location,
                weight: wait.weight,
                waited: clock::elapsed(wait.since, now),
                holds_from: hold.location,
                label: hold.label.clone(),
            });
            waits.push((blocked.tree, wait.clone()));
        }
        FoundCycle { cycle: WaitCycle { links }, waits }
    }
}

/// Returns a node and its ancestors. An index that is not in the tree ends the path.
fn path(nodes: &[NodeSnapshot], from: usize) -> impl Iterator<Item = usize> {
    let known = |node: Option<usize>| node.filter(|node| *node < nodes.len());
    std::iter::successors(known(Some(from)), move |node| known(nodes[*node].parent))
}

/// Applies `change` to the permits of blocked flows in a node and its ancestors.
fn update_path(stuck: &mut [u64], nodes: &[NodeSnapshot], from: usize, change: impl Fn(u64) -> u64) {
    for node in path(nodes, from) {
        stuck[node] = change(stuck[node]);
    }
}
