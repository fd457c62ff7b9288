//! Closing a gate, and waiting until it is drained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, TryAcquireError};
use concurrency_governor::{GateName, Holders, Keys, Limit};

use crate::hooks::{Call, hooked};
use crate::support::{
    NAME, WakeCounter, assert_idle, expect_ready, gate, poll, poll_once, poll_with, start_waiting,
    unmeasured_gate,
};

/// Closing a gate ends every waiting request and rejects every later one. Permits in use and admitted
/// requests stay valid.
#[test]
fn closing_ends_the_queue_and_revokes_nothing() {
    for gate in [gate(2), unmeasured_gate(2)] {
        let held = gate.try_acquire_many(2).unwrap();
        let (mut admitted, _) = start_waiting(gate.acquire());
        drop(held);
        let held = gate.try_acquire().unwrap();
        let (mut borrowed, borrowed_counter) = start_waiting(gate.acquire());
        let (mut owned, owned_counter) = start_waiting(gate.acquire_owned());

        assert!(!gate.is_closed());
        gate.close();
        gate.close();
        assert!(gate.is_closed());
        assert_eq!((borrowed_counter.wakes(), owned_counter.wakes()), (1, 1));
        let closed = AcquireError::Closed { gate: NAME };
        assert!(matches!(poll_once(&mut borrowed), Poll::Ready(Err(error)) if error == closed));
        assert!(matches!(poll_once(&mut owned), Poll::Ready(Err(error)) if error == closed));
        assert_eq!(expect_ready(gate.acquire()).unwrap_err(), closed);
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::Closed { gate: NAME });

        let Poll::Ready(Ok(permit)) = poll_once(&mut admitted) else { panic!("admitted before the close") };
        assert_eq!(gate.status().in_use, 2);
        drop((held, permit));
        assert!(gate.try_acquire().is_err());
        let totals = gate.status().totals;
        assert_eq!((totals.queue.closed, totals.rejected.closed), (2, 3));
        assert_idle(&gate);
    }
}

/// A gate that is closed after its queue serves the requests that wait, in order, and rejects later ones. Closing it ends the rest.
#[test]
fn a_gate_closed_after_its_queue_serves_it() {
    let tracked = Holders::overdue_after(Duration::from_secs(30));
    let tracked = Gate::builder(NAME, Limit::new(1)).track_holders(tracked).build();
    for gate in [gate(1), unmeasured_gate(1), tracked] {
        let held = gate.try_acquire().unwrap();
        let [(mut first, _), (mut second, _), (mut third, third_counter)] =
            [(); 3].map(|()| start_waiting(gate.acquire()));
        gate.close_after_queue();
        gate.close_after_queue();
        assert!(gate.is_closed());
        assert_eq!((gate.waiting(), gate.in_use(), third_counter.wakes()), (3, 1, 0));
        let closed = AcquireError::Closed { gate: NAME };
        assert_eq!(expect_ready(gate.acquire()).unwrap_err(), closed);
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::Closed { gate: NAME });
        let (mut drained, drained_counter) = start_waiting(gate.drained());

        drop(held);
        let Poll::Ready(Ok(permit)) = poll_once(&mut first) else { panic!("the first one is served") };
        assert!(poll_once(&mut second).is_pending());
        drop(permit);
        let Poll::Ready(Ok(permit)) = poll_once(&mut second) else { panic!("the second one is served") };
        gate.close();
        assert!(matches!(poll_once(&mut third), Poll::Ready(Err(error)) if error == closed));
        assert_eq!(drained_counter.wakes(), 0);
        drop(permit);
        assert!(poll_once(&mut drained).is_ready() && gate.try_acquire().is_err());
        assert_eq!((gate.status().totals.queue.admitted, gate.status().totals.queue.closed), (2, 1));
        assert_idle(&gate);
    }
}

