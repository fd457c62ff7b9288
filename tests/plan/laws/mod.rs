//! The laws of the pure core, checked on thousands of generated plans, hosts and settings.

mod coverage;
mod explanations;
mod hierarchy;
mod limits;
mod overrides;
mod text;

use concurrency_governor::plan::{Derivation, Operand};
use concurrency_governor::testing::strategies;
use concurrency_governor::{
    Amount, Formula, GateName, GateSpec, Overrides, Plan, Reading, Readings, Resolution, Resource,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_oneof};

use crate::model::oracle;

const GATE: GateName = GateName::new("io");
const RESOURCES: [Resource; 3] = [Resource::CPU, Resource::FD, Resource::MEMORY];

/// 2048 cases for each law. A failed case is printed, not stored in a file.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() }
}

// Strategies

/// Generates a formula over the three resources.
fn formula() -> impl Strategy<Value = Formula> {
    strategies::formula(RESOURCES.map(Operand::Resource))
}

/// Generates an amount of a resource.
fn amount(resource: Resource) -> impl Strategy<Value = Amount> {
    strategies::amount([Operand::Resource(resource)])
}

/// Generates a host: realistic, or with readings of any size.
fn host() -> impl Strategy<Value = Readings> {
    prop_oneof![1 => strategies::host(), 3 => strategies::readings(RESOURCES)]
}

/// Generates two hosts, the second with at least as much of each resource. A resource is unknown on both or on none.
fn two_hosts() -> impl Strategy<Value = (Readings, Readings)> {
    let pair = || {
        (strategies::reading(), strategies::reading()).prop_map(|pair| match pair {
            (Reading::Unknown, _) | (_, Reading::Unknown) => (Reading::Unknown, Reading::Unknown),
            (Reading::Unlimited, less) => (less, Reading::Unlimited),
            (Reading::Finite(one), Reading::Finite(other)) => (one.min(other).into(), one.max(other).into()),
            pair => pair,
        })
    };
    [pair(), pair(), pair()].prop_map(|pairs| {
        let less = RESOURCES.into_iter().zip(pairs).map(|(resource, (less, _))| (resource, less.into()));
        let more = RESOURCES.into_iter().zip(pairs).map(|(resource, (_, more))| (resource, more.into()));
        (less.collect(), more.collect())
    })
}

/// Generates a plan and settings of its gates. In one case of eight the settings may include an unknown gate.
fn overridden_plan() -> impl Strategy<Value = (Plan, Overrides)> {
    (strategies::plan(), 0..8_u8).prop_flat_map(|(plan, unknown)| {
        let gates: Vec<GateName> = plan.specs().iter().map(GateSpec::name).collect();
        let gates = gates.into_iter().chain((unknown == 7).then(|| GateName::new("not-declared")));
        let overrides = prop_oneof![1 => Just(Overrides::new()), 3 => strategies::overrides(gates)];
        (Just(plan), overrides)
    })
}

// Evaluation

/// Builds a plan of one gate with this formula.
fn plan_of(formula: &Formula) -> Plan {
    Plan::new([GateSpec::named(GATE, *formula)]).unwrap()
}

fn resolve(formula: &Formula, readings: &Readings) -> Resolution {
    plan_of(formula).resolve(readings, &Overrides::new()).unwrap()
}

fn derivation(formula: &Formula, readings: &Readings) -> Derivation {
    resolve(formula, readings).explain(GATE).unwrap().derivation().clone()
}

fn limit(formula: &Formula, readings: &Readings) -> u64 {
    resolve(formula, readings).limit(GATE).unwrap().into()
}

/// Returns a function that reads resources for the oracle.
fn read_resources(readings: &Readings) -> impl FnMut(oracle::Operand<'_>) -> Reading {
    |operand| match operand {
        oracle::Operand::Resource(name) => readings.reading(name.parse().unwrap()),
        oracle::Operand::Gate(gate) => panic!("the formula reads gate {gate}, but must read only resources"),
    }
}
