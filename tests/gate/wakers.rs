//! What a gate does with the wakers it is given, and what those can do to it that panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use concurrency_governor::Limit;

use crate::hooks::{Call, hooked};
use crate::support::{Flag, assert_at_rest, gate, peek, poll, poll_by, wait, within_a_minute};

/// A waker that counts its calls.
fn counted() -> (Waker, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    let counting = Arc::clone(&counts);
    let waker = hooked(move |call| {
        let count = match call {
            Call::Clone => &counting.clones,
            Call::Wake => &counting.wakes,
            Call::Drop => &counting.drops,
        };
        count.fetch_add(1, Ordering::SeqCst);
    });
    (waker, counts)
}

#[derive(Default)]
struct Counts {
    clones: AtomicUsize,
    wakes: AtomicUsize,
    drops: AtomicUsize,
}

impl Counts {
    fn clones(&self) -> usize {
        self.clones.load(Ordering::SeqCst)
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    /// How many are kept besides the original.
    fn kept(&self) -> usize {
        self.clones() - self.drops.load(Ordering::SeqCst)
    }
}

/// A waker that panics in one of its calls, each time.
fn panicking(when: Call) -> Waker {
    hooked(move |call| assert!(call != when, "as it was told to"))
}

/// A request admitted at once has no use for its waker, and one refused keeps none; one in line takes one and keeps it.
#[test]
fn only_a_request_in_line_keeps_its_waker() {
    let gate = gate(1);
    let (waker, counts) = counted();
    let Poll::Ready(Ok(held)) = poll_by(&mut Box::pin(gate.acquire()), &waker) else { panic!("has room") };
    assert_eq!(counts.clones(), 0);
    assert!(poll_by(&mut Box::pin(gate.acquire_many(2)), &waker).is_ready());
    assert_eq!(counts.kept(), 0);
    let before = counts.clones();
    let mut waiting = Box::pin(gate.acquire());
    assert!(poll_by(&mut waiting, &waker).is_pending());
    assert_eq!((counts.clones(), counts.kept()), (before + 1, 1));
    drop(held);
    assert_eq!((counts.wakes(), counts.kept()), (1, 0));
    assert!(poll_by(&mut waiting, &waker).is_ready());
    assert_eq!((counts.clones(), counts.wakes()), (before + 1, 1));
}

/// Polled again by the same waker, a request in line takes no other.
#[test]
fn a_poll_by_the_same_waker_clones_nothing() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    polls_without_cloning(gate.acquire());
    polls_without_cloning(gate.acquire_owned());
    polls_without_cloning(gate.request().max_wait(Duration::MAX).acquire());
}

/// The same with a deadline.
#[tokio::test(start_paused = true)]
async fn a_poll_by_the_same_waker_clones_nothing_before_a_deadline() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    polls_without_cloning(gate.request().max_wait(Duration::from_secs(3600)).acquire());
}

fn polls_without_cloning(waiting: impl Future) {
    let (waker, counts) = counted();
    let mut waiting = Box::pin(waiting);
    assert!(poll_by(&mut waiting, &waker).is_pending());
    let before = counts.clones();
    for _ in 0..10 {
        assert!(poll_by(&mut waiting, &waker).is_pending());
    }
    assert_eq!(counts.clones(), before);
    drop(waiting);
    assert_eq!((counts.kept(), counts.wakes()), (0, 0));
}

/// Whoever is granted or refused while in line is woken once, and no waker is kept after.
#[test]
fn each_departure_wakes_once_and_keeps_no_waker() {
    for ending in ["granted", "too large", "closed"] {
        let gate = gate(2);
        let held = gate.try_acquire_many(2).unwrap();
        let (waker, counts) = counted();
        let mut waiting = Box::pin(gate.acquire_many(2));
        assert!(poll_by(&mut waiting, &waker).is_pending());
        match ending {
            "granted" => assert_eq!(gate.resize(Limit::new(4)).debt, 0),
            "too large" => assert_eq!(gate.resize(Limit::MIN).debt, 1),
            _ => gate.close(),
        }
        assert_eq!((counts.wakes(), counts.kept()), (1, 0), "{ending}");
        drop(held);
        gate.close();
        assert!(peek(&mut waiting).is_ready());
        assert_eq!(counts.wakes(), 1, "{ending}");
    }
}

