//! The errors of building and resolving a plan: every problem, in order, with its exact text.

use concurrency_governor::plan::{BuildError, Decision, Policy, Problem};
use concurrency_governor::preset::Preset;
use concurrency_governor::preset::astrid::{self, BLOCKING, IO, POOL};
use concurrency_governor::{
    Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Quantity, Resource,
};

use crate::support::{astrid, cli, host};

/// Each problem prints one line: what was given, where it came from, and what is allowed.
#[test]
fn each_problem_prints_one_line() {
    let (io, cache) = (GateName::new("io"), GateName::new("cache"));
    let origin = || match astrid(1, 1, &cli(9)).explain(IO).unwrap().decision() {
        Decision::Overridden { origin, .. } => origin.clone(),
        Decision::Derived => panic!("the setting of `io` must decide"),
    };
    for (problem, text) in [
        (Problem::NoGates, "the plan declares no gate (allowed: one or more)"),
        (Problem::DuplicateGate { gate: io, times: 3 }, "gate `io` is declared 3 times (allowed: once)"),
        (
            Problem::UnknownOperand { gate: io, reads: cache, known: vec![io] },
            "the formula of gate `io` reads gate `cache`, which the plan does not declare (it declares io)",
        ),
        (
            Problem::Cycle { circle: vec![io, cache, io] },
            "gates read each other's limits in a cycle: io reads cache reads io (remove one of these references)",
        ),
        (
            Problem::UnknownOverride { gate: cache, origin: origin(), known: vec![io, BLOCKING.name()] },
            "cli sets gate `cache`, which the plan does not declare (it declares io, blocking)",
        ),
        (
            Problem::Rejected { gate: io, origin: origin(), value: 100, derived: Limit::new(25) },
            "cli sets gate `io` to 100, above the derived limit (allowed: at most 25)",
        ),
        (
            Problem::DuplicateProbe { resource: Resource::CPU, times: 2 },
            "2 probes measure `cpu` (allowed: one)",
        ),
        (
            Problem::NoProbe { gate: io, resource: Resource::FD, probed: vec![] },
            "gate `io` reads `fd`, which no probe measures (there are probes for none)",
        ),
    ] {
        assert_eq!(problem.to_string(), text);
        assert_eq!(format!("{problem:?}"), text, "a `main` that returns it prints it with `Debug`");
    }
}

/// A `main` that returns an error prints its message, whatever the error is about.
#[test]
fn debug_prints_the_message() {
    fn printed<E: std::error::Error>(error: E) -> (String, String) {
        (format!("Error: {error:?}"), format!("Error: {error}"))
    }
    let environment = [("APP_IO".into(), "many".into())];
    for (debug, display) in [
        printed(Plan::new([]).unwrap_err()),
        printed(OverrideLayer::env_prefixed("APP_", [IO], environment).unwrap_err()),
        printed("".parse::<GateName>().unwrap_err()),
        printed("0".parse::<Limit>().unwrap_err()),
        printed("many".parse::<Quantity>().unwrap_err()),
        printed("cpu *".parse::<Formula>().unwrap_err()),
        printed("no".parse::<Policy>().unwrap_err()),
        printed("no".parse::<Preset>().unwrap_err()),
        printed(astrid(1, 1, &cli(9)).explain(GateName::new("oi")).unwrap_err()),
    ] {
        assert_eq!(debug, display);
        assert!(!debug.contains('\n'), "{debug}");
    }
}

/// One error lists every problem of a plan, grouped by kind, each group in the order of the plan.
#[test]
fn every_problem_of_a_plan_is_listed() {
    let gate = |name, formula: &str| GateSpec::new(name, formula.parse().unwrap());
    let error = Plan::new([
        gate("z", "gate missing"),
        gate("z", "cpu | at most gate absent"),
        gate("a", "1"),
        gate("a", "2"),
        gate("a", "3"),
        gate("self", "gate self"),
        gate("x", "gate y"),
        gate("y", "gate x"),
    ])
    .unwrap_err();
    let known = "which the plan does not declare (it declares z, z, a, a, a, self, x, y)";
    let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "gate `z` is declared 2 times (allowed: once)",
            "gate `a` is declared 3 times (allowed: once)",
            &format!("the formula of gate `z` reads gate `missing`, {known}"),
            &format!("the formula of gate `z` reads gate `absent`, {known}"),
            "gates read each other's limits in a cycle: self reads self (remove one of these references)",
            "gates read each other's limits in a cycle: x reads y reads x (remove one of these references)",
        ]
    );
    assert_eq!(error.to_string(), lines.join("; "));
}

