//! The name, the type and the description of every metric.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// The limit, in permits; by `gate`.
pub const LIMIT: &str = "concurrency_governor_limit";
/// Permits in use; by `gate`.
pub const IN_USE: &str = "concurrency_governor_in_use";
/// Requests in the queue; by `gate`.
pub const WAITING: &str = "concurrency_governor_waiting";
/// Admitted requests whose future has not resolved yet, so the caller does not have the permit; by `gate`. A number that stays above 0
/// means that a task keeps a future that it does not poll.
pub const UNCLAIMED: &str = "concurrency_governor_unclaimed";
/// Holders whose permits have been in use for longer than the gate declares; by `gate`, only for gates that
/// [track their holders](crate::GateSpec::track_holders).
pub const HOLDERS_OVERDUE: &str = "concurrency_governor_holders_overdue";
/// Keys with permits in use or requests waiting; by `gate`, only for gates that have keys.
pub const BUSY_KEYS: &str = "concurrency_governor_busy_keys";
/// 1 while the queue is standing, so that requests are shed; by `gate`. Only for gates that [shed](crate::Shed).
pub const STANDING: &str = "concurrency_governor_standing";
/// The time after which a request that is rejected now should be retried, in seconds; by `gate`. Only for gates that
/// [shed](crate::Shed), once their rate is known.
pub const RETRY_AFTER: &str = "concurrency_governor_retry_after_seconds";
/// 1 while the gate, or a gate above it, is [paused](crate::Gate::pause); by `gate`.
pub const PAUSED: &str = "concurrency_governor_paused";
/// Permits in use above a lowered limit; by `gate`.
pub const DEBT: &str = "concurrency_governor_debt";
/// Requests admitted, at once or after a wait; by `gate`.
pub const ADMITTED: &str = "concurrency_governor_admitted_total";
/// [Nested](crate::gate::Request::under) requests that borrowed permits of the work that they are part of; by `gate`.
pub const BORROWED: &str = "concurrency_governor_borrowed_total";
/// Requests that entered the queue; by `gate`.
pub const ENQUEUED: &str = "concurrency_governor_enqueued_total";
/// Requests cancelled by their caller while they waited; by `gate`.
pub const CANCELLED: &str = "concurrency_governor_cancelled_total";
/// Requests rejected, on arrival or while they waited; by `gate` and `reason`: `no_permits`, `paused`, `queue_full`,
/// `expired`, `too_large`, `zero_weight`, `closed`, `pushed_out`, `too_many_keys`, `shed`, `would_expire` or
/// `unleased`.
pub const REJECTED: &str = "concurrency_governor_rejected_total";
/// Changes of the limit; by `gate`.
pub const RESIZED: &str = "concurrency_governor_resized_total";
/// The lowest limit that the rule of an adaptive gate may choose; by `gate`.
pub const FEEDBACK_FLOOR: &str = "concurrency_governor_feedback_floor";
/// The limit of an adaptive gate that is derived from the host; by `gate`.
pub const FEEDBACK_CEILING: &str = "concurrency_governor_feedback_ceiling";
/// The limit that the rule of an adaptive gate has chosen; by `gate`.
pub const FEEDBACK_LIMIT: &str = "concurrency_governor_feedback_limit";
/// 1 while an override replaces the limit of an adaptive gate, so that its rule makes no decisions; by `gate`.
pub const FEEDBACK_PAUSED: &str = "concurrency_governor_feedback_paused";
/// Outcomes of the work at an adaptive gate; by `gate` and `outcome`: `success`, `overload` or `ignore`.
pub const FEEDBACK_OUTCOMES: &str = "concurrency_governor_feedback_outcomes_total";
/// Decisions of the rule of an adaptive gate, those that kept the limit included; by `gate` and `reason`, as in
/// [`Reason`](crate::feedback::Reason).
pub const FEEDBACK_DECISIONS: &str = "concurrency_governor_feedback_decisions_total";
/// The block: the permits that a gate that shares its limit has from its ledger; by `gate`.
pub const LEASE_PERMITS: &str = "concurrency_governor_lease_permits";
/// The time until the deadline of the lease; by `gate`.
pub const LEASE_REMAINING: &str = "concurrency_governor_lease_remaining_seconds";
/// 1 for the present state of the lease, and 0 for the others; by `gate` and `state`, as in [`LeaseState`](crate::plan::LeaseState).
pub const LEASE_STATE: &str = "concurrency_governor_lease_state";
/// The limit of the fleet, as far as this process knows it; by `gate`.
pub const FLEET_LIMIT: &str = "concurrency_governor_fleet_limit";
/// Exchanges with the ledger; by `gate` and `outcome`: `answered` or `failed`.
pub const LEDGER_EXCHANGES: &str = "concurrency_governor_ledger_exchanges_total";
/// Time that the answered exchanges with the ledger took; by `gate`.
pub const LEDGER_EXCHANGE: &str = "concurrency_governor_ledger_exchange_seconds";
/// Wait time of the requests that were admitted after a wait; by `gate`.
pub const WAIT: &str = "concurrency_governor_wait_seconds";
/// Hold time of the permits that are [timed](crate::Permit::timed); by `gate`.
pub const HOLD: &str = "concurrency_governor_hold_seconds";
/// Items of a pool; by `gate` and `state`: `idle`, `in_use`, `creating` or `dropping`.
pub const POOL_ITEMS: &str = "concurrency_governor_pool_items";
/// Checkouts that wait, in the gate's queue or for an item; by `gate`.
pub const POOL_WAITING: &str = "concurrency_governor_pool_waiting";
/// 1 while a pool waits before its next attempt to create an item, because the last attempts failed; by `gate`.
pub const POOL_BACKING_OFF: &str = "concurrency_governor_pool_backing_off";
/// Items created; by `gate`.
pub const POOL_CREATED: &str = "concurrency_governor_pool_created_total";
/// Items that existed already and were added to the pool; by `gate`.
pub const POOL_ADDED: &str = "concurrency_governor_pool_added_total";
/// Checkouts that got an existing item; by `gate`.
pub const POOL_REUSED: &str = "concurrency_governor_pool_reused_total";
/// Items dropped because they were idle for too long; by `gate`.
pub const POOL_EVICTED: &str = "concurrency_governor_pool_evicted_total";
/// Items detached from the pool by their user; by `gate`.
pub const POOL_DETACHED: &str = "concurrency_governor_pool_detached_total";
/// Items dropped for any other reason; by `gate` and `reason`: `broken`, `incomplete`, `panicked`, `recycle`, `health`,
/// `expired`, `surplus`, `retain` or `closed`, as in [`Discarded`](crate::pool::Discarded).
pub const POOL_DISCARDED: &str = "concurrency_governor_pool_discarded_total";
/// Checkouts whose deadline passed; by `gate` and `stage`: `admission`, `item`, `backoff`, `start`, `creation` or `check`, as in
/// [`ExpiredCheckouts`](crate::pool::ExpiredCheckouts).
pub const POOL_EXPIRED: &str = "concurrency_governor_pool_expired_total";
/// Failed attempts to create an item; by `gate` and `reason`: `failed`, `timed_out`, `panicked`, `not_started` or `abandoned`, as in
/// [`CreateErrors`](crate::pool::CreateErrors).
pub const POOL_CREATE_FAILURES: &str = "concurrency_governor_pool_create_failures_total";
/// Time that it took to create an item; by `gate`.
pub const POOL_CREATE: &str = "concurrency_governor_pool_create_seconds";
/// Wait time of the checkouts that did not get an item at once; by `gate`.
pub const POOL_WAIT: &str = "concurrency_governor_pool_wait_seconds";
/// The reading in force, in the resource's own unit: infinite if unlimited, not a number if unknown; by `resource`.
pub const PROBE_READING: &str = "concurrency_governor_probe_reading";
/// 1 while the probe fails and its last good reading stays in force; by `resource`.
pub const PROBE_STALE: &str = "concurrency_governor_probe_stale";
/// Failed measurements; by `resource`.
pub const PROBE_FAILURES: &str = "concurrency_governor_probe_failures_total";
/// Completed refreshes of the governor, rejected ones included.
pub const REFRESHES: &str = "concurrency_governor_refreshes_total";
/// Rejected refreshes: the limits stayed as they were.
pub const REFRESHES_REJECTED: &str = "concurrency_governor_refreshes_rejected_total";

