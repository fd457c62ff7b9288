//! What the documents show of the program `concurrency-governor` is what it prints.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::documents::{CONFIGURATION, README, pages, read, root};

/// Each command that a document shows prints the output that the document shows.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "a captured host can be read on Linux only")]
fn shown_output_matches_the_program() {
    let documents: Vec<String> = pages().iter().map(|page| read(page)).chain([README.to_owned()]).collect();
    assert!(shown_commands(README).count() >= 1);
    assert!(documents.iter().flat_map(|document| shown_commands(document)).count() >= 10);
    let mismatches: Vec<String> = documents
        .iter()
        .flat_map(|document| shown_commands(document))
        .filter_map(|(command, shown)| {
            let printed = run(command);
            let mismatch = || format!("{command}\nshown:\n{shown}\nprinted:\n{printed}");
            (!is_excerpt(shown, &printed)).then(mismatch)
        })
        .collect();
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
}

/// The error on the configuration page is the one that the program reports for such a file.
#[test]
fn shown_error_matches_the_program() {
    let (_, shown) = CONFIGURATION.split_once("```text\nerror: ").unwrap();
    let (shown, _) = shown.split_once("\n```").unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let plan = "[gates.io]\nformula = \"cpu\"\nqueue = -1\n\n[overrides]\noi = 3\n";
    fs::write(folder.join("limits.toml"), plan).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"))
        .args(["explain", "--plan", "limits.toml"])
        .current_dir(&folder)
        .output();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(String::from_utf8(output.unwrap().stderr).unwrap(), format!("error: {shown}\n"));
}

/// An excerpt omits lines only where it has a line `...`.
#[test]
fn an_excerpt_omits_only_marked_lines() {
    let printed = "a\nb\nc\n";
    for excerpt in [printed, "a\n...\n", "...\nc\n", "...\nb\n...\n", "a\n...\nc\n"] {
        assert!(is_excerpt(excerpt, printed), "{excerpt:?}");
    }
    for other in ["", "a\n", "b\n...\n", "...\nb\n", "a\nc\n", "c\n...\na\n", "a\n...\nd\n"] {
        assert!(!is_excerpt(other, printed), "{other:?}");
    }
}

/// Returns the commands of a document's `console` blocks, each with the output that is shown below it.
fn shown_commands(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let blocks = document.split("```console\n$ ").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| {
        // A command continues after a line that ends with a backslash.
        let mut ends = block.match_indices('\n').map(|(end, _)| end);
        let end = ends.find(|end| !block[..*end].ends_with('\\')).unwrap();
        (&block[..end], block[end..].strip_prefix('\n').unwrap())
    })
}

/// Runs a command as a document shows it: environment variables, the program, and its arguments.
fn run(command: &str) -> String {
    let (environment, arguments) = command.split_once("concurrency-governor").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_concurrency-governor"))
        .current_dir(root())
        .env_clear()
        .envs(environment.split_whitespace().filter_map(|setting| setting.split_once('=')))
        .args(split_arguments(arguments))
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Splits arguments at white space, except inside of single quotes, and drops the backslashes at the ends of lines.
fn split_arguments(arguments: &str) -> Vec<&str> {
    let parts = arguments.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().filter(|word| *word != "\\").collect(),
            _ => vec![part],
        })
        .collect()
}

/// Returns whether `shown` is `printed`, where a line `...` of `shown` stands for any number of lines.
fn is_excerpt(shown: &str, printed: &str) -> bool {
    let mut rest = printed;
    for (at, piece) in shown.split("...\n").enumerate() {
        let found = if at == 0 { rest.starts_with(piece).then_some(0) } else { rest.find(piece) };
        let Some(start) = found else { return false };
        rest = &rest[start..][piece.len()..];
    }
    rest.is_empty() || shown.ends_with("...\n")
}
