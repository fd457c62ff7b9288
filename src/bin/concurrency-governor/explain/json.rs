//! The report as JSON for programs.

use concurrency_governor::plan::{
    Bound, Decision, DerivedPart, Explanation, Measurement, QueueSetting, Shadowed, Source, Standing,
};
use concurrency_governor::{OverrideLayer, Resource};
use serde_json::{Map, Value, json};

use crate::report::HostReport;

/// Renders one object, which docs/explain.schema.json describes:
///
/// - `version` of the format, and the names of the `plan` and the `host`;
/// - `problems` of the host and of the settings;
/// - `readings` by resource, each with its related `figures`. The `error` of a reading is that of its probe if it failed;
/// - `layers`: the settings, highest precedence first;
/// - `gates` by name, in the order of the plan.
///
/// Readings and amounts are numbers, `"unlimited"` or `"unknown"`.
pub(super) fn render(report: &HostReport) -> String {
    let shown = report.shown_resources();
    let readings = report.resolution.readings().iter();
    let readings: Map<_, _> = readings
        .filter(|(resource, _)| report.shows_all() || shown.contains(resource))
        .map(|(resource, measurement)| (resource.to_string(), resource_value(report, resource, measurement)))
        .collect();
    let layers: Vec<Value> = report.overrides.layers().iter().map(layer_value).collect();
    let problems = report.problems();
    let problems: Vec<Value> =
        problems.iter().map(|problem| json!({ "what": problem.subject, "problem": problem.text })).collect();
    let gates = report.shown_gates();
    let mut gates: Map<_, _> = gates
        .map(|(spec, explanation)| {
            (spec.name().to_string(), gate_value(&spec.formula().to_string(), explanation))
        })
        .collect();
    for (shared, local) in report.shared_gates() {
        if let Some(gate) = gates.get_mut(shared.gate.as_str()) {
            gate["share"] = shared.value(local);
        }
    }
    let report = json!({
        "version": VERSION,
        "plan": report.plan_name,
        "host": report.host,
        "problems": problems,
        "readings": readings,
        "layers": layers,
        "gates": gates,
    });
    let mut text = format!("{report:#}");
    text.push('\n');
    text
}

fn resource_value(report: &HostReport, resource: Resource, measurement: &Measurement) -> Value {
    let mut value = measurement_value(measurement);
    let figures = report.figures(resource).iter();
    let figures: Map<_, _> = figures
        .map(|figure| (figure.name.replace(' ', "_"), measurement_value(&figure.measurement)))
        .collect();
    value["figures"] = Value::Object(figures);
    value
}

fn measurement_value(measurement: &Measurement) -> Value {
    json!({
        "value": measurement.reading(),
        "bound": match measurement.bound() {
            Bound::AtMost => "at_most",
            Bound::AtLeast => "at_least",
            _ => "exact",
        },
        "error": measurement.staleness(),
        "sources": measurement.sources().iter().map(source_value).collect::<Vec<_>>(),
        "notes": measurement.notes(),
    })
}

fn source_value(source: &Source) -> Value {
    json!({ "path": source.path(), "level": source.level(), "raw": source.raw(), "meaning": source.meaning() })
}

/// A layer that sets bounds of queues or of waits has one more key, `sets_queues`, with these settings by gate. Waits are in seconds.
fn layer_value(layer: &OverrideLayer) -> Value {
    let sets: Map<_, _> =
        layer.settings().map(|(gate, value)| (gate.to_string(), Value::from(value))).collect();
    let mut value = json!({ "name": layer.name(), "sets": sets });
    let mut queues = Map::new();
    for (gate, setting) in layer.queue_settings() {
        let of_gate = queues.entry(gate.to_string()).or_insert_with(|| json!({}));
        match setting {
            QueueSetting::Bound(bound) => of_gate["queue"] = json!(bound),
            QueueSetting::MaxWait(wait) => of_gate["max_wait"] = json!(wait.as_secs_f64()),
            _ => {}
        }
    }
    if !queues.is_empty() {
        value["sets_queues"] = Value::Object(queues);
    }
    value
}

/// A gate within another one has two more keys: `path`, and `bound_by` with the gate above whose limit is lower. A gate with a bound of its
/// queue or its waits has `queue_bounds`. An adaptive gate has `feedback`. A shared gate has `share`: the answer of its ledger.
fn gate_value(formula: &str, explanation: &Explanation) -> Value {
    let derivation = explanation.derivation();
    let mut value = json!({
        "limit": explanation.limit().get(),
        "decision": decision_value(explanation.decision()),
        "derived": derivation.limit().get(),
        "shadowed": explanation.shadowed().iter().map(shadowed_value).collect::<Vec<_>>(),
        "formula": formula,
        "derivation": derivation.parts().iter().map(step_value).collect::<Vec<_>>(),
    });
    if !explanation.path().parents().is_empty() {
        value["path"] = json!(explanation.path());
        value["bound_by"] = json!(explanation.bound_by());
    }
    if explanation.queue_bounds().has_any() {
        value["queue_bounds"] = json!(explanation.queue_bounds());
    }
    if let Some(feedback) = explanation.feedback() {
        value["feedback"] = json!(feedback);
    }
    value
}

fn decision_value(decision: &Decision) -> Value {
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

fn shadowed_value(shadowed: &Shadowed) -> Value {
    json!({ "origin": shadowed.origin.to_string(), "value": shadowed.value })
}

fn step_value(part: &DerivedPart) -> Value {
    let (operand, reading) = part.operand().unzip();
    json!({
        "step": part.text(),
        "operand": operand.map(|operand| operand.to_string()),
        "reading": reading,
        "amount": part.amount(),
        "assumed": part.assumed(),
        "value": part.value(),
        "effect": part.effect().to_string(),
        "remark": part.remark(),
        "decides": part.decides(),
    })
}

/// The version of the format. A version gets new keys only; a key that is removed or changed is a new version.
const VERSION: u32 = 1;
