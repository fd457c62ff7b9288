//! Hosts that a test builds file by file, in memory.

use std::collections::BTreeMap;

use concurrency_governor::probe::Roots;
use concurrency_governor::{Quantity, Reading};

/// The files of a host.
#[derive(Clone, Default)]
pub(crate) struct InMemoryHost(BTreeMap<String, Vec<u8>>);

impl InMemoryHost {
    /// Creates a host without files.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file.
    pub(crate) fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), content.into());
        self
    }

    /// Removes a file.
    pub(crate) fn without(mut self, path: &str) -> Self {
        self.0.remove(path).unwrap();
        self
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::in_memory(self.0.clone())
    }
}

/// A host with eight cores, all allowed, and no files about cgroups.
pub(crate) fn eight_cores() -> InMemoryHost {
    InMemoryHost::new()
        .file("/proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-63\n")
        .file(ONLINE_CPUS, "0-7\n")
}

/// The host of [`eight_cores`], with the process in the v2 cgroup `/p/l`.
pub(crate) fn cgroup_v2() -> InMemoryHost {
    eight_cores()
        .file("/proc/self/cgroup", "0::/p/l\n")
        .file("/proc/self/mountinfo", v2_mount("/", "/sys/fs/cgroup"))
        .file("/sys/fs/cgroup/p/l/cgroup.type", "domain\n")
}

/// The host of [`eight_cores`], with the process in the v1 cgroup `/p/l` of the controllers `cpu` and
/// `memory`.
pub(crate) fn cgroup_v1() -> InMemoryHost {
    eight_cores()
        .file("/proc/self/cgroup", "5:memory:/p/l\n3:cpu,cpuacct:/p/l\n0::/\n")
        .file(
            "/proc/self/mountinfo",
            "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        )
        .file("/sys/fs/cgroup/cpu/cgroup.sane_behavior", "0\n")
        .file("/sys/fs/cgroup/cpu/p/l/cgroup.procs", "1\n")
        .file("/sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n")
        .file("/sys/fs/cgroup/memory/p/l/cgroup.procs", "1\n")
}

/// Returns a line of mountinfo that mounts the cgroup `root` of version 2 at `mount_point`.
pub(crate) fn v2_mount(root: &str, mount_point: &str) -> String {
    format!("30 24 0:26 {root} {mount_point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
}

pub(crate) const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";

/// Returns a reading of that many cores, such as `1.5`.
pub(crate) fn cores(text: &str) -> Reading {
    text.parse::<Quantity>().unwrap().into()
}

pub(crate) fn thousandths(count: u64) -> Reading {
    Quantity::from_thousandths(count).into()
}
