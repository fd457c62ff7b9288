//! The handle of a gate, and how a gate is created.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::{self, NEVER};
#[cfg(feature = "fleet")]
use super::counters::UnleasedRejection;
use super::holders::holder::Holder;
use super::key::Key;
use super::lock::GateLock;
use super::outcomes::{AttemptStart, OutcomeReader, OutcomeSampler};
use super::queue::fair::NodeRules;
use super::shared::Shared;
use super::status::{GateStatus, KeyStatus, Resize};
use super::tree::{DeclaredGate, TreeNode};
use super::wake_list::WakeList;
use crate::feedback::Outcome;
use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::{GateName, Holders, Keys, Limit, Shed};

/// A named counting gate, whose limit may change at any time. A [standalone](crate::gate) gate admits requests first come, first served.
///
/// A clone is another handle of the same gate; it costs one atomic increment. The memory of the gate is freed with its last
/// handle, permit and pending request.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use concurrency_governor::{GateName, Limit, gate::Gate};
///
/// const UPLOADS: GateName = GateName::new("uploads");
/// let uploads = Gate::new(UPLOADS, Limit::new(2));
///
/// let permit = uploads.acquire().await?; // released when it is dropped
/// let sent = uploads.run(async { "sent" }).await?; // or let the gate hold the permit
/// assert_eq!(sent, "sent");
///
/// let change = uploads.resize(Limit::new(64)); // at any time, from any thread
/// assert_eq!((change.from, change.debt), (Limit::new(2), 0));
/// drop(permit);
/// # Ok(())
/// # }
/// ```
///
/// A static gate is created at its first use:
///
/// ```
/// use std::sync::LazyLock;
/// use concurrency_governor::{Gate, GateName, Limit};
///
/// static UPLOADS: LazyLock<Gate> = LazyLock::new(|| Gate::new(GateName::new("uploads"), Limit::new(8)));
/// assert!(UPLOADS.try_acquire().is_ok());
/// ```
///
/// Acquiring takes part in tokio's cooperative scheduling: a task that acquires ready permits in a loop yields to the runtime
/// from time to time. Its request keeps its permits meanwhile.
#[derive(Clone)]
pub struct Gate {
    shared: Arc<Shared>,
}

impl Gate {
    /// Creates a gate with an unbounded queue and no maximum wait.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let uploads = Gate::new(GateName::new("uploads"), Limit::new(2));
    /// assert_eq!(uploads.limit(), Limit::new(2));
    /// ```
    #[must_use]
    pub fn new(name: impl Into<GateName>, limit: Limit) -> Self {
        Self::builder(name, limit).build()
    }

