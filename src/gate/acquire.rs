//! The futures that acquire permits.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::thread;
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time::Instant;

use super::clock::{self, NEVER};
use super::core::Core;
use super::counters::Counter;
use super::error::{AcquireError, AtLevel, Rejection};
use super::expiry::{set_timer, timer_waker};
use super::handle::Gate;
use super::holders::record::{HeldPermits, RecordId};
use super::holders::requester::Requester;
use super::permit::{OwnedPermit, Permit};
use super::permits::LockedPermits;
#[cfg(feature = "tracing")]
use super::priority::Priority;
use super::queue::fair::{Ownership, QueueArrival};
use super::queue::{Queue, Removed, Waiter, WaiterRules, WaiterState};
use super::shared::Shared;
use super::state::{
    ArrivalDecision, ArrivalTime, GateState, TrackedRequest, TreeArrival, TreeWait, WaitDeadline,
};
use super::timer::{Rearm, RuntimeId, TimerId};
use super::tree::TreeNode;
use super::wake_list::WakeList;

pin_project! {
    /// Resolves to a [`Permit`]; from [`Gate::acquire`] and [`Request::acquire`](super::Request::acquire).
    ///
    /// The request is made by the first poll. Its place in the queue is part of the future, so a wait without a deadline allocates
    /// nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future removes the request from the queue. Permits that it was admitted with go to the next waiters. A new
    /// request starts at the end of the queue.
    ///
    /// # Panics
    ///
    /// Panics if the request has to wait, has a deadline (its own or that of the gate), and is polled outside a tokio runtime
    /// whose timer is enabled. Panics if it is polled after completion. No panic loses a permit.
    #[must_use = "a future does nothing unless it is polled"]
    pub struct Acquire<'g> {
        #[pin]
        request: PendingRequest<&'g Gate>,
    }
}

pin_project! {
    /// Resolves to an [`OwnedPermit`]; from [`Gate::acquire_owned`] and
    /// [`Request::acquire_owned`](super::Request::acquire_owned). It has a handle of its own, so it can be spawned.
    ///
    /// Otherwise as [`Acquire`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use concurrency_governor::{Gate, GateName, Limit};
    /// # let uploads = Gate::new(GateName::new("uploads"), Limit::new(2));
    /// let task = tokio::spawn(uploads.acquire_owned());
    /// let permit = task.await??;
    /// # drop(permit);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a future does nothing unless it is polled"]
    pub struct AcquireOwned {
        #[pin]
        request: PendingRequest<OwnedGate>,
    }
}

impl<'g> Acquire<'g> {
    /// Creates the future of a request that was made at this place in the source.
    #[inline]
    pub(super) fn new(gate: &'g Gate, options: RequestOptions, location: &'static Location<'static>) -> Self {
        Self { request: PendingRequest::new(gate, options, location) }
    }
}

impl AcquireOwned {
    /// As [`Acquire::new`].
    #[inline]
    pub(super) fn new(gate: &Gate, options: RequestOptions, location: &'static Location<'static>) -> Self {
        Self { request: PendingRequest::new(OwnedGate(Some(gate.clone())), options, location) }
    }
}

impl<'g> Future for Acquire<'g> {
    type Output = Result<Permit<'g>, AcquireError>;

    #[expect(
        clippy::inline_always,
        reason = "benchmark row `await`: a request admitted at once stays in registers"
    )]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().request.poll(cx)
    }
}

impl Future for AcquireOwned {
    type Output = Result<OwnedPermit, AcquireError>;

    #[expect(
        clippy::inline_always,
        reason = "benchmark row `await`: a request admitted at once stays in registers"
    )]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().request.poll(cx)
    }
}

/// A future that acquires permits of one gate.
#[cfg(feature = "tracing")]
pub(crate) trait AcquireFuture {
    /// Returns the gate, or `None` after completion of an owned request, the weight and the priority.
    fn target(&self) -> (Option<&Gate>, u32, Priority);
}

#[cfg(feature = "tracing")]
impl AcquireFuture for Acquire<'_> {
    fn target(&self) -> (Option<&Gate>, u32, Priority) {
        self.request.target()
    }
}

#[cfg(feature = "tracing")]
impl AcquireFuture for AcquireOwned {
    fn target(&self) -> (Option<&Gate>, u32, Priority) {
        self.request.target()
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.debug("Acquire", f)
    }
}

impl fmt::Debug for AcquireOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.debug("AcquireOwned", f)
    }
}

/// How a pending request refers to its gate.
pub(super) trait GateRef {
    type Permit;

    /// Whether the permits can leave the task.
    const OWNERSHIP: Ownership;

