//! The gates of a governor that share their limit with other processes.

#[cfg(feature = "fleet")]
use std::collections::BTreeMap;
#[cfg(feature = "fleet")]
use std::panic;
#[cfg(feature = "fleet")]
use std::sync::Arc;

#[cfg(feature = "fleet")]
use tokio::sync::Notify;
#[cfg(feature = "fleet")]
use tokio::task::{JoinError, JoinSet};
#[cfg(feature = "fleet")]
use tokio::time::Instant;

#[cfg(feature = "fleet")]
use crate::fleet::{BlockReturn, Share, SharedGate, SharedStatus, UnreturnedBlock};
use crate::gate::{Gate, Resize, WakeList};
use crate::plan::{GateName, LeaseExplanation, Limit};
#[cfg(feature = "fleet")]
use crate::plan::{GateSpec, Plan, Problem};

/// The shared gates of a governor. Without the feature `fleet` there are none.
#[derive(Default)]
pub(super) struct Shares {
    /// The gates with a lease of their own.
    #[cfg(feature = "fleet")]
    leased: Vec<SharedGate>,
    /// These, and the gates within them.
    #[cfg(feature = "fleet")]
    all: Vec<SharedGate>,
    /// Notified when a lease has changed.
    #[cfg(feature = "fleet")]
    changes: Arc<Notify>,
}

#[cfg(feature = "fleet")]
impl Shares {
    /// Opens the shared gates: each gate that has a share, and the gates within it.
    pub(super) fn open(
        shares: Vec<(GateName, Share)>,
        plan: &Plan,
        gates: &[Gate],
    ) -> Result<Self, Vec<Problem>> {
        let (mut opened, mut problems) = (Self::default(), Vec::new());
        for (name, share) in shares {
            let Some(gate) = gates.iter().find(|gate| gate.name() == name) else { continue };
            match share.attach(gate.clone(), Arc::clone(&opened.changes)) {
                Ok(gate) => opened.leased.push(gate),
                Err(error) => problems.push(Problem::Share { gate: name, reason: format!("{error:?}") }),
            }
        }
        for gate in gates {
            let path = plan.path(gate.name());
            let root = path.ok().and_then(|path| path.parents().first().copied()).unwrap_or(gate.name());
            if let Some(leased) = opened.leased.iter().find(|leased| leased.name() == root) {
                opened.all.push(leased.within(gate.clone()));
            }
        }
        if problems.is_empty() { Ok(opened) } else { Err(problems) }
    }

    /// Finds the shares that cannot be opened, before anything is opened. Asks all ledgers at the same time, so that several of
    /// them that hang take no longer than one.
    pub(super) async fn problems(shares: &[(GateName, Share)], specs: &[GateSpec]) -> Vec<Problem> {
        // By the place of the share in the list, because the ledgers answer in any order.
        let mut problems = BTreeMap::new();
        let mut checks = JoinSet::new();
        let mut times: BTreeMap<GateName, usize> = BTreeMap::new();
        for (place, (gate, share)) in shares.iter().enumerate() {
            let gate = *gate;
            let times = times.entry(gate).or_default();
            *times = times.saturating_add(1);
            match specs.iter().find(|spec| spec.name() == gate).map(GateSpec::parent) {
                None => {
                    let known = specs.iter().map(GateSpec::name).collect();
                    problems.insert(place, Problem::UnknownShare { gate, known });
                }
                Some(Some(parent)) => {
                    problems.insert(place, Problem::SharedChild { gate, parent });
                }
                Some(None) => {
                    let share = share.clone();
                    checks.spawn(async move { (place, gate, share.check(gate).await) });
                }
            }
        }
        while let Some(checked) = checks.join_next().await {
            match checked.map_err(JoinError::try_into_panic) {
                Ok((place, gate, Err(error))) => {
                    problems.insert(place, Problem::Share { gate, reason: format!("{error:?}") });
                }
                Err(Ok(panic)) => panic::resume_unwind(panic),
                // The ledger can be used; or the check was cancelled, because the runtime ends.
                Ok((_, _, Ok(()))) | Err(Err(_)) => {}
            }
        }
        let several = times.into_iter().filter(|(_, times)| *times > 1);
        let several = several.map(|(gate, times)| Problem::DuplicateShare { gate, times });
        problems.into_values().chain(several).collect()
    }

