//! docs/plan.schema.json and the crate accept the same configurations, and have the same keys, presets and policies.
//! docs/explain.schema.json, docs/fleet-status.schema.json and docs/simulate-hosts.schema.json describe what the program prints.

use boon::{Compiler, SchemaIndex, Schemas};
use concurrency_governor::config::PlanConfig;
use concurrency_governor::preset::Preset;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../../docs/plan.schema.json");
const EXPLAIN_SCHEMA: &str = include_str!("../../../docs/explain.schema.json");
const STATUS_SCHEMA: &str = include_str!("../../../docs/fleet-status.schema.json");
const HOSTS_SCHEMA: &str = include_str!("../../../docs/simulate-hosts.schema.json");
const SAMPLE: &str = include_str!("../../../docs/plan.example.toml");

/// The schema and the crate accept or reject each configuration alike. Only the crate checks formulas, the values of caps and
/// references to gates, so these are not tested here.
#[test]
fn schema_and_crate_accept_the_same() {
    let gate = |more: Value| {
        let mut gate = json!({ "formula": "cpu" });
        gate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "gates": { "io": gate } })
    };
    let set = |value: Value| json!({ "preset": "astrid", "overrides": { "io": value } });
    let child = |more: Value| {
        let mut config = gate(json!({ "within": "host" }));
        config["gates"]["io"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config["gates"]["host"] = json!({ "formula": "cpu" });
        config
    };
    let keyed = |keys: Value| gate(json!({ "keys": keys }));
    let set_child = |path: &str| {
        let mut config = child(json!({}));
        config["overrides"] = json!({ path: 1 });
        config
    };
    let named = |name: &str| json!({ "gates": { name: { "formula": "cpu" } } });
    let (schemas, schema) = compile(SCHEMA);
    for (config, is_valid) in [
        (toml::from_str(SAMPLE).unwrap(), true),
        (json!({ "preset": "astrid" }), true),
        (json!({ "preset": "astrid", "gates": {}, "overrides": {} }), true),
        (json!({ "preset": "mars" }), false),
        (json!({ "preset": 1 }), false),
        (json!({}), false),
        (json!({ "gates": {} }), false),
        (json!({ "overrides": {} }), false),
        (json!({ "gates": [] }), false),
        (json!({ "preset": "astrid", "colour": 1 }), false),
        (json!({ "gates": { "io": {} } }), false),
        (json!({ "gates": { "io": 3 } }), false),
        (json!([]), false),
        (gate(json!({})), true),
        (gate(json!({ "formula": 3 })), false),
        (gate(json!({ "formula": "" })), false),
        (gate(json!({ "queue": 0 })), true),
        (gate(json!({ "queue": u64::MAX })), true),
        (gate(json!({ "queue": " 12 " })), true),
        (gate(json!({ "queue": -1 })), false),
        (gate(json!({ "queue": 1.5 })), false),
        (gate(json!({ "queue": "many" })), false),
        (gate(json!({ "queue": "" })), true),
        (gate(json!({ "measure_waits": "" })), true),
        (set(json!("")), true),
        (json!({ "preset": "" }), false),
        (gate(json!({ "max_wait": "" })), false),
        (gate(json!({ "policy": "" })), false),
        (gate(json!({ "max_wait": "1m 30s" })), true),
        (gate(json!({ "max_wait": "250" })), false),
        (gate(json!({ "max_wait": 250 })), false),
        (gate(json!({ "max_wait": "soon" })), false),
        (gate(json!({ "policy": "reject" })), true),
        (gate(json!({ "policy": "hope" })), false),
        (gate(json!({ "policy": 1 })), false),
        (gate(json!({ "measure_waits": true })), true),
        (gate(json!({ "measure_waits": "false" })), true),
        (gate(json!({ "measure_waits": 1 })), false),
        (gate(json!({ "colour": 1 })), false),
        (child(json!({})), true),
        (child(json!({ "within": "Host" })), false),
        (child(json!({ "within": "" })), false),
        (child(json!({ "within": 3 })), false),
        (child(json!({ "within": "gate" })), false),
        (child(json!({ "weight": 1 })), true),
        (child(json!({ "weight": 1_000_000 })), true),
        (child(json!({ "weight": " 01000000 " })), true),
        (child(json!({ "weight": "" })), true),
        (child(json!({ "weight": 0 })), false),
        (child(json!({ "weight": "0" })), false),
        (child(json!({ "weight": 1_000_001 })), false),
        (child(json!({ "weight": "1000001" })), false),
        (child(json!({ "weight": 1.5 })), false),
        (child(json!({ "weight": true })), false),
        (keyed(json!({ "max": 1 })), true),
        (keyed(json!({ "max": 4_294_967_295_u32, "cap": "1/4", "queue": 64 })), true),
        (keyed(json!({ "max": "12", "cap": " gate  io*1 / 4 ", "queue": "" })), true),
        (keyed(json!({ "max": 0 })), false),
        (keyed(json!({ "max": "" })), false),
        (keyed(json!({ "max": 4_294_967_296_u64 })), false),
        (keyed(json!({ "max": 1, "queue": -1 })), false),
        (keyed(json!({ "max": 1, "cap": "" })), false),
        (keyed(json!({ "max": 1, "cap": 4 })), false),
        (keyed(json!({ "max": 1, "cap": "25%" })), false),
        (keyed(json!({ "max": 1, "cap": "io * 1/4" })), false),
        (keyed(json!({ "max": 1, "colour": 1 })), false),
        (keyed(json!({})), false),
        (keyed(json!(4096)), false),
        (set_child("io"), true),
        (set_child("host/io"), true),
        (set_child("host/"), false),
        (set_child("host//io"), false),
        (set_child("gate/io"), false),
        (set_child("Host/io"), false),
        (set(json!(0)), true),
        (set(json!("64")), true),
        (set(json!(-1)), false),
        (set(json!([])), false),
        (set(json!({})), true),
        (set(json!({ "limit": 3, "queue": "100", "max_wait": "250ms" })), true),
        (set(json!({ "queue": 0 })), true),
        (set(json!({ "queue": -1 })), false),
        (set(json!({ "max_wait": 3 })), false),
        (set(json!({ "formula": "cpu" })), false),
        (named("http-client.v1_2"), true),
        (named(&"a".repeat(31)), true),
        (named(&"a".repeat(32)), false),
        (named(""), false),
        (named("Io"), false),
        (named("1io"), false),
        (named("i o"), false),
        (named("floor"), false),
        (named("gate"), false),
    ] {
        let by_schema = schemas.validate(&config, schema);
        let by_crate = serde_json::from_value::<PlanConfig>(config.clone());
        assert_eq!(by_schema.is_ok(), is_valid, "{config}: {by_schema:?}");
        assert_eq!(by_crate.is_ok(), is_valid, "{config}: {by_crate:?}");
    }
}

