//! Every metric by its name.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// How many permits may be out; by `gate`.
pub const LIMIT: &str = "concurrency_governor_limit";
/// Permits out; by `gate`.
pub const IN_USE: &str = "concurrency_governor_in_use";
/// Requests in line; by `gate`.
pub const WAITING: &str = "concurrency_governor_waiting";
/// Permits out above a limit that was lowered; by `gate`.
pub const DEBT: &str = "concurrency_governor_debt";
/// Requests admitted; by `gate`.
pub const ADMITTED: &str = "concurrency_governor_admitted_total";
/// Requests that had to wait; by `gate`.
pub const ENQUEUED: &str = "concurrency_governor_enqueued_total";
/// Requests that were given up while they waited; by `gate`.
pub const CANCELLED: &str = "concurrency_governor_cancelled_total";
/// Requests refused, on arrival or while they waited; by `gate` and `reason`: `no_permits`, `queue_full`, `expired`,
/// `too_large`, `zero_weight` or `closed`.
pub const REJECTED: &str = "concurrency_governor_rejected_total";
/// Changes of the limit; by `gate`.
pub const RESIZED: &str = "concurrency_governor_resized_total";
/// How long those admitted after a wait have waited; by `gate`.
pub const WAIT: &str = "concurrency_governor_wait_seconds";
/// How long permits were held that are [timed](crate::Permit::timed); by `gate`.
pub const HOLD: &str = "concurrency_governor_hold_seconds";
/// Items of a pool; by `gate` and `state`: `idle`, `in_use`, `creating` or `dropping`.
pub const POOL_ITEMS: &str = "concurrency_governor_pool_items";
/// Checkouts that wait, at the gate or for an item; by `gate`.
pub const POOL_WAITING: &str = "concurrency_governor_pool_waiting";
/// 1 if a pool pauses before it tries to make another item, since the last attempts have failed; by `gate`.
pub const POOL_BACKING_OFF: &str = "concurrency_governor_pool_backing_off";
/// Items made; by `gate`.
pub const POOL_CREATED: &str = "concurrency_governor_pool_created_total";
/// Times that an item was handed out that was there before; by `gate`.
pub const POOL_REUSED: &str = "concurrency_governor_pool_reused_total";
/// Items dropped for having been idle too long; by `gate`.
pub const POOL_EVICTED: &str = "concurrency_governor_pool_evicted_total";
/// Items taken out of a pool for good; by `gate`.
pub const POOL_DETACHED: &str = "concurrency_governor_pool_detached_total";
/// Items dropped for another reason; by `gate` and `reason`: `broken`, `incomplete`, `panicked`, `recycle`, `health`,
/// `expired`, `surplus`, `retain` or `closed`, as [`Discarded`](crate::pool::Discarded) has them.
pub const POOL_DISCARDED: &str = "concurrency_governor_pool_discarded_total";
/// Attempts to make an item that failed; by `gate` and `reason`: `failed`, `timed_out`, `panicked` or `abandoned`, as
/// [`CreateErrors`](crate::pool::CreateErrors) has them.
pub const POOL_CREATE_FAILURES: &str = "concurrency_governor_pool_create_failures_total";
/// How long it took to make items; by `gate`.
pub const POOL_CREATE: &str = "concurrency_governor_pool_create_seconds";
/// How long checkouts have waited that did not get an item at once; by `gate`.
pub const POOL_WAIT: &str = "concurrency_governor_pool_wait_seconds";
/// The reading that holds, in the resource's own unit: infinite if unlimited, not a number if unknown; by `resource`.
pub const PROBE_READING: &str = "concurrency_governor_probe_reading";
/// 1 if the reading is an old one, kept since the probe fails; by `resource`.
pub const PROBE_STALE: &str = "concurrency_governor_probe_stale";
/// Measurements that failed; by `resource`.
pub const PROBE_FAILURES: &str = "concurrency_governor_probe_failures_total";
/// Refreshes of the governor.
pub const REFRESHES: &str = "concurrency_governor_refreshes_total";
/// Refreshes that were refused, so that the limits stayed as they were.
pub const REFRESHES_REJECTED: &str = "concurrency_governor_refreshes_rejected_total";

