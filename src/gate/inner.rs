//! The engine behind its lock: what handles, permits and futures talk to.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::answer::{Arrival, Polled, Refusal, TryRefusal, Turn};
use super::engine::State;
use super::queue::Ticket;
use super::wake::Calls;
use super::{GateStatus, Resize};
use crate::plan::{GateName, Limit};

/// One gate, shared by its handles.
///
/// Each method is one step of the engine under the lock. What it gives back is the caller's to own before it
/// [makes](Calls::make) the wakers, which by then are outside the lock.
#[derive(Debug)]
pub(super) struct Inner {
    name: GateName,
    max_wait: Option<Duration>,
    state: Mutex<State>,
}

impl Inner {
    pub(super) fn new(name: GateName, limit: Limit, bound: usize, max_wait: Option<Duration>) -> Self {
        Self { name, max_wait, state: Mutex::new(State::new(limit, bound)) }
    }

    pub(super) const fn name(&self) -> GateName {
        self.name
    }

    /// No request waits longer than this, whatever it asks for.
    pub(super) const fn max_wait(&self) -> Option<Duration> {
        self.max_wait
    }

    pub(super) fn try_take(&self, weight: u32) -> Result<(), TryRefusal> {
        self.lock().try_take(weight)
    }

    pub(super) fn arrive(&self, weight: u32) -> Arrival {
        self.lock().arrive(weight)
    }

    pub(super) fn refuse_late(&self) -> Refusal {
        self.lock().refuse_late()
    }

    pub(super) fn join(&self, weight: u32, waker: Waker, now: Instant) -> (Turn, Calls) {
        self.lock().join(weight, waker, now)
    }

    pub(super) fn poll(&self, ticket: Ticket, waker: &Waker, now: Instant) -> Polled {
        self.lock().poll(ticket, waker, now)
    }

    pub(super) fn rewake(&self, ticket: Ticket, waker: Waker, now: Instant) -> (Turn, Calls) {
        self.lock().rewake(ticket, waker, now)
    }

    pub(super) fn expire(&self, ticket: Ticket, now: Instant) -> (Turn, Calls) {
        self.lock().expire(ticket, now)
    }

    pub(super) fn cancel(&self, ticket: Ticket) -> Calls {
        self.lock().cancel(ticket)
    }

    pub(super) fn release(&self, weight: u32) -> Calls {
        self.lock().release(weight)
    }

    pub(super) fn resize(&self, limit: Limit) -> (Resize, Calls) {
        self.lock().resize(limit)
    }

    pub(super) fn close(&self) -> Calls {
        self.lock().close()
    }

    pub(super) fn drain(&self, ticket: Option<Ticket>, waker: Waker) -> (Option<Ticket>, Calls) {
        self.lock().drain(ticket, waker)
    }

    pub(super) fn cancel_drain(&self, ticket: Ticket) -> Calls {
        self.lock().cancel_drain(ticket)
    }

    pub(super) fn limit(&self) -> Limit {
        self.lock().limit()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }

    pub(super) fn status(&self) -> GateStatus {
        self.lock().status(self.name)
    }

    /// Nothing panics under this lock, so a poisoned one would hold whole books all the same.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
