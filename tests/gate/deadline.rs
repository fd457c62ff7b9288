//! Requests with a deadline or a maximum wait.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, Gate, OwnedPermit};
use tokio::time::{Instant, advance};

use crate::support::{MS, NAME, assert_idle, expect_ready, gate, poll_once, start_waiting, unmeasured_gate};

fn deadline_exceeded(waited: Duration) -> AcquireError {
    AcquireError::DeadlineExceeded { gate: NAME, waited }
}

/// A request leaves the queue at its deadline, reports how long it waited, and admits the requests behind it
/// that fit.
#[tokio::test(start_paused = true)]
async fn an_expired_head_leaves_at_its_deadline_and_admits_the_next() {
    for gate in [gate(3), unmeasured_gate(3)] {
        let _held = gate.try_acquire_many(2).unwrap();
        let (mut heavy, heavy_counter) = start_waiting(gate.request().weight(3).max_wait(10 * MS).acquire());
        let (mut light, light_counter) = start_waiting(gate.acquire());
        advance(9 * MS).await;
        assert_eq!((heavy_counter.wakes(), poll_once(&mut heavy).is_pending()), (0, true));
        advance(MS).await;
        let Poll::Ready(Err(error)) = poll_once(&mut heavy) else { panic!("its deadline has passed") };
        assert_eq!(error, deadline_exceeded(10 * MS));
        assert_eq!(light_counter.wakes(), 1);
        assert!(poll_once(&mut light).is_ready());
        assert_eq!(gate.status().totals.queue.expired, 1);
    }
}

/// An expired request leaves the queue even if its future is not polled. It admits the next request, its
/// waker is woken and dropped, and its outcome no longer changes.
#[tokio::test(start_paused = true)]
async fn an_expired_request_leaves_unpolled_and_keeps_no_waker() {
    for gate in [gate(2), unmeasured_gate(2)] {
        let held = gate.try_acquire().unwrap();
        let (mut expiring, counter) = start_waiting(gate.request().weight(2).max_wait(MS).acquire_owned());
        let (mut next, next_counter) = start_waiting(gate.acquire());
        advance(MS).await;
        assert_eq!(
            (counter.wakes(), Arc::strong_count(&counter)),
            (1, 1),
            "although its future still exists"
        );
        assert_eq!((next_counter.wakes(), gate.status().waiting), (1, 0));
        assert!(poll_once(&mut next).is_ready());
        drop(held);
        assert!(matches!(poll_once(&mut expiring), Poll::Ready(Err(_))), "a later release does not admit it");
        assert_eq!(counter.wakes(), 1);
        assert_idle(&gate);
    }
}

/// Several deadlines are met, each at its time, in whatever order they were set.
#[tokio::test(start_paused = true)]
async fn several_deadlines_are_met_in_order_of_time() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let _held = gate.try_acquire().unwrap();
        let waiting = [2, 4, 1, 3].map(|wait| start_waiting(gate.request().max_wait(wait * MS).acquire()));
        let wakes = || waiting.each_ref().map(|(_, counter)| counter.wakes());
        for expired in [[0, 0, 1, 0], [1, 0, 1, 0], [1, 0, 1, 1], [1, 1, 1, 1]] {
            advance(MS).await;
            assert_eq!(wakes(), expired);
        }
    }
}

/// At the deadline the waker of the latest poll is woken. No waker is kept once the request has resolved.
#[tokio::test(start_paused = true)]
async fn a_resolved_request_with_a_deadline_keeps_no_waker() {
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire().unwrap();
        let (mut expiring, counter) = start_waiting(gate.request().max_wait(MS).acquire());
        advance(MS).await;
        assert_eq!(counter.wakes(), 1);
        assert!(poll_once(&mut expiring).is_ready());
        assert_eq!(Arc::strong_count(&counter), 1);

        let (mut admitted, counter) = start_waiting(gate.request().max_wait(MS).acquire());
        drop(held);
        assert!(matches!(poll_once(&mut admitted), Poll::Ready(Ok(_))));
        assert_eq!(Arc::strong_count(&counter), 1, "the timer released the waker when the wait ended");
    }
}

