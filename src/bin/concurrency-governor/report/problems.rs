//! The problems of a host, of the settings and of the ledgers, which an operator should check first.

use concurrency_governor::plan::{Bound, Decision, Explanation, Measurement, Standing};
use concurrency_governor::{Quantity, Reading, Resource};

use super::HostReport;

/// Something that makes a limit lower, higher or less certain than it should be.
#[derive(Debug)]
pub(crate) struct HostProblem {
    /// The gate or the resource.
    pub(crate) subject: String,
    pub(crate) text: String,
}

impl HostReport {
    /// Returns the problems of the resources that the shown gates read, then those of their settings and of their ledgers.
    pub(crate) fn problems(&self) -> Vec<HostProblem> {
        let mut problems = Vec::new();
        for resource in self.shown_resources() {
            if let Some(measurement) = self.resolution.readings().get(resource) {
                let texts = [uncertainty(measurement), low_soft_limit(self, resource, measurement)];
                let subject = || resource.to_string();
                problems
                    .extend(texts.into_iter().flatten().map(|text| HostProblem { subject: subject(), text }));
            }
        }
        for (_, explanation) in self.shown_gates() {
            let text = questionable_setting(explanation);
            let subject = format!("gate {}", explanation.gate());
            problems.extend(text.map(|text| HostProblem { subject, text }));
        }
        for (shared, _) in self.shared_gates() {
            let subject = format!("gate {}", shared.gate);
            problems.extend(shared.problem().map(|text| HostProblem { subject, text }));
        }
        problems
    }
}

/// Returns a problem if the reading is unknown, or only an upper bound. The notes contain the reason.
fn uncertainty(measurement: &Measurement) -> Option<String> {
    let because = |text: &str| match measurement.notes() {
        [] => text.to_owned(),
        notes => format!("{text}: {}", notes.join("; ")),
    };
    match measurement.reading() {
        Reading::Unknown => Some(because("it is unknown, so the formulas assume a value or skip it")),
        Reading::Finite(_) if measurement.bound() == Bound::AtMost => {
            Some(because("it may be lower than the reading"))
        }
        _ => None,
    }
}

/// Returns a problem if the soft limit on descriptors could be raised, and decides a limit or is not above the usual default.
fn low_soft_limit(report: &HostReport, resource: Resource, measurement: &Measurement) -> Option<String> {
    let is_descriptors = resource == Resource::FD;
    let note = measurement.notes().iter().find(|note| is_descriptors && note.contains("may be raised"))?;
    let decides = report.shown_gates().any(|(_, explanation)| {
        let operand = explanation.derivation().binding().operand();
        operand.is_some_and(|(operand, _)| operand.to_string() == resource.as_str())
    });
    let usual = Quantity::whole(USUAL_SOFT_LIMIT);
    let is_low = matches!(measurement.reading(), Reading::Finite(soft) if soft <= usual);
    let soft = measurement.reading().plain().to_string();
    (decides || is_low).then(|| format!("the soft limit is low, {soft}: {note}"))
}

/// Returns a problem if the setting is not the limit in force, or is above the derived limit.
fn questionable_setting(explanation: &Explanation) -> Option<String> {
    let Decision::Overridden { origin, value, standing } = explanation.decision() else { return None };
    let derived = explanation.derivation().ceiling();
    match standing {
        Standing::AboveDerived => Some(format!("{origin} sets {value}, above the derived limit {derived}")),
        Standing::Clamped => Some(format!("{origin} sets {value}, but its policy lowers that to {derived}")),
        _ if *value == 0 => {
            Some(format!("{origin} sets 0, which counts as 1: a gate of 0 would admit nothing"))
        }
        _ => None,
    }
}

/// The default of most systems. It is kept for old programs, which cannot use more.
const USUAL_SOFT_LIMIT: u64 = 1024;
