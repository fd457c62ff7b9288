//! The operations that are compared.

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

use crate::harness::{self, Contestant, Row, Runner};
use crate::peers::{
    AsyncLock, Asyncband, BareAtomics, Deadpool, Intrusive, IntrusiveShared, Mea, Owned, Peer, Resizable,
    Tokio, Unmeasured, Weighted, WithDeadline, tower,
};

/// One contestant for each type, all measured by the same function.
macro_rules! contestants {
    ($of:ident, $make:ident: $($peer:ty),*) => { vec![$(Contestant { name: <$peer as $of>::NAME, make: $make::<$peer> }),*] };
}

/// Every semaphore, measured by the same function.
macro_rules! all {
    ($of:ident, $make:ident) => { contestants!($of, $make: Gate, Tokio, Asyncband, Intrusive, Mea, AsyncLock, Deadpool) };
}

/// The semaphores that admit in exact FIFO order, as the gate does.
const FIFO: &[&str] = &["tokio", "asyncband", "futures-intrusive", "mea"];

pub fn rows() -> Vec<Row> {
    // `step` is 64, and 10 000 operations are counted, unless the row says otherwise.
    let row = |id, title, contestants, ahead_of| Row {
        id,
        title,
        contestants,
        base: "tokio",
        ahead_of,
        run: RUN,
        step: 64,
        counted: 10_000,
    };
    let with_bare_atomics = |mut contestants: Vec<_>, make| {
        contestants.push(Contestant { name: "bare-atomics", make });
        contestants
    };
    let mut owned =
        contestants!(Owned, acquire_owned: Gate, Tokio, Asyncband, IntrusiveShared, Mea, AsyncLock, Deadpool);
    owned.push(Contestant { name: "tower", make: call_through_tower });
    vec![
        row("try", "try_acquire + drop", with_bare_atomics(all!(Peer, try_acquire), bare_atomics), FIFO),
        row("rejected", "try_acquire, rejected", all!(Peer, rejected), &["tokio", "futures-intrusive"]),
        row(
            "await",
            "acquire().await + drop, polled by hand",
            with_bare_atomics(all!(Peer, acquire_by_hand), bare_atomics),
            FIFO,
        ),
        row("await-runtime", "acquire().await + drop, in a runtime", all!(Peer, acquire_in_runtime), FIFO),
        row("owned", "acquire_owned().await + drop", owned, FIFO),
        row(
            "deadline",
            "acquire with a deadline + drop, ready immediately",
            all!(Peer, acquire_with_deadline),
            FIFO,
        ),
        row(
            "many",
            "acquire_many(8).await + drop",
            contestants!(Peer, acquire_many: Gate, Tokio, Asyncband, Intrusive, Mea),
            FIFO,
        ),
        Row {
            run: SINGLE_STEP,
            step: OPERATIONS_TOGETHER,
            counted: 0,
            ..row(
                "two-try",
                "two threads: try_acquire + drop",
                with_bare_atomics(all!(Peer, two_threads_try), two_threads_bare_atomics),
                FIFO,
            )
        },
        Row {
            run: SINGLE_STEP,
            step: OPERATIONS_TOGETHER,
            counted: 0,
            ..row("two-await", "two threads: acquire().await + drop", all!(Peer, two_threads_acquire), FIFO)
        },
        // Not counted where wait times are measured: under callgrind the clock runs far ahead of the instructions, so that far more
        // waits are measured, and how many depends on the machine.
        Row {
            counted: 0,
            ..row(
                "cycle",
                "wait cycle: acquire, enqueue, release, resume, drop",
                all!(Peer, wait_cycle),
                FIFO,
            )
        },
        row(
            "cycle-unmeasured",
            "wait cycle, wait times not measured",
            contestants!(Peer, wait_cycle: Unmeasured, Tokio),
            &["tokio"],
        ),
        row("repoll", "poll again while waiting", all!(Peer, poll_again), FIFO),
        Row {
            run: LONG_RUN,
            step: TASKS * 16,
            counted: 0,
            ..row(
                "tasks-cpu",
                "64 tasks, 2 permits, 2 workers: CPU time per acquisition",
                all!(Peer, tasks_cpu_time),
                &["tokio", "asyncband", "mea"],
            )
        },
        Row {
            run: LONG_RUN,
            step: TASKS * 16,
            counted: 0,
            ..row(
                "tasks-wall",
                "64 tasks, 2 permits, 2 workers: time per acquisition",
                all!(Peer, tasks_two_workers),
                &["tokio", "asyncband"],
            )
        },
        Row {
            step: TASKS * 8,
            counted: 0,
            ..row(
                "tasks-one",
                "64 tasks, 2 permits, 1 thread: time per acquisition",
                all!(Peer, tasks_one_thread),
                &["tokio", "asyncband", "mea"],
            )
        },
        Row {
            step: TASKS * 8,
            counted: TASKS * 64,
            ..row(
                "tasks-one-unmeasured",
                "64 tasks, 2 permits, 1 thread, wait times not measured",
                contestants!(Peer, tasks_one_thread: Unmeasured, Tokio),
                &["tokio"],
            )
        },
        Row {
            step: CROWD,
            counted: 0,
            ..row("enqueue", "10 000 waiting: enqueue", all!(Peer, enqueue), &["tokio", "asyncband", "mea"])
        },
        Row { step: CROWD, counted: 0, ..row("drain", "10 000 waiting: admit all", all!(Peer, drain), FIFO) },
        Row {
            step: CROWD,
            counted: 0,
            ..row(
                "cancel",
                "10 000 waiting: cancel in random order",
                all!(Peer, cancel),
                &["tokio", "asyncband", "mea"],
            )
        },
        Row {
            step: LARGE_CROWD,
            counted: 0,
            ..row(
                "cancel-100k",
                "100 000 waiting: cancel in random order",
                all!(Peer, cancel_large),
                &["tokio", "asyncband", "mea"],
            )
        },
        row(
            "resize",
            "raise + lower the limit, idle",
            contestants!(Peer, resize_idle: Gate, Tokio, Asyncband, Mea),
            &["tokio", "mea"],
        ),
        Row {
            base: "asyncband",
            ..row(
                "resize-debt",
                "lower the limit into debt + raise it, 1000 waiting",
                contestants!(Peer, resize_with_debt: Gate, Asyncband),
                &["asyncband"],
            )
        },
        Row {
            step: TIMED_OUT_TASKS * 8,
            counted: TIMED_OUT_TASKS * 4,
            ..row(
                "timeout",
                "acquire that times out (1 ms), 1000 at the same time: CPU time",
                all!(Peer, time_out),
                FIFO,
            )
        },
    ]
}