    /// Returns the gate, or `None` after [`permit`](Self::permit).
    fn gate(&self) -> Option<&Gate>;

    /// Creates the permit for an admitted request. Called once.
    fn permit(&mut self, held: HeldPermits) -> Option<Self::Permit>;
}

impl<'g> GateRef for &'g Gate {
    type Permit = Permit<'g>;

    const OWNERSHIP: Ownership = Ownership::Borrowed;

    #[inline]
    fn gate(&self) -> Option<&Gate> {
        Some(self)
    }

    #[inline]
    fn permit(&mut self, held: HeldPermits) -> Option<Permit<'g>> {
        Some(Permit::new(self, held))
    }
}

/// A handle that moves into the permit, so that the reference count is incremented once.
pub(super) struct OwnedGate(Option<Gate>);

impl GateRef for OwnedGate {
    type Permit = OwnedPermit;

    const OWNERSHIP: Ownership = Ownership::Owned;

    #[inline]
    fn gate(&self) -> Option<&Gate> {
        self.0.as_ref()
    }

    #[inline]
    fn permit(&mut self, held: HeldPermits) -> Option<OwnedPermit> {
        self.0.take().map(|gate| OwnedPermit::new(gate, held))
    }
}

pin_project! {
    /// A request and its node in the queue.
    // The order of the fields matters: the gate directly follows the node of the waiter. Reading the gate before locking also loads
    // the cache line of the node: benchmark row `cancel`.
    #[repr(C)]
    pub(super) struct PendingRequest<G: GateRef> {
        #[pin]
        waiter: Waiter,
        gate: G,
        // Nanoseconds, or `NEVER`.
        max_wait: i64,
        // An instant of the clock, or `NEVER`.
        deadline: i64,
    }

    impl<G: GateRef> PinnedDrop for PendingRequest<G> {
        fn drop(this: Pin<&mut Self>) {
            let state = this.waiter.state();
            if state.is_queued() || state.has_permits() {
                this.cancel();
            }
        }
    }
}

/// What a poll finds that takes the slow path.
#[derive(Clone, Copy)]
pub(super) enum SlowOutcome {
    Admitted,
    /// Admitted at a gate that tracks its holders: the waiter has the record of the permits. The task has budget.
    Granted,
    Rejected(Rejection),
}

impl From<Result<(), Rejection>> for SlowOutcome {
    #[inline]
    fn from(result: Result<(), Rejection>) -> Self {
        result.map_or_else(Self::Rejected, |()| Self::Admitted)
    }
}

impl<G: GateRef> PendingRequest<G> {
    #[inline]
    pub(super) fn new(gate: G, options: RequestOptions, location: &'static Location<'static>) -> Self {
        let RequestOptions { weight, rules, deadline, max_wait } = options;
        Self {
            waiter: Waiter::made_at(location, weight, rules),
            gate,
            max_wait: max_wait.map_or(NEVER, clock::from_duration),
            deadline: deadline.map_or(NEVER, clock::from_instant),
        }
    }

    #[inline]
    fn shared(&self) -> &Arc<Shared> {
        self.gate.gate().expect("a request is not polled after completion").shared()
    }

