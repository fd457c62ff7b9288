//! The declaration that a gate rejects requests early under overload.

use std::time::Duration;

use super::debug_as_display::impl_debug_as_display;

/// The declaration of shedding: under lasting overload a gate rejects the requests that have waited too long, and serves the others
/// quickly. Add it with [`GateSpec::shed`](crate::GateSpec::shed).
///
/// A queue absorbs a short burst. Under lasting overload it only makes each request late: each waits for the whole queue,
/// and the callers of many have given up when these are admitted. The signal that tells the two apart is the age of the
/// requests, not their number: the algorithm of RFC 8289, controlled delay. The queue is *standing* after an interval in
/// which requests waited all the time, and at each admission the oldest of them had waited longer than the target. The
/// interval is 100 ms, or four times the target if that is longer. While the queue is standing:
///
/// - the newest request is admitted first, within the same key or child and the same priority;
/// - while any request has waited longer than the target, requests of the lowest priority are rejected, the oldest first. So a priority is
///   rejected only if no lower one waits.
///
/// Once no request was rejected for an interval, the request that arrived first is admitted first again, as usual.
///
/// Independently of that, a request with a deadline is rejected on arrival if the gate cannot admit it in time at its present rate. The
/// errors of a gate that sheds say when to retry: [`AcquireError::retry_after`](crate::AcquireError::retry_after).
///
/// ```
/// use std::time::Duration;
///
/// use concurrency_governor::{Formula, GateSpec, Resource, Shed};
///
/// const HTTP: GateSpec =
///     GateSpec::new("http", Formula::scale(Resource::CPU, 64)).shed(Shed::after(Duration::from_millis(20)));
/// assert_eq!(HTTP.shedding().map(|shed| shed.target()), Some(Duration::from_millis(20)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Shed {
    target: Duration,
}

impl Shed {
    /// Declares shedding with a target: the wait that is acceptable under lasting overload. A good target is a fraction of the time
    /// in which callers need an answer. For computed input use [`Shed::try_after`].
    ///
    /// # Panics
    ///
    /// If the target is 0. In a `const` that is a compile error:
    ///
    /// ```compile_fail
    /// # use std::time::Duration;
    /// # use concurrency_governor::Shed;
    /// const NO_WAIT: Shed = Shed::after(Duration::ZERO);
    /// ```
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use concurrency_governor::Shed;
    /// const SHORT: Shed = Shed::after(Duration::from_nanos(1));
    /// ```
    pub const fn after(target: Duration) -> Self {
        assert!(!target.is_zero(), "the target of shedding is more than 0");
        Self { target }
    }

    /// Same as [`after`](Self::after), for computed input.
    ///
    /// # Errors
    ///
    /// [`InvalidShed`] if the target is 0.
    pub fn try_after(target: Duration) -> Result<Self, InvalidShed> {
        if target.is_zero() { Err(InvalidShed) } else { Ok(Self::after(target)) }
    }

    /// Returns the target: the wait above which requests are rejected under lasting overload.
    #[must_use]
    pub const fn target(&self) -> Duration {
        self.target
    }

    /// Returns the interval: the time for which all waits must be above the target before any request is rejected.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        let four = self.target.saturating_mul(4);
        if four.as_nanos() > SHORTEST_INTERVAL.as_nanos() { four } else { SHORTEST_INTERVAL }
    }
}

/// That of RFC 8289: about the longest time in which a burst passes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The error for a target of shedding that is 0.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the target of shedding is 0 (allowed: any longer wait); to admit no request after a wait, set the bound of the queue to 0"
)]
pub struct InvalidShed;

impl_debug_as_display!(InvalidShed);
