//! Changes of the limit while permits are in use and requests wait.

use std::task::Poll;
use std::thread;

use concurrency_governor::Limit;
use concurrency_governor::gate::{AcquireError, TryAcquireError};

use crate::support::{
    NAME, assert_idle, expect_ready, gate, poll_once, spin_until, start_waiting, unmeasured_gate,
};

/// A lowered limit revokes no permit. Releases reduce the debt first, and admit a request only below the new
/// limit.
#[test]
fn a_lowered_limit_revokes_nothing_and_releases_pay_the_debt_first() {
    for gate in [gate(4), unmeasured_gate(4)] {
        let mut held: Vec<_> = (0..4).map(|_| gate.try_acquire().unwrap()).collect();
        let (mut waiting, counter) = start_waiting(gate.acquire());
        let change = gate.resize(Limit::new(2));
        assert_eq!((change.from, change.to, change.debt), (Limit::new(4), Limit::new(2), 2));
        let status = gate.status();
        assert_eq!((status.in_use, status.available, status.debt), (4, 0, 2));

        for debt in [1, 0] {
            drop(held.pop());
            assert_eq!(
                (gate.status().debt, counter.wakes()),
                (debt, 0),
                "the release pays the debt and admits no request"
            );
        }
        drop(held.pop());
        assert_eq!(counter.wakes(), 1);
        assert!(poll_once(&mut waiting).is_ready());
        drop((held, waiting));
        assert_idle(&gate);
    }
}

/// While the gate is in debt, a try is rejected and a request waits, also when no other request waits.
#[test]
fn no_request_is_admitted_under_debt() {
    for gate in [gate(3), unmeasured_gate(3)] {
        let held = gate.try_acquire_many(3).unwrap();
        assert_eq!(gate.resize(Limit::MIN).debt, 2);
        assert!(gate.try_acquire().is_err());
        drop(start_waiting(gate.acquire()));
        drop(held);
        let one = gate.try_acquire().unwrap();
        assert!(gate.try_acquire().is_err(), "the limit is 1 now");
        drop(one);
        assert_idle(&gate);
    }
}

/// A raised limit wakes exactly the waiting requests that fit now, in the order of the queue.
#[test]
fn a_raised_limit_wakes_exactly_the_requests_that_fit() {
    for gate in [gate(3), unmeasured_gate(3)] {
        let held = gate.try_acquire_many(3).unwrap();
        let weights = [1, 2, 3, 1];
        let waiting: Vec<_> =
            weights.iter().map(|weight| start_waiting(gate.acquire_many(*weight))).collect();
        let wakes = || waiting.iter().map(|(_, counter)| counter.wakes()).collect::<Vec<_>>();
        gate.resize(Limit::new(5));
        assert_eq!(wakes(), [1, 0, 0, 0], "the request for 2 exceeds the limit by 1");
        gate.resize(Limit::new(8));
        assert_eq!(
            wakes(),
            [1, 1, 0, 0],
            "the request for 3 exceeds the limit by 1, and the last waits behind it"
        );
        gate.resize(Limit::new(10));
        assert_eq!(wakes(), [1, 1, 1, 1]);
        drop((held, waiting));
        assert_idle(&gate);
    }
}

/// A limit that is raised before the debt is paid admits what the new limit allows, and counts no release
/// twice.
#[test]
fn lowering_and_raising_the_limit_admits_nothing_twice() {
    for gate in [gate(4), unmeasured_gate(4)] {
        let held = gate.try_acquire_many(4).unwrap();
        let waiting: Vec<_> = (0..4).map(|_| start_waiting(gate.acquire())).collect();
        let wakes = || waiting.iter().map(|(_, counter)| counter.wakes()).sum::<usize>();
        assert_eq!(gate.resize(Limit::new(1)).debt, 3);
        assert_eq!(gate.resize(Limit::new(3)).debt, 1);
        assert_eq!(gate.resize(Limit::new(5)).debt, 0);
        assert_eq!((wakes(), gate.status().in_use), (1, 5));
        drop(held);
        assert_eq!((wakes(), gate.status().in_use), (4, 4));
        drop(waiting);
        assert_idle(&gate);
    }
}

/// A waiting request of a weight above the lowered limit ends at once, wherever it is in the queue. The
/// others move up.
#[test]
fn requests_above_a_lowered_limit_end_and_the_others_move_up() {
    for gate in [gate(5), unmeasured_gate(5)] {
        let held = gate.try_acquire().unwrap();
        let (mut first, first_counter) = start_waiting(gate.acquire_many(5));
        let (mut second, second_counter) = start_waiting(gate.acquire());
        let (mut third, third_counter) = start_waiting(gate.acquire_many(4));
        let (mut fourth, fourth_counter) = start_waiting(gate.acquire_many(2));

        gate.resize(Limit::new(3));
        let counters = [&first_counter, &second_counter, &third_counter, &fourth_counter];
        assert_eq!(counters.map(|counter| counter.wakes()), [1, 1, 1, 0]);
        for (future, weight) in [(&mut first, 5), (&mut third, 4)] {
            let Poll::Ready(Err(error)) = poll_once(future) else { panic!("its weight exceeds the limit") };
            assert_eq!(error, AcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(3) });
        }
        assert!(matches!(poll_once(&mut second), Poll::Ready(Ok(_))));
        drop(held);
        assert_eq!(fourth_counter.wakes(), 1);
        assert!(matches!(poll_once(&mut fourth), Poll::Ready(Ok(_))));
        assert_idle(&gate);
        assert_eq!(gate.status().totals.queue.too_large, 2);
    }
}

