//! The governor: probes, plan and gates tied together, and kept true while the host changes.

mod builder;
mod damping;
mod measure;
mod refresh;
mod status;

use std::fmt;
use std::num::NonZeroU32;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::event::{Event, Observer};
use crate::gate::{Gate, WakeList};
use crate::plan::{BuildError, GateName, Overrides, Plan, Readings, Resolution, UnknownGateError};
use measure::Prober;
use status::Books;

pub use builder::GovernorBuilder;
pub use refresh::{RefreshPolicy, RefreshTask};
pub use status::{GovernorStatus, ProbeStatus};

/// Live gates whose limits are derived from probed resources, and follow them.
///
/// Cheap to clone: clones are handles of one governor.
///
/// ```
/// use concurrency_governor::governor::RefreshPolicy;
/// use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
///
/// const IO: GateSpec = GateSpec::new("io", Formula::scale(Resource::CPU, 64).at_most(Resource::FD.fraction(1, 2)));
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let governor = Governor::builder().gate(IO).probes(probe::host()).build().await?;
/// let _refresh = governor.spawn_refresh(RefreshPolicy::new()); // follows the host until it is dropped
///
/// let io = governor.gate(IO)?;
/// let page = io.run(async { "fetched" }).await?;
/// println!("{:#}", governor.resolution().explain(IO)?);
/// # let _ = page;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A gate of a governor may be resized by hand, but the next refresh or change of the settings puts it back.
#[derive(Clone)]
pub struct Governor(Arc<Shared>);

struct Shared {
    plan: Plan,
    /// One a gate of the plan, in its order.
    gates: Vec<Gate>,
    /// Held through a refresh, so that there is one at a time and each sees the whole of the one before.
    prober: tokio::sync::Mutex<Prober>,
    state: Mutex<State>,
    resolutions: watch::Sender<Arc<Resolution>>,
    observers: Vec<Box<dyn Observer>>,
}

/// What the limits in force follow from.
struct State {
    /// The newest, even where what they lead to was rejected.
    readings: Readings,
    overrides: Overrides,
    resolution: Arc<Resolution>,
    books: Books,
}

impl Governor {
    /// Starts a governor: plan or gates, probes, overrides, then [`build`](GovernorBuilder::build).
    pub fn builder() -> GovernorBuilder {
        GovernorBuilder::new()
    }

    /// A handle of a gate.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan declares no such gate.
    pub fn gate(&self, key: impl Into<GateName>) -> Result<Gate, UnknownGateError> {
        let given = key.into();
        self.0.gates.iter().find(|gate| gate.name() == given).cloned().ok_or_else(|| {
            let known = self.0.gates.iter().map(Gate::name).collect();
            UnknownGateError { given, known }
        })
    }

    /// Handles of several gates: `let [blocking, io] = governor.gates([BLOCKING, IO])?;`.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] for the first that the plan does not declare.
    #[expect(clippy::missing_panics_doc, reason = "there is one gate a key")]
    pub fn gates<const N: usize>(
        &self,
        keys: [impl Into<GateName>; N],
    ) -> Result<[Gate; N], UnknownGateError> {
        let gates: Vec<Gate> = keys.into_iter().map(|key| self.gate(key)).collect::<Result<_, _>>()?;
        Ok(gates.try_into().expect("there is one gate a key"))
    }

    /// What the limits in force follow from, with every explanation.
    #[must_use]
    pub fn resolution(&self) -> Arc<Resolution> {
        Arc::clone(&self.state().resolution)
    }

    /// What it has measured and done since it was built, all of the same instant.
    #[must_use]
    pub fn status(&self) -> GovernorStatus {
        let state = self.state();
        state.books.status(&state.readings)
    }

