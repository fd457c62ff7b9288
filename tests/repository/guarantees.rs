//! Each promise of docs/GUARANTEES.md names tests that exist and run.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The reason with which a test is ignored until the engine keeps its promise, and the mark of that test on
/// the page.
const NOT_YET: &str = "not yet: ";

/// A section of the page.
struct PromiseSection {
    number: usize,
    tests: Vec<ListedTest>,
}

/// A line in the list of tests of a promise.
struct ListedTest {
    path: String,
    name: String,
    is_marked_not_yet: bool,
}

/// The numbers are consecutive from 1. Each promise has a test that passes today, and lists no test twice.
#[test]
fn promises_are_numbered_and_tested() {
    let promises = read_promises();
    assert!(!promises.is_empty());
    for (promise, number) in promises.iter().zip(1..) {
        assert_eq!(promise.number, number, "P{} is out of order", promise.number);
        let has_passing_test = promise.tests.iter().any(|test| !test.is_marked_not_yet);
        assert!(has_passing_test, "P{number} has no test that passes today");
        let distinct: HashSet<_> = promise.tests.iter().map(|test| (&test.path, &test.name)).collect();
        assert_eq!(distinct.len(), promise.tests.len(), "P{number} lists a test twice");
    }
}

/// Each listed test exists in its file. It is ignored with the reason `not yet: ..` if it is marked so on the
/// page, and not ignored otherwise.
#[test]
fn listed_tests_exist_and_run() {
    let mut problems = Vec::new();
    for PromiseSection { number, tests } in read_promises() {
        for ListedTest { path, name, is_marked_not_yet } in tests {
            let attributes = attributes_of(&read(&path), &name);
            let attributes = attributes.as_deref();
            let has = |text: &str| attributes.is_some_and(|attributes| attributes.contains(text));
            let problem = if attributes.is_none() {
                "does not exist"
            } else if !has("test]") && !has("test(") {
                "is not a test"
            } else if is_marked_not_yet && !has(&ignore_not_yet()) {
                "is marked `not yet` but not ignored so"
            } else if !is_marked_not_yet && has("#[ignore") {
                "is ignored"
            } else {
                continue;
            };
            problems.push(format!("P{number}: {path}: {name} {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Each test that is ignored with the reason `not yet: ..` is on the page.
#[test]
fn tests_ignored_as_not_yet_are_listed() {
    let promises = read_promises();
    let marked = promises.iter().flat_map(|promise| &promise.tests).filter(|test| test.is_marked_not_yet);
    let is_ignored = |line: &str| line.trim_start().starts_with(&ignore_not_yet());
    let mut folders = vec![in_repository("tests")];
    let mut ignored = 0;
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("tests/ is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(path).expect("a source is readable");
                ignored += source.lines().filter(|line| is_ignored(line)).count();
            }
        }
    }
    assert_eq!(ignored, marked.count(), "ignored tests in tests/, and tests marked `not yet` on the page");
}

/// Returns the promises of the page, in its order.
fn read_promises() -> Vec<PromiseSection> {
    let page = read("docs/GUARANTEES.md");
    let sections = page.split("\n### P").skip(1);
    let promises = sections.map(|section| {
        let number = section.split_once(". ").and_then(|(number, _)| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no number: {:?}", section.lines().next()));
        let tests = section.lines().filter_map(|line| line.strip_prefix("- ")).map(parse_test).collect();
        PromiseSection { number, tests }
    });
    promises.collect()
}

/// Parses `` `path: name` `` or `` not yet: `path: name` ``.
fn parse_test(line: &str) -> ListedTest {
    let unmarked = line.strip_prefix(NOT_YET);
    let test = unmarked.unwrap_or(line).strip_prefix('`').and_then(|test| test.strip_suffix('`'));
    let (path, name) = test
        .and_then(|test| test.split_once(": "))
        .unwrap_or_else(|| panic!("neither `path: name` nor not yet: `path: name`: {line}"));
    ListedTest { path: path.to_owned(), name: name.to_owned(), is_marked_not_yet: unmarked.is_some() }
}

/// Returns the attributes of a function, or `None` if the source has no function of this name.
fn attributes_of(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let starts = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| starts.iter().any(|start| line.starts_with(start)))?;
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    Some(above.filter(|line| line.starts_with("#[")).copied().collect())
}

/// Returns the start of the attribute of a test that is ignored until the engine keeps its promise.
fn ignore_not_yet() -> String {
    format!("#[ignore = \"{NOT_YET}")
}

fn read(path: &str) -> String {
    let path = in_repository(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
