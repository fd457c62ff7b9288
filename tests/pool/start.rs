//! Ways to fill a pool and to hold it: a start in the background, items that exist already, and weak handles.

use std::sync::Arc;
use std::time::Duration;

use concurrency_governor::pool::{AddError, CheckoutError, CheckoutStage, Pool, PoolBuildError, PoolProblem};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::support::{Creation, ScriptedManager, assert_consistent, assert_quiescent, ms, poll_once, settle};

/// `start` returns before the first items exist, and creates them in the background. A checkout that comes first waits for one.
#[tokio::test(start_paused = true)]
async fn start_creates_the_first_items_in_the_background() {
    let manager = ScriptedManager::new();
    manager.always(Creation::SucceedAfter(ms(100)));
    let pool = manager.pool(4).min_idle(3).start().unwrap();
    assert_eq!((pool.status().creating, pool.status().idle), (3, 0));
    let began = Instant::now();
    drop(pool.checkout().await.unwrap());
    assert_eq!(began.elapsed(), ms(100));
    assert_eq!(
        assert_quiescent(&pool, &manager).await.idle,
        4,
        "three for the minimum, and one for the checkout"
    );
}

/// A started pool keeps trying to create its minimum while that fails, as often as the backoff allows.
#[tokio::test(start_paused = true)]
async fn started_pool_keeps_trying_to_create_its_minimum() {
    let manager = ScriptedManager::new();
    manager.always(Creation::Fail);
    let pool = manager.pool(4).min_idle(3).create_backoff(ms(100), ms(100)).start().unwrap();
    sleep(ms(60_000)).await;
    let attempts = manager.attempts();
    assert!((600..=1203).contains(&attempts), "{attempts} attempts in a minute");
    assert!(pool.status().backing_off.is_some());
    manager.always(Creation::Succeed);
    sleep(ms(101)).await;
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 3);
}

/// `start` needs a runtime, but no asynchronous context. It reports invalid settings as `build` does.
#[test]
fn start_needs_only_an_entered_runtime() {
    let manager = ScriptedManager::new();
    assert!(matches!(manager.pool(1).start(), Err(PoolBuildError::NoRuntime { .. })));
    assert!(matches!(manager.pool(0).start(), Err(PoolBuildError::Invalid { .. })));
    let pool_runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let pool = {
        let _entered = pool_runtime.enter();
        manager.pool(1).min_idle(1).start().unwrap()
    };
    assert_eq!(pool.status().creating, 1);
    assert_eq!(pool_runtime.block_on(pool.checkout()).unwrap().id, 0);
}

/// Items that exist already are idle from the start, count for the minimum, and are not created.
#[tokio::test(start_paused = true)]
async fn initial_items_are_idle_from_the_start() {
    let manager = ScriptedManager::new();
    let items: Vec<_> = (0..2).map(|_| manager.item()).collect();
    let pool = manager.pool(4).min_idle(3).initial(items).build().await.unwrap();
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.added, status.totals.created, status.totals.reused), (3, 2, 1, 0));
    let pool = manager.pool(4).min_idle(2).initial([manager.item(), manager.item()]).start().unwrap();
    let attempts = manager.attempts();
    assert_eq!((pool.status().idle, pool.status().creating), (2, 0));
    let first = pool.try_checkout().unwrap();
    settle().await;
    assert_eq!((first.id, manager.attempts()), (4, attempts));
}

/// More initial items than the limit allows are a problem of the settings.
#[tokio::test]
async fn too_many_initial_items_are_reported() {
    let manager = ScriptedManager::new();
    let gate = Gate::new(GateName::new("one"), Limit::MIN);
    let builder = Pool::builder(manager.clone()).gate(gate).initial([manager.item(), manager.item()]);
    let Err(PoolBuildError::Invalid { problems }) = builder.build().await else { panic!() };
    assert!(matches!(problems[..], [PoolProblem::Initial { items: 2, limit: 1 }]), "{problems:?}");
    assert_eq!(
        problems[0].to_string(),
        "`initial` has 2 items (allowed: 1, which fit below the limit): give fewer, or raise the limit"
    );
    assert_eq!(manager.live(), 0);
}

/// An added item serves the first waiter, or becomes the warmest idle item. It expires like any other.
#[tokio::test(start_paused = true)]
async fn added_item_serves_the_first_waiter() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).max_lifetime(ms(1000)).build().await.unwrap();
    manager.script([Creation::Hang]);
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    pool.add(manager.item()).unwrap();
    assert_eq!(waiting.await.unwrap().id, 0);
    let status = assert_consistent(&pool, &manager);
    assert_eq!((status.idle, status.totals.added), (1, 1));
    sleep(ms(1001)).await;
    assert_eq!(pool.status().totals.discarded.expired, 1);
}

