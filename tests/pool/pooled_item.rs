//! What becomes of an item when its lease is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use concurrency_governor::pool::{DiscardReason, Pool, PooledItem};

use super::support::{Maker, Says, assert_at_rest, assert_balanced, settle};

/// The item that came back last is the next to be handed out.
#[tokio::test]
async fn items_come_back_warm_first() {
    let maker = Maker::new();
    let pool = maker.pool(3).build().await.unwrap();
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

/// An item marked broken, left incomplete, held over a panic or refused by its manager is dropped; one whose work was
/// completed is used again. After each, a pool of one makes another.
#[tokio::test]
async fn what_is_unfit_is_dropped_and_its_place_filled_again() {
    type Use = fn(PooledItem<Maker>);
    let uses: [(Use, Option<DiscardReason>); 10] = [
        (|lease| drop(lease), None),
        (|mut lease| lease.mark_broken(), Some(DiscardReason::Broken)),
        (|lease| lease.discard(), Some(DiscardReason::Broken)),
        (|mut lease| lease.begin(), Some(DiscardReason::Incomplete)),
        (
            |mut lease| {
                lease.begin();
                lease.complete();
            },
            None,
        ),
        (
            |mut lease| {
                lease.mark_broken();
                lease.begin();
                lease.complete();
            },
            Some(DiscardReason::Broken),
        ),
        (
            |lease| {
                let held = AssertUnwindSafe(lease);
                let panics = catch_unwind(move || {
                    let _held = held;
                    panic!("while it is held");
                });
                assert!(panics.is_err());
            },
            Some(DiscardReason::Panicked),
        ),
        (|mut lease| lease.recycle = Says::Discard, Some(DiscardReason::Recycle)),
        (|mut lease| lease.recycle = Says::Panic, Some(DiscardReason::Panicked)),
        (
            |mut lease| {
                lease.begin();
                lease.recycle = Says::Panic; // nobody asks
            },
            Some(DiscardReason::Incomplete),
        ),
    ];
    for (at, (use_up, reason)) in uses.into_iter().enumerate() {
        let maker = Maker::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let observer = move |event: &concurrency_governor::pool::PoolEvent| {
            if let concurrency_governor::pool::PoolEvent::Discarded { reason, .. } = event {
                telling.lock().unwrap().push(*reason);
            }
        };
        let pool = maker.pool(1).observer(observer).build().await.unwrap();
        let lease = pool.checkout().await.unwrap();
        let id = lease.id;
        use_up(lease);
        let status = assert_at_rest(&pool, &maker).await;
        assert_eq!(*told.lock().unwrap(), Vec::from_iter(reason), "use {at}");
        assert_eq!(status.totals.discarded.sum(), u64::from(reason.is_some()), "use {at}: {status:?}");
        let again = pool.checkout().await.unwrap();
        assert_eq!(again.id == id, reason.is_none(), "use {at}");
    }
}

/// A task that is dropped between `begin` and `complete` takes the item along.
#[tokio::test]
async fn a_task_dropped_in_the_middle_of_its_work_takes_the_item_along() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let mut lease = pool.checkout().await.unwrap();
    let task = tokio::spawn(async move {
        lease.begin();
        std::future::pending::<()>().await;
        lease.complete();
    });
    settle().await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.discarded.incomplete, status.idle), (1, 0));
}

/// A task that panics while it holds an item takes the item along.
#[tokio::test]
async fn a_task_that_panics_takes_the_item_along() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let lease = pool.checkout().await.unwrap();
    let task = tokio::spawn(async move {
        let _lease = lease;
        panic!("while it is held");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.discarded.panicked, 1);
    assert_eq!(pool.checkout().await.unwrap().id, 1);
}

/// An item that was taken while the thread unwound already is as good as any other.
#[tokio::test]
async fn a_lease_that_begins_while_the_thread_unwinds_says_nothing_about_its_item() {
    struct TakesOne(Pool<Maker>);
    impl Drop for TakesOne {
        fn drop(&mut self) {
            drop(self.0.try_checkout().unwrap());
        }
    }
    let maker = Maker::new();
    let pool = maker.pool(1).min_idle(1).build().await.unwrap();
    let takes = AssertUnwindSafe(TakesOne(pool.clone()));
    let panics = catch_unwind(move || {
        let _takes = takes;
        panic!("and then one is taken");
    });
    assert!(panics.is_err());
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.reused), (1, 1));
}

/// No panic of an item's drop costs a place, nor of its manager, not even while the thread unwinds, where a second panic
/// that escapes would end the process.
#[tokio::test]
async fn panics_of_the_users_code_cost_no_place() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    for unwinds in [false, true] {
        for recycles in [false, true] {
            let mut lease = pool.checkout().await.unwrap();
            lease.on_drop = Some(Box::new(|| panic!("it does not want to go")));
            if recycles {
                lease.recycle = Says::Panic;
            } else {
                lease.begin();
            }
            let held = AssertUnwindSafe(lease);
            let outcome = catch_unwind(move || {
                let _held = held;
                assert!(!unwinds, "so that it unwinds");
            });
            assert_eq!(outcome.is_err(), unwinds);
            assert_at_rest(&pool, &maker).await;
        }
    }
    let discarded = pool.status().totals.discarded;
    assert_eq!((discarded.sum(), discarded.panicked, discarded.incomplete), (4, 3, 1));
}

/// A recycled item has been through `recycle` once for each time it came back.
#[tokio::test]
async fn items_are_recycled_when_they_come_back() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    for times in 0..3 {
        let lease = pool.checkout().await.unwrap();
        assert_eq!((lease.id, lease.recycled), (0, times));
    }
}

/// What is taken out of the pool is counted no more, and its place is free at once.
#[tokio::test]
async fn a_detached_item_is_the_users_own() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    let mine = pool.checkout().await.unwrap().detach();
    let other = pool.checkout().await.unwrap();
    assert_eq!((mine.id, other.id, maker.live()), (0, 1, 2));
    let status = assert_balanced(&pool, &maker);
    assert_eq!((status.size, status.totals.detached), (1, 1));
    drop(mine);
}

/// A lease may go to another thread, and outlive every handle of the pool.
#[tokio::test]
async fn leases_are_sent_and_outlive_the_pool() {
    fn is_send<T: Send + 'static>(value: T) -> T {
        value
    }
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    let lease = is_send(pool.checkout().await.unwrap());
    drop(pool.checkout().await.unwrap());
    assert_eq!(maker.live(), 2);
    drop(pool);
    settle().await;
    assert_eq!(maker.live(), 1, "what was idle went with the last handle");
    std::thread::spawn(move || {
        assert_eq!(lease.id, 0);
        drop(lease);
    })
    .join()
    .unwrap();
    assert_eq!(maker.live(), 0);
}

/// An item knows how old it is, however often it was used.
#[tokio::test(start_paused = true)]
async fn a_lease_knows_the_age_of_its_item() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    drop(pool.checkout().await.unwrap());
    tokio::time::sleep(super::support::ms(70)).await;
    let lease = pool.checkout().await.unwrap();
    assert_eq!(lease.age(), super::support::ms(70));
}

/// What is printed for a person names the gate, and says what is out.
#[tokio::test]
async fn debug_names_the_gate() {
    let maker = Maker::new();
    let pool = maker.pool(1).name(concurrency_governor::GateName::new("boats")).build().await.unwrap();
    let lease = pool.checkout().await.unwrap();
    assert!(format!("{lease:?}").contains("boats") && format!("{pool:?}").contains("in_use: 1"));
}
