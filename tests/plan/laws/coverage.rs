//! Laws of the strategies themselves.

use std::collections::BTreeMap;

use concurrency_governor::plan::{Decision, Effect, Operand, Standing};
use concurrency_governor::testing::strategies;
use concurrency_governor::{Formula, Part, Reading};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq};
use proptest::proptest;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::{GATE, config, formula, host, overridden_plan};

proptest! {
    #![proptest_config(config())]

    /// The strategies generate what they document: limits in range, formulas within their steps and operands, hosts
    /// with four resources.
    #[test]
    fn strategies_generate_valid_values(
        limit in strategies::limit(),
        formula in formula(),
        host in strategies::host(),
        spec in strategies::gate_spec([Operand::Gate(GATE)]),
        part in strategies::part(),
        keys in strategies::keys(),
    ) {
        prop_assert!((1..=1_073_741_823).contains(&limit.get()));
        prop_assert!(formula.steps().count() <= Formula::MAX_STEPS);
        prop_assert!(host.iter().len() <= 4);
        prop_assert!(part.of_limit(limit) <= limit && keys.max() > 0);
        prop_assert_eq!(spec.parent(), None);
        prop_assert!(spec.formula().operands().all(|operand| operand == Operand::Gate(GATE)));
    }
}

/// The strategies generate each kind of base, step, factor, effect and decision, and rejected plans. So the laws of the
/// other modules are not trivially true.
#[test]
fn strategies_generate_every_kind_of_value() {
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..2048 {
        let tree = (overridden_plan(), host()).new_tree(&mut runner).unwrap();
        let ((plan, overrides), readings) = tree.current();
        let mut count = |kind| *kinds.entry(kind).or_default() += 1;
        let Ok(resolution) = plan.resolve(&readings, &overrides) else {
            count("rejected");
            continue;
        };
        for (at, (spec, explanation)) in plan.specs().iter().zip(resolution.explanations()).enumerate() {
            let levels = explanation.path().names().len();
            assert!(levels <= 4, "deeper than documented: {}", explanation.path());
            let is_declared_first = |parent| plan.specs()[at..].iter().any(|other| other.name() == parent);
            for (kind, is_found) in [
                ("a root", levels == 1),
                ("the deepest level", levels == 4),
                ("a weight", spec.share_weight() > 1),
                ("a child before its parent", spec.parent().is_some_and(is_declared_first)),
                ("bound by a gate above", explanation.bound_by().is_some()),
                ("keys of a root", spec.keys().is_some() && levels == 1),
                ("keys of a child", spec.keys().is_some() && levels > 1),
                ("a cap", spec.keys().is_some_and(|keys| keys.cap_part() != Part::WHOLE)),
            ] {
                if is_found {
                    count(kind);
                }
            }
            let text = spec.formula().to_string();
            for kind in ["reserve", "floor", "ceiling", "at most", "whole", " or ", " per ", "/", "gate "] {
                if text.contains(kind) {
                    count(kind);
                }
            }
            if spec.formula().steps().count() == Formula::MAX_STEPS {
                count("the greatest number of steps");
            }
            for part in explanation.derivation().parts() {
                count(match part.effect() {
                    Effect::Set => "set",
                    Effect::Changed => "changed",
                    Effect::Held => "held",
                    Effect::Skipped => "skipped",
                    _ => "another effect",
                });
                count(match part.value() {
                    Reading::Finite(_) => "finite",
                    Reading::Unlimited => "unlimited",
                    Reading::Unknown => "unknown",
                });
            }
            count(match explanation.decision() {
                Decision::Derived => "derived",
                Decision::Overridden { standing: Standing::Within, .. } => "within",
                Decision::Overridden { standing: Standing::Clamped, .. } => "clamped",
                Decision::Overridden { .. } => "trusted",
            });
        }
    }
    assert_eq!(kinds.len(), 30, "{kinds:?}");
    assert!(kinds.values().all(|times| *times >= 20), "{kinds:?}");
}
