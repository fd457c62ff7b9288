//! Building a pool: validation of the settings, then the first items.

use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::CreateBackoff;
use super::build_error::{PoolBuildError, PoolProblem};
use super::builder::PoolBuilder;
use super::close_turn::CloseTurn;
use super::delivery::ItemDelivery;
use super::error::{AddError, CheckoutError};
use super::gate::PoolGate;
use super::group::{GroupMember, PoolGroup};
use super::item_wait::ItemWait;
use super::maintenance::run_maintenance;
use super::manager::Manager;
use super::shared::PoolShared;
use super::state::{PoolRules, PoolState};
use super::sync::{AtomicU64, Mutex, PoolRuntime};
use super::unused_item::UnusedItem;
use super::{Pool, PoolCore};
use crate::gate::Gate;
use crate::gate::clock::{self, NEVER};
use crate::plan::{GateName, Limit};

impl<M: Manager> PoolBuilder<M> {
    /// Builds the pool and creates the minimum of idle items, all at the same time. If one of them cannot be created, it
    /// returns an error; [`start`](Self::start) tries again instead.
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
    /// Dropping the future closes the pool: items that exist are dropped, and creations are cancelled.
    pub async fn build(mut self) -> Result<Pool<M>, PoolBuildError> {
        let (min_idle, initial) = (self.min_idle, mem::take(&mut self.initial));
        let pool = self.open(initial.len())?;
        // From here on, an error or a dropped future drops the only handle, which closes the pool.
        let shared = &pool.core.shared;
        let missing = min_idle.min(shared.gate.item_limit()).saturating_sub(initial.len());
        add_initial(shared, initial)?;
        create_first_items(shared, missing).await?;
        Ok(pool)
    }

    /// Builds the pool without waiting for its first items, which are created in the background.
    ///
    /// Unlike [`build`](Self::build), it keeps the minimum of idle items also if they cannot be created at first: the pool tries
    /// again after each backoff delay, for as long as it takes. [`PoolEvent::CreateFailed`](super::PoolEvent::CreateFailed)
    /// and [`PoolStatus::backing_off`](super::PoolStatus::backing_off) report the failures.
    ///
    /// The pool uses the current runtime, as with `build`. Outside of one, enter it with
    /// [`Handle::enter`](tokio::runtime::Handle::enter).
    ///
    /// ```
    #[doc = include_str!("example_setup.txt")]
    /// let pool = Pool::builder(Buffers).max(8).min_idle(2).start()?;
    /// let buffer = pool.checkout().await?;
    /// # drop(buffer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`PoolBuildError::Invalid`] with every problem of the settings.
    /// - [`PoolBuildError::NoRuntime`] outside a tokio runtime.
    /// - [`PoolBuildError::Closed`] if the gate is closed before the [`initial`](Self::initial) items are in the pool.
    ///
    /// # Panics
    ///
    /// In a runtime without its timer enabled.
    pub fn start(mut self) -> Result<Pool<M>, PoolBuildError> {
        let initial = mem::take(&mut self.initial);
        let pool = self.open(initial.len())?;
        let shared = &pool.core.shared;
        add_initial(shared, initial)?;
        let now = clock::now();
        shared.apply(|state, effects| state.warm(now, shared.gate.item_limit(), effects));
        Ok(pool)
    }

    /// Builds the pool without items. `initial` is the number of items that exist already.
    fn open(self, initial: usize) -> Result<Pool<M>, PoolBuildError> {
        let (gate, owns_gate) = match self.validate(initial) {
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
            create_timeout: self.create_timeout,
            during_backoff: self.during_backoff,
        };
        let max_wait = self.max_wait.map_or(NEVER, clock::from_duration);
        let longest_wait = max_wait.min(gate.max_wait_nanos());
        let half_wait = Duration::from_nanos(longest_wait.unsigned_abs()).checked_div(2).unwrap_or_default();
        // Registered before the limit is read, so that no change of the limit is missed.
        let maintenance_wake = Arc::new(Notify::new());
        gate.listen(&maintenance_wake);
        let (first, longest) = self.create_backoff;
        // The lease of a shared gate reports the number of live items, which it reads from the counts of a group. So a pool at such a
        // gate always has a group, if necessary one of its own.
        let group = self.group.or_else(|| gate.is_shared().then(|| PoolGroup::new(gate.clone())));
        let share = group.as_ref().map(|group| group.share(&maintenance_wake));
        let state = PoolState::new(rules, CreateBackoff::new(first, longest), gate.item_limit(), share);
        let shared = Arc::new(PoolShared {
            manager: self.manager,
            gate,
            group,
            room_requests: AtomicUsize::new(0),
            owns_gate,
            max_wait,
            create_timeout: self.create_timeout,
            check_timeout: self.check_timeout.unwrap_or(DEFAULT_CHECK_TIMEOUT.min(half_wait)),
            reads_clock: rules.has_time_bounds(),
            max_lifetime: self.max_lifetime,
            incomplete_by_default: self.incomplete_by_default,
            observers: self.observers,
            runtime,
            maintenance_wake,
            ended_before: AtomicU64::new(0),
            closing: Notify::new(),
            close_turn: CloseTurn::new(),
            drained: Notify::new(),
            state: Mutex::new(state),
        });
        if let Some(group) = &shared.group {
            let member: Weak<dyn GroupMember> = Arc::<PoolShared<M>>::downgrade(&shared);
            group.join(member);
        }
        let maintenance = shared.runtime.spawn(run_maintenance(Arc::clone(&shared)));
        Ok(Pool { core: Arc::new(PoolCore { shared, maintenance }) })
    }

