//! Runtimes that shut down before the pool, after it, or make no progress.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::thread;

use concurrency_governor::PooledItem;
use concurrency_governor::pool::{CheckoutError, CheckoutStage, CreateError, TryCheckoutError};
use tokio::runtime::{self, Runtime};
use tokio::time::{Instant, sleep};

use super::support::{Creation, ScriptedManager, ms, poll_once, settle};

fn current_thread_runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// When the pool's runtime has shut down, waiting and later checkouts fail instead of waiting for ever. Idle items are still
/// handed out and taken back.
#[test]
fn checkouts_fail_after_the_runtime_has_shut_down() {
    let (pool_runtime, other) = (current_thread_runtime(), current_thread_runtime());
    let manager = ScriptedManager::new();
    let pool = pool_runtime.block_on(manager.pool(3).min_idle(1).build()).unwrap();
    manager.always(Creation::Hang);
    let held = other.block_on(pool.checkout()).unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    drop(pool_runtime);
    let is_abandoned = |error| matches!(error, CheckoutError::Create(CreateError::Abandoned { .. }));
    assert!(is_abandoned(other.block_on(waiting).unwrap_err()));
    assert!(is_abandoned(other.block_on(pool.checkout()).unwrap_err()));
    drop(held);
    let item = other.block_on(pool.checkout()).unwrap();
    assert_eq!(item.id, 0);
    item.discard();
    assert!(is_abandoned(other.block_on(pool.checkout()).unwrap_err()));
    assert!(matches!(pool.try_checkout(), Err(TryCheckoutError::NoneIdle { .. })));
    let status = pool.status();
    assert_eq!((status.size, status.waiting, pool.gate().status().in_use), (0, 0, 0), "{status:?}");
    assert!(status.totals.create_errors.abandoned > 0);
    pool.close();
    other.block_on(pool.drained());
}

/// A checkout that waits for the end of a backoff delay fails when the pool's runtime shuts down.
#[test]
fn wait_during_backoff_fails_when_the_runtime_shuts_down() {
    let pool_runtime = current_thread_runtime();
    let manager = ScriptedManager::new();
    let pool = pool_runtime.block_on(manager.pool(3).build()).unwrap();
    manager.script([Creation::Fail]);
    assert!(pool_runtime.block_on(pool.checkout()).is_err());
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    assert_eq!((pool.status().creating, pool.status().waiting), (0, 1));
    drop(pool_runtime);
    let Poll::Ready(Err(error)) = poll_once(&mut waiting) else { panic!("the checkout still waits") };
    assert!(matches!(error, CheckoutError::Create(CreateError::Abandoned { .. })), "{error:?}");
}

/// A pooled item may be dropped after its runtime and after every handle of the pool, in either order.
#[test]
fn pooled_item_outlives_the_runtime() {
    for pool_first in [false, true] {
        let pool_runtime = current_thread_runtime();
        let manager = ScriptedManager::new();
        let pool = pool_runtime.block_on(manager.pool(2).min_idle(2).idle_timeout(ms(5)).build()).unwrap();
        let first = pool_runtime.block_on(pool.checkout()).unwrap();
        let second = pool_runtime.block_on(pool.checkout()).unwrap();
        if pool_first {
            drop(pool);
            drop(pool_runtime);
        } else {
            drop(pool_runtime);
            drop(first);
            assert_eq!(manager.live(), 2, "the returned item is not idle");
            drop(pool);
            drop(second);
            assert_eq!(manager.live(), 0);
            continue;
        }
        thread::spawn(move || drop((first, second))).join().unwrap();
        assert_eq!(manager.live(), 0);
    }
}

/// While the pool's runtime makes no progress, a checkout on another runtime still ends at its deadline. The item is created
/// when the runtime continues.
#[test]
fn stalled_runtime_delays_only_creations() {
    let (pool_runtime, other) = (current_thread_runtime(), current_thread_runtime());
    let manager = ScriptedManager::new();
    let pool = pool_runtime.block_on(manager.pool(1).build()).unwrap();
    let request = pool.request().max_wait(ms(5));
    assert!(other.block_on(request.checkout()).is_err());
    assert_eq!(manager.attempts(), 0);
    pool_runtime.block_on(settle());
    assert_eq!(pool.try_checkout().unwrap().id, 0);
}

