//! Laws of derivations and explanations.

use concurrency_governor::plan::{DerivedPart, Effect};
use concurrency_governor::{Reading, Resolution};
use proptest::prelude::{prop_assert, prop_assert_eq};
use proptest::proptest;

use super::{GATE, config, derivation, formula, host, overridden_plan, resolve};

proptest! {
    #![proptest_config(config())]

    /// Each number and each amount of a derivation is whole.
    #[test]
    fn numbers_of_a_derivation_are_whole(formula in formula(), readings in host()) {
        for part in derivation(&formula, &readings).parts() {
            for number in [Some(part.value()), part.amount()].into_iter().flatten() {
                if let Reading::Finite(quantity) = number {
                    prop_assert_eq!(quantity.thousandths() % 1000, 0, "{:?}", part);
                }
            }
        }
    }

    /// The part that decides is the last one that changed the number.
    #[test]
    fn last_part_that_changed_the_number_decides(formula in formula(), readings in host()) {
        let derivation = derivation(&formula, &readings);
        let numbers: Vec<_> = derivation.parts().iter().map(DerivedPart::value).collect();
        let changed = |index: &usize| *index == 0 || numbers[*index - 1] != numbers[*index];
        let last = (0..numbers.len()).rfind(changed).unwrap();
        prop_assert!(std::ptr::eq(derivation.binding(), &raw const derivation.parts()[last]));
        for (index, part) in derivation.parts().iter().enumerate() {
            prop_assert_eq!(part.decides(), index == last);
        }
        prop_assert_eq!(numbers.last(), Some(&Reading::whole(derivation.limit().into())));
    }

    /// `at most` is skipped exactly if its reading is unlimited, or unknown without an assumed value, and its remark
    /// reports it.
    #[test]
    fn at_most_is_skipped_exactly_if_it_cannot_apply(formula in formula(), readings in host()) {
        let resolution = resolve(&formula, &readings);
        let explanation = resolution.explain(GATE)?;
        let text = format!("{explanation:#}");
        for (index, part) in explanation.derivation().parts().iter().enumerate().skip(1) {
            let Some((operand, reading)) = part.operand() else {
                prop_assert!(part.effect() != Effect::Skipped, "{:?}", part);
                continue;
            };
            let assumes = part.text().contains(" or ");
            let cannot_apply = reading == Reading::Unlimited || (reading == Reading::Unknown && !assumes);
            prop_assert_eq!(part.effect() == Effect::Skipped, cannot_apply, "{:?}", part);
            prop_assert_eq!(part.assumed().is_some(), assumes && reading == Reading::Unknown);
            let skipped = format!("skipped: {operand} is {reading}");
            prop_assert_eq!(part.remark() == skipped, cannot_apply, "{}", part.remark());
            let line = text.lines().nth(1 + index).unwrap();
            prop_assert!(line.ends_with(&part.remark()), "{}", line);
        }
    }

    /// `{}` prints one line. `{:#}` prints the same line and one line per part, and marks one part as deciding.
    #[test]
    fn explanation_has_one_line_or_one_line_per_part((plan, overrides) in overridden_plan(), readings in host()) {
        for explanation in plan.resolve(&readings, &overrides).iter().flat_map(Resolution::explanations) {
            let (line, text) = (explanation.to_string(), format!("{explanation:#}"));
            prop_assert_eq!(text.lines().next(), Some(&*line));
            let feedback = usize::from(explanation.feedback().is_some());
            prop_assert_eq!(text.lines().count(), 1 + explanation.derivation().parts().len() + feedback);
            prop_assert_eq!(text.matches("<- decides").count() + text.matches("<- would decide").count(), 1);
            prop_assert!(text.lines().all(|line| line == line.trim_end()));
        }
    }
}
