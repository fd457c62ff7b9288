//! The entries of the holders, in two orders: by their last exchange, and by how long they have been short of permits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What the ledger knows about one holder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HolderEntry {
    /// The permits that count as granted to the holder: its cap, or the permits that it has reported if they are more.
    pub(super) granted: u64,
    /// Permits that are kept for the holder until its next exchange.
    pub(super) reserved: u64,
    pub(super) wants: u32,
    /// The number of its last exchange.
    pub(super) seq: u64,
    /// The instant of the lease clock from which on the entry may be dropped.
    pub(super) expiry: u64,
    /// The number of its last exchange in the order of all exchanges.
    pub(super) order: u64,
    /// The instant of the lease clock at which its cap last grew.
    pub(super) grown: u64,
    /// The number of the exchange in which it became short of permits; 0 if it is not in the queue.
    pub(super) ticket: u64,
}

/// The entries. Each holder has one; those that are short of permits are also in a first-come, first-served queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    by_holder: HashMap<Arc<str>, HolderEntry>,
    by_order: BTreeMap<u64, Arc<str>>,
    queue: BTreeMap<u64, Arc<str>>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.by_holder.len()
    }

    pub(super) fn get(&self, holder: &str) -> Option<&HolderEntry> {
        self.by_holder.get(holder)
    }

    /// Returns the holder whose last exchange is the oldest.
    pub(super) fn oldest(&self) -> Option<&Arc<str>> {
        self.by_order.values().next()
    }

    /// Returns the holder that has been short of permits for longest.
    pub(super) fn queue_head(&self) -> Option<&Arc<str>> {
        self.queue.values().next()
    }

    /// Returns the entries in the order of their last exchange.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &HolderEntry)> {
        self.by_order.values().filter_map(|holder| Some((&**holder, self.by_holder.get(holder)?)))
    }

    /// Stores an entry in both orders. It replaces the previous entry of the holder.
    pub(super) fn store(&mut self, holder: &str, entry: HolderEntry) {
        let holder = self.remove(holder).map_or_else(|| holder.into(), |(holder, _)| holder);
        self.by_order.insert(entry.order, Arc::clone(&holder));
        if entry.ticket > 0 {
            self.queue.insert(entry.ticket, Arc::clone(&holder));
        }
        self.by_holder.insert(holder, entry);
    }

    /// Removes an entry from both orders.
    pub(super) fn remove(&mut self, holder: &str) -> Option<(Arc<str>, HolderEntry)> {
        let (holder, entry) = self.by_holder.remove_entry(holder)?;
        self.by_order.remove(&entry.order);
        self.queue.remove(&entry.ticket);
        Some((holder, entry))
    }

    /// Sets the permits that are reserved for a holder, and its ticket. The ticket 0 removes the holder from the queue.
    pub(super) fn reserve(&mut self, holder: &str, reserved: u64, ticket: u64) {
        if let Some(entry) = self.by_holder.get_mut(holder) {
            entry.reserved = reserved;
            if ticket == 0 {
                self.queue.remove(&entry.ticket);
            }
            entry.ticket = ticket;
        }
    }
}
