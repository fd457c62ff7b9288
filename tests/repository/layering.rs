//! The layers of the source: which file may import which. docs/ARCHITECTURE.md explains them.

use std::collections::{BTreeMap, BTreeSet};

use crate::imports::{Sources, is_within};

/// The top-level modules of the library in layers, from the bottom up. A module imports only itself and modules of lower layers.
const LAYERS: [&[&str]; 7] = [
    &["plan", "jitter", "catch_panic"],
    &["feedback"],
    &["probe", "gate"],
    &["event", "fleet", "testing"],
    &["governor", "pool"],
    &["preset"],
    &["config", "integration"],
];

/// The modules that only compute: no runtime, no I/O, no environment, no lock and no clock.
const PURE: [&str; 8] = [
    "lib::plan",
    "lib::feedback",
    "lib::fleet::step",
    "lib::fleet::lease",
    "lib::gate::state",
    "lib::gate::queue",
    "lib::gate::permits::word",
    "lib::pool::state",
];

const IMPURE: [&str; 11] = [
    "tokio",
    "nix",
    "async_trait",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process::Command",
    "std::thread",
    "std::sync::Mutex",
    "std::time::Instant",
];

/// The library and the program obey the layers.
#[test]
fn imports_obey_the_layers() {
    let problems = find_problems(&Sources::read());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Each kind of violation is found, and nothing else is reported.
#[test]
fn planted_violations_are_found() {
    let base = [
        ("src/lib.rs", "mod event; mod gate; mod plan; pub use plan::Limit;"),
        ("src/plan/mod.rs", "mod limit; pub use limit::Limit; #[cfg(test)] mod tests { use tokio::spawn; }"),
        ("src/plan/limit.rs", "pub struct Limit;"),
        ("src/gate/mod.rs", "use crate::Limit; use tokio::time; pub fn f() -> crate::plan::Limit {}"),
        ("src/event.rs", "use crate::gate; fn g() { gate::f() }"),
        ("src/bin/p/main.rs", "use watch::run::show; pub(crate) fn run() {}"),
        ("src/bin/p/watch/mod.rs", "mod run; pub struct Screen;"),
        ("src/bin/p/explain/table.rs", "use crate::watch::Screen;"),
    ];
    for (path, text, expected) in [
        ("src/plan/formula.rs", "use super::{Limit, limit::Limit as L}; use crate::Limit as M;", vec![]),
        (
            "src/plan/formula.rs",
            "use std::{fmt, fs::File};",
            vec!["lib::plan::formula is pure and uses std::fs::File"],
        ),
        (
            "src/plan/formula.rs",
            "enum Limit {}",
            vec!["lib::plan::formula and lib::plan::limit define a type Limit"],
        ),
        (
            "src/jitter.rs",
            "fn f() { super::gate::f() }",
            vec!["lib::jitter imports lib::gate, which is in no lower layer"],
        ),
        ("src/attic.rs", "", vec!["lib::attic is in no layer"]),
        (
            "src/bin/p/watch/run.rs",
            "use crate::explain::table::f;",
            vec![
                "program::explain imports program::watch, which leads back to it",
                "program::watch imports program::explain, which leads back to it",
            ],
        ),
        (
            "src/bin/p/watch/run.rs",
            "pub(crate) fn show() { crate::run() }",
            vec![
                "program imports program::watch::run, which leads back to it",
                "program::watch::run imports program, which leads back to it",
            ],
        ),
    ] {
        let problems = find_problems(&Sources::parse(base.into_iter().chain([(path, text)])));
        assert_eq!(problems, expected, "{path}: {text}");
    }
}

/// Returns every violation.
fn find_problems(sources: &Sources) -> Vec<String> {
    let (mut problems, mut imports) = (BTreeSet::new(), BTreeSet::new());
    let mut types: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in sources.files() {
        let module = file.module.as_str();
        if module.starts_with("lib::") && layer_of(module).is_none() {
            problems.insert(format!("{module} is in no layer"));
        }
        for path in sources.paths_used_by(file) {
            if let Some(definer) = sources.module_that_defines(&path).filter(|definer| *definer != module) {
                imports.insert((module, definer));
            }
            if PURE.iter().any(|pure| is_within(module, pure))
                && IMPURE.iter().any(|impure| is_within(&path, impure))
            {
                problems.insert(format!("{module} is pure and uses {path}"));
            }
        }
        for name in &file.types {
            types.entry(name).or_default().insert(module);
        }
    }
    for &(from, to) in &imports {
        let is_lower = layer_of(to).is_some_and(|layer| Some(layer) < layer_of(from));
        if from.starts_with("lib::") && top_module_of(from) != top_module_of(to) && !is_lower {
            problems.insert(format!("{from} imports {to}, which is in no lower layer"));
        }
    }
    // Folders must not form a cycle either, so an import also counts for the folders that contain the two files.
    let of_folders: Vec<_> = imports.iter().filter_map(|(from, to)| diverge(from, to)).collect();
    imports.extend(of_folders);
    for (from, to) in imports.iter().filter(|(from, to)| leads_to(&imports, to, from)) {
        problems.insert(format!("{from} imports {to}, which leads back to it"));
    }
    for (name, modules) in types.iter().filter(|(_, modules)| modules.len() > 1) {
        let modules: Vec<_> = modules.iter().copied().collect();
        problems.insert(format!("{} define a type {name}", modules.join(" and ")));
    }
    problems.into_iter().collect()
}

fn top_module_of(module: &str) -> Option<&str> {
    module.split("::").nth(1)
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| top_module_of(module).is_some_and(|module| modules.contains(&module)))
}

/// Returns the first ancestors of two modules, or the modules themselves, that differ. Returns `None` if one contains the other.
fn diverge<'m>(from: &'m str, to: &'m str) -> Option<(&'m str, &'m str)> {
    let ends = |module: &'m str| module.match_indices("::").map(|(end, _)| end).chain([module.len()]);
    ends(from).zip(ends(to)).map(|(end, other)| (&from[..end], &to[..other])).find(|(from, to)| from != to)
}

fn leads_to(imports: &BTreeSet<(&str, &str)>, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(
                imports.iter().filter(|(importer, _)| *importer == next).map(|(_, imported)| *imported),
            );
        }
    }
    seen.contains(to)
}
