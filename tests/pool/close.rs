//! Closing a pool and waiting until it is drained.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::Context;
use std::thread;

use concurrency_governor::gate::{AcquireError, TryAcquireError};
use concurrency_governor::pool::{CheckoutError, Manager, Pool, TryCheckoutError};
use concurrency_governor::{Gate, GateName, Keys, Limit};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::hooks::{Call, hooked};
use super::support::{Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

fn is_closed_error<T>(outcome: &Result<T, CheckoutError>) -> bool {
    matches!(outcome, Err(CheckoutError::Rejected(AcquireError::Closed { .. })))
}

/// Closing rejects waiting and later checkouts. Idle items are dropped before `close` returns, items in use when they come
/// back, and creations are cancelled. `drained` returns after the last of them.
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
    let other_permit = pool.gate().as_gate().unwrap().try_acquire_owned();

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
    settle().await;
    assert_eq!((pool.status().creating, manager.live()), (0, 1), "the creation was not cancelled");
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

/// Returns gates for a pool, each with the gate that is closed: the same one, or one above it.
fn closed_gates() -> [(Gate, Gate); 5] {
    let limit = Limit::new(3);
    let io = || Gate::builder(GateName::new("io"), limit).keyed(Keys::up_to(8)).build();
    let child = |io: &Gate| Gate::builder(GateName::new("child"), limit).within(io).unwrap().build();
    let same = |gate: Gate| (gate.clone(), gate);
    let (first, second) = (io(), io());
    [
        same(Gate::new(GateName::new("alone"), limit)),
        same(io().key("tenant")),
        same(child(&io())),
        (first.key("tenant"), first),
        (child(&second), second),
    ]
}

/// Closing the gate by another handle closes the pool, also if the gate is a key or a child, or a gate above it is closed.
#[tokio::test]
async fn closing_the_gate_closes_the_pool() {
    for (gate, closed) in closed_gates() {
        let manager = ScriptedManager::new();
        let pool = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(1).build().await.unwrap();
        let held = pool.checkout().await.unwrap();
        manager.always(Creation::Hang);
        let mut waiting = Box::pin(pool.checkout());
        assert!(poll_once(&mut waiting).is_pending());
        closed.close();
        settle().await;
        assert!(pool.is_closed() && pool.status().closed, "{gate:?} after {closed:?} was closed");
        assert!(is_closed_error(&waiting.await));
        assert_eq!(manager.live(), 1);
        drop(held);
        assert_eq!(manager.live(), 0);
    }
}

/// After `close_after_queue`, the pool serves the requests that wait, and is closed once the gate is drained.
#[tokio::test]
async fn a_pool_serves_the_queue_of_a_gate_that_closes() {
    for is_idle in [false, true] {
        for (gate, closed) in closed_gates() {
            let manager = ScriptedManager::new();
            let pool = Pool::builder(manager.clone()).gate(gate.clone()).min_idle(1).build().await.unwrap();
            let mut held = Vec::new();
            let mut waiting = None;
            if !is_idle {
                for _ in 0..3 {
                    held.push(pool.checkout().await.unwrap());
                }
                let mut checkout = Box::pin(pool.checkout());
                assert!(poll_once(&mut checkout).is_pending());
                waiting = Some(checkout);
            }
            closed.close_after_queue();
            settle().await;
            assert!(is_closed_error(&pool.checkout().await));
            assert_eq!(pool.status().closed, is_idle, "{gate:?} after {closed:?} was closed");
            held.clear();
            if let Some(waiting) = waiting {
                let served = waiting.await.unwrap();
                settle().await;
                assert!(!pool.status().closed);
                drop(served);
                settle().await;
                assert!(pool.status().closed, "{gate:?} after {closed:?} was closed");
            }
            assert_eq!(manager.live(), 0);
        }
    }
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

/// Closing the pool, and dropping its last handle, cancel a running creation at once, and no attempt counts as failed. `drained`
/// need not wait for the create timeout.
#[tokio::test(start_paused = true)]
async fn closing_cancels_creations_at_once() {
    for by_dropping in [false, true] {
        let gate = Gate::new(GateName::new("shared"), Limit::new(2));
        let manager = ScriptedManager::new();
        manager.always(Creation::Hang);
        let pool = Pool::builder(manager.clone()).gate(gate.clone()).build().await.unwrap();
        let mut waiting = [Box::pin(pool.checkout()), Box::pin(pool.checkout())];
        assert!(waiting.iter_mut().all(|checkout| poll_once(checkout).is_pending()));
        settle().await;
        assert_eq!((manager.creating(), pool.status().creating), (2, 2));
        drop(waiting);
        if by_dropping {
            drop(pool);
            settle().await;
        } else {
            pool.close();
            pool.drained().await;
            assert_eq!(pool.status().totals.create_errors.sum(), 0);
        }
        assert_eq!(manager.creating(), 0, "a creation goes on in a closed pool");
    }
}

/// An item whose creation completes at the moment of the close, before its task could be cancelled, is dropped.
#[tokio::test]
async fn item_created_while_closing_is_dropped() {
    struct Signalled(Arc<Notify>, ScriptedManager);
    impl Manager for Signalled {
        type Item = super::support::Item;
        type Error = Infallible;

        async fn create(&self) -> Result<Self::Item, Infallible> {
            self.0.notified().await;
            Ok(self.1.item())
        }
    }
    let (signal, manager) = (Arc::<Notify>::default(), ScriptedManager::new());
    let pool = Pool::builder(Signalled(Arc::clone(&signal), manager.clone())).max(1).build().await.unwrap();
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    settle().await;
    signal.notify_one(); // the creation has completed, and its task has not run
    pool.close();
    settle().await;
    let status = pool.status();
    assert_eq!((status.totals.created, status.totals.discarded.closed, manager.live()), (1, 1, 0));
    assert!(is_closed_error(&checkout.await));
}

/// A creation whose future panics when it is cancelled does not keep the pool from being drained.
#[tokio::test]
async fn creation_that_panics_when_cancelled_ends() {
    let manager = ScriptedManager::new();
    manager.always(Creation::PanicOnDrop);
    let pool = manager.pool(1).build().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    settle().await;
    drop(waiting);
    pool.close();
    pool.drained().await;
    assert_eq!(pool.status().size, 0);
}

/// `close` returns after the idle items have been dropped, also if another thread is dropping them: another caller of `close`, or
/// the maintenance task because the gate was closed.
#[test]
fn close_waits_for_the_thread_that_drops_the_idle_items() {
    for by_gate in [false, true] {
        let builder = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
        let runtime = builder.unwrap();
        let manager = ScriptedManager::new();
        let pool = runtime.block_on(manager.pool(2).min_idle(2).build()).unwrap();
        let (is_dropping, dropping) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let mut item = pool.try_checkout().unwrap();
        item.on_drop = Some(Box::new(move || {
            is_dropping.send(()).unwrap();
            released.recv().unwrap();
        }));
        drop(item);
        thread::scope(|scope| {
            scope.spawn(|| if by_gate { pool.gate().close() } else { pool.close() });
            dropping.recv().unwrap();
            let (is_called, called) = mpsc::channel();
            let (pool, manager) = (&pool, &manager);
            let second = scope.spawn(move || {
                is_called.send(()).unwrap();
                pool.close();
                manager.live()
            });
            called.recv().unwrap();
            for _ in 0..1000 {
                thread::yield_now(); // time for the second thread to return too early
            }
            release.send(()).unwrap();
            assert_eq!(second.join().unwrap(), 0, "`close` returned before the idle items were dropped");
        });
    }
}

/// A checkout that is woken because the pool is closed finds the pool and its gate closed, whether it waits at the gate or for an item.
#[tokio::test]
async fn woken_checkout_finds_the_pool_closed() {
    for at_gate in [false, true] {
        for by_pool in [false, true] {
            let manager = ScriptedManager::new();
            manager.always(Creation::Hang);
            let pool = manager.pool(1).build().await.unwrap();
            let other_permit = at_gate.then(|| pool.gate().as_gate().unwrap().try_acquire().unwrap());
            let observed: Arc<Mutex<Vec<[bool; 2]>>> = Arc::default();
            let (seen, waker_pool) = (Arc::clone(&observed), pool.clone());
            let waker = hooked(move |call| {
                if call == Call::Wake {
                    seen.lock().unwrap().push([waker_pool.is_closed(), waker_pool.gate().is_closed()]);
                }
            });
            let mut checkout = Box::pin(pool.checkout());
            assert!(checkout.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            if by_pool {
                pool.close();
            } else {
                pool.gate().close();
            }
            settle().await;
            assert!(is_closed_error(&checkout.await));
            let observed = observed.lock().unwrap().clone();
            assert!(
                !observed.is_empty() && observed.iter().all(|closed| *closed == [true; 2]),
                "{observed:?}"
            );
            drop(other_permit);
        }
    }
}

/// A waker at the gate that panics does not keep `close` from closing the pool and dropping the idle items.
#[tokio::test]
async fn panicking_waker_does_not_stop_close() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).min_idle(1).build().await.unwrap();
    let permit = pool.gate().as_gate().unwrap().try_acquire_owned().unwrap();
    let panics = Arc::new(AtomicBool::new(true));
    let panicking = Arc::clone(&panics);
    let waker = hooked(move |call| assert!(call != Call::Wake || !panicking.load(SeqCst), "scripted panic"));
    let mut checkout = Box::pin(pool.checkout());
    assert!(checkout.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| pool.close())).is_err());
    panics.store(false, SeqCst);
    assert_eq!((pool.status().closed, manager.live()), (true, 0));
    assert!(is_closed_error(&checkout.await));
    drop((permit, waker));
    pool.drained().await;
}

