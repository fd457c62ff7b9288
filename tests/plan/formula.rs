//! The number that a formula derives: its base, its steps, and unknown, unlimited and extreme readings.

use concurrency_governor::plan::{Base, Operand, Step};
use concurrency_governor::{
    Formula, GateName, Limit, Overrides, Plan, Quantity, Reading, Readings, Resource,
};

use crate::support::plan_of;

/// A base is a fixed number, a multiple of a reading, a fraction of it, or one for each unit of it.
#[test]
fn base_sets_the_number() {
    let cpu = |thousandths| Reading::Finite(Quantity::from_thousandths(thousandths));
    for (formula, reading, limit) in [
        ("7", cpu(100_000), 7),
        ("cpu", cpu(3000), 3),
        ("cpu", cpu(3999), 3),
        ("cpu * 4", cpu(1500), 6),
        ("cpu * 1/2", cpu(5000), 2),
        ("cpu * 3/2", cpu(5000), 7),
        ("cpu * 1/3", cpu(10_000), 3),
        ("cpu * 1000/3", cpu(1), 1),
        ("cpu per 2", cpu(9000), 4),
        ("cpu per 0.5", cpu(1250), 2),
        ("cpu per 1.5", cpu(4499), 2),
        ("whole cpu * 4", cpu(1500), 4),
        ("whole cpu per 0.5", cpu(1999), 2),
    ] {
        assert_eq!(limit_of(formula, reading), limit, "{formula} at {reading}");
    }
    let literals = [
        (Formula::scale(Resource::CPU, 3), "cpu * 3"),
        (Formula::of(Resource::CPU.times(1)), "cpu"),
        (Formula::of(Resource::CPU.fraction(2, 4)), "cpu * 2/4"),
        (Formula::of(Resource::MEMORY.per(Quantity::whole(64 << 20))), "memory per 64Mi"),
        (Formula::fixed(9), "9"),
    ];
    for (formula, text) in literals {
        assert_eq!(formula.to_string(), text);
    }
}

/// An amount is computed exactly and rounded down once, at the end.
#[test]
fn amount_is_exact_until_it_is_rounded_down() {
    assert_eq!(limit_of("cpu * 3/3", Reading::whole(10)), 10);
    assert_eq!(limit_of("cpu * 1000000007/1000000007", Reading::whole(999_999_937)), 999_999_937);
    let most = u64::MAX;
    assert_eq!(limit_of(&format!("cpu * {most}/{most}"), Reading::whole(12)), 12);
    assert_eq!(limit_of(&format!("cpu * 1/{most}"), Reading::Finite(Quantity::MAX)), 1);
}

/// Each step changes the number as documented, in order from left to right.
#[test]
fn steps_apply_left_to_right() {
    for (formula, cores, limit) in [
        ("cpu | reserve 2", 8, 6),
        ("cpu | reserve 2", 1, 1),
        ("cpu | reserve 0", 5, 5),
        ("cpu | reserve 18446744073709551615", 5, 1),
        ("cpu | floor 4", 3, 4),
        ("cpu | floor 4", 5, 5),
        ("cpu | ceiling 4", 5, 4),
        ("cpu | ceiling 4", 3, 3),
        ("cpu | ceiling 4 | reserve 1", 9, 3),
        ("cpu | reserve 1 | ceiling 4", 9, 4),
        ("cpu | floor 4 | ceiling 4", 1, 4),
        ("cpu | ceiling 4 | floor 4", 9, 4),
        ("cpu * 2 | at most cpu", 9, 9),
        ("cpu | at most cpu * 2", 9, 9),
        ("cpu | at most 5".replace('5', "cpu * 1/2").as_str(), 9, 4),
        ("100 | at most cpu | at most cpu * 1/3", 9, 3),
    ] {
        assert_eq!(limit_of(formula, Reading::whole(cores)), limit, "{formula} at {cores}");
    }
}

/// `at most` clamps below a floor, but never below 1.
#[test]
fn at_most_clamps_below_a_floor_but_not_below_one() {
    for (cores, limit) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (50, 25), (128, 64), (130, 64)] {
        assert_eq!(limit_of("64 | floor 64 | at most cpu * 1/2", Reading::whole(cores)), limit);
    }
}

/// `at most` is skipped if its reading is unlimited, or unknown without an assumed value.
#[test]
fn at_most_is_skipped_if_its_amount_is_unlimited_or_unknown() {
    assert_eq!(limit_of("64 | at most cpu", Reading::Unlimited), 64);
    assert_eq!(limit_of("64 | at most cpu", Reading::Unknown), 64);
    assert_eq!(limit_of("64 | at most cpu or 8", Reading::Unlimited), 64);
    assert_eq!(limit_of("64 | at most cpu or 8", Reading::Unknown), 8);
    assert_eq!(limit_of("64 | at most (cpu or 0) * 2", Reading::Unknown), 1);
}

