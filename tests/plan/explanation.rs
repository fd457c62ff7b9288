//! Explanations: their text in one line and in full, and their parts.

use std::time::Duration;

use concurrency_governor::plan::{
    Decision, Effect, LeaseExplanation, LeaseState, Measurement, Operand, Policy, Problem, Source, Standing,
};
use concurrency_governor::preset::astrid::{BLOCKING, IO, POOL};
use concurrency_governor::{
    Adaptive, Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Quantity, Reading,
    Readings, Resource,
};

use crate::support::{astrid, host, in_full, lines, plan_of};

/// `{}` prints one line for each gate.
#[test]
fn explanation_prints_one_line() {
    assert_eq!(
        lines(&astrid(2, 20_000, &Overrides::new())),
        [
            "blocking = 2: derived, `floor 2` decides",
            "io = 128: derived, `(whole cpu or 2) * 64` decides (cpu = 2)",
            "pool = 8: derived, `floor 8` decides",
        ]
    );
}

/// `{:#}` prints the whole derivation as a table.
#[test]
fn explanation_prints_the_whole_derivation() {
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

/// If descriptors are scarce, the clamp decides, also below the floor.
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

/// The explanation reports a setting that shadows others, one that is raised, and one that is lowered.
#[test]
fn explanation_of_overrides() {
    let overrides = Overrides::new()
        .then(OverrideLayer::new("cli").set(IO, 100))
        .then(OverrideLayer::new("file").set(IO, 0).set(BLOCKING, 0).set(POOL, 9).policy(Policy::Clamp))
        .then(OverrideLayer::env([(IO, "APP_IO"), (POOL, "APP_POOL")], |_| Some("7".into())).unwrap());
    let expected = "\
blocking = 1: set to 0 by file (raised to 1), derived 2
    whole cpu or 2           2                   cpu = 2
    reserve 2                0
    floor 2                  2  <- would decide
io = 100: set to 100 by cli (above the derived limit), derived 25, shadows file = 0, shadows env APP_IO = 7
    (whole cpu or 2) * 64         128                   cpu = 2
    floor 64                      128
    at most fd * 1/2               25  <- would decide  fd = 50: 25
pool = 8: set to 9 by file (lowered to the derived limit), derived 8, shadows env APP_POOL = 7
    (whole cpu or 2) * 2           4                   cpu = 2
    floor 8                        8  <- would decide
    ceiling 64                     8";
    assert_eq!(in_full(&astrid(2, 50, &overrides)), expected);
}

/// A setting of an adaptive gate is compared with the limit before feedback, so that one is printed.
#[test]
fn setting_of_an_adaptive_gate_prints_the_limit_before_feedback() {
    let gate = GateSpec::new("up", Formula::fixed(100)).adaptive(Adaptive::latency());
    for (value, policy, text) in [
        (60, Policy::Clamp, "up = 60: set to 60 by cli, derived 100"),
        (300, Policy::Clamp, "up = 100: set to 300 by cli (lowered to the derived limit), derived 100"),
        (300, Policy::Trust, "up = 300: set to 300 by cli (above the derived limit), derived 100"),
    ] {
        let overrides = Overrides::new().then(OverrideLayer::new("cli").set(gate, value).policy(policy));
        let resolution = Plan::new([gate]).unwrap().resolve(&Readings::new(), &overrides).unwrap();
        assert_eq!(resolution.explain(gate).unwrap().to_string(), text);
    }
}

/// The start of an adaptive gate is the nearest limit of its band, also in a resolution without a governor.
#[test]
fn start_is_in_the_band() {
    for (start, floor, ceiling, expected) in [(2, 4, 64, 4), (2, 40, 10, 10), (20, 4, 10, 10), (8, 4, 10, 8)]
    {
        let adaptive = Adaptive::latency().start(start).floor(floor);
        let gate = GateSpec::new("up", Formula::fixed(ceiling)).adaptive(adaptive);
        let resolution = Plan::new([gate]).unwrap().resolve(&Readings::new(), &Overrides::new()).unwrap();
        let explanation = resolution.explain(gate).unwrap();
        assert_eq!(explanation.limit().get(), expected, "{explanation:#}");
        assert_eq!(explanation.feedback().unwrap().start(), explanation.limit());
    }
}

/// Texts from elsewhere stay on the line, and cannot control the terminal.
#[test]
fn foreign_texts_are_escaped() {
    let gate = GateSpec::new("up", Formula::fixed(100)).adaptive(Adaptive::latency());
    let overrides = Overrides::new().then(OverrideLayer::new("file\u{1b}[2J").set_from(gate, 60, "a\nb"));
    let source = Source::new("/sys/\u{1b}[2J/x", "1\n2").at_level("/a\nb");
    assert_eq!(source.to_string(), "/sys/\\u{1b}[2J/x: 1\\n2 (level /a\\nb)");
    let readings = Readings::new()
        .with(Resource::feedback(gate.name()).unwrap(), Measurement::new(Reading::whole(20)).source(source));
    let resolution = Plan::new([gate]).unwrap().resolve(&readings, &overrides).unwrap();
    let full = format!("{:#}", resolution.explain(gate).unwrap());
    assert!(full.starts_with("up = 60: set to 60 by file\\u{1b}[2J a\\nb, derived 100\n"), "{full}");
    assert!(full.ends_with("\n    rule latency, from 4 to 100: 1\\n2"), "{full}");

    let reason = "the ledger failed:\nDETAIL".to_owned();
    let lease = LeaseExplanation {
        name: "prod/up".into(),
        limit: Limit::new(200),
        version: 0,
        block: 0,
        without_lease: 0,
        remaining: Duration::ZERO,
        state: LeaseState::Starting,
        problem: Some(reason.clone()),
    };
    let problem = Problem::Share { gate: gate.name(), reason };
    for text in [lease.to_string(), problem.to_string()] {
        assert!(text.ends_with(": the ledger failed:\\nDETAIL"), "{text}");
    }
}

/// The table reports, beside each part, what was assumed, skipped, out of range or unknown.
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

/// The limit of a gate is explained as a reading, under the name of the gate.
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

/// The accessors return everything that an explanation prints.
#[test]
fn explanation_returns_what_it_prints() {
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

/// Returns the full explanation of a gate with this formula.
fn explained(formula: &str, readings: &Readings) -> String {
    in_full(&plan_of(formula).resolve(readings, &Overrides::new()).unwrap())
}
