//! The laws of configurations: serialized values read back the same, and no input panics.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use concurrency_governor::config::{PlanConfig, Settings};
use concurrency_governor::testing::strategies;
use concurrency_governor::{Formula, GateName, Limit, Plan, Quantity, Reading, Resource};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::proptest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A plan with overrides reads back the same, gates in their order, from TOML, from JSON and from a JSON tree.
    #[test]
    fn plans_round_trip(
        plan in strategies::plan(),
        values in vec(any::<usize>(), 0..6),
        measures in vec(any::<bool>(), 6),
    ) {
        let specs = plan.specs().iter().zip(measures);
        let plan = Plan::new(specs.map(|(spec, measures)| spec.measure_waits(measures))).unwrap();
        // A setting names its gate by the path, or by the name alone.
        let settings = plan.paths().zip(values).fold(Settings::new(), |settings, (path, value)| match value % 2 {
            0 => settings.set(path.gate(), value),
            _ => settings.set(path, value),
        });
        let config = PlanConfig::from(plan).with_overrides(settings).unwrap();

        let toml = toml::to_string(&config).unwrap();
        prop_assert_eq!(&toml::from_str::<PlanConfig>(&toml).unwrap(), &config, "{}", toml);
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(&serde_json::from_str::<PlanConfig>(&json).unwrap(), &config, "{}", json);
        let tree = serde_json::to_value(&config).unwrap();
        prop_assert_eq!(&serde_json::from_value::<PlanConfig>(tree).unwrap(), &config);
    }

    /// A type with a text form reads back the same.
    #[test]
    fn text_forms_round_trip(
        formula in strategies::formula([Resource::CPU.into(), GateName::new("io").into()]),
        reading in strategies::reading(),
        quantity in strategies::quantity(),
        limit in strategies::limit(),
        gate in strategies::gate_name(),
        resource in strategies::resource(),
    ) {
        prop_assert_eq!(round_trip::<Formula>(&formula), formula);
        prop_assert_eq!(round_trip::<Reading>(&reading), reading);
        prop_assert_eq!(round_trip::<Quantity>(&quantity), quantity);
        prop_assert_eq!(round_trip::<Limit>(&limit), limit);
        prop_assert_eq!(round_trip::<GateName>(&gate), gate);
        prop_assert_eq!(round_trip::<Resource>(&resource), resource);
    }

    /// Any configuration is either a plan or rejected with a message.
    #[test]
    fn any_input_is_a_plan_or_an_error(given in config_like_json()) {
        match serde_json::from_value::<PlanConfig>(given) {
            Ok(config) => prop_assert!(!config.plan().specs().is_empty()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

fn round_trip<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

/// Generates JSON that often resembles a configuration.
fn config_like_json() -> impl Strategy<Value = Value> {
    let key = "preset|gates|overrides|formula|queue|max_wait|shed|policy|measure_waits|within|weight|adaptive|rule|start|floor|max_healthy|overload|keys|max|cap|io|a|io/a|[ -~]{0,3}";
    let leaf = prop_oneof![
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => proptest::strategy::Just(Value::Null),
        6 => "astrid|clamp|cpu|gate io|cpu \\* 2 \\| floor 4|250ms|7|true|io|a|1/4|gate io \\* 1/4|.{0,5}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            8 => vec((key, inner.clone()), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
            1 => vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
}
