//! The deadlines of the requests at one timer.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::mem;

/// A multiset of deadlines that knows the earliest one, with the nodes of their requests.
///
/// Two binary heaps with lazy deletion. If the earliest deadline is removed, it is popped from `all`. Any other removed deadline is pushed
/// to `removed`, and both copies are popped once it is the earliest. Deadlines mostly arrive in ascending order, so both heaps mostly add
/// at their end: benchmark row `timeout`. A removal names a deadline and not a node. So if several deadlines are equal, the entries that
/// are left may have the node of a request whose deadline was removed.
pub(super) struct Deadlines<N> {
    all: BinaryHeap<Entry<N>>,
    /// The deadlines of `all` that are removed already. Never contains the earliest one of `all`.
    removed: BinaryHeap<Reverse<i64>>,
}

/// A deadline with the node of its request. The order is reversed, because `BinaryHeap` is a max-heap.
struct Entry<N> {
    deadline: i64,
    node: N,
}

impl<N> Ord for Entry<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.cmp(&self.deadline)
    }
}

impl<N> PartialOrd for Entry<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<N> PartialEq for Entry<N> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<N> Eq for Entry<N> {}

impl<N> Deadlines<N> {
    pub(super) fn new() -> Self {
        // Room for a few deadlines beside the removed ones.
        Self {
            all: BinaryHeap::with_capacity(2 * MIN_REBUILD),
            removed: BinaryHeap::with_capacity(MIN_REBUILD),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() // the earliest deadline in it is never a removed one
    }

    /// Returns the earliest deadline.
    pub(super) fn first(&self) -> Option<i64> {
        self.all.peek().map(|first| first.deadline)
    }

    pub(super) fn insert(&mut self, deadline: i64, node: N) {
        self.all.push(Entry { deadline, node });
    }

    /// Removes one deadline that was inserted and is not removed yet.
    pub(super) fn remove(&mut self, deadline: i64) {
        if self.first() == Some(deadline) {
            self.all.pop();
            self.drop_removed_first();
            return;
        }
        self.removed.push(Reverse(deadline));
        // From `MIN_REBUILD` entries on, keeps `removed` at no more than half of `all`. The cost is O(log n) per removal, amortized.
        if self.removed.len() >= MIN_REBUILD && self.removed.len() > self.all.len() / 2 {
            self.rebuild();
        }
    }

    /// Removes the deadlines up to `now`, and returns their nodes.
    pub(super) fn remove_due(&mut self, now: i64) -> Vec<N> {
        let mut due = Vec::new();
        while self.first().is_some_and(|first| first <= now) {
            due.extend(self.all.pop().map(|first| first.node));
            self.drop_removed_first();
        }
        due
    }

    /// Restores the rule that the earliest deadline is not in `removed`.
    fn drop_removed_first(&mut self) {
        while !self.removed.is_empty() && self.removed.peek().map(|Reverse(removed)| *removed) == self.first()
        {
            self.removed.pop();
            self.all.pop();
        }
    }

    /// Takes the removed deadlines out of both heaps.
    fn rebuild(&mut self) {
        // Both lists are in the same order, from the latest deadline to the earliest, so one pass pairs each removed deadline with an
        // entry.
        let all = mem::take(&mut self.all).into_sorted_vec();
        let mut removed = mem::take(&mut self.removed).into_sorted_vec();
        let mut next_removed = removed.iter().peekable();
        let is_left = |entry: &Entry<N>| next_removed.next_if_eq(&&Reverse(entry.deadline)).is_none();
        self.all = all.into_iter().filter(is_left).collect();
        removed.clear(); // keeps its memory
        self.removed = BinaryHeap::from(removed);
    }
}

/// Below this number of removed deadlines the heaps are not rebuilt.
const MIN_REBUILD: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::iter;

    use super::*;

    /// The deadlines up to an instant are removed at once, each with its node, and so is each of several equal ones.
    #[test]
    fn due_deadlines_are_removed_with_their_nodes() {
        let mut deadlines = Deadlines::new();
        for (deadline, node) in [(5, 'a'), (1, 'b'), (3, 'c'), (3, 'c'), (9, 'd'), (4, 'e')] {
            deadlines.insert(deadline, node);
        }
        deadlines.remove(3);
        deadlines.remove(4);
        assert_eq!((deadlines.first(), deadlines.remove_due(5)), (Some(1), vec!['b', 'c', 'a']));
        assert_eq!((deadlines.first(), deadlines.remove_due(i64::MAX)), (Some(9), vec!['d']));
        assert!(deadlines.is_empty());
    }

    /// After each random operation the deadlines and their nodes are those of a sorted map, and the removed ones take no more memory than
    /// the others.
    #[test]
    fn deadlines_follow_a_sorted_map() {
        let (mut deadlines, mut model) = (Deadlines::new(), BTreeMap::<i64, usize>::new());
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for step in 0..if cfg!(miri) { 300 } else { 100_000_i64 } {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (choice, drawn) = (random >> 33 & 15, i64::try_from(random >> 40 & 1023).unwrap());
            match choice {
                0..8 => {
                    let deadline = if choice < 5 { step } else { step - drawn };
                    deadlines.insert(deadline, deadline);
                    *model.entry(deadline).or_default() += 1;
                }
                8..15 => {
                    let index = usize::try_from(drawn).unwrap() % model.len().max(1);
                    let Some((deadline, count)) = model.iter_mut().nth(index) else { continue };
                    let deadline = *deadline;
                    deadlines.remove(deadline);
                    *count -= 1;
                    if *count == 0 {
                        model.remove(&deadline);
                    }
                }
                _ => {
                    let later = model.split_off(&(step - drawn + 1));
                    let due = mem::replace(&mut model, later).into_iter();
                    let due = due.flat_map(|(deadline, count)| iter::repeat_n(deadline, count));
                    assert_eq!(deadlines.remove_due(step - drawn), due.collect::<Vec<_>>());
                }
            }
            assert_eq!(deadlines.first(), model.keys().next().copied());
            let left = model.values().sum::<usize>();
            assert_eq!(deadlines.all.len() - deadlines.removed.len(), left);
            assert!(deadlines.removed.len() <= left + MIN_REBUILD);
        }
    }
}
