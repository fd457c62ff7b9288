//! Plans, their resolutions and explanations: each documented promise by example, each problem by its exact text.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use concurrency_governor::plan::{
    Base, Bound, BuildError, Decision, Effect, Explanation, Measurement, Operand, Plain, Policy, Problem,
    Source, Standing,
};
use concurrency_governor::preset::astrid::{self, BLOCKING, CapsuleRuntimeLimits, IO, POOL};
use concurrency_governor::{
    Amount, Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Quantity, Reading, Readings,
    Resolution, Resource,
};

// The Astrid preset in closed form

/// The preset's three formulas, by what DESIGN says they come to, on every small host and on odd ones.
#[test]
fn preset_is_its_closed_form() {
    let thousandths = (0..=130_000).step_by(250).chain([1, 999, 1001, 1999, 2001, 256_000_000]);
    let descriptors = [0, 1, 2, 3, 4, 49, 50, 51, 126, 127, 128, 129, 130, 1024, 20_000, 65_536, 1 << 20];
    for cpu in thousandths {
        let cores = cpu / 1000;
        for fd in descriptors {
            let readings = Readings::new()
                .with(Resource::CPU, Reading::from(Quantity::from_thousandths(cpu)))
                .with(Resource::FD, Reading::whole(fd));
            let io = (64 * cores).max(64);
            assert_eq!(
                limits(&readings),
                [cores.saturating_sub(2).max(2), io.min((fd / 2).max(1)), (2 * cores).clamp(8, 64),]
            );
            for unclamping in [Reading::Unlimited, Reading::Unknown] {
                let readings = readings.clone().with(Resource::FD, unclamping);
                assert_eq!(limits(&readings)[1], io);
            }
        }
    }
}

/// Cores that cannot be known count as 2; cores without a limit leave only what bounds the gate otherwise.
#[test]
fn preset_has_an_answer_to_unknown_and_unlimited() {
    let most = u64::from(Limit::MAX);
    for (cpu, fd, expected) in [
        (Reading::Unknown, Reading::Unknown, [2, 128, 8]),
        (Reading::Unknown, Reading::whole(100), [2, 50, 8]),
        (Reading::Unlimited, Reading::Unknown, [most, most, 64]),
        (Reading::Unlimited, Reading::whole(20_000), [most, 10_000, 64]),
    ] {
        let readings = Readings::new().with(Resource::CPU, cpu).with(Resource::FD, fd);
        assert_eq!(limits(&readings), expected);
    }
    assert_eq!(limits(&Readings::new()), [2, 128, 8]);
}

/// The engine's numbers are the plan's; a setting is kept as it was given, 0 as 1; a warm minimum of 4 or the pool.
#[test]
fn preset_limits_are_the_plans() {
    for cores in 0..=40 {
        let readings = host(cores, 20_000);
        let [blocking, io, pool] = limits(&readings).map(|limit| usize::try_from(limit).unwrap());
        let derived = CapsuleRuntimeLimits::resolve_on(&readings, None, None, None);
        assert_eq!(
            derived,
            CapsuleRuntimeLimits {
                blocking_concurrency: blocking,
                io_concurrency: io,
                instance_pool_size: pool,
            }
        );
        for (given, kept) in [(0, 1), (1, 1), (2, 2), (5, 5), (1 << 30, 1 << 30), (usize::MAX, usize::MAX)] {
            let set = CapsuleRuntimeLimits::resolve_on(&readings, Some(given), Some(given), Some(given));
            assert_eq!(
                set,
                CapsuleRuntimeLimits {
                    blocking_concurrency: kept,
                    io_concurrency: kept,
                    instance_pool_size: kept,
                }
            );
            assert_eq!(set.instance_pool_min_idle(), kept.min(4));
        }
        let only_io = CapsuleRuntimeLimits::resolve_on(&readings, None, Some(7), None);
        assert_eq!(only_io, CapsuleRuntimeLimits { io_concurrency: 7, ..derived });
    }
}

