//! What the handles, permits and futures of one gate share.

use std::borrow::Cow;
use std::mem;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::clock::{self, NEVER};
use super::counters::{Counter, ShardedCounters};
use super::error::TryAcquireError;
use super::holders::holder::HolderState;
use super::holders::record::{HeldPermits, RecordId};
use super::holders::requester::Requester;
use super::key::Key;
use super::lock::GateLock;
use super::number::next_number;
use super::outcomes::OutcomeSampler;
use super::permits::{Permits, Word};
use super::priority::Priority;
use super::queue::{FairQueue, FifoQueue};
use super::state::GateState;
use super::status::{GateStatus, Resize};
use super::sync::{AtomicBool, Ordering, RelaxedU64};
use super::tree::TreeNode;
use super::wake_list::WakeList;
use crate::plan::{GateName, Limit};

/// One gate. Handles, owned permits and owned futures hold it by reference count; everything else borrows a handle.
// In this order, what every request reads is not on the cache line of the word. A thread that read it there would take that line from the
// core that holds the lock: benchmark rows `tasks-cpu` and `tasks-wall`.
#[repr(C)]
pub(super) struct Shared {
    /// `Some` if the gate is part of a tree. Then the fast path always fails, and each operation is an operation of the tree.
    pub(super) node: Option<TreeNode>,
    /// A key shares those of its gate.
    pub(super) counters: Arc<ShardedCounters>,
    /// The maximum wait that the gate allows, in nanoseconds, or [`NEVER`]. In a tree it is [`LONGEST`], so that each request takes
    /// the path of one with a deadline, which checks whether the gate is in a tree: benchmark row `cycle`.
    max_wait: RelaxedU64,
    /// `Some` if the outcomes of the work are sampled. A key shares that of its gate.
    pub(super) outcomes: Option<Arc<OutcomeSampler>>,
    pub(super) name: GateName,
    /// The position in the order of creation. 0 for a gate in a tree: the tree has the number.
    pub(super) number: u64,
    /// Set under the lock with the first listener, and never cleared.
    has_listeners: AtomicBool,
    pub(super) permits: Permits<GateState<FifoQueue>>,
}

impl GateLock for Shared {
    type Queue = FifoQueue;

    #[inline]
    fn permits(&self) -> &Permits<GateState<FifoQueue>> {
        &self.permits
    }
}

impl Shared {
    /// Creates a standalone gate.
    pub(super) fn new(
        name: GateName,
        limit: Limit,
        queue_bound: usize,
        max_wait: i64,
        measures_waits: bool,
        outcomes: Option<Arc<OutcomeSampler>>,
    ) -> Self {
        Self {
            permits: Permits::new(limit, GateState::new(queue_bound, measures_waits)),
            has_listeners: AtomicBool::new(false),
            counters: Arc::default(),
            name,
            max_wait: RelaxedU64::new(to_bits(max_wait)),
            number: next_number(),
            node: None,
            outcomes,
        }
    }

    /// Creates a gate that is part of a tree.
    #[inline]
    pub(super) fn in_tree(
        counters: Arc<ShardedCounters>,
        outcomes: Option<Arc<OutcomeSampler>>,
        node: TreeNode,
    ) -> Self {
        let name = node.name();
        Self {
            permits: Permits::of_tree(),
            has_listeners: AtomicBool::new(false),
            counters,
            name,
            max_wait: RelaxedU64::new(to_bits(LONGEST)),
            number: 0,
            node: Some(node),
            outcomes,
        }
    }

    /// Returns the maximum wait that the gate allows, in nanoseconds, or [`NEVER`].
    pub(super) fn max_wait(&self) -> i64 {
        match &self.node {
            Some(node) => node.max_wait(),
            None => self.load_max_wait(),
        }
    }

    /// Returns `false` if the gate is standalone and has no maximum wait.
    #[inline]
    pub(super) fn may_have_max_wait(&self) -> bool {
        self.load_max_wait() != NEVER
    }

    // Relaxed: a request that arrives while the maximum wait is changed has the old one or the new one.
    #[inline]
    fn load_max_wait(&self) -> i64 {
        from_bits(self.max_wait.load(Ordering::Relaxed))
    }

