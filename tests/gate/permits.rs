//! Permits, handles and futures as values: their weight, their lifetime and the threads that they move
//! between.

use std::task::Waker;

use concurrency_governor::Limit;
use concurrency_governor::gate::{Acquire, AcquireOwned, Drained, Gate, OwnedPermit, Permit, Request};

use crate::support::{NAME, assert_idle, expect_ready, gate, poll_once, poll_with, start_waiting};

/// A permit reports its weight and its gate, and releases exactly its weight.
#[test]
fn a_permit_releases_its_weight() {
    let gate = gate(10);
    let borrowed = expect_ready(gate.acquire_many(3)).unwrap();
    let owned = expect_ready(gate.acquire_many_owned(4)).unwrap();
    let tried = gate.try_acquire_many_owned(2).unwrap();
    assert_eq!((borrowed.weight(), owned.weight(), tried.weight()), (3, 4, 2));
    assert_eq!((borrowed.gate().name(), owned.gate().name()), (NAME, NAME));
    for (permit, in_use) in [(owned, 5), (tried, 3)] {
        drop(permit);
        assert_eq!(gate.status().in_use, in_use);
    }
    drop(borrowed);
    assert_idle(&gate);
}

/// An owned permit stays valid after the last handle of its gate was dropped, and returns a new handle on
/// request.
#[test]
fn owned_permits_outlive_their_handles() {
    let first = gate(2);
    let (one, two) = (expect_ready(first.acquire_owned()).unwrap(), first.try_acquire_owned().unwrap());
    drop(first);
    drop(one);
    let second = two.gate().clone();
    assert_eq!((second.name(), second.limit(), second.status().in_use), (NAME, Limit::new(2), 1));
    let (waiting, counter) = start_waiting(second.acquire_many(2));
    drop(two);
    assert_eq!(counter.wakes(), 1);
    drop(waiting);
    assert_idle(&second);
}

/// A gate that is created after another gate was dropped shares nothing with it, even if it reuses its
/// memory.
#[test]
fn a_new_gate_shares_nothing_with_a_dropped_gate() {
    let permits: Vec<_> = (1..50).map(|limit| gate(limit).try_acquire_owned().unwrap()).collect();
    let mut gates = Vec::new();
    for permit in permits {
        let old = permit.gate().clone();
        old.close();
        drop((old, permit));
        let new = gate(7);
        assert_eq!(new.status(), gate(7).status());
        gates.push(new);
    }
    let held: Vec<_> = gates.iter().map(|gate| gate.try_acquire_many(7).unwrap()).collect();
    assert!(gates.iter().all(|gate| gate.status().in_use == 7));
    drop(held);
    for gate in &gates {
        assert_idle(gate);
    }
}

/// Gates, permits, requests and futures are `Send` and `Sync`, and the futures of `run` and `run_blocking`
/// are `Send`.
#[test]
fn gates_permits_and_futures_are_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    fn check_send(_: impl Send) {}
    check::<Gate>();
    check::<OwnedPermit>();
    check::<AcquireOwned>();
    check::<Permit<'static>>();
    check::<Acquire<'static>>();
    check::<Drained<'static>>();
    check::<Request<'static>>();
    let gate = gate(1);
    check_send(gate.run(async {}));
    check_send(gate.run_blocking(|| ()));
}

/// A request that was admitted panics when it is polled again.
#[test]
#[should_panic(expected = "a request is polled after completion")]
fn an_admitted_request_panics_when_polled_again() {
    let gate = gate(1);
    let mut future = Box::pin(gate.acquire());
    drop(poll_with(&mut future, Waker::noop()));
    drop(poll_once(&mut future));
}
