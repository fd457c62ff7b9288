//! Permits that outlive every handle.

use shuttle::thread;

use super::scene::{check, gate};

/// The last handle goes while permits come back on three threads, one of which makes a handle of its permit first: the
/// gate stays whole for that one, and its place is given back once.
#[test]
fn last_handle_and_owned_permits() {
    check(|| {
        let former = gate(3);
        let permits = [(); 3].map(|()| former.try_acquire_owned().unwrap());
        let [first, second, third] = permits;
        let releasing = thread::spawn(move || drop(first));
        let reviving = thread::spawn(move || {
            let revived = second.gate();
            drop(second);
            let status = revived.status();
            assert_eq!(status.in_use + status.available, 3 + status.debt, "{status:?}");
            drop(revived.try_acquire().unwrap());
        });
        let dropping = thread::spawn(move || drop(former));
        drop(third);
        for thread in [releasing, reviving, dropping] {
            thread.join().unwrap();
        }
        assert_places_are_apart();
    });
}

/// A gate is gone while another comes and takes its place: neither knows of the other.
#[test]
fn a_gate_goes_as_another_comes() {
    check(|| {
        let (former, latter) = (gate(1), gate(2));
        let [permit, other] = [&former, &latter].map(|gate| gate.try_acquire_owned().unwrap());
        let dropping = thread::spawn(move || drop(former));
        let releasing = thread::spawn(move || drop(permit));
        let coming = thread::spawn(|| {
            let next = gate(1);
            let held = next.try_acquire().unwrap();
            assert!(next.try_acquire().is_err());
            drop(held);
            let status = next.status();
            assert_eq!((status.in_use, status.totals.admitted), (0, 1), "{status:?}");
        });
        drop(latter);
        drop(other);
        for thread in [dropping, releasing, coming] {
            thread.join().unwrap();
        }
        assert_places_are_apart();
    });
}

/// A place that was given back twice would be two gates' at once.
fn assert_places_are_apart() {
    let gates = [(); 4].map(|()| gate(1));
    let permits = gates.each_ref().map(|gate| gate.try_acquire().unwrap());
    drop(permits);
    assert!(gates.iter().all(|gate| gate.status().totals.admitted == 1));
}
