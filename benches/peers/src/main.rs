//! The gate beside its peers: `table` for times, `count` for instructions. See docs/PERFORMANCE.md.
//!
//! ```text
//! peers table [ROUNDS [ROW]..]    times as markdown: medians with p10 and p90, and ratios within the same round
//! peers count [ROW]..             instructions under callgrind, as markdown
//! peers run ROW PEER TIMES        one operation of one contestant: what `count` counts, and what a profiler wants
//! ```

mod count;
mod harness;
mod peers;
mod pools;
mod rows;

use std::env;
use std::process::ExitCode;

use harness::{Measured, Row, Spread, measure};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["table", rest @ ..] => {
            let (rounds, rest) = match rest {
                [rounds, rest @ ..] => (rounds.parse().expect("a number of rounds"), rest),
                [] => (ROUNDS, rest),
            };
            table(rounds, rest);
        }
        ["count", rest @ ..] => return count(rest),
        ["run", row, peer, times] => run(row, peer, times.parse().expect("a number of times")),
        _ => panic!("table [ROUNDS [ROW]..] | count [ROW].. | run ROW PEER TIMES"),
    }
    ExitCode::SUCCESS
}

/// For the table of memory alone; else it costs a load of what is never written.
#[global_allocator]
static ALLOCATOR: pools::Counting = pools::Counting;

const ROUNDS: usize = 201;

fn chosen(wanted: &[&str]) -> impl Iterator<Item = Row> {
    rows::rows()
        .into_iter()
        .chain(pools::rows())
        .filter(move |row| wanted.is_empty() || wanted.contains(&row.id))
}

fn run(row: &str, peer: &str, times: u64) {
    let row = chosen(&[row]).next().expect("a row");
    let contestant = row.contestants.iter().find(|one| one.name == peer).expect("a contestant of this row");
    (contestant.make)()(times);
}

fn table(rounds: usize, wanted: &[&str]) {
    let of_pools = wanted.is_empty() || wanted.iter().any(|row| row.starts_with("pool"));
    let memory = of_pools.then(pools::memory); // first, while nothing else allocates
    println!("Nanoseconds, median (p10–p90) of {rounds} rounds; ratio to the base in the same round.\n");
    println!("| operation | contestant | ns | ratio | target |");
    println!("|---|---|---|---|---|");
    for row in chosen(wanted) {
        let measured = measure(&row, rounds);
        for (at, Measured { name, nanos, ratio }) in measured.iter().enumerate() {
            let title = if at == 0 { row.title } else { "" };
            let target = match row.target.time {
                Some(target) if at == 0 && !ratio.p50.is_nan() => verdict(ratio.p50, target),
                _ => String::new(),
            };
            println!("| {title} | {name} | {} | {} | {target} |", spread(nanos, 1), spread(ratio, 2));
        }
        let median = |wanted| measured.iter().find(|one| one.name == wanted).map(|one| one.nanos.p50);
        if let (Some(gate), Some(floor)) = (median("gate"), median("floor")) {
            println!("| | gate to floor | | {:.2} | |", gate / floor);
        }
    }
    if let Some(memory) = memory {
        println!("\nBytes of memory, apart from the items.\n");
        println!("| contestant | pool with one idle item | each further one |\n|---|---|---|");
        for (name, pool, item) in memory {
            println!("| {name} | {pool} | {item} |");
        }
    }
    if wanted.is_empty() {
        println!("\nThe luckiest of 64 tasks was admitted so many times for each time of the unluckiest.\n");
        println!("| contestant | one thread | two workers |\n|---|---|---|");
        for (name, one, two) in rows::fairnesses() {
            println!("| {name} | {one:.2} | {two:.2} |");
        }
        println!("\nBytes of a future.\n");
        println!("| contestant | acquire | acquire_owned | with a deadline |\n|---|---|---|---|");
        for (name, borrowed, owned, deadline) in rows::sizes() {
            println!("| {name} | {borrowed} | {owned} | {deadline} |");
        }
    }
}

fn count(wanted: &[&str]) -> ExitCode {
    let mut missed = Vec::new();
    println!("Instructions per operation (locked ones in brackets).\n");
    println!("| operation | gate | base | ratio | target | locked, target |");
    println!("|---|---|---|---|---|---|");
    for row in chosen(wanted).filter(|row| row.counted > 0) {
        let (gate, base) = (count::cost(&row, "gate"), count::cost(&row, row.base));
        let ratio = gate.instructions / base.instructions;
        let ratio_target = row.target.instructions.map_or_else(String::new, |target| verdict(ratio, target));
        let locked_target = row.target.locked.map_or_else(String::new, |target| verdict(gate.locked, target));
        println!(
            "| {} | {:.1} ({:.1}) | {} {:.1} ({:.1}) | {ratio:.3} | {ratio_target} | {locked_target} |",
            row.title, gate.instructions, gate.locked, row.base, base.instructions, base.locked,
        );
        let misses = |measured, target: Option<f64>| target.is_some_and(|target| !holds(measured, target));
        if misses(ratio, row.target.instructions) || misses(gate.locked, row.target.locked) {
            missed.push(row.id);
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: these miss their targets: {}", missed.join(", "));
    ExitCode::FAILURE
}

/// Targets have two places; less than half of the last is nothing.
fn holds(measured: f64, target: f64) -> bool {
    measured < target + 0.005
}

fn verdict(measured: f64, target: f64) -> String {
    if holds(measured, target) { format!("{target} holds") } else { format!("{target} **not yet**") }
}

fn spread(Spread { p10, p50, p90 }: &Spread, places: usize) -> String {
    if p50.is_nan() {
        return "no run".to_owned(); // on a machine too busy for two threads at once
    }
    format!("{p50:.places$} ({p10:.places$}–{p90:.places$})")
}
