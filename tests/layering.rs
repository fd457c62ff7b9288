//! Who may import whom. The table below is docs/ARCHITECTURE.md's; a new file or a new edge changes both.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room of the house: a module of the crate with its files, and what they may import.
struct Room {
    name: &'static str,
    /// `mod` and the files beside it, without `.rs`; for a room of one file, nothing.
    files: &'static [&'static str],
    /// The rooms of this crate that it may import.
    rooms: &'static [&'static str],
}

/// From the bottom up: each room imports only rooms above it in this list.
const HOUSE: [Room; 11] = [
    Room {
        name: "plan",
        files: &[
            "mod",
            "name",
            "quantity",
            "limit",
            "reading",
            "amount",
            "formula",
            "formula_text",
            "overrides",
            "spec",
            "declared",
            "derivation",
            "resolution",
            "error",
        ],
        rooms: &[],
    },
    Room { name: "jitter", files: &[], rooms: &[] },
    Room {
        name: "probe",
        files: &[
            "mod",
            "cpu",
            "open_files",
            "memory",
            "tasks",
            "pressure",
            "fixed",
            "error",
            "roots",
            "capture",
            "raise",
            "rlimit",
            "linux/mod",
            "linux/host",
            "linux/inputs",
            "linux/kept",
            "linux/group",
            "linux/membership",
            "linux/mountinfo",
            "linux/affinity",
            "linux/cpu_list",
            "linux/quota",
            "linux/limits",
            "linux/meminfo",
            "linux/memory",
            "linux/open_files",
            "linux/tasks",
            "linux/pressure",
            "linux/evidence",
            "linux/watch",
            "linux/notices",
            "linux/trigger",
            "linux/own",
            "linux/runtime",
        ],
        rooms: &["plan", "jitter"],
    },
    Room {
        name: "gate",
        files: &[
            "mod",
            "request",
            "acquire",
            "permit",
            "drained",
            "status",
            "error",
            "inner",
            "alarm",
            "vacant",
            "blocking",
            "bells",
            "engine",
            "answer",
            "front",
            "word",
            "tally",
            "line",
            "chain",
            "chain/tests",
            "lock",
            "wait",
            "drains",
            "watch",
            "timers",
            "deadlines",
            "clock",
            "sampler",
            "histogram",
            "wake",
            "sync",
            "abort",
        ],
        rooms: &["plan"],
    },
    Room { name: "event", files: &[], rooms: &["plan", "probe"] },
    Room { name: "testing", files: &["mod", "strategies"], rooms: &["plan", "probe"] },
    Room {
        name: "governor",
        files: &["mod", "builder", "measure", "damping", "refresh", "status"],
        rooms: &["plan", "jitter", "probe", "gate", "event"],
    },
    Room {
        name: "pool",
        files: &[
            "mod",
            "builder",
            "manager",
            "checkout",
            "lease",
            "status",
            "event",
            "error",
            "shared",
            "books",
            "books/growth",
            "books/upkeep",
            "backoff",
            "effects",
            "create",
            "keeper",
            "caught",
            "sync",
        ],
        rooms: &["plan", "jitter", "gate"],
    },
    Room { name: "preset", files: &["mod", "astrid"], rooms: &["plan", "probe", "governor"] },
    Room {
        name: "config",
        files: &[
            "mod",
            "plan_config",
            "settings",
            "reader",
            "value",
            "error",
            "texts",
            "reports",
            "gate_args",
            "limit_args",
        ],
        rooms: &["plan", "gate", "event", "preset"],
    },
    Room {
        name: "integration",
        files: &[
            "mod",
            "reason",
            "metrics/mod",
            "metrics/names",
            "metrics/pool",
            "metrics/waits",
            "metrics/hold",
            "metrics/task",
            "tracing/mod",
            "tracing/wait",
            "tracing/observer",
            "tracing/knob",
            "tower/mod",
            "tower/terms",
            "tower/future",
            "tower/body",
            "tower/hold",
            "tower/refused",
        ],
        rooms: &["plan", "gate", "event", "governor", "pool"],
    },
];

