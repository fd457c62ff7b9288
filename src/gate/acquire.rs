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
use super::counters::Counter;
use super::error::{AcquireError, AtLevel, Rejection};
use super::expiry::{set_timer, timer_waker};
use super::handle::Gate;
use super::holders::record::HeldPermits;
use super::holders::requester::Requester;
use super::lock::GateLock;
use super::permit::{OwnedPermit, Permit};
use super::permits::Word;
#[cfg(feature = "tracing")]
use super::priority::Priority;
use super::queue::fair::Ownership;
use super::queue::{FifoQueue, Queue, WaitBounds, Waiter, WaiterRules, WaiterState};
use super::shared::Shared;
use super::state::{ArrivalDecision, ArrivalTime, GateState, WaitDeadline};
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
    /// Returns the gate, the weight and the priority. The gate is `None` after an owned request has completed.
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

    /// Returns the gate, or `None` after [`take_permit`](Self::take_permit).
    fn gate(&self) -> Option<&Gate>;

    /// Creates the permit for an admitted request. Called once.
    fn take_permit(&mut self, held: HeldPermits) -> Option<Self::Permit>;
}

impl<'g> GateRef for &'g Gate {
    type Permit = Permit<'g>;

    const OWNERSHIP: Ownership = Ownership::Borrowed;

    #[inline]
    fn gate(&self) -> Option<&Gate> {
        Some(self)
    }

    #[inline]
    fn take_permit(&mut self, held: HeldPermits) -> Option<Permit<'g>> {
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
    fn take_permit(&mut self, held: HeldPermits) -> Option<OwnedPermit> {
        self.0.take().map(|gate| OwnedPermit::new(gate, held))
    }
}

pin_project! {
    /// A request and its node in the queue.
    // The order of the fields matters: the gate directly follows the waiter. Reading the gate before locking also loads the cache line
    // of the waiter that most removals need: benchmark row `cancel`.
    #[repr(C)]
    pub(super) struct PendingRequest<G: GateRef> {
        #[pin]
        pub(super) waiter: Waiter,
        pub(super) gate: G,
    }

    impl<G: GateRef> PinnedDrop for PendingRequest<G> {
        fn drop(this: Pin<&mut Self>) {
            if this.waiter.state().must_be_cancelled() {
                this.cancel();
            }
        }
    }
}

