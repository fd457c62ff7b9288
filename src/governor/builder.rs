//! The builder of a governor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::feedback::{MakeRule, create_feedbacks};
use super::prober::{Prober, RefreshScope};
use super::shares::Shares;
use super::status::GovernorStatus;
use super::{DeclaredGates, Governor, GovernorShared, GovernorState};
use crate::event::Observer;
use crate::feedback::Rule;
#[cfg(feature = "fleet")]
use crate::fleet::Share;
use crate::gate::{Gate, GateBuilder};
use crate::plan::{
    BuildError, Explanation, GateName, GateSpec, Operand, Overrides, Plan, Problem, Resolution, Resource,
    RuleName,
};
use crate::probe::ResourceProbe;

impl Governor {
    /// Starts building a governor: add gates or a plan, probes and overrides, then call [`build`](GovernorBuilder::build).
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides, Resource, probe};
    ///
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let governor = Governor::builder()
    ///     .gate(JOBS)
    ///     .probes(probe::host())
    ///     .overrides(Overrides::new().then(OverrideLayer::new("cli").set(JOBS, 12)))
    ///     .build()
    ///     .await?;
    /// assert_eq!(governor.gate(JOBS)?.limit().get(), 12);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> GovernorBuilder {
        GovernorBuilder::new()
    }
}

/// Builds a [`Governor`]; from [`Governor::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct GovernorBuilder {
    specs: Vec<GateSpec>,
    probes: Vec<Arc<dyn ResourceProbe>>,
    overrides: Overrides,
    observers: Vec<Box<dyn Observer>>,
    rules: BTreeMap<RuleName, MakeRule>,
    #[cfg(feature = "fleet")]
    shares: Vec<(GateName, Share)>,
    /// The gates of plans that are not to be opened without a share.
    must_share: Vec<GateName>,
    probe_deadline: Duration,
}

impl GovernorBuilder {
    fn new() -> Self {
        Self {
            specs: Vec::new(),
            probes: Vec::new(),
            overrides: Overrides::new(),
            observers: Vec::new(),
            rules: BTreeMap::new(),
            #[cfg(feature = "fleet")]
            shares: Vec::new(),
            must_share: Vec::new(),
            probe_deadline: PROBE_DEADLINE,
        }
    }