/// Every metric, as it is described to the recorder.
pub const ALL: [Metric; 27] = [
    Metric::new(LIMIT, MetricKind::Gauge, "permits that may be out"),
    Metric::new(IN_USE, MetricKind::Gauge, "permits out"),
    Metric::new(WAITING, MetricKind::Gauge, "requests in line"),
    Metric::new(DEBT, MetricKind::Gauge, "permits out above a limit that was lowered"),
    Metric::new(ADMITTED, MetricKind::Counter, "requests admitted"),
    Metric::new(ENQUEUED, MetricKind::Counter, "requests that had to wait"),
    Metric::new(CANCELLED, MetricKind::Counter, "requests given up while they waited"),
    Metric::new(REJECTED, MetricKind::Counter, "requests refused, by reason"),
    Metric::new(RESIZED, MetricKind::Counter, "changes of the limit"),
    Metric::new(WAIT, MetricKind::Histogram, "how long those admitted after a wait have waited"),
    Metric::new(HOLD, MetricKind::Histogram, "how long timed permits were held"),
    Metric::new(POOL_ITEMS, MetricKind::Gauge, "items of a pool, by state"),
    Metric::new(POOL_WAITING, MetricKind::Gauge, "checkouts that wait, at the gate or for an item"),
    Metric::new(
        POOL_BACKING_OFF,
        MetricKind::Gauge,
        "1 if a pool pauses before its next attempt to make an item",
    ),
    Metric::new(POOL_CREATED, MetricKind::Counter, "items made"),
    Metric::new(POOL_REUSED, MetricKind::Counter, "times that an item was handed out that was there before"),
    Metric::new(POOL_EVICTED, MetricKind::Counter, "items dropped for having been idle too long"),
    Metric::new(POOL_DETACHED, MetricKind::Counter, "items taken out of a pool for good"),
    Metric::new(POOL_DISCARDED, MetricKind::Counter, "items dropped for another reason, by reason"),
    Metric::new(POOL_CREATE_FAILURES, MetricKind::Counter, "attempts to make an item that failed, by reason"),
    Metric::new(POOL_CREATE, MetricKind::Histogram, "how long it took to make items"),
    Metric::new(
        POOL_WAIT,
        MetricKind::Histogram,
        "how long checkouts waited that did not get an item at once",
    ),
    Metric::new(PROBE_READING, MetricKind::Gauge, "the reading that holds, in the resource's unit"),
    Metric::new(PROBE_STALE, MetricKind::Gauge, "1 if the reading is an old one, since the probe fails"),
    Metric::new(PROBE_FAILURES, MetricKind::Counter, "measurements that failed"),
    Metric::new(REFRESHES, MetricKind::Counter, "refreshes of the governor"),
    Metric::new(REFRESHES_REJECTED, MetricKind::Counter, "refreshes that were refused"),
];

/// Bounds for the buckets of [`WAIT`], [`HOLD`], [`POOL_CREATE`] and [`POOL_WAIT`], in seconds, for exporters that want
/// some: from 1 µs to over an hour, each four times the one before. They are bounds of a gate's own buckets, too, so
/// nothing is counted in the wrong one.
pub const SECONDS: [f64; 17] = [
    0.000_001_024,
    0.000_004_096,
    0.000_016_384,
    0.000_065_536,
    0.000_262_144,
    0.001_048_576,
    0.004_194_304,
    0.016_777_216,
    0.067_108_864,
    0.268_435_456,
    1.073_741_824,
    4.294_967_296,
    17.179_869_184,
    68.719_476_736,
    274.877_906_944,
    1_099.511_627_776,
    4_398.046_511_104,
];

/// A metric's name and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: MetricKind,
    /// What it counts or measures.
    pub help: &'static str,
}

/// What kind a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Durations in seconds.
    Histogram,
}

impl Metric {
    const fn new(name: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self { name, kind, help }
    }
}

/// Tells the recorder what each metric is.
pub(super) fn describe() {
    for Metric { name, kind, help } in ALL {
        match kind {
            MetricKind::Counter => describe_counter!(name, Unit::Count, help),
            MetricKind::Gauge => describe_gauge!(name, Unit::Count, help),
            MetricKind::Histogram => describe_histogram!(name, Unit::Seconds, help),
        }
    }
}
