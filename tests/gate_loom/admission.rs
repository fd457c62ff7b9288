//! Requests that arrive, wait, are cancelled, expire and are admitted.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::AcquireError;
use loom::thread;

use super::harness::{TestGate, Threads, check};

/// Two requests for one permit get it one after the other. A request that enqueues while the permit is
/// released misses no wake-up.
#[test]
fn two_acquires_for_one_permit() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let other = gate.spawn(|gate| gate.acquire_and_release(1));
        let mine = gate.acquire_and_release(1);
        gate.finish([mine, other.join().unwrap()]);
        gate.assert_work_done(2);
    });
}

/// Of two `try_acquire` calls for one permit that is not released, exactly one succeeds.
#[test]
fn two_tries_for_one_permit() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let other = gate.spawn(|gate| gate.try_acquire(1));
        let mine = gate.try_acquire(1);
        let other = other.join().unwrap();
        assert!(mine.is_some() != other.is_some());
        drop((mine, other));
        gate.finish([]);
    });
}

/// Two concurrent `try_acquire` calls succeed where there are permits for both.
#[test]
fn two_tries_with_room_for_both() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let other = gate.spawn(|gate| gate.try_acquire(1).is_some());
        assert!(gate.try_acquire(1).is_some());
        assert!(other.join().unwrap());
        gate.finish([]);
    });
}

/// Work under a permit is visible to the next holder, whether that holder waited for the permit or not.
#[test]
fn work_is_visible_to_the_next_holder() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let other = gate.spawn(|gate| {
            gate.try_work(1);
            gate.try_work(1);
        });
        let mine = gate.acquire_and_release(1);
        other.join().unwrap();
        gate.finish([mine]);
        gate.assert_work_visible();
    });
}

/// A heavy request that is admitted with the permits of several holders sees the work of each of them. This
/// includes a holder that has released its permit and has not taken the lock yet.
#[test]
fn work_of_several_holders_is_visible_to_a_heavy_request() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let (permit, other) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let releasing = gate.spawn(move |gate| {
            gate.work(&other);
            drop(other); // the queue may still be empty at this moment
        });
        let mut heavy = gate.enqueue(2);
        drop(permit);
        let result = heavy.poll();
        if result.is_ready() {
            gate.assert_work_done(1);
        }
        releasing.join().unwrap();
        match result {
            Poll::Ready(admitted) => drop(admitted),
            Poll::Pending => drop(heavy.poll()),
        }
        gate.finish([]);
    });
}

/// A request that learns of its admission without taking the lock sees the work under the permit that it got.
#[test]
fn work_is_visible_to_an_admitted_waiter() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let mut waiting = gate.enqueue(1);
        let polling = gate.spawn(move |gate| {
            let result = waiting.poll();
            if result.is_ready() {
                gate.assert_work_done(1);
            }
            (waiting, result)
        });
        gate.work(&permit);
        drop(permit);
        let (waiting, result) = polling.join().unwrap();
        match result {
            Poll::Ready(admitted) => {
                drop(admitted);
                gate.finish([]);
            }
            Poll::Pending => gate.finish([Some(waiting)]),
        }
    });
}

/// When a request is cancelled before or after it is admitted, the next waiter is admitted.
#[test]
fn cancelled_admission_goes_to_the_next_waiter() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let (first, next) = (gate.enqueue(1), gate.enqueue(1));
        let releasing = thread::spawn(move || drop(permit));
        drop(first);
        releasing.join().unwrap();
        gate.assert_balanced(0, [&next]);
        assert!(next.is_woken());
        gate.finish([Some(next)]);
    });
}

