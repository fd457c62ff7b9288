//! The published manifest, and the packages beside it.

use std::collections::BTreeSet;
use std::fs;

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

/// The packages beside the crate have the versions of the crate's Cargo.lock. `.ci/run` builds most of them in the crate's target folder, so
/// another version would be built once more, with all that depends on it.
#[test]
fn the_packages_beside_the_crate_have_its_versions() {
    let of_the_crate = locked(".");
    let mut updates = Vec::new();
    for package in packages_beside_the_crate() {
        for (name, version) in locked(&package) {
            let same: Vec<&str> = of_the_crate
                .iter()
                .filter(|(of, given)| *of == name && compatible(given) == compatible(&version))
                .map(|(_, given)| given.as_str())
                .collect();
            if same.is_empty() || same.contains(&version.as_str()) {
                continue;
            }
            updates.push(format!(
                "cargo update --manifest-path {package}/Cargo.toml {name}@{version} --precise {}",
                same[0]
            ));
        }
    }
    assert!(updates.is_empty(), "other versions than in Cargo.lock; run:\n{}", updates.join("\n"));
}

/// Returns the folders that contain a Cargo.lock of their own.
fn packages_beside_the_crate() -> Vec<String> {
    let mut folders = vec!["fuzz".to_owned()];
    for parent in ["benches", "examples", "tests"] {
        for entry in fs::read_dir(root().join(parent)).unwrap() {
            folders.push(format!("{parent}/{}", entry.unwrap().file_name().to_str().unwrap()));
        }
    }
    folders.retain(|folder| root().join(folder).join("Cargo.lock").exists());
    assert!(folders.len() >= 8, "{folders:?}");
    folders
}

/// Returns the names and versions of the dependencies in the Cargo.lock of a folder that come from a registry.
fn locked(folder: &str) -> BTreeSet<(String, String)> {
    let lock: Table = read(&root().join(folder).join("Cargo.lock")).parse().unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap().iter();
    packages
        .filter(|package| package.get("source").is_some())
        .map(|package| (text(package, "name"), text(package, "version")))
        .collect()
}

/// Returns what all versions that are compatible with this one have in common: the major version, or the minor version of `0`.
fn compatible(version: &str) -> (&str, &str) {
    let (major, rest) = version.split_once('.').unwrap();
    (major, if major == "0" { rest.split('.').next().unwrap() } else { "" })
}
