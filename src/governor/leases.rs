//! The leases of a governor: handles to shared gates, the state of their leases, and reports of changes.

use super::Governor;
use crate::event::Event;
use crate::fleet::{LimitVersion, SharedGate, SharedStatus};
use crate::plan::{GateHandleError, GateName, LeaseState};

impl Governor {
    /// Returns a handle to a gate that shares its limit with other processes, or to a gate within one.
    ///
    /// ```
    /// use concurrency_governor::fleet::{MemoryLedger, Share};
    /// use concurrency_governor::{Formula, GateSpec, Governor, Limit, Resource, probe};
    ///
    /// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64));
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ledger = MemoryLedger::new(); // or a `RedisLedger`, or a `PostgresLedger`
    /// let share = Share::of(ledger, "prod/io").limit(Limit::new(200));
    /// let governor = Governor::builder().gate(IO).share(IO, share).probes(probe::host()).build().await?;
    ///
    /// let io = governor.shared(IO)?;
    /// let permit = io.acquire().await?;
    /// println!("{:#}", governor.explain(IO)?); // the formula, and the lease as one more step
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`GateHandleError`] if the plan declares no gate of this name, or the gate is not shared.
    pub fn shared(&self, key: impl Into<GateName>) -> Result<SharedGate, GateHandleError> {
        let gate = self.find_gate(key.into())?.name();
        self.0.shares.find(gate).cloned().ok_or(GateHandleError::NotShared { gate })
    }

    /// Returns the state of each lease, in the order of the shares.
    pub fn leases(&self) -> impl Iterator<Item = SharedStatus> {
        self.0.shares.leases()
    }

    /// Returns `true` if a gate has a lease.
    pub(super) fn has_leases(&self) -> bool {
        !self.0.shares.is_empty()
    }

    /// Reports the changes of leases to the observers, until it is dropped. Changes in quick succession are reported as one.
    pub(super) async fn lease_loop(self) {
        let mut reported: Vec<Option<(LeaseState, LimitVersion)>> = self.leases().map(|_| None).collect();
        loop {
            let mut events = Vec::new();
            for (status, reported) in self.leases().zip(&mut reported) {
                let (state, limit) = (status.state, status.limit);
                let (before, limit_before) =
                    reported.replace((state, limit)).unwrap_or((LeaseState::Starting, limit));
                let gate = status.gate;
                if limit != limit_before {
                    let (from, to) = (limit_before.limit, limit.limit);
                    events.push(Event::FleetLimitChanged { gate, from, to, version: limit.version });
                }
                if state != before {
                    let lease = Box::new(status.explanation());
                    events.push(Event::LeaseChanged { gate, from: before, to: state, lease });
                }
            }
            self.report(&events);
            // A change during the report leaves a notification.
            self.0.shares.changed().await;
        }
    }
}