/// All of `std` that the pure core touches: no environment, no input or output, no lock, no thread, no clock.
const PURE_STD: [&str; 18] = [
    "std::borrow",
    "std::cmp",
    "std::collections",
    "std::error",
    "std::ffi::OsStr",
    "std::ffi::OsString",
    "std::fmt",
    "std::hash",
    "std::iter",
    "std::mem",
    "std::num",
    "std::ops",
    "std::ptr",
    "std::slice",
    "std::str",
    "std::string",
    "std::sync::Arc",
    "std::time::Duration",
];

/// The inside of a gate, which takes time and wakers as arguments.
const ENGINE: [&str; 12] = [
    "engine",
    "answer",
    "front",
    "word",
    "line",
    "chain",
    "wait",
    "drains",
    "watch",
    "sampler",
    "histogram",
    "wake",
];

/// The inside of a pool, which takes time as an argument and leaves what is to be done to its caller.
const BOOKS: [&str; 4] = ["books", "growth", "upkeep", "backoff"];

/// Every file of the library is in the table, and every file in the table is there.
#[test]
fn every_file_has_its_room() {
    let found: BTreeSet<String> =
        sources().into_iter().map(|(path, _)| path).filter(|path| !in_program(path)).collect();
    let mut placed: BTreeSet<String> = HOUSE.iter().flat_map(Room::paths).collect();
    placed.insert("src/lib.rs".to_owned());
    let unplaced: Vec<_> = found.difference(&placed).collect();
    let missing: Vec<_> = placed.difference(&found).collect();
    assert!(unplaced.is_empty(), "place these files in HOUSE and in docs/ARCHITECTURE.md: {unplaced:?}");
    assert!(missing.is_empty(), "HOUSE places files that are not there: {missing:?}");
}

