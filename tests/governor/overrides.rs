//! Overrides that change while the governor runs.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use concurrency_governor::plan::Policy;
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
