//! The pool against its oracle: random runs, and everything checked after each step.
//!
//! Runs are numbered, and a number says all of it: what fails says how to take that run again. `POOL_MODEL_RUNS` says how
//! many, `POOL_MODEL_FIRST` with which to begin.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "this is a test"
)]

#[path = "model/pool.rs"]
mod model;

use std::env;
use std::thread;
use std::time::Instant;

use model::Seen;

/// A pool does what its oracle says, step by step, whatever the steps.
#[test]
fn random_steps_follow_the_oracle() {
    if let Some(run) = number("POOL_MODEL_RUN") {
        model::drive(run, &mut Seen::default(), true);
        return;
    }
    let runs = number("POOL_MODEL_RUNS").unwrap_or(2000);
    let first = number("POOL_MODEL_FIRST").unwrap_or(1);
    let threads = thread::available_parallelism().unwrap().get() as u64;
    let begun = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|nth| {
            thread::spawn(move || {
                let mut seen = Seen::default();
                for run in (first + nth..first + runs).step_by(usize::try_from(threads).unwrap()) {
                    let tells = TellsWhich(run);
                    model::drive(run, &mut seen, false);
                    drop(tells);
                }
                seen
            })
        })
        .collect();
    let mut seen = Seen::default();
    for worker in workers {
        seen.add(&worker.join().expect("the pool differs from its oracle; see above"));
    }
    eprintln!("{seen:#?}");
    eprintln!("pool model: {} steps in {runs} runs from run {first} on, {:.1?}", seen.steps, begun.elapsed());
    let rare = seen.rarer_than(runs / 100);
    assert!(rare.is_empty(), "the steps hardly ever get to: {rare:?}");
}

/// Says which run it was that did not end well.
struct TellsWhich(u64);

impl Drop for TellsWhich {
    fn drop(&mut self) {
        if thread::panicking() {
            let run = self.0;
            eprintln!("this was run {run}: POOL_MODEL_RUN={run} cargo test --test pool_model");
        }
    }
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} takes a whole number, not `{text}`")))
}
