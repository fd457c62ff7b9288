//! The operations of the fair queue that keep and read the records of the holders.

use super::FairQueue;
use super::node::{LeafOrder, NodeId, NodeKind};
use super::tracker::{EndedHold, HolderRecord, Ownership, TrackedWait, Tracker};
use crate::gate::clock;
use crate::gate::holders::cycle::{HoldSnapshot, NodeSnapshot, TreeSnapshot, WaitSnapshot};
use crate::gate::holders::holder::{Holder, HolderState};
use crate::gate::holders::record::RecordId;
use crate::gate::holders::requester::Flow;
use crate::gate::holders::watch::GateWatch;
use crate::gate::key::Key;
use crate::gate::priority::Priority;
use crate::gate::queue::waiter::{Removal, WaitingRequest};

impl FairQueue {
    /// Makes a declared gate track its holders. The caller must do the same for its children.
    pub(in crate::gate) fn set_watch(&mut self, id: NodeId, watch: GateWatch) {
        if let Some(stats) = self.stats_mut(id) {
            stats.watch = Some(Box::new(watch));
        }
    }

    pub(in crate::gate) fn watch(&self, id: NodeId) -> Option<&GateWatch> {
        self.stats(id)?.watch.as_deref()
    }

    pub(in crate::gate) fn watch_mut(&mut self, id: NodeId) -> Option<&mut GateWatch> {
        self.stats_mut(id)?.watch.as_deref_mut()
    }

    pub(in crate::gate) const fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    pub(in crate::gate) const fn tracker_mut(&mut self) -> &mut Tracker {
        &mut self.tracker
    }

    /// Adds the record of permits that were acquired in this step.
    #[inline]
    pub(in crate::gate) fn track(&mut self, record: HolderRecord, clock: impl Fn() -> i64) -> RecordId {
        let node = record.node;
        let (since, sample) = self.sample_hold(node, clock).unwrap_or_else(|| (self.tracker.clock.now(), 0));
        let id = self.tracker.add(HolderRecord { since, sample, ..record });
        self.note_change(node, Some(since));
        id
    }

    /// Removes the record of permits that are about to be released, if they have one. Records their hold time if it was sampled when they
    /// were acquired.
    #[inline]
    pub(in crate::gate) fn untrack(&mut self, id: RecordId, clock: impl Fn() -> i64) {
        if !id.is_none() {
            self.remove_record(id, clock);
        }
    }

    #[inline(never)]
    fn remove_record(&mut self, id: RecordId, clock: impl Fn() -> i64) {
        let Some(EndedHold { node, since, sample }) = self.tracker.remove(id) else { return };
        let released = if sample > 0 { Some(clock()) } else { None };
        if let (Some(now), Some(watch)) = (released, self.watch_of(node)) {
            watch.holds.record_many(u64::try_from(now.saturating_sub(since)).unwrap_or(0), sample);
        }
        self.note_change(node, released);
    }

    /// Decides whether the hold time of permits is measured. If it is, returns the instant of the clock, and the number of hold times that
    /// this one represents.
    fn sample_hold(&mut self, node: NodeId, clock: impl Fn() -> i64) -> Option<(i64, u16)> {
        self.watch_of(node)?.sampler.sample(clock)
    }

    /// Returns the hold times and report times of a gate that tracks its holders; for a key, those of its gate.
    fn watch_of(&mut self, node: NodeId) -> Option<&mut GateWatch> {
        self.stats_of(node)?.watch.as_deref_mut()
    }

    /// Records that permits were acquired or released at a gate and its ancestors while requests wait. `now` is `None` if the clock was not
    /// read.
    #[inline]
    fn note_change(&mut self, from: NodeId, now: Option<i64>) {
        if self.waiting() > 0 {
            self.note_change_slow(from, now);
        }
    }

    #[cold]
    fn note_change_slow(&mut self, from: NodeId, now: Option<i64>) {
        self.for_path(from, |node| {
            if let NodeKind::Gate { stats } = &mut node.kind {
                if let Some(watch) = stats.watch.as_deref_mut() {
                    watch.changed = now;
                }
            }
        });
    }

    /// Adds the record of a request that is enqueued in this step.
    pub(in crate::gate) fn track_wait(&mut self, address: usize, wait: TrackedWait) {
        self.tracker.add_wait(address, wait);
    }

    /// Replaces the wait record of the first request of a leaf by a record of its permits, if its gate tracks holders. Returns the reason
    /// of the removal. The waiter belongs to its owner as soon as it is removed, so the record is added before, and
    /// [completed](Self::complete_grant) in the same step.
    pub(super) fn prepare_grant(&mut self, leaf: NodeId, priority: Priority, order: LeafOrder) -> Removal {
        let address = self.nodes[leaf].first(priority, order).map(WaitingRequest::address);
        let Some(wait) = address.and_then(|address| self.tracker.remove_wait(address)) else {
            return Removal::Admitted;
        };
        let TrackedWait { node, weight, since, requester, ownership } = wait;
        let state = HolderState::GrantedNotPolled;
        let record =
            HolderRecord { node, weight, since, sample: 0, state, requester, ownership, label: None };
        match self.tracker.add(record) {
            RecordId::NONE => Removal::Admitted,
            id => Removal::AdmittedTracked(id),
        }
    }

