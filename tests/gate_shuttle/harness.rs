//! What the tests share: the schedules to run, and a gate with its own count of permits.

use std::env;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use concurrency_governor::gate::{AcquireError, Gate, GateStatus, OwnedPermit};
use concurrency_governor::{GateName, Limit};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::thread::{self, Thread};
use shuttle::{Config, Runner};

/// Runs `body` under many schedules: random ones, and as many under PCT scheduling, where threads have
/// priorities that change only a few times. PCT finds bugs that need one thread to be delayed for a long
/// time.
pub(super) fn check(body: fn()) {
    // One test at a time: a schedule must not depend on the process-wide state that other tests use.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(schedule) = env::var("GATE_SHUTTLE_ORDER") {
        let schedule: String = schedule.split_whitespace().collect(); // shuttle prints it on several lines
        run(ReplayScheduler::new_from_encoded(&schedule), body);
        return;
    }
    let number_from_env = |name, default| env::var(name).map_or(default, |text| text.parse().unwrap());
    let schedules = usize::try_from(number_from_env("GATE_SHUTTLE_ORDERS", DEFAULT_SCHEDULES)).unwrap();
    let seed = number_from_env("GATE_SHUTTLE_SEED", 1);
    let started = Instant::now();
    let random = run(RandomScheduler::new_from_seed(seed, schedules), body);
    let pct = run(PctScheduler::new_from_seed(seed, PRIORITY_CHANGES, schedules), body);
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {random} random and {pct} PCT schedules from seed {seed}, {:.1?}", started.elapsed());
}

/// The number of schedules of each kind for each test.
const DEFAULT_SCHEDULES: u64 = 20_000;
/// Enough for bugs that need up to three preemptions at particular moments.
const PRIORITY_CHANGES: usize = 3;
/// The stack size of each thread. Building a governor needs this much.
const STACK_SIZE: usize = 1 << 18;

fn run(scheduler: impl Scheduler + 'static, body: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = STACK_SIZE;
    config.silence_warnings = true; // shuttle warns that it ignores relaxed orderings
    Runner::new(scheduler, config).run(body)
}

/// Returns a gate that measures waits or, in half of the schedules, does not. The latter takes shorter code
/// paths into and out of the queue.
pub(super) fn gate(limit: u32) -> Gate {
    let measures_waits = below(2) == 0;
    Gate::builder(GateName::new("shuttle"), Limit::new(limit)).measure_waits(measures_waits).build()
}

/// Returns a random number below `end`, which belongs to the schedule.
pub(super) fn below(end: u32) -> u32 {
    thread_rng().gen_range(0..end)
}

/// A gate, an independent count of its permits, and the wakers of its requests.
#[derive(Clone)]
pub(super) struct TestGate {
    pub(super) inner: Gate,
    accounting: Arc<Accounting>,
}

/// What the test counts itself, to compare it with the gate.
#[derive(Default)]
struct Accounting {
    /// The permits that are held.
    held: AtomicUsize,
    /// The maximum of `held`.
    allowed: AtomicUsize,
    /// The number of requests that got a permit.
    admitted: AtomicUsize,
    wakers: Mutex<Vec<Arc<UnparkingWaker>>>,
}

impl TestGate {
    pub(super) fn new(limit: u32) -> Self {
        Self::with_gate(gate(limit), limit)
    }

    /// Wraps a gate of which at most `allowed` permits may be held at once.
    pub(super) fn with_gate(gate: Gate, allowed: u32) -> Self {
        let gate = Self { inner: gate, accounting: Arc::default() };
        gate.allow(allowed);
        gate
    }

    /// Returns a gate within this one. Its permits and requests count with those of this gate.
    pub(super) fn within(&self, gate: Gate) -> Self {
        Self { inner: gate, accounting: Arc::clone(&self.accounting) }
    }

