//! Trees of gates: children that share the permits of a parent, and keys that are made on demand.
//!
//! All gates of a tree share one lock, so one acquisition passes all levels in one step. There is no lock-free fast path: it would need as
//! many atomic operations as taking the lock.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::panic::Location;
use std::sync::Arc;

use tokio::sync::Notify;

use super::clock;
use super::counters::ShardedCounters;
use super::error::Rejection;
use super::holders::holder::{Findings, Holder};
use super::holders::record::{HeldPermits, RecordId};
use super::holders::requester::Requester;
use super::holders::watch::{GateWatch, ReportKind};
use super::key::Key;
use super::lock::GateLock;
use super::number::next_number;
use super::permits::{LockedPermits, Permits, Word};
use super::priority::Priority;
use super::queue::fair::{NodeId, NodeRules, Ownership, Place};
use super::queue::{FairQueue, Waiter};
use super::state::{GateState, TrackedRequest};
use super::status::{GateStatus, KeyStatus, Resize};
use super::sync::{Ordering, RelaxedU64};
use super::wake_list::WakeList;
use crate::plan::{GateName, Holders, Limit};

/// What the gates of one tree share: the lock, and the state of all of them.
pub(super) struct Tree {
    permits: Permits<GateState<FairQueue>>,
    /// Seeds the hashes of the keys, so that no client can choose keys that collide.
    hasher: RandomState,
    /// The position in the order of creation of trees and standalone gates.
    number: u64,
}

impl GateLock for Tree {
    type Queue = FairQueue;

    #[inline]
    fn permits(&self) -> &Permits<GateState<FairQueue>> {
        &self.permits
    }
}

/// A declared gate of a tree: the root or a child, which a builder created, but not a key. It is removed from the tree when the last
/// handle, child and key of it is gone.
pub(super) struct DeclaredGate {
    tree: Arc<Tree>,
    id: NodeId,
    name: GateName,
    /// The gate above it. `None` for the root.
    parent: Option<Arc<DeclaredGate>>,
    is_parent: bool,
    has_keys: bool,
    /// Whether this gate or one above it sheds.
    sheds: bool,
    /// `Some` if the gate tracks its holders.
    holders: Option<Holders>,
    /// The maximum wait of the gate itself, in nanoseconds; `u64::MAX` if there is none.
    max_wait: RelaxedU64,
}

/// A gate or a key of a tree, as a handle refers to it.
pub(super) struct TreeNode {
    /// The gate; for a key, the gate that has the key.
    declared: Arc<DeclaredGate>,
    /// A copy of `declared.tree`, which saves a pointer access: benchmark row `key`.
    tree: Arc<Tree>,
    place: Place,
}

impl Tree {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Returns `true` if a request or a `drained` future waited in the tree when the word was read. Takes no lock.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.permits.load().has(Word::WAITERS)
    }
}

impl DeclaredGate {
    /// Returns the number of gates from the root to this one.
    pub(super) fn depth(&self) -> usize {
        self.parent.as_ref().map_or(1, |parent| parent.depth().saturating_add(1))
    }

    /// Returns this gate and those above it.
    fn upwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |gate| gate.parent.as_deref())
    }

    /// Returns the name of the gate at this level above; level 0 is the gate itself.
    fn name_at(&self, level: u8) -> GateName {
        match &self.parent {
            Some(parent) if level > 0 => parent.name_at(level.saturating_sub(1)),
            _ => self.name,
        }
    }
}

impl Drop for DeclaredGate {
    /// Removes the gate from its tree. Permits and requests hold handles, so it is idle, unless permits were forgotten or futures were
    /// leaked.
    fn drop(&mut self) {
        self.tree.locked(|state, _| state.queue.remove_if_idle(self.id));
    }
}

impl TreeNode {
    /// Creates a tree with its root.
    pub(super) fn root(name: GateName, rules: NodeRules, holders: Option<Holders>, max_wait: i64) -> Self {
        let permits = Permits::new(Limit::MIN, GateState::new_tree(rules));
        let tree = Arc::new(Tree { permits, hasher: RandomState::new(), number: next_number() });
        let node = Self::declared(tree, NodeId::ROOT, name, None, rules, holders);
        node.set_max_wait(max_wait);
        node
    }

