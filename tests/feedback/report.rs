//! What a run of a plant amounts to.

use concurrency_governor::feedback::Feedback;

/// What a run amounts to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Latencies from the grant to the outcome with the instant of the outcome, in seconds.
    pub(crate) latencies: Vec<(f64, f64)>,
    /// The number of requests that were rejected, with the instant.
    pub(crate) rejections: Vec<f64>,
    pub(crate) arrivals: usize,
    /// The limit of the first client after each of its decisions.
    pub(crate) limits: Vec<(f64, u32)>,
    /// The successes of each client.
    pub(crate) successes: Vec<f64>,
    /// The state of each client at the end.
    pub(crate) feedbacks: Vec<Feedback>,
}

impl Report {
    /// Returns the 99th percentile of the latency, in milliseconds.
    pub(crate) fn p99(&self) -> f64 {
        let mut latencies: Vec<_> = self.latencies.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable_by(f64::total_cmp);
        latencies.get((latencies.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
            * 1e3
    }

    /// Returns the number of outcomes in a time span.
    pub(crate) fn completed(&self, from: f64, to: f64) -> f64 {
        self.latencies.iter().filter(|(at, _)| (from..to).contains(at)).count() as f64
    }

    /// Returns the lowest and highest limit, and the mean over the decisions, in a time span.
    pub(crate) fn limits(&self, from: f64, to: f64) -> (f64, f64, f64) {
        let inside = |at: f64| (from..to).contains(&at);
        let before = self.limits.iter().rev().find(|(at, _)| *at < from).map(|(_, limit)| *limit);
        let limits = self.limits.iter().filter(|(at, _)| inside(*at)).map(|(_, limit)| *limit);
        let limits: Vec<f64> = before.into_iter().chain(limits).map(f64::from).collect();
        let (least, most) =
            (limits.iter().copied().fold(f64::MAX, f64::min), limits.iter().copied().fold(0.0, f64::max));
        (least, most, limits.iter().sum::<f64>() / limits.len() as f64)
    }

    /// Returns Jain's index of fairness: 1 if all clients got the same.
    pub(crate) fn jain(&self) -> f64 {
        let (sum, squares) = self
            .successes
            .iter()
            .fold((0.0, 0.0), |(sum, squares), count| (sum + count, squares + count * count));
        sum * sum / (squares * self.successes.len() as f64)
    }
}
