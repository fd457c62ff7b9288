//! Each promise of docs/GUARANTEES.md names tests that exist and run.

use std::collections::HashSet;
use std::fs;

use crate::documents::{read, root};

/// A section of the page.
struct PromiseSection {
    number: usize,
    tests: Vec<ListedTest>,
}

/// A line in the list of tests of a promise.
#[derive(PartialEq, Eq, Hash)]
struct ListedTest {
    path: String,
    name: String,
}

/// The numbers are consecutive from 1. Each promise lists at least one test, and no test twice.
#[test]
fn promises_are_numbered_and_tested() {
    let promises = read_promises();
    assert!(!promises.is_empty());
    for (promise, number) in promises.iter().zip(1..) {
        assert_eq!(promise.number, number, "P{} is out of order", promise.number);
        assert!(!promise.tests.is_empty(), "P{number} lists no test");
        let distinct: HashSet<_> = promise.tests.iter().collect();
        assert_eq!(distinct.len(), promise.tests.len(), "P{number} lists a test twice");
    }
}

/// Each listed test exists in its file, is a test, and is not ignored.
#[test]
fn listed_tests_exist_and_run() {
    let mut problems = Vec::new();
    for PromiseSection { number, tests } in read_promises() {
        for ListedTest { path, name } in tests {
            let source = fs::read_to_string(root().join(&path)).unwrap_or_default();
            let problem = match attributes_of(&source, &name) {
                None => "does not exist",
                Some(attributes) if !attributes.contains("test]") && !attributes.contains("test(") => {
                    "is not a test"
                }
                Some(attributes) if attributes.contains("#[ignore") => "is ignored",
                Some(_) => continue,
            };
            problems.push(format!("P{number}: {path}: {name} {problem}"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Returns the promises of the page, in its order.
fn read_promises() -> Vec<PromiseSection> {
    let page = read(&root().join("docs/GUARANTEES.md"));
    let sections = page.split("\n### P").skip(1);
    let promises = sections.map(|section| {
        let number = section.split_once(". ").and_then(|(number, _)| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no number: {:?}", section.lines().next()));
        let tests = section.lines().filter_map(|line| line.strip_prefix("- ")).map(parse_test).collect();
        PromiseSection { number, tests }
    });
    promises.collect()
}

/// Parses `` `path: name` ``.
fn parse_test(line: &str) -> ListedTest {
    let test = line.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
    let (path, name) = test
        .and_then(|test| test.split_once(": "))
        .unwrap_or_else(|| panic!("not a test in the form `path: name`: {line}"));
    ListedTest { path: path.to_owned(), name: name.to_owned() }
}

/// Returns the attributes of a function, or `None` if the source has no function of this name.
fn attributes_of(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let starts = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| starts.iter().any(|start| line.starts_with(start)))?;
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    Some(above.filter(|line| line.starts_with("#[")).copied().collect())
}
