//! Which governors, gates and pools are exported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::pool::RecordedPool;
use super::{Metrics, RecordedGovernor, RecordedSet};
use crate::gate::Gate;
use crate::governor::Governor;
use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{GateName, Resource};
use crate::pool::{Manager, Pool};

impl Metrics {
    /// Returns a builder of an empty set.
    pub fn builder() -> MetricsBuilder {
        MetricsBuilder::default()
    }
}

/// A builder of [`Metrics`]; from [`Metrics::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct MetricsBuilder {
    governors: Vec<RecordedGovernor>,
    gates: Vec<Gate>,
    pools: Vec<RecordedPool>,
}

impl MetricsBuilder {
    /// Adds a governor: every gate of its plan, also those that are [added](Governor::add) later, its probes and its
    /// refreshes. A gate that is added later is not recorded if the set has another one of its name. The refreshes of all governors of
    /// the set are one sum.
    pub fn governor(mut self, governor: &Governor) -> Self {
        let gates = governor.all_gates();
        let names = gates.iter().map(Gate::name).collect();
        self.governors.push(RecordedGovernor { governor: governor.clone(), gates: names });
        self.gates.extend(gates);
        self
    }

    /// Adds a gate that belongs to no governor, for example the gate of a pool.
    ///
    /// The permits in use and the requests waiting at a child are also counted at its parent, so do not add them up. The totals of
    /// a child are its own. A key cannot be added: the totals of its gate include it.
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.gates.push(gate.clone());
        self
    }

    /// Adds a pool: its items, its checkouts and its failures.
    ///
    /// The pool's gate is not included. Add it by [`gate`](Self::gate), or by [`governor`](Self::governor) if it belongs
    /// to a governor.
    ///
    /// The pool is not kept alive. Once its last handle and its items are gone, it is recorded as empty.
    pub fn pool<M: Manager>(mut self, pool: &Pool<M>) -> Self {
        self.pools.push(RecordedPool::new(pool));
        self
    }

    /// Creates the set.
    ///
    /// ```
    /// use concurrency_governor::integration::metrics::Metrics;
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let [first, second] = [4, 8].map(|limit| Gate::new(GateName::new("uploads"), Limit::new(limit)));
    /// let error = Metrics::builder().gate(&first).gate(&second).build().unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "gate `uploads` is added 2 times (allowed: once): give each gate a name of its own, and add each one once"
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// [`MetricsError`] with every problem, if two parts of the set would be recorded under the same names and labels: two
    /// gates of one name, two pools of one gate, or two governors that measure one resource. A part that is added twice is
    /// such a problem, too, and so is a [key](crate::Gate::key), which has the name of its gate.
    pub fn build(self) -> Result<Metrics, MetricsError> {
        let Self { governors, gates, pools } = self;
        let mut problems = Vec::new();
        let (keys, gates): (Vec<_>, Vec<_>) = gates.into_iter().partition(|gate| gate.as_key().is_some());
        let names_of_keys: BTreeSet<GateName> = keys.iter().map(Gate::name).collect();
        problems.extend(names_of_keys.into_iter().map(|gate| MetricsProblem::KeyOfGate { gate }));
        for (gate, times) in repeated(gates.iter().map(Gate::name)) {
            problems.push(MetricsProblem::DuplicateGate { gate, times });
        }
        for (gate, times) in repeated(pools.iter().map(RecordedPool::gate)) {
            problems.push(MetricsProblem::DuplicatePool { gate, times });
        }
        let probes = governors.iter().flat_map(|recorded| recorded.governor.status().probes);
        for (resource, times) in repeated(probes.map(|probe| probe.resource)) {
            problems.push(MetricsProblem::DuplicateProbe { resource, times });
        }
        if problems.is_empty() {
            let recorded = std::sync::Mutex::default();
            Ok(Metrics { set: Arc::new(RecordedSet { governors, gates, pools, recorded }) })
        } else {
            Err(MetricsError { problems })
        }
    }
}

/// Returns each item that occurs more than once, with the number of its occurrences.
fn repeated<T: Ord>(items: impl Iterator<Item = T>) -> impl Iterator<Item = (T, usize)> {
    let mut counts = BTreeMap::new();
    for item in items {
        let count = counts.entry(item).or_insert(0_usize);
        *count = count.saturating_add(1);
    }
    counts.into_iter().filter(|(_, count)| *count > 1)
}

/// Why a set of [`Metrics`] could not be built. It lists every problem.
///
/// It prints as one line.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct MetricsError {
    problems: Vec<MetricsProblem>,
}

impl MetricsError {
    /// Returns the problems, at least one.
    #[must_use]
    pub fn problems(&self) -> &[MetricsProblem] {
        &self.problems
    }
}

/// Two parts of a set that would be recorded under the same names and labels.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsProblem {
    /// Several gates have the same name, or a gate is added several times.
    #[error(
        "gate `{gate}` is added {times} times (allowed: once): give each gate a name of its own, and add each one once"
    )]
    DuplicateGate {
        /// The name.
        gate: GateName,
        /// The number of gates.
        times: usize,
    },
    /// A key of a gate is added. Clients choose the keys, so their number has no bound.
    #[error(
        "a key of gate `{gate}` is added (allowed: gates): add the gate, whose totals include those of its keys"
    )]
    KeyOfGate {
        /// The gate that has the key.
        gate: GateName,
    },
    /// Several pools have the same gate, or gates of the same name.
    #[error(
        "{times} pools use gate `{gate}`, the label of their metrics (allowed: one): add one of them, or give each pool a gate"
    )]
    DuplicatePool {
        /// The gate.
        gate: GateName,
        /// The number of pools.
        times: usize,
    },
    /// Several governors measure the same resource, or a governor is added several times.
    #[error(
        "{times} governors measure `{resource}` (allowed: one): add one of them by `governor`, and the gates of the others by `gate`"
    )]
    DuplicateProbe {
        /// The resource.
        resource: Resource,
        /// The number of governors.
        times: usize,
    },
}

impl_debug_as_display!(MetricsError, MetricsProblem);