/// The status of a pool that was closed during a backoff shows no backoff, no waiter and no creation, whichever closes it and however
/// the attempt after the delay would have ended.
#[tokio::test(start_paused = true)]
async fn pool_closed_during_a_backoff_is_at_rest() {
    for is_retrying in [false, true] {
        for by_gate in [false, true] {
            let manager = ScriptedManager::new();
            let pool = manager.pool(2).create_backoff(ms(100), ms(100)).build().await.unwrap();
            manager.script([Creation::Fail, Creation::SucceedAfter(ms(200))]);
            assert!(pool.checkout().await.is_err());
            let mut waiting = Box::pin(pool.checkout());
            assert!(poll_once(&mut waiting).is_pending());
            if is_retrying {
                sleep(ms(101)).await;
            }
            assert!(pool.status().backing_off.is_some());
            assert_eq!(pool.status().creating, usize::from(is_retrying));
            if by_gate {
                pool.gate().close();
            } else {
                pool.close();
            }
            assert!(is_closed_error(&waiting.await));
            pool.drained().await;
            sleep(ms(1000)).await;
            let status = assert_quiescent(&pool, &manager).await;
            assert_eq!((status.closed, status.backing_off, status.start_delay), (true, None, None));
            assert_eq!((status.totals.created, manager.live()), (0, 0));
            pool.retry_now();
            assert_eq!(pool.status().creating, 0);
        }
    }
}
