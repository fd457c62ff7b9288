//! What is seen as lines, for whatever is not a terminal.

use super::history::{Change, History};

/// Everything there is at first.
pub(super) fn first(history: &History) -> String {
    let rows = history.readings.iter().map(|row| (String::new(), row));
    let rows = rows.chain(history.gates.iter().map(|row| ("gate ".to_owned(), row)));
    let mut lines = vec![format!("{} watching {}", time(history.now), history.title)];
    lines.extend(rows.map(|(kind, row)| {
        let line = format!("{} {kind}{}: {}", time(history.now), row.name, row.value);
        if row.beside.is_empty() { line } else { format!("{line} ({})", row.beside) }
    }));
    lines.push(String::new());
    lines.join("\n")
}

/// What changed after so many changes, one line each.
pub(super) fn news(history: &History, told: u64) -> String {
    let new = usize::try_from(history.changes_seen().saturating_sub(told)).unwrap_or(usize::MAX);
    let skip = history.changes.len().saturating_sub(new);
    history.changes.iter().skip(skip).fold(String::new(), |text, change| text + &line(change) + "\n")
}

/// `12:34:56 cpu: 2 -> 1`.
pub(super) fn line(change: &Change) -> String {
    format!("{} {}", time(change.at), change.what)
}

/// A time of day.
pub(super) fn time(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
