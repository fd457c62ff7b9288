//! Requests that arrive at a gate of a tree. `acquire.rs` handles the usual case: no request waits in the tree, and the new one fits.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::coop;

use super::acquire::{GateRef, NO_RUNTIME, PendingRequest, ResetOnPanic, SlowOutcome, arrival_time};
use super::clock::{self, NEVER};
use super::counters::Counter;
use super::error::Rejection;
use super::expiry::{set_timer, timer_waker};
use super::handle::Gate;
use super::holders::record::RecordId;
use super::holders::requester::Requester;
use super::lock::GateLock;
use super::queue::FairQueue;
use super::queue::fair::{Ownership, QueueArrival};
use super::state::{
    ArrivalDecision, ArrivalTime, GateState, TrackedRequest, TreeArrival, TreeWait, WaitDeadline,
};
use super::timer::{Rearm, RuntimeId, TimerId};
use super::tree::TreeNode;
use super::wake_list::WakeList;

impl<G: GateRef> PendingRequest<G> {
    /// Makes a request at a gate of a tree in each case but the usual one: requests wait in the tree, a gate of the tree sheds, this gate
    /// tracks its holders, or the request does not fit, has a strict deadline or must be rejected.
    #[inline(never)]
    pub(super) fn arrive_in_tree(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let mut this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
        if node.is_tracked() {
            let location = this.waiter.as_mut().location().expect("a request arrives once");
            let requester = Requester::polled(location, cx.waker());
            return self.arrive_tracked(cx, requester);
        }
        let has_deadline = !this.waiter.as_mut().bounds().is_none() || shared.max_wait() != NEVER;
        // The usual case while requests wait: the request has no deadline, and its gate does not shed. Each node from the leaf to
        // the root is visited once.
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
                // If a gate of the tree sheds, enqueuing may change the order of the requests: `arrive_in_tree_slow` handles that.
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
            let weight = this.waiter.weight();
            let mut is_quiet = false;
            let admitted = node.tree().locked(|state, word| {
                // The check above was without the lock. If a request waits now, `arrive` decides.
                is_quiet = state.admit_quiet(*word, node.place(), weight);
                let is_admitted =
                    is_quiet || state.arrive(node.place(), &this.waiter) == QueueArrival::Admitted;
                is_admitted.then(|| {
                    let tracked = TrackedRequest { requester, ownership: G::OWNERSHIP };
                    state.track(node.place(), weight, tracked, clock::now)
                })
            });
            if let Some(record) = admitted {
                // `arrive` counts its admissions, and `admit_quiet` does not.
                if is_quiet {
                    shared.counters.increment(Counter::Admitted);
                }
                this.waiter.mark_admitted_tracked(record);
                return Poll::Ready(SlowOutcome::AdmittedTracked);
            }
        }
        self.arrive_in_tree_slow(cx, Some(requester))
    }

    /// Makes a request at a gate of a tree in all cases that are left: the request may have a deadline, and may be rejected. `requester` is
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
        // A deadline and shedding need the instant of the arrival. Everything else gets the clock as a function, and reads it on demand.
        let (bounds, max_wait) = (this.waiter.as_mut().bounds(), shared.max_wait());
        let has_deadline = !bounds.is_none() || max_wait != NEVER;
        let now = if has_deadline || node.sheds() { clock::now() } else { 0 };
        let (instant, runtime) = if has_deadline {
            (bounds.end(now, max_wait), Handle::try_current().ok().map(|runtime| runtime.id()))
        } else {
            (NEVER, None)
        };
        let time = arrival_time(&this.waiter, now, instant, bounds.deadline);
        let mut wake_list = WakeList::default();
        let mut locked = node.tree().lock();
        let (state, word) = locked.parts();
        // A task whose budget is spent is not rejected now: if it were, it could retry for ever without yielding.
        let may_reject = coop::has_budget_remaining;
        let arrival = TreeArrival { place: node.place(), waiter: &this.waiter, time, now, deadline: instant };
        let mut decision =
            state.decide_arrival_in_tree(word, arrival, clock::now, may_reject, &mut wake_list);
        if let (ArrivalDecision::Admitted, Some(tracked)) = (&decision, tracked) {
            let record = state.track(node.place(), this.waiter.weight(), tracked, clock::now);
            this.waiter.as_mut().mark_admitted_tracked(record);
        }
        if matches!(decision, ArrivalDecision::MustWait) {
            if instant != NEVER && runtime.is_none() {
                drop(locked);
                // Before the panic: the destructor of the waker may panic, too, and a second panic would abort the process.
                wake_list.set_unused(Some(waker));
                wake_list.wake_all();
                panic!("{NO_RUNTIME}");
            }
            match register_wait(state, node, now, instant, runtime) {
                Ok((deadline, rearm)) => {
                    let wait = TreeWait { deadline, tracked };
                    state.enqueue_in_tree(word, node.place(), this.waiter, waker, wait, clock::now);
                    if state.queue.sheds() {
                        // Enqueuing may have changed the order of the requests. Then another one may fit now.
                        state.serve_queue_on_arrival(word, clock::now, &mut wake_list);
                    }
                    drop(locked);
                    let tree = rearm.is_some().then(|| Arc::clone(node.tree()));
                    // Wakers may panic, and so may setting the timer. The request then leaves the queue.
                    let on_panic = ResetOnPanic { request: self.as_mut(), bounds };
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
        // The waiter records the result before the wakers run, because a waker may panic. The list has wakers only if requests were removed
        // from the queue.
        let result = self.complete_arrival(decision, waker, cx);
        wake_list.wake_all();
        result
    }
}

/// Prepares the wait of a request at a gate of a tree. Returns its deadline, and the timer that the caller must set without the lock.
fn register_wait(
    state: &mut GateState<FairQueue>,
    node: &TreeNode,
    now: i64,
    instant: i64,
    runtime: Option<RuntimeId>,
) -> Result<(Option<WaitDeadline>, Option<Rearm>), Rejection> {
    match runtime {
        Some(runtime) if instant != NEVER => {
            let make_waker = |timer| timer_waker(node.tree(), timer);
            let (timer, rearm) = state.register_deadline(node.place(), runtime, instant, make_waker)?;
            Ok((Some(WaitDeadline { since: now, instant, timer }), rearm))
        }
        // A gate that sheds needs the instant of the arrival, but no timer.
        _ if node.sheds() => Ok((Some(WaitDeadline { since: now, instant, timer: TimerId::NONE }), None)),
        _ => Ok((None, None)),
    }
}

impl PendingRequest<&Gate> {
    /// Makes the request of a blocked thread at a gate of a tree. The wait begins at `deadline.since`, which is the present instant.
    pub(super) fn arrive_blocking_in_tree(
        self: Pin<&mut Self>,
        waker: Waker,
        time: ArrivalTime,
        deadline: WaitDeadline,
        ownership: Ownership,
    ) -> Poll<SlowOutcome> {
        let mut this = self.project();
        let node = this.gate.shared().node.as_ref().expect("a gate without a lock is part of a tree");
        let location = this.waiter.as_mut().location().filter(|_| node.is_tracked());
        let tracked =
            location.map(|location| TrackedRequest { requester: Requester::blocking(location), ownership });
        let (place, mut waiter) = (node.place(), this.waiter);
        let WaitDeadline { since: now, instant, .. } = deadline;
        let mut wake_list = WakeList::default();
        let mut record = RecordId::NONE;
        let decision = node.tree().locked(|state, word| {
            let arrival = TreeArrival { place, waiter: &waiter, time, now, deadline: instant };
            // The cooperative budget does not apply to a blocked thread, so its request may always be rejected.
            let decision = state.decide_arrival_in_tree(word, arrival, || now, || true, &mut wake_list);
            match (&decision, tracked) {
                (ArrivalDecision::MustWait, tracked) => {
                    let wait = TreeWait { deadline: Some(deadline), tracked };
                    state.enqueue_in_tree(word, place, waiter.as_mut(), waker, wait, || now);
                    if state.queue.sheds() {
                        // As in `arrive_in_tree_slow`: another request may fit now.
                        state.serve_queue_on_arrival(word, || now, &mut wake_list);
                    }
                }
                (ArrivalDecision::Admitted, Some(tracked)) => {
                    record = state.track(place, waiter.weight(), tracked, || now);
                }
                _ => {}
            }
            decision
        });
        // The waiter records the admission before the wakers run. If a waker panics, the drop of the request releases the permits.
        if matches!(decision, ArrivalDecision::Admitted) {
            if record.is_none() {
                waiter.as_mut().mark_admitted();
            } else {
                waiter.as_mut().mark_admitted_tracked(record);
            }
        }
        wake_list.wake_all();
        match decision {
            ArrivalDecision::Admitted if !record.is_none() => Poll::Ready(SlowOutcome::AdmittedTracked),
            ArrivalDecision::Admitted => {
                waiter.finish();
                Poll::Ready(SlowOutcome::Admitted)
            }
            ArrivalDecision::Rejected(rejection) => Poll::Ready(SlowOutcome::Rejected(rejection)),
            ArrivalDecision::MustWait | ArrivalDecision::NotYet => Poll::Pending,
        }
    }
}