    /// Returns a builder, to bound the queue or the wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let uploads = Gate::builder(GateName::new("uploads"), Limit::new(2))
    ///     .queue(100) // request number 101 in the queue is rejected
    ///     .max_wait(Duration::from_secs(1))
    ///     .build();
    /// # let _ = uploads;
    /// ```
    pub fn builder(name: impl Into<GateName>, limit: Limit) -> GateBuilder {
        GateBuilder {
            name: name.into(),
            limit,
            queue: usize::MAX,
            max_wait: None,
            measures_waits: true,
            weight: 1,
            is_parent: false,
            keys: None,
            shed: None,
            parent: None,
            holders: None,
            samples_outcomes: false,
            outcomes_above: None,
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> GateName {
        self.shared.name
    }

    /// Returns the limit: the largest number of permits that may be in use.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.shared.load().0
    }

    /// Sets the limit at once. Returns the old limit, the new limit and the debt. It has no effect on a [key](Self::key),
    /// whose limit follows that of its gate.
    ///
    /// Permits in use are never revoked. If the limit is lowered below their number, the excess is debt, and no request is admitted
    /// until released permits have paid it. A waiting request whose weight is above the new limit ends with
    /// [`AcquireError::TooLarge`](super::AcquireError::TooLarge), unless it [waits for the limit](super::Request::wait_for_limit).
    /// If the limit is raised, waiting requests are admitted in their order, for as long as the next one fits.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire_many(4)?;
    /// assert_eq!(jobs.resize(Limit::new(1)).debt, 3);
    /// drop(permit); // pays the debt
    /// assert_eq!(jobs.status().available, 1);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[expect(clippy::must_use_candidate, reason = "callers need the effect, and often not the result")]
    #[inline]
    pub fn resize(&self, limit: Limit) -> Resize {
        self.shared.resize(|_| limit)
    }

    /// Raises or lowers the limit by this number, in one step: if several threads do that at once, every change counts. The limit
    /// stays in `1..=Limit::MAX`. Otherwise as [`resize`](Self::resize).
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// assert_eq!(jobs.resize_by(2).to, Limit::new(6));
    /// assert_eq!(jobs.resize_by(-10).to, Limit::MIN);
    /// ```
    #[expect(clippy::must_use_candidate, reason = "callers need the effect, and often not the result")]
    pub fn resize_by(&self, change: i64) -> Resize {
        self.shared.resize(|limit| {
            let sum = i64::from(limit.get()).saturating_add(change);
            Limit::saturating(u64::try_from(sum).unwrap_or(0))
        })
    }

    /// Sets the bound of the queue: at most this many requests wait. With 0 no request waits, and with [`usize::MAX`] there is no bound.
    /// Requests that wait now stay, even if there are more than the new bound. It has no effect on a [key](Self::key).
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::builder(GateName::new("jobs"), Limit::new(4)).queue(1000).build();
    /// jobs.set_queue(100);
    /// jobs.set_max_wait(Duration::from_millis(250));
    /// let status = jobs.status();
    /// assert_eq!((status.queue_bound, status.max_wait), (Some(100), Some(Duration::from_millis(250))));
    /// ```
    pub fn set_queue(&self, bound: usize) {
        self.shared.set_queue_bound(bound);
    }

    /// Sets an upper bound for the wait of the requests that arrive from now on, including those of children and keys. A request may set a
    /// shorter wait. With [`Duration::MAX`] there is no bound. Requests that wait now keep their deadlines. It has no effect on a
    /// [key](Self::key).
    pub fn set_max_wait(&self, wait: Duration) {
        self.shared.set_max_wait(clock::from_duration(wait));
    }

    /// Sets the limit without waking. The caller wakes the waiters by dropping the list, after it releases its own lock.
    #[inline]
    pub(crate) fn resize_without_waking(&self, limit: Limit, wake_list: &mut WakeList) -> Resize {
        self.shared.resize_without_waking(limit, wake_list)
    }

    /// Closes the gate for good: all waiting and future requests are rejected with `Closed`, also those of its children and keys.
    /// Permits in use stay valid. For a [key](Self::key), ends all waits of the key, and closes this handle with its clones; other
    /// handles of the key stay open.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// jobs.close();
    /// assert!(jobs.is_closed() && jobs.try_acquire().is_err());
    /// ```
    pub fn close(&self) {
        self.shared.close();
    }

    /// Closes the gate for all future requests, also those of its children and keys, and serves the requests that wait: for a graceful
    /// shutdown. Permits in use stay valid. For a [key](Self::key), closes this handle with its clones; other handles of the key stay
    /// open.
    ///
    /// A [pool](crate::pool) on the gate goes on until the gate is drained, and is closed then.
    ///
    /// [`drained`](Self::drained) resolves when the queue has been served and all permits are released. [`close`](Self::close) ends the
    /// waits that are left. A request that [waits for the limit](super::Request::wait_for_limit) may wait for ever.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(1));
    /// let held = jobs.acquire().await?;
    /// let waiting = tokio::spawn(jobs.acquire_owned());
    /// # tokio::task::yield_now().await;
    /// jobs.close_after_queue();
    /// assert!(jobs.try_acquire().is_err() && jobs.waiting() == 1);
    /// drop(held);
    /// drop(waiting.await??); // was served
    /// jobs.drained().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_after_queue(&self) {
        self.shared.close_after_queue();
    }

