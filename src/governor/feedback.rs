//! Feedback as a probe: reads the outcomes of one gate, lets the rule decide, and measures the limit that it chose.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::prober::MeasurementTask;
use super::status::FeedbackStatus;
use crate::catch_panic::catch_panic;
use crate::feedback::{self, Aimd, Band, Feedback, FeedbackDecision, Latency, OutcomeCounts, Reason, Rule};
use crate::gate::{Gate, OutcomeReader};
use crate::plan::{
    Adaptive, AdaptiveRule, Decision, Explanation, GateName, GateSpec, Limit, Measurement, Problem, Quantity,
    Reading, Resource, RuleName, Source,
};
use crate::probe::{ProbeError, ResourceProbe};

/// Creates the rules of one name, one for each gate.
pub(super) type MakeRule = Box<dyn Fn() -> Box<dyn Rule> + Send + Sync>;

/// The feedback of one gate.
pub(super) struct FeedbackProbe {
    resource: Resource,
    gate_name: GateName,
    adaptive: Adaptive,
    /// The gate, once it is open. The first measurement is made before that.
    gate: OnceLock<Gate>,
    terms: FeedbackTerms,
    /// The probe whose reading can count as overload, and the least reading that does.
    pressure: Option<(Arc<dyn ResourceProbe>, Quantity)>,
    /// Locked by a running measurement of the pressure, as in the prober.
    measuring: Arc<tokio::sync::Mutex<()>>,
    /// The origin of the instants of decisions.
    origin: Instant,
    state: Mutex<FeedbackState>,
}

struct FeedbackState {
    feedback: Feedback,
    /// `None` until the gate is open.
    reader: Option<OutcomeReader>,
    totals: OutcomeCounts,
    /// The number of decisions by their reason.
    decisions: BTreeMap<Reason, u64>,
    /// The requests that found no permit available, as of the last step.
    unserved: u64,
    /// Decisions that changed the limit and were not reported yet.
    unreported: Vec<FeedbackDecision>,
    /// What the last call of the rule panicked with, if it did.
    fault: Option<String>,
    /// Whether an outcome was read since the last wait of `changed` began.
    is_active: bool,
}

impl FeedbackProbe {
    /// Creates the feedback of an adaptive gate. Returns `None` if the gate is not adaptive, or if there is a problem, which is added to
    /// `problems`.
    fn new(
        spec: &GateSpec,
        rules: &BTreeMap<RuleName, MakeRule>,
        probes: &[Arc<dyn ResourceProbe>],
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let (adaptive, resource) = (spec.adaptivity()?, Resource::feedback(spec.name())?);
        let rule: Option<Box<dyn Rule>> = match adaptive.rule() {
            AdaptiveRule::Latency => Some(Box::new(Latency::new())),
            AdaptiveRule::Arc => Some(Box::new(feedback::Arc::new())),
            AdaptiveRule::Aimd { max_healthy } => Some(Box::new(Aimd::new(max_healthy))),
            AdaptiveRule::Custom(name) => {
                let make = rules.get(&name);
                if make.is_none() {
                    let known = rules.keys().copied().collect();
                    problems.push(Problem::UnknownRule { gate: spec.name(), rule: name, known });
                }
                make.map(|make| make())
            }
        };
        let sign = adaptive.overload_sign();
        let pressure = sign.and_then(|sign| {
            let probe = probes.iter().find(|probe| probe.resource() == sign.resource())?;
            // A share of the time since the last reading must not depend on readings elsewhere.
            let own = probe.with_own_interval().unwrap_or_else(|| Arc::clone(probe));
            Some((own, sign.least()))
        });
        if let Some(sign) = sign.filter(|_| pressure.is_none()) {
            let (gate, resource) = (spec.name(), sign.resource());
            let known = probes.iter().map(ResourceProbe::resource).collect();
            problems.push(Problem::NoProbe { gate, resource, probed: known });
            return None;
        }
        let band = Band::new(adaptive.floor_limit(), Limit::MAX);
        let state = FeedbackState {
            feedback: Feedback::new(rule?, adaptive.start_limit(), band, Duration::ZERO),
            reader: None,
            totals: OutcomeCounts::default(),
            decisions: BTreeMap::new(),
            unserved: 0,
            unreported: Vec::new(),
            fault: None,
            is_active: false,
        };
        Some(Self {
            resource,
            gate_name: spec.name(),
            adaptive,
            gate: OnceLock::new(),
            terms: FeedbackTerms::new(band),
            pressure,
            measuring: Arc::default(),
            origin: Instant::now(),
            state: Mutex::new(state),
        })
    }

    pub(super) fn resource(&self) -> Resource {
        self.resource
    }

    pub(super) fn gate_name(&self) -> GateName {
        self.gate_name
    }

