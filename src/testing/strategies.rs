//! Strategies for property tests with [proptest](https://docs.rs/proptest): any host, any plan, any settings.
//!
//! A test that checks a promise of your own plan on every host, with any setting of an operator:
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
//!     // The policy may reject an operator's setting. Each resolution keeps the promise.
//!     if let Ok(resolution) = plan.resolve(&host, &overrides) {
//!         prop_assert!(resolution.limit(UPLOADS)? <= resolution.limit(IO)?);
//!     }
//! });
//! # Ok::<(), concurrency_governor::plan::BuildError>(())
//! ```
//!
//! The generated values are mostly small and usual, and sometimes extreme. They shrink towards few parts and small numbers.
//! The module needs the feature `proptest`, and version 1 of that crate.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};

use crate::plan::{
    Adaptive, Amount, Base, Formula, GateName, GateSpec, Keys, Limit, Measurement, Operand, OverrideLayer,
    Overrides, Part, Plan, Policy, Quantity, Reading, Readings, Resource, Shed, Step,
};

/// Generates the readings of a realistic host, for the four built-in resources.
///
/// CPU ranges from a quota of a tenth of a core to 1024 cores. There are at least 16 descriptors and 16 MiB of memory. A
/// resource is sometimes unlimited, unknown, not measured, or measured only as an upper bound.
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

/// Generates measurements of these resources: each of any size, unlimited, unknown, or absent.
pub fn readings(resources: impl IntoIterator<Item = Resource>) -> impl Strategy<Value = Readings> {
    let measurements: Vec<_> = resources.into_iter().map(|resource| measured(resource, quantity())).collect();
    measurements.prop_map(|measurements| measurements.into_iter().flatten().collect())
}

/// Generates a reading of any size, or unlimited, or unknown.
pub fn reading() -> impl Strategy<Value = Reading> {
    reading_of(quantity())
}

/// Generates a quantity: small and whole, small in thousandths, near a power of two, or any.
pub fn quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![
        4 => (0_u64..=256).prop_map(Quantity::whole),
        3 => (0_u64..=16_000).prop_map(Quantity::from_thousandths),
        2 => (0_u64..=1 << 20).prop_map(Quantity::whole),
        1 => edge().prop_map(Quantity::whole),
        1 => edge().prop_map(Quantity::from_thousandths),
        1 => any::<u64>().prop_map(Quantity::from_thousandths),
    ]
    .sboxed()
}

/// Generates a limit: small, at an end of the range, or any.
pub fn limit() -> impl Strategy<Value = Limit> {
    prop_oneof![
        6 => 1_u32..=256,
        2 => 1..=Limit::MAX.get(),
        1 => select(vec![1, 1 << 29, Limit::MAX.get().saturating_sub(1), Limit::MAX.get()]),
    ]
    .prop_map(|limit| Limit::saturating(limit.into()))
    .sboxed()
}

/// Generates a resource: a built-in one, or one with any name.
pub fn resource() -> impl Strategy<Value = Resource> {
    let usual = select(vec![Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS]);
    prop_oneof![3 => usual, 1 => name().prop_filter_map(RESERVED, |name| name.parse().ok())]
}

/// Generates the name of a gate: a usual one or any.
pub fn gate_name() -> impl Strategy<Value = GateName> {
    let usual = select(vec!["io", "cache", "uploads", "blocking"]).prop_map(GateName::new);
    prop_oneof![3 => usual, 1 => name().prop_filter_map(RESERVED, |name| name.parse().ok())]
}

/// Generates an amount of one of these operands: with any factor, with or without rounding, with or without an assumed
/// value.
///
/// # Panics
///
/// If `operands` is empty.
pub fn amount(operands: impl IntoIterator<Item = Operand>) -> impl Strategy<Value = Amount> {
    let operands = at_least_one(operands);
    amount_draft().prop_map(move |draft| draft.amount(&operands))
}

