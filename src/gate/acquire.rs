//! The way of one request through the gate, as a future or on a blocked thread.

use std::borrow::Borrow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::answer::{Arrival, Polled, Refusal, Turn};
use super::permit::Held;
use super::queue::Ticket;
use super::{AcquireError, Gate, OwnedPermit, Permit, TryAcquireError};

/// Resolves to a [`Permit`]; made by [`Gate::acquire`] and its relatives.
///
/// It is lazy: the request takes its place in line when it is first polled.
///
/// # Cancel safety
///
/// Dropping it gives up its place in line at once, and hands on whatever it had been granted. A request made again
/// starts at the end of the line.
///
/// # Panics
///
/// When it has to wait and has a deadline (its own or the gate's), outside a tokio runtime with its timer enabled; and
/// when it is polled after that runtime is gone, or after it has resolved. None of these loses a permit.
#[must_use = "a future does nothing unless it is polled"]
pub struct Acquire<'g>(Acquiring<&'g Gate>);

/// Resolves to an [`OwnedPermit`]; made by [`Gate::acquire_owned`] and its relatives.
///
/// It is lazy: the request takes its place in line when it is first polled.
///
/// # Cancel safety
///
/// Dropping it gives up its place in line at once, and hands on whatever it had been granted. A request made again
/// starts at the end of the line.
///
/// # Panics
///
/// When it has to wait and has a deadline (its own or the gate's), outside a tokio runtime with its timer enabled; and
/// when it is polled after that runtime is gone, or after it has resolved. None of these loses a permit.
#[must_use = "a future does nothing unless it is polled"]
pub struct AcquireOwned(Acquiring<Gate>);

impl<'g> Acquire<'g> {
    pub(super) const fn new(gate: &'g Gate, terms: Terms) -> Self {
        Self(Acquiring::new(gate, terms))
    }
}

impl AcquireOwned {
    pub(super) const fn new(gate: Gate, terms: Terms) -> Self {
        Self(Acquiring::new(gate, terms))
    }
}

impl<'g> Future for Acquire<'g> {
    type Output = Result<Permit<'g>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_ok(Permit::from)
    }
}

impl Future for AcquireOwned {
    type Output = Result<OwnedPermit, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(cx).map_ok(OwnedPermit::from)
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.attempt.describe("Acquire", f)
    }
}

impl fmt::Debug for AcquireOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.attempt.describe("AcquireOwned", f)
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) weight: u32,
    pub(super) deadline: Option<Instant>,
    pub(super) max_wait: Option<Duration>,
}

impl Terms {
    pub(super) const fn of(weight: u32) -> Self {
        Self { weight, deadline: None, max_wait: None }
    }

    /// The earliest of the deadlines a request has when it begins to wait. One too far off to be told is none.
    fn deadline_from(&self, now: Instant, gate: &Gate) -> Option<Instant> {
        let longest = [self.max_wait, gate.inner().max_wait()].into_iter().flatten().min();
        let latest = longest.and_then(|wait| now.checked_add(wait));
        let deadline = [self.deadline, latest].into_iter().flatten().min()?;
        // A timer rounds up to the next tick of its clock, which has to be an instant still.
        deadline.checked_add(TICK).map(|_| deadline)
    }
}

/// Admits now or not at all.
pub(super) fn attempt<G: Borrow<Gate>>(gate: G, weight: u32) -> Result<Held<G>, TryAcquireError> {
    match gate.borrow().inner().try_take(weight) {
        Ok(()) => Ok(Held::new(gate, weight)),
        Err(refusal) => Err(TryAcquireError::new(gate.borrow().name(), refusal)),
    }
}

/// Blocks the current thread until the request is admitted or refused, without any timer of tokio's.
#[track_caller]
pub(super) fn block<G: Borrow<Gate>>(gate: G, terms: Terms) -> Result<Held<G>, AcquireError> {
    assert_may_block();
    let mut attempt = Attempt { gate: Some(gate), terms, ticket: None };
    if let Some(result) = attempt.arrive() {
        return result;
    }
    let now = Instant::now();
    let deadline = attempt.deadline_from(now);
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Err(attempt.refuse_late());
    }
    let parker = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&parker));
    if let Some(result) = attempt.join(waker.clone(), now) {
        return result;
    }
    loop {
        parker.park_until(deadline);
        let now = Instant::now();
        if let Some(result) = attempt.poll(&waker, now) {
            return result;
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return attempt.expire(now);
        }
    }
}

/// An attempt with its timer: what both futures are.
struct Acquiring<G: Borrow<Gate>> {
    attempt: Attempt<G>,
    /// Made only for a request that waits and has a deadline; most need none.
    timer: Option<Pin<Box<Sleep>>>,
}

// Nothing in it is pinned but the boxed timer.
impl<G: Borrow<Gate>> Unpin for Acquiring<G> {}

