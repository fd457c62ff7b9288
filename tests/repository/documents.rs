//! Reading the repository's files and their Markdown.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const README: &str = include_str!("../../README.md");
pub(crate) const ASTRID: &str = include_str!("../../docs/ASTRID.md");
pub(crate) const CONFIGURATION: &str = include_str!("../../docs/CONFIGURATION.md");
pub(crate) const LIBRARY: &str = include_str!("../../src/lib.rs");

/// The link targets of rustdoc, one `[label]: target` per line.
pub(crate) const RUSTDOC_LINKS: &str = include_str!("../../src/documentation-links.md");

/// The root folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads `Cargo.toml`.
pub(crate) fn manifest() -> String {
    read(&root().join("Cargo.toml"))
}

/// Returns the files with an extension in a folder and in the folders below it, sorted by path.
pub(crate) fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_in(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the pages of `docs/`, the cookbook included.
pub(crate) fn pages() -> Vec<PathBuf> {
    files_in(&root().join("docs"), "md")
}

/// Returns the pages of the cookbook without its index.
pub(crate) fn recipes() -> Vec<PathBuf> {
    let pages = files_in(&root().join("docs/cookbook"), "md");
    pages.into_iter().filter(|page| !page.ends_with("README.md")).collect()
}

/// Returns the path of `_documentation`'s module for a page of `docs/`, such as `cookbook::warm_pool`.
pub(crate) fn rustdoc_module(page: &Path) -> String {
    let path = page.strip_prefix(root().join("docs")).unwrap().with_extension("");
    let path = path.to_str().unwrap().to_lowercase().replace('-', "_").replace('/', "::");
    path.strip_suffix("::readme").unwrap_or(&path).to_owned()
}

/// Returns the rows of the table whose head starts with this cell, without the head, as trimmed cells.
pub(crate) fn table<'t>(text: &'t str, first_cell: &str) -> Vec<Vec<&'t str>> {
    let head = format!("| {first_cell} |");
    let rows =
        text.lines().skip_while(|line| !line.starts_with(&head)).take_while(|line| line.starts_with('|'));
    rows.skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// Returns a Markdown text without its code blocks.
pub(crate) fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Returns the targets of the inline links, `[text](target)`, of a text without code blocks.
pub(crate) fn inline_links(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// Returns the label and the target of each link definition, `[label]: target`.
pub(crate) fn link_definitions(prose: &str) -> impl Iterator<Item = (&str, &str)> {
    prose.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
}

/// Returns whether a target is neither an address on the web nor a heading of the same page.
pub(crate) fn is_relative(target: &str) -> bool {
    !target.starts_with("http") && !target.starts_with('#')
}

/// Only the text between two fences counts as code.
#[test]
fn prose_excludes_code_blocks() {
    let text = "a\n```rust\n[x](y)\n```\n[b](c) and [d][e]\n\n[e]: f\n";
    assert_eq!(prose(text), "a\n[b](c) and [d][e]\n\n[e]: f\n");
    assert_eq!(inline_links(&prose(text)).collect::<Vec<_>>(), ["c"]);
    assert_eq!(link_definitions(&prose(text)).collect::<Vec<_>>(), [("e", "f")]);
}