/// Generates a valid formula over these operands, with any base and up to [`Formula::MAX_STEPS`] steps.
///
/// # Panics
///
/// If `operands` is empty.
pub fn formula(operands: impl IntoIterator<Item = Operand>) -> impl Strategy<Value = Formula> {
    let operands = at_least_one(operands);
    formula_draft().prop_map(move |draft| draft.formula(&operands))
}

/// Generates a part of a limit.
pub fn part() -> impl Strategy<Value = Part> {
    let number = || prop_oneof![3 => 1_u32..=8, 1 => 1_u32..=u32::MAX];
    (number(), number()).prop_map(|(one, other)| {
        let (numerator, denominator) = (one.min(other), one.max(other));
        Part::try_of(numerator, denominator).unwrap_or(Part::WHOLE) // always valid
    })
}

/// Generates the declaration of a gate's keys: with any number of keys, any cap, and with or without a bound of their queues.
pub fn keys() -> impl Strategy<Value = Keys> {
    let max = prop_oneof![4 => 1_u32..=8, 1 => 1_u32..=u32::MAX];
    let queue = prop_oneof![4 => 0_usize..=1000, 1 => any::<usize>()];
    (max, part(), option::weighted(0.4, queue))
        .prop_map(|(max, cap, queue)| {
            let keys = Keys::up_to(max).cap(cap);
            queue.map_or(keys, |bound| keys.queue(bound))
        })
        .sboxed()
}

/// Generates the declaration of a gate whose formula reads some of these operands. The gate is within no other, and may have
/// keys.
///
/// # Panics
///
/// If `operands` is empty.
pub fn gate_spec(operands: impl IntoIterator<Item = Operand>) -> impl Strategy<Value = GateSpec> {
    let operands = at_least_one(operands);
    gate_draft().prop_map(move |draft| draft.spec(&operands))
}

/// Generates a plan of one to six gates over `cpu`, `fd` and `memory`, declared in any order. Some of the gates read the
/// limits of others.
///
/// Some gates are within others, with or without a weight, up to 4 levels deep. The gates of each level may have keys. The gates that a
/// formula reads are independent of the parent of its gate. A child may be declared before its parent.
#[expect(clippy::missing_panics_doc, reason = "the drafts always give a valid plan")]
pub fn plan() -> impl Strategy<Value = Plan> {
    let gates = vec((gate_draft(), child_draft(), any::<u8>()), 1..=6);
    gates.prop_map(|drafts| {
        let mut operands: Vec<Operand> =
            [Resource::CPU, Resource::FD, Resource::MEMORY].map(Operand::Resource).to_vec();
        let mut names = BTreeSet::new();
        // The gates that may be parents, each with its level.
        let mut parents: Vec<(GateName, usize)> = Vec::new();
        let mut specs = Vec::new();
        for (draft, child, place) in drafts {
            if names.insert(draft.name) {
                let (spec, level) = child.place(&draft.spec(&operands), &parents);
                specs.push((place, spec));
                operands.push(Operand::Gate(draft.name));
                if level < MAX_LEVEL {
                    parents.push((draft.name, level));
                }
            }
        }
        specs.sort_by_key(|(place, _)| *place);
        let specs = specs.into_iter().map(|(_, spec)| spec);
        Plan::new(specs).expect(
            "the names are unique, and a gate reads and is within only gates that were drafted before it",
        )
    })
}

/// Generates up to four layers of operators' settings for these gates, with any policy. One layer in three comes from the
/// environment.
///
/// A plan that does not declare all of the gates rejects the settings.
pub fn overrides(gates: impl IntoIterator<Item = GateName>) -> impl Strategy<Value = Overrides> {
    let gates: Vec<GateName> = gates.into_iter().collect();
    vec(layer(gates), 0..=4).prop_map(|layers| layers.into_iter().fold(Overrides::new(), Overrides::then))
}

/// Generates a policy.
pub fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![2 => Just(Policy::Trust), 1 => Just(Policy::Clamp), 1 => Just(Policy::Reject)]
}

/// Generates one layer of settings.
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
                OverrideLayer::env(variables, lookup).expect("each value is a printed number")
            }
            _ => settings.fold(OverrideLayer::new(name), |layer, (gate, value)| layer.set(gate, value)),
        };
        layer.policy(policy)
    })
}