/// An unknown base counts as 0, so the limit is the floor, or 1. An assumed value replaces it.
#[test]
fn unknown_base_counts_as_zero() {
    for (formula, limit) in [
        ("cpu * 8", 1),
        ("cpu * 8 | floor 3", 3),
        ("cpu * 8 | reserve 2 | floor 3 | ceiling 9", 3),
        ("cpu * 8 | ceiling 9", 1),
        ("(cpu or 2) * 8", 16),
        ("(whole cpu or 1.5) * 8", 8),
        ("(cpu or 1.5) * 8", 12),
        ("cpu or 0", 1),
    ] {
        assert_eq!(limit_of(formula, Reading::Unknown), limit, "{formula}");
    }
    let known = Resource::CPU.times(1).assume(100);
    assert_eq!(limit_of(&Formula::of(known).to_string(), Reading::whole(2)), 2);
    let later = Resource::CPU.times(8).assume(5).assume_quantity(Quantity::from_thousandths(250));
    assert_eq!(later.to_string(), "(cpu or 0.25) * 8");
}

/// An unlimited base gives the greatest limit, unless a bound of the formula is lower.
#[test]
fn unlimited_base_gives_the_greatest_limit() {
    let most = u64::from(Limit::MAX);
    for (formula, limit) in [
        ("cpu * 1/1000", most),
        ("cpu | reserve 5", most),
        ("cpu | floor 5", most),
        ("cpu | ceiling 5", 5),
        ("cpu or 3", most),
        ("cpu | at most cpu * 1/2", most),
    ] {
        assert_eq!(limit_of(formula, Reading::Unlimited), limit, "{formula}");
    }
}

/// A result above the greatest limit becomes the greatest limit. Nothing wraps, and nothing panics.
#[test]
fn arithmetic_saturates() {
    let most = u64::from(Limit::MAX);
    let greatest = Reading::Finite(Quantity::MAX);
    for (formula, limit) in [
        ("cpu", most),
        ("cpu * 18446744073709551615", most),
        ("cpu * 18446744073709551615/3", most),
        ("cpu per 0.001", most),
        ("cpu | reserve 18446744073709551615", 1),
        ("cpu * 1/17179869184000", 1073),
    ] {
        assert_eq!(limit_of(formula, greatest), limit, "{formula}");
    }
}

/// A saturated amount is a whole number, as each number of a derivation is.
#[test]
fn saturated_amount_is_whole() {
    let plan = plan_of("cpu * 2 | reserve 18446744073709546");
    let readings = Readings::new().with(Resource::CPU, Reading::Finite(Quantity::MAX));
    let resolution = plan.resolve(&readings, &Overrides::new()).unwrap();
    assert_eq!(
        format!("{:#}", resolution.explanations()[0]),
        "io = 5: derived, `reserve 18446744073709546` decides
    cpu * 2                    18446744073709551              cpu = 18446744073709551.615
    reserve 18446744073709546           5  <- decides"
    );
}

/// A formula returns its parts, and these parts build an equal formula.
#[test]
fn parts_rebuild_the_formula() {
    let text =
        "(whole cpu or 2) * 64 | reserve 2 | floor 64 | ceiling 99 | at most fd * 1/2 | at most gate cache";
    let formula: Formula = text.parse().unwrap();
    assert_eq!(formula.base(), Base::Amount(Resource::CPU.times(64).whole().assume(2)));
    let steps: Vec<Step> = formula.steps().collect();
    assert_eq!(
        steps,
        [
            Step::Reserve(2),
            Step::Floor(64),
            Step::Ceiling(99),
            Step::AtMost(Resource::FD.fraction(1, 2)),
            Step::AtMost(GateName::new("cache").times(1)),
        ]
    );
    let operands: Vec<String> = formula.operands().map(|operand| operand.to_string()).collect();
    assert_eq!(operands, ["cpu", "fd", "gate cache"]);
    assert_eq!(Formula::from_parts(formula.base(), steps).unwrap(), formula);
    assert_eq!("3".parse::<Formula>().unwrap().operands().next(), None);
    assert_eq!(Resource::FD.times(2).operand(), Operand::Resource(Resource::FD));
}

/// The text format and the constructors build the same formulas.
#[test]
fn text_and_constructors_build_the_same_formula() {
    let gate = GateName::new("io");
    for (formula, text) in [
        (Formula::of(gate.per(Quantity::whole(4))), "gate io per 4"),
        (Formula::of(gate.times(2).whole().assume(3)), "(whole gate io or 3) * 2"),
        (Formula::of(gate.fraction(3, 4)), "gate io * 3/4"),
        (
            Formula::of(Resource::MEMORY.per(Quantity::whole(1 << 30)).assume(4 << 30)),
            "(memory or 4Gi) per 1Gi",
        ),
        (Formula::fixed(8).at_most(Resource::CPU.times(1).assume(3)), "8 | at most cpu or 3"),
    ] {
        assert_eq!(formula.to_string(), text);
        assert_eq!(text.parse::<Formula>().unwrap(), formula);
    }
}

/// A formula reads a custom resource in the same way as a built-in one.
#[test]
fn custom_resource_is_read_like_a_built_in_one() {
    const GPU: Resource = Resource::new("gpu.0");
    let plan = plan_of("gpu.0 * 4 | at most x-1_y");
    let readings =
        Readings::new().with(GPU, Reading::whole(2)).with("x-1_y".parse().unwrap(), Reading::whole(7));
    assert_eq!(plan.resolve(&readings, &Overrides::new()).unwrap().explanations()[0].limit().get(), 7);
}

/// Derives the limit of a gate with this formula from a reading of `cpu`.
fn limit_of(formula: &str, cpu: Reading) -> u64 {
    let readings = Readings::new().with(Resource::CPU, cpu);
    let plan: Plan = plan_of(formula);
    plan.resolve(&readings, &Overrides::new()).unwrap().explanations()[0].limit().into()
}