/// Imports go only downwards, and the pure stays pure.
#[test]
fn imports_go_only_downwards() {
    let violations: Vec<String> = sources().iter().flat_map(|(path, text)| check(path, text)).collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

/// The table itself goes only downwards.
#[test]
fn rooms_import_only_rooms_below() {
    for (at, room) in HOUSE.iter().enumerate() {
        let below: Vec<_> = HOUSE[..at].iter().map(|room| room.name).collect();
        assert!(room.rooms.iter().all(|name| below.contains(name)), "{}", room.name);
    }
}

/// The check bites: each planted violation is found, in the line where it stands, and nothing else is.
#[test]
fn planted_violations_are_found() {
    for (path, text, found) in [
        // The core knows nothing of this crate.
        ("src/plan/name.rs", "use crate::gate::Gate;", "src/plan/name.rs:1: crate::gate::Gate"),
        ("src/plan/name.rs", "\nuse crate::{plan::Limit, probe};", "src/plan/name.rs:2: crate::probe"),
        (
            "src/plan/name.rs",
            "use crate::{plan::{self, Limit}, event::{\n Event }};",
            "src/plan/name.rs:2: crate::event::Event",
        ),
        ("src/plan/name.rs", "use super::super::governor::*;", "src/plan/name.rs:1: crate::governor"),
        ("src/plan/name.rs", "fn f() -> super::super::Gate {}", "src/plan/name.rs:1: crate::Gate"),
        ("src/plan/mod.rs", "pub use super::testing;", "src/plan/mod.rs:1: crate::testing"),
        (
            "src/plan/name.rs",
            "mod inner { use super::super::super::probe::Cpu; }",
            "src/plan/name.rs:1: crate::probe::Cpu",
        ),
        ("src/plan/name.rs", "use crate as root;", "src/plan/name.rs:1: crate"),
        ("src/plan/name.rs", "use crate::*;", "src/plan/name.rs:1: crate"),
        (
            "src/plan/name.rs",
            "use ::concurrency_governor::Gate;",
            "src/plan/name.rs:1: concurrency_governor::Gate",
        ),
        // The core touches nothing outside.
        ("src/plan/name.rs", "use tokio::sync::Notify;", "src/plan/name.rs:1: tokio::sync::Notify"),
        ("src/plan/name.rs", "use tokio as t;", "src/plan/name.rs:1: tokio"),
        ("src/plan/name.rs", "extern crate nix;", "src/plan/name.rs:1: nix"),
        ("src/plan/name.rs", "use std::{fmt, fs};", "src/plan/name.rs:1: std::fs"),
        ("src/plan/name.rs", "fn f() { std::env::var(\"A\"); }", "src/plan/name.rs:1: std::env::var"),
        ("src/plan/name.rs", "use core::{fmt, sync::atomic};", "src/plan/name.rs:1: std::sync::atomic"),
        ("src/plan/name.rs", "use std::sync::{Arc, Mutex};", "src/plan/name.rs:1: std::sync::Mutex"),
        ("src/plan/name.rs", "use std::time::{Duration, Instant};", "src/plan/name.rs:1: std::time::Instant"),
        ("src/plan/name.rs", "use std::time;", "src/plan/name.rs:1: std::time"),
        ("src/plan/name.rs", "use std::*;", "src/plan/name.rs:1: std"),
        ("src/plan/name.rs", "use std as s;", "src/plan/name.rs:1: std"),
        ("src/plan/name.rs", "use std::{self as s};", "src/plan/name.rs:1: std"),
        ("src/plan/name.rs", "use std::ffi::CString;", "src/plan/name.rs:1: std::ffi::CString"),
        ("src/plan/name.rs", "async fn f() {}", "src/plan/name.rs:1: async"),
        ("src/plan/name.rs", "fn f() { g().await }", "src/plan/name.rs:1: await"),
        ("src/plan/name.rs", "fn f() { println!(\"\") }", "src/plan/name.rs:1: println!"),
        ("src/plan/name.rs", "const A: &str = env!(\"A\");", "src/plan/name.rs:1: env!"),
        // Probes and gates do not know each other; nothing looks up.
        ("src/probe/cpu.rs", "use crate::gate::Gate;", "src/probe/cpu.rs:1: crate::gate::Gate"),
        (
            "src/probe/linux/host.rs",
            "use super::super::super::event::Event;",
            "src/probe/linux/host.rs:1: crate::event::Event",
        ),
        ("src/gate/mod.rs", "use crate::probe;", "src/gate/mod.rs:1: crate::probe"),
        ("src/gate/mod.rs", "use crate::event::Event;", "src/gate/mod.rs:1: crate::event::Event"),
        ("src/gate/mod.rs", "use crate::Limit;", "src/gate/mod.rs:1: crate::Limit"),
        ("src/event.rs", "use super::governor::Governor;", "src/event.rs:1: crate::governor::Governor"),
        ("src/testing/mod.rs", "use crate::gate::Gate;", "src/testing/mod.rs:1: crate::gate::Gate"),
        ("src/governor/mod.rs", "use crate::preset::astrid;", "src/governor/mod.rs:1: crate::preset::astrid"),
        ("src/preset/astrid.rs", "use crate::gate::Gate;", "src/preset/astrid.rs:1: crate::gate::Gate"),
        ("src/preset/mod.rs", "use crate::config::Value;", "src/preset/mod.rs:1: crate::config::Value"),
        ("src/config/reader.rs", "use crate::governor;", "src/config/reader.rs:1: crate::governor"),
        // The engine takes time and wakers as arguments.
        ("src/gate/line.rs", "use tokio::sync::Mutex;", "src/gate/line.rs:1: tokio::sync::Mutex"),
        (
            "src/gate/engine.rs",
            "use tokio::time::{Instant, sleep};",
            "src/gate/engine.rs:1: tokio::time::sleep",
        ),
        ("src/gate/histogram.rs", "use tokio::time;", "src/gate/histogram.rs:1: tokio::time"),
        ("src/gate/engine.rs", "fn f() { let now = Instant::now(); }", "src/gate/engine.rs:1: Instant::now"),
        ("src/gate/engine.rs", "use std::sync::Mutex;", "src/gate/engine.rs:1: std::sync::Mutex"),
        ("src/gate/engine.rs", "use std::time::Instant;", "src/gate/engine.rs:1: std::time::Instant"),
        ("src/pool/books.rs", "use tokio::sync::Notify;", "src/pool/books.rs:1: tokio::sync::Notify"),
        ("src/pool/books.rs", "use std::sync::Mutex;", "src/pool/books.rs:1: std::sync::Mutex"),
        ("src/pool/keeper.rs", "use crate::governor;", "src/pool/keeper.rs:1: crate::governor"),
        // The edges know of everything, and nobody knows of them.
        ("src/gate/mod.rs", "use tracing::info;", "src/gate/mod.rs:1: tracing::info"),
        ("src/governor/mod.rs", "use metrics::counter;", "src/governor/mod.rs:1: metrics::counter"),
        ("src/preset/astrid.rs", "use http::Response;", "src/preset/astrid.rs:1: http::Response"),
        (
            "src/governor/mod.rs",
            "use crate::integration::metrics;",
            "src/governor/mod.rs:1: crate::integration::metrics",
        ),
        (
            "src/integration/tower/mod.rs",
            "use crate::preset::astrid;",
            "src/integration/tower/mod.rs:1: crate::preset::astrid",
        ),
        // Nobody reaches into another's file.
        (
            "src/bin/concurrency-governor/main.rs",
            "#[path = \"../../plan/mod.rs\"] mod plan;",
            "src/bin/concurrency-governor/main.rs:1: #[path]",
        ),
        (
            "src/bin/concurrency-governor/main.rs",
            "include!(\"../x.rs\");",
            "src/bin/concurrency-governor/main.rs:1: include!",
        ),
        // A file that has no room.
        ("src/attic/mod.rs", "", "src/attic/mod.rs:1: no room"),
    ] {
        let violations = check(path, text);
        let [violation] = &violations[..] else { panic!("{path}: {text}: {violations:?}") };
        assert!(violation.starts_with(&format!("{found}: ")), "{violation}, not {found}");
    }
}

/// The check does not bite where nothing is wrong: in comments, texts and tests, and along the edges there are.
#[test]
fn allowed_imports_pass() {
    for (path, text) in [
        ("src/plan/name.rs", "//! use crate::gate::Gate;\n/// use tokio;\n// async\nuse std::fmt;"),
        ("src/plan/name.rs", "/* use tokio::x; /* nested */ async */ use super::{Limit, name::*};"),
        (
            "src/plan/name.rs",
            r##"const A: &str = "use tokio::x; \" async"; const B: &str = r#"a " std::fs"#;"##,
        ),
        (
            "src/plan/name.rs",
            "const C: char = '\"'; fn f<'a>(a: &'a str) -> &'a str { a } const D: u8 = b'\\'';",
        ),
        (
            "src/plan/name.rs",
            "#[cfg(test)]\nmod tests { use std::fs; async fn f() {} }\nuse crate::plan::Limit;",
        ),
        ("src/plan/name.rs", "mod inner { use super::Name; } fn f(env: u8, fs: u8) { self::env(env) }"),
        (
            "src/plan/name.rs",
            "use thiserror::Error; fn f() { u64::from(1_u32); Self::of::<std::fmt::Error>() }",
        ),
        (
            "src/plan/name.rs",
            "use std::time::Duration; use std::ffi::OsString; use std::collections::{BTreeMap, BTreeSet};",
        ),
        (
            "src/probe/linux/host.rs",
            "use std::fs; use crate::probe::{self, ProbeError}; use super::super::cpu;",
        ),
        (
            "src/gate/engine.rs",
            "use tokio::time::Instant; use std::time::Duration; use super::{queue, Gate};",
        ),
        (
            "src/gate/mod.rs",
            "use tokio::sync::Notify; use crate::{plan::Limit, gate::engine}; use std::sync::Mutex;",
        ),
        (
            "src/integration/metrics/mod.rs",
            "use metrics::{counter, gauge}; use crate::{gate::Gate, governor::Governor}; use super::reason;",
        ),
        ("src/governor/mod.rs", "use crate::{event, gate::Gate, plan::{Plan, Limit}, probe};"),
        ("src/lib.rs", "pub mod plan; pub use plan::Limit; pub use crate::gate::Gate;"),
        (
            "src/bin/concurrency-governor/main.rs",
            "use concurrency_governor::Plan; use crate::args; use std::env;",
        ),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

/// What a file with this text may not import, one line each. Knows nothing of the disk.
fn check(path: &str, text: &str) -> Vec<String> {
    let code = without_tests(&without_comments(text));
    let tokens = tokens(&code);
    let module = module_of(path);
    let reached = reached(&tokens, &module);
    let mut violations = Vec::new();
    let mut refuse =
        |line: usize, what: &str, why: &str| violations.push(format!("{path}:{line}: {what}: {why}"));

    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1).map_or("", |next| next.text);
        if (token.text == "path" && at > 0 && tokens[at - 1].text == "[")
            || (token.text == "include" && next == "!")
        {
            let what = if next == "!" { "include!" } else { "#[path]" };
            refuse(token.line, what, "a file is a module in one place");
        }
    }
    if in_program(path) || path == "src/lib.rs" {
        return violations;
    }
    let Some(room) = HOUSE.iter().find(|room| room.paths().any(|known| known == path)) else {
        refuse(1, "no room", "place the file in HOUSE and in docs/ARCHITECTURE.md");
        return violations;
    };
    let file = Path::new(path).file_stem().unwrap().to_str().unwrap();
    let engine = match room.name {
        "gate" => ENGINE.contains(&file),
        "pool" => BOOKS.contains(&file),
        _ => false,
    };

    for Reached { line, path: segments } in &reached {
        let (line, name) = (*line, segments.join("::"));
        let starts_with = |prefix: &str| name == prefix || name.starts_with(&format!("{prefix}::"));
        match segments[0].as_str() {
            "crate" => {
                let of_house = |name: &&str| segments.get(1).is_some_and(|segment| segment == name);
                if !room.rooms.iter().chain([&room.name]).any(of_house) {
                    let why = format!("{} imports only {:?} of this crate", room.name, room.rooms);
                    refuse(line, &name, &why);
                }
            }
            "concurrency_governor" => refuse(line, &name, "the library calls itself `crate`"),
            "std" if room.name == "plan" && !PURE_STD.into_iter().any(starts_with) => {
                refuse(line, &name, "the core is pure: it imports of std only what PURE_STD lists");
            }
            "tokio" | "nix" | "async_trait" | "proptest" if room.name == "plan" => {
                refuse(line, &name, "the core is pure");
            }
            "metrics" | "tracing" | "tower_layer" | "tower_service" | "http" | "http_body"
                if room.name != "integration" =>
            {
                refuse(line, &name, "only an integration knows what it integrates with");
            }
            "tokio" if engine && !starts_with("tokio::time::Instant") => {
                refuse(line, &name, "the engine takes of tokio only the type of a moment");
            }
            "std"
                if engine
                    && (starts_with("std::sync")
                        || starts_with("std::time::Instant")
                        || starts_with("std::time::SystemTime")) =>
            {
                refuse(line, &name, "the engine has no lock and no clock");
            }
            _ if engine && name.ends_with("Instant::now") => {
                refuse(line, &name, "the engine takes the time as an argument");
            }
            _ => {}
        }
    }
    if room.name == "plan" {
        for (at, token) in tokens.iter().enumerate() {
            let next = tokens.get(at + 1).map_or("", |next| next.text);
            match token.text {
                "async" | "await" => refuse(token.line, token.text, "the core is pure"),
                "print" | "println" | "eprint" | "eprintln" | "dbg" | "env" | "option_env" if next == "!" => {
                    refuse(token.line, &format!("{}!", token.text), "the core is pure");
                }
                _ => {}
            }
        }
    }
    violations
}

impl Room {
    fn paths(&self) -> impl Iterator<Item = String> {
        let alone = self.files.is_empty().then(|| format!("src/{}.rs", self.name));
        self.files.iter().map(|file| format!("src/{}/{file}.rs", self.name)).chain(alone)
    }
}

/// Every source file of the package, by its path from the root.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 40, "the sources were not found");
    sources
}

