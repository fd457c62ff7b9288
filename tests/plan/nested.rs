//! Gates within gates, resolved: settings by path, and explanations with the path and the gate above that binds.

use std::ffi::OsString;

use concurrency_governor::plan::{FindGateError, GatePath, Policy};
use concurrency_governor::{
    Formula, GateName, GateSpec, OverrideLayer, Overrides, Plan, Readings, Resolution,
};

use crate::support::{in_full, lines};

const HOST: GateSpec = GateSpec::new("host", Formula::fixed(64));
const MESSAGES: GateSpec = GateSpec::new("messages", Formula::fixed(16)).within(HOST).weight(2);
const FILES: GateSpec = GateSpec::new("files", Formula::fixed(8)).within(HOST);
const INBOX: GateSpec = GateSpec::new("inbox", Formula::fixed(4)).within(MESSAGES);

// Settings

/// A setting by path has the effect of the same setting by name, in every layer, and replaces it.
#[test]
fn path_sets_a_gate_as_its_name_does() {
    let by_name = OverrideLayer::new("cli").set(INBOX, 3).set(HOST, 9);
    let by_path = OverrideLayer::new("cli").set(path("host/messages/inbox"), 3).set(path("host"), 9);
    assert_eq!(by_path.settings().collect::<Vec<_>>(), by_name.settings().collect::<Vec<_>>());
    assert_eq!(resolve(by_name), resolve(by_path));

    let layer =
        OverrideLayer::new("file").set(INBOX, 1).set_from(path("host/messages/inbox"), 2, "overrides");
    let layer = layer.maybe_set(path("host/files"), Some(5)).maybe_set(path("host/messages"), None);
    assert_eq!(layer.settings().collect::<Vec<_>>(), [(INBOX.name(), 2), (FILES.name(), 5)]);
    let inbox = &lines(&resolve(layer))[0];
    assert_eq!(inbox, "host/messages/inbox = 2: set to 2 by file overrides, derived 4");
}

/// A path whose parents are wrong or incomplete is a problem that shows the right path. An unknown gate is one, whatever the
/// parents are.
#[test]
fn wrong_path_is_a_problem_with_the_right_path() {
    let layer = OverrideLayer::new("cli")
        .set(path("host/inbox"), 1)
        .set(path("messages/host"), 2)
        .set(path("host/messages"), 3)
        .set(path("host/outbox"), 4);
    let file = OverrideLayer::new("file").set_from(path("messages/inbox"), 5, "overrides.inbox");
    let error = plan().resolve(&Readings::new(), &Overrides::new().then(layer).then(file)).unwrap_err();
    let lines: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    let inbox = "gate `inbox` is at `host/messages/inbox` (allowed: `inbox` or `host/messages/inbox`)";
    assert_eq!(
        lines,
        [
            &format!("cli sets `host/inbox`, but {inbox}"),
            "cli sets `messages/host`, but gate `host` is at `host` (allowed: `host`)",
            "cli sets gate `outbox`, which the plan does not declare (it declares inbox, messages, host, files)",
            &format!("file overrides.inbox sets `messages/inbox`, but {inbox}"),
        ]
    );

    let plan = plan();
    for given in ["inbox", "host/messages/inbox"] {
        assert_eq!(plan.find(&path(given)).unwrap(), &INBOX);
    }
    let error = plan.find(&path("host/inbox")).unwrap_err();
    assert!(matches!(error, FindGateError::WrongPath { .. }));
    assert_eq!(error.to_string(), format!("`host/inbox` is not a gate of the plan: {inbox}"));
    assert_eq!(format!("{error:?}"), error.to_string());
    let error = plan.find(&path("host/outbox")).unwrap_err().to_string();
    assert_eq!(error, "the plan declares no gate `outbox` (it declares inbox, messages, host, files)");
}

/// With a prefix, a gate has the variable of its name and that of its path, with `__` between the names. Two variables of one
/// gate are an error, as is a variable that two gates have.
#[test]
fn prefix_and_path_form_a_variable() {
    let read = |plan: &Plan, given: &[(&str, &str)]| {
        let given = given.iter().map(|(variable, value)| (OsString::from(variable), OsString::from(value)));
        OverrideLayer::env_prefixed("APP_", plan.paths(), given)
    };
    let plan = plan();
    let layer =
        read(&plan, &[("APP_HOST__MESSAGES__INBOX", "3"), ("APP_MESSAGES", "2"), ("APP_INBOX", "")]).unwrap();
    assert_eq!(layer.settings().collect::<Vec<_>>(), [(INBOX.name(), 3), (MESSAGES.name(), 2)]);
    let inbox = &lines(&resolve(layer))[0];
    let bound = "at most 2 at a time, because gate `messages` above it has 2";
    assert_eq!(
        *inbox,
        format!("host/messages/inbox = 3: set to 3 by env APP_HOST__MESSAGES__INBOX, derived 4, {bound}")
    );

    let given =
        [("APP_FILES", "1"), ("APP_HOST__FILES", "2"), ("APP_HOST_FILES", "3"), ("APP_HOST__INBOX", "4")];
    let error = read(&plan, &given).unwrap_err().to_string();
    let allowed = "(allowed: APP_FILES, APP_HOST, APP_HOST__FILES, APP_HOST__MESSAGES, \
                   APP_HOST__MESSAGES__INBOX, APP_INBOX, APP_MESSAGES)";
    assert_eq!(
        error.split("; ").collect::<Vec<_>>(),
        [
            &format!("environment variable APP_HOST_FILES belongs to no gate {allowed}"),
            "gate `files` is set by APP_FILES and by APP_HOST__FILES (allowed: one of them)",
            &format!("environment variable APP_HOST__INBOX belongs to no gate {allowed}"),
        ]
    );

    let ambiguous = Plan::new([HOST, FILES, GateSpec::new("host__files", Formula::fixed(1))]).unwrap();
    assert_eq!(
        read(&ambiguous, &[]).unwrap_err().to_string(),
        "gates `files` and `host__files` are both set by APP_HOST__FILES (allowed: one gate per variable)"
    );
}

