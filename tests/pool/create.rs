//! Items that cannot be made: each failure ends a checkout, and none the pool.

use std::error::Error;
use std::sync::{Arc, Mutex};

use concurrency_governor::gate::AcquireError;
use concurrency_governor::pool::{CheckoutError, CreateError, Pool, PoolEvent};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::{Instant, sleep};

use super::support::{Act, Maker, Rejected, assert_at_rest, ms, peek, settle};

/// An error of the manager's ends the checkout, with its cause, and the next one is served.
#[tokio::test(start_paused = true)]
async fn an_error_ends_one_checkout() {
    let maker = Maker::new();
    let pool = maker.pool(1).name(GateName::new("boats")).build().await.unwrap();
    maker.next([Act::Fail]);
    let error = pool.checkout().await.unwrap_err();
    assert_eq!(error.gate().to_string(), "boats");
    assert_eq!(error.to_string(), "the pool of gate `boats` could not create an item");
    assert_eq!(error.source().unwrap().downcast_ref::<Rejected>(), Some(&Rejected));
    assert!(matches!(error, CheckoutError::Create(CreateError::Failed { .. })));
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.totals.create_errors.failed, status.backing_off), (1, None));
}

/// An item that hangs is dropped after the pool's timeout; its place is free again.
#[tokio::test(start_paused = true)]
async fn one_that_hangs_ends_in_time_and_leaks_nothing() {
    let maker = Maker::new();
    let pool = maker.pool(1).create_timeout(ms(500)).build().await.unwrap();
    maker.next([Act::Hang]);
    let began = Instant::now();
    let error = pool.checkout().await.unwrap_err();
    assert!(matches!(error, CheckoutError::Create(CreateError::TimedOut { after, .. }) if after == ms(500)));
    assert_eq!(began.elapsed(), ms(500));
    assert_eq!(pool.status().size, 0);
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.create_errors.timed_out, 1);
}

/// A manager that panics is as one that fails, and its message is told.
#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_checkout() {
    let maker = Maker::new();
    let pool = maker.pool(1).build().await.unwrap();
    maker.next([Act::Panic]);
    let error = pool.checkout().await.unwrap_err();
    let CheckoutError::Create(CreateError::Panicked { message, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(&**message, "no item today");
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    assert_eq!(assert_at_rest(&pool, &maker).await.totals.create_errors.panicked, 1);
}

/// Of several that are made at once, each failure ends one checkout, and a success serves one.
#[tokio::test(start_paused = true)]
async fn each_failure_ends_one_of_several() {
    let maker = Maker::new();
    let pool = maker.pool(3).build().await.unwrap();
    maker.next([Act::Fail, Act::Make, Act::Fail]);
    let outcomes = tokio::join!(pool.checkout(), pool.checkout(), pool.checkout());
    let served = [&outcomes.0, &outcomes.1, &outcomes.2].map(Result::is_ok);
    assert_eq!(served.into_iter().filter(|is_served| *is_served).count(), 1, "{served:?}");
    assert_eq!(maker.attempts(), 3);
    drop(outcomes);
    assert_at_rest(&pool, &maker).await;
}

/// A manager that fails is left alone for longer and longer: of a crowd that goes on asking, few attempts come through to
/// it, and whoever asks is told after one pause and one attempt.
#[tokio::test(start_paused = true)]
async fn a_failing_manager_is_not_hammered() {
    let maker = Maker::new();
    let events: Arc<Mutex<Vec<PoolEvent>>> = Arc::default();
    let told = Arc::clone(&events);
    let pool = maker
        .pool(64)
        .create_backoff(ms(100), ms(800))
        .observer(move |event: &PoolEvent| told.lock().unwrap().push(event.clone()))
        .build()
        .await
        .unwrap();
    maker.always(Act::Fail);
    let crowd: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let (mut ended, began) = (0_u32, Instant::now());
                while began.elapsed() < ms(10_000) {
                    let asked = Instant::now();
                    assert!(pool.checkout().await.is_err());
                    assert!(asked.elapsed() <= ms(801), "{:?}", asked.elapsed());
                    ended += 1;
                }
                ended
            })
        })
        .collect();
    for task in crowd {
        assert!(task.await.unwrap() >= 12);
    }
    // 20 before the first pause, then one after each pause: of at least 50, 100, 200 and then 400 ms.
    let attempts = maker.attempts();
    assert!((20 + 10..=20 + 3 + 25).contains(&attempts), "{attempts} attempts in ten seconds");
    let pauses: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            PoolEvent::BackingOff { delay, failures, .. } => Some((*failures, *delay)),
            _ => None,
        })
        .collect();
    for (nth, (failures, delay)) in pauses.iter().enumerate() {
        let whole = ms(100 << nth.min(3));
        assert_eq!(*failures as usize, nth + 1);
        assert!((whole / 2..=whole).contains(delay), "{nth}: {delay:?}");
    }
    let delays: std::collections::BTreeSet<_> = pauses.iter().skip(3).map(|(_, delay)| delay).collect();
    assert!(delays.len() > 1, "they are scattered: {delays:?}");
    // It recovers with the first item that is made.
    maker.always(Act::Make);
    drop(pool.checkout().await.unwrap());
    assert_eq!(assert_at_rest(&pool, &maker).await.backing_off, None);
}

