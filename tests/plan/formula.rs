//! Formulas, and the names, quantities and limits in them: each documented promise by example, each error by its exact
//! text.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use concurrency_governor::plan::{Base, Operand, Step};
use concurrency_governor::{
    Amount, Formula, GateName, GateSpec, Limit, Overrides, Plan, Quantity, Reading, Readings, Resource,
};

// What a formula comes to

/// A base: a fixed number, so many for each unit, a fraction, one for each so many.
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

/// A part's number is exact before it is rounded down: a third of a reading, thrice, is not lost to rounding early.
#[test]
fn arithmetic_is_exact() {
    assert_eq!(limit_of("cpu * 3/3", Reading::whole(10)), 10);
    assert_eq!(limit_of("cpu * 1000000007/1000000007", Reading::whole(999_999_937)), 999_999_937);
    let most = u64::MAX;
    assert_eq!(limit_of(&format!("cpu * {most}/{most}"), Reading::whole(12)), 12);
    assert_eq!(limit_of(&format!("cpu * 1/{most}"), Reading::Finite(Quantity::MAX)), 1);
}

/// Each step does what it says, left to right.
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

/// The fraction clamp goes below a floor, never below 1.
#[test]
fn at_most_goes_below_a_floor_and_never_below_one() {
    for (cores, limit) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (50, 25), (128, 64), (130, 64)] {
        assert_eq!(limit_of("64 | floor 64 | at most cpu * 1/2", Reading::whole(cores)), limit);
    }
}

/// A clamp is skipped where its reading is unlimited, or unknown and nothing is assumed.
#[test]
fn at_most_is_skipped_where_it_cannot_apply() {
    assert_eq!(limit_of("64 | at most cpu", Reading::Unlimited), 64);
    assert_eq!(limit_of("64 | at most cpu", Reading::Unknown), 64);
    assert_eq!(limit_of("64 | at most cpu or 8", Reading::Unlimited), 64);
    assert_eq!(limit_of("64 | at most cpu or 8", Reading::Unknown), 8);
    assert_eq!(limit_of("64 | at most (cpu or 0) * 2", Reading::Unknown), 1);
}

