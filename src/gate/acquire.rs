//! A request as a future.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::answer::{Arrival, Refusal, TryRefusal, Turn};
use super::chain::Node;
use super::clock::{self, NEVER};
use super::engine::Joining;
use super::inner::Guard;
use super::timers::{Arming, RuntimeId};
use super::wait::{Fate, Stage, Timer};
use super::wake::Calls;
use super::watch::Watch;
use super::{AcquireError, Gate, OwnedPermit, Permit, TryAcquireError};
#[cfg(feature = "tracing")]
use crate::plan::GateName;

/// Resolves to a [`Permit`], or an [`OwnedPermit`]; made by [`Gate::acquire`] and its relatives.
///
/// It is lazy: the request takes its place in line when it is first polled. That place is part of the future, so waiting
/// takes no memory beside it.
///
/// # Cancel safety
///
/// Dropping it gives up its place in line at once, and hands on whatever it had been granted. A request made again
/// starts at the end of the line.
///
/// # Panics
///
/// When it has to wait and has a deadline (its own or the gate's), outside a tokio runtime with its timer enabled; and
/// when it is polled after it has resolved. None of these loses a permit.
#[must_use = "a future does nothing unless it is polled"]
#[repr(C)] // what others touch stands first, on as few cache lines as it can
pub struct Acquire<'g, P = Permit<'g>> {
    pub(super) node: Node,
    gate: &'g Gate,
    /// Nanoseconds; [`NEVER`] if it has no end.
    max_wait: i64,
    deadline: i64,
    resolves_to: PhantomData<fn() -> P>,
}

/// Resolves to an [`OwnedPermit`]; made by [`Gate::acquire_owned`] and its relatives.
///
/// It borrows the gate, and only what it resolves to outlives that: a task of its own takes a clone of the gate along.
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
pub type AcquireOwned<'g> = Acquire<'g, OwnedPermit>;

impl<'g> Future for Acquire<'g, Permit<'g>> {
    type Output = Result<Permit<'g>, AcquireError>;

    #[expect(clippy::inline_always, reason = "half of it would be to pass a result on through memory")]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_for(cx, Permit::new)
    }
}

impl Future for Acquire<'_, OwnedPermit> {
    type Output = Result<OwnedPermit, AcquireError>;

    #[expect(clippy::inline_always, reason = "half of it would be to pass a result on through memory")]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_for(cx, OwnedPermit::new)
    }
}

impl<'g, P> Acquire<'g, P> {
    #[inline]
    pub(super) fn new(gate: &'g Gate, terms: Terms) -> Self {
        let Terms { weight, deadline, max_wait } = terms;
        Self {
            gate,
            max_wait: max_wait.map_or(NEVER, clock::length),
            deadline: deadline.map_or(NEVER, clock::nanos),
            node: Node::new(weight),
            resolves_to: PhantomData,
        }
    }

    /// The gate it asks, and for how much.
    #[cfg(feature = "tracing")]
    pub(crate) const fn asks_for(&self) -> (GateName, u32) {
        (self.gate.profile.name, self.node.weight)
    }

