//! The errors for parts, literals and texts that are not a formula.

use concurrency_governor::plan::{Base, Step};
use concurrency_governor::{Amount, Formula, GateName, Limit, Quantity, Resource};

/// `Formula::from_parts` rejects invalid parts. The error names the part and the reason.
#[test]
fn invalid_parts_are_rejected_with_the_reason() {
    let cpu = Base::Amount(Resource::CPU.times(1));
    let zero = Quantity::ZERO;
    let at_most = |amount: Amount| Step::AtMost(amount);
    let fd = Resource::FD.times(1);
    let limit = u64::from(Limit::MAX);
    for (base, steps, error) in [
        (
            Base::Amount(Resource::CPU.times(0)),
            vec![],
            "formula part `cpu * 0`: a factor of 0 gives 0 on every host (allowed: 1 or more)",
        ),
        (
            Base::Amount(Resource::CPU.fraction(0, 0)),
            vec![],
            "formula part `cpu * 0/0`: a factor of 0 gives 0 on every host (allowed: 1 or more)",
        ),
        (
            Base::Amount(Resource::CPU.fraction(1, 0)),
            vec![],
            "formula part `cpu * 1/0`: a divisor of 0 is not possible (allowed: 1 or more)",
        ),
        (
            Base::Amount(Resource::CPU.per(zero)),
            vec![],
            "formula part `cpu per 0`: a divisor of 0 is not possible (allowed: 1 or more)",
        ),
        (
            cpu,
            vec![at_most(Resource::FD.fraction(1, 0))],
            "formula part `at most fd * 1/0`: a divisor of 0 is not possible (allowed: 1 or more)",
        ),
        (
            cpu,
            vec![at_most(Resource::FD.times(0))],
            "formula part `at most fd * 0`: a factor of 0 gives 0 on every host (allowed: 1 or more)",
        ),
        (
            Base::Fixed(0),
            vec![],
            "formula part `0`: a fixed number must be a limit (allowed: 1 to 1073741823)",
        ),
        (
            Base::Fixed(1 << 30),
            vec![],
            "formula part `1073741824`: a fixed number must be a limit (allowed: 1 to 1073741823)",
        ),
        (
            cpu,
            vec![Step::Floor(0)],
            "formula part `floor 0`: a floor must be a limit (allowed: 1 to 1073741823)",
        ),
        (
            cpu,
            vec![Step::Floor(1 << 30)],
            "formula part `floor 1073741824`: a floor must be a limit (allowed: 1 to 1073741823)",
        ),
        (
            cpu,
            vec![Step::Ceiling(0)],
            "formula part `ceiling 0`: a ceiling must be a limit (allowed: 1 to 1073741823)",
        ),
        (
            cpu,
            vec![Step::Floor(8), Step::Ceiling(7)],
            "formula part `ceiling 7`: the ceiling is below the floor: raise the ceiling or lower the floor",
        ),
        (
            cpu,
            vec![Step::Reserve(1), Step::Floor(8), Step::Ceiling(7)],
            "formula part `ceiling 7`: the ceiling is below the floor: raise the ceiling or lower the floor",
        ),
        (
            cpu,
            vec![Step::Ceiling(7), Step::Reserve(1), Step::Floor(8)],
            "formula part `floor 8`: the ceiling is below the floor: raise the ceiling or lower the floor",
        ),
        (
            cpu,
            vec![at_most(fd), Step::Ceiling(9), Step::Floor(1)],
            "formula part `floor 1`: a floor after `at most` undoes it on a small host: put the floor first",
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
        let rejected = Formula::from_parts(base, steps).unwrap_err();
        assert_eq!(rejected.to_string(), error);
        assert_eq!(rejected.column(), None);
    }
    assert!(Formula::from_parts(cpu, [Step::Floor(8), Step::Ceiling(8)]).is_ok());
    assert!(Formula::from_parts(cpu, [Step::Ceiling(8), Step::Floor(8), at_most(fd)]).is_ok());
    assert!(Formula::from_parts(Base::Fixed(limit), vec![Step::Ceiling(limit); 8]).is_ok());
}

/// The constructors for literals panic with the reason. In a `const` that is a compile error.
#[test]
fn invalid_literals_panic_with_the_reason() {
    fn limit(n: u32) -> Formula {
        Formula::fixed(Limit::new(n).into())
    }
    type Literal = fn() -> Formula;
    let panics: [(Literal, &str); 9] = [
        (|| Formula::scale(Resource::CPU, 0), "a factor of 0 gives 0 on every host (allowed: 1 or more)"),
        (|| Formula::of(Resource::CPU.fraction(1, 0)), "a divisor of 0 is not possible (allowed: 1 or more)"),
        (|| Formula::fixed(0), "a fixed number must be a limit (allowed: 1 to 1073741823)"),
        (|| Formula::fixed(1).floor(0), "a floor must be a limit (allowed: 1 to 1073741823)"),
        (|| Formula::fixed(1).ceiling(0), "a ceiling must be a limit (allowed: 1 to 1073741823)"),
        (
            || Formula::fixed(1).floor(2).reserve(1),
            "a reserve after a floor undoes it: put the reserve first",
        ),
        (
            || Formula::fixed(1).at_most(Resource::FD.times(1)).floor(2),
            "a floor after `at most` undoes it on a small host: put the floor first",
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

/// A text that is not a formula is rejected in one line, with the column and with what is expected there.
#[test]
fn parse_errors_name_the_column_and_what_is_expected() {
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
            r#"formula "whole cpu or 2 * 64", column 1: put the reading in parentheses: `(whole cpu or 2)`"#,
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
            r#"formula "cpu | at most fd | floor 2", column 20: a floor after `at most` undoes it on a small host: put the floor first"#,
        ),
        ("gate", 5, r#"formula "gate", column 5: expected the gate's name, found the end"#),
        (
            "memory per 64mi",
            12,
            r#"formula "memory per 64mi", column 12: "64mi" is not a quantity: its suffix is unknown (allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`)"#,
        ),
        (
            "Cpu",
            1,
            r#"formula "Cpu", column 1: "Cpu" is not a resource name: a name starts with a lower-case letter (allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)"#,
        ),
    ] {
        let rejected = text.parse::<Formula>().unwrap_err();
        assert_eq!(rejected.to_string(), error);
        assert_eq!(rejected.column(), Some(column));
    }
}
