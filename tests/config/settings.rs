//! Settings without a plan.

use concurrency_governor::config::Settings;
use concurrency_governor::preset::astrid::{self, IO, POOL};
use concurrency_governor::{Formula, GateSpec, Overrides, Plan, Readings};

/// Settings are a table of gates and numbers. Their origins have the key of the table.
#[test]
fn settings_are_a_table_of_gates_and_numbers() {
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
    let explanation = resolution.explain(POOL).unwrap().to_string();
    assert_eq!(explanation, "pool = 4: set to 4 by app.toml limits.pool, derived 8");

    assert_eq!(toml::from_str::<App>("").unwrap().limits, Settings::new());
    assert_eq!(toml::from_str::<App>("[limits]\nio = ''\npool = ' '").unwrap().limits, Settings::new());
    let unknown = toml::from_str::<App>("[limits]\noi = 3").unwrap().limits.under("limits").layer("app.toml");
    let error = astrid::plan().resolve(&Readings::new(), &Overrides::new().then(unknown)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "app.toml limits.oi sets gate `oi`, which the plan does not declare (it declares blocking, io, pool)"
    );
    let error =
        serde_json::from_str::<Settings>(r#"{"io": -1, "Io": 3, "pool": "x"}"#).unwrap_err().to_string();
    for part in ["io = -1 is not a whole number", "Io: \"Io\" is no", "pool = \"x\" is not a whole"] {
        assert!(error.contains(part), "{error}");
    }
    let error = serde_json::from_value::<Settings>(serde_json::json!([3])).unwrap_err().to_string();
    assert_eq!(error, "[3] is not a table (allowed: a table of keys and values)");
}

/// A gate that the plan does not declare is one problem, however many keys its table has.
#[test]
fn a_table_of_an_unknown_gate_is_one_problem() {
    let text = "oi = { limit = 3, queue = 4, max_wait = '1s' }\npol = { queue = 4, max_wait = '1s' }";
    let layer = toml::from_str::<Settings>(text).unwrap().under("limits").layer("app.toml");
    let error = astrid::plan().resolve(&Readings::new(), &Overrides::new().then(layer)).unwrap_err();
    let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "app.toml limits.oi sets gate `oi`, which the plan does not declare (it declares blocking, io, pool)",
            "app.toml limits.pol.queue sets gate `pol`, which the plan does not declare (it declares blocking, io, pool)",
        ]
    );
}

/// A table sets the limit, the bound of the queue and the longest wait. The origin of a bound has its key, and that of the limit the key of
/// the gate. The table survives a round trip.
#[test]
fn a_table_sets_a_queue() {
    let text = "io = 3\n[messages]\nlimit = 12\nqueue = 100\nmax_wait = \"250ms\"\n[files]\nqueue = \"0\"\n";
    let settings: Settings = toml::from_str(text).unwrap();
    let again: Settings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
    let gates = ["io", "messages", "files"].map(|name| GateSpec::new(name, Formula::fixed(16)).queue(7));
    let overrides = Overrides::new().then(settings.under("limits").layer("app.toml"));
    let resolution = Plan::new(gates).unwrap().resolve(&Readings::new(), &overrides).unwrap();
    let [io, messages, files] = gates.map(|gate| resolution.explain(gate).unwrap());
    assert_eq!(
        (io.limit().get(), io.queue_bounds().queue(), io.queue_bounds().is_overridden()),
        (3, Some(7), false)
    );
    let bounds = messages.queue_bounds();
    assert_eq!(
        (messages.limit().get(), bounds.queue(), bounds.max_wait().unwrap().as_millis()),
        (12, Some(100), 250)
    );
    assert_eq!(bounds.queue_origin().unwrap().to_string(), "app.toml limits.messages.queue");
    assert_eq!(bounds.max_wait_origin().unwrap().to_string(), "app.toml limits.messages.max_wait");
    assert!(
        messages.to_string().starts_with("messages = 12: set to 12 by app.toml limits.messages,"),
        "{messages}"
    );
    assert_eq!((files.limit().get(), files.queue_bounds().queue()), (16, Some(0)));

    for (text, problem) in [
        ("[io]\nqueue = -1", "io.queue = -1 is not a whole number"),
        ("[io]\nmax_wait = 3", "io.max_wait = 3 is not a duration"),
        ("[io]\nformula = \"cpu\"", "io.formula is not a known key (allowed: limit, queue, max_wait)"),
    ] {
        let error = toml::from_str::<Settings>(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
