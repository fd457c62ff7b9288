//! Wakers that use the gate that calls them, or that panic.

use std::future::Future;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::Gate;
use shuttle::thread::{self, Thread};

use super::harness::{TestGate, check};
use super::hooks::{Call, hooked};

/// A waker may use the gate when it is woken or dropped: the gate holds no lock then, and wakes the other
/// waiters all the same.
#[test]
fn wakers_may_use_the_gate_when_woken() {
    check(|| {
        let gate = TestGate::new(2);
        let reentrant = [1, 2].map(|weight| {
            gate.spawn(move |gate| {
                for _ in 0..2 {
                    drop(reentrant_block_on(&gate.inner, gate.acquire(weight)).unwrap());
                }
            })
        });
        let draining = gate.spawn(|gate| reentrant_block_on(&gate.inner, gate.inner.drained()));
        for _ in 0..2 {
            gate.acquire_and_release(1).unwrap();
        }
        for thread in reentrant.into_iter().chain([draining]) {
            thread.join().unwrap();
        }
        gate.finish();
    });
}

/// A waker may use the gate when it is cloned.
#[test]
fn wakers_may_use_the_gate_when_cloned() {
    check(|| use_gate_in_wakers(Call::Clone));
}

/// A waker may use the gate when it is dropped.
#[test]
fn wakers_may_use_the_gate_when_dropped() {
    check(|| use_gate_in_wakers(Call::Drop));
}

/// Makes requests with wakers that use their gate in this call.
fn use_gate_in_wakers(called: Call) {
    let gate = TestGate::new(1);
    let reentrant = [(), ()].map(|()| {
        gate.spawn(move |gate| {
            let new_waker = || {
                let (inner, thread) = (gate.inner.clone(), thread::current());
                hooked(move |call| {
                    if call == called {
                        use_gate(&inner, 1);
                    }
                    if call == Call::Wake {
                        thread.unpark();
                    }
                })
            };
            drop(block_on(new_waker, gate.acquire(1)).unwrap());
            block_on(new_waker, gate.inner.drained());
        })
    });
    for _ in 0..2 {
        gate.acquire_and_release(1).unwrap();
    }
    for thread in reentrant {
        thread.join().unwrap();
    }
    gate.finish();
}

/// A waker that panics when it is dropped loses no permit, whether its request waits or is admitted under the lock.
#[test]
fn a_waker_that_panics_in_drop_loses_no_permit() {
    check(|| {
        let gate = TestGate::new(1);
        let panicking = [(), ()].map(|()| {
            gate.spawn(|gate| {
                let hostile = hooked(|call| {
                    if call == Call::Drop && !std::thread::panicking() {
                        panic::resume_unwind(Box::new("dropped")); // unlike `panic!`, prints nothing
                    }
                });
                catch_panic(|| {
                    let mut request = Box::pin(gate.inner.acquire());
                    drop(request.as_mut().poll(&mut Context::from_waker(&hostile)));
                });
                mem::forget(hostile);
            })
        });
        catch_panic(|| gate.acquire_and_release(1).unwrap()); // it may wake, and so drop, such a waker
        for thread in panicking {
            thread.join().unwrap();
        }
        let status = gate.inner.status();
        assert_eq!((status.in_use, status.waiting), (0, 0), "{status:?}");
    });
}

/// A waker that panics when it is woken does not prevent the wake-up of any other waiter.
#[test]
fn a_panicking_waker_prevents_no_other_wake_up() {
    check(|| {
        let gate = TestGate::new(3);
        let permit = gate.try_acquire(3).unwrap();
        let waiting = [1, 1, 2].map(|weight| {
            gate.spawn(move |gate| {
                let new_waker = || {
                    let thread = thread::current();
                    hooked(move |call| {
                        if call == Call::Wake {
                            thread.unpark();
                            panic::resume_unwind(Box::new("woken")); // unlike `panic!`, prints nothing
                        }
                    })
                };
                let permit = block_on(new_waker, gate.acquire(weight)).unwrap();
                catch_panic(|| drop(permit));
            })
        });
        catch_panic(|| drop(permit));
        for thread in waiting {
            thread.join().unwrap();
        }
        gate.finish();
    });
}

/// Runs `f` and ignores the panic of a waker.
fn catch_panic(f: impl FnOnce()) {
    let _panic = panic::catch_unwind(AssertUnwindSafe(f));
}

fn reentrant_block_on<F: Future>(gate: &Gate, future: F) -> F::Output {
    let new_waker =
        || Waker::from(Arc::new(ReentrantWaker { gate: gate.clone(), thread: thread::current() }));
    block_on(new_waker, future)
}

/// Polls the future, each time with a new waker, and parks the thread in between.
fn block_on<F: Future>(new_waker: impl Fn() -> Waker, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let waker = new_waker();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        drop(waker);
        thread::park(); // returns at once if the waker was woken before
    }
}

/// Calls functions of the gate that need its lock.
fn use_gate(gate: &Gate, limit: u32) {
    assert!(gate.try_acquire_many(limit + 1).is_err());
    gate.resize(gate.limit());
    let status = gate.status();
    assert_eq!(status.in_use + status.available, limit + status.debt, "{status:?}");
}

/// A waker that uses its gate when it is woken. It also owns a handle, which is dropped wherever the gate
/// drops the waker.
struct ReentrantWaker {
    gate: Gate,
    thread: Thread,
}

impl Wake for ReentrantWaker {
    fn wake(self: Arc<Self>) {
        use_gate(&self.gate, 2);
        self.thread.unpark();
    }
}
