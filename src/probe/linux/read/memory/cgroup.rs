//! The memory limits of the cgroups that contain the process.

use super::super::super::host::{CgroupController, CgroupLevel, CgroupLevels, HostReader};
use super::super::super::parse::cgroup_membership::CgroupVersion;
use super::super::super::parse::memory_limit::{self, InvalidMemoryLimit};
use super::super::super::parse::text::{excerpt, find_line, number, trimmed};
use super::super::cgroup::{is_controller_off, read_level_file, resolve_cgroups, weaken_by_level_file};
use super::super::measurement_builder::MeasurementBuilder;
use super::figure::MemoryFigure;
use crate::plan::{Quantity, Source};

/// Adds the limit of every cgroup that contains the process, or what is left of it.
pub(super) fn add_hard_limits(
    figure: MemoryFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let Some(cgroups) = resolve_cgroups(reader, CgroupController::Memory, builder) else { return };
    let file = match cgroups.version {
        CgroupVersion::V1 => "memory.limit_in_bytes",
        CgroupVersion::V2 => "memory.max",
    };
    for level in binding_levels(&cgroups, reader, builder) {
        if is_controller_off(&cgroups, level, "memory.max", reader) {
            break;
        }
        if let Some(limit) = read_limit(level, file, reader, builder) {
            add_limit(figure, limit, &cgroups, level, reader, builder);
        }
    }
    add_hierarchical_limit(figure, &cgroups, reader, builder);
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

/// Returns the levels whose limits bind the process, the widest first.
///
/// In v1 before Linux 5.11, a cgroup whose `memory.use_hierarchy` is 0 does not account for the cgroups below it, and
/// neither does any cgroup above it.
fn binding_levels<'l>(
    cgroups: &'l CgroupLevels,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> &'l [CgroupLevel] {
    const FILE: &str = "memory.use_hierarchy";

    let levels = &cgroups.levels[..];
    if cgroups.version == CgroupVersion::V2 {
        return levels;
    }
    let mut first = levels.len().saturating_sub(1);
    while let Some(ancestor) = first.checked_sub(1).and_then(|index| levels.get(index)) {
        // A read error weakens the measurement, and the limits above are read, since they may bind.
        let content = builder.read(reader, ancestor.directory.join(FILE));
        if content.is_ok_and(|content| content.as_deref().and_then(trimmed) == Some("0")) {
            builder.add_note(format!("{FILE} of {} is 0, so its limit does not bind", ancestor.name));
            break;
        }
        first = first.saturating_sub(1);
    }
    levels.get(first..).unwrap_or_default()
}

/// Adds the limit of a cgroup, or what is left of it.
fn add_limit(
    figure: MemoryFigure,
    limit: Quantity,
    cgroups: &CgroupLevels,
    level: &CgroupLevel,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    if figure == MemoryFigure::Total {
        return builder.add_limit(limit);
    }
    let file = match cgroups.version {
        CgroupVersion::V1 => "memory.usage_in_bytes",
        CgroupVersion::V2 => "memory.current",
    };
    let used = read_level_file(level, file, reader, builder);
    let used = match used.as_ref().map(|used| used.as_deref().and_then(trimmed).and_then(number)) {
        Ok(Some(used)) => used,
        Ok(None) => {
            weaken_by_level_file(level, file, "holds no valid number of bytes", builder);
            0
        }
        // Noted. The limit itself is an upper bound.
        Err(_) => 0,
    };
    let rest = limit.saturating_sub(Quantity::whole(used));
    // The usage includes file pages, which the kernel reclaims when the memory is needed.
    if used > 0 { builder.add_lower_bound(rest) } else { builder.add_limit(rest) }
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
fn add_hierarchical_limit(
    figure: MemoryFigure,
    cgroups: &CgroupLevels,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
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
    let source = Source::new(path.display().to_string(), excerpt(line));
    builder.add_source(source.at_level(level.name.clone()));
    match memory_limit::parse(limit) {
        // The hidden cgroup uses at least as much as the one of the process.
        Ok(Some(limit)) => add_limit(figure, limit, cgroups, level, reader, builder),
        Ok(None) => builder.mark_last_source_unlimited(),
        Err(InvalidMemoryLimit) => {
            weaken_by_level_file(level, "memory.stat", format!("holds no valid {KEY}"), builder);
        }
    }
}
