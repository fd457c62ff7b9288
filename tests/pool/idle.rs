//! Idle items: eviction, maximum lifetime, and the minimum of idle items.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use concurrency_governor::Limit;
use concurrency_governor::pool::{DiscardReason, PoolEvent};
use tokio::time::{Instant, sleep};

use super::support::{Creation, ScriptedManager, assert_consistent, assert_quiescent, ms, poll_once, settle};

/// Items that reach the idle timeout are evicted, the coldest first, down to the minimum.
#[tokio::test(start_paused = true)]
async fn coldest_items_are_evicted_down_to_the_minimum() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(5).min_idle(2).idle_timeout(ms(100)).build().await.unwrap();
    let mut items = Vec::new();
    for _ in 0..5 {
        items.push(pool.checkout().await.unwrap());
    }
    let returned: Vec<_> = items.iter().map(|item| item.id).collect();
    for item in items {
        drop(item); // one every ten milliseconds
        sleep(ms(10)).await;
    }
    sleep(ms(49)).await; // the first item is due in one millisecond
    assert!(manager.dropped().is_empty());
    sleep(ms(2)).await;
    assert_eq!(manager.dropped(), returned[..1]);
    sleep(ms(10)).await;
    assert_eq!(manager.dropped(), returned[..2]);
    sleep(ms(1000)).await;
    assert_eq!(manager.dropped(), returned[..3], "the minimum was not kept");
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.evicted, status.totals.discarded.sum()), (2, 3, 0));
    assert_eq!(pool.checkout().await.unwrap().id, returned[4]);
}

/// An item that is in use, or that comes back before the idle timeout, is not evicted.
#[tokio::test(start_paused = true)]
async fn used_items_are_not_evicted() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).idle_timeout(ms(100)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    for _ in 0..20 {
        drop(pool.checkout().await.unwrap());
        sleep(ms(60)).await;
    }
    drop(held);
    assert_consistent(&pool, &manager);
    assert_eq!(manager.live(), 2, "one was in use all the time, the other came back every 60 ms");
    sleep(ms(101)).await;
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.evicted, 2);
}

/// An overdue item that the minimum has kept is evicted as soon as another item becomes idle.
#[tokio::test(start_paused = true)]
async fn overdue_item_is_evicted_when_another_becomes_idle() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).min_idle(1).idle_timeout(ms(100)).build().await.unwrap();
    let [first, second] = [pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    drop(first);
    sleep(ms(500)).await;
    assert_eq!(manager.live(), 2);
    drop(second);
    settle().await;
    assert_eq!(manager.dropped(), [0]);
}

/// An item that reaches its lifetime is dropped when it is idle, also below the minimum, which is then refilled, and when it
/// comes back. The lifetime is at most the maximum, and at most a tenth shorter.
#[tokio::test(start_paused = true)]
async fn expired_items_are_dropped() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).min_idle(2).max_lifetime(ms(100)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    sleep(ms(89)).await;
    assert!(manager.dropped().is_empty());
    sleep(ms(12)).await;
    let status = assert_consistent(&pool, &manager);
    assert_eq!(
        (manager.dropped(), status.idle, status.in_use),
        (vec![0], 2, 1),
        "not two new items and one held"
    );
    drop(held);
    settle().await;
    assert_eq!(manager.dropped(), [0, 1]);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.discarded.expired), (2, 2));
}

/// Items that were created together expire at different times: the lifetime of each is jittered by up to a tenth.
#[tokio::test(start_paused = true)]
async fn lifetimes_are_jittered() {
    let manager = ScriptedManager::new();
    let (began, ends) = (Instant::now(), Arc::new(Mutex::new(BTreeSet::new())));
    let observed = Arc::clone(&ends);
    let _pool = manager
        .pool(32)
        .min_idle(32)
        .max_lifetime(ms(100_000))
        .observer(move |event: &PoolEvent| {
            if matches!(event, PoolEvent::Discarded { reason: DiscardReason::Expired, .. }) {
                observed.lock().unwrap().insert(began.elapsed());
            }
        })
        .build()
        .await
        .unwrap();
    sleep(ms(100_001)).await;
    assert_eq!(manager.dropped().len(), 32);
    let ends = ends.lock().unwrap().clone();
    assert!(ends.len() > 8, "the items expired at only {} times", ends.len());
    let (first, last) = (*ends.first().unwrap(), *ends.last().unwrap());
    assert!(first >= ms(90_000) && last <= ms(100_001), "{first:?} to {last:?}");
    assert!(last > first + ms(2000), "{first:?} to {last:?}");
}