    /// Adds a declared child to a gate that [may have children](Self::as_parent).
    pub(super) fn child(
        parent: &Arc<DeclaredGate>,
        name: GateName,
        rules: NodeRules,
        holders: Option<Holders>,
        max_wait: i64,
    ) -> Self {
        let tree = Arc::clone(&parent.tree);
        let added = tree.locked(|state, _| state.queue.add(parent.id, rules));
        // The permits of a child are permits of its parent, so a parent that tracks its holders tracks those of the child.
        let holders = holders.or(parent.holders);
        let node = Self::declared(tree, added, name, Some(Arc::clone(parent)), rules, holders);
        node.set_max_wait(max_wait);
        node
    }

    /// Creates the handle of a node that was just added to its tree.
    fn declared(
        tree: Arc<Tree>,
        id: NodeId,
        name: GateName,
        parent: Option<Arc<DeclaredGate>>,
        rules: NodeRules,
        holders: Option<Holders>,
    ) -> Self {
        let has_keys = rules.keys.is_some();
        let is_parent = rules.is_parent || has_keys;
        let sheds = rules.shed.is_some() || parent.as_ref().is_some_and(|parent| parent.sheds);
        // Before the first request can arrive, so that each permit has a record.
        if let Some(holders) = holders {
            let watch = GateWatch::new(name, holders);
            tree.locked(|state, _| state.queue.set_watch(id, watch));
        }
        let declared = Arc::new(DeclaredGate {
            tree: Arc::clone(&tree),
            id,
            name,
            parent,
            is_parent,
            has_keys,
            sheds,
            holders,
            max_wait: RelaxedU64::new(u64::MAX),
        });
        Self { declared, tree, place: Place::Gate(id) }
    }

    /// Returns the node of a key of this gate. Returns `None` if the gate has no keys.
    #[inline]
    pub(super) fn node_of_key(&self, key: Key) -> Option<Self> {
        if !self.has_keys() {
            return None;
        }
        let hash = self.tree.hasher.hash_one(&key);
        let place = Place::key(self.declared.id, key, hash);
        Some(Self { declared: Arc::clone(&self.declared), tree: Arc::clone(&self.tree), place })
    }