    /// Returns the gate and whether the pool created it, or every problem of the settings.
    fn validate(&self, initial: usize) -> Result<(PoolGate, bool), Vec<PoolProblem>> {
        let mut problems = Vec::new();
        let mut valid_gate = None;
        let of_group = self.group.as_ref().map(PoolGroup::gate);
        if let Some(gate) = of_group.filter(|_| self.gate.is_some() || self.max.is_some()) {
            problems.push(PoolProblem::GroupAndLimit { gate: gate.name() });
        }
        match (of_group.or(self.gate.as_ref()), self.max.filter(|_| of_group.is_none())) {
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
                    valid_gate = Some((Gate::builder(name, limit).measure_waits(false).build().into(), true));
                }
                Err(error) => problems.push(PoolProblem::Max(error)),
            },
        }

        let (first, longest) = self.create_backoff;
        let durations = [
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("max_wait", self.max_wait),
            ("create_timeout", Some(self.create_timeout)),
            ("check_timeout", self.check_timeout),
            ("create_backoff", Some(first)),
        ];
        let zeros = durations.into_iter().filter(|(_, duration)| *duration == Some(Duration::ZERO));
        problems.extend(zeros.map(|(setting, _)| PoolProblem::Zero { setting }));
        if longest < first {
            problems.push(PoolProblem::Backoff { first, longest });
        }
        if let Some((gate, _)) = valid_gate.as_ref().filter(|(gate, _)| initial > gate.item_limit()) {
            problems.push(PoolProblem::Initial { items: initial, limit: gate.item_limit() });
        }
        valid_gate.filter(|_| problems.is_empty()).ok_or(problems)
    }
}

/// Adds the items that exist already, as far as there is room for them.
fn add_initial<M: Manager>(shared: &Arc<PoolShared<M>>, items: Vec<M::Item>) -> Result<(), PoolBuildError> {
    let given = items.len();
    for (added, item) in items.into_iter().enumerate() {
        match shared.add(item) {
            Ok(()) => {}
            // The limit was lowered since it was checked, or other pools of the group have the slots.
            Err(AddError::Full { .. }) => {
                let problems = vec![PoolProblem::Initial { items: given, limit: added }];
                return Err(PoolBuildError::Invalid { problems });
            }
            Err(AddError::Closed { gate, .. }) => return Err(PoolBuildError::Closed { gate }),
        }
    }
    Ok(())
}

/// Creates this many items, which become idle. They are checked out without a permit until all of them exist, then put back. If the
/// limit falls meanwhile, it creates only as many as still fit.
async fn create_first_items<M: Manager>(
    shared: &Arc<PoolShared<M>>,
    count: usize,
) -> Result<(), PoolBuildError> {
    // All waits are queued before the first is awaited, so that the items are created at the same time.
    let waits: Vec<_> = (0..count).map(|_| ItemWait::enqueue_first(shared)).collect();
    let mut items = Vec::new();
    for wait in waits {
        match wait.delivery(NEVER).await {
            Some(ItemDelivery::Reused(record) | ItemDelivery::Created(record)) => {
                items.push(UnusedItem::new(shared, record));
            }
            Some(ItemDelivery::NoRoom) => {}
            Some(ItemDelivery::Ended(
                CheckoutError::Create(error) | CheckoutError::BackingOff { error, .. },
            )) => return Err(PoolBuildError::Create(error)),
            Some(ItemDelivery::Ended(_)) | None => {
                return Err(PoolBuildError::Closed { gate: shared.gate.name() });
            }
        }
    }
    Ok(())
}

const DEFAULT_NAME: GateName = GateName::new("pool");

/// Longer than any check that a checkout should wait for.
const DEFAULT_CHECK_TIMEOUT: Duration = Duration::from_secs(1);
