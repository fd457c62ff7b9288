//! Each series has the value of its own field: every field has another value here, so none can be left out or swapped.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::pool::RecordedPool;
use super::*;
use crate::plan::{GateName, Limit, Resource};
use crate::pool::{Manager, Pool};

/// Runs `work` with a recorder, and returns the value of each series without the prefix of its name. Of a histogram, it
/// returns the count.
fn recorded_by(work: impl FnOnce()) -> BTreeMap<String, f64> {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, work);
    let scrape = recorder.handle().render();
    let lines = scrape.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let series = lines.map(|line| line.rsplit_once(' ').expect("a line is a series and a value"));
    let short = |series: &str| {
        series.replacen("concurrency_governor_", "", 1).replacen("gate=\"uploads\"", "", 1).replace("{}", "")
    };
    let series = series.filter(|(series, _)| !series.contains("quantile") && !series.contains("_sum{"));
    series.map(|(series, value)| (short(series), value.parse().expect("a value is a number"))).collect()
}

fn histogram_of(count: u16) -> Histogram {
    let mut histogram = Histogram::default();
    (0..count).for_each(|_| histogram.record(Duration::from_millis(3)));
    histogram
}

fn expected<const N: usize>(series: [(&str, f64); N]) -> BTreeMap<String, f64> {
    BTreeMap::from(series.map(|(series, value)| (series.to_owned(), value)))
}

/// The rejections of a reason are those on arrival and those of the queue.
#[test]
fn each_series_of_a_gate_has_its_own_field() {
    let mut status = Gate::new(GateName::new("uploads"), Limit::new(2)).status();
    (status.in_use, status.available, status.debt, status.waiting, status.resized) = (3, 4, 5, 6, 7);
    status.unclaimed = 20;
    (status.standing, status.retry_after) = (true, Some(Duration::from_millis(26_500)));
    let totals = &mut status.totals;
    (totals.admitted, totals.borrowed) = (8, 28);
    (totals.queue.enqueued, totals.queue.admitted, totals.queue.abandoned) = (9, 10, 11);
    (totals.queue.cancelled, totals.queue.expired, totals.queue.too_large, totals.queue.closed) =
        (12, 100, 200, 400);
    let rejected = &mut totals.rejected;
    (rejected.no_permits, rejected.queue_full, rejected.expired) = (13, 14, 15);
    (rejected.too_large, rejected.zero_weight, rejected.closed) = (16, 17, 18);
    (totals.queue.pushed_out, rejected.too_many_keys) = (21, 22);
    (totals.queue.shed, rejected.would_expire, rejected.paused) = (24, 25, 27);
    (totals.queue.unleased, rejected.unleased) = (1000, 29);
    status.paused = true;
    status.waits = histogram_of(19);

    let recorded = recorded_by(|| {
        record_gate(&status, &Histogram::default());
        record_busy_keys(&status, 23);
        record_shedding(&status);
        record_overdue(&status, 26);
    });
    assert_eq!(
        recorded,
        expected([
            ("limit", 2.0),
            ("in_use", 3.0),
            ("unclaimed", 20.0),
            ("holders_overdue", 26.0),
            ("debt", 5.0),
            ("waiting", 6.0),
            ("resized_total", 7.0),
            ("admitted_total", 8.0),
            ("borrowed_total", 28.0),
            ("enqueued_total", 9.0),
            ("cancelled_total", 12.0),
            ("rejected_total{,reason=\"no_permits\"}", 13.0),
            ("paused", 1.0),
            ("rejected_total{,reason=\"paused\"}", 27.0),
            ("rejected_total{,reason=\"queue_full\"}", 14.0),
            ("rejected_total{,reason=\"expired\"}", 115.0),
            ("rejected_total{,reason=\"too_large\"}", 216.0),
            ("rejected_total{,reason=\"zero_weight\"}", 17.0),
            ("rejected_total{,reason=\"closed\"}", 418.0),
            ("rejected_total{,reason=\"pushed_out\"}", 21.0),
            ("rejected_total{,reason=\"too_many_keys\"}", 22.0),
            ("rejected_total{,reason=\"shed\"}", 24.0),
            ("rejected_total{,reason=\"would_expire\"}", 25.0),
            ("rejected_total{,reason=\"unleased\"}", 1029.0),
            ("busy_keys", 23.0),
            ("standing", 1.0),
            ("retry_after_seconds", 26.5),
            ("wait_seconds_count", 19.0),
        ])
    );
}

struct NoItems;

impl Manager for NoItems {
    type Item = ();
    type Error = io::Error;

