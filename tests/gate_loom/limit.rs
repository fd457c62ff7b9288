//! Limits that change and gates that close, while other threads acquire and release.

use std::task::Poll;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, TryAcquireError};
use loom::thread;

use super::harness::{TestGate, TestRequest, Threads, check};

/// A raised limit wakes exactly the waiters that fit, even if permits are released at the same time.
#[test]
fn raised_limit_wakes_every_waiter_that_fits() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(2).unwrap();
        let [first, second, third] = [1, 1, 2].map(|weight| gate.enqueue(weight));
        gate.allow(3);
        let releasing = thread::spawn(move || drop(permit));
        gate.inner.resize(Limit::new(3));
        releasing.join().unwrap();
        assert!(first.is_woken() && second.is_woken() && !third.is_woken());
        gate.assert_balanced(0, [&first, &second, &third]);
        gate.finish([Some(first), Some(second), Some(third)]);
    });
}

/// The permits of a raised limit go to the waiters. A concurrent `try_acquire` takes none of them.
#[test]
fn raised_limit_races_a_try_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let waiting = gate.enqueue(1);
        gate.allow(2);
        let trying = gate.spawn(|gate| gate.try_acquire(1).is_some());
        gate.inner.resize(Limit::new(2));
        assert!(!trying.join().unwrap(), "the waiter arrived first, and only one permit is available");
        assert!(waiting.is_woken());
        gate.assert_balanced(1, [&waiting]);
        drop(permit);
        gate.finish([Some(waiting)]);
    });
}

/// A lowered limit applies to every request that arrives after `resize` returned. Permits in use above it
/// become debt, and releases pay the debt first.
#[test]
fn lowered_limit_races_an_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let acquiring = gate.spawn(|gate| {
            let mut request = gate.request(1);
            let result = request.poll();
            (request, result)
        });
        let debt = gate.inner.resize(Limit::new(1)).debt;
        assert!(gate.inner.try_acquire().is_err(), "the only permit is in use");
        let (request, result) = acquiring.join().unwrap();
        assert_eq!(debt, u32::from(result.is_ready()));
        match result {
            Poll::Ready(admitted) => {
                gate.assert_balanced(2, []);
                drop(permit);
                assert!(
                    gate.inner.try_acquire().is_err(),
                    "the release paid the debt and no permit is available"
                );
                gate.assert_balanced(1, []);
                drop((admitted, request));
                gate.finish([]);
            }
            Poll::Pending => {
                gate.assert_balanced(1, [&request]);
                drop(permit);
                gate.finish([Some(request)]);
            }
        }
    });
}

/// A release during a lowering of the limit either pays the debt or makes a permit available, never both and
/// never neither.
#[test]
fn lowered_limit_races_a_release() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let (permit, kept) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let waiting = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        gate.inner.resize(Limit::new(1));
        releasing.join().unwrap();
        let admitted = u32::from(waiting.is_woken());
        let status = gate.inner.status();
        assert_eq!((status.in_use, status.available, status.debt), (1 + admitted, 0, admitted));
        gate.assert_balanced(1, [&waiting]);
        drop(kept);
        gate.finish([Some(waiting)]);
    });
}

/// A waiter that is heavier than a lowered limit is rejected unless it was admitted before. The waiter behind
/// it moves up.
#[test]
fn lowered_limit_rejects_a_waiter_that_is_too_large() {
    check(Threads::Two, || {
        let gate = TestGate::new(3);
        let (permit, kept) = (gate.try_acquire(1).unwrap(), gate.try_acquire(1).unwrap());
        let (mut heavy, light) = (gate.enqueue(2), gate.enqueue(1));
        let releasing = thread::spawn(move || drop(permit));
        gate.inner.resize(Limit::new(1));
        releasing.join().unwrap();
        assert!(heavy.is_woken() && !light.is_woken());
        match heavy.poll() {
            Poll::Ready(Ok(admitted)) => drop(admitted),
            Poll::Ready(Err(AcquireError::TooLarge { weight: 2, limit, .. })) => {
                assert_eq!(limit, Limit::MIN);
            }
            other => panic!("{other:?}"),
        }
        drop(kept);
        gate.finish([Some(light)]);
    });
}

