//! The limiters, each behind one interface.

use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::feedback::{Aimd, Arc, Band, Feedback, Latency, Rule};
use concurrency_governor::testing::plant::{Plant, PlantLimiter, PlantReport};

use crate::peers;

/// Where a limit starts, and what is known about the server for limiters that need a latency.
#[derive(Clone, Copy)]
pub struct Start {
    pub limit: u32,
    /// The latency without load. A limiter that needs a threshold gets five times this.
    pub unloaded: Duration,
}

impl Start {
    /// The latency above which a limiter with a threshold takes the server as overloaded.
    pub fn threshold(self) -> Duration {
        5 * self.unloaded
    }
}

/// The lowest and the highest limit of every contestant that has such bounds.
pub const LEAST: u32 = 4;
pub const MOST: u32 = 1000;

type Run = Box<dyn Fn(&Plant, Start, Duration, u64) -> PlantReport>;

/// A limiter with its name.
pub struct Contestant {
    pub name: &'static str,
    run: Run,
}

impl Contestant {
    pub fn new<L: PlantLimiter>(name: &'static str, create: impl Fn(Start) -> L + 'static) -> Self {
        let run =
            move |plant: &Plant, start: Start, length, seed| plant.run(|| create(start), length, seed).0;
        Self { name, run: Box::new(run) }
    }

    /// A limiter that has its own way to run, such as in a runtime.
    pub fn special(
        name: &'static str,
        run: impl Fn(&Plant, Start, Duration, u64) -> PlantReport + 'static,
    ) -> Self {
        Self { name, run: Box::new(run) }
    }

    pub fn run(&self, plant: &Plant, start: Start, length: Duration, seed: u64) -> PlantReport {
        (self.run)(plant, start, length, seed)
    }
}

pub fn contestants() -> Vec<Contestant> {
    let mut all = vec![
        Contestant::new("latency", |start| feedback(Latency::new(), start)),
        Contestant::new("arc", |start| feedback(Arc::new(), start)),
        Contestant::new("aimd", |start| feedback(Aimd::new(start.threshold()), start)),
    ];
    all.extend(peers::contestants());
    all
}

fn feedback(rule: impl Rule + 'static, start: Start) -> Feedback {
    let band = Band::new(Limit::new(LEAST), Limit::new(MOST));
    Feedback::new(rule, Limit::new(start.limit), band, Duration::ZERO)
}
