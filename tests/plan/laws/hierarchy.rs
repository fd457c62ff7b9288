//! Laws of gates within gates.

use std::collections::BTreeSet;

use concurrency_governor::plan::{Explanation, GatePath, Problem};
use concurrency_governor::testing::strategies;
use concurrency_governor::{
    Formula, GateName, GateSpec, Keys, Limit, OverrideLayer, Overrides, Part, Plan, Readings,
};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::sample::Index;
use proptest::{option, proptest};

use super::{config, host, overridden_plan};

proptest! {
    #![proptest_config(config())]

    /// A gate's path is that of its parent, and its name. Each gate but the roots is a child of exactly one gate, and parents
    /// come before their children.
    #[test]
    fn paths_children_and_order_agree((plan, overrides, _) in nested_plan(), readings in host()) {
        let order = plan.parents_first();
        let position = |gate: GateName| order.iter().position(|spec| spec.name() == gate).unwrap();
        let ordered: BTreeSet<GateName> = order.iter().map(|spec| spec.name()).collect();
        prop_assert_eq!((ordered.len(), order.len()), (plan.specs().len(), plan.specs().len()));
        let mut children = Vec::new();
        for (spec, path) in plan.specs().iter().zip(plan.paths()) {
            prop_assert_eq!(&path, &plan.path(spec)?);
            prop_assert_eq!(plan.find(&path)?, spec);
            match spec.parent() {
                None => prop_assert_eq!(&path, &GatePath::from(spec)),
                Some(parent) => {
                    prop_assert_eq!(path.to_string(), format!("{}/{}", plan.path(parent)?, spec.name()));
                    prop_assert!(position(parent) < position(spec.name()));
                }
            }
            for child in plan.children(spec)? {
                prop_assert_eq!(child.parent(), Some(spec.name()));
                children.push(child.name());
            }
        }
        let expected: BTreeSet<_> =
            plan.specs().iter().filter(|spec| spec.parent().is_some()).map(GateSpec::name).collect();
        prop_assert_eq!(children.len(), expected.len());
        prop_assert_eq!(children.into_iter().collect::<BTreeSet<_>>(), expected);
        if let Ok(resolution) = plan.resolve(&readings, &overrides) {
            let paths: Vec<GatePath> = plan.paths().collect();
            prop_assert!(resolution.explanations().iter().map(Explanation::path).eq(&paths));
        }
    }

    /// Parents, weights and keys change no limit and no problem of a resolution. An explanation differs only by its path and
    /// the gate that binds: the nearest one with the lowest limit above, if that is below the gate's own limit.
    #[test]
    fn hierarchy_changes_no_limit((nested, overrides, flat) in nested_plan(), readings in host()) {
        match (nested.resolve(&readings, &overrides), flat.resolve(&readings, &overrides)) {
            (Err(nested), Err(flat)) => prop_assert_eq!(nested, flat),
            (Ok(nested), Ok(flat)) => {
                for (one, other) in nested.explanations().iter().zip(flat.explanations()) {
                    prop_assert_eq!(
                        (one.gate(), one.limit(), one.decision(), one.shadowed(), one.derivation()),
                        (other.gate(), other.limit(), other.decision(), other.shadowed(), other.derivation())
                    );
                    let mut lowest: Option<(GateName, Limit)> = None;
                    for gate in one.path().parents() {
                        let limit = nested.limit(*gate)?;
                        if lowest.is_none_or(|(_, least)| limit <= least) {
                            lowest = Some((*gate, limit));
                        }
                    }
                    let expected = lowest.filter(|(_, limit)| *limit < one.limit());
                    prop_assert_eq!(one.bound_by().map(|above| (above.gate, above.limit)), expected);

                    let bound = one.bound_by().map_or(String::new(), |above| format!(", {above}"));
                    let line = other.to_string().replacen(other.gate().as_str(), &one.path().to_string(), 1);
                    prop_assert_eq!(one.to_string(), format!("{line}{bound}"));
                }
            }
            (nested, flat) => prop_assert!(false, "{nested:?}, but without parents {flat:?}"),
        }
    }

    /// A setting by path has the effect of the same setting by name.
    #[test]
    fn path_sets_a_gate_as_its_name_does((plan, overrides, _) in nested_plan(), readings in host()) {
        let layers = overrides.layers().iter().map(|layer| {
            let start = OverrideLayer::new(layer.name().to_owned()).policy(layer.override_policy());
            layer.settings().fold((start.clone(), start), |(by_name, by_path), (gate, value)| {
                let path = plan.path(gate).unwrap_or_else(|_| gate.into());
                (by_name.set(gate, value), by_path.set(path, value))
            })
        });
        let none = (Overrides::new(), Overrides::new());
        let (by_name, by_path) =
            layers.fold(none, |(names, paths), (name, path)| (names.then(name), paths.then(path)));
        prop_assert_eq!(plan.resolve(&readings, &by_name), plan.resolve(&readings, &by_path));
    }

    /// A setting by a path is a problem exactly if the plan does not declare the gate, or the path is neither the gate's path
    /// nor its name alone.
    #[test]
    fn path_is_accepted_exactly_if_it_is_right(
        (plan, _, _) in nested_plan(),
        names in vec(any::<Index>(), 1..5),
    ) {
        let known: Vec<GateName> =
            plan.specs().iter().map(GateSpec::name).chain([GateName::new("not-declared")]).collect();
        let text = names.iter().map(|index| index.get(&known).to_string()).collect::<Vec<_>>().join("/");
        let given: GatePath = text.parse()?;
        let right = plan.path(given.gate()).ok();
        let is_right =
            right.as_ref().is_some_and(|right| *right == given || given.parents().is_empty());
        prop_assert_eq!(plan.find(&given).is_ok(), is_right);

        let overrides = Overrides::new().then(OverrideLayer::new("cli").set(given.clone(), 1));
        match plan.resolve(&Readings::new(), &overrides) {
            Ok(resolution) => {
                prop_assert!(is_right);
                prop_assert_eq!(resolution.limit(given.gate())?, Limit::MIN);
            }
            Err(error) => {
                prop_assert!(!is_right, "{}", error);
                match error.problems() {
                    [Problem::UnknownOverride { gate, .. }] => prop_assert_eq!(*gate, given.gate()),
                    [Problem::WrongPath { given: found, path, .. }] => {
                        prop_assert_eq!((found, Some(path)), (&given, right.as_ref()));
                        prop_assert!(error.to_string().contains(&format!("`{path}`")), "{}", error);
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    /// A hierarchy is accepted exactly if each parent is declared, no gate is above itself, no gate needs more than 8 levels,
    /// and each weight is in range and beside a parent. Otherwise each gate at fault is reported.
    #[test]
    fn hierarchy_is_rejected_exactly_for_its_problems(drafts in vec(gate_draft(), 1..14)) {
        let names: Vec<GateName> = (0..16).map(|at| format!("g{at}").parse().unwrap()).collect();
        let specs: Vec<GateSpec> =
            drafts.iter().zip(&names).map(|(draft, name)| draft.spec(*name, &names)).collect();
        let spec_of = |gate: GateName| specs.iter().find(|spec| spec.name() == gate);
        let parent_of = |gate: GateName| spec_of(gate).and_then(GateSpec::parent);
        // Each gate above, from the nearest upwards. A cycle is followed for longer than there are gates.
        let above = |gate: GateName| std::iter::successors(parent_of(gate), |gate| parent_of(*gate)).take(20);
        let is_declared = |gate: &GateName| spec_of(*gate).is_some();

        let mut expected = Faults::default();
        for spec in &specs {
            let gate = spec.name();
            let draft = &drafts[names.iter().position(|name| *name == gate).unwrap()];
            if spec.parent().is_some_and(|parent| !is_declared(&parent)) {
                expected.unknown.push(gate);
            }
            if draft.weight.is_some_and(|weight| !(1..=1_000_000).contains(&weight)) {
                expected.weights.push(gate);
            }
            if draft.weight.is_some() && spec.parent().is_none() {
                expected.lonely.push(gate);
            }
            if above(gate).any(|above| above == gate) {
                expected.on_cycles.insert(gate);
            }
            let levels = 1 + above(gate).count();
            let has_root = above(gate).all(|above| is_declared(&above));
            if has_root && (levels == 9 || (levels == 8 && spec.keys().is_some())) {
                expected.too_deep.push(gate);
            }
        }

        let mut found = Faults::default();
        if let Err(error) = Plan::new(specs.iter().copied()) {
            for problem in error.problems() {
                match problem {
                    Problem::UnknownParent { gate, .. } => found.unknown.push(*gate),
                    Problem::WeightRange { gate, .. } => found.weights.push(*gate),
                    Problem::WeightWithoutParent { gate, .. } => found.lonely.push(*gate),
                    Problem::ParentCycle { circle } => {
                        prop_assert!(circle.len() > 1 && circle.first() == circle.last(), "{}", problem);
                        let are_parents = circle.windows(2).all(|pair| parent_of(pair[0]) == Some(pair[1]));
                        prop_assert!(are_parents, "{}", problem);
                        for gate in &circle[1..] {
                            prop_assert!(found.on_cycles.insert(*gate), "reported twice: {}", error);
                        }
                    }
                    Problem::TooDeep { path, levels } => {
                        let gate = spec_of(path.gate()).unwrap();
                        prop_assert_eq!(*levels, path.names().len() + usize::from(gate.keys().is_some()));
                        found.too_deep.push(path.gate());
                    }
                    other => prop_assert!(false, "{other}"),
                }
            }
        }
        prop_assert_eq!(found, expected);
    }

    /// A part of a limit is the exact product, rounded down and at least 1. It is at most the limit, and grows with it.
    #[test]
    fn part_of_a_limit_is_exact(part in part(), limit in strategies::limit(), other in strategies::limit()) {
        let (numerator, denominator) = numbers(part);
        let of_limit = part.of_limit(limit);
        let exact = u128::from(limit.get()) * numerator / denominator;
        prop_assert_eq!(u128::from(of_limit.get()), exact.max(1));
        prop_assert!(of_limit <= limit);
        prop_assert!(part.of_limit(limit.min(other)) <= part.of_limit(limit.max(other)));
        prop_assert_eq!(Part::WHOLE.of_limit(limit), limit);
    }

    /// Parts and paths parse as they print.
    #[test]
    fn parts_and_paths_round_trip(part in part(), (plan, _, _) in nested_plan()) {
        prop_assert_eq!(part.to_string().parse::<Part>()?, part);
        for path in plan.paths() {
            prop_assert_eq!(path.to_string().parse::<GatePath>()?, path);
        }
    }

    /// Any text is a part and a path, or an error in one line that quotes it.
    #[test]
    fn any_text_is_a_value_or_an_error(text in prop_oneof!["[0-9/ ]{0,12}", "[a-z/.]{0,12}", any::<String>()]) {
        let of_part = text.parse::<Part>().err().map(|error| error.to_string());
        let of_path = text.parse::<GatePath>().err().map(|error| error.to_string());
        for error in of_part.into_iter().chain(of_path) {
            prop_assert!(error.starts_with(&format!("{text:?} is not ")) && !error.contains('\n'), "{}", error);
        }
    }
}

/// Returns the declaration without parent, weight and keys.
fn flatten(spec: &GateSpec) -> GateSpec {
    let flat = GateSpec::named(spec.name(), *spec.formula()).policy(spec.override_policy());
    let flat = spec.queue_bound().map_or(flat, |bound| flat.queue(bound));
    spec.longest_wait().map_or(flat, |wait| flat.max_wait(wait))
}

/// Generates a plan with settings, and the same plan without parents, weights and keys. It is up to six levels deep.
fn nested_plan() -> impl Strategy<Value = (Plan, Overrides, Plan)> {
    let parents = vec((option::weighted(0.7, any::<Index>()), option::of(1..=GateSpec::MAX_WEIGHT)), 6);
    (overridden_plan(), parents, vec(option::weighted(0.3, keys()), 6)).prop_map(
        |((plan, overrides), parents, keys)| {
            // A gate is within a gate that is declared before it, or it is a root. The order of declaration is reversed at times.
            let mut specs: Vec<GateSpec> = plan.specs().iter().map(flatten).collect();
            let nested = specs.iter().enumerate().map(|(at, spec)| {
                let (parent, weight) = parents[at];
                let spec = keys[at].map_or(*spec, |keys| spec.keyed(keys));
                match parent.filter(|_| at > 0) {
                    None => spec,
                    Some(parent) => {
                        let spec = spec.within(specs[parent.index(at)]);
                        weight.map_or(spec, |weight| spec.weight(weight))
                    }
                }
            });
            let mut nested: Vec<GateSpec> = nested.collect();
            if parents[0].1.is_some() {
                nested.reverse();
                specs.reverse();
            }
            (Plan::new(nested).unwrap(), overrides, Plan::new(specs).unwrap())
        },
    )
}

/// The gates of a plan whose place in the hierarchy is wrong.
#[derive(Debug, Default, PartialEq)]
struct Faults {
    unknown: Vec<GateName>,
    weights: Vec<GateName>,
    lonely: Vec<GateName>,
    on_cycles: BTreeSet<GateName>,
    too_deep: Vec<GateName>,
}

/// A gate whose parent may be any gate, itself and a gate that is not declared included.
#[derive(Clone, Debug)]
struct NestedDraft {
    parent: Option<usize>,
    weight: Option<u32>,
    keys: Option<Keys>,
}

impl NestedDraft {
    fn spec(&self, name: GateName, names: &[GateName]) -> GateSpec {
        let spec = GateSpec::named(name, Formula::fixed(1));
        let spec = self.parent.map_or(spec, |parent| spec.within_named(names[parent]));
        let spec = self.weight.map_or(spec, |weight| spec.weight(weight));
        self.keys.map_or(spec, |keys| spec.keyed(keys))
    }
}

fn gate_draft() -> impl Strategy<Value = NestedDraft> {
    let weight = prop_oneof![4 => 1..=10_u32, 1 => 999_999..=1_000_001_u32, 1 => 0..=0_u32];
    (option::weighted(0.9, 0..14_usize), option::weighted(0.2, weight), option::weighted(0.2, keys()))
        .prop_map(|(parent, weight, keys)| NestedDraft { parent, weight, keys })
}

fn keys() -> impl Strategy<Value = Keys> {
    (1..=u32::MAX, part(), option::of(any::<usize>())).prop_map(|(max, cap, queue)| {
        let keys = Keys::up_to(max).cap(cap);
        queue.map_or(keys, |bound| keys.queue(bound))
    })
}

fn part() -> impl Strategy<Value = Part> {
    let number = || prop_oneof![3 => 1..=100_u32, 1 => 1..=u32::MAX];
    (number(), number()).prop_map(|(one, other)| Part::of(one.min(other), one.max(other)))
}

/// Returns the numerator and the denominator of a part, as it prints them.
fn numbers(part: Part) -> (u128, u128) {
    let text = part.to_string();
    let (numerator, denominator) = text.split_once('/').unwrap();
    (numerator.parse().unwrap(), denominator.parse().unwrap())
}
