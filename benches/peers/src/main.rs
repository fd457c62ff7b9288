//! The gate and the pool compared with other crates. docs/PERFORMANCE.md explains the rows.
//!
//! ```text
//! peers table [ROUNDS [ROW]..]    times as Markdown: medians, p10 and p90, and ratios within the same round
//! peers count [ROW]..             instructions under callgrind as Markdown; fails if a row misses its target
//! peers count --rebase [ROW]..    the same, and writes the counts as new targets
//! peers run ROW PEER TIMES        one operation of one contestant, for callgrind or a profiler
//! ```

mod attempts;
mod count;
mod harness;
mod peers;
mod pools;
mod rows;
mod shares;

use std::env;
use std::process::ExitCode;

use harness::{Measured, Row, Spread, measure};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["table", rest @ ..] => {
            let (rounds, ids) = match rest {
                [rounds, ids @ ..] => (rounds.parse().expect("ROUNDS is a number"), ids),
                [] => (DEFAULT_ROUNDS, rest),
            };
            print_tables(rounds, ids);
        }
        ["count", "--rebase", ids @ ..] => {
            let all_ids: Vec<_> = counted_rows(&[]).map(|row| row.id).collect();
            return count::rebase(counted_rows(ids), &all_ids);
        }
        ["count", ids @ ..] => return count::check(counted_rows(ids)),
        ["run", id, peer, times] => run(id, peer, times.parse().expect("TIMES is a number")),
        _ => panic!("table [ROUNDS [ROW]..] | count [--rebase] [ROW].. | run ROW PEER TIMES"),
    }
    ExitCode::SUCCESS
}

/// Counts memory for the table of pools. Outside of that it costs one load per allocation.
#[global_allocator]
static ALLOCATOR: pools::Counting = pools::Counting;

const DEFAULT_ROUNDS: usize = 201;

/// Returns the rows with these ids, or all rows if there is no id.
fn select(rows: Vec<Row>, ids: &[&str]) -> impl Iterator<Item = Row> {
    rows.into_iter().filter(move |row| ids.is_empty() || ids.contains(&row.id))
}

fn counted_rows(ids: &[&str]) -> impl Iterator<Item = Row> {
    let all = rows::rows().into_iter().chain(attempts::rows()).collect();
    select(all, ids).filter(|row| row.counted > 0)
}

fn run(id: &str, peer: &str, times: u64) {
    let all =
        rows::rows().into_iter().chain(attempts::rows()).chain(shares::rows()).chain(pools::rows()).collect();
    let row = select(all, &[id]).next().unwrap_or_else(|| panic!("there is no row {id}"));
    let contestant = row.contestants.iter().find(|contestant| contestant.name == peer);
    (contestant.unwrap_or_else(|| panic!("the row {id} has no contestant {peer}")).make)()(times);
}

fn print_tables(rounds: usize, ids: &[&str]) {
    let (gate_rows, pool_rows): (Vec<_>, Vec<_>) =
        (select(rows::rows(), ids).collect(), select(pools::rows(), ids).collect());
    let share_rows: Vec<_> = select(shares::rows(), ids).collect();
    let attempt_rows: Vec<_> = select(attempts::rows(), ids).collect();
    // Memory is counted before anything else allocates.
    let memory = (!pool_rows.is_empty()).then(pools::memory);
    println!("Nanoseconds per operation: medians of {rounds} rounds, with p10–p90 in parentheses.");
    let waiting_key = (!share_rows.is_empty()).then(shares::bytes_of_waiting_key);
    for rows in [gate_rows, attempt_rows, share_rows, pool_rows] {
        print_times(rounds, &rows);
    }
    if let Some((node, handle)) = waiting_key {
        println!("\nBytes of memory for a key with a waiting request: {node}, and {handle} for a handle.");
    }
    if let Some(memory) = memory {
        println!("\nBytes of memory, without the items:\n");
        println!("| | pool with one idle item | each further idle item |\n|---|---|---|");
        for (name, pool, item) in memory {
            println!("| {name} | {pool} | {item} |");
        }
    }
    if ids.is_empty() {
        println!(
            "\nAdmissions of the task with the most, for each admission of the task with the fewest, of 64 tasks:\n"
        );
        println!("| | one thread | two workers |\n|---|---|---|");
        for (name, one, two) in rows::all_fairness_ratios() {
            println!("| {name} | {one:.2} | {two:.2} |");
        }
        println!("\nBytes of a future:\n");
        println!("| | acquire | acquire_owned | with a deadline |\n|---|---|---|---|");
        for (name, borrowed, owned, deadline) in rows::future_sizes() {
            println!("| {name} | {borrowed} | {owned} | {deadline} |");
        }
    }
}

/// Prints one table: a line per row, a column per contestant.
///
/// The last column names each contestant that the first one should be faster than, but is not: the median of their ratio within a round
/// is above 1.
fn print_times(rounds: usize, rows: &[Row]) {
    let mut names: Vec<&str> = Vec::new();
    for contestant in rows.iter().flat_map(|row| &row.contestants) {
        if !names.contains(&contestant.name) {
            names.push(contestant.name);
        }
    }
    let [subject, others @ ..] = names.as_slice() else { return };
    println!("\n| row | operation | {subject} | ratio | {} | not ahead of |", others.join(" | "));
    println!("|---{}|", "|---".repeat(others.len() + 4));
    for row in rows {
        let measured = measure(row, rounds);
        let of = |name: &str| measured.iter().find(|measured| measured.name == name);
        let own: &Measured = &measured[0];
        let cells: Vec<_> =
            others.iter().map(|name| of(name).map_or(String::new(), |other| median(&other.nanos))).collect();
        let is_behind = |name: &&&str| of(name).is_some_and(|other| other.ratio_of_first.p50 > 1.0);
        let behind: Vec<_> =
            row.ahead_of.iter().filter(is_behind).map(|name| format!("**{name}**")).collect();
        let (nanos, ratio) = (spread(&own.nanos, 1), spread(&own.ratio, 2));
        let Row { id, title, base, .. } = row;
        println!(
            "| {id} | {title} | {nanos} | {ratio} of {base} | {} | {} |",
            cells.join(" | "),
            behind.join(", ")
        );
    }
}

fn median(nanos: &Spread) -> String {
    if nanos.p50.is_nan() { "no run".to_owned() } else { format!("{:.1}", nanos.p50) }
}

fn spread(Spread { p10, p50, p90 }: &Spread, places: usize) -> String {
    if p50.is_nan() {
        return "no run".to_owned(); // The machine was too busy to run two threads at once.
    }
    format!("{p50:.places$} ({p10:.places$}–{p90:.places$})")
}
