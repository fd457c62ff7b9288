//! The table `adaptive` of a gate.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use concurrency_governor::config::PlanConfig;
use concurrency_governor::plan::RuleName;
use concurrency_governor::{Adaptive, Plan, Resource};

use crate::support::parse_json;

const CPU_PRESSURE: Resource = Resource::new("pressure.cpu");

/// Returns the problems of a configuration.
fn problems_of(json: &str) -> Vec<String> {
    let value: concurrency_governor::config::Value = serde_json::from_str(json).unwrap();
    let error = PlanConfig::read(&value).unwrap_err();
    error.problems().iter().map(ToString::to_string).collect()
}

/// Each form of the declaration, as a table and as a text, and back again.
#[test]
fn a_gate_declares_how_its_limit_follows_outcomes() {
    let aimd = Adaptive::aimd(Duration::from_millis(200));
    for (given, expected) in [
        (r#"{"rule": "latency"}"#, Adaptive::latency()),
        (r#"{"rule": "latency", "start": 32, "floor": "2"}"#, Adaptive::latency().start(32).floor(2)),
        (r#"{"rule": "arc", "floor": null}"#, Adaptive::arc()),
        (r#"{"rule": "aimd", "max_healthy": "200ms"}"#, aimd),
        (r#"{"rule": "arc", "start": "", "floor": " "}"#, Adaptive::arc()),
        (r#"{"rule": "custom:ours"}"#, Adaptive::custom(RuleName::new("ours"))),
        (
            r#"{"rule": "arc", "overload": " 20 % pressure.cpu"}"#,
            Adaptive::arc().overload_at(CPU_PRESSURE, 20),
        ),
        (r#""latency, overload 100% pressure.cpu""#, Adaptive::latency().overload_at(CPU_PRESSURE, 100)),
        (r#""latency""#, Adaptive::latency()),
        (r#""arc, floor 2, start 8""#, Adaptive::arc().start(8).floor(2)),
        (r#""aimd 200ms""#, aimd),
        (r#""aimd 0.2s, start 1""#, aimd.start(1)),
        (r#""custom:ours""#, Adaptive::custom(RuleName::new("ours"))),
    ] {
        let config =
            parse_json(&format!(r#"{{"gates": {{"io": {{"formula": "8", "adaptive": {given}}}}}}}"#))
                .unwrap();
        let spec = config.plan().specs()[0];
        assert_eq!(spec.adaptivity(), Some(expected), "{given}");
        assert_eq!(expected.to_string().parse::<Adaptive>().unwrap(), expected);

        let written = serde_json::to_string(&PlanConfig::from(Plan::new([spec]).unwrap())).unwrap();
        assert_eq!(parse_json(&written).unwrap(), config, "{written}");
    }
    let blank = parse_json(r#"{"gates": {"io": {"formula": "8", "adaptive": " "}}}"#).unwrap();
    assert_eq!(blank.plan().specs()[0].adaptivity(), None);
}

/// Each mistake is reported with what was given and what is allowed.
#[test]
fn a_wrong_declaration_is_reported() {
    for (given, expected) in [
        ("{}", "gates.io.adaptive has no rule (required, for example rule = \"latency\")"),
        ("7", "gates.io.adaptive = 7 is not a table (allowed: a table, as [gates.io.adaptive] in TOML)"),
        (
            r#"{"rule": "arc", "overload": "0% cpu"}"#,
            "gates.io.adaptive.overload = \"0% cpu\" is not a sign of overload (allowed: 1 to 100 percent of a resource, such as \"20% pressure.cpu\")",
        ),
        (
            r#"{"rule": "latncy"}"#,
            "gates.io.adaptive.rule = \"latncy\" is not a rule (allowed: \"latency\", \"arc\", \"aimd\" with max_healthy, or \"custom:NAME\")",
        ),
        (
            r#"{"rule": "custom:A"}"#,
            "gates.io.adaptive.rule = \"custom:A\" is not a rule (allowed: \"latency\", \"arc\", \"aimd\" with max_healthy, or \"custom:NAME\")",
        ),
        (
            r#"{"rule": "aimd"}"#,
            "gates.io.adaptive has no max_healthy (required for `aimd`, for example max_healthy = \"200ms\")",
        ),
        (
            r#"{"rule": "arc", "max_healthy": "1s"}"#,
            "gates.io.adaptive.max_healthy is only for the rule `aimd`",
        ),
        (
            r#"{"rule": "custom:mine", "max_healthy": "1s"}"#,
            "gates.io.adaptive.max_healthy is only for the rule `aimd`",
        ),
        (
            r#"{"rule": "custom:A", "max_healthy": "1s"}"#,
            "gates.io.adaptive.rule = \"custom:A\" is not a rule (allowed: \"latency\", \"arc\", \"aimd\" with max_healthy, or \"custom:NAME\")",
        ),
        (
            r#"{"rule": "arc", "start": 0}"#,
            "gates.io.adaptive.start = 0 is not a limit (allowed: 1 to 1073741823)",
        ),
        (
            r#"{"rule": "arc", "speed": 0}"#,
            "gates.io.adaptive.speed is not a known key (allowed: rule, start, floor, max_healthy, overload)",
        ),
        (
            r#""latency, start 0""#,
            "gates.io.adaptive: \"latency, start 0\" is not a rule for an adaptive limit (allowed: `latency`, `arc`, `aimd` with a duration such as `aimd 200ms`, or `custom:NAME`; then `, start N` and `, floor N` from 1 to 1073741823, and a sign such as `, overload 20% pressure.cpu`)",
        ),
    ] {
        let json = format!(r#"{{"gates": {{"io": {{"formula": "8", "adaptive": {given}}}}}}}"#);
        assert_eq!(problems_of(&json), [expected], "{given}");
    }
    for text in [
        "",
        "latency latency",
        "latency 5ms",
        "aimd",
        "aimd 5",
        "aimd .s",
        "arc, start",
        "arc, floor 1, floor 2",
        "custom:",
    ] {
        assert!(text.parse::<Adaptive>().is_err(), "{text:?}");
    }
}

/// The name of an adaptive gate has at most 22 characters.
#[test]
fn a_long_name_is_reported() {
    let json = r#"{"gates": {"a-name-of-23-characters": {"formula": "8", "adaptive": "latency"}}}"#;
    let problems = problems_of(json);
    assert!(
        problems[0].contains("whose name is too long (allowed: a gate name of at most 22 bytes)"),
        "{problems:?}"
    );
}
