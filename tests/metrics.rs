//! What a recorder of the `metrics` facade is told, as a scrape of a Prometheus endpoint shows it.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::float_cmp, reason = "a scrape has whole numbers as floats, which are exact")]

#[path = "metrics/pool.rs"]
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::Duration;

use concurrency_governor::gate::Gate;
use concurrency_governor::integration::metrics::{
    ADMITTED, ALL, HOLD, IN_USE, MetricKind, Metrics, POOL_CREATE, POOL_WAIT, REJECTED, SECONDS, WAIT,
};
use concurrency_governor::plan::Policy;
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Formula, GateName, GateSpec, Governor, Limit, OverrideLayer, Overrides, Reading, Resource,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

const IO: GateSpec =
    GateSpec::new("io", Formula::scale(Resource::CPU, 4).at_most(Resource::FD.fraction(1, 2))).queue(2);
const UPLOADS: GateName = GateName::new("uploads");
const HISTOGRAMS: [&str; 4] = [WAIT, HOLD, POOL_CREATE, POOL_WAIT];

fn builder() -> PrometheusBuilder {
    HISTOGRAMS.into_iter().fold(PrometheusBuilder::new(), |builder, name| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &SECONDS).unwrap()
    })
}

/// A recorder for one test, and what it would answer to a scrape.
fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

/// The value of each series of a scrape, by its name and labels as they stand there.
fn series(scrape: &str) -> BTreeMap<&str, f64> {
    let lines = scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series, value.parse().unwrap())
        })
        .collect()
}

/// The name without its labels and without what Prometheus adds for the parts of a histogram.
fn metric_of(series: &str) -> &str {
    let name = series.split('{').next().unwrap();
    let part_of = |suffix| name.strip_suffix(suffix).filter(|name| HISTOGRAMS.contains(name));
    part_of("_bucket").or_else(|| part_of("_sum")).or_else(|| part_of("_count")).unwrap_or(name)
}

