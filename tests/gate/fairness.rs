//! Who is admitted, and when.

use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;

use concurrency_governor::Limit;
use concurrency_governor::gate::TryAcquireError;

use crate::support::{NAME, assert_at_rest, gate, now, peek, poll, poll_by, wait};

/// Requests are admitted in the order in which they came, and a light one does not overtake a heavy one.
#[test]
fn first_come_first_served_weights_included() {
    let gate = gate(4);
    let held = gate.try_acquire_many(3).unwrap();
    let (mut heavy, heavy_flag) = wait(gate.acquire_many(2));
    let (mut light, light_flag) = wait(gate.acquire());
    let (mut last, last_flag) = wait(gate.acquire_many(3));
    assert_eq!(
        (gate.status().available, gate.status().waiting),
        (1, 3),
        "room for the light one, which waits"
    );

    drop(held);
    assert_eq!((heavy_flag.woken(), light_flag.woken(), last_flag.woken()), (1, 1, 0));
    let Poll::Ready(Ok(heavy)) = peek(&mut heavy) else { panic!("first in line") };
    let Poll::Ready(Ok(light)) = peek(&mut light) else { panic!("second in line") };
    drop(light);
    assert_eq!(last_flag.woken(), 0, "2 of 3");
    drop(heavy);
    assert_eq!(last_flag.woken(), 1);
    assert!(peek(&mut last).is_ready());
    drop(last);
    assert_at_rest(&gate);
}

/// Permits that come back together let in each for whom there is room, and no other.
#[test]
fn each_who_fits_is_let_in_at_once() {
    let gate = gate(3);
    for (weights, woken) in [([1, 1, 1], 2), ([1, 2, 1], 1), ([2, 1, 1], 1), ([3, 1, 1], 0)] {
        let (one, two) = (gate.try_acquire().unwrap(), gate.try_acquire_many(2).unwrap());
        let waiting = weights.map(|weight| wait(gate.acquire_many(weight)));
        drop(two);
        let are_woken = waiting.each_ref().map(|(_, flag)| flag.woken() > 0);
        assert_eq!(are_woken, [0, 1, 2].map(|nth| nth < woken), "{weights:?}");
        let status = gate.status();
        let granted: u32 = weights.iter().take(woken).sum();
        assert_eq!((status.in_use, status.waiting), (1 + granted, 3 - woken), "{weights:?}");
        drop((one, waiting));
        assert_at_rest(&gate);
    }
}

/// While anybody waits, nobody gets in before them, not even by trying, and not even where there is room.
#[test]
fn nobody_barges() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let (mut first, flag) = wait(gate.acquire_many(2));
    assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
    assert_eq!(gate.try_acquire_owned().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
    let (second, _) = wait(gate.acquire());

    drop(held);
    assert_eq!(flag.woken(), 1);
    assert!(gate.try_acquire().is_err(), "granted permits are out before they are claimed");
    assert!(peek(&mut first).is_ready());
    drop((first, second));
    assert!(gate.try_acquire_many(2).is_ok(), "with nobody waiting, a try is let in");
    assert_at_rest(&gate);
}

/// Nor while somebody waits for the gate to be drained, when each request has to come to the lock.
#[test]
fn nobody_barges_while_the_gate_drains() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let (mut first, _) = wait(gate.acquire_many(2));
    let (drained, _) = wait(gate.drained());
    assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
    let (second, _) = wait(gate.acquire());
    drop((held, drained));
    assert!(peek(&mut first).is_ready());
    drop((first, second));
    assert_at_rest(&gate);
}

/// A future takes its place in line at its first poll, not when it is made.
#[test]
fn a_request_is_lazy() {
    let gate = gate(1);
    let early = gate.acquire();
    drop(gate.acquire_owned());
    let held = now(gate.acquire()).unwrap();
    let (_late, late_flag) = wait(gate.acquire());
    let (_early, early_flag) = wait(early);
    drop(held);
    assert_eq!((late_flag.woken(), early_flag.woken()), (1, 0));
    assert_eq!(gate.status().totals.queue.enqueued, 2);
}

/// The waker of the latest poll is woken, and the ones before it are neither woken nor kept.
#[test]
fn only_the_latest_waker_counts() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut waiting, first) = wait(gate.acquire());
    let second = Arc::default();
    assert!(poll(&mut waiting, &first).is_pending());
    assert!(poll(&mut waiting, &second).is_pending());
    assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 2));
    drop(held);
    assert_eq!((first.woken(), second.woken()), (0, 1));
    assert_eq!(Arc::strong_count(&second), 1);

    let third = Arc::default();
    assert!(poll(&mut waiting, &third).is_ready());
    assert_eq!((Arc::strong_count(&third), third.woken()), (1, 0));
}

