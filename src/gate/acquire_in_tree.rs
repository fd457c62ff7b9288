//! Requests that arrive at a gate of a tree, beyond the fast path of `acquire.rs`.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::coop;

use super::acquire::{GateRef, NO_RUNTIME, PendingRequest, ResetOnPanic, SlowOutcome};
use super::clock::{self, NEVER};
use super::core::Core;
use super::counters::Counter;
use super::expiry::{set_timer, timer_waker};
use super::holders::record::RecordId;
use super::holders::requester::Requester;
use super::queue::Waiter;
use super::queue::fair::QueueArrival;
use super::state::{ArrivalDecision, ArrivalTime, TrackedRequest, TreeArrival, TreeWait, WaitDeadline};
use super::timer::TimerId;
use super::tree::TreeNode;
use super::wake_list::WakeList;

impl<G: GateRef> PendingRequest<G> {
    /// Makes a request at a gate that is part of a tree in which requests wait, or where more than the permits decides.
    #[inline(never)]
    pub(super) fn arrive_in_busy_tree(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowOutcome> {
        let mut this = self.as_mut().project();
        let shared = this.gate.gate().expect("a request arrives once").shared();
        let node = shared.node.as_ref().expect("a gate without a lock is part of a tree");
        if node.is_tracked() {
            let location = this.waiter.as_mut().location().expect("a request arrives once");
            let requester = Requester::polled(location, cx.waker());
            return self.arrive_tracked(cx, requester);
        }
        let has_deadline = !this.waiter.as_mut().bounds().is_none() || shared.max_wait() != NEVER;
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
            let weight = this.waiter.weight();
            let mut is_quiet = false;
            let admitted = node.tree().locked(|state, word| {
                is_quiet = state.admit_quiet(*word, node.place(), weight);
                let is_admitted =
                    is_quiet || state.arrive(node.place(), &this.waiter) == QueueArrival::Admitted;
                is_admitted.then(|| {
                    let tracked = TrackedRequest { requester, ownership: G::OWNERSHIP };
                    state.track(node.place(), weight, tracked, clock::now)
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
        // The result is noted before the wakers run, which may panic. There are some only if requests were removed to make room.
        let result = self.complete_arrival(decision, waker, cx);
        wake_list.wake_all();
        result
    }
}

/// Makes the request of a blocked thread at a gate that is part of a tree.
pub(super) fn arrive_blocking_in_tree(
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
                record = state.track(node.place(), waiter.weight(), tracked, || now);
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
pub(super) fn arrival_time(waiter: &Waiter, now: i64, instant: i64, own: i64) -> ArrivalTime {
    if instant > now {
        ArrivalTime::InTime
    } else if waiter.is_strict() && own <= now {
        ArrivalTime::LateAndStrict
    } else {
        ArrivalTime::Late
    }
}