/// The preset's gates print as its documentation writes them.
#[test]
fn preset_is_written_as_documented() {
    assert_eq!(astrid::plan().specs(), [BLOCKING, IO, POOL]);
    let texts = [BLOCKING, IO, POOL].map(|spec| format!("{}: {}", spec.name(), spec.formula()));
    assert_eq!(
        texts,
        [
            "blocking: whole cpu or 2 | reserve 2 | floor 2",
            "io: (whole cpu or 2) * 64 | floor 64 | at most fd * 1/2",
            "pool: (whole cpu or 2) * 2 | floor 8 | ceiling 64",
        ]
    );
    assert_eq!(
        astrid::ENV_VARS.map(|(gate, variable)| format!("{gate} {variable}")),
        [
            "blocking ASTRID_CAPSULE_HOST_BLOCKING_CONCURRENCY",
            "io ASTRID_CAPSULE_HOST_IO_CONCURRENCY",
            "pool ASTRID_CAPSULE_INSTANCE_POOL_SIZE",
        ]
    );
}

// Explanations

/// One line each, on an ordinary host.
#[test]
fn explanation_in_a_line() {
    assert_eq!(
        lines(&astrid(2, 20_000, &Overrides::new())),
        [
            "blocking = 2: derived, `floor 2` decides",
            "io = 128: derived, `(whole cpu or 2) * 64` decides (cpu = 2)",
            "pool = 8: derived, `floor 8` decides",
        ]
    );
}

/// The whole derivation, on an ordinary host.
#[test]
fn explanation_in_full() {
    let expected = "\
blocking = 2: derived, `floor 2` decides
    whole cpu or 2           2              cpu = 2
    reserve 2                0
    floor 2                  2  <- decides
io = 128: derived, `(whole cpu or 2) * 64` decides (cpu = 2)
    (whole cpu or 2) * 64         128  <- decides  cpu = 2
    floor 64                      128
    at most fd * 1/2              128              fd = 20000: 10000
pool = 8: derived, `floor 8` decides
    (whole cpu or 2) * 2           4              cpu = 2
    floor 8                        8  <- decides
    ceiling 64                     8";
    assert_eq!(in_full(&astrid(2, 20_000, &Overrides::new())), expected);
}

/// Where descriptors are scarce, they decide, below the floor too.
#[test]
fn explanation_of_scarce_descriptors() {
    let resolution = astrid(2, 50, &Overrides::new());
    let expected = "\
io = 25: derived, `at most fd * 1/2` decides (fd = 50: 25)
    (whole cpu or 2) * 64         128              cpu = 2
    floor 64                      128
    at most fd * 1/2               25  <- decides  fd = 50: 25";
    assert_eq!(format!("{:#}", resolution.explain(IO).unwrap()), expected);
    assert_eq!(resolution.explain(IO).unwrap().to_string(), expected.lines().next().unwrap());

    let resolution = astrid(2, 1, &Overrides::new());
    let expected = "\
io = 1: derived, `at most fd * 1/2` decides (fd = 1: 0)
    (whole cpu or 2) * 64         128              cpu = 2
    floor 64                      128
    at most fd * 1/2                1  <- decides  fd = 1: 0";
    assert_eq!(format!("{:#}", resolution.explain(IO).unwrap()), expected);
}

/// A setting that shadows two others, one that is raised, and one that is lowered, each said in words.
#[test]
fn explanation_of_overrides() {
    let overrides = Overrides::new()
        .then(OverrideLayer::new("cli").set(IO, 100))
        .then(OverrideLayer::new("file").set(IO, 0).set(BLOCKING, 0).set(POOL, 9).policy(Policy::Clamp))
        .then(OverrideLayer::env([(IO, "APP_IO"), (POOL, "APP_POOL")], |_| Some("7".into())).unwrap());
    let expected = "\
blocking = 1: set to 0 by file (raised to 1), derived 2
    whole cpu or 2           2              cpu = 2
    reserve 2                0
    floor 2                  2  <- decides
io = 100: set to 100 by cli (above what is derived), derived 25, shadows file = 0, shadows env APP_IO = 7
    (whole cpu or 2) * 64         128              cpu = 2
    floor 64                      128
    at most fd * 1/2               25  <- decides  fd = 50: 25
pool = 8: set to 9 by file (lowered to what is derived), derived 8, shadows env APP_POOL = 7
    (whole cpu or 2) * 2           4              cpu = 2
    floor 8                        8  <- decides
    ceiling 64                     8";
    assert_eq!(in_full(&astrid(2, 50, &overrides)), expected);
}