/// Long enough that reading the clock costs little of it, short enough that the scheduler interrupts few runs.
pub const RUN: Duration = Duration::from_micros(400);
/// Two workers share the work at some times, and at other times one does all of it while the other sleeps. This is long enough
/// for both.
const LONG_RUN: Duration = Duration::from_millis(20);
/// A run of two threads is one step, which is long enough.
const SINGLE_STEP: Duration = Duration::ZERO;
const OPERATIONS_TOGETHER: u64 = 200_000;
/// A few ticks of the scheduler.
const SETTLING_TIME: Duration = Duration::from_millis(12);
/// The attempts of one run with two threads.
const ATTEMPTS: usize = 5;
/// Enough permits for every request.
const PERMITS: u32 = 64;
const CROWD: u64 = 10_000;
const LARGE_CROWD: u64 = 100_000;
const TASKS: u64 = 64;
const TIMED_OUT_TASKS: u64 = 1000;

/// Creates a semaphore that lives as long as the process, so that tasks can borrow it.
fn leak<P: Peer>(permits: u32) -> &'static P {
    Box::leak(Box::new(P::new(permits)))
}

#[inline(always)]
fn timed(step: impl FnOnce()) -> Duration {
    let start = Instant::now();
    step();
    start.elapsed()
}

// Inlined, as `.await` is. Otherwise the time to move the future through memory would be measured, too.
#[inline(always)]
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[inline(always)]
fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("permits are available"),
    }
}

fn current_thread_runtime() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().build().expect("the runtime starts")
}

fn bare_atomics() -> Runner {
    let counter = BareAtomics::default();
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                assert!(black_box(&counter).try_acquire());
                black_box(&counter).release();
            }
        })
    })
}

fn try_acquire<P: Peer>() -> Runner {
    let peer = leak::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(black_box(peer).try_acquire().expect("permits are available")));
            }
        })
    })
}

