//! The declaration of a gate.

use std::time::Duration;

use super::adaptive::Adaptive;
use super::amount::Amount;
use super::formula::Formula;
use super::holders::Holders;
use super::keys::Keys;
use super::name::{GateName, Resource};
use super::overrides::Policy;
use super::path::GatePath;
use super::quantity::Quantity;
use super::shed::Shed;

/// The declaration of a gate: its name, the formula of its limit, the bounds of its queue, and its place among other gates.
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
///
/// # Gates within gates
///
/// A gate can stand [`within`](Self::within) a parent, at most [`MAX_LEVELS`](Self::MAX_LEVELS) levels deep. Each permit of a
/// child also counts at its parent and at every gate above it, so a child never takes more than each of them has. A gate can
/// also have [`keys`](Self::keyed): children that are made on demand, such as one for each tenant.
///
/// ```
/// use concurrency_governor::{Formula, GateSpec, Keys, Part, Plan, Resource};
///
/// /// The I/O of the process. No tenant takes more than a quarter of it.
/// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64))
///     .keyed(Keys::up_to(4096).cap(Part::of(1, 4)).queue(64));
/// /// The messages have at most a quarter of the I/O. While all children of `io` want more, they get two shares.
/// const MESSAGES: GateSpec =
///     GateSpec::new("messages", Formula::of(IO.fraction(1, 4)).floor(1)).within(IO).weight(2);
///
/// let plan = Plan::new([IO, MESSAGES])?;
/// assert_eq!(plan.path(MESSAGES)?.to_string(), "io/messages");
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
    parent: Option<GateName>,
    /// `None` unless it was set: a weight that was set needs a parent.
    weight: Option<u32>,
    keys: Option<Keys>,
    shed: Option<Shed>,
    holders: Option<Holders>,
    adaptive: Option<Adaptive>,
}

impl GateSpec {
    /// The greatest number of levels of a plan: a root, and 7 levels of gates below it. The keys of a gate are a level of
    /// their own.
    pub const MAX_LEVELS: usize = 8;

    /// The greatest [`weight`](Self::weight) of a gate.
    pub const MAX_WEIGHT: u32 = 1_000_000;

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
        Self {
            name,
            formula,
            queue: None,
            max_wait: None,
            measures_waits: true,
            policy: Policy::Trust,
            parent: None,
            weight: None,
            keys: None,
            shed: None,
            holders: None,
            adaptive: None,
        }
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

