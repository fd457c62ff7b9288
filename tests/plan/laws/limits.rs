//! Laws of the derived limits.

use concurrency_governor::plan::{Base, BuildError, Operand, Problem, Step};
use concurrency_governor::testing::strategies;
use concurrency_governor::{Amount, Formula, Plan, Reading, Readings, Resource};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq};
use proptest::proptest;

use super::{
    RESOURCES, amount, config, derivation, formula, host, limit, overridden_plan, read_resources, two_hosts,
};
use crate::model::{self, oracle};

proptest! {
    #![proptest_config(config())]

    /// Each limit is in `1..=Limit::MAX`, for any plan, host and settings, and nothing panics.
    #[test]
    fn limit_is_in_range((plan, overrides) in overridden_plan(), readings in host()) {
        if let Ok(resolution) = plan.resolve(&readings, &overrides) {
            for explanation in resolution.explanations() {
                for limit in [explanation.limit(), explanation.derivation().limit()] {
                    prop_assert!((1..=1_073_741_823).contains(&limit.get()));
                }
            }
        }
    }

    /// A derived limit is never above a ceiling.
    #[test]
    fn limit_is_never_above_a_ceiling(formula in formula(), readings in host()) {
        let limit = limit(&formula, &readings);
        for step in formula.steps() {
            if let Step::Ceiling(ceiling) = step {
                prop_assert!(limit <= ceiling);
            }
        }
    }

    /// A derived limit is never above an `at most` whose amount is known. The amount counts as at least 1.
    #[test]
    fn limit_is_never_above_a_known_cap(formula in formula(), readings in host()) {
        let limit = limit(&formula, &readings);
        for cap in caps(&formula, &readings).into_iter().flatten() {
            prop_assert!(limit <= cap);
        }
    }

    /// A derived limit is at least a floor, unless an `at most` with a known amount is lower.
    #[test]
    fn limit_is_at_least_a_floor_unless_a_cap_is_lower(formula in formula(), readings in host()) {
        let limit = limit(&formula, &readings);
        let cap = caps(&formula, &readings).into_iter().flatten().min().unwrap_or(u64::MAX);
        for step in formula.steps() {
            if let Step::Floor(floor) = step {
                prop_assert!(limit >= floor.min(cap));
            }
        }
    }

    /// More resources never lower a limit, also through gates that read each other, and with any settings. A resolution
    /// that succeeds also succeeds with more resources.
    #[test]
    fn more_resources_never_lower_a_limit((plan, overrides) in overridden_plan(), (less, more) in two_hosts()) {
        if let Ok(before) = plan.resolve(&less, &overrides) {
            let after = plan.resolve(&more, &overrides)?;
            for (before, after) in before.explanations().iter().zip(after.explanations()) {
                prop_assert!(before.limit() <= after.limit(), "{before:#}\n{after:#}");
                prop_assert!(before.derivation().limit() <= after.derivation().limit());
            }
        }
    }

    /// An unknown base without an assumed value derives the limit of a base of 0, which is the least of all readings.
    #[test]
    fn unknown_base_derives_the_least_limit(
        base in amount(Resource::CPU),
        clamps in strategies::formula([Operand::Resource(Resource::FD)]),
        readings in host(),
        quantity in strategies::quantity(),
    ) {
        let base = without_assumed(&base);
        let formula = Formula::from_parts(Base::Amount(base), clamps.steps())?;
        let unknown = limit(&formula, &readings.clone().with(Resource::CPU, Reading::Unknown));
        let least = limit(&formula, &readings.clone().with(Resource::CPU, Reading::whole(0)));
        let any = limit(&formula, &readings.with(Resource::CPU, Reading::from(quantity)));
        prop_assert_eq!(unknown, least);
        prop_assert!(unknown <= any);
    }

    /// An assumed value has the effect of an equal reading, and only where the reading is unknown.
    #[test]
    fn assumed_value_replaces_only_unknown_readings(
        formula in formula(),
        readings in host(),
        assumed in strategies::quantity(),
        other in strategies::quantity(),
    ) {
        let assuming = |quantity| map_amounts(&formula, |amount| amount.assume_quantity(quantity));
        let filled: Readings = RESOURCES
            .map(|resource| match readings.reading(resource) {
                Reading::Unknown => (resource, Reading::from(assumed).into()),
                known => (resource, known.into()),
            })
            .into_iter()
            .collect();
        prop_assert_eq!(limit(&assuming(assumed), &readings), limit(&assuming(assumed), &filled));
        prop_assert_eq!(limit(&assuming(assumed), &filled), limit(&assuming(other), &filled));
        prop_assert_eq!(limit(&assuming(other), &filled), limit(&formula, &filled));
    }

    /// The same input gives the same resolution.
    #[test]
    fn resolving_is_deterministic((plan, overrides) in overridden_plan(), readings in host()) {
        prop_assert_eq!(
            plan.resolve(&readings, &overrides),
            plan.clone().resolve(&readings.clone(), &overrides.clone())
        );
    }

    /// The order of declaration changes only the order of the explanations and problems.
    #[test]
    fn order_of_declaration_does_not_change_a_limit(
        (plan, overrides) in overridden_plan(),
        readings in host(),
        keys in vec(any::<u8>(), 6),
    ) {
        let mut specs: Vec<_> = plan.specs().iter().copied().zip(keys).collect();
        specs.sort_by_key(|(_, key)| *key);
        let shuffled = Plan::new(specs.into_iter().map(|(spec, _)| spec))?;
        match (plan.resolve(&readings, &overrides), shuffled.resolve(&readings, &overrides)) {
            (Ok(one), Ok(other)) => {
                for explanation in one.explanations() {
                    prop_assert_eq!(explanation, other.explain(explanation.gate())?);
                }
            }
            (Err(one), Err(other)) => {
                // The problems, and the known gates in a problem with an unknown one, are in the order of the plan.
                let sorted = |error: &BuildError| {
                    let rejected = |problem: &&Problem| matches!(problem, Problem::Rejected { .. });
                    let mut lines: Vec<_> =
                        error.problems().iter().filter(rejected).map(ToString::to_string).collect();
                    lines.sort_unstable();
                    lines
                };
                prop_assert_eq!(sorted(&one), sorted(&other));
                prop_assert_eq!(one.problems().len(), other.problems().len());
            }
            (one, other) => prop_assert!(false, "{one:?}, but shuffled {other:?}"),
        }
    }

    /// A resolution equals that of the oracle, an independent implementation.
    #[test]
    fn resolution_equals_that_of_the_oracle((plan, overrides) in overridden_plan(), readings in host()) {
        model::resolution::check(&plan, &readings, &overrides);
    }

    /// A plan of gates that may read themselves is rejected exactly if it has a cycle. Otherwise its resolution equals that
    /// of the oracle.
    #[test]
    fn plan_is_rejected_only_for_cycles(bytes in vec(any::<u8>(), 0..200)) {
        model::plan::check_bytes(&bytes);
    }

    /// Each part of a derivation has the number that the oracle computes from the printed formula.
    #[test]
    fn derivation_equals_that_of_the_oracle(formula in formula(), readings in host()) {
        let derivation = derivation(&formula, &readings);
        let expected = oracle::derive(&formula.to_string(), &mut read_resources(&readings));
        prop_assert_eq!(i128::from(derivation.limit().get()), expected.limit);
        for (part, expected_part) in derivation.parts().iter().zip(&expected.parts) {
            prop_assert_eq!(part.value(), expected_part.value.reading());
        }
    }
}

