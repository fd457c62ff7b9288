//! The problems of a configuration, and their messages.

use concurrency_governor::config::{ConfigError, ConfigKey, ConfigProblem, PlanConfig, Value};

use crate::support::{parse_json, parse_toml};

/// A date of TOML is shown as it was given.
#[test]
fn a_date_is_shown_as_a_date() {
    for (date, key) in [("1979-05-27", "formula"), ("07:32:00", "formula")] {
        let error = parse_toml(&format!("[gates.io]\n{key} = {date}\n")).unwrap_err();
        assert!(error.contains(&format!("gates.io.{key} = {date} is not a formula")), "{error}");
    }
}

/// A problem has the key, the given value and the allowed values, in every format.
#[test]
fn a_problem_has_the_key_the_value_and_the_allowed_values() {
    let whole = format!("is not a whole number (allowed: 0 to {})", usize::MAX);
    let gate = |rest: &str| format!(r#"{{"gates": {{"io": {{"formula": "cpu", {rest}}}}}}}"#);
    for (json, message) in [
        ("{}", "the plan declares no gate (allowed: one or more)"),
        (r#"{"gates": {}}"#, "the plan declares no gate (allowed: one or more)"),
        (r#"{"gates": 3}"#, "gates = 3 is not a table (allowed: a table, as [gates] in TOML)"),
        (
            r#"{"gates": [1, "a"]}"#,
            r#"gates = [1, "a"] is not a table (allowed: a table, as [gates] in TOML)"#,
        ),
        (r#"{"gates": {"io": 4}}"#, "gates.io = 4 is not a table (allowed: a table, as [gates.io] in TOML)"),
        (
            r#"{"extra": 1, "preset": "astrid"}"#,
            "extra is not a known key (allowed: preset, gates, overrides)",
        ),
        (
            r#"{"preset": "mars", "overrides": {"x": 1}}"#,
            r#"preset = "mars" is not a preset (allowed: `astrid`)"#,
        ),
        (r#"{"preset": 1}"#, "preset = 1 is not a preset (allowed: `astrid`)"),
        (
            &gate(r#""colour": 1"#),
            "gates.io.colour is not a known key (allowed: formula, queue, max_wait, shed, policy, measure_waits, track_holders, within, weight, adaptive, keys, share)",
        ),
        (
            r#"{"gates": {"I o": {"formula": "cpu"}}}"#,
            r#"gates."I o": "I o" is not a gate name: a name starts with a lower-case letter (allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)"#,
        ),
        (
            r#"{"gates": {"io": {}}}"#,
            r#"gates.io has no formula (required, for example formula = "cpu * 2")"#,
        ),
        (
            r#"{"gates": {"io": null}}"#,
            r#"gates.io has no formula (required, for example formula = "cpu * 2")"#,
        ),
        (
            r#"{"gates": {"io": {"formula": 3}}}"#,
            r#"gates.io.formula = 3 is not a formula (allowed: text such as "cpu * 2 | floor 4")"#,
        ),
        (
            r#"{"gates": {"io": {"formula": "cpu | flor 2"}}}"#,
            "gates.io.formula: formula \"cpu | flor 2\", column 7: expected a step: `reserve N`, `floor N`, `ceiling N` or `at most AMOUNT`, found \"flor\"",
        ),
        (
            r#"{"gates": {"io": {"formula": "gate oi"}}}"#,
            "the formula of gate `io` reads gate `oi`, which the plan does not declare (it declares io)",
        ),
        (
            r#"{"gates": {"a": {"formula": "gate b"}, "b": {"formula": "gate a"}}}"#,
            "gates read each other's limits in a cycle: a reads b reads a (remove one of these references)",
        ),
        (&gate(r#""queue": -1"#), &format!("gates.io.queue = -1 {whole}")),
        (&gate(r#""queue": 1.5"#), &format!("gates.io.queue = 1.5 {whole}")),
        (&gate(r#""queue": true"#), &format!("gates.io.queue = true {whole}")),
        (&gate(r#""queue": "x""#), &format!("gates.io.queue = \"x\" {whole}")),
        (
            &gate(r#""queue": {"a": [], "b": {}}"#),
            &format!("gates.io.queue = {{ a = [], b = {{}} }} {whole}"),
        ),
        (
            &gate(r#""max_wait": 250"#),
            r#"gates.io.max_wait = 250 is not a duration (allowed: text such as "250ms" or "1m 30s")"#,
        ),
        (
            &gate(r#""max_wait": "soon""#),
            r#"gates.io.max_wait = "soon" is not a duration (allowed: text such as "250ms" or "1m 30s")"#,
        ),
        (
            &gate(r#""policy": "hope""#),
            r#"gates.io.policy = "hope" is not a policy (allowed: "trust", "clamp" or "reject")"#,
        ),
        (
            &gate(r#""measure_waits": 1"#),
            "gates.io.measure_waits = 1 is not a boolean (allowed: true or false)",
        ),
        (
            r#"{"preset": "astrid", "overrides": {"oi": 3}}"#,
            "overrides.oi: the plan declares no such gate (it declares blocking, io, pool)",
        ),
        (r#"{"preset": "astrid", "overrides": {"io": 1.5}}"#, &format!("overrides.io = 1.5 {whole}")),
        (
            r#"{"preset": "astrid", "overrides": [1]}"#,
            "overrides = [1] is not a table (allowed: a table, as [overrides] in TOML)",
        ),
    ] {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let error = serde_json::from_value::<PlanConfig>(value.clone()).unwrap_err();
        assert_eq!(error.to_string(), message, "{json}");
        // TOML has no null, and its parser adds the position.
        if let Ok(toml) = toml::to_string(&value) {
            let error = parse_toml(&toml).unwrap_err();
            assert!(error.contains(message), "{toml}: {error}");
        }
    }
}

/// The gates of the preset are declared: a gate of the same name is a problem, and errors list them.
#[test]
fn the_gates_of_the_preset_are_declared() {
    for (json, message) in [
        (
            r#"{"preset": "astrid", "gates": {"io": {"formula": "cpu"}}}"#,
            "gates.io: preset `astrid` declares a gate of this name (allowed: another name, or no preset)",
        ),
        (
            r#"{"preset": "astrid", "gates": {"a": {"formula": "gate b"}}}"#,
            "the formula of gate `a` reads gate `b`, which the plan does not declare (it declares blocking, io, pool, a)",
        ),
    ] {
        assert_eq!(parse_json(json).unwrap_err(), message, "{json}");
    }
}

/// A key that is given twice is a problem.
#[test]
fn a_duplicate_key_is_reported() {
    let twice = r#"{"gates": {"io": {"formula": "5"}, "io": {"formula": "6"}}, "gates": {}}"#;
    let error = parse_json(twice).unwrap_err();
    assert!(error.starts_with("gates is given twice (allowed: once); gates.io is given twice"), "{error}");
}

/// All problems are reported at once. One problem hides no other one and is not reported twice.
#[test]
fn all_problems_are_reported_at_once() {
    let error = parse_json(
        r#"{
            "colour": 1,
            "gates": {
                "a": { "formula": "cpu |", "queue": -1, "policy": "x" },
                "b": { "formula": "gate a" },
                "c": { "formula": "gate x" },
                "B!": { "queue": 1 }
            },
            "overrides": { "a": "x", "y": 2, "b": 1 }
        }"#,
    );
    let error = error.unwrap_err();
    let problems: Vec<&str> = error.split("; ").map(|problem| &problem[..problem.len().min(30)]).collect();
    assert_eq!(
        problems,
        [
            "colour is not a known key (all",
            "gates.a.formula: formula \"cpu ",
            "gates.a.queue = -1 is not a wh",
            "gates.a.policy = \"x\" is not a ",
            "gates.\"B!\": \"B!\" is not a gate",
            "gates.\"B!\" has no formula (req",
            "overrides.a = \"x\" is not a who",
            "overrides.y: the plan declares",
            "the formula of gate `c` reads ",
        ]
    );
    // Gate `a` is declared, although its formula is invalid.
    assert!(!error.contains("reads gate `a`"), "{error}");
    assert!(error.ends_with("gate `x`, which the plan does not declare (it declares b, c, a)"), "{error}");
}

/// Problems with known lines are sorted by line and print it. A long value is truncated.
#[test]
fn problems_are_sorted_by_line() {
    let formula = Value::text("x".repeat(100)).at_line(2);
    let gate = Value::table([
        (ConfigKey::new("formula").at_line(2), formula),
        (ConfigKey::new("max_wait").at_line(3), Value::text("y".repeat(100)).at_line(3)),
    ]);
    let config = Value::table([
        (
            ConfigKey::new("overrides").at_line(5),
            Value::table([(ConfigKey::new("x").at_line(6), Value::whole(1))]),
        ),
        (ConfigKey::new("gates"), Value::table([(ConfigKey::new("io").at_line(1), gate.at_line(1))])),
    ]);
    let error = PlanConfig::read(&config).unwrap_err();
    assert_eq!(error.problems().iter().map(ConfigProblem::line).collect::<Vec<_>>(), [2, 3, 6].map(Some));
    let truncated = format!("gates.io.max_wait = \"{}… is not a duration", "y".repeat(59));
    assert!(error.problems()[1].message().starts_with(&truncated), "{error}");
    assert!(error.to_string().contains("; line 3: gates.io.max_wait"), "{error}");

    let in_file = ConfigError::in_file("limits.toml", &error);
    assert_eq!(in_file.to_string(), format!("limits.toml: {error}"));
}

/// A `main` that returns the error prints its message: it prints it with `Debug`.
#[test]
fn debug_prints_the_message() {
    let file = std::path::Path::new("limits.toml"); // a text is accepted, too
    let error = ConfigError::in_file(file, toml::from_str::<PlanConfig>("gates = 3").unwrap_err());
    assert_eq!(format!("{error:?}"), error.to_string());
    assert!(error.to_string().starts_with("limits.toml: "), "{error}");
}

/// The target of shedding is a duration above 0.
#[test]
fn the_target_of_shedding_is_checked() {
    for given in [r#""0s""#, r#""soon""#, "20"] {
        let json = format!(r#"{{"gates": {{"io": {{"formula": "cpu", "shed": {given}}}}}}}"#);
        let message = format!(
            "gates.io.shed = {given} is not a target of shedding (allowed: a duration above 0 such as \"20ms\")"
        );
        assert_eq!(parse_json(&json).unwrap_err(), message);
    }
}
