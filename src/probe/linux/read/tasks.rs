//! The limits on the number of tasks: processes and threads.

use super::super::host::{CgroupController, HostReader};
use super::super::parse::process_limits::ProcessLimit;
use super::super::parse::text::{find_line, is_no_limit, number, trimmed};
use super::cgroup::{is_controller_off, read_level_file, resolve_cgroups, weaken_by_level_file};
use super::measurement_builder::MeasurementBuilder;
use super::process_limits::read_process_limit;
use crate::plan::{Quantity, Reading};

/// Which number of tasks is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum TaskFigure {
    /// All tasks that may exist, including the existing ones.
    Total,
    /// The tasks that can still be created.
    Free,
}

/// Adds `pids.max` of every cgroup that contains the process.
pub(in crate::probe) fn add_cgroup_limits(
    figure: TaskFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let Some(cgroups) = resolve_cgroups(reader, CgroupController::Pids, builder) else { return };
    for level in &cgroups.levels {
        if is_controller_off(&cgroups, level, "pids.max", reader) {
            break;
        }
        // A read error has been noted.
        let Ok(Some(content)) = read_level_file(level, "pids.max", reader, builder) else { continue };
        let limit = match trimmed(&content) {
            Some(text) if is_no_limit(text) => continue,
            text => text.and_then(number),
        };
        let Some(limit) = limit.map(Quantity::whole) else {
            weaken_by_level_file(level, "pids.max", "holds no valid limit", builder);
            continue;
        };
        if figure == TaskFigure::Total {
            builder.add_limit(limit);
            continue;
        }
        let Ok(used) = read_level_file(level, "pids.current", reader, builder) else { continue };
        let used = used.as_deref().and_then(trimmed).and_then(number);
        if used.is_none() {
            weaken_by_level_file(level, "pids.current", "holds no valid number of tasks", builder);
        }
        builder.add_limit(limit.saturating_sub(Quantity::whole(used.unwrap_or(0))));
    }
}

/// Adds the limits of the kernel on all tasks of the host: `threads-max` and `pid_max`.
pub(in crate::probe) fn add_kernel_limits(
    figure: TaskFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let mut lowest: Option<u64> = None;
    for path in ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"] {
        let Some(content) = builder.read_as_source(reader, path) else { continue };
        match trimmed(&content).and_then(number) {
            Some(limit) => lowest = Some(lowest.map_or(limit, |lowest| lowest.min(limit))),
            None => builder.weaken(format!("{path} holds no valid limit")),
        }
    }
    let Some(lowest) = lowest else { return };
    let loadavg = match figure {
        TaskFigure::Total => None,
        TaskFigure::Free => builder.read_as_source(reader, "/proc/loadavg"),
    };
    let used = loadavg.as_deref().and_then(parse_existing_tasks).unwrap_or(0);
    builder.add_limit(Quantity::whole(lowest.saturating_sub(used)));
}

/// Adds `RLIMIT_NPROC`, the limit on the tasks of the user, unless the process is exempt from it.
pub(in crate::probe) fn add_user_limit(
    figure: TaskFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let limit = read_process_limit(ProcessLimit::Processes, reader, builder);
    let Some(Reading::Finite(limit)) = limit.map(|limit| limit.soft) else { return };
    // If another limit is as low, the exemption makes no difference. Reading it takes longer than everything else
    // together.
    if figure == TaskFigure::Total && builder.lowest_limit().is_some_and(|lowest| lowest <= limit) {
        return;
    }
    match is_exempt_from_user_limit(reader, builder) {
        Some(true) => {
            builder
                .add_note("RLIMIT_NPROC does not apply to a process with CAP_SYS_RESOURCE or CAP_SYS_ADMIN");
        }
        Some(false) => {
            builder.add_limit(limit);
            if figure == TaskFigure::Free {
                builder
                    .weaken("the number of the user's tasks is unknown and not subtracted from RLIMIT_NPROC");
            }
        }
        // Adding a limit that does not apply would be as wrong as leaving out a limit that applies.
        None => {
            builder.weaken("cannot determine whether RLIMIT_NPROC applies to this process; it is ignored");
        }
    }
}

/// Returns `true` if `RLIMIT_NPROC` does not apply: the process has `CAP_SYS_ADMIN` or `CAP_SYS_RESOURCE` in the
/// initial user namespace. Returns `None` if this cannot be determined.
fn is_exempt_from_user_limit(reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Option<bool> {
    let status = builder.read(reader, "/proc/self/status").ok()??;
    if !has_exempting_capability(find_line(&status, EFFECTIVE))? {
        return Some(false);
    }
    // A kernel without user namespaces has no such file.
    let Some(map) = builder.read(reader, "/proc/self/uid_map").ok()? else { return Some(true) };
    Some(trimmed(&map)?.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Parses the line `CapEff:` and returns `true` if it has `CAP_SYS_ADMIN` or `CAP_SYS_RESOURCE`.
fn has_exempting_capability(line: &[u8]) -> Option<bool> {
    const SYS_ADMIN: u64 = 1 << 21;
    const SYS_RESOURCE: u64 = 1 << 24;

    let mask = u64::from_str_radix(trimmed(line.strip_prefix(EFFECTIVE.as_bytes())?)?, 16).ok()?;
    Some(mask & (SYS_ADMIN | SYS_RESOURCE) != 0)
}

/// Parses the number of existing tasks from `/proc/loadavg`: 80 in `0.20 0.18 0.12 1/80 11206`.
fn parse_existing_tasks(loadavg: &[u8]) -> Option<u64> {
    let running_and_existing = trimmed(loadavg)?.split_ascii_whitespace().nth(3)?;
    number(running_and_existing.split_once('/')?.1)
}

const EFFECTIVE: &str = "CapEff:";

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of existing tasks is the number after the slash.
    #[test]
    fn existing_tasks_are_parsed() {
        assert_eq!(parse_existing_tasks(b"0.20 0.18 0.12 1/80 11206\n"), Some(80));
        for text in ["", "0.20 0.18 0.12", "0.20 0.18 0.12 180 11206", "0.20 0.18 0.12 1/x 1", "a b c /7"] {
            assert_eq!(parse_existing_tasks(text.as_bytes()), (text == "a b c /7").then_some(7), "{text}");
        }
    }

    /// Either capability exempts a process, and an invalid mask yields no answer.
    #[test]
    fn capabilities_are_parsed_from_the_mask() {
        for (text, expected) in [
            ("CapEff:\t000001ffffffffff\n", Some(true)),
            ("CapEff:\t0000000001000000\n", Some(true)),
            ("CapEff:\t0000000000200000\n", Some(true)),
            ("CapEff:\t0000000000000000\n", Some(false)),
            ("CapEff:\tx\n", None),
            ("CapPrm:\t000001ffffffffff\n", None),
        ] {
            assert_eq!(has_exempting_capability(text.as_bytes()), expected, "{text}");
        }
    }
}
