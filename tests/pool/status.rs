//! The status and the events of a pool.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex};

use concurrency_governor::pool::{DiscardReason, PoolEvent, PooledItem};
use concurrency_governor::{GateName, Limit};
use tokio::time::sleep;

use super::support::{Check, Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

/// Sizes, totals and histograms match what happened.
#[tokio::test(start_paused = true)]
async fn status_matches_what_happened() {
    let manager = ScriptedManager::new();
    manager.script([Creation::SucceedAfter(ms(20))]);
    let pool = manager.pool(2).idle_timeout(ms(1000)).create_backoff(ms(1), ms(1)).build().await.unwrap();
    let first = pool.checkout().await.unwrap(); // waits 20 ms for its creation
    drop(first);
    let first = pool.checkout().await.unwrap(); // does not wait
    manager.script([Creation::Fail]);
    assert!(pool.checkout().await.is_err()); // fails, so its wait is not recorded
    let other_permit = pool.gate().as_gate().unwrap().try_acquire().unwrap();
    let mut waiting = Box::pin(pool.checkout()); // in the gate's queue
    assert!(poll_once(&mut waiting).is_pending());
    let status = pool.status();
    assert_eq!((status.size, status.in_use, status.idle, status.waiting), (1, 1, 0, 1));

    sleep(ms(30)).await;
    drop(first);
    let first = waiting.await.unwrap(); // has waited 30 ms for an item that came back
    drop(other_permit);
    manager.script([Creation::SucceedAfter(ms(40))]);
    let mut growing = Box::pin(pool.checkout());
    assert!(poll_once(&mut growing).is_pending());
    assert_eq!(pool.status().waiting, 1);
    let second = growing.await.unwrap(); // has waited 40 ms for its creation
    drop((first, second));

    let status = pool.status();
    assert_eq!((status.totals.created, status.totals.reused, status.totals.create_errors.sum()), (2, 2, 1));
    assert_eq!((status.creates.count(), status.creates.max()), (2, Some(ms(40))));
    assert_eq!(status.waits.count(), 3, "{:?}", status.waits);
    assert_eq!(status.waits.mean().unwrap().as_millis(), (20 + 30 + 40) / 3);
    sleep(ms(1001)).await;
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.evicted, 2);
}

/// Each reason for a discard and each kind of failed creation has a counter of its own, and the events name the same reasons.
#[tokio::test(start_paused = true)]
async fn each_reason_is_counted_by_itself() {
    type Discard = fn(&mut PooledItem<ScriptedManager>);
    let manager = ScriptedManager::new();
    let events: Arc<Mutex<HashMap<DiscardReason, u64>>> = Arc::default();
    let observed = Arc::clone(&events);
    let pool = manager
        .pool(9)
        .max_lifetime(ms(100_000))
        .create_timeout(ms(10))
        .create_backoff(ms(1), ms(1))
        .observer(move |event: &PoolEvent| {
            if let PoolEvent::Discarded { reason, .. } = event {
                *observed.lock().unwrap().entry(*reason).or_default() += 1;
            }
        })
        .build()
        .await
        .unwrap();
    let take = |items: usize| {
        let pool = pool.clone();
        async move {
            let mut taken = Vec::new();
            for _ in 0..items {
                taken.push(pool.checkout().await.unwrap());
            }
            taken
        }
    };

    // Each reason happens a different number of times.
    let by_use: [(usize, Discard); 4] = [
        (1, |item| item.mark_broken()),
        (2, |item| item.begin()),
        (3, |item| item.recycle = Check::Panic),
        (4, |item| item.recycle = Check::Discard),
    ];
    for (times, unfit) in by_use {
        take(times).await.iter_mut().for_each(unfit);
    }
    take(5).await.iter_mut().for_each(|item| item.health = Check::Discard);
    drop(take(1).await); // checks and rejects all five
    drop(take(6).await);
    sleep(ms(100_001)).await;
    drop(take(9).await);
    pool.resize(Limit::new(2));
    pool.resize(Limit::new(9));
    drop(take(8).await);
    pool.retain(|_, _| false);
    for (times, failure) in [(1, Creation::Fail), (2, Creation::Hang), (3, Creation::Panic)] {
        for _ in 0..times {
            manager.script([failure]);
            assert!(pool.checkout().await.is_err());
        }
    }
    drop(take(9).await);
    pool.close();

    let status = assert_quiescent(&pool, &manager).await;
    let discarded = status.totals.discarded;
    let reasons = [
        (DiscardReason::Broken, discarded.broken, 1),
        (DiscardReason::Incomplete, discarded.incomplete, 2),
        (DiscardReason::Panicked, discarded.panicked, 3),
        (DiscardReason::Recycle, discarded.recycle, 4),
        (DiscardReason::Health, discarded.health, 5),
        (DiscardReason::Expired, discarded.expired, 6),
        (DiscardReason::Surplus, discarded.surplus, 7),
        (DiscardReason::Retain, discarded.retain, 8),
        (DiscardReason::Closed, discarded.closed, 9),
    ];
    for (reason, counted, expected) in reasons {
        assert_eq!((counted, events.lock().unwrap()[&reason]), (expected, expected), "{reason:?}");
    }
    let errors = status.totals.create_errors;
    assert_eq!((errors.failed, errors.timed_out, errors.panicked), (1, 2, 3));
    assert_eq!((errors.not_started, errors.abandoned, status.totals.evicted), (0, 0, 0));
}

