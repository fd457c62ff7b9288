//! Detection of overdue permits, stalls and wait cycles at gates that track their holders.

use std::sync::Arc;

use super::clock;
use super::handle::Gate;
use super::holders::cycle::{FoundCycle, WaitCycle, find_cycles};
use super::holders::holder::Findings;
use super::holders::watch::ReportKind;
use super::lock::GateLock;
use super::tree::Tree;

impl Gate {
    /// Finds overdue permits, unclaimed permits and a stall. Finds nothing at a gate that does not track its holders.
    pub(crate) fn inspect(&self) -> Findings {
        self.shared().node.as_ref().map_or_else(Findings::default, |node| node.inspect(clock::now()))
    }

    /// Records a report of this kind. Returns `false`, and records nothing, if the last one was less than 30 s ago.
    pub(crate) fn start_report(&self, kind: ReportKind) -> bool {
        self.shared().node.as_ref().is_some_and(|node| node.start_report(kind, clock::now()))
    }

    /// Returns the time after which a permit in use is overdue, in nanoseconds, if the gate tracks its holders.
    pub(crate) fn overdue_after(&self) -> Option<i64> {
        self.shared().node.as_ref()?.overdue_after()
    }
}

/// Returns the wait cycles among the tasks that wait at these gates.
pub(crate) fn wait_cycles(gates: &[Gate]) -> Vec<WaitCycle> {
    let mut trees: Vec<&Arc<Tree>> = Vec::new();
    for node in gates.iter().filter_map(|gate| gate.shared().node.as_ref()).filter(|node| node.is_tracked()) {
        if !trees.iter().any(|tree| Arc::ptr_eq(tree, node.tree())) {
            trees.push(node.tree());
        }
    }
    let now = clock::now();
    let snapshots: Vec<_> =
        trees.iter().map(|tree| tree.locked(|state, _| state.queue.wait_snapshot(now))).collect();
    // The trees were visited one after the other. A task that still waits has waited all the time, so what it held is still held.
    let still_waits = |found: &FoundCycle| {
        found.waits.iter().all(|(tree, wait)| {
            trees.get(*tree).is_some_and(|tree| tree.locked(|state, _| state.queue.still_waits(wait)))
        })
    };
    find_cycles(&snapshots, now).into_iter().filter(still_waits).map(|found| found.cycle).collect()
}