    /// Puts the gate within a parent: each permit of this gate also counts at the parent, and at the gates above it. The
    /// plan must declare the parent, too.
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, Resource};
    ///
    /// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64));
    /// const MESSAGES: GateSpec = GateSpec::new("messages", Formula::of(IO.fraction(1, 4)).floor(1)).within(IO);
    /// assert_eq!(MESSAGES.parent(), Some(IO.name()));
    /// ```
    pub const fn within(self, parent: GateSpec) -> Self {
        self.within_named(parent.name)
    }

    /// Same as [`within`](Self::within), for a parent whose name was computed.
    pub const fn within_named(mut self, parent: GateName) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Sets the gate's share relative to the other children of its parent, from 1 to [`MAX_WEIGHT`](Self::MAX_WEIGHT). The
    /// default is 1.
    ///
    /// While the children of a parent want more than it has, a child with weight 2 gets twice as many permits as one with
    /// weight 1. What a child does not want goes to the others. [`Plan::new`](crate::Plan::new) rejects a weight out of
    /// range, and a weight of a gate that is within no other.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Declares the keys of the gate: children that are made on demand in a bounded table, such as one for each tenant.
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, Keys, Part, Resource};
    ///
    /// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64))
    ///     .keyed(Keys::up_to(4096).cap(Part::of(1, 4)).queue(64));
    /// # assert_eq!(IO.keys().map(|keys| keys.cap_part()), Some(Part::of(1, 4)));
    /// ```
    pub const fn keyed(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Declares that the gate rejects requests early under lasting overload: those that have waited longer than a target, and those that
    /// could not be admitted before their deadline. By default it does not.
    ///
    /// The requests of its keys and of the gates within it are shed, too. A gate that sheds decides every request under its lock, so an
    /// acquisition without contention takes longer.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Formula, GateSpec, Resource, Shed};
    ///
    /// const HTTP: GateSpec =
    ///     GateSpec::new("http", Formula::scale(Resource::CPU, 64)).shed(Shed::after(Duration::from_millis(20)));
    /// # assert_eq!(HTTP.shedding(), Some(Shed::after(Duration::from_millis(20))));
    /// ```
    pub const fn shed(mut self, shed: Shed) -> Self {
        self.shed = Some(shed);
        self
    }

    /// Makes the gate keep a record of each permit in use, so that a [diagnosis](crate::Governor::diagnose) shows which work
    /// keeps requests waiting. It also applies to the children and the keys of the gate. By default a gate keeps no records,
    /// which costs nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Formula, GateSpec, Holders, Resource};
    ///
    /// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64))
    ///     .track_holders(Holders::overdue_after(Duration::from_secs(30)));
    /// # assert!(IO.holders().is_some());
    /// ```
    pub const fn track_holders(mut self, holders: Holders) -> Self {
        self.holders = Some(holders);
        self
    }

    /// Lets the limit follow the outcomes of the work: a rule chooses it, from the floor of the declaration up to the limit that the
    /// formula derives. Report the outcomes by [`Request::observe`](crate::gate::Request::observe) or
    /// [`Permit::attempt`](crate::Permit::attempt).
    ///
    /// The choice is the reading of a resource of its own, [`Resource::feedback`], and one more `at most` step of the formula. So the
    /// explanation shows it, and an operator's setting replaces it like any derived limit: meanwhile feedback pauses. The
    /// [background refresh](crate::Governor::spawn_refresh) applies each decision. The name of the gate has at most 22 bytes.
    ///
    /// ```
    /// use concurrency_governor::{Adaptive, Formula, GateSpec, Plan, Reading, Readings, Overrides, Resource};
    ///
    /// const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::scale(Resource::CPU, 64))
    ///     .adaptive(Adaptive::latency().start(16).floor(4));
    ///
    /// let readings = Readings::new().with(Resource::CPU, Reading::whole(2));
    /// let resolution = Plan::new([UPSTREAM])?.resolve(&readings, &Overrides::new())?;
    /// let explanation = resolution.explain(UPSTREAM)?;
    /// assert_eq!(explanation.limit().get(), 16);
    /// assert_eq!(explanation.feedback().map(|feedback| feedback.ceiling().get()), Some(128));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn adaptive(mut self, adaptive: Adaptive) -> Self {
        self.adaptive = Some(adaptive);
        self
    }

    /// Declares how the limit follows outcomes as [`adaptive`](Self::adaptive) does, or that it does not.
    pub const fn maybe_adaptive(mut self, adaptive: Option<Adaptive>) -> Self {
        self.adaptive = adaptive;
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

    /// Returns the name of the gate that this gate is within.
    #[must_use]
    pub const fn parent(&self) -> Option<GateName> {
        self.parent
    }

    /// Returns the gate's share relative to the other children of its parent.
    #[must_use]
    pub const fn share_weight(&self) -> u32 {
        match self.weight {
            Some(weight) => weight,
            None => 1,
        }
    }

    /// Returns the declaration of the gate's keys, if it has keys.
    #[must_use]
    pub const fn keys(&self) -> Option<Keys> {
        self.keys
    }

    /// Returns the declaration of shedding, if the gate sheds.
    #[must_use]
    pub const fn shedding(&self) -> Option<Shed> {
        self.shed
    }

    /// Returns the declaration of the records of the gate's holders, if it keeps them.
    #[must_use]
    pub const fn holders(&self) -> Option<Holders> {
        self.holders
    }

    /// Returns the declaration of how the limit follows outcomes, if it does.
    #[must_use]
    pub const fn adaptivity(&self) -> Option<Adaptive> {
        self.adaptive
    }

    /// Returns what the last step of the formula of an adaptive gate reads: the limit that feedback chooses, or the start before the
    /// first choice. A start below the floor counts as the floor.
    pub(super) fn feedback_amount(&self) -> Option<Amount> {
        let adaptive = self.adaptive?;
        let start = adaptive.start_limit().max(adaptive.floor_limit());
        Some(Resource::feedback(self.name)?.times(1).assume(start.get().into()))
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

    /// Returns `true` if the weight was set, also if it was set to the default.
    pub(crate) const fn has_weight(&self) -> bool {
        self.weight.is_some()
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

/// The path of the gate's name alone, without its parents.
impl From<GateSpec> for GatePath {
    fn from(spec: GateSpec) -> Self {
        spec.name.into()
    }
}

/// The path of the gate's name alone, without its parents.
impl From<&GateSpec> for GatePath {
    fn from(spec: &GateSpec) -> Self {
        spec.name.into()
    }
}
