//! Building a pool: validation of the settings, then the first items.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::CreateBackoff;
use super::build_error::{PoolBuildError, PoolProblem};
use super::delivery::ItemDelivery;
use super::event::PoolObserver;
use super::item_record::ItemRecord;
use super::maintenance::run_maintenance;
use super::manager::Manager;
use super::shared::PoolShared;
use super::state::{PoolRules, PoolState, items_of};
use super::sync::{Mutex, PoolRuntime};
use super::{Pool, PoolCore};
use crate::gate::Gate;
use crate::gate::clock::{self, NEVER};
use crate::plan::{GateName, Limit};

impl<M: Manager> Pool<M> {
    /// Starts building a pool. A limit is required: [`max`](PoolBuilder::max) or [`gate`](PoolBuilder::gate).
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// let pool = Pool::builder(Buffers).max(8).min_idle(2).build().await?;
    /// assert_eq!(pool.status().idle, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder::new(manager)
    }
}

/// The settings of a [`Pool`], from [`Pool::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder<M: Manager> {
    manager: M,
    gate: Option<Gate>,
    max: Option<u32>,
    name: Option<GateName>,
    min_idle: usize,
    idle_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
    create_timeout: Duration,
    /// The first and the longest delay.
    create_backoff: (Duration, Duration),
    observers: Vec<Box<dyn PoolObserver>>,
}

impl<M: Manager> PoolBuilder<M> {
    fn new(manager: M) -> Self {
        Self {
            manager,
            gate: None,
            max: None,
            name: None,
            min_idle: 0,
            idle_timeout: None,
            max_lifetime: None,
            create_timeout: DEFAULT_CREATE_TIMEOUT,
            create_backoff: DEFAULT_CREATE_BACKOFF,
            observers: Vec::new(),
        }
    }

    /// Takes the limit from a gate, such as one of a [governor](crate::Governor), whose limit follows the host. Resizing or
    /// closing the gate resizes or closes the pool.
    ///
    /// The gate may have other users. Its limit then bounds the checkouts of the pool and the permits of the other users
    /// together. It bounds the items of each pool separately, because an idle item holds no permit.
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Creates a gate for the pool with this limit, from 1 to [`Limit::MAX`].
    pub const fn max(mut self, max: u32) -> Self {
        self.max = Some(max);
        self
    }

    /// Names the gate that [`max`](Self::max) creates, for errors and events. The default is `pool`.
    pub fn name(mut self, name: impl Into<GateName>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the minimum number of idle items. The default is 0.
    ///
    /// [`build`](Self::build) creates this many items, and the pool creates them again after items were dropped. The idle
    /// timeout does not apply to them. A minimum above the limit counts as the limit. The pool does not create items to keep
    /// the minimum idle while others are in use.
    pub const fn min_idle(mut self, items: usize) -> Self {
        self.min_idle = items;
        self
    }

    /// Sets how long an item may be idle before it is evicted. The default is no bound.
    ///
    /// The coldest items are evicted first, as long as there are more idle items than [`min_idle`](Self::min_idle).
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets the maximum lifetime of an item. The default is no bound.
    ///
    /// An older item is dropped when it is idle or comes back, and it is not handed out.
    pub const fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// Sets how long creating an item may take, and how long its health check may take. The default is 30 s.
    pub const fn create_timeout(mut self, timeout: Duration) -> Self {
        self.create_timeout = timeout;
        self
    }

    /// Sets the first and the longest delay between a failed creation and the next attempt. The default is 50 ms to 5 s.
    ///
    /// The delay doubles with each failure. Each delay is jittered: it lasts between half of its length and all of it.
    pub const fn create_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.create_backoff = (first, longest);
        self
    }

