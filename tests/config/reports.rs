//! Resolutions, statuses and events as JSON.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concurrency_governor::event::ProbeFault;
use concurrency_governor::gate::Gate;
use concurrency_governor::plan::{LeaseExplanation, LeaseState, Measurement, Policy, Source};
use concurrency_governor::preset::astrid::{IO, POOL};
use concurrency_governor::testing::MockProbe;
use concurrency_governor::{
    Event, GateName, Governor, Limit, Manager, OverrideLayer, Overrides, Plan, Pool, Reading, Readings,
    Resource,
};
use serde::Serialize;
use serde_json::{Value, json, to_value};

/// A resolution, a gate status and an event serialize in the shape of `explain --json`.
#[test]
fn reports_serialize_as_the_program_prints_them() {
    let fd =
        Measurement::new(Reading::whole(100)).at_most().source(Source::new("limits", "100").at_level("/"));
    let fd = fd.note("a note").stale("it failed");
    let readings = Readings::new().with(Resource::FD, fd).with(Resource::CPU, Reading::Unknown);
    let layers = Overrides::new().then(OverrideLayer::new("cli").set(IO, 60)).then(
        OverrideLayer::new("file")
            .set_from(IO, 2, "io")
            .set_queue(POOL, 4)
            .set_max_wait(POOL, Duration::from_millis(250)),
    );
    let resolution = Plan::new([IO, POOL]).unwrap().resolve(&readings, &layers).unwrap();
    let serialized = to_value(&resolution).unwrap();
    let part = |step: &str, operand: &str, reading: u32, value: u32, effect: &str| json!({ "step": step, "operand": operand, "reading": reading, "value": value, "effect": effect });
    assert_eq!(
        serialized["readings"]["fd"],
        json!({
            "value": 100, "bound": "at_most", "notes": ["a note"], "stale": "it failed",
            "sources": [{ "path": "limits", "level": "/", "raw": "100", "meaning": null }],
        })
    );
    let io = &serialized["gates"]["io"];
    assert_eq!(
        io["decision"],
        json!({ "kind": "overridden", "origin": "cli", "value": 60, "standing": "above_derived" })
    );
    assert_eq!([&io["limit"], &io["derived"]], [60, 50]);
    assert_eq!(io["shadowed"], json!([{ "origin": "file io", "value": 2 }]));
    let last = part("at most fd * 1/2", "fd", 100, 50, "changed");
    for (key, value) in last.as_object().unwrap() {
        assert_eq!(io["derivation"][2][key], *value);
    }
    assert_eq!(io["derivation"][2]["decides"], true);
    assert_eq!(io["derivation"][0]["assumed"], 2);
    assert_eq!(serialized["gates"]["pool"]["decision"], json!({ "kind": "derived" }));
    assert_eq!(
        serialized["gates"]["pool"]["queue_bounds"],
        json!({ "queue": 4, "queue_origin": "file", "max_wait": 0.25, "max_wait_origin": "file" })
    );
    assert_eq!(io.get("queue_bounds"), None, "it has no bounds");
    assert_eq!(serialized["gates"].as_object().unwrap().keys().collect::<Vec<_>>(), ["io", "pool"]);

    let gate = Gate::new("io".parse::<GateName>().unwrap(), Limit::new(2));
    let _permit = gate.try_acquire().unwrap();
    let status = to_value(gate.status()).unwrap();
    assert_eq!(
        [&status["limit"], &status["in_use"], &status["available"], &status["totals"]["admitted"]],
        [2, 1, 1, 1]
    );
    assert_eq!(
        status["waits"],
        json!({ "count": 0, "mean": null, "median": null, "p99": null, "max": null })
    );
    assert_eq!(status["resized"], 0);
    let event = Event::LimitChanged {
        gate: IO.name(),
        from: Limit::new(9),
        to: Limit::new(4),
        debt: 1,
        explanation: Box::new(resolution.explain(IO).unwrap().clone()),
    };
    let message = event.to_string();
    assert_eq!(
        to_value(event).unwrap(),
        json!({
            "kind": "limit_changed", "gate": "io", "from": 9, "to": 4, "debt": 1,
            "explanation": io, "message": message,
        })
    );
}

