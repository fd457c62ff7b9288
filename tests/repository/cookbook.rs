//! The pages of the cookbook are listed, and have the same shape.

use crate::documents::{LIBRARY, link_definitions, prose, read, recipes, root, rustdoc_module};

/// Each page is listed on the cookbook's index and on the crate page.
#[test]
fn every_page_is_listed() {
    let index = prose(&read(&root().join("docs/cookbook/README.md")));
    for page in recipes() {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(link_definitions(&index).any(|link| link == (name, name)), "docs/cookbook/README.md: {name}");
        assert!(index.contains(&format!("][{name}] |")), "docs/cookbook/README.md: no row for {name}");
        let link = format!("](_documentation::{})\n", rustdoc_module(&page));
        assert!(LIBRARY.contains(&link), "src/lib.rs: {name}");
    }
    let listed = LIBRARY.lines().filter(|line| line.starts_with("//! - [") && line.contains("::cookbook::"));
    assert_eq!(listed.count(), recipes().len());
}

/// A page begins with the situation and ends with a table for troubleshooting.
#[test]
fn every_page_has_the_same_shape() {
    assert!(recipes().len() >= 9, "{:?}", recipes());
    for page in recipes() {
        let text = read(&page);
        let (_, text) = text.split_once("\n\n").unwrap();
        assert!(text.starts_with("**The situation.** "), "{}", page.display());
        let last = text.rsplit("\n## ").next().unwrap();
        assert!(last.starts_with("Troubleshooting\n"), "{}", page.display());
    }
}

/// The programs of the pages on tenants and on overload are compiled and tested as parts of `examples/axum-service`, because this crate
/// does not depend on axum. The package of the crate is published without the examples that are packages.
#[test]
fn the_programs_for_axum_are_the_tested_ones() {
    let folder = root().join("examples/axum-service/src/bin");
    if !folder.exists() {
        return;
    }
    for program in ["overload", "tenants"].map(|name| folder.join(name).with_extension("rs")) {
        let source = read(&program);
        let (_, program_text) = source.split_once("\n\n").unwrap();
        let page = program.with_extension("md");
        let page = read(&root().join("docs/cookbook").join(page.file_name().unwrap()));
        let (_, shown) = page.split_once("```rust,ignore\n").unwrap();
        assert_eq!(shown.split("```\n").next().unwrap(), program_text, "{}", program.display());
    }
}
