//! A request on a blocked thread.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::Instant;

use super::acquire::{Acquire, Terms, error};
use super::answer::Turn;
use super::clock::{self, NEVER};
use super::{AcquireError, Gate};

/// Blocks the current thread until the request is admitted or refused, without any timer of tokio's.
#[track_caller]
pub(super) fn block(gate: &Gate, terms: Terms) -> Result<(), AcquireError> {
    assert_may_block();
    match pin!(Acquire::<()>::new(gate, terms)).block() {
        Turn::Admitted => Ok(()),
        Turn::Refused(refusal) => Err(error(gate, terms.weight, refusal)),
    }
}

impl Acquire<'_, ()> {
    fn block(mut self: Pin<&mut Self>) -> Turn {
        if let Some(turn) = self.arrive() {
            return turn;
        }
        let now = clock::now();
        let deadline = self.deadline_from(now);
        if deadline <= now {
            return self.refuse_late();
        }
        let parker = Arc::new(Parker { thread: thread::current(), woken: AtomicBool::new(false) });
        let until = if deadline == NEVER { None } else { clock::instant(deadline) };
        let mut turn = self.as_mut().join(None, Waker::from(Arc::clone(&parker)), Some(now));
        loop {
            if let Some(turn) = turn {
                return turn;
            }
            parker.park_until(until);
            self.as_mut().expire_by(deadline); // no longer, if it was granted first
            turn = self.as_mut().conclude();
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
    /// Returns when it was called, or at the deadline.
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
