//! The report as tables for people.

use anstyle::{AnsiColor, Style};
use concurrency_governor::plan::{Bound, Decision, DerivedPart, Explanation, Measurement, Source, Standing};
use concurrency_governor::{GateSpec, Quantity, Reading, Resource};

use crate::columns::{Cell, Columns, Side};
use crate::explain::Report;
use crate::plain;

/// The readings, the gates and how each limit was derived.
pub(crate) fn render(report: &Report) -> String {
    [
        titled(&format!("Readings of {}", plain::line(&report.host)), readings(report)),
        titled("Settings, the first that sets a gate decides", settings(report)),
        titled(&format!("Gates of {}", plain::line(&report.title)), gates(report)),
        titled("How each limit is derived", derivations(report)),
    ]
    .join("\n")
}

fn titled(title: &str, columns: Columns) -> String {
    format!("{TITLE}{title}{TITLE:#}\n{}", columns.render())
}

fn readings(report: &Report) -> Columns {
    let mut columns =
        Columns::new([("resource", Side::Left), ("reading", Side::Left), ("source", Side::Left)]);
    for (resource, measured) in report.resolution.readings().iter() {
        let unused = Cell::styled("(no gate of this plan uses it)", QUIET);
        let source = if report.uses(resource) { Cell::default() } else { unused };
        columns.row([
            Cell::styled(resource.as_str(), NAME),
            figures(report, resource, reading(resource, measured)),
            sources(source, measured),
        ]);
    }
    columns
}

/// What else was measured of the resource, below its reading.
fn figures(report: &Report, resource: Resource, cell: Cell) -> Cell {
    report.figures(resource).iter().fold(cell, |cell, figure| {
        let number = match figure.measured.reading() {
            Reading::Finite(bytes) if resource == Resource::MEMORY => in_bytes(bytes),
            other => other.plain().to_string(),
        };
        cell.line(format!("{} {}{number}", figure.name, at_most(&figure.measured)), QUIET)
    })
}

fn at_most(measured: &Measurement) -> &'static str {
    match (measured.bound(), measured.reading()) {
        (Bound::AtMost, Reading::Finite(_)) => "at most ",
        _ => "",
    }
}

fn reading(resource: Resource, measured: &Measurement) -> Cell {
    let text = measured.reading().plain().to_string();
    let at_most = at_most(measured);
    match measured.reading() {
        Reading::Finite(bytes) if resource == Resource::MEMORY => {
            Cell::new(format!("{at_most}{}", in_bytes(bytes))).line(text, QUIET)
        }
        Reading::Unknown => Cell::styled(text, WARNING),
        _ => Cell::new(format!("{at_most}{text}")),
    }
}

fn sources(cell: Cell, measured: &Measurement) -> Cell {
    let line = |cell: Cell, source: &Source| cell.line(source.to_string(), PLAIN);
    let cell = measured.sources().iter().fold(cell, line);
    measured.notes().iter().fold(cell, |cell, note| cell.line(format!("note: {note}"), QUIET))
}

/// The layers of settings in order of precedence, and below them the formulas.
fn settings(report: &Report) -> Columns {
    let mut columns = Columns::new([("order", Side::Right), ("from", Side::Left), ("sets", Side::Left)]);
    let sets = |gates: &[String]| match gates {
        [] => Cell::styled("nothing", QUIET),
        gates => Cell::new(gates.join(", ")),
    };
    let layers = report.overrides.layers();
    for (layer, order) in layers.iter().zip(1_usize..) {
        let settings: Vec<String> =
            layer.settings().map(|(gate, value)| format!("{gate} = {value}")).collect();
        columns.row([Cell::new(order.to_string()), Cell::styled(layer.name(), NAME), sets(&settings)]);
    }
    let last = layers.len().saturating_add(1).to_string();
    let derived: Vec<String> = report.derived().map(|gate| gate.to_string()).collect();
    columns.row([Cell::new(last), Cell::styled("formulas", NAME), sets(&derived)]);
    columns
}