/// Each field of a status serializes under its own name: each has another value here, so none can be swapped. Times are in
/// seconds.
#[tokio::test]
async fn no_field_of_a_status_is_swapped() {
    fn assert_fields(serialized: &Value, fields: &Value) {
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&serialized[name], value, "{name}");
        }
    }

    let gate = Gate::new("io".parse::<GateName>().unwrap(), Limit::new(1));
    let pool = Pool::builder(NoItems).gate(gate.clone()).build().await.unwrap();
    let mut status = gate.status();
    (status.limit, status.in_use, status.available, status.debt) = (Limit::new(2), 3, 4, 5);
    (status.waiting, status.unclaimed, status.queue_bound, status.resized) = (6, 7, Some(8), 9);
    status.max_wait = Some(Duration::from_millis(1500));
    status.retry_after = Some(Duration::from_millis(2500));
    status.oldest_permit = Some(Duration::from_millis(3500));
    status.waits.record(Duration::from_millis(1));
    (0..2).for_each(|_| status.holds.record(Duration::from_millis(1)));
    status.totals.admitted = 10;
    let serialized = to_value(&status).unwrap();
    let expected = json!({
        "name": "io", "limit": 2, "in_use": 3, "available": 4, "debt": 5, "waiting": 6, "unclaimed": 7, "queue_bound": 8,
        "resized": 9, "max_wait": 1.5, "retry_after": 2.5,
        "oldest_permit": 3.5,
    });
    assert_fields(&serialized, &expected);
    let counts =
        [&serialized["waits"]["count"], &serialized["holds"]["count"], &serialized["totals"]["admitted"]];
    assert_eq!(counts, [1, 2, 10]);
    assert_eq!(serialized.as_object().unwrap().len(), 18, "every field is listed here");
    for flags in [[true, false, false], [false, true, false], [false, false, true]] {
        [status.paused, status.closed, status.standing] = flags;
        let serialized = to_value(&status).unwrap();
        assert_eq!(["paused", "closed", "standing"].map(|name| serialized[name] == true), flags);
    }

    let mut status = pool.status();
    (status.limit, status.size, status.idle, status.in_use, status.checking) = (1, 2, 3, 4, 5);
    (status.creating, status.dropping, status.waiting) = (6, 7, 8);
    status.start_delay = Some(Duration::from_millis(1500));
    status.backing_off = Some(Duration::from_millis(2500));
    status.creates.record(Duration::from_millis(1));
    (0..2).for_each(|_| status.waits.record(Duration::from_millis(1)));
    status.totals.created = 9;
    let serialized = to_value(&status).unwrap();
    let expected = json!({
        "gate": "io", "limit": 1, "size": 2, "idle": 3, "in_use": 4, "checking": 5, "creating": 6, "dropping": 7, "waiting": 8,
        "start_delay": 1.5, "backing_off": 2.5, "closed": false,
    });
    assert_fields(&serialized, &expected);
    let counts =
        [&serialized["creates"]["count"], &serialized["waits"]["count"], &serialized["totals"]["created"]];
    assert_eq!(counts, [1, 2, 9]);
    assert_eq!(serialized.as_object().unwrap().len(), 15, "every field is listed here");
}

