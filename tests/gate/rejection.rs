//! Requests that are rejected on arrival, and the errors that they return.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, RetryAfter, TryAcquireError};
use concurrency_governor::{GateName, Limit};
use tokio::time::Instant;

use crate::support::{NAME, assert_idle, expect_ready, gate, poll_once, start_waiting};

/// A request of weight 0, or of a weight above the limit, is rejected; only its rejection is counted.
#[test]
fn impossible_weights_are_rejected_and_change_nothing() {
    let gate = gate(3);
    let held = gate.try_acquire().unwrap();
    let before = gate.status();
    let limit = Limit::new(3);
    for weight in [4, u32::MAX] {
        let error = expect_ready(gate.acquire_many(weight)).unwrap_err();
        assert_eq!(error, AcquireError::TooLarge { gate: NAME, weight, limit });
        let error = gate.try_acquire_many(weight).unwrap_err();
        assert_eq!(error, TryAcquireError::TooLarge { gate: NAME, weight, limit });
    }
    assert_eq!(expect_ready(gate.acquire_many(0)).unwrap_err(), AcquireError::ZeroWeight { gate: NAME });
    assert_eq!(gate.try_acquire_many(0).unwrap_err(), TryAcquireError::ZeroWeight { gate: NAME });
    assert_eq!(
        gate.request().weight(0).acquire_blocking().unwrap_err(),
        AcquireError::ZeroWeight { gate: NAME }
    );

    let after = gate.status();
    assert_eq!((after.totals.rejected.too_large, after.totals.rejected.zero_weight), (4, 3));
    assert_eq!(after.totals.rejected.sum(), 7);
    assert_eq!((after.in_use, after.available, after.waiting), (before.in_use, before.available, 0));
    drop(held);
    assert_idle(&gate);
}

/// A request for more than the limit is rejected by each way to acquire, even while requests wait, and delays
/// none of them.
#[test]
fn a_too_large_request_is_rejected_and_delays_no_other() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (mut waiting, counter) = start_waiting(gate.acquire());
    let limit = Limit::new(2);
    let too_large = AcquireError::TooLarge { gate: NAME, weight: 3, limit };
    assert_eq!(expect_ready(gate.acquire_many(3)).unwrap_err(), too_large);
    assert_eq!(expect_ready(gate.acquire_many_owned(3)).unwrap_err(), too_large);
    assert_eq!(gate.request().weight(3).acquire_blocking().unwrap_err(), too_large);
    assert_eq!(expect_ready(gate.request().weight(3).run(async {})).unwrap_err(), too_large);
    assert_eq!(
        gate.try_acquire_many(3).unwrap_err(),
        TryAcquireError::TooLarge { gate: NAME, weight: 3, limit }
    );
    assert_eq!((gate.status().waiting, gate.status().totals.queue.enqueued), (1, 1));
    drop(held);
    assert_eq!(counter.wakes(), 1);
    assert!(poll_once(&mut waiting).is_ready());
    assert_idle(&gate);
}

/// A weight that could overflow a counter is rejected before any number changes, on a gate that is full or in
/// debt.
#[test]
fn overflowing_weights_are_rejected_and_change_nothing() {
    let max = Limit::MAX.get();
    let gate = gate(max);
    let held = gate.try_acquire_many(max - 1).unwrap();
    for limit in [Limit::MAX, Limit::MIN] {
        gate.resize(limit);
        let before = gate.status();
        for weight in [max + 1, 1 << 31, (1 << 31) + max, u32::MAX - 1, u32::MAX] {
            let too_large = AcquireError::TooLarge { gate: NAME, weight, limit };
            assert_eq!(expect_ready(gate.acquire_many(weight)).unwrap_err(), too_large);
            assert_eq!(gate.request().weight(weight).acquire_owned_blocking().unwrap_err(), too_large);
            assert!(gate.try_acquire_many(weight).is_err() && gate.try_acquire_many_owned(weight).is_err());
        }
        let after = gate.status();
        assert_eq!(
            (after.in_use, after.available, after.debt, after.waiting, after.totals.admitted),
            (before.in_use, before.available, before.debt, 0, 1)
        );
    }
    drop(held);
    assert_idle(&gate);
}

/// The sum of the waiting weights may exceed every counter. The requests are still admitted one by one.
#[test]
fn the_sum_of_waiting_weights_does_not_overflow() {
    let max = Limit::MAX.get();
    let gate = gate(max);
    let held = gate.try_acquire_many(max).unwrap();
    // The first five add up to 2^32 - 1, all six to 2^32 + 1, without the permits in use.
    let mut waiting: Vec<_> =
        [max, max, max, max, 3, 2].map(|weight| start_waiting(gate.acquire_many(weight))).into();
    drop(held);
    for left in (0..6).rev() {
        let (mut first, counter) = waiting.remove(0);
        let all_fit = left < 2;
        assert_eq!(counter.wakes(), 1);
        assert_eq!(waiting.first().is_some_and(|(_, counter)| counter.wakes() > 0), all_fit && left > 0);
        let Poll::Ready(Ok(permit)) = poll_once(&mut first) else { panic!("it is first in the queue") };
        assert!(gate.status().in_use <= max && permit.weight() <= max);
    }
    assert_idle(&gate);
}

/// A bounded queue rejects further requests when it is full. Only requests that still wait take up the bound.
#[test]
fn a_full_queue_rejects() {
    let gate = Gate::builder(NAME, Limit::MIN).queue(2).build();
    let held = gate.try_acquire().unwrap();
    let (first, _) = start_waiting(gate.acquire());
    let (second, _) = start_waiting(gate.acquire());
    let full = AcquireError::QueueFull { gate: NAME, bound: 2, retry_after: RetryAfter::UNKNOWN };
    assert_eq!(expect_ready(gate.acquire()).unwrap_err(), full);
    assert_eq!(gate.acquire_blocking().unwrap_err(), full);
    drop(second);
    let (third, _) = start_waiting(gate.acquire());
    assert_eq!(expect_ready(gate.acquire_owned()).unwrap_err(), full);
    drop(held);
    let (fourth, _) = start_waiting(gate.acquire());
    assert_eq!(gate.status().totals.rejected.queue_full, 3);
    drop((first, third, fourth));
    assert_idle(&gate);
}

