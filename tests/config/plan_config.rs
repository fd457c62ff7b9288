//! Whole plans in a configuration: the formats, the defaults and the override layer.

use std::time::Duration;

use concurrency_governor::config::{PlanConfig, Settings};
use concurrency_governor::plan::Policy;
use concurrency_governor::preset::Preset;
use concurrency_governor::preset::astrid::{self, BLOCKING, IO, POOL};
use concurrency_governor::{
    Formula, GateName, GateSpec, Holders, OverrideLayer, Overrides, Plan, Readings, Resource, Shed,
};

use crate::support::{parse_json, parse_toml};

/// A plan file with a preset, gates that stand alone, and overrides.
const TOML: &str = r#"
preset = "astrid"

[gates.uploads]
formula = "(cpu or 2) * 8 | floor 16 | at most fd * 1/4"
queue = 1000
max_wait = "250ms"
shed = "20ms"
policy = "clamp"
measure_waits = false
track_holders = "30s"

[gates."http.client"]
formula = "gate uploads * 2"

[overrides]
uploads = 32
pool = 0
"#;

const JSON: &str = r#"{
    "preset": "astrid",
    "gates": {
        "uploads": {
            "formula": "(cpu or 2) * 8 | floor 16 | at most fd * 1/4",
            "queue": 1000,
            "max_wait": "250ms",
            "shed": "20ms",
            "policy": "clamp",
            "measure_waits": false,
            "track_holders": "30s"
        },
        "http.client": { "formula": "gate uploads * 2" }
    },
    "overrides": { "uploads": 32, "pool": 0 }
}"#;

/// Every format gives the same plan: the gates of the preset, then those of the file in their order.
#[test]
fn every_format_gives_the_same_plan() {
    let uploads = GateSpec::new("uploads", "(cpu or 2) * 8 | floor 16 | at most fd * 1/4".parse().unwrap())
        .queue(1000)
        .max_wait(Duration::from_millis(250))
        .shed(Shed::after(Duration::from_millis(20)))
        .policy(Policy::Clamp)
        .measure_waits(false)
        .track_holders(Holders::overdue_after(Duration::from_secs(30)));
    let client = GateSpec::new("http.client", Formula::of(uploads.times(2)));
    for config in [parse_toml(TOML).unwrap(), parse_json(JSON).unwrap()] {
        assert_eq!(config.plan().specs(), [BLOCKING, IO, POOL, uploads, client]);
        assert_eq!(config.preset(), Some(Preset::Astrid));
        let settings: Vec<_> = config.overrides().iter().collect();
        assert_eq!(settings, [(uploads.name(), 32), (POOL.name(), 0)]);
    }
    assert_eq!(parse_toml(TOML).unwrap(), parse_json(JSON).unwrap());
}

/// The override layer has the name of the file, and each origin has its key.
#[test]
fn overrides_are_a_layer_with_keys() {
    let config = parse_toml(TOML).unwrap();
    let overrides =
        Overrides::new().then(OverrideLayer::new("cli").set(POOL, 9)).then(config.layer("limits.toml"));
    let resolution = config.plan().resolve(&Readings::new(), &overrides).unwrap();
    let explain = |gate: &str| resolution.explain(gate.parse::<GateName>().unwrap()).unwrap().to_string();
    assert_eq!(
        explain("pool"),
        "pool = 9: set to 9 by cli (above the derived limit), derived 8, shadows limits.toml overrides.pool = 0"
    );
    assert_eq!(
        explain("uploads"),
        "uploads = 16: set to 32 by limits.toml overrides.uploads (lowered to the derived limit), derived 16"
    );
}

/// A missing key has the default of `GateSpec::new`. A preset alone is a plan. Null counts as a missing key, and
/// so does an empty text in place of a number or a boolean: it is an environment variable without a value.
#[test]
fn missing_keys_have_their_defaults() {
    let config = parse_toml("[gates.io]\nformula = 'cpu'").unwrap();
    assert_eq!(config.plan().specs(), [GateSpec::new("io", Formula::scale(Resource::CPU, 1))]);
    assert_eq!((config.preset(), config.overrides().iter().len()), (None, 0));
    assert_eq!(parse_toml("preset = 'astrid'").unwrap().plan(), &astrid::plan());

    let null = r#"{"preset": null, "overrides": null, "gates": {"io": {"formula": "cpu", "queue": null, "policy": null}}}"#;
    assert_eq!(parse_json(null).unwrap(), config);
    let null = r#"{"gates": {"io": {"formula": "cpu"}}, "overrides": {"io": null}}"#;
    assert_eq!(parse_json(null).unwrap(), config);
    let empty = r#"{"gates": {"io": {"formula": "cpu", "queue": "", "measure_waits": " "}}, "overrides": {"io": ""}}"#;
    assert_eq!(parse_json(empty).unwrap(), config);
    for keys in
        [r#""formula": """#, r#""formula": "cpu", "max_wait": """#, r#""formula": "cpu", "policy": """#]
    {
        let error = parse_json(&format!(r#"{{"gates": {{"io": {{{keys}}}}}}}"#)).unwrap_err();
        assert!(error.starts_with("gates.io."), "{error}");
    }
}

/// Numbers and booleans may be given as text, because environment variables are text.
#[test]
fn numbers_and_booleans_may_be_text() {
    let text = parse_toml(
        "[gates.io]\nformula = 'cpu'\nqueue = ' 7 '\nmeasure_waits = 'false'\n[overrides]\nio = '18446744073709551615'",
    );
    let config = text.unwrap();
    let io = GateSpec::new("io", Formula::scale(Resource::CPU, 1)).queue(7).measure_waits(false);
    assert_eq!(config.plan().specs(), [io]);
    assert_eq!(config.overrides().iter().collect::<Vec<_>>(), [(io.name(), usize::MAX)]);
}

/// A plan from code serializes to a configuration that reads back the same. Overrides of undeclared gates are rejected.
#[test]
fn a_plan_from_code_round_trips() {
    let config = PlanConfig::from(Plan::new([IO]).unwrap());
    let config = config.with_overrides(Settings::new().set(IO, 1).set(IO, 2)).unwrap();
    let written = toml::to_string(&config).unwrap();
    assert_eq!(
        written,
        "[gates.io]\nformula = \"(whole cpu or 2) * 64 | floor 64 | at most fd * 1/2\"\n\n[overrides]\nio = 2\n"
    );
    assert_eq!(parse_toml(&written).unwrap(), config);
    assert_eq!(toml::to_string(&parse_toml("preset = 'astrid'").unwrap()).unwrap(), "preset = \"astrid\"\n");
    let error = config.with_overrides(Settings::new().set(POOL, 2)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the configuration overrides.pool sets gate `pool`, which the plan does not declare (it declares io)"
    );
}