/// A request that was admitted before its deadline resolves to its permit, however late its future is polled.
#[tokio::test(start_paused = true)]
async fn an_admission_before_the_deadline_wins() {
    for (gate, measured) in [(gate(1), Some(MS / 2)), (unmeasured_gate(1), None)] {
        let held = gate.try_acquire().unwrap();
        let (mut waiting, _) = start_waiting(gate.request().max_wait(MS).acquire());
        advance(MS / 2).await;
        drop(held);
        advance(60 * MS).await;
        assert!(matches!(poll_once(&mut waiting), Poll::Ready(Ok(_))));
        assert_eq!(gate.status().waits.max(), measured, "the wait ends at the admission, not at the poll");
        assert_idle(&gate);
    }
}

/// A request whose deadline has passed is admitted if it fits, and is rejected instead of waiting.
#[tokio::test(start_paused = true)]
async fn a_request_with_a_passed_deadline_never_waits() {
    for gate in [gate(1), unmeasured_gate(1)] {
        advance(MS).await;
        let passed = Instant::now() - MS;
        let permit = expect_ready(gate.request().deadline(passed).acquire()).unwrap();
        for error in [
            expect_ready(gate.request().deadline(passed).acquire()).unwrap_err(),
            expect_ready(gate.request().deadline(Instant::now()).acquire()).unwrap_err(),
            expect_ready(gate.request().max_wait(Duration::ZERO).acquire_owned()).unwrap_err(),
        ] {
            assert_eq!(error, deadline_exceeded(Duration::ZERO));
        }
        let totals = gate.status().totals;
        assert_eq!((totals.rejected.expired, totals.queue.enqueued), (3, 0));
        drop(permit);
        assert_idle(&gate);
    }
}

/// The earliest of the request's deadline, its maximum wait and the gate's maximum wait applies.
#[tokio::test(start_paused = true)]
async fn the_earliest_deadline_applies() {
    let gate = Gate::builder(NAME, Limit::MIN).max_wait(5 * MS).build();
    let _held = gate.try_acquire().unwrap();
    let start = Instant::now();
    for (deadline, max_wait, waited) in [(9, 9, 5), (3, 9, 3), (9, 4, 4)] {
        let request = gate.request().deadline(Instant::now() + deadline * MS).max_wait(max_wait * MS);
        assert_eq!(request.acquire().await.unwrap_err(), deadline_exceeded(waited * MS));
    }
    assert_eq!(gate.acquire().await.unwrap_err(), deadline_exceeded(5 * MS));
    assert_eq!(start.elapsed(), 17 * MS);
}

/// A deadline or maximum wait beyond the range of the clock means no deadline. It needs no timer, and so no
/// runtime.
#[test]
fn a_deadline_beyond_the_clock_is_none() {
    let gate = Gate::builder(NAME, Limit::MIN).max_wait(Duration::MAX).build();
    let held = gate.try_acquire().unwrap();
    let (waiting, _) = start_waiting(gate.request().max_wait(Duration::MAX).acquire());
    // The latest instant that can be represented: add each power of two that does not overflow, then the
    // nanoseconds.
    let mut latest = Instant::now();
    let steps = (0..64).rev().map(|bit| Duration::from_secs(1 << bit));
    for step in steps.chain([Duration::from_nanos(999_999_999)]) {
        latest = latest.checked_add(step).unwrap_or(latest);
    }
    let (another, _) = start_waiting(gate.request().deadline(latest).acquire());
    drop((waiting, another, held));
    assert_idle(&gate);
}

/// A maximum wait that the clock can represent, but that ends beyond its range, means no deadline either.
#[test]
fn a_wait_that_ends_beyond_the_clock_has_no_deadline() {
    let longest = Duration::new(9_223_372_035, 999_999_999);
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let error = gate.request().max_wait(Duration::ZERO).acquire_blocking().unwrap_err();
    assert_eq!(error, deadline_exceeded(Duration::ZERO));
    // The clock starts at its first use, above at the latest, and counts to 2^63 - 1 ns. A wait of `longest`
    // ends within that range only if it begins in the first 855 ms.
    thread::sleep(900 * MS);
    let (waiting, _) = start_waiting(gate.request().max_wait(longest).acquire());
    drop((waiting, held));
    assert_idle(&gate);
}

