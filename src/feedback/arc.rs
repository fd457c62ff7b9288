//! The rule `arc`: adaptive request concurrency, for servers that report overload.

use std::time::Duration;

use crate::plan::Limit;

use super::rule::{Band, Opinion, Reason, Rule, WindowTerms};
use super::window::{Observed, as_ms};

/// Adaptive request concurrency, as in Vector: follows the mean latency, and the server's signs of overload.
///
/// A window lasts about one round trip. It is overloaded if at least one in a hundred samples reports overload, or the host was under the
/// pressure that counts as overload. Samples are the successes and the reports of overload; ignored outcomes are not counted. If the
/// window is overloaded, or the mean latency is above its past mean by at least 2.5 standard deviations, the limit falls to 0.9 of its
/// value. Otherwise, if the limit was reached and the mean is at or below the past mean, the limit grows by one. Past mean and variance
/// are exponentially weighted with α = 0.4: `mean += α·d` and `variance = (1 − α)·(variance + d·α·d)`, where `d` is the new mean minus the
/// past mean.
///
/// Use it for servers that report overload. Without such reports its past mean follows a slow rise of the latency. Source:
/// Vector's RFC 1858, "Adaptive request concurrency", and Finch 2009, "Incremental calculation of weighted mean and variance".
///
/// The name is short for adaptive request concurrency. Write `feedback::Arc` where [`std::sync::Arc`] is in scope.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Arc, Band, Observed, Rule};
///
/// let mut rule = Arc::new();
/// let busy = Observed { samples: 50, overloads: 5, reached: true, ..Observed::default() };
/// assert_eq!(rule.decide(&busy, Limit::new(20), Band::new(Limit::MIN, Limit::new(64))).limit(), Limit::new(18));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Arc {
    /// The past mean of the latency, in milliseconds; 0 before the first window.
    mean: f64,
    /// The variance of the latency around its past mean.
    variance: f64,
}

impl Arc {
    /// The weight of a new window.
    const ALPHA: f64 = 0.4;
    /// How many standard deviations above the past mean count as congestion.
    const DEVIATIONS: f64 = 2.5;

    /// Creates the rule. It knows no latency yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Rule for Arc {
    fn name(&self) -> &'static str {
        "arc"
    }

    fn terms(&self) -> WindowTerms {
        // About one round trip, and at least a millisecond: a server that answers faster needs no shorter windows.
        let mean = Duration::try_from_secs_f64(self.mean / 1e3).unwrap_or_default();
        WindowTerms {
            min_length: mean.clamp(Duration::from_millis(1), Duration::from_secs(60)),
            min_samples: 10,
        }
    }

    fn decide(&mut self, observed: &Observed, limit: Limit, _band: Band) -> Opinion {
        let limit = f64::from(limit.get());
        let (mean, past) = (as_ms(observed.mean), self.mean);
        let threshold = past + Self::DEVIATIONS * self.variance.sqrt();
        let is_known = past > 0.0;
        let opinion = if observed.is_overloaded() {
            Opinion::new(limit * 0.9, Reason::Overload)
        } else if is_known && mean > past && mean >= threshold {
            Opinion::new(limit * 0.9, Reason::Congested)
        } else if !observed.reached {
            Opinion::new(limit, Reason::NotReached)
        } else if mean <= past || !is_known {
            Opinion::new(limit + 1.0, Reason::Grow)
        } else {
            Opinion::new(limit, Reason::Steady)
        };
        // A window in which every outcome reports overload has no latency.
        if mean > 0.0 {
            let distance = if is_known { mean - past } else { 0.0 };
            self.mean = if is_known { past + Self::ALPHA * distance } else { mean };
            self.variance = (1.0 - Self::ALPHA) * (self.variance + distance * Self::ALPHA * distance);
        }
        opinion.with("mean_ms", mean).with("past_mean_ms", past).with("threshold_ms", threshold)
    }

    fn memory(&self) -> Vec<f64> {
        vec![self.mean, self.variance]
    }

    fn restore(&mut self, memory: &[f64]) {
        let mut numbers = memory.iter().copied();
        let mut next = || numbers.next().unwrap_or_default();
        *self = Self { mean: next(), variance: next() };
    }
}
