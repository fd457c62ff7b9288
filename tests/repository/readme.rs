//! What README says about features, versions, `unsafe` code and other documents.

use std::collections::BTreeSet;
use std::path::Path;

use crate::documents::{
    README, files_in, inline_links, is_relative, link_definitions, manifest, pages, prose, read, root,
    rustdoc_module, table,
};

/// README lists the features of the manifest and no others, and states the manifest's minimum version of Rust.
#[test]
fn features_and_rust_version_match_the_manifest() {
    let manifest = manifest();
    let section = manifest.split("[features]").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
    let declared = section.lines().filter_map(|line| line.split_once(" = [").map(|(name, _)| name));
    let declared: Vec<&str> = declared.filter(|name| *name != "default").collect();
    let listed: Vec<&str> = table(README, "Feature").iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(listed, declared);

    let minimum = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    assert!(README.contains(&format!("**Rust** {minimum} or later")), "{minimum}");
}

/// README names exactly the source files that contain `unsafe` code: those that mention the lint that denies it.
#[test]
fn unsafe_code_is_only_in_the_files_that_readme_names() {
    assert!(manifest().contains("\nunsafe_code = \"deny\""));
    let sources = files_in(&root().join("src"), "rs");
    let exempt = sources.iter().filter(|path| read(path).contains("unsafe_code"));
    let exempt: BTreeSet<&str> =
        exempt.map(|path| path.strip_prefix(root()).unwrap().to_str().unwrap()).collect();

    let (_, sentence) = README.split_once("`unsafe` code is denied in the library, except in ").unwrap();
    let (sentence, _) = sentence.split_once(". ").unwrap();
    let named: BTreeSet<&str> = sentence.split('`').filter(|part| part.starts_with("src/")).collect();
    assert_eq!(named, exempt);
}

/// README's links work on the registry's page, too: they are addresses, and those on docs.rs are modules of this crate.
#[test]
fn links_lead_to_modules_on_docs_rs() {
    const DOCS: &str = "https://docs.rs/concurrency-governor/latest/concurrency_governor/";
    let modules: BTreeSet<String> = pages().iter().map(|page| rustdoc_module(page)).collect();
    let prose = prose(README);
    let targets: Vec<&str> =
        inline_links(&prose).chain(link_definitions(&prose).map(|(_, target)| target)).collect();
    assert!(targets.len() >= 10, "{targets:?}");
    for target in targets {
        assert!(!is_relative(target), "{target} has no meaning on the registry's page");
        let Some(page) = target.strip_prefix(DOCS).filter(|page| *page != "index.html") else { continue };
        let module = page.strip_prefix("_documentation/").and_then(|page| page.strip_suffix("/index.html"));
        let module = module.unwrap_or_else(|| panic!("{target}")).replace('/', "::");
        assert!(modules.contains(&module), "{target}");
    }
}

/// Every label that README uses is defined.
#[test]
fn labels_are_defined() {
    let prose = prose(README);
    let defined: BTreeSet<&str> = link_definitions(&prose).map(|(label, _)| label).collect();
    let used = prose.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    let used: BTreeSet<&str> =
        used.filter(|(_, after)| !after.starts_with([':', '('])).map(|(label, _)| label).collect();
    assert_eq!(used, defined);
}

/// The licences that README names are files of the repository.
#[test]
fn licences_are_included() {
    assert!(README.contains("[Apache License 2.0] or [MIT licence]"));
    for file in ["LICENSE-APACHE", "LICENSE-MIT"] {
        assert!(root().join(Path::new(file)).exists(), "{file}");
    }
}