/// Of two concurrent changes of the limit, the second one is in force in the end, and its permits are
/// available.
#[test]
fn two_concurrent_resizes() {
    check(Threads::Two, || {
        let gate = TestGate::new(3);
        let permit = gate.try_acquire(1).unwrap();
        let waiting = gate.enqueue(3);
        gate.allow(5);
        let other = gate.spawn(|gate| gate.inner.resize(Limit::new(5)));
        let mine = gate.inner.resize(Limit::new(4));
        let other = other.join().unwrap();
        let (first, last) = if mine.from.get() == 3 { (mine, other) } else { (other, mine) };
        assert_eq!((first.from.get(), first.to, last.to), (3, last.from, gate.inner.limit()));
        assert!(waiting.is_woken());
        gate.assert_balanced(1, [&waiting]);
        drop(permit);
        gate.finish([Some(waiting)]);
    });
}

/// Two concurrent changes of the limit with an empty queue have one order, even if a permit is released at
/// the same time.
#[test]
fn two_resizes_and_a_release() {
    check(Threads::Three, || {
        let gate = TestGate::new(3);
        let permit = gate.try_acquire(2).unwrap();
        gate.allow(5);
        let releasing = thread::spawn(move || drop(permit));
        let other = gate.spawn(|gate| gate.inner.resize(Limit::new(5)));
        let mine = gate.inner.resize(Limit::MIN);
        releasing.join().unwrap();
        let other = other.join().unwrap();
        let (first, last) = if mine.from.get() == 3 { (mine, other) } else { (other, mine) };
        assert_eq!((first.from.get(), first.to, last.to), (3, last.from, gate.inner.limit()));
        assert_eq!((other.debt, gate.inner.status().resized), (0, 2));
        assert!(mine.debt <= 1);
        gate.finish([]);
    });
}

/// A gate that closes rejects the requests that wait and those that arrive later, each once.
#[test]
fn closing_races_an_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let acquiring = gate.spawn(|gate| gate.acquire_and_release(1));
        gate.inner.close();
        assert!(matches!(gate.inner.try_acquire(), Err(TryAcquireError::Closed { .. })));
        if let Some(mut request) = acquiring.join().unwrap() {
            assert!(request.is_woken());
            assert!(matches!(request.poll(), Poll::Ready(Err(AcquireError::Closed { .. }))));
        }
        drop(permit);
        gate.finish([]);
    });
}

/// A `try_acquire` after `close` is rejected although permits are available. One before it keeps its permit.
#[test]
fn closing_races_a_try_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let trying = gate.spawn(|gate| gate.try_acquire(1));
        gate.inner.close();
        assert!(matches!(gate.inner.try_acquire(), Err(TryAcquireError::Closed { .. })));
        let tried = trying.join().unwrap();
        gate.assert_balanced(u32::from(tried.is_some()), []);
        drop(tried);
        gate.finish([]);
    });
}

/// When a gate closes during a release, each waiter is either admitted or rejected, and woken.
#[test]
fn closing_races_a_release() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let (mut first, mut second) = (gate.enqueue(1), gate.enqueue(1));
        let releasing = thread::spawn(move || drop(permit));
        gate.inner.close();
        releasing.join().unwrap();
        assert!(first.is_woken() && second.is_woken());
        match first.poll() {
            Poll::Ready(Ok(admitted)) => drop(admitted),
            Poll::Ready(Err(AcquireError::Closed { .. })) => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(second.poll(), Poll::Ready(Err(AcquireError::Closed { .. }))));
        gate.finish([]);
    });
}

/// A request that arrives while the limit falls below its weight, on the path without the lock, is rejected
/// on arrival or in the queue. It never waits for a limit that cannot admit it.
#[test]
fn lowered_limit_races_a_request_that_becomes_too_large() {
    check(Threads::Two, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let acquiring = gate.spawn(|gate| {
            let mut request = gate.request(2);
            let result = request.poll();
            (request, result)
        });
        gate.inner.resize(Limit::MIN);
        let (mut request, result) = acquiring.join().unwrap();
        let result = if result.is_ready() { result } else { request.poll() };
        assert!(matches!(result, Poll::Ready(Err(AcquireError::TooLarge { .. }))), "{result:?}");
        drop(permit);
        gate.finish([]);
    });
}

/// A permit that a release passes directly to a waiter is not admitted a second time when the limit is
/// raised.
#[test]
fn raised_limit_counts_a_handed_over_permit_once() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let waiting = [1, 1, 1].map(|weight| gate.enqueue(weight));
        drop(permit);
        gate.allow(2);
        let resizing = gate.spawn(|gate| gate.inner.resize(Limit::new(2)));
        assert!(gate.inner.try_acquire().is_err(), "more requests wait than permits become available");
        resizing.join().unwrap();
        let [first, second, third] = waiting;
        assert!(first.is_woken() && second.is_woken() && !third.is_woken());
        gate.assert_balanced(0, [&first, &second, &third]);
        gate.finish([Some(first), Some(second), Some(third)]);
    });
}

