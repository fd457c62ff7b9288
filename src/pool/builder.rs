//! The settings of a pool.

use std::fmt;
use std::time::Duration;

use super::Pool;
use super::backoff::DuringBackoff;
use super::event::PoolObserver;
use super::gate::PoolGate;
use super::group::PoolGroup;
use super::manager::Manager;
use crate::plan::GateName;

impl<M: Manager> Pool<M> {
    /// Starts building a pool. A limit is required: [`max`](PoolBuilder::max), [`gate`](PoolBuilder::gate) or
    /// [`group`](PoolBuilder::group).
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
    pub(super) manager: M,
    pub(super) gate: Option<PoolGate>,
    pub(super) max: Option<u32>,
    pub(super) group: Option<PoolGroup>,
    pub(super) name: Option<GateName>,
    pub(super) min_idle: usize,
    pub(super) initial: Vec<M::Item>,
    pub(super) max_wait: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) create_timeout: Duration,
    pub(super) check_timeout: Option<Duration>,
    /// The first and the longest delay.
    pub(super) create_backoff: (Duration, Duration),
    pub(super) during_backoff: DuringBackoff,
    pub(super) incomplete_by_default: bool,
    pub(super) observers: Vec<Box<dyn PoolObserver>>,
}

impl<M: Manager> PoolBuilder<M> {
    fn new(manager: M) -> Self {
        Self {
            manager,
            gate: None,
            max: None,
            group: None,
            name: None,
            min_idle: 0,
            initial: Vec::new(),
            max_wait: None,
            idle_timeout: None,
            max_lifetime: None,
            create_timeout: DEFAULT_CREATE_TIMEOUT,
            check_timeout: None,
            create_backoff: DEFAULT_CREATE_BACKOFF,
            during_backoff: DuringBackoff::Wait,
            incomplete_by_default: false,
            observers: Vec::new(),
        }
    }

    /// Takes the limit from a gate, such as one of a [governor](crate::Governor), whose limit follows the host. Resizing or
    /// closing the gate resizes or closes the pool. For a key, closing means this handle or a clone of it.
    ///
    /// The gate may have other users. Its limit then bounds the checkouts of the pool and the permits of the other users
    /// together. It bounds the items of each pool separately, because an idle item holds no permit; a [group](Self::group) bounds
    /// them together.
    ///
    /// With a `SharedGate` of the feature `fleet`, the items of all processes together keep to the limit of the fleet: the
    /// block of this process bounds its live items. [`build`](Self::build) does not wait for a lease. The process asks the
    /// ledger for the permits of the minimum of idle items, and creates these items when the permits are granted.
    pub fn gate(mut self, gate: impl Into<PoolGate>) -> Self {
        self.gate = Some(gate.into());
        self
    }

    /// Puts the pool into a group, whose pools share one limit on their items: that of the group's gate. It replaces
    /// [`gate`](Self::gate) and [`max`](Self::max).
    ///
    /// The minimums of idle items of all pools together should be below the limit. A checkout or the [build](Self::build) of another
    /// pool may drop an item of the minimum, which is created again when there is room. `build` waits without bound for the slots of
    /// its first items.
    pub fn group(mut self, group: &PoolGroup) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// Creates a gate for the pool with this limit, from 1 to [`Limit::MAX`](crate::Limit::MAX).
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
    /// [`build`](Self::build) creates this many items. When an item was dropped or detached, a creation failed, or the limit
    /// rose, the pool creates items until this many are idle, also while others are in use. The idle timeout does not apply to them. A
    /// minimum above the limit counts as the limit.
    pub const fn min_idle(mut self, items: usize) -> Self {
        self.min_idle = items;
        self
    }

    /// Puts items that exist already into the pool. They are idle when the pool is built, and count for
    /// [`min_idle`](Self::min_idle).
    ///
    /// Their lifetime begins when the build begins. If the limit has no room for one of them, the build fails and drops them.
    /// [`Pool::add`] adds an item later.
    pub fn initial(mut self, items: impl IntoIterator<Item = M::Item>) -> Self {
        self.initial.extend(items);
        self
    }

    /// Sets the longest wait of every checkout, counted from its first poll. The default is no bound.
    ///
    /// It covers the wait in the gate's queue, the wait for an item, and the check of its health. With several bounds on the
    /// wait, those of the [request](super::CheckoutRequest::max_wait) and of the
    /// [gate](crate::gate::GateBuilder::max_wait) included, the earliest counts.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Marks each item as [begun](super::PooledItem::begin) from its checkout on. The default is that the user marks it.
    ///
    /// An item is then used again only after [`complete`](super::PooledItem::complete), so a request that ends early in
    /// any way, such as an instance that traps, never leaves its item to the next request.
    pub const fn incomplete_by_default(mut self) -> Self {
        self.incomplete_by_default = true;
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
    /// An older item is dropped when it is idle or comes back, and it is not handed out. The lifetime of each item is jittered:
    /// it is up to a tenth shorter, so that items that were created together are not renewed together.
    pub const fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// Sets how long the [health check](Manager::health) of an idle item may take. The default is 1 s, or half of the longest
    /// wait of the pool or the gate if that is shorter.
    ///
    /// It should be well below the longest wait of a checkout, so that there is time left for another item. An item whose
    /// check takes longer is discarded, together with the items that have been idle for longer than it.
    pub const fn check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = Some(timeout);
        self
    }

    /// Sets how long creating an item may take. The default is 30 s.
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

    /// Sets what happens during the backoff to a checkout that needs a new item. The default is that it waits.
    pub const fn during_backoff(mut self, choice: DuringBackoff) -> Self {
        self.during_backoff = choice;
        self
    }

    /// Adds an observer, which receives every [`PoolEvent`](super::PoolEvent).
    pub fn observer(mut self, observer: impl PoolObserver + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }
}

impl<M: Manager> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("gate", &self.gate)
            .field("max", &self.max)
            .field("group", &self.group)
            .field("name", &self.name)
            .field("min_idle", &self.min_idle)
            .field("max_wait", &self.max_wait)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_lifetime", &self.max_lifetime)
            .field("create_timeout", &self.create_timeout)
            .field("check_timeout", &self.check_timeout)
            .field("create_backoff", &self.create_backoff)
            .field("during_backoff", &self.during_backoff)
            .finish_non_exhaustive()
    }
}

/// Longer than any creation that succeeds, and short enough that a creation that hangs does not take its slot for long.
const DEFAULT_CREATE_TIMEOUT: Duration = Duration::from_secs(30);

/// The first delay is short, so that a transient failure is hardly noticed. The longest delay spares a service that is down,
/// and still reports a failure to waiters within seconds.
const DEFAULT_CREATE_BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
