//! The operations.

use std::future::Future;
use std::hint::{black_box, spin_loop};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::Gate;
use nix::time::{ClockId, clock_gettime};
use tokio::runtime::{self, Runtime};
use tokio::task::yield_now;

use crate::harness::{self, Contestant, Row, Runner, Target};
use crate::peers::{
    AsyncLock, Asyncband, Deadpool, Floor, Intrusive, IntrusiveShared, Mea, Owned, Patient, Peer, Resizable,
    Tokio, Unmeasured, Weighted, tower,
};

/// A contestant a type, all measured by the same function.
macro_rules! contestants {
    ($of:ident, $make:ident: $($peer:ty),*) => { vec![$(Contestant { name: <$peer as $of>::NAME, make: $make::<$peer> }),*] };
}

pub fn rows() -> Vec<Row> {
    let target = |time: f64, instructions: f64, locked: f64| Target {
        time: Some(time),
        instructions: Some(instructions),
        locked: Some(locked),
    };
    let together = |row: Row| Row { run: RUN_TOGETHER, ..row };
    let long = |row: Row| Row { run: LONG_RUN, ..row };
    let time = |time: f64| Target { time: Some(time), ..Target::default() };
    let row = |id, title, contestants, target, step, counted| Row {
        id,
        title,
        contestants,
        base: "tokio",
        target,
        run: RUN,
        step,
        counted,
    };
    let mut tried = contestants!(Peer, tried: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool);
    tried.push(Contestant { name: "floor", make: floor });
    let mut at_once =
        contestants!(Peer, at_once: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool);
    at_once.push(Contestant { name: "floor", make: floor });
    let mut owned =
        contestants!(Owned, owned: Gate, Tokio, AsyncLock, Asyncband, IntrusiveShared, Mea, Deadpool);
    owned.push(Contestant { name: "tower", make: tower_at_once });
    let mut two_trying =
        contestants!(Peer, two_trying: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool);
    two_trying.push(Contestant { name: "floor", make: two_on_the_floor });
    vec![
        row("try", "try_acquire + drop", tried, target(0.50, 0.32, 2.0), 64, 10_000),
        row(
            "refused",
            "try_acquire, refused",
            contestants!(Peer, refused: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            Target::default(),
            64,
            10_000,
        ),
        row("await", "acquire().await + drop, polled by hand", at_once, target(0.25, 0.25, 2.0), 64, 10_000),
        row(
            "await-runtime",
            "acquire().await + drop, in a runtime",
            contestants!(Peer, in_runtime: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            target(0.25, 0.25, 2.0),
            64,
            10_000,
        ),
        row("owned", "acquire_owned().await + drop", owned, target(0.28, 0.35, 2.0), 64, 10_000),
        row(
            "deadline",
            "acquire with a deadline + drop, ready at once",
            contestants!(Peer, with_deadline: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            target(0.15, 0.15, 2.0),
            64,
            10_000,
        ),
        row(
            "many",
            "acquire_many(8).await + drop",
            contestants!(Peer, weighted: Gate, Tokio, Asyncband, Intrusive, Mea),
            target(0.25, 0.27, 2.0),
            64,
            10_000,
        ),
        together(row("two-try", "two threads: try_acquire + drop", two_trying, time(0.35), STEP_TOGETHER, 0)),
        together(row(
            "two-await",
            "two threads: acquire().await + drop",
            contestants!(Peer, two_awaiting: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            time(0.30),
            STEP_TOGETHER,
            0,
        )),
        row(
            "cycle",
            "wait cycle: acquire, join, hand over, resume, drop",
            contestants!(Peer, wait_cycle: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            target(0.65, 0.45, 9.0),
            64,
            10_000,
        ),
        row(
            "cycle-unmeasured",
            "wait cycle, waits not measured",
            contestants!(Peer, wait_cycle: Unmeasured, Tokio),
            target(0.40, 0.45, 9.0),
            64,
            10_000,
        ),
        row(
            "repoll",
            "poll again while waiting",
            contestants!(Peer, polled_again: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            target(0.40, 0.40, 0.0),
            64,
            10_000,
        ),
        long(row(
            "tasks-cpu",
            "64 tasks, 2 permits, 2 workers: CPU per acquisition",
            contestants!(Peer, tasks_cpu: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            time(0.92),
            TASKS * 16,
            0,
        )),
        long(row(
            "tasks-wall",
            "64 tasks, 2 permits, 2 workers: time per acquisition",
            contestants!(Peer, tasks_wall: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            Target::default(),
            TASKS * 16,
            0,
        )),
        row(
            "tasks-one",
            "64 tasks, 2 permits, 1 thread: time per acquisition",
            contestants!(Peer, tasks_one: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            target(0.92, 0.85, 18.0),
            TASKS * 8,
            TASKS * 64,
        ),
        row(
            "tasks-one-unmeasured",
            "64 tasks, 2 permits, 1 thread, waits not measured",
            contestants!(Peer, tasks_one: Unmeasured, Tokio),
            target(0.92, 0.85, 18.0),
            TASKS * 8,
            TASKS * 64,
        ),
        row(
            "enqueue",
            "10 000 waiting: enqueue",
            contestants!(Peer, enqueue: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            time(0.45),
            CROWD,
            0,
        ),
        row(
            "drain",
            "10 000 waiting: drain",
            contestants!(Peer, drain: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            time(0.50),
            CROWD,
            0,
        ),
        row(
            "cancel",
            "10 000 waiting: cancel in random order",
            contestants!(Peer, cancel: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            time(1.05),
            CROWD,
            0,
        ),
        row(
            "cancel-100k",
            "100 000 waiting: cancel in random order",
            contestants!(Peer, cancel_great: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            time(1.05),
            GREAT_CROWD,
            0,
        ),
        row(
            "resize",
            "grow + shrink, idle",
            contestants!(Peer, resize_idle: Gate, Tokio, Asyncband, Mea),
            time(1.0),
            64,
            10_000,
        ),
        Row {
            id: "resize-debt",
            title: "shrink into debt + grow, 1000 waiting",
            contestants: contestants!(Peer, resize_debt: Gate, Asyncband),
            base: "asyncband",
            target: time(0.5),
            run: RUN,
            step: 64,
            counted: 10_000,
        },
        row(
            "timeout",
            "acquire that times out (1 ms), 1000 at once: CPU",
            contestants!(Peer, timed_out: Gate, Tokio, AsyncLock, Asyncband, Intrusive, Mea, Deadpool),
            Target { time: Some(0.80), instructions: Some(0.55), ..Target::default() },
            LATE * 8,
            LATE * 4,
        ),
    ]
}

/// Long enough that looking at the clock does not show, short enough that most runs are not interrupted.
const RUN: Duration = Duration::from_micros(400);
/// Two workers now share the work, and now one does it all while the other sleeps: long enough for some of both.
const LONG_RUN: Duration = Duration::from_millis(20);
/// Two threads that are at it together are so for one step, which is long enough.
const RUN_TOGETHER: Duration = Duration::ZERO;
const STEP_TOGETHER: u64 = 200_000;
/// A few ticks of the scheduler.
const SETTLING: Duration = Duration::from_millis(12);
/// Runs of two threads until a round does without.
const TRIES: usize = 5;
/// Permits where there is room for all.
const PERMITS: u32 = 64;
const CROWD: u64 = 10_000;
const GREAT_CROWD: u64 = 100_000;
const TASKS: u64 = 64;
const LATE: u64 = 1000;

fn make<P: Peer>(permits: u32) -> &'static P {
    Box::leak(Box::new(P::new(permits)))
}

#[inline(always)]
fn timed(step: impl FnOnce()) -> Duration {
    let began = Instant::now();
    step();
    began.elapsed()
}

// In place, as `.await` is: a future that is moved into a function by way of memory would be what is measured.
#[inline(always)]
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[inline(always)]
fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is room"),
    }
}

fn one_thread() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn floor() -> Runner {
    let floor = Floor::default();
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                assert!(black_box(&floor).take());
                black_box(&floor).give_back();
            }
        })
    })
}

fn tried<P: Peer>() -> Runner {
    let peer = make::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(black_box(peer).try_acquire().expect("there is room")));
            }
        })
    })
}

