//! The orders of memory that docs/ORDERING.md argues for are those that the gate asks for.
//!
//! A model checker sees an order that is too weak, and nothing else does: where one changes, this page and its argument
//! have to change with it.

#![expect(clippy::unwrap_used, reason = "this is a test")]

use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../docs/ORDERING.md");

/// Each access has the order that its row says, and each row is of an access.
#[test]
fn orders_are_those_of_the_page() {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| file | where | orders |")).skip(2);
    let told: Vec<String> = rows.take_while(|line| line.starts_with('|')).map(str::to_owned).collect();
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gate"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let mut found: Vec<String> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (place, orders) in orders_in(&text) {
            let file = file.file_name().unwrap().to_str().unwrap();
            found.push(format!("| `{file}` | `{place}` | {} |", orders.join(", ")));
        }
    }
    assert_eq!(found, told, "the left is what the source asks for, the right what docs/ORDERING.md says");
}

/// The functions of a file that ask for orders, outside its tests, and which orders, as they come.
fn orders_in(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut place = "";
    for line in text.lines().take_while(|line| *line != "#[cfg(test)]") {
        let code = line.split("//").next().unwrap();
        if let Some(rest) = code.trim_start().split_once("fn ").map(|(_, rest)| rest) {
            place = rest.split(['(', '<']).next().unwrap();
        }
        for order in code.split("Ordering::").skip(1) {
            let order = order.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            match found.last_mut() {
                Some((last, orders)) if *last == place => orders.push(order),
                _ => found.push((place, vec![order])),
            }
        }
    }
    found
}

/// The reader of the source finds what there is, under the function it is in.
#[test]
fn orders_are_found() {
    let text = "fn a() { x.load(Ordering::Relaxed); }\n    pub(super) fn b<T>(t: T) {\n\
        // Ordering::SeqCst\n  y.swap(1, Ordering::AcqRel); z.load(Ordering::Acquire)\n}\n#[cfg(test)]\nOrdering::SeqCst";
    assert_eq!(orders_in(text), [("a", vec!["Relaxed"]), ("b", vec!["AcqRel", "Acquire"])]);
}