/// Returns the value of each `at most` of the formula, at least 1, or `None` if it is not finite. Computed by a formula of
/// its amount alone.
fn caps(formula: &Formula, readings: &Readings) -> Vec<Option<u64>> {
    let clamps = formula.steps().filter_map(|step| match step {
        Step::AtMost(amount) => Some(amount),
        _ => None,
    });
    clamps
        .map(|amount| {
            let derivation = derivation(&Formula::of(amount), readings);
            match derivation.parts()[0].value() {
                Reading::Finite(cap) => Some(cap.floor().max(1)),
                _ => None,
            }
        })
        .collect()
}

/// Returns the amount without its assumed value.
fn without_assumed(amount: &Amount) -> Amount {
    let text = amount.to_string();
    let Some((before, after)) = text.split_once(" or ") else { return *amount };
    let factor = after.split_once(')').map_or("", |(_, factor)| factor);
    let text = format!("{}{factor}", before.trim_start_matches('('));
    match text.parse::<Formula>().unwrap().base() {
        Base::Amount(amount) => amount,
        other => panic!("expected an amount, found {other}"),
    }
}

/// Applies `change` to each amount of a formula.
fn map_amounts(formula: &Formula, change: impl Fn(Amount) -> Amount) -> Formula {
    let base = match formula.base() {
        Base::Amount(amount) => Base::Amount(change(amount)),
        other => other,
    };
    let steps = formula.steps().map(|step| match step {
        Step::AtMost(amount) => Step::AtMost(change(amount)),
        other => other,
    });
    Formula::from_parts(base, steps).unwrap()
}
