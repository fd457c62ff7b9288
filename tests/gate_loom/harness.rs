//! What the models share: the checker, a gate with its own count of permits and work, and requests that any
//! thread can poll or drop.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize as StdAtomicUsize;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use concurrency_governor::gate::{AcquireError, Gate, GateBuilder, OwnedPermit};
use concurrency_governor::{GateName, Holders, Keys, Limit};
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::thread;

/// The number of threads of a model. It decides how many interleavings can be checked.
#[derive(Clone, Copy)]
pub(super) enum Threads {
    /// Every interleaving is checked.
    Two,
    /// Every interleaving up to a number of preemptions is checked.
    Three,
    /// The same with one preemption less, for a model that would otherwise take as long as all others together.
    ThreeWithManySteps,
}

thread_local! {
    /// Whether the gates of a model measure waits. Loom runs all threads of a model on one OS thread.
    static MEASURES_WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Checks a model twice: with gates that measure waits and with gates that do not. The latter take shorter
/// code paths into and out of the queue.
pub(super) fn check(threads: Threads, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    for measures_waits in [false, true] {
        MEASURES_WAITS.set(measures_waits);
        let model = Arc::clone(&model);
        let mut builder = loom::model::Builder::new();
        let default_preemptions = match threads {
            Threads::Two => None,
            Threads::Three => Some(DEFAULT_PREEMPTIONS),
            Threads::ThreeWithManySteps => Some(DEFAULT_PREEMPTIONS - 1),
        };
        builder.preemption_bound = default_preemptions.map(|default| {
            std::env::var("GATE_LOOM_PREEMPTIONS").map_or(default, |bound| bound.parse().unwrap())
        });
        let executions = Arc::new(StdAtomicUsize::new(0));
        let (counter, started) = (Arc::clone(&executions), Instant::now());
        builder.check(move || {
            counter.fetch_add(1, SeqCst);
            model();
        });
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!("{name}: {} executions, {:.1?}", executions.load(SeqCst), started.elapsed());
    }
}

/// Enough to find the bugs of `.ci/planted-bugs` that name the layer `loom`: `.ci/planted` checks them with two.
const DEFAULT_PREEMPTIONS: usize = 3;

/// A gate, an independent count of what is held and done under its permits, and the wakers of its requests.
#[derive(Clone)]
pub(super) struct TestGate {
    pub(super) inner: Arc<Gate>,
    accounting: Arc<Accounting>,
}

/// What the model counts itself, to compare it with the gate.
struct Accounting {
    /// The permits that are held.
    held: StdAtomicUsize,
    /// The maximum of `held`.
    allowed: StdAtomicUsize,
    /// The number of times that work was done, as the permit holders see it: each reads it and writes it plus
    /// one. The accesses are relaxed, so that only the gate makes the writes of one holder visible to the
    /// next.
    visible_work: AtomicUsize,
    /// The number of times that work was done. This count is always right.
    work: StdAtomicUsize,
    wakers: Mutex<Vec<Arc<CountingWaker>>>,
}

impl TestGate {
    pub(super) fn new(limit: u32) -> Self {
        Self::from_builder(limit, |builder| builder)
    }

    /// Creates a gate with keys.
    pub(super) fn keyed(limit: u32) -> Self {
        Self::from_builder(limit, |builder| builder.keyed(Keys::up_to(2)))
    }

    /// Creates a gate that tracks its holders.
    pub(super) fn tracked(limit: u32) -> Self {
        let tracked = Holders::overdue_after(Duration::from_secs(30));
        Self::from_builder(limit, |builder| builder.track_holders(tracked))
    }

    /// Returns a key of this gate. Its permits and requests count with those of the gate.
    pub(super) fn key(&self, key: u64) -> Self {
        Self { inner: Arc::new(self.inner.key(key)), accounting: Arc::clone(&self.accounting) }
    }

    fn from_builder(limit: u32, change: impl FnOnce(GateBuilder) -> GateBuilder) -> Self {
        let accounting = Accounting {
            held: StdAtomicUsize::new(0),
            allowed: StdAtomicUsize::new(limit as usize),
            visible_work: AtomicUsize::new(0),
            work: StdAtomicUsize::new(0),
            wakers: Mutex::default(),
        };
        let builder = Gate::builder(GateName::new("loom"), Limit::new(limit));
        let gate = change(builder.measure_waits(MEASURES_WAITS.get())).build();
        Self { inner: Arc::new(gate), accounting: Arc::new(accounting) }
    }

    /// Runs `body` on another thread of the model.
    pub(super) fn spawn<T: 'static>(&self, body: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let gate = self.clone();
        thread::spawn(move || body(&gate))
    }

    /// Raises the number of permits that may be held at once. Called before the limit is raised.
    pub(super) fn allow(&self, limit: usize) {
        self.accounting.allowed.store(limit, SeqCst);
    }

    /// Returns a request that has not been polled yet.
    pub(super) fn request(&self, weight: u32) -> TestRequest {
        self.request_with_max_wait(weight, Duration::MAX)
    }

    pub(super) fn request_with_max_wait(&self, weight: u32, max_wait: Duration) -> TestRequest {
        let (gate, accounting) = (Arc::clone(&self.inner), Arc::clone(&self.accounting));
        let future = async move {
            let permit = gate.request().weight(weight).max_wait(max_wait).acquire_owned().await?;
            Ok(CountedPermit::new(permit, accounting))
        };
        TestRequest { future: Box::pin(future), waker: self.new_waker(), gate: self.clone(), weight }
    }

    /// Returns a request that waits in the queue.
    pub(super) fn enqueue(&self, weight: u32) -> TestRequest {
        let mut request = self.request(weight);
        assert!(request.poll().is_pending());
        request
    }

    pub(super) fn try_acquire(&self, weight: u32) -> Option<CountedPermit> {
        let permit = self.inner.try_acquire_many_owned(weight).ok()?;
        Some(CountedPermit::new(permit, Arc::clone(&self.accounting)))
    }

    /// Polls a new request once. If it is admitted, works and releases the permit. If it waits, returns it.
    pub(super) fn acquire_and_release(&self, weight: u32) -> Option<TestRequest> {
        let mut request = self.request(weight);
        match request.poll() {
            Poll::Ready(Ok(permit)) => self.work(&permit),
            Poll::Ready(Err(AcquireError::Closed { .. })) => {}
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => return Some(request),
        }
        None
    }

    /// Works under a permit, if there is one now.
    pub(super) fn try_work(&self, weight: u32) {
        if let Some(permit) = self.try_acquire(weight) {
            self.work(&permit);
        }
    }

    /// Writes under a permit what the next holder has to see. Used where one holder works at a time.
    pub(super) fn work(&self, _permit: &CountedPermit) {
        let visible = self.accounting.visible_work.load(Relaxed);
        self.accounting.visible_work.store(visible + 1, Relaxed);
        self.accounting.work.fetch_add(1, SeqCst);
    }

    /// Checks that work was done this many times, and that each worker saw all work before it.
    pub(super) fn assert_work_done(&self, times: usize) {
        assert_eq!(self.accounting.work.load(SeqCst), times);
        self.assert_work_visible();
    }

    /// Checks that each worker saw all work before it.
    pub(super) fn assert_work_visible(&self) {
        let work = self.accounting.work.load(SeqCst);
        assert_eq!(self.accounting.visible_work.load(Relaxed), work, "a holder did not see earlier work");
    }

    /// Returns a `drained` future that was polled once.
    pub(super) fn poll_drained(&self) -> TestDrained {
        let gate = Arc::clone(&self.inner);
        let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move { gate.drained().await });
        let counter = self.new_waker();
        let waker = Waker::from(Arc::clone(&counter));
        let is_ready = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        TestDrained { future, waker: counter, is_ready }
    }

    fn new_waker(&self) -> Arc<CountingWaker> {
        let waker = Arc::new(CountingWaker::default());
        self.accounting.wakers.lock().unwrap().push(Arc::clone(&waker));
        waker
    }

    /// Checks the status while no thread uses the gate. `held` permits are held. `requests` are the requests
    /// that were enqueued and not polled since, in arrival order. A request that was woken was admitted.
    pub(super) fn assert_balanced<const N: usize>(&self, held: u32, requests: [&TestRequest; N]) {
        let unclaimed: u32 =
            requests.iter().filter(|request| request.is_woken()).map(|request| request.weight).sum();
        let status = self.inner.status();
        let limit = status.limit.get();
        let mut waiting = requests.iter().filter(|request| !request.is_woken());
        assert_eq!(held + unclaimed + status.available, limit + status.debt, "{status:?}");
        assert_eq!(status.debt, (held + unclaimed).saturating_sub(limit), "{status:?}");
        assert_eq!(status.in_use, held + unclaimed, "{status:?}");
        assert_eq!(status.waiting, waiting.clone().count(), "{status:?}");
        if let Some(head) = waiting.next() {
            assert!(
                head.weight > status.available && !status.closed,
                "the head waits although it fits: {status:?}"
            );
        }
        let queue = status.totals.queue;
        let left = queue.admitted + queue.cancelled + queue.expired + queue.closed + queue.too_large;
        assert_eq!(queue.enqueued, left + status.waiting as u64, "{status:?}");
    }

    /// Polls the requests that were woken, works under their permits and releases these, until no woken
    /// request is left. Then checks that no request waits, that the status balances and that no waker is
    /// retained.
    pub(super) fn finish<const N: usize>(&self, requests: [Option<TestRequest>; N]) {
        let mut requests: Vec<TestRequest> = requests.into_iter().flatten().collect();
        while let Some(woken) = requests.iter().position(TestRequest::is_woken) {
            match requests.remove(woken).poll() {
                Poll::Ready(Ok(permit)) => self.work(&permit),
                Poll::Ready(Err(AcquireError::Closed { .. })) if self.inner.is_closed() => {}
                other => panic!("a woken request is not admitted: {other:?}"),
            }
        }
        assert!(
            requests.is_empty(),
            "{} requests were never woken: {:?}",
            requests.len(),
            self.inner.status()
        );
        let held = u32::try_from(self.accounting.held.load(SeqCst)).unwrap();
        self.assert_balanced(held, []);
        for waker in mem::take(&mut *self.accounting.wakers.lock().unwrap()) {
            assert_eq!(Arc::strong_count(&waker), 1, "a waker is retained");
        }
    }
}

