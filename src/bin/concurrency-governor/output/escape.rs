//! Text that cannot control a terminal.

/// Escapes line breaks and control characters.
///
/// Names and file contents come from elsewhere. They must stay on one line and must not send commands to the terminal.
pub(crate) fn single_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // `escape_debug` would escape these three as well.
            '"' | '\'' | '\\' => line.push(c),
            _ => line.extend(c.escape_debug()),
        }
    }
    line
}
