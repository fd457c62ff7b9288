//! What to turn to have it otherwise.

use crate::event::ProbeFault;
use crate::plan::{Decision, DerivedPart, Explanation, Operand, Reading, Resource, Standing};

/// What decides a limit, and how to change that.
pub(super) fn of_limit(explanation: &Explanation) -> String {
    let (gate, binding) = (explanation.gate(), explanation.derivation().binding());
    match explanation.decision() {
        Decision::Overridden { origin, standing: Standing::Clamped, .. } => format!(
            "{origin} asks for more and its policy is to clamp, so {}; {}, or let the policy be `Trust`",
            decides(binding),
            raise(binding)
        ),
        Decision::Overridden { origin, value, .. } => {
            format!("{origin} = {value} decides; change it there, or remove it to have what is derived")
        }
        Decision::Derived => {
            let base = &explanation.derivation().parts()[0];
            let part = if base.value() == Reading::Unknown { base } else { binding };
            format!("{}; {}, or set gate {gate} in the overrides", decides(part), raise(part))
        }
    }
}

fn decides(part: &DerivedPart) -> String {
    match part.remark() {
        remark if remark.is_empty() => format!("`{}` decides", part.text()),
        remark => format!("`{}` decides ({remark})", part.text()),
    }
}

fn raise(part: &DerivedPart) -> String {
    match part.operand() {
        Some((Operand::Resource(resource), Reading::Unknown)) => {
            format!("have a probe that can read {resource}")
        }
        Some((Operand::Resource(resource), _)) => format!("give the process more or less {resource}"),
        Some((Operand::Gate(gate), _)) => format!("change gate {gate}"),
        None => "change the formula".to_owned(),
    }
}

/// What to do about a probe that fails.
pub(super) fn of_fault(resource: Resource, fault: &ProbeFault, kept: Reading) -> String {
    let remedy = match fault {
        ProbeFault::Failed(_) => "make what it reads readable".to_owned(),
        ProbeFault::TimedOut { .. } => "give it longer by `GovernorBuilder::probe_deadline`".to_owned(),
        ProbeFault::Stuck => "its `measure` must not block the thread: use `spawn_blocking` in it".to_owned(),
        ProbeFault::Panicked { .. } => "mend its `measure`".to_owned(),
    };
    let meanwhile = match kept {
        Reading::Unknown => "formulas take what they assume for it",
        _ => "limits stay as they are",
    };
    format!("{remedy}, or set the gates that read {resource} in the overrides; meanwhile {meanwhile}")
}
