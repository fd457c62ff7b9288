//! The trait of a rule: its input is a window and a band, and its output an opinion with its numbers.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::plan::Limit;

use super::window::Observed;

/// Decides how a limit follows the outcomes of the work.
///
/// A rule only computes: it has no clock, no lock and no randomness, so the same windows give the same opinions. [`Feedback`] calls
/// it at the end of each window, and applies to its opinion the bounds that hold for every rule: the band, one step per window, and no
/// growth of a limit that was never reached.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Band, Observed, Opinion, Reason, Rule, WindowTerms};
///
/// /// Keeps the limit at twice the peak.
/// #[derive(Clone, Debug)]
/// struct TwicePeak;
///
/// impl Rule for TwicePeak {
///     fn name(&self) -> &'static str {
///         "twice-peak"
///     }
///     fn terms(&self) -> WindowTerms {
///         WindowTerms { min_length: Duration::from_secs(1), min_samples: 10 }
///     }
///     fn decide(&mut self, observed: &Observed, _limit: Limit, _band: Band) -> Opinion {
///         Opinion::new(f64::from(observed.peak) * 2.0, Reason::Grow).with("peak", f64::from(observed.peak))
///     }
/// }
/// # let observed = Observed { peak: 7, ..Observed::default() };
/// # let band = Band::new(Limit::MIN, Limit::new(64));
/// assert_eq!(TwicePeak.decide(&observed, Limit::new(8), band).limit(), Limit::new(14));
/// ```
///
/// [`Feedback`]: super::Feedback
pub trait Rule: fmt::Debug + Send {
    /// Returns the name of the rule, as in the configuration and in the record of decisions. It contains no spaces.
    fn name(&self) -> &'static str;

    /// Returns how long the next window is, and how many samples it needs.
    fn terms(&self) -> WindowTerms;

    /// Returns the limit that follows from a window, given the limit and the band that were in force at its end.
    ///
    /// It is called only for windows with enough samples. It must not call the governor of its gate, which waits for the decision.
    fn decide(&mut self, observed: &Observed, limit: Limit, band: Band) -> Opinion;

    /// Returns what the rule remembers from earlier windows, as numbers. The order is up to the rule. The numbers are recorded
    /// before each decision, so that it can be replayed.
    ///
    /// A rule without memory keeps the default: no numbers.
    fn memory(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Replaces the memory by numbers that [`memory`](Self::memory) returned. Numbers that are missing count as 0.
    fn restore(&mut self, memory: &[f64]) {
        let _ = memory;
    }
}

impl<R: Rule + ?Sized> Rule for Box<R> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn terms(&self) -> WindowTerms {
        (**self).terms()
    }

    fn decide(&mut self, observed: &Observed, limit: Limit, band: Band) -> Opinion {
        (**self).decide(observed, limit, band)
    }

    fn memory(&self) -> Vec<f64> {
        (**self).memory()
    }

    fn restore(&mut self, memory: &[f64]) {
        (**self).restore(memory);
    }
}

/// How long a window lasts: until both bounds are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "rules of other crates construct it; a window has these two bounds"
)]
pub struct WindowTerms {
    /// The window is at least this long.
    pub min_length: Duration,
    /// The window has at least this many samples.
    pub min_samples: u32,
}

/// The limits that a rule may choose: from the floor to the derived ceiling.
///
/// The ceiling wins: it is what the host has. A floor above the ceiling counts as the ceiling.
///
/// ```
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::Band;
///
/// let band = Band::new(Limit::new(4), Limit::new(64));
/// assert_eq!(band.clamp(Limit::new(100)), Limit::new(64));
/// assert_eq!(Band::new(Limit::new(4), Limit::new(2)).floor(), Limit::new(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    floor: Limit,
    ceiling: Limit,
}

impl Band {
    /// Creates a band. A floor above the ceiling is lowered to the ceiling.
    #[must_use]
    pub fn new(floor: Limit, ceiling: Limit) -> Self {
        Self { floor: floor.min(ceiling), ceiling }
    }

    /// Returns the lowest limit of the band.
    #[must_use]
    pub fn floor(self) -> Limit {
        self.floor
    }

    /// Returns the highest limit of the band.
    #[must_use]
    pub fn ceiling(self) -> Limit {
        self.ceiling
    }

    /// Returns the limit in the band that is nearest to `limit`.
    #[must_use]
    pub fn clamp(self, limit: Limit) -> Limit {
        limit.clamp(self.floor, self.ceiling)
    }
}

/// Why a rule chose a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// The limit was reached and the server did not slow down.
    Grow,
    /// Slow start: the limit doubles until the throughput no longer follows.
    Double,
    /// The latency shows a queue at the server.
    Congested,
    /// Outcomes said that the server is overloaded.
    Overload,
    /// The limit falls on trial, to find the latency without a queue.
    Probe,
    /// A trial ended: the limit returns to what throughput and baseline support.
    Settle,
    /// The baseline was learnt anew, because lower limits did not make the server faster.
    Relearn,
    /// The limit is far above what was used.
    Unused,
    /// Nothing to change.
    Steady,
    /// The limit was not reached, so nothing is known about higher ones.
    NotReached,
}

impl Reason {
    /// All reasons.
    pub(super) const ALL: [Self; 10] = [
        Self::Grow,
        Self::Double,
        Self::Congested,
        Self::Overload,
        Self::Probe,
        Self::Settle,
        Self::Relearn,
        Self::Unused,
        Self::Steady,
        Self::NotReached,
    ];

    /// Returns the reason as one word, as in the record of decisions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grow => "grow",
            Self::Double => "double",
            Self::Congested => "congested",
            Self::Overload => "overload",
            Self::Probe => "probe",
            Self::Settle => "settle",
            Self::Relearn => "relearn",
            Self::Unused => "unused",
            Self::Steady => "steady",
            Self::NotReached => "not_reached",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The opinion of a rule after a window: the limit that it wants, the reason, and the numbers behind it.
///
/// ```
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Opinion, Reason};
///
/// let opinion = Opinion::new(14.4, Reason::Congested).with("rtt_ms", 25.0).with("baseline_ms", 20.0);
/// assert_eq!(opinion.limit(), Limit::new(14)); // rounded down
/// assert_eq!(opinion.numbers()[0], ("rtt_ms".into(), 25.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Opinion {
    limit: Limit,
    reason: Reason,
    numbers: Vec<(Cow<'static, str>, f64)>,
}

impl Opinion {
    /// Creates an opinion. The limit is rounded down, and then moved to the nearest valid limit. NaN becomes the limit 1.
    #[must_use]
    pub fn new(limit: f64, reason: Reason) -> Self {
        Self { limit: round_down(limit), reason, numbers: Vec::new() }
    }

    /// Creates an opinion that was parsed from a record.
    pub(super) fn recorded(limit: Limit, reason: Reason, numbers: Vec<(Cow<'static, str>, f64)>) -> Self {
        Self { limit, reason, numbers }
    }

    /// Adds a number that explains the opinion. The name contains no spaces and no `=`. A time is in milliseconds, and its name ends with
    /// `_ms`.
    #[must_use]
    pub fn with(mut self, name: &'static str, number: f64) -> Self {
        self.numbers.push((Cow::Borrowed(name), number));
        self
    }

    /// Returns the limit that the rule wants.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns why the rule wants it.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the numbers that explain it, by name.
    #[must_use]
    pub fn numbers(&self) -> &[(Cow<'static, str>, f64)] {
        &self.numbers
    }
}

/// Returns the valid limit at or below a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates; NaN becomes 0"
)]
fn round_down(limit: f64) -> Limit {
    Limit::saturating(limit as u64)
}
