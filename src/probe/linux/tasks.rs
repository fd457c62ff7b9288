//! How many processes and threads there may be.

use super::evidence::Evidence;
use super::group::{self, Controller};
use super::host::Host;
use super::limits::ProcessLimit;
use super::{number, says_none, word};
use crate::plan::{Quantity, Reading};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) enum Share {
    /// All that may exist, those that do included.
    Whole,
    /// What may still be added.
    Free,
}

/// Adds the limit of each control group that holds the process.
pub(in crate::probe) fn groups(share: Share, host: &mut Host, evidence: &mut Evidence) {
    let Some(groups) = group::groups(host, Controller::Pids, evidence) else { return };
    for level in &groups.levels {
        if groups.end_above(level, "pids.max", host) {
            break;
        }
        // What could not be read has been noted.
        let Ok(Some(content)) = level.read("pids.max", host, evidence) else { continue };
        let limit = match word(&content) {
            Some(word) if says_none(word) => continue,
            word => word.and_then(number),
        };
        let Some(limit) = limit.map(Quantity::whole) else {
            level.doubt("pids.max", "holds no limit", evidence);
            continue;
        };
        if share == Share::Whole {
            evidence.limit(limit);
            continue;
        }
        let Ok(used) = level.read("pids.current", host, evidence) else { continue };
        let used = used.as_deref().and_then(word).and_then(number);
        if used.is_none() {
            level.doubt("pids.current", "does not tell how many there are", evidence);
        }
        evidence.limit(limit.saturating_sub(Quantity::whole(used.unwrap_or(0))));
    }
}

/// Adds the limit of the user's processes, unless the kernel lets this process pass it.
pub(in crate::probe) fn user(share: Share, host: &mut Host, evidence: &mut Evidence) {
    let Some(Reading::Finite(limit)) = ProcessLimit::Processes.read(host, evidence).map(|limit| limit.soft)
    else {
        return;
    };
    // Whether it holds takes longer to find out than everything else together.
    if share == Share::Whole && evidence.least().is_some_and(|least| least <= limit) {
        return;
    }
    match is_exempt(host, evidence) {
        Some(true) => {
            evidence.note("RLIMIT_NPROC does not hold a process with CAP_SYS_RESOURCE or CAP_SYS_ADMIN");
        }
        Some(false) => {
            evidence.limit(limit);
            if share == Share::Free {
                evidence.doubt("how many tasks the user has is not known, so none is taken off RLIMIT_NPROC");
            }
        }
        // To count a limit that does not hold would be as wrong as not to count one that does.
        None => evidence.doubt("whether RLIMIT_NPROC holds this process is not known, so it is not counted"),
    }
}

/// Adds the kernel's own limits, on all tasks of the host.
pub(in crate::probe) fn kernel(share: Share, host: &mut Host, evidence: &mut Evidence) {
    let mut least: Option<u64> = None;
    for path in ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"] {
        let Some(content) = evidence.look(host, path) else { continue };
        match word(&content).and_then(number) {
            Some(limit) => least = Some(least.map_or(limit, |least| least.min(limit))),
            None => evidence.doubt(format!("{path} holds no limit")),
        }
    }
    let Some(least) = least else { return };
    let used = if share == Share::Free { evidence.look(host, "/proc/loadavg") } else { None };
    let used = used.as_deref().and_then(existing).unwrap_or(0);
    evidence.limit(Quantity::whole(least.saturating_sub(used)));
}

/// How many tasks exist: the number behind the slash of `0.20 0.18 0.12 1/80 11206`.
fn existing(loadavg: &[u8]) -> Option<u64> {
    let running = word(loadavg)?.split_ascii_whitespace().nth(3)?;
    number(running.split_once('/')?.1)
}

/// Whether the limit of the user's processes does not hold this one, since it has the right to pass it in the namespace
/// of users that the host began with; `None` if that cannot be known.
fn is_exempt(host: &mut Host, evidence: &mut Evidence) -> Option<bool> {
    let line = evidence.read_line(host, "/proc/self/status", EFFECTIVE).ok()??;
    if !has_capability(&line)? {
        return Some(false);
    }
    // A kernel without namespaces of users has no such file.
    let Some(map) = evidence.read(host, "/proc/self/uid_map").ok()? else { return Some(true) };
    Some(word(&map)?.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Whether the process has one of the two rights in its own namespace, as this line of its status tells.
fn has_capability(line: &[u8]) -> Option<bool> {
    const SYS_ADMIN: u64 = 1 << 21;
    const SYS_RESOURCE: u64 = 1 << 24;

    let mask = u64::from_str_radix(word(line.strip_prefix(EFFECTIVE.as_bytes())?)?, 16).ok()?;
    Some(mask & (SYS_ADMIN | SYS_RESOURCE) != 0)
}

const EFFECTIVE: &str = "CapEff:";

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of tasks stands behind the slash.
    #[test]
    fn tasks_of_the_host_are_counted() {
        assert_eq!(existing(b"0.20 0.18 0.12 1/80 11206\n"), Some(80));
        for text in ["", "0.20 0.18 0.12", "0.20 0.18 0.12 180 11206", "0.20 0.18 0.12 1/x 1", "a b c /7"] {
            assert_eq!(existing(text.as_bytes()), (text == "a b c /7").then_some(7), "{text}");
        }
    }

    /// Either of two rights lets a process pass, and a mask that is none says nothing.
    #[test]
    fn rights_are_read_from_the_mask() {
        for (text, has) in [
            ("CapEff:\t000001ffffffffff\n", Some(true)),
            ("CapEff:\t0000000001000000\n", Some(true)),
            ("CapEff:\t0000000000200000\n", Some(true)),
            ("CapEff:\t0000000000000000\n", Some(false)),
            ("CapEff:\tx\n", None),
            ("CapPrm:\t000001ffffffffff\n", None),
        ] {
            assert_eq!(has_capability(text.as_bytes()), has, "{text}");
        }
    }
}