/// A plan without a gate is rejected.
#[test]
fn plan_without_gates_is_rejected() {
    let error = Plan::new([]).unwrap_err();
    assert_eq!(error.problems(), [Problem::NoGates]);
    assert_eq!(error.to_string(), "the plan declares no gate (allowed: one or more)");
}

/// A cycle of any length is reported once, in the order of reading. A gate that only reads a gate of the cycle is not
/// part of it.
#[test]
fn cycle_of_any_length_is_reported_once() {
    for length in [1, 2, 5] {
        let names: Vec<GateName> = (0..length).map(|at| format!("g{at}").parse().unwrap()).collect();
        let ring =
            (0..length).map(|at| GateSpec::named(names[at], Formula::of(names[(at + 1) % length].times(1))));
        let readers = [
            GateSpec::new("reader", Formula::of(names[0].times(1))),
            GateSpec::new("reader-of-reader", Formula::fixed(1).at_most(GateName::new("reader").times(1))),
            GateSpec::new("bystander", Formula::scale(Resource::CPU, 1)),
        ];
        let circle: Vec<GateName> = names.iter().chain(&names[..1]).copied().collect();
        let error = Plan::new(ring.clone().chain(readers)).unwrap_err();
        assert_eq!(error.problems(), [Problem::Cycle { circle }]);

        let found = Plan::new(readers.into_iter().chain(ring)).unwrap_err();
        let [Problem::Cycle { circle }] = found.problems() else { panic!("{found}") };
        assert_eq!((circle.len(), circle.first()), (length + 1, circle.last()));
    }
}

/// Two cycles are two problems. An `at most` can close a cycle as a base can.
#[test]
fn each_cycle_is_reported() {
    let gate = |name, formula: &str| GateSpec::new(name, formula.parse().unwrap());
    let error = Plan::new([
        gate("a", "cpu | at most gate b | at most gate c"),
        gate("b", "1 | at most gate a"),
        gate("c", "1"),
        gate("d", "gate e"),
        gate("e", "gate c | at most gate d"),
    ])
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "gates read each other's limits in a cycle: a reads b reads a (remove one of these references); \
         gates read each other's limits in a cycle: d reads e reads d (remove one of these references)"
    );
}

/// A gate that reads two cycles hides neither of them. The second one may be its own.
#[test]
fn cycle_behind_another_is_reported() {
    let gate = |name, formula: &str| GateSpec::new(name, formula.parse().unwrap());
    let ring = [gate("a", "gate b"), gate("b", "gate a")];
    let own = [gate("d", "gate a | at most gate e"), gate("e", "gate d")];
    let reader = [gate("r", "gate a | at most gate s"), gate("s", "gate t"), gate("t", "gate s")];
    for (specs, cycles) in [
        ([&ring[..], &own].concat(), ["a reads b reads a", "d reads e reads d"]),
        ([&own[..], &ring].concat(), ["a reads b reads a", "d reads e reads d"]),
        ([&ring[..], &reader].concat(), ["a reads b reads a", "s reads t reads s"]),
        ([&reader[..], &ring].concat(), ["a reads b reads a", "s reads t reads s"]),
    ] {
        let error = Plan::new(specs).unwrap_err();
        let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        let expected = cycles.map(|cycle| {
            format!("gates read each other's limits in a cycle: {cycle} (remove one of these references)")
        });
        assert_eq!(lines, expected);
    }
}

