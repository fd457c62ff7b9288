//! A model of plans: any bytes become gates, readings and settings. Their resolution is checked against the oracle, and
//! against the laws that compare two resolutions.

use std::collections::BTreeSet;

use concurrency_governor::plan::{Base, Operand, Policy, Problem, Step};
use concurrency_governor::{
    Amount, Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Quantity, Reading, Readings,
    Resource,
};

use super::resolution;

const RESOURCES: [Resource; 3] = [Resource::CPU, Resource::FD, Resource::MEMORY];
const GATES: [GateName; 6] = [
    GateName::new("a"),
    GateName::new("b"),
    GateName::new("c"),
    GateName::new("d"),
    GateName::new("e"),
    GateName::new("f"),
];

/// Decodes `bytes` as a plan, a host and settings. Panics if a law is broken.
pub(crate) fn check_bytes(bytes: &[u8]) {
    let mut input = PlanBytes(bytes);
    let count = 1 + input.below(GATES.len());
    let specs: Vec<GateSpec> = GATES[..count].iter().map(|gate| input.spec(*gate, count)).collect();

    // A plan is rejected exactly if gates read each other in a cycle.
    let plan = match Plan::new(specs.iter().copied()) {
        Ok(plan) => plan,
        Err(error) => {
            let mut reported: BTreeSet<GateName> = BTreeSet::new();
            for problem in error.problems() {
                let Problem::Cycle { circle } = problem else { panic!("unexpected problem: {problem}") };
                assert!(circle.len() > 1 && circle.first() == circle.last(), "{problem}");
                assert!(
                    circle.windows(2).all(|pair| gates_read_by(&specs, pair[0]).contains(&pair[1])),
                    "{problem}"
                );
                reported.extend(circle);
            }
            // No cycle remains that has nothing to do with a reported one.
            let on_cycles = gates_on_cycles(&specs);
            assert!(!on_cycles.is_empty(), "{error}");
            let reach_each_other = |one: GateName, other: GateName| {
                gates_reached(&specs, one).contains(&other) && gates_reached(&specs, other).contains(&one)
            };
            for gate in on_cycles {
                assert!(reported.iter().any(|known| reach_each_other(gate, *known)), "{gate}: {error}");
            }
            return;
        }
    };
    assert_eq!(gates_on_cycles(&specs), BTreeSet::new());

    let readings: Readings =
        RESOURCES.into_iter().map(|resource| (resource, input.reading().into())).collect();
    let overrides = (0..input.below(4)).fold(Overrides::new(), |overrides, _| overrides.then(input.layer()));
    resolution::check(&plan, &readings, &overrides);

    // The oracle does not depend on the order of declaration.
    let reversed = Plan::new(specs.iter().rev().copied()).unwrap();
    resolution::check(&reversed, &readings, &overrides);

    // More of a resource never lowers a limit, and causes no rejection.
    let resource = RESOURCES[input.below(RESOURCES.len())];
    let Some(more) = greater_of(readings.reading(resource), input.reading()) else { return };
    let more = readings.clone().with(resource, more);
    resolution::check(&plan, &more, &overrides);
    let Ok(before) = plan.resolve(&readings, &overrides) else { return };
    let after = plan.resolve(&more, &overrides).unwrap();
    for (before, after) in before.explanations().iter().zip(after.explanations()) {
        assert!(before.limit() <= after.limit(), "more {resource} lowered a limit:\n{before:#}\n{after:#}");
    }
}

/// Returns the greater of two readings, if they can be compared.
fn greater_of(one: Reading, other: Reading) -> Option<Reading> {
    match (one, other) {
        (Reading::Finite(one), Reading::Finite(other)) => Some(one.max(other).into()),
        (Reading::Unknown, _) | (_, Reading::Unknown) => None,
        _ => Some(Reading::Unlimited),
    }
}

/// Returns the gates that a gate's formula reads.
fn gates_read_by(specs: &[GateSpec], gate: GateName) -> BTreeSet<GateName> {
    let spec = specs.iter().find(|spec| spec.name() == gate).unwrap();
    let gates = spec.formula().operands().filter_map(|operand| match operand {
        Operand::Gate(gate) => Some(gate),
        _ => None,
    });
    gates.collect()
}

/// Returns the gates that a gate reads, directly or through others.
fn gates_reached(specs: &[GateSpec], gate: GateName) -> BTreeSet<GateName> {
    let mut reached = gates_read_by(specs, gate);
    for _ in specs {
        let further: Vec<_> = reached.iter().flat_map(|gate| gates_read_by(specs, *gate)).collect();
        reached.extend(further);
    }
    reached
}

