//! A scrape over HTTP that contains every metric.

use std::collections::BTreeSet;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use concurrency_governor::feedback::{Band, Observed, Opinion, Outcome, Reason, Rule, WindowTerms};
use concurrency_governor::gate::Gate;
use concurrency_governor::integration::metrics::{
    ADMITTED, ALL, BUSY_KEYS, HOLD, HOLDERS_OVERDUE, MetricKind, Metrics, REJECTED, RETRY_AFTER, STANDING,
    WAIT,
};
use concurrency_governor::plan::{Policy, RuleName};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Adaptive, Formula, GateSpec, Governor, Holders, Keys, Limit, OverrideLayer, Overrides, Reading, Resource,
    Shed,
};

use super::pool::ExercisedPool;
use super::*;

const IO: GateSpec =
    GateSpec::new("io", Formula::scale(Resource::CPU, 4).at_most(Resource::FD.fraction(1, 2))).queue(2);

const EAGER: RuleName = RuleName::new("eager");
const UPSTREAM: GateSpec =
    GateSpec::new("upstream", Formula::fixed(64)).adaptive(Adaptive::custom(EAGER).start(8).floor(2));

/// Decides at each refresh, if there was an outcome.
#[derive(Debug)]
struct Eager;

impl Rule for Eager {
    fn name(&self) -> &'static str {
        "eager"
    }

    fn terms(&self) -> WindowTerms {
        WindowTerms { min_length: Duration::ZERO, min_samples: 1 }
    }

    fn decide(&mut self, _: &Observed, limit: Limit, _: Band) -> Opinion {
        Opinion::new(f64::from(limit.get()) - 1.0, Reason::Congested)
    }
}