    /// Connects the feedback with its gate, which samples outcomes.
    pub(super) fn attach(&self, gate: &Gate) {
        self.state().reader = gate.outcome_reader();
        let _ = self.gate.set(gate.clone()); // called once
    }

    /// Follows the derived ceiling, and pauses while an operator's setting decides. Does not wait for the rule, so that the governor may
    /// call it under its own lock.
    pub(super) fn follow(&self, explanation: &Explanation) {
        let is_derived = *explanation.decision() == Decision::Derived;
        let band = Band::new(self.adaptive.floor_limit(), explanation.derivation().ceiling());
        self.terms.set(band, if is_derived { FeedbackMode::Deciding } else { FeedbackMode::Paused });
    }

    /// Returns the decisions that changed the limit since the last call.
    pub(super) fn take_unreported(&self) -> Vec<FeedbackDecision> {
        std::mem::take(&mut self.state().unreported)
    }

    pub(super) fn status(&self) -> FeedbackStatus {
        let (band, mode) = self.terms.get();
        let state = self.state();
        FeedbackStatus {
            gate: self.gate_name,
            rule: self.adaptive.rule(),
            band,
            limit: band.clamp(state.feedback.limit()),
            is_paused: mode == FeedbackMode::Paused,
            outcomes: state.totals,
            decisions: state.decisions.iter().map(|(reason, count)| (*reason, *count)).collect(),
            history: state.feedback.history().clone(),
        }
    }

    /// Measures the pressure on the host, and then steps. A probe that fails, panics or does not answer in time counts as no
    /// pressure. Its failure is reported by the governor, which measures the same probe as any other.
    async fn measure_pressure_and_step(&self) -> bool {
        if let Some((probe, least)) = &self.pressure {
            // In a task of its own, so that a panic of the probe does not end `changed`, which would not be called again.
            let measurement = MeasurementTask::spawn(probe, &self.measuring);
            let measured = measurement.finish(Instant::now().checked_add(MAX_STEP), MAX_STEP).await;
            let reading = measured.ok().map(|measurement| measurement.reading());
            if matches!(reading, Some(Reading::Finite(share)) if share >= *least) {
                self.state().feedback.record_pressure();
            }
        }
        self.step()
    }

    /// Reads the outcomes, and lets the rule decide if the window has ended. Returns `true` if the chosen limit is not in force yet, or the
    /// rule has panicked.
    fn step(&self) -> bool {
        let Some(gate) = self.gate.get() else { return false };
        let status = gate.status();
        let (band, mode) = self.terms.get();
        let mut state = self.state();
        let now = self.origin.elapsed();
        let state = &mut *state;
        let Some(reader) = &mut state.reader else { return false };

        let before = state.feedback.limit();
        state.feedback.set_band(band);
        let feedback = &mut state.feedback;
        let (counts, peak) = reader.read(|latency| feedback.record_latency(latency));
        feedback.record_counts(counts);
        state.totals.add(counts);
        state.is_active |= counts != OutcomeCounts::default();

        // A request that found no permit available shows that the limit was reached. In a tree, the limit of another gate may have been
        // reached. So there a request counts only if it waits now and this gate has no permit available now.
        let (queue, rejected) = (&status.totals.queue, &status.totals.rejected);
        let unserved = queue.enqueued.saturating_add(rejected.no_permits).saturating_add(rejected.queue_full);
        let has_unserved = unserved != std::mem::replace(&mut state.unserved, unserved);
        let waiting = u32::try_from(status.waiting).unwrap_or(u32::MAX);
        let waiting = match gate.is_in_tree() {
            // A limit below the chosen one is in force, such as the block of a lease. So the chosen limit was not reached.
            _ if status.limit < feedback.limit() => 0,
            true if status.available > 0 => 0,
            true => waiting,
            false => waiting.max(u32::from(has_unserved)),
        };
        feedback.record_in_flight(status.in_use.max(peak), waiting);

        if mode == FeedbackMode::Paused {
            // Another limit is in force, so the samples say nothing about this one.
            feedback.discard_window(now);
            return feedback.limit() != before || !state.unreported.is_empty();
        }
        // The rule may be code of the user. After a panic the next window calls it again.
        match catch_panic(|| feedback.step(now).cloned()) {
            Ok(Some(decision)) => {
                state.fault = None;
                let count = state.decisions.entry(decision.opinion().reason()).or_default();
                *count = count.saturating_add(1);
                if decision.after() != decision.before() {
                    state.unreported.push(decision);
                }
            }
            Ok(None) => {}
            Err(message) => {
                state.fault = Some(message.to_string());
                return true;
            }
        }
        // A decision that is not reported is not in force, either: the refresh that made it was dropped.
        state.feedback.limit() != before || !state.unreported.is_empty()
    }