/// Returns the gates that read themselves, directly or through others.
fn gates_on_cycles(specs: &[GateSpec]) -> BTreeSet<GateName> {
    let reaches_itself = |gate: &GateName| gates_reached(specs, *gate).contains(gate);
    specs.iter().map(GateSpec::name).filter(reaches_itself).collect()
}

/// Bytes that are decoded as choices. 0 once they are used up.
struct PlanBytes<'b>(&'b [u8]);

impl PlanBytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    /// Returns a number: usually small, sometimes near a power of two, sometimes any.
    fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=159 => small.into(),
            160..=199 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            edge @ 200..=239 => {
                let power = 1_u64.checked_shl(u32::from(self.byte()) % 65).unwrap_or(u64::MAX);
                power.saturating_sub(1).saturating_add(u64::from(edge) % 3)
            }
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    fn quantity(&mut self) -> Quantity {
        let number = self.number();
        if self.below(2) == 0 { Quantity::whole(number) } else { Quantity::from_thousandths(number) }
    }

    fn reading(&mut self) -> Reading {
        match self.below(8) {
            0 => Reading::Unknown,
            1 => Reading::Unlimited,
            _ => self.quantity().into(),
        }
    }

    /// Returns a resource, an earlier gate, or rarely a later gate or the gate itself.
    fn operand(&mut self, earlier: usize, count: usize) -> Operand {
        match self.byte() {
            byte @ 128..=249 if earlier > 0 => Operand::Gate(GATES[usize::from(byte) % earlier]),
            byte @ 250.. => Operand::Gate(GATES[usize::from(byte) % count]),
            byte => Operand::Resource(RESOURCES[usize::from(byte) % RESOURCES.len()]),
        }
    }

    fn amount(&mut self, earlier: usize, count: usize) -> Amount {
        let operand = self.operand(earlier, count);
        let (shape, n, d) = (self.byte(), self.number().max(1), self.number().max(1));
        let unit = Quantity::from_thousandths(n);
        let amount = match (operand, shape % 3) {
            (Operand::Resource(resource), 0) => resource.times(n),
            (Operand::Resource(resource), 1) => resource.fraction(n, d),
            (Operand::Resource(resource), _) => resource.per(unit),
            (Operand::Gate(gate), 0) => gate.times(n),
            (Operand::Gate(gate), 1) => gate.fraction(n, d),
            (Operand::Gate(gate), _) => gate.per(unit),
            (other, _) => panic!("unexpected operand: {other}"),
        };
        let amount = if shape & 64 == 0 { amount } else { amount.whole() };
        if shape & 128 == 0 { amount } else { amount.assume_quantity(self.quantity()) }
    }

    /// Returns a formula. Leaves out each step that contradicts an earlier one.
    fn formula(&mut self, earlier: usize, count: usize) -> Formula {
        let limit = |number: u64| u64::from(Limit::saturating(number));
        let base = match self.below(8) {
            0 => Base::Fixed(limit(self.number())),
            _ => Base::Amount(self.amount(earlier, count)),
        };
        let start = Formula::from_parts(base, []).unwrap();
        (0..self.below(10)).fold(start, |formula, _| {
            let step = match self.below(4) {
                0 => Step::Reserve(self.number()),
                1 => Step::Floor(limit(self.number())),
                2 => Step::Ceiling(limit(self.number())),
                _ => Step::AtMost(self.amount(earlier, count)),
            };
            Formula::from_parts(base, formula.steps().chain([step])).unwrap_or(formula)
        })
    }

    fn spec(&mut self, gate: GateName, count: usize) -> GateSpec {
        let earlier = GATES.iter().position(|known| *known == gate).unwrap();
        let policy = self.policy();
        GateSpec::named(gate, self.formula(earlier, count)).policy(policy)
    }

    fn policy(&mut self) -> Policy {
        [Policy::Trust, Policy::Trust, Policy::Clamp, Policy::Reject][self.below(4)]
    }

    fn layer(&mut self) -> OverrideLayer {
        let layer = OverrideLayer::new(["cli", "file", "env"][self.below(3)]).policy(self.policy());
        (0..self.below(4)).fold(layer, |layer, _| {
            // The plan may not declare this gate.
            let gate = GATES[self.below(GATES.len())];
            layer.set(gate, usize::try_from(self.number()).unwrap_or(usize::MAX))
        })
    }
}