/// The outcome of a poll on the slow path.
#[derive(Clone, Copy)]
pub(super) enum SlowOutcome {
    Admitted,
    /// Admitted at a gate that tracks its holders: the waiter has the number of the record. The task has budget.
    AdmittedTracked,
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
                SlowOutcome::AdmittedTracked => return Poll::Ready(Ok(self.take_tracked(cx))),
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
        mem::forget(budget); // spends the budget; `made_progress` would also call a destructor: benchmark row `cycle`
        self.as_mut().claim();
        let permit = self.project().gate.take_permit(HeldPermits::untracked(weight));
        Poll::Ready(Ok(permit.expect("a request is admitted once")))
    }

    /// Takes the permits of a request at a gate that tracks its holders. The task has budget.
    #[cold]
    fn take_tracked(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> G::Permit {
        spend_budget(cx);
        let held = self.as_mut().finish_tracked(|location| Requester::polled(location, cx.waker()));
        self.project().gate.take_permit(held).expect("a request is admitted once")
    }

    /// Completes a [`AdmittedTracked`](WaiterState::AdmittedTracked) request. The caller takes its permits now.
    pub(super) fn finish_tracked(
        mut self: Pin<&mut Self>,
        requester: impl FnOnce(&'static Location<'static>) -> Requester,
    ) -> HeldPermits {
        let (record, was_pending) = self.as_mut().project().waiter.finish_tracked();
        if was_pending {
            let shared = self.shared();
            shared.hold(record, requester);
            shared.counters.increment(Counter::Claimed);
        }
        HeldPermits::new(self.waiter.weight(), record)
    }

    /// Completes an [`Admitted`](WaiterState::Admitted) request. The caller takes its permits now.
    #[inline]
    pub(super) fn claim(mut self: Pin<&mut Self>) {
        if self.as_mut().project().waiter.finish_admitted() {
            self.shared().counters.increment(Counter::Claimed);
        }
    }

    /// Counts an admitted request that stays pending, with its permits, until its task has budget again.
    #[cold]
    fn postpone(mut self: Pin<&mut Self>) {
        if self.as_mut().project().waiter.postpone() {
            self.shared().counters.increment(Counter::Postponed);
            let record = self.as_mut().project().waiter.record();
            self.shared().postpone(record);
        }
    }

    /// Polls a request that the fast path did not admit. If the outcome is [`SlowOutcome::Admitted`], the waiter is in the state
    /// `Admitted`.
    #[inline(never)]
    fn poll_slow(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let waker = cx.waker();
        match self.waiter.state() {
            WaiterState::Idle | WaiterState::StrictlyIdle if self.as_mut().may_have_deadline() => {
                self.arrive_in_tree_or_with_deadline(cx)
            }
            WaiterState::Idle | WaiterState::StrictlyIdle => self.arrive(cx),
            WaiterState::AdmittedTracked => self.poll_tracked(cx),
            // The task may be polled for another reason, with the same waker. Then no lock is needed.
            WaiterState::Waiting if self.as_mut().project().waiter.is_waiting_with(waker) => Poll::Pending,
            WaiterState::Waiting | WaiterState::WokenEarly | WaiterState::TimerLost => self.poll_waiting(cx),
            _ => Poll::Ready(self.take_result().into()),
        }
    }

    /// Returns [`SlowOutcome::AdmittedTracked`], or `Pending` if the task has no budget left. The task then takes the permits at a later
    /// poll.
    #[cold]
    pub(super) fn poll_tracked(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        // `poll_proceed` registers the waker if the budget is spent, so that the task is polled again.
        if !coop::has_budget_remaining() && coop::poll_proceed(cx).is_pending() {
            self.postpone();
            return Poll::Pending;
        }
        Poll::Ready(SlowOutcome::AdmittedTracked)
    }

    /// Makes the request: it is admitted, rejected, or put into the queue. `release_slow` in `shared.rs` is the counterpart.
    #[inline(never)]
    fn arrive(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        // Before the lock is taken: `clone` is foreign code, which may call this gate or panic.
        let waker = cx.waker().clone();
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let Some(mut locked) = shared.permits.lock() else {
            unreachable!("`may_have_deadline` returns `true` for a gate in a tree")
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

    /// Makes a request that has a deadline, or whose gate is part of a tree.
    #[cold]
    #[inline(never)]
    fn arrive_in_tree_or_with_deadline(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let Some(node) = &shared.node else { return self.arrive_with_deadline(cx) };
        // The usual case in a tree: no request waits, and this one fits. It needs neither a waker nor the clock.
        let weight = this.waiter.weight();
        if this.waiter.admit_if(|| !node.tree().has_waiters() && node.try_acquire_quiet(weight)) {
            shared.counters.increment(Counter::Admitted);
            return Poll::Ready(SlowOutcome::Admitted);
        }
        self.arrive_in_tree(cx)
    }

    /// Makes a request that has a deadline, at a standalone gate.
    #[inline(never)]
    fn arrive_with_deadline(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let waker = cx.waker().clone(); // without the lock, see `arrive`
        let now = clock::now();
        let bounds = self.as_mut().project().waiter.bounds();
        let runtime = Handle::try_current().ok().map(|runtime| runtime.id());
        let this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let instant = bounds.end(now, shared.max_wait());
        let time = arrival_time(&this.waiter, now, instant, bounds.deadline);
        let mut locked = shared.lock();
        let (state, word) = locked.parts();
        // A task whose budget is spent is not rejected now: if it were, it could retry for ever without yielding.
        let decision = decide_arrival(state, word, &this.waiter, time, coop::has_budget_remaining);
        if !matches!(decision, ArrivalDecision::MustWait) {
            drop(locked);
            return self.complete_arrival(decision, waker, cx);
        }
        // The maximum wait is too long for the clock, or was removed since `may_have_deadline` read it.
        if instant == NEVER {
            state.enqueue(word, this.waiter, waker, || now);
            return Poll::Pending;
        }
        let Some(runtime) = runtime else {
            drop(locked);
            drop(waker); // before the panic: its destructor may panic, too, and a second panic would abort the process
            panic!("{NO_RUNTIME}");
        };
        match state.register_deadline((), runtime, instant, |timer| timer_waker(shared, timer)) {
            Ok((timer, rearm)) => {
                let deadline = WaitDeadline { since: now, instant, timer };
                state.enqueue_with_deadline(word, this.waiter, waker, deadline);
                drop(locked);
                if let Some(rearm) = rearm {
                    self.set_timer(rearm, bounds);
                }
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
        // The waiter records the result before the waker is dropped, because the destructor of a waker may panic.
        match decision {
            ArrivalDecision::Admitted if waiter.state() == WaiterState::AdmittedTracked => {
                drop(unused);
                self.poll_tracked(cx)
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
            // The budget of the task was spent, so it makes the request at a later poll. `poll_proceed` registers the waker if there is
            // still no budget. Otherwise it does not, and the task is woken here.
            ArrivalDecision::NotYet | ArrivalDecision::MustWait => {
                drop(unused);
                if coop::poll_proceed(cx).is_ready() {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    /// Replaces the waker of a waiting request. If its timer was lost, registers its deadline with the timer of the current runtime.
    #[cold]
    #[inline(never)]
    fn poll_waiting(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        // The state may change at any time before the lock is taken: each iteration acts on the state that it finds under the lock.
        loop {
            let runtime = match self.waiter.state() {
                WaiterState::Waiting | WaiterState::WokenEarly => None,
                WaiterState::TimerLost => Some(current_runtime_id()),
                WaiterState::AdmittedTracked => return self.poll_tracked(cx),
                _ => return Poll::Ready(self.take_result().into()),
            };
            let new_waker = cx.waker().clone(); // without the lock, see `arrive`
            let this = self.as_mut().project();
            let shared = Arc::clone(this.gate.gate().expect("a waiting request has a gate").shared());
            let renewed = match &shared.node {
                None => renew(&shared, (), this.waiter, new_waker, runtime),
                Some(node) => {
                    node.update_requester(&this.waiter, |location| Requester::polled(location, cx.waker()));
                    renew(node.tree(), node.place(), this.waiter, new_waker, runtime)
                }
            };
            if let Some(rearm) = renewed.rearm {
                let bounds = WaitBounds { max_wait: NEVER, deadline: renewed.deadline };
                self.as_mut().set_timer(rearm, bounds);
            }
            if renewed.is_stored && self.waiter.state().is_queued() {
                return Poll::Pending;
            }
        }
    }

    /// Sets a timer. If that panics, the request is removed from the queue and returns to `Idle`, with these bounds on its wait.
    fn set_timer(self: Pin<&mut Self>, rearm: Rearm, bounds: WaitBounds) {
        let shared = Arc::clone(self.shared());
        let on_panic = ResetOnPanic { request: self, bounds };
        match &shared.node {
            None => set_timer(&*shared, rearm),
            Some(node) => set_timer(&**node.tree(), rearm),
        }
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
        // Read before `finish`, after which the waiter has no detail any more.
        let detail = waiter.as_mut().removal_detail();
        let at = AtLevel::from_detail(detail);
        waiter.finish();
        // The detail is a level with its value, or the time waited: the reason decides which.
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
            | WaiterState::AdmittedTracked
            | WaiterState::Done => {
                panic!("a request is polled after completion")
            }
        }
    }

    /// Returns `true` if the request may have a deadline, or if its gate is part of a tree. Such a gate reports a maximum wait for
    /// this purpose.
    #[inline]
    fn may_have_deadline(mut self: Pin<&mut Self>) -> bool {
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

/// Classifies an arrival. `instant` is the earliest deadline that applies, `own` the deadline that the request sets itself.
pub(super) fn arrival_time(waiter: &Waiter, now: i64, instant: i64, own: i64) -> ArrivalTime {
    if instant > now {
        ArrivalTime::InTime
    } else if waiter.is_strict() && own <= now {
        ArrivalTime::LateAndStrict
    } else {
        ArrivalTime::Late
    }
}

/// Decides an arrival at a standalone gate. `may_reject` is that of [`GateState::decide_arrival`].
pub(super) fn decide_arrival(
    state: &mut GateState<FifoQueue>,
    word: &mut Word,
    waiter: &Waiter,
    time: ArrivalTime,
    may_reject: impl FnOnce() -> bool,
) -> ArrivalDecision {
    match time {
        ArrivalTime::InTime => state.decide_arrival(word, waiter, may_reject),
        ArrivalTime::Late => state.decide_expired_arrival(word, waiter, false, may_reject),
        ArrivalTime::LateAndStrict => state.decide_expired_arrival(word, waiter, true, may_reject),
    }
}

/// Cancels a request if a panic drops the guard, and resets it to `Idle`, with these bounds on its wait.
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

/// The outcome of [`renew`].
pub(super) struct Renewed {
    /// Whether the waiter was still in the state that its owner had read, so that its new waker was stored.
    is_stored: bool,
    rearm: Option<Rearm>,
    /// The instant at which the wait ends, if a timer must be set.
    deadline: i64,
}

/// Replaces the waker of a waiting request. If its timer was lost, registers its deadline with the timer of `runtime`.
pub(super) fn renew<L: GateLock>(
    lock: &Arc<L>,
    place: <L::Queue as Queue>::Place<'_>,
    mut waiter: Pin<&mut Waiter>,
    waker: Waker,
    runtime: Option<RuntimeId>,
) -> Renewed {
    lock.step(|state, _, wake_list| match (waiter.state(), runtime) {
        (WaiterState::Waiting | WaiterState::WokenEarly, _) => {
            wake_list.set_unused(state.replace_waker(place, waiter.as_mut(), waker));
            Renewed { is_stored: true, rearm: None, deadline: NEVER }
        }
        (WaiterState::TimerLost, Some(runtime)) => {
            let make_waker = |timer| timer_waker(lock, timer);
            let rearm = state.reregister(place, waiter.as_mut(), waker, runtime, make_waker, wake_list);
            let deadline =
                state.queue.request_mut(place, waiter.as_mut()).map_or(NEVER, |request| request.deadline);
            Renewed { is_stored: true, rearm, deadline }
        }
        // The state has changed since the caller read it. The caller reads it again.
        _ => {
            wake_list.set_unused(Some(waker));
            Renewed { is_stored: false, rearm: None, deadline: NEVER }
        }
    })
}

/// Spends one unit of the cooperative budget of the task, if it has any left.
#[cold]
fn spend_budget(cx: &mut Context<'_>) {
    if let Poll::Ready(budget) = coop::poll_proceed(cx) {
        budget.made_progress();
    }
}

/// Returns an error after the task has spent one unit of its cooperative budget, as each rejection by a gate does. So a task that retries
/// in a loop yields to the runtime.
pub(crate) async fn reject<T, E>(error: E) -> Result<T, E> {
    coop::consume_budget().await;
    Err(error)
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
