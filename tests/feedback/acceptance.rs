//! How well the rules do on the plants, over 20 seeds: the median and the worst.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::feedback::{Aimd, Arc, Band, Feedback, History, Latency, Rule};
use concurrency_governor::testing::plant::{Plant, PlantReport};

/// A row of the table: a plant, what is measured, and what is accepted.
struct Row {
    name: &'static str,
    plant: &'static str,
    start: u64,
    floor: u32,
    seconds: u64,
    measure: fn(&PlantReport) -> f64,
    accept: Accept,
}

#[derive(Clone, Copy, Debug)]
enum Accept {
    AtMost(f64),
    AtLeast(f64),
    Between(f64, f64),
}

impl Accept {
    /// Returns how far a value is beyond what is accepted; at most 0 if it is accepted.
    fn excess(self, value: f64) -> f64 {
        match self {
            Self::AtMost(most) => value - most,
            Self::AtLeast(least) => least - value,
            Self::Between(least, most) => (least - value).max(value - most),
        }
    }
}

impl Row {
    fn new(
        name: &'static str,
        plant: &'static str,
        seconds: u64,
        measure: fn(&PlantReport) -> f64,
        accept: Accept,
    ) -> Self {
        Self { name, plant, start: 16, floor: 4, seconds, measure, accept }
    }

    fn starting_at(mut self, start: u64, floor: u32) -> Self {
        (self.start, self.floor) = (start, floor);
        self
    }

    fn run(&self, make_rule: &dyn Fn(&Plant) -> Box<dyn Rule>, seed: u64) -> (PlantReport, Vec<Feedback>) {
        let plant: Plant = self.plant.parse().unwrap();
        let band = Band::new(Limit::new(self.floor), Limit::new(1000));
        let start = || Feedback::new(make_rule(&plant), Limit::saturating(self.start), band, Duration::ZERO);
        plant.run(start, Duration::from_secs(self.seconds), seed * 7919 + 1)
    }

    /// Returns the median and the worst value over seeds.
    fn measure(&self, make_rule: &dyn Fn(&Plant) -> Box<dyn Rule>, seeds: u64) -> (f64, f64) {
        let mut values: Vec<f64> =
            (0..seeds).map(|seed| (self.measure)(&self.run(make_rule, seed).0)).collect();
        values.sort_unstable_by(f64::total_cmp);
        let worst =
            values.iter().copied().max_by(|a, b| self.accept.excess(*a).total_cmp(&self.accept.excess(*b)));
        (values[values.len() / 2], worst.unwrap())
    }
}

/// Creates a rule for a plant.
type MakeRule = fn(&Plant) -> Box<dyn Rule>;

fn latency(_: &Plant) -> Box<dyn Rule> {
    Box::new(Latency::new())
}

/// The rules. For `aimd`, five times the mean service time is healthy.
const RULES: [(&str, MakeRule); 3] = [
    ("latency", latency),
    ("arc", |_| Box::new(Arc::new())),
    ("aimd", |plant| {
        let mean = plant.optimum(Duration::ZERO) / plant.capacity(Duration::ZERO);
        Box::new(Aimd::new(Duration::from_secs_f64(5.0 * mean)))
    }),
];

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn p99(report: &PlantReport) -> f64 {
    report.p99(Duration::ZERO).as_secs_f64() * 1e3
}

/// Returns the 99th percentile of the latency after 20 s, when a rule has settled.
fn settled_p99(report: &PlantReport) -> f64 {
    report.p99(at(20)).as_secs_f64() * 1e3
}

fn rejections(report: &PlantReport) -> f64 {
    report.rejections.len() as f64
}

/// Returns the answers per second after 20 s.
fn answers(report: &PlantReport) -> f64 {
    report.goodput(at(20), at(60))
}

