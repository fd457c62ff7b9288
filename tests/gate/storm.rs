//! Many tasks on real threads over one gate whose limit never rests, with cancellations and panics among them.
//!
//! What is compared is counted outside the gate: work in flight by the tasks, what is allowed by the one who resizes.

use std::future::{Future, poll_fn};
use std::panic;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate};
use concurrency_governor::{GateName, Limit};
use tokio::task::yield_now;

const TASKS: u64 = 64;
const RESIZES: u32 = 2000;
const TOP: u32 = 12;

/// Never more in flight than the limit and the debt in force, no permit lost, and no debt in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_loses_nothing_and_admits_no_more_than_it_may() {
    let gate = Gate::new(GateName::new("storm"), Limit::new(TOP));
    let flight = Arc::new(Flight::default());
    flight.allow(TOP);
    let flyers: Vec<_> = (1..=TASKS)
        .map(|seed| tokio::spawn(fly_on(gate.clone(), Arc::clone(&flight), Dice(seed.wrapping_mul(GOLDEN)))))
        .collect();

    tokio::spawn(resize_on(gate.clone(), Arc::clone(&flight))).await.unwrap();
    flight.allow(TOP);
    gate.resize(Limit::new(TOP));
    flight.landing.store(true, SeqCst);
    let mut panics = 0;
    for flyer in flyers {
        panics += flyer.await.unwrap();
    }

    assert_eq!((flight.over.load(SeqCst), flight.now.load(SeqCst)), (0, 0), "more in flight than allowed");
    let status = gate.status();
    assert_eq!((status.in_use, status.available, status.debt, status.waiting), (0, TOP, 0, 0));
    let queue = status.totals.queue;
    assert_eq!(queue.enqueued, queue.admitted + queue.cancelled + queue.expired + queue.too_large);
    assert!(
        status.waits.count().abs_diff(queue.admitted) <= queue.admitted / 10,
        "sampled, but all stood for"
    );
    assert_eq!(status.totals.admitted - queue.unclaimed, flight.admitted.load(SeqCst));
    let seen = [panics, flight.judged.load(SeqCst), queue.cancelled, queue.too_large];
    assert!(!seen.contains(&0), "no storm: {seen:?}");
    assert!(gate.try_acquire_many(TOP).is_ok());
}

/// What is counted outside the gate.
#[derive(Default)]
struct Flight {
    now: AtomicU32,
    /// What may be in flight, below a count of how often that changed.
    allowed: AtomicU64,
    over: AtomicU64,
    judged: AtomicU64,
    admitted: AtomicU64,
    landing: AtomicBool,
}

impl Flight {
    fn allow(&self, allowed: u32) {
        let changes = self.allowed.load(SeqCst) >> 32;
        self.allowed.store((changes + 1) << 32 | u64::from(allowed), SeqCst);
    }

    /// Counts work in, and judges if what is allowed stayed the same meanwhile.
    fn take_off(self: &Arc<Self>, weight: u32) -> Airborne {
        self.admitted.fetch_add(1, SeqCst);
        let allowed = self.allowed.load(SeqCst);
        let now = self.now.fetch_add(weight, SeqCst) + weight;
        if allowed == self.allowed.load(SeqCst) {
            self.judged.fetch_add(1, SeqCst);
            self.over.fetch_add(u64::from(u64::from(now) > allowed & u64::from(u32::MAX)), SeqCst);
        }
        Airborne(Arc::clone(self), weight)
    }

    async fn fly(self: Arc<Self>, weight: u32, pauses: u32) {
        let _airborne = self.take_off(weight);
        for _ in 0..pauses {
            yield_now().await;
        }
    }

    async fn crash(self: Arc<Self>, weight: u32) {
        let _airborne = self.take_off(weight);
        yield_now().await;
        panic::resume_unwind(Box::new("thunder")) // a panic without the noise of its message
    }
}

struct Airborne(Arc<Flight>, u32);

impl Drop for Airborne {
    fn drop(&mut self) {
        self.0.now.fetch_sub(self.1, SeqCst);
    }
}

/// Sets one limit after another, and lets the flyers get to see each.
async fn resize_on(gate: Gate, flight: Arc<Flight>) {
    let mut dice = Dice(GOLDEN);
    let mut allowed = TOP;
    for _ in 0..RESIZES {
        let limit = 1 + dice.below(TOP);
        // What may be out rises before the limit does, and falls only once no more is out than the new limit allows.
        allowed = allowed.max(limit);
        flight.allow(allowed);
        gate.resize(Limit::new(limit));
        let status = gate.status();
        assert_eq!(status.in_use + status.available, limit + status.debt, "{status:?}");
        assert!(status.in_use <= allowed, "{status:?}");
        if status.debt == 0 {
            allowed = limit;
            flight.allow(allowed);
        }
        let next = flight.admitted.load(SeqCst) + u64::from(dice.below(64));
        while flight.admitted.load(SeqCst) < next {
            yield_now().await;
        }
    }
}

/// One task: flies in every way a gate offers until it is told to land; gives the number of its crashes.
async fn fly_on(gate: Gate, flight: Arc<Flight>, mut dice: Dice) -> u64 {
    let mut crashes = 0;
    while !flight.landing.load(SeqCst) {
        let weight = if dice.below(3) == 0 { 1 + dice.below(4) } else { 1 };
        let flying = Arc::clone(&flight).fly(weight, dice.below(3));
        let request = gate.request().weight(weight);
        match dice.below(64) {
            0 => {
                let (gate, crash) = (gate.clone(), Arc::clone(&flight).crash(weight));
                let crashing = tokio::spawn(async move { gate.request().weight(weight).run(crash).await });
                crashes += u64::from(crashing.await.is_err());
            }
            1..=4 => {
                let flight = Arc::clone(&flight);
                landed(request.run_blocking(move || drop(flight.take_off(weight))).await);
            }
            5..=15 => give_up_after(dice.below(4), request.run(flying)).await,
            16..=23 => {
                landed(request.max_wait(Duration::from_micros(dice.below(2000).into())).run(flying).await);
            }
            24..=31 => {
                if let Ok(_permit) = request.try_acquire_owned() {
                    flying.await;
                }
            }
            _ => landed(request.run(flying).await),
        }
    }
    crashes
}

fn landed(result: Result<(), AcquireError>) {
    match result {
        Ok(()) | Err(AcquireError::DeadlineExceeded { .. } | AcquireError::TooLarge { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Polls a few times, wherever that gets it, and drops it.
async fn give_up_after(polls: u32, future: impl Future) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return;
        }
        yield_now().await;
    }
}

/// The same storm every time, as far as threads allow (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).unwrap() % end
    }
}

/// 2^64 / phi: seeds far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
