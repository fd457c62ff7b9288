//! Texts without ornament: on one line, and without suffix.

use concurrency_governor::Reading;

/// The text on one line, with everything that a terminal would act on escaped: names and file contents are others' to
/// choose.
pub(crate) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
    line
}

/// A reading in digits, without a suffix: descriptors are not counted in `Mi`.
pub(crate) fn reading(reading: Reading) -> String {
    match reading {
        Reading::Finite(quantity) => quantity.plain().to_string(),
        Reading::Unlimited | Reading::Unknown => reading.to_string(),
    }
}
