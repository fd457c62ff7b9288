//! Adding a gate to a running governor.

use std::sync::Arc;

use super::builder::{gate_builder, probe_problems};
use super::feedback::create_feedbacks;
use super::prober::{Prober, RefreshScope};
use super::{DeclaredGates, Governor};
use crate::gate::Gate;
use crate::plan::{BuildError, GateSpec, Plan, Problem};
use crate::probe::ResourceProbe;

impl Governor {
    /// Adds a gate after those of the plan, and opens it. From then on it is like the others: its limit follows the host,
    /// and explanations, settings, diagnoses and metrics include it.
    ///
    /// A gate can be added [within](GateSpec::within) one that was opened with children or keys. An added gate can be a parent itself only
    /// if it has keys.
    ///
    /// No gate can be removed, because handles, formulas and metrics refer to it. Close a gate that is not used any more
    /// with [`Gate::close_after_queue`].
    ///
    /// ```
    /// # use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(8));
    /// let governor = Governor::builder().gate(JOBS).build().await?;
    ///
    /// // A plugin brings a gate of its own.
    /// let plugin = governor.add(GateSpec::named("plugin-7".parse()?, Formula::of(JOBS.fraction(1, 4)))).await?;
    /// assert_eq!(plugin.limit().get(), 2);
    /// println!("{:#}", governor.resolution().explain("plugin-7".parse::<concurrency_governor::GateName>()?)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem, as in [`build`](super::GovernorBuilder::build): a name that is declared already,
    /// an invalid place in the hierarchy, a resource without a probe, an unknown rule; and a parent that was created
    /// without children and keys, or that shares its limit with other processes. Nothing is changed then.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it resolves adds nothing.
    pub async fn add(&self, spec: GateSpec) -> Result<Gate, BuildError> {
        // Held to the end: neither a refresh nor another gate comes in between.
        let mut prober = self.0.prober.lock().await;
        let declared = self.declared();
        let mut problems = Vec::new();
        let feedbacks = create_feedbacks(&[spec], &self.0.rules, &prober.probes(), &mut problems);
        let of_feedbacks = || feedbacks.iter().map(|feedback| Arc::clone(feedback) as Arc<dyn ResourceProbe>);
        let all_probes: Vec<_> = prober.probes().into_iter().chain(of_feedbacks()).collect();
        problems.extend(probe_problems(&[spec], &all_probes));
        let plan = match Plan::new(declared.plan.specs().iter().copied().chain([spec])) {
            Ok(plan) => Some(plan),
            Err(error) => {
                problems.extend_from_slice(error.problems());
                None
            }
        };
        let parent =
            spec.parent().and_then(|parent| declared.gates.iter().find(|gate| gate.name() == parent));
        if let Some(parent) = parent.filter(|parent| !parent.may_have_children()) {
            problems.push(Problem::ParentWithoutChildren { gate: spec.name(), parent: parent.name() });
        }
        if let Some(parent) = parent.filter(|parent| self.0.shares.contain(parent.name())) {
            problems.push(Problem::ParentIsShared { gate: spec.name(), parent: parent.name() });
        }
        let Some(plan) = plan.filter(|_| problems.is_empty()) else { return Err(BuildError::of(problems)) };

        // A feedback is measured before its gate is open, as when the governor is built.
        let mut added = AddedProbes { kept: prober.probes().len(), prober: &mut prober };
        let scope = RefreshScope::Only(added.prober.add(of_feedbacks()));
        let results = added.prober.measure(&scope).await;
        // No await from here on.
        let (readings, events) = added.prober.apply(results, std::time::Duration::ZERO);
        let mut state = self.state();
        let resolution = Arc::new(plan.resolve(&readings, &state.overrides)?);
        let explanation = resolution.explain(spec.name()).expect("the plan declares the gate");
        let mut builder = gate_builder(&spec, explanation);
        if let Some(parent) = parent {
            let child = builder.weight(spec.share_weight()).within(parent);
            builder = child.expect("the parent has children, and a plan has at most 8 levels");
        }
        let gate = builder.build();
        for feedback in &feedbacks {
            feedback.attach(&gate);
        }
        added.kept = added.prober.probes().len();
        let next = DeclaredGates {
            plan,
            gates: declared.gates.iter().cloned().chain([gate.clone()]).collect(),
            feedbacks: declared.feedbacks.iter().cloned().chain(feedbacks).collect(),
        };
        next.follow_ceilings(&resolution);
        state.declared = Arc::new(next);
        state.readings = readings;
        state.resolution = resolution;
        state.status.probes = added.prober.statuses();
        let first_number = state.events.saturating_add(1);
        state.events = state.events.saturating_add(events.len() as u64);
        drop(state);
        drop(added);
        drop(prober);
        self.0.added.send_modify(|gates| *gates = gates.saturating_add(1));
        self.publish_resolution();
        self.notify_observers(first_number, &events);
        Ok(gate)
    }
}

/// Removes the probes of a gate that was not added.
struct AddedProbes<'p> {
    prober: &'p mut Prober,
    /// The number of probes that stay.
    kept: usize,
}

impl Drop for AddedProbes<'_> {
    fn drop(&mut self) {
        self.prober.truncate(self.kept);
    }
}