fn refused<P: Peer>() -> Runner {
    let peer = make::<P>(1);
    let held = peer.try_acquire().expect("there is room");
    Box::new(move |times| {
        let _held = &held;
        timed(|| {
            for _ in 0..times {
                assert!(black_box(black_box(peer).try_acquire()).is_none());
            }
        })
    })
}

fn at_once<P: Peer>() -> Runner {
    let peer = make::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(P::permit(now(black_box(peer).acquire()))));
            }
        })
    })
}

fn in_runtime<P: Peer>() -> Runner {
    let peer = make::<P>(PERMITS);
    let runtime = one_thread();
    Box::new(move |times| {
        timed(|| {
            runtime.block_on(async {
                for _ in 0..times {
                    drop(black_box(P::permit(black_box(peer).acquire().await)));
                }
            });
        })
    })
}

fn owned<P: Owned>() -> Runner {
    let peer: &'static P = Box::leak(Box::new(P::new(PERMITS)));
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(P::permit(now(black_box(peer).acquire()))));
            }
        })
    })
}

fn tower_at_once() -> Runner {
    let mut call = tower(PERMITS);
    Box::new(move |times| {
        timed(|| {
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..times {
                call(&mut cx);
            }
        })
    })
}

fn with_deadline<P: Patient>() -> Runner {
    let peer = make::<P>(PERMITS);
    let runtime = one_thread();
    Box::new(move |times| {
        timed(|| {
            runtime.block_on(async {
                for _ in 0..times {
                    let late = black_box(peer).acquire_within(Duration::from_millis(1)).await;
                    drop(black_box(P::in_time(late).expect("there is room")));
                }
            });
        })
    })
}

