//! Limits that change and gates that close, while others come and go.

use std::task::Poll;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, TryAcquireError};
use loom::thread;

use super::scene::{Scene, Task, Threads, check};

/// A raised limit wakes exactly those who fit under it, whatever is given back meanwhile.
#[test]
fn growth_wakes_all_who_fit() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(2).unwrap();
        let [first, second, third] = [1, 1, 2].map(|weight| scene.in_line(weight));
        scene.allow(3);
        let releasing = thread::spawn(move || drop(held));
        scene.gate.resize(Limit::new(3));
        releasing.join().unwrap();
        assert!(first.is_woken() && second.is_woken() && !third.is_woken());
        scene.assert_rests(0, [&first, &second, &third]);
        scene.finish([Some(first), Some(second), Some(third)]);
    });
}

/// A raised limit is for those who wait: whoever comes meanwhile takes nothing of what they are about to get.
#[test]
fn growth_meets_a_try() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let waiting = scene.in_line(1);
        scene.allow(2);
        let trying = scene.spawn(|scene| scene.hold(1).is_some());
        scene.gate.resize(Limit::new(2));
        assert!(!trying.join().unwrap(), "one was in line before it, and there is room for no other");
        assert!(waiting.is_woken());
        scene.assert_rests(1, [&waiting]);
        drop(held);
        scene.finish([Some(waiting)]);
    });
}

/// A lowered limit is in force for whoever comes after it; what is out becomes debt, and the debt is paid first.
#[test]
fn shrinking_meets_an_acquire() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(1).unwrap();
        let coming = scene.spawn(|scene| {
            let mut coming = scene.request(1);
            let answer = coming.poll();
            (coming, answer)
        });
        let debt = scene.gate.resize(Limit::new(1)).debt;
        assert!(scene.gate.try_acquire().is_err(), "one permit is out, and that is all there is");
        let (coming, answer) = coming.join().unwrap();
        assert_eq!(debt, u32::from(answer.is_ready()));
        match answer {
            Poll::Ready(admitted) => {
                scene.assert_rests(2, []);
                drop(held);
                assert!(scene.gate.try_acquire().is_err(), "that paid the debt, and left nothing over");
                scene.assert_rests(1, []);
                drop((admitted, coming));
                scene.finish([]);
            }
            Poll::Pending => {
                scene.assert_rests(1, [&coming]);
                drop(held);
                scene.finish([Some(coming)]);
            }
        }
    });
}

/// A release that meets a falling limit pays the debt or leaves room, never both, and loses neither.
#[test]
fn shrinking_meets_a_release() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let (held, kept) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let waiting = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        scene.gate.resize(Limit::new(1));
        releasing.join().unwrap();
        let granted = u32::from(waiting.is_woken());
        let status = scene.gate.status();
        assert_eq!((status.in_use, status.available, status.debt), (1 + granted, 0, granted));
        scene.assert_rests(1, [&waiting]);
        drop(kept);
        scene.finish([Some(waiting)]);
    });
}

/// A request that a lowered limit has made impossible ends, unless its grant came first; who stood behind it moves up.
#[test]
fn shrinking_ends_what_is_too_large() {
    check(Threads::Two, || {
        let scene = Scene::new(3);
        let (held, kept) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let (mut big, small) = (scene.in_line(2), scene.in_line(1));
        let releasing = thread::spawn(move || drop(held));
        scene.gate.resize(Limit::new(1));
        releasing.join().unwrap();
        assert!(big.is_woken() && !small.is_woken());
        match big.poll() {
            Poll::Ready(Ok(admitted)) => drop(admitted),
            Poll::Ready(Err(AcquireError::TooLarge { weight: 2, limit, .. })) => {
                assert_eq!(limit, Limit::MIN);
            }
            other => panic!("{other:?}"),
        }
        drop(kept);
        scene.finish([Some(small)]);
    });
}

/// Two changes of the limit at once: the later one is in force in the end, and the room is its.
#[test]
fn two_resizes_at_once() {
    check(Threads::Two, || {
        let scene = Scene::new(3);
        let held = scene.hold(1).unwrap();
        let waiting = scene.in_line(3);
        scene.allow(5);
        let other = scene.spawn(|scene| scene.gate.resize(Limit::new(5)));
        let mine = scene.gate.resize(Limit::new(4));
        let other = other.join().unwrap();
        let (first, last) = if mine.from.get() == 3 { (mine, other) } else { (other, mine) };
        assert_eq!((first.from.get(), first.to, last.to), (3, last.from, scene.gate.limit()));
        assert!(waiting.is_woken());
        scene.assert_rests(1, [&waiting]);
        drop(held);
        scene.finish([Some(waiting)]);
    });
}

/// The same where nobody waits, and no change takes the lock; a permit comes back meanwhile.
#[test]
fn two_resizes_and_a_release() {
    check(Threads::Three, || {
        let scene = Scene::new(3);
        let held = scene.hold(2).unwrap();
        scene.allow(5);
        let releasing = thread::spawn(move || drop(held));
        let other = scene.spawn(|scene| scene.gate.resize(Limit::new(5)));
        let mine = scene.gate.resize(Limit::MIN);
        releasing.join().unwrap();
        let other = other.join().unwrap();
        let (first, last) = if mine.from.get() == 3 { (mine, other) } else { (other, mine) };
        assert_eq!((first.from.get(), first.to, last.to), (3, last.from, scene.gate.limit()));
        assert_eq!((other.debt, scene.gate.status().resized), (0, 2));
        assert!(mine.debt <= 1);
        scene.finish([]);
    });
}

