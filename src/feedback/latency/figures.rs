//! Small calculations of the rule.

use crate::feedback::window::Observed;

/// Returns `k`: the step of a limit, from 1 to 3, which grows with the logarithm of the limit.
pub(super) fn step_of(limit: f64) -> f64 {
    if limit >= 1000.0 {
        3.0
    } else if limit >= 100.0 {
        2.0
    } else {
        1.0
    }
}

/// Returns the longest queue that does not count as congestion: 14 % of the limit. A smaller share would be within the noise of the
/// latency.
pub(super) fn most_queue(limit: f64) -> f64 {
    0.14 * limit
}

/// Returns the mean number of requests at the server: the limit itself if it held work back.
pub(super) fn in_flight(observed: &Observed, limit: f64) -> f64 {
    if is_busy(observed, limit) { limit } else { observed.mean_in_flight() }
}

/// Returns whether the limit held work back for most of the window.
pub(super) fn is_busy(observed: &Observed, limit: f64) -> bool {
    observed.reached && observed.mean_in_flight() >= 0.8 * limit
}

/// Returns the mean of numbers; 0 without numbers.
pub(super) fn average(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Returns the median of numbers, the upper one of two; 0 without numbers.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
