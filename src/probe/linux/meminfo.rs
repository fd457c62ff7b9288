//! Figures of `/proc/meminfo`.

use super::{number, word};
use crate::plan::Quantity;

/// The line of a figure: `MemTotal:       16384000 kB`.
pub(super) fn line<'a>(meminfo: &'a [u8], name: &str) -> Option<&'a [u8]> {
    meminfo.split(|byte| *byte == b'\n').find(|line| value(line, name).is_some())
}

/// The figure of such a line in bytes, where a kB has 1024 of them.
pub(super) fn bytes(line: &[u8], name: &str) -> Option<Quantity> {
    let mut words = word(value(line, name)?)?.split_ascii_whitespace();
    let kilobytes = number(words.next()?)?;
    let is_known = words.next() == Some("kB") && words.next().is_none();
    // A host without memory is none; one that has none left may be.
    let is_told = is_known && (kilobytes > 0 || name != "MemTotal");
    is_told.then(|| Quantity::whole(kilobytes.saturating_mul(1024)))
}

fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.strip_prefix(name.as_bytes())?.strip_prefix(b":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures are found by their whole name, and given in bytes.
    #[test]
    fn figures_are_in_bytes() {
        let text = b"MemTotal2: 1 kB\nMemTotal:   480564 kB\nMemAvailable: 0 kB\nHugePages_Total:  7\n";
        let of = |name| bytes(line(text, name)?, name);
        assert_eq!(of("MemTotal"), Some(Quantity::whole(480_564 * 1024)));
        assert_eq!(of("MemAvailable"), Some(Quantity::ZERO));
        assert_eq!(of("HugePages_Total"), None);
        assert_eq!(of("MemFree"), None);
        for line in ["MemTotal: 0 kB", "MemTotal: x kB", "MemTotal: 1", "MemTotal: 1 MB", "MemTotal: 1 kB 2"]
        {
            assert_eq!(bytes(line.as_bytes(), "MemTotal"), None, "{line}");
        }
        assert_eq!(bytes(b"A: 18446744073709551615 kB", "A"), Some(Quantity::MAX));
    }
}