    /// Returns the shared gate of this name.
    pub(super) fn find(&self, gate: GateName) -> Option<&SharedGate> {
        self.all.iter().find(|shared| shared.name() == gate)
    }

    /// Returns the state of each lease.
    pub(super) fn leases(&self) -> impl Iterator<Item = SharedStatus> {
        self.leased.iter().map(SharedGate::status)
    }

    /// Returns `true` if no gate is shared.
    pub(super) fn is_empty(&self) -> bool {
        self.leased.is_empty()
    }

    /// Waits for a change of a lease. A change since the last call resolved counts, too.
    pub(super) async fn changed(&self) {
        self.changes.notified().await;
    }

    /// Returns all blocks to their ledgers, and waits until these have confirmed it. Returns the blocks for which one has not.
    pub(super) async fn leave(&self, deadline: Instant) -> Vec<UnreturnedBlock> {
        let mut unreturned = Vec::new();
        self.leased.iter().for_each(SharedGate::begin_leave);
        for shared in &self.leased {
            let (gate, outcome) = (shared.name(), shared.leave(deadline).await);
            if outcome != BlockReturn::Confirmed {
                unreturned.push(UnreturnedBlock::new(gate, outcome));
            }
        }
        unreturned
    }

    /// Returns the gate of this name if it has a lease of its own.
    fn leased(&self, gate: GateName) -> Option<&SharedGate> {
        self.leased.iter().find(|shared| shared.name() == gate)
    }
}

impl Shares {
    /// Returns `true` if the gate of this name is a shared one.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "there are no shared gates"))]
    pub(super) fn contain(&self, gate: GateName) -> bool {
        #[cfg(feature = "fleet")]
        return self.find(gate).is_some();
        #[cfg(not(feature = "fleet"))]
        {
            let _ = gate;
            false
        }
    }

    /// Begins to return the block of a gate with a lease of its own to the ledger.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "there are no shared gates"))]
    pub(super) fn begin_leave(&self, gate: GateName) {
        #[cfg(feature = "fleet")]
        if let Some(shared) = self.leased(gate) {
            shared.begin_leave();
        }
        #[cfg(not(feature = "fleet"))]
        let _ = gate;
    }

    /// Returns `true` if the gate of this name is paused because its lease has no permits.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "there are no shared gates"))]
    pub(super) fn lack_permits(&self, gate: GateName) -> bool {
        #[cfg(feature = "fleet")]
        return self.find(gate).is_some_and(SharedGate::lacks_permits);
        #[cfg(not(feature = "fleet"))]
        {
            let _ = gate;
            false
        }
    }

    /// Returns the limit that the governor has given a gate. The limit of a gate with a lease is lower if its block is.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "there are no shared gates"))]
    pub(super) fn limit_of(&self, gate: &Gate) -> Limit {
        #[cfg(feature = "fleet")]
        if let Some(shared) = self.leased(gate.name()) {
            return shared.local_limit();
        }
        gate.limit()
    }

    /// Sets the limit of a gate. The caller drops the returned list without a lock, which wakes the waiters.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "there are no shared gates"))]
    pub(super) fn resize(&self, gate: &Gate, limit: Limit) -> (Resize, WakeList) {
        #[cfg(feature = "fleet")]
        if let Some(shared) = self.leased(gate.name()) {
            return shared.set_local_limit(limit);
        }
        let mut wake_list = WakeList::default();
        let resize = gate.resize_without_waking(limit, &mut wake_list);
        (resize, wake_list)
    }

    /// Returns the lease of a shared gate.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_self, reason = "there are no shared gates"))]
    pub(super) fn lease_of(&self, gate: GateName) -> Option<LeaseExplanation> {
        #[cfg(feature = "fleet")]
        return self.find(gate).map(|shared| shared.status().explanation());
        #[cfg(not(feature = "fleet"))]
        {
            let _ = gate;
            None
        }
    }
}