/// An item is not added to a pool that is full or closed. The error returns it.
#[tokio::test]
async fn item_without_a_slot_is_returned() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).min_idle(1).build().await.unwrap();
    let error = pool.add(manager.item()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the pool of gate `pool` cannot take another item: the limit of 1 live items is reached; raise the limit, or drop the item"
    );
    assert!(matches!(&error, AddError::Full { limit: 1, .. }));
    let item = error.into_item();
    assert_eq!((item.id, pool.status().size), (1, 1));
    pool.close();
    let error = pool.add(item).unwrap_err();
    assert_eq!(error.to_string(), "the pool of gate `pool` is closed and accepts no items");
    drop(error.into_item());
    assert_eq!((manager.live(), pool.status().totals.added), (0, 0));
}

/// A weak handle keeps neither the pool open nor its items alive.
#[tokio::test]
async fn weak_handle_does_not_keep_the_pool_open() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).min_idle(1).build().await.unwrap();
    let weak = pool.downgrade();
    let other = weak.clone();
    drop(weak.upgrade().unwrap().checkout().await.unwrap());
    drop(pool);
    assert!(weak.upgrade().is_none() && other.upgrade().is_none());
    assert_eq!(manager.live(), 0);
}

/// `close_on` closes the pool when the signal completes. It keeps no pool open, and its task ends with the pool.
#[tokio::test(start_paused = true)]
async fn pool_closes_on_a_signal() {
    let manager = ScriptedManager::new();
    let handle = runtime::Handle::current();
    let before = handle.metrics().num_alive_tasks();
    let signal = Arc::new(Notify::new());
    for way in 0..3 {
        let pool = manager.pool(1).min_idle(1).build().await.unwrap();
        let task_signal = Arc::clone(&signal);
        pool.close_on(async move { task_signal.notified().await });
        settle().await;
        assert!(!pool.is_closed());
        match way {
            0 => {
                signal.notify_waiters();
                settle().await;
                assert!(pool.is_closed() && pool.gate().is_closed());
                assert!(pool.checkout().await.is_err());
            }
            1 => pool.close(),
            _ => drop(pool),
        }
        settle().await;
        assert_eq!((handle.metrics().num_alive_tasks(), manager.live()), (before, 0), "way {way}");
    }
    let pool = manager.pool(1).build().await.unwrap();
    pool.close();
    pool.close_on(std::future::pending::<()>());
    settle().await;
    assert_eq!(handle.metrics().num_alive_tasks(), before, "a closed pool waits for a signal");
}

/// The pool's own longest wait bounds every checkout. The earliest bound counts: the pool's, the request's or the gate's.
#[tokio::test(start_paused = true)]
async fn earliest_bound_on_the_wait_counts() {
    let bounds = [None, Some(ms(100)), Some(ms(200)), Some(ms(300))];
    for of_pool in bounds {
        for of_request in bounds {
            for of_gate in bounds {
                let Some(earliest) = [of_pool, of_request, of_gate].into_iter().flatten().min() else {
                    continue;
                };
                for is_admitted in [false, true] {
                    let waited = expire_one(of_pool, of_request, of_gate, is_admitted).await;
                    assert_eq!(waited, earliest, "{of_pool:?} {of_request:?} {of_gate:?}");
                }
            }
        }
    }
}

/// Returns how long a checkout with these bounds waits, before or after its admission.
async fn expire_one(
    of_pool: Option<Duration>,
    of_request: Option<Duration>,
    of_gate: Option<Duration>,
    is_admitted: bool,
) -> Duration {
    let mut gate = Gate::builder(GateName::new("boats"), Limit::MIN);
    if let Some(wait) = of_gate {
        gate = gate.max_wait(wait);
    }
    let gate = gate.build();
    let manager = ScriptedManager::new();
    manager.always(Creation::Hang);
    let mut builder = Pool::builder(manager).gate(gate.clone());
    if let Some(wait) = of_pool {
        builder = builder.max_wait(wait);
    }
    let pool = builder.build().await.unwrap();
    let other_permit = (!is_admitted).then(|| gate.try_acquire().unwrap());
    let mut request = pool.request();
    if let Some(wait) = of_request {
        request = request.max_wait(wait);
    }
    let began = Instant::now();
    let error = request.checkout().await.unwrap_err();
    drop(other_permit);
    let CheckoutError::DeadlineExceeded(timeout) = error else { panic!("{error:?}") };
    let stage = if is_admitted { CheckoutStage::Creation } else { CheckoutStage::Admission };
    assert_eq!((timeout.stage, timeout.waited), (stage, began.elapsed()));
    began.elapsed()
}
