//! The declaration of a gate.

use std::time::Duration;

use super::amount::Amount;
use super::formula::Formula;
use super::name::GateName;
use super::overrides::Policy;
use super::quantity::Quantity;

/// The declaration of a gate: its name, the formula of its limit, and the bounds of its queue.
///
/// A spec is also the gate's key: each function that takes a gate's name also takes its spec.
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
    /// Declares a gate with a literal name. For computed input use [`GateSpec::named`].
    ///
    /// # Panics
    ///
    /// If `name` is not a valid [`GateName`]. In a `const` that is a compile error.
    pub const fn new(name: &str, formula: Formula) -> Self {
        Self::named(GateName::new(name), formula)
    }

    /// Declares a gate with a name that was computed.
    pub const fn named(name: GateName, formula: Formula) -> Self {
        Self { name, formula, queue: None, max_wait: None, measures_waits: true, policy: Policy::Trust }
    }

    /// Sets the bound of the queue: at most this many requests wait, and a further one is rejected immediately. With 0 no
    /// request waits. By default the queue has no bound.
    pub const fn queue(mut self, bound: usize) -> Self {
        self.queue = Some(bound);
        self
    }

    /// Sets the longest wait: no request waits longer, even if its own deadline is later. By default there is no such
    /// limit.
    pub const fn max_wait(mut self, duration: Duration) -> Self {
        self.max_wait = Some(duration);
        self
    }

    /// Sets whether the gate measures how long requests wait. By default it does.
    pub const fn measure_waits(mut self, measures: bool) -> Self {
        self.measures_waits = measures;
        self
    }

    /// Sets the policy for operators' settings above the derived limit. If the override layer has another policy, the
    /// stricter of the two applies.
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Returns the gate's name.
    #[must_use]
    pub const fn name(&self) -> GateName {
        self.name
    }

    /// Returns the formula of the gate's limit.
    pub const fn formula(&self) -> &Formula {
        &self.formula
    }

    /// Returns the bound of the queue, in requests.
    #[must_use]
    pub const fn queue_bound(&self) -> Option<usize> {
        self.queue
    }

    /// Returns the longest time that a request may wait.
    #[must_use]
    pub const fn longest_wait(&self) -> Option<Duration> {
        self.max_wait
    }

    /// Returns whether the gate measures how long requests wait.
    #[must_use]
    pub const fn measures_waits(&self) -> bool {
        self.measures_waits
    }

    /// Returns the policy for operators' settings above the derived limit.
    #[must_use]
    pub const fn override_policy(&self) -> Policy {
        self.policy
    }

    /// Returns `n` times this gate's limit, for another gate's formula.
    pub const fn times(&self, n: u64) -> Amount {
        self.name.times(n)
    }

    /// Returns `numerator / denominator` of this gate's limit, for another gate's formula.
    pub const fn fraction(&self, numerator: u64, denominator: u64) -> Amount {
        self.name.fraction(numerator, denominator)
    }

    /// Returns one for each `unit` permits of this gate's limit, for another gate's formula.
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
