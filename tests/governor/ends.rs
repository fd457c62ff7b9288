//! What is left of a governor when its handles, its runtime, its refresh or one of its gates end.

use std::time::Duration;

use concurrency_governor::AcquireError;
use concurrency_governor::governor::RefreshPolicy;
use tokio::time::sleep;

use super::*;

/// A subscriber learns that no further resolution comes when the last handle and the background refresh are dropped, and
/// not before.
#[tokio::test(start_paused = true)]
async fn subscribers_learn_that_the_governor_is_gone() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let mut subscription = governor.subscribe();
    let gate = governor.gate(IO).unwrap();
    let refresh = governor.spawn_refresh(RefreshPolicy::new());
    sleep(Duration::from_millis(1)).await;
    drop(governor);

    // The background refresh alone keeps the governor, and the gate follows the host.
    probe.set(Reading::whole(2));
    subscription.changed().await.unwrap();
    assert_eq!((subscription.borrow_and_update().limit(IO).unwrap().get(), gate.limit().get()), (128, 128));

    drop(refresh);
    assert!(subscription.changed().await.is_err());
    assert_eq!(subscription.borrow().limit(IO).unwrap().get(), 128, "the last resolution stays");
    probe.set(Reading::whole(1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(gate.limit().get(), 128, "the gate outlives the governor, with its last limit");
    assert!(gate.try_acquire().is_ok());
}

/// A closed gate stays closed. Its limit, its events and the formulas that read it follow the host as before.
#[tokio::test]
async fn a_closed_gate_stays_closed_and_follows_the_host() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let io = governor.gate(IO).unwrap();
    let held = io.try_acquire_many(256).unwrap();
    io.close();
    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (64, 32));
    assert_eq!(
        log.take(),
        [
            "cpu: 4 -> 1",
            "gate io: limit 256 -> 64, 192 permits in use above it",
            "gate cache: limit 128 -> 32"
        ]
    );
    drop(held);
    assert!(matches!(io.acquire().await, Err(AcquireError::Closed { .. })));
    let status = governor.gate(IO).unwrap().status();
    assert_eq!(
        (status.closed, status.in_use, status.debt),
        (true, 0, 0),
        "each handle is of the closed gate"
    );
}

/// The background refresh ends with its runtime. The governor goes on in another one, even if the refresh was ended in
/// the middle of a measurement.
#[test]
fn a_governor_outlives_its_runtime() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (probe, log) = (cpu(4), EventLog::default());
    let first = runtime();
    let (governor, refresh) = first.block_on(async {
        let governor = build_governor(&probe, &log).await;
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        sleep(Duration::from_millis(1)).await;
        probe.hang();
        sleep(Duration::from_secs(11)).await; // the next measurement has begun, and hangs
        (governor, refresh)
    });
    assert!(refresh.is_running());
    drop(first);
    assert!(!refresh.is_running());

    probe.set(Reading::whole(2));
    let second = runtime();
    second.block_on(governor.refresh()).unwrap();
    assert_eq!(limit_of(&governor, IO), 128);
    let refresh = second.block_on(async {
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        sleep(Duration::from_millis(1)).await;
        probe.set(Reading::whole(1));
        sleep(Duration::from_millis(20)).await;
        refresh
    });
    assert!(refresh.is_running());
    assert_eq!(limit_of(&governor, IO), 64);
}

/// A background refresh that is stopped in the middle of a measurement does not keep an explicit refresh waiting.
#[tokio::test(start_paused = true)]
async fn a_stopped_refresh_frees_the_probes() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let refresh = governor.spawn_refresh(RefreshPolicy::new());
    sleep(Duration::from_millis(1)).await;
    probe.hang();
    sleep(Duration::from_millis(20)).await; // the change is reported, and the measurement hangs
    let measured = governor.status().refreshes;
    drop(refresh);
    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 128);
    assert_eq!(governor.status().refreshes, measured + 1, "the stopped refresh is not counted");
}