    /// Sets the maximum wait of the requests that arrive from now on, in nanoseconds, or [`NEVER`]. It has no effect on a key.
    pub(super) fn set_max_wait(&self, wait: i64) {
        match &self.node {
            Some(node) => node.set_max_wait(wait),
            None => self.max_wait.store(to_bits(wait), Ordering::Relaxed),
        }
    }

    /// Sets the largest number of requests that may wait. Those that wait now stay. It has no effect on a key.
    pub(super) fn set_queue_bound(&self, bound: usize) {
        match &self.node {
            Some(node) => node.set_queue_bound(bound),
            None => self.locked(|state, _| state.queue_bound = bound),
        }
    }

    /// Returns the name of the gate at this level above; level 0 is the gate itself.
    pub(super) fn name_at(&self, level: u8) -> GateName {
        self.node.as_ref().map_or(self.name, |node| node.name_at(level))
    }

    /// Returns the key, if this gate is a key.
    pub(super) fn key(&self) -> Option<&Key> {
        self.node.as_ref()?.key()
    }

    /// Admits a request without the lock. Returns `false`, and changes nothing, if the slow path must decide.
    #[inline]
    pub(super) fn try_acquire(&self, weight: u32) -> bool {
        let is_admitted = weight > 0 && self.permits.try_acquire(weight);
        if is_admitted {
            self.counters.increment(Counter::Admitted);
        }
        is_admitted
    }

    /// Admits or rejects a request that does not wait.
    #[cold]
    #[inline(never)]
    pub(super) fn try_acquire_slow(
        &self,
        weight: u32,
        priority: Priority,
        location: &'static Location<'static>,
    ) -> Result<HeldPermits, TryAcquireError> {
        let word = self.permits.load();
        // The common case needs no lock: the gate is open, and the request fits under the limit, but not now. A gate in a tree always takes
        // the lock of the tree: its own word has the limit 1 and one available permit, so each weight fits or is above the limit.
        if weight > 0 && weight <= word.limit() && !word.has(Word::CLOSED) && !word.fits(weight) {
            self.counters.increment(Counter::NoPermits);
            return Err(TryAcquireError::NoPermits { gate: self.name });
        }
        self.try_acquire_locked(weight, priority, location)
    }

    #[inline(never)]
    fn try_acquire_locked(
        &self,
        weight: u32,
        priority: Priority,
        location: &'static Location<'static>,
    ) -> Result<HeldPermits, TryAcquireError> {
        let decided = match &self.node {
            Some(node) => node.try_acquire(weight, priority, location),
            None => self.locked(|state, word| state.try_acquire(word, weight)).map(|()| RecordId::NONE),
        };
        decided
            .map(|record| HeldPermits::new(weight, record))
            .map_err(|rejection| TryAcquireError::new(|level| self.name_at(level), weight, rejection))
    }

    /// Admits a request that does not wait, and counts the admission. Returns `None`, and counts no rejection, if the request does not fit.
    /// A standalone gate tries the fast path alone, which also fails while another thread holds the lock or a `drained` future waits.
    pub(super) fn try_admit(
        &self,
        weight: u32,
        priority: Priority,
        location: &'static Location<'static>,
    ) -> Option<HeldPermits> {
        if self.try_acquire(weight) {
            return Some(HeldPermits::untracked(weight));
        }
        let record = self.node.as_ref()?.try_admit(weight, priority, location)?;
        Some(HeldPermits::new(weight, record))
    }

    /// Releases permits without the lock. Returns `false`, and changes nothing, if the caller must take the slow path.
    #[inline]
    pub(super) fn try_release(&self, held: HeldPermits) -> bool {
        self.permits.try_release(held)
    }

    /// Releases permits, and grants permits to the waiters that fit then.
    #[inline]
    pub(super) fn release_slow(&self, held: HeldPermits) {
        match &self.node {
            None => self.release_locked(held.weight()),
            Some(node) => node.release(held),
        }
    }

