//! Finds the node of a key by its hash: a hash table with linear probing that holds node numbers.

use super::node::NodeId;

/// The busy keys of one node. Their hashes stand in the nodes.
#[derive(Debug, Default)]
pub(super) struct KeyIndex {
    /// [`NodeId::NONE`] where no key is. The length is 0 or a power of two, and at most half of it is in use.
    slots: Vec<NodeId>,
    len: usize,
}

impl KeyIndex {
    /// Returns the number of keys.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the node of the key with this hash for which `is_equal` returns `true`.
    pub(super) fn find(&self, hash: u64, is_equal: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let mut at = self.home(hash)?;
        loop {
            match self.slots[at] {
                NodeId::NONE => return None,
                id if is_equal(id) => return Some(id),
                _ => at = self.next(at),
            }
        }
    }

    /// Adds a key that is not in the table.
    pub(super) fn insert(&mut self, hash: u64, id: NodeId, hash_of: impl Fn(NodeId) -> u64) {
        if self.slots.len() < self.len.saturating_add(1).saturating_mul(2) {
            self.resize(self.slots.len().saturating_mul(2).max(SMALLEST), hash_of);
        }
        self.put(hash, id);
        self.len = self.len.saturating_add(1);
    }

    /// Removes a key.
    pub(super) fn remove(&mut self, hash: u64, id: NodeId, hash_of: impl Fn(NodeId) -> u64) {
        let Some(mut at) = self.home(hash) else { return };
        while self.slots[at] != id {
            if self.slots[at] == NodeId::NONE {
                return;
            }
            at = self.next(at);
        }
        self.len = self.len.saturating_sub(1);
        // Moves back the keys behind it that stand further from their home than the gap, so that each is found without a gap before it.
        let (mut gap, mut probed) = (at, at);
        loop {
            probed = self.next(probed);
            let moved = self.slots[probed];
            if moved == NodeId::NONE {
                break;
            }
            let home = self.home(hash_of(moved)).unwrap_or(probed);
            if self.distance(home, probed) >= self.distance(gap, probed) {
                self.slots[gap] = moved;
                gap = probed;
            }
        }
        self.slots[gap] = NodeId::NONE;
        // Gives memory back after a burst of keys.
        if self.slots.len() > SMALLEST && self.slots.len() / 16 > self.len {
            self.resize(self.slots.len() / 2, hash_of);
        }
    }

    fn resize(&mut self, slots: usize, hash_of: impl Fn(NodeId) -> u64) {
        let old = std::mem::replace(&mut self.slots, vec![NodeId::NONE; slots]);
        for id in old.into_iter().filter(|id| *id != NodeId::NONE) {
            self.put(hash_of(id), id);
        }
    }

    fn put(&mut self, hash: u64, id: NodeId) {
        let Some(mut at) = self.home(hash) else { return };
        while self.slots[at] != NodeId::NONE {
            at = self.next(at);
        }
        self.slots[at] = id;
    }

    #[expect(clippy::cast_possible_truncation, reason = "only the low bits are used")]
    fn home(&self, hash: u64) -> Option<usize> {
        Some(hash as usize & self.slots.len().checked_sub(1)?)
    }

    fn next(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.slots.len().wrapping_sub(1)
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
                    index.insert(hash_of(id), id, hash_of);
                } else if !inserts {
                    expected.remove(&number);
                    index.remove(hash_of(id), id, hash_of);
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
