//! Creating items fails for a while, or for good: what waiting, later and bounded checkouts get.

use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use concurrency_governor::pool::{CheckoutError, CreateError, DuringBackoff, Pool, PoolEvent, PooledItem};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::hooks::{Call, hooked};
use super::support::{Check, Creation, ScriptedManager, assert_quiescent, ms, poll_once, settle};

type Outcome = Result<PooledItem<ScriptedManager>, CheckoutError>;

/// Spawns checkouts with this longest wait.
fn spawn_checkouts(
    pool: &Pool<ScriptedManager>,
    checkouts: usize,
    max_wait: Option<Duration>,
) -> Vec<JoinHandle<Outcome>> {
    let spawn_one = |_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            match max_wait {
                Some(wait) => pool.request().max_wait(wait).checkout().await,
                None => pool.checkout().await,
            }
        })
    };
    (0..checkouts).map(spawn_one).collect()
}

fn is_failed(outcome: &Outcome) -> bool {
    matches!(outcome, Err(CheckoutError::Create(CreateError::Failed { .. })))
}

/// While no item can be created, the failed attempt after the first delay ends every wait with its cause, also at the gate, and
/// with a bounded wait, too.
#[tokio::test(start_paused = true)]
async fn failure_ends_the_waits_at_the_gate() {
    for max_wait in [None, Some(ms(1000))] {
        let manager = ScriptedManager::new();
        manager.always(Creation::Fail);
        let pool = manager.pool(2).create_backoff(ms(50), ms(5000)).build().await.unwrap();
        let began = Instant::now();
        for checkout in spawn_checkouts(&pool, 100, max_wait) {
            assert!(is_failed(&checkout.await.unwrap()));
        }
        assert!(began.elapsed() <= ms(51), "ended after {:?}", began.elapsed());
        assert_eq!(manager.attempts(), 3, "two attempts, and one after the delay");
        assert_quiescent(&pool, &manager).await;
    }
}

/// A failure leaves the waits at the gate that an item in use will serve.
#[tokio::test(start_paused = true)]
async fn item_in_use_serves_the_waits_at_the_gate() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).create_backoff(ms(50), ms(50)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.always(Creation::Fail);
    let checkouts = spawn_checkouts(&pool, 100, None);
    sleep(ms(1000)).await;
    settle().await; // an attempt may fail in this millisecond
    assert!(manager.attempts() > 10, "creation was not tried again");
    let ended = checkouts.iter().filter(|checkout| checkout.is_finished()).count();
    assert!(ended > 0, "no failure has ended the wait of an admitted checkout");
    assert!(ended < 50, "the checkouts at the gate were ended although an item is in use");
    drop(held);
    let mut served = 0;
    for checkout in checkouts {
        served += usize::from(checkout.await.unwrap().is_ok());
    }
    assert_eq!(served, 100 - ended, "a wait was not served by the item that came back");
    assert_quiescent(&pool, &manager).await;
}

/// When the last item in use is discarded during an outage, the waits at the gate end with the next failure.
#[tokio::test(start_paused = true)]
async fn waits_at_the_gate_end_when_the_last_item_is_gone() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).create_backoff(ms(50), ms(50)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.always(Creation::Fail);
    let checkouts = spawn_checkouts(&pool, 10, None);
    sleep(ms(1000)).await;
    assert_eq!(manager.attempts(), 1, "there is no room for another item");
    held.discard();
    for checkout in checkouts {
        assert!(is_failed(&checkout.await.unwrap()));
    }
    assert_eq!(manager.attempts(), 3, "one attempt, and one after the delay");
}

