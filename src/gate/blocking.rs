//! Requests of blocked threads.

use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::time::Instant;

use super::acquire::{PendingRequest, RequestOptions, SlowOutcome};
use super::clock::{self, NEVER};
use super::error::AcquireError;
use super::handle::Gate;
use super::holders::record::HeldPermits;
use super::permit::Permit;
use super::queue::fair::Ownership;

/// Blocks the thread until the request is admitted or rejected. It needs no runtime and no timer.
#[track_caller]
pub(super) fn acquire(
    gate: &Gate,
    options: RequestOptions,
    ownership: Ownership,
) -> Result<Permit<'_>, AcquireError> {
    assert_may_block();
    let parker = Arc::new(Parker { thread: thread::current(), is_woken: AtomicBool::new(false) });
    let mut request = pin!(PendingRequest::new(gate, options, Location::caller()));
    let now = clock::now();
    let deadline = request.deadline_from(now);
    let instant = if deadline == NEVER { None } else { clock::to_instant(deadline) };
    let waker = Waker::from(Arc::clone(&parker));
    let mut polled = request.as_mut().arrive_blocking(waker, now, deadline, ownership);
    let result = loop {
        match polled {
            Poll::Ready(result) => break result,
            Poll::Pending => parker.park_until(instant),
        }
        polled = request.as_mut().poll_blocking(deadline);
    };
    match result {
        SlowOutcome::Admitted => Ok(Permit::new(gate, HeldPermits::untracked(options.weight))),
        SlowOutcome::Granted => Ok(Permit::new(gate, request.as_mut().take_granted_blocking())),
        SlowOutcome::Rejected(rejection) => {
            let shared = gate.shared();
            Err(AcquireError::new(|level| shared.name_at(level), options.weight, rejection))
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
    /// Returns when the waker was called, or at the deadline.
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
fn assert_may_block() {
    drop(tokio::sync::Mutex::const_new(()).blocking_lock());
}
