//! The laws of the pure core, each tested as a law: on thousands of plans, hosts and operators.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "model/formula.rs"]
mod formula_model;
#[path = "model/plan.rs"]
mod model;
#[path = "model/resolution.rs"]
mod resolution;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use concurrency_governor::plan::{
    Base, BuildError, Decision, Derivation, DerivedPart, Effect, Operand, Policy, Problem, Standing, Step,
};
use concurrency_governor::testing::strategies;
use concurrency_governor::{
    Amount, Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Quantity, Reading, Readings,
    Resolution, Resource,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use proptest::sample::{Index, select};

use resolution::{hold, oracle};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    // Numbers

    /// Whatever the plan, the host and the operator: a limit is in `1..=Limit::MAX`, and nothing panics.
    #[test]
    fn limit_is_in_range((plan, overrides) in overridden(), readings in host()) {
        if let Ok(resolution) = plan.resolve(&readings, &overrides) {
            for explanation in resolution.explanations() {
                for limit in [explanation.limit(), explanation.derivation().limit()] {
                    prop_assert!((1..=1_073_741_823).contains(&limit.get()));
                }
            }
        }
    }

    /// What is derived is never above a ceiling.
    #[test]
    fn never_above_a_ceiling(formula in formula(), readings in host()) {
        let limit = limit(&formula, &readings);
        for step in formula.steps() {
            if let Step::Ceiling(ceiling) = step {
                prop_assert!(limit <= ceiling);
            }
        }
    }

    /// What is derived is never above a cap of the host's that is known; a cap counts as at least 1.
    #[test]
    fn never_above_a_known_cap(formula in formula(), readings in host()) {
        let limit = limit(&formula, &readings);
        for cap in caps(&formula, &readings).into_iter().flatten() {
            prop_assert!(limit <= cap);
        }
    }

    /// A floor holds, unless a known cap is lower.
    #[test]
    fn floor_holds_unless_a_known_cap_is_lower(formula in formula(), readings in host()) {
        let limit = limit(&formula, &readings);
        let cap = caps(&formula, &readings).into_iter().flatten().min().unwrap_or(u64::MAX);
        for step in formula.steps() {
            if let Step::Floor(floor) = step {
                prop_assert!(limit >= floor.min(cap));
            }
        }
    }

    /// What is more host never means less limit: through gates that read each other, and whatever the operator sets.
    /// What was not refused is not refused then.
    #[test]
    fn more_host_never_means_less_limit((plan, overrides) in overridden(), (less, more) in two_hosts()) {
        if let Ok(before) = plan.resolve(&less, &overrides) {
            let after = plan.resolve(&more, &overrides)?;
            for (before, after) in before.explanations().iter().zip(after.explanations()) {
                prop_assert!(before.limit() <= after.limit(), "{before:#}\n{after:#}");
                prop_assert!(before.derivation().limit() <= after.derivation().limit());
            }
        }
    }

    /// A base that reads unknown, with nothing assumed, comes to what the least reading comes to.
    #[test]
    fn unknown_counts_as_the_least(
        base in amount(Resource::CPU),
        clamps in strategies::formula([Operand::Resource(Resource::FD)]),
        readings in host(),
        quantity in strategies::quantity(),
    ) {
        let base = unassuming(&base);
        let formula = Formula::from_parts(Base::Amount(base), clamps.steps())?;
        let unknown = limit(&formula, &readings.clone().with(Resource::CPU, Reading::Unknown));
        let least = limit(&formula, &readings.clone().with(Resource::CPU, Reading::whole(0)));
        let any = limit(&formula, &readings.with(Resource::CPU, Reading::from(quantity)));
        prop_assert_eq!(unknown, least);
        prop_assert!(unknown <= any);
    }

    /// What is assumed counts as if it had been read, and only where the reading is unknown.
    #[test]
    fn assumed_matters_only_when_unknown(
        formula in formula(),
        readings in host(),
        assumed in strategies::quantity(),
        other in strategies::quantity(),
    ) {
        let assuming = |quantity| amounts_mapped(&formula, |amount| amount.assume_quantity(quantity));
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

    /// The same input gives the same output.
    #[test]
    fn same_input_same_output((plan, overrides) in overridden(), readings in host()) {
        prop_assert_eq!(
            plan.resolve(&readings, &overrides),
            plan.clone().resolve(&readings.clone(), &overrides.clone())
        );
    }

    /// In which order gates are declared changes nothing but the order of the answers.
    #[test]
    fn order_of_declaration_changes_nothing(
        (plan, overrides) in overridden(),
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
                // Each list is in the order of its plan, and so is what an unknown gate is told there is.
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
            (one, other) => prop_assert!(false, "{one:?} but {other:?}"),
        }
    }

    /// Everything that a resolution says is what an oracle says that works it out in another way.
    #[test]
    fn resolution_follows_its_oracle((plan, overrides) in overridden(), readings in host()) {
        hold(&plan, &readings, &overrides);
    }

    /// The same for plans that may read themselves: a circle is refused, and nothing else is.
    #[test]
    fn circles_and_nothing_else_are_refused(bytes in vec(any::<u8>(), 0..200)) {
        model::drive(&bytes);
    }

    /// A formula's parts, replayed one by one from their texts by the oracle, come to its limit.
    #[test]
    fn derivation_replays(formula in formula(), readings in host()) {
        let derivation = derivation(&formula, &readings);
        let replayed = oracle::derive(&formula, &mut read(&readings));
        prop_assert_eq!(i128::from(derivation.limit().get()), replayed.limit);
        for (part, expected) in derivation.parts().iter().zip(&replayed.parts) {
            prop_assert_eq!(part.value(), expected.value.reading());
        }
    }

    // Explanations

    /// The number after a part is whole.
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

    /// The part that decides is the last that changed the number.
    #[test]
    fn binding_part_is_the_last_that_changed_the_number(formula in formula(), readings in host()) {
        let derivation = derivation(&formula, &readings);
        let numbers: Vec<_> = derivation.parts().iter().map(DerivedPart::value).collect();
        let changed = |at: &usize| *at == 0 || numbers[*at - 1] != numbers[*at];
        let last = (0..numbers.len()).rfind(changed).unwrap();
        prop_assert!(std::ptr::eq(derivation.binding(), &raw const derivation.parts()[last]));
        for (at, part) in derivation.parts().iter().enumerate() {
            prop_assert_eq!(part.decides(), at == last);
        }
        prop_assert_eq!(numbers.last(), Some(&Reading::whole(derivation.limit().into())));
    }

    /// `at most` is skipped exactly where its reading is unlimited, or unknown with nothing assumed; and says so.
    #[test]
    fn at_most_is_skipped_exactly_when_it_cannot_apply(formula in formula(), readings in host()) {
        let resolution = resolve(&formula, &readings);
        let explanation = resolution.explain(GATE)?;
        let text = format!("{explanation:#}");
        for (at, part) in explanation.derivation().parts().iter().enumerate().skip(1) {
            let Some((operand, reading)) = part.operand() else {
                prop_assert!(part.effect() != Effect::Skipped, "{:?}", part);
                continue;
            };
            let assumes = part.text().contains(" or ");
            let cannot_apply = reading == Reading::Unlimited || (reading == Reading::Unknown && !assumes);
            prop_assert_eq!(part.effect() == Effect::Skipped, cannot_apply, "{:?}", part);
            prop_assert_eq!(part.assumed().is_some(), assumes && reading == Reading::Unknown);
            let says_so = format!("skipped: {operand} is {reading}");
            prop_assert_eq!(part.remark() == says_so, cannot_apply, "{}", part.remark());
            let line = text.lines().nth(1 + at).unwrap();
            prop_assert!(line.ends_with(&part.remark()), "{}", line);
        }
    }

    /// `{}` is one line; `{:#}` is that line and one for each part, and one of these decides.
    #[test]
    fn explanation_is_a_line_or_a_line_for_each_part((plan, overrides) in overridden(), readings in host()) {
        for explanation in plan.resolve(&readings, &overrides).iter().flat_map(Resolution::explanations) {
            let (line, text) = (explanation.to_string(), format!("{explanation:#}"));
            prop_assert_eq!(text.lines().next(), Some(&*line));
            prop_assert_eq!(text.lines().count(), 1 + explanation.derivation().parts().len());
            prop_assert_eq!(text.matches("<- decides").count(), 1);
            prop_assert!(text.lines().all(|line| line == line.trim_end()));
        }
    }

    // Overrides

    /// The first layer that sets a gate decides; the others are shadowed, in their order; one that sets nothing is
    /// not seen.
    #[test]
    fn first_layer_wins(values in vec(option::of(1_usize..=200), 0..=5), cores in 1_u64..=8) {
        let names = ["one", "two", "three", "four", "five"];
        let layers = names.iter().zip(&values).map(|(name, value)| OverrideLayer::new(*name).maybe_set(GATE, *value));
        let overrides = layers.fold(Overrides::new(), Overrides::then);
        let resolution = plan_of(&Formula::scale(Resource::CPU, 16)).resolve(&cpu(cores), &overrides)?;
        let explanation = resolution.explain(GATE)?;

        let mut set = names.iter().zip(&values).filter_map(|(name, value)| Some((*name, (*value)?)));
        match (set.next(), explanation.decision()) {
            (None, Decision::Derived) => prop_assert_eq!(u64::from(explanation.limit()), 16 * cores),
            (Some((name, asked)), Decision::Overridden { origin, value, .. }) => {
                prop_assert_eq!((origin.layer(), *value), (name, asked));
                prop_assert_eq!(u64::from(explanation.limit()), asked as u64);
            }
            (set, decision) => prop_assert!(false, "{set:?} but {decision:?}"),
        }
        let lost: Vec<_> = explanation.shadowed().iter().map(|lost| (lost.origin.layer(), lost.value)).collect();
        prop_assert_eq!(lost, set.collect::<Vec<_>>());
    }

    /// The stricter of the layer's and the gate's policy holds: trusted, lowered or refused above what is derived,
    /// and none of it matters below. 0 is 1, and what no gate can hold is the most that one can.
    #[test]
    fn stricter_policy_holds(
        of_layer in strategies::policy(),
        of_gate in strategies::policy(),
        asked in prop_oneof![0_usize..=128, select(vec![1 << 30, usize::MAX, Limit::MAX.get() as usize])],
        derived in strategies::limit(),
    ) {
        let spec = GateSpec::named(GATE, Formula::fixed(derived.into())).policy(of_gate);
        let overrides = Overrides::new().then(OverrideLayer::new("cli").set(GATE, asked).policy(of_layer));
        let nearest = Limit::saturating(asked as u64);
        prop_assert_eq!(nearest.get() as usize, asked.clamp(1, 1_073_741_823));

        let above = nearest > derived;
        let either = |policy| of_layer == policy || of_gate == policy;
        match Plan::new([spec])?.resolve(&Readings::new(), &overrides) {
            Err(error) => {
                prop_assert!(above && either(Policy::Reject));
                prop_assert!(
                    matches!(error.problems(), [Problem::Rejected { gate: GATE, value, derived: most, .. }]
                        if *value == asked && *most == derived),
                    "{}", error
                );
            }
            Ok(resolution) => {
                let explanation = resolution.explain(GATE)?;
                let (limit, expected) = match (above, either(Policy::Reject), either(Policy::Clamp)) {
                    (false, ..) => (nearest, Standing::Within),
                    (true, false, false) => (nearest, Standing::AboveDerived),
                    (true, false, true) => (derived, Standing::Clamped),
                    (true, true, _) => return Err(proptest::test_runner::TestCaseError::fail("not refused")),
                };
                prop_assert_eq!(explanation.limit(), limit);
                let Decision::Overridden { value, standing, .. } = explanation.decision() else {
                    return Err(proptest::test_runner::TestCaseError::fail("not overridden"));
                };
                prop_assert_eq!((*value, *standing), (asked, expected));
            }
        }
    }

    /// A refused resolution lists every problem: each setting of a gate that is not there, and each that is above
    /// what is derived where that is refused, judged as if all such settings had been lowered.
    #[test]
    fn refusal_lists_every_problem((plan, overrides) in overridden(), readings in host()) {
        let declared = |gate: &GateName| plan.specs().iter().any(|spec| spec.name() == *gate);
        let settings = overrides.layers().iter().flat_map(OverrideLayer::settings).map(|(gate, _)| gate);
        let strangers: Vec<GateName> = settings.filter(|gate| !declared(gate)).collect();

        let lenient = |policy: Policy| policy.min(Policy::Clamp);
        let known = overrides.layers().iter().fold(Overrides::new(), |known, layer| {
            let kept = layer.settings().filter(|(gate, _)| declared(gate));
            let start = OverrideLayer::new("known").policy(lenient(layer.override_policy()));
            known.then(kept.fold(start, |layer, (gate, value)| layer.set(gate, value)))
        });
        let specs = plan.specs().iter().map(|spec| spec.policy(lenient(spec.override_policy())));
        let lowered = Plan::new(specs)?.resolve(&readings, &known)?;
        let mut rejected = Vec::new();
        for spec in plan.specs() {
            let first = overrides.layers().iter().find_map(|layer| {
                let (_, value) = layer.settings().find(|(gate, _)| *gate == spec.name())?;
                Some((Limit::saturating(value as u64), layer.override_policy()))
            });
            let derived = lowered.explain(spec)?.derivation().limit();
            if let Some((asked, policy)) = first {
                if policy.max(spec.override_policy()) == Policy::Reject && asked > derived {
                    rejected.push((spec.name(), derived));
                }
            }
        }

        let (mut found_strangers, mut found_rejected) = (Vec::new(), Vec::new());
        if let Err(error) = plan.resolve(&readings, &overrides) {
            for problem in error.problems() {
                match problem {
                    Problem::UnknownOverride { gate, .. } => found_strangers.push(*gate),
                    Problem::Rejected { gate, derived, .. } => found_rejected.push((*gate, *derived)),
                    other => prop_assert!(false, "{other}"),
                }
            }
        }
        prop_assert_eq!(found_strangers, strangers);
        prop_assert_eq!(found_rejected, rejected);
    }

    // Texts

    /// A formula reads back as it is written.
    #[test]
    fn formula_reads_back(formula in formula()) {
        prop_assert_eq!(formula.to_string().parse::<Formula>()?, formula);
    }

    /// However it is spaced, a formula is the same.
    #[test]
    fn space_is_free(formula in formula(), spaces in vec(select(vec![" ", "  ", "\t", "\n", "\u{a0}"]), 40)) {
        let text = formula.to_string().replace('(', " ( ").replace(')', " ) ").replace('/', " / ");
        let mut spaces = spaces.into_iter().cycle();
        let spaced: String = text.split(' ').flat_map(|word| [spaces.next().unwrap(), word]).collect();
        prop_assert_eq!(spaced.parse::<Formula>()?, formula);
    }

    /// A quantity reads back as it is written, in either form, and with every suffix means the same multiple.
    #[test]
    fn quantity_reads_back(quantity in strategies::quantity()) {
        prop_assert_eq!(quantity.to_string().parse::<Quantity>()?, quantity);
        prop_assert_eq!(quantity.plain().to_string().parse::<Quantity>()?, quantity);
        prop_assert_eq!(format!("{}m", quantity.thousandths()).parse::<Quantity>()?, quantity);
        prop_assert_eq!(format!("{}e-3", quantity.thousandths()).parse::<Quantity>()?, quantity);
    }

    /// Names and limits read back as they are written, and pad as texts do.
    #[test]
    fn names_and_limits_read_back(
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

    /// A formula made of parts is refused exactly where its text is, for the same reason.
    #[test]
    fn parts_and_text_agree(base in any_base(), steps in vec(any_step(), 0..=10)) {
        let text: Vec<String> =
            [base.to_string()].into_iter().chain(steps.iter().map(ToString::to_string)).collect();
        match (Formula::from_parts(base, steps), text.join(" | ").parse::<Formula>()) {
            (Ok(parts), Ok(text)) => prop_assert_eq!(parts, text),
            (Err(parts), Err(text)) => {
                prop_assert_eq!(parts.column(), None);
                let reason = |error: &str| error.rsplit_once(": ").map(|(_, reason)| reason.to_owned());
                prop_assert_eq!(reason(&parts.to_string()), reason(&text.to_string()));
            }
            (parts, text) => prop_assert!(false, "{parts:?} but {text:?}"),
        }
    }

    /// Whatever the text: no panic, and an error's column is inside the text or just behind it.
    #[test]
    fn any_text_is_a_formula_or_an_error(text in any::<String>()) {
        formula_model::drive(text.as_bytes());
    }

    /// The same for texts of the right words in any order.
    #[test]
    fn any_words_are_a_formula_or_an_error(words in vec((select(WORDS.to_vec()), any::<bool>()), 0..=16)) {
        let text: String = words.into_iter().flat_map(|(word, space)| [word, if space { " " } else { "" }]).collect();
        formula_model::drive(text.as_bytes());
    }

    /// The same for formulas with a few characters changed.
    #[test]
    fn any_misprint_is_a_formula_or_an_error(
        formula in formula(),
        misprints in vec((any::<Index>(), option::of(any::<char>()), any::<bool>()), 1..=3),
    ) {
        let mut text: Vec<char> = formula.to_string().chars().collect();
        for (place, printed, instead) in misprints {
            let place = place.index(text.len() + 1);
            text.splice(place..(place + usize::from(instead)).min(text.len()), printed);
        }
        formula_model::drive(text.into_iter().collect::<String>().as_bytes());
    }

    /// Names, quantities and limits are read from any text without a panic; what is read is written back.
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

    /// An environment variable sets a gate if it holds a whole number, and is refused with its name if it does not.
    #[test]
    fn any_environment_is_a_layer_or_an_error(
        value in prop_oneof![any::<String>(), any::<usize>().prop_map(|n| n.to_string()), any::<u128>().prop_map(|n| n.to_string())],
    ) {
        let layer = OverrideLayer::env([(GATE, "APP_IO")], |_| Some(OsString::from(&value)));
        match (value.trim().parse::<usize>(), layer) {
            (Ok(number), Ok(layer)) => prop_assert_eq!(layer.settings().collect::<Vec<_>>(), [(GATE, number)]),
            (Err(_), Err(error)) => {
                prop_assert!(error.to_string().contains("APP_IO="), "{}", error);
                prop_assert!(!error.to_string().contains('\n'));
            }
            (number, layer) => prop_assert!(false, "{number:?} but {layer:?}"),
        }
    }

    // Strategies

    /// The strategies make what they say: limits in range, formulas within their steps, hosts of four resources.
    #[test]
    fn strategies_keep_their_word(
        limit in strategies::limit(),
        formula in formula(),
        host in strategies::host(),
        spec in strategies::gate_spec([Operand::Gate(GATE)]),
    ) {
        prop_assert!((1..=1_073_741_823).contains(&limit.get()));
        prop_assert!(formula.steps().count() <= Formula::MAX_STEPS);
        prop_assert!(host.iter().len() <= 4);
        prop_assert!(spec.formula().operands().all(|operand| operand == Operand::Gate(GATE)));
    }
}

/// What the fuzzer once found worth keeping stays right.
#[test]
fn corpora_replay() {
    for (corpus, drive) in
        [("formula", formula_model::drive as fn(&[u8])), ("resolve", model::drive as fn(&[u8]))]
    {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
        for entry in corpus.read_dir().into_iter().flatten() {
            drive(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

/// Over enough cases a strategy makes every base, step, factor and effect, and refusals as well as resolutions: the
/// laws above are not true of nothing.
#[test]
fn strategies_cover_every_kind() {
    let mut kinds: BTreeMap<&str, u32> = BTreeMap::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..2048 {
        let tree = (overridden(), host()).new_tree(&mut runner).unwrap();
        let ((plan, overrides), readings) = proptest::strategy::ValueTree::current(&tree);
        let mut count = |kind| *kinds.entry(kind).or_default() += 1;
        let Ok(resolution) = plan.resolve(&readings, &overrides) else {
            count("refused");
            continue;
        };
        for (spec, explanation) in plan.specs().iter().zip(resolution.explanations()) {
            let text = spec.formula().to_string();
            for kind in ["reserve", "floor", "ceiling", "at most", "whole", " or ", " per ", "/", "gate "] {
                if text.contains(kind) {
                    count(kind);
                }
            }
            if spec.formula().steps().count() == Formula::MAX_STEPS {
                count("as many steps as fit");
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
    assert_eq!(kinds.len(), 22, "{kinds:?}");
    assert!(kinds.values().all(|times| *times >= 20), "{kinds:?}");
}

const GATE: GateName = GateName::new("io");
const RESOURCES: [Resource; 3] = [Resource::CPU, Resource::FD, Resource::MEMORY];

const WORDS: [&str; 31] = [
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

fn formula() -> impl Strategy<Value = Formula> {
    strategies::formula(RESOURCES.map(Operand::Resource))
}

fn amount(resource: Resource) -> impl Strategy<Value = Amount> {
    strategies::amount([Operand::Resource(resource)])
}

fn host() -> impl Strategy<Value = Readings> {
    prop_oneof![1 => strategies::host(), 3 => strategies::readings(RESOURCES)]
}

/// A host, and one that has as much of everything or more; unknown stays unknown.
fn two_hosts() -> impl Strategy<Value = (Readings, Readings)> {
    let pair = || {
        (strategies::reading(), strategies::reading()).prop_map(|pair| match pair {
            (Reading::Unknown, _) | (_, Reading::Unknown) => (Reading::Unknown, Reading::Unknown),
            (Reading::Unlimited, less) => (less, Reading::Unlimited),
            (Reading::Finite(one), Reading::Finite(other)) => (one.min(other).into(), one.max(other).into()),
            pair => pair,
        })
    };
    [pair(), pair(), pair()].prop_map(|pairs| {
        let less = RESOURCES.into_iter().zip(pairs).map(|(resource, (less, _))| (resource, less.into()));
        let more = RESOURCES.into_iter().zip(pairs).map(|(resource, (_, more))| (resource, more.into()));
        (less.collect(), more.collect())
    })
}

/// A plan, and operators' settings of its gates; one time in eight of a gate beside them too.
fn overridden() -> impl Strategy<Value = (Plan, Overrides)> {
    (strategies::plan(), 0..8_u8).prop_flat_map(|(plan, stranger)| {
        let gates: Vec<GateName> = plan.specs().iter().map(GateSpec::name).collect();
        let gates = gates.into_iter().chain((stranger == 7).then(|| GateName::new("a-stranger")));
        let overrides = prop_oneof![1 => Just(Overrides::new()), 3 => strategies::overrides(gates)];
        (Just(plan), overrides)
    })
}

/// A base that may be refused.
fn any_base() -> impl Strategy<Value = Base> {
    prop_oneof![
        4 => amount(Resource::CPU).prop_map(Base::Amount),
        1 => (0_u64..=2, 0_u64..=2).prop_map(|(n, d)| Base::Amount(Resource::CPU.fraction(n, d))),
        1 => prop_oneof![0_u64..=2, Just(1 << 30), any::<u64>()].prop_map(Base::Fixed),
    ]
}

/// A step that may be refused.
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

fn plan_of(formula: &Formula) -> Plan {
    Plan::new([GateSpec::named(GATE, *formula)]).unwrap()
}

fn resolve(formula: &Formula, readings: &Readings) -> Resolution {
    plan_of(formula).resolve(readings, &Overrides::new()).unwrap()
}

fn derivation(formula: &Formula, readings: &Readings) -> Derivation {
    resolve(formula, readings).explain(GATE).unwrap().derivation().clone()
}

fn limit(formula: &Formula, readings: &Readings) -> u64 {
    resolve(formula, readings).limit(GATE).unwrap().into()
}

fn cpu(cores: u64) -> Readings {
    Readings::new().with(Resource::CPU, Reading::whole(cores))
}

fn read(readings: &Readings) -> impl FnMut(oracle::Operand<'_>) -> Reading {
    |operand| match operand {
        oracle::Operand::Resource(name) => readings.reading(name.parse().unwrap()),
        oracle::Operand::Gate(gate) => panic!("there is no gate {gate} to read"),
    }
}

/// What each `at most` of the formula comes to where it is known, by a formula of its amount alone; at least 1.
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

/// The amount with nothing assumed.
fn unassuming(amount: &Amount) -> Amount {
    let text = amount.to_string();
    let Some((before, after)) = text.split_once(" or ") else { return *amount };
    let factor = after.split_once(')').map_or("", |(_, factor)| factor);
    let text = format!("{}{factor}", before.trim_start_matches('('));
    match text.parse::<Formula>().unwrap().base() {
        Base::Amount(amount) => amount,
        other => panic!("no amount: {other}"),
    }
}

fn amounts_mapped(formula: &Formula, change: impl Fn(Amount) -> Amount) -> Formula {
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
