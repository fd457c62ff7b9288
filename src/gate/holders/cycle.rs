//! Wait cycles: tasks that wait for each other's permits.
//!
//! A task that waits at a gate releases nothing meanwhile. The search first finds the tasks that certainly wait for each other: it
//! assumes that every other task releases all of its permits, lets each waiting request proceed that would fit then, assumes that its
//! task releases its permits, too, and repeats that until no more request would fit. What is left is a deadlock, and each task of it
//! waits for another. The search follows these waits until it meets a task again.
//!
//! The search takes permits for released whose task is not known for certain, so it finds no cycle that does not exist.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tokio::task;

use super::holder::in_words;
use super::requester::Flow;
use crate::gate::clock;
use crate::plan::GateName;

/// Tasks that wait for each other's permits, so that none of them can continue. It prints as one line.
///
/// A cycle is found only if it is certain: among tokio tasks and blocked threads, and among permits that cannot leave their task, which
/// are borrowed ones and those declared with [`OwnedPermit::stay_in_task`](crate::gate::OwnedPermit::stay_in_task).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitCycle {
    /// The waits. Each is for a permit of the task of the next one, and the last for one of the first.
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
    /// Where the request was made that waits.
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
            let waited = in_words(link.waited);
            write!(f, ", and has waited {waited} at {} for gate {}", link.location, link.gate)?;
        }
        Ok(())
    }
}

/// What one tree of gates contributes to the search.
#[derive(Default)]
pub(in crate::gate) struct TreeFacts {
    /// The gates of the tree, by their number. Empty if no request has waited for long.
    pub(in crate::gate) nodes: Vec<NodeFact>,
    pub(in crate::gate) holds: Vec<HoldFact>,
    pub(in crate::gate) waits: Vec<WaitFact>,
}

pub(in crate::gate) struct NodeFact {
    pub(in crate::gate) parent: Option<usize>,
    pub(in crate::gate) limit: u32,
}

/// Permits that certainly stay with their flow while it waits.
pub(in crate::gate) struct HoldFact {
    pub(in crate::gate) flow: Flow,
    pub(in crate::gate) location: &'static Location<'static>,
    pub(in crate::gate) label: Option<Cow<'static, str>>,
    pub(in crate::gate) node: usize,
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) since: i64,
}

/// A request that waits.
#[derive(Clone)]
pub(in crate::gate) struct WaitFact {
    /// Identifies the request together with the instant.
    pub(in crate::gate) address: usize,
    pub(in crate::gate) flow: Flow,
    pub(in crate::gate) task: Option<task::Id>,
    pub(in crate::gate) location: &'static Location<'static>,
    pub(in crate::gate) node: usize,
    pub(in crate::gate) gate: GateName,
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) since: i64,
    /// Whether it has waited for longer than its gate allows.
    pub(in crate::gate) is_long: bool,
}

/// A cycle, with what identifies its waits: the number of the tree and the wait.
pub(in crate::gate) struct FoundCycle {
    pub(in crate::gate) cycle: WaitCycle,
    pub(in crate::gate) waits: Vec<(usize, WaitFact)>,
}

/// Finds the cycles among the flows of several trees. Each flow is in at most one of them.
pub(in crate::gate) fn find_cycles(trees: &[TreeFacts], now: i64) -> Vec<FoundCycle> {
    let mut search = Search::new(trees);
    search.let_proceed();
    search.cycles(now)
}

struct Search<'t> {
    trees: &'t [TreeFacts],
    blocked: HashMap<Flow, BlockedFlow<'t>>,
    /// The permits of blocked flows in each node of each tree.
    stuck: Vec<Vec<u64>>,
    /// The oldest permits of a blocked flow in each node of each tree; filled in when no more flow can proceed.
    oldest: HashMap<(usize, usize), (Flow, &'t HoldFact)>,
}

struct BlockedFlow<'t> {
    /// The number of the tree in which it waits.
    tree: usize,
    wait: &'t WaitFact,
    holds: Vec<(usize, &'t HoldFact)>,
}

