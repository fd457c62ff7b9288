//! Gates that share a limit: real threads, real time, and a ledger that can fail.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::fleet::{
    Ledger, MemoryLedger, Share, SharedAcquireError, SharedGate, SharedTryError,
};
use concurrency_governor::gate::{AcquireError, TryAcquireError};
use concurrency_governor::plan::LeaseState;
use concurrency_governor::{Formula, GateName, GateSpec, Governor, Keys, Limit};
use futures_util::FutureExt;
use tokio::task::coop::poll_proceed;
use tokio::time::Instant;

use crate::flaky::{Failing, FlakyLedger};

const IO: GateName = GateName::new("io");
const TTL: Duration = Duration::from_millis(300);

fn open(ledger: &(impl Ledger + Clone + 'static), limit: u32) -> SharedGate {
    let share = Share::of(ledger.clone(), "prod/io").limit(Limit::new(limit)).ttl(TTL);
    share.max_hold(Duration::from_millis(100)).open(IO).unwrap()
}

/// P70: two gates on one ledger never have more permits in use than the limit, and both do work.
#[tokio::test]
async fn gates_share_one_limit() {
    let ledger = MemoryLedger::new();
    let (in_flight, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let gates = [open(&ledger, 4), open(&ledger, 4)];
    let mut tasks = Vec::new();
    for gate in &gates {
        for _ in 0..8 {
            let (gate, in_flight, most) = (gate.clone(), Arc::clone(&in_flight), Arc::clone(&most));
            tasks.push(tokio::spawn(async move {
                for _ in 0..40 {
                    let permit = gate.acquire().await.unwrap();
                    let now = in_flight.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    in_flight.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!((1..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
    assert_eq!(ledger.status("prod/io").await.unwrap().holders.len(), 2);
}

/// P72, P77, P79: without the ledger nothing is admitted after the deadline, a permit says that its lease has ended, and an error says
/// why. When the ledger is back, waiting requests are admitted.
#[tokio::test]
async fn a_lost_ledger_pauses_the_gate() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger, 4);
    let permit = gate.acquire().await.unwrap();
    permit.check().unwrap();
    ledger.fails(Failing::Yes);
    permit.lost().await;
    assert!(permit.check().unwrap_err().to_string().starts_with("the lease of gate `io` has ended"));
    let rejected = gate.try_acquire().unwrap_err();
    assert!(matches!(rejected, SharedTryError::Unleased { .. }), "{rejected}");
    assert!(rejected.to_string().contains("the test lets it fail"), "{rejected}");
    let status = gate.status();
    assert_eq!((status.cap, status.state, status.in_use), (0, LeaseState::Draining, 1));
    assert!(status.failures > 0);

    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire().await }
    });
    while gate.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    ledger.fails(Failing::No);
    let second = waiting.await.unwrap().unwrap();
    second.check().unwrap();
    assert!(second.fence() > permit.fence());
    permit.check().unwrap_err();
}

/// A task that acquires leased permits in a loop yields to its runtime, and so does one whose requests are rejected.
#[tokio::test]
async fn acquiring_leased_permits_spends_the_budget() {
    async fn assert_yields(acquire: impl AsyncFn()) {
        const MANY: u32 = 100_000;
        let other_ran = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&other_ran);
        let other = tokio::spawn(async move { other.store(true, Ordering::SeqCst) });
        let mut rounds = 0;
        while rounds < MANY && !other_ran.load(Ordering::SeqCst) {
            acquire().await;
            rounds += 1;
        }
        assert!(rounds < MANY, "the task did not yield");
        other.await.unwrap();
    }

    let gate = open(&MemoryLedger::new(), 4);
    drop(gate.acquire_many(4).await.unwrap());
    assert_yields(async || drop(gate.acquire().await.unwrap())).await;
    assert_yields(async || drop(gate.request().weight(2).acquire_owned().await.unwrap())).await;
    assert_yields(async || assert!(gate.acquire_many(u32::MAX).await.is_err())).await;
    gate.close();
    assert_yields(async || assert!(gate.acquire().await.is_err())).await;
}

/// A request arrives in the queue although the budget of its task is spent, so its deadline counts from then on.
#[tokio::test]
async fn a_shared_request_waits_without_budget() {
    let gate = open(&MemoryLedger::new(), 1);
    let held = gate.acquire().await.unwrap();
    let mut waiting = Box::pin(gate.request().max_wait(Duration::from_secs(60)).acquire());
    tokio::task::yield_now().await; // begins with the whole budget
    poll_fn(|cx| {
        while let Poll::Ready(budget) = poll_proceed(cx) {
            budget.made_progress();
        }
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(gate.status().waiting, 1);
    drop(held);
    drop(waiting.await.unwrap());
}

/// P75: a runtime that is blocked for longer than a lease lasts does not lose it, because another thread renews it.
#[tokio::test]
async fn a_blocked_runtime_keeps_its_lease() {
    let gate = open(&MemoryLedger::new(), 4);
    let permit = gate.acquire().await.unwrap();
    let before = gate.status().exchanges;
    thread::sleep(4 * TTL);
    permit.check().unwrap();
    assert!(gate.status().exchanges >= before + 4);
}

/// A gate that is dropped returns its block at once.
#[tokio::test]
async fn a_dropped_gate_returns_its_block() {
    let ledger = MemoryLedger::new();
    let first = open(&ledger, 4);
    let permit = first.acquire_many(4).await.unwrap();
    drop(first);
    let second = open(&ledger, 4);
    assert!(second.try_acquire().is_err(), "the permit keeps the block of its gate");
    drop(permit);
    assert_eq!(second.acquire_many(4).await.unwrap().weight(), 4);
}

/// A weight may be above the present block, and not above the limit of the fleet. A closed gate rejects.
#[tokio::test]
async fn weights_are_at_most_the_limit_of_the_fleet() {
    let gate = open(&MemoryLedger::new(), 4);
    assert_eq!(gate.acquire_many(4).await.unwrap().weight(), 4);
    let error = gate.acquire_many(5).await.unwrap_err();
    assert_eq!(error, AcquireError::TooLarge { gate: IO, weight: 5, limit: Limit::new(4) }.into());
    assert_eq!(gate.acquire_many(0).await.unwrap_err(), AcquireError::ZeroWeight { gate: IO }.into());
    assert_eq!(gate.run(async { 7 }).await.unwrap(), 7);
    gate.close();
    assert_eq!(gate.acquire().await.unwrap_err(), AcquireError::Closed { gate: IO }.into());
}

/// P79: the deadline of a request ends its wait at a paused gate, and the error says why the gate is paused. At a gate with a lease it
/// says that the deadline has passed.
#[tokio::test]
async fn a_deadline_says_why_the_gate_is_paused() {
    let ledger = FlakyLedger::default();
    ledger.fails(Failing::Yes);
    let gate = open(&ledger, 4);
    while gate.status().failures == 0 {
        tokio::task::yield_now().await;
    }
    let wait = Duration::from_millis(20);
    let request = gate.request().weight(2).max_wait(wait);
    for error in [
        request.acquire().await.unwrap_err(),
        gate.request().deadline(Instant::now() + wait).acquire().await.unwrap_err(),
        request.run(async {}).await.unwrap_err(),
        request.run_blocking(|| ()).await.unwrap_err(),
    ] {
        let SharedAcquireError::Unleased { unleased, waited } = &error else { panic!("{error}") };
        assert_eq!((unleased.gate, &*unleased.name), (IO, "prod/io"));
        assert!(*waited >= wait && unleased.paused_for >= wait, "{error}");
        assert!(unleased.reason.contains("the test lets it fail"), "{error}");
        assert!(
            error.to_string().contains("is paused: it has had no permits from the ledger for `prod/io` for ")
        );
    }
    assert_eq!(gate.status().waiting, 0);
    ledger.fails(Failing::No);
    let all = gate.request().weight(4).max_wait(Duration::from_secs(60)).acquire().await.unwrap();
    assert_eq!(all.weight(), 4);
    // On a busy machine the lease may end meanwhile, until it is renewed.
    let late = loop {
        match gate.request().max_wait(wait).acquire().await.unwrap_err() {
            SharedAcquireError::Unleased { .. } => {}
            late => break late,
        }
    };
    assert!(matches!(&late, SharedAcquireError::Rejected(AcquireError::DeadlineExceeded { .. })), "{late}");
    while let Err(SharedTryError::Unleased(_)) = gate.request().weight(3).try_acquire() {
        tokio::task::yield_now().await;
    }
    assert!(gate.request().weight(3).try_acquire().is_err());
}

/// A blocked thread waits for a permit without a runtime, also while the gate is paused, and ends its wait at its deadline.
#[test]
fn a_thread_waits_for_a_permit() {
    let ledger = FlakyLedger::default();
    ledger.fails(Failing::Yes);
    let gate = open(&ledger, 4);
    let error = gate.request().max_wait(Duration::from_millis(20)).acquire_blocking().unwrap_err();
    assert!(matches!(error, SharedAcquireError::Unleased { .. }), "{error}");
    let waiting = thread::spawn({
        let gate = gate.clone();
        move || gate.acquire_blocking().map(|permit| permit.weight())
    });
    while gate.status().waiting == 0 {
        thread::yield_now();
    }
    ledger.fails(Failing::No);
    assert_eq!(waiting.join().unwrap().unwrap(), 1);
    let heavy = gate.request().weight(5).acquire_blocking().unwrap_err();
    assert_eq!(heavy, AcquireError::TooLarge { gate: IO, weight: 5, limit: Limit::new(4) }.into());
}

/// Blocking work has its permit until it ends, also if its future is dropped, and also if it panics.
#[tokio::test]
async fn blocking_work_keeps_its_permit() {
    let gate = open(&MemoryLedger::new(), 4);
    assert_eq!(gate.run_blocking(|| 7).await.unwrap(), 7);
    let (end, ended) = mpsc::channel::<()>();
    let (start, mut started) = tokio::sync::mpsc::channel::<()>(1);
    let work = gate.request().weight(3).run_blocking(move || {
        start.blocking_send(()).unwrap();
        ended.recv().unwrap_err();
    });
    tokio::select! {
        biased;
        _ = work => panic!("the work waits for its channel"),
        started = started.recv() => started.unwrap(),
    }
    assert_eq!(gate.status().in_use, 3);
    drop(end);
    let panicking = gate.run_blocking(|| panic!("the test lets the work panic"));
    let panicked: Result<(), _> =
        AssertUnwindSafe(async { panicking.await.map(drop::<()>).unwrap() }).catch_unwind().await;
    assert!(panicked.is_err());
    while gate.status().in_use > 0 {
        tokio::task::yield_now().await;
    }
}

/// A limit that an operator sets reaches the gate by its next exchange.
#[tokio::test]
async fn the_limit_is_set_in_the_ledger() {
    let ledger = MemoryLedger::new();
    let gate = open(&ledger, 4);
    let permit = gate.acquire().await.unwrap();
    ledger.set_limit("prod/io", Limit::new(9), "test").await.unwrap();
    while gate.status().limit.limit != Limit::new(9) {
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.acquire_many(8).await.unwrap().weight(), 8);
    drop(permit);
}

/// An operator's pause stays when the block comes and goes, and only `resume` ends it. Meanwhile other processes get the permits, and a
/// resumed gate without a lease stays paused.
#[tokio::test]
async fn a_pause_stays_while_the_block_changes() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger, 4);
    drop(gate.acquire_many(4).await.unwrap());
    gate.pause();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire().await }
    });
    while gate.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let rejected = loop {
        match gate.try_acquire().unwrap_err() {
            SharedTryError::Unleased(_) => tokio::task::yield_now().await, // on a busy machine
            rejected => break rejected,
        }
    };
    assert_eq!(rejected, SharedTryError::Rejected(TryAcquireError::Paused { gate: IO }));
    let other = open(&ledger, 4);
    drop(other.acquire_many(3).await.unwrap());

    ledger.fails(Failing::Yes);
    while gate.status().cap > 0 {
        tokio::task::yield_now().await;
    }
    ledger.fails(Failing::No);
    while gate.status().cap == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished() && gate.gate_status().paused);
    ledger.fails(Failing::Yes);
    while gate.status().cap > 0 {
        tokio::task::yield_now().await;
    }
    gate.resume();
    assert!(matches!(gate.try_acquire(), Err(SharedTryError::Unleased(_))));
    ledger.fails(Failing::No);
    waiting.await.unwrap().unwrap().check().unwrap();
    assert!(!gate.gate_status().paused);
}

