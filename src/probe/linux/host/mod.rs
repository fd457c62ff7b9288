//! Access to a host's files: reading, the descriptor cache, and values derived from earlier reads.

mod fd_cache;
mod roots;

mod caches;
mod cgroup_levels;

mod reader;
mod shared;

pub(in crate::probe) use caches::{CachedAffinity, DescriptorCount, ThreadCheck};
pub(in crate::probe) use cgroup_levels::{
    CgroupController, CgroupLevel, CgroupLevels, ResolutionNotes, ResolutionOrigin, ResolvedCgroups,
};
pub(in crate::probe) use reader::{HostReader, RecordedPath};
pub use roots::Roots;
pub(in crate::probe) use shared::SharedHostReader;
