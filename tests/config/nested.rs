//! Gates within gates in a configuration: parents, weights, keys, and settings by path.

use concurrency_governor::config::{ConfigKey, ConfigProblem, PlanConfig, Settings, Value};
use concurrency_governor::plan::GatePath;
use concurrency_governor::{
    Formula, GateSpec, Keys, OverrideLayer, Overrides, Part, Plan, Readings, Resource,
};

use crate::support::{parse_json, parse_toml};

const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64))
    .keyed(Keys::up_to(4096).cap(Part::of(1, 4)).queue(64));
const MESSAGES: GateSpec =
    GateSpec::new("messages", Formula::of(IO.fraction(1, 4)).floor(1)).within(IO).weight(2);

/// A plan file with every key of a gate within another one.
const TOML: &str = r#"
[gates.io]
formula = "cpu * 64"
keys = { max = 4096, cap = "gate io * 1/4", queue = 64 }

[gates.messages]
formula = "gate io * 1/4 | floor 1"
within = "io"
weight = 2

[overrides]
"io/messages" = 16
io = 32
"#;

/// A file declares what a `const` declares. A number may be text, and a blank or a null counts as a missing key.
#[test]
fn a_file_declares_parents_weights_and_keys() {
    let config = parse_toml(TOML).unwrap();
    assert_eq!(config.plan().specs(), [IO, MESSAGES]);
    assert_eq!(config.overrides().iter().collect::<Vec<_>>(), [(MESSAGES.name(), 16), (IO.name(), 32)]);

    let gates = |io: &str, messages: &str| {
        let io = format!(r#""io": {{"formula": "cpu * 64", {io}}}"#);
        parse_json(&format!(
            r#"{{"gates": {{{io}, "messages": {{"formula": "gate io * 1/4 | floor 1", {messages}}}}}}}"#
        ))
    };
    for cap in ["1/4", "gate io * 1/4", " gate  io*1 / 4 "] {
        let io = format!(r#""keys": {{"max": " 4096 ", "cap": "{cap}", "queue": "64"}}"#);
        let config = gates(&io, r#""within": "io", "weight": "2""#).unwrap();
        assert_eq!(config.plan().specs(), [IO, MESSAGES], "{cap}");
    }
    let config = gates(
        r#""within": null, "weight": "", "keys": null"#,
        r#""within": "io", "weight": null, "keys": {"max": 1, "cap": null, "queue": " "}"#,
    );
    let io = GateSpec::new("io", Formula::scale(Resource::CPU, 64));
    let messages = GateSpec::new("messages", *MESSAGES.formula()).within(io).keyed(Keys::up_to(1));
    assert_eq!(config.unwrap().plan().specs(), [io, messages]);
}

/// A plan with children serializes to a file that reads back the same. Defaults are left out.
#[test]
fn a_plan_with_children_round_trips() {
    let plain = GateSpec::new("plain", Formula::fixed(1)).within(MESSAGES).keyed(Keys::up_to(7));
    let path: GatePath = "io/messages".parse().unwrap();
    let config = PlanConfig::from(Plan::new([IO, MESSAGES, plain]).unwrap());
    let config = config.with_overrides(Settings::new().set(MESSAGES, 1).set(path, 16)).unwrap();
    let written = toml::to_string(&config).unwrap();
    assert_eq!(
        written,
        r#"[gates.io]
formula = "cpu * 64"

[gates.io.keys]
max = 4096
cap = "1/4"
queue = 64

[gates.messages]
formula = "gate io * 1/4 | floor 1"
within = "io"
weight = 2

[gates.plain]
formula = "1"
within = "messages"

[gates.plain.keys]
max = 7

[overrides]
"io/messages" = 16
"#
    );
    assert_eq!(parse_toml(&written).unwrap(), config);
    assert_eq!(parse_json(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    let wrong: GatePath = "io/plain".parse().unwrap();
    assert_eq!(
        config.with_overrides(Settings::new().set(wrong, 1)).unwrap_err().to_string(),
        "the configuration overrides.io/plain sets `io/plain`, but gate `plain` is at `io/messages/plain` (allowed: \
         `plain` or `io/messages/plain`)"
    );
}

/// A problem has the key, the given value and the allowed values, in every format.
#[test]
fn a_problem_has_the_key_the_value_and_the_allowed_values() {
    let whole = format!("is not a whole number (allowed: 0 to {})", usize::MAX);
    let part = "is not a part of the gate's own limit (allowed: a fraction above 0 and at most 1, such as \"1/4\" or \
                \"gate io * 1/4\")";
    let gate = |rest: &str| format!(r#"{{"gates": {{"io": {{"formula": "cpu", {rest}}}}}}}"#);
    let cap = |cap: &str| gate(&format!(r#""keys": {{"max": 4, "cap": {cap}}}"#));
    let mut cases = vec![
        (gate(r#""within": 3"#), r#"gates.io.within = 3 is not the name of a gate (allowed: text such as "io")"#.to_owned()),
        (
            gate(r#""within": "I o""#),
            r#"gates.io.within: "I o" is not a gate name: a name starts with a lower-case letter (allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)"#.to_owned(),
        ),
        (
            gate(r#""within": "host""#),
            "gate `io` is within gate `host`, which the plan does not declare (it declares io)".to_owned(),
        ),
        (gate(r#""within": "io""#), "gates are within each other in a cycle: io within io (remove one `within`)".to_owned()),
        (
            gate(r#""weight": 3"#),
            "gate `io` has weight 3, but is within no other gate (allowed: a weight of a gate that is within a parent)".to_owned(),
        ),
        (gate(r#""keys": 4096"#), "gates.io.keys = 4096 is not a table (allowed: a table, as [gates.io.keys] in TOML)".to_owned()),
        (gate(r#""keys": {}"#), "gates.io.keys has no max (required, for example max = 4096)".to_owned()),
        (gate(r#""keys": {"max": ""}"#), "gates.io.keys has no max (required, for example max = 4096)".to_owned()),
        (
            gate(r#""keys": {"max": 1, "min": 1}"#),
            "gates.io.keys.min is not a known key (allowed: max, cap, queue)".to_owned(),
        ),
        (gate(r#""keys": {"max": 1, "queue": -1}"#), format!("gates.io.keys.queue = -1 {whole}")),
    ];
    for weight in ["0", "1000001", "-1", "1.5", "true", r#""many""#, "4294967297"] {
        let message = format!("gates.io.weight = {weight} is not a weight (allowed: 1 to 1000000)");
        cases.push((gate(&format!(r#""weight": {weight}"#)), message));
    }
    for max in ["0", "4294967296", "-1", "1.5", r#""many""#] {
        let message = format!("gates.io.keys.max = {max} is not a number of keys (allowed: 1 to 4294967295)");
        cases.push((gate(&format!(r#""keys": {{"max": {max}}}"#)), message));
    }
    for given in [
        r#""""#,
        "4",
        "0.25",
        r#""0.25""#,
        r#""0/4""#,
        r#""1/0""#,
        r#""5/4""#,
        r#""cpu * 1/4""#,
        r#""gate oi * 1/4""#,
        r#""gate io""#,
        r#""gate io * 2""#,
        r#""io * 1/4""#,
        r#""gate io io * 1/4""#,
        r#""* 1/4""#,
        r#""gate io * 1/4 * 1/4""#,
        r#""gate io * 1/4 | floor 1""#,
    ] {
        cases.push((cap(given), format!("gates.io.keys.cap = {given} {part}")));
    }
    for (json, message) in cases {
        assert_eq!(parse_json(&json).unwrap_err(), message, "{json}");
        let toml = toml::to_string(&serde_json::from_str::<serde_json::Value>(&json).unwrap()).unwrap();
        let error = parse_toml(&toml).unwrap_err();
        assert!(error.contains(&message), "{toml}: {error}");
    }
}

/// All problems are reported at once. None is reported that only follows from another one.
#[test]
fn every_problem_is_reported_once() {
    let error = parse_json(
        r#"{
            "gates": {
                "a": { "formula": "cpu |", "within": "missing" },
                "b": { "formula": "cpu", "within": "a" },
                "c": { "formula": "cpu", "within": "gone", "weight": 0, "keys": { "max": 0, "cap": "2", "queue": "x" } },
                "B!": { "formula": "cpu", "keys": { "max": 1, "cap": "gate any * 1/4" } },
                "d": { "formula": "cpu", "within": "gone" }
            },
            "overrides": { "x/b": 1, "a": 2, "b": 3, "a/b": 4, "x//b": 5, "a/zz": 6 }
        }"#,
    )
    .unwrap_err();
    let problems: Vec<String> = error.split("; ").map(|problem| problem.chars().take(44).collect()).collect();
    assert_eq!(
        problems,
        [
            "gates.a.formula: formula \"cpu |\", column 6: ",
            "gates.c.weight = 0 is not a weight (allowed:",
            "gates.c.keys.max = 0 is not a number of keys",
            "gates.c.keys.cap = \"2\" is not a part of the ",
            "gates.c.keys.queue = \"x\" is not a whole numb",
            "gates.\"B!\": \"B!\" is not a gate name: a name ",
            // The path of `b` is not known, since `a` is invalid; but it is set three times.
            "overrides.b sets gate `b` a second time (all",
            "overrides.\"a/b\" sets gate `b` a second time ",
            "overrides.\"x//b\": \"x//b\" is not the path of ",
            "overrides.\"a/zz\": the plan declares no such ",
            "gate `d` is within gate `gone`, which the pl",
        ]
    );
}

/// A wrong path in the overrides is reported with its line and the right path. A name and a path of one gate are two
/// settings of it.
#[test]
fn a_wrong_path_is_reported_with_its_line() {
    let read = |overrides: &[&str]| {
        let text = |text: &str| Value::text(text);
        let io = Value::table([(ConfigKey::new("formula"), text("cpu"))]);
        let messages =
            Value::table([(ConfigKey::new("formula"), text("cpu")), (ConfigKey::new("within"), text("io"))]);
        let gates = Value::table([(ConfigKey::new("io"), io), (ConfigKey::new("messages"), messages)]);
        let overrides = overrides
            .iter()
            .zip(7..)
            .map(|(key, line)| (ConfigKey::new(*key).at_line(line), Value::whole(1)));
        let overrides = Value::table(overrides.collect::<Vec<_>>());
        PlanConfig::read(&Value::table([
            (ConfigKey::new("gates"), gates),
            (ConfigKey::new("overrides"), overrides),
        ]))
    };
    assert!(read(&["io/messages", "io"]).is_ok());
    let error = read(&["messages", "io/messages", "cpu/messages", "messages/io"]).unwrap_err();
    assert_eq!(error.problems().iter().map(ConfigProblem::line).collect::<Vec<_>>(), [8, 9, 9, 10].map(Some));
    assert_eq!(
        error.to_string(),
        "line 8: overrides.\"io/messages\" sets gate `messages` a second time (allowed: once); \
         line 9: overrides.\"cpu/messages\": gate `messages` is at `io/messages` (allowed: `messages` or `io/messages`); \
         line 9: overrides.\"cpu/messages\" sets gate `messages` a second time (allowed: once); \
         line 10: overrides.\"messages/io\": gate `io` is at `io` (allowed: `io`)"
    );
}

/// Settings without a plan keep their paths, and the resolution checks them.
#[test]
fn settings_keep_their_paths() {
    let settings: Settings = toml::from_str("'io/messages' = 3\nio = 8").unwrap();
    assert_eq!(toml::to_string(&settings).unwrap(), "\"io/messages\" = 3\nio = 8\n");
    assert_eq!(settings.iter().collect::<Vec<_>>(), [(MESSAGES.name(), 3), (IO.name(), 8)]);
    let resolve = |settings: Settings| {
        let layers = Overrides::new().then(settings.under("limits").layer("app.toml"));
        Plan::new([IO, MESSAGES]).unwrap().resolve(&Readings::new(), &layers)
    };
    let explanation = resolve(settings).unwrap().explain(MESSAGES).unwrap().to_string();
    assert_eq!(
        explanation,
        "io/messages = 3: set to 3 by app.toml limits.io/messages (above the derived limit), derived 2"
    );
    let wrong: Settings = toml::from_str("'cpu/messages' = 3").unwrap();
    assert_eq!(
        resolve(wrong).unwrap_err().to_string(),
        "app.toml limits.cpu/messages sets `cpu/messages`, but gate `messages` is at `io/messages` (allowed: `messages` \
         or `io/messages`)"
    );
    let error = toml::from_str::<Settings>("messages = 1\n'io/messages' = 3").unwrap_err().to_string();
    assert!(error.contains("\"io/messages\" sets gate `messages` a second time (allowed: once)"), "{error}");
}

/// A path and a part serialize as text.
#[test]
fn paths_and_parts_serialize_as_text() {
    let path: GatePath = serde_json::from_str("\"io/messages\"").unwrap();
    assert_eq!(
        (path.gate(), serde_json::to_string(&path).unwrap()),
        (MESSAGES.name(), "\"io/messages\"".to_owned())
    );
    let part: Part = serde_json::from_str("\"1/4\"").unwrap();
    assert_eq!((part, serde_json::to_string(&part).unwrap()), (Part::of(1, 4), "\"1/4\"".to_owned()));
    let error = serde_json::from_str::<Part>("\"5/4\"").unwrap_err().to_string();
    assert!(error.starts_with("\"5/4\" is not a part of a limit: the numerator is above"), "{error}");
    assert!(serde_json::from_str::<GatePath>("\"io/\"").is_err());
}

/// The explanation of a child serializes its path and the gate above that binds. That of a root has neither key.
#[test]
fn an_explanation_of_a_child_serializes_its_path() {
    let plan = Plan::new([IO, MESSAGES]).unwrap();
    let resolve = |io| {
        let layer = OverrideLayer::new("cli").set(IO, io).set(MESSAGES, 9);
        let resolution = plan.resolve(&Readings::new(), &Overrides::new().then(layer)).unwrap();
        serde_json::to_value(resolution).unwrap()
    };
    let [bound, free] = [resolve(4), resolve(9)];
    assert_eq!(bound["gates"]["messages"]["path"], "io/messages");
    assert_eq!(bound["gates"]["messages"]["bound_by"], serde_json::json!({ "gate": "io", "limit": 4 }));
    let messages = free["gates"]["messages"].as_object().unwrap();
    assert_eq!((&messages["path"], &messages["bound_by"]), (&"io/messages".into(), &serde_json::Value::Null));
    let io = free["gates"]["io"].as_object().unwrap();
    assert_eq!(io.keys().collect::<Vec<_>>(), ["limit", "decision", "derived", "shadowed", "derivation"]);
}
