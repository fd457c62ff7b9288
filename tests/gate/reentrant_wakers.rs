//! Wakers that come back to the gate that calls them: in each of their calls, on each occasion, with each thing to do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate};
use concurrency_governor::{GateName, Limit};
use tokio::runtime::{Builder, Runtime};
use tokio::time::advance;

use crate::hooks::{Call, hooked};
use crate::support::{Flag, NAME, assert_at_rest, peek, poll_by, wait, within_a_minute};

const MS: Duration = Duration::from_millis(1);

/// What somebody may do to a gate.
#[derive(Clone, Copy, Debug)]
enum Act {
    Try,
    Acquire,
    AcquireUntil,
    Resize,
    Status,
    Close,
}

const ACTS: [Act; 6] = [Act::Try, Act::Acquire, Act::AcquireUntil, Act::Resize, Act::Status, Act::Close];

impl Act {
    fn on(self, gate: &Gate) {
        match self {
            Self::Try => {
                drop(gate.try_acquire());
                drop(gate.try_acquire_many_owned(2));
            }
            Self::Acquire => {
                let mut future = Box::pin(gate.acquire());
                drop(peek(&mut future));
            }
            Self::AcquireUntil => {
                let mut future = Box::pin(gate.request().max_wait(MS).acquire());
                drop(peek(&mut future));
            }
            Self::Resize => {
                let limit = gate.limit();
                gate.resize(Limit::new(limit.get() + 1));
                gate.resize(limit);
            }
            Self::Status => {
                let status = gate.status();
                assert_eq!(status.in_use + status.available, status.limit.get() + status.debt);
                assert!(format!("{gate:?}").contains("limit"));
            }
            Self::Close => gate.close(),
        }
    }
}

/// An occasion on which a gate of limit 2 calls the waker.
type Occasion = fn(&Gate, Waker, &Runtime);

/// Plays each occasion with each act, in a thread that has to come back.
fn come_back_when(call: Call, occasions: &[(&'static str, Occasion)]) {
    for &(occasion, play) in occasions {
        for act in ACTS {
            within_a_minute(&format!("{act:?} by {call:?}, {occasion}"), move || {
                let clock = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
                let inside = clock.enter();
                let gate = Gate::new(NAME, Limit::new(2));
                let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
                let (handle, counting) = (gate.clone(), Arc::clone(&counts));
                let waker = hooked(move |now| {
                    counting[now as usize].fetch_add(1, Ordering::SeqCst);
                    if now == call {
                        act.on(&handle);
                    }
                });
                play(&gate, waker, &clock);
                let [cloned, woken, dropped] = [0, 1, 2].map(|at: usize| counts[at].load(Ordering::SeqCst));
                assert!(cloned > 0, "the gate has no need of its own waker");
                assert!(call != Call::Wake || woken > 0, "no occasion for it");
                assert_eq!(dropped, cloned + 1, "none is kept");
                drop(inside);
                assert_at_rest(&gate);
            });
        }
    }
}

/// A waker may use the gate in whatever way while the gate clones it.
#[test]
fn a_waker_may_come_back_when_it_is_cloned() {
    come_back_when(
        Call::Clone,
        &[
            ("joining the line", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                drop(poll_by(&mut Box::pin(gate.acquire()), &waker));
            }),
            ("joining with a deadline", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                drop(poll_by(&mut Box::pin(gate.request().max_wait(MS).acquire()), &waker));
            }),
            ("replacing another", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let (mut waiting, _) = wait(gate.acquire());
                drop(poll_by(&mut waiting, &waker));
            }),
            ("waiting for the end", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                assert!(poll_by(&mut Box::pin(gate.drained()), &waker).is_pending());
            }),
        ],
    );
}

/// Room that comes while the waker is cloned is for whoever is on the way into the line, who then is counted as admitted at
/// once, and as nothing else.
#[test]
fn room_on_the_way_into_the_line_is_counted() {
    let clock = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _inside = clock.enter();
    for max_wait in [Duration::MAX, MS] {
        let gate = Gate::new(NAME, Limit::MIN);
        let held = Mutex::new(Some(gate.try_acquire_owned().unwrap()));
        let waker = hooked(move |now| {
            if now == Call::Clone {
                drop(held.lock().unwrap().take());
            }
        });
        let admitted = poll_by(&mut Box::pin(gate.request().max_wait(max_wait).acquire()), &waker);
        assert!(matches!(admitted, Poll::Ready(Ok(_))));
        drop(admitted);
        let status = gate.status();
        assert_eq!((status.totals.admitted, status.totals.queue.enqueued, status.in_use), (2, 0, 0));
    }
}