    #[expect(
        clippy::inline_always,
        reason = "benchmark row `await`: a request admitted at once stays in registers"
    )]
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<G::Permit, AcquireError>> {
        let weight = self.waiter.weight();
        // The fast path: the permits are available on the first poll.
        let this = self.as_mut().project();
        let gate = &*this.gate;
        let try_acquire = || gate.gate().expect("a request arrives once").shared().try_acquire(weight);
        if !this.waiter.admit_if(try_acquire) && self.waiter.state() != WaiterState::Admitted {
            match ready!(self.as_mut().poll_slow(cx)) {
                SlowOutcome::Admitted => {}
                SlowOutcome::Granted => return Poll::Ready(Ok(self.take_granted(cx))),
                SlowOutcome::Rejected(rejection) => {
                    spend_budget(cx);
                    let shared = self.shared();
                    return Poll::Ready(Err(AcquireError::new(
                        |level| shared.name_at(level),
                        weight,
                        rejection,
                    )));
                }
            }
        }
        // A task that acquires ready permits in a loop must yield to the runtime from time to time. Meanwhile the request keeps
        // its permits, so it does not lose its turn.
        let Poll::Ready(budget) = coop::poll_proceed(cx) else {
            self.postpone();
            return Poll::Pending;
        };
        budget.made_progress();
        self.as_mut().claim();
        let permit = self.project().gate.permit(HeldPermits::untracked(weight));
        Poll::Ready(Ok(permit.expect("a request is admitted once")))
    }

    /// Takes the permits of a request at a gate that tracks its holders. The task has budget.
    #[cold]
    fn take_granted(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> G::Permit {
        spend_budget(cx);
        let held = self.as_mut().finish_granted(|location| Requester::polled(location, cx.waker()));
        self.project().gate.permit(held).expect("a request is admitted once")
    }

    /// Completes a request at a gate that tracks its holders, whose permits the caller takes now.
    fn finish_granted(
        mut self: Pin<&mut Self>,
        requester: impl FnOnce(&'static Location<'static>) -> Requester,
    ) -> HeldPermits {
        let (record, was_pending) = self.as_mut().project().waiter.finish_granted();
        if was_pending {
            let shared = self.shared();
            shared.hold(record, requester);
            shared.counters.increment(Counter::Claimed);
        }
        HeldPermits::new(self.waiter.weight(), record)
    }

    /// Completes an admitted request whose permits the caller takes now.
    #[inline]
    pub(super) fn claim(mut self: Pin<&mut Self>) {
        if self.as_mut().project().waiter.finish_admitted() {
            self.shared().counters.increment(Counter::Claimed);
        }
    }

    /// Counts an admitted request that keeps its permits until its task has budget again.
    #[cold]
    fn postpone(mut self: Pin<&mut Self>) {
        if self.as_mut().project().waiter.postpone() {
            self.shared().counters.increment(Counter::Postponed);
            let record = self.as_mut().project().waiter.record();
            self.shared().postpone(record);
        }
    }

    /// Polls a request that the fast path did not admit. If the outcome is that it is admitted, its state is
    /// `Admitted`.
    #[inline(never)]
    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let waker = cx.waker();
        match self.waiter.state() {
            WaiterState::Idle | WaiterState::StrictlyIdle if self.has_deadline() => {
                self.arrive_with_deadline(cx)
            }
            WaiterState::Idle | WaiterState::StrictlyIdle => self.arrive(cx),
            WaiterState::Granted => self.poll_granted(cx),
            // The task may be polled for another reason, with the same waker. Then no lock is needed.
            WaiterState::Waiting if self.as_mut().project().waiter.is_waiting_with(waker) => Poll::Pending,
            WaiterState::Waiting | WaiterState::TimerLost => self.poll_waiting(cx),
            _ => Poll::Ready(self.take_result().into()),
        }
    }

    /// Returns that a request at a gate that tracks its holders is granted. A task without budget takes its permits at a later poll.
    #[cold]
    fn poll_granted(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        if !coop::has_budget_remaining() && coop::poll_proceed(cx).is_pending() {
            self.postpone();
            return Poll::Pending;
        }
        Poll::Ready(SlowOutcome::Granted)
    }

    /// Makes the request: it is admitted, rejected, or put into the queue. `release_slow` in `shared.rs` is the counterpart.
    #[inline(never)]
    fn arrive(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        // Before the lock is taken: `clone` is foreign code, which may call this gate or panic.
        let waker = cx.waker().clone();
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let Some(mut locked) = shared.permits.lock() else {
            unreachable!("a request in a tree arrives as if it had a deadline")
        };
        let (state, word) = locked.parts();
        match state.decide_arrival(word, &this.waiter, coop::has_budget_remaining) {
            ArrivalDecision::MustWait => {
                state.enqueue(word, this.waiter, waker, clock::now);
                Poll::Pending
            }
            decision => {
                drop(locked);
                self.complete_arrival(decision, waker, cx)
            }
        }
    }

    /// Makes a request whose wait ends at a deadline, or at a gate that is part of a tree.
    #[cold]
    #[inline(never)]
    fn arrive_with_deadline(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        if self.shared().node.is_some() { self.arrive_in_tree(cx) } else { self.arrive_until_deadline(cx) }
    }

    /// Makes a request whose wait ends at a deadline.
    #[inline(never)]
    fn arrive_until_deadline(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let waker = cx.waker().clone(); // without the lock, see `arrive`
        let now = clock::now();
        let instant = self.deadline_from(now);
        let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let mut locked = shared.lock();
        let (state, word) = locked.parts();
        // A task whose budget is spent is not rejected now: if it were, it could retry for ever without yielding.
        let decision = if instant <= now {
            let is_strict = this.waiter.is_strict() && *this.deadline <= now;
            state.decide_expired_arrival(word, &this.waiter, is_strict, coop::has_budget_remaining)
        } else {
            state.decide_arrival(word, &this.waiter, coop::has_budget_remaining)
        };
        if !matches!(decision, ArrivalDecision::MustWait) {
            drop(locked);
            return self.complete_arrival(decision, waker, cx);
        }
        if instant == NEVER {
            state.enqueue(word, this.waiter, waker, || now);
            return Poll::Pending;
        }
        let Some(runtime) = runtime else {
            drop(locked);
            drop(waker); // may panic itself, so not while this thread panics
            panic!("{NO_RUNTIME}");
        };
        match state.register_deadline((), runtime, instant, |timer| timer_waker(shared, timer)) {
            Ok((timer, rearm)) => {
                let deadline = WaitDeadline { since: now, instant, timer };
                state.enqueue_with_deadline(word, this.waiter, waker, deadline);
                drop(locked);
                self.set_timer(rearm);
                Poll::Pending
            }
            Err(rejection) => {
                drop(locked);
                self.complete_arrival(ArrivalDecision::Rejected(rejection), waker, cx)
            }
        }
    }

    /// Makes a request at a gate that is part of a tree.
    #[inline(never)]
    fn arrive_in_tree(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
        // Mostly nothing waits, and the request fits. Then it needs neither a waker nor the clock.
        let weight = this.waiter.weight();
        if this.waiter.admit_if(|| !node.tree().has_waiters() && node.try_acquire_quiet(weight)) {
            shared.counters.increment(Counter::Admitted);
            return Poll::Ready(SlowOutcome::Admitted);
        }
        self.arrive_in_busy_tree(cx)
    }

    /// Makes a request at a gate that is part of a tree in which requests wait, or where more than the permits decides.
    #[inline(never)]
    fn arrive_in_busy_tree(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let mut this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
        if node.is_tracked() {
            let location = this.waiter.as_mut().location().expect("a request arrives once");
            let requester = Requester::polled(location, cx.waker());
            return self.arrive_tracked(cx, requester);
        }
        let has_deadline = *this.max_wait != NEVER || *this.deadline != NEVER || shared.max_wait() != NEVER;
        // The usual request of a tree in which others wait already.
        if node.tree().has_waiters() && !(this.waiter.is_strict() || has_deadline || node.sheds()) {
            let waker = cx.waker().clone(); // without the lock, see `arrive`
            let mut locked = node.tree().lock();
            let (state, word) = locked.parts();
            match state.arrive(node.place(), &this.waiter) {
                QueueArrival::Admitted => {
                    drop(locked);
                    this.waiter.mark_admitted();
                    drop(waker);
                    return Poll::Ready(SlowOutcome::Admitted);
                }
                QueueArrival::MayWait(leaf) if !state.queue.sheds() => {
                    state.enqueue_in_leaf(word, leaf, this.waiter, waker, clock::now);
                    return Poll::Pending;
                }
                QueueArrival::MayWait(_) | QueueArrival::Unclear => {
                    drop(locked);
                    drop(waker);
                }
            }
        }
        self.arrive_in_tree_slow(cx, None)
    }

    /// Makes a request at a gate that tracks its holders.
    fn arrive_tracked(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        requester: Requester,
    ) -> Poll<SlowOutcome> {
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
        // A task without budget does not take the permits now.
        if !this.waiter.is_strict() && !node.tree().has_waiters() && coop::has_budget_remaining() {
            let (now, weight) = (clock::now(), this.waiter.weight());
            let mut is_quiet = false;
            let admitted = node.tree().locked(|state, word| {
                is_quiet = state.admit_quiet(*word, node.place(), weight);
                let is_admitted =
                    is_quiet || state.arrive(node.place(), &this.waiter) == QueueArrival::Admitted;
                is_admitted.then(|| {
                    let tracked = TrackedRequest { requester, ownership: G::OWNERSHIP };
                    state.track(node.place(), weight, tracked, now)
                })
            });
            if let Some(record) = admitted {
                if is_quiet {
                    shared.counters.increment(Counter::Admitted);
                }
                this.waiter.mark_granted(record);
                return Poll::Ready(SlowOutcome::Granted);
            }
        }
        self.arrive_in_tree_slow(cx, Some(requester))
    }

    /// Makes a request at a gate that is part of a tree, if it may have to wait until a deadline, or may be rejected. `requester` is
    /// `Some` if the gate tracks its holders.
    #[cold]
    #[inline(never)]
    fn arrive_in_tree_slow(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        requester: Option<Requester>,
    ) -> Poll<SlowOutcome> {
        let tracked = requester.map(|requester| TrackedRequest { requester, ownership: G::OWNERSHIP });
        let mut this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
        let waker = cx.waker().clone(); // without the lock, see `arrive`
        let max_wait = shared.max_wait().min(*this.max_wait);
        let has_deadline = max_wait != NEVER || *this.deadline != NEVER;
        let now = if has_deadline || node.sheds() { clock::now() } else { 0 };
        let (instant, runtime) = if has_deadline {
            let instant = clock::add_nanos(now, max_wait).min(*this.deadline);
            (instant, Handle::try_current().ok().map(|runtime| runtime.id()))
        } else {
            (NEVER, None)
        };
        let time = arrival_time(&this.waiter, now, instant, *this.deadline);
        let mut wake_list = WakeList::default();
        let mut locked = node.tree().lock();
        let (state, word) = locked.parts();
        // A task whose budget is spent is not rejected now: if it were, it could retry for ever without yielding.
        let may_reject = coop::has_budget_remaining;
        let arrival = TreeArrival { place: node.place(), waiter: &this.waiter, time, now, deadline: instant };
        let mut decision =
            state.decide_arrival_in_tree(word, arrival, clock::now, may_reject, &mut wake_list);
        if let (ArrivalDecision::Admitted, Some(tracked)) = (&decision, tracked) {
            let record = state.track(node.place(), this.waiter.weight(), tracked, clock::now());
            this.waiter.as_mut().mark_granted(record);
        }
        if matches!(decision, ArrivalDecision::MustWait) {
            let mut rearm = None;
            let deadline = match runtime {
                _ if instant == NEVER && node.sheds() => {
                    Ok(Some(WaitDeadline { since: now, instant, timer: TimerId::NONE }))
                }
                _ if instant == NEVER => Ok(None),
                None => {
                    drop(locked);
                    wake_list.set_unused(Some(waker)); // its drop may panic, so not while this thread panics
                    wake_list.wake_all();
                    panic!("{NO_RUNTIME}");
                }
                Some(runtime) => {
                    let make_waker = |timer| timer_waker(node.tree(), timer);
                    let registered = state.register_deadline(node.place(), runtime, instant, make_waker);
                    registered.map(|(timer, next)| {
                        rearm = next;
                        Some(WaitDeadline { since: now, instant, timer })
                    })
                }
            };
            match deadline {
                Ok(deadline) => {
                    let wait = TreeWait { deadline, tracked };
                    state.enqueue_in_tree(word, node.place(), this.waiter, waker, wait, clock::now);
                    if state.queue.sheds() {
                        // The order of the requests may have changed.
                        state.grant_waiters(word, clock::now, &mut wake_list);
                    }
                    drop(locked);
                    let tree = rearm.is_some().then(|| Arc::clone(node.tree()));
                    let on_panic = ResetOnPanic(self.as_mut());
                    wake_list.wake_all();
                    if let (Some(rearm), Some(tree)) = (rearm, tree) {
                        set_timer(&*tree, rearm);
                    }
                    mem::forget(on_panic);
                    return Poll::Pending;
                }
                Err(rejection) => decision = ArrivalDecision::Rejected(rejection),
            }
        }
        drop(locked);
        // The result is noted before the wakers run, which may panic. There are some only if requests were removed to make room.
        let result = self.complete_arrival(decision, waker, cx);
        wake_list.wake_all();
        result
    }

    /// Completes the arrival of a request that does not wait, and drops the waker that it does not need.
    #[cold]
    fn complete_arrival(
        mut self: Pin<&mut Self>,
        decision: ArrivalDecision,
        unused: Waker,
        cx: &mut Context<'_>,
    ) -> Poll<SlowOutcome> {
        let waiter = self.as_mut().project().waiter;
        // The result is noted before the waker is dropped, which may panic.
        match decision {
            ArrivalDecision::Admitted if waiter.state() == WaiterState::Granted => {
                drop(unused);
                self.poll_granted(cx)
            }
            ArrivalDecision::Admitted => {
                waiter.mark_admitted();
                drop(unused);
                Poll::Ready(SlowOutcome::Admitted)
            }
            ArrivalDecision::Rejected(rejection) => {
                waiter.finish();
                drop(unused);
                Poll::Ready(SlowOutcome::Rejected(rejection))
            }
            // The task is woken when its budget is restored, and makes the request then.
            ArrivalDecision::NotYet | ArrivalDecision::MustWait => {
                drop(unused);
                if coop::poll_proceed(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    /// Stores the new waker of a request in the queue, and registers with another timer if the last one was lost.
    #[cold]
    #[inline(never)]
    fn poll_waiting(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        // The state may change at any time before the lock is taken: each round acts on what it finds under the lock.
        loop {
            let runtime = match self.waiter.state() {
                WaiterState::Waiting => None,
                WaiterState::TimerLost => Some(current_runtime_id()),
                WaiterState::Granted => return self.poll_granted(cx),
                _ => return Poll::Ready(self.take_result().into()),
            };
            let new_waker = cx.waker().clone(); // without the lock, see `arrive`
            let this = self.as_mut().project();
            let shared = Arc::clone(this.gate.gate().expect("a waiting request has a gate").shared());
            let renewed = match &shared.node {
                None => renew(&shared, (), this.waiter, new_waker, runtime),
                Some(node) => {
                    node.move_wait(&this.waiter, |location| Requester::polled(location, cx.waker()));
                    renew(node.tree(), node.place(), this.waiter, new_waker, runtime)
                }
            };
            if let Some(rearm) = renewed.rearm {
                match &shared.node {
                    None => self.as_mut().set_timer_of(&*shared, rearm),
                    Some(node) => self.as_mut().set_timer_of(&**node.tree(), rearm),
                }
            }
            if renewed.is_done && self.waiter.state().is_queued() {
                return Poll::Pending;
            }
        }
    }

    /// Sets a timer. If that panics, the request is removed from the queue and returns to `Idle`.
    fn set_timer(self: Pin<&mut Self>, rearm: Option<Rearm>) {
        let Some(rearm) = rearm else { return };
        let shared = Arc::clone(self.shared());
        self.set_timer_of(&*shared, rearm);
    }

    fn set_timer_of<C: Core>(self: Pin<&mut Self>, core: &C, rearm: Rearm) {
        let on_panic = ResetOnPanic(self);
        set_timer(core, rearm);
        mem::forget(on_panic);
    }

    /// Returns the result of a request whose wait has ended. A rejection completes the request.
    #[cold]
    fn take_result(self: Pin<&mut Self>) -> Result<(), Rejection> {
        let mut waiter = self.project().waiter;
        let state = waiter.state();
        if state.has_permits() {
            return Ok(());
        }
        let detail = waiter.as_mut().removal_detail();
        let at = AtLevel::from_detail(detail);
        waiter.finish();
        match state {
            WaiterState::Closed => Err(Rejection::Closed(at)),
            WaiterState::TooLarge => Err(Rejection::TooLarge(at)),
            WaiterState::QueueFull => Err(Rejection::QueueFull(at)),
            WaiterState::Shed => Err(Rejection::Shed(at)),
            WaiterState::Expired => Err(Rejection::Expired { waited: detail.unsigned_abs() }),
            WaiterState::Idle
            | WaiterState::StrictlyIdle
            | WaiterState::Waiting
            | WaiterState::TimerLost
            | WaiterState::Admitted
            | WaiterState::Granted
            | WaiterState::Done => {
                panic!("a request is polled after completion")
            }
        }
    }

    /// Removes the request from the queue, or releases the permits that it was admitted with.
    #[inline(never)]
    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        let Some(gate) = this.gate.gate() else { return };
        let shared = gate.shared();
        if thread::panicking() {
            return cancel_in_panic(shared, this.waiter);
        }
        let Some(mut locked) = shared.permits.lock() else { return cancel_in_tree(shared, this.waiter) };
        let removed = locked.parts().0.cancel((), this.waiter.as_mut());
        match removed {
            // A request behind the head, without a timer, leaves only its waker: benchmark row `cancel`.
            Some(Removed { waker, was_head: false, timer: TimerId::NONE, .. }) => {
                drop(locked);
                drop(waker);
            }
            removed => finish_cancel_and_wake(shared, locked, (), this.waiter, removed),
        }
    }

    #[inline]
    fn has_deadline(&self) -> bool {
        self.max_wait != NEVER || self.deadline != NEVER || self.shared().may_have_max_wait()
    }

    /// Returns the earliest of the deadlines for a wait that begins now, or [`NEVER`].
    pub(super) fn deadline_from(&self, now: i64) -> i64 {
        let max_wait = self.shared().max_wait().min(self.max_wait);
        clock::add_nanos(now, max_wait).min(self.deadline)
    }

    #[cfg(feature = "tracing")]
    fn target(&self) -> (Option<&Gate>, u32, Priority) {
        (self.gate.gate(), self.waiter.weight(), self.waiter.priority())
    }

    fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("gate", &self.gate.gate().map(Gate::name))
            .field("weight", &self.waiter.weight())
            .field("state", &self.waiter.state())
            .finish_non_exhaustive()
    }
}

/// What a blocked thread does with its request; see `blocking.rs`.
impl PendingRequest<&Gate> {
    /// Makes the request of a blocked thread, which checks the deadline itself.
    pub(super) fn arrive_blocking(
        self: Pin<&mut Self>,
        waker: Waker,
        now: i64,
        deadline: i64,
        ownership: Ownership,
    ) -> Poll<SlowOutcome> {
        let mut this = self.project();
        if let Some(node) = &this.gate.shared().node {
            let time = arrival_time(&this.waiter, now, deadline, *this.deadline);
            let location = this.waiter.as_mut().location().filter(|_| node.is_tracked());
            let tracked = location
                .map(|location| TrackedRequest { requester: Requester::blocking(location), ownership });
            return arrive_blocking_in_tree(node, this.waiter, waker, time, tracked, now, deadline);
        }
        let mut locked = this.gate.shared().lock();
        let (state, word) = locked.parts();
        let decision = if deadline <= now {
            let is_strict = this.waiter.is_strict() && *this.deadline <= now;
            state.decide_expired_arrival(word, &this.waiter, is_strict, || true)
        } else {
            state.decide_arrival(word, &this.waiter, || true)
        };
        match decision {
            ArrivalDecision::Admitted => Poll::Ready(SlowOutcome::Admitted),
            ArrivalDecision::Rejected(rejection) => Poll::Ready(SlowOutcome::Rejected(rejection)),
            ArrivalDecision::MustWait | ArrivalDecision::NotYet => {
                let deadline = WaitDeadline { since: now, instant: deadline, timer: TimerId::NONE };
                state.enqueue_with_deadline(word, this.waiter, waker, deadline);
                Poll::Pending
            }
        }
    }

    /// Ends the wait if its deadline has passed, and returns the result if the wait has ended.
    pub(super) fn poll_blocking(mut self: Pin<&mut Self>, deadline: i64) -> Poll<SlowOutcome> {
        let now = clock::now();
        if deadline <= now {
            let this = self.as_mut().project();
            let shared = this.gate.shared();
            match &shared.node {
                None => {
                    shared.step(|state, word, wake_list| state.expire(word, (), this.waiter, now, wake_list));
                }
                Some(node) => node.tree().step(|state, word, wake_list| {
                    state.expire(word, node.place(), this.waiter, now, wake_list);
                }),
            }
        }
        if self.waiter.state().is_queued() {
            return Poll::Pending;
        }
        if let Err(rejection) = self.as_mut().take_result() {
            return Poll::Ready(SlowOutcome::Rejected(rejection));
        }
        Poll::Ready(if self.waiter.state() == WaiterState::Granted {
            SlowOutcome::Granted
        } else {
            self.claim();
            SlowOutcome::Admitted
        })
    }

    /// Returns the permits of a thread whose request is granted.
    pub(super) fn take_granted_blocking(self: Pin<&mut Self>) -> HeldPermits {
        self.finish_granted(Requester::blocking)
    }
}

/// Cancels a request on a panic, and resets it to `Idle`.
struct ResetOnPanic<'p, G: GateRef>(Pin<&'p mut PendingRequest<G>>);