/// Generates a measurement of a resource, or sometimes none.
fn measured(
    resource: Resource,
    quantity: impl Strategy<Value = Quantity>,
) -> impl Strategy<Value = Option<(Resource, Measurement)>> {
    let measurement = (reading_of(quantity), any::<u8>()).prop_map(|(reading, byte)| {
        let measurement = Measurement::new(reading);
        // About four in five are exact.
        if byte < 200 { measurement } else { measurement.at_most() }
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

/// Generates a number near a power of two, from 0 to `u64::MAX`.
fn edge() -> impl Strategy<Value = u64> {
    let power = (0_u32..=64).prop_map(|bit| 1_u64.checked_shl(bit).unwrap_or(u64::MAX));
    (power, 0_u64..=2).prop_map(|(power, offset)| power.saturating_sub(1).saturating_add(offset))
}

/// Generates a number of at least 1.
fn factor() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1_u64..=4,
        4 => 1_u64..=256,
        1 => edge().prop_map(|edge| edge.max(1)),
    ]
    .sboxed()
}

/// Generates a text that follows the grammar of names. It may still be a reserved word.
fn name() -> impl Strategy<Value = String> {
    let character =
        (0_usize..39).prop_map(|index| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789_-."[index]));
    let rest = prop_oneof![4 => vec(character.clone(), 0..=6), 1 => vec(character, 0..=30)];
    (b'a'..=b'z', rest).prop_map(|(first, rest)| std::iter::once(char::from(first)).chain(rest).collect())
}

/// The reason by which proptest reports a name that it filters out.
const RESERVED: &str = "a reserved word of the formula language";

/// Collects the operands of an amount.
///
/// # Panics
///
/// If there is none.
fn at_least_one(operands: impl IntoIterator<Item = Operand>) -> Vec<Operand> {
    let operands: Vec<Operand> = operands.into_iter().collect();
    assert!(!operands.is_empty(), "an amount needs at least one operand, but none was given");
    operands
}

// A draft is a value whose operands are not known yet: until a whole plan is assembled, it holds an index into them. A
// dependent strategy (`prop_flat_map`) would not need drafts, but it shrinks less well.
//
// Drafts, quantities and limits are boxed. The value tree of `prop_oneof!` holds the trees of all its alternatives inline,
// so nested unions would grow to many kilobytes, and a debug build copies them at each level.

/// An [`Amount`] without its operand.
#[derive(Clone, Debug)]
struct AmountDraft {
    operand: Index,
    factor: FactorDraft,
    whole: bool,
    assumed: Option<Quantity>,
}

/// The factor of an amount.
#[derive(Clone, Debug)]
enum FactorDraft {
    Times(u64),
    Fraction(u64, u64),
    Per(Quantity),
}

impl AmountDraft {
    /// Builds the amount of the drafted operand.
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
        .sboxed()
}

/// A [`Base`] without its operand.
#[derive(Clone, Debug)]
enum BaseDraft {
    Amount(AmountDraft),
    Fixed(Limit),
}

/// A [`Step`] without its operand.
#[derive(Clone, Debug)]
enum StepDraft {
    Reserve(u64),
    Floor(Limit),
    Ceiling(Limit),
    AtMost(AmountDraft),
}

/// A [`Formula`] without its operands. Its steps may contradict each other.
#[derive(Clone, Debug)]
struct FormulaDraft {
    base: BaseDraft,
    steps: Vec<StepDraft>,
}

impl FormulaDraft {
    /// Builds the formula. Leaves out each step that contradicts an earlier one.
    fn formula(&self, operands: &[Operand]) -> Formula {
        let base = match &self.base {
            BaseDraft::Amount(draft) => Base::Amount(draft.amount(operands)),
            BaseDraft::Fixed(limit) => Base::Fixed((*limit).into()),
        };
        let start = Formula::from_parts(base, []).expect("a drafted base is valid");
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
    ]
    .sboxed();
    // Some of these steps are left out, so more are drafted than a formula can have.
    let steps = prop_oneof![6 => vec(step.clone(), 0..=4), 1 => vec(step, 0..=2 * Formula::MAX_STEPS)];
    (base, steps).prop_map(|(base, steps)| FormulaDraft { base, steps }).sboxed()
}

/// A [`GateSpec`] without the operands of its formula.
#[derive(Clone, Debug)]
struct GateDraft {
    name: GateName,
    formula: FormulaDraft,
    queue: Option<usize>,
    max_wait: Option<Duration>,
    shed: Option<Shed>,
    policy: Policy,
    keys: Option<Keys>,
    adaptive: Option<Adaptive>,
}

impl GateDraft {
    /// Builds the declaration.
    fn spec(&self, operands: &[Operand]) -> GateSpec {
        let spec = GateSpec::named(self.name, self.formula.formula(operands)).policy(self.policy);
        let spec = self.queue.map_or(spec, |bound| spec.queue(bound));
        let spec = self.max_wait.map_or(spec, |duration| spec.max_wait(duration));
        let spec = self.shed.map_or(spec, |shed| spec.shed(shed));
        let spec = self.adaptive.map_or(spec, |adaptive| spec.adaptive(adaptive));
        self.keys.map_or(spec, |keys| spec.keyed(keys))
    }
}

fn gate_draft() -> impl Strategy<Value = GateDraft> {
    let queue = option::weighted(0.3, 0_usize..=1000);
    let max_wait = option::weighted(0.3, (0_u64..=60_000).prop_map(Duration::from_millis));
    let shed = option::weighted(0.2, (1_u64..=10_000).prop_map(Duration::from_millis).prop_map(Shed::after));
    let adaptive = option::weighted(0.2, adaptive());
    (gate_name(), formula_draft(), queue, max_wait, shed, policy(), option::weighted(0.2, keys()), adaptive)
        .prop_map(|(name, formula, queue, max_wait, shed, policy, keys, adaptive)| GateDraft {
            name,
            formula,
            queue,
            max_wait,
            shed,
            policy,
            keys,
            // A gate with a longer name cannot be adaptive: the name of its resource `feedback.<gate>` would be too long.
            adaptive: adaptive.filter(|_| Resource::feedback(name).is_some()),
        })
        .sboxed()
}

/// Generates an adaptive limit, with one of the built-in rules.
fn adaptive() -> impl Strategy<Value = Adaptive> {
    let healthy = (1_u64..=10_000).prop_map(|millis| Adaptive::aimd(Duration::from_millis(millis)));
    let rule = prop_oneof![Just(Adaptive::latency()), Just(Adaptive::arc()), healthy];
    (rule, 1_u32..=200, 1_u32..=20)
        .prop_map(|(adaptive, start, floor)| adaptive.start(start).floor(floor))
        .sboxed()
}

/// The place of a gate among the other gates of its plan. It shrinks towards a gate that is within no other.
#[derive(Clone, Debug)]
struct ChildDraft {
    parent: Option<Index>,
    weight: Option<u32>,
}

impl ChildDraft {
    /// Puts the gate within one of these gates, if there is any and the draft has a parent. Returns its level: 1 for a root.
    fn place(&self, spec: &GateSpec, parents: &[(GateName, usize)]) -> (GateSpec, usize) {
        let Some(index) = self.parent.filter(|_| !parents.is_empty()) else { return (*spec, 1) };
        let (parent, level) = *index.get(parents);
        let spec = spec.within_named(parent);
        (self.weight.map_or(spec, |weight| spec.weight(weight)), level.saturating_add(1))
    }
}

fn child_draft() -> impl Strategy<Value = ChildDraft> {
    let weight = prop_oneof![4 => 1_u32..=8, 1 => 1_u32..=GateSpec::MAX_WEIGHT];
    (option::weighted(0.6, any::<Index>()), option::weighted(0.5, weight))
        .prop_map(|(parent, weight)| ChildDraft { parent, weight })
        .sboxed()
}

/// The deepest level of a generated gate. Deeper trees have no further kinds of relatives.
const MAX_LEVEL: usize = 4;