/// An admitted request keeps its permits when the limit falls below its weight before it is polled.
#[test]
fn an_admitted_request_keeps_its_permits_when_the_limit_is_lowered() {
    for gate in [gate(3), unmeasured_gate(3)] {
        let held = gate.try_acquire().unwrap();
        let (mut waiting, _) = start_waiting(gate.acquire_many(3));
        drop(held);
        assert_eq!(gate.resize(Limit::MIN).debt, 2);
        let Poll::Ready(Ok(permit)) = poll_once(&mut waiting) else { panic!("admitted before the resize") };
        assert_eq!((permit.weight(), gate.status().debt), (3, 2));
        drop(permit);
        assert_idle(&gate);
    }
}

/// The largest limit and the largest weight can be in use at once, and no counter overflows.
#[test]
fn the_largest_limit_can_be_in_use_without_overflow() {
    for gate in [gate(Limit::MAX.get()), unmeasured_gate(Limit::MAX.get())] {
        let held = gate.try_acquire_many(Limit::MAX.get()).unwrap();
        assert_eq!(gate.resize(Limit::MIN).debt, Limit::MAX.get() - 1);
        assert_eq!(gate.resize(Limit::MAX).debt, 0);
        assert!(gate.try_acquire_many(u32::MAX).is_err());
        let (waiting, _) = start_waiting(gate.acquire_many(Limit::MAX.get()));
        drop(held);
        assert_eq!(gate.status().in_use, Limit::MAX.get());
        drop(waiting);
        assert_idle(&gate);
    }
}

/// A limit that is lowered while a request waits applies to it at once: it waits on until it fits the new
/// limit.
#[test]
fn a_limit_lowered_while_a_request_waits_applies_at_once() {
    for gate in [gate(4), unmeasured_gate(4)] {
        let (one, two) = (gate.try_acquire().unwrap(), gate.try_acquire().unwrap());
        let (mut waiting, counter) = start_waiting(gate.acquire_many(3));
        assert_eq!(gate.status().available, 2);
        assert_eq!(gate.resize(Limit::new(3)).debt, 0);
        assert_eq!(gate.status().available, 1);
        drop(one);
        assert_eq!(counter.wakes(), 0, "it would fit the limit at its arrival, but not the new one");
        drop(two);
        assert_eq!(counter.wakes(), 1);
        assert!(poll_once(&mut waiting).is_ready());
        drop(waiting);
        assert!(gate.try_acquire_many(4).is_err());
        assert_idle(&gate);
    }
}

/// For every sequence of four limits with releases between them: each resize admits exactly the requests that
/// fit the limit of that moment, and permits in use never exceed the limit and its debt.
#[test]
fn no_sequence_of_limits_admits_too_many() {
    const TOP: u32 = 4;
    for limits in 0..TOP.pow(4) {
        for gate in [gate(TOP), unmeasured_gate(TOP)] {
            let mut held = vec![gate.try_acquire_many(TOP).unwrap()];
            let mut waiting: Vec<_> = (0..3 * TOP).map(|_| start_waiting(gate.acquire()).0).collect();
            for step in 0..4 {
                let before = gate.status().in_use;
                let limit = 1 + limits / TOP.pow(step) % TOP; // the base-4 digits of `limits`
                let debt = gate.resize(Limit::new(limit)).debt;
                let after = gate.status().in_use;
                assert!(after == before.max(limit), "from {before} to {after} under limit {limit}");
                assert_eq!(debt, after - limit);
                waiting.retain_mut(|future| match poll_once(future) {
                    Poll::Ready(permit) => {
                        held.push(permit.unwrap());
                        false
                    }
                    Poll::Pending => true,
                });
                drop(held.pop());
                let status = gate.status();
                assert_eq!(status.in_use + status.available, limit + status.debt);
                assert!(status.in_use <= limit.max(after - 1) && status.in_use >= limit, "{status:?}");
            }
            drop((held, waiting));
            assert_idle(&gate);
        }
    }
}

