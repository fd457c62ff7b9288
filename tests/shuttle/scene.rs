//! What the tests share: orders to run in, a gate with its books, and ways to wait.

use std::env;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize as Counter;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use concurrency_governor::gate::{AcquireError, Gate, OwnedPermit};
use concurrency_governor::{GateName, Limit};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::thread::{self, Thread};
use shuttle::{Config, Runner};

/// Runs a body in many orders: all of them random, and as many again in which each thread has a rank that changes a few
/// times only, which finds what takes one thread to be held up for long.
pub(super) fn check(body: fn()) {
    // One test at a time: gates are places used again, and how many there are vacant is part of the order.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    run(RandomScheduler::new_from_seed(0, 1), open_places);
    if let Ok(order) = env::var("GATE_SHUTTLE_ORDER") {
        let order: String = order.split_whitespace().collect(); // it is printed in several lines
        run(ReplayScheduler::new_from_encoded(&order), body);
        return;
    }
    let number = |name, default| env::var(name).map_or(default, |text| text.parse().unwrap());
    let (orders, seed) = (number("GATE_SHUTTLE_ORDERS", ORDERS), number("GATE_SHUTTLE_SEED", 1));
    let begun = Instant::now();
    let count = usize::try_from(orders).unwrap();
    let random = run(RandomScheduler::new_from_seed(seed, count), body);
    let ranked = run(PctScheduler::new_from_seed(seed, RANK_CHANGES, count), body);
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {random} random and {ranked} ranked orders from seed {seed}, {:.1?}", begun.elapsed());
}

/// Of each kind, for each test: all of them together are done in less than a minute.
const ORDERS: u64 = 40_000;
/// Enough for every fault that takes as many threads at the wrong moment.
const RANK_CHANGES: usize = 3;
/// A governor is made on one of these stacks.
const STACK: usize = 1 << 18;

fn run(scheduler: impl Scheduler + 'static, body: fn()) -> usize {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true; // of that every access is sequentially consistent
    Runner::new(scheduler, config).run(body)
}

/// So that a gate finds a vacant place in the first order, too, as it does in every later one.
fn open_places() {
    drop([(); 4].map(|()| gate(1)));
}

/// A gate that measures waits, or one that does not, where the ways into the line and out of it are shorter.
pub(super) fn gate(limit: u32) -> Gate {
    let measures = below(2) == 0;
    Gate::builder(GateName::new("shuttled"), Limit::new(limit)).measure_waits(measures).build()
}

pub(super) fn below(end: u32) -> u32 {
    thread_rng().gen_range(0..end)
}

/// One gate, and what is out of it at each instant, apart from what the gate says.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) gate: Gate,
    flight: Arc<Flight>,
}

#[derive(Default)]
struct Flight {
    held: Counter,
    /// No more than this may be held at once.
    allowed: Counter,
    /// How often somebody has held a permit.
    flown: Counter,
    bells: Mutex<Vec<Arc<Bell>>>,
}

impl Scene {
    pub(super) fn new(limit: u32) -> Self {
        Self::of(gate(limit), limit)
    }

    /// A gate of which never more than this may be out.
    pub(super) fn of(gate: Gate, allowed: u32) -> Self {
        let scene = Self { gate, flight: Arc::default() };
        scene.allow(allowed);
        scene
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let scene = self.clone();
        thread::spawn(move || step(&scene))
    }

    /// Before the limit is raised, or once the debt is paid.
    fn allow(&self, limit: u32) {
        self.flight.allowed.store(limit as usize, SeqCst);
    }

    /// By one thread at a time. What may be out rises before the limit does, and falls only once no more is out.
    pub(super) fn resize(&self, limit: u32) {
        let allowed = self.flight.allowed.load(SeqCst);
        self.allow(limit.max(u32::try_from(allowed).unwrap()));
        let change = self.gate.resize(Limit::new(limit));
        assert_eq!(change.to.get(), limit);
        let status = self.gate.status();
        assert_eq!(status.in_use + status.available, limit + status.debt, "{status:?}");
        assert!(status.available == 0 || status.debt == 0, "{status:?}");
        if status.debt == 0 {
            // Nobody was granted under a higher limit since, and whoever was has shown up or was within this one.
            self.allow(limit);
        }
    }

