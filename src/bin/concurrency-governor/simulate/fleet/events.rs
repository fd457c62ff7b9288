//! What happens at which instant of simulated time.

use std::collections::BTreeMap;

/// An event of a simulation. It contains the index of the host and the number of its process, so that an event of a crashed process does
/// not affect the next process.
#[derive(Clone, Copy, Debug)]
pub(super) enum FleetEvent {
    /// The host checks whether an exchange is due.
    Wake { host: u32, process: u32 },
    /// The ask of a host arrives at the ledger.
    Ask { host: u32, process: u32, seq: u64 },
    /// The answer of the ledger arrives at the host.
    Answer { host: u32, process: u32, seq: u64 },
    /// The host notices that its exchange has failed.
    Failure { host: u32, process: u32, seq: u64 },
    /// A request ends.
    Done { host: u32, process: u32 },
    /// The fault with this index begins.
    Fault { index: usize },
}

/// The future events, by milliseconds. Events of one millisecond are in the order in which they were added, so a run is reproducible.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    by_time: BTreeMap<u64, Vec<FleetEvent>>,
}

impl EventQueue {
    pub(super) fn add(&mut self, at: u64, event: FleetEvent) {
        self.by_time.entry(at).or_default().push(event);
    }

    /// Removes the events of the next instant that has some.
    pub(super) fn take_next(&mut self) -> Option<(u64, Vec<FleetEvent>)> {
        self.by_time.pop_first()
    }
}