/// A paused clock, which does not wait.
fn runtime_with_paused_clock() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// If the pool's runtime is alive but not driven, every waiting checkout, also at the gate, fails once a creation has not
/// started within the create timeout. The items are created when the runtime goes on.
#[test]
fn runtime_that_is_not_driven_is_reported() {
    let (pool_runtime, other) = (current_thread_runtime(), runtime_with_paused_clock());
    let manager = ScriptedManager::new();
    let pool = pool_runtime.block_on(manager.pool(2).create_timeout(ms(400)).build()).unwrap();
    other.block_on(async {
        let checkouts: Vec<_> = (0..6)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.checkout().await })
            })
            .collect();
        let began = Instant::now();
        sleep(ms(399)).await;
        assert_eq!(pool.status().start_delay, Some(ms(399)));
        for checkout in checkouts {
            let error = checkout.await.unwrap().unwrap_err();
            let CheckoutError::Create(CreateError::NotStarted { after, .. }) = &error else {
                panic!("{error:?}")
            };
            assert_eq!(*after, ms(400));
            assert!(error.to_string().contains("drive that runtime"), "{error}");
        }
        assert_eq!(began.elapsed(), ms(400));
        let status = pool.status();
        assert_eq!((status.creating, status.totals.create_errors.not_started, status.waiting), (2, 1, 0));

        let error = pool.request().max_wait(ms(100)).checkout().await.unwrap_err();
        let CheckoutError::DeadlineExceeded(timeout) = error else { panic!("{error:?}") };
        assert_eq!(timeout.stage, CheckoutStage::Start);
    });
    pool_runtime.block_on(settle());
    let status = pool.status();
    assert_eq!((status.start_delay, status.idle, status.totals.expired.start), (None, 2, 1));
    drop(other.block_on(pool.checkout()).unwrap());
}

/// A runtime that stops being driven during a backoff is reported, too, although the attempt after the delay was never spawned.
#[test]
fn runtime_that_is_not_driven_during_a_backoff_is_reported() {
    let (pool_runtime, other) = (current_thread_runtime(), runtime_with_paused_clock());
    let manager = ScriptedManager::new();
    let builder = manager.pool(2).create_timeout(ms(400)).create_backoff(ms(1), ms(1));
    let pool = pool_runtime.block_on(builder.build()).unwrap();
    manager.always(Creation::Fail);
    assert!(pool_runtime.block_on(pool.checkout()).is_err());
    let error = other.block_on(pool.checkout()).unwrap_err();
    assert!(matches!(error, CheckoutError::Create(CreateError::NotStarted { .. })), "{error:?}");
}

/// A checkout outside any runtime, which cannot set a timer, still waits and is served.
#[test]
fn checkout_outside_a_runtime_waits_without_a_timer() {
    let pool_runtime = current_thread_runtime();
    let manager = ScriptedManager::new();
    let pool = pool_runtime.block_on(manager.pool(1).build()).unwrap();
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    pool_runtime.block_on(settle());
    assert!(poll_once(&mut checkout).is_ready());
}

/// A pooled item in a thread-local variable is returned when the thread ends, where tokio's clock may be gone.
#[test]
fn pooled_item_may_be_a_thread_local() {
    thread_local! {
        static SLOT: RefCell<Option<PooledItem<ScriptedManager>>> = const { RefCell::new(None) };
    }
    let pool_runtime = current_thread_runtime();
    let manager = ScriptedManager::new();
    let builder = manager.pool(1).max_lifetime(ms(60_000)).idle_timeout(ms(60_000));
    let pool = pool_runtime.block_on(builder.build()).unwrap();
    let item = pool_runtime.block_on(pool.checkout()).unwrap();
    thread::spawn(move || SLOT.with(|slot| *slot.borrow_mut() = Some(item))).join().unwrap();
    assert_eq!((pool.status().idle, pool.gate().status().in_use), (1, 0));
}

/// If the pool's runtime shuts down while its thread unwinds, waiting checkouts fail because of the shutdown: the manager has not panicked.
#[test]
fn runtime_that_is_dropped_by_a_panic_has_shut_down() {
    let other = current_thread_runtime();
    let manager = ScriptedManager::new();
    manager.always(Creation::Hang);
    let mut pool = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let pool_runtime = current_thread_runtime();
        pool_runtime.block_on(async {
            let pool = pool.insert(manager.pool(2).build().await.unwrap());
            assert!(poll_once(&mut Box::pin(pool.checkout())).is_pending());
            settle().await;
            assert_eq!(manager.creating(), 1);
            panic!("scripted panic");
        })
    }));
    assert!(outcome.is_err());
    let pool = pool.unwrap();
    let errors = pool.status().totals.create_errors;
    assert_eq!((errors.panicked, errors.abandoned), (0, 1), "{errors:?}");
    let error = other.block_on(pool.checkout()).unwrap_err();
    assert!(matches!(error, CheckoutError::Create(CreateError::Abandoned { .. })), "{error:?}");
}
