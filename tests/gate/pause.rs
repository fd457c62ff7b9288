//! Pausing a gate: it keeps its queue and admits nothing until it is resumed.

use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, Priority, TryAcquireError};
use concurrency_governor::{GateName, Holders, Keys, Limit, Part, Shed};
use tokio::time::advance;

use super::support::{
    HOUR, MS, NAME, assert_idle, boxed_acquire, expect_ready, gate, paused_runtime, poll_once, spin_until,
    start_waiting, unmeasured_gate,
};

fn tracked(limit: u32) -> Gate {
    let holders = Holders::overdue_after(Duration::from_secs(30));
    Gate::builder(NAME, Limit::new(limit)).track_holders(holders).build()
}

/// A gate by itself, one that does not measure waits, and one that is a tree.
fn gates(limit: u32) -> [Gate; 3] {
    [gate(limit), unmeasured_gate(limit), tracked(limit)]
}

/// A paused gate admits nothing, whatever is available. Its queue stays, and is served in order when the gate is resumed.
#[test]
fn a_paused_gate_keeps_its_queue_and_admits_nothing() {
    for gate in gates(2) {
        let held = gate.try_acquire_many(2).unwrap();
        let (mut first, first_counter) = start_waiting(gate.acquire());
        gate.pause();
        gate.pause();
        let (mut second, second_counter) = start_waiting(gate.acquire_many(2));
        drop(held);
        let (mut third, third_counter) = start_waiting(gate.acquire());
        let status = gate.status();
        assert!(status.paused && gate.is_paused() && !status.closed);
        assert_eq!(
            (gate.limit(), status.limit, status.in_use, status.debt),
            (Limit::new(2), Limit::new(2), 0, 0)
        );
        assert_eq!((status.available, status.waiting, gate.available()), (2, 3, 2));
        assert_eq!((first_counter.wakes(), second_counter.wakes(), third_counter.wakes()), (0, 0, 0));

        gate.resume();
        assert!(!gate.is_paused() && !gate.status().paused);
        assert_eq!((first_counter.wakes(), second_counter.wakes(), third_counter.wakes()), (1, 0, 0));
        let Poll::Ready(Ok(permit)) = poll_once(&mut first) else { panic!("the first request is served") };
        assert!(poll_once(&mut second).is_pending());
        drop(permit);
        let Poll::Ready(Ok(permit)) = poll_once(&mut second) else { panic!("the second one is served") };
        drop(permit);
        drop(poll_once(&mut third));
        gate.resume();
        assert_idle(&gate);
    }
}

/// A try at a paused gate is rejected with `Paused`. An impossible weight and a closed gate are reported instead of the pause.
#[test]
fn a_try_is_rejected_while_the_gate_is_paused() {
    for gate in gates(2) {
        gate.pause();
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::Paused { gate: NAME });
        assert_eq!(gate.try_acquire_many(0).unwrap_err(), TryAcquireError::ZeroWeight { gate: NAME });
        let too_large = TryAcquireError::TooLarge { gate: NAME, weight: 3, limit: Limit::new(2) };
        assert_eq!(gate.try_acquire_many(3).unwrap_err(), too_large);
        let too_large = AcquireError::TooLarge { gate: NAME, weight: 3, limit: Limit::new(2) };
        assert_eq!(expect_ready(gate.acquire_many(3)).unwrap_err(), too_large);
        let rejected = gate.status().totals.rejected;
        assert_eq!((rejected.paused, rejected.no_permits, rejected.too_large), (1, 0, 2));
        gate.close();
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::Closed { gate: NAME });
        gate.resume();
        assert_idle(&gate);
    }
}

/// Deadlines, the bound of the queue, a changed limit and a close take effect while a gate is paused.
#[test]
fn everything_else_goes_on_during_a_pause() {
    paused_runtime().block_on(async {
        for is_tree in [false, true] {
            let builder = Gate::builder(NAME, Limit::new(4)).queue(3);
            let gate = if is_tree { builder.with_children().build() } else { builder.build() };
            let held = gate.try_acquire().unwrap();
            gate.pause();
            let mut expiring = boxed_acquire(&gate, 1, 10 * MS);
            assert!(poll_once(&mut expiring).is_pending());
            let (mut heavy, heavy_counter) = start_waiting(gate.acquire_many(3));
            let (mut light, light_counter) = start_waiting(gate.acquire());
            assert!(matches!(expect_ready(gate.acquire()), Err(AcquireError::QueueFull { bound: 3, .. })));
            advance(11 * MS).await;
            assert!(matches!(
                poll_once(&mut expiring),
                Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))
            ));

            let change = gate.resize(Limit::new(2));
            assert_eq!((change.from, change.to, change.debt), (Limit::new(4), Limit::new(2), 0));
            assert_eq!((heavy_counter.wakes(), light_counter.wakes(), gate.limit().get()), (1, 0, 2));
            assert!(matches!(poll_once(&mut heavy), Poll::Ready(Err(AcquireError::TooLarge { .. }))));
            assert_eq!(gate.resize_by(3).to, Limit::new(5));
            assert_eq!((gate.resize(Limit::MIN).debt, gate.in_use(), gate.waiting()), (0, 1, 1));
            drop(held);
            assert_eq!((light_counter.wakes(), gate.available(), gate.status().resized), (0, 1, 3));
            gate.close_after_queue();
            assert!(poll_once(&mut light).is_pending(), "a paused queue is not served");
            gate.resume();
            let Poll::Ready(Ok(permit)) = poll_once(&mut light) else { panic!("the queue is served") };
            drop(permit);
            assert_idle(&gate);
        }
    });
}