/// After each kind of event has happened once, a scrape shows every metric with the right value, type and description.
#[tokio::test]
async fn a_scrape_shows_every_metric() {
    let (recorder, exporter, address) = listening_recorder();
    metrics::set_global_recorder(recorder).unwrap();
    let exporter = tokio::spawn(exporter);

    let cpu = MockProbe::new(Resource::CPU, Reading::whole(2));
    let fd = MockProbe::new(Resource::FD, Reading::Unlimited);
    let builder = Governor::builder().gate(IO).gate(UPSTREAM).probe(cpu.clone()).probe(fd.clone());
    let governor = builder.rule(EAGER, || Eager).build().await.unwrap();
    let io = governor.gate(IO).unwrap();
    let uploads = Gate::new(UPLOADS, Limit::new(5));
    let sessions = ExercisedPool::new().await;
    let tenants = Gate::builder(GateName::new("tenants"), Limit::new(2)).keyed(Keys::up_to(1));
    let tenants = tenants.track_holders(Holders::overdue_after(Duration::from_millis(1))).build();
    let http = shedding_gate().await;
    let builder = Metrics::builder().governor(&governor).gate(&uploads).gate(&tenants).gate(&http);
    let metrics = builder.pool(&sessions.pool).build().unwrap();
    let task = metrics.clone().spawn(Duration::from_millis(10));

    // Gate `io`: one rejection for each reason, one waiter, one cancelled waiter, debt.
    let held = io.try_acquire_many(8).unwrap();
    io.try_acquire().unwrap_err();
    io.try_acquire_many(9).unwrap_err();
    io.try_acquire_many(0).unwrap_err();
    io.request().max_wait(Duration::from_millis(20)).acquire().await.unwrap_err();
    let mut waiting = Box::pin(io.acquire());
    let mut cancelled = Box::pin(io.acquire());
    assert!(poll(waiting.as_mut()).is_pending() && poll(cancelled.as_mut()).is_pending());
    complete(io.acquire()).await.unwrap_err(); // the queue is full
    drop(cancelled);

    // Gate `tenants`: one key is busy for longer than a millisecond, and a second one is rejected.
    let _of_tenant = tenants.key("a").try_acquire_owned().unwrap();
    tenants.key("b").try_acquire().unwrap_err();

    report_outcomes(&governor.gate(UPSTREAM).unwrap());

    // Probes and refreshes: a lower reading, three failures, a rejected refresh.
    cpu.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    fd.fail("gone");
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    let strict = OverrideLayer::new("cli").set(IO, 4).policy(Policy::Reject);
    governor.set_overrides(Overrides::new().then(strict)).unwrap();
    cpu.set(Reading::Unknown);
    governor.refresh().await.unwrap_err();

    // Gate `uploads`: three timed permits, one wait, one rejection after the gate was closed.
    let timed = uploads.try_acquire().unwrap().timed();
    assert_eq!(timed.weight(), 1, "a timed permit dereferences to the permit");
    tokio::time::sleep(Duration::from_millis(2)).await;
    drop(timed);
    drop(uploads.try_acquire_owned().unwrap().timed());
    complete(uploads.request().timed().run_blocking(|| ())).await.unwrap(); // recorded by the thread that it ran on
    let all = uploads.try_acquire_many(5).unwrap();
    let mut admitted_later = Box::pin(uploads.acquire());
    assert!(poll(admitted_later.as_mut()).is_pending());
    drop(all);
    drop(complete(admitted_later).await.unwrap());
    uploads.close();
    uploads.try_acquire().unwrap_err();

    // Two scrapes, because the first one may come before everything was recorded.
    let mut response = String::new();
    for _ in 0..2 {
        let measures = cpu.measures();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(cpu.measures(), measures, "recording measures nothing");
        metrics.record(); // the task may be late on a busy machine
        response = tokio::task::spawn_blocking(move || http_get(address)).await.unwrap();
    }
    let scraped = series(response.split("\r\n\r\n").nth(1).unwrap());
    let scraped: BTreeMap<_, _> =
        scraped.into_iter().filter(|(name, _)| name.starts_with("concurrency_governor_")).collect();
    let value = |name: &str, labels: &str| {
        let series = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") };
        *scraped.get(&*series).unwrap_or_else(|| panic!("no {series} in {scraped:#?}"))
    };
    assert_gate(value);
    let rejected =
        |gate: &str, reason: &str| value(REJECTED, &format!("gate=\"{gate}\",reason=\"{reason}\""));
    for reason in ["no_permits", "queue_full", "expired", "too_large", "zero_weight"] {
        assert_eq!(rejected("io", reason), 1.0, "{reason}");
    }
    assert_eq!([rejected("io", "closed"), rejected("uploads", "closed")], [0.0, 1.0]);

    assert_eq!(value(ADMITTED, "gate=\"uploads\""), 5.0);
    assert_eq!(value(&format!("{WAIT}_count"), "gate=\"uploads\""), 1.0);
    assert_eq!(value(&format!("{WAIT}_bucket"), "gate=\"uploads\",le=\"+Inf\""), 1.0);
    assert_eq!(value(&format!("{HOLD}_count"), "gate=\"uploads\""), 3.0);
    assert!((0.002..2.0).contains(&value(&format!("{HOLD}_sum"), "gate=\"uploads\"")), "in seconds");

    assert_eq!([value(BUSY_KEYS, "gate=\"tenants\""), rejected("tenants", "too_many_keys")], [1.0, 1.0]);
    assert_eq!(value(HOLDERS_OVERDUE, "gate=\"tenants\""), 1.0);

    assert_eq!(value(STANDING, "gate=\"http\""), 0.0);
    assert_eq!(value(RETRY_AFTER, "gate=\"http\""), 0.01, "the shortest time");

    sessions.assert_metrics(value);

    assert_feedback(value);

    assert_probes(value);
    assert_eq!(value("concurrency_governor_refreshes_total", ""), 4.0);
    assert_eq!(value("concurrency_governor_refreshes_rejected_total", ""), 1.0);

    assert_all_described(&scraped, &response);
    assert!(task.is_running());
    drop((task, held, waiting, sessions));
    exporter.abort();
}

/// Creates a gate that sheds, and knows its rate: three requests have waited one after the other.
async fn shedding_gate() -> Gate {
    let shed = Shed::after(Duration::from_nanos(1));
    let gate = Gate::builder(GateName::new("http"), Limit::new(1)).shed(shed).build();
    let first = gate.try_acquire_owned().unwrap();
    let mut queue = [(); 3].map(|()| Box::pin(gate.acquire_owned()));
    for request in &mut queue {
        assert!(poll(request.as_mut()).is_pending());
    }
    drop(first);
    for request in queue {
        drop(complete(request).await.unwrap());
    }
    gate
}

