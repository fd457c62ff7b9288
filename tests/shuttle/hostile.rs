//! Wakers that come back to the gate they were woken by.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use concurrency_governor::gate::Gate;
use shuttle::thread::{self, Thread};

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

fn meddle_until_ready<F: Future>(gate: &Gate, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        let waker = Waker::from(Arc::new(Meddler { gate: gate.clone(), thread: thread::current() }));
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        drop(waker);
        thread::park(); // whose token keeps a call that came first
    }
}

/// Owns a handle, too, so that the last drop of it happens wherever the gate drops a waker.
struct Meddler {
    gate: Gate,
    thread: Thread,
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        assert!(self.gate.try_acquire_many(3).is_err());
        self.gate.resize(self.gate.limit());
        let status = self.gate.status();
        assert_eq!(status.in_use + status.available, 2 + status.debt, "{status:?}");
        self.thread.unpark();
    }
}
