//! Helpers that several formats share: numbers, lines, and printable excerpts.

use crate::plan::Escaped;
use std::str;

/// Parses a decimal number as the kernel writes it: ASCII digits only, without a sign.
pub(in crate::probe) fn number(digits: &str) -> Option<u64> {
    if is_digits(digits) { digits.parse().ok() } else { None }
}

/// Returns the content as text without surrounding white space, or `None` if it is not UTF-8.
pub(in crate::probe) fn trimmed(bytes: &[u8]) -> Option<&str> {
    str::from_utf8(bytes.trim_ascii()).ok()
}

/// Returns `true` if the text means "no limit": `max` or a negative number.
pub(in crate::probe) fn is_no_limit(text: &str) -> bool {
    text == "max" || text.strip_prefix('-').is_some_and(is_digits)
}

/// Returns the first line that starts with `prefix`, or an empty slice if there is none.
pub(in crate::probe) fn find_line<'c>(content: &'c [u8], prefix: &str) -> &'c [u8] {
    let mut lines = content.split(|byte| *byte == b'\n');
    lines.find(|line| line.starts_with(prefix.as_bytes())).unwrap_or_default()
}

/// Returns the start of a file's content as text for a note. Control characters are escaped.
pub(in crate::probe) fn printable(bytes: &[u8]) -> String {
    Escaped(&excerpt(bytes)).to_string()
}

/// Returns the start of a file's content as text for a source: at most 256 bytes of it.
pub(in crate::probe) fn excerpt(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii();
    let (shown, ellipsis) = match bytes.split_at_checked(MAX_EXCERPT) {
        Some((shown, rest)) if !rest.is_empty() => (shown, "…"),
        _ => (bytes, ""),
    };
    String::from_utf8_lossy(shown).into_owned() + ellipsis
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Longer than the valid content of any file that is shown, and than the names of most cgroups.
const MAX_EXCERPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// A line is found by its prefix; the result is empty if no line has it.
    #[test]
    fn finds_the_first_line_with_a_prefix() {
        let find = |prefix| find_line(b"MemTotal2: 1 kB\nMemTotal:   2 kB\nMemTotal: 3 kB\n", prefix);
        assert_eq!(find("MemTotal:"), b"MemTotal:   2 kB");
        assert_eq!(find("Total"), b"");
    }

    /// A printable excerpt is trimmed, short, and free of control characters.
    #[test]
    fn excerpts_are_printable() {
        assert_eq!(printable(b" 150000 100000\n"), "150000 100000");
        assert_eq!(printable("\u{1b}[31m\0é".as_bytes()), "\\u{1b}[31m\\u{0}é");
        assert_eq!(excerpt("\u{1b}[31m\0é".as_bytes()), "\u{1b}[31m\0é");
        assert_eq!(printable(b"\xff"), "\u{fffd}");
        assert_eq!(printable(&[b'x'; 256]).len(), 256);
        assert_eq!(printable(&[b'x'; 257]), format!("{}…", "x".repeat(256)));
    }
}
