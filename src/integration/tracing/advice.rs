//! The advice in the messages of events: what decides a limit, and what to change to get another result.

use crate::event::ProbeFault;
use crate::plan::{Decision, DerivedPart, Explanation, Operand, Reading, Resource, Standing};

/// Says what decides a limit, and how to change it.
pub(super) fn for_limit(explanation: &Explanation) -> String {
    let (gate, binding) = (explanation.gate(), explanation.derivation().binding());
    match explanation.decision() {
        Decision::Overridden { origin, standing: Standing::Clamped, .. } => format!(
            "{origin} asks for more and its policy is `Clamp`, so {}; {}, or set the policy to `Trust`",
            describe(binding),
            how_to_change(binding)
        ),
        Decision::Overridden { origin, value, .. } => {
            format!("{origin} = {value} decides; change it there, or remove it to use the derived limit")
        }
        Decision::Derived => {
            // An unknown base reading is the cause even if a later step, such as a floor, decides.
            let base = &explanation.derivation().parts()[0];
            let part = if base.value() == Reading::Unknown { base } else { binding };
            format!("{}; {}, or set gate {gate} in the overrides", describe(part), how_to_change(part))
        }
    }
}

/// Returns whether the limit is what the rule of an adaptive gate has chosen.
pub(super) fn is_chosen_by_feedback(explanation: &Explanation) -> bool {
    let operand = explanation.derivation().binding().operand();
    *explanation.decision() == Decision::Derived
        && matches!(operand, Some((Operand::Resource(resource), _)) if resource.is_feedback())
}

fn describe(part: &DerivedPart) -> String {
    match part.remark() {
        remark if remark.is_empty() => format!("`{}` decides", part.text()),
        remark => format!("`{}` decides ({remark})", part.text()),
    }
}

fn how_to_change(part: &DerivedPart) -> String {
    match part.operand() {
        Some((Operand::Resource(resource), _)) if resource.is_feedback() => {
            "see `Governor::feedback` for the decisions of its rule, change the rule".to_owned()
        }
        Some((Operand::Resource(resource), Reading::Unknown)) => {
            format!("add a probe that can read {resource}")
        }
        Some((Operand::Resource(resource), _)) => format!("give the process more or less {resource}"),
        Some((Operand::Gate(gate), _)) => format!("change gate {gate}"),
        None => "change the formula".to_owned(),
    }
}

/// Says what to do about a probe that fails, and what happens until then.
pub(super) fn for_fault(resource: Resource, fault: &ProbeFault, kept: Reading) -> String {
    let remedy = match fault {
        ProbeFault::Failed(_) if resource.is_feedback() => "fix the rule of the gate",
        ProbeFault::Failed(_) => "make the source of the probe readable",
        ProbeFault::TimedOut { .. } => "raise `GovernorBuilder::probe_deadline`",
        ProbeFault::Stuck => "its `measure` must not block the thread: use `spawn_blocking` in it",
        ProbeFault::Panicked { .. } => "fix its `measure`",
    };
    let meanwhile = match kept {
        Reading::Unknown => "the formulas use their assumption for it",
        _ => "the limits stay as they are",
    };
    format!("{remedy}, or set the gates that read {resource} in the overrides; until then {meanwhile}")
}