    /// Returns `true` if both are the same gate or the same key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.declared, &other.declared) && self.key() == other.key()
    }

    /// Returns `true` if each permit of this gate is also a permit of `other`: this gate is `other`, or is below it in the tree.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        if other.key().is_some() {
            return self.is_same(other);
        }
        self.declared.upwards().any(|gate| std::ptr::eq(gate, Arc::as_ptr(&other.declared)))
    }

    /// Returns `true` if both are in one tree.
    pub(super) fn shares_tree_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tree, &other.tree)
    }

    /// Returns the maximum wait of the gate and of those above it, in nanoseconds, or [`NEVER`](clock::NEVER).
    #[inline]
    pub(super) fn max_wait(&self) -> i64 {
        // Relaxed: a request that arrives while a maximum wait is changed has the old one or the new one.
        let waits = self.declared.upwards().map(|gate| gate.max_wait.load(Ordering::Relaxed));
        waits.min().and_then(|wait| i64::try_from(wait).ok()).unwrap_or(clock::NEVER)
    }

    /// Sets the maximum wait of the gate itself. Negative values count as 0. It has no effect on a key.
    pub(super) fn set_max_wait(&self, wait: i64) {
        if self.key().is_none() {
            let wait = if wait == clock::NEVER { u64::MAX } else { u64::try_from(wait).unwrap_or(0) };
            self.declared.max_wait.store(wait, Ordering::Relaxed);
        }
    }

    /// Sets the largest number of requests that may wait. It has no effect on a key.
    pub(super) fn set_queue_bound(&self, bound: usize) {
        if let Place::Gate(id) = self.place {
            let bound = u32::try_from(bound).unwrap_or(u32::MAX);
            self.tree.locked(|state, _| state.queue.set_queue_bound(id, bound));
        }
    }

    /// Returns `true` if the gate tracks its holders.
    pub(super) fn is_tracked(&self) -> bool {
        self.declared.holders.is_some()
    }

    /// Returns the permits in use at the gate and below.
    pub(super) fn holders(&self) -> Vec<Holder> {
        if !self.is_tracked() {
            return Vec::new(); // a child may track its holders although this gate does not
        }
        let now = clock::now();
        self.tree.locked(|state, _| state.holders(&self.place, now))
    }

    /// Finds overdue permits, unclaimed permits and a stall.
    pub(super) fn inspect(&self, now: i64) -> Findings {
        match self.place {
            Place::Gate(id) => self.tree.locked(|state, _| state.inspect(id, now)),
            Place::Key(_) => Findings::default(),
        }
    }

    /// Records a report of this kind. Returns `false`, and records nothing, if the last one was less than 30 s ago.
    pub(super) fn start_report(&self, kind: ReportKind, now: i64) -> bool {
        let id = self.place.declared();
        self.tree()
            .locked(|state, _| state.queue.watch_mut(id).is_some_and(|watch| watch.start_report(kind, now)))
    }

    /// Returns the time after which a permit in use is overdue, in nanoseconds, if the gate tracks its holders.
    pub(super) fn overdue_after(&self) -> Option<i64> {
        self.declared.holders.map(|holders| clock::from_duration(holders.overdue_duration()))
    }

    /// Updates the requester of a waiting request: its waker, or the task that polls it, may have changed.
    pub(super) fn update_requester(
        &self,
        waiter: &Waiter,
        requester: impl FnOnce(&'static Location<'static>) -> Requester,
    ) {
        if self.is_tracked() {
            self.tree().locked(|state, _| state.update_requester(waiter.request_address(), requester));
        }
    }

    /// Returns the gate if children can be added to it.
    pub(super) fn as_parent(&self) -> Option<&Arc<DeclaredGate>> {
        let may_have_children = self.declared.is_parent && self.key().is_none();
        may_have_children.then_some(&self.declared)
    }

    /// Returns `true` if the gate has keys, and is not itself a key.
    pub(super) fn has_keys(&self) -> bool {
        self.declared.has_keys && self.key().is_none()
    }

    /// Returns `true` if the requests of the gate are shed.
    #[inline]
    pub(super) fn sheds(&self) -> bool {
        self.declared.sheds
    }

    #[inline]
    pub(super) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    #[inline]
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the name of the gate; for a key, that of the gate that has the key.
    pub(super) fn name(&self) -> GateName {
        self.declared.name
    }

    /// Returns the name of the gate at this level above; level 0 is the gate itself.
    pub(super) fn name_at(&self, level: u8) -> GateName {
        match self.place {
            Place::Gate(_) => self.declared.name_at(level),
            Place::Key(_) => self.declared.name_at(level.saturating_sub(1)),
        }
    }

    pub(super) const fn key(&self) -> Option<&Key> {
        self.place.as_key()
    }

    pub(super) fn try_acquire(
        &self,
        weight: u32,
        priority: Priority,
        location: &'static Location<'static>,
    ) -> Result<RecordId, Rejection> {
        let tracked = self.tracked_try(location);
        self.tree.locked(|state, _| {
            state.try_acquire_in_tree(&self.place, weight, priority)?;
            let track = |tracked| state.track(&self.place, weight, tracked, clock::now);
            Ok(tracked.map_or(RecordId::NONE, track))
        })
    }

    /// Admits a request if no request waits in the tree and it fits. The caller counts it. Returns `false` if another step must decide.
    /// Then nothing has changed, except that a key may have got a node.
    #[expect(clippy::inline_always, reason = "benchmark row `key`")]
    #[inline(always)]
    pub(super) fn try_acquire_quiet(&self, weight: u32) -> bool {
        if self.is_tracked() {
            return false;
        }
        let mut locked = self.tree.lock();
        let (state, word) = locked.parts();
        state.admit_quiet(*word, &self.place, weight)
    }

    /// Admits a request that does not wait, and counts the admission. Returns `None`, and counts no rejection, if it does not fit.
    pub(super) fn try_admit(
        &self,
        weight: u32,
        priority: Priority,
        location: &'static Location<'static>,
    ) -> Option<RecordId> {
        let tracked = self.tracked_try(location);
        self.tree.locked(|state, _| {
            if !state.admit_in_tree(&self.place, weight, priority) {
                return None;
            }
            let track = |tracked| state.track(&self.place, weight, tracked, clock::now);
            Some(tracked.map_or(RecordId::NONE, track))
        })
    }

    /// Returns what is recorded of a request that does not wait, if the gate tracks its holders.
    fn tracked_try(&self, location: &'static Location<'static>) -> Option<TrackedRequest> {
        self.is_tracked()
            .then(|| TrackedRequest { requester: Requester::trying(location), ownership: Ownership::Owned })
    }

    #[inline(never)]
    pub(super) fn release(&self, held: HeldPermits) {
        let mut locked = self.tree.lock();
        let (state, word) = locked.parts();
        if !state.release_quiet(*word, &self.place, held) {
            self.release_slow(locked, held);
        }
    }

    #[inline(never)]
    fn release_slow(&self, mut locked: LockedPermits<'_, GateState<FairQueue>>, held: HeldPermits) {
        let mut wake_list = WakeList::default();
        let (state, word) = locked.parts();
        state.queue.untrack(held.record(), clock::now);
        // A permit whose whole weight was split off releases nothing: its key may be idle and have no node.
        if held.weight() > 0 {
            state.release(word, &self.place, held.weight(), clock::now, &mut wake_list);
        }
        drop(locked);
        wake_list.wake_all();
        mem::forget(wake_list); // nothing is left in it
    }

    /// Sets the limit, and grants permits to the waiters that fit. The caller wakes the wakers.
    pub(super) fn resize(&self, change: impl Fn(Limit) -> Limit, wake_list: &mut WakeList) -> Resize {
        self.tree.locked(|state, word| {
            let resize = state.resize_in_tree(&self.place, change, wake_list);
            state.serve_queue_slow(word, clock::now, wake_list);
            resize
        })
    }

    /// As [`FairQueue::level_below_weight`], with the name of the gate at that level.
    #[cfg(feature = "fleet")]
    pub(super) fn limit_below_weight(&self, weight: u32, limit: Limit) -> Option<(GateName, Limit)> {
        let found = self.tree.locked(|state, _| state.queue.level_below_weight(&self.place, weight, limit));
        found.map(|(level, limit)| (self.name_at(level), limit))
    }

    /// As [`FairQueue::demand`].
    #[cfg(feature = "fleet")]
    pub(super) fn demand(&self, limit: Limit) -> u32 {
        self.tree.locked(|state, _| state.queue.demand(limit))
    }

    pub(super) fn close(&self) {
        self.tree.step(|state, word, wake_list| {
            state.close_in_tree(&self.place, wake_list);
            state.serve_queue_slow(word, clock::now, wake_list);
        });
    }

    pub(super) fn pause(&self, wake_list: &mut WakeList) {
        self.tree.locked(|state, word| {
            state.pause_in_tree(&self.place);
            state.serve_queue_slow(word, clock::now, wake_list);
        });
    }

    pub(super) fn resume(&self, wake_list: &mut WakeList) {
        self.tree.locked(|state, word| {
            state.resume_in_tree(&self.place, clock::now);
            state.serve_queue_slow(word, clock::now, wake_list);
        });
    }

    /// Returns `true` if the gate, or one above it, is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.tree.locked(|state, _| state.is_paused_in_tree(&self.place))
    }

    pub(super) fn close_after_queue(&self) {
        self.tree.step(|state, _, wake_list| state.close_arrivals_in_tree(&self.place, wake_list));
    }

    /// Returns `true` if `close` has ended the waits at the gate or at one above it.
    pub(super) fn has_ended_waits(&self) -> bool {
        self.tree.locked(|state, _| state.queue.has_ended_waits(&self.place))
    }

    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        self.tree.locked(|state, _| {
            // The limit of a key changes with that of its gate. If the handle of the key is closed, the listeners of the gate are notified.
            if let Some(stats) = state.queue.stats_mut(self.place.declared()) {
                stats.listeners.insert(listener);
            }
        });
    }

    /// As [`listen`](Self::listen), also at each gate above.
    pub(super) fn listen_upwards(&self, listener: &Arc<Notify>) {
        self.tree.locked(|state, _| {
            for gate in self.declared.upwards() {
                if let Some(stats) = state.queue.stats_mut(gate.id) {
                    stats.listeners.insert(listener);
                }
            }
        });
    }

    /// Returns the lowest of the limits of the gate and of those above it.
    pub(super) fn lowest_limit(&self) -> Limit {
        self.tree.locked(|state, _| {
            let above = self.declared.upwards().map(|gate| state.limit_in_tree(&Place::Gate(gate.id)));
            above.fold(state.limit_in_tree(&self.place), Limit::min)
        })
    }

    /// Returns the limit, the permits in use, and whether the gate is closed.
    pub(super) fn load(&self) -> (Limit, u32, bool) {
        self.tree.locked(|state, _| {
            let id = state.queue.resolve(&self.place);
            let in_use = id.map_or(0, |id| state.queue.node(id).in_use);
            (state.limit_in_tree(&self.place), in_use, state.is_closed_in_tree(&self.place))
        })
    }

    pub(super) fn waiting(&self) -> usize {
        self.tree.locked(|state, _| {
            let id = state.queue.resolve(&self.place);
            id.map_or(0, |id| state.queue.node(id).waiting as usize)
        })
    }

    pub(super) fn status(&self, counters: &ShardedCounters) -> GateStatus {
        // A key has no counters of its own.
        let counters = self.key().is_none().then_some(counters);
        self.tree.locked(|state, _| state.status_in_tree(&self.place, counters, self.name(), clock::now))
    }

    /// Returns the busy keys, those with the most requests waiting first, then those with the most permits in use, at most `most`.
    pub(super) fn busiest_keys(&self, most: usize) -> Vec<KeyStatus> {
        let Place::Gate(id) = self.place else { return Vec::new() };
        let mut keys: Vec<KeyStatus> = self.tree.locked(|state, _| {
            let status = |(key, in_use, waiting): (&Key, u32, u32)| KeyStatus {
                key: key.clone(),
                in_use,
                waiting: waiting as usize,
            };
            state.queue.busiest_keys(id, most).into_iter().map(status).collect()
        });
        keys.sort_by_key(|key| Reverse((key.waiting, key.in_use)));
        keys
    }

    /// Returns the number of busy keys.
    pub(super) fn busy_keys(&self) -> usize {
        match self.place {
            Place::Gate(id) => self.tree.locked(|state, _| state.queue.busy_keys(id)),
            Place::Key(_) => 0,
        }
    }
}

