//! Finds the node of a key by its hash: a hash table with linear probing that holds node numbers and hashes.

use super::node::NodeId;

/// The keys of one gate that have a node.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    /// The length is 0 or a power of two. At most three quarters of the slots are in use.
    slots: Vec<KeySlot>,
    len: usize,
}

/// A key, or [`KeySlot::EMPTY`].
#[derive(Clone, Copy, Debug)]
struct KeySlot {
    id: NodeId,
    /// The low half of the hash. A search compares it before it reads a node, which saves a cache miss for almost every other key.
    hash: u32,
}

impl KeySlot {
    const EMPTY: Self = Self { id: NodeId::NONE, hash: 0 };

    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    const fn new(hash: u64, id: NodeId) -> Self {
        Self { id, hash: hash as u32 }
    }
}

impl KeyIndex {
    /// Returns the number of keys.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the node of the key with this hash for which `is_equal` returns `true`.
    pub(super) fn find(&self, hash: u64, is_equal: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let wanted = KeySlot::new(hash, NodeId::NONE);
        let mut index = self.home(wanted)?;
        loop {
            match self.slots[index] {
                KeySlot { id: NodeId::NONE, .. } => return None,
                KeySlot { id, hash } if hash == wanted.hash && is_equal(id) => return Some(id),
                _ => index = self.next(index),
            }
        }
    }

    /// Adds a key that is not in the table.
    pub(super) fn insert(&mut self, hash: u64, id: NodeId) {
        self.len = self.len.saturating_add(1);
        if self.slots.len().saturating_mul(3) < self.len.saturating_mul(4) {
            self.resize(self.slots.len().saturating_mul(2).max(SMALLEST));
        }
        self.put(KeySlot::new(hash, id));
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, hash: u64, id: NodeId) {
        let Some(mut index) = self.home(KeySlot::new(hash, id)) else { return };
        while self.slots[index].id != id {
            if self.slots[index].id == NodeId::NONE {
                return;
            }
            index = self.next(index);
        }
        self.len = self.len.saturating_sub(1);
        // Backward shift deletion: moves a following key into the gap if a search for it would cross the gap, because the search would end
        // there. The new gap is where the key was.
        let (mut gap, mut probed) = (index, index);
        loop {
            probed = self.next(probed);
            let moved = self.slots[probed];
            if moved.id == NodeId::NONE {
                break;
            }
            let home = self.home(moved).unwrap_or(probed);
            if self.distance(home, probed) >= self.distance(gap, probed) {
                self.slots[gap] = moved;
                gap = probed;
            }
        }
        self.slots[gap] = KeySlot::EMPTY;
        // Gives memory back after a burst of keys.
        if self.slots.len() > SMALLEST && self.slots.len() / 16 > self.len {
            self.resize(self.slots.len() / 2);
        }
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![KeySlot::EMPTY; slots]);
        for slot in old.into_iter().filter(|slot| slot.id != NodeId::NONE) {
            self.put(slot);
        }
    }

    fn put(&mut self, slot: KeySlot) {
        let Some(mut index) = self.home(slot) else { return };
        while self.slots[index].id != NodeId::NONE {
            index = self.next(index);
        }
        self.slots[index] = slot;
    }

    fn home(&self, slot: KeySlot) -> Option<usize> {
        Some(slot.hash as usize & self.slots.len().checked_sub(1)?)
    }

    fn next(&self, index: usize) -> usize {
        index.wrapping_add(1) & self.slots.len().wrapping_sub(1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.slots.len().wrapping_sub(1)
    }
}

const SMALLEST: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The table finds exactly the keys that were inserted and not removed, also where their hashes collide.
        #[test]
        fn index_finds_what_was_inserted(steps in prop::collection::vec((0_u32..60, any::<bool>()), 0..400), spread in 1_u64..9) {
            let hash_of = |id: NodeId| u64::from(id.0).checked_div(spread).unwrap_or(0);
            let (mut index, mut expected) = (KeyIndex::default(), BTreeSet::new());
            for (number, inserts) in steps {
                let id = NodeId(number);
                if inserts && expected.insert(number) {
                    index.insert(hash_of(id), id);
                } else if !inserts {
                    expected.remove(&number);
                    index.remove(hash_of(id), id);
                }
                prop_assert_eq!(index.len(), expected.len());
                for number in 0..60 {
                    let id = NodeId(number);
                    let found = index.find(hash_of(id), |found| found == id);
                    prop_assert_eq!(found.is_some(), expected.contains(&number));
                }
            }
        }
    }
}
