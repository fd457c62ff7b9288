//! Permits of several gates at once: P91 to P93 of docs/GUARANTEES.md.

use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use concurrency_governor::gate::{AcquireError, Gate, Permit, acquire_all};
use concurrency_governor::{GateName, Keys, Limit};
use proptest::prelude::*;

use super::hooks::{Call, hooked};
use super::support::{
    HOUR, MS, assert_idle, current_thread_runtime, expect_ready, paused_runtime, poll_once, poll_with,
    run_with_timeout,
};

fn gates<const N: usize>(limits: [u32; N]) -> [Gate; N] {
    limits.map(|limit| Gate::new(GateName::new("several"), Limit::new(limit)))
}

fn in_use<const N: usize>(gates: &[Gate; N]) -> [u32; N] {
    gates.each_ref().map(Gate::in_use)
}

/// P91: the permits of all gates are acquired, in the order of the gates whatever the list, and released in reverse.
#[test]
fn all_permits_are_acquired_in_one_order() {
    let gates = gates([1, 5, 3]);
    let set =
        expect_ready(acquire_all([(&gates[2], 3), (&gates[0], 1), (&gates[1], 2)]).into_future()).unwrap();
    assert_eq!(in_use(&gates), [1, 2, 3]);
    assert_eq!(set.permits().iter().map(Permit::weight).collect::<Vec<_>>(), [1, 2, 3]);
    // At each gate one request waits for all permits, and its waker records the release.
    let released = Arc::new(Mutex::new(Vec::new()));
    let enqueue = |(index, gate): (usize, &'_ Gate)| {
        let released = Arc::clone(&released);
        let waker = hooked(move |call| {
            if call == Call::Wake {
                released.lock().unwrap().push(index);
            }
        });
        let mut request = Box::pin(gate.acquire_many_owned(gate.limit().get()));
        assert!(poll_with(&mut request, &waker).is_pending());
        request
    };
    let waiting: Vec<_> = gates.iter().enumerate().map(enqueue).collect();
    drop(set);
    assert_eq!(*released.lock().unwrap(), [2, 1, 0]);
    drop(waiting);
    gates.iter().for_each(assert_idle);
    assert!(expect_ready(acquire_all([]).into_future()).unwrap().permits().is_empty());
}

/// P91: a gate that is listed twice is requested once, so that it does not wait for itself. So is a key by two handles.
#[test]
fn a_gate_that_is_listed_twice_is_requested_once() {
    let [gate] = gates([4]);
    let clone = gate.clone();
    let set = expect_ready(acquire_all([(&gate, 1), (&clone, 3)]).into_future()).unwrap();
    assert_eq!((set.permits().len(), gate.in_use()), (1, 4));
    drop(set);
    let keyed = Gate::builder(GateName::new("keyed"), Limit::new(3)).keyed(Keys::up_to(2)).build();
    let (one, same) = (keyed.key(1), keyed.key(1));
    let set = expect_ready(acquire_all([(&one, 1), (&gate, 1), (&same, 2)]).into_future()).unwrap();
    assert_eq!((keyed.in_use(), gate.in_use(), set.permits().len()), (3, 1, 2));
}

/// Two gates of one tree are rejected before anything is acquired: the call would hold what it waits for.
#[test]
fn two_gates_of_one_tree_are_rejected() {
    let other = Gate::new(GateName::new("other"), Limit::new(3));
    let builder = Gate::builder(GateName::new("parent"), Limit::new(3)).with_children().keyed(Keys::up_to(4));
    let parent = builder.build();
    let child = Gate::builder(GateName::new("child"), Limit::new(2)).within(&parent).unwrap().build();
    let keys = [parent.key(1), parent.key(2)];
    for (gate, named) in [(&child, "child"), (&keys[1], "parent")] {
        let error =
            expect_ready(acquire_all([(&other, 1), (&keys[0], 1), (gate, 1)]).into_future()).unwrap_err();
        assert_eq!(error, AcquireError::SelfWait { gate: named.parse().unwrap() });
        assert!(error.to_string().contains("acquire from one of them"), "{error}");
    }
    assert_eq!(
        [&other, &parent, &child].map(|gate| (gate.in_use(), gate.status().totals.admitted)),
        [(0, 0); 3]
    );
    // Another handle of the same key is not another gate of the tree.
    let same = parent.key(1);
    let twice = expect_ready(acquire_all([(&keys[0], 1), (&same, 1)]).into_future()).unwrap();
    assert_eq!(keys[0].in_use(), 2);
    drop(twice);
}