    #[expect(clippy::inline_always, reason = "half of it would be to pass a result on through memory")]
    #[inline(always)]
    fn poll_for(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        permit: impl Fn(&'g Gate, u32) -> P,
    ) -> Poll<Result<P, AcquireError>> {
        // Answered here, so that most permits need not pass through where an error would stand.
        let (gate, weight) = (self.gate, self.node.weight);
        let is_new = self.node.stage() == Stage::New;
        if is_new && self.as_mut().node().enter_if(Stage::Resolved, || gate.inner().admit(weight)) {
            return Poll::Ready(Ok(permit(gate, weight)));
        }
        match self.poll_in_line(cx.waker()) {
            None => Poll::Pending,
            Some(Turn::Admitted) => Poll::Ready(Ok(permit(gate, weight))),
            Some(Turn::Refused(refusal)) => Poll::Ready(Err(error(gate, weight, refusal))),
        }
    }

    // Not inline: nothing of it is in the way of what has room at once.
    #[inline(never)]
    fn poll_in_line(mut self: Pin<&mut Self>, waker: &Waker) -> Option<Turn> {
        if self.node.stage() == Stage::New {
            return if self.has_deadline() { self.begin_until(waker) } else { self.begin(waker) };
        }
        if let Some(fate) = self.as_mut().node().look(waker) {
            return if fate == Fate::Admitted { Some(Turn::Admitted) } else { None }; // else polled for another's sake
        }
        self.resume(waker)
    }

    /// The first poll of a request without a deadline, where there was no room at once. Whatever is not the short way ends in
    /// a call, so that this has nothing to keep across one but itself.
    #[inline(never)]
    fn begin(mut self: Pin<&mut Self>, waker: &Waker) -> Option<Turn> {
        let waker = waker.clone();
        let (inner, weight) = (self.gate.inner(), self.node.weight);
        match inner.join_at_once(self.as_mut().node(), weight, waker) {
            Ok(()) => None,
            Err((body, waker)) => self.join(body, waker, None),
        }
    }

    /// The first poll of a request with a deadline, where there was no room at once. No other costs a look at the clock.
    #[cold]
    #[inline(never)]
    fn begin_until(mut self: Pin<&mut Self>, waker: &Waker) -> Option<Turn> {
        let waker = waker.clone();
        let now = clock::now();
        let deadline = self.deadline_from(now);
        if deadline == NEVER {
            return self.join(None, waker, None);
        }
        if deadline <= now {
            let turn = self.arrive().unwrap_or_else(|| self.refuse_late());
            return Some(self.turned(turn, waker));
        }
        let (runtime, inner, weight) = (runtime(), self.gate.inner(), self.node.weight);
        let joining = Joining { node: self.as_mut().node(), weight, waker };
        match inner.join_until(joining, Watch { runtime, now, deadline }) {
            Ok(None) => None,
            Ok(Some((body, timer))) => self.arm(body, timer),
            Err((turn, waker)) => Some(self.turned(turn, waker)),
        }
    }

    /// Has a timer go off in time; the request stays in line.
    #[cold]
    #[inline(never)]
    fn arm(self: Pin<&mut Self>, mut body: Guard<'static>, timer: Timer) -> Option<Turn> {
        let arming = body.get().state.arm(timer);
        drop(body);
        self.set(arming);
        None
    }

    /// Any later poll, unless it came too early or was admitted.
    #[cold]
    #[inline(never)]
    fn resume(mut self: Pin<&mut Self>, waker: &Waker) -> Option<Turn> {
        assert!(self.node.stage() == Stage::Joined, "a request is not polled again after it has resolved");
        self.as_mut().conclude().or_else(|| self.wait_on(waker))
    }

    /// Waits on with another waker, or another timer.
    #[cold]
    #[inline(never)]
    fn wait_on(mut self: Pin<&mut Self>, waker: &Waker) -> Option<Turn> {
        let inner = self.gate.inner();
        if self.node.fate() == Fate::Waiting {
            let waker = waker.clone();
            inner.rewake(self.as_mut().node(), waker);
        }
        // Also if it has come to that while the waker was cloned.
        if self.node.fate() == Fate::Unwatched {
            let (runtime, waker) = (runtime(), waker.clone());
            let arming = inner.rewatch(self.as_mut().node(), waker, runtime);
            self.as_mut().set(arming);
        }
        self.conclude()
    }

    /// Sets a timer. If that cannot be done, the request is where it was before it was first polled.
    fn set(self: Pin<&mut Self>, arming: Option<Arming>) {
        let Some(arming) = arming else { return };
        let inner = self.gate.inner();
        let on_panic = GivesUp(self);
        inner.set(arming);
        mem::forget(on_panic);
    }

    /// At the door: what became of it, or `None` if it has to wait.
    pub(super) fn arrive(&self) -> Option<Turn> {
        match self.gate.inner().arrive(self.node.weight) {
            Arrival::Admitted => Some(Turn::Admitted),
            Arrival::Refused(refusal) => Some(Turn::Refused(refusal)),
            Arrival::MustWait => None,
        }
    }

    pub(super) fn refuse_late(&self) -> Turn {
        Turn::Refused(self.gate.inner().refuse_late())
    }

    /// Into the line, unless there is room by now; by the lock, if that has been taken.
    #[cold]
    #[inline(never)]
    pub(super) fn join(
        mut self: Pin<&mut Self>,
        body: Option<Guard<'static>>,
        waker: Waker,
        since: Option<i64>,
    ) -> Option<Turn> {
        let (inner, weight) = (self.gate.inner(), self.node.weight);
        match inner.join(body, Joining { node: self.as_mut().node(), weight, waker }, since) {
            Ok(()) => None,
            Err((turn, waker)) => Some(self.turned(turn, waker)),
        }
    }

    /// What became of a request that was about to wait, and the waker it does not need.
    #[cold]
    fn turned(self: Pin<&mut Self>, turn: Turn, waker: Waker) -> Turn {
        let admitted = matches!(turn, Turn::Admitted).then(|| OwnedPermit::new(self.gate, self.node.weight));
        self.node().enter_if(Stage::Resolved, || true);
        drop(waker); // may panic
        mem::forget(admitted);
        turn
    }

    /// What became of it; `None` while it is in line.
    #[inline]
    pub(super) fn conclude(self: Pin<&mut Self>) -> Option<Turn> {
        let (fate, note) = self.node().conclude()?;
        let note = note.unsigned_abs();
        Some(match fate {
            Fate::Admitted => Turn::Admitted,
            Fate::Expired => Turn::Refused(Refusal::Expired { waited: note }),
            Fate::TooLarge => Turn::Refused(Refusal::TooLarge { limit: note }),
            Fate::Closed => Turn::Refused(Refusal::Closed),
            Fate::Waiting | Fate::Unwatched | Fate::Left => {
                unreachable!("who is in line or left it has no turn")
            }
        })
    }

    /// Leaves the line, if it ever joined it.
    #[inline]
    pub(super) fn leave(self: Pin<&mut Self>) {
        if self.node.stage() == Stage::Joined {
            self.leave_line();
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_line(mut self: Pin<&mut Self>) {
        if let Err(body) = self.gate.inner().leave_at_once(self.as_mut().node()) {
            self.give_up(body);
        }
    }

    /// Leaves, whatever became of it; by the lock, if that has been taken.
    #[cold]
    #[inline(never)]
    fn give_up(mut self: Pin<&mut Self>, body: Option<Guard<'static>>) {
        let (inner, weight) = (self.gate.inner(), self.node.weight);
        let mut calls = Calls::default();
        inner.cancel(body, self.as_mut().node(), weight, &mut calls);
        self.node().enter_if(Stage::Resolved, || true);
        calls.make();
    }

    /// Leaves at its deadline, if that has passed.
    pub(super) fn expire_by(self: Pin<&mut Self>, deadline: i64) {
        let (inner, now) = (self.gate.inner(), clock::now());
        if deadline <= now {
            inner.expire(self.node(), now);
        }
    }

    #[inline]
    fn has_deadline(&self) -> bool {
        self.max_wait != NEVER || self.deadline != NEVER || self.gate.longest_wait() != NEVER
    }

    /// The earliest of its deadlines when it begins to wait, [`NEVER`] if that is too far off to be told.
    pub(super) fn deadline_from(&self, now: i64) -> i64 {
        let longest = self.gate.longest_wait().min(self.max_wait);
        clock::nanos_after(now, longest).min(self.deadline)
    }
}

/// A request that leaves, and may be made again, unless something goes well.
struct GivesUp<'f, 'g, P>(Pin<&'f mut Acquire<'g, P>>);

impl<P> Drop for GivesUp<'_, '_, P> {
    fn drop(&mut self) {
        self.0.as_mut().give_up(None);
        self.0.as_mut().node().enter_if(Stage::New, || true);
    }
}

impl<P> fmt::Debug for Acquire<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("gate", &self.gate.name())
            .field("weight", &self.node.weight)
            .field("stage", &self.node.stage())
            .finish_non_exhaustive()
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
}

/// Admits now or not at all.
#[inline]
pub(super) fn attempt(gate: &Gate, weight: u32) -> Result<(), TryAcquireError> {
    if gate.inner().admit(weight) { Ok(()) } else { refuse(gate, weight) }
}

#[cold]
#[inline(never)]
fn refuse(gate: &Gate, weight: u32) -> Result<(), TryAcquireError> {
    if gate.inner().refuse(weight) {
        return Err(TryAcquireError::new(gate.name(), weight, TryRefusal::NoPermits));
    }
    attempt_by_lock(gate, weight)
}

#[cold]
#[inline(never)]
fn attempt_by_lock(gate: &Gate, weight: u32) -> Result<(), TryAcquireError> {
    gate.inner().try_take(weight).map_err(|refusal| TryAcquireError::new(gate.name(), weight, refusal))
}

/// Refusals are told in full only here, so that no way inside has to make room for it.
#[cold]
#[inline(never)]
pub(super) fn error(gate: &Gate, weight: u32, refusal: Refusal) -> AcquireError {
    AcquireError::new(gate.name(), weight, refusal)
}

/// The runtime that this thread runs tasks of.
#[inline]
fn runtime() -> RuntimeId {
    let Ok(runtime) = Handle::try_current() else {
        panic!("a request with a deadline can wait only in a tokio runtime");
    };
    runtime.id()
}
