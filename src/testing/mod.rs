//! Replacements for the host, for tests of code that depends on it.
//!
//! A property test sets the host to any state, and checks a promise of its own code on each:
//!
//! ```
//! use concurrency_governor::probe::ResourceProbe;
//! use concurrency_governor::testing::MockProbe;
//! use concurrency_governor::{Quantity, Reading, Resource};
//! use proptest::prelude::*;
//!
//! /// The code under test: two workers per core, at least one.
//! async fn workers(cpu: &dyn ResourceProbe) -> u64 {
//!     match cpu.measure().await.map(|measured| measured.reading()) {
//!         Ok(Reading::Finite(cores)) => cores.saturating_add(cores).floor().max(1),
//!         _ => 4,
//!     }
//! }
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! proptest!(|(thousandths in 0_u64..1_000_000)| {
//!     let cpu = MockProbe::new(Resource::CPU, Quantity::from_thousandths(thousandths));
//!     prop_assert!(runtime.block_on(workers(&cpu)) >= 1);
//!
//!     cpu.fail("the host is on fire");
//!     prop_assert_eq!(runtime.block_on(workers(&cpu)), 4);
//! });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! With the feature `proptest`, `testing::strategies` generates whole hosts, plans and operators' settings.

#[cfg(feature = "proptest")]
pub mod strategies;

pub mod plant;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::jitter;
use crate::plan::{Measurement, Reading, Resource, Source};
use crate::probe::{ProbeError, ResourceProbe, async_trait};

/// Makes the jitter of all code on this thread reproducible, such as that of the backoff and the lifetimes of a pool, and of the periods
/// of the background refresh.
///
/// Jitter is random by default, so a test that replays a seed of its own must seed the jitter, too. Each call restarts the
/// sequence. The threads of a multi-threaded runtime are not affected.
pub fn seed_jitter(seed: u64) {
    jitter::seed(seed);
}

/// A probe whose measurement the test sets: it returns a reading, fails, hangs or panics.
///
/// Clones share their state: pass one clone to the code under test, and keep another to change what it measures. Each
/// change resolves [`changed`](ResourceProbe::changed) of every clone. The probe needs neither a runtime nor a clock.
///
/// ```
/// use concurrency_governor::probe::ResourceProbe;
/// use concurrency_governor::testing::MockProbe;
/// use concurrency_governor::{Reading, Resource};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let host = MockProbe::new(Resource::FD, Reading::whole(1024));
/// let probe = host.clone();
///
/// host.set(Reading::Unlimited);
/// probe.changed().await;
/// assert_eq!(probe.measure().await.unwrap().reading(), Reading::Unlimited);
/// assert_eq!(host.measures(), 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct MockProbe {
    resource: Resource,
    state: Arc<MockState>,
    /// The number of changes that this clone's `changed` has reported. Each clone has its own.
    reported_changes: AtomicU64,
}

/// The state that clones share.
struct MockState {
    script: watch::Sender<MockScript>,
    /// The number of measurements that were started.
    measures: AtomicU64,
}

struct MockScript {
    outcome: MockOutcome,
    /// The number of times that `outcome` was set after creation.
    changes: u64,
}

/// The outcome of a measurement.
#[derive(Clone, Debug)]
enum MockOutcome {
    Measured(Measurement),
    Failed(String),
    Hangs,
    Panics(String),
}

impl MockProbe {
    /// Creates a probe of `resource` that measures `reading`, in the resource's unit.
    #[must_use]
    pub fn new(resource: Resource, reading: impl Into<Reading>) -> Self {
        let script = MockScript { outcome: exact(reading.into()), changes: 0 };
        let state = MockState { script: watch::Sender::new(script), measures: AtomicU64::new(0) };
        Self { resource, state: Arc::new(state), reported_changes: AtomicU64::new(0) }
    }

    /// Makes later measurements return `reading`, with the bound `Exact` and a source named `mock`.
    pub fn set(&self, reading: impl Into<Reading>) {
        self.set_outcome(exact(reading.into()));
    }

    /// Makes later measurements return `measurement`, with its bound, sources, notes and staleness.
    pub fn set_measurement(&self, measurement: Measurement) {
        self.set_outcome(MockOutcome::Measured(measurement));
    }

    /// Makes later measurements fail with a [`ProbeError`] of this message.
    pub fn fail(&self, message: impl Into<String>) {
        self.set_outcome(MockOutcome::Failed(message.into()));
    }

    /// Makes later measurements hang. A measurement that hangs never returns, also if the outcome is changed later.
    pub fn hang(&self) {
        self.set_outcome(MockOutcome::Hangs);
    }

    /// Makes later measurements panic with this message when they are polled.
    pub fn panic(&self, message: impl Into<String>) {
        self.set_outcome(MockOutcome::Panics(message.into()));
    }

    /// Returns the number of measurements that were started through any clone, with any outcome. A future of
    /// [`measure`](ResourceProbe::measure) that was never polled does not count.
    #[must_use]
    pub fn measures(&self) -> u64 {
        self.state.measures.load(Ordering::SeqCst)
    }

    fn set_outcome(&self, outcome: MockOutcome) {
        self.state.script.send_modify(|script| {
            script.outcome = outcome;
            script.changes = script.changes.saturating_add(1);
        });
    }
}

#[async_trait]
impl ResourceProbe for MockProbe {
    fn resource(&self) -> Resource {
        self.resource
    }

    /// Returns, fails, hangs or panics: the outcome that the test has set last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it does not wait, unless it hangs.
    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.state.measures.fetch_add(1, Ordering::SeqCst);
        let outcome = self.state.script.borrow().outcome.clone();
        match outcome {
            MockOutcome::Measured(measurement) => Ok(measurement),
            MockOutcome::Failed(message) => Err(ProbeError::new(self.resource, message)),
            MockOutcome::Hangs => std::future::pending().await,
            MockOutcome::Panics(message) => panic!("{message}"),
        }
    }

    /// Waits for a change that this clone has not reported yet.
    ///
    /// Resolves immediately if there was one, also before the first call. Several changes resolve one call. A new clone
    /// has reported the same changes as its original.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: changes count as reported only when the call resolves.
    async fn changed(&self) {
        let mut script = self.state.script.subscribe();
        loop {
            let reported = self.reported_changes.load(Ordering::SeqCst);
            let changes = script
                .wait_for(|script| script.changes > reported)
                .await
                .expect("`self.state` owns the sender")
                .changes;
            // If two calls wait on the same clone, only one of them reports the change. The other waits again.
            let reports =
                self.reported_changes.compare_exchange(reported, changes, Ordering::SeqCst, Ordering::SeqCst);
            if reports.is_ok() {
                return;
            }
        }
    }
}

impl Clone for MockProbe {
    fn clone(&self) -> Self {
        let reported_changes = AtomicU64::new(self.reported_changes.load(Ordering::SeqCst));
        Self { resource: self.resource, state: Arc::clone(&self.state), reported_changes }
    }
}

impl fmt::Debug for MockProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockProbe")
            .field("resource", &self.resource)
            .field("outcome", &self.state.script.borrow().outcome)
            .field("measures", &self.measures())
            .finish_non_exhaustive()
    }
}

/// Returns an exact measurement of `reading`, as an outcome.
fn exact(reading: Reading) -> MockOutcome {
    MockOutcome::Measured(Measurement::new(reading).source(Source::new("mock", reading.to_string())))
}
