//! How well the rules do on the plants, over 20 seeds: the median and the worst.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::feedback::{Aimd, Arc, Band, History, Latency, Rule};

use crate::plant::{Clients, Discipline, Server, Spread, run};
use crate::report::Report;

/// A row of the table: a plant, what is measured, and what is accepted.
struct Row {
    name: &'static str,
    server: Server,
    clients: Clients,
    seconds: f64,
    measure: fn(&Report) -> f64,
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
    /// Returns the median and the worst value over seeds.
    fn measure(&self, make_rule: &dyn Fn() -> Box<dyn Rule>, seeds: u64) -> (f64, f64) {
        let mut values: Vec<f64> = (0..seeds)
            .map(|seed| {
                (self.measure)(&run(&self.server, &self.clients, make_rule, self.seconds, seed * 7919 + 1))
            })
            .collect();
        values.sort_unstable_by(f64::total_cmp);
        let worst =
            values.iter().copied().max_by(|a, b| self.accept.excess(*a).total_cmp(&self.accept.excess(*b)));
        (values[values.len() / 2], worst.unwrap())
    }

    fn new(name: &'static str, rate: f64, seconds: f64, measure: fn(&Report) -> f64, accept: Accept) -> Self {
        Self { name, server: Server::default(), clients: Clients::new(rate), seconds, measure, accept }
    }

    fn server(mut self, change: impl FnOnce(&mut Server)) -> Self {
        change(&mut self.server);
        self
    }

    fn clients(mut self, change: impl FnOnce(&mut Clients)) -> Self {
        change(&mut self.clients);
        self
    }
}

/// Creates a rule for a server.
type MakeRule = fn(&Server) -> Box<dyn Rule>;

