//! Creating items: on demand, and when creation fails.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use concurrency_governor::pool::{CheckoutError, CheckoutStage, CreateError, Manager, Pool, PoolEvent};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::time::{Instant, sleep};

use super::support::{Creation, ScriptedError, ScriptedManager, assert_quiescent, ms, poll_once, settle};

/// An error of the manager ends the checkout with its cause. The next checkout is served.
#[tokio::test(start_paused = true)]
async fn error_ends_one_checkout() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).name(GateName::new("boats")).build().await.unwrap();
    manager.script([Creation::Fail]);
    let error = pool.checkout().await.unwrap_err();
    assert_eq!(error.gate().to_string(), "boats");
    assert_eq!(error.to_string(), "the pool of gate `boats` could not create an item");
    assert_eq!(error.source().unwrap().downcast_ref::<ScriptedError>(), Some(&ScriptedError));
    assert!(matches!(error, CheckoutError::Create(CreateError::Failed { .. })));
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.totals.create_errors.failed, status.backing_off), (1, None));
}

/// The manager's error may be any type that converts to a boxed error, such as a text. It is the source of the checkout's error.
#[tokio::test]
async fn any_error_that_can_be_boxed_is_the_source() {
    struct Failing<E>(fn() -> E);

    impl<E: Into<Box<dyn Error + Send + Sync>> + Send + 'static> Manager for Failing<E> {
        type Item = ();
        type Error = E;

        async fn create(&self) -> Result<(), E> {
            Err((self.0)())
        }
    }

    /// Like `anyhow::Error`: not an error itself.
    struct Report(&'static str);

    impl From<Report> for Box<dyn Error + Send + Sync> {
        fn from(report: Report) -> Self {
            report.0.into()
        }
    }

    async fn source_of<M: Manager>(manager: M) -> String {
        let error = Pool::builder(manager).max(1).build().await.unwrap().checkout().await.unwrap_err();
        error.source().unwrap().to_string()
    }
    assert_eq!(source_of(Failing(|| "a text")).await, "a text");
    assert_eq!(source_of(Failing(|| Report("a report"))).await, "a report");
    assert_eq!(source_of(Failing(|| Box::<dyn Error + Send + Sync>::from("a box"))).await, "a box");
}

/// A creation that hangs ends after the create timeout, and its slot becomes free.
#[tokio::test(start_paused = true)]
async fn hanging_creation_times_out() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).create_timeout(ms(500)).build().await.unwrap();
    manager.script([Creation::Hang]);
    let began = Instant::now();
    let error = pool.checkout().await.unwrap_err();
    assert!(matches!(error, CheckoutError::Create(CreateError::TimedOut { after, .. }) if after == ms(500)));
    assert_eq!(began.elapsed(), ms(500));
    assert_eq!(pool.status().size, 0);
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.create_errors.timed_out, 1);
}

/// A panic of the manager ends one checkout, whose error has the message.
#[tokio::test(start_paused = true)]
async fn panic_ends_one_checkout() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(1).build().await.unwrap();
    manager.script([Creation::Panic]);
    let error = pool.checkout().await.unwrap_err();
    let CheckoutError::Create(CreateError::Panicked { message, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(&**message, "scripted panic");
    assert_eq!(pool.checkout().await.unwrap().id, 0);
    assert_eq!(assert_quiescent(&pool, &manager).await.totals.create_errors.panicked, 1);
}

/// Of several creations at once, each failure ends one checkout and each success serves one.
#[tokio::test(start_paused = true)]
async fn each_failure_ends_one_of_several_checkouts() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).build().await.unwrap();
    manager.script([Creation::Fail, Creation::Succeed, Creation::Fail]);
    let outcomes = tokio::join!(pool.checkout(), pool.checkout(), pool.checkout());
    let served = [&outcomes.0, &outcomes.1, &outcomes.2].map(Result::is_ok);
    assert_eq!(served.into_iter().filter(|is_served| *is_served).count(), 1, "{served:?}");
    assert_eq!(manager.attempts(), 3);
    drop(outcomes);
    assert_quiescent(&pool, &manager).await;
}

