//! The governor: live gates whose limits follow the probed resources of the host.

mod builder;
mod damping;
mod prober;
mod refresh;
mod status;

use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::event::{Event, Observer};
use crate::gate::{Gate, WakeList};
use crate::plan::{BuildError, GateName, Overrides, Plan, Readings, Resolution, UnknownGateError};
use prober::Prober;
use refresh::ChangeReports;

pub use builder::GovernorBuilder;
pub use refresh::{RefreshPolicy, RefreshTask};
pub use status::{GovernorStatus, ProbeStatus};

/// Live gates whose limits are derived from probed resources and follow them.
///
/// Clones are handles to the same governor, and cheap.
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
/// Do not resize a governor's gate by [`Gate::resize`]: the next refresh or change of the overrides restores its limit.
#[derive(Clone)]
pub struct Governor(Arc<GovernorShared>);

struct GovernorShared {
    plan: Plan,
    /// One gate for each gate of the plan, in the order of the plan.
    gates: Vec<Gate>,
    /// Locked during a refresh. Refreshes run one at a time, so each starts from the complete result of the last one.
    prober: tokio::sync::Mutex<Prober>,
    state: Mutex<GovernorState>,
    resolutions: watch::Sender<Arc<Resolution>>,
    observers: Vec<Box<dyn Observer>>,
}

/// The inputs of the limits in force, and their result.
struct GovernorState {
    /// The newest readings, even if a refresh rejected the limits that follow from them.
    readings: Readings,
    overrides: Overrides,
    resolution: Arc<Resolution>,
    status: GovernorStatus,
}

impl Governor {
    /// Returns a handle to a gate.
    ///
    /// ```
    /// # use concurrency_governor::{Formula, GateSpec, Governor};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(8));
    /// # let governor = Governor::builder().gate(JOBS).build().await?;
    ///
    /// let jobs = governor.gate(JOBS)?;
    /// let permit = jobs.acquire().await?;
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan declares no gate of this name.
    pub fn gate(&self, key: impl Into<GateName>) -> Result<Gate, UnknownGateError> {
        let given = key.into();
        self.0.gates.iter().find(|gate| gate.name() == given).cloned().ok_or_else(|| {
            let known = self.0.gates.iter().map(Gate::name).collect();
            UnknownGateError { given, known }
        })
    }

    /// Returns handles to several gates.
    ///
    /// ```
    /// # use concurrency_governor::{Formula, GateSpec, Governor};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const UPLOADS: GateSpec = GateSpec::new("uploads", Formula::fixed(64));
    /// const HASHES: GateSpec = GateSpec::new("hashes", Formula::fixed(4));
    /// # let governor = Governor::builder().gate(UPLOADS).gate(HASHES).build().await?;
    ///
    /// let [uploads, hashes] = governor.gates([UPLOADS, HASHES])?;
    /// # assert_eq!((uploads.limit().get(), hashes.limit().get()), (64, 4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] for the first name that the plan does not declare.
    #[expect(clippy::missing_panics_doc, reason = "the number of gates is the number of keys")]
    pub fn gates<const N: usize>(
        &self,
        keys: [impl Into<GateName>; N],
    ) -> Result<[Gate; N], UnknownGateError> {
        let gates: Vec<Gate> = keys.into_iter().map(|key| self.gate(key)).collect::<Result<_, _>>()?;
        Ok(gates.try_into().expect("there is one gate for each key"))
    }

