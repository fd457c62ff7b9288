//! The status and the events of a pool.

use std::mem;
use std::sync::{Arc, Mutex};

use concurrency_governor::GateName;
use concurrency_governor::pool::PoolEvent;
use tokio::time::sleep;

use super::support::{Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

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
    let other_permit = pool.gate().try_acquire().unwrap();
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
