//! Health checks of idle items before they are handed out again.

use concurrency_governor::pool::{CheckoutError, CheckoutStage};
use tokio::time::{Instant, sleep};

use super::support::{Check, Creation, ScriptedManager, assert_quiescent, ms, poll_once};

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

/// An item whose check is cancelled is dropped, because its state is unknown.
#[tokio::test]
async fn cancelled_check_drops_the_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Hang;
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    assert_eq!(pool.status().in_use, 1);
    drop(checkout);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.health, status.size), (1, 0));
}

/// A check that panics passes its panic to the caller of `checkout`. The item is dropped and its place is free.
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

/// `try_checkout` does not check the item's health.
#[tokio::test]
async fn try_checkout_skips_the_check() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Panic;
    assert_eq!(pool.try_checkout().unwrap().id, 0);
}
