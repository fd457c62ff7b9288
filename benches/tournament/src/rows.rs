//! The rows: a plant, and the part of its run that counts.

use std::time::Duration;

use concurrency_governor::testing::plant::{Plant, PlantReport};

use crate::contestants::{Contestant, Start};

/// A row of the table.
pub struct Row {
    pub name: &'static str,
    plant: &'static str,
    start: u32,
    from: u64,
    until: u64,
}

/// All rows. A limit starts at 16 unless the name of the row says otherwise.
pub fn rows() -> Vec<Row> {
    let row = |name, plant, from, until| Row { name, plant, start: 16, from, until };
    vec![
        row("2x overload", "overload", 20, 60),
        row("half load", "half-load", 0, 60),
        row("10, 3, 10 workers", "outage", 0, 60),
        row("cold start, 10 s", "overload", 0, 10),
        row("20 workers of 200 ms, minutes 5 to 10", "slow-answers", 300, 600),
        Row { start: 100, ..row("20 workers of 200 ms, start at 100, minute 2", "slow-answers", 60, 120) },
        Row { start: 4, ..row("20 workers of 200 ms, start at 4, 60 s", "slow-answers", 0, 60) },
        row("latency doubles for good, 60 windows later", "deploy", 120, 160),
        row("20 workers, 200 ms doubles, 2 minutes later", "slow-answers, service exp 400ms @60s", 180, 240),
        row("nine clients", "crowd", 20, 60),
        row("500 workers of 100 ms", "large", 20, 60),
        row("constant service time", "fixed", 20, 60),
        row("log-normal service time", "spread", 20, 60),
        row("database behind a server", "database", 20, 60),
        row("processor sharing", "shared", 20, 60),
        row("retrying clients", "retries", 20, 60),
        row("content errors at half load", "errors", 0, 60),
        row("server refuses above 30", "overload, most 30", 20, 60),
        row("high variance, no load", "workers 1000, service lognormal 2 10ms, rate 500/s", 0, 60),
    ]
}

impl Row {
    /// Returns the median and the worst of the useful answers, in percent of what is possible.
    pub fn measure(&self, contestant: &Contestant, seeds: u64) -> (f64, f64) {
        let mut values: Vec<f64> = (0..seeds).map(|seed| self.run(contestant, seed)).collect();
        values.sort_unstable_by(f64::total_cmp);
        (values[values.len() / 2], values[0])
    }

    fn run(&self, contestant: &Contestant, seed: u64) -> f64 {
        let plant: Plant = self.plant.parse().expect("a row has a valid plant");
        let start = Start { limit: self.start, unloaded: plant.unloaded_latency(Duration::ZERO) };
        let report = contestant.run(&plant, start, Duration::from_secs(self.until), seed * 7919 + 1);
        100.0 * self.useful(&plant, &report) / self.possible(&plant)
    }

    /// Counts the answers that took at most five times as long as without load.
    fn useful(&self, plant: &Plant, report: &PlantReport) -> f64 {
        let counts = |(at, latency): &&(Duration, Duration)| {
            at.as_secs() >= self.from && *latency <= 5 * plant.unloaded_latency(*at)
        };
        report.latencies.iter().filter(counts).count() as f64
    }

    /// Returns how many requests the server could have answered: as many as arrive, and no more than it can.
    fn possible(&self, plant: &Plant) -> f64 {
        let second = |second: u64| {
            let at = Duration::from_secs(second);
            (plant.rate(at) * (1.0 - plant.error_share())).min(plant.capacity(at))
        };
        (self.from..self.until).map(second).sum()
    }
}