/// The sum of counters includes every counter: each has another value here. A counter that is added later must be set here, too.
#[tokio::test]
async fn each_sum_has_every_counter() {
    fn sum_of_fields(counters: &impl Serialize) -> u64 {
        let serialized = to_value(counters).unwrap();
        let counts: Vec<u64> =
            serialized.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).collect();
        assert!(!counts.contains(&0), "a counter is not set here: {serialized}");
        counts.iter().sum()
    }

    let gate = Gate::new("io".parse::<GateName>().unwrap(), Limit::new(1));
    let pool = Pool::builder(NoItems).gate(gate.clone()).build().await.unwrap();
    let mut rejected = gate.status().totals.rejected;
    (rejected.no_permits, rejected.paused, rejected.queue_full, rejected.expired) = (1, 2, 4, 8);
    (rejected.too_large, rejected.zero_weight, rejected.closed) = (16, 32, 64);
    (rejected.too_many_keys, rejected.would_expire, rejected.unleased) = (128, 256, 512);
    assert_eq!(rejected.sum(), sum_of_fields(&rejected));

    let totals = pool.status().totals;
    let (mut discarded, mut errors, mut expired) = (totals.discarded, totals.create_errors, totals.expired);
    (discarded.broken, discarded.incomplete, discarded.panicked) = (1, 2, 4);
    (discarded.recycle, discarded.health, discarded.expired) = (8, 16, 32);
    (discarded.surplus, discarded.retain, discarded.closed) = (64, 128, 256);
    assert_eq!(discarded.sum(), sum_of_fields(&discarded));
    (errors.failed, errors.timed_out, errors.panicked, errors.not_started, errors.abandoned) =
        (1, 2, 4, 8, 16);
    assert_eq!(errors.sum(), sum_of_fields(&errors));
    (expired.admission, expired.item, expired.backoff) = (1, 2, 4);
    (expired.start, expired.creation, expired.check) = (8, 16, 32);
    assert_eq!(expired.sum(), sum_of_fields(&expired));
}

/// Each event of a probe, of a reading and of a lease serializes its fields under their names, with times in seconds.
#[test]
fn events_serialize_every_field() {
    let resource = Resource::CPU;
    let lease = LeaseExplanation {
        name: "prod/io".to_owned(),
        limit: Limit::new(20),
        version: 3,
        block: 4,
        without_lease: 5,
        remaining: Duration::from_millis(2500),
        state: LeaseState::Leased,
        problem: None,
    };
    let (from, to) = (Limit::new(6), Limit::new(7));
    for (event, expected) in [
        (
            Event::ReadingChanged { resource, from: Reading::whole(2), to: Reading::Unlimited },
            json!({ "kind": "reading_changed", "resource": "cpu", "from": 2, "to": "unlimited" }),
        ),
        (
            Event::RiseHeld {
                resource,
                held: Reading::whole(2),
                seen: Reading::whole(4),
                remaining: Duration::from_millis(3500),
            },
            json!({ "kind": "rise_held", "resource": "cpu", "held": 2, "seen": 4, "remaining": 3.5 }),
        ),
        (
            Event::ProbeFailed { resource, fault: ProbeFault::Stuck, kept: Reading::whole(2) },
            json!({ "kind": "probe_failed", "resource": "cpu", "fault": ProbeFault::Stuck.to_string(), "kept": 2 }),
        ),
        (
            Event::ProbeRecovered { resource, reading: Reading::whole(2) },
            json!({ "kind": "probe_recovered", "resource": "cpu", "reading": 2 }),
        ),
        (
            Event::FleetLimitChanged { gate: IO.name(), from, to, version: 8 },
            json!({ "kind": "fleet_limit_changed", "gate": "io", "from": 6, "to": 7, "version": 8 }),
        ),
        (
            Event::LeaseChanged {
                gate: IO.name(),
                from: LeaseState::Starting,
                to: LeaseState::Leased,
                lease: Box::new(lease),
            },
            json!({
                "kind": "lease_changed", "gate": "io", "from": LeaseState::Starting.name(), "to": LeaseState::Leased.name(),
                "lease": {
                    "name": "prod/io", "limit": 20, "version": 3, "block": 4, "without_lease": 5, "remaining": 2.5,
                    "state": LeaseState::Leased.name(), "problem": null,
                },
            }),
        ),
    ] {
        let mut serialized = to_value(&event).unwrap();
        let message = serialized.as_object_mut().unwrap().remove("message");
        assert_eq!((serialized, message), (expected, Some(json!(event.to_string()))));
    }
}

