//! The error of building a plan, resolving it or building a governor: every problem at once.

use std::fmt;

use super::debug_as_display::impl_debug_as_display;
use super::limit::Limit;
use super::name::{GateName, Resource, RuleName};
use super::overrides::Origin;
use super::path::GatePath;
use super::reading::Escaped;
use super::spec::GateSpec;

/// The error of building or resolving a plan, or of building a governor. It lists every problem.
///
/// It prints as one line.
#[derive(Clone, PartialEq, Eq)]
pub struct BuildError {
    problems: Vec<Problem>,
}

impl BuildError {
    /// Returns the problems, at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Creates an error from at least one problem.
    pub(crate) fn of(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// Returns an error if there is any problem.
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

/// One problem: what was given, where it came from, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A plan declares no gate.
    #[error("the plan declares no gate (allowed: one or more)")]
    NoGates,
    /// A plan declares several gates with the same name.
    #[error("gate `{gate}` is declared {times} times (allowed: once)")]
    DuplicateGate {
        /// The name.
        gate: GateName,
        /// The number of declarations.
        times: usize,
    },
    /// A formula reads a gate that the plan does not declare.
    #[error(
        "the formula of gate `{gate}` reads gate `{reads}`, which the plan does not declare (it declares {})",
        list(known, ", ")
    )]
    UnknownOperand {
        /// The gate with the formula.
        gate: GateName,
        /// The gate that is not declared.
        reads: GateName,
        /// The gates that are declared.
        known: Vec<GateName>,
    },
    /// The formulas of some gates read each other's limits in a cycle.
    #[error(
        "gates read each other's limits in a cycle: {} (remove one of these references)",
        list(circle, " reads ")
    )]
    Cycle {
        /// The gates of the cycle in the order of reading. The first gate is repeated at the end.
        circle: Vec<GateName>,
    },
    /// A gate is within a gate that the plan does not declare.
    #[error(
        "gate `{gate}` is within gate `{parent}`, which the plan does not declare (it declares {})",
        list(known, ", ")
    )]
    UnknownParent {
        /// The gate.
        gate: GateName,
        /// The parent that is not declared.
        parent: GateName,
        /// The gates that are declared.
        known: Vec<GateName>,
    },
    /// The weight of a gate is out of range.
    #[error("gate `{gate}` has weight {weight} (allowed: 1 to {})", GateSpec::MAX_WEIGHT)]
    WeightRange {
        /// The gate.
        gate: GateName,
        /// The weight.
        weight: u32,
    },
    /// A gate has a weight, but is within no other gate.
    #[error(
        "gate `{gate}` has weight {weight}, but is within no other gate (allowed: a weight of a gate that is within a parent)"
    )]
    WeightWithoutParent {
        /// The gate.
        gate: GateName,
        /// The weight.
        weight: u32,
    },
    /// Some gates are within each other in a cycle.
    #[error("gates are within each other in a cycle: {} (remove one `within`)", list(circle, " within "))]
    ParentCycle {
        /// The gates of the cycle, each before its parent. The first gate is repeated at the end.
        circle: Vec<GateName>,
    },
    /// A gate, or the level of its keys, is too many levels below its root. The gates within a gate that is too deep itself are not
    /// reported.
    #[error(
        "gate `{path}` needs {levels} levels (allowed: at most {}; the keys of a gate are a level of their own)",
        GateSpec::MAX_LEVELS
    )]
    TooDeep {
        /// The path of the gate.
        path: GatePath,
        /// The levels that the gate needs, with that of its keys.
        levels: usize,
    },
    /// An override layer sets a gate that the plan does not declare.
    #[error(
        "{origin} sets gate `{gate}`, which the plan does not declare (it declares {})",
        list(known, ", ")
    )]
    UnknownOverride {
        /// The gate that is not declared.
        gate: GateName,
        /// The origin of the setting.
        origin: Origin,
        /// The gates that are declared.
        known: Vec<GateName>,
    },
    /// An override layer sets a gate by a path that is not the gate's path in the plan.
    #[error("{origin} sets `{given}`, but gate `{}` is at `{path}` (allowed: {})", path.gate(), path.accepted())]
    WrongPath {
        /// The path that was given.
        given: GatePath,
        /// The origin of the setting.
        origin: Origin,
        /// The path of the gate.
        path: GatePath,
    },
    /// A setting is above the derived limit, and the policy is [`Reject`](super::Policy::Reject).
    #[error("{origin} sets gate `{gate}` to {value}, above the derived limit (allowed: at most {derived})")]
    Rejected {
        /// The gate.
        gate: GateName,
        /// The origin of the setting.
        origin: Origin,
        /// The value of the setting.
        value: usize,
        /// The derived limit.
        derived: Limit,
    },
    /// The name of an adaptive gate is too long for the name of its feedback.
    #[error(
        "gate `{gate}` is adaptive, and its feedback is the resource `feedback.{gate}`, whose name is too long (allowed: a gate name of at most 22 bytes)"
    )]
    FeedbackName {
        /// The gate.
        gate: GateName,
    },
    /// An adaptive gate has a rule that the governor does not know.
    #[error(
        "gate `{gate}` follows the rule `{rule}`, which is not added (there is {}): add it with `GovernorBuilder::rule`",
        list(known, ", ")
    )]
    UnknownRule {
        /// The gate.
        gate: GateName,
        /// The rule.
        rule: RuleName,
        /// The rules that are added.
        known: Vec<RuleName>,
    },
    /// Several probes measure the same resource.
    #[error("{times} probes measure `{resource}` (allowed: one)")]
    DuplicateProbe {
        /// The resource.
        resource: Resource,
        /// The number of probes that measure it.
        times: usize,
    },
    /// A formula, or the sign of overload of an adaptive gate, reads a resource that no probe measures.
    #[error(
        "gate `{gate}` reads `{resource}`, which no probe measures (there are probes for {})",
        list(probed, ", ")
    )]
    NoProbe {
        /// The gate.
        gate: GateName,
        /// The resource.
        resource: Resource,
        /// The resources that have a probe.
        probed: Vec<Resource>,
    },
    /// A share is given for a gate that the plan does not declare.
    #[error(
        "a share is given for gate `{gate}`, which the plan does not declare (it declares {})",
        list(known, ", ")
    )]
    UnknownShare {
        /// The gate that is not declared.
        gate: GateName,
        /// The gates that are declared.
        known: Vec<GateName>,
    },
    /// A plan file declares a share for a gate, but the builder of the governor has none.
    #[error(
        "the plan declares a share for gate `{gate}`, but the builder has none: pass the shares of the plan file to `GovernorBuilder::shares`"
    )]
    MissingShare {
        /// The gate.
        gate: GateName,
    },
    /// A share is given for a gate that is within another one.
    #[error(
        "a share is given for gate `{gate}`, which is within gate `{parent}` (allowed: a gate that is within no other; the gates within it share its lease)"
    )]
    SharedChild {
        /// The gate.
        gate: GateName,
        /// The gate that it is within.
        parent: GateName,
    },
    /// Several shares are given for a gate.
    #[error("{times} shares are given for gate `{gate}` (allowed: one)")]
    DuplicateShare {
        /// The gate.
        gate: GateName,
        /// The number of shares.
        times: usize,
    },
    /// The ledger of a shared gate cannot be used.
    #[error("gate `{gate}` cannot be shared: {}", Escaped(reason))]
    Share {
        /// The gate.
        gate: GateName,
        /// What is wrong.
        reason: String,
    },
    /// A gate was added to a running governor within a gate that shares its limit with other processes.
    #[error(
        "gate `{gate}` cannot be added within gate `{parent}`, which shares its limit with other processes: declare it when the governor is built"
    )]
    ParentIsShared {
        /// The gate.
        gate: GateName,
        /// The parent.
        parent: GateName,
    },
    /// A gate was added to a running governor within a gate that was opened without children.
    #[error(
        "gate `{gate}` cannot be added within gate `{parent}`, which was opened without children and keys: declare keys, or a child of it, when the governor is built"
    )]
    ParentWithoutChildren {
        /// The gate.
        gate: GateName,
        /// The parent.
        parent: GateName,
    },
}