/// One request over HTTP/1.1, and the body of the answer.
fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// What is ready well before anybody would give up on the test.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it is never ready")
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Everything that there is to record happens once, and stands in the answer of a real endpoint, with the right numbers.
#[tokio::test]
async fn a_scrape_shows_everything() {
    let (recorder, exporter, address) = listening();
    metrics::set_global_recorder(recorder).unwrap();
    let serving = tokio::spawn(exporter);

    let cpu = MockProbe::new(Resource::CPU, Reading::whole(2));
    let fd = MockProbe::new(Resource::FD, Reading::Unlimited);
    let governor = Governor::builder().gate(IO).probe(cpu.clone()).probe(fd.clone()).build().await.unwrap();
    let io = governor.gate(IO).unwrap();
    let uploads = Gate::new(UPLOADS, Limit::new(5));
    let sessions = pool::Busy::new().await;
    let metrics = Metrics::new().governor(&governor).gate(&uploads).pool(&sessions.pool);
    let task = metrics.spawn(Duration::from_millis(10));

    let held = io.try_acquire_many(8).unwrap();
    io.try_acquire().unwrap_err();
    io.try_acquire_many(9).unwrap_err();
    io.try_acquire_many(0).unwrap_err();
    let waits = Duration::from_millis(20);
    io.request().max_wait(waits).acquire().await.unwrap_err();
    let mut in_line = Box::pin(io.acquire());
    let mut given_up = Box::pin(io.acquire());
    assert!(!poll_once(in_line.as_mut()) && !poll_once(given_up.as_mut()));
    soon(io.acquire()).await.unwrap_err(); // the line is full
    drop(given_up);
    cpu.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    fd.fail("gone");
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    let strict = OverrideLayer::new("cli").set(IO, 4).policy(Policy::Reject);
    governor.set_overrides(Overrides::new().then(strict)).unwrap();
    cpu.set(Reading::Unknown);
    governor.refresh().await.unwrap_err();

    let timed = uploads.try_acquire().unwrap().timed();
    assert_eq!(timed.weight(), 1, "a timed permit is a permit");
    tokio::time::sleep(Duration::from_millis(2)).await;
    drop(timed);
    drop(uploads.try_acquire_owned().unwrap().timed());
    let busy = uploads.try_acquire_many(5).unwrap();
    let mut waited = Box::pin(uploads.acquire());
    assert!(!poll_once(waited.as_mut()));
    drop(busy);
    drop(soon(waited).await.unwrap());
    uploads.close();
    uploads.try_acquire().unwrap_err();

    // Twice, so that all of it was recorded by the time of the second.
    let mut answer = String::new();
    for _ in 0..2 {
        let before = cpu.measures();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(cpu.measures(), before, "recording measures nothing");
        answer = tokio::task::spawn_blocking(move || get(address)).await.unwrap();
    }
    let scraped = series(answer.split("\r\n\r\n").nth(1).unwrap());
    let scraped: BTreeMap<_, _> =
        scraped.into_iter().filter(|(name, _)| name.starts_with("concurrency_governor_")).collect();
    let of = |name: &str, labels: &str| {
        let series = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") };
        *scraped.get(&*series).unwrap_or_else(|| panic!("no {series} in {scraped:#?}"))
    };
    let io_has = |name: &str| of(&format!("concurrency_governor_{name}"), "gate=\"io\"");
    assert_eq!([io_has("limit"), io_has("in_use"), io_has("debt"), io_has("waiting")], [4.0, 8.0, 4.0, 1.0]);
    assert_eq!(
        [io_has("acquired_total"), io_has("queued_total"), io_has("cancelled_total")],
        [1.0, 3.0, 1.0]
    );
    assert_eq!(io_has("resized_total"), 1.0);
    let rejected = |gate: &str, reason: &str| of(REJECTED, &format!("gate=\"{gate}\",reason=\"{reason}\""));
    for reason in ["no_permits", "queue_full", "expired", "too_large", "zero_weight"] {
        assert_eq!(rejected("io", reason), 1.0, "{reason}");
    }
    assert_eq!([rejected("io", "closed"), rejected("uploads", "closed")], [0.0, 1.0]);

    assert_eq!(of(ADMITTED, "gate=\"uploads\""), 4.0);
    assert_eq!(of(&format!("{WAIT}_count"), "gate=\"uploads\""), 1.0);
    assert_eq!(of(&format!("{WAIT}_bucket"), "gate=\"uploads\",le=\"+Inf\""), 1.0);
    assert_eq!(of(&format!("{HOLD}_count"), "gate=\"uploads\""), 2.0);
    assert!((0.002..2.0).contains(&of(&format!("{HOLD}_sum"), "gate=\"uploads\"")), "in seconds");

    sessions.shows(of);

    let probe = |name: &str, resource: &str| {
        of(&format!("concurrency_governor_probe_{name}"), &format!("resource=\"{resource}\""))
    };
    assert!(probe("reading", "cpu").is_nan() && probe("reading", "fd") == f64::INFINITY);
    assert_eq!([probe("stale", "cpu"), probe("stale", "fd")], [0.0, 1.0]);
    assert_eq!([probe("failures_total", "cpu"), probe("failures_total", "fd")], [0.0, 3.0]);
    assert_eq!(of("concurrency_governor_refreshes_total", ""), 4.0);
    assert_eq!(of("concurrency_governor_refreshes_rejected_total", ""), 1.0);

    // What is scraped is what is listed, each with its kind and a line of help.
    let named: BTreeSet<&str> = scraped.keys().map(|series| metric_of(series)).collect();
    assert_eq!(named, ALL.iter().map(|metric| metric.name).collect());
    for metric in ALL {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            _ => panic!("{metric:?}"),
        };
        assert!(answer.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{metric:?}");
        assert!(answer.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{metric:?}");
        assert_eq!(metric.name.ends_with("_total"), metric.kind == MetricKind::Counter, "{metric:?}");
        assert_eq!(metric.name.ends_with("_seconds"), metric.kind == MetricKind::Histogram, "{metric:?}");
    }
    assert!(task.is_running());
    drop((task, held, in_line, sessions));
    serving.abort();
}

/// A recorder with an endpoint on a port that is free.
fn listening() -> (PrometheusRecorder, impl Future<Output = impl Send> + Send + 'static, SocketAddr) {
    for _ in 0..100 {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Somebody else may have taken it since.
        if let Ok((recorder, exporter)) = builder().with_http_listener(address).build() {
            return (recorder, exporter, address);
        }
    }
    panic!("no port of a hundred was free");
}

/// However often it is recorded, each wait counts once; and each lies in the bucket that the gate has it in.
#[tokio::test(start_paused = true)]
async fn each_wait_is_recorded_once() {
    let (recorder, handle) = recorder();
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let metrics = Metrics::new().gate(&gate);
    let record = || metrics::with_local_recorder(&recorder, || metrics.record());
    for waited in [3, 3, 700] {
        let held = gate.try_acquire().unwrap();
        let mut wait = pin!(gate.acquire());
        assert!(!poll_once(wait.as_mut()));
        tokio::time::advance(Duration::from_millis(waited)).await;
        drop(held);
        drop(soon(wait).await.unwrap());
        record();
        record();
    }
    let scrape = handle.render();
    let scraped = series(&scrape);
    assert_eq!(scraped[&*format!("{WAIT}_count{{gate=\"uploads\"}}")], 3.0);
    let below = |bound: f64| scraped[&*format!("{WAIT}_bucket{{gate=\"uploads\",le=\"{bound}\"}}")];
    assert_eq!(
        [below(SECONDS[5]), below(SECONDS[6]), below(SECONDS[9]), below(SECONDS[10])],
        [0.0, 2.0, 2.0, 3.0]
    );
    let sum = scraped[&*format!("{WAIT}_sum{{gate=\"uploads\"}}")];
    assert!((sum - 0.706).abs() <= 0.706 / 8.0, "{sum}");
}

/// The bounds that are offered for buckets are bounds of the gate's own.
#[test]
fn bounds_are_those_of_the_gate() {
    let edges: Vec<Duration> =
        concurrency_governor::gate::Histogram::default().buckets().map(|bucket| bucket.below).collect();
    for bound in SECONDS {
        assert!(edges.contains(&Duration::from_secs_f64(bound)), "{bound}");
    }
}

/// Whatever is asked of a gate, the number of series does not grow: nothing of a request is a label.
#[tokio::test]
async fn labels_are_bounded() {
    let (recorder, handle) = recorder();
    let gate = Gate::builder(UPLOADS, Limit::new(4)).queue(0).build();
    let metrics = Metrics::new().gate(&gate);
    let record = || {
        metrics::with_local_recorder(&recorder, || {
            drop(gate.try_acquire().map(concurrency_governor::Permit::timed));
            metrics.record();
        });
        let scrape = handle.render();
        series(&scrape).keys().map(|&series| series.to_owned()).collect::<BTreeSet<_>>()
    };
    let first = record();
    for weight in 0..200 {
        drop(soon(gate.acquire_many(weight)).await);
        drop(gate.try_acquire_many(weight));
        gate.resize(Limit::new(weight % 7 + 1));
    }
    assert_eq!(record(), first);
    for series in first {
        let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
        for label in labels.split(',') {
            let (label, value) = label.split_once('=').unwrap();
            assert!(["gate", "reason", "le"].contains(&label), "{series}");
            assert!(label != "gate" || value == "\"uploads\"", "{series}");
        }
    }
}

/// A recorder that comes later misses nothing but waits and holds, and one that never comes is no error.
#[test]
fn a_recorder_may_come_later() {
    let gate = Gate::new(UPLOADS, Limit::new(4));
    let metrics = Metrics::new().gate(&gate);
    let held = gate.try_acquire_many(3).unwrap();
    metrics.record();
    let (recorder, handle) = recorder();
    metrics::with_local_recorder(&recorder, || metrics.record());
    let scrape = handle.render();
    let scraped = series(&scrape);
    assert_eq!(scraped[&*format!("{IN_USE}{{gate=\"uploads\"}}")], 3.0);
    assert_eq!(scraped[&*format!("{ADMITTED}{{gate=\"uploads\"}}")], 1.0);
    drop(held);
}

/// A permit is back before its hold is recorded, so a recorder holds up nobody, and loses nothing if it panics.
#[test]
fn a_timed_permit_is_back_before_it_is_recorded() {
    /// Panics when it is told of a hold, having noted what is in use then.
    struct Panics(Gate, Mutex<Vec<u32>>);
    impl metrics::Recorder for Panics {
        fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_histogram(
            &self,
            _: metrics::KeyName,
            _: Option<metrics::Unit>,
            _: metrics::SharedString,
        ) {
        }
        fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
            metrics::Counter::noop()
        }
        fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
            metrics::Gauge::noop()
        }
        fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
            self.1.lock().unwrap().push(self.0.status().in_use);
            panic!("the recorder is broken")
        }
    }

    let gate = Gate::new(UPLOADS, Limit::new(1));
    let timed = gate.try_acquire().unwrap().timed();
    let recorder = Panics(gate.clone(), Mutex::default());
    let drops = std::panic::AssertUnwindSafe(|| metrics::with_local_recorder(&recorder, || drop(timed)));
    std::panic::catch_unwind(drops).unwrap_err();
    assert_eq!(*recorder.1.lock().unwrap(), [0]);
    assert_eq!(gate.status().in_use, 0);
}

