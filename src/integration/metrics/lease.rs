//! The metrics of gates that share their limit with other processes.

use metrics::{SharedString, counter, gauge};

use super::names::{
    FLEET_LIMIT, LEASE_PERMITS, LEASE_REMAINING, LEASE_STATE, LEDGER_EXCHANGE, LEDGER_EXCHANGES,
};
use super::waits;
use crate::fleet::SharedStatus;
use crate::gate::Histogram;
use crate::plan::LeaseState;

/// Records the leases of all governors. `recorded` has the times of their exchanges that were recorded before.
pub(super) fn record(leases: impl Iterator<Item = SharedStatus>, recorded: &mut Vec<Histogram>) {
    let leases: Vec<SharedStatus> = leases.collect();
    recorded.resize_with(leases.len(), Histogram::default);
    for (lease, recorded) in leases.into_iter().zip(recorded) {
        let gate = SharedString::from(lease.gate.to_string());
        gauge!(LEASE_PERMITS, "gate" => gate.clone()).set(lease.cap);
        gauge!(LEASE_REMAINING, "gate" => gate.clone()).set(lease.remaining.as_secs_f64());
        gauge!(FLEET_LIMIT, "gate" => gate.clone()).set(lease.limit.limit.get());
        for state in LeaseState::ALL {
            let is_present = f64::from(u8::from(state == lease.state));
            gauge!(LEASE_STATE, "gate" => gate.clone(), "state" => state.name()).set(is_present);
        }
        for (outcome, count) in [("answered", lease.exchanges), ("failed", lease.failed_exchanges)] {
            counter!(LEDGER_EXCHANGES, "gate" => gate.clone(), "outcome" => outcome).absolute(count);
        }
        waits::record_new(LEDGER_EXCHANGE, &gate, recorded, &lease.exchange_times);
        *recorded = lease.exchange_times;
    }
}