impl<G: GateRef> Drop for ResetOnPanic<'_, G> {
    fn drop(&mut self) {
        self.0.as_mut().cancel();
        self.0.as_mut().project().waiter.reset();
    }
}

/// Cancels a request while the thread panics. The drop of its waker may panic, too: the wake list discards that.
#[cold]
#[inline(never)]
fn cancel_in_panic(shared: &Shared, mut waiter: Pin<&mut Waiter>) {
    let Some(mut locked) = shared.permits.lock() else { return cancel_in_tree(shared, waiter) };
    let removed = locked.parts().0.cancel((), waiter.as_mut());
    finish_cancel_and_wake(shared, locked, (), waiter, removed);
}

/// Cancels a request at a gate that is part of a tree.
#[cold]
#[inline(never)]
fn cancel_in_tree(shared: &Shared, mut waiter: Pin<&mut Waiter>) {
    let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
    let mut locked = node.tree().lock();
    let (state, _) = locked.parts();
    let removed = state.cancel(node.place(), waiter.as_mut());
    state.queue.untrack(waiter.as_mut().record(), clock::now);
    finish_cancel_and_wake(shared, locked, node.place(), waiter, removed);
}

/// Completes a cancellation under the lock, then wakes the waiters that it admitted.
#[cold]
#[inline(never)]
fn finish_cancel_and_wake<Q: Queue>(
    shared: &Shared,
    mut locked: LockedPermits<'_, GateState<Q>>,
    place: Q::Place<'_>,
    mut waiter: Pin<&mut Waiter>,
    removed: Option<Removed>,
) {
    // A panic ended the poll between admission and claim. The request counts as postponed, because it counts as abandoned below.
    if waiter.as_mut().postpone() {
        shared.counters.increment(Counter::Postponed);
    }
    let mut wake_list = WakeList::default();
    let (state, word) = locked.parts();
    state.finish_cancel(word, place, waiter, removed, clock::now, &mut wake_list);
    drop(locked);
    wake_list.wake_all();
}

