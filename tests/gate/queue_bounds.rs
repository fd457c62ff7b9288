//! The bound of the queue and the longest wait, changed while requests wait.

use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate};
use concurrency_governor::{GateName, Keys, Limit};
use tokio::time::advance;

use super::support::{
    HOUR, MS, NAME, assert_idle, boxed_acquire, expect_ready, paused_runtime, poll_once, start_waiting,
};

/// A gate by itself, and one that is a tree.
fn gates() -> [Gate; 2] {
    let builder = || Gate::builder(NAME, Limit::MIN).queue(2);
    [builder().build(), builder().with_children().build()]
}

/// A lower bound rejects newcomers, and a higher one lets them wait. Requests that wait stay.
#[test]
fn the_bound_of_the_queue_counts_for_newcomers() {
    for gate in gates() {
        let held = gate.try_acquire().unwrap();
        let waiting = [(); 2].map(|()| start_waiting(gate.acquire()).0);
        let full = |bound| {
            let result = expect_ready(gate.acquire());
            matches!(result, Err(AcquireError::QueueFull { bound: given, .. }) if given == bound)
        };
        assert!(full(2));
        gate.set_queue(1);
        assert!(full(1) && gate.waiting() == 2 && gate.status().queue_bound == Some(1));
        gate.set_queue(3);
        let third = start_waiting(gate.acquire()).0;
        assert!(full(3));
        gate.set_queue(usize::MAX);
        let fourth = start_waiting(gate.acquire()).0;
        assert_eq!((gate.waiting(), gate.status().queue_bound), (4, None));
        drop((waiting, third, fourth, held));
        assert_idle(&gate);
    }
}

/// A new longest wait counts for newcomers, whatever they ask for themselves. Requests that wait keep their deadlines.
#[test]
fn the_longest_wait_counts_for_newcomers() {
    paused_runtime().block_on(async {
        for gate in gates() {
            gate.set_queue(usize::MAX);
            assert_eq!(gate.status().max_wait, None);
            let held = gate.try_acquire().unwrap();
            let mut before = boxed_acquire(&gate, 1, HOUR);
            assert!(poll_once(&mut before).is_pending());
            gate.set_max_wait(20 * MS);
            assert_eq!(gate.status().max_wait, Some(20 * MS));
            let mut after = boxed_acquire(&gate, 1, HOUR);
            assert!(poll_once(&mut after).is_pending());
            advance(21 * MS).await;
            let late = |result| matches!(result, Poll::Ready(Err(AcquireError::DeadlineExceeded { .. })));
            assert!(late(poll_once(&mut after).map_ok(drop)) && poll_once(&mut before).is_pending());
            gate.set_max_wait(Duration::MAX);
            let (mut unbounded, _) = start_waiting(gate.acquire());
            advance(2 * HOUR).await;
            assert!(poll_once(&mut unbounded).is_pending() && late(poll_once(&mut before).map_ok(drop)));
            gate.set_max_wait(Duration::ZERO);
            assert!(matches!(expect_ready(gate.acquire()), Err(AcquireError::DeadlineExceeded { .. })));
            drop((held, unbounded));
            assert_idle(&gate);
        }
    });
}

/// The bounds of a gate count for its children and keys. A key has none of its own.
#[test]
fn bounds_count_below() {
    paused_runtime().block_on(async {
        let name = |text: &str| text.parse::<GateName>().unwrap();
        let root = Gate::builder(name("root"), Limit::MIN).with_children().keyed(Keys::up_to(8)).build();
        let child = Gate::builder(name("child"), Limit::MIN).within(&root).unwrap().max_wait(HOUR).build();
        let key = root.key(1);
        let held = root.try_acquire().unwrap();
        root.set_queue(1);
        root.set_max_wait(20 * MS);
        key.set_queue(0);
        key.set_max_wait(Duration::ZERO);
        assert_eq!([&root, &child, &key].map(|gate| gate.status().max_wait), [Some(20 * MS); 3]);
        child.set_max_wait(10 * MS);
        assert_eq!((child.status().max_wait, root.status().max_wait), (Some(10 * MS), Some(20 * MS)));
        let (mut waiting, _) = start_waiting(key.acquire());
        assert!(matches!(expect_ready(key.acquire()), Err(AcquireError::QueueFull { bound: 1, .. })));
        advance(21 * MS).await;
        assert!(matches!(poll_once(&mut waiting), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
        drop((waiting, held));
        [&root, &child, &key].into_iter().for_each(assert_idle);
    });
}

/// P57: a bound that is set while the gate is in use pushes requests out of the longest queue, as one of the declaration does.
#[test]
fn a_bound_that_is_set_later_spares_short_queues() {
    let gate = Gate::builder(NAME, Limit::MIN).keyed(Keys::up_to(8)).build();
    let held = gate.try_acquire().unwrap();
    let (flood, calm) = (gate.key("flood"), gate.key("calm"));
    let mut waiting = [(); 3].map(|()| start_waiting(flood.acquire()).0);
    gate.set_queue(3);
    let (mut first, _) = start_waiting(calm.acquire());
    let ended = waiting.each_mut().map(|request| poll_once(request).is_ready());
    assert_eq!(ended, [false, false, true]);
    gate.set_queue(usize::MAX);
    gate.set_queue(3);
    assert!(matches!(expect_ready(flood.acquire()), Err(AcquireError::QueueFull { bound: 3, .. })));
    assert!(poll_once(&mut first).is_pending());
    drop(first);
    drop((waiting, held));
    assert_idle(&gate);
}