    /// Removes the record of the first request of a leaf, which is about to be removed without permits.
    pub(super) fn forget_first(&mut self, leaf: NodeId, priority: Priority, order: LeafOrder) {
        if self.tracker.has_waits() {
            let first = self.nodes[leaf].first(priority, order).map(WaitingRequest::address);
            self.tracker.forget_wait(first.unwrap_or(0));
        }
    }

    /// Completes the record of a request that was granted.
    #[cold]
    pub(super) fn complete_grant(&mut self, id: RecordId, now: i64) {
        let Some(node) = self.tracker.get_mut(id).map(|record| record.node) else { return };
        let sample = self.sample_hold(node, || now).map_or(0, |(_, sample)| sample);
        if let Some(record) = self.tracker.get_mut(id) {
            (record.since, record.sample) = (now, sample);
        }
        self.note_change(node, Some(now));
    }

    /// Returns the declared gate whose requests wait in this leaf: for a key, the gate that has it.
    pub(in crate::gate) fn gate_of(&self, leaf: NodeId) -> NodeId {
        match self.nodes[leaf].kind {
            NodeKind::Direct | NodeKind::Key { .. } => self.nodes[leaf].parent,
            NodeKind::Gate { .. } | NodeKind::Free => leaf,
        }
    }

    /// Returns the permits in use at a gate and below. Visits every record.
    pub(in crate::gate) fn holders(&self, top: NodeId, now: i64) -> Vec<Holder> {
        let records = self.tracker.records().filter(|record| self.is_within(record.node, top));
        records.filter_map(|record| self.holder(record, now)).collect()
    }

    /// Returns the instant from which the oldest permit at a gate and below has been in use. Visits every record.
    pub(in crate::gate) fn oldest_since(&self, top: NodeId) -> Option<i64> {
        let records = self.tracker.records().filter(|record| self.is_within(record.node, top));
        records.map(|record| record.since).min()
    }

    /// Converts a record to the public [`Holder`].
    pub(in crate::gate) fn holder(&self, record: &HolderRecord, now: i64) -> Option<Holder> {
        let requester = record.requester;
        Some(Holder {
            gate: self.watch(self.gate_of(record.node))?.name,
            key: self.key_of(record.node).cloned(),
            label: record.label.clone(),
            location: requester.location,
            task: requester.task,
            weight: record.weight,
            since: clock::to_instant(record.since)?,
            age: clock::elapsed(record.since, now),
            state: record.state,
        })
    }

    fn key_of(&self, leaf: NodeId) -> Option<&Key> {
        match &self.nodes[leaf].kind {
            NodeKind::Key { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Returns the gate that keeps a request waiting: the lowest one without room for it. Returns `None` if the request waits for a
    /// higher limit, for a paused gate, or only behind another request.
    pub(in crate::gate) fn full_gate(&self, wait: &TrackedWait) -> Option<NodeId> {
        if self.path(wait.node).any(|id| wait.weight > self.nodes[id].limit) {
            return None;
        }
        self.path(wait.node).find(|id| self.nodes[*id].available() < wait.weight)
    }

    /// Returns `true` if a request has waited without a break since its wait was read.
    pub(in crate::gate) fn still_waits(&self, wait: &WaitSnapshot) -> bool {
        self.tracker
            .wait(wait.address)
            .is_some_and(|now| now.since == wait.since && now.requester.flow == wait.flow)
    }

    /// Returns a snapshot for the search for wait cycles: the permits that cannot leave their flow, and all waits. The snapshot is empty if
    /// no request has waited for longer than its gate allows.
    pub(in crate::gate) fn wait_snapshot(&self, now: i64) -> TreeSnapshot {
        let is_long = |wait: &TrackedWait| {
            self.watch(self.gate_of(wait.node)).is_some_and(|watch| watch.is_overdue(wait.since, now))
        };
        // Waits that are not too long are included as well: a flow with a second wait is not certainly blocked.
        let waits: Vec<WaitSnapshot> = self
            .tracker
            .waits()
            .filter_map(|(address, wait)| {
                Some(WaitSnapshot {
                    address,
                    flow: wait.requester.flow,
                    task: wait.requester.task,
                    location: wait.requester.location,
                    node: wait.node.index(),
                    gate: self.watch(self.gate_of(wait.node))?.name,
                    weight: wait.weight,
                    since: wait.since,
                    is_long: is_long(wait),
                })
            })
            .collect();
        // Usually no wait is too long. Then there is no cycle to find, and the permits are not copied.
        if !waits.iter().any(|wait| wait.is_long) {
            return TreeSnapshot::default();
        }
        let nodes = self.nodes.ids().map(|id| NodeSnapshot {
            parent: Some(self.nodes[id].parent).filter(|parent| *parent != NodeId::NONE).map(NodeId::index),
            limit: self.limit(id),
        });
        let holds = self.tracker.records().filter_map(|record| {
            let requester = record.requester;
            Some(HoldSnapshot {
                flow: record.bound_flow()?,
                location: requester.location,
                label: record.label.clone(),
                node: record.node.index(),
                weight: record.weight,
                since: record.since,
            })
        });
        TreeSnapshot { nodes: nodes.collect(), holds: holds.collect(), waits }
    }
}

impl HolderRecord {
    /// Returns the flow that certainly holds the permits, if it is known.
    fn bound_flow(&self) -> Option<Flow> {
        let is_bound = self.ownership == Ownership::Borrowed && self.state == HolderState::Held;
        Some(self.requester.flow).filter(|flow| is_bound && *flow != Flow::Unknown)
    }
}