    pub(super) async fn acquire(&self, weight: u32) -> Result<Held, AcquireError> {
        let permit = self.gate.acquire_many_owned(weight).await?;
        Ok(self.hold(permit))
    }

    pub(super) fn try_acquire(&self, weight: u32) -> Option<Held> {
        self.gate.try_acquire_many_owned(weight).ok().map(|permit| self.hold(permit))
    }

    fn hold(&self, permit: OwnedPermit) -> Held {
        let weight = permit.weight() as usize;
        let held = self.flight.held.fetch_add(weight, SeqCst) + weight;
        assert!(held <= self.flight.allowed.load(SeqCst), "{held} are held");
        self.flight.flown.fetch_add(1, SeqCst);
        Held { _out: Out(Arc::clone(&self.flight), weight), _permit: permit }
    }

    /// Waits, holds for a while, and goes.
    pub(super) fn fly(&self, weight: u32) -> Result<(), AcquireError> {
        let held = self.block_on(self.acquire(weight))?;
        thread::yield_now();
        drop(held);
        Ok(())
    }

    /// Polls as often as this, each time with another waker, and gives up; or flies.
    pub(super) fn fly_or_give_up(&self, weight: u32, polls: u32) {
        let mut acquire = pin!(self.acquire(weight));
        for _ in 0..polls {
            let waker = self.bell();
            if acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return;
            }
            thread::yield_now();
        }
    }

    /// Parks the thread until the future is done. It is polled by another waker first, which is not the one to be called.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let passing = self.bell();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&passing)) {
            return output;
        }
        drop(passing);
        let bell = self.new_bell();
        let waker = Waker::from(Arc::clone(&bell));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            while !bell.rung.swap(false, SeqCst) {
                thread::park();
            }
        }
    }

    fn bell(&self) -> Waker {
        Waker::from(self.new_bell())
    }

    fn new_bell(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), thread: thread::current() });
        self.flight.bells.lock().unwrap().push(Arc::clone(&bell));
        bell
    }

    pub(super) fn flown(&self) -> usize {
        self.flight.flown.load(SeqCst)
    }

    /// The books in the end, when nobody holds anything and nobody waits.
    pub(super) fn finish(self) {
        let status = self.gate.status();
        assert_eq!((status.in_use, status.waiting, status.debt), (0, 0, 0), "{status:?}");
        assert_eq!(status.available, status.limit.get(), "{status:?}");
        let queue = status.totals.queue;
        let over = queue.admitted + queue.cancelled + queue.expired + queue.closed + queue.too_large;
        assert_eq!(queue.enqueued, over, "{status:?}");
        assert_eq!(status.totals.admitted - queue.unclaimed, self.flown() as u64, "{status:?}");
        assert!([0, queue.admitted].contains(&status.waits.count()), "measured are all or none: {status:?}");
        if !status.closed {
            drop(self.gate.try_acquire_many(status.limit.get()).unwrap());
        }
        for bell in self.flight.bells.lock().unwrap().drain(..) {
            assert_eq!(Arc::strong_count(&bell), 1, "a waker was kept");
        }
    }
}

/// A permit that counts while it is out.
pub(super) struct Held {
    /// First, so that it stops to count before the permit is another's.
    _out: Out,
    _permit: OwnedPermit,
}

struct Out(Arc<Flight>, usize);

impl Drop for Out {
    fn drop(&mut self) {
        self.0.held.fetch_sub(self.1, SeqCst);
    }
}

/// A waker that lets its thread go on.
struct Bell {
    rung: AtomicBool,
    thread: Thread,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, SeqCst);
        self.thread.unpark();
    }
}
