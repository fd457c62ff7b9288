//! Health checks of idle items before they are handed out again.

use concurrency_governor::pool::{CheckoutError, CheckoutStage};
use tokio::time::{Instant, sleep};

use super::support::{Check, Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

/// An unhealthy item is dropped and the next one is checked. If none is left, a new item is created, which is not checked.
#[tokio::test]
async fn unhealthy_item_is_replaced() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    let (mut first, mut second) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    first.health = Check::Discard;
    second.health = Check::Discard;
    drop((first, second));
    assert_eq!(pool.checkout().await.unwrap().id, 2);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.health, manager.peak()), (2, 2));
}

/// An item whose check hangs is dropped after the check timeout. If the checkout's deadline is earlier, the checkout ends.
#[tokio::test(start_paused = true)]
async fn hanging_check_times_out() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).check_timeout(ms(400)).build().await.unwrap();
    for wait in [ms(100), ms(1000)] {
        pool.checkout().await.unwrap().health = Check::Hang;
        let began = Instant::now();
        let outcome = pool.request().max_wait(wait).checkout().await;
        assert_eq!(began.elapsed(), wait.min(ms(400)));
        match outcome {
            Err(CheckoutError::DeadlineExceeded(timeout)) => {
                assert_eq!((wait, timeout.stage), (ms(100), CheckoutStage::Check));
            }
            outcome => assert_eq!((outcome.unwrap().health as u8, wait), (Check::Keep as u8, ms(1000))),
        }
        assert_quiescent(&pool, &manager).await;
    }
    assert_eq!(pool.status().totals.discarded.health, 2);
}

/// When a check exceeds its timeout, the items that have been idle for longer are discarded, too: one checkout waits for one such check
/// and is served with a new item, and the next checkout does not wait at all.
#[tokio::test(start_paused = true)]
async fn one_checkout_waits_for_one_hanging_check() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(8).check_timeout(ms(400)).build().await.unwrap();
    let mut items = Vec::new();
    for _ in 0..8 {
        items.push(pool.checkout().await.unwrap());
        items.last_mut().unwrap().health = Check::Hang;
    }
    drop(items);
    let began = Instant::now();
    let first = pool.request().max_wait(ms(1000)).checkout().await.unwrap();
    assert_eq!((began.elapsed(), first.id), (ms(400), 8));
    let second = pool.checkout().await.unwrap();
    assert_eq!((began.elapsed(), second.id), (ms(400), 9), "another checkout waited for a check");
    drop((first, second));
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.health, status.idle), (8, 2));
}

/// When a check exceeds its timeout, items that came back while it ran are not discarded. When a check rejects its item, no other item
/// is discarded.
#[tokio::test(start_paused = true)]
async fn hanging_check_spares_items_that_came_back_since() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(4).check_timeout(ms(400)).build().await.unwrap();
    let mut items = Vec::new();
    for _ in 0..4 {
        items.push(pool.checkout().await.unwrap());
    }
    let fresh = items.pop().unwrap();
    items[2].health = Check::Discard;
    items[1].health = Check::Hang;
    items.into_iter().for_each(drop); // 2 is the warmest: it is rejected, then the check of 1 hangs, and 0 is the coldest
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    assert_eq!(manager.dropped(), [2]);
    drop(fresh);
    assert_eq!(checkout.await.unwrap().id, 3, "the item that came back was discarded, too");
    assert_eq!(manager.dropped(), [2, 0, 1]);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.discarded.health, 3);
}

/// By default a check takes at most a second, or half of the longest wait of the pool or the gate.
#[tokio::test(start_paused = true)]
async fn default_check_timeout_leaves_half_of_the_wait() {
    for (max_wait, expected) in [(None, ms(1000)), (Some(ms(10_000)), ms(1000)), (Some(ms(300)), ms(150))] {
        let manager = ScriptedManager::new();
        let mut builder = manager.pool(1);
        if let Some(wait) = max_wait {
            builder = builder.max_wait(wait);
        }
        let pool = builder.build().await.unwrap();
        pool.checkout().await.unwrap().health = Check::Hang;
        let began = Instant::now();
        drop(pool.checkout().await.unwrap());
        assert_eq!(began.elapsed(), expected, "{max_wait:?}");
    }
}

