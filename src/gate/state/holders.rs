//! The records of the holders of a tree: their changes, and the problems that they show.

use std::borrow::Cow;

use super::admission::GateState;
use crate::gate::clock;
use crate::gate::holders::holder::{Findings, Holder, HolderState, LateHolders, Stall};
use crate::gate::holders::record::{HeldPermits, RecordId};
use crate::gate::holders::requester::Requester;
use crate::gate::queue::fair::{FairQueue, HolderRecord, NodeId, Ownership, Place, TrackedWait};

/// The origin of a request at a gate that tracks its holders, and whether its permits can leave their task.
#[derive(Clone, Copy)]
pub(in crate::gate) struct TrackedRequest {
    pub(in crate::gate) requester: Requester,
    pub(in crate::gate) ownership: Ownership,
}

/// The largest number of suspects in a [`Stall`].
const MAX_SUSPECTS: usize = 5;

impl TrackedRequest {
    /// Returns the record of this request while it waits.
    pub(super) const fn wait(self, node: NodeId, weight: u32, since: i64) -> TrackedWait {
        let Self { requester, ownership } = self;
        TrackedWait { node, weight, since, requester, ownership }
    }
}

impl GateState<FairQueue> {
    /// Adds the record of permits that were acquired in this step.
    #[inline]
    pub(in crate::gate) fn track(
        &mut self,
        place: &Place,
        weight: u32,
        tracked: TrackedRequest,
        clock: impl Fn() -> i64,
    ) -> RecordId {
        let Some(node) = self.queue.resolve(place) else { return RecordId::NONE };
        let (TrackedRequest { requester, ownership }, state) = (tracked, HolderState::Held);
        let record =
            HolderRecord { node, weight, since: 0, sample: 0, state, requester, ownership, label: None };
        self.queue.track(record, clock)
    }

    /// Records that the owner of granted permits has taken them. `requester` gets the location of the request.
    pub(in crate::gate) fn hold(
        &mut self,
        record: RecordId,
        requester: impl FnOnce(&'static std::panic::Location<'static>) -> Requester,
    ) {
        if let Some(record) = self.queue.tracker_mut().get_mut(record) {
            record.state = HolderState::Held;
            record.requester = requester(record.requester.location);
        }
    }

    /// Divides the permits of a record. Returns the record of the `moved` permits.
    pub(in crate::gate) fn split(&mut self, id: RecordId, kept: u32, moved: u32) -> RecordId {
        let tracker = self.queue.tracker_mut();
        let Some(record) = tracker.get_mut(id) else { return RecordId::NONE };
        record.weight = kept;
        let split = HolderRecord { weight: moved, ..record.clone() };
        tracker.add(split)
    }

    /// Moves the permits of another record to that of `sum`.
    pub(in crate::gate) fn merge(&mut self, sum: HeldPermits, other: RecordId) {
        let tracker = self.queue.tracker_mut();
        tracker.remove(other);
        if let Some(record) = tracker.get_mut(sum.record()) {
            record.weight = sum.weight();
        }
    }

    /// Sets the state of the permits of a record.
    pub(in crate::gate) fn set_holder_state(&mut self, record: RecordId, state: HolderState) {
        if let Some(record) = self.queue.tracker_mut().get_mut(record) {
            record.state = state;
        }
    }

    pub(in crate::gate) fn label(
        &mut self,
        record: RecordId,
        label: Cow<'static, str>,
    ) -> Option<Cow<'static, str>> {
        self.queue.tracker_mut().get_mut(record)?.label.replace(label)
    }

    /// Records that permits stay in the task that acquired them.
    pub(in crate::gate) fn bind(&mut self, record: RecordId) {
        if let Some(record) = self.queue.tracker_mut().get_mut(record) {
            record.ownership = Ownership::Borrowed;
        }
    }

    /// Updates the requester of a waiting request: its waker, or the task that polls it, may have changed.
    pub(in crate::gate) fn update_requester(
        &mut self,
        address: usize,
        requester: impl FnOnce(&'static std::panic::Location<'static>) -> Requester,
    ) {
        if let Some(wait) = self.queue.tracker_mut().wait_mut(address) {
            wait.requester = requester(wait.requester.location);
        }
    }

    /// Finds overdue permits, unclaimed permits and a stall at a declared gate. Visits every record of the tree.
    pub(in crate::gate) fn inspect(&mut self, gate: NodeId, now: i64) -> Findings {
        // The queue is borrowed mutably for this store only: the searches below read the watch and the queue together.
        let Some(watch) = self.queue.watch_mut(gate) else { return Findings::default() };
        let changed = *watch.changed.get_or_insert(now);
        let (Some(watch), queue) = (self.queue.watch(gate), &self.queue) else { return Findings::default() };
        // Overdue and unclaimed permits: the records of this gate and its keys that are older than the gate allows.
        let late_holders = |has_state: fn(HolderState) -> bool| {
            let (mut count, mut oldest) = (0_usize, None::<&HolderRecord>);
            let is_late = |record: &&HolderRecord| {
                has_state(record.state)
                    && watch.is_overdue(record.since, now)
                    && queue.gate_of(record.node) == gate
            };
            for record in queue.tracker().records().filter(is_late) {
                count = count.saturating_add(1);
                if oldest.is_none_or(|oldest| record.since < oldest.since) {
                    oldest = Some(record);
                }
            }
            Some(LateHolders { count, oldest: queue.holder(oldest?, now)? })
        };
        let overdue = late_holders(|state| state != HolderState::GrantedNotPolled);
        let unclaimed = late_holders(|state| state == HolderState::GrantedNotPolled);
        // A stall: a request waits because this gate, or one of its keys, has no room. The stall began with that wait, or with the last
        // change of the permits in use if that was later. It is a finding once it has lasted longer than the gate allows.
        let is_here =
            |wait: &&TrackedWait| queue.full_gate(wait).is_some_and(|full| queue.gate_of(full) == gate);
        let longest =
            queue.tracker().waits().map(|(_, wait)| wait).filter(is_here).map(|wait| wait.since).min();
        // Changes are recorded only while requests wait, so an unrecorded change happened before this wait began.
        let stalled = longest.map(|since| since.max(changed)).filter(|since| watch.is_overdue(*since, now));
        let stall = stalled.and_then(|since| self.stall(gate, since, now));
        Findings { overdue, unclaimed, stall }
    }

    fn stall(&self, gate: NodeId, since: i64, now: i64) -> Option<Stall> {
        let mut suspects = self.queue.holders(gate, now);
        suspects.sort_by_key(|holder| holder.since);
        suspects.truncate(MAX_SUSPECTS);
        Some(Stall {
            gate: self.queue.watch(gate)?.name,
            waiting: self.queue.node(gate).waiting as usize,
            since: clock::to_instant(since)?,
            lasted: clock::elapsed(since, now),
            suspects,
        })
    }

    /// Returns the permits in use at a gate and below. The result is empty if the gate does not track its holders.
    pub(in crate::gate) fn holders(&self, place: &Place, now: i64) -> Vec<Holder> {
        self.queue.resolve(place).map_or_else(Vec::new, |id| self.queue.holders(id, now))
    }
}
