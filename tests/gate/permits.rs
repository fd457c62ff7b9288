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

/// A permit can be divided and joined. Each part releases its own weight, and the parts of different gates stay apart.
#[test]
fn permits_split_and_merge() {
    let (gate, other) = (gate(10), gate(10));
    let mut permit = gate.try_acquire_many(5).unwrap();
    let mut owned = gate.try_acquire_many_owned(4).unwrap();
    let (two, three) = (permit.split(2).unwrap(), owned.split(3).unwrap());
    assert_eq!((permit.weight(), two.weight(), owned.weight(), three.weight()), (3, 2, 1, 3));
    assert!(permit.split(4).is_none() && owned.split(u32::MAX).is_none());
    drop((two, three));
    assert_eq!(gate.in_use(), 4);
    permit.merge(gate.try_acquire_many(6).unwrap()).unwrap();
    let rest = permit.split(9).unwrap();
    assert_eq!((permit.weight(), gate.in_use()), (0, 10));
    drop(permit);
    let foreign = other.try_acquire_many_owned(2).unwrap();
    let foreign = owned.merge(foreign).unwrap_err();
    assert_eq!((owned.weight(), foreign.weight(), other.in_use()), (1, 2, 2));
    drop(rest);
    owned.merge(gate.try_acquire_many_owned(2).unwrap()).unwrap();
    assert_eq!((owned.weight(), gate.in_use()), (3, 3));
    drop((owned, foreign));
    assert_idle(&gate);
    assert_idle(&other);
}

/// A forgotten permit stays in use.
#[test]
fn forgotten_permits_stay_in_use() {
    let gate = gate(5);
    gate.try_acquire_many(2).unwrap().forget();
    gate.try_acquire_owned().unwrap().forget();
    assert_eq!((gate.in_use(), gate.available()), (3, 2));
    let mut part = gate.try_acquire_many(2).unwrap();
    part.split(1).unwrap().forget();
    drop(part);
    assert_eq!((gate.in_use(), gate.resize(Limit::new(3)).debt), (4, 1));
}

/// `in_use`, `available` and `waiting` agree with the status.
#[test]
fn single_numbers_agree_with_the_status() {
    let gate = gate(3);
    let held = gate.try_acquire_many(2).unwrap();
    let waiting = start_waiting(gate.acquire_many(2));
    let drained = start_waiting(gate.drained());
    for limit in [3, 1, 7] {
        gate.resize(Limit::new(limit));
        let status = gate.status();
        assert_eq!(
            (gate.in_use(), gate.available(), gate.waiting()),
            (status.in_use, status.available, status.waiting)
        );
    }
    drop((held, waiting, drained));
    assert_eq!((gate.in_use(), gate.available(), gate.waiting()), (0, 7, 0));
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
