//! The memory of the host and the memory limits of the process.

use super::super::host::{CgroupController, CgroupLevel, CgroupLevels, HostReader};
use super::super::parse::cgroup_membership::CgroupVersion;
use super::super::parse::meminfo;
use super::super::parse::memory_limit::{self, InvalidMemoryLimit};
use super::super::parse::process_limits::ProcessLimit;
use super::super::parse::text::{find_line, number, printable, trimmed};
use super::cgroup::{is_controller_off, read_level_file, resolve_cgroups, weaken_by_level_file};
use super::measurement_builder::MeasurementBuilder;
use super::process_limits::read_process_limit;
use crate::plan::{Quantity, Reading, Source};

/// Adds the memory of the host, as a limit in bytes.
pub(in crate::probe) fn add_host_total(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    add_meminfo_line(meminfo::TOTAL, reader, builder);
}

/// Adds the limits of the process: the limit of every cgroup that contains it, and the limit of its address space.
pub(in crate::probe) fn add_limits(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    if let Some(cgroups) = resolve_cgroups(reader, CgroupController::Memory, builder) {
        for level in &cgroups.levels {
            if is_controller_off(&cgroups, level, "memory.max", reader) {
                break;
            }
            if let Some(bytes) = read_hard_limit(level, cgroups.version, reader, builder) {
                builder.add_limit(bytes);
            }
        }
        add_hierarchical_limit(&cgroups, reader, builder);
    }
    let address_space = read_process_limit(ProcessLimit::AddressSpace, reader, builder);
    if let Some(Reading::Finite(bytes)) = address_space.map(|limit| limit.soft) {
        builder.add_limit(bytes);
    }
}

/// Adds `memory.high` of every cgroup that contains the process. v1 has no such limit.
pub(in crate::probe) fn add_soft_limits(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let Some(cgroups) = resolve_cgroups(reader, CgroupController::Memory, builder) else { return };
    if cgroups.version == CgroupVersion::V1 {
        return builder.add_note("cgroup version 1 has no limit like memory.high");
    }
    for level in &cgroups.levels {
        if is_controller_off(&cgroups, level, "memory.high", reader) {
            break;
        }
        if let Some(bytes) = read_limit(level, "memory.high", reader, builder) {
            builder.add_limit(bytes);
        }
    }
}

/// Adds the available memory: of the host, and of every limited cgroup that contains the process.
pub(in crate::probe) fn add_available(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    add_meminfo_line(meminfo::AVAILABLE, reader, builder);
    let Some(cgroups) = resolve_cgroups(reader, CgroupController::Memory, builder) else { return };
    let usage_file = match cgroups.version {
        CgroupVersion::V1 => "memory.usage_in_bytes",
        CgroupVersion::V2 => "memory.current",
    };
    for level in &cgroups.levels {
        if is_controller_off(&cgroups, level, "memory.max", reader) {
            break;
        }
        let Some(bytes) = read_hard_limit(level, cgroups.version, reader, builder) else { continue };
        let Ok(used) = read_level_file(level, usage_file, reader, builder) else { continue };
        let used = used.as_deref().and_then(trimmed).and_then(number);
        if used.is_none() {
            weaken_by_level_file(level, usage_file, "holds no valid number of bytes", builder);
        }
        builder.add_limit(bytes.saturating_sub(Quantity::whole(used.unwrap_or(0))));
    }
}

/// Adds the line of `/proc/meminfo` with this prefix.
fn add_meminfo_line(prefix: &'static str, reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let Some(content) = builder.read_required(reader, MEMINFO) else { return };
    let line = find_line(&content, prefix);
    builder.add_source(Source::new(MEMINFO, printable(line)));
    match meminfo::parse_line(line, prefix) {
        Some(bytes) => builder.add_limit(bytes),
        None => builder.weaken(format!("{MEMINFO} has no valid {}", prefix.trim_end_matches(':'))),
    }
}

fn read_hard_limit(
    level: &CgroupLevel,
    version: CgroupVersion,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<Quantity> {
    let file = match version {
        CgroupVersion::V1 => "memory.limit_in_bytes",
        CgroupVersion::V2 => "memory.max",
    };
    read_limit(level, file, reader, builder)
}

/// Reads a limit file of a cgroup. Returns `None` if there is no limit, or, with a note, if it is not known.
fn read_limit(
    level: &CgroupLevel,
    file: &str,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<Quantity> {
    let content = read_level_file(level, file, reader, builder).ok()??;
    match memory_limit::parse(&content) {
        Ok(Some(limit)) => Some(limit),
        Ok(None) => {
            builder.mark_last_source_unlimited();
            None
        }
        Err(InvalidMemoryLimit) => {
            weaken_by_level_file(level, file, "holds no valid limit", builder);
            None
        }
    }
}

/// Adds `hierarchical_memory_limit` of v1: the lowest limit of all levels, including hidden ones.
///
/// If every level was read, it adds nothing. It is skipped then, because the kernel takes longer to produce
/// `memory.stat` than everything else together.
fn add_hierarchical_limit(cgroups: &CgroupLevels, reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    const KEY: &str = "hierarchical_memory_limit";

    let (CgroupVersion::V1, Some(level)) = (cgroups.version, cgroups.levels.last()) else { return };
    if !builder.is_weakened() {
        return;
    }
    let path = level.directory.join("memory.stat");
    // A read error has been noted.
    let Ok(Some(content)) = builder.read(reader, &path) else { return };
    let line = find_line(&content, KEY);
    let Some(limit) = line.strip_prefix(KEY.as_bytes()) else { return };
    let source = Source::new(path.display().to_string(), printable(line));
    builder.add_source(source.at_level(level.name.clone()));
    match memory_limit::parse(limit) {
        Ok(Some(bytes)) => builder.add_limit(bytes),
        Ok(None) => builder.mark_last_source_unlimited(),
        Err(InvalidMemoryLimit) => {
            weaken_by_level_file(level, "memory.stat", format!("holds no valid {KEY}"), builder);
        }
    }
}

const MEMINFO: &str = "/proc/meminfo";
