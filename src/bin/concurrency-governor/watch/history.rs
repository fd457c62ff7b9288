//! What was seen so far: each number with its past, and what changed when.

use std::collections::VecDeque;

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::{Reading, Resource};

use crate::explain::Report;
use crate::plain;
use crate::table;

/// Everything that a screen shows.
#[derive(Debug)]
pub(crate) struct History {
    /// What is watched: the plan, and the host.
    pub(crate) title: String,
    pub(crate) readings: Vec<Row>,
    pub(crate) gates: Vec<Row>,
    /// What changed, the newest last.
    pub(crate) changes: VecDeque<Change>,
    /// How many looks there were.
    pub(crate) looks: u64,
    /// When the last look was, in seconds of the day.
    pub(crate) now: u64,
    /// How many changes there were in all.
    seen: u64,
    /// What was wrong when last looked, if anything was.
    fault: Option<String>,
}

/// One number with its past.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: String,
    /// What goes with it: what is in use of it, or what decided it.
    pub(crate) beside: String,
    /// A number a look, the newest last; none where there is no number.
    pub(crate) past: VecDeque<Option<u64>>,
    /// The look at which it last changed.
    pub(crate) changed: Option<u64>,
    /// Whether it moves all the time, so that a change of it is no news.
    pub(crate) is_restless: bool,
}

/// A number that became another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Seconds of the day.
    pub(crate) at: u64,
    pub(crate) what: String,
}

/// What one look gives for a row.
struct Seen {
    name: String,
    value: String,
    beside: String,
    number: Option<u64>,
    is_restless: bool,
}

impl History {
    pub(super) fn new(report: &Report, now: u64) -> Self {
        let title = format!("{} on {}", plain::line(&report.title), plain::line(&report.host));
        let (readings, gates) = (readings(report), gates(report));
        Self {
            title,
            readings: readings.into_iter().map(Row::new).collect(),
            gates: gates.into_iter().map(Row::new).collect(),
            changes: VecDeque::new(),
            looks: 1,
            now,
            seen: 0,
            fault: None,
        }
    }

    /// Adds a look.
    pub(super) fn take_in(&mut self, report: &Report, now: u64) {
        self.begin(now);
        self.fault = None;
        let mut changes = take_in(&mut self.readings, readings(report), self.looks, "");
        changes.extend(take_in(&mut self.gates, gates(report), self.looks, "gate "));
        for what in changes {
            self.note(what);
        }
    }

    /// Adds a look at which nothing could be seen, and why.
    pub(super) fn fault(&mut self, error: &str, now: u64) {
        self.begin(now);
        if self.fault.as_deref() != Some(error) {
            self.fault = Some(error.to_owned());
            self.note(format!("not looked: {}", plain::line(error)));
        }
    }

    /// How many changes there were in all.
    pub(super) fn changes_seen(&self) -> u64 {
        self.seen
    }

    #[cfg(test)]
    pub(super) fn for_test(
        readings: Vec<Row>,
        gates: Vec<Row>,
        changes: VecDeque<Change>,
        looks: u64,
    ) -> Self {
        let title = "preset astrid on this host".to_owned();
        Self { title, readings, gates, changes, looks, now: 45_296, seen: 0, fault: None }
    }

    fn begin(&mut self, now: u64) {
        self.now = now;
        self.looks = self.looks.saturating_add(1);
    }

    fn note(&mut self, what: String) {
        self.seen = self.seen.saturating_add(1);
        self.changes.push_back(Change { at: self.now, what });
        if self.changes.len() > MOST_CHANGES {
            self.changes.pop_front();
        }
    }
}

impl Row {
    fn new(seen: Seen) -> Self {
        let Seen { name, value, beside, number, is_restless } = seen;
        Self { name, value, beside, past: VecDeque::from([number]), changed: None, is_restless }
    }
}

/// Brings rows up to what was seen, and tells what changed. A plan that was edited may have other rows.
fn take_in(rows: &mut Vec<Row>, seen: Vec<Seen>, look: u64, kind: &str) -> Vec<String> {
    let mut changes = Vec::new();
    let gone = |row: &Row| !seen.iter().any(|seen| seen.name == row.name);
    changes.extend(rows.iter().filter(|row| gone(row)).map(|row| format!("{kind}{}: gone", row.name)));
    let mut former = std::mem::take(rows);
    for seen in seen {
        let at = former.iter().position(|row| row.name == seen.name);
        let Some(mut row) = at.map(|at| former.swap_remove(at)) else {
            changes.push(format!("{kind}{}: {}", seen.name, seen.value));
            let mut row = Row::new(seen);
            row.changed = Some(look);
            rows.push(row);
            continue;
        };
        if row.value != seen.value && !row.is_restless {
            changes.push(format!("{kind}{}: {} -> {}", row.name, row.value, seen.value));
            row.changed = Some(look);
        }
        row.value = seen.value;
        row.beside = seen.beside;
        row.past.push_back(seen.number);
        if row.past.len() > LONGEST_PAST {
            row.past.pop_front();
        }
        rows.push(row);
    }
    changes
}

fn readings(report: &Report) -> Vec<Seen> {
    let measured = report.resolution.readings().iter();
    measured
        .map(|(resource, measured)| {
            let figures = report.figures(resource).iter();
            let figures: Vec<String> = figures
                .map(|figure| format!("{} {}", figure.name, text(resource, &figure.measured)))
                .collect();
            let beside = if figures.is_empty() { note(measured) } else { figures.join(", ") };
            // What is in use or free moves where the limit stands still.
            let figures = report.figures(resource).iter().map(|figure| &figure.measured);
            let moving = figures.chain([measured]).find_map(number);
            let is_restless = resource.as_str().starts_with("pressure.");
            Seen {
                name: resource.to_string(),
                value: text(resource, measured),
                beside,
                number: moving,
                is_restless,
            }
        })
        .collect()
}

fn gates(report: &Report) -> Vec<Seen> {
    let explanations = report.resolution.explanations().iter();
    explanations
        .map(|explanation| Seen {
            name: explanation.gate().to_string(),
            value: explanation.limit().to_string(),
            beside: table::decision(explanation),
            number: Some(explanation.limit().get().into()),
            is_restless: false,
        })
        .collect()
}

fn text(resource: Resource, measured: &Measurement) -> String {
    let bound = if measured.bound() == Bound::AtMost { "at most " } else { "" };
    match measured.reading() {
        Reading::Finite(bytes) if resource == Resource::MEMORY => {
            format!("{bound}{}", table::in_bytes(bytes))
        }
        Reading::Finite(number) => format!("{bound}{}", number.plain()),
        other => other.plain().to_string(),
    }
}

fn note(measured: &Measurement) -> String {
    measured.notes().first().map(|note| plain::line(note)).unwrap_or_default()
}

/// Thousandths, where there is a number.
fn number(measured: &Measurement) -> Option<u64> {
    match measured.reading() {
        Reading::Finite(number) => Some(number.thousandths()),
        _ => None,
    }
}

/// As wide as a line of past can be.
const LONGEST_PAST: usize = 240;

/// As many as fit on a screen.
const MOST_CHANGES: usize = 100;