/// The keys, presets and policies of the schema are those that the errors of the crate list.
#[test]
fn schema_has_the_keys_and_values_of_the_crate() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let keys = |at: &str| {
        let properties = schema.pointer(at).and_then(Value::as_object).unwrap();
        properties.keys().cloned().collect::<Vec<_>>().join(", ")
    };
    let error_of = |config: Value| serde_json::from_value::<PlanConfig>(config).unwrap_err().to_string();

    let error = error_of(json!({ "preset": "astrid", "x": 1 }));
    assert_eq!(error, format!("x is not a known key (allowed: {})", keys("/properties")));
    let error = error_of(json!({ "gates": { "io": { "formula": "cpu", "x": 1 } } }));
    assert_eq!(error, format!("gates.io.x is not a known key (allowed: {})", keys("/$defs/gate/properties")));
    let error = error_of(json!({ "gates": { "io": { "formula": "cpu", "keys": { "max": 1, "x": 1 } } } }));
    let allowed = keys("/$defs/keys/properties");
    assert_eq!(error, format!("gates.io.keys.x is not a known key (allowed: {allowed})"));
    for (table, required) in [("adaptive", json!({ "rule": "arc", "x": 1 })), ("share", json!({ "x": 1 }))] {
        let error = error_of(json!({ "gates": { "io": { "formula": "cpu", table: required } } }));
        let allowed = keys(&format!("/$defs/{table}/properties"));
        let expected = format!("gates.io.{table}.x is not a known key (allowed: {allowed})");
        assert!(error.contains(&expected), "{expected}: {error}");
    }
    let error = error_of(json!({ "preset": "astrid", "overrides": { "io": { "x": 1 } } }));
    let allowed = keys("/$defs/setting/properties");
    assert_eq!(error, format!("overrides.io.x is not a known key (allowed: {allowed})"));
    let error = error_of(json!({ "gates": { "io": { "formula": "cpu", "policy": "x" } } }));
    for policy in schema["$defs"]["gate"]["properties"]["policy"]["enum"].as_array().unwrap() {
        assert!(error.contains(&policy.to_string()), "{error}");
    }
    let presets: Vec<_> = Preset::ALL.iter().map(|preset| json!(preset.as_str())).collect();
    assert_eq!(schema["properties"]["preset"]["enum"], Value::Array(presets));
    for word in schema["$defs"]["name"]["not"]["enum"].as_array().unwrap() {
        let error = error_of(json!({ "gates": { word.as_str().unwrap(): { "formula": "cpu" } } }));
        assert!(error.contains("formula language"), "{error}");
    }
}