/// An item whose check is cancelled is dropped, because its state is unknown.
#[tokio::test]
async fn cancelled_check_drops_the_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Hang;
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    assert_eq!((pool.status().in_use, pool.status().checking), (1, 1));
    drop(checkout);
    assert_eq!(pool.status().checking, 0);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.health, status.size), (1, 0));
}

/// A check that panics passes its panic to the caller of `checkout`. The item is dropped and its slot is free.
#[tokio::test]
async fn panicking_check_drops_the_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Panic;
    let task_pool = pool.clone();
    let task = tokio::spawn(async move { drop(task_pool.checkout().await) });
    assert!(task.await.unwrap_err().is_panic());
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.panicked, status.size), (1, 0));
    drop(pool.checkout().await.unwrap());
}

/// An item that is delivered to a waiter is checked, too. The waiter keeps its permit while the item is replaced.
#[tokio::test(start_paused = true)]
async fn delivered_item_is_checked() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    let mut held = pool.checkout().await.unwrap();
    manager.script([Creation::SucceedAfter(ms(50))]);
    let waiting = pool.checkout();
    let returning = async {
        sleep(ms(10)).await;
        held.health = Check::Discard;
        drop(held);
    };
    let (outcome, ()) = tokio::join!(waiting, returning);
    assert_eq!(outcome.unwrap().id, 1);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.discarded.health, 1);
}

/// A checkout whose item was rejected keeps its position before checkouts that were admitted later, whether the item was idle or was
/// delivered to it.
#[tokio::test(start_paused = true)]
async fn checkout_keeps_its_position_after_an_unhealthy_item() {
    for is_delivered in [false, true] {
        let manager = ScriptedManager::new();
        let pool = manager.pool(4).build().await.unwrap();
        let mut unhealthy = pool.checkout().await.unwrap();
        unhealthy.health = Check::DiscardLater;
        let held = pool.checkout().await.unwrap();
        manager.always(Creation::Hang);
        let mut first = Box::pin(pool.checkout());
        let mut second = Box::pin(pool.checkout());
        if is_delivered {
            assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
            drop(unhealthy);
            assert!(poll_once(&mut first).is_pending());
        } else {
            drop(unhealthy);
            assert!(poll_once(&mut first).is_pending());
            assert!(poll_once(&mut second).is_pending());
        }
        settle().await;
        assert!(poll_once(&mut first).is_pending(), "the check has not ended");
        assert_eq!(manager.dropped(), [0]);
        drop(held);
        assert!(poll_once(&mut second).is_pending(), "the later checkout has overtaken the first");
        assert_eq!(first.await.unwrap().id, 1);
        drop(second);
    }
}

/// `try_checkout` does not check the item's health.
#[tokio::test]
async fn try_checkout_skips_the_check() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Panic;
    assert_eq!(pool.try_checkout().unwrap().id, 0);
}

/// When the check of an item that was delivered to a waiter exceeds its timeout, items that came back after the delivery are not
/// discarded, also those that came back before the waiter was polled.
#[tokio::test(start_paused = true)]
async fn hanging_check_spares_items_that_came_back_since_the_delivery() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).check_timeout(ms(400)).build().await.unwrap();
    let (mut hanging, fresh) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    hanging.health = Check::Hang;
    manager.always(Creation::Hang);
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    drop(hanging);
    drop(fresh);
    assert_eq!(checkout.await.unwrap().id, 1, "the item that came back was discarded, too");
    assert_eq!(manager.dropped(), [0]);
}

/// A check that reaches its timeout and the deadline of its checkout at the same instant ends the checkout.
#[tokio::test(start_paused = true)]
async fn check_timeout_at_the_deadline_ends_the_checkout() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).check_timeout(ms(400)).max_wait(ms(400)).build().await.unwrap();
    let mut items = [pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    for item in &mut items {
        item.health = Check::Hang;
    }
    drop(items);
    let error = pool.checkout().await.unwrap_err();
    let CheckoutError::DeadlineExceeded(timeout) = &error else { panic!("{error:?}") };
    assert_eq!(timeout.stage, CheckoutStage::Check);
    assert_eq!(manager.live(), 0, "the colder item was kept");
}