    /// Adds the gates of a plan.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "taken by value as in the other methods of the builder"
    )]
    pub fn plan(mut self, plan: Plan) -> Self {
        self.specs.extend_from_slice(plan.specs());
        self.must_share.extend_from_slice(plan.shared());
        self
    }

    /// Adds a gate.
    pub fn gate(mut self, spec: GateSpec) -> Self {
        self.specs.push(spec);
        self
    }

    /// Adds a probe. Each resource may have one probe.
    pub fn probe(mut self, probe: impl ResourceProbe + 'static) -> Self {
        self.probes.push(Arc::new(probe));
        self
    }

    /// Adds several probes, such as [`probe::host()`](crate::probe::host).
    pub fn probes(mut self, probes: impl IntoIterator<Item = Box<dyn ResourceProbe>>) -> Self {
        self.probes.extend(probes.into_iter().map(Arc::from));
        self
    }

    /// Sets the overrides. [`Governor::set_overrides`] changes them later.
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Adds an observer, which is called with every [`Event`](crate::Event).
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Adds a rule of your own, for the gates that [name it](crate::Adaptive::custom). `make` creates one for each gate. A second rule of
    /// the same name replaces the first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::feedback::Aimd;
    /// use concurrency_governor::plan::RuleName;
    /// use concurrency_governor::{Adaptive, Formula, GateSpec, Governor};
    ///
    /// const OURS: RuleName = RuleName::new("ours");
    /// const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::fixed(64)).adaptive(Adaptive::custom(OURS));
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let governor = Governor::builder()
    ///     .gate(UPSTREAM)
    ///     .rule(OURS, || Aimd::new(Duration::from_millis(80))) // your own implementation of `Rule`
    ///     .build()
    ///     .await?;
    /// assert_eq!(governor.gate(UPSTREAM)?.limit().get(), 16);
    /// # Ok(())
    /// # }
    /// ```
    pub fn rule<R: Rule + 'static>(
        mut self,
        name: RuleName,
        make: impl Fn() -> R + Send + Sync + 'static,
    ) -> Self {
        self.rules.insert(name, Box::new(move || Box::new(make())));
        self
    }

    /// Shares the limit of a gate with the other processes of a fleet. The gate must not be within another one. The limit
    /// that is derived from the host, or set by an operator, is then the most that this process asks its ledger for. The
    /// gates within it share its lease.
    ///
    /// [`Governor::shared`] returns its handle, and [`Governor::gate`] an error: permits of a shared gate are valid only with a lease.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn share(mut self, gate: impl Into<GateName>, share: Share) -> Self {
        self.shares.push((gate.into(), share));
        self
    }

    /// Shares the limits of several gates, as [`share`](Self::share) does, such as those of a configuration.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn shares(mut self, shares: impl IntoIterator<Item = (GateName, Share)>) -> Self {
        self.shares.extend(shares);
        self
    }

    /// Sets the time that a probe has for one measurement, both in [`build`](Self::build) and in each refresh. Default: 1 s.
    ///
    /// The readings of a refresh take effect together. So a probe that hangs delays those of the others by this time, in each refresh.
    pub fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.probe_deadline = deadline;
        self
    }

    /// Measures every resource once, derives the limits, and opens the gates.
    ///
    /// A probe that fails, panics or misses its deadline does not fail the build. Its resource counts as unknown, and the
    /// [assumptions](crate::Amount::assume) of the formulas apply until the probe works. A background refresh keeps them for
    /// [`rise_after`](super::RefreshPolicy::rise_after) longer.
    ///
    /// ```
    /// use concurrency_governor::testing::MockProbe;
    /// use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
    ///
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::of(Resource::CPU.times(2).assume(4)));
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
    /// cpu.fail("permission denied");
    /// let governor = Governor::builder().gate(JOBS).probe(cpu).build().await?;
    /// assert_eq!(governor.gate(JOBS)?.limit().get(), 8); // 4 cores are assumed
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem: those of [`Plan::new`] and [`Plan::resolve`], two probes for one resource, a
    /// resource in a formula that has no probe, an adaptive gate whose rule was not [added](Self::rule), and a
    /// share whose gate is not declared or is within another one, or whose ledger cannot be used. A ledger that cannot be reached does
    /// not fail the build: its gate is paused until the ledger answers.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the measurements and drops the builder. It has no other effect.
    #[cfg_attr(not(feature = "fleet"), expect(unused_mut, reason = "no gate can be shared"))]
    pub async fn build(mut self) -> Result<Governor, BuildError> {
        // Every check runs even if an earlier one fails, so that the error has all problems. No probe is called for an
        // invalid plan.
        let mut unknown_rules = Vec::new();
        let feedbacks = create_feedbacks(&self.specs, &self.rules, &self.probes, &mut unknown_rules);
        let mut all_probes = self.probes;
        all_probes.extend(feedbacks.iter().map(|feedback| Arc::clone(feedback) as Arc<dyn ResourceProbe>));
        let mut problems = probe_problems(&self.specs, &all_probes);
        problems.extend(unknown_rules);
        let plan = match Plan::new(self.specs.iter().copied()) {
            Ok(plan) => Some(plan),
            Err(error) => {
                problems.extend_from_slice(error.problems());
                None
            }
        };
        problems.extend(Plan::override_problems(&self.specs, &self.overrides));
        #[cfg(feature = "fleet")]
        problems.extend(Shares::problems(&self.shares, &self.specs).await);
        #[cfg(feature = "fleet")]
        self.must_share.retain(|must| !self.shares.iter().any(|(gate, _)| gate == must));
        problems.extend(self.must_share.iter().map(|gate| Problem::MissingShare { gate: *gate }));
        let Some(plan) = plan.filter(|_| problems.is_empty()) else {
            return Err(BuildError::of(problems));
        };

        let mut prober = Prober::new(all_probes, self.probe_deadline);
        let results = prober.measure(&RefreshScope::All).await;
        let (readings, events) = prober.apply(results, Duration::ZERO);
        let resolution = Arc::new(plan.resolve(&readings, &self.overrides)?);
        let status = GovernorStatus { refreshes: 0, rejected: 0, probes: prober.statuses() };
        let gates = open_gates(&plan, &resolution);
        for feedback in &feedbacks {
            let gate = gates.iter().find(|gate| gate.name() == feedback.gate_name());
            feedback.attach(gate.expect("each gate of the plan is open"));
        }
        #[cfg(feature = "fleet")]
        let shares = Shares::open(self.shares, &plan, &gates).map_err(BuildError::of)?;
        #[cfg(not(feature = "fleet"))]
        let shares = Shares::default();
        let declared = Arc::new(DeclaredGates { plan, gates, feedbacks });
        let state = GovernorState {
            declared: Arc::clone(&declared),
            readings,
            overrides: self.overrides,
            resolution: Arc::clone(&resolution),
            status,
            events: events.len() as u64,
        };
        let governor = Governor(Arc::new(GovernorShared {
            rules: self.rules,
            shares,
            added: watch::Sender::new(declared.gates.len()),
            prober: tokio::sync::Mutex::new(prober),
            resolutions: watch::Sender::new(Arc::clone(&resolution)),
            state: Mutex::new(state),
            observers: self.observers,
        }));
        declared.follow_ceilings(&resolution);
        governor.notify_observers(1, &events);
        Ok(governor)
    }
}