/// A waker may use the gate in whatever way while the gate wakes it.
#[test]
fn a_waker_may_come_back_when_it_is_woken() {
    come_back_when(
        Call::Wake,
        &[
            ("by a release", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                drop(held);
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by a raised limit", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                gate.resize(Limit::new(3));
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by a limit lowered below it", |gate, waker, _| {
                let _held = gate.try_acquire().unwrap();
                let mut waiting = Box::pin(gate.acquire_many(2));
                assert!(poll_by(&mut waiting, &waker).is_pending());
                gate.resize(Limit::MIN);
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by the close", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                gate.close();
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by one in front that is given up", |gate, waker, _| {
                let _held = gate.try_acquire().unwrap();
                let (heavy, _) = wait(gate.acquire_many(2));
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                drop(heavy);
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by a grant that is given up", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let (granted, _) = wait(gate.acquire_many(2));
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                drop(held);
                drop(granted);
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by one in front that expires", |gate, waker, clock| {
                let _held = gate.try_acquire().unwrap();
                let (mut heavy, _) = wait(gate.request().weight(2).max_wait(MS).acquire());
                let mut waiting = Box::pin(gate.acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                clock.block_on(advance(MS));
                drop(peek(&mut heavy));
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by its own deadline", |gate, waker, clock| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
                assert!(poll_by(&mut waiting, &waker).is_pending());
                clock.block_on(advance(MS));
                assert!(peek(&mut waiting).is_ready());
            }),
            ("by the end", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let mut drained = Box::pin(gate.drained());
                assert!(poll_by(&mut drained, &waker).is_pending());
                drop(held);
                assert!(peek(&mut drained).is_ready());
            }),
        ],
    );
}

/// A waker may use the gate in whatever way while the gate drops it. Each is the gate's alone by then.
#[test]
fn a_waker_may_come_back_when_it_is_dropped() {
    come_back_when(
        Call::Drop,
        &[
            ("replaced", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                drop((poll_by(&mut waiting, &waker), waker));
                drop(peek(&mut waiting));
            }),
            ("given up", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                drop((poll_by(&mut waiting, &waker), waker));
                drop(waiting);
            }),
            ("woken", |gate, waker, _| {
                let held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.acquire());
                drop((poll_by(&mut waiting, &waker), waker));
                drop(held);
            }),
            ("expired", |gate, waker, clock| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
                drop((poll_by(&mut waiting, &waker), waker));
                clock.block_on(advance(MS));
                drop(peek(&mut waiting));
            }),
            ("given up before its deadline", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut waiting = Box::pin(gate.request().max_wait(MS).acquire());
                drop((poll_by(&mut waiting, &waker), waker));
                drop(waiting);
            }),
            ("replaced while waiting for the end", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut drained = Box::pin(gate.drained());
                drop((poll_by(&mut drained, &waker), waker));
                let _ = peek(&mut drained);
            }),
            ("no longer waiting for the end", |gate, waker, _| {
                let _held = gate.try_acquire_many(2).unwrap();
                let mut drained = Box::pin(gate.drained());
                drop((poll_by(&mut drained, &waker), waker));
                drop(drained);
            }),
        ],
    );
}

/// What happens to the gate while a request's waker is being cloned is not missed by that request.
#[test]
fn what_happens_while_a_waker_is_cloned_is_seen() {
    let gate = Gate::new(GateName::new("changing"), Limit::MIN);
    for deadline in [Duration::MAX, Duration::from_secs(3600)] {
        let clock = Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = clock.enter();
        let held = Mutex::new(Some(gate.try_acquire_owned().unwrap()));
        let woken = Flag::new();
        let flag = Waker::from(Arc::clone(&woken));
        let waker = hooked(move |call| match call {
            Call::Clone => drop(held.lock().unwrap().take()),
            Call::Wake => flag.wake_by_ref(),
            Call::Drop => {}
        });
        let mut waiting = Box::pin(gate.request().max_wait(deadline).acquire());
        if poll_by(&mut waiting, &waker).is_pending() {
            assert_eq!(woken.woken(), 1, "there is room, and it does not know");
            assert!(peek(&mut waiting).is_ready());
        }
        drop(waiting);
        assert_at_rest(&gate);
    }

    let held = gate.try_acquire().unwrap();
    let handle = gate.clone();
    let mut waiting = Box::pin(gate.acquire());
    let closing = hooked(move |call| {
        if call == Call::Clone {
            handle.close();
        }
    });
    let outcome = match poll_by(&mut waiting, &closing) {
        Poll::Pending => peek(&mut waiting),
        ready @ Poll::Ready(_) => ready,
    };
    let closed = AcquireError::Closed { gate: GateName::new("changing") };
    assert!(matches!(outcome, Poll::Ready(Err(error)) if error == closed));
    drop(held);
    assert_at_rest(&gate);
}
