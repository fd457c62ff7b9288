//! How values get into a recorder, and how labels and background recording behave.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use concurrency_governor::gate::Gate;
use concurrency_governor::integration::metrics::{
    ADMITTED, ALL, FEEDBACK_LIMIT, IN_USE, LIMIT, Metrics, REFRESHES, REJECTED, SECONDS, WAIT,
};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{Adaptive, Formula, GateSpec, Governor, Limit, Reading, Resource};

use super::pool::ExercisedPool;
use super::*;

/// Each wait is recorded once, however often `record` is called, and in the bucket that it has in the gate's histogram.
#[tokio::test(start_paused = true)]
async fn each_wait_is_recorded_once() {
    let (recorder, handle) = recorder();
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
    let record = || metrics::with_local_recorder(&recorder, || metrics.record());
    for wait_ms in [3, 3, 700] {
        let held = gate.try_acquire().unwrap();
        let mut wait = pin!(gate.acquire());
        assert!(poll(wait.as_mut()).is_pending());
        tokio::time::advance(Duration::from_millis(wait_ms)).await;
        drop(held);
        drop(complete(wait).await.unwrap());
        record();
        record();
    }
    let scrape = handle.render();
    let scraped = series(&scrape);
    assert_eq!(scraped[&*format!("{WAIT}_count{{gate=\"uploads\"}}")], 3.0);
    let below = |bound: f64| scraped[&*format!("{WAIT}_bucket{{gate=\"uploads\",le=\"{bound}\"}}")];
    assert_eq!([below(0.0025), below(0.005), below(0.5), below(1.0)], [0.0, 2.0, 2.0, 3.0]);
    let sum = scraped[&*format!("{WAIT}_sum{{gate=\"uploads\"}}")];
    assert!((sum - 0.706).abs() <= 0.706 / 8.0, "{sum}");
}

