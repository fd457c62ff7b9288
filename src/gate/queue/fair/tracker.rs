//! The records of a tree whose gates track their holders.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::NodeId;
use crate::gate::holders::holder::HolderState;
use crate::gate::holders::record::RecordId;
use crate::gate::holders::requester::Requester;

/// One record for the permits of each request that was admitted, and one for each request that waits. Empty if no gate of the tree
/// tracks its holders.
#[derive(Default)]
pub(in crate::gate) struct Tracker {
    records: Vec<RecordSlot>,
    /// The first slot that is free.
    free: Option<usize>,
    /// The requests that wait, by their address, which does not change meanwhile.
    waits: HashMap<usize, TrackedWait>,
}

enum RecordSlot {
    Used(HolderRecord),
    /// With the next slot that is free.
    Free(Option<usize>),
}

/// The permits of one request that are in use.
#[derive(Clone)]
pub(in crate::gate) struct HolderRecord {
    /// The gate or the key of the request.
    pub(in crate::gate) node: NodeId,
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) since: i64,
    pub(in crate::gate) state: HolderState,
    pub(in crate::gate) requester: Requester,
    /// Whether the permits stay in the flow of the requester until they are released.
    pub(in crate::gate) ownership: Ownership,
    pub(in crate::gate) label: Option<Cow<'static, str>>,
}

/// Whether permits can leave the task that acquired them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Ownership {
    /// The permits borrow their gate, or were declared to stay.
    Borrowed,
    Owned,
}

/// A request that waits.
#[derive(Clone, Copy)]
pub(in crate::gate) struct TrackedWait {
    /// The gate or the key of the request.
    pub(in crate::gate) node: NodeId,
    pub(in crate::gate) weight: u32,
    pub(in crate::gate) since: i64,
    pub(in crate::gate) requester: Requester,
    pub(in crate::gate) ownership: Ownership,
}

impl Tracker {
    /// Adds a record. Returns [`RecordId::NONE`] if there is no number left.
    pub(in crate::gate) fn add(&mut self, record: HolderRecord) -> RecordId {
        let slot = self.free.unwrap_or(self.records.len());
        let id = RecordId::of_slot(slot);
        if id.is_none() {
            return id;
        }
        let used = RecordSlot::Used(record);
        if slot == self.records.len() {
            self.records.push(used);
        } else if let RecordSlot::Free(next) = std::mem::replace(&mut self.records[slot], used) {
            self.free = next;
        }
        id
    }

    /// Removes a record.
    pub(in crate::gate) fn remove(&mut self, id: RecordId) -> Option<HolderRecord> {
        let slot = id.slot()?;
        if matches!(self.records.get(slot)?, RecordSlot::Free(_)) {
            return None;
        }
        match std::mem::replace(&mut self.records[slot], RecordSlot::Free(self.free)) {
            RecordSlot::Used(record) => {
                self.free = Some(slot);
                Some(record)
            }
            RecordSlot::Free(_) => None,
        }
    }

    pub(in crate::gate) fn get_mut(&mut self, id: RecordId) -> Option<&mut HolderRecord> {
        match self.records.get_mut(id.slot()?)? {
            RecordSlot::Used(record) => Some(record),
            RecordSlot::Free(_) => None,
        }
    }

    pub(in crate::gate) fn records(&self) -> impl Iterator<Item = &HolderRecord> {
        self.records.iter().filter_map(|slot| match slot {
            RecordSlot::Used(record) => Some(record),
            RecordSlot::Free(_) => None,
        })
    }

    pub(super) fn add_wait(&mut self, address: usize, wait: TrackedWait) {
        self.waits.insert(address, wait);
    }

    /// Returns `true` if a request waits at a gate that tracks its holders.
    #[inline]
    pub(super) fn has_waits(&self) -> bool {
        !self.waits.is_empty()
    }

    pub(super) fn remove_wait(&mut self, address: usize) -> Option<TrackedWait> {
        self.waits.remove(&address)
    }

    /// Removes the record of a request that leaves the queue without permits.
    #[inline]
    pub(super) fn forget_wait(&mut self, address: usize) {
        if self.has_waits() {
            self.remove_wait(address);
        }
    }

    pub(in crate::gate) fn wait_mut(&mut self, address: usize) -> Option<&mut TrackedWait> {
        self.waits.get_mut(&address)
    }

    pub(super) fn wait(&self, address: usize) -> Option<&TrackedWait> {
        self.waits.get(&address)
    }

    pub(in crate::gate) fn waits(&self) -> impl Iterator<Item = (usize, &TrackedWait)> {
        self.waits.iter().map(|(address, wait)| (*address, wait))
    }
}
