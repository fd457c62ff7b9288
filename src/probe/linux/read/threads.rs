//! Notes about threads that may run on other CPUs, or with another quota, than the main thread.

use std::fs;

use nix::sched::sched_getaffinity;
use nix::unistd::Pid;

use super::super::host::{CgroupLevels, HostReader, ThreadCheck};
use super::super::parse::cgroup_membership::CgroupVersion;
use super::super::parse::text::trimmed;
use super::measurement_builder::MeasurementBuilder;

/// Adds a note if a thread has another affinity than the main thread: `taskset -p` moves one thread only, and the affinity
/// of the main thread counts.
///
/// A measurement checks the threads if the last check is 10 s old, or if the affinity of the main thread has changed.
pub(super) fn note_other_affinities(
    has_changed: bool,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let recent = reader.caches.thread_check.filter(|check| !has_changed && check.is_recent());
    let check = recent.unwrap_or_else(|| ThreadCheck::new(has_other_affinity(reader)));
    reader.caches.thread_check = Some(check);
    if check.found_difference {
        builder.add_note("some threads have another affinity than the main thread, whose affinity counts");
    }
}

/// Returns `true` if one of the first threads has another affinity than the main thread.
fn has_other_affinity(reader: &HostReader) -> bool {
    let Ok(main) = sched_getaffinity(reader.pid()) else { return false };
    // Without a free descriptor the threads cannot be listed.
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    let threads = threads.take(MAX_THREADS).flatten();
    let ids = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    // A thread that has ended meanwhile has no affinity.
    ids.filter_map(|id| sched_getaffinity(Pid::from_raw(id)).ok()).any(|affinity| affinity != main)
}

/// Adds a note if threads of the process may be in other v2 cgroups than the main thread, with quotas of their own.
pub(super) fn note_threaded_cgroups(
    cgroups: &CgroupLevels,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let (CgroupVersion::V2, Some(own)) = (cgroups.version, cgroups.levels.last()) else { return };
    // The root has no such file.
    let Ok(Some(content)) = reader.read(&own.directory.join("cgroup.type")) else { return };
    if let Some("threaded" | "domain threaded") = trimmed(&content) {
        builder.add_note(
            "threads may be in threaded groups with quotas of their own; that of the main thread counts",
        );
    }
}

/// The most threads that are checked: each takes one system call.
const MAX_THREADS: usize = 256;
