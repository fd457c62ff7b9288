//! The cgroups that contain a process, as data. `read::cgroup` finds them.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::parse::cgroup_membership::CgroupVersion;
use super::super::parse::mountinfo::CgroupMounts;

/// A cgroup controller whose files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::probe) enum CgroupController {
    Cpu,
    /// The part of `cpuset` that restricts the CPUs.
    CpusetCpus,
    /// The part of `cpuset` that restricts the NUMA nodes.
    CpusetMems,
    Memory,
    Pids,
    /// The pressure files. They exist in every v2 cgroup, and v1 has none.
    Pressure,
}

impl CgroupController {
    /// Returns the name in `/proc/self/cgroup` and in `cgroup.controllers`.
    pub(in crate::probe) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpusetCpus | Self::CpusetMems => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            // No v1 hierarchy has a controller of this name, so the v2 line is found.
            Self::Pressure => "pressure",
        }
    }

    /// Returns the files of a cgroup that hold its limits. A write to one of them changes the reading.
    pub(in crate::probe) fn limit_files(self, version: CgroupVersion) -> &'static [&'static str] {
        match (self, version) {
            (Self::Cpu, CgroupVersion::V1) => &["cpu.cfs_quota_us", "cpu.cfs_period_us"],
            (Self::Cpu, CgroupVersion::V2) => &["cpu.max"],
            (Self::CpusetCpus, _) => &["cpuset.cpus"],
            (Self::CpusetMems, _) => &["cpuset.mems"],
            (Self::Memory, CgroupVersion::V1) => &["memory.limit_in_bytes"],
            (Self::Memory, CgroupVersion::V2) => &["memory.max", "memory.high"],
            (Self::Pids, _) => &["pids.max"],
            (Self::Pressure, _) => &[],
        }
    }
}

/// The cgroups that contain the process in the hierarchy of one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct CgroupLevels {
    pub(in crate::probe) controller: CgroupController,
    pub(in crate::probe) version: CgroupVersion,
    /// From the outermost visible cgroup to the process's own.
    pub(in crate::probe) levels: Vec<CgroupLevel>,
}

impl CgroupLevels {
    /// Returns the paths of the limit files at every level, whether or not they exist yet.
    pub(in crate::probe) fn limit_files(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.controller.limit_files(self.version);
        self.levels.iter().flat_map(move |level| files.iter().map(|file| level.directory.join(file)))
    }
}

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct CgroupLevel {
    /// The cgroup's path as the process sees it, in printable form.
    pub(in crate::probe) name: String,
    pub(in crate::probe) directory: PathBuf,
    /// `true` for a root cgroup that has no limit files. The kernel never adds them later, so they are not searched
    /// again.
    pub(in crate::probe) is_unlimited_root: bool,
}

impl CgroupLevel {
    /// Creates a level that may have limit files.
    pub(in crate::probe) fn new(name: String, directory: PathBuf) -> Self {
        Self { name, directory, is_unlimited_root: false }
    }
}

/// The result of resolving a controller's cgroups. It is valid until the process moves to another cgroup or the cgroup
/// mounts change.
#[derive(Clone, Debug)]
pub(in crate::probe) struct ResolvedCgroups {
    pub(in crate::probe) origin: ResolutionOrigin,
    pub(in crate::probe) levels: Option<Arc<CgroupLevels>>,
    pub(in crate::probe) notes: ResolutionNotes,
}

/// What the cgroups were resolved from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::probe) struct ResolutionOrigin {
    /// The content of `/proc/self/cgroup`.
    pub(in crate::probe) membership: Vec<u8>,
    /// The cgroup mounts in `/proc/self/mountinfo`.
    pub(in crate::probe) mounts: Arc<CgroupMounts>,
}

/// The notes that a resolution adds to every measurement that uses it.
#[derive(Clone, Debug, Default)]
pub(in crate::probe) struct ResolutionNotes {
    pub(in crate::probe) plain: Vec<String>,
    /// Notes about cgroups that could not be seen. They make the bound `AtMost`.
    pub(in crate::probe) weakening: Vec<String>,
    /// `true` if a file could not be read. The next attempt may succeed, so the result must not be cached.
    pub(in crate::probe) is_transient: bool,
}