/// A rejection is counted whether the request was rejected on arrival or in the queue.
#[tokio::test(start_paused = true)]
async fn rejections_in_the_queue_are_counted() {
    let (recorder, handle) = recorder();
    let gate = Gate::new(UPLOADS, Limit::new(2));
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
    let held = gate.try_acquire_many(2).unwrap();
    let request = || gate.request().max_wait(Duration::from_secs(1));

    // Two requests end in the queue for each reason, and one is rejected on arrival.
    request().deadline(tokio::time::Instant::now()).acquire().await.unwrap_err();
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(request().acquire())).collect();
    assert!(waiting.iter_mut().all(|wait| poll(wait.as_mut()).is_pending()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut heavy: Vec<_> = (0..2).map(|_| Box::pin(gate.acquire_many(2))).collect();
    assert!(heavy.iter_mut().all(|wait| poll(wait.as_mut()).is_pending()));
    gate.resize(Limit::new(1));
    gate.try_acquire_many(2).unwrap_err();
    let mut light: Vec<_> = (0..2).map(|_| Box::pin(gate.acquire())).collect();
    assert!(light.iter_mut().all(|wait| poll(wait.as_mut()).is_pending()));
    gate.close();
    gate.try_acquire().unwrap_err();
    drop(held);

    metrics::with_local_recorder(&recorder, || metrics.record());
    let scrape = handle.render();
    for reason in ["expired", "too_large", "closed"] {
        let rejected = series(&scrape)[&*format!("{REJECTED}{{gate=\"uploads\",reason=\"{reason}\"}}")];
        assert_eq!(rejected, 3.0, "{reason}");
    }
}

/// Clones record the same set: each wait is recorded once, whichever handle records it.
#[tokio::test(start_paused = true)]
async fn clones_record_each_wait_once() {
    let (recorder, handle) = recorder();
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
    let handles = [metrics.clone(), metrics];
    for turn in 0..4 {
        let held = gate.try_acquire().unwrap();
        let mut wait = pin!(gate.acquire());
        assert!(poll(wait.as_mut()).is_pending());
        drop(held);
        drop(complete(wait).await.unwrap());
        metrics::with_local_recorder(&recorder, || handles[turn % 2].record());
    }
    assert_eq!(series(&handle.render())[&*format!("{WAIT}_count{{gate=\"uploads\"}}")], 4.0);
}

/// Parts that would be recorded under the same names and labels are an error, which lists every problem. Nothing is mixed.
#[tokio::test]
async fn parts_with_the_same_labels_are_rejected() {
    const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    let build = |probe| Governor::builder().gate(JOBS).probe(probe).build();
    let [first, second] = [4, 5].map(|cores| MockProbe::new(Resource::CPU, Reading::whole(cores)));
    let [first, second] = [build(first).await.unwrap(), build(second).await.unwrap()];
    let sessions = ExercisedPool::new().await;
    let pool = &sessions.pool;

    drop(
        Metrics::builder().governor(&first).gate(pool.gate().as_gate().unwrap()).pool(pool).build().unwrap(),
    );
    let both = Metrics::builder().governor(&first).governor(&second).gate(&Gate::new(UPLOADS, Limit::new(1)));
    let error = both.gate(&Gate::new(UPLOADS, Limit::new(2))).pool(pool).pool(pool).build().unwrap_err();
    let pool_gate = pool.gate().name();
    let expected = [
        "gate `jobs` is added 2 times (allowed: once): give each gate a name of its own, and add each one once",
        "gate `uploads` is added 2 times (allowed: once): give each gate a name of its own, and add each one once",
        &format!(
            "2 pools use gate `{pool_gate}`, the label of their metrics (allowed: one): add one of them, or give each pool \
             a gate"
        ),
        "2 governors measure `cpu` (allowed: one): add one of them by `governor`, and the gates of the others by `gate`",
    ];
    assert_eq!(error.problems().len(), expected.len());
    assert_eq!([error.to_string(), format!("{error:?}")], [expected.join("; "), expected.join("; ")]);
    let once = Metrics::builder()
        .gate(pool.gate().as_gate().unwrap())
        .gate(pool.gate().as_gate().unwrap())
        .build()
        .unwrap_err();
    assert_eq!(once.problems().len(), 1, "a gate that is added twice would be recorded twice");
}

/// The counters of refreshes have no label, so they are the sum of all governors.
#[tokio::test]
async fn refreshes_of_several_governors_are_added_up() {
    let build = |gate, resource| {
        let probe = MockProbe::new(resource, Reading::whole(4));
        Governor::builder().gate(GateSpec::named(gate, Formula::scale(resource, 1))).probe(probe).build()
    };
    let first = build(GateName::new("first"), Resource::CPU).await.unwrap();
    let second = build(GateName::new("second"), Resource::FD).await.unwrap();
    for _ in 0..3 {
        first.refresh().await.unwrap();
    }
    second.refresh().await.unwrap();
    let metrics = Metrics::builder().governor(&first).governor(&second).build().unwrap();
    let expected = first.status().refreshes + second.status().refreshes;
    let (recorder, handle) = recorder();
    metrics::with_local_recorder(&recorder, || metrics.record());
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let expected = expected as f64;
    assert_eq!(series(&handle.render())[REFRESHES], expected);
}

/// A gate that a governor gets later is recorded with its feedback, unless the set has a gate of its name: nothing is mixed.
#[tokio::test]
async fn later_gates_of_one_name_are_not_mixed() {
    const START: [u32; 3] = [8, 9, 10];
    let adaptive =
        |name, start| GateSpec::new(name, Formula::fixed(64)).adaptive(Adaptive::latency().start(start));
    let [first, second] = ["first", "second"].map(|name| Governor::builder().gate(adaptive(name, 5)).build());
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    let uploads = Gate::new(UPLOADS, Limit::new(7));
    let metrics = Metrics::builder().governor(&first).governor(&second).gate(&uploads).build().unwrap();
    let (recorder, handle) = recorder();
    let limits = |names: &[&str]| {
        metrics::with_local_recorder(&recorder, || metrics.record());
        let scrape = handle.render();
        let scraped = series(&scrape);
        let limit = |metric, gate| scraped.get(&*format!("{metric}{{gate=\"{gate}\"}}")).copied();
        names.iter().map(|gate| (limit(LIMIT, gate), limit(FEEDBACK_LIMIT, gate))).collect::<Vec<_>>()
    };

    // A gate of the set has the name already.
    first.add(adaptive("uploads", START[0])).await.unwrap();
    second.add(adaptive("first", START[1])).await.unwrap();
    assert_eq!(limits(&["uploads", "first"]), [(Some(7.0), None), (Some(5.0), Some(5.0))]);
    // Two governors get a gate of one name. The first one that is recorded stays.
    second.add(adaptive("later", START[1])).await.unwrap();
    assert_eq!(limits(&["later"]), [(Some(9.0), Some(9.0))]);
    first.add(adaptive("later", START[2])).await.unwrap();
    assert_eq!(limits(&["later"]), [(Some(9.0), Some(9.0))]);
}

/// A panic of the recorder ends one recording. The next one records again.
#[test]
fn a_panic_of_the_recorder_does_not_stop_the_recording() {
    let gate = Gate::new(UPLOADS, Limit::new(4));
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
    let broken = DescribingRecorder(|_: &str, _| panic!("the recorder is broken"));
    let record = || metrics::with_local_recorder(&broken, || metrics.record());
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(record)).unwrap_err();
    let (recorder, handle) = recorder();
    metrics::with_local_recorder(&recorder, || metrics.record());
    assert_eq!(series(&handle.render())[&*format!("{LIMIT}{{gate=\"uploads\"}}")], 4.0);
}

