//! Measures the contestants of a row in rounds.
//!
//! In each round every contestant runs once, and each round starts with another contestant, so that other load on the machine
//! affects all of them alike. A ratio compares two runs of the same round.

use std::time::Duration;

/// Runs an operation this many times, and returns how long that took.
pub type Runner = Box<dyn FnMut(u64) -> Duration>;

/// The result of a runner that could not measure.
pub const NO_RUN: Duration = Duration::ZERO;

/// One implementation of an operation. It is set up when its row is measured.
pub struct Contestant {
    pub name: &'static str,
    pub make: fn() -> Runner,
}

/// One operation, with its implementations. The first contestant is the gate or the pool of this crate.
pub struct Row {
    pub id: &'static str,
    pub title: &'static str,
    pub contestants: Vec<Contestant>,
    /// The contestant that the ratios are relative to.
    pub base: &'static str,
    /// The contestants with the same guarantees that the first contestant should be faster than.
    pub ahead_of: &'static [&'static str],
    /// The planned duration of a run.
    pub run: Duration,
    /// The number of operations in a run is a multiple of this.
    pub step: u64,
    /// The operations of the shorter run under callgrind; the longer run has twice as many. 0 if the row is not counted.
    pub counted: u64,
}

/// The measurements of one contestant.
pub struct Measured {
    pub name: &'static str,
    pub nanos: Spread,
    /// Its time relative to that of the base, in the same round.
    pub ratio: Spread,
    /// The time of the first contestant relative to its time, in the same round.
    pub ratio_of_first: Spread,
}

/// The 10th, 50th and 90th percentile. They are NaN if there is no sample.
#[derive(Clone, Copy)]
pub struct Spread {
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
}

impl Spread {
    /// Computes the percentiles. A sample that is NaN, because its round has no run, is left out.
    fn of(mut samples: Vec<f64>) -> Self {
        samples.retain(|sample| !sample.is_nan());
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
        };
        Self { p10: at(10), p50: at(50), p90: at(90) }
    }
}

/// Measures every contestant of a row.
pub fn measure(row: &Row, rounds: usize) -> Vec<Measured> {
    let mut runners: Vec<_> = row.contestants.iter().map(|contestant| (contestant.make)()).collect();
    let operations: Vec<u64> = runners.iter_mut().map(|runner| calibrate(runner, row)).collect();
    let mut samples = vec![Vec::with_capacity(rounds); runners.len()];
    for round in 0..rounds {
        for turn in 0..runners.len() {
            let index = (round + turn) % runners.len();
            let duration = runners[index](operations[index]);
            let nanos = duration.as_secs_f64() * 1e9 / operations[index] as f64;
            samples[index].push(if duration == NO_RUN { f64::NAN } else { nanos });
        }
    }
    let base = row.contestants.iter().position(|contestant| contestant.name == row.base);
    let base = samples[base.expect("the base is a contestant of its row")].clone();
    let first = samples[0].clone();
    let ratios = |of: &[f64], to: &[f64]| Spread::of(of.iter().zip(to).map(|(of, to)| of / to).collect());
    row.contestants
        .iter()
        .zip(samples)
        .map(|(Contestant { name, .. }, nanos)| Measured {
            name,
            ratio: ratios(&nanos, &base),
            ratio_of_first: ratios(&first, &nanos),
            nanos: Spread::of(nanos),
        })
        .collect()
}

/// Returns the number of operations for a run of the planned duration.
fn calibrate(runner: &mut Runner, &Row { step, run: planned, .. }: &Row) -> u64 {
    let mut operations = step;
    loop {
        runner(operations); // warms up the caches
        let duration = runner(operations).min(runner(operations));
        if duration >= planned / 2 || operations >= 1 << 24 {
            let nanos = duration.as_nanos().max(1) as u64;
            let steps = (operations / step).saturating_mul(planned.as_nanos() as u64) / nanos;
            return steps.max(1) * step;
        }
        operations *= 4;
    }
}