/// A failure ends the waits at the gate, although an admitted checkout whose future is not polled still holds its permit.
#[tokio::test(start_paused = true)]
async fn checkout_that_is_not_polled_does_not_hold_up_the_cause() {
    let manager = ScriptedManager::new();
    manager.always(Creation::Fail);
    let pool = manager.pool(1).create_backoff(ms(50), ms(50)).build().await.unwrap();
    assert!(is_failed(&pool.checkout().await));
    let mut admitted = Box::pin(pool.checkout());
    assert!(poll_once(&mut admitted).is_pending());
    let at_gate = spawn_checkouts(&pool, 5, Some(ms(10_000)));
    sleep(ms(51)).await;
    assert_eq!((manager.attempts(), pool.gate().status().in_use), (2, 1), "its permit was released");
    for checkout in at_gate {
        assert!(checkout.is_finished(), "the failure did not end a wait at the gate");
        assert!(is_failed(&checkout.await.unwrap()));
    }
    assert!(is_failed(&admitted.await));
}

/// A waker at the gate that panics when a failure ends its wait loses no event and no attempt.
#[tokio::test(start_paused = true)]
async fn panicking_waker_at_the_gate_loses_nothing() {
    let manager = ScriptedManager::new();
    manager.always(Creation::Fail);
    let failures = Arc::new(Mutex::new(0));
    let observed = Arc::clone(&failures);
    let pool = manager
        .pool(1)
        .create_backoff(ms(50), ms(50))
        .observer(move |event: &PoolEvent| {
            *observed.lock().unwrap() += u32::from(matches!(event, PoolEvent::CreateFailed { .. }));
        })
        .build()
        .await
        .unwrap();
    assert!(is_failed(&pool.checkout().await));
    let mut admitted = Box::pin(pool.checkout());
    assert!(poll_once(&mut admitted).is_pending());
    let panics = Arc::new(AtomicBool::new(true));
    let panicking = Arc::clone(&panics);
    let waker = hooked(move |call| assert!(call != Call::Wake || !panicking.load(SeqCst), "scripted panic"));
    let mut at_gate = Box::pin(pool.checkout());
    assert!(at_gate.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    sleep(ms(51)).await;
    assert_eq!((*failures.lock().unwrap(), manager.attempts()), (2, 2), "the event was lost");
    panics.store(false, SeqCst);
    assert!(is_failed(&at_gate.await) && is_failed(&admitted.await));
    drop(waker);
    manager.always(Creation::Succeed);
    drop(pool.checkout().await.unwrap());
    assert_quiescent(&pool, &manager).await;
}

/// The failed attempt after a delay does not end the wait of a checkout that arrived at the gate after the attempt had started.
#[tokio::test(start_paused = true)]
async fn later_checkout_at_the_gate_waits_for_the_next_attempt() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).create_timeout(ms(500)).create_backoff(ms(50), ms(50)).build().await.unwrap();
    manager.script([Creation::Fail, Creation::Hang]);
    assert!(is_failed(&pool.checkout().await));
    let mut earlier = spawn_checkouts(&pool, 3, None);
    sleep(ms(60)).await; // the attempt after the delay hangs
    let later = spawn_checkouts(&pool, 3, None);
    sleep(ms(501)).await;
    for checkout in earlier.drain(..) {
        let outcome = checkout.await.unwrap();
        assert!(matches!(outcome, Err(CheckoutError::Create(CreateError::TimedOut { .. }))));
    }
    for checkout in later {
        drop(checkout.await.unwrap().unwrap());
    }
    assert_eq!(manager.attempts(), 3);
}

/// The failed attempt after a delay ends the wait of a checkout that arrived at the gate before the attempt started, although the
/// checkout has got an unfit item since.
#[tokio::test(start_paused = true)]
async fn failed_attempt_ends_the_wait_of_a_checkout_that_got_an_unfit_item() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(2).create_timeout(ms(500)).create_backoff(ms(50), ms(50)).build().await.unwrap();
    manager.script([Creation::Fail, Creation::Hang]);
    assert!(is_failed(&pool.checkout().await));
    pool.add(manager.item()).unwrap();
    let mut held = pool.checkout().await.unwrap();
    held.health = Check::Discard;
    let mut cancelled = Box::pin(pool.checkout());
    let mut at_gate = Box::pin(pool.checkout());
    assert!(poll_once(&mut cancelled).is_pending() && poll_once(&mut at_gate).is_pending());
    sleep(ms(60)).await; // the attempt after the delay hangs
    assert_eq!(manager.attempts(), 2);

    drop(cancelled);
    drop(held); // it is idle, because no checkout waits in the pool
    assert!(poll_once(&mut at_gate).is_pending());
    assert_eq!(pool.status().totals.discarded.health, 1, "the checkout did not get the unfit item");
    sleep(ms(501)).await;
    let outcome = poll_once(&mut at_gate);
    assert!(
        matches!(&outcome, Poll::Ready(Err(CheckoutError::Create(CreateError::TimedOut { .. })))),
        "{outcome:?}"
    );
}