    /// Pauses the gate: from now on it admits no request, also not at its children and keys, until [`resume`](Self::resume). The queue
    /// stays as it is, and requests that arrive wait in it. It has no effect on a gate that is paused, and none on a
    /// [key](Self::key).
    ///
    /// Permits in use stay valid, and can be released. Deadlines, the bound of the queue and changes of the limit still apply. Nothing is
    /// [shed](crate::Shed) in a tree of gates while one of them is paused. A request that does not wait is rejected with
    /// [`TryAcquireError::Paused`](super::TryAcquireError::Paused).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// jobs.pause(); // the database is being moved
    /// let waiting = tokio::spawn(jobs.acquire_owned());
    /// # tokio::task::yield_now().await;
    /// assert_eq!((jobs.is_paused(), jobs.in_use(), jobs.waiting()), (true, 0, 1));
    /// jobs.resume();
    /// drop(waiting.await??);
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause(&self) {
        let mut wake_list = WakeList::default();
        self.pause_without_waking(&mut wake_list);
        wake_list.wake_all();
    }

    /// Pauses the gate. In a tree this may grant waiters of other gates, which no longer have to wait behind a request of the paused one.
    /// The caller wakes them by dropping the list, after it releases its own lock.
    pub(crate) fn pause_without_waking(&self, wake_list: &mut WakeList) {
        self.shared.pause(wake_list);
    }

    /// Ends a [pause](Self::pause), and admits the requests that wait and fit. The gate stays paused if one above it is. It has no effect
    /// on a gate that is not paused.
    pub fn resume(&self) {
        let mut wake_list = WakeList::default();
        self.resume_without_waking(&mut wake_list);
        wake_list.wake_all();
    }

    /// Ends a pause. The caller wakes the waiters by dropping the list, after it releases its own lock.
    pub(crate) fn resume_without_waking(&self, wake_list: &mut WakeList) {
        self.shared.resume(wake_list);
    }