/// A limit is lowered during an acquire and a release. The debt is exactly what is in use above the new
/// limit.
#[test]
fn lowered_limit_acquire_and_release() {
    check(Threads::Three, || {
        let gate = TestGate::new(2);
        let permit = gate.try_acquire(1).unwrap();
        let releasing = thread::spawn(move || drop(permit));
        let acquiring = gate.spawn(|gate| {
            let mut request = gate.request(1);
            let result = request.poll();
            (request, result)
        });
        gate.inner.resize(Limit::new(1));
        let late = gate.try_acquire(1);
        releasing.join().unwrap();
        let (request, result) = acquiring.join().unwrap();
        let in_use = u32::from(late.is_some()) + u32::from(result.is_ready());
        assert_eq!(gate.inner.status().debt, in_use.saturating_sub(1));
        drop(late);
        match result {
            Poll::Ready(admitted) => {
                drop(admitted);
                gate.finish([]);
            }
            Poll::Pending => gate.finish([Some(request)]),
        }
    });
}

/// A gate closes during an acquire and a release. Every request that waited is woken.
#[test]
fn closing_acquire_and_release() {
    check(Threads::ThreeWithManySteps, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let waiting = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        let acquiring = gate.spawn(|gate| gate.acquire_and_release(1));
        gate.inner.close();
        releasing.join().unwrap();
        let acquiring = acquiring.join().unwrap();
        assert!(waiting.is_woken());
        assert!(acquiring.as_ref().is_none_or(TestRequest::is_woken));
        gate.finish([Some(waiting), acquiring]);
        assert!(gate.inner.is_closed());
    });
}

/// A limit is raised during an acquire and a release. Every request that fits is woken.
#[test]
fn raised_limit_acquire_and_release() {
    check(Threads::Three, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let waiting = gate.enqueue(1);
        gate.allow(2);
        let releasing = thread::spawn(move || drop(permit));
        let acquiring = gate.spawn(|gate| gate.acquire_and_release(1));
        gate.inner.resize(Limit::new(2));
        releasing.join().unwrap();
        let acquiring = acquiring.join().unwrap();
        assert!(waiting.is_woken() && acquiring.as_ref().is_none_or(TestRequest::is_woken));
        gate.finish([Some(waiting), acquiring]);
    });
}

/// A request that arrives while the gate is paused waits. One that was admitted has its permit.
#[test]
fn pausing_races_an_acquire() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let acquiring = gate.spawn(|gate| {
            let mut request = gate.request(1);
            let result = request.poll();
            (request, result)
        });
        gate.inner.pause();
        assert!(gate.inner.is_paused() && gate.inner.try_acquire().is_err());
        let (request, result) = acquiring.join().unwrap();
        match result {
            Poll::Ready(admitted) => drop((admitted, request)),
            Poll::Pending => {
                assert_eq!((gate.inner.in_use(), request.is_woken()), (0, false));
                gate.inner.resume();
                assert!(request.is_woken());
                gate.finish([Some(request)]);
                return;
            }
        }
        gate.inner.resume();
        gate.finish([]);
    });
}

/// A permit that is released while the gate is paused or resumed goes to the waiter, once the gate is resumed.
#[test]
fn pause_and_resume_race_a_release() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        let permit = gate.try_acquire(1).unwrap();
        let waiting = gate.enqueue(1);
        let releasing = thread::spawn(move || drop(permit));
        gate.inner.pause();
        gate.inner.resume();
        releasing.join().unwrap();
        assert!(waiting.is_woken());
        gate.finish([Some(waiting)]);
    });
}

/// The limit that is set while a gate is paused or resumed counts, whichever comes first.
#[test]
fn pause_and_resume_race_a_resize() {
    check(Threads::Two, || {
        let gate = TestGate::new(1);
        gate.allow(2);
        let resizing = gate.spawn(|gate| gate.inner.resize(Limit::new(2)));
        gate.inner.pause();
        assert!(gate.inner.try_acquire().is_err());
        gate.inner.resume();
        assert_eq!(resizing.join().unwrap().from, Limit::MIN);
        assert_eq!((gate.inner.limit(), gate.inner.available()), (Limit::new(2), 2));
        gate.finish([]);
    });
}