    #[inline(never)]
    fn release_locked(&self, weight: u32) {
        let mut locked = self.lock();
        let mut wake_list = WakeList::default();
        let (state, word) = locked.parts();
        state.release(word, (), weight, clock::now, &mut wake_list);
        drop(locked);
        wake_list.wake_all();
        mem::forget(wake_list); // nothing is left in it
    }

    /// Runs a step on the records of the holders, if these permits have a record.
    fn with_records<R>(
        &self,
        held: HeldPermits,
        step: impl FnOnce(&mut GateState<FairQueue>) -> R,
    ) -> Option<R> {
        let node = self.node.as_ref().filter(|_| !held.record().is_none())?;
        Some(node.tree().locked(|state, _| step(state)))
    }

    /// Records that the owner of granted permits has taken them.
    pub(super) fn hold(
        &self,
        record: RecordId,
        requester: impl FnOnce(&'static Location<'static>) -> Requester,
    ) {
        self.with_records(HeldPermits::new(0, record), |state| state.hold(record, requester));
    }

    /// Divides permits into those that are kept, and `weight` others. Returns `None` if there are fewer.
    pub(super) fn split(&self, held: HeldPermits, weight: u32) -> Option<(HeldPermits, HeldPermits)> {
        let kept = held.weight().checked_sub(weight)?;
        // The whole record stays with the part that has all permits. A part without permits has no record, because its key may be idle and
        // lose its node.
        if weight == 0 {
            return Some((held, HeldPermits::untracked(0)));
        }
        if kept == 0 {
            return Some((HeldPermits::untracked(0), held));
        }
        let moved = self.with_records(held, |state| state.split(held.record(), kept, weight));
        let moved = HeldPermits::new(weight, moved.unwrap_or(RecordId::NONE));
        Some((HeldPermits::new(kept, held.record()), moved))
    }

    /// Merges permits of this gate and their records. Returns the sum.
    pub(super) fn merge(&self, held: HeldPermits, other: HeldPermits) -> HeldPermits {
        match (held.weight(), other.weight()) {
            (_, 0) => held,
            (0, _) => other,
            (own, more) => {
                let sum = HeldPermits::new(own.saturating_add(more), held.record());
                self.with_records(held, |state| state.merge(sum, other.record()));
                sum
            }
        }
    }

    /// Records that nothing will release these permits.
    pub(super) fn forget(&self, held: HeldPermits) {
        self.with_records(held, |state| state.set_holder_state(held.record(), HolderState::Forgotten));
    }

    /// Records that the owner of granted permits does not take them yet.
    pub(super) fn postpone(&self, record: RecordId) {
        let state = HolderState::GrantedNotPolled;
        self.with_records(HeldPermits::new(0, record), |records| records.set_holder_state(record, state));
    }

    pub(super) fn label(&self, held: HeldPermits, label: impl Into<Cow<'static, str>>) {
        if !held.record().is_none() {
            let label = label.into();
            drop(self.with_records(held, |state| state.label(held.record(), label))); // frees the old label without the lock
        }
    }

    /// Records that these permits stay in the task that acquired them.
    pub(super) fn bind(&self, held: HeldPermits) {
        self.with_records(held, |state| state.bind(held.record()));
    }

    /// Sets the limit to the result of `change`, which gets the present limit, and wakes the waiters that fit then.
    #[inline]
    pub(super) fn resize(&self, change: impl Fn(Limit) -> Limit) -> Resize {
        let Some(before) = self.permits.try_resize(&change) else { return self.resize_slow(change) };
        let from = Limit::saturating(before.limit().into());
        let limit = change(from);
        if from != limit {
            self.counters.increment(Counter::Resized);
        }
        // After the change: if a listener is inserted at the same time, either this thread reads the flag, or the caller of `listen` reads
        // the new limit. The `Acquire` of the change and the lock of `listen` order the two.
        if self.has_listeners.load(Ordering::Relaxed) {
            self.step(|state, _, wake_list| state.notify_listeners(wake_list));
        }
        Resize { from, to: limit, debt: before.with_limit(limit.get()).debt() }
    }

