//! Owned permits that outlive every handle of their gate.

use shuttle::thread;

use super::harness::{check, gate};

/// The last handle is dropped while three threads release permits, one of which creates a handle from its
/// permit first. The gate stays valid for that handle.
#[test]
fn owned_permits_outlive_the_last_handle() {
    check(|| {
        let last_handle = gate(3);
        let [first, second, third] = [(); 3].map(|()| last_handle.try_acquire_owned().unwrap());
        let releasing = thread::spawn(move || drop(first));
        let creating_handle = thread::spawn(move || {
            let handle = second.gate().clone();
            drop(second);
            let status = handle.status();
            assert_eq!(status.in_use + status.available, 3 + status.debt, "{status:?}");
            drop(handle.try_acquire().unwrap());
        });
        let dropping = thread::spawn(move || drop(last_handle));
        drop(third);
        for thread in [releasing, creating_handle, dropping] {
            thread.join().unwrap();
        }
        assert_new_gates_are_independent();
    });
}

/// A gate that is created while others are dropped shares no state with them.
#[test]
fn a_new_gate_shares_nothing_with_dropped_gates() {
    check(|| {
        let (first, second) = (gate(1), gate(2));
        let [first_permit, second_permit] = [&first, &second].map(|gate| gate.try_acquire_owned().unwrap());
        let dropping = thread::spawn(move || drop(first));
        let releasing = thread::spawn(move || drop(first_permit));
        let creating = thread::spawn(|| {
            let new = gate(1);
            let permit = new.try_acquire().unwrap();
            assert!(new.try_acquire().is_err());
            drop(permit);
            let status = new.status();
            assert_eq!((status.in_use, status.totals.admitted), (0, 1), "{status:?}");
        });
        drop(second);
        drop(second_permit);
        for thread in [dropping, releasing, creating] {
            thread.join().unwrap();
        }
        assert_new_gates_are_independent();
    });
}

/// Checks that new gates share no memory with each other, which they would do if the memory of a gate was
/// freed twice.
fn assert_new_gates_are_independent() {
    let gates = [(); 4].map(|()| gate(1));
    let permits = gates.each_ref().map(|gate| gate.try_acquire().unwrap());
    drop(permits);
    assert!(gates.iter().all(|gate| gate.status().totals.admitted == 1));
}
