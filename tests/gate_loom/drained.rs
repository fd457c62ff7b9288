//! `drained` futures while permits are released and acquired.

use loom::thread;

use super::harness::{TestDrained, TestGate, Threads, check};

/// A `drained` future resolves after the last release, whether it was created before this release or during
/// it.
#[test]
fn drained_races_the_last_release() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let before = gate.poll_drained();
        let releasing = thread::spawn(move || drop(permit));
        let during = gate.poll_drained();
        releasing.join().unwrap();
        assert!(before.has_resolved() && during.has_resolved());
        gate.finish([]);
    });
}

/// After `drained` is woken, the work under every permit is visible, whichever thread has released last.
#[test]
fn drained_sees_all_work() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let (permit, other) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let drained = gate.poll_drained();
        let releasing = gate.spawn(move |gate| {
            gate.work(&other);
            drop(other);
        });
        drop(permit);
        if drained.is_ready_or_woken() {
            assert!(drained.has_resolved());
            gate.assert_work_done(1);
            releasing.join().unwrap();
        } else {
            releasing.join().unwrap();
            assert!(drained.has_resolved());
        }
        gate.finish([]);
    });
}

/// When `drained` resolves on its first poll, the work under every permit is visible.
#[test]
fn drained_sees_all_work_on_its_first_poll() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let releasing = gate.spawn(move |gate| {
            gate.work(&permit);
            drop(permit);
        });
        if gate.poll_drained().is_ready_or_woken() {
            gate.assert_work_done(1);
        }
        releasing.join().unwrap();
        gate.finish([]);
    });
}

/// A `drained` future that is dropped does not affect another one.
#[test]
fn dropping_one_drained_future_keeps_the_other() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let (dropped, kept) = (gate.poll_drained(), gate.poll_drained());
        let releasing = thread::spawn(move || drop(permit));
        drop(dropped);
        releasing.join().unwrap();
        assert!(kept.has_resolved());
        gate.finish([]);
    });
}

/// `drained` resolves if the gate was drained for a moment before a new permit was acquired. A `drained`
/// future that is created after that waits for the new permit.
#[test]
fn drained_races_a_try_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let drained = gate.poll_drained();
        let releasing = thread::spawn(move || drop(permit));
        let next = gate.try_acquire(1);
        let later = next.is_some().then(|| gate.poll_drained());
        releasing.join().unwrap();
        assert!(drained.has_resolved(), "no permit was in use between the two holders");
        let is_early = later.as_ref().is_some_and(TestDrained::is_ready_or_woken);
        assert!(!is_early, "a permit has been in use ever since");
        drop(next);
        assert!(later.is_none_or(TestDrained::has_resolved));
        gate.finish([]);
    });
}

/// A request that fits is admitted on arrival, and takes its permits once, although a `drained` future waits and the last other permit is
/// released at the same time.
#[test]
fn drained_races_an_acquire_that_fits() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let drained = gate.poll_drained();
        let releasing = thread::spawn(move || drop(permit));
        let mut next = gate.request(1);
        let result = next.poll();
        assert!(result.is_ready(), "there is room, whether the other permit is in use or not");
        releasing.join().unwrap();
        drop((result, next));
        assert!(drained.has_resolved());
        gate.finish([]);
    });
}

/// `drained` resolves at once if a request is admitted on arrival. If the request waits, the gate is not
/// drained before it ends.
#[test]
fn drained_races_an_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(2).unwrap();
        let drained = gate.poll_drained();
        let releasing = thread::spawn(move || drop(permit));
        let mut next = gate.request(1);
        let result = next.poll();
        releasing.join().unwrap();
        let was_admitted = result.is_ready();
        assert_eq!(drained.is_ready_or_woken(), was_admitted, "drained, unless the request waited");
        if result.is_pending() {
            drop(next.poll());
        }
        drop((result, next));
        assert!(drained.has_resolved());
        gate.finish([]);
    });
}

/// Two releases on two threads drain the gate.
#[test]
fn drained_and_two_releases() {
    check(Threads::Three, || {
        let gate = TestGate::new(2);
        let permits = [gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap()];
        let releasing = permits.map(|permit| thread::spawn(move || drop(permit)));
        let drained = gate.poll_drained();
        for releasing in releasing {
            releasing.join().unwrap();
        }
        assert!(drained.has_resolved());
        gate.finish([]);
    });
}

/// `drained` resolves after two releases, even if a `try_acquire` follows at once.
#[test]
fn drained_two_releases_and_a_try_acquire() {
    check(Threads::Three, || {
        let gate = TestGate::new(2);
        let (permit, other) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let drained = gate.poll_drained();
        let releasing = [permit, other].map(|permit| thread::spawn(move || drop(permit)));
        let next = gate.try_acquire(2);
        for releasing in releasing {
            releasing.join().unwrap();
        }
        assert!(drained.has_resolved());
        drop(next);
        gate.finish([]);
    });
}
