//! The pool against an oracle: random runs, with every promise checked after each step.
//!
//! A run is determined by its number. A failure prints the number and the command that repeats the run. `POOL_MODEL_RUNS`
//! sets how many runs are taken, `POOL_MODEL_FIRST` the number of the first one, and `POOL_MODEL_RUN` repeats a single run of
//! each model. The model of one pool then prints each of its steps.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a panic is how a test fails, and progress is printed for a person"
)]

mod checks;
mod group;
mod manager;
mod model;
mod random;
mod steps;

use std::env;
use std::thread;
use std::time::Instant;

use manager::{Coverage, REQUIRED_SITUATIONS, REQUIRED_SITUATIONS_OF_GROUPS};

/// In random runs, the pool does what its oracle expects at every step.
#[test]
fn random_steps_follow_the_oracle() {
    if let Some(run) = number_from_env("POOL_MODEL_RUN") {
        model::take_run(run, &mut Coverage::default(), true);
        return;
    }
    take_runs("pool model", &REQUIRED_SITUATIONS, |run, coverage| model::take_run(run, coverage, false));
}

/// In random runs, the pools of a group do what their oracle expects at every step.
#[test]
fn random_steps_of_a_group_follow_the_oracle() {
    if let Some(run) = number_from_env("POOL_MODEL_RUN") {
        group::take_run(run, &mut Coverage::default());
        return;
    }
    take_runs("group model", &REQUIRED_SITUATIONS_OF_GROUPS, group::take_run);
}

/// Takes the runs on all cores, and asserts that they reach the required situations.
fn take_runs(
    name: &str,
    required: &[&'static str],
    take_run: impl Fn(u64, &mut Coverage) + Copy + Send + 'static,
) {
    let runs = number_from_env("POOL_MODEL_RUNS").unwrap_or(2000);
    let first = number_from_env("POOL_MODEL_FIRST").unwrap_or(1);
    let threads = thread::available_parallelism().unwrap().get() as u64;
    let began = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|nth| {
            thread::spawn(move || {
                let mut coverage = Coverage::default();
                for run in (first + nth..first + runs).step_by(usize::try_from(threads).unwrap()) {
                    let report = ReportFailedRun(run);
                    take_run(run, &mut coverage);
                    drop(report);
                }
                coverage
            })
        })
        .collect();
    let mut coverage = Coverage::default();
    for worker in workers {
        coverage.add(&worker.join().expect("the pool differs from its oracle; see above"));
    }
    eprintln!("{coverage:#?}");
    eprintln!("{name}: {} steps in {runs} runs from run {first}, {:.1?}", coverage.steps, began.elapsed());
    let rare = coverage.rarer_than(runs / 100, required);
    assert!(rare.is_empty(), "the random steps hardly reach these situations: {rare:?}");
}

/// Prints how to repeat the run if it panics.
struct ReportFailedRun(u64);

impl Drop for ReportFailedRun {
    fn drop(&mut self) {
        if thread::panicking() {
            let run = self.0;
            eprintln!("run {run} failed; to repeat it: POOL_MODEL_RUN={run} cargo test --test pool_model");
        }
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, but it is `{text}`")))
}
