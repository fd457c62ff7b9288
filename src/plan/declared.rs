//! A plan: the declared gates, checked as a whole, and resolved against readings and overrides.

use std::collections::{BTreeMap, BTreeSet};

use super::amount::Operand;
use super::derivation::Derivation;
use super::error::{BuildError, Problem};
use super::limit::Limit;
use super::name::GateName;
use super::overrides::Overrides;
use super::reading::{Reading, Readings};
use super::resolution::{Explanation, Resolution};
use super::spec::GateSpec;

/// The declared gates, checked as a whole.
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
    places: Places,
    /// Places in `specs`, each after those whose limits its formula reads.
    order: Vec<usize>,
}

impl Plan {
    /// Checks the gates as a whole.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem: no gate at all, a name declared twice, a formula that reads a gate that is
    /// not declared, formulas that read each other in a circle.
    pub fn new(specs: impl IntoIterator<Item = GateSpec>) -> Result<Self, BuildError> {
        let specs: Vec<GateSpec> = specs.into_iter().collect();
        let places: Places = specs.iter().map(GateSpec::name).zip(0..).collect();
        let mut problems = name_problems(&specs, &places);
        let (order, circles) = order(&specs, &places);
        problems.extend(circles.into_iter().map(|circle| Problem::Cycle { circle }));
        BuildError::check(problems)?;
        Ok(Self { specs, places, order })
    }

    /// The gates, as declared.
    pub fn specs(&self) -> &[GateSpec] {
        &self.specs
    }

    /// Derives each gate's limit from the readings, and applies the overrides. A formula that reads another gate's
    /// limit gets the one after its override.
    ///
    /// Pure: the same input gives the same resolution.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem: a layer that sets a gate which is not declared, a setting above the derived
    /// limit where the [policy](super::Policy) is to reject it.
    pub fn resolve(&self, readings: &Readings, overrides: &Overrides) -> Result<Resolution, BuildError> {
        let mut problems = Self::override_problems(&self.specs, overrides);
        let mut decided: Vec<Option<Result<Explanation, Problem>>> = vec![None; self.specs.len()];
        let mut limits = vec![Limit::MIN; self.specs.len()];
        for &place in &self.order {
            let spec = &self.specs[place];
            let derivation = Derivation::of(spec.formula(), |operand| match operand {
                Operand::Resource(resource) => readings.reading(resource),
                Operand::Gate(gate) => Reading::whole(limits[self.places[&gate]].into()),
            });
            let derived = derivation.limit();
            let decision = Explanation::decide(spec, derivation, overrides);
            // Where a setting is rejected, those that read the gate are judged by the most that is allowed.
            limits[place] = decision.as_ref().map_or(derived, Explanation::limit);
            decided[place] = Some(decision);
        }
        let mut explanations = Vec::with_capacity(decided.len());
        for decision in decided.into_iter().flatten() {
            match decision {
                Ok(explanation) => explanations.push(explanation),
                Err(problem) => problems.push(problem),
            }
        }
        BuildError::check(problems)?;
        Ok(Resolution::new(explanations, readings.clone()))
    }

    /// A problem for each setting of a gate that is not declared.
    pub(crate) fn override_problems(specs: &[GateSpec], overrides: &Overrides) -> Vec<Problem> {
        let declared: BTreeSet<GateName> = specs.iter().map(GateSpec::name).collect();
        let settings = overrides.layers().iter().flat_map(super::OverrideLayer::origins);
        settings
            .filter(|(gate, _)| !declared.contains(gate))
            .map(|(gate, origin)| Problem::UnknownOverride { gate, origin, known: names(specs) })
            .collect()
    }
}

/// Where each gate stands in the declaration; of one declared twice, the last place.
type Places = BTreeMap<GateName, usize>;

fn name_problems(specs: &[GateSpec], places: &Places) -> Vec<Problem> {
    let mut problems = Vec::new();
    if specs.is_empty() {
        problems.push(Problem::NoGates);
    }
    let mut times: BTreeMap<GateName, usize> = BTreeMap::new();
    for gate in names(specs) {
        let times = times.entry(gate).or_default();
        *times = times.saturating_add(1);
    }
    for gate in names(specs) {
        if let Some(times) = times.remove(&gate).filter(|times| *times > 1) {
            problems.push(Problem::DuplicateGate { gate, times });
        }
    }
    for spec in specs {
        for reads in gates_read_by(spec).filter(|reads| !places.contains_key(reads)) {
            problems.push(Problem::UnknownOperand { gate: spec.name(), reads, known: names(specs) });
        }
    }
    problems
}

/// Orders the gates so that each comes after those whose limits it reads; what is left over is on a circle or reads
/// one. Returns the order and the circles.
fn order(specs: &[GateSpec], places: &Places) -> (Vec<usize>, Vec<Vec<GateName>>) {
    let reads: Vec<Vec<usize>> = specs
        .iter()
        .map(|spec| gates_read_by(spec).filter_map(|gate| places.get(&gate).copied()).collect())
        .collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); specs.len()];
    let mut missing: Vec<usize> = reads.iter().map(Vec::len).collect();
    for (place, reads) in reads.iter().enumerate() {
        for &read in reads {
            readers[read].push(place);
        }
    }
    let mut order: Vec<usize> = (0..specs.len()).filter(|&place| missing[place] == 0).collect();
    let mut next = 0;
    while let Some(&place) = order.get(next) {
        next = next.saturating_add(1);
        for &reader in &readers[place] {
            missing[reader] = missing[reader].saturating_sub(1);
            if missing[reader] == 0 {
                order.push(reader);
            }
        }
    }

    let mut circles = Vec::new();
    let mut seen: Vec<bool> = missing.iter().map(|&missing| missing == 0).collect();
    for start in 0..specs.len() {
        let mut path: Vec<usize> = Vec::new();
        let mut at = Some(start);
        while let Some(place) = at.filter(|&place| !seen[place]) {
            seen[place] = true;
            path.push(place);
            at = reads[place].iter().copied().find(|&read| missing[read] > 0);
        }
        if let Some(first) = at.and_then(|place| path.iter().position(|&on_path| on_path == place)) {
            let circle = path[first..].iter().chain(at.iter());
            circles.push(circle.map(|&place| specs[place].name()).collect());
        }
    }
    (order, circles)
}

fn gates_read_by(spec: &GateSpec) -> impl Iterator<Item = GateName> {
    spec.formula().operands().filter_map(|operand| match operand {
        Operand::Gate(gate) => Some(gate),
        Operand::Resource(_) => None,
    })
}

fn names(specs: &[GateSpec]) -> Vec<GateName> {
    specs.iter().map(GateSpec::name).collect()
}
