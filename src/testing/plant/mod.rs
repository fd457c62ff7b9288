//! Servers in simulated time, to test a limit that follows outcomes before it is used for real work.
//!
//! A [`Plant`] is a server with its clients. Each client has a gate whose limit a [`PlantLimiter`] chooses, such as
//! [`Feedback`] with a rule of your own. The same seed gives the same run, and no run waits for real time.
//!
//! ```
//! use std::time::Duration;
//! use concurrency_governor::Limit;
//! use concurrency_governor::feedback::{Band, Feedback, Latency};
//! use concurrency_governor::testing::plant::Plant;
//!
//! // Ten workers of 10 ms serve 1000 requests per second. Twice as many arrive.
//! let plant: Plant = "workers 10, service exp 10ms, rate 2000/s".parse()?;
//! let band = Band::new(Limit::new(4), Limit::new(1000));
//! let start = || Feedback::new(Latency::new(), Limit::new(16), band, Duration::ZERO);
//! let (report, feedbacks) = plant.run(start, Duration::from_secs(60), 1);
//!
//! assert!(report.p99(Duration::ZERO) <= Duration::from_millis(100));
//! assert!(feedbacks[0].limit().get() <= 25);
//! # Ok::<(), concurrency_governor::testing::plant::PlantError>(())
//! ```

mod random;
mod report;
mod simulation;
mod spec;
mod standard;

use std::time::Duration;

use crate::feedback::{Feedback, Outcome};

pub use report::PlantReport;
pub use spec::{Plant, PlantError};
pub use standard::STANDARD_PLANTS;

/// Chooses the limit of one client of a [`Plant`].
pub trait PlantLimiter {
    /// Returns the limit in force.
    fn limit(&self) -> u32;

    /// Called after each change of the gate, with the permits in use and the requests that wait.
    fn record_in_flight(&mut self, in_use: u32, waiting: u32);

    /// Called when a request is admitted. Does nothing by default.
    fn admitted(&mut self, now: Duration) {
        let _ = now;
    }

    /// Called with each outcome. `latency` is the time since the request was admitted, and `now` the time since the start.
    fn record(&mut self, latency: Duration, outcome: Outcome, now: Duration);

    /// Called after each outcome, and each 100 ms.
    fn step(&mut self, now: Duration);
}

impl PlantLimiter for Feedback {
    fn limit(&self) -> u32 {
        Self::limit(self).get()
    }

    fn record_in_flight(&mut self, in_use: u32, waiting: u32) {
        Self::record_in_flight(self, in_use, waiting);
    }

    fn record(&mut self, latency: Duration, outcome: Outcome, _now: Duration) {
        Self::record(self, latency, outcome);
    }

    fn step(&mut self, now: Duration) {
        let _: Option<_> = Self::step(self, now);
    }
}
