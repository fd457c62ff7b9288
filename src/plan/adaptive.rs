//! The declaration of a limit that follows the outcomes of the work.

use std::fmt;
use std::time::Duration;

use super::limit::Limit;
use super::name::RuleName;

/// The declaration of a limit that follows the outcomes of the work, within a floor and the derived limit. Add it with
/// [`GateSpec::adaptive`](crate::GateSpec::adaptive).
///
/// The derived limit is what the host grants. What a server elsewhere bears is known only from its answers, so a
/// [rule](crate::feedback) chooses the limit below it.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::{Adaptive, Formula, GateSpec, Resource};
///
/// const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::scale(Resource::CPU, 64))
///     .adaptive(Adaptive::latency().start(16).floor(4));
/// const SEARCH: GateSpec = GateSpec::new("search", Formula::fixed(100))
///     .adaptive(Adaptive::aimd(Duration::from_millis(200)));
/// # assert_eq!(SEARCH.adaptivity().map(|adaptive| adaptive.rule().to_string()), Some("aimd".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Adaptive {
    rule: AdaptiveRule,
    start: Limit,
    floor: Limit,
}

/// Which rule chooses an adaptive limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdaptiveRule {
    /// [`Latency`](crate::feedback::Latency): keeps a small queue at the server.
    Latency,
    /// [`Arc`](crate::feedback::Arc): follows the mean latency, and the server's signs of overload.
    Arc,
    /// [`Aimd`](crate::feedback::Aimd): adds and multiplies around a latency that is healthy.
    Aimd {
        /// The highest 90th percentile of the latency that is healthy.
        max_healthy: Duration,
    },
    /// A rule of your own, by the name that [`GovernorBuilder::rule`](crate::governor::GovernorBuilder::rule) gives it.
    Custom(RuleName),
}

impl Adaptive {
    /// The limit before the first decision, unless [`start`](Self::start) sets another one: 16.
    pub const DEFAULT_START: Limit = Limit::new(16);

    /// The lowest limit, unless [`floor`](Self::floor) sets another one: 4.
    pub const DEFAULT_FLOOR: Limit = Limit::new(4);

    /// Declares a limit that keeps a small queue at the server, judged by latency and throughput:
    /// [`Latency`](crate::feedback::Latency).
    pub const fn latency() -> Self {
        Self::by(AdaptiveRule::Latency)
    }

    /// Declares a limit for servers that say when they are overloaded: [`Arc`](crate::feedback::Arc).
    pub const fn arc() -> Self {
        Self::by(AdaptiveRule::Arc)
    }

    /// Declares a limit that rises while the 90th percentile of the latency is at most `max_healthy`:
    /// [`Aimd`](crate::feedback::Aimd).
    pub const fn aimd(max_healthy: Duration) -> Self {
        Self::by(AdaptiveRule::Aimd { max_healthy })
    }

    /// Declares a limit of a rule of your own, by the name that
    /// [`GovernorBuilder::rule`](crate::governor::GovernorBuilder::rule) gives it.
    pub const fn custom(rule: RuleName) -> Self {
        Self::by(AdaptiveRule::Custom(rule))
    }

    /// Declares a limit of a rule, with the default start and floor.
    pub const fn by(rule: AdaptiveRule) -> Self {
        Self { rule, start: Self::DEFAULT_START, floor: Self::DEFAULT_FLOOR }
    }

    /// Sets the limit before the first decision, in permits. A start out of the band counts as the nearest limit in it. For
    /// computed input use [`start_at`](Self::start_at).
    ///
    /// # Panics
    ///
    /// If `limit` is not in `1..=Limit::MAX`. In a `const` that is a compile error.
    pub const fn start(self, limit: u32) -> Self {
        self.start_at(Limit::new(limit))
    }

    /// Same as [`start`](Self::start), for computed input.
    pub const fn start_at(mut self, limit: Limit) -> Self {
        self.start = limit;
        self
    }

    /// Sets the lowest limit that the rule may choose, in permits. A derived limit below the floor holds. For computed input
    /// use [`floor_at`](Self::floor_at).
    ///
    /// # Panics
    ///
    /// If `limit` is not in `1..=Limit::MAX`. In a `const` that is a compile error.
    pub const fn floor(self, limit: u32) -> Self {
        self.floor_at(Limit::new(limit))
    }

    /// Same as [`floor`](Self::floor), for computed input.
    pub const fn floor_at(mut self, limit: Limit) -> Self {
        self.floor = limit;
        self
    }

    /// Returns the rule.
    #[must_use]
    pub const fn rule(&self) -> AdaptiveRule {
        self.rule
    }

    /// Returns the limit before the first decision.
    #[must_use]
    pub const fn start_limit(&self) -> Limit {
        self.start
    }

    /// Returns the lowest limit that the rule may choose.
    #[must_use]
    pub const fn floor_limit(&self) -> Limit {
        self.floor
    }
}

/// Prints the name: `latency`, `arc`, `aimd`, or `custom:` and the name of a rule of your own.
impl fmt::Display for AdaptiveRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency => f.pad("latency"),
            Self::Arc => f.pad("arc"),
            Self::Aimd { .. } => f.pad("aimd"),
            Self::Custom(name) => f.pad(&format!("custom:{name}")),
        }
    }
}
