//! The end of a pool.

use std::sync::{Arc, Mutex};

use concurrency_governor::gate::{AcquireError, TryAcquireError};
use concurrency_governor::pool::{CheckoutError, Pool, TryCheckoutError};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::sleep;

use super::support::{Act, Maker, assert_at_rest, ms, peek, settle};

fn is_closed<T, E: std::error::Error>(outcome: &Result<T, CheckoutError<E>>) -> bool {
    matches!(outcome, Err(CheckoutError::Rejected(AcquireError::Closed { .. })))
}

/// Whoever waits is told, at the gate and after it; whoever comes is refused; idle items go before it returns, those in use
/// when they come back, those being made when they are there.
#[tokio::test(start_paused = true)]
async fn closing_ends_everything_in_its_time() {
    let maker = Maker::new();
    let pool = maker.pool(3).build().await.unwrap();
    let (held, idle) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    maker.next([Act::Take(ms(100))]);
    let mut given_up = Box::pin(pool.checkout()); // so that one more is being made
    assert!(peek(&mut given_up).is_pending());
    let mut at_the_gate = Box::pin(pool.checkout());
    assert!(peek(&mut at_the_gate).is_pending());
    settle().await; // it has begun
    drop(idle); // the first one's, who goes, so the second one's, who has not been told
    drop(given_up);
    assert_eq!((pool.status().idle, pool.status().in_use, pool.status().creating), (1, 1, 1));
    let blocking = pool.gate().try_acquire_owned();

    pool.close();
    assert!(pool.is_closed() && pool.status().closed);
    assert!(is_closed(&at_the_gate.await), "admitted or not");
    drop(blocking);
    assert!(is_closed(&pool.checkout().await));
    assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::Rejected(TryAcquireError::Closed { .. }))));
    let status = pool.status();
    assert_eq!((status.idle, status.in_use, status.creating), (0, 1, 1));
    let mut drained = Box::pin(pool.drained());
    assert!(peek(&mut drained).is_pending());
    sleep(ms(101)).await;
    assert_eq!((pool.status().creating, maker.live()), (0, 1), "made, and dropped");
    assert!(peek(&mut drained).is_pending());
    assert_eq!(held.id, 0);
    drop(held);
    drained.await;
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.size, status.totals.discarded.closed), (0, status.totals.created));
    pool.drained().await; // and again
}

/// Whoever was admitted and waits for an item is told at once.
#[tokio::test]
async fn closing_ends_waits_for_an_item() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    maker.always(Act::Hang);
    let mut waiting = [Box::pin(pool.checkout()), Box::pin(pool.checkout())];
    assert!(waiting.iter_mut().all(|checkout| peek(checkout).is_pending()));
    assert_eq!(pool.status().waiting, 2);
    pool.close();
    for checkout in waiting {
        assert!(is_closed(&checkout.await));
    }
    assert_eq!(pool.gate().status().in_use, 0);
}

/// A gate that somebody else closes closes the pool.
#[tokio::test]
async fn a_closed_gate_closes_the_pool() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(3));
    let maker = Maker::new();
    let pool = Pool::builder(maker.clone()).gate(gate.clone()).min_idle(1).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    maker.always(Act::Hang);
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    gate.close();
    assert!(is_closed(&waiting.await));
    settle().await;
    assert!(pool.is_closed() && pool.status().closed);
    assert_eq!(maker.live(), 1);
    drop(held);
    assert_eq!(maker.live(), 0);
}

/// The last handle gone, idle items go and the gate stays as it was.
#[tokio::test]
async fn the_last_handle_takes_the_idle_items_along() {
    let gate = Gate::new(GateName::new("shared"), Limit::new(3));
    let maker = Maker::new();
    let pool = Pool::builder(maker.clone()).gate(gate.clone()).min_idle(2).build().await.unwrap();
    let other = pool.clone();
    let lease = pool.checkout().await.unwrap();
    drop(pool);
    assert_eq!(maker.live(), 2);
    drop(other);
    assert_eq!((maker.live(), gate.is_closed()), (1, false));
    drop(lease);
    assert_eq!((maker.live(), gate.status().in_use), (0, 0));
}

/// An item whose drop comes back to its pool meets no lock, be it dropped by the last handle, a closing or a lease.
#[tokio::test]
async fn drops_may_come_back_to_the_pool() {
    let maker = Maker::new();
    let called = Arc::new(Mutex::new(0));
    for way in 0..3 {
        let pool = maker.pool(1).build().await.unwrap();
        let mut lease = pool.checkout().await.unwrap();
        let (meddling, calls) = (pool.clone(), Arc::clone(&called));
        lease.on_drop = Some(Box::new(move || {
            let _ = meddling.status();
            assert!(meddling.try_checkout().is_err());
            meddling.resize(Limit::new(2));
            meddling.retain(|_, _| true);
            meddling.close();
            *calls.lock().unwrap() += 1;
            drop(meddling); // the last handle, maybe
        }));
        match way {
            0 => {
                drop(lease);
                pool.close();
            }
            1 => lease.discard(),
            _ => {
                drop(pool);
                lease.discard();
            }
        }
        settle().await;
    }
    assert_eq!((*called.lock().unwrap(), maker.live()), (3, 0));
}

/// A pool that was never closed is drained whenever nothing is left.
#[tokio::test]
async fn drained_tells_when_nothing_is_left() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    pool.drained().await;
    let lease = pool.checkout().await.unwrap();
    let mut drained = Box::pin(pool.drained());
    assert!(peek(&mut drained).is_pending());
    lease.discard();
    drained.await;
    // Also if what was left was somebody who waited for an item that cannot be made.
    maker.next([Act::Fail]);
    assert!(pool.checkout().await.is_err());
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    let mut drained = Box::pin(pool.drained());
    assert!(peek(&mut drained).is_pending());
    drop(waiting);
    drained.await;
}