fn rejected<P: Peer>() -> Runner {
    let peer = leak::<P>(1);
    let held = peer.try_acquire().expect("permits are available");
    Box::new(move |times| {
        let _held = &held;
        timed(|| {
            for _ in 0..times {
                assert!(black_box(black_box(peer).try_acquire()).is_none());
            }
        })
    })
}

fn acquire_by_hand<P: Peer>() -> Runner {
    let peer = leak::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(P::permit(ready(black_box(peer).acquire()))));
            }
        })
    })
}

fn acquire_in_runtime<P: Peer>() -> Runner {
    let peer = leak::<P>(PERMITS);
    let runtime = current_thread_runtime();
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

fn acquire_owned<P: Owned>() -> Runner {
    let peer: &'static P = Box::leak(Box::new(P::new(PERMITS)));
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(P::permit(ready(black_box(peer).acquire()))));
            }
        })
    })
}

fn call_through_tower() -> Runner {
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

fn acquire_with_deadline<P: WithDeadline>() -> Runner {
    let peer = leak::<P>(PERMITS);
    let runtime = current_thread_runtime();
    Box::new(move |times| {
        timed(|| {
            runtime.block_on(async {
                for _ in 0..times {
                    let outcome = black_box(peer).acquire_with_deadline(Duration::from_millis(1)).await;
                    drop(black_box(P::permit_in_time(outcome).expect("permits are available")));
                }
            });
        })
    })
}

fn acquire_many<P: Weighted>() -> Runner {
    let peer = leak::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                drop(black_box(P::permit(ready(black_box(peer).acquire_many(8)))));
            }
        })
    })
}

/// Measures the time per operation of two threads that do the same. The thread that finishes first continues until the other has
/// finished, too.
///
/// On a busy machine both threads often take turns on one core, which looks like no contention. Such a run is repeated, and
/// after some attempts the result is [`NO_RUN`](harness::NO_RUN).
fn two_threads(times: u64, step: impl Fn() + Sync) -> Duration {
    let (ready, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let only_one_of_two = |count: &AtomicUsize| count.load(Ordering::Acquire) % 2 == 1;
    let run = || {
        // Both threads spin for a while first, so that the scheduler gives each of them a core.
        let settling = Instant::now();
        while settling.elapsed() < SETTLING_TIME {
            spin_loop();
        }
        ready.fetch_add(1, Ordering::AcqRel);
        while only_one_of_two(&ready) {
            spin_loop();
        }
        let (cpu_start, start) = (clock(ClockId::CLOCK_THREAD_CPUTIME_ID), Instant::now());
        (0..times).for_each(|_| step());
        let (wall, cpu) = (start.elapsed(), clock(ClockId::CLOCK_THREAD_CPUTIME_ID) - cpu_start);
        done.fetch_add(1, Ordering::AcqRel);
        while only_one_of_two(&done) {
            step();
        }
        (start, wall, cpu)
    };
    for _ in 0..ATTEMPTS {
        let (first, second) = thread::scope(|scope| {
            let second = scope.spawn(run);
            (run(), second.join().expect("the thread does not panic"))
        });
        let ((start, wall, _), (other_start, other_wall, _)) = (first, second);
        // At most a tenth of the time may be without contention: one thread had started alone, or was not on a core.
        let alone = start.max(other_start) - start.min(other_start);
        let was_contended = |(_, wall, cpu): (Instant, Duration, Duration)| {
            alone <= wall / 10 && wall.saturating_sub(cpu) <= wall / 10
        };
        if was_contended(first) && was_contended(second) {
            return (wall + other_wall) / 2;
        }
    }
    harness::NO_RUN
}

fn two_threads_bare_atomics() -> Runner {
    let counter = BareAtomics::default();
    Box::new(move |times| {
        two_threads(times, || {
            assert!(counter.try_acquire());
            counter.release();
        })
    })
}

fn two_threads_try<P: Peer>() -> Runner {
    let peer = leak::<P>(PERMITS);
    Box::new(move |times| {
        two_threads(times, || drop(black_box(peer.try_acquire().expect("permits are available"))))
    })
}

fn two_threads_acquire<P: Peer>() -> Runner {
    let peer = leak::<P>(PERMITS);
    Box::new(move |times| two_threads(times, || drop(black_box(P::permit(ready(peer.acquire()))))))
}

fn wait_cycle<P: Peer>() -> Runner {
    let peer = leak::<P>(1);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                let held = peer.try_acquire().expect("permits are available");
                let mut waiting = pin!(peer.acquire());
                assert!(poll(waiting.as_mut()).is_pending());
                drop(held);
                match poll(waiting) {
                    Poll::Ready(outcome) => drop(black_box(P::permit(outcome))),
                    Poll::Pending => panic!("the release admits the waiter"),
                }
            }
        })
    })
}

