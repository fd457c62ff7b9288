//! Lines of `/proc/meminfo`.

use super::text::{find_line, number, trimmed};
use crate::plan::Quantity;

/// Prefix of the line with the memory of the host: `MemTotal:       16384000 kB`.
pub(in crate::probe) const TOTAL: &str = "MemTotal:";

/// Prefix of the line with the memory that is available without swapping.
pub(in crate::probe) const AVAILABLE: &str = "MemAvailable:";

/// Prefix of the line with the unused memory of a NUMA node.
pub(in crate::probe) const FREE: &str = "MemFree:";

/// Prefix of the line with the memory in huge pages of all sizes. Missing before Linux 4.19.
pub(in crate::probe) const HUGE_PAGE_POOL: &str = "Hugetlb:";

/// Prefix of the line with the memory that may be allocated if the kernel does not overcommit.
pub(in crate::probe) const COMMIT_LIMIT: &str = "CommitLimit:";

/// Prefix of the line with the memory that is allocated, used or not.
pub(in crate::probe) const COMMITTED: &str = "Committed_AS:";

/// Prefix of the line with the number of huge pages of the default size.
pub(in crate::probe) const HUGE_PAGES: &str = "HugePages_Total:";

/// Returns the size of the huge pages that `counts` has, by the default size that `sizes` has. Returns `None` if either
/// is missing or invalid.
pub(in crate::probe) fn huge_pages(counts: &[u8], sizes: &[u8]) -> Option<Quantity> {
    const SIZE: &str = "Hugepagesize:";

    let pages = number(trimmed(find_line(counts, HUGE_PAGES).strip_prefix(HUGE_PAGES.as_bytes())?)?)?;
    let size = parse_line(find_line(sizes, SIZE), SIZE)?;
    Some(Quantity::whole(size.floor().saturating_mul(pages)))
}

/// Parses the line with this prefix and returns its value in bytes. The kernel's kB has 1024 bytes.
pub(in crate::probe) fn parse_line(line: &[u8], prefix: &str) -> Option<Quantity> {
    let mut words = trimmed(line.strip_prefix(prefix.as_bytes())?)?.split_ascii_whitespace();
    let kilobytes = number(words.next()?)?;
    let has_known_unit = words.next() == Some("kB") && words.next().is_none();
    // No host has 0 bytes of memory in total, but a host may have 0 bytes available.
    let is_valid = has_known_unit && (kilobytes > 0 || prefix != TOTAL);
    is_valid.then(|| Quantity::whole(kilobytes.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values are in bytes, and a line that the kernel would not write has no value.
    #[test]
    fn values_are_in_bytes() {
        assert_eq!(parse_line(b"MemTotal:   480564 kB", TOTAL), Some(Quantity::whole(480_564 * 1024)));
        assert_eq!(parse_line(b"MemAvailable: 0 kB", AVAILABLE), Some(Quantity::ZERO));
        assert_eq!(parse_line(b"", AVAILABLE), None);
        for line in [
            "MemTotal: 0 kB",
            "MemTotal: x kB",
            "MemTotal: 1",
            "MemTotal: 1 MB",
            "MemTotal: 1 kB 2",
            "MemFree: 1 kB",
        ] {
            assert_eq!(parse_line(line.as_bytes(), TOTAL), None, "{line}");
        }
        assert_eq!(parse_line(b"A:18446744073709551615 kB", "A:"), Some(Quantity::MAX));
    }

    /// The size of the huge pages is their number times their size, and unknown without a valid size.
    #[test]
    fn huge_pages_have_a_size() {
        let content = b"HugePages_Total:     512\nHugepagesize:       2048 kB\n";
        assert_eq!(huge_pages(content, content), Some(Quantity::whole(1 << 30)));
        for invalid in [&b"Hugepagesize: x kB"[..], b"HugePages_Total: 1 kB\nHugepagesize: 2048", b""] {
            assert_eq!(huge_pages(content, invalid), None);
            assert_eq!(huge_pages(invalid, content), None);
        }
    }
}
