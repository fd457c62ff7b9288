//! Leaving a fleet: a process returns its block for good, and learns that the ledger has it.

use std::time::Duration;

use concurrency_governor::fleet::{BlockReturn, Ledger, Share, SharedGate};
use concurrency_governor::gate::AcquireError;
use concurrency_governor::plan::LeaseState;
use concurrency_governor::{GateName, Limit};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use crate::flaky::{Failing, FlakyLedger};

const IO: GateName = GateName::new("io");

fn open(ledger: &FlakyLedger) -> SharedGate {
    let share = Share::of(ledger.clone(), "prod/io").limit(Limit::new(4)).ttl(Duration::from_secs(1));
    share.max_hold(Duration::from_millis(100)).open(IO).unwrap()
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn granted(ledger: &FlakyLedger) -> u64 {
    ledger.status("prod/io").await.unwrap().holders.iter().map(|holder| holder.granted).sum()
}

/// The method resolves after the last permit, when the ledger has the whole block. What waited was served, and newcomers are rejected.
#[tokio::test]
async fn a_process_that_leaves_returns_its_block() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger);
    let permit = gate.acquire_many(4).await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire().await.map(drop) }
    });
    while gate.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let leaving = gate.leave(later());
    tokio::pin!(leaving);
    assert!(leaving.as_mut().now_or_never().is_none());
    assert_eq!(gate.acquire().await.unwrap_err(), AcquireError::Closed { gate: IO }.into());
    drop(permit);
    assert_eq!(leaving.await, BlockReturn::Confirmed);
    waiting.await.unwrap().unwrap();
    assert_eq!((granted(&ledger).await, gate.status().state), (0, LeaseState::Left));
    assert_eq!((gate.status().cap, gate.status().in_use), (0, 0));
    assert_eq!(gate.leave(Instant::now()).await, BlockReturn::Confirmed, "it may be called again");
    assert_eq!(open(&ledger).acquire_many(4).await.unwrap().weight(), 4);
}

/// A permit in use at the deadline is named. The block is returned after it all the same, and the gate rejects what still waited.
#[tokio::test]
async fn a_permit_in_use_keeps_its_block() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger);
    let permit = gate.acquire_many(3).await.unwrap();
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire_many(4).await.map(drop) }
    });
    while gate.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let outcome = gate.leave(Instant::now() + Duration::from_millis(20)).await;
    assert_eq!(outcome, BlockReturn::InUse { permits: 3 });
    assert_eq!(outcome.to_string(), "the block is not returned: 3 permits or items are in use");
    assert_eq!(waiting.await.unwrap().unwrap_err(), AcquireError::Closed { gate: IO }.into());
    assert!(granted(&ledger).await >= 3);
    drop(permit);
    while granted(&ledger).await > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(gate.leave(later()).await, BlockReturn::Confirmed);
}

/// A ledger that does not answer has not confirmed, and the outcome says why. When it is back, it gets the block.
#[tokio::test]
async fn a_ledger_that_does_not_answer_has_not_confirmed() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger);
    drop(gate.acquire().await.unwrap());
    ledger.fails(Failing::Yes);
    let deadline = Instant::now() + Duration::from_millis(300);
    let outcome = gate.leave(deadline).await;
    let BlockReturn::Unconfirmed { problem: Some(problem) } = outcome else { panic!("{outcome}") };
    assert!(problem.contains("the test lets it fail") && Instant::now() >= deadline, "{problem}");
    ledger.fails(Failing::No);
    assert_eq!(gate.leave(later()).await, BlockReturn::Confirmed);
    assert_eq!(granted(&ledger).await, 0);
}

/// If the return of the block has failed, the last handle that is dropped repeats it.
#[tokio::test]
async fn the_last_handle_repeats_a_failed_return() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger);
    drop(gate.acquire().await.unwrap());
    ledger.fails(Failing::Yes);
    let (failed, outcome) = (gate.status().failed_exchanges, gate.leave(later()));
    assert!(outcome.now_or_never().is_none());
    // Often enough, so that the next attempt is not due when the handle is dropped.
    while gate.status().failed_exchanges < failed + 3 {
        sleep(Duration::from_millis(1)).await;
    }
    ledger.fails(Failing::No);
    drop(gate);
    let is_returned = async {
        while granted(&ledger).await > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(60), is_returned).await.unwrap();
}

/// A future that is dropped leaves the gate closed, and the block is returned.
#[tokio::test]
async fn a_cancelled_wait_returns_the_block() {
    let ledger = FlakyLedger::default();
    let gate = open(&ledger);
    let permit = gate.acquire().await.unwrap();
    assert!(gate.leave(later()).now_or_never().is_none());
    assert_eq!(gate.acquire().await.unwrap_err(), AcquireError::Closed { gate: IO }.into());
    drop(permit);
    while gate.status().state != LeaseState::Left {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(granted(&ledger).await, 0);
}

/// A process that has never had a lease leaves as well.
#[tokio::test]
async fn a_process_without_a_lease_leaves() {
    let ledger = FlakyLedger::default();
    assert_eq!(open(&ledger).leave(later()).await, BlockReturn::Confirmed);
    assert_eq!(granted(&ledger).await, 0);
}