/// What was assumed, skipped, out of range or not known is said where it happened.
#[test]
fn explanation_of_unknown_and_unlimited() {
    let unknown = Readings::new().with(Resource::FD, Reading::Unlimited);
    let expected = "\
io = 128: derived, `(whole cpu or 2) * 64` decides (cpu = unknown, assumed 2)
    (whole cpu or 2) * 64         128  <- decides  cpu = unknown, assumed 2
    floor 64                      128
    at most fd * 1/2              128              skipped: fd is unlimited";
    assert_eq!(explained(&IO.formula().to_string(), &unknown), expected);

    let expected = "\
io = 1: derived, `at least 1` decides (cpu = unknown, nothing is assumed: counts as 0)
    cpu            unknown              cpu = unknown, nothing is assumed: counts as 0
    reserve 3      unknown
    at most fd     unknown              skipped: fd is unknown
    at least 1           1  <- decides";
    assert_eq!(explained("cpu | reserve 3 | at most fd", &Readings::new()), expected);

    let unlimited = Readings::new().with(Resource::CPU, Reading::Unlimited);
    let expected = "\
io = 1073741823: derived, `at most what a gate can hold` decides
    cpu                            unlimited              cpu = unlimited
    at most fd or 1.5              unlimited              skipped: fd is unlimited
    at most what a gate can hold  1073741823  <- decides";
    let no_limit = unlimited.clone().with(Resource::FD, Reading::Unlimited);
    assert_eq!(explained("cpu | at most fd or 1.5", &no_limit), expected);

    let expected = "\
io = 1: derived, `at most fd or 1.5` decides (fd = unknown, assumed 1.5: 1)
    cpu                 unlimited              cpu = unlimited
    at most fd or 1.5           1  <- decides  fd = unknown, assumed 1.5: 1";
    assert_eq!(explained("cpu | at most fd or 1.5", &unlimited), expected);
}

/// A gate's limit is read as any reading is, and named as a gate's.
#[test]
fn explanation_of_a_gate_that_reads_a_gate() {
    let plan = Plan::new([
        GateSpec::new("cache", Formula::of(IO.fraction(1, 2)).at_most(POOL.per(Quantity::whole(3)))),
        IO,
        POOL,
    ])
    .unwrap();
    let resolution = plan.resolve(&host(2, 20_000), &Overrides::new()).unwrap();
    let expected = "\
cache = 2: derived, `at most gate pool per 3` decides (gate pool = 8: 2)
    gate io * 1/2                    64              gate io = 128
    at most gate pool per 3           2  <- decides  gate pool = 8: 2";
    assert_eq!(format!("{:#}", resolution.explain(GateName::new("cache")).unwrap()), expected);
}