/// When a heavy head is cancelled, a lighter waiter behind it that fits is admitted. It does not wait for
/// another release.
#[test]
fn cancelled_head_admits_a_lighter_waiter() {
    check(Threads::Two, || {
        let gate = TestGate::new(3);
        let (kept, permit) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let (heavy, light) = (gate.enqueue(3), gate.enqueue(1));
        let releasing = thread::spawn(move || drop(permit));
        drop(heavy);
        releasing.join().unwrap();
        assert!(light.is_woken());
        gate.assert_balanced(1, [&light]);
        gate.finish([Some(light)]);
        drop(kept);
    });
}

/// `try_acquire` does not take a permit while a request waits, even if it races the release that admits this
/// request.
#[test]
fn try_acquire_does_not_barge() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let heavy = gate.enqueue(2);
        let trying = gate.spawn(|gate| gate.try_acquire(1));
        drop(permit);
        let tried = trying.join().unwrap();
        assert!(tried.is_none(), "the heavy request arrived first");
        assert!(heavy.is_woken());
        gate.finish([Some(heavy)]);
    });
}

/// A request whose deadline races its admission either expires or is admitted, and its permit is not lost.
#[test]
fn deadline_races_an_admission() {
    check_with_clock(|advance_time| {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let mut with_deadline = gate.request_with_max_wait(1, Duration::from_millis(5));
        assert!(with_deadline.poll().is_pending());
        let next = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        advance_time();
        match with_deadline.poll() {
            Poll::Ready(Ok(admitted)) => {
                drop(with_deadline);
                releasing.join().unwrap();
                assert!(!next.is_woken());
                gate.assert_balanced(1, [&next]);
                drop(admitted);
            }
            Poll::Ready(Err(AcquireError::DeadlineExceeded { .. })) => {
                drop(with_deadline);
                releasing.join().unwrap();
                assert!(next.is_woken());
            }
            other => panic!("{other:?}"),
        }
        gate.assert_balanced(0, [&next]);
        gate.finish([Some(next)]);
    });
}

/// When a heavy head expires, a lighter waiter behind it that fits is admitted. It does not wait for another
/// release.
#[test]
fn expired_head_admits_a_lighter_waiter() {
    check_with_clock(|advance_time| {
        let gate = TestGate::new(3);
        let (kept, permit) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let mut heavy = gate.request_with_max_wait(3, Duration::from_millis(5));
        assert!(heavy.poll().is_pending());
        let light = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        advance_time();
        assert!(matches!(heavy.poll(), Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
        assert!(light.is_woken());
        releasing.join().unwrap();
        gate.assert_balanced(1, [&light]);
        gate.finish([Some(light)]);
        drop(kept);
    });
}

/// A request that is polled with a new waker during its admission has its permit, or its new waker is woken.
#[test]
fn waker_is_replaced_during_a_release() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let mut waiting = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        let result = waiting.poll_with_new_waker();
        releasing.join().unwrap();
        match result {
            Poll::Ready(admitted) => {
                drop(admitted);
                gate.finish([]);
            }
            Poll::Pending => {
                assert!(waiting.is_woken());
                gate.finish([Some(waiting)]);
            }
        }
    });
}

/// A request that claims its permit without taking the lock does not disturb requests that enqueue at the
/// same time.
#[test]
fn claim_races_two_new_waiters() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let mut first = gate.enqueue(1);
        drop(permit);
        assert!(first.is_woken());
        let others = gate.spawn(|gate| {
            let mut others = [gate.request(1), gate.request(1)];
            for other in &mut others {
                assert!(other.poll().is_pending());
            }
            others
        });
        let Poll::Ready(Ok(mine)) = first.poll() else { panic!("the first request was admitted") };
        let [second, third] = others.join().unwrap();
        assert!(!second.is_woken() && !third.is_woken());
        gate.assert_balanced(1, [&second, &third]);
        drop(mine);
        assert!(second.is_woken() && !third.is_woken());
        gate.finish([Some(second), Some(third)]);
    });
}