// Explanations

/// The explanation of a child starts with its path. If a gate above has a lower limit, it says so: the lowest one, and of
/// several the nearest.
#[test]
fn explanation_shows_the_path_and_the_ancestor_that_binds() {
    assert_eq!(
        lines(&resolve(OverrideLayer::new("cli"))),
        [
            "host/messages/inbox = 4: derived, `4` decides",
            "host/messages = 16: derived, `16` decides",
            "host = 64: derived, `64` decides",
            "host/files = 8: derived, `8` decides",
        ]
    );
    for (host, messages, bound) in [
        (4, 16, None),
        (3, 16, Some(("host", 3))),
        (64, 2, Some(("messages", 2))),
        (3, 2, Some(("messages", 2))),
        (2, 3, Some(("host", 2))),
        (2, 2, Some(("messages", 2))),
    ] {
        let file = OverrideLayer::new("file").set(INBOX, 9);
        let cli = OverrideLayer::new("cli").set(HOST, host).set(MESSAGES, messages).set(INBOX, 4);
        let overrides = Overrides::new().then(cli).then(file);
        let resolution = plan().resolve(&Readings::new(), &overrides).unwrap();
        let inbox = resolution.explain(INBOX).unwrap();
        assert_eq!((inbox.limit().get(), inbox.path()), (4, &path("host/messages/inbox")));
        assert_eq!(
            inbox.bound_by().map(|ancestor| (ancestor.gate, ancestor.limit.get())),
            bound.map(|(gate, limit)| (GateName::new(gate), limit))
        );
        let bound = bound.map_or(String::new(), |(gate, limit)| {
            format!(", at most {limit} at a time, because gate `{gate}` above it has {limit}")
        });
        let line = format!("host/messages/inbox = 4: set to 4 by cli, derived 4, shadows file = 9{bound}");
        assert_eq!(inbox.to_string(), line);
        assert_eq!(format!("{inbox:#}"), format!("{line}\n    4           4  <- would decide"));
    }
}

/// A child's formula may read its parent, and a parent's its child. The explanation compares the limits in force.
#[test]
fn formulas_may_read_up_and_down_the_hierarchy() {
    let io = GateSpec::new("io", Formula::fixed(40));
    let part = GateSpec::new("part", Formula::of(io.fraction(1, 4))).within(io);
    let many = GateSpec::new("many", Formula::of(io.times(2))).within(io);
    let cli = OverrideLayer::new("cli").set(io, 8);
    let resolution =
        Plan::new([part, many, io]).unwrap().resolve(&Readings::new(), &Overrides::new().then(cli)).unwrap();
    assert_eq!(
        in_full(&resolution),
        "\
io/part = 2: derived, `gate io * 1/4` decides (gate io = 8)
    gate io * 1/4           2  <- decides  gate io = 8
io/many = 16: derived, `gate io * 2` decides (gate io = 8), at most 8 at a time, because gate `io` above it has 8
    gate io * 2          16  <- decides  gate io = 8
io = 8: set to 8 by cli, derived 40
    40          40  <- would decide"
    );

    let child = GateSpec::new("child", Formula::fixed(5)).within_named(GateName::new("parent"));
    let parent = GateSpec::new("parent", Formula::of(child.times(3)));
    let resolution =
        Plan::new([child, parent]).unwrap().resolve(&Readings::new(), &Overrides::new()).unwrap();
    assert_eq!(resolution.limit(parent).unwrap().get(), 15);
}

/// A setting that is rejected is reported by the gate's name, whether or not the gate has a parent.
#[test]
fn rejected_setting_of_a_child_is_reported() {
    let layer = OverrideLayer::new("cli").set(path("host/files"), 9).policy(Policy::Reject);
    let error = plan().resolve(&Readings::new(), &Overrides::new().then(layer)).unwrap_err();
    let text = "cli sets gate `files` to 9, above the derived limit (allowed: at most 8)";
    assert_eq!(error.to_string(), text);
}

/// Returns a plan of three levels, declared with children before their parents.
fn plan() -> Plan {
    Plan::new([INBOX, MESSAGES, HOST, FILES]).unwrap()
}

/// Resolves that plan with one layer of settings.
fn resolve(layer: OverrideLayer) -> Resolution {
    plan().resolve(&Readings::new(), &Overrides::new().then(layer)).unwrap()
}

fn path(text: &str) -> GatePath {
    text.parse().unwrap()
}
