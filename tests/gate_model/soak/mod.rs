//! A day of several gates in simulated time. The load follows the time of day, and so do the limits. Callers
//! wait, cancel, reach their deadline, or are aborted while they work.
//!
//! Every event goes into a trace with its instant and its wait. The same seed always gives the same trace;
//! `GATE_SOAK_SEED` selects another day. Every virtual minute, the status of each gate is compared with what
//! its callers have counted.

mod day;
mod workload;

use std::env;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as RealInstant};

use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::runner::GOLDEN_RATIO;
use day::{DAY, EventTrace, Rng, VirtualDay};
use workload::{Workload, WorkloadProfile};

/// The status of every gate balances in every minute of a day, and the same seed gives the same day.
#[test]
fn a_day_balances_and_is_reproducible() {
    let seed = env::var("GATE_SOAK_SEED").map_or(1, |seed| seed.parse().unwrap());
    let started = RealInstant::now();
    let DayOutcome { trace, events, acquisitions } = run_day(seed);
    eprintln!(
        "soak: 24 h from seed {seed}: {acquisitions} acquisitions, {events} events, trace {trace:016x}, {:.1?}",
        started.elapsed()
    );
    assert_eq!(run_day(seed).trace, trace, "the same seed gives another day");
    assert_ne!(run_day(seed + 1).trace, trace, "another seed gives the same day");
}

/// The result of a day.
struct DayOutcome {
    /// The hash of all events.
    trace: u64,
    events: u64,
    acquisitions: u64,
}

fn run_day(seed: u64) -> DayOutcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let day = Arc::new(VirtualDay { start: Instant::now(), trace: Mutex::new(EventTrace::default()) });
        let workloads = PROFILES.map(|profile| Arc::new(Workload::new(profile, Arc::clone(&day))));
        let mut tasks = Vec::new();
        for (workload, number) in workloads.iter().zip(1..) {
            let rng = |stream: u64| Rng::new(seed ^ (number * 8 + stream).wrapping_mul(GOLDEN_RATIO));
            tasks.push(tokio::spawn(Arc::clone(workload).spawn_callers_all_day(rng(1))));
            tasks.push(tokio::spawn(Arc::clone(workload).resize_all_day(rng(2))));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mut acquisitions = 0;
        for workload in &workloads {
            acquisitions += workload.finish().await;
        }
        assert!(day.start.elapsed() >= DAY);
        assert!(acquisitions >= 100_000, "too few acquisitions for a day: {acquisitions}");
        let EventTrace { hash, events } = *day.trace.lock().unwrap();
        DayOutcome { trace: hash, events, acquisitions }
    })
}

const PROFILES: [WorkloadProfile; 3] = [
    WorkloadProfile {
        name: "io",
        limits: [4, 16],
        mean_interval: 500,
        mean_work: 6000,
        max_weight: 3,
        queue_bound: usize::MAX,
        max_wait: Duration::from_secs(600),
    },
    WorkloadProfile {
        name: "blocking",
        limits: [1, 4],
        mean_interval: 3000,
        mean_work: 10_000,
        max_weight: 1,
        queue_bound: usize::MAX,
        max_wait: Duration::from_secs(3600),
    },
    WorkloadProfile {
        name: "pool",
        limits: [6, 24],
        mean_interval: 1500,
        mean_work: 9000,
        max_weight: 12,
        queue_bound: 20,
        max_wait: Duration::from_secs(20),
    },
];