/// Recording in the background stops when the task is dropped.
#[tokio::test(start_paused = true)]
async fn the_task_stops_when_it_is_dropped() {
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let task = Metrics::new().gate(&gate).spawn(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(task.is_running());
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_alive_tasks(), 1);
    drop(task);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(metrics.num_alive_tasks(), 0);
}

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// Every text in a tree of JSON that stands under this key.
fn texts<'j>(json: &'j serde_json::Value, key: &str, found: &mut Vec<&'j str>) {
    match json {
        serde_json::Value::Object(object) => {
            found.extend(object.get(key).and_then(serde_json::Value::as_str));
            object.values().for_each(|value| texts(value, key, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

/// Each name in an expression of the dashboard is one that is exported, and each that is exported is shown somewhere.
#[test]
fn the_dashboard_has_the_names_that_are_exported() {
    let dashboard: serde_json::Value = serde_json::from_str(&document("grafana-dashboard.json")).unwrap();
    let mut expressions = Vec::new();
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard, "query", &mut expressions);
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expressions.iter().flat_map(|text| text.split(|c| !in_name(c)));
    let shown: BTreeSet<&str> =
        words.filter(|word| word.starts_with("concurrency_governor")).map(metric_of).collect();
    assert_eq!(shown, ALL.iter().map(|metric| metric.name).collect());

    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
    }
}

/// The page of names has each metric with its kind and its labels, and no other.
#[test]
fn the_page_has_the_names_that_are_exported() {
    let page = document("OBSERVABILITY.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `concurrency_governor_"));
    let told: BTreeMap<String, String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`');
            (format!("concurrency_governor_{name}"), cells.next().unwrap().to_owned())
        })
        .collect();
    let exported =
        ALL.iter().map(|metric| (metric.name.to_owned(), format!("{:?}", metric.kind).to_lowercase()));
    assert_eq!(told, exported.collect());
}
