//! Wakers that use the gate that calls them: in each of their calls, on each occasion, with each operation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, Gate};
use tokio::runtime::Runtime;
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{
    HOUR, MS, NAME, WakeCounter, assert_idle, current_thread_runtime, gate, paused_runtime, poll_once,
    poll_with, run_with_timeout, start_waiting, unmeasured_gate,
};

/// An operation that a waker performs on its gate.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Try,
    Acquire,
    AcquireWithDeadline,
    Resize,
    Status,
    Close,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Try, Self::Acquire, Self::AcquireWithDeadline, Self::Resize, Self::Status, Self::Close];

    fn perform(self, gate: &Gate) {
        match self {
            Self::Try => {
                drop(gate.try_acquire());
                drop(gate.try_acquire_many_owned(2));
            }
            Self::Acquire => {
                let mut future = Box::pin(gate.acquire());
                drop(poll_once(&mut future));
            }
            Self::AcquireWithDeadline => {
                let mut future = Box::pin(gate.request().max_wait(MS).acquire());
                drop(poll_once(&mut future));
            }
            Self::Resize => {
                let limit = gate.limit();
                gate.resize(Limit::new(limit.get() + 1));
                gate.resize(limit);
            }
            Self::Status => {
                let status = gate.status();
                assert_eq!(status.in_use + status.available, status.limit.get() + status.debt);
                assert!(format!("{gate:?}").contains("limit"));
            }
            Self::Close => gate.close(),
        }
    }
}

/// A scenario in which a gate with a limit of 2 calls the waker.
type Scenario = fn(&Gate, Waker, &Runtime);

/// Runs each scenario with a waker that performs each operation in one kind of its calls. Fails when that
/// hangs.
fn assert_waker_may_use_gate_in(call: Call, scenarios: &[(&'static str, Scenario)]) {
    for &(name, scenario) in scenarios {
        for operation in Operation::ALL {
            run_with_timeout(&format!("{operation:?} in {call:?}, {name}"), move || {
                let runtime = paused_runtime();
                let inside = runtime.enter();
                let gate = gate(2);
                let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
                let (handle, counting) = (gate.clone(), Arc::clone(&counts));
                let waker = hooked(move |made| {
                    counting[made as usize].fetch_add(1, Ordering::SeqCst);
                    if made == call {
                        operation.perform(&handle);
                    }
                });
                scenario(&gate, waker, &runtime);
                let [cloned, woken, dropped] = [Call::Clone, Call::Wake, Call::Drop]
                    .map(|call| counts[call as usize].load(Ordering::SeqCst));
                assert!(cloned > 0, "the gate never cloned the waker");
                assert!(call != Call::Wake || woken > 0, "the gate never woke the waker");
                assert_eq!(dropped, cloned + 1, "the gate kept no waker");
                drop(inside);
                assert_idle(&gate);
            });
        }
    }
}

/// A waker may use the gate in any way while the gate clones it.
#[test]
fn a_waker_may_use_the_gate_when_it_is_cloned() {
    assert_waker_may_use_gate_in(
        Call::Clone,
        &[
            ("when a request joins the queue", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                drop(poll_with(&mut Box::pin(gate.acquire()), &waker));
            }),
            ("when a request with a deadline joins the queue", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                drop(poll_with(&mut Box::pin(gate.request().max_wait(MS).acquire()), &waker));
            }),
            ("when it replaces another waker", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let (mut waiting, _) = start_waiting(gate.acquire());
                drop(poll_with(&mut waiting, &waker));
            }),
            ("when it waits for the gate to be drained", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                assert!(poll_with(&mut Box::pin(gate.drained()), &waker).is_pending());
            }),
        ],
    );
}

/// A waker may use the gate in any way while the gate wakes it.
#[test]
fn a_waker_may_use_the_gate_when_it_is_woken() {
    assert_waker_may_use_gate_in(
        Call::Wake,
        &[
            ("by a release", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                drop(held);
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by a raised limit", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                gate.resize(Limit::new(3));
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by a limit lowered below its weight", |gate, waker, _| {
                let _held = gate.try_acquire().unwrap();
                let mut waiting = Box::pin(gate.acquire_many(2));
                assert!(poll_with(&mut waiting, &waker).is_pending());
                gate.resize(Limit::MIN);
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by the close", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                gate.close();
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by a cancelled request ahead of it", |gate, waker, _| {
                let _held = gate.try_acquire().unwrap();
                let (heavy, _) = start_waiting(gate.acquire_many(2));
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                drop(heavy);
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by an admitted request that is dropped unpolled", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let (admitted, _) = start_waiting(gate.acquire_many(2));
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                drop(held);
                drop(admitted);
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by an expired request ahead of it", |gate, waker, runtime| {
                let _held = gate.try_acquire().unwrap();
                let (mut heavy, _) = start_waiting(gate.request().weight(2).max_wait(MS).acquire());
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                runtime.block_on(advance(MS));
                drop(poll_once(&mut heavy));
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("by its own deadline", |gate, waker, runtime| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
                assert!(poll_with(&mut waiting, &waker).is_pending());
                runtime.block_on(advance(MS));
                assert!(poll_once(&mut waiting).is_ready());
            }),
            ("when the gate is drained", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let mut drained = Box::pin(gate.drained());
                assert!(poll_with(&mut drained, &waker).is_pending());
                drop(held);
                assert!(poll_once(&mut drained).is_ready());
            }),
        ],
    );
}