/// The outcome of a poll of a request that waits.
struct Renewed {
    /// Whether the waiter was still in the state that its owner had read.
    is_done: bool,
    rearm: Option<Rearm>,
}

/// Stores the new waker of a request in the queue. If its timer was lost, registers its deadline with that of another runtime.
fn renew<C: Core>(
    core: &Arc<C>,
    place: <C::Queue as Queue>::Place<'_>,
    mut waiter: Pin<&mut Waiter>,
    waker: Waker,
    runtime: Option<RuntimeId>,
) -> Renewed {
    core.step(|state, _, wake_list| match (waiter.state(), runtime) {
        (WaiterState::Waiting, _) => {
            wake_list.set_unused(state.replace_waker(place, waiter.as_mut(), waker));
            Renewed { is_done: true, rearm: None }
        }
        (WaiterState::TimerLost, Some(runtime)) => {
            let make_waker = |timer| timer_waker(core, timer);
            let rearm = state.reregister(place, waiter.as_mut(), waker, runtime, make_waker, wake_list);
            Renewed { is_done: true, rearm }
        }
        _ => {
            wake_list.set_unused(Some(waker));
            Renewed { is_done: false, rearm: None }
        }
    })
}

/// Makes the request of a blocked thread at a gate that is part of a tree.
fn arrive_blocking_in_tree(
    node: &TreeNode,
    mut waiter: Pin<&mut Waiter>,
    waker: Waker,
    time: ArrivalTime,
    tracked: Option<TrackedRequest>,
    now: i64,
    instant: i64,
) -> Poll<SlowOutcome> {
    let mut wake_list = WakeList::default();
    let mut record = RecordId::NONE;
    let decision = node.tree().locked(|state, word| {
        let arrival = TreeArrival { place: node.place(), waiter: &waiter, time, now, deadline: instant };
        let decision = state.decide_arrival_in_tree(word, arrival, || now, || true, &mut wake_list);
        match (&decision, tracked) {
            (ArrivalDecision::MustWait, tracked) => {
                let deadline = Some(WaitDeadline { since: now, instant, timer: TimerId::NONE });
                let wait = TreeWait { deadline, tracked };
                state.enqueue_in_tree(word, node.place(), waiter.as_mut(), waker, wait, || now);
                if state.queue.sheds() {
                    state.grant_waiters(word, || now, &mut wake_list);
                }
            }
            (ArrivalDecision::Admitted, Some(tracked)) => {
                record = state.track(node.place(), waiter.weight(), tracked, now);
            }
            _ => {}
        }
        decision
    });
    // Noted before the wakers run, which may panic: then the drop of the request releases the permits.
    if matches!(decision, ArrivalDecision::Admitted) {
        if record.is_none() {
            waiter.as_mut().mark_admitted();
        } else {
            waiter.as_mut().mark_granted(record);
        }
    }
    wake_list.wake_all();
    match decision {
        ArrivalDecision::Admitted if !record.is_none() => Poll::Ready(SlowOutcome::Granted),
        ArrivalDecision::Admitted => {
            waiter.finish();
            Poll::Ready(SlowOutcome::Admitted)
        }
        ArrivalDecision::Rejected(rejection) => Poll::Ready(SlowOutcome::Rejected(rejection)),
        ArrivalDecision::MustWait | ArrivalDecision::NotYet => Poll::Pending,
    }
}

