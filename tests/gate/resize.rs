//! A limit that changes while permits are out.

use std::task::Poll;

use concurrency_governor::Limit;
use concurrency_governor::gate::AcquireError;

use crate::support::{NAME, assert_at_rest, gate, peek, wait};

/// A lowered limit takes nothing away, and admits nobody until what is out above it has come back.
#[test]
fn shrinking_revokes_nothing_and_returns_pay_the_debt_first() {
    let gate = gate(4);
    let mut held: Vec<_> = (0..4).map(|_| gate.try_acquire().unwrap()).collect();
    let (mut waiting, flag) = wait(gate.acquire());
    let change = gate.resize(Limit::new(2));
    assert_eq!((change.from, change.to, change.debt), (Limit::new(4), Limit::new(2), 2));
    let status = gate.status();
    assert_eq!((status.in_use, status.available, status.debt), (4, 0, 2));

    for debt in [1, 0] {
        drop(held.pop());
        assert_eq!(
            (gate.status().debt, flag.woken()),
            (debt, 0),
            "a return pays the debt, and admits nobody"
        );
    }
    drop(held.pop());
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut waiting).is_ready());
    drop((held, waiting));
    assert_at_rest(&gate);
}

/// A try is refused while there is debt, and the debt is the same whether or not anybody waits.
#[test]
fn nobody_is_admitted_under_debt() {
    let gate = gate(3);
    let held = gate.try_acquire_many(3).unwrap();
    assert_eq!(gate.resize(Limit::MIN).debt, 2);
    assert!(gate.try_acquire().is_err());
    drop(held);
    let one = gate.try_acquire().unwrap();
    assert!(gate.try_acquire().is_err(), "one is the limit now");
    drop(one);
    assert_at_rest(&gate);
}

/// A raised limit wakes exactly those in line who now fit.
#[test]
fn growing_wakes_exactly_those_that_fit() {
    let gate = gate(3);
    let held = gate.try_acquire_many(3).unwrap();
    let weights = [1, 2, 3, 1];
    let waiting: Vec<_> = weights.iter().map(|weight| wait(gate.acquire_many(*weight))).collect();
    let woken = || waiting.iter().map(|(_, flag)| flag.woken()).collect::<Vec<_>>();
    gate.resize(Limit::new(5));
    assert_eq!(woken(), [1, 0, 0, 0], "2 is one too many");
    gate.resize(Limit::new(8));
    assert_eq!(woken(), [1, 1, 0, 0], "3 is one too many, and 1 comes behind it");
    gate.resize(Limit::new(10));
    assert_eq!(woken(), [1, 1, 1, 1]);
    drop((held, waiting));
    assert_at_rest(&gate);
}

/// Raised again before the debt is paid, the limit admits what the new one allows and not what came back meanwhile.
#[test]
fn shrinking_then_growing_does_not_grant_twice() {
    let gate = gate(4);
    let held = gate.try_acquire_many(4).unwrap();
    let waiting: Vec<_> = (0..4).map(|_| wait(gate.acquire())).collect();
    let woken = || waiting.iter().map(|(_, flag)| flag.woken()).sum::<usize>();
    assert_eq!(gate.resize(Limit::new(1)).debt, 3);
    assert_eq!(gate.resize(Limit::new(3)).debt, 1);
    assert_eq!(gate.resize(Limit::new(5)).debt, 0);
    assert_eq!((woken(), gate.status().in_use), (1, 5));
    drop(held);
    assert_eq!((woken(), gate.status().in_use), (4, 4));
    drop(waiting);
    assert_at_rest(&gate);
}

/// What a shrink has made impossible ends at once, wherever it stands in line, and those behind it move up.
#[test]
fn impossible_requests_end_and_the_rest_moves_on() {
    let gate = gate(5);
    let held = gate.try_acquire().unwrap();
    let (mut first, first_flag) = wait(gate.acquire_many(5));
    let (mut second, second_flag) = wait(gate.acquire());
    let (mut third, third_flag) = wait(gate.acquire_many(4));
    let (mut fourth, fourth_flag) = wait(gate.acquire_many(2));

    gate.resize(Limit::new(3));
    let flags = [&first_flag, &second_flag, &third_flag, &fourth_flag];
    assert_eq!(flags.map(|flag| flag.woken()), [1, 1, 1, 0]);
    for (future, weight) in [(&mut first, 5), (&mut third, 4)] {
        let Poll::Ready(Err(error)) = peek(future) else { panic!("impossible") };
        assert_eq!(error, AcquireError::TooLarge { gate: NAME, weight, limit: Limit::new(3) });
    }
    assert!(matches!(peek(&mut second), Poll::Ready(Ok(_))));
    drop(held);
    assert_eq!(fourth_flag.woken(), 1);
    assert!(matches!(peek(&mut fourth), Poll::Ready(Ok(_))));
    assert_at_rest(&gate);
    assert_eq!(gate.status().totals.queue.too_large, 2);
}

