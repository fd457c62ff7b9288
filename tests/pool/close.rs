//! Closing a pool and waiting until it is drained.

use std::sync::{Arc, Mutex};

use concurrency_governor::gate::{AcquireError, TryAcquireError};
use concurrency_governor::pool::{CheckoutError, Pool, TryCheckoutError};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::sleep;

use super::support::{Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

fn is_closed_error<T>(outcome: &Result<T, CheckoutError>) -> bool {
    matches!(outcome, Err(CheckoutError::Rejected(AcquireError::Closed { .. })))
}

/// Closing rejects waiting and later checkouts. Idle items are dropped before `close` returns, items in use when they come
/// back, and items being created when they are complete. `drained` returns after the last of them.
#[tokio::test(start_paused = true)]
async fn closing_drops_every_item_in_its_time() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).build().await.unwrap();
    let (held, idle) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    manager.script([Creation::SucceedAfter(ms(100))]);
    let mut cancelled = Box::pin(pool.checkout()); // starts a creation that outlives it
    assert!(poll_once(&mut cancelled).is_pending());
    let mut queued = Box::pin(pool.checkout());
    assert!(poll_once(&mut queued).is_pending());
    settle().await; // the creation has started
    drop(idle); // delivered to `cancelled`; its permit admits `queued`, which is not polled
    drop(cancelled); // the item becomes idle
    assert_eq!((pool.status().idle, pool.status().in_use, pool.status().creating), (1, 1, 1));
    let other_permit = pool.gate().try_acquire_owned();

    pool.close();
    assert!(pool.is_closed() && pool.status().closed);
    assert!(is_closed_error(&queued.await), "a waiting checkout is rejected, admitted or not");
    drop(other_permit);
    assert!(is_closed_error(&pool.checkout().await));
    assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::Rejected(TryAcquireError::Closed { .. }))));
    let status = pool.status();
    assert_eq!((status.idle, status.in_use, status.creating), (0, 1, 1));

    let mut drained = Box::pin(pool.drained());
    assert!(poll_once(&mut drained).is_pending());
    sleep(ms(101)).await;
    assert_eq!((pool.status().creating, manager.live()), (0, 1), "the new item was not dropped");
    assert!(poll_once(&mut drained).is_pending());
    assert_eq!(held.id, 0);
    drop(held);
    drained.await;
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.size, status.totals.discarded.closed), (0, status.totals.created));
    pool.drained().await; // returns at once when nothing is left
}

/// Closing ends the wait of an admitted checkout for its item.
#[tokio::test]
async fn closing_ends_waits_for_an_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    manager.always(Creation::Hang);
    let mut waiting = [Box::pin(pool.checkout()), Box::pin(pool.checkout())];
    assert!(waiting.iter_mut().all(|checkout| poll_once(checkout).is_pending()));
    assert_eq!(pool.status().waiting, 2);
    pool.close();
    for checkout in waiting {
        assert!(is_closed_error(&checkout.await));
    }
    assert_eq!(pool.gate().status().in_use, 0);
}

/// Closing the gate by another handle closes the pool.
#[tokio::test]
async fn closing_the_gate_closes_the_pool() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(3));
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.always(Creation::Hang);
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    gate.close();
    assert!(is_closed_error(&waiting.await));
    settle().await;
    assert!(pool.is_closed() && pool.status().closed);
    assert_eq!(manager.live(), 1);
    drop(held);
    assert_eq!(manager.live(), 0);
}

/// Dropping the last handle drops the idle items and leaves the gate open.
#[tokio::test]
async fn dropping_the_last_handle_drops_idle_items() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(3));
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(2).build().await.unwrap();
    let other = pool.clone();
    let item = pool.checkout().await.unwrap();
    drop(pool);
    assert_eq!(manager.live(), 2);
    drop(other);
    assert_eq!((manager.live(), gate.is_closed()), (1, false));
    drop(item);
    assert_eq!((manager.live(), gate.status().in_use), (0, 0));
}

/// An item's drop may call every method of its pool, whether `close`, a discard or the last handle drops it: no lock is held.
#[tokio::test]
async fn item_drops_may_call_the_pool() {
    let manager = ScriptedManager::new();
    let calls = Arc::new(Mutex::new(0));
    for way in 0..3 {
        let pool = manager.pool(1).build().await.unwrap();
        let mut item = pool.checkout().await.unwrap();
        let (drop_pool, drop_calls) = (pool.clone(), Arc::clone(&calls));
        item.on_drop = Some(Box::new(move || {
            let _ = drop_pool.status();
            assert!(drop_pool.try_checkout().is_err());
            drop_pool.resize(Limit::new(2));
            drop_pool.retain(|_, _| true);
            drop_pool.close();
            *drop_calls.lock().unwrap() += 1;
            drop(drop_pool); // the last handle in one of the ways
        }));
        match way {
            0 => {
                drop(item);
                pool.close();
            }
            1 => item.discard(),
            _ => {
                drop(pool);
                item.discard();
            }
        }
        settle().await;
    }
    assert_eq!((*calls.lock().unwrap(), manager.live()), (3, 0));
}

/// `drained` returns whenever no item and no waiter is left, in a pool that was never closed, too.
#[tokio::test]
async fn drained_returns_when_nothing_is_left() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.drained().await;
    let item = pool.checkout().await.unwrap();
    let mut drained = Box::pin(pool.drained());
    assert!(poll_once(&mut drained).is_pending());
    item.discard();
    drained.await;

    // A waiter whose item cannot be created counts, until it is cancelled.
    manager.script([Creation::Fail]);
    assert!(pool.checkout().await.is_err());
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    let mut drained = Box::pin(pool.drained());
    assert!(poll_once(&mut drained).is_pending());
    drop(waiting);
    drained.await;
}
