//! Strategies for property tests with [proptest](https://docs.rs/proptest): any host, any plan, any operator.
//!
//! A plan of your own, held to a promise on every host and whatever an operator sets:
//!
//! ```
//! use concurrency_governor::testing::strategies;
//! use concurrency_governor::{Formula, GateSpec, Plan, Resource};
//! use proptest::prelude::*;
//!
//! const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64).at_most(Resource::FD.fraction(1, 2)));
//! const UPLOADS: GateSpec = GateSpec::new("uploads", Formula::of(IO.fraction(1, 4)));
//!
//! let plan = Plan::new([IO, UPLOADS])?;
//! proptest!(|(host in strategies::host(), overrides in strategies::overrides([IO.name()]))| {
//!     // An operator's setting may be refused; what is granted keeps the promise.
//!     if let Ok(resolution) = plan.resolve(&host, &overrides) {
//!         prop_assert!(resolution.limit(UPLOADS)? <= resolution.limit(IO)?);
//!     }
//! });
//! # Ok::<(), concurrency_governor::plan::BuildError>(())
//! ```
//!
//! What they make is small and usual most of the time, and extreme often enough; it shrinks towards few parts and small
//! numbers. They need the feature `proptest`, and that crate's version 1.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};

use crate::plan::{
    Amount, Base, Formula, GateName, GateSpec, Limit, Measurement, Operand, OverrideLayer, Overrides, Plan,
    Policy, Quantity, Reading, Readings, Resource, Step,
};

/// The host's four resources as hosts have them: quotas of a tenth of a core up to a thousand cores, descriptors from
/// 16 up, memory from 16 MiB up; at times unlimited, unknown, not measured at all, or only a bound.
pub fn host() -> impl Strategy<Value = Readings> {
    let cores = prop_oneof![
        3 => (1_u64..=64).prop_map(Quantity::whole),
        2 => (100_u64..=8000).prop_map(Quantity::from_thousandths),
        1 => (1_u64..=1024).prop_map(Quantity::whole),
    ];
    let descriptors = prop_oneof![select(vec![1024, 4096, 65_536, 1 << 20]), 16_u64..=(1 << 30)];
    let mebibytes = prop_oneof![select(vec![256, 512, 4096, 16_384]), 16_u64..=(1 << 24)];
    let memory = mebibytes.prop_map(|mebibytes| Quantity::whole(mebibytes.saturating_mul(1 << 20)));
    (
        measured(Resource::CPU, cores),
        measured(Resource::FD, descriptors.prop_map(Quantity::whole)),
        measured(Resource::MEMORY, memory),
        measured(Resource::TASKS, (16_u64..=(1 << 22)).prop_map(Quantity::whole)),
    )
        .prop_map(|(cpu, fd, memory, tasks)| [cpu, fd, memory, tasks].into_iter().flatten().collect())
}

/// Measurements of these resources: each of any size, unlimited, unknown, or not there.
pub fn readings(resources: impl IntoIterator<Item = Resource>) -> impl Strategy<Value = Readings> {
    let measurements: Vec<_> = resources.into_iter().map(|resource| measured(resource, quantity())).collect();
    measurements.prop_map(|measurements| measurements.into_iter().flatten().collect())
}

/// A reading of any size, or unlimited, or unknown.
pub fn reading() -> impl Strategy<Value = Reading> {
    reading_of(quantity())
}

/// A quantity: small and whole, small and in thousandths, at an edge of a machine word, or any.
pub fn quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![
        4 => (0_u64..=256).prop_map(Quantity::whole),
        3 => (0_u64..=16_000).prop_map(Quantity::from_thousandths),
        2 => (0_u64..=1 << 20).prop_map(Quantity::whole),
        1 => edge().prop_map(Quantity::whole),
        1 => edge().prop_map(Quantity::from_thousandths),
        1 => any::<u64>().prop_map(Quantity::from_thousandths),
    ]
}

