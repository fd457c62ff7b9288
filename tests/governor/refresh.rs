//! Explicit refreshes.

use std::time::Duration;

use concurrency_governor::Limit;

use super::*;

/// The limits follow the readings, also through formulas that read another gate, and each change is one event.
#[tokio::test]
async fn the_limits_follow_the_readings() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (256, 128));
    assert_eq!(log.take(), [""; 0]);

    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    assert_eq!((limit_of(&governor, IO), limit_of(&governor, CACHE)), (64, 32));
    assert_eq!(log.take(), ["cpu: 4 -> 1", "gate io: limit 256 -> 64", "gate cache: limit 128 -> 32"]);

    probe.set(Reading::whole(8));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 512, "in an explicit refresh, a rise takes effect at once");
}

/// A lowered limit revokes no permit, and the event has the debt.
#[tokio::test]
async fn a_lowered_limit_leaves_debt() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let gate = governor.gate(IO).unwrap();
    let held = gate.try_acquire_many(200).unwrap();
    probe.set(Reading::whole(1));
    governor.refresh().await.unwrap();
    let events = log.take();
    assert!(
        events.iter().any(|event| event.starts_with("gate io: limit 256 -> 64, 136 permits")),
        "{events:?}"
    );
    assert_eq!(gate.status().debt, 136);
    drop(held);
    assert_eq!(gate.status().available, 64);
}

/// A refresh that is dropped before it resolves changes nothing, and the next refresh works.
#[tokio::test(start_paused = true)]
async fn a_dropped_refresh_changes_nothing() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let before = governor.resolution();
    probe.hang();
    let timed_out = tokio::time::timeout(Duration::from_millis(10), governor.refresh()).await;
    assert!(timed_out.is_err());
    assert!(Arc::ptr_eq(&before, &governor.resolution()));
    assert_eq!(log.take(), [""; 0]);

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 128);
}

/// A receiver gets the last resolution, and no notification if nothing changed.
#[tokio::test]
async fn subscribers_are_notified_of_changes_only() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    let mut receiver = governor.subscribe();
    governor.refresh().await.unwrap();
    assert!(!receiver.has_changed().unwrap());

    probe.set(Reading::whole(2));
    governor.refresh().await.unwrap();
    probe.set(Reading::whole(3));
    governor.refresh().await.unwrap();
    assert!(receiver.has_changed().unwrap());
    assert_eq!(receiver.borrow_and_update().limit(IO).unwrap(), Limit::new(192));
    assert!(!receiver.has_changed().unwrap());
}

/// The next refresh restores the limit of a gate that was resized by hand.
#[tokio::test]
async fn a_refresh_restores_a_resized_gate() {
    let (probe, log) = (cpu(4), EventLog::default());
    let governor = build_governor(&probe, &log).await;
    governor.gate(IO).unwrap().resize(Limit::new(3));
    governor.refresh().await.unwrap();
    assert_eq!(limit_of(&governor, IO), 256);
    assert_eq!(log.take(), ["gate io: limit 3 -> 256"]);
}