fn weighted<P: Weighted>() -> Runner {
    let peer = make::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(P::permit(now(black_box(peer).acquire_many(8)))));
            }
        })
    })
}

/// Time per operation of either of two threads that do it at once: who is done first goes on until the other is. On a busy
/// machine they often take turns on one core instead, which looks like no contention at all: such a run is made again, and
/// in the end is none.
fn two(times: u64, step: impl Fn() + Sync) -> Duration {
    let (ready, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one_of = |count: &AtomicUsize| count.load(Ordering::Acquire) % 2 == 1;
    let run = || {
        // Both are busy for a while before they begin, so that the scheduler gives each a core.
        let began = Instant::now();
        while began.elapsed() < SETTLING {
            spin_loop();
        }
        ready.fetch_add(1, Ordering::AcqRel);
        while one_of(&ready) {
            spin_loop();
        }
        let (on_core, began) = (clock(ClockId::CLOCK_THREAD_CPUTIME_ID), Instant::now());
        (0..times).for_each(|_| step());
        let took = (began.elapsed(), clock(ClockId::CLOCK_THREAD_CPUTIME_ID) - on_core);
        done.fetch_add(1, Ordering::AcqRel);
        while one_of(&done) {
            step();
        }
        (began, took)
    };
    for _ in 0..TRIES {
        let ((began, mine), (rival_began, rivals)) = thread::scope(|scope| {
            let rival = scope.spawn(run);
            (run(), rival.join().expect("no panic"))
        });
        let alone = began.max(rival_began) - began.min(rival_began);
        let few = |part: Duration, whole: Duration| part <= whole / 10;
        if [mine, rivals]
            .iter()
            .all(|(wall, on_core)| few(alone, *wall) && few(wall.saturating_sub(*on_core), *wall))
        {
            return (mine.0 + rivals.0) / 2;
        }
    }
    harness::NO_RUN
}

fn two_on_the_floor() -> Runner {
    let floor = Floor::default();
    Box::new(move |times| {
        two(times, || {
            assert!(floor.take());
            floor.give_back();
        })
    })
}

fn two_trying<P: Peer>() -> Runner {
    let peer = make::<P>(PERMITS);
    Box::new(move |times| two(times, || drop(black_box(peer.try_acquire().expect("there is room")))))
}

fn two_awaiting<P: Peer>() -> Runner {
    let peer = make::<P>(PERMITS);
    Box::new(move |times| two(times, || drop(black_box(P::permit(now(peer.acquire()))))))
}

fn wait_cycle<P: Peer>() -> Runner {
    let peer = make::<P>(1);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                let held = peer.try_acquire().expect("there is room");
                let mut next = pin!(peer.acquire());
                assert!(poll(next.as_mut()).is_pending());
                drop(held);
                match poll(next) {
                    Poll::Ready(outcome) => drop(black_box(P::permit(outcome))),
                    Poll::Pending => panic!("it was handed the permit"),
                }
            }
        })
    })
}

