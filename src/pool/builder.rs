//! Building a pool: every problem at once, then the first items.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::backoff::Backoff;
use super::books::{Books, Entry, Rules};
use super::checkout::Want;
use super::effects::Delivery;
use super::keeper::keep;
use super::shared::Shared;
use super::sync::{Mutex, Runtime};
use super::{Core, Manager, Pool, PoolBuildError, PoolObserver, PoolProblem};
use crate::gate::clock::{self, NEVER};
use crate::gate::{ChangeListener, Gate};
use crate::plan::{GateName, Limit};

/// A [`Pool`] in the making; from [`Pool::builder`].
#[must_use = "a builder makes no pool until `build`"]
pub struct PoolBuilder<M: Manager> {
    manager: M,
    gate: Option<Gate>,
    max: Option<u32>,
    name: Option<GateName>,
    min_idle: usize,
    idle_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
    create_timeout: Duration,
    backoff: (Duration, Duration),
    observers: Vec<Box<dyn PoolObserver>>,
}

impl<M: Manager> PoolBuilder<M> {
    pub(super) fn new(manager: M) -> Self {
        Self {
            manager,
            gate: None,
            max: None,
            name: None,
            min_idle: 0,
            idle_timeout: None,
            max_lifetime: None,
            create_timeout: CREATE_TIMEOUT,
            backoff: BACKOFF,
            observers: Vec::new(),
        }
    }

    /// Takes the limit from a gate, such as one that follows the host: a [governor](crate::Governor)'s. Whoever resizes or
    /// closes the gate resizes or closes the pool.
    ///
    /// Others may use the same gate. The limit then bounds the checkouts and permits out of all of them together, and the
    /// items of each pool by themselves, since an idle item holds no permit.
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Takes a gate of its own, with this limit: 1 to [`Limit::MAX`].
    pub const fn max(mut self, max: u32) -> Self {
        self.max = Some(max);
        self
    }

    /// What the gate of its own is called, in errors and events; `pool` unless said.
    pub fn name(mut self, name: impl Into<GateName>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many items are to be idle at least; 0 unless said. They are made when the pool is built and anew when items had
    /// to go, and stay however long they are idle. Where this is above the limit, the limit counts.
    pub const fn min_idle(mut self, items: usize) -> Self {
        self.min_idle = items;
        self
    }

    /// How long an item may be idle before it is dropped, the coldest first, as long as there are more than
    /// [`min_idle`](Self::min_idle); without end unless said.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// How old an item may become; without end unless said. One that is older is dropped when it is idle or comes back,
    /// and is not handed out.
    pub const fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// How long it may take to make an item, or to check the health of one: 30 s unless said.
    pub const fn create_timeout(mut self, timeout: Duration) -> Self {
        self.create_timeout = timeout;
        self
    }

    /// How long to wait after a failure before the next item is tried, at first and in the end: from 50 ms to 5 s unless
    /// said. It doubles with each failure, and is scattered between half of that and all of it.
    pub const fn create_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = (first, longest);
        self
    }

