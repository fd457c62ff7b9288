//! A day of several gates in virtual time: crowds by day and quiet by night, limits that follow, callers who wait, give up,
//! are late or are dropped in the middle of their work.
//!
//! `GATE_SOAK_SEED` picks another day. All that happens goes into a trace, with the instant and with how long each has
//! waited; a seed gives the same trace every time. The books are checked every virtual minute, by what the callers
//! have counted themselves.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

#[path = "soak/day.rs"]
mod day;
#[path = "soak/lane.rs"]
mod lane;

use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use day::{DAY, Day, Dice, GOLDEN, Trace};
use lane::{Lane, Profile};

/// A day is as long as it should be, balances every minute, and goes the same way whenever its seed is the same.
#[test]
fn a_day_balances_and_can_be_had_again() {
    let seed = env::var("GATE_SOAK_SEED").map_or(1, |seed| seed.parse().unwrap());
    let began = std::time::Instant::now();
    let Outcome { trace, events, acquisitions } = live(seed);
    eprintln!(
        "soak: 24 h from seed {seed}: {acquisitions} acquisitions, {events} events, trace {trace:016x}, {:.1?}",
        began.elapsed()
    );
    assert_eq!(live(seed).trace, trace, "the same seed, and another day");
    assert_ne!(live(seed + 1).trace, trace, "another seed, and the same day");
}

/// What came of a day.
struct Outcome {
    trace: u64,
    events: u64,
    acquisitions: u64,
}

fn live(seed: u64) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async move {
        let day = Arc::new(Day { start: Instant::now(), trace: Mutex::new(Trace::default()) });
        let lanes = PROFILES.map(|profile| Arc::new(Lane::new(profile, Arc::clone(&day))));
        let mut tasks = Vec::new();
        for (lane, nth) in lanes.iter().zip(1..) {
            let dice =
                |stream: u64| Dice((seed ^ (nth * 8 + stream).wrapping_mul(GOLDEN)).wrapping_mul(GOLDEN) | 1);
            tasks.push(tokio::spawn(Arc::clone(lane).arrive_all_day(dice(1))));
            tasks.push(tokio::spawn(Arc::clone(lane).resize_all_day(dice(2))));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let mut acquisitions = 0;
        for lane in &lanes {
            acquisitions += lane.end().await;
        }
        assert!(day.start.elapsed() >= DAY);
        assert!(acquisitions >= 100_000, "a quiet day: {acquisitions}");
        let Trace { hash, events } = *day.trace.lock().unwrap();
        Outcome { trace: hash, events, acquisitions }
    })
}

const PROFILES: [Profile; 3] = [
    Profile {
        name: "io",
        limits: [4, 16],
        every: 500,
        work: 6000,
        heaviest: 3,
        queue: usize::MAX,
        max_wait: Duration::from_secs(600),
    },
    Profile {
        name: "blocking",
        limits: [1, 4],
        every: 3000,
        work: 10_000,
        heaviest: 1,
        queue: usize::MAX,
        max_wait: Duration::from_secs(3600),
    },
    Profile {
        name: "pool",
        limits: [6, 24],
        every: 1500,
        work: 9000,
        heaviest: 12,
        queue: 20,
        max_wait: Duration::from_secs(20),
    },
];
