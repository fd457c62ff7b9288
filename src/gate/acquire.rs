//! The futures that acquire permits.

use std::fmt;
use std::future::Future;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
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
use super::holders::record::HeldPermits;
use super::holders::requester::Requester;
use super::permit::{OwnedPermit, Permit};
#[cfg(feature = "tracing")]
use super::priority::Priority;
use super::queue::fair::Ownership;
use super::queue::{Queue, WaitBounds, Waiter, WaiterRules, WaiterState};
use super::shared::Shared;
use super::state::{ArrivalDecision, WaitDeadline};
use super::timer::{Rearm, RuntimeId};

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
        pub(super) waiter: Waiter,
        pub(super) gate: G,
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
        let bounds = WaitBounds {
            max_wait: max_wait.map_or(NEVER, clock::from_duration),
            deadline: deadline.map_or(NEVER, clock::from_instant),
        };
        Self { waiter: Waiter::made_at(location, weight, rules, bounds), gate }
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
        mem::forget(budget); // it stays spent; `made_progress` would end with a call of the destructor: row `cycle`
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
    pub(super) fn finish_granted(
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
            WaiterState::Idle | WaiterState::StrictlyIdle if self.as_mut().has_deadline() => {
                self.arrive_with_deadline(cx)
            }
            WaiterState::Idle | WaiterState::StrictlyIdle => self.arrive(cx),
            WaiterState::Granted => self.poll_granted(cx),
            // The task may be polled for another reason, with the same waker. Then no lock is needed.
            WaiterState::Waiting if self.as_mut().project().waiter.is_waiting_with(waker) => Poll::Pending,
            WaiterState::Waiting | WaiterState::WokenEarly | WaiterState::TimerLost => self.poll_waiting(cx),
            _ => Poll::Ready(self.take_result().into()),
        }
    }

    /// Returns that a request at a gate that tracks its holders is granted. A task without budget takes its permits at a later poll.
    #[cold]
    pub(super) fn poll_granted(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
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
    fn arrive_with_deadline(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let Some(node) = &shared.node else { return self.arrive_until_deadline(cx) };
        // Mostly nothing waits in the tree, and the request fits. Then it needs neither a waker nor the clock.
        let weight = this.waiter.weight();
        if this.waiter.admit_if(|| !node.tree().has_waiters() && node.try_acquire_quiet(weight)) {
            shared.counters.increment(Counter::Admitted);
            return Poll::Ready(SlowOutcome::Admitted);
        }
        self.arrive_in_busy_tree(cx)
    }

    /// Makes a request whose wait ends at a deadline.
    #[inline(never)]
    fn arrive_until_deadline(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let waker = cx.waker().clone(); // without the lock, see `arrive`
        let now = clock::now();
        let bounds = self.as_mut().project().waiter.bounds();
        let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let instant = bounds.end(now, shared.max_wait());
        let mut locked = shared.lock();
        let (state, word) = locked.parts();
        // A task whose budget is spent is not rejected now: if it were, it could retry for ever without yielding.
        let decision = if instant <= now {
            let is_strict = this.waiter.is_strict() && bounds.deadline <= now;
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
                self.set_timer(rearm, bounds);
                Poll::Pending
            }
            Err(rejection) => {
                drop(locked);
                self.complete_arrival(ArrivalDecision::Rejected(rejection), waker, cx)
            }
        }
    }

    /// Completes the arrival of a request that does not wait, and drops the waker that it does not need.
    #[cold]
    pub(super) fn complete_arrival(
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
                WaiterState::Waiting | WaiterState::WokenEarly => None,
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
                let bounds = WaitBounds { max_wait: NEVER, deadline: renewed.deadline };
                match &shared.node {
                    None => self.as_mut().set_timer_of(&*shared, rearm, bounds),
                    Some(node) => self.as_mut().set_timer_of(&**node.tree(), rearm, bounds),
                }
            }
            if renewed.is_done && self.waiter.state().is_queued() {
                return Poll::Pending;
            }
        }
    }

    /// Sets a timer. If that panics, the request is removed from the queue and returns to `Idle`, with these bounds on its wait.
    fn set_timer(self: Pin<&mut Self>, rearm: Option<Rearm>, bounds: WaitBounds) {
        let Some(rearm) = rearm else { return };
        let shared = Arc::clone(self.shared());
        self.set_timer_of(&*shared, rearm, bounds);
    }

    fn set_timer_of<C: Core>(self: Pin<&mut Self>, core: &C, rearm: Rearm, bounds: WaitBounds) {
        let on_panic = ResetOnPanic { request: self, bounds };
        set_timer(core, rearm);
        mem::forget(on_panic);
    }

    /// Returns the result of a request whose wait has ended. A rejection completes the request.
    #[cold]
    pub(super) fn take_result(self: Pin<&mut Self>) -> Result<(), Rejection> {
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
            | WaiterState::WokenEarly
            | WaiterState::Admitted
            | WaiterState::Granted
            | WaiterState::Done => {
                panic!("a request is polled after completion")
            }
        }
    }

    #[inline]
    fn has_deadline(mut self: Pin<&mut Self>) -> bool {
        !self.as_mut().project().waiter.bounds().is_none() || self.shared().may_have_max_wait()
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

/// Cancels a request on a panic, and resets it to `Idle`, with these bounds on its wait.
pub(super) struct ResetOnPanic<'p, G: GateRef> {
    pub(super) request: Pin<&'p mut PendingRequest<G>>,
    pub(super) bounds: WaitBounds,
}

impl<G: GateRef> Drop for ResetOnPanic<'_, G> {
    fn drop(&mut self) {
        self.request.as_mut().cancel();
        self.request.as_mut().project().waiter.reset(self.bounds);
    }
}

/// The outcome of a poll of a request that waits.
pub(super) struct Renewed {
    /// Whether the waiter was still in the state that its owner had read.
    is_done: bool,
    rearm: Option<Rearm>,
    /// The instant at which the wait ends, if a timer must be set.
    deadline: i64,
}

/// Stores the new waker of a request in the queue. If its timer was lost, registers its deadline with that of another runtime.
pub(super) fn renew<C: Core>(
    core: &Arc<C>,
    place: <C::Queue as Queue>::Place<'_>,
    mut waiter: Pin<&mut Waiter>,
    waker: Waker,
    runtime: Option<RuntimeId>,
) -> Renewed {
    core.step(|state, _, wake_list| match (waiter.state(), runtime) {
        (WaiterState::Waiting | WaiterState::WokenEarly, _) => {
            wake_list.set_unused(state.replace_waker(place, waiter.as_mut(), waker));
            Renewed { is_done: true, rearm: None, deadline: NEVER }
        }
        (WaiterState::TimerLost, Some(runtime)) => {
            let make_waker = |timer| timer_waker(core, timer);
            let rearm = state.reregister(place, waiter.as_mut(), waker, runtime, make_waker, wake_list);
            let deadline =
                state.queue.request_mut(place, waiter.as_mut()).map_or(NEVER, |request| request.deadline);
            Renewed { is_done: true, rearm, deadline }
        }
        _ => {
            wake_list.set_unused(Some(waker));
            Renewed { is_done: false, rearm: None, deadline: NEVER }
        }
    })
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

pub(super) const NO_RUNTIME: &str = "a request with a deadline can wait only in a tokio runtime";
