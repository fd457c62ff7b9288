//! The order in which requests are admitted.

use std::task::Poll;

use concurrency_governor::gate::TryAcquireError;

use crate::support::{NAME, assert_idle, expect_ready, gate, poll_once, start_waiting, unmeasured_gate};

/// Requests are admitted in the order of their arrival, and a light request does not overtake a heavy one.
#[test]
fn requests_are_admitted_in_order_of_arrival_whatever_their_weight() {
    for gate in [gate(4), unmeasured_gate(4)] {
        let held = gate.try_acquire_many(3).unwrap();
        let (mut heavy, heavy_counter) = start_waiting(gate.acquire_many(2));
        let (mut light, light_counter) = start_waiting(gate.acquire());
        let (mut last, last_counter) = start_waiting(gate.acquire_many(3));
        assert_eq!(
            (gate.status().available, gate.status().waiting),
            (1, 3),
            "the light request would fit, and waits behind the heavy one"
        );

        drop(held);
        assert_eq!((heavy_counter.wakes(), light_counter.wakes(), last_counter.wakes()), (1, 1, 0));
        let Poll::Ready(Ok(heavy)) = poll_once(&mut heavy) else { panic!("it is first in the queue") };
        let Poll::Ready(Ok(light)) = poll_once(&mut light) else { panic!("it is second in the queue") };
        drop(light);
        assert_eq!(last_counter.wakes(), 0, "2 of its 3 permits are available");
        drop(heavy);
        assert_eq!(last_counter.wakes(), 1);
        assert!(poll_once(&mut last).is_ready());
        drop(last);
        assert_idle(&gate);
    }
}

/// Permits that are released together admit each request that fits, in order, and no other request.
#[test]
fn a_release_admits_each_request_that_fits() {
    for gate in [gate(3), unmeasured_gate(3)] {
        for (weights, admitted) in [([1, 1, 1], 2), ([1, 2, 1], 1), ([2, 1, 1], 1), ([3, 1, 1], 0)] {
            let (one, two) = (gate.try_acquire().unwrap(), gate.try_acquire_many(2).unwrap());
            let waiting = weights.map(|weight| start_waiting(gate.acquire_many(weight)));
            drop(two);
            let are_woken = waiting.each_ref().map(|(_, counter)| counter.wakes() > 0);
            assert_eq!(are_woken, [0, 1, 2].map(|nth| nth < admitted), "{weights:?}");
            let status = gate.status();
            let admitted_weight: u32 = weights.iter().take(admitted).sum();
            assert_eq!((status.in_use, status.waiting), (1 + admitted_weight, 3 - admitted), "{weights:?}");
            drop((one, waiting));
            assert_idle(&gate);
        }
    }
}

/// While requests wait, no later request is admitted before them: not even a try, and not even if it would
/// fit.
#[test]
fn no_request_barges() {
    for gate in [gate(2), unmeasured_gate(2)] {
        let held = gate.try_acquire().unwrap();
        let (mut first, counter) = start_waiting(gate.acquire_many(2));
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
        assert_eq!(gate.try_acquire_owned().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
        let (second, _) = start_waiting(gate.acquire());

        drop(held);
        assert_eq!(counter.wakes(), 1);
        assert!(
            gate.try_acquire().is_err(),
            "the permits of an admitted request are in use before it is polled"
        );
        assert!(poll_once(&mut first).is_ready());
        drop((first, second));
        assert!(gate.try_acquire_many(2).is_ok(), "a try is admitted when the queue is empty");
        assert_idle(&gate);
    }
}

/// No request barges while a caller waits for the gate to be drained, which sends each request down the slow
/// path.
#[test]
fn no_request_barges_while_the_gate_drains() {
    for gate in [gate(2), unmeasured_gate(2)] {
        let held = gate.try_acquire().unwrap();
        let (mut first, _) = start_waiting(gate.acquire_many(2));
        let (drained, _) = start_waiting(gate.drained());
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
        let (second, _) = start_waiting(gate.acquire());
        drop((held, drained));
        assert!(poll_once(&mut first).is_ready());
        drop((first, second));
        assert_idle(&gate);
    }
}

/// A request joins the queue at the first poll of its future, not when the future is created.
#[test]
fn a_request_arrives_at_its_first_poll() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let created_first = gate.acquire();
        drop(gate.acquire_owned());
        let held = expect_ready(gate.acquire()).unwrap();
        let (_polled_first, first_counter) = start_waiting(gate.acquire());
        let (_polled_second, second_counter) = start_waiting(created_first);
        drop(held);
        assert_eq!((first_counter.wakes(), second_counter.wakes()), (1, 0));
        assert_eq!(gate.status().totals.queue.enqueued, 2);
    }
}
