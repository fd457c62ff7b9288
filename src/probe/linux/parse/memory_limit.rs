//! Memory limits of cgroups, in bytes.

use super::text::{is_no_limit, number, trimmed};
use crate::plan::Quantity;

/// Parses a limit in bytes. 0 is a limit. `None` means that the file holds the value for "no limit".
pub(in crate::probe) fn parse(content: &[u8]) -> Result<Option<Quantity>, InvalidMemoryLimit> {
    let text = trimmed(content).ok_or(InvalidMemoryLimit)?;
    if is_no_limit(text) {
        return Ok(None);
    }
    let bytes = number(text).ok_or(InvalidMemoryLimit)?;
    Ok((bytes < UNLIMITED_FROM).then_some(Quantity::whole(bytes)))
}

/// The content is not a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::probe) struct InvalidMemoryLimit;

/// The lowest number that means "no limit".
///
/// cgroup v1 writes "no limit" as the greatest `i64` rounded down to whole pages, and a page has up to 64 KiB. Before
/// Linux 3.19 it wrote the greatest `u64` or `i64`. No host has an exabyte of memory.
const UNLIMITED_FROM: u64 = 1 << 62;