/// With `DuringBackoff::Reject`, a checkout that needs a new item fails at once with the last error and the remaining delay. The
/// first checkout after the delay makes the next attempt.
#[tokio::test(start_paused = true)]
async fn checkouts_are_rejected_during_the_backoff() {
    let manager = ScriptedManager::new();
    let builder = manager.pool(8).create_backoff(ms(1000), ms(1000));
    let pool = builder.during_backoff(DuringBackoff::Reject).build().await.unwrap();
    manager.always(Creation::Fail);
    let began = Instant::now();
    for checkout in spawn_checkouts(&pool, 8, None) {
        assert!(is_failed(&checkout.await.unwrap()));
    }
    assert_eq!((began.elapsed(), manager.attempts()), (ms(0), 8), "each of them needed an attempt");

    for checkout in spawn_checkouts(&pool, 20, None) {
        let error = checkout.await.unwrap().unwrap_err();
        let CheckoutError::BackingOff { error: cause, retry_after } = &error else { panic!("{error:?}") };
        assert!(matches!(cause, CreateError::Failed { .. }));
        let delay = retry_after.unwrap();
        assert!((ms(500)..=ms(1000)).contains(&delay), "{delay:?}");
        assert_eq!(Some(delay), pool.status().backing_off);
        assert!(error.to_string().ends_with(&format!("the next attempt is in {delay:?}")), "{error}");
        assert!(error.source().is_some());
    }
    assert_eq!((began.elapsed(), manager.attempts()), (ms(0), 8));

    sleep(ms(1001)).await;
    assert_eq!(manager.attempts(), 8, "no attempt is made without a checkout");
    manager.always(Creation::Succeed);
    drop(pool.checkout().await.unwrap());
    assert_quiescent(&pool, &manager).await;
}

/// With `DuringBackoff::Reject`, existing items are handed out and waited for, and a checkout that arrives during the attempt after
/// the delay waits for its outcome.
#[tokio::test(start_paused = true)]
async fn rejecting_pool_hands_out_existing_items() {
    let manager = ScriptedManager::new();
    let builder = manager.pool(1).create_timeout(ms(200)).create_backoff(ms(1000), ms(1000));
    let pool = builder.during_backoff(DuringBackoff::Reject).build().await.unwrap();
    manager.script([Creation::Fail, Creation::Hang]);
    assert!(is_failed(&pool.checkout().await));
    assert!(matches!(pool.checkout().await, Err(CheckoutError::BackingOff { .. })));
    pool.add(manager.item()).unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending(), "no creation is needed");
    drop(held);
    waiting.await.unwrap().discard();

    sleep(ms(1001)).await;
    let trying = spawn_checkouts(&pool, 3, None); // the first makes the attempt
    settle().await;
    assert_eq!(pool.status().creating, 1);
    let began = Instant::now();
    let [first, others @ ..] = &mut trying.into_iter().map(Some).collect::<Vec<_>>()[..] else { panic!() };
    let outcome = first.take().unwrap().await.unwrap();
    assert!(matches!(outcome, Err(CheckoutError::Create(CreateError::TimedOut { .. }))));
    for other in others {
        assert!(other.take().unwrap().await.unwrap().is_err());
    }
    assert_eq!(began.elapsed(), ms(200), "a checkout waited for the end of the delay");
    assert_quiescent(&pool, &manager).await;
}

