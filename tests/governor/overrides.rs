//! Overrides that change while the governor runs.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use concurrency_governor::plan::{Origin, Policy};
use concurrency_governor::{Limit, OverrideLayer, Overrides};

use super::*;

/// Either all of the new overrides take effect or none.
#[tokio::test]
async fn rejected_overrides_change_nothing() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let valid = Overrides::new().then(OverrideLayer::new("cli").set(IO, 10));
    assert_eq!(governor.set_overrides(valid).unwrap().limit(IO).unwrap(), Limit::new(10));
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (10, 5));
    let before = governor.resolution();
    log.take();

    let undeclared = GateName::new("oi");
    for invalid in [
        OverrideLayer::new("cli").set(CACHE, 3).set(undeclared, 5),
        OverrideLayer::new("cli").set(CACHE, 3).set(IO, 257).policy(Policy::Reject),
    ] {
        assert!(governor.set_overrides(Overrides::new().then(invalid)).is_err());
        assert!(Arc::ptr_eq(&before, &governor.resolution()));
        assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (10, 5));
    }
    assert_eq!(log.take(), [""; 0]);
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 10, "the previous overrides are still in force");
    governor.set_overrides(Overrides::new()).unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
}

/// Overrides that change during a refresh stay in force: the refresh applies its readings to the newest overrides.
#[tokio::test(start_paused = true)]
async fn overrides_may_change_during_a_refresh() {
    let (probe, log) = (cpu(4), EventLog::default());
    let builder = Governor::builder().gate(IO).gate(CACHE).probe(probe.clone()).observer(log.observer());
    let hung = MockProbe::new(Resource::FD, Reading::whole(100));
    let governor = builder.probe(hung.clone()).build().await.unwrap();
    governor.set_overrides(Overrides::new().then(OverrideLayer::new("cli").set(IO, 10))).unwrap();
    log.take();

    hung.hang(); // the refresh takes until the deadline of this probe
    probe.set(Reading::whole(2));
    let mut refresh = pin!(governor.refresh());
    assert!(refresh.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    governor.set_overrides(Overrides::new().then(OverrideLayer::new("cli").set(CACHE, 7))).unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (256, 7));
    refresh.await.unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (128, 7));
    assert_eq!(
        log.take(),
        [
            "gate io: limit 10 -> 256",
            "gate cache: limit 5 -> 7",
            "cpu: 4 -> 2",
            "fd: the probe did not answer within 1s; keeping 100",
            "gate io: limit 256 -> 128",
        ]
    );
}

/// A refresh whose readings make an override with the policy `Reject` too high changes no limit. New overrides are checked
/// against the new readings.
#[tokio::test]
async fn a_rejected_refresh_changes_no_limit() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let strict =
        |value| Overrides::new().then(OverrideLayer::new("cli").set(IO, value).policy(Policy::Reject));
    governor.set_overrides(strict(200)).unwrap();
    log.take();

    probe.set(Reading::whole(1));
    let error = governor.refresh().await.unwrap_err();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (200, 100));
    assert_eq!(governor.status().rejected, 1);
    let rejected = Event::RefreshRejected { error };
    assert_eq!(log.take(), ["cpu: 4 -> 1".to_owned(), rejected.to_string()]);

    assert!(governor.set_overrides(strict(65)).is_err(), "overrides are checked against the newest readings");
    governor.set_overrides(strict(64)).unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (64, 32));
}

/// Settings change the bound of a queue and the longest wait of a live gate, and the first layer that sets one decides. Without them the
/// declaration counts again.
#[tokio::test]
async fn the_bounds_of_a_queue_follow_the_overrides() {
    let spec = GateSpec::new("bounded", Formula::fixed(4)).queue(100).max_wait(Duration::from_secs(1));
    let admin = || OverrideLayer::new("admin").set_queue(spec, 10);
    let governor =
        Governor::builder().gate(spec).overrides(Overrides::new().then(admin())).build().await.unwrap();
    let gate = governor.gate(spec).unwrap();
    let bounds = || (gate.status().queue_bound, gate.status().max_wait.map(|wait| wait.as_secs()));
    assert_eq!(bounds(), (Some(10), Some(1)));
    let file = OverrideLayer::new("file")
        .set_queue(spec, 20)
        .set_max_wait(spec, Duration::from_secs(5))
        .set(spec, 3);
    let mut changes = governor.subscribe();
    let resolution = governor.set_overrides(Overrides::new().then(admin()).then(file.clone())).unwrap();
    assert_eq!((bounds(), gate.limit().get()), ((Some(10), Some(5)), 3));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let explanation = resolution.explain(spec).unwrap();
    let set_by = |origin: Option<&Origin>| origin.map(ToString::to_string);
    assert_eq!(set_by(explanation.queue_bounds().queue_origin()).as_deref(), Some("admin"));
    assert_eq!(set_by(explanation.queue_bounds().max_wait_origin()).as_deref(), Some("file"));
    let text = format!("{explanation:#}");
    assert!(
        text.ends_with("at most 10 requests wait, set by admin; each for at most 5s, set by file"),
        "{text}"
    );

    // Only the bounds change: subscribers are notified.
    governor.set_overrides(Overrides::new().then(file)).unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(bounds(), (Some(20), Some(5)));
    governor.set_overrides(Overrides::new()).unwrap();
    assert_eq!((bounds(), gate.limit().get()), ((Some(100), Some(1)), 4));
    let unbounded = OverrideLayer::new("admin").set_queue(spec, usize::MAX).set_max_wait(spec, Duration::MAX);
    governor.set_overrides(Overrides::new().then(unbounded)).unwrap();
    assert_eq!(bounds(), (None, None));

    // A wrong gate is reported, and changes nothing.
    let wrong = OverrideLayer::new("admin").set_queue(GateName::new("nowhere"), 1);
    assert!(governor.set_overrides(Overrides::new().then(wrong)).is_err());
    assert_eq!(bounds(), (None, None));
}
