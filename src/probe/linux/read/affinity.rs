//! The CPUs on which the process may run.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity};

use super::super::host::{CachedAffinity, HostReader};
use super::super::parse::cpu_list::CpuList;
use super::super::parse::text::{excerpt, find_line};
use super::measurement_builder::MeasurementBuilder;
use super::threads::note_other_affinities;
use crate::plan::{Quantity, Source};

/// Adds the number of CPUs on which the process may run, as a limit in cores.
///
/// The system call names the process, that is its main thread. The affinity of the calling thread would be wrong on a
/// worker thread that is pinned to one CPU.
pub(in crate::probe) fn add_affinity(reader: &mut HostReader, builder: &mut MeasurementBuilder) {
    let called = reader.uses_system_calls().then(|| sched_getaffinity(reader.pid()));
    let count = match called {
        Some(called) => count_called(called, reader, builder),
        None => None,
    };
    let count = count.or_else(|| read_allowed_online(reader, builder));
    if let Some(count) = count {
        builder.add_limit(Quantity::whole(count));
    }
}

/// Returns the number of CPUs in the result of the system call.
fn count_called(
    called: Result<CpuSet, Errno>,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> Option<u64> {
    match called {
        Ok(set) => {
            let cached = reader.caches.affinity.take().filter(|cached| cached.is_of(&set));
            let has_changed = cached.is_none();
            let affinity = reader.caches.affinity.insert(cached.unwrap_or_else(|| CachedAffinity::new(set)));
            builder.add_source(Source::new("sched_getaffinity", affinity.text.as_str()));
            let count = affinity.count;
            note_other_affinities(has_changed, reader, builder);
            Some(count)
        }
        // EINVAL if the host has more CPUs than the set has bits. Other errors if a sandbox forbids the call.
        Err(errno) => {
            builder.add_note(format!("sched_getaffinity failed: {errno}"));
            None
        }
    }
}

/// Returns the number of CPUs that are both allowed and online.
///
/// `Cpus_allowed_list` of an unrestricted process contains every CPU that could be plugged in. The system call leaves
/// out offline CPUs.
fn read_allowed_online(reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Option<u64> {
    let allowed = read_allowed(reader, builder);
    let online = read_online(reader, builder);
    let (Some(allowed), Some(online)) = (&allowed, &online) else {
        return Some(allowed.or(online)?.count());
    };
    let both = allowed.intersection(online);
    // lxcfs numbers the online CPUs of a container from 0, while the allowed CPUs keep the numbers of the host: some of
    // the online CPUs are not allowed, and some of the allowed ones seem to be offline.
    let is_renumbered = both != *allowed && both != *online && online.is_first(allowed.count());
    if both.count() == 0 || is_renumbered {
        return Some(count_without_offline(allowed, reader, builder));
    }
    Some(both.count())
}

/// Returns the number of allowed CPUs that are not offline. lxcfs does not change the list of the offline CPUs.
fn count_without_offline(
    allowed: &CpuList,
    reader: &mut HostReader,
    builder: &mut MeasurementBuilder,
) -> u64 {
    builder.add_note(format!("the CPUs in {ONLINE} have other numbers than those allowed, and do not count"));
    let offline = builder.read_as_source(reader, OFFLINE);
    let Some(offline) = offline.as_deref().and_then(CpuList::parse) else {
        builder.weaken(format!("{OFFLINE} holds no valid list of CPUs, so allowed CPUs may be offline"));
        return allowed.count();
    };
    // No CPU is left if the lists contradict each other, which no kernel does.
    match allowed.count().saturating_sub(allowed.intersection(&offline).count()) {
        0 => allowed.count(),
        online => online,
    }
}

/// Reads `Cpus_allowed_list` in the status of the process.
fn read_allowed(reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Option<CpuList> {
    const KEY: &str = "Cpus_allowed_list:";

    let status = builder.read_required(reader, STATUS)?;
    let value = find_line(&status, KEY).strip_prefix(KEY.as_bytes()).unwrap_or_default();
    builder.add_source(Source::new(STATUS, excerpt(value)));
    parse_non_empty(value).or_else(|| {
        builder.weaken(format!("{STATUS} has no valid {}", KEY.trim_end_matches(':')));
        None
    })
}

/// Reads the CPUs that are online.
fn read_online(reader: &mut HostReader, builder: &mut MeasurementBuilder) -> Option<CpuList> {
    let list = builder.read_required(reader, ONLINE)?;
    builder.add_source(Source::new(ONLINE, excerpt(&list)));
    parse_non_empty(&list).or_else(|| {
        builder.weaken(format!("{ONLINE} holds no valid list of CPUs"));
        None
    })
}

/// Parses a list with at least one CPU. An empty list cannot be right, since this process runs.
fn parse_non_empty(list: &[u8]) -> Option<CpuList> {
    CpuList::parse(list).filter(|cpus| cpus.count() > 0)
}

const STATUS: &str = "/proc/self/status";
const ONLINE: &str = "/sys/devices/system/cpu/online";
const OFFLINE: &str = "/sys/devices/system/cpu/offline";

#[cfg(test)]
mod tests {
    use super::super::super::Roots;
    use super::*;
    use crate::plan::{Bound, Reading};

    /// Measures the affinity alone, with this result of the system call.
    fn measure(called: Result<CpuSet, Errno>, files: [(&str, &str); 2]) -> crate::plan::Measurement {
        let mut reader = HostReader::new(Roots::in_memory(files));
        let mut builder = MeasurementBuilder::default();
        let count = count_called(called, &mut reader, &mut builder);
        let count = count.or_else(|| read_allowed_online(&mut reader, &mut builder));
        builder.build_with(count.map_or(Reading::Unknown, Reading::whole))
    }

    /// Every CPU of the set counts, on hosts of any size that the set can hold.
    #[test]
    fn every_cpu_of_the_set_counts() {
        let status = ("/proc/self/status", "Cpus_allowed_list:\t0\n");
        for (cpus, text) in [
            (vec![0, 1, 63], "0-1,63"),
            ((60..200).collect(), "60-199"),
            (vec![64, 127, 128, 1023], "64,127-128,1023"),
            ((0..1024).collect(), "0-1023"),
        ] {
            let mut set = CpuSet::new();
            for cpu in &cpus {
                set.set(*cpu).unwrap();
            }
            let measured = measure(Ok(set), [status, (ONLINE, "0\n")]);
            assert_eq!(measured.reading(), Reading::whole(cpus.len().try_into().unwrap()), "{text}");
            assert_eq!(measured.sources()[0].to_string(), format!("sched_getaffinity: {text}"));
        }
    }

    /// On a host with more CPUs than the set can hold, the call fails and the list of the allowed CPUs counts.
    #[test]
    fn more_cpus_than_the_set_holds_are_read_from_a_file() {
        let files = [("/proc/self/status", "Cpus_allowed_list:\t0-1535,1600\n"), (ONLINE, "0-1599\n")];
        let measured = measure(Err(Errno::EINVAL), files);
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(1536), Bound::Exact));
        assert_eq!(measured.notes(), ["sched_getaffinity failed: EINVAL: Invalid argument"]);
    }
}