impl fmt::Debug for GovernorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources: Vec<Resource> = self.probes.iter().map(ResourceProbe::resource).collect();
        f.debug_struct("GovernorBuilder")
            .field("specs", &self.specs)
            .field("probes", &resources)
            .field("overrides", &self.overrides)
            .field("probe_deadline", &self.probe_deadline)
            .finish_non_exhaustive()
    }
}

/// The default of [`GovernorBuilder::probe_deadline`]. The built-in probes take far less; a custom probe may ask a busy
/// service.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// Returns each resource with several probes, and each resource of a formula without a probe.
pub(super) fn probe_problems(specs: &[GateSpec], probes: &[Arc<dyn ResourceProbe>]) -> Vec<Problem> {
    let mut probes_per_resource: BTreeMap<Resource, usize> = BTreeMap::new();
    for probe in probes {
        let count = probes_per_resource.entry(probe.resource()).or_default();
        *count = count.saturating_add(1);
    }
    let mut problems = Vec::new();
    for (&resource, &times) in probes_per_resource.iter().filter(|(_, times)| **times > 1) {
        problems.push(Problem::DuplicateProbe { resource, times });
    }
    for spec in specs {
        // A formula may read a resource several times; it is one problem per gate.
        let mut missing: Vec<Resource> = Vec::new();
        for operand in spec.formula().operands() {
            if let Operand::Resource(resource) = operand {
                if !probes_per_resource.contains_key(&resource) && !missing.contains(&resource) {
                    missing.push(resource);
                }
            }
        }
        problems.extend(missing.into_iter().map(|resource| Problem::NoProbe {
            gate: spec.name(),
            resource,
            probed: probes_per_resource.keys().copied().collect(),
        }));
    }
    problems
}

/// Opens a gate for each gate of the plan. Returns them in the order of the plan.
///
/// A gate without parent, children and keys that neither sheds nor tracks its holders is [standalone](crate::gate): its fast path takes
/// no lock.
fn open_gates(plan: &Plan, resolution: &Resolution) -> Vec<Gate> {
    let explanations = resolution.explanations().iter();
    let explanations: BTreeMap<GateName, &Explanation> =
        explanations.map(|explanation| (explanation.gate(), explanation)).collect();
    let parents: BTreeSet<GateName> = plan.specs().iter().filter_map(GateSpec::parent).collect();
    let mut opened: BTreeMap<GateName, Gate> = BTreeMap::new();
    // A parent is opened before its children, because a child is created within it.
    for spec in plan.parents_first() {
        let explanation =
            explanations.get(&spec.name()).expect("a resolution has a limit for each gate of its plan");
        let mut builder = gate_builder(spec, explanation);
        if parents.contains(&spec.name()) {
            builder = builder.with_children();
        }
        if let Some(parent) = spec.parent().and_then(|parent| opened.get(&parent)) {
            let child = builder.weight(spec.share_weight()).within(parent);
            builder = child.expect("a parent was opened with children, and a plan has at most 8 levels");
        }
        opened.insert(spec.name(), builder.build());
    }
    plan.specs().iter().filter_map(|spec| opened.remove(&spec.name())).collect()
}

/// Returns the builder of a gate with the settings of its spec and its explanation. The caller adds parent and children.
pub(super) fn gate_builder(spec: &GateSpec, explanation: &Explanation) -> GateBuilder {
    let mut builder = Gate::builder(spec, explanation.limit()).measure_waits(spec.measures_waits());
    if let Some(bound) = explanation.queue_bounds().queue() {
        builder = builder.queue(bound);
    }
    if let Some(duration) = explanation.queue_bounds().max_wait() {
        builder = builder.max_wait(duration);
    }
    if spec.adaptivity().is_some() {
        builder = builder.sample_outcomes();
    }
    // The keys need no updates later: whenever the gate is resized, the caps of its keys follow.
    if let Some(keys) = spec.keys() {
        builder = builder.keyed(keys);
    }
    if let Some(shed) = spec.shedding() {
        builder = builder.shed(shed);
    }
    if let Some(holders) = spec.holders() {
        builder = builder.track_holders(holders);
    }
    builder
}
