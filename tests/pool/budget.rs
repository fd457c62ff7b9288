//! The cooperative budget of tokio: a task that never has to wait for an item still yields to the runtime.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;

use concurrency_governor::pool::DuringBackoff;
use tokio::task::coop::poll_proceed;
use tokio::task::yield_now;

use super::support::{Creation, ScriptedManager, assert_quiescent, ms, poll_once};

/// More checkouts than the budget of any task.
const MANY: usize = 100_000;

/// Checks out in a loop, and checks that another task runs before the loop ends.
async fn assert_yields(checkout: impl AsyncFn()) {
    let other_ran = Arc::new(AtomicBool::new(false));
    let other = Arc::clone(&other_ran);
    let other = tokio::spawn(async move { other.store(true, SeqCst) });
    let mut rounds = 0;
    while rounds < MANY && !other_ran.load(SeqCst) {
        checkout().await;
        rounds += 1;
    }
    assert!(rounds < MANY, "the task did not yield");
    other.await.unwrap();
}

/// A task that checks out idle items in a loop yields.
#[tokio::test(start_paused = true)]
async fn idle_items_spend_the_budget() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    drop(pool.checkout().await.unwrap());
    assert_yields(async || drop(pool.checkout().await.unwrap())).await;
    assert_yields(async || drop(pool.request().max_wait(ms(1)).checkout().await.unwrap())).await;
    assert_eq!(manager.attempts(), 1);
    assert_quiescent(&pool, &manager).await;
}

/// A task whose checkouts are rejected in a loop yields, so that the pool can create an item meanwhile.
#[tokio::test(start_paused = true)]
async fn rejected_checkouts_spend_the_budget() {
    let manager = ScriptedManager::new();
    let builder = manager.pool(1).create_backoff(ms(1000), ms(1000));
    let pool = builder.during_backoff(DuringBackoff::Reject).build().await.unwrap();
    manager.always(Creation::Fail);
    drop(pool.checkout().await.unwrap_err());
    assert_yields(async || assert!(pool.checkout().await.is_err())).await;
    // The same if the gate has no permit, and the pool no item that could come back.
    let held = pool.gate().as_gate().unwrap().try_acquire().unwrap();
    assert_yields(async || assert!(pool.checkout().await.is_err())).await;
    drop(held);
    assert_eq!(manager.attempts(), 1);
    pool.close();
    assert_yields(async || assert!(pool.checkout().await.is_err())).await;
}

/// A checkout that gets an item while the budget is spent keeps it, and returns it when the task has a budget again. If the
/// checkout is dropped before, the item is idle again.
#[tokio::test(start_paused = true)]
async fn a_checkout_keeps_its_item_while_the_budget_is_spent() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    drop(pool.checkout().await.unwrap());
    for is_dropped in [true, false] {
        let mut checkout = Box::pin(pool.checkout());
        assert!(poll_without_budget(&mut checkout).await.is_pending());
        assert_eq!((pool.status().idle, pool.gate().status().in_use), (0, 1));
        if is_dropped {
            drop(checkout);
        } else {
            assert_eq!(checkout.await.unwrap().id, 0);
        }
        assert_eq!((pool.status().idle, pool.gate().status().in_use), (1, 0));
    }
    assert_quiescent(&pool, &manager).await;
}

/// A checkout that is dropped while the budget is spent puts its item back unused: `recycle` does not run, and the item is kept although
/// items are incomplete by default.
#[tokio::test(start_paused = true)]
async fn a_checkout_dropped_while_the_budget_is_spent_has_not_used_its_item() {
    for is_incomplete in [false, true] {
        let manager = ScriptedManager::new();
        let mut builder = manager.pool(1).min_idle(1);
        if is_incomplete {
            builder = builder.incomplete_by_default();
        }
        let pool = builder.build().await.unwrap();
        let mut checkout = Box::pin(pool.checkout());
        assert!(poll_without_budget(&mut checkout).await.is_pending());
        drop(checkout);
        let item = pool.try_checkout().unwrap();
        assert_eq!((item.id, item.recycled), (0, 0));
        drop(item);
        assert_quiescent(&pool, &manager).await;
    }
}

/// Polls the future once, in a task whose budget is spent.
async fn poll_without_budget<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    yield_now().await; // begins with the whole budget
    poll_fn(|cx| {
        while let Poll::Ready(budget) = poll_proceed(cx) {
            budget.made_progress();
        }
        Poll::Ready(poll_once(future))
    })
    .await
}