fn poll_again<P: Peer>() -> Runner {
    let peer = leak::<P>(1);
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("permits are available");
        let mut waiting = pin!(peer.acquire());
        assert!(poll(waiting.as_mut()).is_pending());
        timed(|| {
            for _ in 0..times {
                assert!(poll(black_box(waiting.as_mut())).is_pending());
            }
        })
    })
}

/// Runs tasks that each hold a permit across one yield, so that the other tasks wait meanwhile.
fn run_tasks<P: Peer>(runtime: &Runtime, peer: &'static P, acquisitions_each: u64) {
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                tokio::spawn(async move {
                    for _ in 0..acquisitions_each {
                        let permit = P::permit(peer.acquire().await);
                        yield_now().await;
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task does not panic");
        }
    });
}

fn two_workers() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("the runtime starts")
}

/// Returns the CPU time of the process. Only one contestant runs at a time.
fn cpu_time() -> Duration {
    clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: ClockId) -> Duration {
    clock_gettime(id).expect("Linux has this clock").into()
}

fn tasks_cpu_time<P: Peer>() -> Runner {
    let (peer, runtime) = (leak::<P>(2), two_workers());
    Box::new(move |times| {
        let start = cpu_time();
        run_tasks(&runtime, peer, times / TASKS);
        cpu_time() - start
    })
}

fn tasks_two_workers<P: Peer>() -> Runner {
    let (peer, runtime) = (leak::<P>(2), two_workers());
    Box::new(move |times| timed(|| run_tasks(&runtime, peer, times / TASKS)))
}

fn tasks_one_thread<P: Peer>() -> Runner {
    let (peer, runtime) = (leak::<P>(2), current_thread_runtime());
    Box::new(move |times| timed(|| run_tasks(&runtime, peer, times / TASKS)))
}

/// Returns the admissions of the task with the most, divided by those of the task with the fewest.
fn fairness_ratio<P: Peer>(runtime: &Runtime) -> f64 {
    let peer = leak::<P>(2);
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..TASKS).map(|_| AtomicU64::new(0)).collect());
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let permit = P::permit(peer.acquire().await);
                        let admissions = counts[task as usize].fetch_add(1, Ordering::Relaxed);
                        if admissions == 2000 {
                            stop.store(true, Ordering::Relaxed);
                        }
                        yield_now().await;
                        drop(permit);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task does not panic");
        }
    });
    let counts: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    *counts.iter().max().expect("there are tasks") as f64
        / *counts.iter().min().expect("there are tasks") as f64
}

/// Returns, for each semaphore, its name and its fairness ratio on one thread and on two workers.
pub fn all_fairness_ratios() -> Vec<(&'static str, f64, f64)> {
    fn of<P: Peer>() -> (&'static str, f64, f64) {
        (P::NAME, fairness_ratio::<P>(&current_thread_runtime()), fairness_ratio::<P>(&two_workers()))
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

/// Many waiting futures. Each has memory of its own that is reused, so that no allocation is measured.
struct Crowd<F> {
    slots: Vec<Pin<Box<Option<F>>>>,
}

impl<F: Future> Crowd<F> {
    fn new(size: u64) -> Self {
        Self { slots: (0..size).map(|_| Box::pin(None)).collect() }
    }

    fn fill(&mut self, mut acquire: impl FnMut() -> F) {
        for slot in &mut self.slots {
            slot.set(Some(acquire()));
        }
    }

    fn poll_all(&mut self) {
        for slot in &mut self.slots {
            assert!(poll(slot.as_mut().as_pin_mut().expect("the slot is filled")).is_pending());
        }
    }

    fn cancel_all(&mut self, order: &[usize]) {
        for index in order {
            self.slots[*index].set(None);
        }
    }
}

/// Returns the indices below `size` in a random order, which is the same in each run.
fn shuffled(size: u64) -> Vec<usize> {
    let mut order: Vec<_> = (0..size as usize).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) as usize % (last + 1));
    }
    order
}

