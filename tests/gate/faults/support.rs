//! What the faults have in common.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::gate::{Gate, GateStatus};
use concurrency_governor::{GateName, Limit};
use tokio::runtime::Runtime;
use tokio::task::{JoinError, JoinHandle, yield_now};
use tokio::time::timeout;

pub(crate) const NAME: GateName = GateName::new("faulty");

pub(crate) fn gate(limit: u32) -> Gate {
    Gate::new(NAME, Limit::new(limit))
}

/// Lets other threads go on until it is so; long enough on any machine, and not for ever.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never comes");
        thread::yield_now();
    }
}

/// Drives a runtime until it is so, no longer than [`until`] would wait.
#[track_caller]
pub(crate) fn drive_until(runtime: &Runtime, is_so: impl Fn() -> bool) {
    let comes = runtime.block_on(async {
        let began = Instant::now();
        while !is_so() && began.elapsed() < PATIENCE {
            yield_now().await;
        }
        is_so()
    });
    assert!(comes, "it never comes");
}

/// Drives a runtime until a task of its has ended, no longer than [`until`] would wait.
#[track_caller]
pub(crate) fn ended<T>(runtime: &Runtime, task: JoinHandle<T>) -> Result<T, JoinError> {
    runtime.block_on(async { timeout(PATIENCE, task).await }).expect("it never ends")
}

/// Polls once, and nobody is told of anything.
pub(crate) fn peek<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Puts a future in line that nobody will wake.
#[track_caller]
pub(crate) fn wait<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(peek(&mut future).is_pending(), "admitted or refused at once");
    future
}

/// Nothing is out, nobody waits, everybody is accounted for, and there is room again for as many as the limit says.
#[track_caller]
pub(crate) fn assert_at_rest(gate: &Gate) {
    let GateStatus { limit, in_use, available, waiting, debt, totals, .. } = gate.status();
    assert_eq!((in_use, available, waiting, debt), (0, limit.get(), 0, 0));
    let queue = totals.queue;
    let left = [queue.admitted, queue.cancelled, queue.expired, queue.too_large, queue.closed];
    assert_eq!(queue.enqueued, left.iter().sum());
    assert!(gate.try_acquire_many(limit.get()).is_ok());
}

/// Longer than anything here takes that ends at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
