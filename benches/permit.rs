//! What a permit costs, each operation beside `tokio::sync::Semaphore` in the same run.
//!
//! tokio is built here without its `parking_lot` feature, as the crate depends on it; with it, tokio's own figures on
//! two threads differ. Two-thread figures are nanoseconds per operation of either thread.

#![expect(clippy::unwrap_used, reason = "a permit that is not to be had ends the run")]

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
    group.bench_function("gate", |bencher| bencher.iter(|| drop(black_box(now(gate.acquire()).unwrap()))));
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(now(semaphore.acquire()).unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire_owned");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| drop(black_box(now(gate.acquire_owned()).unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(now(Arc::clone(&semaphore).acquire_owned()).unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire_many(8)");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| drop(black_box(now(gate.acquire_many(8)).unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| drop(black_box(now(semaphore.acquire_many(8)).unwrap())));
    });
    group.finish();
}

/// The same with a second thread doing the same to the same gate all the while; there is room for both.
fn contended(criterion: &mut Criterion) {
    let (gate, semaphore) = (gate(), semaphore());

    let mut group = criterion.benchmark_group("try_acquire, two threads");
    group.bench_function("gate", |bencher| {
        with_rival(bencher, || drop(black_box(gate.try_acquire().unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        with_rival(bencher, || drop(black_box(semaphore.try_acquire().unwrap())));
    });
    group.finish();

    let mut group = criterion.benchmark_group("acquire, two threads");
    group.bench_function("gate", |bencher| {
        with_rival(bencher, || drop(black_box(now(gate.acquire()).unwrap())));
    });
    group.bench_function("tokio", |bencher| {
        with_rival(bencher, || drop(black_box(now(semaphore.acquire()).unwrap())));
    });
    group.finish();
}

/// A wait from end to end by hand, without a scheduler: join the line, be handed a permit, resume, give it back.
fn waiting(criterion: &mut Criterion) {
    let (gate, semaphore) = (Gate::new(GateName::new("bench"), Limit::MIN), Semaphore::new(1));

    let mut group = criterion.benchmark_group("wait handoff");
    group.bench_function("gate", |bencher| {
        bencher.iter(|| {
            let held = gate.try_acquire().unwrap();
            let mut next = pin!(gate.acquire());
            assert!(poll(next.as_mut()).is_pending());
            drop(held);
            assert!(poll(next).is_ready());
        });
    });
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| {
            let held = semaphore.try_acquire().unwrap();
            let mut next = pin!(semaphore.acquire());
            assert!(poll(next.as_mut()).is_pending());
            drop(held);
            assert!(poll(next).is_ready());
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("poll again while waiting");
    group.bench_function("gate", |bencher| {
        let _held = gate.try_acquire().unwrap();
        let mut next = pin!(gate.acquire());
        bencher.iter(|| assert!(poll(next.as_mut()).is_pending()));
    });
    group.bench_function("tokio", |bencher| {
        let _held = semaphore.try_acquire().unwrap();
        let mut next = pin!(semaphore.acquire());
        bencher.iter(|| assert!(poll(next.as_mut()).is_pending()));
    });
    group.finish();
}

fn resizing(criterion: &mut Criterion) {
    let (gate, semaphore) = (gate(), semaphore());
    let mut group = criterion.benchmark_group("grow and shrink, idle");
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

fn with_rival(bencher: &mut Bencher<'_>, operation: impl Fn() + Sync) {
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

fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("there is room"),
    }
}
