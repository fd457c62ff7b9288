//! Texts without ornament: on one line, with nothing that a terminal would act on.

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
