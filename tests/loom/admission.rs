//! Who comes, goes, gives up and gets in, and where they stand in line meanwhile.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::AcquireError;
use loom::thread;

use super::scene::{Scene, Threads, check};

/// Of two who want the one permit, one gets it, and the other gets it after: whoever is late to the line is not lost
/// between its look at the word and its place in line.
#[test]
fn two_acquires_for_one_permit() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let other = scene.spawn(|scene| scene.acquire_and_release(1));
        let mine = scene.acquire_and_release(1);
        scene.finish([mine, other.join().unwrap()]);
        scene.assert_worked(2);
    });
}

/// Two tries for one permit that is kept: one succeeds, and just one.
#[test]
fn two_tries_for_one_permit() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let other = scene.spawn(|scene| scene.hold(1));
        let mine = scene.hold(1);
        let other = other.join().unwrap();
        assert!(mine.is_some() != other.is_some());
        drop((mine, other));
        scene.finish([]);
    });
}

/// Two tries with room for both succeed, however they meet.
#[test]
fn two_tries_with_room_for_both() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let other = scene.spawn(|scene| scene.hold(1).is_some());
        assert!(scene.hold(1).is_some());
        assert!(other.join().unwrap());
        scene.finish([]);
    });
}

/// What one did under its permit is seen by the next, whichever way the permit went over.
#[test]
fn work_is_seen_by_the_next() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let other = scene.spawn(|scene| {
            scene.try_work(1);
            scene.try_work(1)
        });
        let mine = scene.acquire_and_release(1);
        other.join().unwrap();
        scene.finish([mine]);
        scene.assert_worked_in_turn();
    });
}

/// Who is granted the permits of several sees what each of them did, even of one who has given back and has yet to
/// come for the lock.
#[test]
fn work_of_several_is_seen_by_the_big_one() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let (held, other) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let releasing = scene.spawn(move |scene| {
            scene.work(&other);
            drop(other); // which may have looked before anybody was in line
        });
        let mut big = scene.in_line(2);
        drop(held);
        let answer = big.poll();
        if answer.is_ready() {
            scene.assert_worked(1);
        }
        releasing.join().unwrap();
        match answer {
            Poll::Ready(admitted) => drop(admitted),
            Poll::Pending => drop(big.poll()),
        }
        scene.finish([]);
    });
}

/// Who learns of its grant without coming for the lock sees what was done under the permit that it got.
#[test]
fn work_is_seen_by_who_was_in_line() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let mut waiting = scene.in_line(1);
        let polling = scene.spawn(move |scene| {
            let answer = waiting.poll();
            if answer.is_ready() {
                scene.assert_worked(1);
            }
            (waiting, answer)
        });
        scene.work(&held);
        drop(held);
        let (waiting, answer) = polling.join().unwrap();
        match answer {
            Poll::Ready(admitted) => {
                drop(admitted);
                scene.finish([]);
            }
            Poll::Pending => scene.finish([Some(waiting)]),
        }
    });
}

/// A grant that its owner gives up, before or after it was made, goes to the next in line.
#[test]
fn cancelled_grant_goes_to_the_next() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let (first, next) = (scene.in_line(1), scene.in_line(1));
        let releasing = thread::spawn(move || drop(held));
        drop(first);
        releasing.join().unwrap();
        scene.assert_rests(0, [&next]);
        assert!(next.is_woken());
        scene.finish([Some(next)]);
    });
}

/// When the big head gives up, the smaller one behind it does not wait for a release that may never come.
#[test]
fn cancelled_head_lets_the_smaller_one_pass() {
    check(Threads::Two, || {
        let scene = Scene::new(3);
        let (kept, held) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let (big, small) = (scene.in_line(3), scene.in_line(1));
        let releasing = thread::spawn(move || drop(held));
        drop(big);
        releasing.join().unwrap();
        assert!(small.is_woken());
        scene.assert_rests(1, [&small]);
        scene.finish([Some(small)]);
        drop(kept);
    });
}

/// Whoever comes by try meets the line while somebody is in it, and the room once nobody is.
#[test]
fn nobody_barges_past_the_line() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        let kept = scene.hold(1).unwrap();
        let big = scene.in_line(2);
        let trying = scene.spawn(|scene| scene.hold(1));
        drop(kept);
        let tried = trying.join().unwrap();
        assert!(tried.is_none(), "the big one was there first");
        assert!(big.is_woken());
        scene.finish([Some(big)]);
    });
}

/// A deadline that meets a grant: the request ends as one of both, and the permit is not lost with it.
#[test]
fn deadline_meets_a_grant() {
    check_by_the_clock(|pass_time| {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let mut hasty = scene.request_within(1, Duration::from_millis(5));
        assert!(hasty.poll().is_pending());
        let patient = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        pass_time();
        match hasty.poll() {
            Poll::Ready(Ok(admitted)) => {
                drop(hasty);
                releasing.join().unwrap();
                assert!(!patient.is_woken());
                scene.assert_rests(1, [&patient]);
                drop(admitted);
            }
            Poll::Ready(Err(AcquireError::DeadlineExceeded { .. })) => {
                drop(hasty);
                releasing.join().unwrap();
                assert!(patient.is_woken());
            }
            other => panic!("{other:?}"),
        }
        scene.assert_rests(0, [&patient]);
        scene.finish([Some(patient)]);
    });
}

