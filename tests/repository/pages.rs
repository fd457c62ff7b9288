//! The pages of `docs/` agree with the library, are part of rustdoc, and link to each other.

use std::collections::BTreeSet;

use concurrency_governor::preset::astrid::CapsuleRuntimeLimits;
use concurrency_governor::{Reading, Readings, Resource};

use crate::documents::{
    ASTRID, CONFIGURATION, LIBRARY, RUSTDOC_LINKS, inline_links, is_relative, link_definitions, pages, prose,
    read, root, rustdoc_module, table,
};

/// The worked numbers that operators read are the limits that the engine gets.
#[test]
fn worked_numbers_match_the_preset() {
    let rows = table(ASTRID, "cores");
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), ["1", "2", "4", "8", "16", "64"]);
    let descriptors = [Reading::whole(256), Reading::whole(1024), Reading::whole(65536), Reading::Unlimited];
    for row in rows {
        let numbers: Vec<usize> = row.iter().map(|cell| cell.parse().unwrap()).collect();
        let [cores, blocking, pool, warm, io @ ..] = &numbers[..] else { panic!("{row:?}") };
        assert_eq!(io.len(), descriptors.len(), "{row:?}");
        for (&io, descriptors) in io.iter().zip(descriptors) {
            let cores = Reading::whole(u64::try_from(*cores).unwrap());
            let readings = Readings::new().with(Resource::CPU, cores).with(Resource::FD, descriptors);
            let limits = CapsuleRuntimeLimits::resolve_on(&readings, None, None, None);
            assert_eq!(limits.blocking_concurrency, *blocking, "{row:?}");
            assert_eq!(limits.io_concurrency, io, "{row:?} at {descriptors}");
            assert_eq!(limits.instance_pool_size, *pool, "{row:?}");
            assert_eq!(limits.instance_pool_min_idle(), *warm, "{row:?}");
        }
    }
}

/// The Astrid page names every environment variable that the preset reads.
#[test]
fn environment_variables_of_the_preset_are_named() {
    for (gate, variable) in concurrency_governor::preset::astrid::ENV_VARS {
        assert!(ASTRID.contains(&format!("`{variable}`")), "{gate}");
    }
}