    /// Adds an observer, which receives every [`PoolEvent`](super::PoolEvent).
    pub fn observer(mut self, observer: impl PoolObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Builds the pool and creates the minimum of idle items, all at the same time.
    ///
    /// The pool uses the runtime that calls this method: items are created there, and a maintenance task runs there. When that
    /// runtime shuts down, the pool creates no more items. Idle items are still handed out.
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder(Buffers)
    ///     .max(8)
    ///     .min_idle(2)
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .build()
    ///     .await?;
    /// # drop(pool);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`PoolBuildError::Invalid`] with every problem of the settings.
    /// - [`PoolBuildError::NoRuntime`] outside a tokio runtime.
    /// - [`PoolBuildError::Create`] with the first failure to create an item.
    /// - [`PoolBuildError::Closed`] if the gate is closed before all first items exist.
    ///
    /// # Panics
    ///
    /// In a runtime without its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the pool, and each first item once it has been created.
    pub async fn build(self) -> Result<Pool<M>, PoolBuildError> {
        let (gate, owns_gate) = match self.validate() {
            Ok(gate) => gate,
            Err(problems) => return Err(PoolBuildError::Invalid { problems }),
        };
        let Some(runtime) = PoolRuntime::current() else {
            return Err(PoolBuildError::NoRuntime { gate: gate.name() });
        };

        let rules = PoolRules {
            gate: gate.name(),
            min_idle: self.min_idle,
            idle_timeout: self.idle_timeout.map_or(NEVER, clock::from_duration),
            max_lifetime: self.max_lifetime.map_or(NEVER, clock::from_duration),
        };
        // Registered before the limit is read, so that no change of the limit is missed.
        let maintenance_wake = Arc::new(Notify::new());
        gate.listen(&maintenance_wake);
        let (first, longest) = self.create_backoff;
        let state = PoolState::new(rules, CreateBackoff::new(first, longest), gate.limit());
        let shared = Arc::new(PoolShared {
            manager: self.manager,
            gate,
            owns_gate,
            create_timeout: self.create_timeout,
            reads_clock: rules.has_time_bounds(),
            has_lifetime: rules.max_lifetime != NEVER,
            observers: self.observers,
            runtime,
            maintenance_wake,
            drained: Notify::new(),
            state: Mutex::new(state),
        });
        let maintenance = shared.runtime.spawn(run_maintenance(Arc::clone(&shared)));

        // From here on, an error or a dropped future drops the only handle, which closes the pool.
        let pool = Pool { core: Arc::new(PoolCore { shared, maintenance }) };
        create_first_items(&pool.core.shared, self.min_idle).await?;
        Ok(pool)
    }

    /// Returns the gate and whether the pool created it, or every problem of the settings.
    fn validate(&self) -> Result<(Gate, bool), Vec<PoolProblem>> {
        let mut problems = Vec::new();
        let mut valid_gate = None;
        match (&self.gate, self.max) {
            (None, None) => problems.push(PoolProblem::NoLimit),
            (Some(gate), Some(max)) => problems.push(PoolProblem::TwoLimits { gate: gate.name(), max }),
            (Some(gate), None) => {
                if let Some(name) = self.name {
                    problems.push(PoolProblem::NameOfAnother { gate: gate.name(), name });
                }
                if gate.is_closed() {
                    problems.push(PoolProblem::Closed { gate: gate.name() });
                }
                valid_gate = Some((gate.clone(), false));
            }
            (None, Some(max)) => match Limit::try_new(max.into()) {
                Ok(limit) => {
                    // The gate need not measure waits: the pool measures the whole wait of each checkout.
                    let name = self.name.unwrap_or(DEFAULT_NAME);
                    valid_gate = Some((Gate::builder(name, limit).measure_waits(false).build(), true));
                }
                Err(error) => problems.push(PoolProblem::Max(error)),
            },
        }

        let (first, longest) = self.create_backoff;
        let durations = [
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("create_timeout", Some(self.create_timeout)),
            ("create_backoff", Some(first)),
        ];
        let zeros = durations.into_iter().filter(|(_, duration)| *duration == Some(Duration::ZERO));
        problems.extend(zeros.map(|(setting, _)| PoolProblem::Zero { setting }));
        if longest < first {
            problems.push(PoolProblem::Backoff { first, longest });
        }
        valid_gate.filter(|_| problems.is_empty()).ok_or(problems)
    }
}

impl<M: Manager> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("gate", &self.gate)
            .field("max", &self.max)
            .field("name", &self.name)
            .field("min_idle", &self.min_idle)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_lifetime", &self.max_lifetime)
            .field("create_timeout", &self.create_timeout)
            .field("create_backoff", &self.create_backoff)
            .finish_non_exhaustive()
    }
}

const DEFAULT_NAME: GateName = GateName::new("pool");

/// Longer than any creation that succeeds, and short enough that a creation that hangs does not hold its place for long.
const DEFAULT_CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// The first delay is short, so that a transient failure is hardly noticed. The longest delay spares a service that is down,
/// and still reports a failure to waiters within seconds.
const DEFAULT_CREATE_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Creates the minimum of idle items. They are checked out without a permit until all of them exist, then put back.
async fn create_first_items<M: Manager>(
    shared: &Arc<PoolShared<M>>,
    min_idle: usize,
) -> Result<(), PoolBuildError> {
    let count = min_idle.min(items_of(shared.gate.limit()));
    let mut waits = Vec::new();
    let mut items = Vec::new();
    // All waits are queued before the first is awaited, so that the items are created at the same time.
    for _ in 0..count {
        match shared.take_or_enqueue(None) {
            Ok(record) => items.push(FirstItem { shared, record: Some(record) }),
            Err(wait) => waits.push(wait),
        }
    }
    for wait in waits {
        match wait.delivery().await {
            ItemDelivery::Reused(record) | ItemDelivery::Created(record) => {
                items.push(FirstItem { shared, record: Some(record) });
            }
            ItemDelivery::Failed(error) => return Err(PoolBuildError::Create(error)),
            ItemDelivery::Closed => return Err(PoolBuildError::Closed { gate: shared.gate.name() }),
        }
    }
    Ok(())
}

/// One of the first items. Its drop puts the item back.
struct FirstItem<'s, M: Manager> {
    shared: &'s Arc<PoolShared<M>>,
    /// `None` only in `drop`.
    record: Option<ItemRecord<M::Item>>,
}

impl<M: Manager> Drop for FirstItem<'_, M> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.shared.put_back_slow(record);
        }
    }
}