    /// Runs `body` on another thread.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let gate = self.clone();
        thread::spawn(move || body(&gate))
    }

    /// Sets the number of permits that may be held at once.
    fn allow(&self, permits: u32) {
        self.accounting.allowed.store(permits as usize, SeqCst);
    }

    /// Changes the limit and checks the status. Only one thread may call this.
    ///
    /// The number of permits that may be held rises before the limit does. It falls after the limit, once
    /// there is no debt.
    pub(super) fn resize(&self, limit: u32) {
        let allowed = self.accounting.allowed.load(SeqCst);
        self.allow(limit.max(u32::try_from(allowed).unwrap()));
        let change = self.inner.resize(Limit::new(limit));
        assert_eq!(change.to.get(), limit);
        let status = self.inner.status();
        assert_eq!(status.in_use + status.available, limit + status.debt, "{status:?}");
        assert!(status.available == 0 || status.debt == 0, "{status:?}");
        if status.debt == 0 {
            // Everything in use is within the new limit, and nothing was admitted under a higher limit since.
            self.allow(limit);
        }
    }

    pub(super) async fn acquire(&self, weight: u32) -> Result<CountedPermit, AcquireError> {
        let permit = self.inner.acquire_many_owned(weight).await?;
        Ok(self.count(permit))
    }

    pub(super) fn try_acquire(&self, weight: u32) -> Option<CountedPermit> {
        self.inner.try_acquire_many_owned(weight).ok().map(|permit| self.count(permit))
    }

    pub(super) fn count(&self, permit: OwnedPermit) -> CountedPermit {
        let weight = permit.weight() as usize;
        let held = self.accounting.held.fetch_add(weight, SeqCst) + weight;
        let allowed = self.accounting.allowed.load(SeqCst);
        assert!(held <= allowed, "{held} permits are held where {allowed} are allowed");
        self.accounting.admitted.fetch_add(1, SeqCst);
        CountedPermit { _count: HeldCount(Arc::clone(&self.accounting), weight), _permit: permit }
    }

    /// Waits for a permit, yields to other threads, and releases the permit.
    pub(super) fn acquire_and_release(&self, weight: u32) -> Result<(), AcquireError> {
        let permit = self.block_on(self.acquire(weight))?;
        thread::yield_now();
        drop(permit);
        Ok(())
    }

    /// Polls a request up to `polls` times, each time with a new waker, and cancels it if it is still waiting
    /// then.
    pub(super) fn acquire_or_cancel(&self, weight: u32, polls: u32) {
        let mut acquire = pin!(self.acquire(weight));
        for _ in 0..polls {
            let waker = Waker::from(self.new_waker());
            if acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return;
            }
            thread::yield_now();
        }
    }

    /// Parks the thread until the future resolves. The first poll uses another waker than the later polls, so
    /// that the gate has to wake the new one.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let first_waker = Waker::from(self.new_waker());
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&first_waker)) {
            return output;
        }
        drop(first_waker);
        let unparking = self.new_waker();
        let waker = Waker::from(Arc::clone(&unparking));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            while !unparking.is_woken.swap(false, SeqCst) {
                thread::park();
            }
        }
    }

    /// Returns a waker that unparks the current thread.
    fn new_waker(&self) -> Arc<UnparkingWaker> {
        let waker = Arc::new(UnparkingWaker { is_woken: AtomicBool::new(false), thread: thread::current() });
        self.accounting.wakers.lock().unwrap().push(Arc::clone(&waker));
        waker
    }

    /// Returns the number of requests that got a permit.
    pub(super) fn admitted(&self) -> usize {
        self.accounting.admitted.load(SeqCst)
    }

    /// Checks the gate when no thread uses it any more: the status balances, every request is counted, the
    /// whole limit can be acquired, and no waker is retained.
    pub(super) fn finish(self) {
        self.finish_with(&[]);
    }

    /// As [`finish`](Self::finish), for a gate with these children, which count their requests themselves.
    pub(super) fn finish_with(self, children: &[Gate]) {
        let status = self.inner.status();
        assert_eq!((status.in_use, status.waiting, status.debt), (0, 0, 0), "{status:?}");
        assert_eq!(status.available, status.limit.get(), "{status:?}");
        let queue = status.totals.queue;
        let left = queue.admitted + queue.cancelled + queue.expired + queue.closed + queue.too_large;
        assert_eq!(queue.enqueued, left + queue.pushed_out, "{status:?}");
        let returned = |status: &GateStatus| status.totals.admitted - status.totals.queue.abandoned;
        let by_children: u64 = children.iter().map(|child| returned(&child.status())).sum();
        assert_eq!(returned(&status) + by_children, self.admitted() as u64, "{status:?}");
        assert!(
            [0, queue.admitted].contains(&status.waits.count()),
            "all waits are measured, or none: {status:?}"
        );
        if !status.closed {
            drop(self.inner.try_acquire_many(status.limit.get()).unwrap());
        }
        for waker in self.accounting.wakers.lock().unwrap().drain(..) {
            assert_eq!(Arc::strong_count(&waker), 1, "a waker is retained");
        }
    }
}

/// A permit that the test counts while it is held.
pub(super) struct CountedPermit {
    /// Declared first, so that the test stops to count the permit before the gate can pass it on.
    _count: HeldCount,
    _permit: OwnedPermit,
}

/// The part of `Accounting::held` that belongs to one permit.
struct HeldCount(Arc<Accounting>, usize);

impl Drop for HeldCount {
    fn drop(&mut self) {
        self.0.held.fetch_sub(self.1, SeqCst);
    }
}

/// A waker that unparks a thread.
struct UnparkingWaker {
    is_woken: AtomicBool,
    thread: Thread,
}

impl Wake for UnparkingWaker {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, SeqCst);
        self.thread.unpark();
    }
}
