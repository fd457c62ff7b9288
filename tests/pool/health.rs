//! Items that are asked after before they are handed out again.

use concurrency_governor::gate::AcquireError;
use concurrency_governor::pool::CheckoutError;
use tokio::time::{Instant, sleep};

use super::support::{Act, Maker, Says, assert_at_rest, ms, peek};

/// One that is not fit is dropped, and the next is asked; with none left another is made. What was just made is not asked.
#[tokio::test]
async fn an_unfit_item_is_replaced() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    let (mut first, mut second) = (pool.checkout().await.unwrap(), pool.checkout().await.unwrap());
    first.health = Says::Discard;
    second.health = Says::Discard;
    drop((first, second));
    assert_eq!(pool.checkout().await.unwrap().id, 2);
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.discarded.health, maker.most()), (2, 2));
}

/// One whose check takes too long is dropped; if the checkout's own deadline comes first, that ends, too.
#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_ends_in_time() {
    let maker = Maker::new();
    let pool = maker.pool(1).create_timeout(ms(400)).build().await.unwrap();
    for wait in [ms(100), ms(1000)] {
        pool.checkout().await.unwrap().health = Says::Hang;
        let began = Instant::now();
        let outcome = pool.request().max_wait(wait).checkout().await;
        assert_eq!(began.elapsed(), wait.min(ms(400)));
        match outcome {
            Err(CheckoutError::Rejected(AcquireError::DeadlineExceeded { .. })) => assert_eq!(wait, ms(100)),
            outcome => assert_eq!((outcome.unwrap().health as u8, wait), (Says::Keep as u8, ms(1000))),
        }
        assert_at_rest(&pool, &maker).await;
    }
    assert_eq!(pool.status().totals.discarded.health, 2);
}

/// One whose check is dropped midway is dropped: nobody knows what state that left it in.
#[tokio::test]
async fn a_check_that_is_given_up_costs_the_item() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Says::Hang;
    let mut checkout = Box::pin(pool.checkout());
    assert!(peek(&mut checkout).is_pending());
    assert_eq!(pool.status().in_use, 1);
    drop(checkout);
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.discarded.health, status.size), (1, 0));
}

/// A check that panics is its caller's panic, and costs the item and no place.
#[tokio::test]
async fn a_check_that_panics_costs_the_item() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Says::Panic;
    let asking = pool.clone();
    let task = tokio::spawn(async move { drop(asking.checkout().await) });
    assert!(task.await.unwrap_err().is_panic());
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.discarded.panicked, status.size), (1, 0));
    drop(pool.checkout().await.unwrap());
}

/// What is handed straight to who waits is asked after, too; and whoever replaces it keeps the permit.
#[tokio::test(start_paused = true)]
async fn what_is_handed_over_is_asked_after() {
    let maker = Maker::new();
    let pool = maker.pool(2).build().await.unwrap();
    let mut held = pool.checkout().await.unwrap();
    maker.next([Act::Take(ms(50))]);
    let waiting = pool.checkout();
    let goes = async {
        sleep(ms(10)).await;
        held.health = Says::Discard;
        drop(held);
    };
    let (outcome, ()) = tokio::join!(waiting, goes);
    assert_eq!(outcome.unwrap().id, 1);
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.discarded.health, 1);
}

/// A checkout that does not wait does not ask.
#[tokio::test]
async fn trying_asks_nobody() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    pool.checkout().await.unwrap().health = Says::Panic;
    assert_eq!(pool.try_checkout().unwrap().id, 0);
}