/// The outputs of `fleet status --json` and of `simulate --hosts N --json`, which the tests of the program compare with theirs, are valid.
/// Without one of their keys, or with a wrong value, they are not.
#[test]
fn reports_of_a_fleet_are_what_their_schemas_describe() {
    assert_describes(
        STATUS_SCHEMA,
        include_str!("../../cli/fleet_status.json"),
        &["", "/gates/prod~1io", "/gates/prod~1io/processes/0", "/gates/prod~1db"],
        &[
            ("/version", json!(2), false),
            ("/gates/prod~1io/limit", json!(null), true),
            ("/gates/prod~1io/limit", json!(0), false),
            ("/gates/prod~1io/set_by", json!(null), true),
            ("/gates/prod~1io/granted", json!("17"), false),
            ("/gates/prod~1io/processes/0/wants", json!(-1), false),
        ],
    );
    assert_describes(
        HOSTS_SCHEMA,
        include_str!("../../cli/fleet_simulation.json"),
        &["", "/permits_of_a_host", "/exchanges_per_second", "/faults/0", "/seconds/0"],
        &[
            ("/version", json!(2), false),
            ("/limit", json!(0), false),
            ("/utilisation", json!(null), false),
            ("/faults/0/recovery_ms", json!(1500), true),
            ("/faults/0/recovery_ms", json!("1500"), false),
            ("/seconds/0/exchanges", json!(0.5), false),
        ],
    );
}

/// Checks that a report is valid, that each key of these `parents` is required, and that with these values it is valid or not.
fn assert_describes(schema: &str, printed: &str, parents: &[&str], values: &[(&str, Value, bool)]) {
    let (schemas, schema) = compile(schema);
    let report: Value = serde_json::from_str(printed).unwrap();
    let result = schemas.validate(&report, schema);
    assert!(result.is_ok(), "{}", result.unwrap_err());
    for parent in parents {
        for key in report.pointer(parent).unwrap().as_object().unwrap().keys() {
            let mut without = report.clone();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            assert!(schemas.validate(&without, schema).is_err(), "without {parent}/{key}");
        }
    }
    for (place, value, expected) in values {
        let mut report = report.clone();
        *report.pointer_mut(place).unwrap() = value.clone();
        assert_eq!(schemas.validate(&report, schema).is_ok(), *expected, "{place} = {value}");
    }
}