/// Rejections because there is no lease are counted under a reason of their own, and each request is counted once: of a plain gate,
/// and of one whose requests have keys.
#[tokio::test]
async fn rejections_without_a_lease_have_a_reason_of_their_own() {
    const PLAIN: GateSpec = GateSpec::new("io", Formula::fixed(8));
    for spec in [PLAIN, PLAIN.keyed(Keys::up_to(4))] {
        let ledger = FlakyLedger::default();
        let share = Share::of(ledger.clone(), "prod/io").limit(Limit::new(4)).ttl(TTL);
        let governor = Governor::builder().gate(spec).share(spec, share).build().await.unwrap();
        let root = governor.shared(spec).unwrap();
        drop(root.acquire().await.unwrap()); // from here on no answer of the ledger is under way
        ledger.fails(Failing::Yes);
        while root.status().cap > 0 {
            tokio::task::yield_now().await;
        }
        let gate = if root.has_keys() { root.key("tenant") } else { root.clone() };
        gate.try_acquire().unwrap_err();
        gate.request().weight(3).try_acquire().unwrap_err();
        gate.request().weight(0).try_acquire().unwrap_err();
        let wait = Duration::from_millis(20);
        let waited = gate.request().max_wait(wait).acquire().await.unwrap_err();
        let blocking = || gate.request().max_wait(wait).acquire_blocking();
        let blocked = thread::scope(|scope| scope.spawn(blocking).join().unwrap().unwrap_err());
        let late = gate.request().max_wait(Duration::ZERO).acquire().await.unwrap_err();
        for error in [waited, blocked, late] {
            assert!(matches!(error, SharedAcquireError::Unleased { .. }), "{error}");
        }
        let totals = root.gate_status().totals;
        assert_eq!((totals.queue.unleased, totals.queue.expired), (2, 0));
        let rejected = totals.rejected;
        assert_eq!((rejected.unleased, rejected.zero_weight, rejected.sum()), (3, 1, 4), "{rejected:?}");
        gate.close();
        gate.try_acquire().unwrap_err();
        assert_eq!(root.gate_status().totals.rejected.closed, 1);
    }
}

/// A share without a limit, or with a wrong name, is rejected when it is opened.
#[test]
fn a_wrong_share_is_rejected() {
    let share = Share::of(MemoryLedger::new(), "io");
    let error = share.clone().open(IO).unwrap_err().to_string();
    assert_eq!(error, "the share of gate `io` has no limit; set one with `Share::limit`");
    let share = share.limit(Limit::new(1));
    let error = share.clone().ttl(Duration::from_millis(5)).open(IO).unwrap_err().to_string();
    assert_eq!(error, "the ttl of a lease is 5ms, and must be in 100ms to 86400s");
    let error = share.max_hold(Duration::from_secs(31 * 86_400)).open(IO).unwrap_err().to_string();
    assert_eq!(error, "the longest hold time of a lease is 2678400s, and must be in 0ns to 2592000s");
    let share = Share::of(MemoryLedger::new(), "my io").limit(Limit::new(1));
    assert!(share.open(IO).unwrap_err().to_string().starts_with("gate \"my io\" is not valid"));
}
