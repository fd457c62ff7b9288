//! The way of one request through the gate, as a future or on a blocked thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::answer::{Arrival, Refusal, Turn};
use super::cells::Fate;
use super::{AcquireError, Calls, Gate, OwnedPermit, Permit, TryAcquireError};

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
pub struct Acquire<'g>(Acquiring<'g>);

/// Resolves to an [`OwnedPermit`]; made by [`Gate::acquire_owned`] and its relatives.
///
/// It is lazy: the request takes its place in line when it is first polled. It borrows the gate, and only what it
/// resolves to outlives that: a task of its own takes a clone of the gate along.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use concurrency_governor::{Gate, GateName, Limit};
/// # let uploads = Gate::new(GateName::new("uploads"), Limit::new(2));
/// let gate = uploads.clone();
/// let task = tokio::spawn(async move { gate.acquire_owned().await });
/// let permit = task.await??;
/// # drop(permit);
/// # Ok(())
/// # }
/// ```
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
pub struct AcquireOwned<'g>(Acquiring<'g>);

impl<'g> Acquire<'g> {
    #[inline]
    pub(super) const fn new(gate: &'g Gate, terms: Terms) -> Self {
        Self(Acquiring::new(gate, terms))
    }

    // Not inline: it writes the result where it is wanted, and nothing of it is in the way of what has room at once.
    #[inline(never)]
    fn poll_in_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit<'g>, AcquireError>> {
        let Attempt { gate, terms: Terms { weight, .. }, .. } = self.0.attempt;
        match self.0.poll_in_line(cx) {
            Poll::Ready(Ok(Admitted)) => Poll::Ready(Ok(Permit::new(gate, weight))),
            Poll::Ready(Err(refusal)) => Poll::Ready(Err(error(gate, refusal))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<'g> AcquireOwned<'g> {
    #[inline]
    pub(super) const fn new(gate: &'g Gate, terms: Terms) -> Self {
        Self(Acquiring::new(gate, terms))
    }

    #[inline(never)]
    fn poll_in_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<OwnedPermit, AcquireError>> {
        let Attempt { gate, terms: Terms { weight, .. }, .. } = self.0.attempt;
        match self.0.poll_in_line(cx) {
            Poll::Ready(Ok(Admitted)) => Poll::Ready(Ok(OwnedPermit::new(gate, weight))),
            Poll::Ready(Err(refusal)) => Poll::Ready(Err(error(gate, refusal))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<'g> Future for Acquire<'g> {
    type Output = Result<Permit<'g>, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Attempt { gate, terms: Terms { weight, .. }, .. } = self.0.attempt;
        if self.0.is_admitted_at_once() {
            return Poll::Ready(Ok(Permit::new(gate, weight)));
        }
        if self.0.waits_as_before(cx.waker()) {
            return Poll::Pending;
        }
        self.poll_in_line(cx)
    }
}

impl Future for AcquireOwned<'_> {
    type Output = Result<OwnedPermit, AcquireError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Attempt { gate, terms: Terms { weight, .. }, .. } = self.0.attempt;
        if self.0.is_admitted_at_once() {
            return Poll::Ready(Ok(OwnedPermit::new(gate, weight)));
        }
        if self.0.waits_as_before(cx.waker()) {
            return Poll::Pending;
        }
        self.poll_in_line(cx)
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.attempt.describe("Acquire", f)
    }
}

impl fmt::Debug for AcquireOwned<'_> {
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
        let longest = [self.max_wait, gate.longest_wait()].into_iter().flatten().min();
        let latest = longest.and_then(|wait| now.checked_add(wait));
        let deadline = [self.deadline, latest].into_iter().flatten().min()?;
        // A timer rounds up to the next tick of its clock, which has to be an instant still.
        deadline.checked_add(TICK).map(|_| deadline)
    }
}

/// Admits now or not at all.
#[inline]
pub(super) fn attempt(gate: &Gate, weight: u32) -> Result<(), TryAcquireError> {
    if gate.inner().admit(weight) { Ok(()) } else { attempt_by_lock(gate, weight) }
}

#[cold]
fn attempt_by_lock(gate: &Gate, weight: u32) -> Result<(), TryAcquireError> {
    gate.inner().try_take(weight).map_err(|refusal| TryAcquireError::new(gate.name(), refusal))
}

/// Blocks the current thread until the request is admitted or refused, without any timer of tokio's.
#[track_caller]
pub(super) fn block(gate: &Gate, terms: Terms) -> Result<(), AcquireError> {
    assert_may_block();
    let mut attempt = Attempt { gate, terms, stage: Stage::New };
    let result = attempt.block();
    result.map(|Admitted| ()).map_err(|refusal| error(gate, refusal))
}

/// Refusals are told in full only here, so that no way inside has to make room for it.
#[cold]
#[inline(never)]
fn error(gate: &Gate, refusal: Refusal) -> AcquireError {
    AcquireError::new(gate.name(), refusal)
}

/// An attempt with its timer: what both futures are.
struct Acquiring<'g> {
    attempt: Attempt<'g>,
    /// Made only for a request that waits and has a deadline; most need none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'g> Acquiring<'g> {
    #[inline]
    const fn new(gate: &'g Gate, terms: Terms) -> Self {
        Self { attempt: Attempt { gate, terms, stage: Stage::New }, timer: None }
    }

    /// Most requests are; answered by itself, so that their permits need not pass through where an error would stand.
    #[inline]
    fn is_admitted_at_once(&mut self) -> bool {
        matches!(self.attempt.stage, Stage::New) && self.attempt.admit()
    }

    /// Whether this poll came too early, and changes nothing: a look at the place, without the lock.
    #[inline]
    fn waits_as_before(&self, waker: &Waker) -> bool {
        let Stage::InLine { place, waker: known } = self.attempt.stage else { return false };
        self.timer.is_none()
            && known == WakerId::of(waker)
            && self.attempt.gate.inner().fate(place) == Fate::Waiting
    }

    #[expect(clippy::inline_always, reason = "as a call of its own it moves every result once more")]
    #[inline(always)]
    fn poll_in_line(&mut self, cx: &mut Context<'_>) -> Poll<Result<Admitted, Refusal>> {
        let result = match self.attempt.stage {
            Stage::New => self.begin(cx),
            Stage::InLine { .. } => self.resume(cx),
            Stage::Resolved => panic!("a request is not polled again after it has resolved"),
        };
        let Some(result) = result else { return Poll::Pending };
        if self.timer.is_some() {
            // A timer that outlived the wait would keep the task's waker.
            self.timer = None;
        }
        Poll::Ready(result)
    }

    /// The first poll, where there was no room at once. Only such a request costs a look at the clock. With a deadline
    /// it goes to the door first, and makes the timer before it joins the line, so that one that cannot be made leaves
    /// nobody there.
    #[cold]
    fn begin(&mut self, cx: &mut Context<'_>) -> Option<Result<Admitted, Refusal>> {
        let now = Instant::now();
        if let Some(deadline) = self.attempt.deadline_from(now) {
            if let Some(result) = self.attempt.arrive() {
                return Some(result);
            }
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
    fn resume(&mut self, cx: &mut Context<'_>) -> Option<Result<Admitted, Refusal>> {
        if let Some(result) = self.attempt.poll(cx.waker()) {
            return Some(result);
        }
        self.is_late(cx).then(|| self.attempt.expire(Instant::now()))
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

/// That a request's permits are out in its name: whoever gets this has to put them into a permit.
struct Admitted;

/// A request on its way.
///
/// Each step owns what the engine gave it before any waker runs, because a waker may panic.
struct Attempt<'g> {
    gate: &'g Gate,
    terms: Terms,
    stage: Stage,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
enum Stage {
    New,
    /// Its place, and the identity of the waker that stands there. As long as it waits that waker lives, so that no
    /// other can have the same.
    InLine {
        place: u32,
        waker: WakerId,
    },
    Resolved,
}

impl Attempt<'_> {
    /// Past the door, if there is room at once.
    #[inline]
    fn admit(&mut self) -> bool {
        let admitted = self.gate.inner().admit(self.terms.weight);
        if admitted {
            self.stage = Stage::Resolved;
        }
        admitted
    }

    /// At the door: resolved, or `None` if it has to wait.
    fn arrive(&mut self) -> Option<Result<Admitted, Refusal>> {
        match self.gate.inner().arrive(self.terms.weight) {
            Arrival::Admitted => Some(self.settle(Turn::Admitted)),
            Arrival::Refused(refusal) => Some(self.settle(Turn::Refused(refusal))),
            Arrival::MustWait => None,
        }
    }

    fn refuse_late(&mut self) -> Refusal {
        self.stage = Stage::Resolved;
        self.gate.inner().refuse_late()
    }

    /// Into the line, unless there is room by now.
    fn join(&mut self, waker: Waker, now: Instant) -> Option<Result<Admitted, Refusal>> {
        let id = WakerId::of(&waker);
        match self.gate.inner().join(self.terms.weight, waker, now) {
            Ok(place) => {
                self.stage = Stage::InLine { place, waker: id };
                None
            }
            Err((turn, waker)) => {
                let result = self.settle(turn);
                Calls::discarding(waker).make();
                Some(result)
            }
        }
    }

    /// All of it on this thread.
    fn block(&mut self) -> Result<Admitted, Refusal> {
        if let Some(result) = self.arrive() {
            return result;
        }
        let now = Instant::now();
        let deadline = self.deadline_from(now);
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(self.refuse_late());
        }
        let parker = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&parker));
        if let Some(result) = self.join(waker.clone(), now) {
            return result;
        }
        loop {
            parker.park_until(deadline);
            if let Some(result) = self.poll(&waker) {
                return result;
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return self.expire(now);
            }
        }
    }

    /// In line: resolved, or `None` if it still waits, and then `waker` is the one that will be woken.
    #[inline]
    fn poll(&mut self, waker: &Waker) -> Option<Result<Admitted, Refusal>> {
        let Stage::InLine { place, waker: known } = self.stage else { return None };
        let inner = self.gate.inner();
        match inner.fate(place) {
            Fate::Waiting if known == WakerId::of(waker) => None,
            Fate::Waiting => self.rewake(place, waker.clone()),
            Fate::Admitted => {
                inner.vacate(place);
                Some(self.settle(Turn::Admitted))
            }
            Fate::Closed | Fate::TooLarge | Fate::Vacant => self.conclude(place),
        }
    }

    #[cold]
    fn conclude(&mut self, place: u32) -> Option<Result<Admitted, Refusal>> {
        self.gate.inner().conclude(place).map(|turn| self.settle(turn))
    }

    #[cold]
    fn rewake(&mut self, place: u32, waker: Waker) -> Option<Result<Admitted, Refusal>> {
        let id = WakerId::of(&waker);
        let mut calls = Calls::default();
        let turn = self.gate.inner().rewake(place, waker, &mut calls);
        if turn.is_none() {
            self.stage = Stage::InLine { place, waker: id };
        }
        let result = turn.map(|turn| self.settle(turn));
        calls.make();
        result
    }

    /// Out of the line at the deadline, unless its turn came first.
    #[cold]
    fn expire(&mut self, now: Instant) -> Result<Admitted, Refusal> {
        let Stage::InLine { place, .. } = self.stage else { return Err(self.refuse_late()) };
        let mut calls = Calls::default();
        let turn = self.gate.inner().expire(place, now, &mut calls);
        let result = self.settle(turn);
        calls.make();
        result
    }

    /// What a request that waits no more resolves to.
    #[inline]
    fn settle(&mut self, turn: Turn) -> Result<Admitted, Refusal> {
        self.stage = Stage::Resolved;
        match turn {
            Turn::Admitted => Ok(Admitted),
            Turn::Refused(refusal) => Err(refusal),
        }
    }

    fn deadline_from(&self, now: Instant) -> Option<Instant> {
        self.terms.deadline_from(now, self.gate)
    }

    fn describe(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(kind)
            .field("gate", &self.gate.name())
            .field("terms", &self.terms)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Drop for Attempt<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Stage::InLine { place, .. } = self.stage {
            self.gate.inner().cancel(place, self.terms.weight);
        }
    }
}

/// Which waker a waker is, as [`Waker::will_wake`] tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WakerId {
    data: usize,
    vtable: usize,
}

impl WakerId {
    #[inline]
    fn of(waker: &Waker) -> Self {
        Self { data: waker.data().addr(), vtable: std::ptr::from_ref(waker.vtable()).addr() }
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

/// More than the resolution of tokio's timer, 1 ms.
const TICK: Duration = Duration::from_secs(1);
