//! How much memory the host has, and how much the process's control groups leave it.

use super::cgroup::{self, Controller, Version};
use super::evidence::{Evidence, text};
use super::roots::Roots;
use super::{number, says_none, word};
use crate::plan::{Quantity, Source};

/// Adds the memory of the host, `MemTotal`, as a limit in bytes.
pub(in crate::probe) fn total(roots: &Roots, evidence: &mut Evidence) {
    let path = roots.proc("meminfo");
    let Some(content) = evidence.require(&path) else { return };
    let line = content.split(|byte| *byte == b'\n').find(|line| line.starts_with(KEY)).unwrap_or_default();
    evidence.saw(Source::new(path.display().to_string(), text(line)));
    match parse_total(line) {
        Some(bytes) => evidence.limit(bytes),
        None => evidence.doubt(format!("{} does not tell how much memory there is", path.display())),
    }
}

/// Adds the limit of each control group that holds the process, in bytes.
pub(in crate::probe) fn limits(roots: &Roots, evidence: &mut Evidence) {
    let Some(groups) = cgroup::groups(roots, Controller::Memory, evidence) else { return };
    let file = match groups.version {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    for level in &groups.levels {
        // What could not be read has been noted.
        let Ok(Some(content)) = level.read(file, evidence) else { continue };
        match parse_limit(&content) {
            Ok(Some(bytes)) => evidence.limit(bytes),
            Ok(None) => {}
            Err(NoLimit) => level.doubt(file, "holds no limit", evidence),
        }
    }
}

/// `MemTotal:       16384000 kB`, where a kB has 1024 bytes.
fn parse_total(line: &[u8]) -> Option<Quantity> {
    let mut words = word(line.strip_prefix(KEY)?)?.split_ascii_whitespace();
    let kilobytes = number(words.next()?)?;
    let known = words.next() == Some("kB") && words.next().is_none() && kilobytes > 0;
    known.then(|| Quantity::whole(kilobytes.saturating_mul(1024)))
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

const KEY: &[u8] = b"MemTotal:";

/// Version 1 writes "no limit" as the greatest `i64`, rounded down to whole pages, and pages have up to 64 KiB; before
/// Linux 3.19 as the greatest `u64` or `i64`. No host has an exabyte.
const NONE_FROM: u64 = 1 << 62;
