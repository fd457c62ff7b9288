//! The samples of a window, and their summary.

use std::time::Duration;

use crate::plan::Limit;

/// The outcome of a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "callers classify into these three; a fourth would change every rule"
)]
pub enum Outcome {
    /// The server answered. Its latency counts.
    Success,
    /// The server reported that it is overloaded, or did not answer in time.
    Overload,
    /// The outcome says nothing about load, such as an error in the content of a request.
    Ignore,
}

/// Numbers of outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it has a field for each `Outcome`, which is closed")]
pub struct OutcomeCounts {
    /// The number of successes.
    pub successes: u64,
    /// The number of outcomes that report overload.
    pub overloads: u64,
    /// The number of outcomes that say nothing about load.
    pub ignored: u64,
}

impl OutcomeCounts {
    /// Adds other numbers. Saturates.
    pub fn add(&mut self, more: Self) {
        self.successes = self.successes.saturating_add(more.successes);
        self.overloads = self.overloads.saturating_add(more.overloads);
        self.ignored = self.ignored.saturating_add(more.ignored);
    }
}

/// Collects the outcomes of one window.
///
/// Latencies are measured from the grant of a permit to the outcome, so waiting in the gate's queue does not count. A
/// permit that was dropped without an outcome is not recorded. At most [`MAX_SAMPLES`](Self::MAX_SAMPLES) latencies are
/// kept: in longer windows every second, every fourth latency and so on, so the kept ones are spread evenly over the
/// window, and no randomness is needed. The counts are always exact.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Outcome, Window};
///
/// let mut window = Window::new();
/// for ms in 1..=100 {
///     window.record(Duration::from_millis(ms), Outcome::Success);
/// }
/// window.record(Duration::ZERO, Outcome::Ignore);
/// window.record_in_flight(12, 0, Limit::new(12)); // 12 in use, none waiting, at a limit of 12
/// let observed = window.close(Duration::from_secs(1));
/// assert_eq!(observed.samples, 100);
/// assert_eq!(observed.p90, Duration::from_millis(90));
/// assert_eq!(observed.completed, 101);
/// assert!(observed.reached);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Window {
    latencies: Vec<Duration>,
    /// One latency in `stride_mask + 1` is kept, which is a power of two.
    stride_mask: u64,
    /// The number of latencies of the window, those that are not kept included.
    offered: u64,
    counts: OutcomeCounts,
    peak: u32,
    waiting: u32,
    reached: bool,
    pressured: bool,
}

impl Window {
    /// The most latencies that a window keeps.
    pub const MAX_SAMPLES: usize = 256;

    /// Creates an empty window.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an outcome, and the time from the grant of the permit to the outcome.
    pub fn record(&mut self, latency: Duration, outcome: Outcome) {
        let mut counts = OutcomeCounts::default();
        match outcome {
            Outcome::Success => {
                counts.successes = 1;
                self.record_latency(latency);
            }
            Outcome::Overload => counts.overloads = 1,
            Outcome::Ignore => counts.ignored = 1,
        }
        self.record_counts(counts);
    }

    /// Adds the latency of a success without counting it, for callers that sample: they count the outcomes by
    /// [`record_counts`](Self::record_counts).
    pub fn record_latency(&mut self, latency: Duration) {
        if self.offered & self.stride_mask == 0 {
            self.keep(latency);
        }
        self.offered = self.offered.saturating_add(1);
    }

    /// Adds outcomes without latencies, for callers that sample.
    pub fn record_counts(&mut self, counts: OutcomeCounts) {
        self.counts.add(counts);
    }

    /// Adds an observation of the gate: how many permits are in use, how many requests wait, and the limit in force.
    pub fn record_in_flight(&mut self, in_use: u32, waiting: u32, limit: Limit) {
        self.reached |= in_use >= limit.get() || waiting > 0;
        self.peak = self.peak.max(in_use);
        self.waiting = self.waiting.max(waiting);
    }

