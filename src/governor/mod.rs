//! The governor: live gates whose limits follow the probed resources of the host.
//!
//! `update` applies a change and reports it, `prober` and `damping` measure, `feedback` is the probe of an adaptive gate,
//! and `refresh` is the background task. `stalls` reports permits and requests that make no progress, and `diagnosis`
//! explains why. `shares` has the gates that share their limit with other processes, and `leases` reports the state of
//! their leases. `add` adds a gate, and `close` closes all of them.

mod add;
mod builder;
mod close;
mod damping;
mod diagnosis;
mod feedback;
#[cfg(feature = "fleet")]
mod leases;
mod prober;
mod refresh;
mod shares;
mod stalls;
mod status;
mod update;

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::Observer;
use crate::gate::Gate;
use crate::plan::{
    BuildError, Explanation, GateHandleError, GateName, Overrides, Plan, Readings, Resolution, RuleName,
    UnknownGateError,
};
use feedback::{FeedbackProbe, MakeRule};
use prober::{Prober, RefreshScope};
use refresh::ChangeReports;
use shares::Shares;

pub use builder::GovernorBuilder;
pub use close::{CloseReport, GateLeft};
pub use diagnosis::{Bottleneck, Diagnosis, GateDiagnosis, HolderGroup};
pub use refresh::{RefreshPolicy, RefreshTask};
pub use status::{FeedbackStatus, GovernorStatus, ProbeStatus};

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
/// # Gates within gates
///
/// A gate that the plan puts [within](crate::GateSpec::within) another one takes its permits at both. A gate with
/// [keys](crate::GateSpec::keyed) has a child for each key, such as a tenant, and the caps of the keys follow its limit.
///
/// ```
/// use concurrency_governor::{Formula, GateSpec, Governor, Keys, Part};
///
/// const IO: GateSpec = GateSpec::new("io", Formula::fixed(8)).keyed(Keys::up_to(4096).cap(Part::of(1, 4)));
/// const MESSAGES: GateSpec = GateSpec::new("messages", Formula::fixed(6)).within(IO).weight(2);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let governor = Governor::builder().gate(IO).gate(MESSAGES).build().await?;
/// let [io, messages] = governor.gates([IO, MESSAGES])?;
/// let tenant = io.key("tenant-42");
/// let permits = (messages.acquire().await?, tenant.acquire().await?);
/// assert_eq!((io.in_use(), messages.in_use(), tenant.in_use(), tenant.limit().get()), (2, 1, 1, 2));
/// # drop(permits);
/// # Ok(())
/// # }
/// ```
///
/// Do not resize a governor's gate by [`Gate::resize`]: the next refresh or change of the overrides restores its limit.
#[derive(Clone)]
pub struct Governor(Arc<GovernorShared>);

struct GovernorShared {
    /// Creates the rules of adaptive gates, also of those that are added later.
    rules: BTreeMap<RuleName, MakeRule>,
    shares: Shares,
    /// The number of gates. Tells the background tasks that one was added.
    added: watch::Sender<usize>,
    /// Locked during a refresh. Refreshes run one at a time, so each starts from the complete result of the last one.
    prober: tokio::sync::Mutex<Prober>,
    state: Mutex<GovernorState>,
    resolutions: watch::Sender<Arc<Resolution>>,
    observers: Vec<Box<dyn Observer>>,
}

/// The gates of a governor. They are replaced as a whole when one is added.
struct DeclaredGates {
    plan: Plan,
    /// One gate for each gate of the plan, in the order of the plan.
    gates: Vec<Gate>,
    /// One for each adaptive gate, in the order of the plan. They are also among the probes of the prober.
    feedbacks: Vec<Arc<FeedbackProbe>>,
}

