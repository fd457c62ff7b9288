//! When to try again after a failure.

use std::time::Duration;

use crate::gate::clock;

/// Whether items can be made, and if not, since how many attempts and until when nobody tries.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    /// Attempts that failed in a row, each after a pause.
    failures: u32,
    /// When the pause ends.
    until: i64,
}

/// A pause before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) delay: Duration,
    pub(super) failures: u32,
}

impl Backoff {
    pub(super) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failing: None }
    }

    /// Until when nobody tries, while items cannot be made.
    pub(super) fn until(&self) -> Option<i64> {
        self.failing.map(|failing| failing.until)
    }

    /// An item was made.
    pub(super) const fn reset(&mut self) {
        self.failing = None;
    }

    /// The first failure since an item was made. Others that began before it change nothing.
    pub(super) fn begin(&mut self, now: i64, scatter: impl FnOnce(Duration) -> Duration) -> Option<Pause> {
        if self.failing.is_some() {
            return None;
        }
        Some(self.pause(1, now, scatter))
    }

    /// The attempt after a pause failed, too: the next pause is twice as long.
    pub(super) fn go_on(&mut self, now: i64, scatter: impl FnOnce(Duration) -> Duration) -> Pause {
        let failures = self.failing.map_or(0, |failing| failing.failures).saturating_add(1);
        self.pause(failures, now, scatter)
    }

    fn pause(&mut self, failures: u32, now: i64, scatter: impl FnOnce(Duration) -> Duration) -> Pause {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        let delay = scatter(whole);
        self.failing = Some(Failing { failures, until: clock::after(now, delay) });
        Pause { delay, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses double from the first to the longest and stay there; one success begins anew.
    #[test]
    fn pauses_double_up_to_the_longest() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, second * 5);
        assert_eq!(backoff.until(), None);
        assert_eq!(backoff.begin(0, |whole| whole), Some(Pause { delay: second, failures: 1 }));
        assert_eq!(backoff.until(), Some(1_000_000_000));
        assert_eq!(backoff.begin(5, |whole| whole), None, "it fails already");
        let delays: Vec<_> = (0..40).map(|_| backoff.go_on(0, |whole| whole).delay.as_secs()).collect();
        assert_eq!((&delays[..3], delays[39]), (&[2, 4, 5][..], 5));
        backoff.reset();
        assert_eq!(backoff.until(), None);
        assert_eq!(
            backoff.begin(0, |whole| whole / 2).unwrap().delay,
            second / 2,
            "scattered as it was told to"
        );
    }

    /// The longest of times end in no overflow.
    #[test]
    fn extremes_saturate() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.begin(i64::MAX, |whole| whole);
        assert_eq!(backoff.go_on(i64::MAX, |whole| whole).delay, Duration::MAX);
        assert_eq!(backoff.until(), Some(i64::MAX));
    }
}
