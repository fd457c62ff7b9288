//! The gate under a model checker: every way in which a few threads can meet in it, through the public surface.
//!
//! Runs only under `--cfg gate_loom`, where loom stands in for the gate's lock and atomics: `.ci/run loom`, or
//! `.ci/run loom-deep` for the models of three threads with more preemptions than fit a change's checks. What each model
//! holds stands in docs/ORDERING.md.
//!
//! A request is a future that owns its gate, so that any thread can poll or drop it. Wakers only count: nobody is
//! polled for being in line. At the end of each model those who were woken are polled and give back what they got,
//! until nobody is woken any more; whoever is in line then was lost. After each run the gate's place has to have been
//! given back, once (`src/gate/inner.rs` sees to that).

#![cfg(gate_loom)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "this is a test"
)]

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize as Counter;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use concurrency_governor::gate::{AcquireError, Gate, OwnedPermit, TryAcquireError};
use concurrency_governor::{GateName, Limit};
use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::thread;

// Two threads: every execution there is.

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

/// A deadline that meets a grant: the request ends as one of both, and the permit is not lost with it.
#[test]
fn deadline_meets_a_grant() {
    let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Arc::new(paused.unwrap());
    // Entered once, for all threads of the model: to the runtime they are one.
    let entered = Arc::clone(&runtime);
    let _entered = entered.enter();
    check(Threads::Two, move || {
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
        let mut hasty = scene.request_within(1, Duration::from_millis(5));
        assert!(hasty.poll().is_pending());
        let patient = scene.in_line(1);
        let releasing = thread::spawn(move || drop(held));
        runtime.block_on(tokio::time::advance(Duration::from_millis(10)));
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
        let scene = Scene::new(1);
        let held = scene.hold(1).unwrap();
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

/// The count of admissions runs full and is moved out while others admit: none is lost and none counted twice.
#[test]
fn admissions_are_moved_out() {
    check(Threads::Two, || {
        let scene = Scene::new(2);
        for _ in 0..3 {
            scene.try_work(1).unwrap();
        }
        let other = scene.spawn(|scene| {
            scene.try_work(1).unwrap();
            scene.try_work(1).unwrap();
        });
        scene.try_work(1).unwrap();
        other.join().unwrap();
        assert_eq!(scene.gate.status().totals.admitted, 6);
        scene.finish([]);
    });
}

// Three threads: up to a number of preemptions.

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

/// How many threads meet in a model, and so how much of it can be seen.
#[derive(Clone, Copy)]
enum Threads {
    Two,
    Three,
}

/// Runs a model in every way there is, up to a number of preemptions for more than two threads.
fn check(threads: Threads, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    if let Threads::Three = threads {
        let deep = std::env::var("GATE_LOOM_PREEMPTIONS").ok();
        builder.preemption_bound = Some(deep.map_or(PREEMPTIONS, |bound| bound.parse().unwrap()));
    }
    let executions = Arc::new(Counter::new(0));
    let (counted, begun) = (Arc::clone(&executions), Instant::now());
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {} executions, {:.1?}", executions.load(SeqCst), begun.elapsed());
}

/// Enough to find each of the faults that were planted (docs/ORDERING.md), and done in seconds.
const PREEMPTIONS: usize = 3;

/// One gate, what is done under its permits, and who was woken.
#[derive(Clone)]
struct Scene {
    gate: Arc<Gate>,
    flight: Arc<Flight>,
}

/// What is out at each instant, apart from what the gate says.
struct Flight {
    held: Counter,
    /// No more than this may be held at once.
    allowed: Counter,
    /// Who holds a permit of a gate with one reads this and writes it with one more. Relaxed, so that nothing but the
    /// gate makes what one wrote known to the next.
    worked: AtomicUsize,
    /// As many as did so, by a count that is always right.
    works: Counter,
    bells: Mutex<Vec<Arc<Bell>>>,
}

impl Scene {
    fn new(limit: u32) -> Self {
        let flight = Flight {
            held: Counter::new(0),
            allowed: Counter::new(limit as usize),
            worked: AtomicUsize::new(0),
            works: Counter::new(0),
            bells: Mutex::default(),
        };
        Self {
            gate: Arc::new(Gate::new(GateName::new("modelled"), Limit::new(limit))),
            flight: Arc::new(flight),
        }
    }

    fn spawn<T: 'static>(&self, step: impl FnOnce(&Self) -> T + 'static) -> thread::JoinHandle<T> {
        let scene = self.clone();
        thread::spawn(move || {
            let result = step(&scene);
            drop(scene);
            result
        })
    }

    /// Before the limit is raised.
    fn allow(&self, limit: usize) {
        self.flight.allowed.store(limit, SeqCst);
    }

    fn request(&self, weight: u32) -> Task {
        self.request_within(weight, Duration::MAX)
    }

    fn request_within(&self, weight: u32, wait: Duration) -> Task {
        let (gate, flight) = (Arc::clone(&self.gate), Arc::clone(&self.flight));
        let future = async move {
            let permit = gate.request().weight(weight).max_wait(wait).acquire_owned().await?;
            Ok(Held::new(permit, flight))
        };
        Task { future: Box::pin(future), bell: self.bell(), scene: self.clone(), weight }
    }

    /// A request that has to wait.
    fn in_line(&self, weight: u32) -> Task {
        let mut task = self.request(weight);
        assert!(task.poll().is_pending());
        task
    }

    /// A permit, if it is to be had at once.
    fn hold(&self, weight: u32) -> Option<Held> {
        let permit = self.gate.try_acquire_many_owned(weight).ok()?;
        Some(Held::new(permit, Arc::clone(&self.flight)))
    }

    /// Comes, works and goes; or is in line.
    fn acquire_and_release(&self, weight: u32) -> Option<Task> {
        let mut task = self.request(weight);
        match task.poll() {
            Poll::Ready(Ok(held)) => self.work(&held),
            Poll::Ready(Err(AcquireError::Closed { .. })) => {}
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => return Some(task),
        }
        None
    }

    fn try_work(&self, weight: u32) -> Option<()> {
        self.hold(weight).map(|held| self.work(&held))
    }

    /// Does something under a permit that the next has to see, where there is but one.
    fn work(&self, _held: &Held) {
        let worked = self.flight.worked.load(Relaxed);
        self.flight.worked.store(worked + 1, Relaxed);
        self.flight.works.fetch_add(1, SeqCst);
    }

    fn assert_worked(&self, times: usize) {
        assert_eq!(self.flight.works.load(SeqCst), times);
        self.assert_worked_in_turn();
    }

    fn assert_worked_in_turn(&self) {
        let works = self.flight.works.load(SeqCst);
        assert_eq!(self.flight.worked.load(Relaxed), works, "one did not see what another had done");
    }

    fn draining(&self) -> Draining {
        let gate = Arc::clone(&self.gate);
        let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move { gate.drained().await });
        let bell = self.bell();
        let is_ready = future.as_mut().poll(&mut Context::from_waker(&bell.waker())).is_ready();
        Draining { future, bell, is_ready }
    }

    fn bell(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.flight.bells.lock().unwrap().push(Arc::clone(&bell));
        bell
    }

    /// The books, when nothing is in motion: so much is held in permits, and these requests are on their way.
    fn assert_rests<const N: usize>(&self, held: u32, tasks: [&Task; N]) {
        let granted: u32 = tasks.iter().filter(|task| task.is_woken()).map(|task| task.weight).sum();
        let status = self.gate.status();
        let limit = status.limit.get();
        let waiting = tasks.iter().filter(|task| !task.is_woken());
        assert_eq!(held + granted + status.available, limit + status.debt, "{status:?}");
        assert_eq!(status.debt, (held + granted).saturating_sub(limit), "{status:?}");
        assert_eq!(status.in_use, held + granted, "{status:?}");
        assert_eq!(status.waiting, waiting.clone().count(), "{status:?}");
        if let Some(head) = { waiting }.next() {
            assert!(head.weight > status.available && !status.closed, "the head fits: {status:?}");
        }
        let line = status.totals.line;
        let over = line.admitted + line.cancelled + line.expired + line.closed + line.too_large;
        assert_eq!(line.joined, over + status.waiting as u64, "{status:?}");
    }

    /// Polls who was woken, until nobody is; then nobody may be in line, nothing out, and no waker kept.
    fn finish<const N: usize>(&self, tasks: [Option<Task>; N]) {
        let mut tasks: Vec<Task> = tasks.into_iter().flatten().collect();
        while let Some(woken) = tasks.iter().position(Task::is_woken) {
            match tasks.remove(woken).poll() {
                Poll::Ready(Ok(held)) => self.work(&held),
                Poll::Ready(Err(AcquireError::Closed { .. })) if self.gate.is_closed() => {}
                other => panic!("woken for this: {other:?}"),
            }
        }
        assert!(tasks.is_empty(), "{} were never woken: {:?}", tasks.len(), self.gate.status());
        let kept = u32::try_from(self.flight.held.load(SeqCst)).unwrap();
        self.assert_rests(kept, []);
        for bell in mem::take(&mut *self.flight.bells.lock().unwrap()) {
            assert_eq!(Arc::strong_count(&bell), 1, "a waker was kept");
        }
    }
}

/// A request on its way, with the bell that its latest waker rings.
struct Task {
    future: Pin<Box<dyn Future<Output = Result<Held, AcquireError>>>>,
    bell: Arc<Bell>,
    scene: Scene,
    weight: u32,
}

impl Task {
    fn poll(&mut self) -> Poll<Result<Held, AcquireError>> {
        let waker = self.bell.waker();
        let answer = self.future.as_mut().poll(&mut Context::from_waker(&waker));
        if answer.is_ready() {
            self.bell = Arc::default(); // so that the old one lives only in wakers that were kept
        }
        answer
    }

    /// With a waker that is not the one before.
    fn poll_anew(&mut self) -> Poll<Result<Held, AcquireError>> {
        self.bell = self.scene.bell();
        self.poll()
    }

    fn is_woken(&self) -> bool {
        self.bell.rung.load(SeqCst) > 0
    }
}

/// One who waits for the gate to be drained.
struct Draining {
    future: Pin<Box<dyn Future<Output = ()>>>,
    bell: Arc<Bell>,
    is_ready: bool,
}

impl Draining {
    /// Whether it was over at once, or was woken since.
    fn is_told(&self) -> bool {
        self.is_ready || self.bell.rung.load(SeqCst) > 0
    }

    /// Whether it is over and was told so.
    fn ends(mut self) -> bool {
        let mut poll = || self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        self.is_ready || (self.bell.rung.load(SeqCst) > 0 && poll())
    }
}

/// A permit that counts while it is out.
#[derive(Debug)]
struct Held {
    /// First, so that it stops to count before the permit is another's.
    _out: Out,
    permit: OwnedPermit,
}

impl Held {
    fn new(permit: OwnedPermit, flight: Arc<Flight>) -> Self {
        let weight = permit.weight() as usize;
        let held = flight.held.fetch_add(weight, SeqCst) + weight;
        assert!(held <= flight.allowed.load(SeqCst), "{held} are held");
        Self { _out: Out { flight, weight }, permit }
    }
}

/// So much that is held.
struct Out {
    flight: Arc<Flight>,
    weight: usize,
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.weight.fmt(f)
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        self.flight.held.fetch_sub(self.weight, SeqCst);
    }
}

/// A waker that counts.
#[derive(Default)]
struct Bell {
    rung: Counter,
}

impl Bell {
    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, SeqCst);
    }
}
