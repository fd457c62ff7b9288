//! The cost of a permit. Each operation runs beside the same operation of `tokio::sync::Semaphore`.
//!
//! tokio is built without its `parking_lot` feature, as this crate depends on it; that feature changes tokio's results with two
//! threads. The results of two threads are nanoseconds per operation of either thread.

#![expect(clippy::unwrap_used, reason = "a panic is how a benchmark fails")]

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use concurrency_governor::{Gate, GateName, Limit};
use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use tokio::sync::Semaphore;

criterion_group!(benches, uncontended, contended, waiting, resizing);
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
