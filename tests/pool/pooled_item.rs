//! The guard of a checked-out item: returning, discarding and detaching.

use std::convert::Infallible;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use concurrency_governor::GateName;
use concurrency_governor::pool::{DiscardReason, Manager, Pool, PoolEvent, PooledItem, Verdict};
use tokio::time::sleep;

use super::support::{Check, ScriptedManager, assert_consistent, assert_quiescent, ms, poll_once, settle};

/// The item that came back last is handed out first.
#[tokio::test]
async fn warmest_item_is_handed_out_first() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).build().await.unwrap();
    let [first, second, third] =
        [pool.checkout().await.unwrap(), pool.checkout().await.unwrap(), pool.checkout().await.unwrap()];
    let (second_id, third_id) = (second.id, third.id);
    drop(third);
    drop(first);
    drop(second);
    let warmest = pool.checkout().await.unwrap();
    let _next = pool.checkout().await.unwrap();
    let coldest = pool.try_checkout().unwrap();
    assert_eq!((warmest.id, coldest.id), (second_id, third_id));
    assert_eq!((pool.status().totals.created, pool.status().totals.reused), (3, 3));
}

/// An item is dropped if it was marked broken, left incomplete, in use during a panic, or rejected by its manager. An item
/// whose work was completed is used again. After each use, a pool of one item serves the next checkout.
#[tokio::test]
async fn unfit_item_is_dropped_and_its_slot_is_free() {
    type Use = fn(PooledItem<ScriptedManager>);
    let uses: [(Use, Option<DiscardReason>); 10] = [
        (|item| drop(item), None),
        (|mut item| item.mark_broken(), Some(DiscardReason::Broken)),
        (|item| item.discard(), Some(DiscardReason::Broken)),
        (|mut item| item.begin(), Some(DiscardReason::Incomplete)),
        (
            |mut item| {
                item.begin();
                item.complete();
            },
            None,
        ),
        (
            |mut item| {
                item.mark_broken();
                item.begin();
                item.complete();
            },
            Some(DiscardReason::Broken),
        ),
        (
            |item| {
                let held = AssertUnwindSafe(item);
                let outcome = catch_unwind(move || {
                    let _held = held;
                    panic!("scripted panic");
                });
                assert!(outcome.is_err());
            },
            Some(DiscardReason::Panicked),
        ),
        (|mut item| item.recycle = Check::Discard, Some(DiscardReason::Recycle)),
        (|mut item| item.recycle = Check::Panic, Some(DiscardReason::Panicked)),
        (
            |mut item| {
                item.begin();
                item.recycle = Check::Panic; // not called for an incomplete item
            },
            Some(DiscardReason::Incomplete),
        ),
    ];
    for (at, (use_item, reason)) in uses.into_iter().enumerate() {
        let manager = ScriptedManager::new();
        let reasons = Arc::new(Mutex::new(Vec::new()));
        let observer_reasons = Arc::clone(&reasons);
        let observer = move |event: &PoolEvent| {
            if let PoolEvent::Discarded { reason, .. } = event {
                observer_reasons.lock().unwrap().push(*reason);
            }
        };
        let pool = manager.pool(1).observer(observer).build().await.unwrap();
        let item = pool.checkout().await.unwrap();
        let id = item.id;
        use_item(item);
        let status = assert_quiescent(&pool, &manager).await;
        assert_eq!(*reasons.lock().unwrap(), Vec::from_iter(reason), "use {at}");
        assert_eq!(status.totals.discarded.sum(), u64::from(reason.is_some()), "use {at}: {status:?}");
        let next = pool.checkout().await.unwrap();
        assert_eq!(next.id == id, reason.is_none(), "use {at}");
    }
}

/// A task that is aborted between `begin` and `complete` drops its item.
#[tokio::test]
async fn aborted_task_drops_its_incomplete_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let mut item = pool.checkout().await.unwrap();
    let task = tokio::spawn(async move {
        item.begin();
        pending::<()>().await;
        item.complete();
    });
    settle().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.incomplete, status.idle), (1, 0));
}

/// A task that panics while it uses an item drops the item.
#[tokio::test]
async fn panicking_task_drops_its_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let item = pool.checkout().await.unwrap();
    let task = tokio::spawn(async move {
        let _item = item;
        panic!("scripted panic");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.discarded.panicked, 1);
    assert_eq!(pool.checkout().await.unwrap().id, 1);
}

/// `after_panic` may keep an item that was in use during a panic, and it is recycled as usual. Between `begin` and `complete` it is
/// dropped nevertheless.
#[tokio::test]
async fn manager_may_keep_an_item_after_a_panic() {
    let manager = ScriptedManager::new();
    manager.keep_after_panic();
    let pool = manager.pool(1).build().await.unwrap();
    for (at, begins) in [false, true].into_iter().enumerate() {
        let item = pool.checkout().await.unwrap();
        assert_eq!((item.id, item.recycled), (0, at), "the item was not kept, or not recycled");
        let held = AssertUnwindSafe(item);
        let outcome = catch_unwind(move || {
            let mut held = held;
            if begins {
                held.begin();
            }
            panic!("scripted panic");
        });
        assert!(outcome.is_err());
    }
    let discarded = assert_quiescent(&pool, &manager).await.totals.discarded;
    assert_eq!((discarded.incomplete, discarded.panicked), (1, 0));
}