impl<'t> Search<'t> {
    /// Begins with all flows that have waited for long at one place, and hold something.
    fn new(trees: &'t [TreeFacts]) -> Self {
        let mut waits: HashMap<Flow, Vec<(usize, &WaitFact)>> = HashMap::new();
        for (tree, facts) in trees.iter().enumerate() {
            for wait in facts.waits.iter().filter(|wait| wait.flow != Flow::Unknown) {
                waits.entry(wait.flow).or_default().push((tree, wait));
            }
        }
        let mut blocked = HashMap::new();
        for (flow, waits) in waits {
            // A flow that waits at two places runs several futures at a time, and may release permits while it waits.
            if let [(tree, wait)] = waits[..] {
                if wait.is_long {
                    blocked.insert(flow, BlockedFlow { tree, wait, holds: Vec::new() });
                }
            }
        }
        let mut stuck: Vec<Vec<u64>> = trees.iter().map(|facts| vec![0; facts.nodes.len()]).collect();
        for (tree, facts) in trees.iter().enumerate() {
            for hold in &facts.holds {
                let Some(flow) = blocked.get_mut(&hold.flow) else { continue };
                // Code that runs step by step acquires nothing while it waits.
                if hold.since > flow.wait.since {
                    continue;
                }
                flow.holds.push((tree, hold));
                change(&mut stuck[tree], &facts.nodes, hold.node, |stuck| {
                    stuck.saturating_add(hold.weight.into())
                });
            }
        }
        Self { trees, blocked, stuck, oldest: HashMap::new() }
    }

    /// Takes out the flows whose request would fit if all others than the blocked ones released their permits, until there is none.
    fn let_proceed(&mut self) {
        loop {
            let is_free = |flow: &BlockedFlow<'_>| self.obstacle(flow).is_none();
            let free: Vec<Flow> =
                self.blocked.iter().filter(|(_, flow)| is_free(flow)).map(|(flow, _)| *flow).collect();
            if free.is_empty() {
                break;
            }
            for flow in free {
                let holds = self.blocked.remove(&flow).map_or_else(Vec::new, |flow| flow.holds);
                for (tree, hold) in holds {
                    let weight = u64::from(hold.weight);
                    change(&mut self.stuck[tree], &self.trees[tree].nodes, hold.node, |stuck| {
                        stuck.saturating_sub(weight)
                    });
                }
            }
        }
        let holds = self
            .blocked
            .iter()
            .flat_map(|(flow, blocked)| blocked.holds.iter().map(move |hold| (*flow, *hold)));
        for (flow, (tree, hold)) in holds {
            for node in path(&self.trees[tree].nodes, hold.node) {
                let age = |flow: &Flow, hold: &HoldFact| (hold.since, self.blocked[flow].wait.address);
                let oldest = self.oldest.entry((tree, node)).or_insert((flow, hold));
                if age(&flow, hold) < age(&oldest.0, oldest.1) {
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
        order.sort_by_key(|flow| (self.blocked[flow].wait.since, self.blocked[flow].wait.address));
        let (mut visited, mut found) = (HashMap::new(), Vec::new());
        for (round, start) in order.into_iter().enumerate() {
            // The flows of this round, each with the hold for which the one before it waits.
            let mut steps: Vec<(Flow, Option<&HoldFact>)> = Vec::new();
            let mut next = Some((start, None));
            while let Some((flow, hold)) = next.take() {
                match visited.get(&flow) {
                    Some(earlier) if *earlier == round => {
                        let first = steps.iter().position(|(step, _)| *step == flow).unwrap_or(0);
                        steps[first].1 = hold;
                        found.push(self.found(&steps[first..], now));
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
    fn next(&self, flow: Flow) -> Option<(Flow, Option<&'t HoldFact>)> {
        let waiting = self.blocked.get(&flow)?;
        let full = self.obstacle(waiting)?;
        let (flow, hold) = self.oldest.get(&(waiting.tree, full))?;
        Some((*flow, Some(*hold)))
    }

    fn found(&self, steps: &[(Flow, Option<&HoldFact>)], now: i64) -> FoundCycle {
        let (mut links, mut waits) = (Vec::new(), Vec::new());
        for (flow, hold) in steps {
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

/// Returns a node and its ancestors. A number that is not in the tree ends the path.
fn path(nodes: &[NodeFact], from: usize) -> impl Iterator<Item = usize> {
    let known = |node: Option<usize>| node.filter(|node| *node < nodes.len());
    std::iter::successors(known(Some(from)), move |node| known(nodes[*node].parent))
}

fn change(stuck: &mut [u64], nodes: &[NodeFact], from: usize, change: impl Fn(u64) -> u64) {
    for node in path(nodes, from) {
        stuck[node] = change(stuck[node]);
    }
}
