//! Counts the instructions of each operation, and compares the counts with the targets in `instruction-targets.tsv`.
//!
//! This program runs under callgrind twice, the second time with twice as many operations. The difference is the cost of the
//! operations, without the cost of the start.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::process::{Command, ExitCode};

use crate::harness::Row;

/// The file of the targets. `count --rebase` writes it.
const TARGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instruction-targets.tsv");

const HEADER: &str = "\
# The most that an operation of the gate may cost, for `.ci/run bench-count`: its instructions relative to those of the base,
# and its locked instructions. `.ci/run bench-count --rebase` writes the counts of the present source, plus 2 % and rounded up.
";

/// The part that `--rebase` adds to a measured ratio, so that another compiler version rarely misses a target.
const SLACK: f64 = 1.02;

/// The cost of one operation.
#[derive(Clone, Copy)]
struct Cost {
    instructions: f64,
    /// Global bus events, as valgrind calls them.
    locked: f64,
}

/// The upper bounds for the gate in one row.
#[derive(Clone, Copy)]
struct InstructionTarget {
    ratio: f64,
    locked: f64,
}

/// Prints the counts of the rows, and fails if one misses its target.
pub fn check(rows: impl Iterator<Item = Row>) -> ExitCode {
    let targets = read_targets();
    let mut missed = Vec::new();
    print_header();
    for row in rows {
        let (gate, base) = measure(&row);
        let ratio = gate.instructions / base.instructions;
        let target = targets.get(row.id);
        print_row(&row, gate, base, target);
        match target {
            Some(target) if ratio <= target.ratio && gate.locked <= target.locked + 0.05 => {}
            Some(_) => missed.push(row.id),
            None => missed.push("(a row without a target)"),
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: these rows miss their targets in {TARGETS}: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// Prints the counts of the rows, and writes them as their new targets. Other rows keep their targets.
pub fn rebase(rows: impl Iterator<Item = Row>, all_ids: &[&str]) -> ExitCode {
    let mut targets = read_targets();
    print_header();
    for row in rows {
        let (gate, base) = measure(&row);
        let ratio = (gate.instructions / base.instructions * SLACK * 100.0).ceil() / 100.0;
        let target = InstructionTarget { ratio, locked: (gate.locked - 0.05).max(0.0).ceil() };
        print_row(&row, gate, base, Some(&target));
        targets.insert(row.id.to_owned(), target);
    }
    let mut text = format!("{HEADER}row\tratio\tlocked\n");
    for id in all_ids {
        if let Some(InstructionTarget { ratio, locked }) = targets.get(*id) {
            writeln!(text, "{id}\t{ratio:.2}\t{locked:.0}").expect("a string takes all text");
        }
    }
    fs::write(TARGETS, text).unwrap_or_else(|error| panic!("{TARGETS}: {error}"));
    ExitCode::SUCCESS
}

fn read_targets() -> BTreeMap<String, InstructionTarget> {
    let text = fs::read_to_string(TARGETS).unwrap_or_else(|error| panic!("{TARGETS}: {error}"));
    let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let parse = |line: &str| {
        let mut cells = line.split('\t');
        let id = cells.next()?.to_owned();
        let ratio = cells.next()?.parse().ok()?;
        Some((id, InstructionTarget { ratio, locked: cells.next()?.parse().ok()? }))
    };
    rows.map(|line| parse(line).unwrap_or_else(|| panic!("{TARGETS}: not `row, ratio, locked`: {line}")))
        .collect()
}

fn print_header() {
    println!("Instructions per operation, with the locked ones in parentheses.\n");
    println!("| row | operation | gate | base | ratio | target | locked target |");
    println!("|---|---|---|---|---|---|---|");
}

fn print_row(row: &Row, gate: Cost, base: Cost, target: Option<&InstructionTarget>) {
    let ratio = gate.instructions / base.instructions;
    let mark = |value: f64, target: f64| if value <= target { "" } else { " **missed**" };
    let targets = target.map_or(" | ".to_owned(), |target| {
        let locked = target.locked;
        format!(
            "{:.2}{} | {locked:.0}{}",
            target.ratio,
            mark(ratio, target.ratio),
            mark(gate.locked, locked + 0.05)
        )
    });
    println!(
        "| {} | {} | {:.1} ({:.1}) | {} {:.1} ({:.1}) | {ratio:.3} | {targets} |",
        row.id, row.title, gate.instructions, gate.locked, row.base, base.instructions, base.locked,
    );
}

/// Returns the cost of the gate and of the base.
fn measure(row: &Row) -> (Cost, Cost) {
    (cost(row, "gate"), cost(row, row.base))
}

fn cost(row: &Row, contestant: &str) -> Cost {
    let (short, long) =
        (callgrind(row.id, contestant, row.counted), callgrind(row.id, contestant, row.counted * 2));
    let per_operation = |event: usize| (long[event] as f64 - short[event] as f64) / row.counted as f64;
    Cost { instructions: per_operation(0), locked: per_operation(1) }
}

/// Returns the instructions and the global bus events of one run.
fn callgrind(row: &str, contestant: &str, operations: u64) -> [u64; 2] {
    let out =
        env::temp_dir().join(format!("callgrind.{}.{row}.{contestant}.{operations}", std::process::id()));
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-bus=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["run", row, contestant, &operations.to_string()])
        .output()
        .expect("valgrind is installed");
    assert!(run.status.success(), "{row} {contestant}: {}", String::from_utf8_lossy(&run.stderr));
    let profile = fs::read_to_string(&out).expect("callgrind has written its profile");
    let _ = fs::remove_file(&out); // A temporary file that stays does no harm.
    let line = |start: &str| {
        let line =
            profile.lines().find_map(|line| line.strip_prefix(start)).expect("callgrind's format is known");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (events, totals) = (line("events:"), line("totals:"));
    ["Ir", "Ge"].map(|event| {
        let index = events.iter().position(|known| known == event).expect("callgrind counts this event");
        totals.get(index).map_or(0, |total| total.parse().expect("a total is a number"))
    })
}
