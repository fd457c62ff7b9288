//! What has been observed so far: each value with its history, and the changes with their times.

use std::collections::VecDeque;

use concurrency_governor::plan::{Explanation, Measurement};
use concurrency_governor::{GateName, GateSpec, Reading};

use crate::output::{self, ErrorLines};
use crate::report::HostReport;

/// All data that the screen and the lines show.
#[derive(Debug)]
pub(crate) struct WatchHistory {
    /// The names of the plan and the host.
    pub(crate) title: String,
    pub(crate) readings: Vec<WatchRow>,
    /// The gates as a tree: each parent before its children, and siblings in the order of the plan.
    pub(crate) gates: Vec<WatchRow>,
    /// The gates that share their limits, with the answers of their ledgers.
    pub(crate) shared: Vec<WatchRow>,
    /// The holders of a running process, a row for each of its gates.
    pub(crate) holders: Vec<WatchRow>,
    /// The latest changes, the newest last.
    pub(crate) changes: VecDeque<WatchChange>,
    /// The number of refreshes.
    pub(crate) refreshes: u64,
    /// The time of the last refresh, in seconds since midnight.
    pub(crate) now: u64,
    /// The number of changes since the start, including those that are no longer stored.
    total_changes: u64,
    /// The error of the last refresh, if it failed.
    last_error: Option<ErrorLines>,
}

/// One value with its history.
#[derive(Debug)]
pub(crate) struct WatchRow {
    pub(crate) name: String,
    /// The number of gates that the gate is within. 0 for a reading.
    pub(crate) level: usize,
    pub(crate) value: String,
    /// Details about the value: what is in use or free of a resource; or what decided the limit of a gate, the gate above that
    /// binds, and the bounds of its keys.
    pub(crate) details: String,
    /// One number for each refresh, the newest last. `None` if the value was unknown.
    pub(crate) past: VecDeque<Option<u64>>,
    /// The refresh at which the value last changed.
    pub(crate) changed_at: Option<u64>,
    /// Whether the value changes all the time, so that its changes are not reported.
    pub(crate) is_volatile: bool,
}

/// One change of a value, or one failed refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchChange {
    /// The time of the change, in seconds since midnight.
    pub(crate) at: u64,
    /// At least one line: a failed refresh has one for each problem.
    pub(crate) lines: Vec<String>,
}

/// The values of a row after one refresh.
pub(super) struct RowUpdate {
    pub(super) name: String,
    pub(super) level: usize,
    pub(super) value: String,
    pub(super) details: String,
    pub(super) number: Option<u64>,
    pub(super) is_volatile: bool,
    /// The reason for the value, which the text of a change contains.
    pub(super) reason: Option<String>,
}

/// The rows that do not come from the report of the host.
pub(super) struct OtherRows {
    /// The gates that share their limits.
    pub(super) shared: Vec<RowUpdate>,
    /// The holders of a running process.
    pub(super) holders: Vec<RowUpdate>,
}

impl RowUpdate {
    /// Creates a row without details.
    pub(super) fn new(name: String, value: String) -> Self {
        let details = String::new();
        Self { name, level: 0, value, details, number: None, is_volatile: false, reason: None }
    }
}

impl WatchHistory {
    pub(super) fn new(report: &HostReport, others: OtherRows, now: u64) -> Self {
        let plan = output::single_line(&report.plan_name);
        let title = format!("{plan} on {}", output::single_line(&report.host));
        Self {
            title,
            readings: reading_updates(report).into_iter().map(WatchRow::new).collect(),
            gates: gate_updates(report).into_iter().map(WatchRow::new).collect(),
            shared: others.shared.into_iter().map(WatchRow::new).collect(),
            holders: others.holders.into_iter().map(WatchRow::new).collect(),
            changes: VecDeque::new(),
            refreshes: 1,
            now,
            total_changes: 0,
            last_error: None,
        }
    }

    /// Adds the result of a refresh.
    pub(super) fn update(&mut self, report: &HostReport, others: OtherRows, now: u64) {
        self.begin_refresh(now);
        self.last_error = None;
        let mut changes = update_rows(&mut self.readings, reading_updates(report), self.refreshes, "");
        changes.extend(update_rows(&mut self.gates, gate_updates(report), self.refreshes, "gate "));
        changes.extend(update_rows(&mut self.shared, others.shared, self.refreshes, "fleet of "));
        changes.extend(update_rows(&mut self.holders, others.holders, self.refreshes, "holders of "));
        for text in changes {
            self.add_change(vec![text]);
        }
    }

    /// Adds a failed refresh. Reports the error once, not at each refresh.
    pub(super) fn fail(&mut self, error: ErrorLines, now: u64) {
        self.begin_refresh(now);
        if self.last_error.as_ref() != Some(&error) {
            let mut lines: Vec<String> = error.lines().collect();
            if let Some(first) = lines.first_mut() {
                first.insert_str(0, "refresh failed: ");
            }
            self.last_error = Some(error);
            self.add_change(lines);
        }
    }

    /// Returns the number of changes since the start.
    pub(super) fn total_changes(&self) -> u64 {
        self.total_changes
    }

    #[cfg(test)]
    pub(super) fn for_test(
        readings: Vec<WatchRow>,
        gates: Vec<WatchRow>,
        changes: VecDeque<WatchChange>,
        refreshes: u64,
    ) -> Self {
        let title = "preset astrid on this host".to_owned();
        let (shared, holders) = (Vec::new(), Vec::new());
        Self {
            title,
            readings,
            gates,
            shared,
            holders,
            changes,
            refreshes,
            now: 45_296,
            total_changes: 0,
            last_error: None,
        }
    }

