//! Requests that are refused at the door.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use concurrency_governor::gate::{AcquireError, Gate, TryAcquireError};
use concurrency_governor::{GateName, Limit};
use tokio::time::Instant;

use crate::support::{NAME, assert_at_rest, gate, now, peek, wait};

/// A request for nothing, or for more than there can be, is refused before anything changes but the count of it.
#[test]
fn senseless_weights_are_refused_untouched() {
    let gate = gate(3);
    let held = gate.try_acquire().unwrap();
    let before = gate.status();
    let limit = Limit::new(3);
    for weight in [4, u32::MAX] {
        let error = now(gate.acquire_many(weight)).unwrap_err();
        assert_eq!(error, AcquireError::TooLarge { gate: NAME, weight, limit });
        let error = gate.try_acquire_many(weight).unwrap_err();
        assert_eq!(error, TryAcquireError::TooLarge { gate: NAME, weight, limit });
    }
    assert_eq!(now(gate.acquire_many(0)).unwrap_err(), AcquireError::ZeroWeight { gate: NAME });
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
    assert_at_rest(&gate);
}

/// A line takes as many as it is bound to, counts only those who still wait, and has room again when one leaves.
#[test]
fn a_full_line_refuses() {
    let gate = Gate::builder(NAME, Limit::MIN).queue(2).build();
    let held = gate.try_acquire().unwrap();
    let (first, _) = wait(gate.acquire());
    let (second, _) = wait(gate.acquire());
    let full = AcquireError::QueueFull { gate: NAME, bound: 2 };
    assert_eq!(now(gate.acquire()).unwrap_err(), full);
    assert_eq!(gate.acquire_blocking().unwrap_err(), full);
    drop(second);
    let (third, _) = wait(gate.acquire());
    assert_eq!(now(gate.acquire_owned()).unwrap_err(), full);
    drop(held);
    let (fourth, _) = wait(gate.acquire());
    assert_eq!(gate.status().totals.rejected.queue_full, 3);
    drop((first, third, fourth));
    assert_at_rest(&gate);
}

/// A bound of 0 lets nobody wait, and everybody in for whom there is room.
#[test]
fn no_line_at_all() {
    let gate = Gate::builder(NAME, Limit::MIN).queue(0).build();
    let held = now(gate.acquire()).unwrap();
    assert_eq!(now(gate.acquire()).unwrap_err(), AcquireError::QueueFull { gate: NAME, bound: 0 });
    drop(held);
    assert!(now(gate.acquire()).is_ok());
}

/// Every error names its gate, what was given and what is allowed, in one lower-case sentence without a full stop.
#[test]
fn errors_say_what_was_given_and_what_is_allowed() {
    let gate = GateName::new("uploads");
    let limit = Limit::new(8);
    let waited = std::time::Duration::from_millis(250);
    let errors = [
        (AcquireError::Closed { gate }, vec!["closed"]),
        (AcquireError::QueueFull { gate, bound: 32 }, vec!["32", "queue", "limit"]),
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

/// A request for more than the limit is refused though others wait, by whichever door it comes, and blocks nobody.
#[test]
fn what_is_too_large_blocks_nobody() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (mut waiting, flag) = wait(gate.acquire());
    let limit = Limit::new(2);
    let too_large = AcquireError::TooLarge { gate: NAME, weight: 3, limit };
    assert_eq!(now(gate.acquire_many(3)).unwrap_err(), too_large);
    assert_eq!(now(gate.acquire_many_owned(3)).unwrap_err(), too_large);
    assert_eq!(gate.request().weight(3).acquire_blocking().unwrap_err(), too_large);
    assert_eq!(now(gate.request().weight(3).run(async {})).unwrap_err(), too_large);
    assert_eq!(
        gate.try_acquire_many(3).unwrap_err(),
        TryAcquireError::TooLarge { gate: NAME, weight: 3, limit }
    );
    assert_eq!((gate.status().waiting, gate.status().totals.queue.enqueued), (1, 1));
    drop(held);
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut waiting).is_ready());
    assert_at_rest(&gate);
}

/// A weight that no limit has room for is refused before any number moves, idle, full or in debt.
#[test]
fn weights_that_would_overflow_are_refused_untouched() {
    let max = Limit::MAX.get();
    let gate = gate(max);
    let held = gate.try_acquire_many(max - 1).unwrap();
    for limit in [Limit::MAX, Limit::MIN] {
        gate.resize(limit);
        let before = gate.status();
        for weight in [max + 1, 1 << 31, (1 << 31) + max, u32::MAX - 1, u32::MAX] {
            let too_large = AcquireError::TooLarge { gate: NAME, weight, limit };
            assert_eq!(now(gate.acquire_many(weight)).unwrap_err(), too_large);
            assert_eq!(gate.request().weight(weight).acquire_blocking_owned().unwrap_err(), too_large);
            assert!(gate.try_acquire_many(weight).is_err() && gate.try_acquire_many_owned(weight).is_err());
        }
        let after = gate.status();
        assert_eq!(
            (after.in_use, after.available, after.debt, after.waiting, after.totals.admitted),
            (before.in_use, before.available, before.debt, 0, 1)
        );
    }
    drop(held);
    assert_at_rest(&gate);
}

/// The weights in line may come to more than any counter holds; they are let in one by one all the same.
#[test]
fn sums_of_weights_in_line_do_not_wrap() {
    let max = Limit::MAX.get();
    let gate = gate(max);
    let held = gate.try_acquire_many(max).unwrap();
    // Together 2^32 - 1 and 2^32 + 1, and what is held beside.
    let mut waiting: Vec<_> = [max, max, max, max, 3, 2].map(|weight| wait(gate.acquire_many(weight))).into();
    drop(held);
    for left in (0..6).rev() {
        let (mut first, flag) = waiting.remove(0);
        let all_fit = left < 2;
        assert_eq!(flag.woken(), 1);
        assert_eq!(waiting.first().is_some_and(|(_, flag)| flag.woken() > 0), all_fit && left > 0);
        let Poll::Ready(Ok(permit)) = peek(&mut first) else { panic!("its turn") };
        assert!(gate.status().in_use <= max && permit.weight() <= max);
    }
    assert_at_rest(&gate);
}

/// What was refused at the door is over, as what was admitted is: it does not ask once more.
#[test]
fn what_is_refused_is_not_polled_again() {
    let closed = gate(1);
    closed.close();
    let passed = gate(1);
    let held = passed.try_acquire().unwrap();
    let now = Instant::now();
    for refused in [closed.acquire(), passed.acquire_many(2), passed.request().deadline(now).acquire()] {
        let mut refused = Box::pin(refused);
        assert!(matches!(peek(&mut refused), Poll::Ready(Err(_))));
        assert!(catch_unwind(AssertUnwindSafe(|| peek(&mut refused))).is_err());
    }
    drop(held);
    assert_at_rest(&passed);
}

/// However many tries are refused, with somebody in line or not, each is counted once, and nothing else changes.
#[test]
fn every_refused_try_is_counted() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    for refused in 1..=1000 {
        let in_line = (refused % 300 == 0).then(|| wait(gate.acquire()));
        assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::NoPermits { gate: NAME });
        let status = gate.status();
        assert_eq!((status.totals.rejected.no_permits, status.totals.admitted), (refused, 1));
        assert_eq!((status.in_use, status.available), (2, 0));
        drop(in_line);
    }
    drop(held);
    assert_at_rest(&gate);
}