/// Under constant demand, a failing manager is tried less and less often, and each checkout ends within one delay and one
/// attempt. The delays double, are jittered, and are reset by the first success.
#[tokio::test(start_paused = true)]
async fn failing_manager_is_retried_with_backoff() {
    let manager = ScriptedManager::new();
    let events: Arc<Mutex<Vec<PoolEvent>>> = Arc::default();
    let observed = Arc::clone(&events);
    let pool = manager
        .pool(64)
        .create_backoff(ms(100), ms(800))
        .observer(move |event: &PoolEvent| observed.lock().unwrap().push(event.clone()))
        .build()
        .await
        .unwrap();
    manager.always(Creation::Fail);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let (mut failed, began) = (0_u32, Instant::now());
                while began.elapsed() < ms(10_000) {
                    let arrived = Instant::now();
                    assert!(pool.checkout().await.is_err());
                    assert!(arrived.elapsed() <= ms(801), "{:?}", arrived.elapsed());
                    failed += 1;
                }
                failed
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap() >= 12);
    }

    // 20 attempts before the first delay, then one after each delay: of at least 50, 100, 200 and then 400 ms.
    let attempts = manager.attempts();
    assert!((20 + 10..=20 + 3 + 25).contains(&attempts), "{attempts} attempts in ten seconds");
    let delays: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            PoolEvent::BackingOff { delay, failures, .. } => Some((*failures, *delay)),
            _ => None,
        })
        .collect();
    for (nth, (failures, delay)) in delays.iter().enumerate() {
        let full = ms(100 << nth.min(3));
        assert_eq!(*failures as usize, nth + 1);
        assert!((full / 2..=full).contains(delay), "{nth}: {delay:?}");
    }
    let longest: BTreeSet<_> = delays.iter().skip(3).map(|(_, delay)| delay).collect();
    assert!(longest.len() > 1, "the delays are not jittered: {longest:?}");

    manager.always(Creation::Succeed);
    drop(pool.checkout().await.unwrap());
    assert_eq!(assert_quiescent(&pool, &manager).await.backing_off, None);
}

/// During a backoff delay, an item that comes back serves a waiter at once.
#[tokio::test(start_paused = true)]
async fn returned_item_serves_a_waiter_during_backoff() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).create_backoff(ms(60_000), ms(60_000)).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.script([Creation::Fail]);
    assert!(pool.checkout().await.is_err());
    let mut waiting = Box::pin(pool.checkout());
    assert!(poll_once(&mut waiting).is_pending());
    assert!(pool.status().backing_off.is_some_and(|delay| delay >= ms(30_000)));
    drop(held);
    assert_eq!(waiting.await.unwrap().id, 0);
    assert_eq!(manager.attempts(), 2);
}

/// If the attempt after a backoff delay fails, it ends every wait that began before the attempt, and no later one.
#[tokio::test(start_paused = true)]
async fn failed_retry_ends_every_earlier_wait() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(8).create_backoff(ms(100), ms(100)).build().await.unwrap();
    manager.script([Creation::Fail, Creation::Hang]);
    assert!(pool.checkout().await.is_err());
    let mut earlier: Vec<_> = (0..3).map(|_| Box::pin(pool.checkout())).collect();
    assert!(earlier.iter_mut().all(|checkout| poll_once(checkout).is_pending()));
    sleep(ms(101)).await;
    assert_eq!((manager.attempts(), pool.status().creating), (2, 1), "not a single attempt for all waiters");
    let mut later = Box::pin(pool.checkout());
    assert!(poll_once(&mut later).is_pending());
    sleep(ms(30_001)).await;
    for checkout in earlier {
        let error = checkout.await.unwrap_err();
        assert!(matches!(error, CheckoutError::Create(CreateError::TimedOut { .. })), "{error:?}");
    }
    assert_eq!(later.await.unwrap().id, 0);
    assert_quiescent(&pool, &manager).await;
}

/// One deadline, the request's or the gate's, covers the wait in the gate's queue and the wait for the item together.
#[tokio::test(start_paused = true)]
async fn one_deadline_covers_the_queue_and_the_creation() {
    let gate = Gate::builder(GateName::new("slow"), Limit::MIN).max_wait(ms(300)).build();
    let manager = ScriptedManager::new();
    let pool = Pool::builder(manager.clone()).gate(gate).build().await.unwrap();
    for by_gate in [false, true] {
        let request = pool.request();
        let request = if by_gate { request } else { request.max_wait(ms(200)) };
        let longest = if by_gate { ms(300) } else { ms(200) };
        let held = pool.checkout().await.unwrap();
        manager.script([Creation::Hang]);
        let began = Instant::now();
        let waiting = request.checkout();
        let discarding = async {
            sleep(ms(150)).await;
            held.discard(); // admits the waiting checkout, whose creation hangs
        };
        let (outcome, ()) = tokio::join!(waiting, discarding);
        let error = outcome.unwrap_err();
        assert_eq!(began.elapsed(), longest, "{error:?}");
        let CheckoutError::DeadlineExceeded(timeout) = error else { panic!("{error:?}") };
        assert_eq!((timeout.waited, timeout.stage), (longest, CheckoutStage::Creation));
        assert_eq!(manager.attempts() % 2, 0, "the checkout was not admitted");
        sleep(ms(31_000)).await; // until the hanging creation times out
        assert_quiescent(&pool, &manager).await;
    }

    // A deadline that is an instant works, too. A passed deadline still admits a checkout that does not have to wait.
    let deadline = Instant::now();
    manager.script([Creation::Hang]);
    assert!(pool.request().deadline(deadline + ms(40)).checkout().await.is_err());
    assert_eq!(deadline.elapsed(), ms(40));
    sleep(ms(31_000)).await;
    drop(pool.checkout().await.unwrap());
    drop(pool.request().deadline(deadline).checkout().await.unwrap());
}

