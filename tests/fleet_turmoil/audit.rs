//! The work that was in flight at each instant.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Notes the time of each request. The hosts of a simulation run one after the other within a tick, so their requests overlap only
/// when they are compared by time.
#[derive(Clone, Default)]
pub(crate) struct Audit {
    requests: Arc<Mutex<Vec<(Duration, Duration)>>>,
}

impl Audit {
    /// Notes a request. It is in flight until `end` also if its process crashes.
    pub(crate) fn note(&self, begin: Duration, end: Duration) {
        self.requests.lock().unwrap().push((begin, end));
    }

    pub(crate) fn requests(&self) -> Vec<(Duration, Duration)> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the most requests in flight at one instant, and that instant.
    pub(crate) fn most(&self) -> (i64, Duration) {
        let mut changes: Vec<(Duration, i64)> =
            self.requests().into_iter().flat_map(|(begin, end)| [(begin, 1), (end, -1)]).collect();
        // At the same instant, ends come first: a permit that is returned can be used at once.
        changes.sort_unstable();
        let (mut most, mut in_flight) = ((0, Duration::ZERO), 0);
        for (at, change) in changes {
            in_flight += change;
            if in_flight > most.0 {
                most = (in_flight, at);
            }
        }
        most
    }

    /// Returns the mean number of requests in flight from one instant to another.
    pub(crate) fn mean(&self, from: Duration, until: Duration) -> f64 {
        let within = |(begin, end): (Duration, Duration)| end.min(until).saturating_sub(begin.max(from));
        let time: Duration = self.requests().into_iter().map(within).sum();
        time.as_secs_f64() / (until - from).as_secs_f64()
    }
}

/// Requests that touch are not in flight together, and those that overlap are.
#[test]
fn overlaps_are_counted() {
    let audit = Audit::default();
    for (begin, end) in [(0, 10), (10, 20), (15, 25), (19, 20)] {
        audit.note(Duration::from_millis(begin), Duration::from_millis(end));
    }
    assert_eq!(audit.most(), (3, Duration::from_millis(19)));
    assert!((audit.mean(Duration::ZERO, Duration::from_millis(20)) - 1.3).abs() < 1e-9);
}
