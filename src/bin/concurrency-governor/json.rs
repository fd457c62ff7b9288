//! The report as JSON for programs.

use concurrency_governor::plan::{
    Bound, Decision, DerivedPart, Explanation, Measurement, Quantity, Shadowed, Source, Standing,
};
use concurrency_governor::{OverrideLayer, Reading, Resource};
use serde_json::{Map, Value, json};

use crate::explain::Report;

/// One object: `readings` by resource, each with the `figures` that were measured besides; `layers` of settings, the one
/// that wins first; `gates` by name in the order of the plan.
///
/// Readings and amounts are texts of digits, `unlimited` or `unknown`: a JSON number would lose what a quantity holds.
pub(crate) fn render(report: &Report) -> String {
    let resolution = &report.resolution;
    let readings = resolution.readings().iter();
    let readings: Map<_, _> = readings
        .map(|(resource, measured)| (resource.to_string(), of_resource(report, resource, measured)))
        .collect();
    let layers: Vec<Value> = report.overrides.layers().iter().map(layer).collect();
    let gates = report.plan.specs().iter().zip(resolution.explanations());
    let gates: Map<_, _> = gates
        .map(|(spec, explanation)| (spec.name().to_string(), gate(&spec.formula().to_string(), explanation)))
        .collect();
    let mut text = format!("{:#}", json!({ "readings": readings, "layers": layers, "gates": gates }));
    text.push('\n');
    text
}

fn of_resource(report: &Report, resource: Resource, measured: &Measurement) -> Value {
    let mut value = reading(measured);
    let figures = report.figures(resource).iter();
    let figures: Map<_, _> =
        figures.map(|figure| (figure.name.replace(' ', "_"), reading(&figure.measured))).collect();
    value["figures"] = Value::Object(figures);
    value
}

fn reading(measured: &Measurement) -> Value {
    json!({
        "value": plain(measured.reading()),
        "bound": match measured.bound() {
            Bound::AtMost => "at_most",
            _ => "exact",
        },
        "sources": measured.sources().iter().map(source).collect::<Vec<_>>(),
        "notes": measured.notes(),
    })
}

fn source(source: &Source) -> Value {
    json!({ "path": source.path(), "level": source.level(), "raw": source.raw(), "meaning": source.meaning() })
}

fn layer(layer: &OverrideLayer) -> Value {
    let sets: Map<_, _> =
        layer.settings().map(|(gate, value)| (gate.to_string(), Value::from(value))).collect();
    json!({ "name": layer.name(), "sets": sets })
}

fn gate(formula: &str, explanation: &Explanation) -> Value {
    let derivation = explanation.derivation();
    json!({
        "limit": explanation.limit().get(),
        "decision": decision(explanation.decision()),
        "derived": derivation.limit().get(),
        "shadowed": explanation.shadowed().iter().map(shadowed).collect::<Vec<_>>(),
        "formula": formula,
        "derivation": derivation.parts().iter().map(step).collect::<Vec<_>>(),
    })
}

fn decision(decision: &Decision) -> Value {
    match decision {
        Decision::Derived => json!({ "kind": "derived" }),
        Decision::Overridden { origin, value, standing } => json!({
            "kind": "overridden",
            "origin": origin.to_string(),
            "value": value,
            "standing": match standing {
                Standing::Within => "within",
                Standing::Clamped => "clamped",
                _ => "above_derived",
            },
        }),
    }
}

fn plain(reading: Reading) -> String {
    reading.plain().to_string()
}

fn shadowed(shadowed: &Shadowed) -> Value {
    json!({ "origin": shadowed.origin.to_string(), "value": shadowed.value })
}

fn step(part: &DerivedPart) -> Value {
    let (operand, reading): (Option<String>, Option<Reading>) = match part.operand() {
        Some((operand, reading)) => (Some(operand.to_string()), Some(reading)),
        None => (None, None),
    };
    json!({
        "step": part.text(),
        "operand": operand,
        "reading": reading.map(plain),
        "amount": part.amount().map(plain),
        "assumed": part.assumed().map(|assumed: Quantity| assumed.plain().to_string()),
        "value": plain(part.value()),
        "effect": part.effect().to_string(),
        "remark": part.remark(),
        "decides": part.decides(),
    })
}