/// The rules. For `aimd`, five times the mean service time is healthy.
fn rules() -> [(&'static str, MakeRule); 3] {
    [
        ("latency", |_| Box::new(Latency::new())),
        ("arc", |_| Box::new(Arc::new())),
        ("aimd", |server| Box::new(Aimd::new(Duration::from_secs_f64(5.0 * server.service[0].1)))),
    ]
}

/// All rows. A server has ten workers of 10 ms, which is 1000 requests per second, unless the row says otherwise.
fn rows() -> Vec<Row> {
    acceptance_rows().into_iter().chain(plant_rows()).collect()
}

fn rejections(report: &Report) -> f64 {
    report.rejections.len() as f64
}

/// Returns the answers per second after 20 s, when a rule has settled.
fn answers(report: &Report) -> f64 {
    report.completed(20.0, 60.0) / 40.0
}

/// Returns the 99th percentile of the latency after 20 s, in milliseconds.
fn settled_p99(report: &Report) -> f64 {
    let latencies = report.latencies.iter().copied().filter(|(at, _)| *at >= 20.0).collect();
    Report { latencies, ..Report::default() }.p99()
}

/// The rows that the default rule must meet.
fn acceptance_rows() -> Vec<Row> {
    let twenty = |server: &mut Server| (server.workers, server.service) = (vec![(0.0, 20)], vec![(0.0, 0.2)]);
    vec![
        Row::new("A: 2x overload, p99 in ms", 2000.0, 60.0, Report::p99, Accept::AtMost(100.0)),
        Row::new("B: half load, rejections", 500.0, 60.0, rejections, Accept::AtMost(0.0)),
        Row::new("D: 10, 3, 10 workers, p99 in ms", 900.0, 60.0, Report::p99, Accept::AtMost(250.0))
            .server(|server| server.workers = vec![(0.0, 10), (20.0, 3), (40.0, 10)]),
        Row::new(
            "E: cold start, answers of 10 s",
            2000.0,
            10.0,
            |r| r.completed(0.0, 10.0),
            Accept::AtLeast(8000.0),
        ),
        Row::new(
            "30 min of 2x overload, limit",
            200.0,
            1800.0,
            |r| r.limits(1790.0, 1801.0).2,
            Accept::Between(15.0, 25.0),
        )
        .server(twenty),
        Row::new(
            "latency doubles for good, goodput",
            1000.0,
            160.0,
            |r| r.completed(120.0, 160.0) / 40.0 / 500.0,
            Accept::AtLeast(0.9),
        )
        .server(|server| server.service = vec![(0.0, 0.010), (60.0, 0.020)]),
        Row::new(
            "latency doubles, 20 x 200 ms, goodput",
            200.0,
            240.0,
            |r| r.completed(180.0, 240.0) / 60.0 / 50.0,
            Accept::AtLeast(0.9),
        )
        .server(|server| {
            twenty(server);
            server.service = vec![(0.0, 0.2), (60.0, 0.4)];
        }),
        Row::new(
            "start at 100, least limit of last minute",
            200.0,
            120.0,
            |r| r.limits(60.0, 120.0).0,
            Accept::Between(15.0, 30.0),
        )
        .server(twenty)
        .clients(|clients| clients.start = 100),
        Row::new(
            "start at 100, most of last minute",
            200.0,
            120.0,
            |r| r.limits(60.0, 120.0).1,
            Accept::Between(15.0, 30.0),
        )
        .server(twenty)
        .clients(|clients| clients.start = 100),
        Row::new(
            "start at 2, most limit of 60 s",
            200.0,
            60.0,
            |r| r.limits(0.0, 60.0).1,
            Accept::AtLeast(15.0),
        )
        .server(twenty)
        .clients(|clients| {
            (clients.start, clients.band) = (2, Band::new(Limit::MIN, clients.band.ceiling()));
        }),
        Row::new("nine clients, Jain", 18_000.0, 60.0, Report::jain, Accept::AtLeast(0.95))
            .server(|server| server.workers = vec![(0.0, 90)])
            .clients(|clients| clients.count = 9),
        Row::new("nine clients, p99 in ms", 18_000.0, 60.0, Report::p99, Accept::AtMost(100.0))
            .server(|server| server.workers = vec![(0.0, 90)])
            .clients(|clients| clients.count = 9),
    ]
}

/// More plants. Their bounds are what a limit within a few permits of the optimum gives.
fn plant_rows() -> Vec<Row> {
    vec![
        Row::new("500 workers of 100 ms, answers per s", 10_000.0, 60.0, answers, Accept::AtLeast(4500.0))
            .server(|server| (server.workers, server.service) = (vec![(0.0, 500)], vec![(0.0, 0.1)])),
        Row::new("500 workers of 100 ms, p99 in ms", 10_000.0, 60.0, settled_p99, Accept::AtMost(700.0))
            .server(|server| (server.workers, server.service) = (vec![(0.0, 500)], vec![(0.0, 0.1)])),
        Row::new("M/D/c, answers per s", 2000.0, 60.0, answers, Accept::AtLeast(850.0))
            .server(|server| server.spread = Spread::Fixed),
        Row::new("M/G/c, answers per s", 2000.0, 60.0, answers, Accept::AtLeast(850.0))
            .server(|server| server.spread = Spread::LogNormal(1.0)),
        Row::new("database behind a server, answers per s", 2000.0, 60.0, answers, Accept::AtLeast(900.0))
            .server(|server| server.front = 0.02),
        Row::new("processor sharing, answers per s", 2000.0, 60.0, answers, Accept::AtLeast(850.0))
            .server(|server| server.discipline = Discipline::Shared { slowdown: 0.01 }),
        Row::new("retrying clients, p99 in ms", 2000.0, 60.0, Report::p99, Accept::AtMost(100.0))
            .clients(|clients| clients.retries = 3),
        Row::new("content errors, rejections", 500.0, 60.0, rejections, Accept::AtMost(0.0))
            .server(|server| server.content_errors = 0.2),
        Row::new("high variance without load, rejections", 500.0, 60.0, rejections, Accept::AtMost(0.0))
            .server(|server| (server.workers, server.spread) = (vec![(0.0, 1000)], Spread::LogNormal(2.0))),
    ]
}

/// The rule `latency` meets every row, with a few seeds. `measure_all_rules` has twenty.
#[test]
fn latency_meets_every_row() {
    for row in rows().iter().filter(|row| row.seconds < 1000.0) {
        let (_, worst) = row.measure(&|| Box::new(Latency::new()), 2);
        assert!(row.accept.excess(worst) <= 0.0, "{}: {worst} is not {:?}", row.name, row.accept);
    }
}

/// A limit that is too high falls although requests wait at the gate all the time.
#[test]
fn a_limit_falls_while_requests_wait() {
    let mut clients = Clients::new(2000.0);
    clients.start = 100;
    let report = run(&Server::default(), &clients, &|| Box::new(Latency::new()), 60.0, 1);
    let waited =
        report.feedbacks[0].history().iter().filter(|decision| decision.observed().waiting > 0).count();
    assert!(waited >= 55, "requests waited in {waited} windows only");
    let (least, most, _) = report.limits(50.0, 60.0);
    assert!(least >= 5.0 && most <= 20.0, "the limit is {least} to {most}");
}

/// The decisions of a whole run replay to the same limits.
#[test]
fn a_run_replays_to_the_same_limits() {
    let report = run(&Server::default(), &Clients::new(2000.0), &|| Box::new(Latency::new()), 60.0, 1);
    let history: History = report.feedbacks[0].history().to_string().parse().unwrap();
    // One rule replays the whole history: each record brings its memory along.
    let mut rule = Latency::new();
    let replayed: Vec<_> = history.iter().map(|decision| decision.replay(&mut rule).after()).collect();
    let limits: Vec<_> = report.limits.iter().map(|(_, limit)| Limit::new(*limit)).collect();
    assert_eq!(replayed, limits);
    assert!(limits.len() > 50 && limits.iter().any(|limit| *limit != limits[0]));
}

/// Prints every row for every rule over 20 seeds: the median and the worst. `latency` must meet all.
///
/// `cargo test --release --test feedback -- --ignored --nocapture` takes a minute.
#[test]
#[ignore = "20 seeds of every row for every rule take a minute in a release build"]
fn measure_all_rules() {
    let mut problems = Vec::new();
    println!("| {:40} | {:9} | {:>9} | {:>9} | accepted |", "row", "rule", "median", "worst");
    for row in rows() {
        for (name, make_rule) in rules() {
            let (median, worst) = row.measure(&|| make_rule(&row.server), 20);
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