    async fn create(&self) -> Result<(), io::Error> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The reasons of discarded items and of failed creations are those of the status, under the same names.
#[tokio::test]
async fn each_series_of_a_pool_has_its_own_field() {
    let gate = Gate::new(GateName::new("uploads"), Limit::new(2));
    let pool = Pool::builder(NoItems).gate(gate).build().await.expect("no item is needed");
    let mut status = pool.status();
    (status.size, status.idle, status.in_use, status.creating) = (1, 2, 3, 4);
    (status.dropping, status.waiting) = (5, 6);
    status.backing_off = Some(Duration::from_secs(9));
    let totals = &mut status.totals;
    (totals.created, totals.reused, totals.evicted, totals.detached) = (7, 8, 9, 10);
    let discarded = &mut totals.discarded;
    (discarded.broken, discarded.incomplete, discarded.panicked) = (11, 12, 13);
    (discarded.recycle, discarded.health, discarded.expired) = (14, 15, 16);
    (discarded.surplus, discarded.retain, discarded.closed) = (17, 18, 19);
    let errors = &mut totals.create_errors;
    (errors.failed, errors.timed_out, errors.panicked, errors.abandoned) = (20, 21, 22, 23);
    errors.not_started = 26;
    totals.added = 27;
    let expired = &mut totals.expired;
    (expired.admission, expired.item, expired.backoff) = (28, 29, 30);
    (expired.start, expired.creation, expired.check) = (31, 32, 33);
    (status.creates, status.waits) = (histogram_of(24), histogram_of(25));

    let mut recorded_pool = RecordedPool::new(&pool);
    recorded_pool.status = Box::new(move || Some(status.clone()));
    let recorded = recorded_by(|| recorded_pool.record(&mut RecordedPoolHistograms::default()));
    assert_eq!(
        recorded,
        expected([
            ("pool_items{,state=\"idle\"}", 2.0),
            ("pool_items{,state=\"in_use\"}", 3.0),
            ("pool_items{,state=\"creating\"}", 4.0),
            ("pool_items{,state=\"dropping\"}", 5.0),
            ("pool_waiting", 6.0),
            ("pool_backing_off", 1.0),
            ("pool_created_total", 7.0),
            ("pool_added_total", 27.0),
            ("pool_expired_total{,stage=\"admission\"}", 28.0),
            ("pool_expired_total{,stage=\"item\"}", 29.0),
            ("pool_expired_total{,stage=\"backoff\"}", 30.0),
            ("pool_expired_total{,stage=\"start\"}", 31.0),
            ("pool_expired_total{,stage=\"creation\"}", 32.0),
            ("pool_expired_total{,stage=\"check\"}", 33.0),
            ("pool_create_failures_total{,reason=\"not_started\"}", 26.0),
            ("pool_reused_total", 8.0),
            ("pool_evicted_total", 9.0),
            ("pool_detached_total", 10.0),
            ("pool_discarded_total{,reason=\"broken\"}", 11.0),
            ("pool_discarded_total{,reason=\"incomplete\"}", 12.0),
            ("pool_discarded_total{,reason=\"panicked\"}", 13.0),
            ("pool_discarded_total{,reason=\"recycle\"}", 14.0),
            ("pool_discarded_total{,reason=\"health\"}", 15.0),
            ("pool_discarded_total{,reason=\"expired\"}", 16.0),
            ("pool_discarded_total{,reason=\"surplus\"}", 17.0),
            ("pool_discarded_total{,reason=\"retain\"}", 18.0),
            ("pool_discarded_total{,reason=\"closed\"}", 19.0),
            ("pool_create_failures_total{,reason=\"failed\"}", 20.0),
            ("pool_create_failures_total{,reason=\"timed_out\"}", 21.0),
            ("pool_create_failures_total{,reason=\"panicked\"}", 22.0),
            ("pool_create_failures_total{,reason=\"abandoned\"}", 23.0),
            ("pool_create_seconds_count", 24.0),
            ("pool_wait_seconds_count", 25.0),
        ])
    );
}

/// A reading keeps its thousandths, and the counts of a probe are not swapped.
#[test]
fn each_series_of_a_probe_has_its_own_field() {
    let status = ProbeStatus {
        resource: Resource::CPU,
        reading: Reading::Finite("1.5".parse().expect("a quantity")),
        stale: true,
        measured: 2,
        failed: 3,
    };
    assert_eq!(
        recorded_by(|| record_probe(&status)),
        expected([
            ("probe_reading{resource=\"cpu\"}", 1.5),
            ("probe_stale{resource=\"cpu\"}", 1.0),
            ("probe_failures_total{resource=\"cpu\"}", 3.0),
        ])
    );
}