/// Whoever waits while items cannot be made is served by what comes back, at once.
#[tokio::test(start_paused = true)]
async fn a_pause_holds_up_nobody_who_can_be_served() {
    let maker = Maker::new();
    let pool = maker.pool(3).create_backoff(ms(60_000), ms(60_000)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    maker.next([Act::Fail]);
    assert!(pool.checkout().await.is_err());
    let mut waiting = Box::pin(pool.checkout());
    assert!(peek(&mut waiting).is_pending());
    assert!(pool.status().backing_off.is_some_and(|pause| pause >= ms(30_000)));
    drop(held);
    assert_eq!(waiting.await.unwrap().id, 0);
    assert_eq!(maker.attempts(), 2);
}

/// The attempt after a pause speaks for all who stood in line when it began, and for nobody who came later.
#[tokio::test(start_paused = true)]
async fn an_attempt_after_a_pause_speaks_for_those_who_waited() {
    let maker = Maker::new();
    let pool = maker.pool(8).create_backoff(ms(100), ms(100)).build().await.unwrap();
    maker.next([Act::Fail, Act::Hang]);
    assert!(pool.checkout().await.is_err());
    let mut early: Vec<_> = (0..3).map(|_| Box::pin(pool.checkout())).collect();
    assert!(early.iter_mut().all(|checkout| peek(checkout).is_pending()));
    sleep(ms(101)).await;
    assert_eq!((maker.attempts(), pool.status().creating), (2, 1), "one for all of them");
    let mut late = Box::pin(pool.checkout());
    assert!(peek(&mut late).is_pending());
    sleep(ms(30_001)).await;
    for checkout in early {
        let error = checkout.await.unwrap_err();
        assert!(matches!(error, CheckoutError::Create(CreateError::TimedOut { .. })), "{error:?}");
    }
    assert_eq!(late.await.unwrap().id, 0);
    assert_at_rest(&pool, &maker).await;
}

/// One deadline is over the wait at the gate and the wait for the item together, be it the request's or the gate's.
#[tokio::test(start_paused = true)]
async fn one_deadline_for_growing_and_waiting() {
    let gate = Gate::builder(GateName::new("slow"), Limit::MIN).max_wait(ms(300)).build();
    let maker = Maker::new();
    let pool = Pool::builder(maker.clone()).gate(gate).build().await.unwrap();
    for by_gate in [false, true] {
        let request = pool.request();
        let request = if by_gate { request } else { request.max_wait(ms(200)) };
        let longest = if by_gate { ms(300) } else { ms(200) };
        let held = pool.checkout().await.unwrap();
        maker.next([Act::Hang]);
        let began = Instant::now();
        let waiting = request.checkout();
        let goes = async {
            sleep(ms(150)).await;
            held.discard(); // so that it is admitted, and its item hangs
        };
        let (outcome, ()) = tokio::join!(waiting, goes);
        let error = outcome.unwrap_err();
        assert_eq!(began.elapsed(), longest, "{error:?}");
        let CheckoutError::Rejected(AcquireError::DeadlineExceeded { waited, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(waited, longest);
        assert_eq!(maker.attempts() % 2, 0, "it was admitted");
        sleep(ms(31_000)).await; // until what hangs is given up
        assert_at_rest(&pool, &maker).await;
    }
    // A moment, too: and one that has passed still lets in who need not wait.
    let deadline = Instant::now();
    maker.next([Act::Hang]);
    assert!(pool.request().deadline(deadline + ms(40)).checkout().await.is_err());
    assert_eq!(deadline.elapsed(), ms(40));
    sleep(ms(31_000)).await;
    drop(pool.checkout().await.unwrap());
    drop(pool.request().deadline(deadline).checkout().await.unwrap());
}

/// Waiters grow the pool together: as many items are made at once as are waited for, and no more than fit.
#[tokio::test(start_paused = true)]
async fn it_grows_on_demand_and_at_once() {
    let maker = Maker::new();
    let pool = maker.pool(4).build().await.unwrap();
    maker.always(Act::Take(ms(100)));
    let began = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let lease = pool.checkout().await.unwrap();
                sleep(ms(10)).await;
                lease.id
            })
        })
        .collect();
    settle().await;
    assert_eq!(pool.status().creating, 4);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((began.elapsed(), maker.attempts()), (ms(120), 4));
    assert_eq!(assert_at_rest(&pool, &maker).await.idle, 4);
}

/// An item that comes back serves who waits for one to be made, and the one that is made serves the next.
#[tokio::test(start_paused = true)]
async fn whichever_comes_first() {
    let maker = Maker::new();
    let pool = maker.pool(3).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    maker.always(Act::Take(ms(100)));
    let mut first = Box::pin(pool.checkout());
    let mut second = Box::pin(pool.checkout());
    assert!(peek(&mut first).is_pending() && peek(&mut second).is_pending());
    drop(held);
    let first = first.await.unwrap();
    assert_eq!((first.id, second.await.unwrap().id), (0, 1));
    drop(first);
    sleep(ms(200)).await;
    let status = assert_at_rest(&pool, &maker).await;
    assert_eq!((status.idle, status.totals.created), (3, 3), "what nobody waits for any more is idle");
}