/// A base that reads unknown counts as nothing: the floor decides, or 1. What is assumed stands in for it.
#[test]
fn unknown_base_counts_as_nothing() {
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

/// A base that reads unlimited is the most that a gate can hold, unless a bound of the formula is less.
#[test]
fn unlimited_base_is_the_most() {
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

/// What is greater than any limit is the greatest, whatever it is made of; nothing wraps and nothing panics.
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

/// An amount that saturates is whole, as every number of a derivation: what is taken from it leaves a whole number.
#[test]
fn saturated_amount_is_whole() {
    let plan = plan("cpu * 2 | reserve 18446744073709546");
    let readings = Readings::new().with(Resource::CPU, Reading::Finite(Quantity::MAX));
    let resolution = plan.resolve(&readings, &Overrides::new()).unwrap();
    assert_eq!(
        format!("{:#}", resolution.explanations()[0]),
        "io = 5: derived, `reserve 18446744073709546` decides
    cpu * 2                    18446744073709551              cpu = 18446744073709551.615
    reserve 18446744073709546           5  <- decides"
    );
}

// What is no formula

/// A formula of parts is refused with the part and the reason; the literal's constructor panics with the reason.
#[test]
fn contradictions_are_refused() {
    let cpu = Base::Amount(Resource::CPU.times(1));
    let nothing = Quantity::ZERO;
    let at_most = |amount: Amount| Step::AtMost(amount);
    let fd = Resource::FD.times(1);
    let limit = u64::from(Limit::MAX);
    for (base, steps, error) in [
        (
            Base::Amount(Resource::CPU.times(0)),
            vec![],
            "formula part `cpu * 0`: a factor of 0 leaves nothing (allowed: 1 or more)",
        ),
        (
            Base::Amount(Resource::CPU.fraction(0, 0)),
            vec![],
            "formula part `cpu * 0/0`: a factor of 0 leaves nothing (allowed: 1 or more)",
        ),
        (
            Base::Amount(Resource::CPU.fraction(1, 0)),
            vec![],
            "formula part `cpu * 1/0`: nothing can be divided by 0 (allowed: 1 or more)",
        ),
        (
            Base::Amount(Resource::CPU.per(nothing)),
            vec![],
            "formula part `cpu per 0`: nothing can be divided by 0 (allowed: 1 or more)",
        ),
        (
            cpu,
            vec![at_most(Resource::FD.fraction(1, 0))],
            "formula part `at most fd * 1/0`: nothing can be divided by 0 (allowed: 1 or more)",
        ),
        (
            cpu,
            vec![at_most(Resource::FD.times(0))],
            "formula part `at most fd * 0`: a factor of 0 leaves nothing (allowed: 1 or more)",
        ),
        (Base::Fixed(0), vec![], "formula part `0`: a fixed number is a limit, from 1 to 1073741823"),
        (
            Base::Fixed(1 << 30),
            vec![],
            "formula part `1073741824`: a fixed number is a limit, from 1 to 1073741823",
        ),
        (cpu, vec![Step::Floor(0)], "formula part `floor 0`: a floor is a limit, from 1 to 1073741823"),
        (
            cpu,
            vec![Step::Floor(1 << 30)],
            "formula part `floor 1073741824`: a floor is a limit, from 1 to 1073741823",
        ),
        (cpu, vec![Step::Ceiling(0)], "formula part `ceiling 0`: a ceiling is a limit, from 1 to 1073741823"),
        (
            cpu,
            vec![Step::Floor(8), Step::Ceiling(7)],
            "formula part `ceiling 7`: the ceiling is below the floor, so one undoes the other",
        ),
        (
            cpu,
            vec![Step::Reserve(1), Step::Floor(8), Step::Ceiling(7)],
            "formula part `ceiling 7`: the ceiling is below the floor, so one undoes the other",
        ),
        (
            cpu,
            vec![Step::Ceiling(7), Step::Reserve(1), Step::Floor(8)],
            "formula part `floor 8`: the ceiling is below the floor, so one undoes the other",
        ),
        (
            cpu,
            vec![at_most(fd), Step::Ceiling(9), Step::Floor(1)],
            "formula part `floor 1`: a floor after `at most` undoes it where the host has less: put the floor first",
        ),
        (
            cpu,
            vec![Step::Floor(1), at_most(fd), Step::Reserve(0)],
            "formula part `reserve 0`: a reserve after a floor undoes it: put the reserve first",
        ),
        (
            cpu,
            vec![Step::Ceiling(limit); 9],
            "formula part `ceiling 1073741823`: a formula has at most 8 steps after its base",
        ),
    ] {
        let refused = Formula::from_parts(base, steps).unwrap_err();
        assert_eq!(refused.to_string(), error);
        assert_eq!(refused.column(), None);
    }
    assert!(Formula::from_parts(cpu, [Step::Floor(8), Step::Ceiling(8)]).is_ok());
    assert!(Formula::from_parts(cpu, [Step::Ceiling(8), Step::Floor(8), at_most(fd)]).is_ok());
    assert!(Formula::from_parts(Base::Fixed(limit), vec![Step::Ceiling(limit); 8]).is_ok());
}

/// The constructors for literals panic with the reason, which in a `const` is the compiler's error.
#[test]
fn literals_panic_with_the_reason() {
    fn limit(n: u32) -> Formula {
        Formula::fixed(Limit::new(n).into())
    }
    type Literal = fn() -> Formula;
    let panics: [(Literal, &str); 9] = [
        (|| Formula::scale(Resource::CPU, 0), "a factor of 0 leaves nothing (allowed: 1 or more)"),
        (|| Formula::of(Resource::CPU.fraction(1, 0)), "nothing can be divided by 0 (allowed: 1 or more)"),
        (|| Formula::fixed(0), "a fixed number is a limit, from 1 to 1073741823"),
        (|| Formula::fixed(1).floor(0), "a floor is a limit, from 1 to 1073741823"),
        (|| Formula::fixed(1).ceiling(0), "a ceiling is a limit, from 1 to 1073741823"),
        (
            || Formula::fixed(1).floor(2).reserve(1),
            "a reserve after a floor undoes it: put the reserve first",
        ),
        (
            || Formula::fixed(1).at_most(Resource::FD.times(1)).floor(2),
            "a floor after `at most` undoes it where the host has less: put the floor first",
        ),
        (|| limit(0), "a limit is at least 1"),
        (|| limit(1 << 30), "a limit is at most 1073741823"),
    ];
    for (build, reason) in panics {
        let panic = std::panic::catch_unwind(build).unwrap_err();
        let message = panic.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        assert_eq!(message.as_deref(), Some(reason));
    }
    for name in ["", "CPU", "or", "a b"] {
        assert!(std::panic::catch_unwind(|| Resource::new(name)).is_err());
        assert!(std::panic::catch_unwind(|| GateName::new(name)).is_err());
    }
}

/// A text that is no formula is told where it stops making sense and what would, in one line.
#[test]
fn parse_errors_have_their_text() {
    for (text, column, error) in [
        ("", 1, r#"formula "", column 1: expected a number, or an amount such as `cpu * 2`, found the end"#),
        (
            "cpu *\n  ",
            9,
            r#"formula "cpu *\n  ", column 9: expected a factor such as `2` or `1/2`, found the end"#,
        ),
        (
            "cpu * 2 | flor 64",
            11,
            r#"formula "cpu * 2 | flor 64", column 11: expected a step: `reserve N`, `floor N`, `ceiling N` or `at most AMOUNT`, found "flor""#,
        ),
        (
            "cpu * 2 floor 64",
            9,
            r#"formula "cpu * 2 floor 64", column 9: expected `|` and a further step, or the end, found "floor""#,
        ),
        (
            "whole cpu or 2 * 64",
            1,
            r#"formula "whole cpu or 2 * 64", column 1: put what is multiplied in parentheses: `(whole cpu or 2)`"#,
        ),
        ("cpu * 1/x", 9, r#"formula "cpu * 1/x", column 9: expected a whole number to divide by, found "x""#),
        (
            "cpu | reserve 1.5",
            15,
            r#"formula "cpu | reserve 1.5", column 15: "1.5" is not a whole number to reserve (allowed: a whole number from 0 to 18446744073709551615)"#,
        ),
        (
            "cpu\u{a0}* 2 |\u{a0}floor\u{3000}é",
            17,
            r#"formula "cpu\u{a0}* 2 |\u{a0}floor\u{3000}é", column 17: expected a whole number for the floor, found "é""#,
        ),
        (
            "cpu | at most",
            14,
            r#"formula "cpu | at most", column 14: expected an amount such as `fd * 1/2`, found the end"#,
        ),
        (
            "cpu | at most fd | floor 2",
            20,
            r#"formula "cpu | at most fd | floor 2", column 20: a floor after `at most` undoes it where the host has less: put the floor first"#,
        ),
        ("gate", 5, r#"formula "gate", column 5: expected the gate's name, found the end"#),
        (
            "memory per 64mi",
            12,
            r#"formula "memory per 64mi", column 12: "64mi" is no quantity: its suffix is unknown (allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`)"#,
        ),
        (
            "Cpu",
            1,
            r#"formula "Cpu", column 1: "Cpu" is no resource name: a name starts with a lower-case letter (allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)"#,
        ),
    ] {
        let refused = text.parse::<Formula>().unwrap_err();
        assert_eq!(refused.to_string(), error);
        assert_eq!(refused.column(), Some(column));
    }
}

// What is in a formula

/// The parts of a formula can be asked for, and make it again.
#[test]
fn formula_gives_its_parts_back() {
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

/// Whatever the text can say, the constructors can, and the other way round.
#[test]
fn text_and_constructors_say_the_same() {
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

/// A resource of one's own is as good as a built-in one.
#[test]
fn own_resources_are_resources() {
    const GPU: Resource = Resource::new("gpu.0");
    let plan = plan("gpu.0 * 4 | at most x-1_y");
    let readings =
        Readings::new().with(GPU, Reading::whole(2)).with("x-1_y".parse().unwrap(), Reading::whole(7));
    assert_eq!(plan.resolve(&readings, &Overrides::new()).unwrap().explanations()[0].limit().get(), 7);
}

/// What is no name, quantity or limit is told what was given, why, and what is allowed.
#[test]
fn values_are_refused_in_one_line() {
    let quantity = "(allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`)";
    for (given, reason) in [
        ("", "it is empty"),
        ("-1", "it is negative"),
        ("Mi", "it does not start with a number"),
        ("++1", "it does not start with a number"),
        ("1mi", "its suffix is unknown"),
        ("0.0001", "it is finer than a thousandth"),
        ("0.12345678901234567890123456789012345678901234567890", "it is finer than a thousandth"),
        ("1E", "it is greater than 18446744073709551.615"),
        ("123456789012345678901234567890123456789012345678.5", "it is greater than 18446744073709551.615"),
        ("1\n", "its suffix is unknown"),
    ] {
        let error = given.parse::<Quantity>().unwrap_err();
        assert_eq!(error.to_string(), format!("{given:?} is no quantity: {reason} {quantity}"));
    }
    let name = "(allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)";
    let long = "a".repeat(32);
    for (given, reason) in [
        ("", "a name cannot be empty"),
        (&long, "a name has at most 31 bytes"),
        ("1a", "a name starts with a lower-case letter"),
        ("a b", "a name has no such character"),
        ("floor", "that word belongs to the formula language"),
    ] {
        let error = given.parse::<GateName>().unwrap_err();
        assert_eq!(error.to_string(), format!("{given:?} is no gate name: {reason} {name}"));
        let error = given.parse::<Resource>().unwrap_err();
        assert_eq!(error.to_string(), format!("{given:?} is no resource name: {reason} {name}"));
    }
    for given in ["0", "1073741824", "18446744073709551616", "", "-1", "1.0", "many"] {
        let error = given.parse::<Limit>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{given:?} is no limit (allowed: a whole number from 1 to 1073741823)")
        );
    }
    let error = Limit::try_from(0).unwrap_err();
    assert_eq!(error.to_string(), "0 is no limit (allowed: a whole number from 1 to 1073741823)");
    assert_eq!(u64::from(Limit::try_from(7).unwrap()), 7);
    assert_eq!(u32::from(Limit::MAX), 1_073_741_823);
}

/// Readings and quantities print and convert as documented.
#[test]
fn readings_print_as_words_or_numbers() {
    for (reading, text, plain) in [
        (Reading::whole(20_000), "20k", "20000"),
        (Reading::whole(512 << 20), "512Mi", "536870912"),
        (Reading::from(Quantity::from_thousandths(1500)), "1.5", "1.5"),
        (Reading::Unlimited, "unlimited", "unlimited"),
        (Reading::Unknown, "unknown", "unknown"),
    ] {
        assert_eq!((reading.to_string(), reading.plain().to_string()), (text.to_owned(), plain.to_owned()));
        assert_eq!(format!("{reading:>12}").len(), 12);
    }
    assert_eq!(Reading::default(), Reading::Unknown);
    assert_eq!(Quantity::from(3_u32), Quantity::whole(3));
    assert_eq!(Quantity::default(), Quantity::ZERO);
    assert_eq!(Quantity::whole(u64::MAX), Quantity::MAX);
    assert_eq!(Quantity::MAX.saturating_add(Quantity::whole(1)), Quantity::MAX);
    assert_eq!(Quantity::ZERO.saturating_sub(Quantity::whole(1)), Quantity::ZERO);
    assert_eq!(format!("{:?}", Quantity::whole(512 << 20)), "Quantity(536870912)");
}

fn plan(formula: &str) -> Plan {
    Plan::new([GateSpec::new("io", formula.parse().unwrap())]).unwrap()
}

fn limit_of(formula: &str, cpu: Reading) -> u64 {
    let readings = Readings::new().with(Resource::CPU, cpu);
    plan(formula).resolve(&readings, &Overrides::new()).unwrap().explanations()[0].limit().into()
}