/// What an explanation prints can be asked for as well.
#[test]
fn explanation_by_its_parts() {
    let overrides = Overrides::new()
        .then(OverrideLayer::new("cli").set(IO, 30))
        .then(OverrideLayer::new("file").set(IO, 20));
    let resolution = astrid(2, 50, &overrides);
    let explanation = resolution.explain(IO).unwrap();
    assert_eq!(explanation.gate(), IO.name());
    assert_eq!(explanation.limit().get(), 30);
    let Decision::Overridden { origin, value, standing } = explanation.decision() else { panic!() };
    assert_eq!((origin.layer(), origin.key(), *value, *standing), ("cli", None, 30, Standing::AboveDerived));
    let [shadowed] = explanation.shadowed() else { panic!() };
    assert_eq!((shadowed.origin.layer(), shadowed.value), ("file", 20));

    let derivation = explanation.derivation();
    assert_eq!(derivation.limit().get(), 25);
    let [base, floor, clamp] = derivation.parts() else { panic!() };
    assert!(std::ptr::eq(derivation.binding(), clamp));
    assert_eq!(base.operand(), Some((Operand::Resource(Resource::CPU), Reading::whole(2))));
    assert_eq!((base.amount(), base.assumed()), (Some(Reading::whole(128)), None));
    assert_eq!((base.effect(), floor.effect(), clamp.effect()), (Effect::Set, Effect::Held, Effect::Changed));
    assert_eq!((floor.operand(), floor.amount(), floor.remark()), (None, None, String::new()));
    assert_eq!(clamp.value(), Reading::whole(25));
    let effects = [Effect::Set, Effect::Changed, Effect::Held, Effect::Skipped];
    assert_eq!(
        effects.map(|effect| format!("{effect:>8}")),
        ["     set", " changed", "    held", " skipped"]
    );
}

// Resolutions

/// A formula that reads another gate's limit gets the one after its override, wherever that gate is declared.
#[test]
fn gate_reads_the_overridden_limit() {
    let cache = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));
    let overrides = Overrides::new().then(OverrideLayer::new("cli").set(IO, 10));
    for specs in [[cache, IO], [IO, cache]] {
        let resolution = Plan::new(specs).unwrap().resolve(&host(2, 20_000), &overrides).unwrap();
        assert_eq!(resolution.limit(cache).unwrap().get(), 5);
        assert_eq!(resolution.limit(IO).unwrap().get(), 10);
        assert_eq!(
            resolution.explanations().iter().map(Explanation::gate).collect::<Vec<_>>(),
            specs.map(GateName::from)
        );
    }
}

/// A spec, a reference to one and a name are one key; a name that is not there is told what is.
#[test]
fn gate_is_asked_for_by_spec_or_name() {
    let resolution = astrid(4, 20_000, &Overrides::new());
    let by_reference = &IO;
    assert_eq!(resolution.limit(IO), resolution.limit(by_reference));
    assert_eq!(resolution.limit(IO), resolution.limit(GateName::new("io")));
    let error = resolution.limit(GateName::new("ios")).unwrap_err();
    assert_eq!(error.to_string(), "there is no gate `ios` (there are blocking, io, pool)");
    assert_eq!(resolution.explain(GateName::new("ios")).unwrap_err(), error);
}

/// A resolution keeps the measurements it was resolved against, sources, notes and all.
#[test]
fn resolution_keeps_its_readings() {
    let measured = Measurement::new(Reading::whole(2))
        .at_most()
        .source(Source::new("/sys/fs/cgroup/cpu.max", "200000 100000").at_level("/a"))
        .note("ancestors are hidden")
        .stale("the file went away");
    let readings = Readings::new().with(Resource::CPU, measured.clone());
    let resolution = astrid::plan().resolve(&readings, &Overrides::new()).unwrap();
    assert_eq!(resolution.readings(), &readings);
    let kept = resolution.readings().get(Resource::CPU).unwrap();
    assert_eq!(kept, &measured);
    assert_eq!((kept.reading(), kept.bound()), (Reading::whole(2), Bound::AtMost));
    assert_eq!(kept.staleness(), Some("the file went away"));
    assert_eq!(kept.notes(), ["ancestors are hidden"]);
    assert_eq!(kept.sources()[0].to_string(), "/sys/fs/cgroup/cpu.max: 200000 100000 (level /a)");
    assert_eq!(Source::new("sched_getaffinity", "4").to_string(), "sched_getaffinity: 4");
    assert_eq!([Bound::Exact, Bound::AtMost].map(|bound| bound.to_string()), ["exact", "at most"]);
}

