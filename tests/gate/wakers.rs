//! How a gate clones, wakes and drops the wakers of its waiting requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use concurrency_governor::Limit;

use crate::hooks::{Call, hooked};
use crate::support::{HOUR, WakeCounter, gate, poll, poll_once, poll_with, start_waiting, unmeasured_gate};

/// Creates a waker that counts its calls.
fn counting_waker() -> (Waker, Arc<CallCounts>) {
    let counts = Arc::<CallCounts>::default();
    let counting = Arc::clone(&counts);
    let waker = hooked(move |call| {
        let count = match call {
            Call::Clone => &counting.clones,
            Call::Wake => &counting.wakes,
            Call::Drop => &counting.drops,
        };
        count.fetch_add(1, Ordering::SeqCst);
    });
    (waker, counts)
}

#[derive(Default)]
struct CallCounts {
    clones: AtomicUsize,
    wakes: AtomicUsize,
    drops: AtomicUsize,
}

impl CallCounts {
    fn clones(&self) -> usize {
        self.clones.load(Ordering::SeqCst)
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    fn drops(&self) -> usize {
        self.drops.load(Ordering::SeqCst)
    }

    /// Returns the number of clones that exist, as long as the original does.
    fn live_clones(&self) -> usize {
        self.clones() - self.drops()
    }
}

/// A request that is admitted at once does not clone its waker, and a rejected one keeps none. A waiting one
/// keeps one clone until it is admitted.
#[test]
fn only_a_waiting_request_keeps_its_waker() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let (waker, counts) = counting_waker();
        let admitted = poll_with(&mut Box::pin(gate.acquire()), &waker);
        let Poll::Ready(Ok(held)) = admitted else { panic!("the gate is idle") };
        assert_eq!(counts.clones(), 0);
        assert!(poll_with(&mut Box::pin(gate.acquire_many(2)), &waker).is_ready());
        assert_eq!(counts.live_clones(), 0);
        let before = counts.clones();
        let mut waiting = Box::pin(gate.acquire());
        assert!(poll_with(&mut waiting, &waker).is_pending());
        assert_eq!((counts.clones(), counts.live_clones()), (before + 1, 1));
        drop(held);
        assert_eq!((counts.wakes(), counts.live_clones()), (1, 0));
        assert!(poll_with(&mut waiting, &waker).is_ready());
        assert_eq!((counts.clones(), counts.wakes()), (before + 1, 1));
    }
}

/// A waiting request that is polled again with the same waker does not clone it.
#[test]
fn a_poll_with_the_same_waker_clones_nothing() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let _held = gate.try_acquire().unwrap();
        assert_polls_clone_nothing(gate.acquire());
        assert_polls_clone_nothing(gate.acquire_owned());
        assert_polls_clone_nothing(gate.request().max_wait(Duration::MAX).acquire());
    }
}

/// A waiting request with a deadline that is polled again with the same waker does not clone it.
#[tokio::test(start_paused = true)]
async fn a_poll_with_the_same_waker_clones_nothing_before_a_deadline() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let _held = gate.try_acquire().unwrap();
        assert_polls_clone_nothing(gate.request().max_wait(HOUR).acquire());
    }
}

fn assert_polls_clone_nothing(waiting: impl Future) {
    let (waker, counts) = counting_waker();
    let mut waiting = Box::pin(waiting);
    assert!(poll_with(&mut waiting, &waker).is_pending());
    let before = counts.clones();
    for _ in 0..10 {
        assert!(poll_with(&mut waiting, &waker).is_pending());
    }
    assert_eq!(counts.clones(), before);
    drop(waiting);
    assert_eq!((counts.live_clones(), counts.wakes()), (0, 0));
}

/// The waker of the latest poll is woken. The earlier ones are neither woken nor kept.
#[test]
fn only_the_latest_waker_is_woken() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (mut waiting, first) = start_waiting(gate.acquire());
        let second = WakeCounter::new();
        assert!(poll(&mut waiting, &first).is_pending());
        assert!(poll(&mut waiting, &second).is_pending());
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
        drop(held);
        assert_eq!((first.wakes(), second.wakes()), (0, 1));
        assert_eq!(Arc::strong_count(&second), 1);

        let third = WakeCounter::new();
        assert!(poll(&mut waiting, &third).is_ready());
        assert_eq!((Arc::strong_count(&third), third.wakes()), (1, 0));
    }
}

/// Each poll with another waker drops the waker that it replaces. A replaced waker is never woken.
#[test]
fn a_replaced_waker_is_dropped_and_never_woken() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let mut waiting = Box::pin(gate.acquire_owned());
        let replaced: Vec<_> = (0..8)
            .map(|_| {
                let (waker, counts) = counting_waker();
                assert!(poll_with(&mut waiting, &waker).is_pending());
                counts
            })
            .collect();
        let counter = WakeCounter::new();
        assert!(poll(&mut waiting, &counter).is_pending());
        drop(held);
        assert_eq!(counter.wakes(), 1);
        for counts in replaced {
            assert_eq!(counts.wakes(), 0);
            assert_eq!(counts.drops(), counts.clones() + 1);
        }
    }
}

/// A waiting request that is admitted, or ended by a lowered limit or by the close, is woken once, and its
/// waker is dropped.
#[test]
fn a_request_that_leaves_the_queue_is_woken_once_and_keeps_no_waker() {
    for end in ["admitted", "too large", "closed"] {
        for gate in [gate(2), unmeasured_gate(2)] {
            let held = gate.try_acquire_many(2).unwrap();
            let (waker, counts) = counting_waker();
            let mut waiting = Box::pin(gate.acquire_many(2));
            assert!(poll_with(&mut waiting, &waker).is_pending());
            match end {
                "admitted" => assert_eq!(gate.resize(Limit::new(4)).debt, 0),
                "too large" => assert_eq!(gate.resize(Limit::MIN).debt, 1),
                _ => gate.close(),
            }
            assert_eq!((counts.wakes(), counts.live_clones()), (1, 0), "{end}");
            drop(held);
            gate.close();
            assert!(poll_once(&mut waiting).is_ready());
            assert_eq!(counts.wakes(), 1, "{end}");
        }
    }
}