/// A checkout does not get an expired item, even if the maintenance task has not run since it expired.
#[tokio::test(start_paused = true)]
async fn expired_items_are_not_handed_out() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).max_lifetime(ms(100)).build().await.unwrap();
    let old = pool.checkout().await.unwrap();
    sleep(ms(60)).await;
    let young = pool.checkout().await.unwrap();
    drop((young, old)); // the old item is the warmest
    tokio::time::advance(ms(45)).await; // no task runs
    assert_eq!(pool.try_checkout().map(|item| item.id), Ok(1));
    assert_eq!(manager.dropped(), [0]);
}

/// An item that becomes idle shortly before it expires is dropped in time, although the maintenance task had planned to
/// sleep longer.
#[tokio::test(start_paused = true)]
async fn returned_item_expires_in_time() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).idle_timeout(ms(10_000)).max_lifetime(ms(1000)).build().await.unwrap();
    let old = pool.checkout().await.unwrap();
    sleep(ms(900)).await;
    drop(pool.checkout().await.unwrap()); // the maintenance task sleeps until this item expires
    drop(old);
    sleep(ms(101)).await;
    assert_eq!((manager.dropped(), manager.live()), (vec![0], 1));
}

/// Dropped items are replaced in the background up to the minimum, but no more than fit below the limit.
#[tokio::test(start_paused = true)]
async fn minimum_is_refilled() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).min_idle(2).build().await.unwrap();
    assert_eq!((pool.status().idle, manager.attempts()), (2, 2), "the first items are missing");
    let (first, second) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    settle().await;
    assert_eq!(manager.attempts(), 2, "items in use are not replaced");
    first.discard();
    settle().await;
    let status = assert_consistent(&pool, &manager);
    assert_eq!((status.idle, status.in_use, status.size), (2, 1, 3));
    second.discard();
    settle().await;
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 2);
    assert_eq!(manager.peak(), 3);
}

/// If refilling the minimum fails, it is retried after a backoff delay until it succeeds.
#[tokio::test(start_paused = true)]
async fn refill_is_retried() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).min_idle(2).create_backoff(ms(100), ms(100)).build().await.unwrap();
    let both = [pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    manager.script([Creation::Fail, Creation::Fail, Creation::Panic]);
    for item in both {
        item.discard();
    }
    settle().await;
    assert_eq!((pool.status().idle, manager.attempts()), (0, 4));
    sleep(ms(101)).await;
    assert_eq!((pool.status().idle, manager.attempts()), (0, 5));
    sleep(ms(101)).await;
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 2);
}

/// The maintenance task ends with the pool, whether it is closed or its last handle dropped, and keeps no item alive.
#[tokio::test(start_paused = true)]
async fn maintenance_task_ends_with_the_pool() {
    let manager = ScriptedManager::new();
    let handle = tokio::runtime::Handle::current();
    let before = handle.metrics().num_alive_tasks();
    for by_closing in [false, true] {
        let pool = manager.pool(3).min_idle(3).idle_timeout(ms(100)).build().await.unwrap();
        assert_eq!(handle.metrics().num_alive_tasks(), before + 1, "not one task per pool");
        if by_closing {
            pool.close();
            settle().await;
            assert_eq!(handle.metrics().num_alive_tasks(), before);
        }
        drop(pool);
        settle().await;
        assert_eq!((handle.metrics().num_alive_tasks(), manager.live()), (before, 0));
    }
}

/// A minimum above the limit counts as the limit, and grows with it.
#[tokio::test(start_paused = true)]
async fn minimum_is_capped_by_the_limit() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).min_idle(10).idle_timeout(ms(100)).build().await.unwrap();
    assert_eq!((manager.live(), manager.peak()), (2, 2));
    sleep(ms(500)).await;
    assert_eq!(manager.live(), 2);
    pool.resize(Limit::new(4));
    settle().await;
    assert_eq!((manager.live(), manager.peak()), (4, 4));
    sleep(ms(500)).await;
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 4);
}

/// The minimum also grows if the limit is raised at the gate and a checkout reads it before the maintenance task does.
#[tokio::test(start_paused = true)]
async fn minimum_grows_when_a_checkout_reads_the_raised_limit_first() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).min_idle(10).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    pool.gate().resize(Limit::new(4));
    assert!(poll_once(&mut waiting).is_pending(), "its item is not being created");
    drop((waiting, held));
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 4);
}
