//! Requests of blocked threads.

use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::Instant;

use super::acquire::{PendingRequest, RequestOptions, SlowOutcome, arrival_time, decide_arrival, renew};
use super::clock;
use super::error::AcquireError;
use super::handle::Gate;
use super::holders::record::HeldPermits;
use super::holders::requester::Requester;
use super::lock::GateLock;
use super::permit::Permit;
use super::queue::WaiterState;
use super::queue::fair::Ownership;
use super::state::{ArrivalDecision, WaitDeadline};
use super::timer::TimerId;

/// Blocks the thread until the request is admitted or rejected. Needs no runtime and no timer.
#[track_caller]
pub(super) fn acquire<'g>(
    gate: &'g Gate,
    options: RequestOptions,
    ownership: Ownership,
    location: &'static Location<'static>,
) -> Result<Permit<'g>, AcquireError> {
    acquire_unless(gate, options, ownership, location, |_| None)
}

/// As [`acquire`]. Calls `end` each time before the thread parks. If `end` returns an error, cancels the request and returns the error.
#[track_caller]
pub(super) fn acquire_unless<'g>(
    gate: &'g Gate,
    options: RequestOptions,
    ownership: Ownership,
    location: &'static Location<'static>,
    mut end: impl FnMut(&mut Context<'_>) -> Option<AcquireError>,
) -> Result<Permit<'g>, AcquireError> {
    assert_may_block();
    let parker = Parker::new();
    let mut request = pin!(PendingRequest::new(gate, options, location));
    let now = clock::now();
    let deadline = request.as_mut().deadline_from(now);
    let instant = clock::to_deadline(deadline);
    let waker = Waker::from(Arc::clone(&parker));
    let mut polled = request.as_mut().arrive_blocking(waker, now, deadline, ownership);
    let outcome = loop {
        match polled {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => {
                // Returning drops the request, which removes it from the queue.
                if let Some(error) = end(&mut Context::from_waker(&Waker::from(Arc::clone(&parker)))) {
                    return Err(error);
                }
                parker.park_until(instant);
            }
        }
        // The waker was called, or the deadline has passed.
        polled = request.as_mut().poll_blocking(&parker, deadline);
    };
    take_permit(gate, request, options.weight, outcome)
}

/// Blocks the thread until one of two gates admits the request, or the second rejects it. The request that was not admitted is
/// cancelled. Deadlines are those of the first gate.
#[track_caller]
pub(super) fn acquire_either<'g>(
    first: &'g Gate,
    second: &'g Gate,
    options: RequestOptions,
    location: &'static Location<'static>,
) -> Result<Permit<'g>, AcquireError> {
    assert_may_block();
    let parker = Parker::new();
    let waker = Waker::from(Arc::clone(&parker));
    let mut requests = [first, second].map(|gate| Box::pin(PendingRequest::new(gate, options, location)));
    let now = clock::now();
    let deadline = requests[0].as_mut().deadline_from(now);
    let instant = clock::to_deadline(deadline);
    let [first_request, second_request] = &mut requests;
    // In each round the first request is polled before the second one. If it is admitted, the second one is not made or polled any more.
    let waker_of_first = waker.clone();
    let mut polled = first_request.as_mut().arrive_blocking(waker_of_first, now, deadline, Ownership::Owned);
    let mut is_first_rejected = false;
    let mut waker = Some(waker); // until the second request has arrived
    loop {
        match polled {
            // The second request may still be admitted.
            Poll::Ready(SlowOutcome::Rejected(_)) => is_first_rejected = true,
            Poll::Ready(outcome) => {
                return take_permit(first, first_request.as_mut(), options.weight, outcome);
            }
            Poll::Pending => {}
        }
        let polled_second = match waker.take() {
            Some(waker) => second_request.as_mut().arrive_blocking(waker, now, deadline, Ownership::Owned),
            None => second_request.as_mut().poll_blocking(&parker, deadline),
        };
        if let Poll::Ready(outcome) = polled_second {
            return take_permit(second, second_request.as_mut(), options.weight, outcome);
        }
        parker.park_until(instant);
        polled = if is_first_rejected {
            Poll::Pending
        } else {
            first_request.as_mut().poll_blocking(&parker, deadline)
        };
    }
}