impl std::fmt::Debug for TreeNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TreeNode")
            .field("name", &self.name())
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DeclaredGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeclaredGate").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(any(gate_loom, gate_shuttle)))]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;
    use tokio::runtime::{Builder, Runtime};
    use tokio::task::unconstrained;
    use tokio::time::advance;

    use crate::gate::{AcquireOwned, Gate, OwnedPermit, Priority};
    use crate::plan::{GateName, Keys, Limit, Shed};

    /// A step at one of [`gates`], or with one of the requests.
    #[derive(Clone, Debug)]
    enum Step {
        Acquire(Arrival),
        /// Polls the request with this index, or releases its permit.
        PollOrRelease(usize),
        /// Cancels the request with this index, or releases its permit.
        Cancel(usize),
        Drained(usize),
        Advance(u64),
        Resize(usize, u32),
        Pause(usize),
        Resume(usize),
    }

    #[derive(Clone, Debug)]
    struct Arrival {
        gate: usize,
        weight: u32,
        priority: Priority,
        max_wait: Option<u64>,
        /// Whether the runtime of the request does not run, so that its timer never fires.
        is_stopped: bool,
    }

    enum Request {
        Pending(Pin<Box<AcquireOwned>>),
        Admitted(OwnedPermit),
    }

    const GATES: usize = 5;
    const CASES: u32 = if cfg!(miri) { 4 } else { 4096 };

    /// Returns a gate that sheds and has a short queue, two children and two keys.
    fn gates() -> [Gate; GATES] {
        let root = Gate::builder(GateName::new("root"), Limit::new(2)).queue(3);
        let root = root.shed(Shed::after(Duration::from_millis(5))).keyed(Keys::up_to(2)).build();
        let child = |name: &'static str| {
            Gate::builder(GateName::new(name), Limit::new(3)).within(&root).unwrap().build()
        };
        [root.clone(), child("first"), child("second"), root.key("a"), root.key("b")]
    }

    fn step() -> impl Strategy<Value = Step> {
        let priority = prop::sample::select(&Priority::ALL[..]);
        let max_wait = prop::option::weighted(0.4, prop::sample::select(&[0, 1, 5, 20, 80][..]));
        let arrival = (0..GATES, 1..4_u32, priority, max_wait, prop::bool::weighted(0.3));
        let arrival = arrival.prop_map(|(gate, weight, priority, max_wait, is_stopped)| Arrival {
            gate,
            weight,
            priority,
            max_wait,
            is_stopped,
        });
        prop_oneof![
            6 => arrival.prop_map(Step::Acquire),
            4 => (0..20_usize).prop_map(Step::PollOrRelease),
            1 => (0..20_usize).prop_map(Step::Cancel),
            2 => (0..GATES).prop_map(Step::Drained),
            4 => (1..60_u64).prop_map(Step::Advance),
            1 => (0..GATES, 1..6_u32).prop_map(|(gate, limit)| Step::Resize(gate, limit)),
            1 => (0..GATES).prop_map(Step::Pause),
            1 => (0..GATES).prop_map(Step::Resume),
        ]
    }

    fn paused_runtime() -> Runtime {
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    }

    /// Polls the last request. Removes it if it was rejected.
    fn poll_last(requests: &mut Vec<Request>, cx: &mut Context<'_>) {
        let Some(Request::Pending(future)) = requests.last_mut() else { return };
        if let Poll::Ready(result) = future.poll_unpin(cx) {
            requests.pop();
            requests.extend(result.map(Request::Admitted));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(CASES))]

        /// After each step, `WAITERS` is set if and only if a request or a `drained` future waits, and no `drained` future waits for a
        /// drained gate. That also holds where requests are shed, or expire before their timer fires.
        #[test]
        fn the_waiters_flag_and_drained_futures_follow_the_queue(steps in prop::collection::vec(step(), 1..80)) {
            let (running, stopped) = (paused_runtime(), paused_runtime());
            running.block_on(unconstrained(async {
                let gates = gates();
                let mut cx = Context::from_waker(Waker::noop());
                let mut requests: Vec<Request> = Vec::new();
                let mut drained: Vec<(&Gate, BoxFuture<'_, ()>)> = Vec::new();
                for step in steps {
                    match step {
                        Step::Acquire(Arrival { gate, weight, priority, max_wait, is_stopped }) => {
                            let request = gates[gate].request().weight(weight).priority(priority).wait_for_limit();
                            let max_wait = max_wait.map_or(Duration::MAX, Duration::from_millis);
                            requests.push(Request::Pending(Box::pin(request.max_wait(max_wait).acquire_owned())));
                            let _inside = is_stopped.then(|| stopped.enter());
                            poll_last(&mut requests, &mut cx);
                        }
                        Step::PollOrRelease(index) if index < requests.len() => match requests.swap_remove(index) {
                            Request::Admitted(permit) => drop(permit),
                            pending @ Request::Pending(_) => {
                                requests.push(pending);
                                poll_last(&mut requests, &mut cx);
                            }
                        },
                        Step::Cancel(index) if index < requests.len() => drop(requests.swap_remove(index)),
                        Step::PollOrRelease(_) | Step::Cancel(_) => {}
                        Step::Drained(gate) => drained.push((&gates[gate], gates[gate].drained().boxed())),
                        Step::Advance(millis) => advance(Duration::from_millis(millis)).await,
                        Step::Resize(gate, limit) => drop(gates[gate].resize(Limit::new(limit))),
                        Step::Pause(gate) => gates[gate].pause(),
                        Step::Resume(gate) => gates[gate].resume(),
                    }
                    drained.retain_mut(|(_, future)| future.poll_unpin(&mut cx).is_pending());
                    for (gate, _) in &drained {
                        prop_assert!(gate.in_use() > 0 || gate.waiting() > 0, "{:?} is drained", gate);
                    }
                    let waits = gates[0].waiting() > 0 || !drained.is_empty();
                    let tree = gates[0].shared().node.as_ref().unwrap().tree();
                    prop_assert_eq!(tree.has_waiters(), waits);
                }
                Ok(())
            }))?;
        }
    }
}