/// The rows. `latency` must meet all of them. The bounds of those after the first four are what a limit within a few permits of the
/// optimum gives.
fn rows() -> Vec<Row> {
    use Accept::{AtLeast, AtMost, Between};
    vec![
        Row::new("A: 2x overload, p99 in ms", "overload", 60, p99, AtMost(100.0)),
        Row::new("B: half load, rejections", "half-load", 60, rejections, AtMost(0.0)),
        Row::new("D: 10, 3, 10 workers, p99 in ms", "outage", 60, p99, AtMost(250.0)),
        Row::new(
            "E: cold start, answers of 10 s",
            "overload",
            10,
            |r| r.latencies.len() as f64,
            AtLeast(8000.0),
        ),
        Row::new(
            "30 min of 2x overload, mean limit",
            "slow-answers",
            1800,
            |r| r.limits_between(at(1790), at(1800)).2,
            Between(15.0, 25.0),
        ),
        Row::new(
            "latency doubles for good, goodput",
            "deploy",
            160,
            |r| r.goodput(at(120), at(160)) / 500.0,
            AtLeast(0.9),
        ),
        Row::new(
            "latency doubles, 20 x 200 ms, goodput",
            "slow-answers, service exp 400ms @60s",
            240,
            |r| r.goodput(at(180), at(240)) / 50.0,
            AtLeast(0.9),
        ),
        Row::new(
            "start at 100, least limit of last minute",
            "slow-answers",
            120,
            |r| f64::from(r.limits_between(at(60), at(120)).0),
            Between(15.0, 30.0),
        )
        .starting_at(100, 4),
        Row::new(
            "start at 100, most of last minute",
            "slow-answers",
            120,
            |r| f64::from(r.limits_between(at(60), at(120)).1),
            Between(15.0, 30.0),
        )
        .starting_at(100, 4),
        Row::new(
            "start at 2, most limit of 60 s",
            "slow-answers",
            60,
            |r| f64::from(r.limits_between(at(0), at(60)).1),
            AtLeast(15.0),
        )
        .starting_at(2, 1),
        Row::new("nine clients, Jain", "crowd", 60, PlantReport::jain, AtLeast(0.95)),
        Row::new("nine clients, p99 in ms", "crowd", 60, p99, AtMost(100.0)),
        Row::new("500 workers of 100 ms, answers per s", "large", 60, answers, AtLeast(4500.0)),
        Row::new("500 workers of 100 ms, p99 in ms", "large", 60, settled_p99, AtMost(700.0)),
        Row::new("M/D/c, answers per s", "fixed", 60, answers, AtLeast(850.0)),
        Row::new("M/G/c, answers per s", "spread", 60, answers, AtLeast(850.0)),
        Row::new("database behind a server, answers per s", "database", 60, answers, AtLeast(900.0)),
        Row::new("processor sharing, answers per s", "shared", 60, answers, AtLeast(850.0)),
        Row::new("retrying clients, p99 in ms", "retries", 60, p99, AtMost(100.0)),
        Row::new("content errors, rejections", "errors", 60, rejections, AtMost(0.0)),
        Row::new(
            "high variance without load, rejections",
            "workers 1000, service lognormal 2 10ms, rate 500/s",
            60,
            rejections,
            AtMost(0.0),
        ),
    ]
}

/// The rule `latency` meets every row that simulates less than 1000 s, with two seeds. `measure_all_rules` has all rows and twenty seeds.
#[test]
fn latency_meets_the_short_rows() {
    for row in rows().iter().filter(|row| row.seconds < 1000) {
        let (_, worst) = row.measure(&latency, 2);
        assert!(row.accept.excess(worst) <= 0.0, "{}: {worst} is not {:?}", row.name, row.accept);
    }
}

/// A limit that is too high falls although requests wait at the gate all the time.
#[test]
fn a_limit_falls_while_requests_wait() {
    let row = Row::new("", "overload", 60, p99, Accept::AtMost(0.0)).starting_at(100, 4);
    let (report, feedbacks) = row.run(&latency, 0);
    let waited = feedbacks[0].history().iter().filter(|decision| decision.observed().waiting > 0).count();
    assert!(waited >= 55, "requests waited in {waited} windows only");
    let (least, most, _) = report.limits_between(at(50), at(60));
    assert!(least >= 5 && most <= 20, "the limit is {least} to {most}");
}

/// The decisions of a whole run replay to the same limits.
#[test]
fn a_run_replays_to_the_same_limits() {
    let (report, feedbacks) = Row::new("", "overload", 60, p99, Accept::AtMost(0.0)).run(&latency, 0);
    let history: History = feedbacks[0].history().to_string().parse().unwrap();
    // One rule replays the whole history: each record brings its memory along.
    let mut rule = Latency::new();
    let mut replayed = vec![16];
    for decision in history.iter() {
        let limit = decision.replay(&mut rule).after().get();
        if replayed.last() != Some(&limit) {
            replayed.push(limit);
        }
    }
    let limits: Vec<u32> = report.limits.iter().map(|(_, limit)| *limit).collect();
    assert_eq!(replayed, limits);
    assert!(history.iter().len() > 50 && limits.len() > 5, "{limits:?}");
}

/// Prints every row for every rule over 20 seeds: the median and the worst. `latency` must meet all.
///
/// `cargo test --release --test feedback -- --ignored --nocapture` runs it. `FEEDBACK_SEEDS=200` measures more seeds, and
/// `FEEDBACK_ROWS=M/G` the rows whose names contain that.
#[test]
#[ignore = "20 seeds of every row for every rule take long, even in a release build"]
fn measure_all_rules() {
    let seeds = std::env::var("FEEDBACK_SEEDS").map_or(20, |seeds| seeds.parse().unwrap());
    let wanted = std::env::var("FEEDBACK_ROWS").unwrap_or_default();
    let mut problems = Vec::new();
    println!("{seeds} seeds");
    println!("| {:40} | {:9} | {:>9} | {:>9} | accepted |", "row", "rule", "median", "worst");
    for row in rows().into_iter().filter(|row| row.name.contains(&wanted)) {
        for (name, make_rule) in RULES {
            let (median, worst) = row.measure(&make_rule, seeds);
            let is_met = row.accept.excess(worst) <= 0.0;
            let mark = if is_met { "" } else { " (missed)" };
            println!("| {:40} | {name:9} | {median:9.2} | {worst:9.2} | {:?}{mark} |", row.name, row.accept);
            if name == "latency" && !is_met {
                problems.push(row.name);
            }
        }
    }
    assert!(problems.is_empty(), "latency misses {problems:?}");
}
