//! The limits on the number of tasks: processes and threads.

use std::path::Path;

use super::super::host::{CgroupController, HostReader};
use super::super::parse::process_limits::ProcessLimit;
use super::super::parse::text::{excerpt, find_line, is_no_limit, number, trimmed};
use super::cgroup::{is_controller_off, read_level_file, resolve_cgroups, weaken_by_level_file};
use super::hidden::weaken_if_hidden;
use super::measurement_builder::MeasurementBuilder;
use super::process_limits::read_process_limit;
use crate::plan::{Quantity, Reading, Source};

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
        let Ok(content) = builder.read(reader, path) else { continue };
        let Some(content) = content else {
            weaken_if_hidden(path, reader, builder);
            continue;
        };
        builder.add_source(Source::new(path, excerpt(&content)));
        match trimmed(&content).and_then(number) {
            Some(limit) => lowest = Some(lowest.map_or(limit, |lowest| lowest.min(limit))),
            None => builder.weaken(format!("{path} holds no valid limit")),
        }
    }
    let Some(lowest) = lowest else { return };
    let used = match figure {
        TaskFigure::Total => 0,
        TaskFigure::Free => read_existing_tasks(reader, builder),
    };
    builder.add_limit(Quantity::whole(lowest.saturating_sub(used)));
}

/// Adds a note if the limit on the memory mappings of one process allows fewer threads than the limit on tasks. The stack
/// of a thread takes two mappings: one is its guard page.
pub(in crate::probe) fn note_mapping_limit(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    const PATH: &str = "/proc/sys/vm/max_map_count";

    let Ok(Some(content)) = reader.read(Path::new(PATH)) else { return };
    let Some(mappings) = trimmed(&content).and_then(number) else { return };
    let threads = mappings / 2;
    if builder.lowest_limit().is_none_or(|limit| Quantity::whole(threads) < limit) {
        builder.add_note(format!(
            "vm.max_map_count of {mappings} limits one process to about {threads} threads, as each takes two mappings"
        ));
    }
}

/// Returns the number of existing tasks of the host, or 0, with a note, if it is not known.
fn read_existing_tasks(reader: &mut HostReader, builder: &mut MeasurementBuilder) -> u64 {
    const PATH: &str = "/proc/loadavg";

    let Some(content) = builder.read_required(reader, PATH) else { return 0 };
    builder.add_source(Source::new(PATH, excerpt(&content)));
    parse_existing_tasks(&content).unwrap_or_else(|| {
        builder.weaken(format!("{PATH} holds no valid number of tasks"));
        0
    })
}

/// Adds `RLIMIT_NPROC`, the limit on the tasks of the user, unless the process is exempt from it.
pub(in crate::probe) fn add_user_limit(
    figure: TaskFigure,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) {
    let limit = read_process_limit(ProcessLimit::Processes, reader, builder).map(|limit| limit.soft);
    // Read errors of these files have been noted.
    let Ok(map) = builder.read(reader, "/proc/self/uid_map") else { return };
    let is_initial = is_initial_user_namespace(map.as_deref());
    if !is_initial {
        // Since Linux 5.14.
        builder.weaken(
            "the limit RLIMIT_NPROC of the creator of this user namespace applies, too, and is hidden",
        );
    }
    let Some(Reading::Finite(limit)) = limit else { return };
    // If another limit is as low, the exemption makes no difference. Reading it takes longer than everything else
    // together.
    if figure == TaskFigure::Total && builder.lowest_limit().is_some_and(|lowest| lowest <= limit) {
        return;
    }
    let is_exempt = if is_initial { is_exempt_from_user_limit(reader, builder) } else { Some(false) };
    match is_exempt {
        Some(true) => builder.add_note(
            "RLIMIT_NPROC does not apply to the user root or to a process with CAP_SYS_RESOURCE or CAP_SYS_ADMIN",
        ),
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

/// Returns `true` if the map is that of the initial user namespace. A kernel without user namespaces has no map.
fn is_initial_user_namespace(map: Option<&[u8]>) -> bool {
    let words = |map| Some(trimmed(map)?.split_ascii_whitespace());
    map.is_none_or(|map| words(map).is_some_and(|words| words.eq(["0", "0", "4294967295"])))
}

/// Returns `true` if `RLIMIT_NPROC` does not apply in the initial user namespace: the real user is root, whatever the
/// capabilities, or the process has `CAP_SYS_ADMIN` or `CAP_SYS_RESOURCE`. Returns `None` if this cannot be
/// determined.
fn is_exempt_from_user_limit(reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Option<bool> {
    let status = builder.read(reader, "/proc/self/status").ok()??;
    if parse_real_user(find_line(&status, USERS)) == Some(0) {
        return Some(true);
    }
    has_exempting_capability(find_line(&status, EFFECTIVE))
}

/// Parses the line `Uid:`, which has the real, the effective, the saved and the file system user.
fn parse_real_user(line: &[u8]) -> Option<u64> {
    number(trimmed(line.strip_prefix(USERS.as_bytes())?)?.split_ascii_whitespace().next()?)
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
const USERS: &str = "Uid:";

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

    /// The real user is the first of four.
    #[test]
    fn the_real_user_is_the_first() {
        assert_eq!(parse_real_user(b"Uid:\t0\t1000\t1000\t1000"), Some(0));
        assert_eq!(parse_real_user(b"Uid:\t1000\t0\t0\t0"), Some(1000));
        assert_eq!(parse_real_user(b"Uid:"), None);
    }

    /// Only the map of the whole range is that of the initial user namespace.
    #[test]
    fn the_initial_namespace_maps_every_user() {
        assert!(is_initial_user_namespace(None));
        assert!(is_initial_user_namespace(Some(b"         0          0 4294967295\n")));
        for map in ["0 0 1\n", "0 1000 1\n1 100000 65536\n", "0 0 4294967294\n", "", "\0"] {
            assert!(!is_initial_user_namespace(Some(map.as_bytes())), "{map}");
        }
    }
}
