//! Operators' settings: layers and their order, policies, environment variables, and their explanations.

use std::collections::BTreeMap;
use std::ffi::OsString;

use concurrency_governor::plan::{Decision, Policy, Shadowed, Standing};
use concurrency_governor::{
    Formula, GateName, GateSpec, Limit, OverrideLayer, Overrides, Plan, Readings, Resolution,
};

use crate::support::lines;

/// A gate with the derived limit 25 on any host.
const IO: GateSpec = GateSpec::new("io", Formula::fixed(25));
const POOL: GateSpec = GateSpec::new("pool", Formula::fixed(8));

// Layers

/// For each gate the first layer that sets it wins. Later layers are shadowed, in order.
#[test]
fn first_layer_that_sets_a_gate_wins() {
    let overrides = Overrides::new()
        .then(OverrideLayer::new("cli").set(POOL, 3))
        .then(OverrideLayer::new("file").set(IO, 20).set(POOL, 4))
        .then(env([("APP_IO", "10"), ("APP_POOL", "5")]));
    let resolution = resolve(&overrides);
    assert_eq!(
        lines(&resolution),
        [
            "io = 20: set to 20 by file, derived 25, shadows env APP_IO = 10",
            "pool = 3: set to 3 by cli, derived 8, shadows file = 4, shadows env APP_POOL = 5",
        ]
    );
    let shadowed = resolution.explain(POOL).unwrap().shadowed();
    let [Shadowed { origin: file, value: 4, .. }, Shadowed { origin: env, value: 5, .. }] = shadowed else {
        panic!("{shadowed:?}")
    };
    assert_eq!((file.layer(), file.key()), ("file", None));
    assert_eq!((env.layer(), env.key()), ("env", Some("APP_POOL")));
    assert_eq!([file.to_string(), env.to_string()], ["file", "env APP_POOL"]);
}

/// Without layers, without settings, or with an empty layer, each limit is derived.
#[test]
fn limits_are_derived_without_settings() {
    let empty = OverrideLayer::new("cli").maybe_set(IO, None);
    assert_eq!(empty.settings().len(), 0);
    for overrides in [Overrides::new(), Overrides::default(), Overrides::new().then(empty).then(env([]))] {
        let resolution = resolve(&overrides);
        assert_eq!(resolution.explain(IO).unwrap().decision(), &Decision::Derived);
        assert_eq!(lines(&resolution)[0], "io = 25: derived, `25` decides");
    }
}

/// A second setting of the same gate replaces the first, and takes its place at the end of the layer.
#[test]
fn later_setting_of_a_layer_replaces_the_earlier() {
    let layer =
        OverrideLayer::new("cli").set(IO, 1).set(POOL, 2).maybe_set(IO, Some(3)).maybe_set(POOL, None);
    assert_eq!(layer.settings().collect::<Vec<_>>(), [(POOL.name(), 2), (IO.name(), 3)]);
    assert_eq!(layer.name(), "cli");
    let overrides = Overrides::new().then(layer.clone());
    assert_eq!(overrides.layers(), [layer]);
    assert!(resolve(&overrides).explain(IO).unwrap().shadowed().is_empty());
}

/// The name of a layer may be computed, and two layers may have the same name.
#[test]
fn layer_names_may_be_computed_and_equal() {
    let file = |path: &str, value| OverrideLayer::new(format!("file {path}")).set(IO, value);
    let overrides = Overrides::new().then(file("/a", 1)).then(file("/a", 2));
    assert_eq!(
        lines(&resolve(&overrides))[0],
        "io = 1: set to 1 by file /a, derived 25, shadows file /a = 2"
    );
}

// Values and policies

