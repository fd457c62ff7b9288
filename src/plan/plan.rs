//! A plan: the declared gates, validated together, and resolved against readings and overrides.

use std::collections::{BTreeMap, HashSet};

use super::amount::Operand;
use super::derivation::Derivation;
use super::error::{BuildError, FindGateError, Problem, UnknownGateError};
use super::hierarchy::{find_path, hierarchy_problems, index_gates};
use super::limit::Limit;
use super::name::{GateName, Resource};
use super::overrides::{Origin, OverrideLayer, Overrides};
use super::path::GatePath;
use super::reading::{Reading, Readings};
use super::resolution::{Explanation, Resolution};
use super::spec::GateSpec;

/// The declared gates, validated together.
///
/// ```
/// use concurrency_governor::{Formula, GateSpec, Overrides, Plan, Reading, Readings, Resource};
///
/// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64));
/// const CACHE: GateSpec = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));
///
/// let plan = Plan::new([CACHE, IO])?;
/// let readings = Readings::new().with(Resource::CPU, Reading::whole(2));
/// let resolution = plan.resolve(&readings, &Overrides::new())?;
/// assert_eq!(resolution.limit(IO)?.get(), 128);
/// assert_eq!(resolution.limit(CACHE)?.get(), 64);
/// assert_eq!(resolution.explain(IO)?.to_string(), "io = 128: derived, `cpu * 64` decides (cpu = 2)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    specs: Vec<GateSpec>,
    /// The index in `specs` of each gate.
    indices: BTreeMap<GateName, usize>,
    /// Indices in `specs` in topological order: each gate comes after the gates whose limits its formula reads.
    order: Vec<usize>,
    /// The gates of which the source of the plan says that they share their limit with other processes.
    shared: Vec<GateName>,
}

impl Plan {
    /// Validates the gates together, and builds a plan.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem: no gate at all, a name that is declared twice, a formula that reads a gate that
    /// is not declared, formulas that read each other's limits in a cycle, a parent that is not declared, parents in a cycle,
    /// more than [`GateSpec::MAX_LEVELS`] levels, a weight out of range or of a gate without a parent, a name that is too long for an
    /// adaptive gate.
    pub fn new(specs: impl IntoIterator<Item = GateSpec>) -> Result<Self, BuildError> {
        let specs: Vec<GateSpec> = specs.into_iter().collect();
        // If a gate is declared twice, the last index remains; the plan is rejected anyway.
        let indices = index_gates(&specs);
        let mut problems = name_problems(&specs, &indices);
        let (order, cycles) = sort_by_dependency(&specs, &indices);
        problems.extend(cycles.into_iter().map(|circle| Problem::Cycle { circle }));
        problems.extend(hierarchy_problems(&specs, &indices));
        BuildError::check(problems)?;
        Ok(Self { specs, indices, order, shared: Vec::new() })
    }

    /// Records which gates share their limit with other processes. Building a governor without a share for one of them is
    /// an error.
    #[cfg(feature = "serde")]
    pub(crate) fn with_shared(self, shared: Vec<GateName>) -> Self {
        Self { shared, ..self }
    }

    /// Returns the gates that share their limit with other processes, as far as the source of the plan says so.
    pub(crate) fn shared(&self) -> &[GateName] {
        &self.shared
    }

    /// Returns the gates in the order of declaration.
    pub fn specs(&self) -> &[GateSpec] {
        &self.specs
    }

