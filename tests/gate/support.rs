//! Helpers of all modules: gates, polling by hand, runtimes, bounded waits and the final check of a gate.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::gate::{AcquireError, Gate, GateStatus, OwnedPermit};
use concurrency_governor::{GateName, Limit};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle, yield_now};
use tokio::time::timeout;

pub(crate) const NAME: GateName = GateName::new("test");
pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// The time after which a test counts as hanging. Every step that ends at all is much faster.
pub(crate) const HANG_TIMEOUT: Duration = Duration::from_secs(60);

/// Creates a gate that measures waits, which is the default.
pub(crate) fn gate(limit: u32) -> Gate {
    Gate::new(NAME, Limit::new(limit))
}

/// Creates a gate that does not measure waits.
pub(crate) fn unmeasured_gate(limit: u32) -> Gate {
    Gate::builder(NAME, Limit::new(limit)).measure_waits(false).build()
}

/// A boxed request that any thread may poll and drop. It owns a handle of its gate.
pub(crate) type BoxedAcquire = Pin<Box<dyn Future<Output = Result<OwnedPermit, AcquireError>> + Send>>;

pub(crate) fn boxed_acquire(gate: &Gate, weight: u32, max_wait: Duration) -> BoxedAcquire {
    let gate = gate.clone();
    Box::pin(async move { gate.request().weight(weight).max_wait(max_wait).acquire_owned().await })
}

/// A waker that counts its wake-ups.
#[derive(Default)]
pub(crate) struct WakeCounter(AtomicUsize);

impl WakeCounter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn wakes(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls with a waker that counts its wake-ups.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F, counter: &Arc<WakeCounter>) -> Poll<F::Output> {
    poll_with(future, &Waker::from(Arc::clone(counter)))
}

/// Polls with this waker.
pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls with a waker that does nothing.
pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_with(future, Waker::noop())
}

/// Returns the output of a future that is ready at its first poll.
#[track_caller]
pub(crate) fn expect_ready<F: Future>(future: F) -> F::Output {
    match poll_once(&mut pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is pending"),
    }
}

/// Polls a future for the first time, after which it has to wait. Returns it with the counter of its waker.
#[track_caller]
pub(crate) fn start_waiting<F: Future>(future: F) -> (Pin<Box<F>>, Arc<WakeCounter>) {
    let (mut future, counter) = (Box::pin(future), WakeCounter::new());
    assert!(poll(&mut future, &counter).is_pending(), "ready at the first poll");
    (future, counter)
}

/// A runtime whose clock moves only when a test advances it.
pub(crate) fn paused_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A runtime on the calling thread, with the real clock.
pub(crate) fn current_thread_runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Yields to other threads until the condition holds. Fails when that takes too long.
#[track_caller]
pub(crate) fn spin_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG_TIMEOUT, "the condition never held");
        thread::yield_now();
    }
}

/// Drives a runtime until the condition holds. Fails when that takes too long.
#[track_caller]
pub(crate) fn drive_until(runtime: &Runtime, condition: impl Fn() -> bool) {
    let holds = runtime.block_on(async {
        let start = Instant::now();
        while !condition() && start.elapsed() < HANG_TIMEOUT {
            yield_now().await;
        }
        condition()
    });
    assert!(holds, "the condition never held");
}

/// Drives a runtime until the task has ended. Fails when that takes too long.
#[track_caller]
pub(crate) fn join<T>(runtime: &Runtime, task: JoinHandle<T>) -> Result<T, JoinError> {
    runtime.block_on(async { timeout(HANG_TIMEOUT, task).await }).expect("the task never ended")
}

/// Runs the body on a thread of its own and fails when it hangs, as it does when it locks one mutex twice.
pub(crate) fn run_with_timeout(what: &str, body: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        sender.send(()).unwrap();
    });
    let outcome = receiver.recv_timeout(HANG_TIMEOUT);
    assert_ne!(outcome, Err(mpsc::RecvTimeoutError::Timeout), "hangs: {what}");
    assert!(thread.join().is_ok(), "failed: {what}");
}

/// Asserts that no permit is in use, that no request waits, and that each enqueued request is counted where
/// it left. An open gate has to admit a request for the whole limit again.
#[track_caller]
pub(crate) fn assert_idle(gate: &Gate) {
    let GateStatus { limit, in_use, available, waiting, unclaimed, debt, totals, closed, .. } = gate.status();
    assert_eq!((in_use, available, waiting, unclaimed, debt), (0, limit.get(), 0, 0, 0));
    let queue = totals.queue;
    let departures = [queue.admitted, queue.cancelled, queue.expired, queue.too_large, queue.closed];
    let rejections = [queue.pushed_out, queue.shed];
    assert_eq!(queue.enqueued, departures.iter().chain(&rejections).sum::<u64>());
    assert!(closed || gate.try_acquire_many(limit.get()).is_ok(), "an idle gate admits its whole limit");
}