/// A chain of 50 000 gates resolves in both orders of declaration, and is rejected if it is closed to a cycle. No
/// recursion is involved.
#[test]
fn long_chains_do_not_overflow_the_stack() {
    const LENGTH: usize = 50_000;
    let names: Vec<GateName> = (0..LENGTH).map(|at| format!("g{at}").parse().unwrap()).collect();
    let first = GateSpec::named(names[0], Formula::scale(Resource::CPU, 3));
    let others = names.windows(2).map(|pair| GateSpec::named(pair[1], Formula::of(pair[0].times(1))));
    let mut chain: Vec<GateSpec> = std::iter::once(first).chain(others).collect();
    for _ in 0..2 {
        let plan = Plan::new(chain.iter().copied()).unwrap();
        let resolution = plan.resolve(&host(7, 1), &cli(5)).unwrap_err();
        assert_eq!(resolution.problems().len(), 1);
        let resolution = plan.resolve(&host(7, 1), &Overrides::new()).unwrap();
        assert!(resolution.explanations().iter().all(|explanation| explanation.limit().get() == 21));
        chain.reverse();
    }
    chain[0] = GateSpec::named(names[0], Formula::of(names[LENGTH - 1].times(1)));
    let error = Plan::new(chain).unwrap_err();
    let [Problem::Cycle { circle }] = error.problems() else { panic!("expected one cycle") };
    assert_eq!(circle.len(), LENGTH + 1);
}

/// Rejected settings are listed in the order of the plan, not in the order of evaluation.
#[test]
fn rejected_settings_are_listed_in_the_order_of_the_plan() {
    let cache = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));
    let overrides =
        Overrides::new().then(OverrideLayer::new("cli").set(IO, 500).set(cache, 400).policy(Policy::Reject));
    let error = Plan::new([cache, IO]).unwrap().resolve(&host(2, 20_000), &overrides).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cli sets gate `cache` to 400, above the derived limit (allowed: at most 64); \
         cli sets gate `io` to 500, above the derived limit (allowed: at most 128)"
    );
}

/// If a setting is rejected, the gates that read this gate get its derived limit: no problem is invented, and none is
/// missed.
#[test]
fn readers_of_a_rejected_gate_get_its_derived_limit() {
    let half = GateSpec::new("half", Formula::of(IO.fraction(1, 2)));
    let capped = GateSpec::new("capped", Formula::fixed(1000).at_most(IO.times(1)));
    let plan = Plan::new([IO, half, capped]).unwrap();
    let problems = |layer: OverrideLayer| -> Vec<String> {
        let overrides = Overrides::new().then(layer.policy(Policy::Reject));
        let error: BuildError = plan.resolve(&host(2, 20_000), &overrides).unwrap_err();
        error.problems().iter().map(ToString::to_string).collect()
    };
    let io = "cli sets gate `io` to 200, above the derived limit (allowed: at most 128)";
    let layer = OverrideLayer::new("cli").set(IO, 200);
    assert_eq!(problems(layer.clone().set(half, 64).set(capped, 128)), [io]);
    assert_eq!(
        problems(layer.set(half, 65).set(capped, 129)),
        [
            io,
            "cli sets gate `half` to 65, above the derived limit (allowed: at most 64)",
            "cli sets gate `capped` to 129, above the derived limit (allowed: at most 128)",
        ]
    );
}

/// One error lists the settings of unknown gates and the settings that are rejected.
#[test]
fn every_problem_of_a_resolution_is_listed() {
    let (ios, pools) = (GateName::new("ios"), GateName::new("pools"));
    let overrides = Overrides::new()
        .then(OverrideLayer::new("cli").set(ios, 1).set(POOL, 9).policy(Policy::Reject))
        .then(OverrideLayer::env([(pools, "APP_POOLS"), (ios, "APP_IOS")], |_| Some("3".into())).unwrap());
    let error = astrid::plan().resolve(&host(2, 20_000), &overrides).unwrap_err();
    let known = "which the plan does not declare (it declares blocking, io, pool)";
    assert_eq!(
        error.to_string(),
        format!(
            "cli sets gate `ios`, {known}; env APP_POOLS sets gate `pools`, {known}; \
             env APP_IOS sets gate `ios`, {known}; \
             cli sets gate `pool` to 9, above the derived limit (allowed: at most 8)"
        )
    );
}
