//! What the lock of a shared gate protects.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

use crate::fleet::boot_clock;
use crate::fleet::lease::{Lease, LeasePhase};
use crate::fleet::shared::leased_items::LeasedItems;
use crate::fleet::step::{Fence, LimitVersion};
use crate::gate::Histogram;
use crate::plan::{LeaseState, Limit};

pub(super) struct SharedState {
    pub(super) lease: Lease,
    /// The upper bound of the block that this process requests from its ledger.
    pub(super) local_limit: Limit,
    /// Items that count as held, also while no permit is in use for them.
    pub(super) items: Vec<Weak<dyn LeasedItems>>,
    pub(super) leave: LeavePhase,
    /// Whether the end of the lease has been noted.
    pub(super) has_lapsed: bool,
    /// Whether `SharedGate::pause` has paused the gate.
    pub(super) is_paused: bool,
    /// The demand that the last exchange reported.
    pub(super) wanted: u32,
    pub(super) exchanges: u64,
    pub(super) failed_exchanges: u64,
    /// The times that the answered exchanges took.
    pub(super) exchange_times: Histogram,
    pub(super) last_error: Option<String>,
    /// Since when there are no permits from the ledger, on the boot clock. `None` if there are some.
    pub(super) unleased_since: Option<Duration>,
    /// The state and the limit at the last notification of the governor.
    pub(super) announced: (LeaseState, LimitVersion),
    /// The last leases that have ended, by their number, each with its last fence.
    ended: VecDeque<(u64, Fence)>,
}

/// The progress of a process that leaves its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeavePhase {
    Staying,
    /// The gate is closed. The block is returned once nothing is in use.
    Leaving,
    /// The exchange with this number returns the block. If it fails, there is another one.
    Returning(u64),
    /// The ledger has the block.
    Left,
}

impl SharedState {
    pub(super) fn new(lease: Lease, local_limit: Limit) -> Self {
        Self {
            announced: (LeaseState::Starting, lease.limit()),
            lease,
            local_limit,
            items: Vec::new(),
            leave: LeavePhase::Staying,
            has_lapsed: false,
            is_paused: false,
            wanted: 0,
            exchanges: 0,
            failed_exchanges: 0,
            exchange_times: Histogram::default(),
            last_error: None,
            unleased_since: Some(boot_clock::now()),
            ended: VecDeque::new(),
        }
    }

    /// Returns the number of items that are live in pools on the gate.
    pub(super) fn live_items(&self) -> u32 {
        self.sum_of_items(|items| items.live())
    }

    /// Returns the number of items that are live in pools on the gate, or should be.
    pub(super) fn wanted_items(&self) -> u32 {
        self.sum_of_items(|items| items.live().max(items.wanted()))
    }

    fn sum_of_items(&self, count: impl Fn(&dyn LeasedItems) -> usize) -> u32 {
        let items = self.items.iter().filter_map(Weak::upgrade);
        let sum = items.fold(0_usize, |sum, items| sum.saturating_add(count(&*items)));
        u32::try_from(sum).unwrap_or(u32::MAX)
    }

    /// Notes that the lease with this number has ended.
    pub(super) fn note_end(&mut self, number: u64) {
        self.ended.push_back((number, self.lease.fence()));
        if self.ended.len() > ENDED_LEASES {
            self.ended.pop_front();
        }
    }

    /// Returns the last fence of the ended lease with this number. Returns `None` if that lease ended so long ago that it was forgotten.
    pub(super) fn fence_of_ended(&self, number: u64) -> Option<Fence> {
        self.ended.iter().find(|(ended, _)| *ended == number).map(|(_, fence)| *fence)
    }

    /// Returns the state of the lease with this many permits in use. In each state but `Leased` and `Learning`, nothing is admitted, except
    /// by the policy for an unreachable ledger.
    pub(super) fn lease_state(&self, in_use: u32) -> LeaseState {
        match self.lease.phase(boot_clock::now()) {
            _ if self.leave == LeavePhase::Left => LeaseState::Left,
            LeasePhase::Unleased if self.lease.failures() == 0 => LeaseState::Starting,
            LeasePhase::Leased => LeaseState::Leased,
            LeasePhase::Learning => LeaseState::Learning,
            LeasePhase::Draining if in_use > 0 => LeaseState::Draining,
            LeasePhase::Unleased | LeasePhase::Draining => LeaseState::Unreachable,
        }
    }
}

/// The number of ended leases that are remembered, for the fences of permits that are still in use.
const ENDED_LEASES: usize = 16;
