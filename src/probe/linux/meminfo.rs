//! Figures of `/proc/meminfo`.

use super::{number, word};
use crate::plan::Quantity;

/// How the line of the host's memory begins: `MemTotal:       16384000 kB`.
pub(super) const TOTAL: &str = "MemTotal:";

/// How the line of what is left of it begins.
pub(super) const AVAILABLE: &str = "MemAvailable:";

/// The figure of a line that begins so, in bytes, where a kB has 1024 of them.
pub(super) fn bytes(line: &[u8], start: &str) -> Option<Quantity> {
    let mut words = word(line.strip_prefix(start.as_bytes())?)?.split_ascii_whitespace();
    let kilobytes = number(words.next()?)?;
    let is_known = words.next() == Some("kB") && words.next().is_none();
    // A host without memory is none; one that has none left may be.
    let is_told = is_known && (kilobytes > 0 || start != TOTAL);
    is_told.then(|| Quantity::whole(kilobytes.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures are in bytes, and what the kernel would not write is none.
    #[test]
    fn figures_are_in_bytes() {
        assert_eq!(bytes(b"MemTotal:   480564 kB", TOTAL), Some(Quantity::whole(480_564 * 1024)));
        assert_eq!(bytes(b"MemAvailable: 0 kB", AVAILABLE), Some(Quantity::ZERO));
        assert_eq!(bytes(b"", AVAILABLE), None);
        for line in [
            "MemTotal: 0 kB",
            "MemTotal: x kB",
            "MemTotal: 1",
            "MemTotal: 1 MB",
            "MemTotal: 1 kB 2",
            "MemFree: 1 kB",
        ] {
            assert_eq!(bytes(line.as_bytes(), TOTAL), None, "{line}");
        }
        assert_eq!(bytes(b"A:18446744073709551615 kB", "A:"), Some(Quantity::MAX));
    }
}