/// A request with the waker of its latest poll.
pub(super) struct TestRequest {
    future: Pin<Box<dyn Future<Output = Result<CountedPermit, AcquireError>>>>,
    waker: Arc<CountingWaker>,
    gate: TestGate,
    weight: u32,
}

impl TestRequest {
    pub(super) fn poll(&mut self) -> Poll<Result<CountedPermit, AcquireError>> {
        let waker = Waker::from(Arc::clone(&self.waker));
        let result = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        if result.is_ready() {
            // From here on, only the gate could retain the old waker, which `TestGate::finish` checks.
            self.waker = Arc::default();
        }
        result
    }

    pub(super) fn poll_with_new_waker(&mut self) -> Poll<Result<CountedPermit, AcquireError>> {
        self.waker = self.gate.new_waker();
        self.poll()
    }

    pub(super) fn is_woken(&self) -> bool {
        self.waker.wake_ups.load(SeqCst) > 0
    }
}

/// A `drained` future that was polled once.
pub(super) struct TestDrained {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Arc<CountingWaker>,
    is_ready: bool,
}

impl TestDrained {
    /// Returns `true` if the first poll resolved, or if the future was woken since.
    pub(super) fn is_ready_or_woken(&self) -> bool {
        self.is_ready || self.waker.wake_ups.load(SeqCst) > 0
    }