fn polled_again<P: Peer>() -> Runner {
    let peer = make::<P>(1);
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("there is room");
        let mut next = pin!(peer.acquire());
        assert!(poll(next.as_mut()).is_pending());
        timed(|| {
            for _ in 0..times {
                assert!(poll(black_box(next.as_mut())).is_pending());
            }
        })
    })
}

/// Tasks that each hold a permit across one yield, so that all others stand in line meanwhile.
fn tasks<P: Peer>(runtime: &Runtime, peer: &'static P, each: u64) {
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                tokio::spawn(async move {
                    for _ in 0..each {
                        let permit = P::permit(peer.acquire().await);
                        yield_now().await;
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}

fn two_workers() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

/// CPU time of the whole process: one contestant runs at a time, the others are parked.
fn cpu_time() -> Duration {
    clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: ClockId) -> Duration {
    clock_gettime(id).expect("a clock of every Linux").into()
}

fn tasks_cpu<P: Peer>() -> Runner {
    let (peer, runtime) = (make::<P>(2), two_workers());
    Box::new(move |times| {
        let began = cpu_time();
        tasks(&runtime, peer, times / TASKS);
        cpu_time() - began
    })
}

fn tasks_wall<P: Peer>() -> Runner {
    let (peer, runtime) = (make::<P>(2), two_workers());
    Box::new(move |times| timed(|| tasks(&runtime, peer, times / TASKS)))
}

fn tasks_one<P: Peer>() -> Runner {
    let (peer, runtime) = (make::<P>(2), one_thread());
    Box::new(move |times| timed(|| tasks(&runtime, peer, times / TASKS)))
}

/// How often the luckiest of the tasks was admitted while the unluckiest was once.
pub fn fairness<P: Peer>(runtime: &Runtime) -> f64 {
    let peer = make::<P>(2);
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..TASKS).map(|_| AtomicU64::new(0)).collect());
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let permit = P::permit(peer.acquire().await);
                        let mine = counts[task as usize].fetch_add(1, Ordering::Relaxed);
                        if mine == 2000 {
                            stop.store(true, Ordering::Relaxed);
                        }
                        yield_now().await;
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    });
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    *counts.iter().max().expect("tasks") as f64 / *counts.iter().min().expect("tasks") as f64
}

pub fn fairnesses() -> Vec<(&'static str, f64, f64)> {
    fn of<P: Peer>() -> (&'static str, f64, f64) {
        (P::NAME, fairness::<P>(&one_thread()), fairness::<P>(&two_workers()))
    }
    vec![
        of::<Gate>(),
        of::<Tokio>(),
        of::<AsyncLock>(),
        of::<Asyncband>(),
        of::<Intrusive>(),
        of::<Mea>(),
        of::<Deadpool>(),
    ]
}

/// Futures in memory of their own that is used again, so that no allocation is timed.
struct Crowd<F> {
    waiting: Vec<Pin<Box<Option<F>>>>,
}

impl<F: Future> Crowd<F> {
    fn new(size: u64) -> Self {
        Self { waiting: (0..size).map(|_| Box::pin(None)).collect() }
    }

    fn fill(&mut self, mut next: impl FnMut() -> F) {
        for place in &mut self.waiting {
            place.set(Some(next()));
        }
    }

    fn poll_all(&mut self) {
        for place in &mut self.waiting {
            assert!(poll(place.as_mut().as_pin_mut().expect("filled")).is_pending());
        }
    }

    fn empty(&mut self, order: &[usize]) {
        for at in order {
            self.waiting[*at].set(None);
        }
    }
}

