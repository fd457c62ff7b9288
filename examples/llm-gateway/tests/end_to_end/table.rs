//! The figures of a phase, and the table that the test prints.

use std::time::Duration;

pub struct Phase {
    pub name: &'static str,
    pub length: Duration,
    /// The most calls that the provider had in flight, and those of the last interval.
    pub peak: u64,
    pub last_peak: u64,
    /// The permits that the gateways have leased, at the end.
    pub leased: [String; 2],
    pub flood: Figures,
    pub others: Figures,
}

/// The results of the requests of some streams.
#[derive(Default)]
pub struct Figures {
    pub answered: u64,
    pub rejected: u64,
    pub failed: u64,
    /// Of the slowest stream, in milliseconds.
    pub p50: u64,
    pub p99: u64,
}

impl Figures {
    /// Adds up the streams.
    pub fn of(streams: &[[u64; 5]]) -> Self {
        let mut sum = Self::default();
        for [answered, rejected, failed, p50, p99] in streams {
            sum.answered += answered;
            sum.rejected += rejected;
            sum.failed += failed;
            (sum.p50, sum.p99) = (sum.p50.max(*p50), sum.p99.max(*p99));
        }
        sum
    }
}

/// Prints the table.
pub fn print_table(phases: &[Phase], most: u64, limit: u64) {
    println!();
    println!(
        "                       in flight              flood: red, normal          others: red critical, blue, green"
    );
    println!(
        "phase          time   most  at end  leased    answered  rejected  p50     answered  rejected  p50     p99"
    );
    for Phase { name, length, peak, last_peak, leased: [first, second], flood, others } in phases {
        println!(
            "{name:<13}{:>4.0} s{peak:>7}{last_peak:>8}  {:<10}{:>8}{:>10}{:>5} ms{:>11}{:>10}{:>5} ms{:>5} ms",
            length.as_secs_f64(),
            format!("{first} + {second}"),
            flood.answered,
            flood.rejected,
            flood.p50,
            others.answered,
            others.rejected,
            others.p50,
            others.p99,
        );
    }
    println!("\nAt most {most} calls were in flight at the provider; the limit of the fleet is {limit}.");
}
