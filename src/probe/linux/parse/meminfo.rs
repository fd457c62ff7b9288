//! Lines of `/proc/meminfo`.

use super::text::{number, trimmed};
use crate::plan::Quantity;

/// Prefix of the line with the memory of the host: `MemTotal:       16384000 kB`.
pub(in crate::probe) const TOTAL: &str = "MemTotal:";

/// Prefix of the line with the memory that is available without swapping.
pub(in crate::probe) const AVAILABLE: &str = "MemAvailable:";

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
}
