//! Futures that are leaked while they wait. Safe code can leak a pinned future, so its node stays in the
//! queue of its gate.

use std::sync::Arc;
use std::time::Duration;
use std::{mem, thread};

use concurrency_governor::Limit;
use concurrency_governor::gate::Gate;
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    HOUR, WakeCounter, assert_idle, gate, paused_runtime, poll_once, poll_with, start_waiting,
    unmeasured_gate,
};

/// A leaked request keeps its position in the queue and is admitted in its turn.
#[test]
fn a_leaked_future_keeps_its_position() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (before, _) = start_waiting(gate.acquire());
        let (leaked, counter) = start_waiting(gate.acquire());
        let (after, _) = start_waiting(gate.acquire());
        mem::forget(leaked);
        drop((before, after));
        let (mut last, last_counter) = start_waiting(gate.acquire());
        drop(held);
        assert_eq!((counter.wakes(), Arc::strong_count(&counter), last_counter.wakes()), (1, 1, 0));
        gate.resize(Limit::new(2));
        assert!(poll_once(&mut last).is_ready());
        assert_eq!(
            (gate.status().in_use, gate.status().waiting),
            (1, 0),
            "the permit of the leaked request is never released"
        );
    }
}

/// A leaked request leaves the queue at its deadline.
#[test]
fn a_leaked_future_leaves_at_its_deadline() {
    let runtime = paused_runtime();
    let _inside = runtime.enter();
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (leaked, counter) = start_waiting(gate.request().max_wait(HOUR).acquire());
        mem::forget(leaked);
        runtime.block_on(advance(HOUR));
        assert_eq!((counter.wakes(), Arc::strong_count(&counter)), (1, 1));
        drop(held);
        assert_idle(&gate);
    }
}

/// A future that was leaked at a dropped gate does not affect a gate that is created in the same memory,
/// whether its deadline passes before that or after.
#[test]
fn a_leaked_future_does_not_affect_a_new_gate() {
    for expires_first in [false, true] {
        let runtime = paused_runtime();
        let _inside = runtime.enter();
        let dropped = gate(1);
        mem::forget(dropped.try_acquire().unwrap()); // never released, so that no request is admitted
        let counters = [Duration::MAX, HOUR, 2 * HOUR].map(|max_wait| {
            let (leaked, counter) = start_waiting(dropped.request().max_wait(max_wait).acquire());
            mem::forget(leaked);
            counter
        });
        drop(dropped);
        if expires_first {
            runtime.block_on(advance(HOUR));
        }

        let gates = create_gates_until_released(&counters[0]);
        let admitted: Vec<_> = gates.iter().map(|gate| gate.try_acquire().unwrap()).collect();
        let waiting: Vec<_> = gates.iter().map(|gate| start_waiting(gate.acquire())).collect();
        runtime.block_on(advance(3 * HOUR));
        assert!(waiting.iter().all(|(_, counter)| counter.wakes() == 0), "these requests have no deadline");
        assert!(counters.iter().all(|counter| Arc::strong_count(counter) == 1));
        assert_eq!([0, 2].map(|nth: usize| counters[nth].wakes()), [0, 0]);
        assert!(expires_first || counters[1].wakes() == 0);
        drop((waiting, admitted));
        gates.iter().for_each(assert_idle);
    }
}

/// A gate can be created in the memory of a dropped gate, although a waker that was leaked there panics when
/// it is dropped.
#[test]
fn a_gate_can_be_created_whatever_was_leaked_before() {
    let dropped = gate(1);
    mem::forget(dropped.try_acquire().unwrap()); // never released, so that no request is admitted
    let hostile = hooked(|call| assert!(call != Call::Drop, "the waker panics"));
    let mut leaked = Box::pin(dropped.acquire());
    assert!(poll_with(&mut leaked, &hostile).is_pending());
    let (behind, counter) = start_waiting(dropped.acquire());
    mem::forget((leaked, hostile, behind));
    drop(dropped);
    let gates = create_gates_until_released(&counter);
    gates.iter().for_each(assert_idle);
    assert_eq!(counter.wakes(), 0);
}

/// Creates gates until a dropped gate has released its leaked waker, which happens at the latest when its
/// memory is reused. Creates at least 8 gates, so that one of them probably has that memory.
fn create_gates_until_released(counter: &Arc<WakeCounter>) -> Vec<Gate> {
    let mut gates = Vec::new();
    while Arc::strong_count(counter) > 1 || gates.len() < 8 {
        assert!(gates.len() < 100_000, "the leaked waker is never released");
        gates.push(gate(1));
        thread::yield_now(); // a parallel test may have taken the memory and be about to release the waker
    }
    gates
}