    /// Returns `true` if the gate, or one above it, is [paused](Self::pause).
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.is_paused()
    }

    /// Returns the number of permits in use, those of children and keys included. It costs one atomic load at a [standalone](crate::gate)
    /// gate that is not paused; otherwise it takes a lock for a moment. [`status`](Self::status) has all numbers of one instant.
    ///
    /// The value may lack, for some nanoseconds, an acquisition or a release that has just finished on another thread.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire()?;
    /// assert_eq!((jobs.in_use(), jobs.available(), jobs.waiting()), (1, 3, 0));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.shared.load().1
    }

    /// Returns the number of permits that are not in use; 0 under debt. A paused gate admits no request, whatever this number is. The
    /// permits of a child or a key may also be limited by a gate above it. It costs as much as [`in_use`](Self::in_use).
    #[must_use]
    pub fn available(&self) -> u32 {
        let (limit, in_use, _) = self.shared.load();
        limit.get().saturating_sub(in_use)
    }

    /// Returns the number of requests in the queue. It takes the lock of the gate for a moment, unless the gate is
    /// [standalone](crate::gate), and neither a request nor a [`drained`](Self::drained) future waits.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// Returns `true` if the gate, or one above it, was closed by [`close`](Self::close) or [`close_after_queue`](Self::close_after_queue).
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.load().2
    }

    /// Returns the limit, the permits and the queue at one instant, and what the gate has counted so far.
    ///
    /// It takes the lock of the gate for a moment.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let jobs = Gate::new(GateName::new("jobs"), Limit::new(4));
    /// let permit = jobs.try_acquire()?;
    /// let status = jobs.status();
    /// assert_eq!((status.in_use, status.available, status.waiting), (1, 3, 0));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[must_use]
    pub fn status(&self) -> GateStatus {
        self.shared.status()
    }

    /// Returns the gate of a key. It is within this gate, and gets a fair share of the permits of this gate beside the other keys, the
    /// children, and the requests made on this gate itself. This call costs an allocation; keep the handle for a key that is used often.
    ///
    /// The key counts towards the largest number of keys only while a permit is in use or a request waits in its name. Its limit is the cap
    /// of the [declaration](GateBuilder::keyed), and follows the limit of this gate.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use concurrency_governor::{Gate, GateName, Keys, Limit, Part};
    ///
    /// let io = Gate::builder(GateName::new("io"), Limit::new(8)).keyed(Keys::up_to(4096).cap(Part::of(1, 2))).build();
    /// let tenant = io.key("tenant-42");
    /// let permit = tenant.acquire().await?;
    /// assert_eq!((tenant.limit(), tenant.in_use(), io.in_use()), (Limit::new(4), 1, 1));
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If the gate was created without keys, or is itself a key; check with [`has_keys`](Self::has_keys).
    #[must_use]
    #[track_caller]
    pub fn key(&self, key: impl Into<Key>) -> Self {
        let node = self.shared.node.as_ref().and_then(|node| node.node_of_key(key.into()));
        let Some(node) = node else {
            panic!(
                "gate `{}` has no keys; create it with `GateBuilder::keyed`, or declare it with `GateSpec::keyed`",
                self.name()
            )
        };
        let Shared { counters, outcomes, .. } = &*self.shared;
        Self { shared: Arc::new(Shared::in_tree(Arc::clone(counters), outcomes.clone(), node)) }
    }

    /// Returns `true` if the gate was created with keys, and is not itself a key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.shared.node.as_ref().is_some_and(TreeNode::has_keys)
    }

    /// Returns `true` if gates can be created within this one.
    pub(crate) fn may_have_children(&self) -> bool {
        self.shared.node.as_ref().is_some_and(|node| node.as_parent().is_some())
    }

    /// Returns `true` if requests of the gate are rejected early under lasting overload: it, or a gate above it, was created with
    /// [`shed`](GateBuilder::shed).
    #[must_use]
    pub fn sheds(&self) -> bool {
        self.shared.node.as_ref().is_some_and(TreeNode::sheds)
    }

    /// Returns the key, if this gate is one.
    #[must_use]
    pub fn as_key(&self) -> Option<&Key> {
        self.shared.key()
    }

    /// Returns the number of keys with permits in use or requests waiting. It visits every gate and key of the tree under its lock.
    #[must_use]
    pub fn busy_keys(&self) -> usize {
        self.shared.node.as_ref().map_or(0, TreeNode::busy_keys)
    }

    /// Returns the keys with the most requests waiting, then those with the most permits in use, at most `most` of them. It visits every
    /// gate and key of the tree under its lock.
    ///
    /// ```
    /// # use concurrency_governor::{Gate, GateName, Keys, Limit};
    /// let io = Gate::builder(GateName::new("io"), Limit::new(8)).keyed(Keys::up_to(4096)).build();
    /// let tenant = io.key(7);
    /// let permit = tenant.try_acquire_many(3)?;
    /// let busiest = io.busiest_keys(10);
    /// assert_eq!((busiest[0].key.to_string(), busiest[0].in_use), ("7".to_owned(), 3));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[must_use]
    pub fn busiest_keys(&self, most: usize) -> Vec<KeyStatus> {
        self.shared.node.as_ref().map_or_else(Vec::new, |node| node.busiest_keys(most))
    }

    /// Returns the permits in use, those of children and keys included, in no particular order. Returns an empty list if the gate does not
    /// [track its holders](GateBuilder::track_holders); check with [`tracks_holders`](Self::tracks_holders).
    ///
    /// All of them are of one instant: their weights add up to [`in_use`](GateStatus::in_use) at that instant. It visits every record of
    /// the tree under its lock.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use concurrency_governor::{Gate, GateName, Holders, Limit};
    /// # let tracked = Holders::overdue_after(Duration::from_secs(30));
    /// let jobs = Gate::builder(GateName::new("jobs"), Limit::new(4)).track_holders(tracked).build();
    /// let permit = jobs.try_acquire_many(3)?;
    /// let holders = jobs.holders();
    /// assert_eq!((holders.len(), holders[0].weight, holders[0].location.line()), (1, 3, line!() - 2));
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.shared.node.as_ref().map_or_else(Vec::new, TreeNode::holders)
    }

    /// Returns `true` if the gate keeps a record of each permit in use.
    #[must_use]
    pub fn tracks_holders(&self) -> bool {
        self.shared.node.as_ref().is_some_and(TreeNode::is_tracked)
    }

    /// Returns `true` if both are handles of the same gate.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
            || match (&self.shared.node, &other.shared.node) {
                (Some(node), Some(other)) => node.is_same(other),
                _ => false,
            }
    }

    /// Returns `true` if each permit of this gate is also a permit of `other`: this gate is `other`, or is below it in the tree.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        match (&self.shared.node, &other.shared.node) {
            (Some(node), Some(other)) => node.is_within(other),
            _ => self.is_same(other),
        }
    }

    /// Returns `true` if both are gates of one tree.
    pub(super) fn shares_tree_with(&self, other: &Self) -> bool {
        match (&self.shared.node, &other.shared.node) {
            (Some(node), Some(other)) => node.shares_tree_with(other),
            _ => false,
        }
    }

    /// Returns the position of the gate in the order in which several gates are acquired. The gates of a tree have the position of its
    /// root.
    pub(super) fn order(&self) -> u64 {
        self.shared.node.as_ref().map_or(self.shared.number, |node| node.tree().number())
    }

    #[inline]
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts an attempt at the work of a permit. It is sampled only if the gate samples outcomes.
    #[inline]
    pub(crate) fn begin_attempt(&self) -> AttemptStart {
        match &self.shared.outcomes {
            None => AttemptStart::UNSAMPLED,
            Some(sampler) => sampler.begin(|| self.in_use()),
        }
    }

    /// Records the outcome of an attempt, if the gate samples outcomes.
    #[inline]
    pub(crate) fn finish_attempt(&self, start: AttemptStart, outcome: Outcome) {
        if let Some(sampler) = &self.shared.outcomes {
            sampler.finish(start, outcome);
        }
    }

    /// Returns the reader of the samples, if the gate samples outcomes. There must be only one.
    pub(crate) fn outcome_reader(&self) -> Option<OutcomeReader> {
        self.shared.outcomes.as_ref().map(|sampler| OutcomeReader::new(Arc::clone(sampler)))
    }

    /// Returns `true` if the gate is not [standalone](crate::gate).
    pub(crate) fn is_in_tree(&self) -> bool {
        self.shared.node.is_some()
    }

    /// Counts a rejection that was made because the lease of the gate had no permits.
    #[cfg(feature = "fleet")]
    pub(crate) fn count_unleased(&self, rejection: UnleasedRejection) {
        self.shared.counters.count_unleased(rejection);
    }

    /// Registers a listener. It is notified when the limit is set and when the gate is closed, until its owner drops it.
    pub(crate) fn listen(&self, listener: &Arc<Notify>) {
        self.shared.listen(listener);
    }

    /// Returns `true` if the gate has shut down: [`close`](Self::close) has ended its waits, or
    /// [`close_after_queue`](Self::close_after_queue) was called and the gate is drained. After `close`, permits may still be in use.
    pub(crate) fn has_shut_down(&self) -> bool {
        let has_ended_waits = || match &self.shared.node {
            Some(node) => node.has_ended_waits(),
            None => self.shared.locked(|state, _| state.has_ended_waits),
        };
        self.is_closed() && (has_ended_waits() || self.in_use() == 0 && self.waiting() == 0)
    }

    /// As [`listen`](Self::listen), also for the gates above.
    pub(super) fn listen_upwards(&self, listener: &Arc<Notify>) {
        match &self.shared.node {
            Some(node) => node.listen_upwards(listener),
            None => self.shared.listen(listener),
        }
    }

    /// Returns the lowest of the limits of the gate and of those above it.
    pub(super) fn lowest_limit(&self) -> Limit {
        self.shared.node.as_ref().map_or_else(|| self.limit(), TreeNode::lowest_limit)
    }

    /// Wakes the tasks of the requests that wait at this gate itself, so that they can check another reason to stop waiting. They keep
    /// their places in the queue.
    pub(crate) fn wake_early(&self) {
        self.shared().wake_early();
    }

    /// Returns the maximum wait that the gate allows, in nanoseconds, or [`NEVER`].
    pub(crate) fn max_wait_nanos(&self) -> i64 {
        self.shared.max_wait()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Gate")
            .field("name", &status.name)
            .field("limit", &status.limit)
            .field("in_use", &status.in_use)
            .field("waiting", &status.waiting)
            .field("closed", &status.closed)
            .finish_non_exhaustive()
    }
}