/// Every metric, with the description that the recorder gets.
pub const ALL: [Metric; 48] = [
    Metric::new(LIMIT, MetricKind::Gauge, "the limit, in permits"),
    Metric::new(IN_USE, MetricKind::Gauge, "permits in use"),
    Metric::new(WAITING, MetricKind::Gauge, "requests in the queue"),
    Metric::new(UNCLAIMED, MetricKind::Gauge, "admitted requests whose future has not resolved yet"),
    Metric::new(HOLDERS_OVERDUE, MetricKind::Gauge, "holders whose permits are overdue"),
    Metric::new(BUSY_KEYS, MetricKind::Gauge, "keys with permits in use or requests waiting"),
    Metric::new(STANDING, MetricKind::Gauge, "1 while requests that have waited too long are shed"),
    Metric::new(
        RETRY_AFTER,
        MetricKind::Gauge,
        "the time after which a request that is rejected now should be retried, in seconds",
    ),
    Metric::new(PAUSED, MetricKind::Gauge, "1 while the gate, or a gate above it, is paused"),
    Metric::new(DEBT, MetricKind::Gauge, "permits in use above a lowered limit"),
    Metric::new(ADMITTED, MetricKind::Counter, "requests admitted, at once or after a wait"),
    Metric::new(BORROWED, MetricKind::Counter, "nested requests that borrowed permits of their work"),
    Metric::new(ENQUEUED, MetricKind::Counter, "requests that entered the queue"),
    Metric::new(CANCELLED, MetricKind::Counter, "requests cancelled by their caller while they waited"),
    Metric::new(REJECTED, MetricKind::Counter, "requests rejected, by reason"),
    Metric::new(RESIZED, MetricKind::Counter, "changes of the limit"),
    Metric::new(FEEDBACK_FLOOR, MetricKind::Gauge, "the lowest limit that the rule may choose"),
    Metric::new(FEEDBACK_CEILING, MetricKind::Gauge, "the limit that is derived from the host"),
    Metric::new(FEEDBACK_LIMIT, MetricKind::Gauge, "the limit that the rule has chosen"),
    Metric::new(FEEDBACK_PAUSED, MetricKind::Gauge, "1 while a setting replaces the limit of the rule"),
    Metric::new(FEEDBACK_OUTCOMES, MetricKind::Counter, "outcomes of the work, by outcome"),
    Metric::new(FEEDBACK_DECISIONS, MetricKind::Counter, "decisions of the rule, by reason"),
    Metric::new(LEASE_PERMITS, MetricKind::Gauge, "permits that the ledger has leased to this process"),
    Metric::new(LEASE_REMAINING, MetricKind::Gauge, "the time until the deadline of the lease, in seconds"),
    Metric::new(LEASE_STATE, MetricKind::Gauge, "1 for the present state of the lease"),
    Metric::new(FLEET_LIMIT, MetricKind::Gauge, "the limit of the fleet"),
    Metric::new(LEDGER_EXCHANGES, MetricKind::Counter, "exchanges with the ledger, by outcome"),
    Metric::new(LEDGER_EXCHANGE, MetricKind::Histogram, "time of an exchange with the ledger"),
    Metric::new(WAIT, MetricKind::Histogram, "wait time of the requests admitted after a wait"),
    Metric::new(HOLD, MetricKind::Histogram, "hold time of timed permits"),
    Metric::new(POOL_ITEMS, MetricKind::Gauge, "items of the pool, by state"),
    Metric::new(POOL_WAITING, MetricKind::Gauge, "checkouts that wait, in the gate's queue or for an item"),
    Metric::new(
        POOL_BACKING_OFF,
        MetricKind::Gauge,
        "1 while the pool waits before its next attempt to create an item",
    ),
    Metric::new(POOL_CREATED, MetricKind::Counter, "items created"),
    Metric::new(POOL_ADDED, MetricKind::Counter, "items that existed already and were added to the pool"),
    Metric::new(POOL_REUSED, MetricKind::Counter, "checkouts that got an existing item"),
    Metric::new(POOL_EVICTED, MetricKind::Counter, "items dropped because they were idle for too long"),
    Metric::new(POOL_DETACHED, MetricKind::Counter, "items detached from the pool"),
    Metric::new(POOL_DISCARDED, MetricKind::Counter, "items dropped for any other reason, by reason"),
    Metric::new(POOL_EXPIRED, MetricKind::Counter, "checkouts whose deadline passed, by stage"),
    Metric::new(POOL_CREATE_FAILURES, MetricKind::Counter, "failed attempts to create an item, by reason"),
    Metric::new(POOL_CREATE, MetricKind::Histogram, "time to create an item"),
    Metric::new(
        POOL_WAIT,
        MetricKind::Histogram,
        "wait time of the checkouts that did not get an item at once",
    ),
    Metric::new(PROBE_READING, MetricKind::Gauge, "the reading in force, in the resource's unit"),
    Metric::new(
        PROBE_STALE,
        MetricKind::Gauge,
        "1 while the probe fails and its last good reading stays in force",
    ),
    Metric::new(PROBE_FAILURES, MetricKind::Counter, "failed measurements"),
    Metric::new(REFRESHES, MetricKind::Counter, "completed refreshes of the governor"),
    Metric::new(REFRESHES_REJECTED, MetricKind::Counter, "rejected refreshes"),
];

/// Bucket bounds in seconds for all histograms: [`WAIT`], [`HOLD`], [`LEDGER_EXCHANGE`], [`POOL_CREATE`] and [`POOL_WAIT`]. Set them if
/// the exporter needs bounds.
///
/// They reach from 1 ms to 60 s; each bound is 2 to 2.5 times the one before. Each is also a bucket bound of the gates'
/// own histograms, so no wait is counted in the wrong bucket.
pub const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0];

/// The name, the type and the description of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The description that the recorder gets.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution of durations in seconds.
    Histogram,
}

impl Metric {
    const fn new(name: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self { name, kind, help }
    }
}

/// Registers the description of every metric at the recorder.
pub(super) fn describe() {
    for Metric { name, kind, help } in ALL {
        let unit = if name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        match kind {
            MetricKind::Counter => describe_counter!(name, unit, help),
            MetricKind::Gauge => describe_gauge!(name, unit, help),
            MetricKind::Histogram => describe_histogram!(name, unit, help),
        }
    }
}

/// Converts a count to the value of a gauge.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an f64, which is exact up to 2^53")]
pub(super) fn gauge_value(count: u64) -> f64 {
    count as f64
}