    /// Returns the gate that an operator names, by its name or by its path from the root.
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, Plan, plan::GatePath};
    ///
    /// const IO: GateSpec = GateSpec::new("io", Formula::fixed(64));
    /// const MESSAGES: GateSpec = GateSpec::new("messages", Formula::fixed(16)).within(IO);
    ///
    /// let plan = Plan::new([IO, MESSAGES])?;
    /// let given: GatePath = "io/messages".parse()?;
    /// assert_eq!(plan.find(&given)?, &MESSAGES);
    /// let error = plan.find(&"cpu/messages".parse()?).unwrap_err();
    /// assert!(error.to_string().ends_with("gate `messages` is at `io/messages` (allowed: `messages` or `io/messages`)"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FindGateError`] if the plan does not declare the gate, or declares it at another path.
    pub fn find(&self, given: &GatePath) -> Result<&GateSpec, FindGateError> {
        let path = self.path(given.gate())?;
        if path.is_named_by(given) {
            Ok(&self.specs[self.indices[&path.gate()]])
        } else {
            Err(FindGateError::WrongPath { given: given.clone(), path })
        }
    }

    /// Returns the path of a gate from its root, such as `io/messages`.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan does not declare the gate.
    pub fn path(&self, gate: impl Into<GateName>) -> Result<GatePath, UnknownGateError> {
        let gate = gate.into();
        let path = find_path(&self.specs, &self.indices, gate);
        path.ok_or_else(|| UnknownGateError { given: gate, known: names(&self.specs) })
    }

    /// Returns the path of each gate, in the order of declaration.
    pub fn paths(&self) -> impl Iterator<Item = GatePath> {
        self.specs.iter().filter_map(|spec| find_path(&self.specs, &self.indices, spec.name()))
    }

    /// Returns the children of a gate, in the order of declaration: the gates that are within it, without the gates within
    /// those.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan does not declare the gate.
    pub fn children(
        &self,
        gate: impl Into<GateName>,
    ) -> Result<impl Iterator<Item = &GateSpec>, UnknownGateError> {
        let gate = gate.into();
        if !self.indices.contains_key(&gate) {
            return Err(UnknownGateError { given: gate, known: names(&self.specs) });
        }
        Ok(self.specs.iter().filter(move |spec| spec.parent() == Some(gate)))
    }

    /// Returns the gates in an order in which each parent comes before its children: by level, and within a level in the order
    /// of declaration.
    #[must_use]
    pub fn parents_first(&self) -> Vec<&GateSpec> {
        let levels = self.paths().map(|path| path.parents().len());
        let mut gates: Vec<(usize, &GateSpec)> = levels.zip(&self.specs).collect();
        gates.sort_by_key(|(level, _)| *level); // a stable sort keeps the order of declaration
        gates.into_iter().map(|(_, spec)| spec).collect()
    }

    /// Derives the limit of each gate from the readings, and applies the overrides.
    ///
    /// A formula that reads the limit of another gate gets that limit after its override. The function is pure: the same
    /// input gives the same resolution.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem: a layer that sets a gate that is not declared or by a wrong path, a setting above
    /// the derived limit under the [policy](super::Policy) to reject it.
    pub fn resolve(&self, readings: &Readings, overrides: &Overrides) -> Result<Resolution, BuildError> {
        let mut problems = Self::override_problems(&self.specs, overrides);

        // Evaluated in topological order, so that each limit is known before another formula reads it.
        let mut decisions: Vec<Option<Result<Explanation, Problem>>> = vec![None; self.specs.len()];
        let mut limits = vec![Limit::MIN; self.specs.len()];
        for &index in &self.order {
            let spec = &self.specs[index];
            let derivation =
                Derivation::evaluate(spec.formula(), spec.feedback_amount(), |operand| match operand {
                    Operand::Resource(resource) => readings.reading(resource),
                    Operand::Gate(gate) => Reading::whole(limits[self.indices[&gate]].into()),
                });
            let derived = derivation.ceiling();
            let decision = Explanation::decide(spec, derivation, overrides, readings);
            // If a setting is rejected, the gates that read this limit get the greatest value that is allowed. So each
            // further problem is reported exactly if it would remain after this one is fixed.
            limits[index] = decision.as_ref().map_or(derived, Explanation::limit);
            decisions[index] = Some(decision);
        }

        // Reported in the order of declaration. Each gate has a decision, since the order has no cycle.
        let mut explanations = Vec::with_capacity(decisions.len());
        for (spec, decision) in self.specs.iter().zip(decisions.into_iter().flatten()) {
            match decision {
                Ok(mut explanation) => {
                    // Only now is the limit of each gate above known: the formula of a parent may read the limit of its child.
                    let path = spec.parent().and_then(|_| find_path(&self.specs, &self.indices, spec.name()));
                    if let Some(path) = path {
                        explanation.place_at(path, |gate| limits[self.indices[&gate]]);
                    }
                    explanations.push(explanation);
                }
                Err(problem) => problems.push(problem),
            }
        }
        BuildError::check(problems)?;
        Ok(Resolution::new(explanations, readings.clone()))
    }

    /// Returns a problem for each gate of a layer that is not declared, and for each path that is not that of its gate.
    ///
    /// A layer may set a limit, a queue and a wait under the same wrong name. That is one mistake, so only the first of them is reported.
    pub(crate) fn override_problems(specs: &[GateSpec], overrides: &Overrides) -> Vec<Problem> {
        let indices = index_gates(specs);
        let problem_of = |(given, origin): (&GatePath, Origin)| {
            let gate = given.gate();
            if !indices.contains_key(&gate) {
                return Some(Problem::UnknownOverride { gate, origin, known: names(specs) });
            }
            // If the hierarchy itself is wrong, the gate has no path, and only the hierarchy is reported.
            let path = if given.parents().is_empty() { None } else { find_path(specs, &indices, gate) };
            let path = path.filter(|path| !path.is_named_by(given))?;
            Some(Problem::WrongPath { given: given.clone(), origin, path })
        };
        let check_layer = |layer: &OverrideLayer| {
            let mut seen = HashSet::new();
            let named_once = layer.origins().filter(|(given, _)| seen.insert(*given));
            named_once.filter_map(&problem_of).collect::<Vec<_>>()
        };
        overrides.layers().iter().flat_map(check_layer).collect()
    }
}

