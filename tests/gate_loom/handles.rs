//! The last handle of a gate, owned permits that outlive it, and gates that are created at the same time.

use concurrency_governor::Limit;
use loom::thread;

use super::harness::{CountedPermit, TestGate, Threads, check};

/// The last handle is dropped while the last permit is released. A gate that is created at the same time
/// shares no state with the old one.
#[test]
fn last_handle_races_the_last_permit() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(2).unwrap();
        let releasing = thread::spawn(move || drop(permit));
        drop(gate);
        let next = TestGate::new(1);
        next.assert_balanced(0, []);
        releasing.join().unwrap();
        next.finish([]);
    });
}

/// A handle is created from a permit while the last other handle is dropped. The gate stays valid until the
/// new handle is dropped, too.
#[test]
fn handle_from_a_permit_races_the_last_handle() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let other = thread::spawn(move || {
            let handle = permit.inner.gate().clone();
            assert_eq!(handle.status().in_use, 1);
            let second = handle.try_acquire().unwrap();
            assert!(handle.try_acquire().is_err());
            drop(permit);
            assert!(handle.try_acquire().is_ok());
            drop(second);
            let status = handle.status();
            assert_eq!((status.in_use, status.available, status.debt), (0, 2, 0));
        });
        drop(gate);
        other.join().unwrap();
    });
}

/// A handle that was created from a permit may be dropped before this permit.
#[test]
fn permit_outlives_the_handle_created_from_it() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let (permit, other) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let thread = thread::spawn(move || {
            drop(permit.inner.gate());
            drop(permit);
        });
        drop(gate);
        drop(other);
        thread.join().unwrap();
    });
}

/// Two permits of a gate without a handle create a handle each, at the same time.
#[test]
fn two_permits_create_handles() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let (permit, other) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        drop(gate);
        let create_handle = |permit: CountedPermit| {
            let handle = permit.inner.gate().clone();
            drop(permit);
            assert!(handle.try_acquire().is_ok());
        };
        let thread = thread::spawn(move || create_handle(permit));
        create_handle(other);
        thread.join().unwrap();
    });
}

/// A release that still has to take the lock when the last handle is dropped does not affect the next gate.
#[test]
fn late_release_does_not_affect_the_next_gate() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let cancelled = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        drop(cancelled);
        drop(gate);
        let next = TestGate::new(2);
        let permit = next.try_acquire(1).unwrap();
        let waiting = next.enqueue(2);
        assert!(!waiting.is_woken());
        next.assert_balanced(1, [&waiting]);
        releasing.join().unwrap();
        assert!(!waiting.is_woken());
        next.assert_balanced(1, [&waiting]);
        drop(permit);
        next.finish([Some(waiting)]);
    });
}

/// A release that still has to wake a `drained` future does not affect the next gate, whose last handle is
/// dropped and which gets a handle from a permit.
#[test]
fn late_release_does_not_affect_a_gate_that_is_dropped() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let drained = gate.poll_drained();
        let releasing = thread::spawn(move || drop(permit));
        drop(drained);
        drop(gate);
        let next = TestGate::new(1);
        let permit = next.try_acquire(1).unwrap();
        drop(next);
        let handle = permit.inner.gate().clone();
        assert_eq!((handle.limit(), handle.status().in_use), (Limit::MIN, 1));
        drop(permit);
        assert!(handle.try_acquire().is_ok());
        drop(handle);
        releasing.join().unwrap();
    });
}

/// The last handle is dropped while two permits are released on two threads.
#[test]
fn last_handle_and_two_permits() {
    check(Threads::Three, || {
        let gate = TestGate::new(2);
        let permits = [gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap()];
        let releasing = permits.map(|permit| thread::spawn(move || drop(permit)));
        drop(gate);
        let next = TestGate::new(1);
        next.assert_balanced(0, []);
        for releasing in releasing {
            releasing.join().unwrap();
        }
        next.finish([]);
    });
}

/// A handle is created from a permit while the last other handle is dropped and another permit is released.
#[test]
fn handle_from_a_permit_last_handle_and_release() {
    check(Threads::Three, || {
        let gate = TestGate::new(2);
        let (permit, other) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let releasing = thread::spawn(move || drop(other));
        let thread = thread::spawn(move || {
            let handle = permit.inner.gate().clone();
            drop(permit);
            assert_eq!(handle.limit().get(), 2);
            drop(handle.try_acquire());
        });
        drop(gate);
        let next = TestGate::new(1);
        let permit = next.try_acquire(1).unwrap();
        next.assert_balanced(1, []);
        drop(permit);
        thread.join().unwrap();
        releasing.join().unwrap();
        next.finish([]);
    });
}
