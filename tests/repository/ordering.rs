//! The memory orderings in the gate are the ones that docs/ORDERING.md argues for.
//!
//! No test but a model checker detects an ordering that is too weak. So a change of an ordering must also change that
//! page and its argument.

use crate::documents::{files_in, read, root};

/// Each function that uses memory orderings has a row with the same orderings, and each row has its function.
#[test]
fn orderings_match_the_page() {
    let gate = root().join("src/gate");
    let mut in_source = Vec::new();
    for file in files_in(&gate, "rs") {
        let text = read(&file);
        let name = file.strip_prefix(&gate).unwrap().to_str().unwrap().replace('\\', "/");
        for (function, orderings) in find_orderings(&text) {
            in_source.push(format!("| `{name}` | `{function}` | {} |", orderings.join(", ")));
        }
    }
    let page = read(&root().join("docs/ORDERING.md"));
    let table = page.lines().skip_while(|line| !line.starts_with("| file | where | orders |")).skip(2);
    let on_page: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
    assert!(in_source == on_page, "the rows in docs/ORDERING.md must be:\n{}", in_source.join("\n"));
}

/// Returns the functions of a file that use memory orderings, and the orderings of each in their order. Skips comments
/// and tests.
fn find_orderings(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut function = "";
    for line in text.lines().take_while(|line| *line != "#[cfg(test)]") {
        let code = line.split("//").next().unwrap();
        if let Some((_, signature)) = code.trim_start().split_once("fn ") {
            function = signature.split(['(', '<']).next().unwrap();
        }
        for ordering in code.split("Ordering::").skip(1) {
            let ordering = ordering.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            match found.last_mut() {
                Some((last, orderings)) if *last == function => orderings.push(ordering),
                _ => found.push((function, vec![ordering])),
            }
        }
    }
    found
}

/// Orderings are found in their function, and not in comments and tests.
#[test]
fn orderings_are_found() {
    let text = "fn a() { x.load(Ordering::Relaxed); }\n    pub(super) fn b<T>(t: T) {\n\
        // Ordering::SeqCst\n  y.swap(1, Ordering::AcqRel); z.load(Ordering::Acquire)\n}\n#[cfg(test)]\nOrdering::SeqCst";
    assert_eq!(find_orderings(text), [("a", vec!["Relaxed"]), ("b", vec!["AcqRel", "Acquire"])]);
}