fn in_program(path: &str) -> bool {
    path.starts_with("src/bin/")
}

/// `src/plan/name.rs` is `[plan, name]`.
fn module_of(path: &str) -> Vec<String> {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs");
    let module = module.trim_end_matches("/mod");
    if module == "lib" { Vec::new() } else { module.split('/').map(str::to_owned).collect() }
}

/// The text with comments, strings and characters blanked, line by line as it was.
fn without_comments(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some(first) = rest.chars().next() {
        let word = kept.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        let inside_a_name = !matches!(word, "" | "b" | "c"); // `br".."` is a string too
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_length(rest)
        } else if first == '"' {
            quoted_length(rest, '"')
        } else if first == 'r' && !inside_a_name && raw_length(rest).is_some() {
            raw_length(rest).unwrap()
        } else if first == '\'' && is_character(rest) {
            quoted_length(rest, '\'')
        } else {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        kept.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    kept
}

fn comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"..."` and `r##"..."##`; not `r#name`.
fn raw_length(rest: &str) -> Option<usize> {
    let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(rest.len(), |at| 2 + hashes + at + end.len()))
}

/// A character and not a lifetime.
fn is_character(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (Some(_), second) => second == Some('\''),
        _ => false,
    }
}

/// The text with the items under `#[cfg(test)]` blanked: tests may import what they like.
fn without_tests(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.find("#[cfg(test)]") {
        let mut depth = 0_usize;
        let mut end = text.len();
        for (at, c) in text[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = start + at + 1;
                break;
            }
        }
        let blank: String = text[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        text.replace_range(start..end, &blank);
    }
    text
}

