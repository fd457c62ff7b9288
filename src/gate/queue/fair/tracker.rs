//! The records of a tree whose gates track their holders.

use std::borrow::Cow;
use std::collections::HashMap;

use super::node::NodeId;
use crate::gate::holders::holder::HolderState;
use crate::gate::holders::record::RecordId;
use crate::gate::holders::requester::Requester;
use crate::gate::recent_clock::RecentClock;

/// One record for the permits of each request that was admitted, and one for each request that waits. Empty if no gate of the tree
/// tracks its holders.
#[derive(Default)]
pub(in crate::gate) struct Tracker {
    records: Vec<RecordSlot>,
    /// The head of the free list.
    free: Option<usize>,
    /// The waiting requests, by their address, which does not change while they wait.
    waits: HashMap<usize, TrackedWait>,
    /// For the records of permits whose hold time is not measured.
    pub(super) clock: RecentClock,
}

enum RecordSlot {
    Used(HolderRecord),
    /// An entry of the free list: the index of the next free slot.
    Free(Option<usize>),
}

/// The permits of one request that are in use.
#[derive(Clone)]
pub(in crate::gate) struct HolderRecord {
    /// The gate or the key of the request.
    pub(in crate::gate) node: NodeId,
    pub(in crate::gate) weight: u32,
    /// When the permits were acquired. If their hold time is not measured, it may be too early by up to one tick of
    /// the kernel's clock.
    pub(in crate::gate) since: i64,
    /// The number of hold times that this one represents in the histogram; 0 if it is not measured.
    pub(in crate::gate) sample: u16,
    pub(in crate::gate) state: HolderState,
    pub(in crate::gate) requester: Requester,
    /// Whether the permits can leave the task that acquired them.
    pub(in crate::gate) ownership: Ownership,
    pub(in crate::gate) label: Option<Cow<'static, str>>,
}

/// Permits that are about to be released: the fields of their record.
#[derive(Clone, Copy)]
pub(in crate::gate) struct EndedHold {
    pub(in crate::gate) node: NodeId,
    pub(in crate::gate) since: i64,
    pub(in crate::gate) sample: u16,
}

/// Whether permits can leave the task that acquired them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate) enum Ownership {
    /// The permits borrow the handle of their gate, or `stay_in_task` was called.
    Borrowed,
    /// The permits own their handle, or were acquired without a wait by `try_acquire`.
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
    /// Adds a record, in the first free slot or in a new one. Returns [`RecordId::NONE`] if there is no number left.
    #[expect(
        clippy::inline_always,
        reason = "benchmark row `tracked`: the record is written once, where it stays"
    )]
    #[inline(always)]
    pub(in crate::gate) fn add(&mut self, record: HolderRecord) -> RecordId {
        let slot = self.free.unwrap_or(self.records.len());
        let id = RecordId::of_slot(slot);
        if id.is_none() {
            return id;
        }
        match self.records.get_mut(slot) {
            Some(free) => {
                if let RecordSlot::Free(next) = *free {
                    self.free = next;
                }
                *free = RecordSlot::Used(record);
            }
            None => self.records.push(RecordSlot::Used(record)),
        }
        id
    }

    /// Removes a record. Returns the fields that are needed to record the hold time.
    pub(in crate::gate) fn remove(&mut self, id: RecordId) -> Option<EndedHold> {
        let slot = id.slot()?;
        let used = self.records.get_mut(slot)?;
        let RecordSlot::Used(HolderRecord { node, since, sample, .. }) = *used else { return None };
        *used = RecordSlot::Free(self.free.replace(slot));
        Some(EndedHold { node, since, sample })
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
