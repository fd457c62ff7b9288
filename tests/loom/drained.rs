//! Who waits for the gate to be empty.

use loom::thread;

use super::scene::{Draining, Scene, Threads, check};

/// Who waits for the gate to be drained, before or while the last permit comes back, hears of it.
#[test]
fn drained_meets_the_last_release() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(1).unwrap();
        let before = scene.draining();
        let releasing = thread::spawn(move || drop(held));
        let meanwhile = scene.draining();
        releasing.join().unwrap();
        assert!(before.ends() && meanwhile.ends());
        scene.finish([]);
    });
}

/// Who hears that the gate is drained sees what was done under every permit, whoever it hears it from.
#[test]
fn drained_sees_all_work() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let (held, other) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let before = scene.draining();
        let releasing = scene.spawn(move |scene| {
            scene.work(&other);
            drop(other);
        });
        drop(held);
        if before.is_told() {
            assert!(before.ends());
            scene.assert_worked(1);
            releasing.join().unwrap();
        } else {
            releasing.join().unwrap();
            assert!(before.ends());
        }
        scene.finish([]);
    });
}

/// The same for one who asks only then.
#[test]
fn drained_sees_all_work_at_once() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let releasing = scene.spawn(move |scene| {
            scene.work(&held);
            drop(held);
        });
        if scene.draining().is_told() {
            scene.assert_worked(1);
        }
        releasing.join().unwrap();
        scene.finish([]);
    });
}

/// One who stops waiting for the gate to be drained takes nothing from one who goes on.
#[test]
fn drained_meets_one_who_stops_waiting() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let (stopping, going_on) = (scene.draining(), scene.draining());
        let releasing = thread::spawn(move || drop(held));
        drop(stopping);
        releasing.join().unwrap();
        assert!(going_on.ends());
        scene.finish([]);
    });
}

/// A gate that was drained for a moment was drained, even if work came in again at once; but not to one who has asked
/// since.
#[test]
fn drained_meets_new_work() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let waiting = scene.draining();
        let releasing = thread::spawn(move || drop(held));
        let next = scene.hold(1);
        let later = next.is_some().then(|| scene.draining());
        releasing.join().unwrap();
        assert!(waiting.ends(), "between the two nobody held a permit");
        assert!(later.as_ref().is_none_or(|later| !later.is_told()), "one has been out ever since");
        drop(next);
        assert!(later.is_none_or(Draining::ends));
        scene.finish([]);
    });
}

/// The same for work that would wait, which finds the room as it gets in line.
#[test]
fn drained_meets_a_request() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(2).unwrap();
        let waiting = scene.draining();
        let releasing = thread::spawn(move || drop(held));
        let mut next = scene.request(1);
        let answer = next.poll();
        releasing.join().unwrap();
        assert_eq!(waiting.is_told(), answer.is_ready(), "it was drained unless somebody was in line");
        if answer.is_pending() {
            drop(next.poll());
        }
        drop((answer, next));
        assert!(waiting.ends());
        scene.finish([]);
    });
}

/// The gate is drained by two permits that come back on two threads.
#[test]
fn drained_and_two_releases() {
    check(Threads::Three, || {
        let scene = Scene::new(2);
        let held = [scene.hold(1).unwrap(), scene.hold(1).unwrap()];
        let releasing = held.map(|held| thread::spawn(move || drop(held)));
        let waiting = scene.draining();
        for releasing in releasing {
            releasing.join().unwrap();
        }
        assert!(waiting.ends());
        scene.finish([]);
    });
}

/// The gate is drained for a moment between what goes and what comes.
#[test]
fn drained_two_releases_and_new_work() {
    check(Threads::Three, || {
        let scene = Scene::new(2);
        let (held, other) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let waiting = scene.draining();
        let releasing = [held, other].map(|held| thread::spawn(move || drop(held)));
        let next = scene.hold(2);
        for releasing in releasing {
            releasing.join().unwrap();
        }
        assert!(waiting.ends());
        drop(next);
        scene.finish([]);
    });
}