/// Checks that the scraped names are those of `ALL`, each with its type and its description. Those of leases are checked in `lease.rs`:
/// only a governor with a shared gate has them.
fn assert_all_described(scraped: &BTreeMap<&str, f64>, response: &str) {
    let names: BTreeSet<&str> = scraped.keys().map(|series| metric_of(series)).collect();
    let is_of_lease = |name: &str| {
        ["lease_", "ledger_", "fleet_"]
            .iter()
            .any(|part| name.starts_with(&format!("concurrency_governor_{part}")))
    };
    let expected: Vec<_> = ALL.iter().filter(|metric| !is_of_lease(metric.name)).collect();
    assert_eq!(names, expected.iter().map(|metric| metric.name).collect());
    for metric in expected {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            _ => panic!("{metric:?}"),
        };
        assert!(response.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{metric:?}");
        assert!(response.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{metric:?}");
        assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{metric:?}");
        let is_histogram = metric.kind == MetricKind::Histogram;
        assert!(!is_histogram || metric.name.ends_with("_seconds"), "{metric:?}");
    }
}

/// Builds a recorder with an HTTP endpoint on a free port.
fn listening_recorder() -> (PrometheusRecorder, impl Future<Output = impl Send> + Send + 'static, SocketAddr)
{
    for _ in 0..100 {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Another process may have taken the port in between.
        if let Ok((recorder, exporter)) = builder().with_http_listener(address).build() {
            return (recorder, exporter, address);
        }
    }
    panic!("none of a hundred ports was free");
}

/// Sends one GET request and returns the response with its head.
fn http_get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    response
}

/// Checks the series of the adaptive gate.
fn assert_feedback(value: impl Fn(&str, &str) -> f64) {
    let feedback = |name: &str, label: &str| {
        value(&format!("concurrency_governor_feedback_{name}"), &format!("gate=\"upstream\"{label}"))
    };
    assert_eq!(["floor", "ceiling", "limit", "paused"].map(|name| feedback(name, "")), [2.0, 64.0, 7.0, 0.0]);
    let outcomes = ["success", "overload", "ignore"]
        .map(|outcome| feedback("outcomes_total", &format!(",outcome=\"{outcome}\"")));
    assert_eq!(outcomes, [2.0, 1.0, 1.0]);
    assert_eq!(feedback("decisions_total", ",reason=\"congested\""), 1.0);
}

/// Reports outcomes of each kind at the adaptive gate. The next refresh decides.
fn report_outcomes(upstream: &Gate) {
    for outcome in [Outcome::Success, Outcome::Success, Outcome::Overload, Outcome::Ignore] {
        upstream.try_acquire().unwrap().attempt().finish(outcome);
    }
}

/// Checks the series of the gate `io`, except its rejections.
fn assert_gate(value: impl Fn(&str, &str) -> f64) {
    let io_value = |name: &str| value(&format!("concurrency_governor_{name}"), "gate=\"io\"");
    assert_eq!(
        [io_value("limit"), io_value("in_use"), io_value("debt"), io_value("waiting")],
        [4.0, 8.0, 4.0, 1.0]
    );
    assert_eq!(
        [io_value("admitted_total"), io_value("enqueued_total"), io_value("cancelled_total")],
        [1.0, 3.0, 1.0]
    );
    assert_eq!(io_value("resized_total"), 1.0);
}

/// Checks the series of the two probes.
fn assert_probes(value: impl Fn(&str, &str) -> f64) {
    let probe = |name: &str, resource: &str| {
        value(&format!("concurrency_governor_probe_{name}"), &format!("resource=\"{resource}\""))
    };
    assert!(probe("reading", "cpu").is_nan() && probe("reading", "fd") == f64::INFINITY);
    assert_eq!([probe("stale", "cpu"), probe("stale", "fd")], [0.0, 1.0]);
    assert_eq!([probe("failures_total", "cpu"), probe("failures_total", "fd")], [0.0, 3.0]);
}