fn gates(report: &Report) -> Columns {
    let mut columns = Columns::new([
        ("gate", Side::Left),
        ("limit", Side::Right),
        ("derived", Side::Right),
        ("decided by", Side::Left),
    ]);
    for (spec, explanation) in report.plan.specs().iter().zip(report.resolution.explanations()) {
        columns.row([
            Cell::styled(spec.name().as_str(), NAME),
            Cell::styled(explanation.limit().to_string(), NAME),
            Cell::new(explanation.derivation().limit().to_string()),
            decided_by(spec, explanation),
        ]);
    }
    columns
}

fn decided_by(spec: &GateSpec, explanation: &Explanation) -> Cell {
    let mut cell = match explanation.decision() {
        Decision::Overridden { standing, .. } if *standing != Standing::Within => {
            Cell::styled(decision(explanation), WARNING)
        }
        _ => Cell::new(decision(explanation)),
    };
    for shadowed in explanation.shadowed() {
        cell = cell.line(format!("shadows {} = {}", shadowed.origin, shadowed.value), QUIET);
    }
    let queue = spec.queue_bound().map(|bound| match bound {
        0 => "nobody waits".to_owned(),
        bound => format!("at most {bound} wait"),
    });
    let wait = spec.longest_wait().map(|wait| format!("for at most {}", humantime::format_duration(wait)));
    match (queue, wait) {
        (Some(queue), Some(wait)) => cell.line(format!("{queue}, {wait}"), QUIET),
        (Some(line), None) => cell.line(line, QUIET),
        (None, Some(wait)) => cell.line(format!("each waits {wait}"), QUIET),
        (None, None) => cell,
    }
}

/// What decided a limit, in a few words.
pub(crate) fn decision(explanation: &Explanation) -> String {
    match explanation.decision() {
        Decision::Derived => format!("`{}`", explanation.derivation().binding().text()),
        decision @ Decision::Overridden { .. } => decision.to_string(),
    }
}

fn derivations(report: &Report) -> Columns {
    let mut columns = Columns::new([
        ("gate", Side::Left),
        ("step", Side::Left),
        ("number", Side::Right),
        ("", Side::Left),
        ("reason", Side::Left),
    ]);
    for explanation in report.resolution.explanations() {
        let derivation = explanation.derivation();
        for (part, at) in derivation.parts().iter().zip(0_usize..) {
            let gate =
                if at == 0 { Cell::styled(explanation.gate().as_str(), NAME) } else { Cell::default() };
            columns.row([
                gate,
                Cell::new(part.text()),
                Cell::new(part.value().plain().to_string()),
                mark(explanation, part),
                Cell::styled(part.remark(), QUIET),
            ]);
        }
    }
    columns
}

/// Marks the part that decides, or would if nobody had set the gate.
fn mark(explanation: &Explanation, part: &DerivedPart) -> Cell {
    if !part.decides() {
        return Cell::default();
    }
    match explanation.decision() {
        Decision::Derived => Cell::styled("<- decides", AnsiColor::Green.on_default().bold()),
        Decision::Overridden { .. } => Cell::styled("<- would decide", QUIET),
    }
}

/// A number of bytes as people say it, in two decimal places and binary units.
pub(crate) fn in_bytes(bytes: Quantity) -> String {
    const UNITS: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

    let whole = bytes.floor();
    let Some((unit, power)) = UNITS.into_iter().find(|(_, power)| whole >> power > 0) else {
        return format!("{} bytes", bytes.plain());
    };
    let hundredths = u128::from(whole).saturating_mul(100) >> power;
    let [units, rest] = [hundredths / 100, hundredths % 100];
    match rest {
        0 => format!("{units} {unit}"),
        _ => format!("{units}.{rest:02} {unit}"),
    }
}

const PLAIN: Style = Style::new();
const TITLE: Style = Style::new().bold().underline();
const NAME: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default();
