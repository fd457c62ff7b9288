//! Names, quantities, limits and readings: their texts, their conversions and their errors.

use std::time::Duration;

use concurrency_governor::{Adaptive, GateName, Limit, Quantity, Reading, Resource};

/// A text that is not a name, a quantity or a limit is rejected in one line: the text, the reason, and what is allowed.
#[test]
fn invalid_values_are_rejected_in_one_line() {
    let quantity = "(allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`)";
    for (given, reason) in [
        ("", "it is empty"),
        ("-1", "it is negative"),
        ("Mi", "it does not start with a number"),
        ("++1", "it does not start with a number"),
        ("1mi", "its suffix is unknown"),
        ("0.0001", "it is not a multiple of 0.001"),
        ("0.12345678901234567890123456789012345678901234567890", "it is not a multiple of 0.001"),
        ("1E", "it is greater than 18446744073709551.615"),
        ("123456789012345678901234567890123456789012345678.5", "it is greater than 18446744073709551.615"),
        ("1\n", "its suffix is unknown"),
    ] {
        let error = given.parse::<Quantity>().unwrap_err();
        assert_eq!(error.to_string(), format!("{given:?} is not a quantity: {reason} {quantity}"));
    }
    let name = "(allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)";
    let long = "a".repeat(32);
    for (given, reason) in [
        ("", "a name cannot be empty"),
        (&long, "a name has at most 31 bytes"),
        ("1a", "a name starts with a lower-case letter"),
        ("a b", "a name has only lower-case letters, digits, `_`, `-` and `.`"),
        ("floor", "this word is reserved by the formula language"),
    ] {
        let error = given.parse::<GateName>().unwrap_err();
        assert_eq!(error.to_string(), format!("{given:?} is not a gate name: {reason} {name}"));
        let error = given.parse::<Resource>().unwrap_err();
        assert_eq!(error.to_string(), format!("{given:?} is not a resource name: {reason} {name}"));
    }
    for given in ["0", "1073741824", "18446744073709551616", "", "-1", "1.0", "many"] {
        let error = given.parse::<Limit>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{given:?} is not a limit (allowed: a whole number from 1 to 1073741823)")
        );
    }
    let error = Limit::try_from(0_u64).unwrap_err();
    assert_eq!(error.to_string(), "0 is not a limit (allowed: a whole number from 1 to 1073741823)");
    assert_eq!(u64::from(Limit::try_from(7).unwrap()), 7);
    assert_eq!(u32::from(Limit::MAX), 1_073_741_823);
}

/// Readings and quantities print and convert as documented.
#[test]
fn readings_and_quantities_print_and_convert() {
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

/// An adaptive limit parses as it prints, whatever the duration of its rule.
#[test]
fn durations_of_a_rule_round_trip() {
    for duration in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(1500),
        Duration::from_nanos(u64::MAX),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ] {
        let adaptive = Adaptive::aimd(duration);
        assert_eq!(adaptive.to_string().parse::<Adaptive>().unwrap(), adaptive);
    }
    assert!("aimd 18446744073709551616s".parse::<Adaptive>().is_err());
}
