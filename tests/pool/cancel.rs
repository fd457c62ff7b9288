//! Cancelled checkouts: dropping the future at any stage loses no item and no permit.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use concurrency_governor::Limit;
use concurrency_governor::pool::{CheckoutError, PooledItem};
use tokio::time::sleep;

use super::hooks::{Call, hooked};
use super::support::{Check, Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

type Checkout<'p> =
    Pin<Box<dyn Future<Output = Result<PooledItem<ScriptedManager>, CheckoutError>> + Send + 'p>>;

/// A checkout may be dropped after any number of polls, whatever happens between them: in the end no item and no permit is
/// lost, and every created item is idle.
#[tokio::test(start_paused = true)]
async fn cancelling_after_any_number_of_polls_loses_nothing() {
    for polls in 0..24 {
        for returns_items_first in [false, true] {
            let manager = ScriptedManager::new();
            let pool = manager.pool(2).create_timeout(ms(400)).build().await.unwrap();
            let mut held = vec![pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
            manager.script([
                Creation::SucceedAfter(ms(5)),
                Creation::Fail,
                Creation::Hang,
                Creation::SucceedAfter(ms(3)),
            ]);
            let mut checkout: Checkout<'_> = Box::pin(pool.checkout());
            let mut outcome = None;
            for poll in 0..polls {
                if let Poll::Ready(ready) = poll_once(&mut checkout) {
                    outcome = Some(ready);
                    break;
                }
                // The stages of a checkout: admitted, enqueued, its item created or failed, checked, rejected.
                match poll {
                    1 => held.pop().into_iter().for_each(PooledItem::discard),
                    3 => {
                        sleep(ms(6)).await;
                    }
                    5 => held.clear(),
                    7 => {
                        pool.resize(Limit::MIN);
                    }
                    9 => {
                        sleep(ms(500)).await;
                    }
                    _ => settle().await,
                }
            }
            if returns_items_first {
                held.clear();
            }
            drop(checkout);
            drop(outcome);
            held.clear();
            sleep(ms(1000)).await;
            let status = assert_quiescent(&pool, &manager).await;
            assert!(manager.peak() <= 2, "{polls} polls");
            assert_eq!(status.idle, manager.live(), "{polls} polls");
            drop(pool.checkout().await.unwrap());
        }
    }
}

/// A checkout that is cancelled in the gate's queue has taken nothing.
#[tokio::test]
async fn cancelling_in_the_gate_queue_takes_nothing() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    drop(checkout);
    drop(held);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.created, 1);
}

/// A checkout that was admitted but not polled since passes its permit on when it is cancelled. The item stays idle.
#[tokio::test]
async fn cancelling_after_admission_passes_the_permit_on() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    drop(held);
    drop(checkout);
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 1);
}

/// A cancelled checkout releases its permit at once. The item being created for it serves the next checkout.
#[tokio::test(start_paused = true)]
async fn cancelling_during_creation_keeps_the_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    manager.script([Creation::SucceedAfter(ms(50))]);
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    settle().await;
    drop(checkout);
    assert_eq!(pool.gate().status().in_use, 0, "the permit was not released at once");
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    assert_eq!(manager.attempts(), 1);
    assert_quiescent(&pool, &manager).await;
}

/// An item that was being delivered to a cancelled checkout goes to the next waiter, or becomes idle.
#[tokio::test(start_paused = true)]
async fn cancelling_during_delivery_passes_the_item_on() {
    for has_next in [false, true] {
        let manager = ScriptedManager::new();
        let pool = manager.pool(3).build().await.unwrap();
        let held = pool.checkout().await.unwrap();
        manager.always(Creation::Hang);
        let mut checkout = Box::pin(pool.checkout());
        assert!(poll_once(&mut checkout).is_pending());
        let mut next = Box::pin(pool.checkout());
        assert!(!has_next || poll_once(&mut next).is_pending());
        drop(held);
        assert_eq!((pool.status().in_use, pool.status().idle), (1, 0), "the item is not being delivered");
        drop(checkout);
        if has_next {
            assert_eq!(next.await.unwrap().id, 0);
        } else {
            drop(next);
        }
        let status = pool.status();
        assert_eq!((status.idle, status.in_use, status.waiting, manager.dropped().len()), (1, 0, 0, 0));
    }
}

/// A checkout may be cancelled by its own waker while the item is being sent: the sending thread puts the item back.
#[tokio::test]
async fn cancelling_from_the_waker_keeps_the_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.script([Creation::Hang]);
    let checkout_slot: Arc<Mutex<Option<Checkout<'static>>>> = Arc::default();
    let mut checkout: Checkout<'static> = {
        let pool = pool.clone();
        Box::pin(async move { pool.checkout().await })
    };
    // When the waker is called, the item is in the channel. The waker drops the future, which calls the pool.
    let slot = Arc::clone(&checkout_slot);
    let waker_pool = pool.clone();
    let waker = hooked(move |call| {
        let _ = waker_pool.status(); // deadlocks if a call of the waker happens under the lock
        if call == Call::Wake {
            slot.lock().unwrap().take();
        }
    });
    assert!(checkout.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    *checkout_slot.lock().unwrap() = Some(checkout);
    drop(held);
    assert!(checkout_slot.lock().unwrap().is_none(), "the waker was not called");
    let status = pool.status();
    assert_eq!((status.idle, status.in_use, manager.dropped().len()), (1, 0, 0));
    assert_eq!(pool.gate().status().in_use, 0);
}

/// A waker that panics at a delivery does not lose the item or the wake-up.
#[tokio::test]
async fn panicking_waker_loses_nothing() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.script([Creation::Hang]);
    let mut checkout = Box::pin(pool.checkout());
    let panics = Arc::new(AtomicBool::new(true));
    let panicking = Arc::clone(&panics);
    let waker = hooked(move |call| {
        assert!(call != Call::Wake || !panicking.load(SeqCst), "scripted panic");
    });
    assert!(checkout.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held);
    panics.store(false, SeqCst);
    assert_eq!(checkout.await.unwrap().id, 0);
    drop(waker);
    let status = pool.status();
    assert_eq!((status.idle, status.in_use), (1, 0));
}

/// A checkout that is cancelled while it replaces an unhealthy item releases its permit.
#[tokio::test(start_paused = true)]
async fn cancelling_after_an_unhealthy_item_releases_the_permit() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Discard;
    manager.script([Creation::SucceedAfter(ms(50))]);
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    assert_eq!((pool.status().creating, manager.live()), (1, 0));
    drop(checkout);
    sleep(ms(60)).await;
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.created), (1, 2));
}

/// Cancelling `build` drops the pool and its items, whether they exist already or not.
#[tokio::test(start_paused = true)]
async fn cancelling_the_build_leaves_no_item() {
    let manager = ScriptedManager::new();
    for polls in 0..6 {
        manager.script([Creation::Succeed, Creation::SucceedAfter(ms(50)), Creation::Hang]);
        let builder = manager.pool(3).min_idle(3).create_timeout(ms(100));
        let mut building = Box::pin(builder.build());
        for _ in 0..polls {
            assert!(poll_once(&mut building).is_pending());
            settle().await;
        }
        // One creation has ended by then, one takes its time, and one hangs.
        assert_eq!(manager.live(), usize::from(polls > 0));
        drop(building);
        sleep(ms(200)).await;
        assert_eq!(manager.live(), 0);
        if polls == 0 {
            manager.clear_script();
        }
    }
}