/// The pool creates an item for each waiter, all at the same time, but no more than fit below the limit.
#[tokio::test(start_paused = true)]
async fn items_are_created_on_demand_and_concurrently() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(4).build().await.unwrap();
    manager.always(Creation::SucceedAfter(ms(100)));
    let began = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let item = pool.checkout().await.unwrap();
                sleep(ms(10)).await;
                item.id
            })
        })
        .collect();
    settle().await;
    assert_eq!(pool.status().creating, 4);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((began.elapsed(), manager.attempts()), (ms(120), 4));
    assert_eq!(assert_quiescent(&pool, &manager).await.idle, 4);
}

/// An item that comes back serves a waiter for which one is being created. The created item serves the next waiter.
#[tokio::test(start_paused = true)]
async fn returned_item_serves_a_waiter_during_creation() {
    let manager = ScriptedManager::new();
    let pool = manager.pool(3).build().await.unwrap();
    let held = pool.checkout().await.unwrap();
    manager.always(Creation::SucceedAfter(ms(100)));
    let mut first = Box::pin(pool.checkout());
    let mut second = Box::pin(pool.checkout());
    assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
    drop(held);
    let first = first.await.unwrap();
    assert_eq!((first.id, second.await.unwrap().id), (0, 1));
    drop(first);
    sleep(ms(200)).await;
    let status = assert_quiescent(&pool, &manager).await;
    assert_eq!((status.idle, status.totals.created), (3, 3), "an item that no waiter needs is not idle");
}

/// An event stays on one line, whatever the error of a constructor says.
#[test]
fn foreign_texts_of_an_event_are_escaped() {
    let error = Arc::new(std::io::Error::other("refused\nDETAIL"));
    let event = PoolEvent::CreateFailed { gate: GateName::new("db"), error };
    assert_eq!(event.to_string(), "pool db: refused\\nDETAIL");
}

/// The drop of the manager's error is user code: it may use the pool, and it may panic. A replaced error takes no item, waiter or slot
/// with it.
#[tokio::test(start_paused = true)]
async fn replaced_error_may_panic_or_use_the_pool() {
    struct HookedError(Option<Box<dyn FnOnce() + Send + Sync>>);

    impl fmt::Debug for HookedError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("hooked error")
        }
    }

    impl fmt::Display for HookedError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("hooked error")
        }
    }

    impl Error for HookedError {}

    impl Drop for HookedError {
        fn drop(&mut self) {
            if let Some(hook) = self.0.take() {
                hook();
            }
        }
    }

    /// Creates an item if no error is left.
    #[derive(Clone, Default)]
    struct Failing(Arc<Mutex<Vec<HookedError>>>);

    impl Manager for Failing {
        type Item = ();
        type Error = HookedError;

        async fn create(&self) -> Result<(), HookedError> {
            self.0.lock().unwrap().pop().map_or(Ok(()), Err)
        }
    }

    let drops = Arc::new(AtomicUsize::new(0));
    for panics in [true, false] {
        for way in 0..3 {
            drops.store(0, SeqCst);
            let manager = Failing::default();
            let builder = Pool::builder(manager.clone()).max(2).create_backoff(ms(100), ms(100));
            let pool = builder.build().await.unwrap();
            for _ in 0..2 {
                let (drops, pool) = (Arc::clone(&drops), pool.downgrade());
                let hook = move || {
                    drops.fetch_add(1, SeqCst);
                    assert!(!panics, "scripted panic");
                    let _ = pool.upgrade().map(|pool| pool.status());
                };
                manager.0.lock().unwrap().push(HookedError(Some(Box::new(hook))));
            }
            assert!(pool.checkout().await.is_err());
            assert_eq!(drops.load(SeqCst), 0, "the pool has not kept the last error");
            match way {
                0 => {
                    // The second error replaces the first, and a created item the second.
                    let mut unpolled = Box::pin(pool.checkout());
                    assert!(poll_once(&mut unpolled).is_pending());
                    sleep(ms(101)).await;
                    assert_eq!(drops.load(SeqCst), 1);
                    assert!(unpolled.await.is_err());
                    drop(pool.checkout().await.unwrap());
                }
                1 => {
                    manager.0.lock().unwrap().pop().unwrap().0 = None;
                    pool.retry_now();
                    assert_eq!(drops.load(SeqCst), 1);
                    drop(pool.checkout().await.unwrap());
                }
                _ => {
                    manager.0.lock().unwrap().pop().unwrap().0 = None;
                    pool.close();
                }
            }
            assert_eq!(drops.load(SeqCst), if way == 0 { 2 } else { 1 });
            settle().await;
            let status = pool.status();
            assert_eq!((status.creating, status.waiting, status.in_use), (0, 0, 0), "{status:?}");
            assert_eq!((status.idle, status.backing_off), (usize::from(way < 2), None), "{status:?}");
        }
    }
}
