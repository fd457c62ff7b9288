//! Plain lines, for a pipe or a file.

use super::history::{WatchChange, WatchHistory, WatchRow};

/// Lists all readings, gates, fleets and holders. A gate within others is indented.
pub(super) fn all_values(history: &WatchHistory) -> String {
    let time = time_of_day(history.now);
    let readings = history.readings.iter().map(|row| ("", row));
    let rows = readings.chain(history.gates.iter().map(|row| ("gate ", row)));
    let rows = rows.chain(history.shared.iter().map(|row| ("fleet of ", row)));
    let rows = rows.chain(history.holders.iter().map(|row| ("holders of ", row)));
    let mut lines = vec![format!("{time} watching {}", history.title)];
    lines.extend(rows.map(|(kind, row)| {
        let line = format!("{time} {}{kind}{}: {}", indent(row), row.name, row.value);
        if row.details.is_empty() { line } else { format!("{line} ({})", row.details) }
    }));
    lines.push(String::new());
    lines.join("\n")
}

/// Returns the indent of a row: two spaces for each gate that the gate is within.
pub(super) fn indent(row: &WatchRow) -> String {
    "  ".repeat(row.level)
}

/// Lists the changes after the first `printed` ones. Each line begins with the time.
pub(super) fn new_changes(history: &WatchHistory, printed: u64) -> String {
    let new = usize::try_from(history.total_changes().saturating_sub(printed)).unwrap_or(usize::MAX);
    let skip = history.changes.len().saturating_sub(new);
    history.changes.iter().skip(skip).flat_map(format_change).map(|line| line + "\n").collect()
}

/// Formats the lines of a change: `12:34:56 cpu: 2 -> 1`.
pub(super) fn format_change(change: &WatchChange) -> impl Iterator<Item = String> {
    let time = time_of_day(change.at);
    change.lines.iter().map(move |line| format!("{time} {line}"))
}

/// Formats the seconds since midnight as `hh:mm:ss`.
pub(super) fn time_of_day(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
