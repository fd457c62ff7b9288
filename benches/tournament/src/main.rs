//! Limiters of this and other crates on the same servers in virtual time. `.ci/run tournament` prints the tables of
//! docs/PERFORMANCE.md; `.ci/run tournament 20` runs 20 seeds of each row.

mod contestants;
mod peers;
mod rows;

use std::process::ExitCode;

use contestants::contestants;
use rows::rows;

fn main() -> ExitCode {
    let seeds = match std::env::args().nth(1).map(|seeds| seeds.parse::<u64>()) {
        None => 5,
        Some(Ok(seeds)) if seeds > 0 => seeds,
        Some(_) => {
            eprintln!("error: the argument is a number of seeds, such as 20");
            return ExitCode::from(2);
        }
    };
    let contestants = contestants();
    let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name).collect();
    println!("Useful answers in percent of what is possible: the median of {seeds} seeds, and the worst.\n");
    println!("| server | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));

    let mut near_best = vec![0_u32; names.len()];
    let mut worst_of_all = vec![0_u32; names.len()];
    let mut lowest = vec![f64::MAX; names.len()];
    let rows = rows();
    for row in &rows {
        let results: Vec<(f64, f64)> =
            contestants.iter().map(|contestant| row.measure(contestant, seeds)).collect();
        let medians = || results.iter().map(|(median, _)| *median);
        let (best, least) = (medians().fold(f64::MIN, f64::max), medians().fold(f64::MAX, f64::min));
        let mut cells = Vec::new();
        for (index, (median, worst)) in results.iter().enumerate() {
            let is_near_best = *median >= 0.95 * best;
            near_best[index] += u32::from(is_near_best);
            worst_of_all[index] += u32::from(*median <= least && least < 0.95 * best);
            lowest[index] = lowest[index].min(*median);
            let mark = if is_near_best { "**" } else { "" };
            cells.push(format!("{mark}{median:.0}{mark} ({worst:.0})"));
        }
        println!("| {} | {} |", row.name, cells.join(" | "));
    }
    let cells = |values: Vec<String>| values.join(" | ");
    let counts = |counts: &[u32]| cells(counts.iter().map(|n| format!("{n} of {}", rows.len())).collect());
    println!("| within 5 % of the best | {} |", counts(&near_best));
    println!("| the worst of all | {} |", counts(&worst_of_all));
    println!("| lowest median | {} |", cells(lowest.iter().map(|value| format!("{value:.0}")).collect()));
    ExitCode::SUCCESS
}
