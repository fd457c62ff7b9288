//! How much memory the host has, and how much the process's control groups leave it.

use super::evidence::{Evidence, text};
use super::group::{self, Controller, Groups, Level};
use super::host::Host;
use super::limits::ProcessLimit;
use super::meminfo;
use super::{Version, number, says_none, word};
use crate::plan::{Quantity, Reading, Source};

/// Adds the memory of the host, as a limit in bytes.
pub(in crate::probe) fn total(host: &mut Host, evidence: &mut Evidence) {
    of_host(meminfo::TOTAL, host, evidence);
}

/// Adds what the process is granted of it: the limit of each control group that holds it, and of its address space.
pub(in crate::probe) fn limits(host: &mut Host, evidence: &mut Evidence) {
    if let Some(groups) = group::groups(host, Controller::Memory, evidence) {
        for level in &groups.levels {
            if groups.end_above(level, "memory.max", host) {
                break;
            }
            if let Some(bytes) = hard_limit(level, groups.version, host, evidence) {
                evidence.limit(bytes);
            }
        }
        widest(&groups, host, evidence);
    }
    if let Some(Reading::Finite(bytes)) =
        ProcessLimit::AddressSpace.read(host, evidence).map(|limit| limit.soft)
    {
        evidence.limit(bytes);
    }
}

/// Adds the level at which each control group that holds the process is slowed down. Version 1 has none.
pub(in crate::probe) fn soft_limits(host: &mut Host, evidence: &mut Evidence) {
    let Some(groups) = group::groups(host, Controller::Memory, evidence) else { return };
    if groups.version == Version::V1 {
        return evidence.note("version 1 of control groups slows nobody down");
    }
    for level in &groups.levels {
        if groups.end_above(level, "memory.high", host) {
            break;
        }
        if let Some(bytes) = limit(level, "memory.high", host, evidence) {
            evidence.limit(bytes);
        }
    }
}

/// Adds what is left: of the host's memory, and of the limit of each control group that holds the process.
pub(in crate::probe) fn available(host: &mut Host, evidence: &mut Evidence) {
    of_host(meminfo::AVAILABLE, host, evidence);
    let Some(groups) = group::groups(host, Controller::Memory, evidence) else { return };
    let file = match groups.version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    for level in &groups.levels {
        if groups.end_above(level, "memory.max", host) {
            break;
        }
        let Some(bytes) = hard_limit(level, groups.version, host, evidence) else { continue };
        let Ok(used) = level.read(file, host, evidence) else { continue };
        let used = used.as_deref().and_then(word).and_then(number);
        if used.is_none() {
            level.doubt(file, "does not tell how much is in use", evidence);
        }
        evidence.limit(bytes.saturating_sub(Quantity::whole(used.unwrap_or(0))));
    }
}

/// A figure of `/proc/meminfo`, whose line begins so.
fn of_host(start: &'static str, host: &mut Host, evidence: &mut Evidence) {
    let Some(line) = evidence.require_line(host, MEMINFO, start) else { return };
    evidence.saw(Source::new(MEMINFO, text(&line)));
    match meminfo::bytes(&line, start) {
        Some(bytes) => evidence.limit(bytes),
        None => evidence.doubt(format!("{MEMINFO} does not tell {}", start.trim_end_matches(':'))),
    }
}

fn hard_limit(level: &Level, version: Version, host: &mut Host, evidence: &mut Evidence) -> Option<Quantity> {
    let file = match version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    limit(level, file, host, evidence)
}

/// The limit in one file of a level; `None` if there is none, or if it could not be known, which has been noted.
fn limit(level: &Level, file: &str, host: &mut Host, evidence: &mut Evidence) -> Option<Quantity> {
    let content = level.read(file, host, evidence).ok()??;
    match parse_limit(&content) {
        Ok(Some(limit)) => Some(limit),
        Ok(None) => {
            evidence.saw_no_limit();
            None
        }
        Err(NoLimit) => {
            level.doubt(file, "holds no limit", evidence);
            None
        }
    }
}

/// Version 1 tells each group the least limit of all that hold it. Where all of these were seen that is nothing new, and
/// takes the kernel longer to add up than everything else together.
fn widest(groups: &Groups, host: &mut Host, evidence: &mut Evidence) {
    const KEY: &str = "hierarchical_memory_limit";

    let (Version::V1, Some(level)) = (groups.version, groups.levels.last()) else { return };
    if !evidence.has_doubts() {
        return;
    }
    let path = level.directory.join("memory.stat");
    // What could not be read has been noted.
    let Ok(Some(line)) = evidence.read_line(host, &path, KEY) else { return };
    let Some(limit) = line.strip_prefix(KEY.as_bytes()) else { return };
    evidence.saw(Source::new(path.display().to_string(), text(&line)).at_level(level.name.clone()));
    match parse_limit(limit) {
        Ok(Some(bytes)) => evidence.limit(bytes),
        Ok(None) => evidence.saw_no_limit(),
        Err(NoLimit) => level.doubt("memory.stat", format!("holds no {KEY}"), evidence),
    }
}

/// A limit in bytes, of which 0 is one; `None` for what stands where there is none.
fn parse_limit(content: &[u8]) -> Result<Option<Quantity>, NoLimit> {
    let word = word(content).ok_or(NoLimit)?;
    if says_none(word) {
        return Ok(None);
    }
    let bytes = number(word).ok_or(NoLimit)?;
    Ok((bytes < NONE_FROM).then_some(Quantity::whole(bytes)))
}

/// A text that is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoLimit;

/// Version 1 writes "no limit" as the greatest `i64`, rounded down to whole pages, and pages have up to 64 KiB; before
/// Linux 3.19 as the greatest `u64` or `i64`. No host has an exabyte.
const NONE_FROM: u64 = 1 << 62;

const MEMINFO: &str = "/proc/meminfo";