/// A manager that is not used.
struct NoItems;

impl Manager for NoItems {
    type Item = ();
    type Error = std::io::Error;

    async fn create(&self) -> Result<(), std::io::Error> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

/// The status of a governor serializes with its probes.
#[tokio::test]
async fn a_governor_status_serializes_every_field() {
    let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
    let fd = MockProbe::new(Resource::FD, Reading::Unlimited);
    let governor = Governor::builder().gate(IO).probe(cpu.clone()).probe(fd).build().await.unwrap();
    governor.refresh().await.unwrap();
    governor.refresh().await.unwrap();
    let strict = OverrideLayer::new("cli").set(IO, 300).policy(Policy::Reject);
    governor.set_overrides(Overrides::new().then(strict)).unwrap();
    cpu.set(Reading::whole(1));
    governor.refresh().await.unwrap_err();
    cpu.fail("gone");
    governor.refresh().await.unwrap_err();
    assert_eq!(
        to_value(governor.status()).unwrap(),
        json!({
            "refreshes": 4, "rejected": 2,
            "probes": [
                { "resource": "cpu", "reading": 1, "stale": true, "measured": 4, "failed": 1 },
                { "resource": "fd", "reading": "unlimited", "stale": false, "measured": 5, "failed": 0 },
            ],
        })
    );
}

/// The status of a pool serializes with its totals, and with its backoff in seconds.
#[tokio::test(start_paused = true)]
async fn a_pool_status_serializes_every_field() {
    /// Creates one item, and then none.
    struct CreateOnce(AtomicBool);
    impl Manager for CreateOnce {
        type Item = u32;
        type Error = std::io::Error;
        async fn create(&self) -> Result<u32, std::io::Error> {
            let is_first = !self.0.swap(true, Ordering::Relaxed);
            if is_first { Ok(7) } else { Err(std::io::ErrorKind::ConnectionRefused.into()) }
        }
    }

    let name: GateName = "sessions".parse().unwrap();
    let pool = Pool::builder(CreateOnce(AtomicBool::new(false))).max(3).name(name).build().await.unwrap();
    let item = pool.checkout().await.unwrap();
    pool.checkout().await.unwrap_err();
    let status = to_value(pool.status()).unwrap();
    let numbers =
        ["limit", "size", "idle", "in_use", "creating", "dropping", "waiting"].map(|key| &status[key]);
    assert_eq!(numbers, [3, 1, 0, 1, 0, 0, 0]);
    assert!(status["backing_off"].as_f64().unwrap() > 0.0, "{status}");
    assert_eq!((&status["gate"], &status["closed"]), (&json!("sessions"), &json!(false)));
    let totals = &status["totals"];
    assert_eq!(
        [&totals["created"], &totals["reused"], &totals["evicted"], &totals["detached"]],
        [1, 0, 0, 0]
    );
    assert_eq!(
        totals["create_errors"],
        json!({ "failed": 1, "timed_out": 0, "panicked": 0, "not_started": 0, "abandoned": 0 })
    );
    assert_eq!(
        (&totals["added"], &status["checking"], &status["start_delay"]),
        (&json!(0), &json!(0), &json!(null))
    );
    assert_eq!((totals["expired"].as_object().unwrap().len(), &totals["expired"]["backoff"]), (6, &json!(0)));
    assert_eq!((&status["creates"]["count"], &status["waits"]["count"]), (&json!(1), &json!(1)));

    item.discard();
    pool.close();
    let status = to_value(pool.status()).unwrap();
    assert_eq!((&status["backing_off"], &status["closed"]), (&json!(null), &json!(true)));
    let discarded = status["totals"]["discarded"].as_object().unwrap();
    let reasons: Vec<_> =
        discarded.iter().filter(|(_, count)| **count == 1).map(|(reason, _)| &**reason).collect();
    assert_eq!((reasons, discarded.len()), (vec!["broken"], 9));
}
