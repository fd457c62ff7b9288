//! Plans and settings from configurations: what is read, what is refused, and in which words.
#![cfg(feature = "serde")]

use std::time::Duration;

use concurrency_governor::config::{ConfigError, ConfigProblem, Key, PlanConfig, Settings, Value};
use concurrency_governor::plan::Policy;
use concurrency_governor::preset::Preset;
use concurrency_governor::preset::astrid::{self, BLOCKING, IO, POOL};
use concurrency_governor::{
    Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Readings, Resource,
};

/// Everything that a plan file can say.
const TOML: &str = r#"
preset = "astrid"

[gates.uploads]
formula = "(cpu or 2) * 8 | floor 16 | at most fd * 1/4"
queue = 1000
max_wait = "250ms"
policy = "clamp"
measure_waits = false

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
            "policy": "clamp",
            "measure_waits": false
        },
        "http.client": { "formula": "gate uploads * 2" }
    },
    "overrides": { "uploads": 32, "pool": 0 }
}"#;

/// One plan, whatever its format: the preset's gates, then its own in the order of the file.
#[test]
fn every_format_gives_the_same_plan() {
    let uploads = GateSpec::new("uploads", "(cpu or 2) * 8 | floor 16 | at most fd * 1/4".parse().unwrap())
        .queue(1000)
        .max_wait(Duration::from_millis(250))
        .policy(Policy::Clamp)
        .measure_waits(false);
    let client = GateSpec::new("http.client", Formula::of(uploads.times(2)));
    for config in [of_toml(TOML).unwrap(), of_json(JSON).unwrap()] {
        assert_eq!(config.plan().specs(), [BLOCKING, IO, POOL, uploads, client]);
        assert_eq!(config.preset(), Some(Preset::Astrid));
        let settings: Vec<_> = config.overrides().iter().collect();
        assert_eq!(settings, [(uploads.name(), 32), (POOL.name(), 0)]);
    }
    assert_eq!(of_toml(TOML).unwrap(), of_json(JSON).unwrap());
}

/// The layer is named after the file, and each origin has its key.
#[test]
fn settings_are_a_layer_with_keys() {
    let config = of_toml(TOML).unwrap();
    let overrides =
        Overrides::new().then(OverrideLayer::new("cli").set(POOL, 9)).then(config.layer("limits.toml"));
    let resolution = config.plan().resolve(&Readings::new(), &overrides).unwrap();
    let line = |gate: &str| resolution.explain(gate.parse::<GateName>().unwrap()).unwrap().to_string();
    assert_eq!(
        line("pool"),
        "pool = 9: set to 9 by cli (above what is derived), derived 8, shadows limits.toml overrides.pool = 0"
    );
    assert_eq!(
        line("uploads"),
        "uploads = 16: set to 32 by limits.toml overrides.uploads (lowered to what is derived), derived 16"
    );
}

/// What nobody says is as `GateSpec::new` has it; a preset alone is a plan; null is as if it was not there.
#[test]
fn what_is_not_said_has_its_default() {
    let config = of_toml("[gates.io]\nformula = 'cpu'").unwrap();
    assert_eq!(config.plan().specs(), [GateSpec::new("io", Formula::scale(Resource::CPU, 1))]);
    assert_eq!((config.preset(), config.overrides().iter().len()), (None, 0));
    assert_eq!(of_toml("preset = 'astrid'").unwrap().plan(), &astrid::plan());

    let null = r#"{"preset": null, "overrides": null, "gates": {"io": {"formula": "cpu", "queue": null, "policy": null}}}"#;
    assert_eq!(of_json(null).unwrap(), config);
    let null = r#"{"gates": {"io": {"formula": "cpu"}}, "overrides": {"io": null}}"#;
    assert_eq!(of_json(null).unwrap(), config);
}

/// Numbers and truth values may be texts, since a variable of an environment is one whatever reads it.
#[test]
fn texts_of_numbers_are_numbers() {
    let text = of_toml(
        "[gates.io]\nformula = 'cpu'\nqueue = ' 7 '\nmeasure_waits = 'false'\n[overrides]\nio = '18446744073709551615'",
    );
    let config = text.unwrap();
    let io = GateSpec::new("io", Formula::scale(Resource::CPU, 1)).queue(7).measure_waits(false);
    assert_eq!(config.plan().specs(), [io]);
    assert_eq!(config.overrides().iter().collect::<Vec<_>>(), [(io.name(), usize::MAX)]);
}