    /// A receiver of every resolution from now on that differs from the one before it. A slow receiver misses those in
    /// between, never the last.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Resolution>> {
        self.0.resolutions.subscribe()
    }

    /// Puts other settings in force, all of them or none. Gates that change do so before it returns.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem, as [`Plan::resolve`] has it. The settings before then stay in force.
    pub fn set_overrides(&self, overrides: Overrides) -> Result<Arc<Resolution>, BuildError> {
        let mut events = Vec::new();
        let resolution = self.change(&mut events, |plan, state| {
            let resolution = plan.resolve(&state.readings, &overrides)?;
            state.overrides = overrides;
            Ok(resolution)
        })?;
        self.tell(&events);
        Ok(resolution)
    }

    /// Measures every resource now and derives the limits anew. Gates that change do so before it returns.
    ///
    /// What is measured counts at once, rises included; only [`spawn_refresh`](Self::spawn_refresh) waits for a rise to
    /// last. A probe that fails, panics or misses its deadline leaves the last good reading in place, marked stale.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if a setting is now above what is derived and its [policy](crate::plan::Policy) is to reject
    /// that. The limits then stay as they were.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready changes nothing.
    pub async fn refresh(&self) -> Result<Arc<Resolution>, BuildError> {
        self.refresh_damped(NonZeroU32::MIN).await
    }

    /// Refreshes in the background, as the policy says and whenever a probe reports a change, until the task is dropped.
    ///
    /// In a runtime without I/O the [probes of the host](crate::probe) report nothing at once.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    pub fn spawn_refresh(&self, policy: RefreshPolicy) -> RefreshTask {
        RefreshTask::spawn(self.clone(), policy)
    }

    /// A refresh that believes a rise once it was seen `rise_after` times in a row.
    async fn refresh_damped(&self, rise_after: NonZeroU32) -> Result<Arc<Resolution>, BuildError> {
        let mut prober = self.0.prober.lock().await;
        let outcomes = prober.measure().await;
        // From here to the end there is no await: a dropped refresh has changed nothing.
        let taken = status::taken(&prober, &outcomes);
        let (readings, mut events) = prober.take_in(outcomes, rise_after);
        let resolved = self.change(&mut events, |plan, state| {
            state.readings = readings;
            let resolved = plan.resolve(&state.readings, &state.overrides);
            state.books.refreshed(&taken, resolved.is_err());
            resolved
        });
        drop(prober);
        if let Err(error) = &resolved {
            events.push(Event::RefreshRejected { error: error.clone() });
        }
        self.tell(&events);
        resolved
    }

    /// Resolves anew and brings the gates to it, or leaves both as they are.
    fn change(
        &self,
        events: &mut Vec<Event>,
        resolve: impl FnOnce(&Plan, &mut State) -> Result<Resolution, BuildError>,
    ) -> Result<Arc<Resolution>, BuildError> {
        let (resolution, calls) = {
            let mut state = self.state();
            let resolution = resolve(&self.0.plan, &mut state)?;
            if resolution != *state.resolution {
                state.resolution = Arc::new(resolution);
            }
            (Arc::clone(&state.resolution), self.resize_gates(&state.resolution, events))
        };
        // Wakers are other people's code, which may come back here: none runs while the state is locked.
        calls.into_iter().for_each(drop); // wakes the wakers
        self.publish();
        Ok(resolution)
    }

    fn resize_gates(&self, resolution: &Resolution, events: &mut Vec<Event>) -> Vec<WakeList> {
        let mut calls = Vec::new();
        for (gate, explanation) in self.0.gates.iter().zip(resolution.explanations()) {
            if gate.limit() == explanation.limit() {
                continue;
            }
            let (resize, to_wake) = gate.resize_without_waking(explanation.limit());
            calls.push(to_wake);
            let (from, to, debt) = (resize.from, resize.to, resize.debt);
            let explanation = Box::new(explanation.clone());
            events.push(Event::LimitChanged { gate: gate.name(), from, to, debt, explanation });
        }
        calls
    }

    /// Sends the newest resolution, if it was not sent yet; of two changes at once, the later one wins whoever sends.
    fn publish(&self) {
        self.0.resolutions.send_if_modified(|sent| {
            let newest = self.resolution();
            let is_new = !Arc::ptr_eq(sent, &newest);
            *sent = newest;
            is_new
        });
    }

    fn tell(&self, events: &[Event]) {
        for (event, observer) in
            events.iter().flat_map(|event| self.0.observers.iter().map(move |o| (event, o)))
        {
            // The panic hook has reported it already; a broken observer must not stop limits from following the host.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
        }
    }

    /// Nothing that can panic runs under this lock, so a poisoned one would hold a whole state all the same.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor").field("gates", &self.0.gates).finish_non_exhaustive()
    }
}
