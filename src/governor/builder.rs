//! Building a governor: every problem at once, then the first measurement.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::measure::Prober;
use super::status::{self, Books};
use super::{Governor, Shared, State};
use crate::event::Observer;
use crate::gate::Gate;
use crate::plan::{BuildError, GateSpec, Operand, Overrides, Plan, Problem, Resolution, Resource};
use crate::probe::ResourceProbe;

/// A [`Governor`] in the making; from [`Governor::builder`].
#[must_use = "a builder makes no governor until `build`"]
pub struct GovernorBuilder {
    specs: Vec<GateSpec>,
    probes: Vec<Arc<dyn ResourceProbe>>,
    overrides: Overrides,
    observers: Vec<Box<dyn Observer>>,
    probe_deadline: Duration,
}

impl GovernorBuilder {
    pub(super) fn new() -> Self {
        Self {
            specs: Vec::new(),
            probes: Vec::new(),
            overrides: Overrides::new(),
            observers: Vec::new(),
            probe_deadline: PROBE_DEADLINE,
        }
    }

    /// Adds the gates of a plan.
    #[expect(clippy::needless_pass_by_value, reason = "a plan is handed over, as everything else here")]
    pub fn plan(mut self, plan: Plan) -> Self {
        self.specs.extend_from_slice(plan.specs());
        self
    }

    /// Adds a gate.
    pub fn gate(mut self, spec: GateSpec) -> Self {
        self.specs.push(spec);
        self
    }

    /// Adds a probe, one a resource.
    pub fn probe(mut self, probe: impl ResourceProbe + 'static) -> Self {
        self.probes.push(Arc::new(probe));
        self
    }

    /// Adds several probes, such as [`probe::host()`](crate::probe::host).
    pub fn probes(mut self, probes: impl IntoIterator<Item = Box<dyn ResourceProbe>>) -> Self {
        self.probes.extend(probes.into_iter().map(Arc::from));
        self
    }

    /// The operators' settings; [`Governor::set_overrides`] changes them later.
    pub fn overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Adds an observer, which is told of every [`Event`](crate::Event).
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// How long a probe may take over one measurement: 1 s unless set. Later ones of the same governor keep to it, too.
    pub fn probe_deadline(mut self, deadline: Duration) -> Self {
        self.probe_deadline = deadline;
        self
    }

    /// Measures every resource once, derives the limits, and opens the gates.
    ///
    /// A probe that fails, panics or misses its deadline does not fail the build: its resource reads unknown, and the
    /// formulas' [assumptions](crate::Amount::assume) apply until it works.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem: those of [`Plan::new`] and [`Plan::resolve`], two probes of one resource, a
    /// resource in a formula that no probe measures.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the builder with it; nothing else comes of it.
    pub async fn build(self) -> Result<Governor, BuildError> {
        let mut problems = probe_problems(&self.specs, &self.probes);
        let plan = match Plan::new(self.specs.iter().copied()) {
            Ok(plan) => Some(plan),
            Err(error) => {
                problems.extend_from_slice(error.problems());
                None
            }
        };
        problems.extend(Plan::override_problems(&self.specs, &self.overrides));
        let Some(plan) = plan.filter(|_| problems.is_empty()) else {
            return Err(BuildError::of(problems));
        };

        let mut prober = Prober::new(self.probes, self.probe_deadline);
        let outcomes = prober.measure().await;
        let mut books = Books::default();
        books.measured(&status::taken(&prober, &outcomes));
        let (readings, events) = prober.take_in(outcomes, NonZeroU32::MIN);
        let resolution = Arc::new(plan.resolve(&readings, &self.overrides)?);
        let governor = Governor(Arc::new(Shared {
            gates: open_gates(&plan, &resolution),
            plan,
            prober: tokio::sync::Mutex::new(prober),
            resolutions: watch::Sender::new(Arc::clone(&resolution)),
            state: Mutex::new(State { readings, overrides: self.overrides, resolution, books }),
            observers: self.observers,
        }));
        governor.tell(&events);
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

/// The built-in probes take microseconds; a second is for a probe that asks a busy service.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

fn probe_problems(specs: &[GateSpec], probes: &[Arc<dyn ResourceProbe>]) -> Vec<Problem> {
    let mut times: BTreeMap<Resource, usize> = BTreeMap::new();
    for probe in probes {
        let times = times.entry(probe.resource()).or_default();
        *times = times.saturating_add(1);
    }
    let measured: Vec<Resource> = times.keys().copied().collect();
    let mut problems = Vec::new();
    for (&resource, &times) in times.iter().filter(|(_, times)| **times > 1) {
        problems.push(Problem::DuplicateProbe { resource, times });
    }
    for spec in specs {
        let mut missing: Vec<Resource> = Vec::new();
        for operand in spec.formula().operands() {
            if let Operand::Resource(resource) = operand {
                if !times.contains_key(&resource) && !missing.contains(&resource) {
                    missing.push(resource);
                }
            }
        }
        let gate = spec.name();
        let missing = missing.into_iter();
        problems.extend(missing.map(|resource| Problem::NoProbe {
            gate,
            resource,
            probed: measured.clone(),
        }));
    }
    problems
}

fn open_gates(plan: &Plan, resolution: &Resolution) -> Vec<Gate> {
    let explained = plan.specs().iter().zip(resolution.explanations());
    explained
        .map(|(spec, explanation)| {
            let mut gate = Gate::builder(spec, explanation.limit()).measure_waits(spec.measures_waits());
            if let Some(bound) = spec.queue_bound() {
                gate = gate.queue(bound);
            }
            if let Some(duration) = spec.longest_wait() {
                gate = gate.max_wait(duration);
            }
            gate.build()
        })
        .collect()
}
