//! The exponential backoff between attempts to create an item.

use std::time::Duration;

use crate::gate::clock::{self, NEVER};

/// What happens during the backoff to a checkout that needs a new item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DuringBackoff {
    /// It waits for the next attempt, or for an item that comes back. The default.
    #[default]
    Wait,
    /// It fails at once with [`CheckoutError::BackingOff`](super::CheckoutError::BackingOff), which has the last error and the
    /// remaining delay. The first checkout after the delay makes the next attempt.
    Reject,
}

/// Whether item creation fails at present, and until when the next attempt is delayed.
#[derive(Debug)]
pub(super) struct CreateBackoff {
    first: Duration,
    longest: Duration,
    streak: Option<FailureStreak>,
}

/// Failures since the last item was created.
#[derive(Clone, Copy, Debug)]
struct FailureStreak {
    /// Failed attempts in a row: the first failure, and the failed attempt after each delay.
    failures: u32,
    /// End of the current delay.
    until: i64,
}

/// A delay before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BackoffDelay {
    pub(super) delay: Duration,
    pub(super) failures: u32,
}

impl CreateBackoff {
    pub(super) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, streak: None }
    }

    /// Returns the end of the current delay, or `None` while creation works.
    pub(super) fn until(&self) -> Option<i64> {
        self.streak.map(|streak| streak.until)
    }

    /// Returns whether no attempt follows.
    pub(super) fn has_given_up(&self) -> bool {
        self.until() == Some(NEVER)
    }

    /// Starts a delay that never ends, because the failure is permanent.
    pub(super) fn give_up(&mut self) {
        let failures = self.streak.map_or(0, |streak| streak.failures).saturating_add(1);
        self.streak = Some(FailureStreak { failures, until: NEVER });
    }

    /// Ends the backoff. The next failure counts as the first one.
    pub(super) const fn reset(&mut self) {
        self.streak = None;
    }

    /// Starts the backoff at the first failure. Returns `None` if it has started already: attempts that were running at the
    /// first failure change nothing when they fail, too.
    pub(super) fn start(
        &mut self,
        now: i64,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Option<BackoffDelay> {
        if self.streak.is_some() {
            return None;
        }
        Some(self.delay_after(1, now, jitter))
    }

    /// Starts the next delay, twice as long as the last one, because the attempt after the last delay failed.
    pub(super) fn extend(&mut self, now: i64, jitter: impl FnOnce(Duration) -> Duration) -> BackoffDelay {
        let failures = self.streak.map_or(0, |streak| streak.failures).saturating_add(1);
        self.delay_after(failures, now, jitter)
    }

    fn delay_after(
        &mut self,
        failures: u32,
        now: i64,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> BackoffDelay {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        let delay = jitter(full);
        let until = clock::add(now, delay).min(NEVER.wrapping_sub(1)); // `NEVER` stands for a permanent failure
        self.streak = Some(FailureStreak { failures, until });
        BackoffDelay { delay, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delays double from the first to the longest and stay there. One success resets them.
    #[test]
    fn delays_double_up_to_the_longest() {
        let second = Duration::from_secs(1);
        let mut backoff = CreateBackoff::new(second, second * 5);
        assert_eq!(backoff.until(), None);
        assert_eq!(backoff.start(0, |full| full), Some(BackoffDelay { delay: second, failures: 1 }));
        assert_eq!(backoff.until(), Some(1_000_000_000));
        assert_eq!(backoff.start(5, |full| full), None, "the backoff has started already");
        let delays: Vec<_> = (0..40).map(|_| backoff.extend(0, |full| full).delay.as_secs()).collect();
        assert_eq!((&delays[..3], delays[39]), (&[2, 4, 5][..], 5));
        backoff.give_up();
        assert_eq!((backoff.until(), backoff.has_given_up()), (Some(NEVER), true));
        backoff.reset();
        assert_eq!((backoff.until(), backoff.has_given_up()), (None, false));
        let jittered = backoff.start(0, |full| full / 2).unwrap();
        assert_eq!(jittered.delay, second / 2, "the delay is not the jittered one");
    }

    /// The longest durations do not overflow, and a failure that is not permanent does not become so.
    #[test]
    fn extreme_durations_saturate() {
        let mut backoff = CreateBackoff::new(Duration::MAX, Duration::MAX);
        backoff.start(i64::MAX, |full| full);
        assert_eq!(backoff.extend(i64::MAX, |full| full).delay, Duration::MAX);
        assert_eq!((backoff.until(), backoff.has_given_up()), (Some(i64::MAX - 1), false));
    }
}
