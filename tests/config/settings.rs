//! Settings without a plan.

use concurrency_governor::config::Settings;
use concurrency_governor::preset::astrid::{self, IO, POOL};
use concurrency_governor::{Overrides, Readings};

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