/// Creates a [`Gate`]; from [`Gate::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder creates no gate before `build`"]
pub struct GateBuilder {
    name: GateName,
    limit: Limit,
    queue: usize,
    max_wait: Option<Duration>,
    measures_waits: bool,
    weight: u32,
    is_parent: bool,
    keys: Option<Keys>,
    shed: Option<Shed>,
    parent: Option<Arc<DeclaredGate>>,
    holders: Option<Holders>,
    samples_outcomes: bool,
    /// The sampler of the nearest gate above that has one.
    outcomes_above: Option<Arc<OutcomeSampler>>,
}

impl GateBuilder {
    /// Bounds the queue: at most this many requests wait, whatever their weight. With 0 no request waits. Default: unbounded.
    pub const fn queue(mut self, bound: usize) -> Self {
        self.queue = bound;
        self
    }

    /// Sets an upper bound for the wait of every request, including those of children and keys. A request may set a shorter wait. Default:
    /// unbounded.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Sets whether the gate measures how long requests wait, for [`GateStatus::waits`]. Without it, a [standalone](crate::gate) gate reads
    /// the clock only for requests with a deadline and for blocked threads, and each gate is about 1 KB smaller. Default: `true`.
    pub const fn measure_waits(mut self, measures: bool) -> Self {
        self.measures_waits = measures;
        self
    }