/// The plan on the configuration page is the example file that the page names.
#[test]
fn shown_plan_is_the_example_file() {
    let (_, shown) = CONFIGURATION.split_once("```toml\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert_eq!(shown, include_str!("../../docs/plan.example.toml"));
}

/// The configuration page lists exactly the keys of a plan: those that the errors for an unknown key list.
#[cfg(feature = "serde")]
#[test]
fn every_key_of_a_plan_is_listed() {
    use concurrency_governor::config::PlanConfig;

    let error_for = |text: &str| serde_json::from_str::<PlanConfig>(text).unwrap_err().to_string();
    let allowed_keys = |error: String| {
        let (_, allowed) = error.split_once("(allowed: ").unwrap();
        allowed.split([',', ')']).map(|key| key.trim().to_owned()).take_while(|key| key.len() < 20).collect()
    };
    let plan: Vec<String> = allowed_keys(error_for(r#"{"preset": "astrid", "x": 1}"#));
    let gate: Vec<String> = allowed_keys(error_for(r#"{"gates": {"io": {"formula": "cpu", "x": 1}}}"#));
    let table_of_keys = r#"{"gates": {"io": {"formula": "cpu", "keys": {"max": 1, "x": 1}}}}"#;
    let table_of_keys: Vec<String> = allowed_keys(error_for(table_of_keys));
    let adaptive = r#"{"gates": {"io": {"formula": "cpu", "adaptive": {"rule": "arc", "x": 1}}}}"#;
    let adaptive: Vec<String> = allowed_keys(error_for(adaptive));
    let share: Vec<String> =
        allowed_keys(error_for(r#"{"gates": {"io": {"formula": "cpu", "share": {"x": 1}}}}"#));
    let is_key = |key: &&String| !key.is_empty() && !key.starts_with("at line");
    let gate = gate.iter().filter(is_key).flat_map(|key| match key.as_str() {
        "keys" => table_of_keys.iter().filter(is_key).map(|key| format!("gates.NAME.keys.{key}")).collect(),
        "adaptive" => {
            adaptive.iter().filter(is_key).map(|key| format!("gates.NAME.adaptive.{key}")).collect()
        }
        "share" => share.iter().filter(is_key).map(|key| format!("gates.NAME.share.{key}")).collect(),
        key => vec![format!("gates.NAME.{key}")],
    });
    let keys = ["preset".to_owned()].into_iter().chain(gate);
    let keys: Vec<String> = keys.chain(["overrides.NAME".to_owned()]).collect();
    assert_eq!(plan[..3], ["preset", "gates", "overrides"]);
    let listed: Vec<&str> = table(CONFIGURATION, "Key").iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(listed, keys);
}

/// Each page is a module of `_documentation`, so that docs.rs shows it and its examples are tests.
#[test]
fn every_page_is_a_rustdoc_module() {
    for page in pages() {
        let path = page.strip_prefix(root()).unwrap().display().to_string();
        let included = format!("include_str!(\"../{path}\")");
        let (before, after) = LIBRARY.split_once(&included).unwrap_or_else(|| panic!("src/lib.rs: {path}"));
        let links = before.trim_end().rsplit("pub mod ").next().unwrap();
        assert!(
            links.contains("include_str!(\"documentation-links.md\")"),
            "src/lib.rs: {path} has no links"
        );
        let module = rustdoc_module(&page);
        let name = module.rsplit("::").next().unwrap();
        let (_, declared) = after.split_once("pub mod ").unwrap();
        assert!(declared.starts_with(&format!("{name} {{")), "src/lib.rs: {path} is not module {name}");
    }
    assert_eq!(LIBRARY.matches("include_str!(\"../docs/").count(), pages().len());
}

/// Each relative link of a document leads to a file of the repository.
#[test]
fn relative_links_lead_to_files() {
    let documents = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let pages = pages();
    assert!(pages.contains(&root().join("docs/cookbook/README.md")), "{pages:?}");
    for document in documents.into_iter().chain(pages) {
        let prose = prose(&read(&document));
        let definitions = link_definitions(&prose).map(|(_, target)| target);
        for target in inline_links(&prose).chain(definitions).filter(|target| is_relative(target)) {
            let file = document.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(file.exists(), "{}: {target}", document.display());
        }
    }
}

/// A page links to files only by labels that rustdoc knows, and defines the labels that it uses for readers of the file.
/// CONTRIBUTING.md describes how.
#[test]
fn pages_link_by_labels_that_rustdoc_knows() {
    let labels: BTreeSet<&str> = link_definitions(RUSTDOC_LINKS).map(|(label, _)| label).collect();
    for page in pages() {
        let prose = prose(&read(&page));
        let page = page.display();
        let inline: Vec<&str> = inline_links(&prose).filter(|target| is_relative(target)).collect();
        assert!(inline.is_empty(), "{page}: {inline:?} do not work in rustdoc (write [text][label] instead)");

        let relative = link_definitions(&prose).filter(|(_, target)| is_relative(target));
        let defined: BTreeSet<&str> = relative.map(|(label, _)| label).collect();
        let used = labels.iter().copied().filter(|label| {
            // `[label][` is the text of a link with another label, and `[label]:` is the definition.
            let bracketed = format!("[{label}]");
            prose.split(&bracketed).skip(1).any(|after| !after.starts_with(['[', '(', ':']))
        });
        assert_eq!(
            used.collect::<BTreeSet<_>>(),
            defined,
            "{page}: used, and defined at the end of the page"
        );
    }
}

/// Each label of rustdoc leads to a module of the crate, or to a file in the published package.
#[test]
fn rustdoc_labels_lead_to_modules_and_files() {
    const SOURCE: &str = "https://docs.rs/crate/concurrency-governor/latest/source/";
    let modules: BTreeSet<String> = pages().iter().map(|page| rustdoc_module(page)).collect();
    let mut linked = BTreeSet::new();
    for (label, target) in link_definitions(RUSTDOC_LINKS) {
        if let Some(module) = target.strip_prefix("crate::_documentation::") {
            assert!(modules.contains(module), "{label}: {target}");
            linked.insert(module.to_owned());
        } else if let Some(file) = target.strip_prefix(SOURCE) {
            assert!(root().join(file).exists(), "{label}: {target}");
        } else {
            assert!(target.starts_with("crate"), "{label}: {target}");
        }
    }
    assert_eq!(linked, modules, "each page has a label");
}
