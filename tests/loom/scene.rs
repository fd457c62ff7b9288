//! What the models share: a gate with requests that any thread can poll or drop, and its books.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize as Counter;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use concurrency_governor::gate::{AcquireError, Gate, OwnedPermit};
use concurrency_governor::{GateName, Limit};
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::thread;

/// How many threads meet in a model, and so how much of it can be seen.
#[derive(Clone, Copy)]
pub(super) enum Threads {
    Two,
    Three,
}

thread_local! {
    /// Whether the gates of a model measure waits. All threads of a model run on this one.
    static MEASURES: Cell<bool> = const { Cell::new(false) };
}

/// Runs a model in every way there is, up to a number of preemptions for more than two threads: of gates that measure waits,
/// and of those that do not, where the ways into the line and out of it are shorter.
pub(super) fn check(threads: Threads, model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    for measures in [false, true] {
        MEASURES.set(measures);
        let model = Arc::clone(&model);
        check_once(threads, move || model());
    }
}

/// Runs a model in every way there is, up to a number of preemptions for more than two threads.
pub(super) fn check_once(threads: Threads, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if let Threads::Three = threads {
        let deep = std::env::var("GATE_LOOM_PREEMPTIONS").ok();
        builder.preemption_bound = Some(deep.map_or(PREEMPTIONS, |bound| bound.parse().unwrap()));
    }
    let executions = Arc::new(Counter::new(0));
    let (counted, begun) = (Arc::clone(&executions), Instant::now());
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {} executions, {:.1?}", executions.load(SeqCst), begun.elapsed());
}

/// Enough to find each of the faults that were planted (docs/ORDERING.md), and done in seconds.
const PREEMPTIONS: usize = 3;

/// One gate, what is done under its permits, and who was woken.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) gate: Arc<Gate>,
    flight: Arc<Flight>,
}

/// What is out at each instant, apart from what the gate says.
struct Flight {
    held: Counter,
    /// No more than this may be held at once.
    allowed: Counter,
    /// Who holds a permit of a gate with one reads this and writes it with one more. Relaxed, so that nothing but the
    /// gate makes what one wrote known to the next.
    worked: AtomicUsize,
    /// As many as did so, by a count that is always right.
    works: Counter,
    bells: Mutex<Vec<Arc<Bell>>>,
}

impl Scene {
    pub(super) fn new(limit: u32) -> Self {
        let flight = Flight {
            held: Counter::new(0),
            allowed: Counter::new(limit as usize),
            worked: AtomicUsize::new(0),
            works: Counter::new(0),
            bells: Mutex::default(),
        };
        let gate = Gate::builder(GateName::new("modelled"), Limit::new(limit));
        Self { gate: Arc::new(gate.measure_waits(MEASURES.get()).build()), flight: Arc::new(flight) }
    }

