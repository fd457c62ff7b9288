//! Gates within gates: the declaration of parents, weights and keys, paths, and the problems of a hierarchy.

use concurrency_governor::plan::{GatePath, PathError, Problem};
use concurrency_governor::preset::astrid::{self, BLOCKING, IO, POOL};
use concurrency_governor::{Formula, GateName, GateSpec, Keys, Limit, Part, Plan};

const HOST: GateSpec = GateSpec::new("host", Formula::fixed(64));
const MESSAGES: GateSpec = GateSpec::new("messages", Formula::fixed(16)).within(HOST).weight(2);
const FILES: GateSpec = GateSpec::new("files", Formula::fixed(8)).within(HOST);
const INBOX: GateSpec = GateSpec::new("inbox", Formula::fixed(4)).within(MESSAGES);

// Declaration

/// A spec returns the parent, the weight and the keys that it was given. By default it is a root with weight 1 and no keys.
#[test]
fn spec_returns_its_parent_weight_and_keys() {
    const KEYS: Keys = Keys::up_to(4096).cap(Part::of(1, 4)).queue(64);
    const TENANTS: GateSpec =
        GateSpec::new("tenants", Formula::fixed(8)).within_named(GateName::new("host")).weight(3).keyed(KEYS);
    const BACK: (Option<GateName>, u32, Option<Keys>) =
        (TENANTS.parent(), TENANTS.share_weight(), TENANTS.keys());
    assert_eq!(BACK, (Some(HOST.name()), 3, Some(KEYS)));
    assert_eq!((HOST.parent(), HOST.share_weight(), HOST.keys()), (None, 1, None));
    assert_eq!(FILES, GateSpec::new("files", Formula::fixed(8)).within_named(HOST.name()));

    assert_eq!((KEYS.max(), KEYS.cap_part(), KEYS.queue_bound()), (4096, Part::of(1, 4), Some(64)));
    let default = Keys::up_to(1);
    assert_eq!((default.max(), default.cap_part(), default.queue_bound()), (1, Part::WHOLE, None));
}

/// Numbers and texts that are no part, and 0 keys, are rejected in one line: what was given, the reason, what is allowed.
#[test]
fn invalid_parts_and_keys_are_rejected_in_one_line() {
    let allowed = "(allowed: a fraction above 0 and at most 1, such as 1/4)";
    for (numerator, denominator, reason) in [
        (0, 4, "the numerator is 0"),
        (0, 0, "the numerator is 0"),
        (1, 0, "the denominator is 0"),
        (5, 4, "the numerator is above the denominator"),
    ] {
        let error = Part::try_of(numerator, denominator).unwrap_err().to_string();
        assert_eq!(error, format!("{numerator}/{denominator} is not a part of a limit: {reason} {allowed}"));
        let text = format!("{numerator}/{denominator}");
        let error = text.parse::<Part>().unwrap_err().to_string();
        assert_eq!(error, format!("{text:?} is not a part of a limit: {reason} {allowed}"));
    }
    for text in ["", "1", "/", "1/", "/4", "1/4/2", "0.25", "+1/4", "-1/4", "1/4294967296", "a/b", "1\n4"] {
        let error = text.parse::<Part>().unwrap_err();
        let reason = "it is not two whole numbers up to 4294967295 with a `/` between them";
        assert_eq!(error.to_string(), format!("{text:?} is not a part of a limit: {reason} {allowed}"));
        assert_eq!(format!("{error:?}"), error.to_string());
    }
    assert_eq!(" 1 / 4 ".parse::<Part>().unwrap(), Part::of(1, 4));

    let error = Keys::try_up_to(0).unwrap_err();
    assert_eq!(error.to_string(), "0 is not a number of keys (allowed: 1 to 4294967295)");
    assert_eq!(format!("{error:?}"), error.to_string());
    assert_eq!(Keys::try_up_to(7).unwrap(), Keys::up_to(7));
}