/// Any whole number is a setting: 0 becomes 1, and a number above the greatest limit becomes the greatest limit.
#[test]
fn setting_is_clamped_to_the_range_of_limits() {
    for (value, limit, words) in [
        (0, 1, "set to 0 by cli (raised to 1), derived 25"),
        (1, 1, "set to 1 by cli, derived 25"),
        (25, 25, "set to 25 by cli, derived 25"),
        (26, 26, "set to 26 by cli (above the derived limit), derived 25"),
        (1_073_741_823, 1_073_741_823, "set to 1073741823 by cli (above the derived limit), derived 25"),
        (
            1_073_741_824,
            1_073_741_823,
            "set to 1073741824 by cli (lowered to 1073741823) (above the derived limit), derived 25",
        ),
    ] {
        let resolution = resolve(&Overrides::new().then(OverrideLayer::new("cli").set(IO, value)));
        assert_eq!(resolution.limit(IO).unwrap().get(), limit);
        assert_eq!(lines(&resolution)[0], format!("io = {limit}: {words}"));
    }
    let most = GateSpec::new("io", Formula::fixed(Limit::MAX.into())).policy(Policy::Reject);
    let resolution = Plan::new([most])
        .unwrap()
        .resolve(&Readings::new(), &Overrides::new().then(OverrideLayer::new("cli").set(IO, usize::MAX)))
        .unwrap();
    assert_eq!(resolution.limit(IO).unwrap(), Limit::MAX);
}

/// A setting above the derived limit is trusted, lowered or rejected, by the stricter policy of the layer and the gate.
#[test]
fn stricter_policy_applies() {
    use Policy::{Clamp, Reject, Trust};
    for (layer, gate, expected) in [
        (Trust, Trust, Some((26, Standing::AboveDerived))),
        (Trust, Clamp, Some((25, Standing::Clamped))),
        (Clamp, Trust, Some((25, Standing::Clamped))),
        (Clamp, Clamp, Some((25, Standing::Clamped))),
        (Trust, Reject, None),
        (Reject, Trust, None),
        (Clamp, Reject, None),
        (Reject, Clamp, None),
        (Reject, Reject, None),
    ] {
        let plan = Plan::new([IO.policy(gate)]).unwrap();
        let resolve = |value| {
            let layer = OverrideLayer::new("cli").set(IO, value).policy(layer);
            plan.resolve(&Readings::new(), &Overrides::new().then(layer))
        };
        let within = resolve(25).unwrap();
        assert_eq!(standing(&within), (25, Standing::Within));
        match expected {
            Some(expected) => assert_eq!(standing(&resolve(26).unwrap()), expected),
            None => assert_eq!(
                resolve(26).unwrap_err().to_string(),
                "cli sets gate `io` to 26, above the derived limit (allowed: at most 25)"
            ),
        }
    }
}

/// The policy of the deciding layer applies, that of shadowed layers does not. The explanation reports a lowered
/// setting.
#[test]
fn policy_of_the_deciding_layer_applies() {
    let overrides = Overrides::new()
        .then(OverrideLayer::new("cli").set(IO, 30).policy(Policy::Clamp))
        .then(OverrideLayer::new("file").set(IO, 40).policy(Policy::Reject));
    assert_eq!(
        lines(&resolve(&overrides))[0],
        "io = 25: set to 30 by cli (lowered to the derived limit), derived 25, shadows file = 40"
    );
    assert_eq!(overrides.layers()[1].override_policy(), Policy::Reject);
    assert_eq!(OverrideLayer::new("cli").override_policy(), Policy::Trust);
}

