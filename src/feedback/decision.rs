//! The record of a decision: everything that it depends on, as one line of text that can be replayed.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use crate::plan::Limit;
use crate::plan::debug_as_display::impl_debug_as_display;

use super::rule::{Band, Opinion, Reason, Rule};
use super::window::Observed;

/// One decision, with everything that it depends on.
///
/// `Display` prints it for readers: the limits, the reason and the numbers. [`to_line`](Self::to_line) prints everything, and the
/// line parses back to an equal value.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::Limit;
/// use concurrency_governor::feedback::{Aimd, Band, FeedbackDecision, Observed};
///
/// let observed = Observed { samples: 50, reached: true, p90: Duration::from_millis(80), ..Observed::default() };
/// let mut rule = Aimd::new(Duration::from_millis(100));
/// let band = Band::new(Limit::MIN, Limit::new(64));
/// let decision = FeedbackDecision::make(&mut rule, Duration::from_secs(9), Limit::new(10), band, observed);
/// assert_eq!(decision.to_string(), "10 -> 20: double (p90_ms=80, max_healthy_ms=100)");
///
/// let parsed: FeedbackDecision = decision.to_line().parse()?;
/// assert_eq!(parsed, decision);
/// assert_eq!(parsed.replay(&mut rule), decision);
/// # Ok::<(), concurrency_governor::feedback::ReplayError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackDecision {
    at: Duration,
    rule: Cow<'static, str>,
    memory: Vec<f64>,
    observed: Observed,
    band: Band,
    before: Limit,
    after: Limit,
    opinion: Opinion,
}

impl FeedbackDecision {
    /// Calls a rule, and bounds its opinion as [`Feedback`](super::Feedback) promises. `at` is the instant at which the window ended.
    pub fn make(rule: &mut dyn Rule, at: Duration, limit: Limit, band: Band, observed: Observed) -> Self {
        let memory = rule.memory();
        let opinion = rule.decide(&observed, limit, band);
        let after = bound_step(&opinion, limit, band, observed.reached);
        Self { at, rule: Cow::Borrowed(rule.name()), memory, observed, band, before: limit, after, opinion }
    }

    /// Decides again: restores the recorded memory of the rule, and calls the rule with the recorded window. With the same rule and
    /// the same options the result is equal to `self`.
    #[must_use]
    pub fn replay(&self, rule: &mut dyn Rule) -> Self {
        rule.restore(&self.memory);
        Self::make(rule, self.at, self.before, self.band, self.observed)
    }

    /// Returns when the window ended, on the caller's clock.
    #[must_use]
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Returns the name of the rule.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns what was observed in the window.
    #[must_use]
    pub fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Returns the band that was in force.
    #[must_use]
    pub fn band(&self) -> Band {
        self.band
    }

    /// Returns the limit in force during the window.
    #[must_use]
    pub fn before(&self) -> Limit {
        self.before
    }

    /// Returns the limit that the decision put in force.
    #[must_use]
    pub fn after(&self) -> Limit {
        self.after
    }

    /// Returns what the rule wanted, with its reason and its numbers. The limit can differ from [`after`](Self::after), which is
    /// bounded.
    #[must_use]
    pub fn opinion(&self) -> &Opinion {
        &self.opinion
    }

    /// Returns the whole record as one line of `key=value` pairs. Times are in nanoseconds; `memory` lists the numbers that the
    /// rule remembered before the decision.
    #[must_use]
    pub fn to_line(&self) -> String {
        let observed = &self.observed;
        let memory: Vec<_> = self.memory.iter().map(ToString::to_string).collect();
        let mut line = format!(
            "at={} rule={} before={} after={} wanted={} reason={} floor={} ceiling={} length={} samples={} completed={} \
             overloads={} mean={} center={} p90={} peak={} waiting={} reached={} pressured={} memory={}",
            self.at.as_nanos(),
            self.rule,
            self.before,
            self.after,
            self.opinion.limit(),
            self.opinion.reason(),
            self.band.floor(),
            self.band.ceiling(),
            observed.length.as_nanos(),
            observed.samples,
            observed.completed,
            observed.overloads,
            observed.mean.as_nanos(),
            observed.center.as_nanos(),
            observed.p90.as_nanos(),
            observed.peak,
            observed.waiting,
            observed.reached,
            observed.pressured,
            memory.join(","),
        );
        for (name, number) in self.opinion.numbers() {
            // Writing to a text cannot fail.
            let _ = write!(line, " {name}={number}");
        }
        line
    }
}