/// A permit says what it stands for, and lets go of exactly that.
#[test]
fn a_permit_gives_back_what_it_took() {
    let gate = gate(10);
    let borrowed = now(gate.acquire_many(3)).unwrap();
    let owned = now(gate.acquire_many_owned(4)).unwrap();
    let tried = gate.try_acquire_many_owned(2).unwrap();
    assert_eq!((borrowed.weight(), owned.weight(), tried.weight()), (3, 4, 2));
    assert_eq!((borrowed.gate().name(), owned.gate().name()), (NAME, NAME));
    for (permit, left) in [(owned, 5), (tried, 3)] {
        drop(permit);
        assert_eq!(gate.status().in_use, left);
    }
    drop(borrowed);
    assert_at_rest(&gate);
}

/// Owned permits outlive every handle, and give one back where it is asked for.
#[test]
fn owned_permits_outlive_their_handles() {
    let first = gate(2);
    let (one, two) = (now(first.acquire_owned()).unwrap(), first.try_acquire_owned().unwrap());
    drop(first);
    drop(one);
    let again = two.gate();
    assert_eq!((again.name(), again.limit(), again.status().in_use), (NAME, Limit::new(2), 1));
    let (waiting, flag) = wait(again.acquire_many(2));
    drop(two);
    assert_eq!(flag.woken(), 1);
    drop(waiting);
    assert_at_rest(&again);
}

/// A gate made where another was is a new one: nothing of the other's is left, and nothing of the other's reaches it.
#[test]
fn gates_are_made_anew() {
    let permits: Vec<_> = (1..50).map(|limit| gate(limit).try_acquire_owned().unwrap()).collect();
    let mut gates = Vec::new();
    for permit in permits {
        let old = permit.gate();
        old.close();
        drop((old, permit));
        let new = gate(7);
        assert_eq!(new.status(), gate(7).status());
        gates.push(new);
    }
    let held: Vec<_> = gates.iter().map(|gate| gate.try_acquire_many(7).unwrap()).collect();
    assert!(gates.iter().all(|gate| gate.status().in_use == 7));
    drop(held);
    for gate in &gates {
        assert_at_rest(gate);
    }
}

/// Permits, futures and handles move between threads.
#[test]
fn everything_is_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    fn check_send(_: impl Send) {}
    check::<concurrency_governor::Gate>();
    check::<concurrency_governor::gate::OwnedPermit>();
    check::<concurrency_governor::gate::AcquireOwned>();
    check::<concurrency_governor::gate::Permit<'static>>();
    check::<concurrency_governor::gate::Acquire<'static>>();
    check::<concurrency_governor::gate::Drained<'static>>();
    check::<concurrency_governor::gate::Request<'static>>();
    let gate = gate(1);
    check_send(gate.run(async {}));
    check_send(gate.run_blocking(|| ()));
}

/// Only requests that waited are in the histogram; every request is in the totals.
#[test]
fn totals_tell_what_happened() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (mut waiting, _) = wait(gate.acquire());
    let (cancelled, _) = wait(gate.acquire());
    let (unclaimed, _) = wait(gate.acquire());
    drop(cancelled);
    drop(held);
    drop(peek(&mut waiting));
    drop(unclaimed);
    let status = gate.status();
    let measured = if crate::MEASURES { 2 } else { 0 };
    assert_eq!((status.totals.admitted, status.waits.count()), (3, measured));
    let queue = status.totals.queue;
    assert_eq!((queue.enqueued, queue.admitted, queue.unclaimed, queue.cancelled), (3, 2, 1, 1));
    assert_at_rest(&gate);
}

/// However many threads ask at once, each answer is counted; and so is each change of the limit.
#[test]
fn totals_of_threads_add_up() {
    const EACH: u64 = if cfg!(miri) { 50 } else { 200_000 };
    const THREADS: usize = 3;
    let (gate, all_here) = (gate(8), Barrier::new(2 * THREADS));
    let ask = || {
        all_here.wait();
        (0..EACH).filter(|_| gate.try_acquire().is_ok()).count() as u64
    };
    let change = || {
        all_here.wait();
        let changes = (0..EACH).map(|nth| gate.resize(Limit::new(if nth % 2 == 0 { 1 } else { 8 })));
        changes.filter(|change| change.from != change.to).count() as u64
    };
    let (admitted, changed): (Vec<u64>, Vec<u64>) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| (scope.spawn(ask), scope.spawn(change))).collect();
        threads.into_iter().map(|(ask, change)| (ask.join().unwrap(), change.join().unwrap())).unzip()
    });
    let (admitted, changed): (u64, u64) = (admitted.iter().sum(), changed.iter().sum());
    let status = gate.status();
    assert_eq!((status.totals.admitted, status.resized), (admitted, changed));
    assert_eq!(status.totals.rejected.no_permits, THREADS as u64 * EACH - admitted);
    assert_at_rest(&gate);
}

/// A future that has resolved is not asked again.
#[test]
#[should_panic(expected = "a request is not polled again after it has resolved")]
fn resolved_futures_are_done() {
    let gate = gate(1);
    let mut future = Box::pin(gate.acquire());
    drop(poll_by(&mut future, std::task::Waker::noop()));
    drop(peek(&mut future));
}