/// Each resource has one measurement, the last; what was not measured reads as unknown; they list by name.
#[test]
fn readings_hold_one_measurement_a_resource() {
    let mut readings = host(2, 50).with(Resource::CPU, Reading::whole(3));
    assert_eq!(readings.reading(Resource::CPU), Reading::whole(3));
    assert_eq!(readings.reading(Resource::TASKS), Reading::Unknown);
    assert_eq!(readings.get(Resource::TASKS), None);
    assert_eq!(readings.insert(Resource::CPU, Reading::Unlimited.into()), Some(Reading::whole(3).into()));
    assert_eq!(readings.insert(Resource::TASKS, Reading::Unknown.into()), None);
    let listed: Vec<String> =
        readings.iter().map(|(resource, one)| format!("{resource} = {}", one.reading())).collect();
    assert_eq!(listed, ["cpu = unlimited", "fd = 50", "tasks = unknown"]);
}

// Problems

/// Each problem is one line that says what was given, where it came from, and what is allowed.
#[test]
fn each_problem_has_its_text() {
    let (io, cache) = (GateName::new("io"), GateName::new("cache"));
    let origin = || match astrid(1, 1, &cli(9)).explain(IO).unwrap().decision() {
        Decision::Overridden { origin, .. } => origin.clone(),
        Decision::Derived => panic!("it is set"),
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
            "gates read each other's limits in a circle: io reads cache reads io",
        ),
        (
            Problem::UnknownOverride { gate: cache, origin: origin(), known: vec![io, BLOCKING.name()] },
            "cli sets gate `cache`, which the plan does not declare (it declares io, blocking)",
        ),
        (
            Problem::Rejected { gate: io, origin: origin(), value: 100, derived: Limit::new(25) },
            "cli sets gate `io` to 100, above what this host grants (allowed: at most 25)",
        ),
        (
            Problem::DuplicateProbe { resource: Resource::CPU, times: 2 },
            "2 probes measure `cpu` (allowed: one)",
        ),
        (
            Problem::NoProbe { gate: io, resource: Resource::FD, probed: vec![] },
            "the formula of gate `io` reads `fd`, which no probe measures (there are probes for none)",
        ),
    ] {
        assert_eq!(problem.to_string(), text);
    }
}

/// A plan is refused for all that is wrong with it at once: by kind, each in the order of the plan.
#[test]
fn every_problem_of_a_plan_is_listed() {
    let gate = |name, formula: &str| GateSpec::new(name, formula.parse().unwrap());
    let error = Plan::new([
        gate("z", "gate nothing"),
        gate("z", "cpu | at most gate nobody"),
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
            &format!("the formula of gate `z` reads gate `nothing`, {known}"),
            &format!("the formula of gate `z` reads gate `nobody`, {known}"),
            "gates read each other's limits in a circle: self reads self",
            "gates read each other's limits in a circle: x reads y reads x",
        ]
    );
    assert_eq!(error.to_string(), lines.join("; "));
}

/// No plan of nothing.
#[test]
fn plan_of_nothing_is_refused() {
    let error = Plan::new([]).unwrap_err();
    assert_eq!(error.problems(), [Problem::NoGates]);
    assert_eq!(error.to_string(), "the plan declares no gate (allowed: one or more)");
}

/// Circles of any length are found, told once, and in the order of reading; a gate that only reads one is not on it.
#[test]
fn circles_are_refused() {
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

/// Two circles are two problems, and a clamp closes a circle as a base does.
#[test]
fn each_circle_is_told() {
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
        "gates read each other's limits in a circle: a reads b reads a; \
         gates read each other's limits in a circle: d reads e reads d"
    );
}

/// A chain of fifty thousand gates resolves, declared in either direction, and closed to a circle it is refused: no
/// stack is that deep.
#[test]
fn long_chains_need_no_stack() {
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
    let [Problem::Cycle { circle }] = error.problems() else { panic!("one circle") };
    assert_eq!(circle.len(), LENGTH + 1);
}