/// A permanent error ends every wait at once. No further attempt is made before `retry_now`, not for the minimum either. Existing
/// items are still handed out.
#[tokio::test(start_paused = true)]
async fn permanent_failure_ends_every_wait() {
    let manager = ScriptedManager::new();
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let observed = Arc::clone(&events);
    let pool = manager
        .pool(2)
        .min_idle(1)
        .observer(move |event: &PoolEvent| observed.lock().unwrap().push(event.to_string()))
        .build()
        .await
        .unwrap();
    manager.give_up(true);
    manager.always(Creation::Fail);
    pool.checkout().await.unwrap().discard();
    settle().await;
    assert_eq!(manager.attempts(), 2, "the minimum was not refilled");
    assert_eq!(pool.status().backing_off, Some(Duration::MAX));
    assert_eq!(
        events.lock().unwrap().last().unwrap(),
        "pool pool: no further attempt to create an item before `retry_now`"
    );
    let began = Instant::now();
    for checkout in spawn_checkouts(&pool, 20, None) {
        let error = checkout.await.unwrap().unwrap_err();
        assert!(matches!(error, CheckoutError::BackingOff { retry_after: None, .. }), "{error:?}");
        assert!(error.to_string().contains("call `Pool::retry_now`"), "{error}");
    }
    sleep(ms(60_000)).await;
    assert_eq!((manager.attempts(), began.elapsed()), (2, ms(60_000)));

    pool.add(manager.item()).unwrap();
    drop(pool.checkout().await.unwrap());
    pool.checkout().await.unwrap().discard();
    manager.always(Creation::Succeed);
    sleep(ms(60_000)).await;
    assert_eq!(pool.status().size, 0);
    pool.retry_now();
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 1);
    drop(pool.checkout().await.unwrap());
    assert_eq!(pool.status().backing_off, None);
}

/// A permanent error ends the waits in the pool's queue and at the gate, although the failure before it would be retried.
#[tokio::test(start_paused = true)]
async fn permanent_failure_after_a_delay_ends_every_wait() {
    let manager = ScriptedManager::new();
    manager.always(Creation::Fail);
    let pool = manager.pool(2).create_backoff(ms(100), ms(100)).build().await.unwrap();
    assert!(is_failed(&pool.checkout().await));
    let checkouts = spawn_checkouts(&pool, 10, None);
    settle().await;
    manager.give_up(true);
    for checkout in checkouts {
        assert!(checkout.await.unwrap().is_err());
    }
    assert_eq!((manager.attempts(), pool.status().backing_off), (2, Some(Duration::MAX)));
    assert_quiescent(&pool, &manager).await;
}

/// `retry_now` ends the delay: the waiting checkouts are served at once if the cause is gone.
#[tokio::test(start_paused = true)]
async fn retry_now_serves_waiting_checkouts() {
    let manager = ScriptedManager::new();
    manager.script([Creation::Fail]);
    let pool = manager.pool(2).create_backoff(ms(60_000), ms(60_000)).build().await.unwrap();
    assert!(is_failed(&pool.checkout().await));
    let began = Instant::now();
    let checkouts = spawn_checkouts(&pool, 10, None);
    settle().await;
    assert_eq!(manager.attempts(), 1);
    pool.retry_now();
    for checkout in checkouts {
        drop(checkout.await.unwrap().unwrap());
    }
    assert_eq!((began.elapsed(), pool.status().backing_off), (ms(0), None));
    assert_quiescent(&pool, &manager).await;
}