    /// Returns the limits in force with their explanations, and the readings that they follow from.
    ///
    /// ```
    /// # use concurrency_governor::probe::Fixed;
    /// # use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    /// # let cpu = Fixed::new(Resource::CPU, Reading::whole(8));
    /// # let governor = Governor::builder().gate(JOBS).probe(cpu).build().await?;
    ///
    /// let resolution = governor.resolution();
    /// assert_eq!(resolution.limit(JOBS)?.get(), 16);
    /// println!("{:#}", resolution.explain(JOBS)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn resolution(&self) -> Arc<Resolution> {
        Arc::clone(&self.state().resolution)
    }

    /// Returns the readings in force, and the counts of measurements and refreshes since the build, as one consistent
    /// snapshot.
    ///
    /// ```
    /// # use concurrency_governor::probe::Fixed;
    /// # use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    /// # let cpu = Fixed::new(Resource::CPU, Reading::whole(8));
    /// # let governor = Governor::builder().gate(JOBS).probe(cpu).build().await?;
    /// for probe in governor.status().probes {
    ///     println!("{}: {}, {} failures", probe.resource, probe.reading, probe.failed);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> GovernorStatus {
        self.state().status.clone()
    }

    /// Returns a receiver that is notified of each new resolution from now on.
    ///
    /// A resolution is new if it differs from the one before it. A slow receiver misses resolutions in between, and never
    /// the last one.
    ///
    /// ```
    /// # use concurrency_governor::testing::MockProbe;
    /// # use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    /// # let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
    /// # let governor = Governor::builder().gate(JOBS).probe(cpu.clone()).build().await?;
    /// let mut resolutions = governor.subscribe();
    /// # cpu.set(Reading::whole(4));
    /// # governor.refresh().await?;
    /// resolutions.changed().await?;
    /// println!("{}", resolutions.borrow_and_update().explain(JOBS)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Resolution>> {
        self.0.resolutions.subscribe()
    }

    /// Replaces the overrides. Either all of them take effect or none. Gates are resized before the method returns.
    ///
    /// ```
    /// # use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::fixed(8));
    /// # let governor = Governor::builder().gate(JOBS).build().await?;
    ///
    /// governor.set_overrides(Overrides::new().then(OverrideLayer::new("admin").set(JOBS, 3)))?;
    /// assert_eq!(governor.gate(JOBS)?.limit().get(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every problem, as in [`Plan::resolve`]. The previous overrides then stay in force.
    pub fn set_overrides(&self, overrides: Overrides) -> Result<Arc<Resolution>, BuildError> {
        let mut events = Vec::new();
        let resolution = self.update(&mut events, |plan, state| {
            let resolution = plan.resolve(&state.readings, &overrides)?;
            state.overrides = overrides;
            Ok(resolution)
        })?;
        self.notify_observers(&events);
        Ok(resolution)
    }

    /// Measures every resource now and derives the limits again. Gates are resized before the future resolves.
    ///
    /// A rise takes effect at once; only [`spawn_refresh`](Self::spawn_refresh) waits until it has lasted. If a
    /// probe fails, panics or misses its deadline, its last good reading stays in force, marked stale.
    ///
    /// ```
    /// # use concurrency_governor::testing::MockProbe;
    /// # use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    /// let cpu = MockProbe::new(Resource::CPU, Reading::whole(8));
    /// let governor = Governor::builder().gate(JOBS).probe(cpu.clone()).build().await?;
    ///
    /// cpu.set(Reading::whole(1)); // the CPU quota is lowered
    /// governor.refresh().await?;
    /// assert_eq!(governor.gate(JOBS)?.limit().get(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`BuildError`] if an override is now above the derived limit and its [policy](crate::plan::Policy) is to reject
    /// that. The limits then stay as they were.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it resolves changes nothing.
    pub async fn refresh(&self) -> Result<Arc<Resolution>, BuildError> {
        self.refresh_damped(Duration::ZERO).await
    }

    /// Starts a background refresh, which runs after each period of the policy and whenever a probe reports a change. It
    /// stops when the returned task is dropped.
    ///
    /// The [probes of the host](crate::probe) report changes only in a runtime with I/O enabled. Without it, the limits
    /// follow the host once per period.
    ///
    /// ```
    /// # use concurrency_governor::{Formula, GateSpec, Governor, Resource, probe};
    /// use concurrency_governor::governor::RefreshPolicy;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # const JOBS: GateSpec = GateSpec::new("jobs", Formula::scale(Resource::CPU, 2));
    /// let governor = Governor::builder().gate(JOBS).probes(probe::host()).build().await?;
    /// let _refresh = governor.spawn_refresh(RefreshPolicy::new()); // not `let _ =`, which drops the task at once
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    pub fn spawn_refresh(&self, policy: RefreshPolicy) -> RefreshTask {
        RefreshTask::spawn(self.clone().refresh_loop(policy))
    }

    async fn refresh_loop(self, policy: RefreshPolicy) {
        let probes = self.0.prober.lock().await.probes();
        let mut reports = ChangeReports::new(&probes);
        let rise_after = policy.rise_duration();
        loop {
            let rise_due = self.0.prober.lock().await.rise_due(rise_after);
            reports.wait_for_refresh(&policy, rise_due).await;
            // Observers have seen a rejection. The next refresh may succeed.
            let _ = self.refresh_damped(rise_after).await;
        }
    }

    /// Refreshes. A rise takes effect when it has lasted for `rise_after`.
    async fn refresh_damped(&self, rise_after: Duration) -> Result<Arc<Resolution>, BuildError> {
        let mut prober = self.0.prober.lock().await;
        let results = prober.measure().await;
        // No await from here on: a refresh that is dropped has changed nothing.
        let (readings, mut events) = prober.apply(results, rise_after);
        let resolved = self.update(&mut events, |plan, state| {
            state.readings = readings;
            let resolved = plan.resolve(&state.readings, &state.overrides);
            let status = &mut state.status;
            status.probes = prober.statuses();
            status.refreshes = status.refreshes.saturating_add(1);
            status.rejected = status.rejected.saturating_add(resolved.is_err().into());
            resolved
        });
        drop(prober);
        if let Err(error) = &resolved {
            events.push(Event::RefreshRejected { error: error.clone() });
        }
        self.notify_observers(&events);
        resolved
    }

    /// Resolves again, then resizes the gates and sends the resolution. An error changes neither gates nor resolution.
    fn update(
        &self,
        events: &mut Vec<Event>,
        resolve: impl FnOnce(&Plan, &mut GovernorState) -> Result<Resolution, BuildError>,
    ) -> Result<Arc<Resolution>, BuildError> {
        let (resolution, wakeups) = {
            let mut state = self.state();
            let resolution = resolve(&self.0.plan, &mut state)?;
            if resolution != *state.resolution {
                state.resolution = Arc::new(resolution);
            }
            (Arc::clone(&state.resolution), self.resize_gates(&state.resolution, events))
        };
        // Dropping the lists wakes the waiters. The lock is free by now, because a waker is foreign code that may call
        // this governor.
        drop(wakeups);
        // Sends the newest resolution unless it was sent already. Of two concurrent updates, the later one wins,
        // whichever thread sends last.
        self.0.resolutions.send_if_modified(|sent| {
            let newest = self.resolution();
            let is_new = !Arc::ptr_eq(sent, &newest);
            *sent = newest;
            is_new
        });
        Ok(resolution)
    }

    /// Resizes the gates whose limit differs from the resolution. The caller drops the lists, which wakes the waiters, once
    /// it holds no lock.
    fn resize_gates(&self, resolution: &Resolution, events: &mut Vec<Event>) -> Vec<WakeList> {
        let mut wakeups = Vec::new();
        for (gate, explanation) in self.0.gates.iter().zip(resolution.explanations()) {
            if gate.limit() == explanation.limit() {
                continue;
            }
            let (resize, wakes) = gate.resize_without_waking(explanation.limit());
            wakeups.push(wakes);
            let (from, to, debt) = (resize.from, resize.to, resize.debt);
            let explanation = Box::new(explanation.clone());
            events.push(Event::LimitChanged { gate: gate.name(), from, to, debt, explanation });
        }
        wakeups
    }

    fn notify_observers(&self, events: &[Event]) {
        for event in events {
            for observer in &self.0.observers {
                // The panic hook has reported the panic. A broken observer must not stop the refresh.
                let _ = panic::catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
            }
        }
    }

    /// Locks the state. A poisoned lock is used as it is, because no code that can panic leaves the state half changed.
    fn state(&self) -> MutexGuard<'_, GovernorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor").field("gates", &self.0.gates).finish_non_exhaustive()
    }
}