/// A permit that is released at the end of a thread admits the next request, although tokio's thread-local
/// clock is already destroyed on that thread.
#[tokio::test(start_paused = true)]
async fn a_permit_released_at_thread_exit_admits_the_next() {
    thread_local! {
        static HELD: RefCell<Option<OwnedPermit>> = const { RefCell::new(None) };
    }
    for gate in [gate(1), unmeasured_gate(1)] {
        let held = gate.try_acquire_owned().unwrap();
        let (mut waiting, counter) = start_waiting(gate.acquire());
        thread::spawn(move || {
            HELD.set(Some(held)); // the first thread-local in use on this thread, so the last to be destroyed
            let _used = Instant::now();
        })
        .join()
        .unwrap();
        assert_eq!((counter.wakes(), poll_once(&mut waiting).is_ready()), (1, true));
        assert_idle(&gate);
    }
}

/// A strict request whose deadline has passed is rejected although permits are available, and counted as expired. Before
/// its deadline it is a request like any other.
#[tokio::test(start_paused = true)]
async fn a_strict_deadline_is_checked_on_arrival() {
    let gate = gate(2);
    let past = gate.request().deadline(Instant::now());
    let expired = Err(deadline_exceeded(Duration::ZERO));
    assert!(expect_ready(past.acquire()).is_ok(), "by default it is admitted");
    let strict = past.strict_deadline();
    assert_eq!(expect_ready(strict.acquire()).map(drop), expired);
    assert_eq!(expect_ready(strict.acquire_owned()).map(drop), expired);
    let impatient = gate.request().max_wait(Duration::ZERO).strict_deadline();
    assert!(expect_ready(impatient.acquire()).is_ok(), "its deadline has not passed");
    let (on_thread, seen) = (gate.clone(), expired.clone());
    let blocked = move || {
        let request = on_thread.request().deadline(Instant::now()).strict_deadline();
        assert_eq!(request.acquire_blocking().map(drop), seen);
    };
    thread::spawn(blocked).join().unwrap();
    assert_eq!((gate.status().totals.rejected.expired, gate.in_use()), (3, 0));

    let in_time = gate.request().max_wait(MS).strict_deadline();
    let held = expect_ready(in_time.weight(2).acquire()).unwrap();
    let (mut waiting, counter) = start_waiting(in_time.acquire());
    drop(held);
    assert_eq!(counter.wakes(), 1);
    advance(2 * MS).await;
    assert!(matches!(poll_once(&mut waiting), Poll::Ready(Ok(_))), "it was admitted in time");
    assert!(strict.try_acquire().is_ok(), "a try has no deadline");
    assert_idle(&gate);
}

/// A strict request that is invalid is rejected for that reason, whatever its deadline.
#[tokio::test(start_paused = true)]
async fn a_strict_deadline_is_checked_last() {
    let gate = Gate::builder(NAME, Limit::new(1)).queue(0).build();
    let strict = gate.request().deadline(Instant::now()).strict_deadline();
    assert_eq!(
        expect_ready(strict.weight(0).acquire()).map(drop),
        Err(AcquireError::ZeroWeight { gate: NAME })
    );
    let too_large = AcquireError::TooLarge { gate: NAME, weight: 2, limit: Limit::new(1) };
    assert_eq!(expect_ready(strict.weight(2).acquire()).map(drop), Err(too_large));
    let _held = gate.try_acquire().unwrap();
    assert_eq!(expect_ready(strict.acquire()).map(drop), Err(deadline_exceeded(Duration::ZERO)));
    gate.close();
    assert_eq!(expect_ready(strict.acquire()).map(drop), Err(AcquireError::Closed { gate: NAME }));
}