    /// Notes that the host was under pressure, so that the window counts as overloaded.
    pub fn record_pressure(&mut self) {
        self.pressured = true;
    }

    /// Returns the number of samples: successes and overloads.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.counts.successes.saturating_add(self.counts.overloads)
    }

    /// Returns the summary of the samples, and empties the window. `length` is the time since it began.
    pub fn close(&mut self, length: Duration) -> Observed {
        let mut observed = Observed {
            length,
            samples: self.samples(),
            completed: self.samples().saturating_add(self.counts.ignored),
            overloads: self.counts.overloads,
            peak: self.peak,
            waiting: self.waiting,
            reached: self.reached,
            pressured: self.pressured,
            ..Observed::default()
        };
        if let Some(last) = self.latencies.len().checked_sub(1) {
            // The exact 90th percentile of the kept latencies, by selection in linear time.
            let rank = self.latencies.len().saturating_mul(9).div_ceil(10).saturating_sub(1).min(last);
            let (_, p90, _) = self.latencies.select_nth_unstable(rank);
            observed.p90 = *p90;
            observed.mean = self.mean_up_to(Duration::MAX);
            // In this mean, the slowest tenth counts as the 90th percentile, so a few slow answers do not move it.
            observed.center = self.mean_up_to(observed.p90);
        }
        // The memory of the latencies is used again.
        self.latencies.clear();
        *self = Self { latencies: std::mem::take(&mut self.latencies), ..Self::default() };
        observed
    }

    fn keep(&mut self, latency: Duration) {
        if self.latencies.len() == Self::MAX_SAMPLES {
            // Drop every second latency, and keep half as many from now on.
            let mut index = 0_usize;
            self.latencies.retain(|_| {
                index = index.wrapping_add(1);
                index % 2 == 1
            });
            self.stride_mask = self.stride_mask.wrapping_mul(2).wrapping_add(1);
        }
        self.latencies.push(latency);
    }

    /// Returns the mean of the latencies, each counted as at most `most`.
    fn mean_up_to(&self, most: Duration) -> Duration {
        let sum = self
            .latencies
            .iter()
            .fold(Duration::ZERO, |sum, latency| sum.saturating_add(*latency.min(&most)));
        u32::try_from(self.latencies.len()).ok().and_then(|count| sum.checked_div(count)).unwrap_or_default()
    }
}

/// The summary of a window: the input of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests of rules in other crates construct it")]
pub struct Observed {
    /// How long the window was.
    pub length: Duration,
    /// The number of outcomes that say something about load: successes and overloads.
    pub samples: u64,
    /// The number of outcomes, ignored ones included.
    pub completed: u64,
    /// The number of outcomes that report overload.
    pub overloads: u64,
    /// The mean latency of the successes.
    pub mean: Duration,
    /// The mean latency of the successes, where each latency above `p90` counts as `p90`.
    pub center: Duration,
    /// The 90th percentile of the latencies of the successes.
    pub p90: Duration,
    /// The most permits that were in use at once.
    pub peak: u32,
    /// The most requests that waited for a permit at once.
    pub waiting: u32,
    /// Whether the limit was reached: all permits were in use, or a request waited.
    pub reached: bool,
    /// Whether the host was under the [pressure](crate::Adaptive::overload_at) that counts as overload.
    pub pressured: bool,
}

impl Observed {
    /// Returns the throughput: completed work per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 { as_float(self.completed) / seconds } else { 0.0 }
    }

    /// Returns the mean number in flight at the server, by Little's law: throughput times mean latency.
    #[must_use]
    pub fn mean_in_flight(&self) -> f64 {
        self.throughput() * self.mean.as_secs_f64()
    }

    /// Returns whether there was overload: at least one in a hundred samples reports it, or the host was under pressure.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.pressured || (self.overloads > 0 && self.overloads.saturating_mul(100) >= self.samples)
    }
}

/// Converts a count, exactly up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur in a window")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// Returns a duration in milliseconds.
pub(super) fn as_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