    fn begin_refresh(&mut self, now: u64) {
        self.now = now;
        self.refreshes = self.refreshes.saturating_add(1);
        // All changes of one refresh are stored until the next one, because lines show each of them.
        let surplus = self.changes.len().saturating_sub(MAX_CHANGES);
        self.changes.drain(..surplus);
    }

    fn add_change(&mut self, lines: Vec<String>) {
        self.total_changes = self.total_changes.saturating_add(1);
        self.changes.push_back(WatchChange { at: self.now, lines });
    }
}

impl WatchRow {
    fn new(update: RowUpdate) -> Self {
        let RowUpdate { name, level, value, details, number, is_volatile, reason: _ } = update;
        Self { name, level, value, details, past: VecDeque::from([number]), changed_at: None, is_volatile }
    }
}

/// Updates the rows and returns the texts of the changes.
///
/// The updates may have other rows than before, because the plan file may have been edited.
fn update_rows(rows: &mut Vec<WatchRow>, updates: Vec<RowUpdate>, refresh: u64, kind: &str) -> Vec<String> {
    let is_removed = |row: &&WatchRow| !updates.iter().any(|update| update.name == row.name);
    let removed = rows.iter().filter(is_removed);
    let mut changes: Vec<String> = removed.map(|row| format!("{kind}{}: removed", row.name)).collect();

    // The rows are built again in the order of the updates.
    let mut former = std::mem::take(rows);
    for update in updates {
        let index = former.iter().position(|row| row.name == update.name);
        let Some(mut row) = index.map(|index| former.swap_remove(index)) else {
            changes.push(format!("{kind}{}: {}", update.name, update.value));
            rows.push(WatchRow { changed_at: Some(refresh), ..WatchRow::new(update) });
            continue;
        };
        if row.value != update.value && !row.is_volatile {
            let reason = update.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            changes.push(format!("{kind}{}: {} -> {}{reason}", row.name, row.value, update.value));
            row.changed_at = Some(refresh);
        }
        row.level = update.level;
        row.value = update.value;
        row.details = update.details;
        row.past.push_back(update.number);
        if row.past.len() > MAX_PAST {
            row.past.pop_front();
        }
        rows.push(row);
    }
    changes
}

fn reading_updates(report: &HostReport) -> Vec<RowUpdate> {
    let readings = report.resolution.readings().iter();
    readings
        .map(|(resource, measurement)| {
            let figures = report.figures(resource);
            let details = if figures.is_empty() {
                let note = measurement.staleness().or(measurement.notes().first().map(String::as_str));
                note.map(output::single_line).unwrap_or_default()
            } else {
                let figures = figures.iter().map(|figure| {
                    format!("{} {}", figure.name, output::format_measurement(resource, &figure.measurement))
                });
                figures.collect::<Vec<_>>().join(", ")
            };
            // The history shows the first figure, if there is one: what is in use or free changes more often than the
            // reading itself.
            let figures = figures.iter().map(|figure| &figure.measurement);
            let number = figures.chain([measurement]).find_map(thousandths);
            RowUpdate {
                name: resource.to_string(),
                level: 0,
                value: output::format_measurement(resource, measurement),
                details,
                number,
                is_volatile: resource.as_str().starts_with("pressure."),
                reason: None,
            }
        })
        .collect()
}

/// Returns the gates as a tree: each parent before its children, and siblings in the order of the plan.
fn gate_updates(report: &HostReport) -> Vec<RowUpdate> {
    let gates: Vec<(&GateSpec, &Explanation)> =
        report.plan.specs().iter().zip(report.resolution.explanations()).collect();
    let children_of =
        |parent: Option<GateName>| gates.iter().filter(move |(spec, _)| spec.parent() == parent);
    // A depth-first search. The next gate is the last one of the list, so children are added in reverse order.
    let mut next: Vec<_> = children_of(None).rev().collect();
    let mut updates = Vec::with_capacity(gates.len());
    while let Some((spec, explanation)) = next.pop() {
        updates.push(gate_update(spec, explanation));
        next.extend(children_of(Some(spec.name())).rev());
    }
    updates
}

fn gate_update(spec: &GateSpec, explanation: &Explanation) -> RowUpdate {
    let bound_by = explanation.bound_by().map(ToString::to_string);
    // Only the process that has the gate knows how many of its keys are busy.
    let keys = spec.keys().map(|keys| output::format_keys(keys, explanation.limit()));
    let feedback = explanation.feedback().map(ToString::to_string);
    let details: Vec<String> = [Some(output::format_decision(explanation)), feedback, bound_by, keys]
        .into_iter()
        .flatten()
        .collect();
    RowUpdate {
        name: explanation.gate().to_string(),
        level: explanation.path().parents().len(),
        value: explanation.limit().to_string(),
        details: details.join("; "),
        number: Some(explanation.limit().get().into()),
        is_volatile: false,
        reason: None,
    }
}

/// Returns the reading in thousandths, or `None` if it is unlimited or unknown.
fn thousandths(measurement: &Measurement) -> Option<u64> {
    match measurement.reading() {
        Reading::Finite(number) => Some(number.thousandths()),
        _ => None,
    }
}

/// The length of a history: more than the width of a history on the screen.
const MAX_PAST: usize = 240;

/// The number of changes that are stored from earlier refreshes: more than fit on a screen.
const MAX_CHANGES: usize = 100;
