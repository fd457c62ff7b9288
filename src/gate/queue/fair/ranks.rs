//! The order in which the children of one node are granted: the fewest permits in use per weight first, and among equals the one that was
//! inserted first. A sorted list of buckets, one for each usage.

use std::cmp::Ordering;

use super::node::{GateNode, NodeId};
use super::node_list::NodeList;
use crate::gate::priority::Priority;

/// The children of one node that are ready for one priority.
///
/// Children with an equal usage have one rank. There are as many ranks as different usages, which are few, so each operation takes
/// constant time in practice.
#[derive(Debug, Default)]
pub(super) struct Ranks(Vec<Rank>);

/// Children with an equal number of permits in use per weight, the first to be granted at the head.
#[derive(Clone, Copy, Debug)]
struct Rank {
    usage: Usage,
    children: NodeList,
}

/// Permits in use per weight, compared exactly.
#[derive(Clone, Copy, Debug)]
struct Usage {
    in_use: u32,
    share: u32,
}

impl Usage {
    #[inline]
    fn cmp(self, other: Self) -> Ordering {
        let cross = |in_use: u32, share: u32| u64::from(in_use).wrapping_mul(share.into()); // below 2^64
        cross(self.in_use, other.share).cmp(&cross(other.in_use, self.share))
    }
}

impl Ranks {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the child that is granted first.
    #[inline]
    pub(super) fn first(&self) -> Option<NodeId> {
        self.0.first()?.children.head()
    }

    /// Adds a child behind those with the same usage.
    #[expect(
        clippy::inline_always,
        reason = "benchmark row `key-cycle`: the usual priority is known to the compiler"
    )]
    #[inline(always)]
    pub(super) fn insert(&mut self, nodes: &mut [GateNode], priority: Priority, id: NodeId) {
        let usage = Usage { in_use: nodes[id].in_use, share: nodes[id].share };
        let index = match self.find(usage) {
            Ok(index) => index,
            Err(index) => {
                self.0.insert(index, Rank { usage, children: NodeList::EMPTY });
                index
            }
        };
        self.0[index].children.push_back(nodes, priority, id);
    }

    /// Removes a child that was inserted with `in_use` permits in use.
    #[expect(
        clippy::inline_always,
        reason = "benchmark row `key-cycle`: the usual priority is known to the compiler"
    )]
    #[inline(always)]
    pub(super) fn remove(&mut self, nodes: &mut [GateNode], priority: Priority, id: NodeId, in_use: u32) {
        let Ok(index) = self.find(Usage { in_use, share: nodes[id].share }) else { return };
        let rank = &mut self.0[index];
        rank.children.remove(nodes, priority, id);
        if rank.children.head().is_none() {
            self.0.remove(index);
        }
    }

    /// Returns the index of the rank with this usage, or where it belongs.
    #[inline]
    fn find(&self, usage: Usage) -> Result<usize, usize> {
        // Most children belong in the first rank, or before it.
        let Some(first) = self.0.first() else { return Err(0) };
        let order = first.usage.cmp(usage);
        if order.is_lt() {
            return self.0.binary_search_by(|rank| rank.usage.cmp(usage));
        }
        if order.is_eq() { Ok(0) } else { Err(0) }
    }
}
