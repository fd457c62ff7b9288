//! What an exchange reports and requests.

use super::SharedCore;
use super::state::{LeavePhase, SharedState};

/// What the next exchange reports.
pub(super) struct Demand {
    /// The permits in use, or the live items if there are more, less the reserved permits.
    pub(super) held: u32,
    /// The permits that the process could use, less the reserved permits.
    pub(super) wants: u32,
    /// Whether the exchange returns the block for good.
    pub(super) returns_all: bool,
}

impl SharedCore {
    /// Returns what an exchange would report now.
    pub(super) fn demand(&self, state: &SharedState) -> Demand {
        // Read before the permits in use: the gate of a process that leaves is closed, so once no request waits, none is admitted.
        let may_return = state.leave != LeavePhase::Staying && self.gate.waiting() == 0;
        let in_use = self.gate.in_use();
        let used = in_use.max(state.live_items());
        let returns_all = self.is_stopped() || may_return && used == 0;
        let wants = if returns_all { 0 } else { self.wants(state, in_use) };
        Demand { held: used.saturating_sub(self.reserved()), wants, returns_all }
    }

    /// Returns the permits that this process could use: the smallest block at which as many permits are in use as at the largest block
    /// that the process can have. So the process does not request permits that the limits of its children leave unused. Without reserved
    /// permits, the result is at least 1, so that an idle process can admit a request immediately. It falls by at most a quarter per
    /// exchange, because demand comes in bursts.
    fn wants(&self, state: &SharedState, in_use: u32) -> u32 {
        // While a pause by `SharedGate::pause` lasts, the requests that wait could not use permits.
        let usable = if state.is_paused { in_use } else { self.gate.demand(self.most_of(state)) };
        let faded = state.wanted.saturating_sub(state.wanted.div_ceil(4));
        // Reserved permits are used first.
        let reserved = self.reserved();
        let most = state.local_limit.get().saturating_sub(reserved);
        // Items that are live, or should be, count as demand until their pool drops them.
        let demand = usable.max(state.wanted_items()).saturating_sub(reserved);
        demand.max(faded).min(most).max(u32::from(reserved == 0))
    }
}