/// A limit: small, at an end of the range, or any.
pub fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        6 => 1_u32..=256,
        2 => 1..=Limit::MAX.get(),
        1 => select(vec![1, 1 << 29, Limit::MAX.get().saturating_sub(1), Limit::MAX.get()]),
    ]
    .prop_map(|limit| Limit::saturating(limit.into()))
}

/// A resource's name: a usual one or any.
pub fn resource() -> impl Strategy<Value = Resource> {
    let usual = select(vec![Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS]);
    prop_oneof![3 => usual, 1 => name().prop_filter_map(RESERVED, |name| name.parse().ok())]
}

/// A gate's name: a usual one or any.
pub fn gate_name() -> impl Strategy<Value = GateName> {
    let usual = select(vec!["io", "cache", "uploads", "blocking"]).prop_map(GateName::new);
    prop_oneof![3 => usual, 1 => name().prop_filter_map(RESERVED, |name| name.parse().ok())]
}

/// An amount of one of these operands: any factor, rounded or not, with or without something assumed.
///
/// # Panics
///
/// If there is no operand.
pub fn amount(operands: impl IntoIterator<Item = Operand>) -> impl Strategy<Value = Amount> {
    let operands = some(operands);
    amount_draft().prop_map(move |draft| draft.amount(&operands))
}

/// A formula over these operands, always a valid one: every base and step, up to [`Formula::MAX_STEPS`] of them.
///
/// # Panics
///
/// If there is no operand.
pub fn formula(operands: impl IntoIterator<Item = Operand>) -> impl Strategy<Value = Formula> {
    let operands = some(operands);
    formula_draft().prop_map(move |draft| draft.formula(&operands))
}

/// A declared gate whose formula reads some of these operands.
///
/// # Panics
///
/// If there is no operand.
pub fn gate_spec(operands: impl IntoIterator<Item = Operand>) -> impl Strategy<Value = GateSpec> {
    let operands = some(operands);
    gate_draft().prop_map(move |draft| draft.spec(&operands))
}

/// A plan of one to six gates over `cpu`, `fd` and `memory`, some of which read each other's limits; they are declared
/// in any order.
#[expect(clippy::missing_panics_doc, reason = "what is drafted is a plan")]
pub fn plan() -> impl Strategy<Value = Plan> {
    let gates = vec((gate_draft(), any::<u8>()), 1..=6);
    gates.prop_map(|drafts| {
        let mut operands: Vec<Operand> =
            [Resource::CPU, Resource::FD, Resource::MEMORY].map(Operand::Resource).to_vec();
        let mut names = BTreeSet::new();
        let mut specs = Vec::new();
        for (draft, place) in drafts {
            if names.insert(draft.name) {
                specs.push((place, draft.spec(&operands)));
                operands.push(Operand::Gate(draft.name));
            }
        }
        specs.sort_by_key(|(place, _)| *place);
        let specs = specs.into_iter().map(|(_, spec)| spec);
        Plan::new(specs).expect("each name stands once, and a gate reads only those made before it")
    })
}

/// Up to four layers of operators' settings of these gates, with any policy; one in three comes from the environment.
///
/// A plan that does not declare all of the gates refuses them.
pub fn overrides(gates: impl IntoIterator<Item = GateName>) -> impl Strategy<Value = Overrides> {
    let gates: Vec<GateName> = gates.into_iter().collect();
    vec(layer(gates), 0..=4).prop_map(|layers| layers.into_iter().fold(Overrides::new(), Overrides::then))
}

/// A policy.
pub fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![2 => Just(Policy::Trust), 1 => Just(Policy::Clamp), 1 => Just(Policy::Reject)]
}

