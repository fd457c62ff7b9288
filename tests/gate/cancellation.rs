//! Futures that are dropped while their request waits, or after it was admitted.

use std::sync::Arc;
use std::task::Poll;

use concurrency_governor::Limit;

use crate::support::{assert_idle, gate, poll_once, start_waiting, unmeasured_gate};

/// When a heavy request at the head of the queue is cancelled, the next request is admitted if it fits.
#[test]
fn a_cancelled_head_admits_the_next_request() {
    for gate in [gate(3), unmeasured_gate(3)] {
        let held = gate.try_acquire_many(2).unwrap();
        let (heavy, _) = start_waiting(gate.acquire_many(3));
        let (mut light, counter) = start_waiting(gate.acquire());
        drop(heavy);
        assert_eq!(counter.wakes(), 1);
        assert!(poll_once(&mut light).is_ready());
        drop((held, light));
        assert_idle(&gate);
    }
}

/// When a heavy request at the head of the queue is cancelled, every request behind it that fits is admitted
/// in one step, in order, and no other request.
#[test]
fn a_cancelled_heavy_head_admits_every_request_that_fits() {
    for gate in [gate(8), unmeasured_gate(8)] {
        let held = gate.try_acquire_many(4).unwrap();
        let (heavy, _) = start_waiting(gate.acquire_many(8));
        let waiting = [1, 2, 1, 1].map(|weight| start_waiting(gate.acquire_many(weight)));
        drop(heavy);
        assert_eq!(waiting.each_ref().map(|(_, counter)| counter.wakes()), [1, 1, 1, 0]);
        let status = gate.status();
        assert_eq!((status.in_use, status.waiting, status.totals.queue.cancelled), (8, 1, 1));
        drop(held);
        assert_eq!(gate.status().waiting, 0);
        drop(waiting);
        assert_idle(&gate);
    }
}

/// A request that is cancelled in the middle of the queue leaves it at once and wakes no other request.
#[test]
fn a_request_cancelled_mid_queue_wakes_no_other() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (_first, first_counter) = start_waiting(gate.acquire());
        let (middle, _) = start_waiting(gate.acquire());
        let (_last, last_counter) = start_waiting(gate.acquire());
        drop(middle);
        assert_eq!((gate.status().waiting, first_counter.wakes(), last_counter.wakes()), (2, 0, 0));
        drop(held);
        assert_eq!((first_counter.wakes(), last_counter.wakes()), (1, 0));
    }
}

/// A cancelled request leaves no waker in the gate, and its waker is not woken.
#[test]
fn a_cancelled_request_leaves_no_waker() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let _held = gate.try_acquire().unwrap();
        let (waiting, counter) = start_waiting(gate.acquire());
        assert_eq!(Arc::strong_count(&counter), 2);
        drop(waiting);
        assert_eq!((Arc::strong_count(&counter), counter.wakes()), (1, 0));
    }
}

/// When the future of an admitted request is dropped before it is polled, its permits admit the next request.
#[test]
fn permits_of_a_dropped_admitted_request_admit_the_next() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (admitted, _) = start_waiting(gate.acquire());
        let (mut next, counter) = start_waiting(gate.acquire_owned());
        drop(held);
        assert_eq!(counter.wakes(), 0);
        drop(admitted);
        assert_eq!(counter.wakes(), 1);
        assert!(poll_once(&mut next).is_ready());
        assert_idle(&gate);
    }
}

/// The permits of an admitted request stay in use until its future is polled or dropped, whatever else
/// happens to the gate.
#[test]
fn an_admitted_future_holds_its_permits_until_polled_or_dropped() {
    for gate in [gate(2), unmeasured_gate(2)] {
        let held = gate.try_acquire_many(2).unwrap();
        let (mut polled, _) = start_waiting(gate.acquire());
        let (dropped, _) = start_waiting(gate.acquire_owned());
        drop(held);
        let in_use_and_waiting = || (gate.status().in_use, gate.status().waiting);
        assert_eq!(in_use_and_waiting(), (2, 0));
        let (next, next_counter) = start_waiting(gate.acquire());
        assert!(gate.try_acquire().is_err());
        assert_eq!((gate.resize(Limit::MIN).debt, in_use_and_waiting()), (1, (2, 1)));
        gate.close();
        assert_eq!((next_counter.wakes(), in_use_and_waiting()), (1, (2, 0)));

        drop(dropped);
        assert_eq!(in_use_and_waiting(), (1, 0));
        let Poll::Ready(Ok(permit)) = poll_once(&mut polled) else { panic!("it was admitted") };
        assert_eq!(in_use_and_waiting(), (1, 0));
        drop((permit, next));
        assert_eq!(gate.status().totals.queue.abandoned, 1);
        assert_idle(&gate);
    }
}