    /// Allows other gates to be created [within](Self::within) this one.
    pub const fn with_children(mut self) -> Self {
        self.is_parent = true;
        self
    }

    /// Lets the gate have keys, which are made on demand with [`Gate::key`]. Such a gate may have children, too.
    pub const fn keyed(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Lets the gate reject requests early under lasting overload; see [`Shed`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Gate, GateName, Limit, Shed};
    ///
    /// let http = Gate::builder(GateName::new("http"), Limit::new(64)).shed(Shed::after(Duration::from_millis(20))).build();
    /// assert!(!http.status().standing);
    /// ```
    pub const fn shed(mut self, shed: Shed) -> Self {
        self.shed = Some(shed);
        self
    }

    /// Puts the gate within another one: each of its permits is also a permit of the parent, and of the parent's parents.
    ///
    /// The children of a gate, its keys, and the requests made on it directly share its permits: the next one goes to the child with
    /// the fewest permits in use per [weight](Self::weight) that has a request waiting. A child that does not need its share leaves it to
    /// the others.
    ///
    /// ```
    /// use concurrency_governor::{Gate, GateName, Limit};
    ///
    /// let io = Gate::builder(GateName::new("io"), Limit::new(8)).with_children().build();
    /// let messages = Gate::builder(GateName::new("messages"), Limit::new(2)).within(&io)?.weight(2).build();
    /// let permit = messages.try_acquire()?;
    /// assert_eq!((messages.in_use(), io.in_use()), (1, 1));
    /// # drop(permit);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidParent`] if the parent was created without children and keys, is a key, or is as deep as a gate may be.
    pub fn within(mut self, parent: &Gate) -> Result<Self, InvalidParent> {
        let fault = match parent.shared.node.as_ref().and_then(TreeNode::as_parent) {
            _ if parent.as_key().is_some() => ParentFault::IsKey,
            None => ParentFault::NoChildren,
            Some(declared) if declared.depth() >= MAX_DEPTH => ParentFault::TooDeep,
            Some(declared) => {
                self.parent = Some(Arc::clone(declared));
                self.outcomes_above.clone_from(&parent.shared.outcomes);
                return Ok(self);
            }
        };
        Err(InvalidParent { child: self.name, parent: parent.name(), fault })
    }

    /// Sets the weight: the share of the gate relative to its siblings while they all have requests waiting. At least 1. Default: 1.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = if weight == 0 { 1 } else { weight };
        self
    }