#[derive(Clone, Copy, Debug)]
struct Token<'t> {
    text: &'t str,
    line: usize,
}

/// Names, `::` and single characters.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, text) in text.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let in_name = |c: char| c.is_alphanumeric() || c == '_';
            let length = if in_name(first) {
                rest.find(|c| !in_name(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token { text: &rest[..length], line: line + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// A path that a file names, from the crate's root or another crate's.
#[derive(Debug)]
struct Reached {
    line: usize,
    path: Vec<String>,
}

/// Every path in the tokens, groups unfolded, `self` and `super` resolved from the module they stand in.
fn reached(tokens: &[Token<'_>], module: &[String]) -> Vec<Reached> {
    let mut reached = Vec::new();
    let mut module = module.to_vec();
    let mut inline = Vec::new(); // the depths at which inline modules end
    let mut depth = 0_usize;
    let mut at = 0;
    let mut import = false;
    while at < tokens.len() {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        match text(at) {
            "mod" if text(at + 2) == "{" => {
                module.push(text(at + 1).to_owned());
                inline.push(depth);
                depth += 1;
                at += 3;
            }
            "{" => {
                depth += 1;
                at += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
                at += 1;
            }
            "use" => {
                import = text(at + 1) != "<"; // which only names what a type captures
                at += 1;
            }
            "crate" if text(at.saturating_sub(1)) == "extern" => {
                import = true;
                at += 1;
            }
            ";" => {
                import = false;
                at += 1;
            }
            name if is_name(name) => {
                let mut found = Vec::new();
                let start = at;
                at = path(tokens, at, &Vec::new(), &mut found);
                let is_path = import || text(start + 1) == "::" || (start > 0 && text(start - 1) == "::");
                if is_path {
                    reached.extend(
                        found
                            .into_iter()
                            .map(|one| Reached { line: one.line, path: resolve(&one.path, &module) }),
                    );
                }
            }
            _ => at += 1,
        }
    }
    reached
}

/// Reads a path that starts at a name, and its groups; returns where it ends.
fn path(tokens: &[Token<'_>], start: usize, prefix: &[String], found: &mut Vec<Reached>) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut segments = prefix.to_vec();
    let mut at = start;
    loop {
        match text(at) {
            name if is_name(name) => segments.push(name.to_owned()),
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    if is_name(text(at)) {
                        at = path(tokens, at, &segments, found);
                    } else if text(at) == "*" {
                        found.push(Reached { line: tokens[at].line, path: segments.clone() });
                        at += 1;
                    } else {
                        at += 1;
                    }
                }
                return at + 1;
            }
            _ => break, // `*`, or `<` of a turbofish
        }
        if text(at + 1) == "::" {
            at += 2;
        } else {
            at += 1;
            break;
        }
    }
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    let line = tokens[at.saturating_sub(1)].line;
    found.push(Reached { line, path: segments });
    if text(at) == "as" { at + 2 } else { at }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The path from a root: `crate`, another crate's name, or a name in scope.
fn resolve(path: &[String], module: &[String]) -> Vec<String> {
    let mut from = module.to_vec();
    let mut rest = path;
    match path[0].as_str() {
        "crate" => {
            from.clear();
            rest = &rest[1..];
        }
        "core" | "alloc" => return [&["std".to_owned()], &rest[1..]].concat(),
        "self" | "super" => {
            while let Some("self" | "super") = rest.first().map(String::as_str) {
                if rest[0] == "super" {
                    from.pop();
                }
                rest = &rest[1..];
            }
        }
        _ => return path.to_vec(),
    }
    [&["crate".to_owned()], &from[..], rest].concat()
}
