//! Threads that acquire, release, cancel, resize and close at the same time.

use concurrency_governor::Limit;
use concurrency_governor::gate::AcquireError;
use shuttle::thread;

use super::harness::{TestGate, below, check, gate};

/// Whatever five threads do to a gate, every waiter is woken, no more permits are held than allowed, and none
/// is lost.
#[test]
fn all_operations_at_once() {
    check(|| {
        let gate = TestGate::new(2);
        let acquiring = [1, 2].map(|weight| {
            gate.spawn(move |gate| {
                for _ in 0..3 {
                    assert_admitted_or_too_large(&gate.acquire_and_release(weight));
                }
            })
        });
        let cancelling = gate.spawn(|gate| {
            for _ in 0..3 {
                gate.acquire_or_cancel(1 + below(3), below(3));
                drop(gate.try_acquire(1 + below(2)));
            }
        });
        let resizing = gate.spawn(|gate| {
            for _ in 0..3 {
                gate.resize(1 + below(4));
            }
            gate.resize(3);
        });
        let draining = gate.spawn(|gate| gate.block_on(gate.inner.drained()));
        for thread in acquiring.into_iter().chain([cancelling, resizing, draining]) {
            thread.join().unwrap();
        }
        gate.finish();
    });
}

/// Requests that are cancelled at any stage do not keep the other requests from their permits.
#[test]
fn cancelled_requests_hold_up_no_other() {
    check(|| {
        let gate = TestGate::new(1);
        let acquiring = [(), ()].map(|()| {
            gate.spawn(|gate| {
                for _ in 0..3 {
                    gate.acquire_and_release(1).unwrap();
                }
            })
        });
        let cancelling = [(), ()].map(|()| {
            gate.spawn(|gate| {
                for _ in 0..3 {
                    gate.acquire_or_cancel(1, below(4));
                }
            })
        });
        for thread in acquiring.into_iter().chain(cancelling) {
            thread.join().unwrap();
        }
        assert!(gate.admitted() >= 6);
        gate.finish();
    });
}

/// A heavy request is admitted although light requests keep arriving. It holds up no other request after it
/// was cancelled.
#[test]
fn a_heavy_request_among_light_ones() {
    check(|| {
        let gate = TestGate::new(3);
        let light = [(), ()].map(|()| {
            gate.spawn(|gate| {
                for _ in 0..3 {
                    gate.acquire_and_release(1).unwrap();
                }
            })
        });
        let heavy = gate.spawn(|gate| gate.acquire_and_release(3).unwrap());
        gate.acquire_or_cancel(3, 2);
        for thread in light.into_iter().chain([heavy]) {
            thread.join().unwrap();
        }
        assert!(gate.admitted() >= 7);
        gate.finish();
    });
}

/// While the limit falls and rises, no request is admitted before the debt is paid, and a raised limit wakes
/// every waiter that fits.
#[test]
fn a_limit_that_changes_all_the_time() {
    check(|| {
        let gate = TestGate::new(4);
        let acquiring = [1, 2, 1].map(|weight| {
            gate.spawn(move |gate| {
                for _ in 0..2 {
                    assert_admitted_or_too_large(&gate.acquire_and_release(weight));
                }
            })
        });
        for _ in 0..4 {
            gate.resize(1);
            thread::yield_now();
            gate.resize(2 + below(3));
        }
        for thread in acquiring {
            thread.join().unwrap();
        }
        gate.finish();
    });
}

/// Concurrent changes of the limit have one order: each begins with the limit that another one has set.
#[test]
fn concurrent_resizes_have_one_order() {
    check(|| {
        let gate = TestGate::with_gate(gate(2), 6);
        let resizing = [1, 2, 3].map(|limit| {
            gate.spawn(move |gate| [limit, limit + 3].map(|limit| gate.inner.resize(Limit::new(limit))))
        });
        let trying = gate.spawn(|gate| drop([1, 2].map(|weight| gate.try_acquire(weight))));
        let changes: Vec<_> = resizing.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        trying.join().unwrap();
        let status = gate.inner.status();
        let sorted = |mut limits: Vec<Limit>| {
            limits.sort_unstable();
            limits
        };
        // The limits at which changes began, and the last one, are those that changes have set, and the first
        // one.
        let from = sorted(changes.iter().map(|change| change.from).chain([status.limit]).collect());
        let to = sorted(changes.iter().map(|change| change.to).chain([Limit::new(2)]).collect());
        assert_eq!(from, to);
        let resized = changes.iter().filter(|change| change.from != change.to).count();
        assert_eq!(status.resized, resized as u64);
        gate.finish();
    });
}

/// Closing a gate wakes and rejects every waiter. Permits that are held stay valid until they are released.
#[test]
fn closing_with_many_waiters() {
    check(|| {
        let gate = TestGate::new(1);
        let acquiring = [(), (), ()].map(|()| {
            gate.spawn(|gate| {
                let result = gate.acquire_and_release(1).and_then(|()| gate.acquire_and_release(1));
                assert!(matches!(result, Ok(()) | Err(AcquireError::Closed { .. })), "{result:?}");
            })
        });
        gate.acquire_or_cancel(1, below(3));
        gate.inner.close();
        gate.block_on(gate.inner.drained());
        assert!(gate.try_acquire(1).is_none());
        let status = gate.inner.status();
        assert_eq!((status.in_use, status.waiting), (0, 0), "closed and drained, but not empty: {status:?}");
        for thread in acquiring {
            thread.join().unwrap();
        }
        gate.finish();
    });
}

/// Every `drained` future resolves after the first moment at which the gate is drained, while other threads
/// acquire and release.
#[test]
fn drained_while_others_acquire() {
    check(|| {
        let gate = TestGate::new(2);
        let acquiring = [1, 2].map(|weight| {
            gate.spawn(move |gate| {
                for _ in 0..2 {
                    gate.acquire_and_release(weight).unwrap();
                }
            })
        });
        let draining = [(), ()].map(|()| gate.spawn(|gate| gate.block_on(gate.inner.drained())));
        for thread in acquiring.into_iter().chain(draining) {
            thread.join().unwrap();
        }
        gate.finish();
    });
}

fn assert_admitted_or_too_large(result: &Result<(), AcquireError>) {
    assert!(matches!(result, Ok(()) | Err(AcquireError::TooLarge { .. })), "{result:?}");
}