/// A request that waits for the limit survives a dip of the limit below its weight, keeps its turn, and is admitted when the
/// limit has risen again. By default it ends with the dip.
#[test]
fn a_request_can_wait_out_a_dip_of_the_limit() {
    for waits_for_limit in [true, false] {
        let gate = gate(8);
        let held = gate.try_acquire().unwrap();
        let whole = gate.request().weight(8);
        let request = if waits_for_limit { whole.wait_for_limit() } else { whole };
        let (mut heavy, heavy_counter) = start_waiting(request.acquire());
        let (mut behind, behind_counter) = start_waiting(gate.acquire());
        gate.resize(Limit::new(4));
        drop(held);
        assert_eq!(
            (heavy_counter.wakes(), behind_counter.wakes()),
            if waits_for_limit { (0, 0) } else { (1, 1) }
        );
        assert_eq!(gate.waiting(), if waits_for_limit { 2 } else { 0 });
        gate.resize(Limit::new(8));
        if waits_for_limit {
            assert_eq!((heavy_counter.wakes(), behind_counter.wakes()), (1, 0));
            let Poll::Ready(Ok(permit)) = poll_once(&mut heavy) else { panic!("the limit has risen") };
            drop(permit);
        } else {
            let Poll::Ready(Err(error)) = poll_once(&mut heavy) else {
                panic!("the limit fell below its weight")
            };
            assert_eq!(error, AcquireError::TooLarge { gate: NAME, weight: 8, limit: Limit::new(4) });
        }
        assert!(matches!(poll_once(&mut behind), Poll::Ready(Ok(_))));
        assert_idle(&gate);
    }
}

/// A request may wait for the limit from its arrival on, on any path. A weight that no limit can reach is rejected, and so is
/// a try.
#[test]
fn a_request_can_wait_for_the_limit_on_arrival() {
    let gate = gate(2);
    let heavy = gate.request().weight(3).wait_for_limit();
    let (mut waiting, counter) = start_waiting(heavy.acquire_owned());
    assert!(matches!(heavy.try_acquire(), Err(TryAcquireError::TooLarge { .. })));
    let beyond = gate.request().weight(Limit::MAX.get() + 1).wait_for_limit();
    assert!(matches!(expect_ready(beyond.acquire()), Err(AcquireError::TooLarge { .. })));
    thread::scope(|scope| {
        let blocked = scope.spawn(|| heavy.acquire_blocking().map(|permit| permit.weight()));
        spin_until(|| gate.waiting() == 2);
        gate.resize(Limit::new(3));
        assert_eq!(counter.wakes(), 1);
        assert!(matches!(poll_once(&mut waiting), Poll::Ready(Ok(_))));
        assert_eq!(blocked.join().unwrap(), Ok(3));
    });
    let _held = gate.try_acquire().unwrap();
    let (mut closed, _) = start_waiting(heavy.acquire());
    gate.resize(Limit::MIN);
    gate.close();
    assert!(matches!(poll_once(&mut closed), Poll::Ready(Err(AcquireError::Closed { .. }))));
}

/// Lowering the limit removes every request that is too large, also after others were kept because they wait for the limit.
#[test]
fn kept_requests_do_not_hide_those_that_are_too_large() {
    let gate = gate(9);
    let held = gate.try_acquire_many(9).unwrap();
    let (_kept, kept_counter) = start_waiting(gate.request().weight(9).wait_for_limit().acquire());
    let (_seven, seven_counter) = start_waiting(gate.acquire_many(7));
    let (_five, five_counter) = start_waiting(gate.acquire_many(5));
    for (limit, expected) in [(8, (0, 0)), (6, (1, 0)), (4, (1, 1))] {
        gate.resize(Limit::new(limit));
        assert_eq!((seven_counter.wakes(), five_counter.wakes()), expected, "limit {limit}");
    }
    assert_eq!((kept_counter.wakes(), gate.waiting()), (0, 1));
    drop(held);
}

/// Relative changes of several threads add up, whether or not requests wait, and stop at the bounds.
#[test]
fn relative_changes_add_up() {
    const CHANGES: i64 = if cfg!(miri) { 50 } else { 10_000 };
    let gate = gate(1000);
    let held = gate.try_acquire_many(1000).unwrap();
    let mut waiting = None;
    for with_queue in [false, true] {
        waiting =
            with_queue.then(|| start_waiting(gate.request().weight(1 << 20).wait_for_limit().acquire()));
        gate.resize_by(10 * CHANGES); // so that no change is cut off
        thread::scope(|scope| {
            for change in [3, -1, 2, -4] {
                let gate = &gate;
                scope.spawn(move || {
                    for _ in 0..CHANGES {
                        let done = gate.resize_by(change);
                        assert_eq!(i64::from(done.to.get()) - i64::from(done.from.get()), change);
                    }
                });
            }
        });
        assert_eq!(i64::from(gate.resize_by(-10 * CHANGES).to.get()), 1000);
    }
    drop((waiting, held));
    assert_eq!(gate.resize_by(i64::MAX).to, Limit::MAX);
    assert_eq!(gate.resize_by(i64::MIN).to, Limit::MIN);
    assert_eq!(gate.resize_by(0), gate.resize(Limit::MIN));
    assert_idle(&gate);
}