fn layer(gates: Vec<GateName>) -> impl Strategy<Value = OverrideLayer> {
    let value = prop_oneof![
        4 => 0_usize..=300,
        1 => select(vec![0, 1, usize::MAX, Limit::MAX.get() as usize, 1 << 30]),
    ];
    let settings = vec(option::weighted(0.4, value), gates.len());
    let name = select(vec!["cli", "file", "env"]);
    (name, policy(), settings).prop_map(move |(name, policy, settings)| {
        let settings = gates.iter().copied().zip(settings).filter_map(|(gate, value)| Some((gate, value?)));
        let layer = match name {
            "env" => {
                let given: Vec<_> =
                    settings.map(|(gate, value)| (gate, format!("APP_{gate}"), value)).collect();
                let variables = given.iter().map(|(gate, variable, _)| (*gate, variable.as_str()));
                let lookup = |wanted: &str| {
                    let found = given.iter().find(|(_, variable, _)| variable == wanted);
                    found.map(|(_, _, value)| value.to_string().into())
                };
                OverrideLayer::env(variables, lookup).expect("each value is a number as it prints")
            }
            _ => settings.fold(OverrideLayer::new(name), |layer, (gate, value)| layer.set(gate, value)),
        };
        layer.policy(policy)
    })
}

fn measured(
    resource: Resource,
    quantity: impl Strategy<Value = Quantity>,
) -> impl Strategy<Value = Option<(Resource, Measurement)>> {
    let measurement = (reading_of(quantity), any::<u8>()).prop_map(|(reading, sure)| {
        let measurement = Measurement::new(reading);
        if sure < 200 { measurement } else { measurement.at_most() }
    });
    option::weighted(0.9, measurement.prop_map(move |measurement| (resource, measurement)))
}

fn reading_of(quantity: impl Strategy<Value = Quantity>) -> impl Strategy<Value = Reading> {
    prop_oneof![
        8 => quantity.prop_map(Reading::Finite),
        1 => Just(Reading::Unlimited),
        1 => Just(Reading::Unknown),
    ]
}

/// A number near a power of two, from 0 to `u64::MAX`.
fn edge() -> impl Strategy<Value = u64> {
    let power = (0_u32..=64).prop_map(|bit| 1_u64.checked_shl(bit).unwrap_or(u64::MAX));
    (power, 0_u64..=2).prop_map(|(power, beside)| power.saturating_sub(1).saturating_add(beside))
}

/// A number of 1 or more.
fn factor() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1_u64..=4,
        4 => 1_u64..=256,
        1 => edge().prop_map(|edge| edge.max(1)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    let further = || {
        let byte = (0_usize..39).prop_map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789_-."[at]));
        prop_oneof![4 => vec(byte.clone(), 0..=6), 1 => vec(byte, 0..=30)]
    };
    (b'a'..=b'z', further())
        .prop_map(|(first, further)| std::iter::once(char::from(first)).chain(further).collect())
}

const RESERVED: &str = "a word of the formula language";

fn some(operands: impl IntoIterator<Item = Operand>) -> Vec<Operand> {
    let operands: Vec<Operand> = operands.into_iter().collect();
    assert!(!operands.is_empty(), "an amount is taken of one operand or more, none was given");
    operands
}

// What the operands are is known only when a whole plan is put together: until then a draft holds an index of one. That
// keeps shrinking whole, which a dependent strategy (`prop_flat_map`) would cut short.

#[derive(Clone, Debug)]
struct AmountDraft {
    operand: Index,
    factor: FactorDraft,
    whole: bool,
    assumed: Option<Quantity>,
}

#[derive(Clone, Debug)]
enum FactorDraft {
    Times(u64),
    Fraction(u64, u64),
    Per(Quantity),
}

impl AmountDraft {
    fn amount(&self, operands: &[Operand]) -> Amount {
        let amount = match (*self.operand.get(operands), &self.factor) {
            (Operand::Resource(resource), FactorDraft::Times(n)) => resource.times(*n),
            (Operand::Resource(resource), FactorDraft::Fraction(n, d)) => resource.fraction(*n, *d),
            (Operand::Resource(resource), FactorDraft::Per(unit)) => resource.per(*unit),
            (Operand::Gate(gate), FactorDraft::Times(n)) => gate.times(*n),
            (Operand::Gate(gate), FactorDraft::Fraction(n, d)) => gate.fraction(*n, *d),
            (Operand::Gate(gate), FactorDraft::Per(unit)) => gate.per(*unit),
        };
        let amount = if self.whole { amount.whole() } else { amount };
        match self.assumed {
            Some(assumed) => amount.assume_quantity(assumed),
            None => amount,
        }
    }
}