impl PendingRequest<&Gate> {
    /// Returns the earliest of the deadlines for a wait that begins now, or [`NEVER`](clock::NEVER).
    fn deadline_from(self: Pin<&mut Self>, now: i64) -> i64 {
        let this = self.project();
        this.waiter.bounds().end(now, this.gate.shared().max_wait())
    }

    /// Makes the request of a blocked thread, which checks the deadline itself.
    fn arrive_blocking(
        mut self: Pin<&mut Self>,
        waker: Waker,
        now: i64,
        deadline: i64,
        ownership: Ownership,
    ) -> Poll<SlowOutcome> {
        let mut this = self.as_mut().project();
        let own_deadline = this.waiter.as_mut().bounds().deadline;
        let time = arrival_time(&this.waiter, now, deadline, own_deadline);
        // The thread ends the wait itself, so there is no timer.
        let deadline = WaitDeadline { since: now, instant: deadline, timer: TimerId::NONE };
        if this.gate.shared().node.is_some() {
            return self.arrive_blocking_in_tree(waker, time, deadline, ownership);
        }
        let mut locked = this.gate.shared().lock();
        let (state, word) = locked.parts();
        // The cooperative budget does not apply to a blocked thread, so its request may always be rejected.
        match decide_arrival(state, word, &this.waiter, time, || true) {
            ArrivalDecision::Admitted => Poll::Ready(SlowOutcome::Admitted),
            ArrivalDecision::Rejected(rejection) => Poll::Ready(SlowOutcome::Rejected(rejection)),
            ArrivalDecision::MustWait | ArrivalDecision::NotYet => {
                state.enqueue_with_deadline(word, this.waiter, waker, deadline);
                Poll::Pending
            }
        }
    }

    /// Ends the wait if its deadline has passed, and returns the result if the wait has ended.
    fn poll_blocking(mut self: Pin<&mut Self>, parker: &Arc<Parker>, deadline: i64) -> Poll<SlowOutcome> {
        let now = clock::now();
        let this = self.as_mut().project();
        let shared = this.gate.shared();
        if this.waiter.state() == WaiterState::WokenEarly {
            // The request still waits, but has no waker any more. It gets a new one, and the thread parks again.
            let waker = Waker::from(Arc::clone(parker));
            match &shared.node {
                None => renew(shared, (), this.waiter, waker, None),
                Some(node) => renew(node.tree(), node.place(), this.waiter, waker, None),
            };
        } else if deadline <= now {
            // No timer ends the wait. `expire` checks under the lock that the request still waits.
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
        // The caller completes a tracked request by `finish_tracked`, which also updates the record of its permits.
        Poll::Ready(if self.waiter.state() == WaiterState::AdmittedTracked {
            SlowOutcome::AdmittedTracked
        } else {
            self.claim();
            SlowOutcome::Admitted
        })
    }
}

/// Returns the permit of a request that was admitted, or the error of one that was rejected.
fn take_permit<'g>(
    gate: &'g Gate,
    request: Pin<&mut PendingRequest<&'g Gate>>,
    weight: u32,
    outcome: SlowOutcome,
) -> Result<Permit<'g>, AcquireError> {
    match outcome {
        SlowOutcome::Admitted => Ok(Permit::new(gate, HeldPermits::untracked(weight))),
        SlowOutcome::AdmittedTracked => Ok(Permit::new(gate, request.finish_tracked(Requester::blocking))),
        SlowOutcome::Rejected(rejection) => {
            let shared = gate.shared();
            Err(AcquireError::new(|level| shared.name_at(level), weight, rejection))
        }
    }
}

/// Wakes a parked thread. It needs a flag of its own, because the park token of the thread is shared with all other code that
/// the thread runs.
struct Parker {
    thread: Thread,
    is_woken: AtomicBool,
}

impl Parker {
    /// Creates the parker of the current thread.
    fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), is_woken: AtomicBool::new(false) })
    }

    /// Parks the thread until the waker is called, or until the deadline.
    fn park_until(&self, deadline: Option<Instant>) {
        // Acquire pairs with the Release in `wake_by_ref`: a thread that reads `true` also sees the new state of the waiter.
        while !self.is_woken.swap(false, Ordering::Acquire) {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return,
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Panics if the thread runs asynchronous tasks, even if permits are available, so that the first test finds the mistake.
///
/// tokio has no public query for this. `blocking_lock` makes the check, and locking a new mutex never blocks.
#[track_caller]
pub(super) fn assert_may_block() {
    drop(tokio::sync::Mutex::const_new(()).blocking_lock());
}