impl fmt::Display for FeedbackDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.before, self.after, self.opinion.reason())?;
        for (index, (name, number)) in self.opinion.numbers().iter().enumerate() {
            let separator = if index == 0 { " (" } else { ", " };
            // Three decimals suffice for a reader.
            write!(f, "{separator}{name}={}", (number * 1e3).round() / 1e3)?;
        }
        if self.opinion.numbers().is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl FromStr for FeedbackDecision {
    type Err = ReplayError;

    fn from_str(line: &str) -> Result<Self, ReplayError> {
        let mut fields = Fields(line.split_whitespace());
        let (at, rule) = (fields.duration("at")?, fields.take("rule")?.to_owned());
        let (before, after, wanted) =
            (fields.parse("before")?, fields.parse("after")?, fields.parse::<Limit>("wanted")?);
        let name = fields.take("reason")?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.name() == name);
        let reason = reason.ok_or_else(|| ReplayError::new("reason", name))?;
        let band = Band::new(fields.parse("floor")?, fields.parse("ceiling")?);
        let observed = Observed {
            length: fields.duration("length")?,
            samples: fields.parse("samples")?,
            completed: fields.parse("completed")?,
            overloads: fields.parse("overloads")?,
            mean: fields.duration("mean")?,
            center: fields.duration("center")?,
            p90: fields.duration("p90")?,
            peak: fields.parse("peak")?,
            waiting: fields.parse("waiting")?,
            reached: fields.parse("reached")?,
            pressured: fields.parse("pressured")?,
        };
        let memory = fields.take("memory")?.split(',').filter(|number| !number.is_empty());
        let memory = memory.map(|number| parse("memory", number)).collect::<Result<_, _>>()?;
        // The remaining fields are the numbers of the rule, under names that the rule has chosen.
        let mut numbers = Vec::new();
        for field in fields.0 {
            let (name, number) = field.split_once('=').ok_or_else(|| ReplayError::new("a number", field))?;
            numbers.push((Cow::Owned(name.to_owned()), parse(name, number)?));
        }
        let opinion = Opinion::recorded(wanted, reason, numbers);
        Ok(Self { at, rule: Cow::Owned(rule), memory, observed, band, before, after, opinion })
    }
}

/// The last decisions, oldest first. It keeps [`CAPACITY`](Self::CAPACITY) of them.
///
/// `Display` prints one line each, as [`FeedbackDecision::to_line`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    decisions: VecDeque<FeedbackDecision>,
}

impl History {
    /// The number of decisions that are kept.
    pub const CAPACITY: usize = 64;

    /// Creates an empty history.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the decisions, oldest first.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &FeedbackDecision> + ExactSizeIterator {
        self.decisions.iter()
    }

    /// Adds a decision, and forgets the oldest one if the history is full.
    pub(super) fn push(&mut self, decision: FeedbackDecision) -> &FeedbackDecision {
        if self.decisions.len() == Self::CAPACITY {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
        &self.decisions[self.decisions.len().saturating_sub(1)]
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|decision| writeln!(f, "{}", decision.to_line()))
    }
}

impl FromStr for History {
    type Err = ReplayError;

    /// Parses a printed history. Of more than 64 lines, the last 64 are kept.
    fn from_str(text: &str) -> Result<Self, ReplayError> {
        let mut history = Self::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            history.push(line.parse()?);
        }
        Ok(history)
    }
}

/// The error for a text that is not a recorded decision: which field, and what it has.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a recorded decision: {field} is {given:?}")]
pub struct ReplayError {
    field: String,
    given: String,
}

impl ReplayError {
    fn new(field: &str, given: &str) -> Self {
        Self { field: field.to_owned(), given: given.to_owned() }
    }
}

/// Bounds what a rule wants: one step per window, growth only where the limit was reached, and the band, which decides last.
fn bound_step(opinion: &Opinion, limit: Limit, band: Band, reached: bool) -> Limit {
    let limit = limit.get();
    let least = limit.saturating_sub((limit / 10).max(1));
    let most = if reached { limit.saturating_mul(2) } else { limit };
    band.clamp(Limit::saturating(opinion.limit().get().clamp(least, most).into()))
}

/// The fields of a line, in their order.
struct Fields<'t>(std::str::SplitWhitespace<'t>);

impl<'t> Fields<'t> {
    /// Returns the value of the next field, which must have this name.
    fn take(&mut self, name: &str) -> Result<&'t str, ReplayError> {
        let field = self.0.next().unwrap_or("missing");
        field
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
            .ok_or_else(|| ReplayError::new(name, field))
    }

    fn parse<T: FromStr>(&mut self, name: &str) -> Result<T, ReplayError> {
        parse(name, self.take(name)?)
    }

    fn duration(&mut self, name: &str) -> Result<Duration, ReplayError> {
        Ok(Duration::from_nanos(self.parse(name)?))
    }
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, ReplayError> {
    text.parse().map_err(|_| ReplayError::new(name, text))
}

impl_debug_as_display!(ReplayError);