/// In a tree, the queues of the children and keys are served, too, and later requests there are rejected.
#[test]
fn a_tree_closed_after_its_queue_serves_the_queues_below() {
    let io = Gate::builder(NAME, Limit::new(1)).with_children().keyed(Keys::up_to(4)).build();
    let child = Gate::builder(GateName::new("child"), Limit::new(1)).within(&io).unwrap().build();
    let (tenant, other) = (io.key(1), io.key(2));
    let held = io.try_acquire().unwrap();
    let mut waiting = [&child, &tenant].map(|gate| start_waiting(gate.acquire()).0);
    other.close_after_queue();
    assert!(
        other.is_closed()
            && !io.is_closed()
            && io.key(2).try_acquire().is_err_and(|error| error != closed_error())
    );
    io.close_after_queue();
    assert_eq!(io.waiting(), 2);
    for gate in [&io, &child, &tenant, &io.key(2)] {
        assert_eq!(gate.try_acquire().unwrap_err(), closed_error());
    }
    drop(held);
    for _ in 0..2 {
        let served = waiting.iter_mut().find_map(|request| match poll_once(request) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        });
        drop(served.expect("one is served after the other"));
        waiting.rotate_left(1);
        if io.waiting() == 0 && io.in_use() == 0 {
            break;
        }
    }
    assert_eq!((io.waiting(), io.in_use()), (0, 0));
}

fn closed_error() -> TryAcquireError {
    TryAcquireError::Closed { gate: NAME }
}

/// A request that is woken because its gate is closed finds the gate closed.
#[test]
fn a_woken_request_finds_its_gate_closed() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let mut waiting = Box::pin(gate.acquire());
    let (handle, found_closed) = (gate.clone(), Arc::new(AtomicBool::new(false)));
    let found_in_wake = Arc::clone(&found_closed);
    let waker = hooked(move |call| {
        if call == Call::Wake {
            found_in_wake.store(handle.is_closed(), Ordering::SeqCst);
        }
    });
    assert!(poll_with(&mut waiting, &waker).is_pending());
    gate.close();
    assert!(found_closed.load(Ordering::SeqCst));
}

/// A gate is drained when no permit is in use and no request waits. The future resolves even if the gate is
/// busy again.
#[test]
fn a_gate_is_drained_when_no_permit_is_in_use_and_no_request_waits() {
    let gate = gate(1);
    expect_ready(gate.drained());
    let held = gate.try_acquire().unwrap();
    let (admitted, _) = start_waiting(gate.acquire());
    let (mut first, first_counter) = start_waiting(gate.drained());
    let (mut second, second_counter) = start_waiting(gate.drained());
    drop(held);
    assert_eq!(first_counter.wakes(), 0, "the permit of the admitted request is in use");
    drop(admitted);
    assert_eq!((first_counter.wakes(), second_counter.wakes()), (1, 1));

    let _busy_again = gate.try_acquire().unwrap();
    assert!(
        poll_once(&mut first).is_ready() && poll_once(&mut second).is_ready(),
        "the gate was drained before"
    );
    assert!(poll_once(&mut Box::pin(gate.drained())).is_pending());
}

/// A gate is not drained while one of several permits is in use.
#[test]
fn a_gate_with_a_permit_in_use_is_not_drained() {
    let gate = gate(2);
    let [first, last] = [(); 2].map(|()| gate.try_acquire().unwrap());
    let (mut drained, counter) = start_waiting(gate.drained());
    drop(first);
    assert_eq!(counter.wakes(), 0);
    drop(last);
    assert_eq!(counter.wakes(), 1);
    assert!(poll_once(&mut drained).is_ready());
}

/// A closed gate is drained when the last permit is released. Requests that waited at the close do not delay
/// it.
#[test]
fn a_closed_gate_is_drained_when_the_last_permit_is_released() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (_waiting, _) = start_waiting(gate.acquire());
    let (mut drained, counter) = start_waiting(gate.drained());
    gate.close();
    assert_eq!(counter.wakes(), 0);
    drop(held);
    assert_eq!(counter.wakes(), 1);
    assert!(poll_once(&mut drained).is_ready());
}

/// The future of `drained` keeps only the waker of its latest poll and wakes it once. A dropped one keeps
/// none.
#[test]
fn drained_keeps_only_its_latest_waker() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut drained, first) = start_waiting(gate.drained());
    let (dropped, third) = start_waiting(gate.drained());
    let second = WakeCounter::new();
    assert!(poll(&mut drained, &second).is_pending());
    drop(dropped);
    assert_eq!([&first, &second, &third].map(Arc::strong_count), [1, 2, 1]);
    drop(held);
    assert_eq!([&first, &second, &third].map(|counter| counter.wakes()), [0, 1, 0]);
    assert_eq!(Arc::strong_count(&second), 1);
}
