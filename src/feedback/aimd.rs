//! The rule `aimd`: add one, or multiply by 0.9.

use std::time::Duration;

use crate::plan::Limit;

use super::rule::{Band, Opinion, Reason, Rule, WindowTerms};
use super::window::{Observed, as_ms};

/// Additive increase, multiplicative decrease around a latency that you call healthy.
///
/// A window is unhealthy if its 90th percentile is above `max_healthy`, if at least one in a hundred samples reports overload,
/// or if the host was under the pressure that counts as overload. Samples are the successes and the reports of overload;
/// ignored outcomes are not counted. An unhealthy window lowers the limit to 0.9 of its value. A healthy window in which the
/// limit was reached raises it by one; before the first unhealthy window, it doubles the limit, so that a large one is found
/// in a few windows.
///
/// Use it if you know which latency is acceptable. A window has at least 1 s and 50 samples. Source: Chiu and Jain, 1989,
/// "Analysis of the increase and decrease algorithms for congestion avoidance in computer networks".
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Aimd, Band, Observed, Rule};
///
/// let mut rule = Aimd::new(Duration::from_millis(100));
/// let slow = Observed { samples: 50, p90: Duration::from_millis(120), reached: true, ..Observed::default() };
/// let opinion = rule.decide(&slow, Limit::new(40), Band::new(Limit::MIN, Limit::new(64)));
/// assert_eq!(opinion.limit(), Limit::new(36));
/// ```
#[derive(Clone, Debug)]
pub struct Aimd {
    max_healthy: Duration,
    /// Whether no window was unhealthy yet.
    is_starting: bool,
}

impl Aimd {
    /// Creates the rule with the highest 90th percentile of the latency that is healthy.
    #[must_use]
    pub fn new(max_healthy: Duration) -> Self {
        Self { max_healthy, is_starting: true }
    }
}

impl Rule for Aimd {
    fn name(&self) -> &'static str {
        "aimd"
    }

    fn terms(&self) -> WindowTerms {
        WindowTerms { min_length: Duration::from_secs(1), min_samples: 50 }
    }

    fn decide(&mut self, observed: &Observed, limit: Limit, _band: Band) -> Opinion {
        let limit = f64::from(limit.get());
        let is_healthy = !observed.is_overloaded() && observed.p90 <= self.max_healthy;
        self.is_starting &= is_healthy;
        let opinion = if observed.is_overloaded() {
            Opinion::new(limit * 0.9, Reason::Overload)
        } else if !is_healthy {
            Opinion::new(limit * 0.9, Reason::Congested)
        } else if observed.reached && self.is_starting {
            Opinion::new(limit * 2.0, Reason::Double)
        } else if observed.reached {
            Opinion::new(limit + 1.0, Reason::Grow)
        } else {
            Opinion::new(limit, Reason::NotReached)
        };
        opinion.with("p90_ms", as_ms(observed.p90)).with("max_healthy_ms", as_ms(self.max_healthy))
    }

    fn memory(&self) -> Vec<f64> {
        vec![f64::from(u8::from(self.is_starting))]
    }

    fn restore(&mut self, memory: &[f64]) {
        self.is_starting = memory.first().is_some_and(|number| *number > 0.5);
    }
}
