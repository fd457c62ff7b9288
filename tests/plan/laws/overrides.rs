//! Laws of operators' settings.

use std::ffi::OsString;

use concurrency_governor::plan::{Decision, Policy, Problem, Standing};
use concurrency_governor::testing::strategies;
use concurrency_governor::{
    Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Reading, Readings, Resource,
};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use proptest::sample::select;
use proptest::{option, test_runner::TestCaseError};

use super::{GATE, config, host, overridden_plan, plan_of};

proptest! {
    #![proptest_config(config())]

    /// The first layer that sets a gate wins. The others are shadowed, in order. A layer without a setting has no
    /// effect.
    #[test]
    fn first_layer_that_sets_a_gate_wins(values in vec(option::of(1_usize..=200), 0..=5), cores in 1_u64..=8) {
        let names = ["one", "two", "three", "four", "five"];
        let layers = names.iter().zip(&values);
        let layers = layers.map(|(name, value)| OverrideLayer::new(*name).maybe_set(GATE, *value));
        let overrides = layers.fold(Overrides::new(), Overrides::then);
        let readings = Readings::new().with(Resource::CPU, Reading::whole(cores));
        let resolution = plan_of(&Formula::scale(Resource::CPU, 16)).resolve(&readings, &overrides)?;
        let explanation = resolution.explain(GATE)?;

        let mut set = names.iter().zip(&values).filter_map(|(name, value)| Some((*name, (*value)?)));
        match (set.next(), explanation.decision()) {
            (None, Decision::Derived) => prop_assert_eq!(u64::from(explanation.limit()), 16 * cores),
            (Some((name, requested)), Decision::Overridden { origin, value, .. }) => {
                prop_assert_eq!((origin.layer(), *value), (name, requested));
                prop_assert_eq!(u64::from(explanation.limit()), requested as u64);
            }
            (set, decision) => prop_assert!(false, "set {set:?}, but decided {decision:?}"),
        }
        let shadowed = explanation.shadowed().iter().map(|setting| (setting.origin.layer(), setting.value));
        prop_assert_eq!(shadowed.collect::<Vec<_>>(), set.collect::<Vec<_>>());
    }

    /// The stricter policy of the layer and the gate trusts, lowers or rejects a setting above the derived limit, and
    /// has no effect below. A setting out of range becomes the nearest limit.
    #[test]
    fn stricter_policy_applies(
        of_layer in strategies::policy(),
        of_gate in strategies::policy(),
        requested in prop_oneof![0_usize..=128, select(vec![1 << 30, usize::MAX, Limit::MAX.get() as usize])],
        derived in strategies::limit(),
    ) {
        let spec = GateSpec::named(GATE, Formula::fixed(derived.into())).policy(of_gate);
        let overrides = Overrides::new().then(OverrideLayer::new("cli").set(GATE, requested).policy(of_layer));
        let nearest = Limit::saturating(requested as u64);
        prop_assert_eq!(nearest.get() as usize, requested.clamp(1, 1_073_741_823));

        let above = nearest > derived;
        let either = |policy| of_layer == policy || of_gate == policy;
        match Plan::new([spec])?.resolve(&Readings::new(), &overrides) {
            Err(error) => {
                prop_assert!(above && either(Policy::Reject));
                prop_assert!(
                    matches!(error.problems(), [Problem::Rejected { gate: GATE, value, derived: most, .. }]
                        if *value == requested && *most == derived),
                    "{}", error
                );
            }
            Ok(resolution) => {
                let explanation = resolution.explain(GATE)?;
                let (limit, expected) = match (above, either(Policy::Reject), either(Policy::Clamp)) {
                    (false, ..) => (nearest, Standing::Within),
                    (true, false, false) => (nearest, Standing::AboveDerived),
                    (true, false, true) => (derived, Standing::Clamped),
                    (true, true, _) => return Err(TestCaseError::fail("the setting must be rejected")),
                };
                prop_assert_eq!(explanation.limit(), limit);
                let Decision::Overridden { value, standing, .. } = explanation.decision() else {
                    return Err(TestCaseError::fail("the setting must decide"));
                };
                prop_assert_eq!((*value, *standing), (requested, expected));
            }
        }
    }

    /// A rejected resolution lists each setting of an unknown gate, and each setting that is above the derived limit
    /// under a policy that rejects it. The derived limits are those with all such settings lowered.
    #[test]
    fn rejection_lists_every_problem((plan, overrides) in overridden_plan(), readings in host()) {
        // Each setting of an unknown gate is a problem.
        let declared = |gate: &GateName| plan.specs().iter().any(|spec| spec.name() == *gate);
        let settings = overrides.layers().iter().flat_map(OverrideLayer::settings).map(|(gate, _)| gate);
        let unknown_gates: Vec<GateName> = settings.filter(|gate| !declared(gate)).collect();

        // The same plan and settings, without unknown gates and with each `Reject` replaced by `Clamp`, give the derived
        // limits by which the settings are judged.
        let lenient = |policy: Policy| policy.min(Policy::Clamp);
        let known = overrides.layers().iter().fold(Overrides::new(), |known, layer| {
            let kept = layer.settings().filter(|(gate, _)| declared(gate));
            let start = OverrideLayer::new("known").policy(lenient(layer.override_policy()));
            known.then(kept.fold(start, |layer, (gate, value)| layer.set(gate, value)))
        });
        let specs = plan.specs().iter().map(|spec| spec.policy(lenient(spec.override_policy())));
        let lowered = Plan::new(specs)?.resolve(&readings, &known)?;

        // Each setting above its derived limit is a problem, if the stricter policy rejects it.
        let mut rejected = Vec::new();
        for spec in plan.specs() {
            let first = overrides.layers().iter().find_map(|layer| {
                let (_, value) = layer.settings().find(|(gate, _)| *gate == spec.name())?;
                Some((Limit::saturating(value as u64), layer.override_policy()))
            });
            let derived = lowered.explain(spec)?.derivation().ceiling();
            if let Some((requested, policy)) = first {
                if policy.max(spec.override_policy()) == Policy::Reject && requested > derived {
                    rejected.push((spec.name(), derived));
                }
            }
        }

        let (mut found_unknown_gates, mut found_rejected) = (Vec::new(), Vec::new());
        if let Err(error) = plan.resolve(&readings, &overrides) {
            for problem in error.problems() {
                match problem {
                    Problem::UnknownOverride { gate, .. } => found_unknown_gates.push(*gate),
                    Problem::Rejected { gate, derived, .. } => found_rejected.push((*gate, *derived)),
                    other => prop_assert!(false, "{other}"),
                }
            }
        }
        prop_assert_eq!(found_unknown_gates, unknown_gates);
        prop_assert_eq!(found_rejected, rejected);
    }

    /// An environment variable sets its gate if its value is a whole number, and sets nothing if it is empty. Otherwise the
    /// error names the variable.
    #[test]
    fn any_variable_is_a_setting_or_an_error(
        value in prop_oneof![
            any::<String>(),
            "[ \\t]{0,2}",
            any::<usize>().prop_map(|n| n.to_string()),
            any::<u128>().prop_map(|n| n.to_string()),
        ],
    ) {
        let layer = OverrideLayer::env([(GATE, "APP_IO")], |_| Some(OsString::from(&value)));
        match (value.trim().parse::<usize>(), layer) {
            (Ok(number), Ok(layer)) => prop_assert_eq!(layer.settings().collect::<Vec<_>>(), [(GATE, number)]),
            (Err(_), Ok(layer)) if value.trim().is_empty() => prop_assert_eq!(layer.settings().len(), 0),
            (Err(_), Err(error)) if !value.trim().is_empty() => {
                prop_assert!(error.to_string().contains("APP_IO="), "{}", error);
                prop_assert!(!error.to_string().contains('\n'));
            }
            (number, layer) => prop_assert!(false, "expected {number:?}, found {layer:?}"),
        }
    }
}
