//! The cost of the pure core: parsing a formula, building a plan, resolving it, and printing an explanation.

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use std::hint::black_box;

use concurrency_governor::preset::astrid;
use concurrency_governor::{
    Formula, GateName, GateSpec, OverrideLayer, Overrides, Plan, Reading, Readings, Resource,
};
use criterion::{Criterion, criterion_group, criterion_main};

fn host() -> Readings {
    Readings::new().with(Resource::CPU, Reading::whole(8)).with(Resource::FD, Reading::whole(20_000))
}

/// Declares a hundred gates. Each gate except the first reads the limit of the one before it.
fn chain_of_100_gates() -> Vec<GateSpec> {
    let names: Vec<GateName> = (0..100).map(|index| format!("gate-{index}").parse().unwrap()).collect();
    let first = GateSpec::named(names[0], Formula::scale(Resource::CPU, 64).floor(64));
    let others = names.windows(2).map(|pair| {
        let formula = Formula::of(pair[0].fraction(99, 100)).floor(2).at_most(Resource::FD.fraction(1, 2));
        GateSpec::named(pair[1], formula)
    });
    std::iter::once(first).chain(others).collect()
}

fn resolve(c: &mut Criterion) {
    let (host, none) = (host(), Overrides::new());

    let text = astrid::IO.formula().to_string();
    c.bench_function("parse a formula", |b| b.iter(|| black_box(&text).parse::<Formula>()));

    c.bench_function("build the Astrid plan", |b| b.iter(astrid::plan));
    let plan = astrid::plan();
    c.bench_function("resolve the Astrid plan", |b| b.iter(|| plan.resolve(black_box(&host), &none)));
    let cli = Overrides::new().then(OverrideLayer::new("cli").set(astrid::IO, 32));
    c.bench_function("resolve it with an override", |b| b.iter(|| plan.resolve(black_box(&host), &cli)));

    let specs = chain_of_100_gates();
    c.bench_function("build a plan of 100 gates", |b| b.iter(|| Plan::new(specs.iter().copied())));
    let chain = Plan::new(specs.iter().copied()).unwrap();
    c.bench_function("resolve a plan of 100 gates", |b| b.iter(|| chain.resolve(black_box(&host), &none)));

    let resolution = plan.resolve(&host, &none).unwrap();
    let explanation = resolution.explain(astrid::IO).unwrap();
    c.bench_function("explain in a line", |b| b.iter(|| explanation.to_string()));
    c.bench_function("explain in full", |b| b.iter(|| format!("{explanation:#}")));
}

criterion_group!(benches, resolve);
criterion_main!(benches);