    /// Adds an observer, which is told of every [`PoolEvent`](super::PoolEvent).
    pub fn observer(mut self, observer: impl PoolObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Makes the pool, and the items that are to be idle, all at once.
    ///
    /// The pool lives on the runtime that this runs on: there its items are made, and there a task looks after it. When
    /// that runtime shuts down no more items are made; those that are idle are still handed out.
    ///
    /// # Errors
    ///
    /// [`PoolBuildError`] with every problem of what was said here; or if there is no tokio runtime; or with the first
    /// failure to make an item.
    ///
    /// # Panics
    ///
    /// In a runtime without its timer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the pool with it, and the items as they are made.
    pub async fn build(self) -> Result<Pool<M>, PoolBuildError<M::Error>> {
        let (gate, owns_gate) = match self.limit() {
            Ok(gate) => gate,
            Err(problems) => return Err(PoolBuildError::Invalid { problems }),
        };
        let name = gate.name();
        let Some(runtime) = Runtime::current() else { return Err(PoolBuildError::NoRuntime { gate: name }) };
        let rules = Rules {
            gate: name,
            min_idle: self.min_idle,
            idle_timeout: self.idle_timeout.map_or(NEVER, clock::length),
            max_lifetime: self.max_lifetime.map_or(NEVER, clock::length),
        };
        let bell: ChangeListener = Arc::default();
        gate.listen(&bell);
        let backoff = Backoff::new(self.backoff.0, self.backoff.1);
        let shared = Arc::new(Shared {
            books: Mutex::new(Books::new(rules, backoff, gate.limit())),
            manager: self.manager,
            gate,
            owns_gate,
            create_timeout: self.create_timeout,
            notes_time: rules.looks_at_the_clock(),
            has_lifetime: rules.max_lifetime != NEVER,
            observers: self.observers,
            runtime,
            bell,
            drained: Notify::new(),
        });
        let keeper = shared.runtime.spawn(keep(Arc::clone(&shared)));
        let pool = Pool { core: Arc::new(Core { shared, keeper }) };
        warm(&pool.core.shared, self.min_idle).await?;
        Ok(pool)
    }

    /// The gate, and whether it is the pool's own; or everything that is wrong.
    fn limit(&self) -> Result<(Gate, bool), Vec<PoolProblem>> {
        let mut problems = Vec::new();
        let mut found = None;
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
                found = Some((gate.clone(), false));
            }
            (None, Some(max)) => match Limit::try_new(max.into()) {
                // The pool measures waits by itself, the whole of each.
                Ok(limit) => {
                    let gate = Gate::builder(self.name.unwrap_or(NAME), limit).measure_waits(false).build();
                    found = Some((gate, true));
                }
                Err(error) => problems.push(PoolProblem::Max(error)),
            },
        }
        let (first, longest) = self.backoff;
        let lengths = [
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("create_timeout", Some(self.create_timeout)),
            ("create_backoff", Some(first)),
        ];
        let zeros = lengths.into_iter().filter(|(_, length)| *length == Some(Duration::ZERO));
        problems.extend(zeros.map(|(setting, _)| PoolProblem::Zero { setting }));
        if longest < first {
            problems.push(PoolProblem::Backoff { first, longest });
        }
        found.filter(|_| problems.is_empty()).ok_or(problems)
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
            .field("create_backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}

const NAME: GateName = GateName::new("pool");

/// Longer than anything takes that will come to something; short enough that a place is not lost to what never will.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// Short enough at first that a moment's failure is hardly noticed. In the end long enough to leave whatever fails alone,
/// and short enough that whoever waits is told within seconds.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Has the first items made, and puts them where they belong once all are there.
async fn warm<M: Manager>(shared: &Arc<Shared<M>>, min_idle: usize) -> Result<(), PoolBuildError<M::Error>> {
    let items = min_idle.min(usize::try_from(shared.gate.limit().get()).unwrap_or(usize::MAX));
    let mut wants = Vec::new();
    let mut warmed = Vec::new();
    for _ in 0..items {
        match shared.take_or_want(None) {
            Ok(entry) => warmed.push(Warmed::new(shared, entry)),
            Err(place) => wants.push(Want::new(shared, place)),
        }
    }
    for mut want in wants {
        match want.delivery().await {
            Delivery::Used(entry) | Delivery::New(entry) => warmed.push(Warmed::new(shared, entry)),
            Delivery::Failed(error) => return Err(PoolBuildError::Create(error)),
            Delivery::Closed => return Err(PoolBuildError::Closed { gate: shared.gate.name() }),
        }
    }
    Ok(())
}

/// An item that was made to be idle, on its way there.
struct Warmed<'s, M: Manager> {
    shared: &'s Arc<Shared<M>>,
    entry: Option<Entry<M::Item>>,
}

impl<'s, M: Manager> Warmed<'s, M> {
    const fn new(shared: &'s Arc<Shared<M>>, entry: Entry<M::Item>) -> Self {
        Self { shared, entry: Some(entry) }
    }
}

impl<M: Manager> Drop for Warmed<'_, M> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.shared.put_in_order(entry);
        }
    }
}