/// A granted request stays granted when the limit falls below it before it is polled.
#[test]
fn a_grant_is_not_taken_back() {
    let gate = gate(3);
    let held = gate.try_acquire().unwrap();
    let (mut waiting, _) = wait(gate.acquire_many(3));
    drop(held);
    assert_eq!(gate.resize(Limit::MIN).debt, 2);
    let Poll::Ready(Ok(permit)) = peek(&mut waiting) else { panic!("granted before the shrink") };
    assert_eq!((permit.weight(), gate.status().debt), (3, 2));
    drop(permit);
    assert_at_rest(&gate);
}

/// The largest limit and the largest weight can be out at once, and nothing wraps.
#[test]
fn books_hold_at_the_top_of_their_range() {
    let gate = gate(Limit::MAX.get());
    let held = gate.try_acquire_many(Limit::MAX.get()).unwrap();
    assert_eq!(gate.resize(Limit::MIN).debt, Limit::MAX.get() - 1);
    assert_eq!(gate.resize(Limit::MAX).debt, 0);
    assert!(gate.try_acquire_many(u32::MAX).is_err());
    let (waiting, _) = wait(gate.acquire_many(Limit::MAX.get()));
    drop(held);
    assert_eq!(gate.status().in_use, Limit::MAX.get());
    drop(waiting);
    assert_at_rest(&gate);
}

/// A limit that is lowered while callers wait is in force at once: what is free above it is gone, and they wait on.
#[test]
fn a_limit_lowered_while_callers_wait_holds() {
    let gate = gate(4);
    let (one, two) = (gate.try_acquire().unwrap(), gate.try_acquire().unwrap());
    let (mut waiting, flag) = wait(gate.acquire_many(3));
    assert_eq!(gate.status().available, 2);
    assert_eq!(gate.resize(Limit::new(3)).debt, 0);
    assert_eq!(gate.status().available, 1);
    drop(one);
    assert_eq!(flag.woken(), 0, "it would have fitted under the limit it came under");
    drop(two);
    assert_eq!(flag.woken(), 1);
    assert!(peek(&mut waiting).is_ready());
    drop(waiting);
    assert!(gate.try_acquire_many(4).is_err());
    assert_at_rest(&gate);
}

/// Whatever the limits in a row, with returns between them: nobody is let in above the limit of that moment, all who fit
/// are, and no more is ever out than the limit and its debt.
#[test]
fn no_sequence_of_limits_over_grants() {
    const TOP: u32 = 4;
    for limits in 0..TOP.pow(4) {
        let gate = gate(TOP);
        let mut out = vec![gate.try_acquire_many(TOP).unwrap()];
        let mut waiting: Vec<_> = (0..3 * TOP).map(|_| wait(gate.acquire()).0).collect();
        for step in 0..4 {
            let before = gate.status().in_use;
            let limit = 1 + limits / TOP.pow(step) % TOP;
            let debt = gate.resize(Limit::new(limit)).debt;
            let after = gate.status().in_use;
            assert!(after == before.max(limit), "from {before} to {after} under {limit}");
            assert_eq!(debt, after - limit);
            waiting.retain_mut(|future| match peek(future) {
                Poll::Ready(permit) => {
                    out.push(permit.unwrap());
                    false
                }
                Poll::Pending => true,
            });
            drop(out.pop());
            let status = gate.status();
            assert_eq!(status.in_use + status.available, limit + status.debt);
            assert!(status.in_use <= limit.max(after - 1) && status.in_use >= limit, "{status:?}");
        }
        drop((out, waiting));
        assert_at_rest(&gate);
    }
}
