//! Polling by hand.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, GateStatus, OwnedPermit};
use concurrency_governor::{GateName, Limit};
use tokio::runtime::{Builder, Runtime};

pub(crate) const NAME: GateName = GateName::new("test");
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn gate(limit: u32) -> Gate {
    Gate::builder(NAME, Limit::new(limit)).measure_waits(crate::MEASURES).build()
}

/// A future that any thread may poll and drop, and that keeps its gate there.
pub(crate) type Waiting = Pin<Box<dyn Future<Output = Result<OwnedPermit, AcquireError>> + Send>>;

pub(crate) fn request(gate: &Gate, weight: u32, max_wait: Duration) -> Waiting {
    let gate = gate.clone();
    Box::pin(async move { gate.request().weight(weight).max_wait(max_wait).acquire_owned().await })
}

/// A runtime whose clock goes where it is put.
pub(crate) fn clock() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// A waker that counts how often it was woken.
#[derive(Default)]
pub(crate) struct Flag(AtomicUsize);

impl Flag {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn poll<F: Future + Unpin>(future: &mut F, flag: &Arc<Flag>) -> Poll<F::Output> {
    poll_by(future, &Waker::from(Arc::clone(flag)))
}

pub(crate) fn poll_by<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls once, and nobody is told of anything.
pub(crate) fn peek<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_by(future, Waker::noop())
}

/// What a future that resolves at its first poll resolves to.
#[track_caller]
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match peek(&mut pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("still pending"),
    }
}

/// Puts a future in line.
#[track_caller]
pub(crate) fn wait<F: Future>(future: F) -> (Pin<Box<F>>, Arc<Flag>) {
    let (mut future, flag) = (Box::pin(future), Flag::new());
    assert!(poll(&mut future, &flag).is_pending(), "admitted or refused at once");
    (future, flag)
}

/// Lets other threads go on until as many requests wait.
pub(crate) fn until_waiting(gate: &Gate, requests: usize) {
    while gate.status().waiting != requests {
        thread::yield_now();
    }
}

/// A lock taken twice by one thread never comes free: so what may do that runs in a thread of its own.
pub(crate) fn within_a_minute(what: &str, body: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        done.send(()).unwrap();
    });
    let came_back = is_done.recv_timeout(Duration::from_secs(60));
    assert_ne!(came_back, Err(mpsc::RecvTimeoutError::Timeout), "stuck: {what}");
    assert!(thread.join().is_ok(), "failed: {what}");
}

/// Nothing is out, nobody waits, everybody is accounted for.
#[track_caller]
pub(crate) fn assert_at_rest(gate: &Gate) {
    let GateStatus { limit, in_use, available, waiting, debt, totals, .. } = gate.status();
    assert_eq!((in_use, available, waiting, debt), (0, limit.get(), 0, 0));
    let queue = totals.queue;
    let left = [queue.admitted, queue.cancelled, queue.expired, queue.too_large, queue.closed];
    assert_eq!(queue.enqueued, left.iter().sum());
}