/// When the big head's time is up, the smaller one behind it does not wait for a release that may never come.
#[test]
fn expired_head_lets_the_smaller_one_pass() {
    check_by_the_clock(|pass_time| {
        let scene = Scene::new(3);
        let (kept, held) = (scene.hold(1).unwrap(), scene.hold(1).unwrap());
        let mut big = scene.request_within(3, Duration::from_millis(5));
        assert!(big.poll().is_pending());
        let small = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        pass_time();
        assert!(matches!(big.poll(), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
        assert!(small.is_woken());
        releasing.join().unwrap();
        scene.assert_rests(1, [&small]);
        scene.finish([Some(small)]);
        drop(kept);
    });
}

/// A request that is polled with another waker just as it is granted has its permit, or the new waker is woken.
#[test]
fn waker_is_replaced_during_a_release() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let mut waiting = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        let answer = waiting.poll_anew();
        releasing.join().unwrap();
        match answer {
            Poll::Ready(admitted) => {
                drop(admitted);
                scene.finish([]);
            }
            Poll::Pending => {
                assert!(waiting.is_woken());
                scene.finish([Some(waiting)]);
            }
        }
    });
}

/// A place in line that its owner has vacated without the lock is given to the next, who sees nothing of the one before.
#[test]
fn claimed_place_is_used_again() {
    check(Threads::Two, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let mut first = scene.in_line(1);
        drop(held);
        assert!(first.is_woken());
        let others = scene.spawn(|scene| {
            let mut others = [scene.request(1), scene.request(1)];
            for other in &mut others {
                assert!(other.poll().is_pending());
            }
            others
        });
        let Poll::Ready(Ok(mine)) = first.poll() else { panic!("it was granted") };
        let [second, third] = others.join().unwrap();
        assert!(!second.is_woken() && !third.is_woken());
        scene.assert_rests(1, [&second, &third]);
        drop(mine);
        assert!(second.is_woken() && !third.is_woken());
        scene.finish([Some(second), Some(third)]);
    });
}

/// One comes, one goes and one gives up.
#[test]
fn acquire_release_and_cancel() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let given_up = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        let coming = scene.spawn(|scene| scene.acquire_and_release(1));
        drop(given_up);
        releasing.join().unwrap();
        scene.finish([coming.join().unwrap()]);
        scene.assert_worked(1);
    });
}

/// Three for one permit: each gets it in the end, and sees what the others did under it.
#[test]
fn three_acquires_for_one_permit() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let others = [(), ()].map(|()| scene.spawn(|scene| scene.acquire_and_release(1)));
        let mine = scene.acquire_and_release(1);
        let [second, third] = others.map(|other| other.join().unwrap());
        scene.finish([mine, second, third]);
        scene.assert_worked(3);
    });
}

/// Two tries while the permit comes back: one succeeds at most, and none once somebody is in line.
#[test]
fn two_tries_and_a_release() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let trying = [(), ()].map(|()| scene.spawn(|scene| scene.hold(1)));
        drop(held);
        let [first, second] = trying.map(|trying| trying.join().unwrap());
        assert!(first.is_none() || second.is_none());
        drop((first, second));
        scene.finish([]);
    });
}

/// The big head gives up while one permit comes back and another is taken.
#[test]
fn cancelled_head_release_and_try() {
    check(Threads::Three, || {
        let scene = Scene::new(2);
        let held = scene.hold(1).unwrap();
        let (big, small) = (scene.in_line(2), scene.in_line(1));
        let releasing = thread::spawn(move || drop(held));
        let trying = scene.spawn(|scene| scene.hold(1));
        drop(big);
        releasing.join().unwrap();
        assert!(small.is_woken());
        let tried = trying.join().unwrap();
        scene.assert_rests(u32::from(tried.is_some()), [&small]);
        drop(tried);
        scene.finish([Some(small)]);
    });
}

/// A grant that is claimed without the lock, while a third request looks for a place in line.
#[test]
fn claim_release_and_two_who_come() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let mut first = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        let coming = scene.spawn(|scene| [scene.acquire_and_release(1), scene.acquire_and_release(1)]);
        let first = match first.poll() {
            Poll::Ready(admitted) => {
                scene.work(&admitted.unwrap());
                None
            }
            Poll::Pending => Some(first),
        };
        releasing.join().unwrap();
        let [second, third] = coming.join().unwrap();
        scene.finish([first, second, third]);
        scene.assert_worked(3);
    });
}

/// A grant is given up and claimed by the next while a third comes.
#[test]
fn cancelled_grant_and_one_who_comes() {
    check(Threads::Three, || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let (given_up, next) = (scene.in_line(1), scene.in_line(1));
        drop(held);
        assert!(given_up.is_woken() && !next.is_woken());
        let coming = scene.spawn(|scene| scene.acquire_and_release(1));
        let claiming = scene.spawn(|scene| {
            let mut next = next;
            match next.poll() {
                Poll::Ready(admitted) => {
                    scene.work(&admitted.unwrap());
                    None
                }
                Poll::Pending => Some(next),
            }
        });
        drop(given_up);
        let coming = coming.join().unwrap();
        scene.finish([claiming.join().unwrap(), coming]);
        scene.assert_worked(2);
    });
}

/// The same for models of two threads in which time passes.
fn check_by_the_clock(model: impl Fn(&dyn Fn()) + Send + Sync + 'static) {
    let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Arc::new(paused.unwrap());
    // Entered once, for all threads of the model: to the runtime they are one.
    let entered = Arc::clone(&runtime);
    let _entered = entered.enter();
    check(Threads::Two, move || {
        model(&|| runtime.block_on(tokio::time::advance(Duration::from_millis(10))));
    });
}