/// An acquire, a release and a cancellation at the same time lose no permit and no wake-up.
#[test]
fn acquire_release_and_cancel() {
    check(Threads::Three, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let cancelled = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        let acquiring = gate.spawn(|gate| gate.acquire_and_release(1));
        drop(cancelled);
        releasing.join().unwrap();
        gate.finish([acquiring.join().unwrap()]);
        gate.assert_work_done(1);
    });
}

/// Each of three requests for one permit gets it, and sees the work of the others before it.
#[test]
fn three_acquires_for_one_permit() {
    check(Threads::Three, || {
        let gate = TestGate::new(1);
        let others = [(), ()].map(|()| gate.spawn(|gate| gate.acquire_and_release(1)));
        let mine = gate.acquire_and_release(1);
        let [second, third] = others.map(|other| other.join().unwrap());
        gate.finish([mine, second, third]);
        gate.assert_work_done(3);
    });
}

/// Of two `try_acquire` calls during a release of the only permit, at most one succeeds.
#[test]
fn two_tries_and_a_release() {
    check(Threads::Three, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let trying = [(), ()].map(|()| gate.spawn(|gate| gate.try_acquire(1)));
        drop(permit);
        let [first, second] = trying.map(|trying| trying.join().unwrap());
        assert!(first.is_none() || second.is_none());
        drop((first, second));
        gate.finish([]);
    });
}

/// A heavy head is cancelled while one permit is released and another is taken. The lighter waiter behind it
/// is admitted.
#[test]
fn cancelled_head_release_and_try() {
    check(Threads::Three, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let (heavy, light) = (gate.enqueue(2), gate.enqueue(1));
        let releasing = thread::spawn(move || drop(permit));
        let trying = gate.spawn(|gate| gate.try_acquire(1));
        drop(heavy);
        releasing.join().unwrap();
        assert!(light.is_woken());
        let tried = trying.join().unwrap();
        gate.assert_balanced(u32::from(tried.is_some()), [&light]);
        drop(tried);
        gate.finish([Some(light)]);
    });
}

/// A permit is claimed without taking the lock, while it is still being released and two more requests
/// arrive.
#[test]
fn claim_release_and_two_acquires() {
    check(Threads::Three, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let mut first = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        let acquiring = gate.spawn(|gate| [gate.acquire_and_release(1), gate.acquire_and_release(1)]);
        let first = match first.poll() {
            Poll::Ready(admitted) => {
                gate.work(&admitted.unwrap());
                None
            }
            Poll::Pending => Some(first),
        };
        releasing.join().unwrap();
        let [second, third] = acquiring.join().unwrap();
        gate.finish([first, second, third]);
        gate.assert_work_done(3);
    });
}

/// An admitted request is cancelled while the next waiter claims the permit and another request arrives.
#[test]
fn cancelled_admission_claim_and_acquire() {
    check(Threads::Three, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let (cancelled, next) = (gate.enqueue(1), gate.enqueue(1));
        drop(permit);
        assert!(cancelled.is_woken() && !next.is_woken());
        let acquiring = gate.spawn(|gate| gate.acquire_and_release(1));
        let claiming = gate.spawn(|gate| {
            let mut next = next;
            match next.poll() {
                Poll::Ready(admitted) => {
                    gate.work(&admitted.unwrap());
                    None
                }
                Poll::Pending => Some(next),
            }
        });
        drop(cancelled);
        let acquiring = acquiring.join().unwrap();
        gate.finish([claiming.join().unwrap(), acquiring]);
        gate.assert_work_done(2);
    });
}

/// Checks a model of two threads that can advance the clock by 10 ms.
fn check_with_clock(model: impl Fn(&dyn Fn()) + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = Arc::new(runtime.unwrap());
    // All threads of a model run on one OS thread, so entering the runtime once is enough.
    let entered = Arc::clone(&runtime);
    let _entered = entered.enter();
    check(Threads::Two, move || {
        model(&|| runtime.block_on(tokio::time::advance(Duration::from_millis(10))));
    });
}