fn amount_draft() -> impl Strategy<Value = AmountDraft> {
    let factor = prop_oneof![
        3 => factor().prop_map(FactorDraft::Times),
        3 => (factor(), factor()).prop_map(|(n, d)| FactorDraft::Fraction(n, d)),
        1 => quantity().prop_map(|unit| FactorDraft::Per(unit.max(Quantity::from_thousandths(1)))),
    ];
    (any::<Index>(), factor, any::<bool>(), option::weighted(0.4, quantity()))
        .prop_map(|(operand, factor, whole, assumed)| AmountDraft { operand, factor, whole, assumed })
}

#[derive(Clone, Debug)]
enum BaseDraft {
    Amount(AmountDraft),
    Fixed(Limit),
}

#[derive(Clone, Debug)]
enum StepDraft {
    Reserve(u64),
    Floor(Limit),
    Ceiling(Limit),
    AtMost(AmountDraft),
}

#[derive(Clone, Debug)]
struct FormulaDraft {
    base: BaseDraft,
    steps: Vec<StepDraft>,
}

impl FormulaDraft {
    /// The formula, without the steps that would contradict an earlier one.
    fn formula(&self, operands: &[Operand]) -> Formula {
        let base = match &self.base {
            BaseDraft::Amount(draft) => Base::Amount(draft.amount(operands)),
            BaseDraft::Fixed(limit) => Base::Fixed((*limit).into()),
        };
        let start = Formula::from_parts(base, []).expect("a base by itself contradicts nothing");
        self.steps.iter().fold(start, |formula, draft| {
            let step = match draft {
                StepDraft::Reserve(n) => Step::Reserve(*n),
                StepDraft::Floor(limit) => Step::Floor((*limit).into()),
                StepDraft::Ceiling(limit) => Step::Ceiling((*limit).into()),
                StepDraft::AtMost(draft) => Step::AtMost(draft.amount(operands)),
            };
            Formula::from_parts(base, formula.steps().chain([step])).unwrap_or(formula)
        })
    }
}

fn formula_draft() -> impl Strategy<Value = FormulaDraft> {
    let base = prop_oneof![
        6 => amount_draft().prop_map(BaseDraft::Amount),
        1 => limit().prop_map(BaseDraft::Fixed),
    ];
    let reserve = prop_oneof![6 => 0_u64..=16, 1 => edge()];
    let step = prop_oneof![
        2 => reserve.prop_map(StepDraft::Reserve),
        2 => limit().prop_map(StepDraft::Floor),
        2 => limit().prop_map(StepDraft::Ceiling),
        3 => amount_draft().prop_map(StepDraft::AtMost),
    ];
    // More are drafted than fit, since some are left out.
    let steps = prop_oneof![6 => vec(step.clone(), 0..=4), 1 => vec(step, 0..=2 * Formula::MAX_STEPS)];
    (base, steps).prop_map(|(base, steps)| FormulaDraft { base, steps })
}

#[derive(Clone, Debug)]
struct GateDraft {
    name: GateName,
    formula: FormulaDraft,
    queue: Option<usize>,
    max_wait: Option<Duration>,
    policy: Policy,
}

impl GateDraft {
    fn spec(&self, operands: &[Operand]) -> GateSpec {
        let spec = GateSpec::named(self.name, self.formula.formula(operands)).policy(self.policy);
        let spec = self.queue.map_or(spec, |bound| spec.queue(bound));
        self.max_wait.map_or(spec, |duration| spec.max_wait(duration))
    }
}

fn gate_draft() -> impl Strategy<Value = GateDraft> {
    let queue = option::weighted(0.3, 0_usize..=1000);
    let max_wait = option::weighted(0.3, (0_u64..=60_000).prop_map(Duration::from_millis));
    (gate_name(), formula_draft(), queue, max_wait, policy()).prop_map(
        |(name, formula, queue, max_wait, policy)| GateDraft { name, formula, queue, max_wait, policy },
    )
}
