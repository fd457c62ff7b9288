//! Wakers that come back to the gate that calls them, or panic.

use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::Gate;
use shuttle::thread::{self, Thread};

use super::hooks::{Call, hooked};
use super::scene::{Scene, check};

/// A waker that comes back to the gate finds it unlocked, and everybody is called all the same.
#[test]
fn wakers_that_come_back() {
    check(|| {
        let scene = Scene::new(2);
        let meddling = [1, 2].map(|weight| {
            scene.spawn(move |scene| {
                for _ in 0..2 {
                    drop(meddle_until_ready(&scene.gate, scene.acquire(weight)).unwrap());
                }
            })
        });
        let draining = scene.spawn(|scene| meddle_until_ready(&scene.gate, scene.gate.drained()));
        for _ in 0..2 {
            scene.fly(1).unwrap();
        }
        for thread in meddling.into_iter().chain([draining]) {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// The same for one that comes back as it is cloned.
#[test]
fn wakers_that_come_back_as_they_are_cloned() {
    check(|| {
        let scene = Scene::new(1);
        let meddling = [(), ()].map(|()| {
            scene.spawn(|scene| {
                let waker = || {
                    let (gate, thread) = (scene.gate.clone(), thread::current());
                    hooked(move |call| match call {
                        Call::Clone => meddle(&gate, 1),
                        Call::Wake => thread.unpark(),
                        Call::Drop => {}
                    })
                };
                drop(until_ready(waker, scene.acquire(1)).unwrap());
                until_ready(waker, scene.gate.drained());
            })
        });
        for _ in 0..2 {
            scene.fly(1).unwrap();
        }
        for thread in meddling {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// A waker that panics as it is woken keeps nobody from being called, whoever calls it.
#[test]
fn wakers_that_panic() {
    check(|| {
        let scene = Scene::new(3);
        let held = scene.try_acquire(3).unwrap();
        let waiting = [1, 1, 2].map(|weight| {
            scene.spawn(move |scene| {
                let waker = || {
                    let thread = thread::current();
                    hooked(move |call| {
                        if call == Call::Wake {
                            thread.unpark();
                            panic::resume_unwind(Box::new("woken")); // without the noise of a message
                        }
                    })
                };
                let held = until_ready(waker, scene.acquire(weight)).unwrap();
                outlive(|| drop(held));
            })
        });
        outlive(|| drop(held));
        for thread in waiting {
            thread.join().unwrap();
        }
        scene.finish();
    });
}

/// Does it, and goes on though a waker may have panicked.
fn outlive(step: impl FnOnce()) {
    let _is_panic = panic::catch_unwind(AssertUnwindSafe(step));
}

fn meddle_until_ready<F: Future>(gate: &Gate, future: F) -> F::Output {
    until_ready(|| Waker::from(Arc::new(Meddler { gate: gate.clone(), thread: thread::current() })), future)
}

/// Polls by another waker each time, and parks in between.
fn until_ready<F: Future>(waker: impl Fn() -> Waker, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let waker = waker();
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        drop(waker);
        thread::park(); // whose token keeps a call that came first
    }
}

/// What needs the gate's lock. More than the limit is never to be had.
fn meddle(gate: &Gate, limit: u32) {
    assert!(gate.try_acquire_many(limit + 1).is_err());
    gate.resize(gate.limit());
    let status = gate.status();
    assert_eq!(status.in_use + status.available, limit + status.debt, "{status:?}");
}

/// Owns a handle, too, so that the last drop of it happens wherever the gate drops a waker.
struct Meddler {
    gate: Gate,
    thread: Thread,
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        meddle(&self.gate, 2);
        self.thread.unpark();
    }
}
