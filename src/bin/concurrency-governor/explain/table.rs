//! The report as tables for people.

use anstyle::{AnsiColor, Style};
use concurrency_governor::plan::{Decision, DerivedPart, Explanation, Measurement, Standing};
use concurrency_governor::{GateSpec, Reading, Resource};

use crate::output::{self, Alignment, TableCell, TextTable};
use crate::report::{HostProblem, HostReport};

/// Renders the answer first: the gates and the problems. Then the readings, the settings, and the derivation of each limit.
pub(super) fn render(report: &HostReport) -> String {
    let mut sections = answer(report);
    sections
        .push(with_title(&format!("Readings of {}", output::single_line(&report.host)), readings(report)));
    if report.shows_all() {
        sections.push(with_title("Settings, highest precedence first", settings(report)));
    }
    sections.push(with_title("How each limit is derived", derivations(report)));
    sections.join("\n")
}

/// Renders only the answer.
pub(super) fn render_brief(report: &HostReport) -> String {
    answer(report).join("\n")
}

/// Renders the gates, and then the shared gates and the problems if there are any.
fn answer(report: &HostReport) -> Vec<String> {
    let title = format!("Gates of {}", output::single_line(&report.plan_name));
    let mut sections = vec![with_title(&title, gates(report))];
    if report.shared_gates().next().is_some() {
        sections.push(with_title("Shared gates", shared_gates(report)));
    }
    let problems = report.problems();
    if !problems.is_empty() {
        let mut table = TextTable::new(&[("what", Alignment::Left), ("problem", Alignment::Left)]);
        for HostProblem { subject, text } in problems {
            table.row([TableCell::styled(subject, NAME), TableCell::styled(text, WARNING)]);
        }
        sections.push(with_title("Problems", table));
    }
    sections
}

fn with_title(title: &str, table: TextTable) -> String {
    format!("{TITLE}{title}{TITLE:#}\n{}", table.render())
}

/// One row for each resource: its reading with related figures, and the sources and notes of the reading.
fn readings(report: &HostReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("resource", Alignment::Left),
        ("reading", Alignment::Left),
        ("source", Alignment::Left),
    ]);
    let shown = report.shown_resources();
    let is_shown = |resource: &Resource| report.shows_all() || shown.contains(resource);
    for (resource, measurement) in
        report.resolution.readings().iter().filter(|(resource, _)| is_shown(resource))
    {
        let figures = report.figures(resource).iter();
        let reading = figures.fold(reading(resource, measurement), |cell, figure| {
            let value = output::format_measurement(resource, &figure.measurement);
            cell.line(format!("{} {value}", figure.name), QUIET)
        });

        let mut sources = if report.plan_reads(resource) {
            TableCell::default()
        } else {
            TableCell::styled("(no gate of this plan uses it)", QUIET)
        };
        for source in measurement.sources() {
            sources = sources.line(source.to_string(), Style::new());
        }
        if let Some(error) = measurement.staleness() {
            sources = sources.line(format!("failed: {error}"), WARNING);
        }
        for note in measurement.notes() {
            sources = sources.line(format!("note: {note}"), QUIET);
        }
        table.row([TableCell::styled(resource.as_str(), NAME), reading, sources]);
    }
    table
}

fn reading(resource: Resource, measurement: &Measurement) -> TableCell {
    let text = output::format_measurement(resource, measurement);
    match measurement.reading() {
        // The exact number of bytes stands below the rounded one.
        bytes @ Reading::Finite(_) if resource.is_in_bytes() => {
            TableCell::new(text).line(bytes.plain().to_string(), QUIET)
        }
        Reading::Unknown => TableCell::styled(text, WARNING),
        _ => TableCell::new(text),
    }
}

/// One row for each override layer in order of precedence, and a last row for the formulas.
fn settings(report: &HostReport) -> TextTable {
    let mut table =
        TextTable::new(&[("order", Alignment::Right), ("layer", Alignment::Left), ("sets", Alignment::Left)]);
    let sets = |gates: &[String]| match gates {
        [] => TableCell::styled("nothing", QUIET),
        gates => TableCell::new(gates.join(", ")),
    };
    let layers = report.overrides.layers();
    for (layer, order) in layers.iter().zip(1_usize..) {
        let limits = layer.settings().map(|(gate, value)| format!("{gate} = {value}"));
        let queues = layer.queue_settings().map(|(gate, setting)| format!("{gate} {setting}"));
        let settings: Vec<String> = limits.chain(queues).collect();
        table.row([
            TableCell::new(order.to_string()),
            TableCell::styled(layer.name(), NAME),
            sets(&settings),
        ]);
    }
    let last = layers.len().saturating_add(1).to_string();
    let derived: Vec<String> = report.derived_gates().map(|gate| gate.to_string()).collect();
    table.row([TableCell::new(last), TableCell::styled("formulas", NAME), sets(&derived)]);
    table
}