/// Whatever is wrong is told with its key, what was given and what is allowed, the same in every format.
#[test]
fn faults_name_key_value_and_what_is_allowed() {
    let whole = format!("is not a whole number (allowed: 0 to {})", usize::MAX);
    let gate = |rest: &str| format!(r#"{{"gates": {{"io": {{"formula": "cpu", {rest}}}}}}}"#);
    for (json, told) in [
        ("{}", "the plan declares no gate (allowed: one or more)"),
        (r#"{"gates": {}}"#, "the plan declares no gate (allowed: one or more)"),
        (r#"{"gates": 3}"#, "gates = 3 is no table (allowed: [gates] and what belongs to it)"),
        (
            r#"{"gates": [1, "a"]}"#,
            r#"gates = [1, "a"] is no table (allowed: [gates] and what belongs to it)"#,
        ),
        (r#"{"gates": {"io": 4}}"#, "gates.io = 4 is no table (allowed: [gates.io] and what belongs to it)"),
        (r#"{"extra": 1, "preset": "astrid"}"#, "extra is no known key (allowed: preset, gates, overrides)"),
        (
            r#"{"preset": "mars", "overrides": {"x": 1}}"#,
            r#"preset = "mars" is no preset (allowed: `astrid`)"#,
        ),
        (r#"{"preset": 1}"#, "preset = 1 is no preset (allowed: `astrid`)"),
        (
            r#"{"preset": "astrid", "gates": {"io": {"formula": "cpu"}}}"#,
            "gate `io` is declared 2 times (allowed: once)",
        ),
        (
            &gate(r#""colour": 1"#),
            "gates.io.colour is no known key (allowed: formula, queue, max_wait, policy, measure_waits)",
        ),
        (
            r#"{"gates": {"I o": {"formula": "cpu"}}}"#,
            r#"gates."I o": "I o" is no gate name: a name starts with a lower-case letter (allowed: 1 to 31 of a-z, 0-9, `_`, `-`, `.`, a letter first)"#,
        ),
        (r#"{"gates": {"io": {}}}"#, r#"gates.io has no formula (needed: such as formula = "cpu * 2")"#),
        (r#"{"gates": {"io": null}}"#, r#"gates.io has no formula (needed: such as formula = "cpu * 2")"#),
        (
            r#"{"gates": {"io": {"formula": 3}}}"#,
            r#"gates.io.formula = 3 is no formula (allowed: text such as "cpu * 2 | floor 4")"#,
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
            "gates read each other's limits in a circle: a reads b reads a",
        ),
        (&gate(r#""queue": -1"#), &format!("gates.io.queue = -1 {whole}")),
        (&gate(r#""queue": 1.5"#), &format!("gates.io.queue = 1.5 {whole}")),
        (&gate(r#""queue": true"#), &format!("gates.io.queue = true {whole}")),
        (&gate(r#""queue": """#), &format!("gates.io.queue = \"\" {whole}")),
        (
            &gate(r#""queue": {"a": [], "b": {}}"#),
            &format!("gates.io.queue = {{ a = [], b = {{}} }} {whole}"),
        ),
        (
            &gate(r#""max_wait": 250"#),
            r#"gates.io.max_wait = 250 is no duration (allowed: text such as "250ms" or "1m 30s")"#,
        ),
        (
            &gate(r#""max_wait": "soon""#),
            r#"gates.io.max_wait = "soon" is no duration (allowed: text such as "250ms" or "1m 30s")"#,
        ),
        (
            &gate(r#""policy": "hope""#),
            r#"gates.io.policy = "hope" is no policy (allowed: "trust", "clamp" or "reject")"#,
        ),
        (
            &gate(r#""measure_waits": 1"#),
            "gates.io.measure_waits = 1 is no truth value (allowed: true or false)",
        ),
        (
            r#"{"preset": "astrid", "overrides": {"oi": 3}}"#,
            "overrides.oi: the plan declares no such gate (it declares blocking, io, pool)",
        ),
        (r#"{"preset": "astrid", "overrides": {"io": 1.5}}"#, &format!("overrides.io = 1.5 {whole}")),
        (
            r#"{"preset": "astrid", "overrides": [1]}"#,
            "overrides = [1] is no table (allowed: [overrides] and what belongs to it)",
        ),
    ] {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            serde_json::from_value::<PlanConfig>(value.clone()).unwrap_err().to_string(),
            told,
            "{json}"
        );
        // A TOML file has no null, and says the place besides.
        if let Ok(toml) = toml::to_string(&value) {
            let error = of_toml(&toml).unwrap_err();
            assert!(error.contains(told), "{toml}: {error}");
        }
    }
    let twice = r#"{"gates": {"io": {"formula": "5"}, "io": {"formula": "6"}}, "gates": {}}"#;
    let error = of_json(twice).unwrap_err();
    assert!(error.starts_with("gates is given twice (allowed: once); gates.io is given twice"), "{error}");
}

/// Everything is told at once: one mistake hides no other, and is not told as a second.
#[test]
fn faults_are_told_at_once() {
    let error = of_json(
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
    let faults: Vec<&str> = error.split("; ").map(|fault| &fault[..fault.len().min(30)]).collect();
    assert_eq!(
        faults,
        [
            "colour is no known key (allowe",
            "gates.a.formula: formula \"cpu ",
            "gates.a.queue = -1 is not a wh",
            "gates.a.policy = \"x\" is no pol",
            "gates.\"B!\": \"B!\" is no gate na",
            "gates.\"B!\" has no formula (nee",
            "overrides.a = \"x\" is not a who",
            "overrides.y: the plan declares",
            "the formula of gate `c` reads ",
        ]
    );
    // `gate a` is there, though not understood.
    assert!(!error.contains("reads gate `a`"), "{error}");
}

/// Where lines are known, faults stand in their order, each with its own; a long value is cut.
#[test]
fn lines_are_told_where_they_are_known() {
    let formula = Value::text("x".repeat(100)).at_line(2);
    let gate = Value::table([
        (Key::new("formula").at_line(2), formula),
        (Key::new("max_wait").at_line(3), Value::text("y".repeat(100)).at_line(3)),
    ]);
    let config = Value::table([
        (Key::new("overrides").at_line(5), Value::table([(Key::new("x").at_line(6), Value::whole(1))])),
        (Key::new("gates"), Value::table([(Key::new("io").at_line(1), gate.at_line(1))])),
    ]);
    let error = PlanConfig::read(&config).unwrap_err();
    assert_eq!(error.problems().iter().map(ConfigProblem::line).collect::<Vec<_>>(), [2, 3, 6].map(Some));
    let cut = format!("gates.io.max_wait = \"{}… is no duration", "y".repeat(59));
    assert!(error.problems()[1].what().starts_with(&cut), "{error}");
    assert!(error.to_string().contains("; line 3: gates.io.max_wait"), "{error}");

    let named = ConfigError::in_file("limits.toml", &error);
    assert_eq!(named.to_string(), format!("limits.toml: {error}"));
}

/// Settings by themselves: gates and numbers, with the key below which they stand.
#[test]
fn settings_stand_alone() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct App {
        #[serde(default)]
        limits: Settings,
    }

    let app: App = toml::from_str("[limits]\nio = 3\npool = '4'").unwrap();
    assert_eq!(app.limits.iter().collect::<Vec<_>>(), [(IO.name(), 3), (POOL.name(), 4)]);
    assert_eq!(
        app.limits.layer("app.toml").settings().collect::<Vec<_>>(),
        [(IO.name(), 3), (POOL.name(), 4)]
    );
    let layer = app.limits.under("limits").layer("app.toml");
    let resolution = astrid::plan().resolve(&Readings::new(), &Overrides::new().then(layer)).unwrap();
    let line = resolution.explain(POOL).unwrap().to_string();
    assert_eq!(line, "pool = 4: set to 4 by app.toml limits.pool, derived 8");

    assert_eq!(toml::from_str::<App>("").unwrap().limits, Settings::new());
    let unknown = toml::from_str::<App>("[limits]\noi = 3").unwrap().limits.under("limits").layer("app.toml");
    let error = astrid::plan().resolve(&Readings::new(), &Overrides::new().then(unknown)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "app.toml limits.oi sets gate `oi`, which the plan does not declare (it declares blocking, io, pool)"
    );
    let error =
        serde_json::from_str::<Settings>(r#"{"io": -1, "Io": 3, "pool": "x"}"#).unwrap_err().to_string();
    for told in ["io = -1 is not a whole number", "Io: \"Io\" is no gate name", "pool = \"x\" is not a whole"]
    {
        assert!(error.contains(told), "{error}");
    }
    let error = serde_json::from_value::<Settings>(serde_json::json!([3])).unwrap_err().to_string();
    assert_eq!(error, "[3] is no table (allowed: keys and values)");
}

/// A plan of the program's own is written and read back; settings of other gates are refused.
#[test]
fn plan_of_a_program_is_a_configuration() {
    let config = PlanConfig::from(Plan::new([IO]).unwrap());
    let config = config.with_overrides(Settings::new().set(IO, 1).set(IO, 2)).unwrap();
    let written = toml::to_string(&config).unwrap();
    assert_eq!(
        written,
        "[gates.io]\nformula = \"(whole cpu or 2) * 64 | floor 64 | at most fd * 1/2\"\n\n[overrides]\nio = 2\n"
    );
    assert_eq!(of_toml(&written).unwrap(), config);
    assert_eq!(toml::to_string(&of_toml("preset = 'astrid'").unwrap()).unwrap(), "preset = \"astrid\"\n");
    let error = config.with_overrides(Settings::new().set(POOL, 2)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the configuration overrides.pool sets gate `pool`, which the plan does not declare (it declares io)"
    );
}

/// What has a text form is that text; the error is the text form's own.
#[test]
fn texts_are_read_and_written() {
    use concurrency_governor::{Quantity, Reading};
    use serde_json::{from_value, json, to_value};

    assert_eq!(to_value(IO.formula()).unwrap(), json!(IO.formula().to_string()));
    assert_eq!(from_value::<Formula>(json!("cpu * 2")).unwrap(), Formula::scale(Resource::CPU, 2));
    assert_eq!(from_value::<Policy>(json!("clamp")).unwrap(), Policy::Clamp);
    assert_eq!(from_value::<Preset>(json!("astrid")).unwrap(), Preset::Astrid);
    assert_eq!(from_value::<Resource>(json!("fd")).unwrap(), Resource::FD);
    assert_eq!(from_value::<GateName>(json!("io")).unwrap(), IO.name());
    assert_eq!(from_value::<Limit>(json!(7)).unwrap(), Limit::new(7));
    assert_eq!(to_value(Limit::MAX).unwrap(), json!(1_073_741_823));
    for (given, read, written) in [
        (json!("512Mi"), Reading::whole(512 << 20), "536870912"),
        (json!(1.5), Reading::Finite(Quantity::from_thousandths(1500)), "1.5"),
        (json!(3), Reading::whole(3), "3"),
        (json!("unlimited"), Reading::Unlimited, "unlimited"),
        (json!("unknown"), Reading::Unknown, "unknown"),
    ] {
        assert_eq!(from_value::<Reading>(given).unwrap(), read);
        assert_eq!(to_value(read).unwrap(), json!(written));
        assert_eq!(from_value::<Reading>(json!(written)).unwrap(), read);
        if let Reading::Finite(quantity) = read {
            assert_eq!(from_value::<Quantity>(to_value(quantity).unwrap()).unwrap(), quantity);
        }
    }
    for (error, told) in [
        (
            from_value::<Reading>(json!("many")).unwrap_err(),
            "\"many\" is no quantity: it does not start with a number (allowed: a number such as `2`, `1.5`, `500m`, `64k` or `512Mi`), or `unlimited`, or `unknown`",
        ),
        (
            from_value::<Quantity>(json!(0.0001)).unwrap_err(),
            "\"0.0001\" is no quantity: it is finer than a thousandth",
        ),
        (from_value::<Quantity>(json!(-1)).unwrap_err(), "\"-1\" is no quantity: it is negative"),
        (from_value::<Quantity>(json!([])).unwrap_err(), "expected a quantity, such as \"512Mi\" or 1.5"),
        (from_value::<Formula>(json!("cpu |")).unwrap_err(), "formula \"cpu |\", column 6: expected a step"),
        (from_value::<Formula>(json!(3)).unwrap_err(), "expected a formula, such as \"cpu * 2 | floor 4\""),
        (from_value::<Policy>(json!("hope")).unwrap_err(), "(allowed: `trust`, `clamp`, `reject`)"),
        (from_value::<Preset>(json!("mars")).unwrap_err(), "\"mars\" is no preset (allowed: `astrid`)"),
        (
            from_value::<Limit>(json!(0)).unwrap_err(),
            "0 is no limit (allowed: a whole number from 1 to 1073741823)",
        ),
        (from_value::<GateName>(json!("Io")).unwrap_err(), "\"Io\" is no gate name"),
    ] {
        assert!(error.to_string().contains(told), "{error}");
    }
}

/// What a resolution, a gate and an event say is written in the shape that the program prints.
#[test]
fn reports_are_written() {
    use concurrency_governor::gate::Gate;
    use concurrency_governor::plan::{Measurement, Source};
    use concurrency_governor::{Event, Reading};
    use serde_json::{json, to_value};

    let fd =
        Measurement::new(Reading::whole(100)).at_most().source(Source::new("limits", "100").at_level("/"));
    let fd = fd.note("a note").stale("it failed");
    let readings = Readings::new().with(Resource::FD, fd).with(Resource::CPU, Reading::Unknown);
    let layers = Overrides::new()
        .then(OverrideLayer::new("cli").set(IO, 60))
        .then(OverrideLayer::new("file").set_from(IO, 2, "io"));
    let resolution = Plan::new([IO, POOL]).unwrap().resolve(&readings, &layers).unwrap();
    let said = to_value(&resolution).unwrap();
    let part = |step: &str, operand: &str, reading: &str, value: &str, effect: &str| json!({ "step": step, "operand": operand, "reading": reading, "value": value, "effect": effect });
    assert_eq!(
        said["readings"]["fd"],
        json!({
            "value": "100", "bound": "at_most", "notes": ["a note"], "stale": "it failed",
            "sources": [{ "path": "limits", "level": "/", "raw": "100", "meaning": null }],
        })
    );
    let io = &said["gates"]["io"];
    assert_eq!(
        io["decision"],
        json!({ "kind": "overridden", "origin": "cli", "value": 60, "standing": "above_derived" })
    );
    assert_eq!([&io["limit"], &io["derived"]], [60, 50]);
    assert_eq!(io["shadowed"], json!([{ "origin": "file io", "value": 2 }]));
    let last = part("at most fd * 1/2", "fd", "100", "50", "changed");
    for (key, value) in last.as_object().unwrap() {
        assert_eq!(io["derivation"][2][key], *value);
    }
    assert_eq!(io["derivation"][2]["decides"], true);
    assert_eq!(io["derivation"][0]["assumed"], "2");
    assert_eq!(said["gates"]["pool"]["decision"], json!({ "kind": "derived" }));
    assert_eq!(said["gates"].as_object().unwrap().keys().collect::<Vec<_>>(), ["io", "pool"]);

    let gate = Gate::new("io".parse::<GateName>().unwrap(), Limit::new(2));
    let _permit = gate.try_acquire().unwrap();
    let status = to_value(gate.status()).unwrap();
    assert_eq!(
        [&status["limit"], &status["in_use"], &status["available"], &status["totals"]["admitted"]],
        [2, 1, 1, 1]
    );
    assert_eq!(
        status["waits"],
        json!({ "count": 0, "mean": null, "median": null, "p99": null, "max": null })
    );
    assert_eq!(status["resized"], 0);
    let event = Event::LimitChanged {
        gate: IO.name(),
        from: Limit::new(9),
        to: Limit::new(4),
        debt: 1,
        explanation: Box::new(resolution.explain(IO).unwrap().clone()),
    };
    assert_eq!(
        to_value(event).unwrap(),
        json!({
            "kind": "limit_changed", "gate": "io", "from": 9, "to": 4, "debt": 1,
            "explanation": io, "message": "gate io: limit 9 -> 4, 1 permit out above it",
        })
    );
}

fn of_toml(text: &str) -> Result<PlanConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

fn of_json(text: &str) -> Result<PlanConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
