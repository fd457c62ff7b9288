//! `retain`: judging idle items while the others stay available.

use std::panic::{AssertUnwindSafe, catch_unwind};

use concurrency_governor::Limit;
use tokio::time::{advance, sleep};

use super::support::{Creation, ScriptedManager, assert_consistent, assert_quiescent, ms, poll_once, settle};

/// The closure gets each idle item and its age, from the coldest to the warmest. Kept items keep their order.
#[tokio::test(start_paused = true)]
async fn idle_items_are_judged_from_the_coldest() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(4).build().await.unwrap();
    let mut items = Vec::new();
    for _ in 0..4 {
        items.push(pool.checkout().await.unwrap());
        sleep(ms(10)).await;
    }
    let held = items.remove(0);
    items.into_iter().rev().for_each(drop); // 3 is the coldest, 1 the warmest
    let mut judged = Vec::new();
    let discarded = pool.retain(|item, age| {
        judged.push((item.id, age));
        item.id != 2
    });
    assert_eq!(discarded, 1);
    assert_eq!(judged, [(3, ms(10)), (2, ms(20)), (1, ms(30))]);
    assert_eq!(manager.dropped(), [2]);
    assert_eq!(pool.try_checkout().unwrap().id, 1, "not the warmest");
    drop(held);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.discarded.retain, 1);
}

/// While an item is judged, the others can be checked out, and all count as idle. Items that come back during the call are not
/// judged.
#[tokio::test]
async fn other_items_stay_available() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).min_idle(3).build().await.unwrap();
    let mut judged = Vec::new();
    pool.retain(|item, _| {
        judged.push(item.id);
        let status = pool.status();
        assert_eq!((status.size, status.idle), (3, 3), "{status:?}");
        let other = pool.try_checkout().unwrap();
        assert_ne!(other.id, item.id);
        true
    });
    assert_eq!(judged.len(), 2, "{judged:?}: the warmest item came back before its turn");
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 3);
}

/// A checkout that arrives while the only idle item is judged waits, and gets the item if it is kept.
#[tokio::test]
async fn waiter_gets_the_judged_item_if_it_is_kept() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    drop(pool.checkout().await.unwrap());
    let mut waiting = Box::pin(pool.checkout());
    pool.retain(|_, _| {
        assert!(poll_once(&mut waiting).is_pending());
        true
    });
    assert_eq!(waiting.await.unwrap().id, 0);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.created, 1);
}

/// If the judged item is discarded, another is created for the waiter after it is dropped. The minimum is refilled, too.
#[tokio::test]
async fn discarded_item_is_replaced() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).min_idle(1).build().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    let discarded = pool.retain(|_, _| {
        assert!(poll_once(&mut waiting).is_pending());
        false
    });
    assert_eq!(discarded, 1);
    assert_eq!(waiting.await.unwrap().id, 1);
    pool.retain(|_, _| false);
    settle().await;
    assert_eq!((assert_quiescent(&pool, &manager).await.idle, manager.peak()), (1, 1));
}

/// The closure may panic, which costs no item, and may resize or close the pool, which takes effect on the judged item.
#[tokio::test]
async fn closure_may_panic_or_change_the_pool() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).min_idle(3).build().await.unwrap();
    let unwind_safe = AssertUnwindSafe(&pool);
    assert!(catch_unwind(|| unwind_safe.retain(|_, _| panic!("scripted panic"))).is_err());
    assert_eq!(assert_consistent(&pool, &manager).idle, 3);
    pool.retain(|_, _| {
        pool.resize(Limit::new(2));
        true
    });
    settle().await;
    assert_eq!((assert_consistent(&pool, &manager).idle, manager.peak()), (2, 3));
    manager.always(Creation::Hang);
    pool.retain(|_, _| {
        pool.close();
        true
    });
    assert_eq!(manager.live(), 0);
}

/// An item that expires while it is judged is dropped, also if a checkout waits for it.
#[tokio::test(start_paused = true)]
async fn item_that_expires_while_it_is_judged_is_dropped() {
    for is_awaited in [false, true] {
        let manager = ScriptedManager::new();
        let pool = manager.pool(1).max_lifetime(ms(100)).build().await.unwrap();
        drop(pool.checkout().await.unwrap());
        let mut waiting = is_awaited.then(|| Box::pin(pool.checkout()));
        pool.retain(|_, _| {
            assert!(waiting.as_mut().is_none_or(|waiting| poll_once(waiting).is_pending()));
            assert!(poll_once(&mut Box::pin(advance(ms(101)))).is_pending()); // the first poll advances the clock
            true
        });
        assert_eq!(manager.dropped(), [0]);
        if let Some(waiting) = waiting {
            assert_eq!(waiting.await.unwrap().id, 1);
        }
        assert_eq!(assert_quiescent(&pool, &manager).await.totals.discarded.expired, 1);
    }
}
