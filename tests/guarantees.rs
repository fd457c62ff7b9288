//! The promises of docs/GUARANTEES.md are held by the tests that it names.

use std::fs;
use std::path::Path;

/// One promise as the page has it.
struct Promise {
    number: usize,
    tests: Vec<Named>,
}

/// A test as the page names it.
struct Named {
    path: String,
    name: String,
    is_awaited: bool,
}

/// The whole text of a file of this repository.
fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The promises of the page, in its order.
fn promises() -> Vec<Promise> {
    let page = read("docs/GUARANTEES.md");
    let sections = page.split("\n### P").skip(1);
    let promises = sections.map(|section| {
        let number = section.split_once(". ").and_then(|(number, _)| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("no number: {:?}", section.lines().next()));
        let tests = section.lines().filter_map(|line| line.strip_prefix("- ")).map(named).collect();
        Promise { number, tests }
    });
    promises.collect()
}

/// A line of a list: a path and a name in backticks, after `not yet:` if it does not hold today.
fn named(line: &str) -> Named {
    let is_awaited = line.starts_with("not yet: ");
    let test = line.trim_start_matches("not yet: ").strip_prefix('`').and_then(|test| test.strip_suffix('`'));
    let (path, name) = test
        .and_then(|test| test.split_once(": "))
        .unwrap_or_else(|| panic!("neither a test nor `not yet:` and a test: {line}"));
    Named { path: path.to_owned(), name: name.to_owned(), is_awaited }
}

/// The attributes over a function, or `None` if it is not there.
fn attributes(source: &str, name: &str) -> Option<String> {
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let starts = [format!("fn {name}("), format!("async fn {name}(")];
    let at = lines.iter().position(|line| starts.iter().any(|start| line.starts_with(start)))?;
    let over = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    Some(over.filter(|line| line.starts_with("#[")).copied().collect())
}

/// The numbers are consecutive from 1, each promise has a test that holds it today, and none names a test twice.
#[test]
fn promises_are_numbered_and_each_is_held() {
    let promises = promises();
    assert!(!promises.is_empty());
    for (promise, number) in promises.iter().zip(1..) {
        assert_eq!(promise.number, number, "P{} is out of its order", promise.number);
        assert!(promise.tests.iter().any(|test| !test.is_awaited), "P{number} is held by nothing");
        let mut names: Vec<_> = promise.tests.iter().map(|test| (&test.path, &test.name)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), promise.tests.len(), "P{number} names a test twice");
    }
}

/// Each test that is named is a test in the file named. One that holds a promise runs; one that is awaited is ignored as
/// such, so that it moves when it begins to hold.
#[test]
fn tests_that_hold_promises_are_there_and_run() {
    let mut problems = Vec::new();
    for Promise { number, tests } in promises() {
        for Named { path, name, is_awaited } in tests {
            let mut problem = |what| problems.push(format!("P{number}: {path}: {name} {what}"));
            match attributes(&read(&path), &name) {
                None => problem("is not there"),
                Some(attributes) if !attributes.contains("test]") && !attributes.contains("test(") => {
                    problem("is no test");
                }
                Some(attributes) if is_awaited != attributes.contains("#[ignore = \"not yet: ") => {
                    problem(if is_awaited { "is not ignored as not yet" } else { "is ignored" });
                }
                Some(attributes) if !is_awaited && attributes.contains("#[ignore") => problem("is ignored"),
                Some(_) => {}
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A test of the gate that waits for the engine is a promise that the page marks as not yet.
#[test]
fn awaited_tests_are_marked_on_the_page() {
    let promises = promises();
    let awaited = promises.iter().flat_map(|promise| &promise.tests).filter(|test| test.is_awaited);
    let marked = awaited.count();
    let folders = ["tests", "tests/gate", "tests/gate_faults"]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    let files = folders.iter().flat_map(|folder| folder.read_dir().into_iter().flatten().flatten());
    let sources = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    let ignored = sources
        .map(|source| source.lines().filter(|line| line.starts_with("#[ignore = \"not yet: ")).count());
    assert_eq!(ignored.sum::<usize>(), marked);
}
