//! The published manifest, and the packages beside it.

use toml::{Table, Value};

use crate::documents::{manifest, read, root};

/// The published manifest has no dependency that only checks the crate itself. Even a dependency for a flag that no user sets
/// would be in the Cargo.lock of every user.
#[test]
fn the_published_manifest_has_no_checker() {
    let manifest: Table = manifest().parse().unwrap();
    let targets = manifest["target"].as_table().unwrap();
    let conditions: Vec<&str> = targets.keys().map(String::as_str).collect();
    assert_eq!(
        conditions,
        ["cfg(target_os = \"linux\")", "cfg(unix)"],
        "a flag of a checker is not a system"
    );

    let optional_or_core = |(name, given): (&String, &Value)| {
        let is_optional = given.get("optional").is_some_and(|optional| optional.as_bool() == Some(true));
        is_optional
            || ["async-trait", "nix", "pin-project-lite", "thiserror", "tokio"].contains(&name.as_str())
    };
    for table in
        std::iter::once(&manifest["dependencies"]).chain(targets.values().map(|of| &of["dependencies"]))
    {
        assert!(table.as_table().unwrap().iter().all(optional_or_core), "{table}");
    }
}

/// The package that compiles the sources under the checkers has the dependencies of the crate without features, and those of
/// the checkers.
#[test]
fn the_checkers_have_the_dependencies_of_the_crate() {
    let crate_manifest: Table = manifest().parse().unwrap();
    let checkers: Table = read(&root().join("tests/checkers/Cargo.toml")).parse().unwrap();
    let required = |table: &Value| -> Vec<(String, Value)> {
        let is_required = |given: &Value| given.get("optional").is_none();
        let table = table.as_table().unwrap().iter().filter(|(_, given)| is_required(given));
        table.map(|(name, given)| (name.clone(), given.clone())).collect()
    };
    assert_eq!(required(&checkers["dependencies"]), required(&crate_manifest["dependencies"]));
    let linux =
        |manifest: &Table| required(&manifest["target"]["cfg(target_os = \"linux\")"]["dependencies"]);
    assert_eq!(linux(&checkers), linux(&crate_manifest));
    for key in ["edition", "rust-version"] {
        assert_eq!(checkers["package"][key], crate_manifest["package"][key], "{key}");
    }
}