/// An order that jumps about and visits all, the same in each run.
fn shuffled(size: u64) -> Vec<usize> {
    let mut order: Vec<_> = (0..size as usize).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
    order
}

fn enqueue<P: Peer>() -> Runner {
    let peer = make::<P>(1);
    let mut crowd = Crowd::new(CROWD);
    let order = shuffled(CROWD);
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("there is room");
        (0..times / CROWD)
            .map(|_| {
                crowd.fill(|| peer.acquire());
                let took = timed(|| crowd.poll_all());
                crowd.empty(&order);
                took
            })
            .sum()
    })
}

fn drain<P: Peer>() -> Runner {
    let peer = make::<P>(1);
    let mut crowd = Crowd::new(CROWD);
    Box::new(move |times| {
        (0..times / CROWD)
            .map(|_| {
                let held = peer.try_acquire().expect("there is room");
                crowd.fill(|| peer.acquire());
                crowd.poll_all();
                timed(|| {
                    drop(held);
                    for place in &mut crowd.waiting {
                        match poll(place.as_mut().as_pin_mut().expect("filled")) {
                            Poll::Ready(outcome) => drop(black_box(P::permit(outcome))),
                            Poll::Pending => panic!("its turn has come"),
                        }
                    }
                })
            })
            .sum()
    })
}

fn cancel_in<P: Peer>(size: u64) -> Runner {
    let peer = make::<P>(1);
    let mut crowd = Crowd::new(size);
    let order = shuffled(size);
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("there is room");
        (0..times / size)
            .map(|_| {
                crowd.fill(|| peer.acquire());
                crowd.poll_all();
                timed(|| crowd.empty(&order))
            })
            .sum()
    })
}

fn cancel<P: Peer>() -> Runner {
    cancel_in::<P>(CROWD)
}

fn cancel_great<P: Peer>() -> Runner {
    cancel_in::<P>(GREAT_CROWD)
}

fn resize_idle<P: Resizable>() -> Runner {
    let peer = make::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                black_box(peer).grow(PERMITS, 1);
                black_box(peer).shrink(PERMITS + 1, 1);
            }
        })
    })
}

fn resize_debt<P: Resizable>() -> Runner {
    let peer = make::<P>(PERMITS);
    let held: Vec<_> = (0..PERMITS).map(|_| peer.try_acquire().expect("there is room")).collect();
    let mut crowd = Crowd::new(1000);
    crowd.fill(|| peer.acquire());
    crowd.poll_all();
    Box::new(move |times| {
        let _stay = (&held, &crowd.waiting);
        timed(|| {
            for _ in 0..times {
                black_box(peer).shrink(PERMITS, PERMITS / 2);
                black_box(peer).grow(PERMITS / 2, PERMITS / 2);
            }
        })
    })
}

/// CPU time, because what is left is the wait itself. Each task gives up again and again, so that what it takes to make one
/// hardly shows.
fn timed_out<P: Patient>() -> Runner {
    let peer = make::<P>(1);
    let runtime = one_thread();
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("there is room");
        let began = cpu_time();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..LATE)
                .map(|_| {
                    tokio::spawn(async move {
                        for _ in 0..times / LATE {
                            let late = peer.acquire_within(Duration::from_millis(1)).await;
                            assert!(P::in_time(late).is_none());
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        cpu_time() - began
    })
}

/// Bytes of a future that waits, and of one with a deadline.
pub fn sizes() -> Vec<(&'static str, usize, usize, usize)> {
    fn of<P: Patient, O: Owned>() -> (&'static str, usize, usize, usize) {
        let (peer, owned) = (make::<P>(1), O::new(1));
        (
            P::NAME,
            size_of_val(&peer.acquire()),
            size_of_val(&owned.acquire()),
            size_of_val(&peer.acquire_within(Duration::ZERO)),
        )
    }
    let runtime = one_thread();
    let _inside = runtime.enter();
    vec![
        of::<Gate, Gate>(),
        of::<Tokio, Tokio>(),
        of::<AsyncLock, AsyncLock>(),
        of::<Asyncband, Asyncband>(),
        of::<Intrusive, IntrusiveShared>(),
        of::<Mea, Mea>(),
        of::<Deadpool, Deadpool>(),
    ]
}