/// Observers get an event for everything but the reuse of idle items. Events print as readable lines. A panic of an observer
/// is caught.
#[tokio::test(start_paused = true)]
async fn observers_get_readable_events() {
    let manager = ScriptedManager::new();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let observed = Arc::clone(&lines);
    let pool = manager
        .pool(2)
        .name(GateName::new("boats"))
        .idle_timeout(ms(100))
        .create_backoff(ms(100), ms(100))
        .observer(|_: &PoolEvent| panic!("scripted panic"))
        .observer(move |event: &PoolEvent| observed.lock().unwrap().push(event.to_string()))
        .build()
        .await
        .unwrap();
    let take_lines = || mem::take(&mut *lines.lock().unwrap());
    drop(pool.checkout().await.unwrap());
    assert_eq!(take_lines(), ["pool boats: item created in 0ns"]);
    drop(pool.checkout().await.unwrap());
    assert_eq!(take_lines(), [""; 0], "the reuse of an idle item emitted an event");
    sleep(ms(101)).await;
    assert_eq!(take_lines(), ["pool boats: item evicted after 100ms idle"]);
    manager.script([Creation::Fail]);
    assert!(pool.checkout().await.is_err());
    let [failed, backing_off] = &take_lines()[..] else { panic!("not two events") };
    assert_eq!(failed, "pool boats: the pool of gate `boats` could not create an item: scripted error");
    assert!(
        backing_off.starts_with("pool boats: next attempt to create an item in ")
            && backing_off.ends_with("ms (failures in a row: 1)"),
        "{backing_off}"
    );
    pool.checkout().await.unwrap().discard();
    assert_eq!(
        take_lines(),
        ["pool boats: item created in 0ns", "pool boats: item discarded: it was marked broken"]
    );
    pool.close();
    settle().await;
    assert_eq!(take_lines(), ["pool boats: closed"]);
}

/// A checkout that finds an idle item records no wait, also after another checkout had to wait at the gate.
#[tokio::test(start_paused = true)]
async fn a_checkout_of_an_idle_item_records_no_wait() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    drop(held);
    drop(waiting.await.unwrap());
    let waits = pool.status().waits.count();
    drop(pool.checkout().await.unwrap());
    assert_eq!(pool.status().waits.count(), waits);
    assert_quiescent(&pool, &manager).await;
}