/// The error for a gate that the plan does not declare: the given name, and the gates that are declared.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the plan declares no gate `{given}` (it declares {})", list(known, ", "))]
pub struct UnknownGateError {
    pub(crate) given: GateName,
    pub(crate) known: Vec<GateName>,
}

/// The error for a gate of which a governor has no handle of the requested kind.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateHandleError {
    /// The plan does not declare the gate.
    #[error(transparent)]
    Unknown(#[from] UnknownGateError),
    /// The gate shares its limit with other processes, so its permits are valid only with a lease.
    #[error("gate `{gate}` shares its limit with other processes; use `Governor::shared`")]
    Shared {
        /// The gate.
        gate: GateName,
    },
    /// The gate does not share its limit.
    #[error(
        "gate `{gate}` does not share its limit with other processes; use `Governor::gate`, or give it a share by `GovernorBuilder::share`"
    )]
    NotShared {
        /// The gate.
        gate: GateName,
    },
}

/// The error for a path that leads to no gate of the plan.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindGateError {
    /// The plan does not declare the gate.
    #[error(transparent)]
    UnknownGate(#[from] UnknownGateError),
    /// The plan declares the gate, but at another path.
    #[error("`{given}` is not a gate of the plan: gate `{}` is at `{path}` (allowed: {})", path.gate(), path.accepted())]
    WrongPath {
        /// The path that was given.
        given: GatePath,
        /// The path of the gate.
        path: GatePath,
    },
}

impl_debug_as_display!(BuildError, Problem, UnknownGateError, GateHandleError, FindGateError);

fn list<T: fmt::Display>(items: &[T], separator: &str) -> String {
    match items {
        [] => "none".to_owned(),
        _ => items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator),
    }
}
