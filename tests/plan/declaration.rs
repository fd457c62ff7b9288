//! Declarations of gates: their accessors, and that everything can be declared in a `const`.

use std::time::Duration;

use concurrency_governor::plan::{Base, Operand, Plain, Policy};
use concurrency_governor::preset::astrid::IO;
use concurrency_governor::{
    Amount, Formula, GateName, GateSpec, Limit, Overrides, Plan, Quantity, Reading, Readings, Resource,
};

/// A spec returns what it was given. By default it has no bounds, and trusts settings.
#[test]
fn spec_returns_what_it_was_given() {
    let plain = GateSpec::new("io", Formula::fixed(3));
    assert_eq!((plain.queue_bound(), plain.longest_wait()), (None, None));
    assert_eq!(plain.override_policy(), Policy::Trust);
    assert_eq!(plain.formula().base(), Base::Fixed(3));
    let full = plain.queue(0).max_wait(Duration::from_millis(5)).policy(Policy::Reject);
    assert_eq!((full.queue_bound(), full.longest_wait()), (Some(0), Some(Duration::from_millis(5))));
    assert_eq!(full.override_policy(), Policy::Reject);
    assert_eq!(GateName::from(full), GateName::from(&plain));
}

/// A spec and its name create equal amounts.
#[test]
fn spec_and_name_create_equal_amounts() {
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