/// Returns whether a request arrives after its deadline. `instant` is the earliest of its deadlines, `own` the one that it was given
/// itself.
fn arrival_time(waiter: &Waiter, now: i64, instant: i64, own: i64) -> ArrivalTime {
    if instant > now {
        ArrivalTime::InTime
    } else if waiter.is_strict() && own <= now {
        ArrivalTime::LateAndStrict
    } else {
        ArrivalTime::Late
    }
}

/// Counts a rejection as work of the task.
#[cold]
fn spend_budget(cx: &mut Context<'_>) {
    if let Poll::Ready(budget) = coop::poll_proceed(cx) {
        budget.made_progress();
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestOptions {
    pub(super) weight: u32,
    pub(super) rules: WaiterRules,
    pub(super) deadline: Option<Instant>,
    pub(super) max_wait: Option<Duration>,
}

impl RequestOptions {
    pub(super) const fn new(weight: u32) -> Self {
        Self { weight, rules: WaiterRules::DEFAULT, deadline: None, max_wait: None }
    }
}

/// Returns the ID of the tokio runtime that this thread is in. Panics if there is none.
fn current_runtime_id() -> RuntimeId {
    let Ok(runtime) = Handle::try_current() else { panic!("{NO_RUNTIME}") };
    runtime.id()
}

const NO_RUNTIME: &str = "a request with a deadline can wait only in a tokio runtime";
