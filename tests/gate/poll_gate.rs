//! A gate that is polled instead of awaited.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use concurrency_governor::gate::{AcquireError, Gate, PollGate};

use crate::support::{HOUR, NAME, WakeCounter, assert_idle, gate};

fn poll(gate: &mut PollGate, weight: u32) -> Poll<Result<u32, AcquireError>> {
    let polled = gate.poll_acquire_many(&mut Context::from_waker(Waker::noop()), weight);
    polled.map_ok(|permit| permit.weight())
}

/// Each poll that is ready ends one request, and the next poll makes a new one.
#[test]
fn each_ready_poll_ends_a_request() {
    let gate = gate(2);
    let mut polled = PollGate::from(gate.clone());
    for round in 1..=3 {
        assert_eq!(poll(&mut polled, 1), Poll::Ready(Ok(1)));
        assert_eq!(poll(&mut polled, 2), Poll::Ready(Ok(2)));
        assert_eq!(gate.status().totals.admitted, 2 * round);
    }
    let permit = polled.poll_acquire(&mut Context::from_waker(Waker::noop()));
    assert_eq!((gate.in_use(), polled.gate().name()), (1, NAME));
    drop(permit);
    assert_idle(&gate);
}

/// A pending request keeps its place between polls, whatever is polled meanwhile, and its latest waker is woken.
#[test]
fn a_pending_request_keeps_its_place() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut first, counter) = (PollGate::new(gate.clone()), WakeCounter::new());
    let mut second = first.clone();
    assert!(poll(&mut first, 1).is_pending() && poll(&mut second, 1).is_pending());
    let waker = Waker::from(Arc::clone(&counter));
    assert!(first.poll_acquire(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(gate.waiting(), 2, "polling again makes no second request");
    drop(held);
    assert_eq!(counter.wakes(), 1);
    assert!(poll(&mut second, 1).is_pending());
    assert_eq!(poll(&mut first, 1), Poll::Ready(Ok(1)));
    assert_eq!(poll(&mut second, 1), Poll::Ready(Ok(1)));
    assert_idle(&gate);
}

/// A pending request ends if it is cancelled, if its owner is dropped, or if another weight is polled. If it was admitted, its
/// permits are released.
#[test]
fn a_pending_request_can_be_cancelled() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (mut polled, mut next) = (PollGate::new(gate.clone()), PollGate::new(gate.clone()));
    polled.cancel();
    assert!(poll(&mut polled, 1).is_pending() && poll(&mut next, 1).is_pending());
    assert!(poll(&mut polled, 2).is_pending(), "another request, behind the other");
    assert_eq!((gate.waiting(), gate.status().totals.queue.cancelled), (2, 1));
    drop(held);
    assert_eq!(poll(&mut next, 1), Poll::Ready(Ok(1)));
    polled.cancel();
    assert_eq!((gate.status().totals.queue.abandoned, gate.status().unclaimed), (1, 0));
    let held = gate.try_acquire_many(2).unwrap();
    assert!(poll(&mut polled, 1).is_pending());
    drop(polled);
    assert_eq!(gate.waiting(), 0);
    drop(held);
    assert_idle(&gate);
}

/// A rejection and a panic end the request, and the next poll makes a new one.
#[test]
fn a_request_that_failed_is_made_again() {
    let gate = Gate::builder(NAME, concurrency_governor::Limit::new(1)).max_wait(HOUR).build();
    let mut polled = PollGate::new(gate.clone());
    assert!(matches!(poll(&mut polled, 2), Poll::Ready(Err(AcquireError::TooLarge { .. }))));
    let held = gate.try_acquire().unwrap();
    let panics = catch_unwind(AssertUnwindSafe(|| poll(&mut polled, 1)));
    assert!(panics.is_err(), "a wait with a deadline needs a runtime");
    assert_eq!(gate.waiting(), 0);
    drop(held);
    assert_eq!(poll(&mut polled, 1), Poll::Ready(Ok(1)));
    gate.close();
    for _ in 0..2 {
        assert!(matches!(poll(&mut polled, 1), Poll::Ready(Err(AcquireError::Closed { .. }))));
    }
}