    /// Begins the wait of `changed` for its next step, and returns the length of the wait. A window is read about four times, or once
    /// while there are no outcomes.
    fn begin_step_wait(&self) -> Duration {
        let mut state = self.state();
        // The rule may be code of the user. If this call panics, so does that of the next step, which reports it.
        let terms = catch_panic(|| state.feedback.terms());
        let length = terms.map_or(Duration::MAX, |terms| terms.min_length);
        let quarter = length.checked_div(4).unwrap_or_default().clamp(MIN_STEP, MAX_STEP);
        // An outcome that a refresh has read counts, too. A refresh follows each decision.
        if std::mem::take(&mut state.is_active) { quarter } else { quarter.saturating_mul(4) }
    }

    /// Locks the state. A panic of the rule is caught, so the lock is not poisoned by it.
    fn state(&self) -> MutexGuard<'_, FeedbackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ResourceProbe for FeedbackProbe {
    fn resource(&self) -> Resource {
        self.resource
    }

    /// Decides if a window has ended, and returns the chosen limit. Its source is the last decision, if there is one.
    ///
    /// It does not measure the pressure, which is a share of the time since its last measurement: a refresh follows each decision at
    /// once, so that time would be too short.
    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.step();
        let state = self.state();
        if let Some(fault) = &state.fault {
            let message = format!("the rule `{}` panicked: {fault}", self.adaptive.rule());
            return Err(ProbeError::new(self.resource, message));
        }
        // At least the floor. A ceiling below the floor lowers the chosen limit, and when the ceiling rises again, this reading must not
        // keep the gate below the floor.
        let limit = state.feedback.limit().max(self.adaptive.floor_limit());
        let measurement = Measurement::new(Reading::whole(limit.get().into()));
        Ok(match state.feedback.history().iter().next_back() {
            Some(decision) => {
                let rule = format!("rule {}", self.adaptive.rule());
                measurement.source(Source::new(rule, decision.to_string()))
            }
            None => measurement.note("the rule has not decided yet"),
        })
    }

    /// Resolves after each decision that changed the limit.
    async fn changed(&self) {
        loop {
            sleep(self.begin_step_wait()).await;
            if self.measure_pressure_and_step().await {
                return;
            }
        }
    }

    /// The rule decides how fast the limit rises.
    fn rises_at_once(&self) -> bool {
        true
    }
}

impl fmt::Debug for FeedbackProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedbackProbe").field("gate", &self.gate_name).finish_non_exhaustive()
    }
}

/// The shortest and the longest time between two steps.
const MIN_STEP: Duration = Duration::from_millis(5);
const MAX_STEP: Duration = Duration::from_millis(250);

/// Whether the rule decides, or an operator's setting is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FeedbackMode {
    Deciding,
    Paused,
}

/// The band and the mode in one atomic word, so that the governor sets them without waiting for a rule that decides.
struct FeedbackTerms(AtomicU64);

impl FeedbackTerms {
    const PAUSED: u64 = 1 << 63;

    fn new(band: Band) -> Self {
        let terms = Self(AtomicU64::new(0));
        terms.set(band, FeedbackMode::Deciding);
        terms
    }

    fn set(&self, band: Band, mode: FeedbackMode) {
        let flag = if mode == FeedbackMode::Paused { Self::PAUSED } else { 0 };
        let word = u64::from(band.ceiling().get()) << 32 | u64::from(band.floor().get()) | flag;
        // Relaxed: the word carries everything, and the next step reads it.
        self.0.store(word, Ordering::Relaxed);
    }

    fn get(&self) -> (Band, FeedbackMode) {
        let word = self.0.load(Ordering::Relaxed);
        let mode = if word & Self::PAUSED == 0 { FeedbackMode::Deciding } else { FeedbackMode::Paused };
        let (ceiling, floor) = ((word & !Self::PAUSED) >> 32, word & u64::from(u32::MAX));
        (Band::new(Limit::saturating(floor), Limit::saturating(ceiling)), mode)
    }
}

/// Creates the feedback of each adaptive gate.
pub(super) fn create_feedbacks(
    specs: &[GateSpec],
    rules: &BTreeMap<RuleName, MakeRule>,
    probes: &[Arc<dyn ResourceProbe>],
    problems: &mut Vec<Problem>,
) -> Vec<Arc<FeedbackProbe>> {
    let create = |spec| FeedbackProbe::new(spec, rules, probes, problems).map(Arc::new);
    specs.iter().filter_map(create).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A band and a mode survive the word, up to the greatest limits.
    #[test]
    fn terms_survive_the_word() {
        for (floor, ceiling) in [(1, 1), (4, 64), (Limit::MAX.get(), Limit::MAX.get())] {
            for mode in [FeedbackMode::Deciding, FeedbackMode::Paused] {
                let band = Band::new(Limit::new(floor), Limit::new(ceiling));
                let terms = FeedbackTerms::new(band);
                terms.set(band, mode);
                assert_eq!(terms.get(), (band, mode));
            }
        }
    }
}