/// The permits in use when a gate is paused can be released, also those above a lowered limit.
#[test]
fn permits_are_released_during_a_pause() {
    for gate in gates(3) {
        let permits: Vec<_> = (0..3).map(|_| gate.try_acquire().unwrap()).collect();
        gate.resize(Limit::new(2));
        gate.pause();
        assert_eq!((gate.in_use(), gate.status().debt), (3, 1));
        let (mut drained, counter) = start_waiting(gate.drained());
        drop(permits);
        assert_eq!((gate.in_use(), gate.status().debt, counter.wakes()), (0, 0, 1));
        assert!(poll_once(&mut drained).is_ready());
        gate.resume();
        assert_eq!(gate.available(), 2);
        assert_idle(&gate);
    }
}

/// Pausing a gate of a tree pauses what is below, and leaves the rest. A key follows its gate.
#[test]
fn a_pause_reaches_children_and_keys() {
    let name = |text: &str| text.parse::<GateName>().unwrap();
    let keys = Keys::up_to(8).cap(Part::of(1, 2));
    let root = Gate::builder(name("root"), Limit::new(4)).with_children().build();
    let paused = Gate::builder(name("paused"), Limit::new(4)).keyed(keys).within(&root).unwrap().build();
    let other = Gate::builder(name("other"), Limit::new(4)).within(&root).unwrap().build();
    let key = paused.key(1);
    // The heavy request is the next one at the root. While its own gate is paused, it must not delay requests at other gates.
    let held = other.try_acquire_many(2).unwrap();
    let (mut heavy, _) = start_waiting(paused.acquire_many(3));
    let (mut behind, _) = start_waiting(other.acquire());
    paused.pause();
    let Poll::Ready(Ok(permit)) = poll_once(&mut behind) else { panic!("the others go on") };
    drop((permit, held));
    assert!(poll_once(&mut heavy).is_pending());
    assert!(paused.is_paused() && key.is_paused() && !other.is_paused() && !root.is_paused());
    assert_eq!((key.limit(), paused.limit()), (Limit::new(2), Limit::new(4)));
    let rejected = TryAcquireError::Paused { gate: name("paused") };
    assert_eq!(key.try_acquire().unwrap_err(), rejected);
    let (mut waiting, _) = start_waiting(key.request().priority(Priority::Critical).acquire());
    drop(root.try_acquire_many(4).unwrap());

    // A gate is paused while it or one above it is. A key is not paused by itself.
    root.pause();
    assert_eq!(other.try_acquire().unwrap_err(), TryAcquireError::Paused { gate: name("root") });
    paused.resume();
    assert!(paused.is_paused() && poll_once(&mut heavy).is_pending());
    root.resume();
    key.pause();
    assert!(!key.is_paused());
    let Poll::Ready(Ok(first)) = poll_once(&mut waiting) else { panic!("granted by priority") };
    let Poll::Ready(Ok(second)) = poll_once(&mut heavy) else { panic!("granted when resumed") };
    drop((first, second));
    for gate in [&root, &paused, &other, &key] {
        assert_idle(gate);
    }
}

/// Requests that have waited for long because of a pause are not shed, neither during the pause nor right after it.
#[test]
fn nothing_is_shed_because_of_a_pause() {
    paused_runtime().block_on(async {
        let gate = Gate::builder(NAME, Limit::new(1)).shed(Shed::after(20 * MS)).build();
        let held = gate.try_acquire().unwrap();
        let waiting: Vec<_> = (0..20).map(|_| start_waiting(gate.acquire_owned()).0).collect();
        gate.pause();
        advance(HOUR).await;
        drop(held);
        advance(HOUR).await;
        assert_eq!((gate.waiting(), gate.status().totals.queue.shed), (20, 0));
        gate.resume();
        for mut request in waiting {
            let Poll::Ready(Ok(permit)) = poll_once(&mut request) else { panic!("served in order") };
            advance(MS).await;
            drop(permit);
        }
        assert_eq!(gate.status().totals.queue.shed, 0);
        assert_idle(&gate);
    });
}

/// A blocked thread waits while the gate is paused, and goes on when it is resumed.
#[test]
fn a_blocked_thread_waits_for_the_end_of_a_pause() {
    for gate in gates(1) {
        gate.pause();
        thread::scope(|scope| {
            let blocked = scope.spawn(|| gate.acquire_blocking().map(drop));
            spin_until(|| gate.waiting() == 1);
            gate.resume();
            blocked.join().unwrap().unwrap();
        });
        assert_idle(&gate);
    }
}
