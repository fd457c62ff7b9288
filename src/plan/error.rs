//! Why a plan, its overrides or a governor cannot be built: every problem at once.

use std::fmt;

use super::name::{GateName, Resource};
use super::overrides::Origin;

/// Everything that keeps a plan from being built or resolved, or a governor from being built.
///
/// It prints as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    problems: Vec<Problem>,
}

impl BuildError {
    /// The problems, at least one: by kind, each in the order of the plan or of the layers.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Of at least one problem.
    pub(crate) fn of(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// An error, if there is any problem.
    pub(super) fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::of(problems)) }
    }
}

impl std::error::Error for BuildError {}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(&self.problems, "; "))
    }
}

/// One thing that is wrong: what was given, where it came from, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A plan declares nothing.
    #[error("the plan declares no gate (allowed: one or more)")]
    NoGates,
    /// Two gates of one plan have one name.
    #[error("gate `{gate}` is declared {times} times (allowed: once)")]
    DuplicateGate {
        /// The name.
        gate: GateName,
        /// How often it is declared.
        times: usize,
    },
    /// A formula reads a gate that the plan does not declare.
    #[error(
        "the formula of gate `{gate}` reads gate `{reads}`, which the plan does not declare (it declares {})",
        list(known, ", ")
    )]
    UnknownOperand {
        /// The gate whose formula it is.
        gate: GateName,
        /// The gate that is not there.
        reads: GateName,
        /// The gates that are.
        known: Vec<GateName>,
    },
    /// Gates whose formulas read each other's limits in a circle.
    #[error("gates read each other's limits in a circle: {}", list(circle, " reads "))]
    Cycle {
        /// The circle; the last is the first again.
        circle: Vec<GateName>,
    },
    /// A layer sets a gate that the plan does not declare.
    #[error(
        "{origin} sets gate `{gate}`, which the plan does not declare (it declares {})",
        list(known, ", ")
    )]
    UnknownOverride {
        /// The gate that is not there.
        gate: GateName,
        /// What sets it.
        origin: Origin,
        /// The gates that are.
        known: Vec<GateName>,
    },
    /// A setting above the derived limit, where the policy is [`Reject`](super::Policy::Reject).
    #[error(
        "{origin} sets gate `{gate}` to {value}, above what this host grants (allowed: at most {derived})"
    )]
    Rejected {
        /// The gate.
        gate: GateName,
        /// What sets it.
        origin: Origin,
        /// What it asks for.
        value: usize,
        /// The derived limit.
        derived: super::Limit,
    },
    /// Two probes measure one resource.
    #[error("{times} probes measure `{resource}` (allowed: one)")]
    DuplicateProbe {
        /// The resource.
        resource: Resource,
        /// How many probes measure it.
        times: usize,
    },
    /// A formula reads a resource that no probe measures.
    #[error(
        "the formula of gate `{gate}` reads `{resource}`, which no probe measures (there are probes for {})",
        list(probed, ", ")
    )]
    NoProbe {
        /// The gate whose formula it is.
        gate: GateName,
        /// The resource.
        resource: Resource,
        /// The resources that are measured.
        probed: Vec<Resource>,
    },
}

/// A gate's name that is not in the plan, with those that are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no gate `{given}` (there are {})", list(known, ", "))]
pub struct UnknownGateError {
    pub(crate) given: GateName,
    pub(crate) known: Vec<GateName>,
}

fn list<T: fmt::Display>(items: &[T], separator: &str) -> String {
    match items {
        [] => "none".to_owned(),
        _ => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator),
    }
}