    #[inline(never)]
    fn resize_slow(&self, change: impl Fn(Limit) -> Limit) -> Resize {
        let mut wake_list = WakeList::default();
        let Some(mut locked) = self.permits.lock() else {
            let node = self.node.as_ref().expect("a gate without a lock is part of a tree");
            let resize = node.resize(change, &mut wake_list);
            wake_list.wake_all();
            return resize;
        };
        let (state, word) = locked.parts();
        let limit = change(state.limit(*word));
        let from = state.resize(word, limit, clock::now, &mut wake_list);
        let resize = Resize { from, to: limit, debt: state.unpaused(*word).debt() };
        drop(locked);
        wake_list.wake_all();
        mem::forget(wake_list); // nothing is left in it
        resize
    }

    /// Sets the limit. The caller wakes the wakers.
    pub(super) fn resize_without_waking(&self, limit: Limit, wake_list: &mut WakeList) -> Resize {
        if let Some(node) = &self.node {
            return node.resize(|_| limit, wake_list);
        }
        self.locked(|state, word| {
            let from = state.resize(word, limit, clock::now, wake_list);
            Resize { from, to: limit, debt: state.unpaused(*word).debt() }
        })
    }

    /// Rejects the requests that wait, and those that arrive from now on.
    pub(super) fn close(&self) {
        if let Some(node) = &self.node {
            return node.close();
        }
        // In two steps, because a waiter reads its state without the lock: after it has read `Closed`, `is_closed` must return `true`.
        self.locked(|_, word| *word = word.with(Word::CLOSED));
        self.step(|state, word, wake_list| state.end_waits(word, clock::now, wake_list));
    }

    /// Rejects the requests that arrive from now on, and serves those that wait.
    pub(super) fn close_after_queue(&self) {
        match &self.node {
            Some(node) => node.close_after_queue(),
            None => self.step(|state, word, wake_list| {
                *word = word.with(Word::CLOSED);
                state.notify_listeners(wake_list);
            }),
        }
    }

    /// Wakes the tasks of the requests that wait at this gate itself. They keep waiting.
    pub(super) fn wake_early(&self) {
        match &self.node {
            Some(node) => {
                node.tree().step(|state, _, wake_list| state.wake_early(node.place(), wake_list));
            }
            None => self.step(|state, _, wake_list| state.wake_early((), wake_list)),
        }
    }

    /// Pauses the gate: it admits no request until it is [resumed](Self::resume). The caller wakes the wakers.
    pub(super) fn pause(&self, wake_list: &mut WakeList) {
        match &self.node {
            Some(node) => node.pause(wake_list),
            None => self.locked(GateState::pause),
        }
    }

    /// Ends a pause, and grants permits to the waiters that fit. The caller wakes the wakers.
    pub(super) fn resume(&self, wake_list: &mut WakeList) {
        match &self.node {
            Some(node) => node.resume(wake_list),
            None => self.locked(|state, word| state.resume(word, clock::now, wake_list)),
        }
    }

    /// Returns `true` if the gate, or one above it, is paused.
    pub(super) fn is_paused(&self) -> bool {
        match &self.node {
            Some(node) => node.is_paused(),
            None => self.permits.load().is_paused(),
        }
    }

    /// Registers a listener. It is notified when the limit is set and when the gate is closed.
    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        if let Some(node) = &self.node {
            return node.listen(listener);
        }
        self.locked(|state, _| {
            state.listeners_mut().insert(listener);
            self.has_listeners.store(true, Ordering::Relaxed);
        });
    }

    /// Returns the limit, the number of permits in use, and `true` if the gate is closed.
    pub(super) fn load(&self) -> (Limit, u32, bool) {
        if let Some(node) = &self.node {
            return node.load();
        }
        let status = |limit, word: Word| (limit, word.in_use(), word.has(Word::CLOSED));
        let word = self.permits.load();
        if word.is_paused() {
            return self.locked(|state, word| status(state.limit(*word), *word));
        }
        status(Limit::saturating(word.limit().into()), word)
    }

    /// Returns the number of requests that wait.
    pub(super) fn waiting(&self) -> usize {
        match &self.node {
            Some(node) => node.waiting(),
            None if self.permits.load().has(Word::WAITERS) => self.locked(|state, _| state.waiting()),
            None => 0,
        }
    }

    pub(super) fn status(&self) -> GateStatus {
        let mut status = match &self.node {
            Some(node) => node.status(&self.counters),
            None => self.locked(|state, word| state.status(*word, &self.counters, self.name)),
        };
        let max_wait = Some(self.max_wait()).filter(|wait| *wait != NEVER);
        status.max_wait = max_wait.map(|wait| Duration::from_nanos(wait.unsigned_abs()));
        // A key has no totals: `counters` has those of its gate.
        #[cfg(feature = "fleet")]
        if self.key().is_none() {
            self.counters.separate_unleased(&mut status.totals);
        }
        status
    }
}

