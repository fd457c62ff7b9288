//! The results of a run of a plant.

use std::time::Duration;

/// What happened in a run of a [`Plant`](super::Plant). Instants are times since the start.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PlantReport {
    /// The successes: the instant of each outcome, and the time since the request was admitted.
    pub latencies: Vec<(Duration, Duration)>,
    /// The instants of the requests that were rejected for good: they waited too long at the gate, or the server refused them.
    pub rejections: Vec<Duration>,
    /// The number of requests that arrived; a retry is not a new request.
    pub arrivals: u64,
    /// The limit of the first client, with the instant from which it was in force.
    pub limits: Vec<(Duration, u32)>,
    /// The permits of all clients that were in use, each 100 ms.
    pub in_use: Vec<(Duration, u32)>,
    /// The number of successes of each client.
    pub successes: Vec<u64>,
}

impl PlantReport {
    /// Returns the 99th percentile of the latencies from an instant on; zero without latencies.
    #[must_use]
    pub fn p99(&self, from: Duration) -> Duration {
        let since = self.latencies.iter().filter(|(at, _)| *at >= from);
        let mut latencies: Vec<Duration> = since.map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        let rank = latencies.len().saturating_mul(99).div_ceil(100).saturating_sub(1);
        latencies.get(rank).copied().unwrap_or_default()
    }

    /// Returns the number of successes per second between two instants.
    #[must_use]
    pub fn goodput(&self, from: Duration, until: Duration) -> f64 {
        let count = self.latencies.iter().filter(|(at, _)| (from..until).contains(at)).count();
        as_float(count as u64) / until.saturating_sub(from).as_secs_f64()
    }

    /// Returns the lowest and the highest limit of the first client between two instants, and the mean over the time.
    #[must_use]
    pub fn limits_between(&self, from: Duration, until: Duration) -> (u32, u32, f64) {
        let (mut least, mut most, mut area) = (u32::MAX, 0, 0.0);
        let ends = self.limits.iter().skip(1).map(|(at, _)| *at).chain([until]);
        for (&(since, limit), end) in self.limits.iter().zip(ends) {
            let (since, end) = (since.max(from), end.min(until));
            if since < end {
                (least, most) = (least.min(limit), most.max(limit));
                area += f64::from(limit) * end.saturating_sub(since).as_secs_f64();
            }
        }
        (least.min(most), most, area / until.saturating_sub(from).as_secs_f64())
    }

    /// Returns Jain's index of fairness: 1 if all clients had the same number of successes.
    #[must_use]
    pub fn jain(&self) -> f64 {
        let counts = self.successes.iter().map(|count| as_float(*count));
        let (sum, squares) =
            counts.fold((0.0, 0.0), |(sum, squares), count| (sum + count, squares + count * count));
        if squares > 0.0 { sum * sum / (squares * as_float(self.successes.len() as u64)) } else { 1.0 }
    }
}

/// Converts a count, exactly up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a run has fewer requests")]
pub(super) fn as_float(count: u64) -> f64 {
    count as f64
}
