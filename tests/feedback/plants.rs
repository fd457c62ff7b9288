//! The plants themselves: their text, and queueing theory.

use std::time::Duration;

use concurrency_governor::feedback::Outcome;
use concurrency_governor::testing::plant::{Plant, PlantLimiter, PlantReport, STANDARD_PLANTS};

/// A limit that never changes, with what was recorded.
#[derive(Default)]
struct Constant {
    limit: u32,
    outcomes: [u64; 3],
    most_in_use: u32,
}

impl PlantLimiter for Constant {
    fn limit(&self) -> u32 {
        self.limit
    }

    fn record_in_flight(&mut self, in_use: u32, _waiting: u32) {
        self.most_in_use = self.most_in_use.max(in_use);
    }

    fn record(&mut self, _latency: Duration, outcome: Outcome, _now: Duration) {
        self.outcomes[outcome as usize] += 1;
    }

    fn step(&mut self, _now: Duration) {}
}

fn run(plant: &str, limit: u32, seconds: u64) -> (PlantReport, Vec<Constant>) {
    let plant: Plant = plant.parse().unwrap();
    plant.run(|| Constant { limit, ..Constant::default() }, Duration::from_secs(seconds), 7)
}

fn mean_ms(report: &PlantReport) -> f64 {
    let sum: Duration = report.latencies.iter().map(|(_, latency)| *latency).sum();
    sum.as_secs_f64() * 1e3 / report.latencies.len() as f64
}

/// One worker at half load has the mean latency of M/M/1, and of M/D/1, within a few percent. Nothing is lost.
#[test]
fn waits_are_those_of_theory() {
    for (plant, expected) in [
        ("workers 1, service exp 10ms, rate 50/s", 20.0),
        ("workers 1, service fixed 10ms, rate 50/s", 15.0),
        ("workers 1, service exp 10ms, rate 50/s, front 30ms", 50.0),
        ("workers 1, service exp 10ms, rate 50/s, shared 0", 20.0),
    ] {
        let (report, _) = run(plant, 1000, 2000);
        let mean = mean_ms(&report);
        assert!((mean - expected).abs() < 0.07 * expected, "{plant}: {mean} ms, not {expected}");
        assert!((95_000..105_000).contains(&report.arrivals) && report.rejections.is_empty(), "{plant}");
        assert!(report.arrivals - report.latencies.len() as u64 <= 20, "{plant}");
    }
}

/// A limit bounds the permits in use, and what waits too long is rejected. Content errors and rejections by the
/// server are recorded as such.
#[test]
fn limits_and_outcomes_are_those_of_the_gate() {
    let (report, limiters) = run("overload, errors 0.1, most 5", 8, 20);
    assert_eq!(limiters[0].most_in_use, 8);
    let [successes, overloads, ignored] = limiters[0].outcomes;
    assert_eq!(successes, report.successes[0]);
    assert!(overloads > 1000 && ignored > 1000, "{overloads} {ignored}");
    assert!(report.in_use.iter().all(|(_, in_use)| *in_use <= 8));

    let (report, _) = run("overload", 5, 20);
    assert!((400.0..=520.0).contains(&report.goodput(Duration::from_secs(5), Duration::from_secs(20))));
    assert!(report.rejections.len() > 20_000);
}

/// The same seed gives the same run, and another one another.
#[test]
fn a_seed_repeats_a_run() {
    let plant: Plant = "crowd".parse().unwrap();
    let run = |seed| {
        let start = || Constant { limit: 8, ..Constant::default() };
        plant.run(start, Duration::from_secs(2), seed).0
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert_eq!(run(1).successes.len(), 9);
}

/// Each standard plant is a text that prints as it parses, and a wrong item is reported with what is allowed.
#[test]
fn texts_are_parsed() {
    for (name, text) in STANDARD_PLANTS {
        let plant: Plant = name.parse().unwrap();
        assert_eq!(plant.to_string(), text);
        assert_eq!(plant.to_string().parse::<Plant>().unwrap(), plant);
    }
    let changed: Plant = "outage, workers 5, rate 10/s @5s, rate 20/s @5s".parse().unwrap();
    assert_eq!(
        changed.to_string(),
        "workers 3 @20s, workers 10 @40s, workers 5, service exp 10ms, rate 900/s, rate 20/s @5s"
    );
    let capacities = [0, 20, 40].map(|at| changed.capacity(Duration::from_secs(at)).round() as u32);
    assert_eq!(capacities, [500, 300, 1000]);
    let database: Plant = "database".parse().unwrap();
    assert!((database.optimum(Duration::ZERO) - 30.0).abs() < 1e-9);
    for wrong in [
        "",
        "workers",
        "workers 0",
        "workers 1, overload",
        "service exp",
        "service exp 0ms",
        "service gamma 1ms",
        "rate 5",
        "rate 0/s",
        "errors 2",
        "front 20",
        "front 20ms @5s",
        "clients 0",
        "workers 3 @x",
        "speed 3",
    ] {
        let error = wrong.parse::<Plant>().unwrap_err().to_string();
        assert!(
            error.contains("is not an item of a plant (allowed: overload, half-load, "),
            "{wrong}: {error}"
        );
    }
}
