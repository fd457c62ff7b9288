//! Laws of the text formats: formulas, quantities, names and limits.

use concurrency_governor::plan::{Base, Step};
use concurrency_governor::testing::strategies;
use concurrency_governor::{Formula, GateName, Limit, Quantity, Resource};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use proptest::sample::{Index, select};

use super::{amount, config, formula};
use crate::model;

proptest! {
    #![proptest_config(config())]

    /// A printed formula parses to the same formula.
    #[test]
    fn formula_round_trips(formula in formula()) {
        prop_assert_eq!(formula.to_string().parse::<Formula>()?, formula);
    }

    /// Whitespace between the tokens does not change a formula.
    #[test]
    fn whitespace_does_not_change_a_formula(
        formula in formula(),
        spaces in vec(select(vec![" ", "  ", "\t", "\n", "\u{a0}"]), 40),
    ) {
        let text = formula.to_string().replace('(', " ( ").replace(')', " ) ").replace('/', " / ");
        let mut spaces = spaces.into_iter().cycle();
        let spaced: String = text.split(' ').flat_map(|word| [spaces.next().unwrap(), word]).collect();
        prop_assert_eq!(spaced.parse::<Formula>()?, formula);
    }

    /// A quantity parses as it prints, in both forms, and in thousandths with a suffix and with an exponent.
    #[test]
    fn quantity_round_trips(quantity in strategies::quantity()) {
        prop_assert_eq!(quantity.to_string().parse::<Quantity>()?, quantity);
        prop_assert_eq!(quantity.plain().to_string().parse::<Quantity>()?, quantity);
        prop_assert_eq!(format!("{}m", quantity.thousandths()).parse::<Quantity>()?, quantity);
        prop_assert_eq!(format!("{}e-3", quantity.thousandths()).parse::<Quantity>()?, quantity);
    }

    /// Names and limits parse as they print, and names respect the width of a format.
    #[test]
    fn names_and_limits_round_trip(
        resource in strategies::resource(),
        gate in strategies::gate_name(),
        limit in strategies::limit(),
    ) {
        prop_assert_eq!(resource.to_string().parse::<Resource>()?, resource);
        prop_assert_eq!(gate.to_string().parse::<GateName>()?, gate);
        prop_assert_eq!(limit.to_string().parse::<Limit>()?, limit);
        let padded = format!("{gate:>40}");
        prop_assert_eq!((padded.trim_start(), padded.len()), (gate.as_str(), 40));
    }

    /// A formula from parts is rejected exactly if its text is, for the same reason.
    #[test]
    fn parts_and_text_are_rejected_alike(base in any_base(), steps in vec(any_step(), 0..=10)) {
        let text: Vec<String> =
            [base.to_string()].into_iter().chain(steps.iter().map(ToString::to_string)).collect();
        match (Formula::from_parts(base, steps), text.join(" | ").parse::<Formula>()) {
            (Ok(parts), Ok(text)) => prop_assert_eq!(parts, text),
            (Err(parts), Err(text)) => {
                prop_assert_eq!(parts.column(), None);
                // `formula part `..`: reason` and `formula "..", column N: reason`
                let (parts, text) = (parts.to_string(), text.to_string());
                let reason = parts.split_once("`: ").map(|(_, reason)| reason);
                prop_assert!(reason.is_some_and(|reason| text.ends_with(&format!(": {reason}"))), "{parts}\n{text}");
            }
            (parts, text) => prop_assert!(false, "from parts {parts:?}, from text {text:?}"),
        }
    }

    /// Any text parses as a formula or gives an error with a valid column. Nothing panics.
    #[test]
    fn any_text_is_a_formula_or_an_error(text in any::<String>()) {
        model::formula::check_bytes(text.as_bytes());
    }

    /// Valid tokens in any order are a formula, or give an error with a valid column.
    #[test]
    fn any_tokens_are_a_formula_or_an_error(tokens in vec((select(TOKENS.to_vec()), any::<bool>()), 0..=16)) {
        let spaced = tokens.into_iter().flat_map(|(token, space)| [token, if space { " " } else { "" }]);
        let text: String = spaced.collect();
        model::formula::check_bytes(text.as_bytes());
    }

    /// A formula with a few characters changed is a formula, or gives an error with a valid column.
    #[test]
    fn any_misprint_is_a_formula_or_an_error(
        formula in formula(),
        misprints in vec((any::<Index>(), option::of(any::<char>()), any::<bool>()), 1..=3),
    ) {
        let mut text: Vec<char> = formula.to_string().chars().collect();
        for (index, inserted, replaces) in misprints {
            let index = index.index(text.len() + 1);
            text.splice(index..(index + usize::from(replaces)).min(text.len()), inserted);
        }
        model::formula::check_bytes(text.into_iter().collect::<String>().as_bytes());
    }

    /// Any text parses as a name, a quantity or a limit, or gives an error. Parsed values round trip, and nothing
    /// panics.
    #[test]
    fn any_text_is_a_value_or_an_error(text in prop_oneof![any::<String>(), "[-+.0-9a-zA-Zµ]{0,24}"]) {
        for error in [
            text.parse::<GateName>().map(|name| assert_eq!(name.as_str(), text)).err().map(|e| e.to_string()),
            text.parse::<Quantity>()
                .map(|quantity| assert_eq!(quantity.to_string().parse(), Ok(quantity)))
                .err()
                .map(|e| e.to_string()),
            text.parse::<Limit>()
                .map(|limit| assert_eq!(limit.to_string().parse(), Ok(limit)))
                .err()
                .map(|e| e.to_string()),
        ].into_iter().flatten() {
            prop_assert!(error.starts_with(&format!("{text:?} is not a ")), "{error}");
            prop_assert!(!error.contains('\n'));
        }
    }
}

/// The tokens of the formula language, and a few that are not.
const TOKENS: [&str; 31] = [
    "cpu",
    "fd",
    "gate",
    "io",
    "whole",
    "or",
    "per",
    "at",
    "most",
    "reserve",
    "floor",
    "ceiling",
    "|",
    "|",
    "|",
    "*",
    "/",
    "(",
    ")",
    "0",
    "1",
    "2",
    "64",
    "1.5",
    "64Mi",
    "1073741824",
    "18446744073709551616",
    "é",
    "-1",
    "",
    "\u{a0}",
];

/// Generates a base that may be invalid.
fn any_base() -> impl Strategy<Value = Base> {
    prop_oneof![
        4 => amount(Resource::CPU).prop_map(Base::Amount),
        1 => (0_u64..=2, 0_u64..=2).prop_map(|(n, d)| Base::Amount(Resource::CPU.fraction(n, d))),
        1 => prop_oneof![0_u64..=2, Just(1 << 30), any::<u64>()].prop_map(Base::Fixed),
    ]
}

/// Generates a step that may be invalid.
fn any_step() -> impl Strategy<Value = Step> {
    let number = || prop_oneof![8 => 1_u64..=9, 1 => Just(0), 1 => Just(1 << 30), 1 => any::<u64>()];
    prop_oneof![
        number().prop_map(Step::Reserve),
        number().prop_map(Step::Floor),
        number().prop_map(Step::Ceiling),
        amount(Resource::FD).prop_map(Step::AtMost),
        (0_u64..=2).prop_map(|n| Step::AtMost(Resource::FD.per(Quantity::from_thousandths(n)))),
    ]
}