/// A panic of `after_panic` discards the item, although the thread unwinds already.
#[tokio::test]
async fn panic_of_after_panic_discards_the_item() {
    struct Panicking;
    impl Manager for Panicking {
        type Item = ();
        type Error = Infallible;

        async fn create(&self) -> Result<(), Infallible> {
            Ok(())
        }

        fn after_panic(&self, (): &mut ()) -> Verdict {
            panic!("scripted panic of `after_panic`");
        }
    }
    let pool = Pool::builder(Panicking).max(1).build().await.unwrap();
    let held = AssertUnwindSafe(pool.checkout().await.unwrap());
    let outcome = catch_unwind(move || {
        let _held = held;
        panic!("scripted panic");
    });
    assert!(outcome.is_err());
    assert_eq!((pool.status().totals.discarded.panicked, pool.status().size), (1, 0));
    drop(pool.checkout().await.unwrap());
}

/// In a pool whose items are incomplete by default, an item is used again only after `complete`, however it was checked out and even
/// if its health was checked.
#[tokio::test(start_paused = true)]
async fn items_are_incomplete_by_default() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).incomplete_by_default().build().await.unwrap();
    drop(pool.checkout().await.unwrap()); // new
    let mut item = pool.checkout().await.unwrap();
    item.complete();
    drop(item);
    let item = pool.checkout().await.unwrap(); // checked
    assert_eq!(item.id, 1);
    drop(item);
    let mut item = pool.checkout().await.unwrap();
    item.complete();
    drop(item);
    assert_eq!(pool.try_checkout().unwrap().id, 2); // without a check
    let mut held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    held.complete();
    drop(held);
    assert_eq!(waiting.await.unwrap().id, 3); // delivered
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.discarded.incomplete, status.totals.discarded.sum()), (4, 4));
}

/// An item that is checked out and returned while the thread is already unwinding is kept.
#[tokio::test]
async fn checkout_during_unwinding_keeps_the_item() {
    struct CheckoutOnDrop(Pool<ScriptedManager>);
    impl Drop for CheckoutOnDrop {
        fn drop(&mut self) {
            drop(self.0.try_checkout().unwrap());
        }
    }
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).min_idle(1).build().await.unwrap();
    let guard = AssertUnwindSafe(CheckoutOnDrop(pool.clone()));
    let outcome = catch_unwind(move || {
        let _guard = guard;
        panic!("scripted panic");
    });
    assert!(outcome.is_err());
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.reused), (1, 1));
}

/// A panic of an item's drop or of `recycle` costs no slot. It is caught even while the thread unwinds, when a second panic
/// would abort the process.
#[tokio::test]
async fn panics_of_user_code_cost_no_slot() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    for unwinds in [false, true] {
        for recycle_panics in [false, true] {
            let mut item = pool.checkout().await.unwrap();
            item.on_drop = Some(Box::new(|| panic!("scripted panic of the drop")));
            if recycle_panics {
                item.recycle = Check::Panic;
            } else {
                item.begin();
            }
            let held = AssertUnwindSafe(item);
            let outcome = catch_unwind(move || {
                let _held = held;
                assert!(!unwinds, "scripted panic");
            });
            assert_eq!(outcome.is_err(), unwinds);
            assert_quiescent(&pool, &manager).await;
        }
    }
    let discarded = pool.status().totals.discarded;
    assert_eq!((discarded.sum(), discarded.panicked, discarded.incomplete), (4, 3, 1));
}

/// `recycle` runs once each time the item comes back.
#[tokio::test]
async fn returned_items_are_recycled_once() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    for times in 0..3 {
        let item = pool.checkout().await.unwrap();
        assert_eq!((item.id, item.recycled), (0, times));
    }
}

/// A detached item is no longer counted, and its slot is free at once.
#[tokio::test]
async fn detached_item_frees_its_slot() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    let detached = pool.checkout().await.unwrap().detach();
    let other = pool.checkout().await.unwrap();
    assert_eq!((detached.id, other.id, manager.live()), (0, 1, 2));
    let status = assert_consistent(&pool, &manager);
    assert_eq!((status.size, status.totals.detached), (1, 1));
    drop(detached);
}

/// A pooled item can be sent to another thread, and may outlive every handle of the pool.
#[tokio::test]
async fn pooled_item_is_send_and_outlives_the_pool() {
    fn assert_send<T: Send + 'static>(value: T) -> T {
        value
    }
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).build().await.unwrap();
    let item = assert_send(pool.checkout().await.unwrap());
    drop(pool.checkout().await.unwrap());
    assert_eq!(manager.live(), 2);
    drop(pool);
    settle().await;
    assert_eq!(manager.live(), 1, "the idle item outlived the last handle");
    thread::spawn(move || {
        assert_eq!(item.id, 0);
        drop(item);
    })
    .join()
    .unwrap();
    assert_eq!(manager.live(), 0);
}

/// `age` counts from the creation of the item, however often it was used.
#[tokio::test(start_paused = true)]
async fn age_counts_from_the_creation() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    drop(pool.checkout().await.unwrap());
    sleep(ms(70)).await;
    let item = pool.checkout().await.unwrap();
    assert_eq!(item.age(), ms(70));
}

/// `Debug` prints the name of the gate and the number of items in use.
#[tokio::test]
async fn debug_prints_the_gate_and_the_items_in_use() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).name(GateName::new("boats")).build().await.unwrap();
    let item = pool.checkout().await.unwrap();
    assert!(format!("{item:?}").contains("boats") && format!("{pool:?}").contains("in_use: 1"));
}
