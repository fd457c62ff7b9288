//! The end of a gate, and the use of its place by the next.

use concurrency_governor::Limit;
use loom::thread;

use super::scene::{Held, Scene, Threads, check};

/// The last handle goes while a permit comes back: the gate's place is given back by one of both, and can be used
/// again by a gate that knows nothing of the one before.
#[test]
fn last_handle_meets_the_last_permit() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(2).unwrap();
        let releasing = thread::spawn(move || drop(held));
        drop(scene);
        let next = Scene::new(1);
        next.assert_rests(0, []);
        releasing.join().unwrap();
        next.finish([]);
    });
}

/// A handle made of a permit while the last handle goes: the gate stays whole until that handle is gone, too.
#[test]
fn handle_of_a_permit_meets_the_last_handle() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(1).unwrap();
        let reviving = thread::spawn(move || {
            let gate = held.permit.gate();
            assert_eq!(gate.status().in_use, 1);
            let second = gate.try_acquire().unwrap();
            assert!(gate.try_acquire().is_err());
            drop(held);
            assert!(gate.try_acquire().is_ok());
            drop(second);
            let status = gate.status();
            assert_eq!((status.in_use, status.available, status.debt), (0, 2, 0));
        });
        drop(scene);
        reviving.join().unwrap();
    });
}

/// The same where the handle goes first, and the permit after it.
#[test]
fn permit_outlives_the_handle_made_of_it() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let (held, other) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let reviving = thread::spawn(move || {
            drop(held.permit.gate());
            drop(held);
        });
        drop(scene);
        drop(other);
        reviving.join().unwrap();
    });
}

/// Two permits that make a handle each of a gate that has none.
#[test]
fn two_permits_revive_a_gate() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let (held, other) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        drop(scene);
        let revive = |held: Held| {
            let gate = held.permit.gate();
            drop(held);
            assert!(gate.try_acquire().is_ok());
        };
        let reviving = thread::spawn(move || revive(held));
        revive(other);
        reviving.join().unwrap();
    });
}

/// A release that was called to the lock comes there when the place is another gate's by now: it does that one no harm.
#[test]
fn late_locker_meets_the_next_gate() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let given_up = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        drop(given_up);
        drop(scene);
        let next = Scene::new(2);
        let held = next.hold(1).unwrap();
        let waiting = next.in_line(2);
        assert!(!waiting.is_woken());
        next.assert_rests(1, [&waiting]);
        releasing.join().unwrap();
        assert!(!waiting.is_woken());
        next.assert_rests(1, [&waiting]);
        drop(held);
        next.finish([Some(waiting)]);
    });
}

/// The same for one who waited to be drained, and for handles that come and go at the next gate.
#[test]
fn late_locker_meets_a_gate_that_goes() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let draining = scene.draining();
        let releasing = thread::spawn(move || drop(held));
        drop(draining);
        drop(scene);
        let next = Scene::new(1);
        let held = next.hold(1).unwrap();
        drop(next);
        let gate = held.permit.gate();
        assert_eq!((gate.limit(), gate.status().in_use), (Limit::MIN, 1));
        drop(held);
        assert!(gate.try_acquire().is_ok());
        drop(gate);
        releasing.join().unwrap();
    });
}

/// The last handle goes while two permits come back on two threads: the place is given back once, and not too early.
#[test]
fn last_handle_and_two_permits() {
    check(Threads::Three, || {
        let scene = Scene::new(2);
        let held = [scene.hold(1).unwrap(), scene.hold(1).unwrap()];
        let releasing = held.map(|held| thread::spawn(move || drop(held)));
        drop(scene);
        let next = Scene::new(1);
        next.assert_rests(0, []);
        for releasing in releasing {
            releasing.join().unwrap();
        }
        next.finish([]);
    });
}

/// A handle is made of one permit while the last handle goes and another permit comes back.
#[test]
fn handle_of_a_permit_last_handle_and_release() {
    check(Threads::Three, || {
        let scene = Scene::new(2);
        let (held, other) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let releasing = thread::spawn(move || drop(other));
        let reviving = thread::spawn(move || {
            let gate = held.permit.gate();
            drop(held);
            assert_eq!(gate.limit().get(), 2);
            drop(gate.try_acquire());
        });
        drop(scene);
        let next = Scene::new(1);
        let held = next.hold(1).unwrap();
        next.assert_rests(1, []);
        drop(held);
        reviving.join().unwrap();
        releasing.join().unwrap();
        next.finish([]);
    });
}