/// The inputs of the limits in force, and their result.
struct GovernorState {
    declared: Arc<DeclaredGates>,
    /// The newest readings, even if a refresh rejected the limits that follow from them.
    readings: Readings,
    overrides: Overrides,
    resolution: Arc<Resolution>,
    status: GovernorStatus,
    /// The number of events so far, which is the number of the last one.
    events: u64,
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
    /// [`GateHandleError`] if the plan declares no gate of this name, or the gate shares its limit with other processes.
    pub fn gate(&self, key: impl Into<GateName>) -> Result<Gate, GateHandleError> {
        let gate = self.find_gate(key.into())?;
        if self.0.shares.contain(gate.name()) {
            return Err(GateHandleError::Shared { gate: gate.name() });
        }
        Ok(gate)
    }

    fn find_gate(&self, given: GateName) -> Result<Gate, UnknownGateError> {
        let declared = self.declared();
        declared.gates.iter().find(|gate| gate.name() == given).cloned().ok_or_else(|| {
            let known = declared.gates.iter().map(Gate::name).collect();
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
    /// [`GateHandleError`] for the first name that the plan does not declare, or whose gate is shared.
    #[expect(clippy::missing_panics_doc, reason = "the number of gates is the number of keys")]
    pub fn gates<const N: usize>(
        &self,
        keys: [impl Into<GateName>; N],
    ) -> Result<[Gate; N], GateHandleError> {
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

    /// Returns the explanation of the limit of a gate, with its lease if the gate shares its limit with other processes.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan declares no gate of this name.
    pub fn explain(&self, key: impl Into<GateName>) -> Result<Explanation, UnknownGateError> {
        let gate = key.into();
        let explanation = self.resolution().explain(gate)?.clone();
        Ok(match self.0.shares.lease_of(gate) {
            Some(lease) => explanation.with_lease(lease),
            None => explanation,
        })
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

    /// Returns the state of the feedback of an adaptive gate: its band, its outcomes and its last decisions. Returns `None` if the gate is
    /// not [adaptive](crate::GateSpec::adaptive).
    ///
    /// The decisions can be printed, and replayed later: see [`History`](crate::feedback::History).
    ///
    /// ```
    /// # use concurrency_governor::{Adaptive, Formula, GateSpec, Governor};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::fixed(64)).adaptive(Adaptive::latency());
    /// let governor = Governor::builder().gate(UPSTREAM).build().await?;
    ///
    /// let feedback = governor.feedback(UPSTREAM)?.ok_or("not adaptive")?;
    /// assert_eq!((feedback.band.floor().get(), feedback.band.ceiling().get()), (4, 64));
    /// print!("{}", feedback.history); // one line for each decision
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan declares no gate of this name.
    pub fn feedback(&self, key: impl Into<GateName>) -> Result<Option<FeedbackStatus>, UnknownGateError> {
        let gate = self.find_gate(key.into())?.name();
        Ok(self.feedbacks().find(|feedback| feedback.gate == gate))
    }

    /// Returns the state of the feedback of each adaptive gate, in the order of the plan.
    pub fn feedbacks(&self) -> impl Iterator<Item = FeedbackStatus> {
        let statuses: Vec<_> = self.declared().feedbacks.iter().map(|feedback| feedback.status()).collect();
        statuses.into_iter()
    }

    /// Returns a receiver that is notified of each new resolution from now on.
    ///
    /// A resolution is new if it differs from the one before it. A slow receiver misses resolutions in between, and never
    /// the last one. When a receiver is notified, the gates have their new limits. When the last handle and the
    /// [`RefreshTask`] are dropped, `changed` returns an error.
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

    /// Replaces the overrides. Either all of them take effect or none. Gates are resized, subscribers notified and
    /// observers called before the method returns.
    ///
    /// Of two concurrent calls, one comes last, and its overrides are in force. The
    /// [numbers](crate::event::Observer::observe_numbered) of the events say which.
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
    ///
    /// # Panics
    ///
    /// If a waker panics that belongs to a request at one of the gates, or to a subscriber. The change has then taken
    /// effect, and all other waiters, subscribers and observers have been notified.
    pub fn set_overrides(&self, overrides: Overrides) -> Result<Arc<Resolution>, BuildError> {
        let (resolved, announcement) = self.update(Vec::new(), |plan, state, _| {
            let resolution = plan.resolve(&state.readings, &overrides)?;
            state.overrides = overrides;
            Ok(resolution)
        });
        self.announce(announcement);
        resolved
    }

    /// Measures every resource now and derives the limits again. Gates are resized before the future resolves.
    ///
    /// A rise takes effect at once; only [`spawn_refresh`](Self::spawn_refresh) waits until it has lasted. If a
    /// probe fails, panics or misses its deadline, its last good reading stays in force, marked stale. The call waits for
    /// the slowest measurement, at most for the [deadline](GovernorBuilder::probe_deadline), and first for a refresh that already runs.
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
    /// Outside of a tokio runtime with time enabled. If a waker panics, as in [`set_overrides`](Self::set_overrides).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it resolves changes no limit.
    pub async fn refresh(&self) -> Result<Arc<Resolution>, BuildError> {
        let (resolved, announcement) = self.refresh_damped(&RefreshScope::All, Duration::ZERO).await;
        self.announce(announcement);
        resolved
    }

    /// Starts a background refresh, which runs after each period of the policy and whenever a probe reports a change. It
    /// stops when the returned task is dropped.
    ///
    /// The [probes of the host](crate::probe) report changes only in a runtime with I/O enabled. Without it, the limits
    /// follow the host once per period.
    ///
    /// The returned task also inspects the gates that [track their holders](crate::GateSpec::track_holders), and reports permits and
    /// requests that make no progress to the observers. It does so four times within the shortest
    /// [`overdue_after`](crate::Holders::overdue_after) of these gates, and at least every 10 s. It reports the changes of leases, too.
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
        #[cfg_attr(not(feature = "fleet"), expect(unused_mut, reason = "there are no leases"))]
        let mut task = RefreshTask::spawn(self.clone().refresh_loop(policy), self.clone().watch_loop());
        #[cfg(feature = "fleet")]
        if self.has_leases() {
            task.also(self.clone().lease_loop());
        }
        task
    }

    async fn refresh_loop(self, policy: RefreshPolicy) {
        let rise_after = policy.rise_duration();
        let mut added = self.0.added.subscribe();
        loop {
            let probes = self.0.prober.lock().await.probes();
            let mut reports = ChangeReports::new(&probes);
            loop {
                let rise_due = self.0.prober.lock().await.rise_due(rise_after);
                // A gate that is added may have a probe whose reports this loop must also wait for. Then all probes are
                // measured, so that a lost report does no harm, and the outer loop starts again with the new probe.
                let scope = {
                    let mut due = pin!(reports.wait_for_refresh(&policy, rise_due));
                    let mut new_probes = pin!(added.changed());
                    poll_fn(|cx| match due.as_mut().poll(cx) {
                        Poll::Ready(scope) => Poll::Ready(Some(scope)),
                        Poll::Pending => new_probes.as_mut().poll(cx).map(|_| None),
                    })
                    .await
                };
                let has_new_probes = scope.is_none();
                let scope = scope.unwrap_or(RefreshScope::All);
                // Observers are notified of a rejection. The next refresh may succeed.
                let (_, announcement) = self.refresh_damped(&scope, rise_after).await;
                self.announce_ignoring_panics(announcement);
                if has_new_probes {
                    break;
                }
            }
        }
    }

    /// Returns the gates as they are declared now.
    fn declared(&self) -> Arc<DeclaredGates> {
        Arc::clone(&self.state().declared)
    }

    /// Returns handles to all gates, in the order of the plan.
    #[cfg(feature = "metrics")]
    pub(crate) fn all_gates(&self) -> Vec<Gate> {
        self.declared().gates.clone()
    }

    /// Locks the state. A poisoned lock is used as it is, because no code that can panic leaves the state half changed.
    fn state(&self) -> MutexGuard<'_, GovernorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Governor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Governor").field("gates", &self.declared().gates).finish_non_exhaustive()
    }
}