/// A checkout that finds its item expired may thereby start the attempt after the delay. If that attempt fails, it ends the
/// wait of the checkout, which arrived before the attempt.
#[test]
fn failed_attempt_ends_the_wait_of_the_checkout_that_caused_it() {
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    let manager = ScriptedManager::new();
    let building = manager.pool(2).min_idle(1).max_lifetime(ms(30)).create_backoff(ms(30), ms(30)).build();
    let pool = runtime.block_on(building).unwrap();
    manager.always(Creation::Fail);
    runtime.block_on(async {
        let held = pool.checkout().await.unwrap();
        assert!(is_failed(&pool.checkout().await));
        drop(held);
    });
    // The delay and the item's lifetime end while the runtime stands still: the first poll advances the clock, and no task runs.
    let _entered = runtime.enter();
    assert!(poll_once(&mut Box::pin(tokio::time::advance(ms(60)))).is_pending());
    let attempts = manager.attempts();
    let mut checkout = Box::pin(pool.checkout());
    assert!(poll_once(&mut checkout).is_pending());
    runtime.block_on(settle());
    assert_eq!(manager.attempts(), attempts + 1);
    let outcome = poll_once(&mut checkout);
    assert!(matches!(&outcome, Poll::Ready(outcome) if is_failed(outcome)), "{outcome:?}");
}

/// An attempt that was running when another failed permanently does not replace the permanent error when it fails, too.
#[tokio::test(start_paused = true)]
async fn permanent_error_is_kept() {
    let manager = ScriptedManager::new();
    manager.script([Creation::Hang, Creation::Fail]);
    manager.give_up(true);
    let pool = manager.pool(2).create_timeout(ms(500)).build().await.unwrap();
    for checkout in spawn_checkouts(&pool, 2, None) {
        assert!(is_failed(&checkout.await.unwrap()));
    }
    sleep(ms(501)).await;
    assert_eq!(pool.status().totals.create_errors.timed_out, 1);
    let error = pool.checkout().await.unwrap_err();
    let CheckoutError::BackingOff { error: cause, retry_after: None } = &error else { panic!("{error:?}") };
    assert!(matches!(cause, CreateError::Failed { .. }), "{cause:?}");
}

/// With `DuringBackoff::Reject`, a checkout waits for an item that `retain` is judging. Only a second checkout is rejected.
#[tokio::test(start_paused = true)]
async fn checkout_waits_for_a_judged_item_during_the_backoff() {
    let manager = ScriptedManager::new();
    let builder = manager.pool(3).create_backoff(ms(1000), ms(1000));
    let pool = builder.during_backoff(DuringBackoff::Reject).build().await.unwrap();
    manager.script([Creation::Fail]);
    assert!(is_failed(&pool.checkout().await));
    pool.add(manager.item()).unwrap();
    let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    pool.retain(|_, _| {
        assert!(poll_once(&mut first).is_pending(), "rejected although an item may become free");
        let Poll::Ready(Err(error)) = poll_once(&mut second) else { panic!("no item is left for it") };
        assert!(matches!(error, CheckoutError::BackingOff { .. }), "{error:?}");
        true
    });
    assert_eq!(first.await.unwrap().id, 0);
    assert_quiescent(&pool, &manager).await;
}

/// A failed attempt does not revive waits at the gate that a later failure has ended, whose checkouts have not been polled since.
#[tokio::test(start_paused = true)]
async fn ended_waits_at_the_gate_stay_ended() {
    let manager = ScriptedManager::new();
    manager.script([Creation::FailAfter(ms(200)), Creation::Fail, Creation::Hang]);
    let pool = manager.pool(2).create_timeout(ms(400)).create_backoff(ms(50), ms(50)).build().await.unwrap();
    let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    settle().await;
    assert!(is_failed(&first.await));
    let _other_permit = pool.gate().as_gate().unwrap().try_acquire().unwrap();
    sleep(ms(100)).await;
    assert_eq!(pool.status().creating, 2, "the attempt after the delay is not running beside the first one");
    let mut at_gate = Box::pin(pool.checkout());
    assert!(poll_once(&mut at_gate).is_pending());
    manager.give_up(true);
    sleep(ms(500)).await; // the first attempt fails permanently, and then the one after the delay times out
    assert_eq!((manager.attempts(), pool.status().creating), (3, 0));
    let outcome = poll_once(&mut at_gate);
    assert!(matches!(&outcome, Poll::Ready(outcome) if is_failed(outcome)), "{outcome:?}");
}