/// Whichever of three wakers panics: three are granted, and all three are woken.
#[test]
fn three_are_granted_and_woken_though_one_waker_panics() {
    for panicker in 0..3 {
        for grow in [false, true] {
            let gate = gate(3);
            let held = gate.try_acquire_many(3).unwrap();
            let woken = Arc::new(AtomicUsize::new(0));
            let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(gate.acquire())).collect();
            for (nth, future) in waiting.iter_mut().enumerate() {
                let woken = Arc::clone(&woken);
                let waker = hooked(move |call| {
                    if call == Call::Wake {
                        woken.fetch_add(1, Ordering::SeqCst);
                        assert!(nth != panicker, "as it was told to");
                    }
                });
                assert!(poll_by(future, &waker).is_pending());
            }
            let wake: Box<dyn FnOnce()> = if grow {
                Box::new(|| assert!(gate.resize(Limit::new(6)).debt > 0))
            } else {
                Box::new(|| drop(held))
            };
            let panic = catch_unwind(AssertUnwindSafe(wake)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"as it was told to"), "it is not swallowed");
            assert_eq!(woken.load(Ordering::SeqCst), 3);
            assert_eq!((gate.status().in_use % 3, gate.status().waiting), (0, 0));
            assert_eq!(gate.status().totals.queue.admitted, 3);
            assert!(waiting.iter_mut().all(|future| matches!(peek(future), Poll::Ready(Ok(_)))));
        }
    }
}

/// A waker that panics when it is cloned costs its request that poll: a newcomer joins no line, and one in line keeps
/// its place and its waker.
#[test]
fn a_waker_that_panics_when_cloned_costs_one_poll() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let hostile = panicking(Call::Clone);
    let mut newcomer = Box::pin(gate.acquire());
    let (mut waiting, flag) = wait(gate.acquire());
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| poll_by(&mut newcomer, &hostile))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| poll_by(&mut waiting, &hostile))).is_err());
        assert_eq!(gate.status().waiting, 1);
    }
    drop(held);
    assert_eq!(flag.woken(), 1);
    assert!(matches!(peek(&mut waiting), Poll::Ready(Ok(_))));
    assert!(matches!(peek(&mut newcomer), Poll::Ready(Ok(_))));
    assert_at_rest(&gate);
}

/// A waker that panics when it is dropped keeps nobody from getting what it made way for.
#[test]
fn a_waker_that_panics_when_dropped_holds_up_nobody() {
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let mut heavy = Box::pin(gate.acquire_many(2));
    let hostile = panicking(Call::Drop);
    assert!(poll_by(&mut heavy, &hostile).is_pending());
    std::mem::forget(hostile);
    let (mut light, flag) = wait(gate.acquire());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(heavy))).is_err());
    assert_eq!(flag.woken(), 1, "the heavy one has left all the same");
    assert!(peek(&mut light).is_ready());
    drop(held);
    assert_at_rest(&gate);
}

/// A woken waker may be the last to hold a permit, which goes to the next in line.
#[test]
fn a_permit_owned_by_a_woken_waker_goes_on() {
    within_a_minute("a permit owned by a woken waker", || {
        let gate = gate(2);
        let (held, owned) = (gate.try_acquire().unwrap(), gate.try_acquire_owned().unwrap());
        let mut first = Box::pin(gate.acquire());
        let waker = hooked(move |_| assert_eq!(owned.weight(), 1));
        assert!(poll_by(&mut first, &waker).is_pending());
        drop(waker);
        let (mut second, flag) = wait(gate.acquire());
        drop(held);
        assert_eq!(flag.woken(), 1, "by the waker that the first was woken by");
        assert!(matches!(peek(&mut second), Poll::Ready(Ok(_))));
        assert!(matches!(peek(&mut first), Poll::Ready(Ok(_))));
        assert_at_rest(&gate);
    });
}

/// Of many polls by as many wakers the last counts; each before it is dropped when it is replaced, and never woken.
#[test]
fn a_replaced_waker_is_dropped_and_never_woken() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let mut waiting = Box::pin(gate.acquire_owned());
    let replaced: Vec<_> = (0..8)
        .map(|_| {
            let (waker, counts) = counted();
            assert!(poll_by(&mut waiting, &waker).is_pending());
            counts
        })
        .collect();
    let flag = Flag::new();
    assert!(poll(&mut waiting, &flag).is_pending());
    drop(held);
    assert_eq!(flag.woken(), 1);
    for counts in replaced {
        assert_eq!(counts.wakes(), 0);
        assert_eq!(counts.drops.load(Ordering::SeqCst), counts.clones() + 1);
    }
}
