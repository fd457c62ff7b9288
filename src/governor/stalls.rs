//! Watching the gates that track their holders: events about permits and requests that do not move.

use std::time::Duration;

use tokio::time::sleep;

use super::Governor;
use crate::event::Event;
use crate::gate::{Gate, ReportKind, wait_cycles};

impl Governor {
    /// Inspects the gates that track their holders, and reports permits and requests that make no progress, until the future is dropped.
    pub(super) async fn watch_loop(self) {
        let mut added = self.0.added.subscribe();
        loop {
            if !self.has_tracked_gates() {
                // This does not fail: the sender is part of the governor, which this loop keeps alive.
                let _ = added.changed().await;
                continue;
            }
            // A quarter of the shortest `overdue_after`, so that a permit is reported soon after it becomes overdue.
            sleep(self.inspection_period()).await;
            self.inspect_gates();
        }
    }

    /// Returns `true` if a gate tracks its holders.
    fn has_tracked_gates(&self) -> bool {
        self.declared().gates.iter().any(|gate| gate.overdue_after().is_some())
    }

    fn inspection_period(&self) -> Duration {
        let declared = self.declared();
        let shortest = declared.gates.iter().filter_map(Gate::overdue_after).min();
        let quarter = shortest.map_or(u64::MAX, |nanos| u64::try_from(nanos / 4).unwrap_or(0));
        Duration::from_nanos(quarter).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }

    /// Inspects each gate that tracks its holders once.
    fn inspect_gates(&self) {
        let declared = self.declared();
        let gates = &declared.gates;
        let mut events = Vec::new();
        for gate in gates.iter().filter(|gate| gate.tracks_holders()) {
            let findings = gate.inspect();
            if let Some(late) = findings.overdue.filter(|_| gate.start_report(ReportKind::Overdue)) {
                let (gate, oldest) = (gate.name(), Box::new(late.oldest));
                events.push(Event::PermitOverdue { gate, overdue: late.count, oldest });
            }
            if let Some(late) = findings.unclaimed.filter(|_| gate.start_report(ReportKind::Unclaimed)) {
                let (gate, oldest) = (gate.name(), Box::new(late.oldest));
                events.push(Event::GrantUnclaimed { gate, unclaimed: late.count, oldest });
            }
            if let Some(stall) = findings.stall.filter(|_| gate.start_report(ReportKind::Stalled)) {
                events.push(stall.into());
            }
        }
        for cycle in wait_cycles(gates) {
            // A cycle counts as reported for each of its gates, and is reported unless each of them was in a report within the last 30 s.
            let waited_for =
                gates.iter().filter(|gate| cycle.links.iter().any(|link| link.gate == gate.name()));
            let due = waited_for.filter(|gate| gate.start_report(ReportKind::Cycle)).count();
            if due > 0 {
                events.push(Event::WaitCycle { cycle });
            }
        }
        self.report(&events);
    }

    /// Gives events their numbers, and calls the observers with them.
    pub(super) fn report(&self, events: &[Event]) {
        if !events.is_empty() {
            let first_number = self.number_events(events.len());
            self.notify_observers(first_number, events);
        }
    }

    /// Takes numbers for events. Returns the first of them.
    fn number_events(&self, count: usize) -> u64 {
        let mut state = self.state();
        let first_number = state.events.saturating_add(1);
        state.events = state.events.saturating_add(count as u64);
        first_number
    }
}

/// An inspection visits every record of a gate, so it must not run too often.
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
const LONGEST_PERIOD: Duration = Duration::from_secs(10);
