//! The hierarchy of a plan's gates: which gate is within which.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Problem;
use super::name::GateName;
use super::path::GatePath;
use super::spec::GateSpec;

/// The gates of a plan by name, each with its index in the order of declaration. Of two gates with the same name, the last
/// one counts.
pub(crate) fn index_gates(specs: &[GateSpec]) -> BTreeMap<GateName, usize> {
    specs.iter().map(GateSpec::name).zip(0..).collect()
}

/// Returns the path of a gate from its root. Returns `None` if the gate or one of its ancestors is not declared, if the gate
/// is deeper than a plan allows, or if its ancestors form a cycle.
pub(crate) fn find_path(
    specs: &[GateSpec],
    indices: &BTreeMap<GateName, usize>,
    gate: GateName,
) -> Option<GatePath> {
    path_within(GateSpec::MAX_LEVELS, specs, indices, gate)
}

/// Returns the problems with the hierarchy, grouped by kind, each group in the order of declaration.
pub(super) fn hierarchy_problems(specs: &[GateSpec], indices: &BTreeMap<GateName, usize>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let known = || specs.iter().map(GateSpec::name).collect();
    for spec in specs {
        if let Some(parent) = spec.parent().filter(|parent| !indices.contains_key(parent)) {
            problems.push(Problem::UnknownParent { gate: spec.name(), parent, known: known() });
        }
    }
    for spec in specs {
        let (gate, weight) = (spec.name(), spec.share_weight());
        if !(1..=GateSpec::MAX_WEIGHT).contains(&weight) {
            problems.push(Problem::WeightRange { gate, weight });
        }
        if spec.parent().is_none() && spec.has_weight() {
            problems.push(Problem::WeightWithoutParent { gate, weight });
        }
    }
    problems.extend(parent_cycles(specs, indices).into_iter().map(|circle| Problem::ParentCycle { circle }));

    // A gate is reported if its keys are too deep, or if it is the first one of its path that is too deep itself. The gates below that
    // one are on the same path, so the texts stay short.
    let too_deep = GateSpec::MAX_LEVELS.saturating_add(1);
    for spec in specs {
        let Some(path) = path_within(too_deep, specs, indices, spec.name()) else { continue };
        let levels = path.names().len().saturating_add(usize::from(spec.keys().is_some()));
        if levels >= too_deep {
            problems.push(Problem::TooDeep { path, levels });
        }
    }
    problems
}

/// Returns the path of a gate, if it has at most `most` names.
fn path_within(
    most: usize,
    specs: &[GateSpec],
    indices: &BTreeMap<GateName, usize>,
    gate: GateName,
) -> Option<GatePath> {
    let parent_of = |gate| indices.get(&gate).map(|&index| specs[index].parent());
    let mut ancestors = Vec::new();
    let mut next = parent_of(gate)?;
    while let Some(parent) = next {
        ancestors.push(parent);
        if ancestors.len() >= most {
            return None; // too deep, or a cycle
        }
        next = parent_of(parent)?;
    }
    Some(GatePath::of_ancestors(gate, &ancestors))
}

/// Returns each cycle of parents once. Uses no recursion: a chain of gates may be longer than the stack is deep.
fn parent_cycles(specs: &[GateSpec], indices: &BTreeMap<GateName, usize>) -> Vec<Vec<GateName>> {
    let mut cycles = Vec::new();
    let mut visited: BTreeSet<GateName> = BTreeSet::new();
    for spec in specs {
        // Follow the parents until a gate repeats. If it is on the current path, the rest of the path is a cycle. Otherwise an
        // earlier start visited it, and its cycle is known.
        let mut path: Vec<GateName> = Vec::new();
        let mut current = Some(spec.name());
        while let Some(gate) = current.filter(|gate| visited.insert(*gate)) {
            path.push(gate);
            current = indices.get(&gate).and_then(|&index| specs[index].parent());
        }
        if let Some(first) = current.and_then(|gate| path.iter().position(|on_path| *on_path == gate)) {
            cycles.push(path[first..].iter().copied().chain(current).collect());
        }
    }
    cycles
}