    /// Makes the gate keep a record of each permit in use, for [`Gate::holders`], [`GateStatus::holds`] and the reports of a governor about
    /// overdue permits, stalls and wait cycles. The children and the keys of the gate then keep records, too.
    ///
    /// Each request then takes a lock and reads the clock. Requests with a [priority](super::Request::priority) are admitted in its order,
    /// as in a gate with children.
    ///
    /// ```
    /// use std::time::Duration;
    /// use concurrency_governor::{Gate, GateName, Holders, Limit};
    ///
    /// let tracked = Holders::overdue_after(Duration::from_secs(30));
    /// let uploads = Gate::builder(GateName::new("uploads"), Limit::new(2)).track_holders(tracked).build();
    /// let permit = uploads.try_acquire()?;
    /// permit.label("thumbnail");
    /// for holder in uploads.holders() {
    ///     println!("{holder}"); // 1 permit of gate uploads for "thumbnail", requested at src/main.rs:6:23, held for 0ns
    /// }
    /// # drop(permit);
    /// # Ok::<(), concurrency_governor::gate::TryAcquireError>(())
    /// ```
    pub const fn track_holders(mut self, holders: Holders) -> Self {
        self.holders = Some(holders);
        self
    }

    /// Gives the gate its own sampler of outcomes, for an [`OutcomeReader`]. By default, the nearest sampler of a gate above is used, if
    /// there is one.
    pub(crate) const fn sample_outcomes(mut self) -> Self {
        self.samples_outcomes = true;
        self
    }

    /// Creates the gate.
    #[must_use]
    pub fn build(self) -> Gate {
        let max_wait = self.max_wait.map_or(NEVER, clock::from_duration);
        let rules = NodeRules {
            limit: self.limit,
            share: self.weight,
            queue_bound: u32::try_from(self.queue).unwrap_or(u32::MAX),
            is_parent: self.is_parent,
            keys: self.keys,
            shed: self.shed,
            measures_waits: self.measures_waits,
        };
        let node = match &self.parent {
            Some(parent) => Some(TreeNode::child(parent, self.name, rules, self.holders, max_wait)),
            None if self.needs_tree() => Some(TreeNode::root(self.name, rules, self.holders, max_wait)),
            None => None,
        };
        // A sampler of the gate itself also reports to the sampler above.
        let outcomes = if self.samples_outcomes {
            Some(Arc::new(OutcomeSampler::new(self.outcomes_above)))
        } else {
            self.outcomes_above
        };
        let shared = match node {
            Some(node) => Shared::in_tree(Arc::default(), outcomes, node),
            None => Shared::new(self.name, self.limit, self.queue, max_wait, self.measures_waits, outcomes),
        };
        Gate { shared: Arc::new(shared) }
    }

    /// Returns `true` if the gate must be the root of a tree, although it has no parent. Only the fair queue of a tree supports children,
    /// keys, shedding and records of the holders.
    const fn needs_tree(&self) -> bool {
        self.is_parent || self.keys.is_some() || self.shed.is_some() || self.holders.is_some()
    }
}

/// The largest depth of a gate. The root has the depth 1.
const MAX_DEPTH: usize = 8;

/// The error for a gate that cannot be put [within](GateBuilder::within) another one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("gate `{child}` cannot be within gate `{parent}`: {fault}")]
pub struct InvalidParent {
    child: GateName,
    parent: GateName,
    fault: ParentFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ParentFault {
    #[error("the parent was created without children; create it with `GateBuilder::with_children`")]
    NoChildren,
    #[error("the parent is one of the keys of its gate, and a key has no children")]
    IsKey,
    #[error(
        "the parent is at depth 8, which is the deepest; put the gate within one of the parent's ancestors"
    )]
    TooDeep,
}

impl_debug_as_display!(InvalidParent);