/// A part of a limit is rounded down and at least 1, also at the ends of the ranges.
#[test]
fn part_of_a_limit_is_rounded_down_and_at_least_1() {
    for (part, limit, expected) in [
        (Part::of(1, 4), 64, 16),
        (Part::of(1, 4), 67, 16),
        (Part::of(1, 4), 3, 1),
        (Part::of(2, 3), 100, 66),
        (Part::WHOLE, 100, 100),
        (Part::of(1, u32::MAX), Limit::MAX.get(), 1),
        (Part::of(u32::MAX, u32::MAX), Limit::MAX.get(), Limit::MAX.get()),
        (Part::of(u32::MAX - 1, u32::MAX), Limit::MAX.get(), Limit::MAX.get() - 1),
    ] {
        assert_eq!(part.of_limit(Limit::new(limit)), Limit::new(expected), "{part} of {limit}");
    }
}

// Paths

/// A plan returns the path of each gate from its root, its children, and an order with parents first.
#[test]
fn plan_returns_paths_children_and_parents_first() {
    let plan = Plan::new([INBOX, MESSAGES, POOL, HOST, FILES]).unwrap();
    let paths: Vec<String> = plan.paths().map(|path| path.to_string()).collect();
    assert_eq!(paths, ["host/messages/inbox", "host/messages", "pool", "host", "host/files"]);
    assert_eq!(plan.path(INBOX).unwrap().parents(), [HOST.name(), MESSAGES.name()]);

    let children = |gate: GateSpec| -> Vec<_> { plan.children(gate).unwrap().copied().collect() };
    assert_eq!(children(HOST), [MESSAGES, FILES]);
    assert_eq!(children(MESSAGES), [INBOX]);
    assert_eq!(children(POOL), []);
    let order: Vec<GateSpec> = plan.parents_first().into_iter().copied().collect();
    assert_eq!(order, [POOL, HOST, MESSAGES, FILES, INBOX]);

    let unknown = "the plan declares no gate `io` (it declares inbox, messages, pool, host, files)";
    assert_eq!(plan.path(IO).unwrap_err().to_string(), unknown);
    assert_eq!(plan.children(IO).err().unwrap().to_string(), unknown);
    let order: Vec<GateSpec> = astrid::plan().parents_first().into_iter().copied().collect();
    assert_eq!(order, [BLOCKING, IO, POOL], "without children it is the order of declaration");
}