/// A waker may use the gate in any way while the gate drops it. In each scenario the gate holds the last
/// clone.
#[test]
fn a_waker_may_use_the_gate_when_it_is_dropped() {
    assert_waker_may_use_gate_in(
        Call::Drop,
        &[
            ("when it is replaced", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                drop((poll_with(&mut waiting, &waker), waker));
                drop(poll_once(&mut waiting));
            }),
            ("when its request is cancelled", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                drop((poll_with(&mut waiting, &waker), waker));
                drop(waiting);
            }),
            ("when it is woken", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                drop((poll_with(&mut waiting, &waker), waker));
                drop(held);
            }),
            ("when its request expires", |gate, waker, runtime| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
                drop((poll_with(&mut waiting, &waker), waker));
                runtime.block_on(advance(MS));
                drop(poll_once(&mut waiting));
            }),
            ("when its request is cancelled before its deadline", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
                drop((poll_with(&mut waiting, &waker), waker));
                drop(waiting);
            }),
            ("when it is replaced in the future of `drained`", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut drained = Box::pin(gate.drained());
                drop((poll_with(&mut drained, &waker), waker));
                let _ = poll_once(&mut drained);
            }),
            ("when the future of `drained` is dropped", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut drained = Box::pin(gate.drained());
                drop((poll_with(&mut drained, &waker), waker));
                drop(drained);
            }),
        ],
    );
}

/// A permit that is released while a new request's waker is cloned admits that request, which counts as
/// admitted at once and not as enqueued.
#[test]
fn a_permit_released_while_a_waker_is_cloned_admits_the_request_at_once() {
    let runtime = paused_runtime();
    let _inside = runtime.enter();
    for max_wait in [Duration::MAX, MS] {
        for gate in [gate(1), unmeasured_gate(1)] {
            let held = Mutex::new(Some(gate.try_acquire_owned().unwrap()));
            let waker = hooked(move |call| {
                if call == Call::Clone {
                    drop(held.lock().unwrap().take());
                }
            });
            let outcome = poll_with(&mut Box::pin(gate.request().max_wait(max_wait).acquire()), &waker);
            assert!(matches!(outcome, Poll::Ready(Ok(_))));
            drop(outcome);
            let status = gate.status();
            assert_eq!((status.totals.admitted, status.totals.queue.enqueued, status.in_use), (2, 0, 0));
        }
    }
}

/// A release or a close that happens while a request's waker is cloned is not missed by that request.
#[test]
fn a_change_while_a_waker_is_cloned_is_not_missed() {
    // The permit is released during the clone.
    let gate = gate(1);
    for max_wait in [Duration::MAX, HOUR] {
        let runtime = current_thread_runtime();
        let _inside = runtime.enter();
        let held = Mutex::new(Some(gate.try_acquire_owned().unwrap()));
        let counter = WakeCounter::new();
        let counting_waker = Waker::from(Arc::clone(&counter));
        let waker = hooked(move |call| match call {
            Call::Clone => drop(held.lock().unwrap().take()),
            Call::Wake => counting_waker.wake_by_ref(),
            Call::Drop => {}
        });
        let mut waiting = Box::pin(gate.request().max_wait(max_wait).acquire());
        if poll_with(&mut waiting, &waker).is_pending() {
            assert_eq!(counter.wakes(), 1, "the request fits and was not woken");
            assert!(poll_once(&mut waiting).is_ready());
        }
        drop(waiting);
        assert_idle(&gate);
    }

    // The gate is closed during the clone.
    let held = gate.try_acquire().unwrap();
    let handle = gate.clone();
    let mut waiting = Box::pin(gate.acquire());
    let closing_waker = hooked(move |call| {
        if call == Call::Clone {
            handle.close();
        }
    });
    let outcome = match poll_with(&mut waiting, &closing_waker) {
        Poll::Pending => poll_once(&mut waiting),
        ready @ Poll::Ready(_) => ready,
    };
    assert!(matches!(outcome, Poll::Ready(Err(error)) if error == AcquireError::Closed { gate: NAME }));
    drop(held);
    assert_idle(&gate);
}
