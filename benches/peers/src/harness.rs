//! Rounds: every contestant of a row runs once a round, each round starting with another one, so that whatever else
//! the machine does hits all alike; a ratio is that of two runs of the same round.

use std::time::Duration;

/// Runs an operation so many times and says how long that took.
pub type Runner = Box<dyn FnMut(u64) -> Duration>;

/// What a runner says that could not measure.
pub const NO_RUN: Duration = Duration::ZERO;

/// Somebody who has the operation, made when its turn comes.
pub struct Contestant {
    pub name: &'static str,
    pub make: fn() -> Runner,
}

/// One operation with everybody who has it. The first contestant is the gate.
pub struct Row {
    pub id: &'static str,
    pub title: &'static str,
    pub contestants: Vec<Contestant>,
    /// Whom the ratios are to.
    pub base: &'static str,
    /// The targets: the gate's ratio to the base in time and in instructions, and locked instructions.
    pub target: Target,
    /// How long a run is to take.
    pub run: Duration,
    /// A run is so many operations, or a multiple of that.
    pub step: u64,
    /// Operations of the shorter run under callgrind; the longer one is twice that. 0 for what is not counted.
    pub counted: u64,
}

#[derive(Clone, Copy, Default)]
pub struct Target {
    pub time: Option<f64>,
    pub instructions: Option<f64>,
    pub locked: Option<f64>,
}

/// What was measured of one contestant.
pub struct Measured {
    pub name: &'static str,
    pub nanos: Spread,
    pub ratio: Spread,
}

/// The tenth, fiftieth and ninetieth percentile.
#[derive(Clone, Copy)]
pub struct Spread {
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
}

impl Spread {
    /// Of those there are: a round without a run is not a number, and neither is a ratio to it.
    fn of(mut samples: Vec<f64>) -> Self {
        samples.retain(|sample| !sample.is_nan());
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            samples.get(samples.len().saturating_sub(1) * percent / 100).copied().unwrap_or(f64::NAN)
        };
        Self { p10: at(10), p50: at(50), p90: at(90) }
    }
}

pub fn measure(row: &Row, rounds: usize) -> Vec<Measured> {
    let mut runners: Vec<_> = row.contestants.iter().map(|contestant| (contestant.make)()).collect();
    let lengths: Vec<u64> = runners.iter_mut().map(|run| calibrate(run, row)).collect();
    let mut samples = vec![Vec::with_capacity(rounds); runners.len()];
    for round in 0..rounds {
        for turn in 0..runners.len() {
            let who = (round + turn) % runners.len();
            let took = runners[who](lengths[who]);
            let nanos = took.as_secs_f64() * 1e9 / lengths[who] as f64;
            samples[who].push(if took == NO_RUN { f64::NAN } else { nanos });
        }
    }
    let base = row.contestants.iter().position(|one| one.name == row.base).expect("a row has its base");
    let base = samples[base].clone();
    row.contestants
        .iter()
        .zip(samples)
        .map(|(Contestant { name, .. }, nanos)| Measured {
            name,
            ratio: Spread::of(nanos.iter().zip(&base).map(|(mine, base)| mine / base).collect()),
            nanos: Spread::of(nanos),
        })
        .collect()
}

fn calibrate(run: &mut Runner, &Row { step, run: wanted, .. }: &Row) -> u64 {
    let mut length = step;
    loop {
        run(length); // warm
        let took = run(length).min(run(length));
        if took >= wanted / 2 || length >= 1 << 24 {
            let nanos = took.as_nanos().max(1) as u64;
            let steps = (length / step).saturating_mul(wanted.as_nanos() as u64) / nanos;
            return steps.max(1) * step;
        }
        length *= 4;
    }
}