impl<G: Borrow<Gate>> Acquiring<G> {
    const fn new(gate: G, terms: Terms) -> Self {
        Self { attempt: Attempt { gate: Some(gate), terms, ticket: None }, timer: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Held<G>, AcquireError>> {
        let result = if self.attempt.ticket.is_none() { self.begin(cx) } else { self.resume(cx) };
        let Some(result) = result else { return Poll::Pending };
        // A timer that outlived the wait would keep the task's waker.
        self.timer = None;
        Poll::Ready(result)
    }

    /// The first poll. Only a request that has to wait costs a look at the clock, and the timer stands before the
    /// request does, so that one that cannot be made leaves nobody in line.
    fn begin(&mut self, cx: &mut Context<'_>) -> Option<Result<Held<G>, AcquireError>> {
        if let Some(result) = self.attempt.arrive() {
            return Some(result);
        }
        let now = Instant::now();
        if let Some(deadline) = self.attempt.deadline_from(now) {
            if deadline <= now {
                return Some(Err(self.attempt.refuse_late()));
            }
            self.timer = Some(Box::pin(sleep_until(deadline)));
            if self.is_late(cx) {
                return Some(Err(self.attempt.refuse_late()));
            }
        }
        self.attempt.join(cx.waker().clone(), now)
    }

    /// Any later poll: what was granted wins against a deadline that has passed.
    fn resume(&mut self, cx: &mut Context<'_>) -> Option<Result<Held<G>, AcquireError>> {
        let now = Instant::now();
        if let Some(result) = self.attempt.poll(cx.waker(), now) {
            return Some(result);
        }
        self.is_late(cx).then(|| self.attempt.expire(now))
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

/// A request on its way: new, in line (it has a ticket), or resolved (it has no gate any more).
///
/// Each step owns what the engine gave it before any waker runs, because a waker may panic.
struct Attempt<G: Borrow<Gate>> {
    gate: Option<G>,
    terms: Terms,
    ticket: Option<Ticket>,
}

impl<G: Borrow<Gate>> Attempt<G> {
    /// At the door: resolved, or `None` if it has to wait.
    fn arrive(&mut self) -> Option<Result<Held<G>, AcquireError>> {
        match self.gate().inner().arrive(self.terms.weight) {
            Arrival::Admitted => Some(Ok(self.admitted())),
            Arrival::Refused(refusal) => Some(Err(self.refused(refusal))),
            Arrival::MustWait => None,
        }
    }

    fn refuse_late(&mut self) -> AcquireError {
        let refusal = self.gate().inner().refuse_late();
        self.refused(refusal)
    }

    /// Into the line, unless there is room by now.
    fn join(&mut self, waker: Waker, now: Instant) -> Option<Result<Held<G>, AcquireError>> {
        let (turn, calls) = self.gate().inner().join(self.terms.weight, waker, now);
        let result = self.settle(turn);
        calls.make();
        result
    }

    /// In line: resolved, or `None` if it still waits, and then `waker` is the one that will be woken.
    fn poll(&mut self, waker: &Waker, now: Instant) -> Option<Result<Held<G>, AcquireError>> {
        let ticket = self.take_ticket();
        match self.gate().inner().poll(ticket, waker, now) {
            Polled::Turn(turn) => self.settle(turn),
            Polled::Stale(ticket) => {
                // Cloning may panic; the request then keeps its place.
                self.ticket = Some(ticket);
                let waker = waker.clone();
                let ticket = self.take_ticket();
                let (turn, calls) = self.gate().inner().rewake(ticket, waker, now);
                let result = self.settle(turn);
                calls.make();
                result
            }
        }
    }

    /// Out of the line at the deadline, unless its turn came first.
    fn expire(&mut self, now: Instant) -> Result<Held<G>, AcquireError> {
        let ticket = self.take_ticket();
        let (turn, calls) = self.gate().inner().expire(ticket, now);
        let result = self.settle(turn);
        calls.make();
        result.expect("an expired request is out of line")
    }

    fn settle(&mut self, turn: Turn) -> Option<Result<Held<G>, AcquireError>> {
        match turn {
            Turn::Admitted => Some(Ok(self.admitted())),
            Turn::Refused(refusal) => Some(Err(self.refused(refusal))),
            Turn::Waiting(ticket) => {
                self.ticket = Some(ticket);
                None
            }
        }
    }

    fn admitted(&mut self) -> Held<G> {
        Held::new(self.gate.take().expect(RESOLVED), self.terms.weight)
    }

    fn refused(&mut self, refusal: Refusal) -> AcquireError {
        let gate = self.gate.take().expect(RESOLVED);
        AcquireError::new(gate.borrow().name(), refusal)
    }

    fn deadline_from(&self, now: Instant) -> Option<Instant> {
        self.terms.deadline_from(now, self.gate())
    }

    fn gate(&self) -> &Gate {
        self.gate.as_ref().expect(RESOLVED).borrow()
    }

    fn take_ticket(&mut self) -> Ticket {
        self.ticket.take().expect("a request in line has a ticket")
    }

    fn describe(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(kind)
            .field("gate", &self.gate.as_ref().map(|gate| gate.borrow().name()))
            .field("terms", &self.terms)
            .field("in_line", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

impl<G: Borrow<Gate>> Drop for Attempt<G> {
    fn drop(&mut self) {
        if let (Some(gate), Some(ticket)) = (&self.gate, self.ticket.take()) {
            gate.borrow().inner().cancel(ticket).make();
        }
    }
}

/// Calls a parked thread. The flag is its own, because a thread has a single park token and any code that the thread
/// runs in between may take it.
struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Parker {
    fn park_until(&self, deadline: Option<Instant>) {
        // Acquire and Release pair up as usual, though the gate's lock already orders what the flag stands for.
        while !self.woken.swap(false, Ordering::Acquire) {
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
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Panics where blocking would stop a runtime from running other tasks, whether or not there is room just now: a
/// mistake shows in the first test instead of under load.
///
/// tokio keeps what it needs to know to itself; but taking its lock in blocking fashion asserts exactly this, and a
/// lock nobody else has seen is free.
#[track_caller]
fn assert_may_block() {
    drop(tokio::sync::Mutex::const_new(()).blocking_lock());
}

/// Why a future has a gate: it gives it up only when it resolves.
const RESOLVED: &str = "a request is not polled again after it has resolved";

/// More than the resolution of tokio's timer, 1 ms.
const TICK: Duration = Duration::from_secs(1);