    /// Returns `true` if the first poll resolved, or if the future was woken and now resolves.
    pub(super) fn has_resolved(mut self) -> bool {
        let mut poll = || self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        self.is_ready || (self.waker.wake_ups.load(SeqCst) > 0 && poll())
    }
}

/// A permit that the model counts while it is held.
#[derive(Debug)]
pub(super) struct CountedPermit {
    /// Declared first, so that the model stops to count the permit before the gate can pass it on.
    _count: HeldCount,
    pub(super) inner: OwnedPermit,
}

impl CountedPermit {
    fn new(permit: OwnedPermit, accounting: Arc<Accounting>) -> Self {
        let weight = permit.weight() as usize;
        let held = accounting.held.fetch_add(weight, SeqCst) + weight;
        let allowed = accounting.allowed.load(SeqCst);
        assert!(held <= allowed, "{held} permits are held where {allowed} are allowed");
        Self { _count: HeldCount { accounting, weight }, inner: permit }
    }
}

/// The part of `Accounting::held` that belongs to one permit.
struct HeldCount {
    accounting: Arc<Accounting>,
    weight: usize,
}

impl fmt::Debug for HeldCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.weight.fmt(f)
    }
}

impl Drop for HeldCount {
    fn drop(&mut self) {
        self.accounting.held.fetch_sub(self.weight, SeqCst);
    }
}

/// A waker that counts its wake-ups.
#[derive(Default)]
struct CountingWaker {
    wake_ups: StdAtomicUsize,
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_ups.fetch_add(1, SeqCst);
    }
}
