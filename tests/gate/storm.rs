//! Many tasks on real threads at one gate whose limit changes all the time, with cancellations and panics.
//!
//! The expected values are counted outside the gate: the tasks count the permits in use, and the task that
//! changes the limit publishes how many are allowed.

use std::future::{Future, poll_fn};
use std::panic;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, Gate};
use tokio::task::yield_now;

use crate::support::gate;

const TASKS: u64 = 64;
const RESIZES: u32 = 2000;
const TOP_LIMIT: u32 = 12;

/// Permits in use never exceed the limit and its debt, no permit is lost, and no debt is left at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_loses_no_permit_and_admits_no_request_too_many() {
    let gate = gate(TOP_LIMIT);
    let oracle = Arc::new(Oracle::default());
    oracle.allow(TOP_LIMIT);
    let tasks: Vec<_> = (1..=TASKS)
        .map(|seed| {
            let random = Random(seed.wrapping_mul(SEED_STEP));
            tokio::spawn(make_requests(gate.clone(), Arc::clone(&oracle), random))
        })
        .collect();

    tokio::spawn(change_limits(gate.clone(), Arc::clone(&oracle))).await.unwrap();
    oracle.allow(TOP_LIMIT);
    gate.resize(Limit::new(TOP_LIMIT));
    oracle.stop.store(true, SeqCst);
    let mut panics = 0;
    for task in tasks {
        panics += task.await.unwrap();
    }

    let violations = oracle.violations.load(SeqCst);
    assert_eq!((violations, oracle.in_use.load(SeqCst)), (0, 0), "more permits in use than allowed");
    let status = gate.status();
    assert_eq!((status.in_use, status.available, status.debt, status.waiting), (0, TOP_LIMIT, 0, 0));
    let queue = status.totals.queue;
    assert_eq!(queue.enqueued, queue.admitted + queue.cancelled + queue.expired + queue.too_large);
    assert!(
        status.waits.count().abs_diff(queue.admitted) <= queue.admitted / 10,
        "waits are sampled, and the samples are weighted to stand for all"
    );
    assert_eq!(status.totals.admitted - queue.abandoned, oracle.admitted.load(SeqCst));
    let coverage = [panics, oracle.checks.load(SeqCst), queue.cancelled, queue.too_large];
    assert!(!coverage.contains(&0), "an outcome never occurred: {coverage:?}");
    assert!(gate.try_acquire_many(TOP_LIMIT).is_ok());
}

/// What the tasks count outside the gate.
#[derive(Default)]
struct Oracle {
    in_use: AtomicU32,
    /// The number of permits that may be in use, in the low 32 bits. The high 32 bits count its changes, so
    /// that equal values mean that it did not change in between.
    allowed: AtomicU64,
    violations: AtomicU64,
    checks: AtomicU64,
    admitted: AtomicU64,
    stop: AtomicBool,
}

impl Oracle {
    fn allow(&self, permits: u32) {
        let changes = self.allowed.load(SeqCst) >> 32;
        self.allowed.store((changes + 1) << 32 | u64::from(permits), SeqCst);
    }

    /// Counts an admission, and checks the permits in use if the allowed number does not change meanwhile.
    fn admit(self: &Arc<Self>, weight: u32) -> CountedPermit {
        self.admitted.fetch_add(1, SeqCst);
        let allowed = self.allowed.load(SeqCst);
        let in_use = self.in_use.fetch_add(weight, SeqCst) + weight;
        if allowed == self.allowed.load(SeqCst) {
            self.checks.fetch_add(1, SeqCst);
            let is_violated = u64::from(in_use) > allowed & u64::from(u32::MAX);
            self.violations.fetch_add(u64::from(is_violated), SeqCst);
        }
        CountedPermit(Arc::clone(self), weight)
    }

    async fn work(self: Arc<Self>, weight: u32, yields: u32) {
        let _counted = self.admit(weight);
        for _ in 0..yields {
            yield_now().await;
        }
    }

    async fn panicking_work(self: Arc<Self>, weight: u32) {
        let _counted = self.admit(weight);
        yield_now().await;
        panic::resume_unwind(Box::new("in the storm")) // does not run the panic hook
    }
}

/// Counts its weight as in use until it is dropped.
struct CountedPermit(Arc<Oracle>, u32);

impl Drop for CountedPermit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(self.1, SeqCst);
    }
}

/// Sets one limit after another. Between two changes the tasks make progress.
async fn change_limits(gate: Gate, oracle: Arc<Oracle>) {
    let mut random = Random(SEED_STEP);
    let mut allowed = TOP_LIMIT;
    for _ in 0..RESIZES {
        let limit = 1 + random.below(TOP_LIMIT);
        // The allowed number rises before the limit does. It falls only when the debt is paid.
        allowed = allowed.max(limit);
        oracle.allow(allowed);
        gate.resize(Limit::new(limit));
        let status = gate.status();
        assert_eq!(status.in_use + status.available, limit + status.debt, "{status:?}");
        assert!(status.in_use <= allowed, "{status:?}");
        if status.debt == 0 {
            allowed = limit;
            oracle.allow(allowed);
        }
        let next = oracle.admitted.load(SeqCst) + u64::from(random.below(64));
        while oracle.admitted.load(SeqCst) < next {
            yield_now().await;
        }
    }
}

/// Makes requests in every way that a gate offers until it has to stop. Returns the number of panics.
async fn make_requests(gate: Gate, oracle: Arc<Oracle>, mut random: Random) -> u64 {
    let mut panics = 0;
    while !oracle.stop.load(SeqCst) {
        let weight = if random.below(3) == 0 { 1 + random.below(4) } else { 1 };
        let work = Arc::clone(&oracle).work(weight, random.below(3));
        let request = gate.request().weight(weight);
        match random.below(64) {
            0 => {
                let (gate, work) = (gate.clone(), Arc::clone(&oracle).panicking_work(weight));
                let panicking = tokio::spawn(async move { gate.request().weight(weight).run(work).await });
                panics += u64::from(panicking.await.is_err());
            }
            1..=4 => {
                let oracle = Arc::clone(&oracle);
                assert_expected(request.run_blocking(move || drop(oracle.admit(weight))).await);
            }
            5..=15 => cancel_after(random.below(4), request.run(work)).await,
            16..=23 => {
                let max_wait = Duration::from_micros(random.below(2000).into());
                assert_expected(request.max_wait(max_wait).run(work).await);
            }
            24..=31 => {
                if let Ok(_permit) = request.try_acquire_owned() {
                    work.await;
                }
            }
            _ => assert_expected(request.run(work).await),
        }
    }
    panics
}

/// Asserts that a request was admitted, expired, or ended by a lowered limit.
fn assert_expected(outcome: Result<(), AcquireError>) {
    match outcome {
        Ok(()) | Err(AcquireError::DeadlineExceeded { .. } | AcquireError::TooLarge { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Polls a future a number of times, and drops it whatever it has reached.
async fn cancel_after(polls: u32, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return;
        }
        yield_now().await;
    }
}

/// An xorshift64 generator, so that each run makes the same requests as far as the threads allow.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % end
    }
}

/// 2^64 divided by the golden ratio: its multiples are seeds that are far apart.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;