/// Rejected settings are told in the order of the plan, whichever gate was decided first.
#[test]
fn rejected_settings_stand_in_the_order_of_the_plan() {
    let cache = GateSpec::new("cache", Formula::of(IO.fraction(1, 2)));
    let overrides =
        Overrides::new().then(OverrideLayer::new("cli").set(IO, 500).set(cache, 400).policy(Policy::Reject));
    let error = Plan::new([cache, IO]).unwrap().resolve(&host(2, 20_000), &overrides).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cli sets gate `cache` to 400, above what this host grants (allowed: at most 64); \
         cli sets gate `io` to 500, above what this host grants (allowed: at most 128)"
    );
}

/// Where a setting is rejected, the gates that read that gate are judged by what the host grants it: no problem is
/// made up, and none is missed.
#[test]
fn rejected_setting_leaves_its_readers_what_the_host_grants() {
    let half = GateSpec::new("half", Formula::of(IO.fraction(1, 2)));
    let capped = GateSpec::new("capped", Formula::fixed(1000).at_most(IO.times(1)));
    let plan = Plan::new([IO, half, capped]).unwrap();
    let problems = |layer: OverrideLayer| -> Vec<String> {
        let overrides = Overrides::new().then(layer.policy(Policy::Reject));
        let error: BuildError = plan.resolve(&host(2, 20_000), &overrides).unwrap_err();
        error.problems().iter().map(ToString::to_string).collect()
    };
    let io = "cli sets gate `io` to 200, above what this host grants (allowed: at most 128)";
    let layer = OverrideLayer::new("cli").set(IO, 200);
    assert_eq!(problems(layer.clone().set(half, 64).set(capped, 128)), [io]);
    assert_eq!(
        problems(layer.set(half, 65).set(capped, 129)),
        [
            io,
            "cli sets gate `half` to 65, above what this host grants (allowed: at most 64)",
            "cli sets gate `capped` to 129, above what this host grants (allowed: at most 128)",
        ]
    );
}

/// Settings of gates that are not there and settings that are rejected are told together.
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
             cli sets gate `pool` to 9, above what this host grants (allowed: at most 8)"
        )
    );
}

// Declarations

/// What a spec was given it gives back, and by default it is lenient.
#[test]
fn spec_holds_what_it_was_given() {
    let plain = GateSpec::new("io", Formula::fixed(3));
    assert_eq!((plain.queue_bound(), plain.longest_wait()), (None, None));
    assert_eq!(plain.override_policy(), Policy::Trust);
    assert_eq!(plain.formula().base(), Base::Fixed(3));
    let full = plain.queue(0).max_wait(Duration::from_millis(5)).policy(Policy::Reject);
    assert_eq!((full.queue_bound(), full.longest_wait()), (Some(0), Some(Duration::from_millis(5))));
    assert_eq!(full.override_policy(), Policy::Reject);
    assert_eq!(GateName::from(full), GateName::from(&plain));
}

/// Amounts of a gate can be made of its spec and of its name alike.
#[test]
fn spec_and_name_make_the_same_amounts() {
    let name = IO.name();
    assert_eq!(IO.times(2), name.times(2));
    assert_eq!(IO.fraction(1, 3), name.fraction(1, 3));
    assert_eq!(IO.per(Quantity::whole(4)), name.per(Quantity::whole(4)));
    assert_eq!(IO.per(Quantity::whole(4)).to_string(), "gate io per 4");
    assert_eq!(IO.times(2).operand(), Operand::Gate(name));
}