/// A closing gate ends those in line and those to come, once each.
#[test]
fn closing_meets_an_acquire() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let coming = scene.spawn(|scene| scene.acquire_and_release(1));
        scene.gate.close();
        assert!(matches!(scene.gate.try_acquire(), Err(TryAcquireError::Closed { .. })));
        if let Some(mut coming) = coming.join().unwrap() {
            assert!(coming.is_woken());
            assert!(matches!(coming.poll(), Poll::Ready(Err(AcquireError::Closed { .. }))));
        }
        drop(held);
        scene.finish([]);
    });
}

/// Whoever comes after a gate was closed is refused, though there is room; whoever came before it keeps its permit.
#[test]
fn closing_meets_a_try() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let trying = scene.spawn(|scene| scene.hold(1));
        scene.gate.close();
        assert!(matches!(scene.gate.try_acquire(), Err(TryAcquireError::Closed { .. })));
        let tried = trying.join().unwrap();
        scene.assert_rests(u32::from(tried.is_some()), []);
        drop(tried);
        scene.finish([]);
    });
}

/// A closing gate and a permit that comes back: whoever was in line is granted it or refused, and woken for it.
#[test]
fn closing_meets_a_release() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let (mut first, mut second) = (scene.in_line(1), scene.in_line(1));
        let releasing = thread::spawn(move || drop(held));
        scene.gate.close();
        releasing.join().unwrap();
        assert!(first.is_woken() && second.is_woken());
        match first.poll() {
            Poll::Ready(Ok(admitted)) => drop(admitted),
            Poll::Ready(Err(AcquireError::Closed { .. })) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(second.poll(), Poll::Ready(Err(AcquireError::Closed { .. }))));
        scene.finish([]);
    });
}

/// A limit falls, without the lock, below the weight of one who is about to wait: that one is refused at the door or in
/// line, and never waits for what cannot be.
#[test]
fn shrinking_meets_one_who_becomes_too_large() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let held = scene.hold(1).unwrap();
        let coming = scene.spawn(|scene| {
            let mut coming = scene.request(2);
            let answer = coming.poll();
            (coming, answer)
        });
        scene.gate.resize(Limit::MIN);
        let (mut coming, answer) = coming.join().unwrap();
        let answer = if answer.is_ready() { answer } else { coming.poll() };
        assert!(matches!(answer, Poll::Ready(Err(AcquireError::TooLarge { .. }))), "{answer:?}");
        drop(held);
        scene.finish([]);
    });
}

/// Permits go on to the line without showing in the word, until the limit changes or the line ends.
#[test]
fn growth_meets_what_was_handed_over() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let waiting = [1, 1, 1].map(|weight| scene.in_line(weight));
        drop(held);
        scene.allow(2);
        let growing = scene.spawn(|scene| scene.gate.resize(Limit::new(2)));
        assert!(scene.gate.try_acquire().is_err(), "the line is longer than what has come");
        growing.join().unwrap();
        let [first, second, third] = waiting;
        assert!(first.is_woken() && second.is_woken() && !third.is_woken());
        scene.assert_rests(0, [&first, &second, &third]);
        scene.finish([Some(first), Some(second), Some(third)]);
    });
}

/// A limit falls while one comes and one goes.
#[test]
fn shrinking_acquire_and_release() {
    check(Threads::Three, || {
        let scene = Scene::new(2);
        let held = scene.hold(1).unwrap();
        let releasing = thread::spawn(move || drop(held));
        let coming = scene.spawn(|scene| {
            let mut coming = scene.request(1);
            let answer = coming.poll();
            (coming, answer)
        });
        scene.gate.resize(Limit::new(1));
        let late = scene.hold(1);
        releasing.join().unwrap();
        let (coming, answer) = coming.join().unwrap();
        let held = u32::from(late.is_some()) + u32::from(answer.is_ready());
        assert_eq!(scene.gate.status().debt, held.saturating_sub(1));
        drop(late);
        match answer {
            Poll::Ready(admitted) => {
                drop(admitted);
                scene.finish([]);
            }
            Poll::Pending => scene.finish([Some(coming)]),
        }
    });
}

/// A gate closes while one comes and one goes.
#[test]
fn closing_acquire_and_release() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let waiting = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        let coming = scene.spawn(|scene| scene.acquire_and_release(1));
        scene.gate.close();
        releasing.join().unwrap();
        let coming = coming.join().unwrap();
        assert!(waiting.is_woken());
        assert!(coming.as_ref().is_none_or(Task::is_woken));
        scene.finish([Some(waiting), coming]);
        assert!(scene.gate.is_closed());
    });
}

/// The limit rises while one comes and one goes.
#[test]
fn growth_acquire_and_release() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let waiting = scene.in_line(1);
        scene.allow(2);
        let releasing = thread::spawn(move || drop(held));
        let coming = scene.spawn(|scene| scene.acquire_and_release(1));
        scene.gate.resize(Limit::new(2));
        releasing.join().unwrap();
        let coming = coming.join().unwrap();
        assert!(waiting.is_woken() && coming.as_ref().is_none_or(Task::is_woken));
        scene.finish([Some(waiting), coming]);
    });
}