/// The longest period is no panic, also if the first recording is late.
#[tokio::test(start_paused = true)]
async fn the_longest_period_records_once() {
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let task = Metrics::builder().gate(&gate).build().unwrap().spawn(Duration::MAX);
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(task.is_running());
}

/// A metric whose name ends in `_seconds` has the unit seconds, and each other one is a count.
#[test]
fn each_metric_is_described_with_its_unit() {
    let metrics = Metrics::builder().build().unwrap();
    let described = Mutex::new(BTreeSet::new());
    let recorder = DescribingRecorder(|name: &str, unit: Option<metrics::Unit>| {
        described.lock().unwrap().insert((name.to_owned(), unit.unwrap().as_str().to_owned()));
    });
    metrics::with_local_recorder(&recorder, || metrics.record());
    let expected = ALL.iter().map(|metric| {
        let unit = if metric.name.ends_with("_seconds") { "seconds" } else { "count" };
        (metric.name.to_owned(), unit.to_owned())
    });
    assert_eq!(*described.lock().unwrap(), expected.collect());
}

/// The bounds are fine enough for a quantile: they reach from 1 ms to 60 s, and each is at most 2.5 times the one before.
#[test]
fn bucket_bounds_are_close_to_each_other() {
    assert_eq!((SECONDS.first(), SECONDS.last()), (Some(&0.001), Some(&60.0)));
    for pair in SECONDS.windows(2) {
        let ratio = pair[1] / pair[0];
        assert!((1.99..=2.51).contains(&ratio), "{pair:?}");
    }
}

/// Each bound of `SECONDS` is a bucket bound of the gates' own histograms.
#[test]
fn bucket_bounds_are_bounds_of_the_gates_histogram() {
    let bounds: Vec<Duration> =
        concurrency_governor::gate::Histogram::default().buckets().map(|bucket| bucket.below).collect();
    for bound in SECONDS {
        assert!(bounds.contains(&Duration::from_secs_f64(bound)), "{bound}");
    }
}

/// The number of series does not depend on the requests, because no label comes from a request.
#[tokio::test]
async fn the_number_of_series_is_bounded() {
    let (recorder, handle) = recorder();
    let gate = Gate::builder(UPLOADS, Limit::new(4)).queue(0).build();
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
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
        drop(complete(gate.acquire_many(weight)).await);
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

/// A recorder that is installed late misses only histograms. Without a recorder, recording is no error.
#[test]
fn a_recorder_may_be_installed_late() {
    let gate = Gate::new(UPLOADS, Limit::new(4));
    let metrics = Metrics::builder().gate(&gate).build().unwrap();
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

/// A timed permit is released before its hold time is recorded, so a slow or panicking recorder delays no waiter.
#[test]
fn a_timed_permit_is_released_before_it_is_recorded() {
    /// Notes the permits in use when a histogram is registered, then panics.
    struct PanickingRecorder(Gate, Mutex<Vec<u32>>);
    impl metrics::Recorder for PanickingRecorder {
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
    let recorder = PanickingRecorder(gate.clone(), Mutex::default());
    let drop_permit = || metrics::with_local_recorder(&recorder, || drop(timed));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(drop_permit)).unwrap_err();
    assert_eq!(*recorder.1.lock().unwrap(), [0]);
    assert_eq!(gate.status().in_use, 0);
}

/// A recorder that calls a function for each description, and drops all values.
struct DescribingRecorder<F>(F);

impl<F: Fn(&str, Option<metrics::Unit>)> metrics::Recorder for DescribingRecorder<F> {
    fn describe_counter(
        &self,
        name: metrics::KeyName,
        unit: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
        self.0(name.as_str(), unit);
    }
    fn describe_gauge(&self, name: metrics::KeyName, unit: Option<metrics::Unit>, _: metrics::SharedString) {
        self.0(name.as_str(), unit);
    }
    fn describe_histogram(
        &self,
        name: metrics::KeyName,
        unit: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
        self.0(name.as_str(), unit);
    }
    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::noop()
    }
    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }
    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

/// Dropping the task stops the background recording.
#[tokio::test(start_paused = true)]
async fn dropping_the_task_stops_recording() {
    let gate = Gate::new(UPLOADS, Limit::new(1));
    let task = Metrics::builder().gate(&gate).build().unwrap().spawn(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(task.is_running());
    let runtime = tokio::runtime::Handle::current().metrics();
    assert_eq!(runtime.num_alive_tasks(), 1);
    drop(task);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(runtime.num_alive_tasks(), 0);
}
