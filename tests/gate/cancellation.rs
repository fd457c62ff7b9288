//! Giving up a place in line.

use std::sync::Arc;
use std::task::Poll;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, TryAcquireError};

use crate::support::{NAME, assert_at_rest, gate, now, peek, wait};

/// When a heavy request at the head of the line is given up, what fits behind it is let in.
#[test]
fn a_cancelled_head_lets_the_next_pass() {
    let gate = gate(3);
    let held = gate.try_acquire_many(2).unwrap();
    let (heavy, _) = wait(gate.acquire_many(3));
    let (mut light, flag) = wait(gate.acquire());
    drop(heavy);
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut light).is_ready());
    drop((held, light));
    assert_at_rest(&gate);
}

/// A request cancelled in the middle of the line changes nothing for the others but their number.
#[test]
fn a_cancelled_middle_closes_the_gap() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (_first, first_flag) = wait(gate.acquire());
    let (middle, _) = wait(gate.acquire());
    let (_last, last_flag) = wait(gate.acquire());
    drop(middle);
    assert_eq!((gate.status().waiting, first_flag.woken(), last_flag.woken()), (2, 0, 0));
    drop(held);
    assert_eq!((first_flag.woken(), last_flag.woken()), (1, 0));
}

/// What was granted to a future that is dropped before it is polled goes on to the next in line.
#[test]
fn a_dropped_grant_goes_on() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let (granted, _) = wait(gate.acquire());
    let (mut next, flag) = wait(gate.acquire_owned());
    drop(held);
    assert_eq!(flag.woken(), 0);
    drop(granted);
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut next).is_ready());
    assert_at_rest(&gate);
}

/// A request that was given up keeps no waker alive.
#[test]
fn a_cancelled_request_keeps_no_waker() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let (waiting, flag) = wait(gate.acquire());
    assert_eq!(Arc::strong_count(&flag), 2);
    drop(waiting);
    assert_eq!((Arc::strong_count(&flag), flag.woken()), (1, 0));
}

/// Closing ends everyone in line and refuses everyone to come; what is out, or granted, stays valid.
#[test]
fn closing_ends_the_line_and_spares_the_holders() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (mut granted, _) = wait(gate.acquire());
    drop(held);
    let held = gate.try_acquire().unwrap();
    let (mut borrowed, borrowed_flag) = wait(gate.acquire());
    let (mut owned, owned_flag) = wait(gate.acquire_owned());

    assert!(!gate.is_closed());
    gate.close();
    gate.close();
    assert!(gate.is_closed());
    assert_eq!((borrowed_flag.woken(), owned_flag.woken()), (1, 1));
    let closed = AcquireError::Closed { gate: NAME };
    assert!(matches!(peek(&mut borrowed), Poll::Ready(Err(error)) if error == closed));
    assert!(matches!(peek(&mut owned), Poll::Ready(Err(error)) if error == closed));
    assert_eq!(now(gate.acquire()).unwrap_err(), closed);
    assert_eq!(gate.try_acquire().unwrap_err(), TryAcquireError::Closed { gate: NAME });

    let Poll::Ready(Ok(permit)) = peek(&mut granted) else { panic!("granted before the close") };
    assert_eq!(gate.status().in_use, 2);
    drop((held, permit));
    assert!(gate.try_acquire().is_err());
    let totals = gate.status().totals;
    assert_eq!((totals.queue.closed, totals.rejected.closed), (2, 3));
    assert_at_rest(&gate);
}

/// When a big request at the head of the line is given up, all that fit behind it are let in at once, in order, and no
/// more than fit.
#[test]
fn a_cancelled_big_head_lets_all_who_fit_in_at_once() {
    let gate = gate(8);
    let held = gate.try_acquire_many(4).unwrap();
    let (big, _) = wait(gate.acquire_many(8));
    let waiting = [1, 2, 1, 1].map(|weight| wait(gate.acquire_many(weight)));
    drop(big);
    assert_eq!(waiting.each_ref().map(|(_, flag)| flag.woken()), [1, 1, 1, 0]);
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.cancelled), (8, 1, 1));
    drop(held);
    assert_eq!(gate.status().waiting, 0);
    drop(waiting);
    assert_at_rest(&gate);
}

/// What was granted to a future that nobody polls stays out in its name until it is polled or dropped, whatever else
/// happens to the gate.
#[test]
fn a_granted_future_holds_its_permits_until_it_is_polled_or_dropped() {
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (mut polled, _) = wait(gate.acquire());
    let (dropped, _) = wait(gate.acquire_owned());
    drop(held);
    let out = || (gate.status().in_use, gate.status().waiting);
    assert_eq!(out(), (2, 0));
    let (next, next_flag) = wait(gate.acquire());
    assert!(gate.try_acquire().is_err());
    assert_eq!((gate.resize(Limit::MIN).debt, out()), (1, (2, 1)));
    gate.close();
    assert_eq!((next_flag.woken(), out()), (1, (2, 0)));

    drop(dropped);
    assert_eq!(out(), (1, 0));
    let Poll::Ready(Ok(permit)) = peek(&mut polled) else { panic!("granted") };
    assert_eq!(out(), (1, 0));
    drop((permit, next));
    assert_eq!(gate.status().totals.queue.unclaimed, 1);
    assert_at_rest(&gate);
}
