//! The pages of the cookbook are listed, and have the same shape.

use crate::documents::{
    LIBRARY, files_in, link_definitions, pages, prose, read, recipes, root, rustdoc_module,
};

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
        assert_eq!(ignored_examples(&page).next().unwrap(), program_text, "{}", program.display());
    }
}

/// Each example that is no documentation test is a part of `examples/axum-service`, where it is compiled. The line breaks may differ.
#[test]
fn ignored_examples_are_compiled_elsewhere() {
    let folder = root().join("examples/axum-service");
    if !folder.exists() {
        return;
    }
    let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
    let files = ["src", "tests"].map(|name| files_in(&folder.join(name), "rs")).concat();
    let sources: Vec<String> = files.iter().map(|file| without_spaces(&read(file))).collect();
    for page in pages() {
        for example in ignored_examples(&read(&page)) {
            let compiled = without_spaces(example);
            assert!(
                sources.iter().any(|source| source.contains(&compiled)),
                "{}:\n{example}",
                page.display()
            );
        }
    }
}

/// Returns the examples of a page that are shown and not compiled.
fn ignored_examples(page: &str) -> impl Iterator<Item = &str> {
    page.split("```rust,ignore\n").skip(1).filter_map(|rest| rest.split("```\n").next())
}