/// Returns the problems with the names: no gate, gates that are declared twice, formulas that read an unknown gate.
fn name_problems(specs: &[GateSpec], indices: &BTreeMap<GateName, usize>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if specs.is_empty() {
        problems.push(Problem::NoGates);
    }
    let mut times: BTreeMap<GateName, usize> = BTreeMap::new();
    for gate in names(specs) {
        let times = times.entry(gate).or_default();
        *times = times.saturating_add(1);
    }
    // `remove` reports each duplicate once, in the order of its first declaration.
    for gate in names(specs) {
        if let Some(times) = times.remove(&gate).filter(|times| *times > 1) {
            problems.push(Problem::DuplicateGate { gate, times });
        }
    }
    for spec in specs {
        if spec.adaptivity().is_some() && Resource::feedback(spec.name()).is_none() {
            problems.push(Problem::FeedbackName { gate: spec.name() });
        }
        for reads in gates_read_by(spec).filter(|reads| !indices.contains_key(reads)) {
            problems.push(Problem::UnknownOperand { gate: spec.name(), reads, known: names(specs) });
        }
    }
    problems
}

/// Sorts the gates topologically with Kahn's algorithm. Returns the order, and the cycles that prevent a full one.
///
/// Uses no recursion: a chain of gates may be longer than the stack is deep.
fn sort_by_dependency(
    specs: &[GateSpec],
    indices: &BTreeMap<GateName, usize>,
) -> (Vec<usize>, Vec<Vec<GateName>>) {
    let reads: Vec<Vec<usize>> = specs
        .iter()
        .map(|spec| gates_read_by(spec).filter_map(|gate| indices.get(&gate).copied()).collect())
        .collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); specs.len()];
    for (index, reads) in reads.iter().enumerate() {
        for &read in reads {
            readers[read].push(index);
        }
    }

    // A gate is appended once all gates that it reads are in the order. `order` is the work queue at the same time.
    let mut unresolved: Vec<usize> = reads.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..specs.len()).filter(|&index| unresolved[index] == 0).collect();
    let mut next = 0;
    while let Some(&index) = order.get(next) {
        next = next.saturating_add(1);
        for &reader in &readers[index] {
            unresolved[reader] = unresolved[reader].saturating_sub(1);
            if unresolved[reader] == 0 {
                order.push(reader);
            }
        }
    }

    // Each remaining gate is on a cycle, or reads a gate that leads to one.
    let cycles = find_cycles(&reads, unresolved.iter().map(|&count| count == 0).collect());
    (order, cycles.iter().map(|cycle| cycle.iter().map(|&index| specs[index].name()).collect()).collect())
}

/// Finds cycles with a depth-first search: at least one of each strongly connected component that has any, and no two with a common gate.
/// `reads` has what each gate reads. Gates that are `visited` from the start are left out. Uses no recursion.
fn find_cycles(reads: &[Vec<usize>], mut visited: Vec<bool>) -> Vec<Vec<usize>> {
    let mut cycles: Vec<Vec<usize>> = Vec::new();
    let mut is_reported = vec![false; reads.len()];
    // The place of each gate on the current path.
    let mut places: Vec<Option<usize>> = vec![None; reads.len()];
    for start in 0..reads.len() {
        // The path from the start, and for each gate of it the reads that are still to be followed.
        let mut path: Vec<usize> = Vec::new();
        let mut unfollowed: Vec<std::slice::Iter<'_, usize>> = Vec::new();
        let mut next = Some(start);
        loop {
            if let Some(index) = next.filter(|&index| !visited[index]) {
                visited[index] = true;
                places[index] = Some(path.len());
                path.push(index);
                unfollowed.push(reads[index].iter());
            }
            let Some(reads) = unfollowed.last_mut() else { break };
            next = reads.next().copied();
            let Some(read) = next else {
                unfollowed.pop();
                if let Some(left) = path.pop() {
                    places[left] = None;
                }
                continue;
            };
            // A read of a gate on the path closes a cycle. One that shares a gate with a reported cycle is not reported: gates
            // that read each other in many ways would give very many.
            if let Some(place) = places[read] {
                let cycle = &path[place..];
                if cycle.iter().rev().all(|&index| !is_reported[index]) {
                    for &index in cycle {
                        is_reported[index] = true;
                    }
                    cycles.push(cycle.iter().copied().chain([read]).collect());
                }
            }
        }
    }
    cycles
}

/// Returns the gates whose limits a gate's formula reads.
fn gates_read_by(spec: &GateSpec) -> impl Iterator<Item = GateName> {
    spec.formula().operands().filter_map(|operand| match operand {
        Operand::Gate(gate) => Some(gate),
        Operand::Resource(_) => None,
    })
}

fn names(specs: &[GateSpec]) -> Vec<GateName> {
    specs.iter().map(GateSpec::name).collect()
}
