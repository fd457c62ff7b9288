//! The cost of a permit. Each operation runs beside the same operation of `tokio::sync::Semaphore`.
//!
//! tokio is built without its `parking_lot` feature, as this crate depends on it; that feature changes tokio's results with two
//! threads. The results of two threads are nanoseconds per operation of one of them.

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::feedback::{self, Aimd, Band, Feedback, Latency, Outcome, Rule, Window};
use concurrency_governor::gate::OwnedPermit;
use concurrency_governor::{Formula, Gate, GateName, GateSpec, Governor, Holders, Limit};
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

criterion_group!(benches, uncontended, contended, waiting, resizing, holders, window_steps);
criterion_main!(benches);

const PERMITS: u32 = 64;

fn gate() -> Gate {
    Gate::new(GateName::new("bench"), Limit::new(PERMITS))
}

fn semaphore() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(64))
}

fn uncontended(criterion: &mut Criterion) {
    let (gate, semaphore) = (gate(), semaphore());

    let mut group = criterion.benchmark_group("try_acquire");
    group.bench_function("gate", |bencher| bencher.iter(|| drop(black_box(gate.try_acquire().unwrap()))));
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(semaphore.try_acquire().unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire");
    group.bench_function("gate", |bencher| bencher.iter(|| drop(black_box(ready(gate.acquire()).unwrap()))));
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(ready(semaphore.acquire()).unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire_owned");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| drop(black_box(ready(gate.acquire_owned()).unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(ready(Arc::clone(&semaphore).acquire_owned()).unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire_many(8)");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| drop(black_box(ready(gate.acquire_many(8)).unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(ready(semaphore.acquire_many(8)).unwrap())));
    });
    group.finish();
}

/// A gate that tracks its holders, and the diagnosis of 10 000 of them.
fn holders(criterion: &mut Criterion) {
    const HOLDERS: u32 = 10_000;
    const TRACKED: Holders = Holders::overdue_after(Duration::from_secs(30));
    const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(HOLDERS as u64)).track_holders(TRACKED);
    let gate = Gate::builder(GateName::new("bench"), Limit::new(PERMITS)).track_holders(TRACKED).build();
    let mut group = criterion.benchmark_group("holders");
    group.bench_function("acquire", |bencher| {
        bencher.iter(|| drop(black_box(ready(gate.acquire()).unwrap())));
    });

    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let governor = runtime.block_on(Governor::builder().gate(JOBS).build()).unwrap();
    let jobs = governor.gate(JOBS).unwrap();
    let permits: Vec<OwnedPermit> = (0..HOLDERS).map(|_| jobs.try_acquire_owned().unwrap()).collect();
    for (number, permit) in permits.iter().enumerate() {
        permit.label(["upload", "download", "thumbnail", "search"][number % 4]);
    }
    group.bench_function("diagnose 10 000", |bencher| bencher.iter(|| black_box(governor.diagnose())));
    group.bench_function("status with 10 000", |bencher| bencher.iter(|| black_box(jobs.status())));
    group.finish();
}

/// The decision of each rule at the end of a window with as many samples as a window keeps. The time to record them is not measured.
fn window_steps(criterion: &mut Criterion) {
    let band = Band::new(Limit::new(4), Limit::new(1000));
    let step = |bencher: &mut Bencher<'_>, make_rule: fn() -> Box<dyn Rule>| {
        bencher.iter_custom(|times| {
            let mut feedback = Feedback::new(make_rule(), Limit::new(16), band, Duration::ZERO);
            let steps = (1..=times).map(|second| {
                for sample in 0..Window::MAX_SAMPLES as u64 {
                    let spread = sample.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52; // 0 to 4095
                    feedback.record(Duration::from_micros(spread), Outcome::Success);
                }
                feedback.record_in_flight(16, 1);
                let start = Instant::now();
                assert!(black_box(feedback.step(Duration::from_secs(second))).is_some());
                start.elapsed()
            });
            steps.sum()
        });
    };
    let mut group = criterion.benchmark_group("window step");
    group.bench_function("latency", |bencher| step(bencher, || Box::new(Latency::new())));
    group.bench_function("arc", |bencher| step(bencher, || Box::new(feedback::Arc::new())));
    let aimd = || Box::new(Aimd::new(Duration::from_millis(50))) as Box<dyn Rule>;
    group.bench_function("aimd", |bencher| step(bencher, aimd));
    group.finish();
}

/// Measures one thread while a second thread does the same at the same gate. There are enough permits for both.
fn contended(criterion: &mut Criterion) {
    let (gate, semaphore) = (gate(), semaphore());

    let mut group = criterion.benchmark_group("try_acquire, two threads");
    group.bench_function("gate", |bencher| {
        with_second_thread(bencher, || drop(black_box(gate.try_acquire().unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        with_second_thread(bencher, || drop(black_box(semaphore.try_acquire().unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire, two threads");
    group.bench_function("gate", |bencher| {
        with_second_thread(bencher, || drop(black_box(ready(gate.acquire()).unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        with_second_thread(bencher, || drop(black_box(ready(semaphore.acquire()).unwrap())));
    });
    group.finish();
}

/// Measures a whole wait, polled by hand without a scheduler: enqueue, release the permit, resume, drop.
fn waiting(criterion: &mut Criterion) {
    let (gate, semaphore) = (Gate::new(GateName::new("bench"), Limit::MIN), Semaphore::new(1));

    let mut group = criterion.benchmark_group("wait cycle");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| {
            let held = gate.try_acquire().unwrap();
            let mut waiting = pin!(gate.acquire());
            assert!(poll(waiting.as_mut()).is_pending());
            drop(held);
            assert!(poll(waiting).is_ready());
        });
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| {
            let held = semaphore.try_acquire().unwrap();
            let mut waiting = pin!(semaphore.acquire());
            assert!(poll(waiting.as_mut()).is_pending());
            drop(held);
            assert!(poll(waiting).is_ready());
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("poll again while waiting");
    group.bench_function("gate", |bencher| {
        let _held = gate.try_acquire().unwrap();
        let mut waiting = pin!(gate.acquire());
        bencher.iter(|| assert!(poll(waiting.as_mut()).is_pending()));
    });
    group.bench_function("tokio", |bencher| {
        let _held = semaphore.try_acquire().unwrap();
        let mut waiting = pin!(semaphore.acquire());
        bencher.iter(|| assert!(poll(waiting.as_mut()).is_pending()));
    });
    group.finish();
}

fn resizing(criterion: &mut Criterion) {
    let (gate, semaphore) = (gate(), semaphore());
    let mut group = criterion.benchmark_group("raise and lower the limit, idle");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| {
            gate.resize(Limit::new(PERMITS + 1));
            gate.resize(Limit::new(PERMITS))
        });
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| {
            semaphore.add_permits(1);
            semaphore.forget_permits(1)
        });
    });
    group.finish();
}

fn with_second_thread(bencher: &mut Bencher<'_>, operation: impl Fn() + Sync) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                operation();
            }
        });
        bencher.iter(&operation);
        stop.store(true, Ordering::Relaxed);
    });
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("permits are available"),
    }
}
