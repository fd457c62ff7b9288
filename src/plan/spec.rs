//! The declaration of a gate.

use std::time::Duration;

use super::amount::Amount;
use super::formula::Formula;
use super::name::GateName;
use super::overrides::Policy;
use super::quantity::Quantity;

/// The declaration of a gate: its name, the formula of its limit, and how long its line may get.
///
/// It is the gate's key too: whatever takes a gate's name takes its spec.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::{Formula, GateSpec, Resource};
///
/// const UPLOADS: GateSpec = GateSpec::new("uploads", Formula::scale(Resource::CPU, 8).floor(16))
///     .queue(1000)
///     .max_wait(Duration::from_millis(250));
/// const THUMBNAILS: GateSpec = GateSpec::new("thumbnails", Formula::of(UPLOADS.fraction(1, 4)));
/// # assert_eq!(THUMBNAILS.formula().to_string(), "gate uploads * 1/4");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct GateSpec {
    name: GateName,
    formula: Formula,
    queue: Option<usize>,
    max_wait: Option<Duration>,
    measures_waits: bool,
    policy: Policy,
}

impl GateSpec {
    /// Declares a gate by a literal name. For computed input use [`GateSpec::named`].
    ///
    /// # Panics
    ///
    /// If `name` is no valid [`GateName`]; in a `const` that is a compile error.
    pub const fn new(name: &str, formula: Formula) -> Self {
        Self::named(GateName::new(name), formula)
    }

    /// Declares a gate.
    pub const fn named(name: GateName, formula: Formula) -> Self {
        Self { name, formula, queue: None, max_wait: None, measures_waits: true, policy: Policy::Trust }
    }

    /// At most this many requests may wait; a further one is refused at once. 0 means that nobody waits. Without it
    /// the line has no bound.
    pub const fn queue(mut self, bound: usize) -> Self {
        self.queue = Some(bound);
        self
    }

    /// No request waits longer than this, whatever deadline it brings. Without it, waiting has no end of its own.
    pub const fn max_wait(mut self, duration: Duration) -> Self {
        self.max_wait = Some(duration);
        self
    }

    /// Whether it measures how long requests wait; it does unless said.
    pub const fn measure_waits(mut self, measures: bool) -> Self {
        self.measures_waits = measures;
        self
    }

    /// What becomes of operators' settings above the derived limit; where the layer says something else, the stricter
    /// of the two holds.
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The gate's name.
    #[must_use]
    pub const fn name(&self) -> GateName {
        self.name
    }

    /// The formula of its limit.
    pub const fn formula(&self) -> &Formula {
        &self.formula
    }

    /// The bound of its line, in requests.
    #[must_use]
    pub const fn queue_bound(&self) -> Option<usize> {
        self.queue
    }

    /// The longest that a request may wait.
    #[must_use]
    pub const fn longest_wait(&self) -> Option<Duration> {
        self.max_wait
    }

    /// Whether it measures how long requests wait.
    #[must_use]
    pub const fn measures_waits(&self) -> bool {
        self.measures_waits
    }

    /// What becomes of operators' settings above the derived limit.
    #[must_use]
    pub const fn override_policy(&self) -> Policy {
        self.policy
    }

    /// `n` for each permit of this gate's limit, for another gate's formula.
    pub const fn times(&self, n: u64) -> Amount {
        self.name.times(n)
    }

    /// `numerator / denominator` of this gate's limit, for another gate's formula.
    pub const fn fraction(&self, numerator: u64, denominator: u64) -> Amount {
        self.name.fraction(numerator, denominator)
    }

    /// One for each `unit` permits of this gate's limit, for another gate's formula.
    pub const fn per(&self, unit: Quantity) -> Amount {
        self.name.per(unit)
    }
}

impl From<GateSpec> for GateName {
    fn from(spec: GateSpec) -> Self {
        spec.name
    }
}

impl From<&GateSpec> for GateName {
    fn from(spec: &GateSpec) -> Self {
        spec.name
    }
}