/// The text of a path is one or more names. The error quotes the whole text, and gives the reason for the first wrong name.
#[test]
fn path_is_one_or_more_names() {
    let path: GatePath = "host/messages/inbox".parse().unwrap();
    assert_eq!(path.names(), ["host", "messages", "inbox"].map(GateName::new));
    assert_eq!((path.gate(), path.to_string()), (INBOX.name(), "host/messages/inbox".to_owned()));
    assert_eq!(format!("{path:?} {path:>20}"), "GatePath(host/messages/inbox)  host/messages/inbox");
    let alone: GatePath = "inbox".parse().unwrap();
    assert_eq!(
        [GatePath::from(INBOX), GatePath::from(&INBOX), INBOX.name().into()],
        [&alone; 3].map(Clone::clone)
    );
    assert_ne!(alone, path);

    for (given, reason) in [
        ("/", r#""" is not a gate name: a name cannot be empty"#),
        ("/io", r#""" is not a gate name: a name cannot be empty"#),
        ("io/", r#""" is not a gate name: a name cannot be empty"#),
        ("io//a", r#""" is not a gate name: a name cannot be empty"#),
        ("Io/B", r#""Io" is not a gate name: a name starts with a lower-case letter"#),
        ("io/gate", r#""gate" is not a gate name: this word is reserved by the formula language"#),
    ] {
        let error = given.parse::<GatePath>().unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("{given:?} is not the path of a gate: {reason} (allowed: ")),
            "{text}"
        );
        assert_eq!(format!("{error:?}"), text);
    }
    // The error of a single name is that of the name.
    let error = "Io".parse::<GatePath>().unwrap_err();
    assert!(matches!(error, PathError::Name(_)));
    assert_eq!(error.to_string(), "Io".parse::<GateName>().unwrap_err().to_string());
}

// Problems

/// One error lists every problem of a hierarchy, grouped by kind, after the problems with names and formulas.
#[test]
fn every_problem_of_a_hierarchy_is_listed() {
    let gate = |name, formula: &str| GateSpec::new(name, formula.parse().unwrap());
    let error = Plan::new([
        gate("a", "gate a").within_named(GateName::new("missing")).weight(0),
        gate("b", "1").within_named(GateName::new("c")),
        gate("c", "1").within_named(GateName::new("b")).weight(1_000_001),
        gate("d", "1").weight(1),
        gate("e", "1").weight(0),
        gate("f", "1").within_named(GateName::new("f")),
        gate("below-a-cycle", "1").within_named(GateName::new("f")),
        gate("below-a", "1").within_named(GateName::new("a")),
    ])
    .unwrap_err();
    let alone = "but is within no other gate (allowed: a weight of a gate that is within a parent)";
    let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "gates read each other's limits in a cycle: a reads a (remove one of these references)",
            "gate `a` is within gate `missing`, which the plan does not declare (it declares a, b, c, d, e, f, \
             below-a-cycle, below-a)",
            "gate `a` has weight 0 (allowed: 1 to 1000000)",
            "gate `c` has weight 1000001 (allowed: 1 to 1000000)",
            &format!("gate `d` has weight 1, {alone}"),
            "gate `e` has weight 0 (allowed: 1 to 1000000)",
            &format!("gate `e` has weight 0, {alone}"),
            "gates are within each other in a cycle: b within c within b (remove one `within`)",
            "gates are within each other in a cycle: f within f (remove one `within`)",
        ]
    );
    assert_eq!(error.to_string(), lines.join("; "));
    for problem in error.problems() {
        assert_eq!(format!("{problem:?}"), problem.to_string());
    }
}

/// The ends of the range of weights are accepted.
#[test]
fn weights_from_1_to_a_million_are_accepted() {
    for weight in [1, GateSpec::MAX_WEIGHT] {
        assert!(Plan::new([HOST, FILES.weight(weight)]).is_ok());
    }
}

/// 8 levels are accepted. The first gate of each path below that is reported, with its path, and keys count as a level.
#[test]
fn more_than_8_levels_are_rejected() {
    let chain = chain(GateSpec::MAX_LEVELS);
    assert!(Plan::new(chain.iter().copied()).is_ok());

    // Further gates below the first one that is too deep are on the same path, so they are no problems of their own.
    for length in [9, 10, 50] {
        for keyed_from in [8, length] {
            let deeper = self::chain(length).into_iter().enumerate();
            let deeper =
                deeper.map(|(at, spec)| if at < keyed_from { spec } else { spec.keyed(Keys::up_to(1)) });
            let error = Plan::new(deeper).unwrap_err();
            let levels = if keyed_from == 8 { 10 } else { 9 };
            assert_eq!(
                error.to_string(),
                format!(
                    "gate `g0/g1/g2/g3/g4/g5/g6/g7/g8` needs {levels} levels (allowed: at most 8; the keys of a gate are a \
                     level of their own)"
                )
            );
        }
    }

    let mut keyed = chain.clone();
    keyed[7] = keyed[7].keyed(Keys::up_to(10));
    let error = Plan::new(keyed).unwrap_err();
    let [Problem::TooDeep { path, levels: 9 }] = error.problems() else { panic!("{error}") };
    assert_eq!(path.to_string(), "g0/g1/g2/g3/g4/g5/g6/g7");
    let mut keyed = chain;
    keyed[6] = keyed[6].keyed(Keys::up_to(10));
    assert!(Plan::new(keyed).is_ok());
}

/// A chain and a ring of 50 000 gates are rejected without recursion, and without a path that grows with each gate.
#[test]
fn long_chains_of_parents_do_not_overflow_the_stack() {
    const LENGTH: usize = 50_000;
    let mut chain = chain(LENGTH);
    let error = Plan::new(chain.iter().copied()).unwrap_err();
    let [Problem::TooDeep { .. }] = error.problems() else { panic!("expected one problem") };
    chain[0] = chain[0].within(chain[LENGTH - 1]);
    let error = Plan::new(chain).unwrap_err();
    let [Problem::ParentCycle { circle }] = error.problems() else { panic!("expected one cycle") };
    assert_eq!((circle.len(), circle.first()), (LENGTH + 1, circle.last()));
}

/// Returns gates of which each is within the one before it.
fn chain(length: usize) -> Vec<GateSpec> {
    let names: Vec<GateName> = (0..length).map(|at| format!("g{at}").parse().unwrap()).collect();
    let root = GateSpec::named(names[0], Formula::fixed(8));
    let others =
        names.windows(2).map(|pair| GateSpec::named(pair[1], Formula::fixed(8)).within_named(pair[0]));
    std::iter::once(root).chain(others).collect()
}