/// Everything that can be declared can be declared in a `const`.
#[test]
fn declarations_are_const() {
    const GPU: Resource = Resource::new("gpu");
    const NAME: GateName = GateName::new("batch");
    const ASSUMED: Quantity = Quantity::from_thousandths(1500);
    const HALF: Quantity = match Quantity::ratio(1, 2) {
        Some(half) => half,
        None => panic!("2 is not 0"),
    };
    const SUM: Quantity = Quantity::ZERO.saturating_add(Quantity::whole(3)).saturating_sub(HALF);
    const PLAIN: Plain = SUM.plain();
    const THOUSANDTHS: u64 = SUM.thousandths() + SUM.floor();
    const AMOUNT: Amount = GPU.times(3).whole().assume(2);
    const PER: Amount = Resource::MEMORY.per(Quantity::whole(64 << 20)).assume_quantity(ASSUMED);
    const OPERAND: Operand = AMOUNT.operand();
    const FORMULA: Formula = Formula::of(AMOUNT)
        .reserve(1)
        .floor(2)
        .ceiling(100)
        .at_most(Resource::FD.fraction(1, 2))
        .at_most(PER);
    const BASE: Base = FORMULA.base();
    const SPEC: GateSpec =
        GateSpec::named(NAME, FORMULA).queue(10).max_wait(Duration::from_secs(1)).policy(Policy::Clamp);
    const SMALL: GateSpec = GateSpec::new("small", Formula::of(SPEC.fraction(1, 2)).at_most(SPEC.times(2)));
    const TINY: GateSpec = GateSpec::new("tiny", Formula::of(SMALL.per(ASSUMED)).ceiling(4));
    const FIXED: GateSpec = GateSpec::new("fixed", Formula::fixed(4));
    const SCALED: GateSpec = GateSpec::new("scaled", Formula::scale(Resource::TASKS, 4));
    const BACK: (GateName, &Formula, Option<usize>, Option<Duration>, Policy) =
        (SPEC.name(), SPEC.formula(), SPEC.queue_bound(), SPEC.longest_wait(), SPEC.override_policy());
    const LIMIT: Limit = Limit::saturating(u64::MAX);
    const NUMBER: u32 = Limit::new(7).get();
    const READING: Reading = Reading::whole(4);
    const NONE: Overrides = Overrides::new();
    const STEPS: usize = Formula::MAX_STEPS;

    assert_eq!(
        FORMULA.to_string(),
        "(whole gpu or 2) * 3 | reserve 1 | floor 2 | ceiling 100 | at most fd * 1/2 | at most (memory or 1.5) per 64Mi"
    );
    assert_eq!((PLAIN.to_string(), THOUSANDTHS), ("2.5".to_owned(), 2502));
    assert_eq!((OPERAND, BASE), (Operand::Resource(GPU), Base::Amount(AMOUNT)));
    assert_eq!(BACK, (NAME, &FORMULA, Some(10), Some(Duration::from_secs(1)), Policy::Clamp));
    assert_eq!((LIMIT, NUMBER, STEPS, Limit::MIN.get()), (Limit::MAX, 7, 8, 1));
    let resolution = Plan::new([SPEC, SMALL, TINY, FIXED, SCALED]).unwrap();
    let resolution = resolution.resolve(&Readings::new().with(GPU, READING), &NONE).unwrap();
    let limits = resolution.explanations().iter().map(|one| one.limit().get());
    assert_eq!(limits.collect::<Vec<_>>(), [1, 1, 1, 4, 1]);
}

fn host(cores: u64, descriptors: u64) -> Readings {
    Readings::new().with(Resource::CPU, Reading::whole(cores)).with(Resource::FD, Reading::whole(descriptors))
}

fn astrid(cores: u64, descriptors: u64, overrides: &Overrides) -> Resolution {
    astrid::plan().resolve(&host(cores, descriptors), overrides).unwrap()
}

fn limits(readings: &Readings) -> [u64; 3] {
    let resolution = astrid::plan().resolve(readings, &Overrides::new()).unwrap();
    [BLOCKING, IO, POOL].map(|gate| resolution.limit(gate).unwrap().into())
}

fn cli(io: usize) -> Overrides {
    Overrides::new().then(OverrideLayer::new("cli").set(IO, io))
}

fn lines(resolution: &Resolution) -> Vec<String> {
    resolution.explanations().iter().map(ToString::to_string).collect()
}

fn in_full(resolution: &Resolution) -> String {
    let texts: Vec<String> = resolution.explanations().iter().map(|one| format!("{one:#}")).collect();
    texts.join("\n")
}

fn explained(formula: &str, readings: &Readings) -> String {
    let plan = Plan::new([GateSpec::new("io", formula.parse().unwrap())]).unwrap();
    in_full(&plan.resolve(readings, &Overrides::new()).unwrap())
}