    pub(super) fn spawn<T: 'static>(&self, step: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let scene = self.clone();
        thread::spawn(move || {
            let result = step(&scene);
            drop(scene);
            result
        })
    }

    /// Before the limit is raised.
    pub(super) fn allow(&self, limit: usize) {
        self.flight.allowed.store(limit, SeqCst);
    }

    pub(super) fn request(&self, weight: u32) -> Task {
        self.request_within(weight, Duration::MAX)
    }

    pub(super) fn request_within(&self, weight: u32, wait: Duration) -> Task {
        let (gate, flight) = (Arc::clone(&self.gate), Arc::clone(&self.flight));
        let future = async move {
            let permit = gate.request().weight(weight).max_wait(wait).acquire_owned().await?;
            Ok(Held::new(permit, flight))
        };
        Task { future: Box::pin(future), bell: self.bell(), scene: self.clone(), weight }
    }

    /// A request that has to wait.
    pub(super) fn in_line(&self, weight: u32) -> Task {
        let mut task = self.request(weight);
        assert!(task.poll().is_pending());
        task
    }

    /// A permit, if it is to be had at once.
    pub(super) fn hold(&self, weight: u32) -> Option<Held> {
        let permit = self.gate.try_acquire_many_owned(weight).ok()?;
        Some(Held::new(permit, Arc::clone(&self.flight)))
    }

    /// Comes, works and goes; or is in line.
    pub(super) fn acquire_and_release(&self, weight: u32) -> Option<Task> {
        let mut task = self.request(weight);
        match task.poll() {
            Poll::Ready(Ok(held)) => self.work(&held),
            Poll::Ready(Err(AcquireError::Closed { .. })) => {}
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => return Some(task),
        }
        None
    }

    pub(super) fn try_work(&self, weight: u32) -> Option<()> {
        self.hold(weight).map(|held| self.work(&held))
    }

    /// Does something under a permit that the next has to see, where there is but one.
    pub(super) fn work(&self, _held: &Held) {
        let worked = self.flight.worked.load(Relaxed);
        self.flight.worked.store(worked + 1, Relaxed);
        self.flight.works.fetch_add(1, SeqCst);
    }

    pub(super) fn assert_worked(&self, times: usize) {
        assert_eq!(self.flight.works.load(SeqCst), times);
        self.assert_worked_in_turn();
    }

    pub(super) fn assert_worked_in_turn(&self) {
        let works = self.flight.works.load(SeqCst);
        assert_eq!(self.flight.worked.load(Relaxed), works, "one did not see what another had done");
    }

    pub(super) fn draining(&self) -> Draining {
        let gate = Arc::clone(&self.gate);
        let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move { gate.drained().await });
        let bell = self.bell();
        let is_ready = future.as_mut().poll(&mut Context::from_waker(&bell.waker())).is_ready();
        Draining { future, bell, is_ready }
    }

    fn bell(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.flight.bells.lock().unwrap().push(Arc::clone(&bell));
        bell
    }

    /// The books, when nothing is in motion: so much is held in permits, and these requests are on their way.
    pub(super) fn assert_rests<const N: usize>(&self, held: u32, tasks: [&Task; N]) {
        let granted: u32 = tasks.iter().filter(|task| task.is_woken()).map(|task| task.weight).sum();
        let status = self.gate.status();
        let limit = status.limit.get();
        let waiting = tasks.iter().filter(|task| !task.is_woken());
        assert_eq!(held + granted + status.available, limit + status.debt, "{status:?}");
        assert_eq!(status.debt, (held + granted).saturating_sub(limit), "{status:?}");
        assert_eq!(status.in_use, held + granted, "{status:?}");
        assert_eq!(status.waiting, waiting.clone().count(), "{status:?}");
        if let Some(head) = { waiting }.next() {
            assert!(head.weight > status.available && !status.closed, "the head fits: {status:?}");
        }
        let queue = status.totals.queue;
        let over = queue.admitted + queue.cancelled + queue.expired + queue.closed + queue.too_large;
        assert_eq!(queue.enqueued, over + status.waiting as u64, "{status:?}");
    }

    /// Polls who was woken, until nobody is; then nobody may be in line, nothing out, and no waker kept.
    pub(super) fn finish<const N: usize>(&self, tasks: [Option<Task>; N]) {
        let mut tasks: Vec<Task> = tasks.into_iter().flatten().collect();
        while let Some(woken) = tasks.iter().position(Task::is_woken) {
            match tasks.remove(woken).poll() {
                Poll::Ready(Ok(held)) => self.work(&held),
                Poll::Ready(Err(AcquireError::Closed { .. })) if self.gate.is_closed() => {}
                other => panic!("woken for this: {other:?}"),
            }
        }
        assert!(tasks.is_empty(), "{} were never woken: {:?}", tasks.len(), self.gate.status());
        let kept = u32::try_from(self.flight.held.load(SeqCst)).unwrap();
        self.assert_rests(kept, []);
        for bell in mem::take(&mut *self.flight.bells.lock().unwrap()) {
            assert_eq!(Arc::strong_count(&bell), 1, "a waker was kept");
        }
    }
}

/// A request on its way, with the bell that its latest waker rings.
pub(super) struct Task {
    future: Pin<Box<dyn Future<Output = Result<Held, AcquireError>>>>,
    bell: Arc<Bell>,
    scene: Scene,
    weight: u32,
}

impl Task {
    pub(super) fn poll(&mut self) -> Poll<Result<Held, AcquireError>> {
        let waker = self.bell.waker();
        let answer = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        if answer.is_ready() {
            self.bell = Arc::default(); // so that the old one lives only in wakers that were kept
        }
        answer
    }

    /// With a waker that is not the one before.
    pub(super) fn poll_anew(&mut self) -> Poll<Result<Held, AcquireError>> {
        self.bell = self.scene.bell();
        self.poll()
    }

    pub(super) fn is_woken(&self) -> bool {
        self.bell.rung.load(SeqCst) > 0
    }
}

/// One who waits for the gate to be drained.
pub(super) struct Draining {
    future: Pin<Box<dyn Future<Output = ()>>>,
    bell: Arc<Bell>,
    is_ready: bool,
}

impl Draining {
    /// Whether it was over at once, or was woken since.
    pub(super) fn is_told(&self) -> bool {
        self.is_ready || self.bell.rung.load(SeqCst) > 0
    }

    /// Whether it is over and was told so.
    pub(super) fn ends(mut self) -> bool {
        let mut poll = || self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        self.is_ready || (self.bell.rung.load(SeqCst) > 0 && poll())
    }
}

/// A permit that counts while it is out.
#[derive(Debug)]
pub(super) struct Held {
    /// First, so that it stops to count before the permit is another's.
    _out: Out,
    pub(super) permit: OwnedPermit,
}

impl Held {
    fn new(permit: OwnedPermit, flight: Arc<Flight>) -> Self {
        let weight = permit.weight() as usize;
        let held = flight.held.fetch_add(weight, SeqCst) + weight;
        assert!(held <= flight.allowed.load(SeqCst), "{held} are held");
        Self { _out: Out { flight, weight }, permit }
    }
}

/// So much that is held.
struct Out {
    flight: Arc<Flight>,
    weight: usize,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.weight.fmt(f)
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.flight.held.fetch_sub(self.weight, SeqCst);
    }
}

/// A waker that counts.
#[derive(Default)]
struct Bell {
    rung: Counter,
}

impl Bell {
    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, SeqCst);
    }
}