/// Policies are ordered by strictness, and parse as they print.
#[test]
fn policies_are_ordered_and_round_trip() {
    let policies = [Policy::Trust, Policy::Clamp, Policy::Reject];
    assert!(policies.is_sorted());
    assert_eq!(Policy::default(), Policy::Trust);
    assert_eq!(policies.map(|policy| format!("{policy:>7}")), ["  trust", "  clamp", " reject"]);
    for policy in policies {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    let error = "Trust".parse::<Policy>().unwrap_err();
    assert_eq!(error.to_string(), r#""Trust" is not a policy (allowed: `trust`, `clamp`, `reject`)"#);
}

// Environment variables

/// A variable that is set becomes a setting, also with whitespace around its number. Other variables add no setting.
#[test]
fn set_variables_become_settings() {
    let layer = env([("APP_POOL", " 12\n"), ("OTHER", "x")]);
    assert_eq!(layer.name(), "env");
    assert_eq!(layer.settings().collect::<Vec<_>>(), [(POOL.name(), 12)]);
    assert_eq!(layer.override_policy(), Policy::Trust);

    let most = usize::MAX.to_string();
    let layer = env([("APP_IO", "0"), ("APP_POOL", &most)]);
    assert_eq!(layer.settings().collect::<Vec<_>>(), [(IO.name(), 0), (POOL.name(), usize::MAX)]);
}

/// If two variables set the same gate, the later one in the list wins.
#[test]
fn later_variable_of_a_gate_wins() {
    let layer = OverrideLayer::env([(IO, "OLD_NAME"), (IO, "NEW_NAME")], |variable| {
        Some(variable.len().to_string().into())
    });
    let both = Overrides::new().then(layer.unwrap());
    assert_eq!(lines(&resolve(&both))[0], "io = 8: set to 8 by env NEW_NAME, derived 25");
}

/// One error reports every variable whose value is not a whole number, with the value as it was given.
#[test]
fn every_invalid_variable_is_reported() {
    let gates: Vec<GateName> = ["a", "b", "c", "d", "e", "f", "g"].map(GateName::new).to_vec();
    let names = ["SIGN", "BAD", "NEGATIVE", "HUGE", "FRACTION", "GOOD", "LINES"];
    let values: BTreeMap<&str, &str> = [
        ("SIGN", "+"),
        ("BAD", "many"),
        ("NEGATIVE", "-1"),
        ("HUGE", "18446744073709551616"),
        ("FRACTION", "1.5"),
        ("GOOD", "3"),
        ("LINES", "1\n2"),
    ]
    .into();
    let error = OverrideLayer::env(gates.into_iter().zip(names), |name| values.get(name).map(OsString::from))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "not a whole number in the environment: SIGN=\"+\", BAD=\"many\", NEGATIVE=\"-1\", \
             HUGE=\"18446744073709551616\", FRACTION=\"1.5\", LINES=\"1\\n2\" (allowed: 0 to {})",
            usize::MAX
        )
    );
}

/// An empty variable counts as not set: it sets nothing and shadows nothing. With a prefix, it is not taken for a misspelled
/// gate either.
#[test]
fn empty_variable_counts_as_not_set() {
    for value in ["", " ", "\t\n"] {
        let layer = OverrideLayer::env([(IO, "APP_IO"), (POOL, "APP_POOL")], |name| {
            Some(if name == "APP_IO" { value } else { "3" }.into())
        });
        let given = [("APP_IO", value), ("APP_POOL", "3"), ("APP_OI", value), ("APP_", value)];
        let prefixed = OverrideLayer::env_prefixed("APP_", [IO, POOL], variables(given));
        for layer in [layer.unwrap(), prefixed.unwrap()] {
            assert_eq!(layer.settings().collect::<Vec<_>>(), [(POOL.name(), 3)], "{value:?}");
            let file = OverrideLayer::new("file").set(IO, 20);
            let resolution = resolve(&Overrides::new().then(file).then(layer));
            assert_eq!(lines(&resolution)[0], "io = 20: set to 20 by file, derived 25");
        }
    }
}

/// A value that is not Unicode is rejected, and is printed with replacement characters.
#[cfg(unix)]
#[test]
fn variable_that_is_not_unicode_is_rejected() {
    use std::os::unix::ffi::OsStringExt;

    let error = OverrideLayer::env([(IO, "APP_IO")], |_| Some(OsString::from_vec(b"1\xff2\x1b".to_vec())))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "not a whole number in the environment: APP_IO=\"1\u{fffd}2\\u{{1b}}\" (allowed: 0 to {})",
            usize::MAX
        )
    );
}

/// With a prefix, the variable of a gate is its name in capitals, with `_` for `-` and `.`. Variables without the
/// prefix are ignored.
#[test]
fn prefix_and_gate_name_form_the_variable() {
    let gates = ["io", "http-client", "http.server", "a_b"].map(GateName::new);
    let given = [("APP_IO", "1"), ("APP_HTTP_CLIENT", " 2 "), ("APP_HTTP_SERVER", "0"), ("PATH", "/bin")];
    let layer = OverrideLayer::env_prefixed("APP_", gates, variables(given)).unwrap();
    let set: Vec<_> = layer.settings().map(|(gate, value)| (gate.to_string(), value)).collect();
    assert_eq!(set, [("http-client".to_owned(), 2), ("http.server".to_owned(), 0), ("io".to_owned(), 1)]);

    let layer = OverrideLayer::env_prefixed("APP_", [IO, POOL], variables([("APP_IO", "20")])).unwrap();
    let line = &lines(&resolve(&Overrides::new().then(layer)))[0];
    assert_eq!(line, "io = 20: set to 20 by env APP_IO, derived 25");

    let near = [("app_io", "1"), ("APPIO", "2"), ("MY_APP_IO", "3"), ("APP", "4")];
    assert_eq!(OverrideLayer::env_prefixed("APP_", [IO], variables(near)).unwrap().settings().len(), 0);
}