/// One row for each gate: the limit in force, the derived limit, and what decided.
fn gates(report: &HostReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("gate", Alignment::Left),
        ("limit", Alignment::Right),
        ("derived", Alignment::Right),
        ("decided by", Alignment::Left),
    ]);
    for (spec, explanation) in report.shown_gates() {
        // A setting is compared with the limit before feedback.
        let derived = match explanation.decision() {
            Decision::Derived => explanation.derivation().limit(),
            Decision::Overridden { .. } => explanation.derivation().ceiling(),
        };
        table.row([
            TableCell::styled(explanation.path().to_string(), NAME),
            TableCell::styled(explanation.limit().to_string(), NAME),
            TableCell::new(derived.to_string()),
            decided_by(spec, explanation),
        ]);
    }
    table
}

/// One row for each shared gate: the largest number of permits that a process may use, and the answer of the ledger.
fn shared_gates(report: &HostReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("gate", Alignment::Left),
        ("may use", Alignment::Right),
        ("in the fleet", Alignment::Left),
    ]);
    for (shared, local) in report.shared_gates() {
        let usable = match shared.usable(local) {
            Some(usable) => TableCell::styled(usable.to_string(), NAME),
            None => TableCell::styled("unknown", WARNING),
        };
        let lines = shared.lines(local);
        let lines = lines.iter().fold(TableCell::default(), |cell, line| cell.line(line, Style::new()));
        table.row([TableCell::styled(shared.gate.to_string(), NAME), usable, lines]);
    }
    table
}

/// What decided the limit, the settings that it shadows, the gate above that binds, and the bounds of the gate's queue and
/// keys.
fn decided_by(spec: &GateSpec, explanation: &Explanation) -> TableCell {
    let style = match explanation.decision() {
        Decision::Overridden { standing, .. } if *standing != Standing::Within => WARNING,
        _ => Style::new(),
    };
    let mut cell = TableCell::styled(output::format_decision(explanation), style);
    for shadowed in explanation.shadowed() {
        cell = cell.line(format!("shadows {} = {}", shadowed.origin, shadowed.value), QUIET);
    }
    if let Some(ancestor) = explanation.bound_by() {
        cell = cell.line(ancestor.to_string(), WARNING);
    }
    let bounds = explanation.queue_bounds();
    let max_wait = bounds.max_wait().map(humantime::format_duration);
    let queue = match (bounds.queue(), max_wait) {
        (Some(0), _) => Some("no queue: no request waits".to_owned()),
        (Some(bound), Some(max_wait)) => {
            Some(format!("queue: at most {bound} requests, each for at most {max_wait}"))
        }
        (Some(bound), None) => Some(format!("queue: at most {bound} requests")),
        (None, Some(max_wait)) => Some(format!("queue: each request for at most {max_wait}")),
        (None, None) => None,
    };
    let queue_set = bounds.queue_origin().map(|origin| format!("the bound of the queue is set by {origin}"));
    let wait_set = bounds.max_wait_origin().map(|origin| format!("the longest wait is set by {origin}"));
    let shed = spec.shedding().map(|shed| {
        let target = humantime::format_duration(shed.target());
        format!("overload: sheds requests that have waited longer than {target}")
    });
    let weight = spec.parent().filter(|_| spec.share_weight() != 1);
    let weight =
        weight.map(|parent| format!("weight {} among the gates within `{parent}`", spec.share_weight()));
    let keys = spec.keys().map(|keys| output::format_keys(keys, explanation.limit()));
    let feedback = explanation.feedback().map(ToString::to_string);
    [queue, queue_set, wait_set, shed, weight, keys, feedback]
        .into_iter()
        .flatten()
        .fold(cell, |cell, line| cell.line(line, QUIET))
}

/// One row for each step of each formula, with the number after the step.
fn derivations(report: &HostReport) -> TextTable {
    let mut table = TextTable::new(&[
        ("gate", Alignment::Left),
        ("step", Alignment::Left),
        ("number", Alignment::Right),
        ("", Alignment::Left),
        ("reason", Alignment::Left),
    ]);
    for (_, explanation) in report.shown_gates() {
        let mut gate = TableCell::styled(explanation.path().to_string(), NAME);
        for part in explanation.derivation().parts() {
            table.row([
                std::mem::take(&mut gate), // the name stands only in the first row
                TableCell::new(part.text()),
                TableCell::new(part.value().plain().to_string()),
                decision_mark(explanation, part),
                TableCell::styled(part.remark(), QUIET),
            ]);
        }
    }
    table
}

/// Marks the step that decides the limit, or that would decide it without a setting.
fn decision_mark(explanation: &Explanation, part: &DerivedPart) -> TableCell {
    if !part.decides() {
        return TableCell::default();
    }
    match explanation.decision() {
        Decision::Derived => TableCell::styled("<- decides", AnsiColor::Green.on_default().bold()),
        Decision::Overridden { .. } => TableCell::styled("<- would decide", QUIET),
    }
}

const TITLE: Style = Style::new().bold().underline();
const NAME: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();