/// With a queue bound of 0 no request waits, and each request that fits is admitted.
#[test]
fn a_queue_bound_of_zero_rejects_instead_of_waiting() {
    let gate = Gate::builder(NAME, Limit::MIN).queue(0).build();
    let held = expect_ready(gate.acquire()).unwrap();
    assert_eq!(
        expect_ready(gate.acquire()).unwrap_err(),
        AcquireError::QueueFull { gate: NAME, bound: 0, retry_after: RetryAfter::UNKNOWN }
    );
    drop(held);
    assert!(expect_ready(gate.acquire()).is_ok());
}

/// Each rejected try is counted once, with requests in the queue or without, and changes nothing else.
#[test]
fn each_rejected_try_is_counted_once() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    for rejected in 1..=1000 {
        let waiting = (rejected % 300 == 0).then(|| start_waiting(gate.acquire()));
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
        let status = gate.status();
        assert_eq!((status.totals.rejected.no_permits, status.totals.admitted), (rejected, 1));
        assert_eq!((status.in_use, status.available), (2, 0));
        drop(waiting);
    }
    drop(held);
    assert_idle(&gate);
}

/// A request that was rejected panics when it is polled again, and is not rejected a second time.
#[test]
fn a_rejected_request_panics_when_polled_again() {
    let closed = gate(1);
    closed.close();
    let open = gate(1);
    let held = open.try_acquire().unwrap();
    let now = Instant::now();
    for rejected in [closed.acquire(), open.acquire_many(2), open.request().deadline(now).acquire()] {
        let mut rejected = Box::pin(rejected);
        assert!(matches!(poll_once(&mut rejected), Poll::Ready(Err(_))));
        assert!(catch_unwind(AssertUnwindSafe(|| poll_once(&mut rejected))).is_err());
    }
    drop(held);
    assert_eq!([&closed, &open].map(|gate| gate.status().totals.rejected.sum()), [1, 2]);
    assert_idle(&open);
}

/// Each error names its gate, what was given and what is allowed, in one lower-case sentence without a full
/// stop.
#[test]
fn errors_name_what_was_given_and_what_is_allowed() {
    let gate = GateName::new("uploads");
    let limit = Limit::new(8);
    let waited = Duration::from_millis(250);
    let errors = [
        (AcquireError::Closed { gate }, vec!["closed"]),
        (
            AcquireError::QueueFull { gate, bound: 32, retry_after: RetryAfter::UNKNOWN },
            vec!["32", "queue", "limit"],
        ),
        (AcquireError::DeadlineExceeded { gate, waited }, vec!["250ms", "deadline", "limit"]),
        (AcquireError::TooLarge { gate, weight: 9, limit }, vec!["9", "1 to 8"]),
        (AcquireError::ZeroWeight { gate }, vec!["0", "allowed"]),
        (AcquireError::NoRuntime { gate }, vec!["tokio", "run_blocking"]),
    ];
    for (error, parts) in errors {
        assert_eq!(error.gate(), gate);
        assert_message(&error.to_string(), &parts);
    }
    let errors = [
        (TryAcquireError::NoPermits { gate }, vec!["acquire", "limit"]),
        (TryAcquireError::Closed { gate }, vec!["closed"]),
        (TryAcquireError::TooLarge { gate, weight: 9, limit }, vec!["9", "1 to 8"]),
        (TryAcquireError::ZeroWeight { gate }, vec!["0", "allowed"]),
    ];
    for (error, parts) in errors {
        assert_eq!(error.gate(), gate);
        assert_message(&error.to_string(), &parts);
    }
}

fn assert_message(message: &str, parts: &[&str]) {
    assert!(message.starts_with(char::is_lowercase) && !message.ends_with('.'), "{message}");
    assert!(message.contains("`uploads`"), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

/// Of several reasons, the first in the documented order is reported and counted.
#[test]
fn reasons_are_checked_in_order() {
    let gate = Gate::builder(NAME, Limit::new(1)).queue(0).build();
    let held = gate.try_acquire().unwrap();
    let reason = |weight: u32| {
        let request = gate.request().weight(weight).deadline(Instant::now());
        (
            expect_ready(request.acquire()).map(drop).unwrap_err(),
            gate.try_acquire_many(weight).map(drop).unwrap_err(),
        )
    };
    assert!(matches!(reason(0), (AcquireError::ZeroWeight { .. }, TryAcquireError::ZeroWeight { .. })));
    assert!(matches!(reason(2), (AcquireError::TooLarge { .. }, TryAcquireError::TooLarge { .. })));
    assert!(matches!(reason(1), (AcquireError::QueueFull { .. }, TryAcquireError::NoPermits { .. })));
    gate.close();
    assert!(matches!(reason(0), (AcquireError::ZeroWeight { .. }, TryAcquireError::ZeroWeight { .. })));
    for weight in [1, 2] {
        assert!(matches!(reason(weight), (AcquireError::Closed { .. }, TryAcquireError::Closed { .. })));
    }
    let rejected = gate.status().totals.rejected;
    let counts =
        [rejected.zero_weight, rejected.too_large, rejected.queue_full, rejected.no_permits, rejected.closed];
    assert_eq!((counts, rejected.expired), ([4, 2, 1, 1, 4], 0));
    drop(held);
}
