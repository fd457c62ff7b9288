//! Stand-ins for the host, for tests of what is built on it.
//!
//! A property test gives the host any shape, and holds its own code to what must be true on all of them:
//!
//! ```
//! use concurrency_governor::probe::ResourceProbe;
//! use concurrency_governor::testing::MockProbe;
//! use concurrency_governor::{Quantity, Reading, Resource};
//! use proptest::prelude::*;
//!
//! /// The code under test: two workers a core, at least one.
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
//! With the feature `proptest`, `testing::strategies` makes whole hosts, plans and operators' settings.

#[cfg(feature = "proptest")]
pub mod strategies;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::plan::{Measurement, Reading, Resource, Source};
use crate::probe::{ProbeError, ResourceProbe, async_trait};

/// A probe that measures what it is told to, fails, hangs or panics.
///
/// Clones share one cell: give one to what is tested and keep another to change what it measures. Each change reaches
/// every clone's [`changed`](ResourceProbe::changed). It needs neither a runtime nor a clock.
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
    cell: Arc<Cell>,
    // The last change that `changed` of this clone has told: clones are told apart from each other.
    told: AtomicU64,
}

/// What the clones share.
struct Cell {
    state: watch::Sender<State>,
    measures: AtomicU64,
}

struct State {
    answer: Answer,
    changes: u64,
}

/// What comes of a measurement.
#[derive(Clone, Debug)]
enum Answer {
    Measured(Measurement),
    Failed(String),
    Hangs,
    Panics(String),
}

impl MockProbe {
    /// A mock of `resource` that measures `reading`, in the resource's unit, until it is told otherwise.
    #[must_use]
    pub fn new(resource: Resource, reading: impl Into<Reading>) -> Self {
        let state = State { answer: measured(reading.into()), changes: 0 };
        let cell = Cell { state: watch::Sender::new(state), measures: AtomicU64::new(0) };
        Self { resource, cell: Arc::new(cell), told: AtomicU64::new(0) }
    }

    /// Measures `reading` from now on, exactly, with a source that says it is a mock's.
    pub fn set(&self, reading: impl Into<Reading>) {
        self.answer(measured(reading.into()));
    }

    /// Measures this from now on: bound, sources, notes and staleness as they stand.
    pub fn set_measurement(&self, measurement: Measurement) {
        self.answer(Answer::Measured(measurement));
    }

    /// Fails from now on, with a [`ProbeError`] of this message.
    pub fn fail(&self, message: impl Into<String>) {
        self.answer(Answer::Failed(message.into()));
    }

    /// Never answers from now on. A measurement that hangs already hangs for good, whatever is set later.
    pub fn hang(&self) {
        self.answer(Answer::Hangs);
    }

    /// Panics from now on, with this message, when a measurement is polled.
    pub fn panic(&self, message: impl Into<String>) {
        self.answer(Answer::Panics(message.into()));
    }

    /// How many measurements were begun through any of the clones, whatever came of them. A future of
    /// [`measure`](ResourceProbe::measure) that was never polled does not count.
    #[must_use]
    pub fn measures(&self) -> u64 {
        self.cell.measures.load(Ordering::SeqCst)
    }

    fn answer(&self, answer: Answer) {
        self.cell.state.send_modify(|state| {
            state.answer = answer;
            state.changes = state.changes.saturating_add(1);
        });
    }
}

#[async_trait]
impl ResourceProbe for MockProbe {
    fn resource(&self) -> Resource {
        self.resource
    }

    /// Does what the mock was told last: gives a measurement, fails, hangs or panics.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it does not wait, unless it hangs.
    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.cell.measures.fetch_add(1, Ordering::SeqCst);
        let answer = self.cell.state.borrow().answer.clone();
        match answer {
            Answer::Measured(measurement) => Ok(measurement),
            Answer::Failed(message) => Err(ProbeError::new(self.resource, message)),
            Answer::Hangs => std::future::pending().await,
            Answer::Panics(message) => panic!("{message}"),
        }
    }

    /// Resolves once for the changes that came since it last resolved for this clone: at once if there were any, be
    /// it before the first call; otherwise with the next. A clone starts where its original stood.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: changes count as told only when it resolves.
    async fn changed(&self) {
        let mut state = self.cell.state.subscribe();
        loop {
            let told = self.told.load(Ordering::SeqCst);
            let changes = state
                .wait_for(|state| state.changes > told)
                .await
                .expect("the cell keeps the sender")
                .changes;
            // Of two that wait on one clone, one is told.
            if self.told.compare_exchange(told, changes, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
        }
    }
}

impl Clone for MockProbe {
    fn clone(&self) -> Self {
        let told = AtomicU64::new(self.told.load(Ordering::SeqCst));
        Self { resource: self.resource, cell: Arc::clone(&self.cell), told }
    }
}

impl fmt::Debug for MockProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockProbe")
            .field("resource", &self.resource)
            .field("answer", &self.cell.state.borrow().answer)
            .field("measures", &self.measures())
            .finish_non_exhaustive()
    }
}

fn measured(reading: Reading) -> Answer {
    Answer::Measured(Measurement::new(reading).source(Source::new("mock", reading.to_string())))
}