/// P91: one deadline counts for all permits together, and a rejection gives back those of the other gates.
#[test]
fn a_rejection_gives_back_everything() {
    paused_runtime().block_on(async {
        let gates = gates([1, 1, 1]);
        let held = gates[2].try_acquire().unwrap();
        let all = || acquire_all(gates.iter().map(|gate| (gate, 1)));
        let start = tokio::time::Instant::now();
        let error = all().max_wait(20 * MS).deadline(start + HOUR).await.unwrap_err();
        assert!(matches!(error, AcquireError::DeadlineExceeded { .. }), "{error}");
        assert!((20 * MS..30 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());
        assert_eq!(in_use(&gates), [0, 0, 1]);
        drop(held);
        gates[1].close();
        assert!(matches!(all().await.unwrap_err(), AcquireError::Closed { .. }));
        assert_eq!(in_use(&gates), [0, 0, 0]);
        let too_large = acquire_all([(&gates[0], 1), (&gates[2], 2)]).await.unwrap_err();
        assert!(matches!(too_large, AcquireError::TooLarge { .. }));
        assert_eq!(in_use(&gates), [0, 0, 0]);
    });
}

proptest! {
    /// P91 and P93: whatever is held, a call that is dropped after any number of polls gives back everything, and a call that is not
    /// ready holds the permits of the first gates and waits at the next.
    #[test]
    fn a_call_that_is_dropped_gives_back_everything(
        held in prop::array::uniform3(any::<bool>()),
        released in prop::collection::vec(0..3_usize, 0..5),
    ) {
        let gates = gates([1, 1, 1]);
        let mut permits: Vec<_> = gates.iter().zip(held).map(|(gate, held)| held.then(|| gate.try_acquire().unwrap())).collect();
        let mut call = acquire_all(gates.iter().rev().map(|gate| (gate, 1))).into_future();
        let mut set = match poll_once(&mut call) {
            Poll::Ready(set) => Some(set.unwrap()),
            Poll::Pending => None,
        };
        for index in released {
            permits[index] = None;
            if set.is_none() {
                if let Poll::Ready(ready) = poll_once(&mut call) {
                    set = Some(ready.unwrap());
                }
            }
            let first_held = permits.iter().position(Option::is_some);
            prop_assert_eq!(set.is_some(), first_held.is_none());
            for (at, gate) in gates.iter().enumerate() {
                let is_reached = first_held.is_none_or(|first| at < first);
                prop_assert_eq!(gate.in_use(), u32::from(is_reached || permits[at].is_some()));
                prop_assert_eq!(gate.waiting(), usize::from(first_held == Some(at)));
            }
        }
        drop((call, set, permits));
        gates.iter().for_each(assert_idle);
    }
}

/// P92: threads that acquire all pairs of three gates, in both orders of the list, never wait for each other.
#[test]
fn no_order_of_the_list_deadlocks() {
    run_with_timeout("several gates at once", || {
        let gates = gates([1, 1, 1]);
        thread::scope(|scope| {
            for (first, second) in [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)] {
                let gates = &gates;
                scope.spawn(move || {
                    let runtime = current_thread_runtime();
                    for _ in 0..200 {
                        runtime.block_on(async {
                            let set = acquire_all([(&gates[first], 1), (&gates[second], 1)]).await.unwrap();
                            tokio::task::yield_now().await;
                            drop(set);
                        });
                    }
                });
            }
        });
        gates.iter().for_each(assert_idle);
    });
}