/// The output of `explain --json`, which the tests of the program compare letter by letter, is valid. Without one of its keys,
/// or with a wrong value, it is not.
#[test]
fn explain_prints_what_its_schema_describes() {
    let (schemas, schema) = compile(EXPLAIN_SCHEMA);
    let is_valid = |report: &Value| schemas.validate(report, schema).is_ok();
    let [small, four_sources]: [Value; 2] =
        [include_str!("../../cli/small_host.json"), include_str!("../../cli/four_sources.json")]
            .map(|printed| serde_json::from_str(printed).unwrap());
    for report in [&small, &four_sources] {
        let result = schemas.validate(report, schema);
        assert!(result.is_ok(), "{}", result.unwrap_err());
    }

    // Every key is required, wherever it stands.
    assert_describes(
        EXPLAIN_SCHEMA,
        include_str!("../../cli/four_sources.json"),
        &[
            "",
            "/readings/cpu",
            "/readings/cpu/sources/0",
            "/layers/0",
            "/gates/io",
            "/gates/io/decision",
            "/gates/io/shadowed/0",
            "/gates/io/derivation/0",
        ],
        &[
            ("/version", json!(2), false),
            ("/readings/cpu/value", json!("many"), false),
            ("/readings/cpu/value", json!(-1), false),
            ("/gates/io/limit", json!(0), false),
            ("/gates/io/limit", json!("7"), false),
            ("/gates/io/decision/standing", json!("other"), false),
            ("/gates/io/derivation/0/effect", json!("other"), false),
            ("/gates/io/derivation/0/value", json!(null), false),
            ("/layers/0/sets/io", json!(-1), false),
        ],
    );

    // A gate may have `share`, in which every key is required.
    let share: Value = serde_json::from_str(include_str!("../../cli/share.json")).unwrap();
    let with_share = |share: Value| {
        let mut report = four_sources.clone();
        report["gates"]["io"]["share"] = share;
        report
    };
    let shared = with_share(share.clone());
    let result = schemas.validate(&shared, schema);
    assert!(result.is_ok(), "{}", result.unwrap_err());
    for parent in ["", "/fleet"] {
        for key in share.pointer(parent).unwrap().as_object().unwrap().keys() {
            let mut without = share.clone();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            assert!(!is_valid(&with_share(without)), "without share{parent}/{key}");
        }
    }
    for (place, value, expected) in [
        ("/answer", json!("failed"), true),
        ("/answer", json!("other"), false),
        ("/reason", json!("not set"), true),
        ("/may_use", json!(null), true),
        ("/may_use", json!(0), false),
        ("/fleet", json!(null), true),
        ("/fleet/limit", json!(null), true),
        ("/fleet/granted", json!(-1), false),
    ] {
        let mut share = share.clone();
        *share.pointer_mut(place).unwrap() = value.clone();
        assert_eq!(is_valid(&with_share(share)), expected, "share{place} = {value}");
    }

    // So may a gate have the bounds of its queue, and a layer the settings of queues.
    let queues: Value = serde_json::from_str(include_str!("../../cli/queues.json")).unwrap();
    let result = schemas.validate(&queues, schema);
    assert!(result.is_ok(), "{}", result.unwrap_err());
    let bounds = "/gates/uploads/queue_bounds";
    for key in queues.pointer(bounds).unwrap().as_object().unwrap().keys() {
        let mut without = queues.clone();
        without.pointer_mut(bounds).unwrap().as_object_mut().unwrap().remove(key);
        assert!(!is_valid(&without), "without {bounds}/{key}");
    }
    for (place, wrong) in [
        ("/gates/uploads/queue_bounds/queue", json!(-1)),
        ("/gates/uploads/queue_bounds/max_wait", json!("250ms")),
        ("/layers/1/sets_queues/uploads/queue", json!("5")),
        ("/layers/1/sets_queues/uploads", json!({})),
    ] {
        let mut report = queues.clone();
        *report.pointer_mut(place).unwrap() = wrong.clone();
        assert!(!is_valid(&report), "{place} = {wrong}");
    }

    let mut unlimited = small;
    unlimited["readings"]["cpu"]["value"] = json!("unlimited");
    unlimited["readings"]["fd"]["value"] = json!("9999999999999.999");
    unlimited["a key of a later version"] = json!(1);
    assert!(is_valid(&unlimited));
}

fn compile(schema: &str) -> (Schemas, SchemaIndex) {
    let mut compiler = Compiler::new();
    compiler.add_resource("schema.json", serde_json::from_str(schema).unwrap()).unwrap();
    let mut schemas = Schemas::new();
    let schema = compiler.compile("schema.json", &mut schemas).unwrap();
    (schemas, schema)
}
