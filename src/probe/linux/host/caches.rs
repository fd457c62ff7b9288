//! Values that are derived from earlier reads and reused while the input is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::CpuSet;

use super::super::parse::cpu_list::CpuList;
use super::super::parse::mountinfo::CgroupMounts;
use super::cgroup_levels::{CgroupController, ResolvedCgroups};

/// The derived values of one host. They belong to one process, like the descriptors.
#[derive(Debug, Default)]
pub(in crate::probe) struct HostCaches {
    pub(in crate::probe) cgroups: BTreeMap<CgroupController, ResolvedCgroups>,
    /// The visible cgroup mounts, as last read.
    pub(in crate::probe) mounts: Option<Arc<CgroupMounts>>,
    pub(in crate::probe) affinity: Option<CachedAffinity>,
    pub(in crate::probe) thread_check: Option<ThreadCheck>,
    pub(in crate::probe) descriptor_count: Option<DescriptorCount>,
}

/// The last result of `sched_getaffinity`, in list form. The affinity is read far more often than it changes.
#[derive(Clone, Debug)]
pub(in crate::probe) struct CachedAffinity {
    set: CpuSet,
    /// The number of CPUs in the set.
    pub(in crate::probe) count: u64,
    /// The set in the kernel's list format.
    pub(in crate::probe) text: String,
}

impl CachedAffinity {
    /// Converts the set to list form.
    pub(in crate::probe) fn new(set: CpuSet) -> Self {
        let cpus = (0_u32..).zip(0..CpuSet::count());
        let cpus: CpuList =
            cpus.filter(|(_, index)| set.is_set(*index) == Ok(true)).map(|(cpu, _)| cpu).collect();
        Self { set, count: cpus.count(), text: cpus.to_string() }
    }

    /// Returns `true` if this is the list form of `set`.
    pub(in crate::probe) fn is_of(&self, set: &CpuSet) -> bool {
        self.set == *set
    }
}

/// The last check whether a thread has another affinity than the main thread.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct ThreadCheck {
    pub(in crate::probe) found_difference: bool,
    checked_at: Instant,
}

impl ThreadCheck {
    /// Records a check that was made now.
    pub(in crate::probe) fn new(found_difference: bool) -> Self {
        Self { found_difference, checked_at: Instant::now() }
    }

    /// Returns `true` if the check is less than 10 s old.
    pub(in crate::probe) fn is_recent(&self) -> bool {
        self.checked_at.elapsed() < THREAD_CHECK_INTERVAL
    }
}

/// A count of the open descriptors. Counting takes milliseconds for thousands of descriptors, so a count is reused.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct DescriptorCount {
    open: u64,
    counted_at: Instant,
}

impl DescriptorCount {
    /// Records a count that was made now.
    pub(in crate::probe) fn new(open: u64) -> Self {
        Self { open, counted_at: Instant::now() }
    }

    /// Returns the count if it is less than one second old.
    pub(in crate::probe) fn if_recent(self) -> Option<u64> {
        (self.counted_at.elapsed() < COUNT_LIFETIME).then_some(self.open)
    }
}

const THREAD_CHECK_INTERVAL: Duration = Duration::from_secs(10);
const COUNT_LIFETIME: Duration = Duration::from_secs(1);