/// With a prefix, one error reports everything: invalid values, variables of no gate, gates with the same variable.
#[test]
fn every_problem_with_a_prefix_is_reported() {
    let gates = ["io", "a-b", "a.b"].map(GateName::new);
    let given = [("APP_IP", "1"), ("APP_IO", "x"), ("APP_io", "3"), ("APP_", "4")];
    let error = OverrideLayer::env_prefixed("APP_", gates, variables(given)).unwrap_err().to_string();
    let allowed = "(allowed: APP_A_B, APP_IO)";
    assert_eq!(
        error.split("; ").collect::<Vec<_>>(),
        [
            &format!("not a whole number in the environment: APP_IO=\"x\" (allowed: 0 to {})", usize::MAX),
            "gates `a-b` and `a.b` are both set by APP_A_B (allowed: one gate per variable)",
            &format!("environment variable APP_ belongs to no gate {allowed}"),
            &format!("environment variable APP_IP belongs to no gate {allowed}"),
            &format!("environment variable APP_io belongs to no gate {allowed}"),
        ]
    );
    let error = OverrideLayer::env_prefixed("", [IO], variables([("IO", "1")])).unwrap_err().to_string();
    assert_eq!(
        error,
        "the prefix of the environment variables is empty (allowed: a prefix such as APP_LIMIT_)"
    );
    let error =
        OverrideLayer::env_prefixed("APP_", [IO; 0], variables([("APP_IO", "1")])).unwrap_err().to_string();
    assert_eq!(error, "environment variable APP_IO belongs to no gate (allowed: none)");
}

/// A variable with the prefix whose name is not Unicode is reported as the variable of no gate.
#[cfg(unix)]
#[test]
fn prefixed_variable_that_is_not_unicode_is_rejected() {
    use std::os::unix::ffi::OsStringExt;

    let variable = OsString::from_vec(b"APP_I\xff\x1b".to_vec());
    let error = OverrideLayer::env_prefixed("APP_", [IO], [(variable, "1".into())]).unwrap_err().to_string();
    assert_eq!(error, "environment variable APP_I\u{fffd}\\u{1b} belongs to no gate (allowed: APP_IO)");
}

/// The key of a setting is part of its origin. A later setting of the same gate has its own key.
#[test]
fn key_of_a_setting_is_part_of_its_origin() {
    let layer = OverrideLayer::new("app.toml").set_from(IO, 1, "limits.io").set_from(POOL, 2, "limits.pool");
    let overrides = Overrides::new().then(layer.clone().set_from(POOL, 3, "pool")).then(layer.set(IO, 4));
    assert_eq!(
        lines(&resolve(&overrides)),
        [
            "io = 1: set to 1 by app.toml limits.io, derived 25, shadows app.toml = 4",
            "pool = 3: set to 3 by app.toml pool, derived 8, shadows app.toml limits.pool = 2",
        ]
    );
}

/// Returns an environment for `OverrideLayer::env_prefixed`.
fn variables<const N: usize>(given: [(&str, &str); N]) -> Vec<(OsString, OsString)> {
    given.map(|(variable, value)| (variable.into(), value.into())).to_vec()
}

/// Creates a layer from an environment in which `APP_IO` and `APP_POOL` set the gates.
fn env<const N: usize>(values: [(&str, &str); N]) -> OverrideLayer {
    let values: BTreeMap<&str, &str> = values.into();
    let lookup = |name: &str| values.get(name).map(OsString::from);
    OverrideLayer::env([(IO, "APP_IO"), (POOL, "APP_POOL")], lookup).unwrap()
}

fn resolve(overrides: &Overrides) -> Resolution {
    Plan::new([IO, POOL]).unwrap().resolve(&Readings::new(), overrides).unwrap()
}

/// Returns the limit of `io`, and the relation of its setting to the derived limit.
fn standing(resolution: &Resolution) -> (u32, Standing) {
    let explanation = resolution.explain(IO).unwrap();
    match explanation.decision() {
        Decision::Overridden { standing, .. } => (explanation.limit().get(), *standing),
        Decision::Derived => panic!("the setting of `io` must decide"),
    }
}
