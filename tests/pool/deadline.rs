//! Checkouts whose deadline passes: what they were waiting for, and why.

use std::error::Error;

use concurrency_governor::pool::{CheckoutError, CheckoutStage, CreateError, Pool, PooledItem};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::{Instant, sleep};

use super::support::{
    Check, Creation, ScriptedError, ScriptedManager, assert_quiescent, ms, poll_once, settle,
};

fn stage_of(outcome: Result<PooledItem<ScriptedManager>, CheckoutError>) -> CheckoutStage {
    let Err(CheckoutError::DeadlineExceeded(timeout)) = outcome else { panic!("no deadline passed") };
    timeout.stage
}

/// The error of a bounded wait has the last failure as its source, although an item in use might still have come back.
#[tokio::test(start_paused = true)]
async fn deadline_names_the_last_failure() {
    let manager = ScriptedManager::new();
    let gate = Gate::new(GateName::new("boats"), Limit::new(2));
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).build().await.unwrap();
    let _held = pool.checkout().await.unwrap();
    manager.always(Creation::Fail);
    assert!(matches!(pool.checkout().await, Err(CheckoutError::Create(CreateError::Failed { .. }))));
    let _other_permit = gate.try_acquire().unwrap(); // so that the next checkout is not admitted
    let error = pool.request().max_wait(ms(10)).checkout().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the pool of gate `boats` did not serve the checkout within 10ms; at the end it waited for a permit: of 2 \
         items, 1 were in use and 0 being created; the creation of items fails"
    );
    let cause = error.source().unwrap();
    assert_eq!(cause.to_string(), "the pool of gate `boats` could not create an item");
    assert!(cause.source().unwrap().downcast_ref::<ScriptedError>().is_some());
}

/// The error of an expired checkout has the stage of its wait, and expired checkouts are counted by stage.
#[tokio::test(start_paused = true)]
async fn expired_checkouts_are_counted_by_stage() {
    let manager = ScriptedManager::new();
    let pool = manager
        .pool(2)
        .max_wait(ms(100))
        .create_timeout(ms(10_000))
        .check_timeout(ms(10_000))
        .create_backoff(ms(60_000), ms(60_000))
        .build()
        .await
        .unwrap();

    // A creation that hangs, once for the checkout itself and once for the permits of others.
    manager.script([Creation::Hang]);
    assert_eq!(stage_of(pool.checkout().await), CheckoutStage::Creation);
    let permits = pool.gate().as_gate().unwrap().try_acquire_many(2).unwrap();
    for _ in 0..2 {
        let error = pool.checkout().await.unwrap_err();
        assert!(
            error.to_string().ends_with("raise the limit, or find out what delays `Manager::create`"),
            "{error}"
        );
    }
    drop(permits);

    // One item is in use, and the creation of the other still hangs after the limit was lowered.
    pool.resize(Limit::MIN);
    for _ in 0..3 {
        assert_eq!(stage_of(pool.checkout().await), CheckoutStage::Creation);
    }
    sleep(ms(10_000)).await; // the creation times out
    for _ in 0..5 {
        assert_eq!(stage_of(pool.checkout().await), CheckoutStage::Backoff);
    }
    pool.retry_now();
    settle().await;

    // An item that is in use longer than its permit, because its drop takes long.
    pool.resize(Limit::new(2));
    let mut held = pool.checkout().await.unwrap();
    held.health = Check::Hang;
    let other_permit = pool.gate().as_gate().unwrap().try_acquire().unwrap();
    let error = pool.checkout().await.unwrap_err();
    assert!(error.to_string().ends_with("raise the limit, or hold items for a shorter time"), "{error}");
    drop((other_permit, held));

    // A health check that hangs.
    let mut checking = Box::pin(pool.checkout());
    assert!(poll_once(&mut checking).is_pending());
    assert_eq!((pool.status().checking, pool.status().in_use), (1, 1));
    assert_eq!(stage_of(checking.await), CheckoutStage::Check);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!(status.checking, 0);
    let expired = status.totals.expired;
    assert_eq!((expired.admission, expired.creation, expired.backoff, expired.check), (3, 4, 5, 1));
    assert_eq!((expired.item, expired.start, expired.sum()), (0, 0, 13));
}

/// A checkout that was admitted before the limit fell, and waits for an item that comes back, expires with an
/// error that names this wait.
#[tokio::test(start_paused = true)]
async fn expired_wait_for_an_item_is_named_in_the_error() {
    let manager = ScriptedManager::new();
    let gate = Gate::new(GateName::new("boats"), Limit::new(2));
    let pool = Pool::builder(manager.clone()).gate(gate.clone()).build().await.unwrap();
    let _held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.request().max_wait(ms(100)).checkout());
    assert!(poll_once(&mut waiting).is_pending());
    gate.resize(Limit::MIN); // the creation has not started, and does not start
    let error = waiting.await.unwrap_err();
    assert!(error.to_string().contains("an item to be returned: 1 were in use"), "{error}");
    assert_eq!(pool.status().totals.expired.item, 1);
}

/// A deadline that passes during a health check after the pool was closed has no source: no creation has failed.
#[tokio::test(start_paused = true)]
async fn deadline_after_the_close_has_no_source() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).max_wait(ms(100)).check_timeout(ms(10_000)).build().await.unwrap();
    pool.checkout().await.unwrap().health = Check::Hang;
    let mut checking = Box::pin(pool.checkout());
    assert!(poll_once(&mut checking).is_pending());
    pool.close();
    settle().await; // the maintenance task ends
    let error = checking.await.unwrap_err();
    assert!(error.source().is_none(), "{error:?}");
    assert_eq!(pool.status().totals.expired.check, 1);
}

/// A checkout keeps the deadline of its arrival if the longest wait of the gate is changed while it waits.
#[tokio::test(start_paused = true)]
async fn changed_longest_wait_counts_for_later_checkouts() {
    for (at_arrival, later) in [(ms(300), ms(1000)), (ms(300), ms(100))] {
        let manager = ScriptedManager::new();
        let gate = Gate::builder(GateName::new("boats"), Limit::MIN).max_wait(at_arrival).build();
        let pool = Pool::builder(manager.clone()).gate(gate.clone()).build().await.unwrap();
        let held = pool.checkout().await.unwrap();
        manager.always(Creation::Hang);
        let began = Instant::now();
        let mut waiting = Box::pin(pool.checkout());
        assert!(poll_once(&mut waiting).is_pending());
        gate.set_max_wait(later);
        sleep(ms(50)).await;
        held.discard(); // admits the checkout, whose creation hangs
        assert_eq!(stage_of(waiting.await), CheckoutStage::Creation);
        assert_eq!(began.elapsed(), at_arrival);
    }
}