/// In effect [`NEVER`], but not equal to it: 292 years.
const LONGEST: i64 = NEVER.saturating_sub(1);

const fn to_bits(nanos: i64) -> u64 {
    u64::from_ne_bytes(nanos.to_ne_bytes())
}

const fn from_bits(bits: u64) -> i64 {
    i64::from_ne_bytes(bits.to_ne_bytes())
}

#[cfg(test)]
#[cfg(not(any(gate_loom, gate_shuttle)))]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread;

    use super::*;
    use crate::gate::Gate;
    use crate::plan::Keys;

    #[derive(Default)]
    struct CountingWaker(AtomicUsize);

    impl Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns a gate without a tree, one at the root of a tree, and a key, each with one permit.
    fn gates() -> [Gate; 3] {
        let limit = Limit::new(1);
        let root = || Gate::builder(GateName::new("root"), limit).keyed(Keys::up_to(4)).build();
        [Gate::new(GateName::new("plain"), limit), root(), root().key("tenant")]
    }

    /// A request that is woken early keeps its place, and is woken again when it is admitted.
    #[test]
    fn a_request_woken_early_keeps_waiting() {
        for gate in gates() {
            for is_polled in [true, false] {
                let held = gate.try_acquire().unwrap();
                let wakers = [(); 2].map(|()| Arc::<CountingWaker>::default());
                let [first, second] = &wakers;
                let woken = || wakers.each_ref().map(|waker| waker.0.load(Ordering::Relaxed));
                let (first, second) = (Waker::from(Arc::clone(first)), Waker::from(Arc::clone(second)));
                let (mut waiting, mut behind) = (pin!(gate.acquire()), pin!(gate.acquire()));
                assert!(waiting.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
                assert!(behind.as_mut().poll(&mut Context::from_waker(&second)).is_pending());
                for _ in 0..2 {
                    gate.wake_early();
                    assert_eq!(woken(), [1, 1], "it is woken once, until it stores a new waker");
                }
                if is_polled {
                    assert!(behind.as_mut().poll(&mut Context::from_waker(&second)).is_pending());
                    assert!(waiting.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
                }
                drop(held);
                assert_eq!(woken(), if is_polled { [2, 1] } else { [1, 1] });
                assert!(behind.as_mut().poll(&mut Context::from_waker(&second)).is_pending());
                let Poll::Ready(Ok(permit)) = waiting.poll(&mut Context::from_waker(&first)) else {
                    panic!("the request at the head is admitted")
                };
                assert_eq!((gate.in_use(), gate.waiting()), (1, 1));
                drop(permit);
                assert!(behind.poll(&mut Context::from_waker(&second)).is_ready());
            }
        }
    }

    /// A blocked thread that is woken early blocks again, and is woken when it is admitted.
    #[test]
    fn a_blocked_thread_woken_early_keeps_waiting() {
        for gate in gates() {
            let held = gate.try_acquire().unwrap();
            thread::scope(|scope| {
                let blocked = scope.spawn(|| drop(gate.acquire_blocking().unwrap()));
                while gate.waiting() == 0 {
                    thread::yield_now();
                }
                for _ in 0..100 {
                    gate.wake_early();
                    thread::yield_now();
                }
                drop(held);
                blocked.join().unwrap();
            });
            assert_eq!(gate.in_use(), 0);
        }
    }
}