fn enqueue<P: Peer>() -> Runner {
    let peer = leak::<P>(1);
    let mut crowd = Crowd::new(CROWD);
    let order = shuffled(CROWD);
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("permits are available");
        (0..times / CROWD)
            .map(|_| {
                crowd.fill(|| peer.acquire());
                let duration = timed(|| crowd.poll_all());
                crowd.cancel_all(&order);
                duration
            })
            .sum()
    })
}

fn drain<P: Peer>() -> Runner {
    let peer = leak::<P>(1);
    let mut crowd = Crowd::new(CROWD);
    Box::new(move |times| {
        (0..times / CROWD)
            .map(|_| {
                let held = peer.try_acquire().expect("permits are available");
                crowd.fill(|| peer.acquire());
                crowd.poll_all();
                timed(|| {
                    drop(held);
                    for slot in &mut crowd.slots {
                        match poll(slot.as_mut().as_pin_mut().expect("the slot is filled")) {
                            Poll::Ready(outcome) => drop(black_box(P::permit(outcome))),
                            Poll::Pending => panic!("the permit of the previous waiter is released"),
                        }
                    }
                })
            })
            .sum()
    })
}

fn cancel_crowd<P: Peer>(size: u64) -> Runner {
    let peer = leak::<P>(1);
    let mut crowd = Crowd::new(size);
    let order = shuffled(size);
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("permits are available");
        (0..times / size)
            .map(|_| {
                crowd.fill(|| peer.acquire());
                crowd.poll_all();
                timed(|| crowd.cancel_all(&order))
            })
            .sum()
    })
}

fn cancel<P: Peer>() -> Runner {
    cancel_crowd::<P>(CROWD)
}

fn cancel_large<P: Peer>() -> Runner {
    cancel_crowd::<P>(LARGE_CROWD)
}

fn resize_idle<P: Resizable>() -> Runner {
    let peer = leak::<P>(PERMITS);
    Box::new(move |times| {
        timed(|| {
            for _ in 0..times {
                black_box(peer).grow(PERMITS, 1);
                black_box(peer).shrink(PERMITS + 1, 1);
            }
        })
    })
}

fn resize_with_debt<P: Resizable>() -> Runner {
    let peer = leak::<P>(PERMITS);
    let held: Vec<_> = (0..PERMITS).map(|_| peer.try_acquire().expect("permits are available")).collect();
    let mut crowd = Crowd::new(1000);
    crowd.fill(|| peer.acquire());
    crowd.poll_all();
    Box::new(move |times| {
        let _held = (&held, &crowd.slots);
        timed(|| {
            for _ in 0..times {
                black_box(peer).shrink(PERMITS, PERMITS / 2);
                black_box(peer).grow(PERMITS / 2, PERMITS / 2);
            }
        })
    })
}

/// Measures CPU time, because the rest is the wait itself. Each task times out many times, so that the time to spawn it matters
/// little.
fn time_out<P: WithDeadline>() -> Runner {
    let peer = leak::<P>(1);
    let runtime = current_thread_runtime();
    Box::new(move |times| {
        let _held = peer.try_acquire().expect("permits are available");
        let start = cpu_time();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..TIMED_OUT_TASKS)
                .map(|_| {
                    tokio::spawn(async move {
                        for _ in 0..times / TIMED_OUT_TASKS {
                            let outcome = peer.acquire_with_deadline(Duration::from_millis(1)).await;
                            assert!(P::permit_in_time(outcome).is_none());
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("the task does not panic");
            }
        });
        cpu_time() - start
    })
}

/// Returns, for each semaphore, its name and the bytes of its futures: borrowed, owned, and with a deadline.
pub fn future_sizes() -> Vec<(&'static str, usize, usize, usize)> {
    fn of<P: WithDeadline, O: Owned>() -> (&'static str, usize, usize, usize) {
        let (peer, owned) = (leak::<P>(1), O::new(1));
        (
            P::NAME,
            size_of_val(&peer.acquire()),
            size_of_val(&owned.acquire()),
            size_of_val(&peer.acquire_with_deadline(Duration::ZERO)),
        )
    }
    let runtime = current_thread_runtime();
    let _entered = runtime.enter();
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
