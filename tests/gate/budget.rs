//! The cooperative budget of tokio: a task that never has to wait still yields to the runtime.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate, PollGate, acquire_all};
use concurrency_governor::{Holders, Keys, Limit, Shed};
use tokio::task::coop::{has_budget_remaining, poll_proceed};
use tokio::task::{LocalSet, yield_now};
use tokio::time::advance;

use crate::support::{
    HOUR, MS, NAME, assert_idle, current_thread_runtime, gate, paused_runtime, poll_once, start_waiting,
    unmeasured_gate,
};

/// More permits than the budget of any task.
const MANY: u32 = 100_000;

/// Asserts that a task that awaits `acquire` in a loop yields to another task, and leaves the gate idle.
fn assert_yields<F: Future>(gate: &Gate, acquire: impl Fn(Gate) -> F + 'static) {
    assert_loop_yields(gate, acquire);
    assert_idle(gate);
}

/// Asserts that a task that awaits `acquire` in a loop yields to another task before the loop ends.
fn assert_loop_yields<F: Future>(gate: &Gate, acquire: impl Fn(Gate) -> F + 'static) {
    let local = LocalSet::new();
    let other_ran = Arc::new(AtomicBool::new(false));
    let acquired = local.block_on(&current_thread_runtime(), async {
        let (gate, seen) = (gate.clone(), Arc::clone(&other_ran));
        let looping = tokio::task::spawn_local(async move {
            let mut acquired = 0_u32;
            while acquired < MANY && !seen.load(Ordering::SeqCst) {
                drop(acquire(gate.clone()).await);
                acquired += 1;
            }
            acquired
        });
        let other = Arc::clone(&other_ran);
        drop(tokio::task::spawn_local(async move { other.store(true, Ordering::SeqCst) }));
        looping.await.unwrap()
    });
    assert!(acquired < MANY, "the task did not yield");
}

/// A task that acquires ready permits in a loop yields, whichever way it acquires them.
#[test]
fn ready_permits_spend_the_budget() {
    for gate in [gate(2), unmeasured_gate(2)] {
        assert_yields(&gate, |gate| async move { drop(gate.acquire().await.unwrap()) });
        assert_yields(&gate, |gate| async move { drop(gate.acquire_owned().await.unwrap()) });
        assert_yields(&gate, |gate| async move { drop(gate.acquire_many(2).await.unwrap()) });
        assert_yields(&gate, |gate| async move { gate.run(async {}).await.unwrap() });
        assert_yields(&gate, |gate| async move {
            drop(gate.request().max_wait(HOUR).acquire().await.unwrap());
        });
    }
}

/// So does a task at a gate of any kind: one with keys, a key, a child, one that sheds, and one that tracks its holders.
#[test]
fn ready_permits_of_every_kind_of_gate_spend_the_budget() {
    let builder = || Gate::builder(NAME, Limit::new(2));
    let keyed = builder().keyed(Keys::up_to(2)).build();
    let parent = builder().with_children().build();
    let child = builder().within(&parent).unwrap().build();
    let sheds = builder().shed(Shed::after(MS)).build();
    let tracked = builder().track_holders(Holders::overdue_after(HOUR)).build();
    for gate in [keyed.key("a"), keyed, child, parent, sheds, tracked] {
        assert_yields(&gate, |gate| async move { drop(gate.acquire().await.unwrap()) });
        assert_yields(&gate, |gate| async move { drop(gate.acquire_many_owned(2).await.unwrap()) });
        assert_yields(&gate, |gate| async move {
            drop(gate.request().max_wait(HOUR).acquire().await.unwrap());
        });
    }
}

/// So does a task that acquires from several gates, polls a gate, or makes nested requests, which have permits of their own or
/// borrow them.
#[test]
fn permits_of_every_kind_of_request_spend_the_budget() {
    let (one, other) = (gate(2), gate(1));
    assert_yields(&one, move |gate| {
        let other = other.clone();
        async move { drop(acquire_all([(&gate, 1), (&other, 1)]).await.unwrap()) }
    });
    assert_yields(&one, |gate| async move {
        let mut polled = PollGate::new(gate);
        drop(poll_fn(|cx| polled.poll_acquire(cx)).await.unwrap());
    });
    for has_room in [true, false] {
        let gate = gate(2);
        let parent = gate.try_acquire_owned().unwrap().lend();
        let held = (!has_room).then(|| gate.try_acquire().unwrap());
        let work = parent.clone();
        assert_loop_yields(&gate, move |gate| {
            let nested = gate.request().under(&work).acquire();
            async move { assert_eq!(nested.await.unwrap().is_borrowed(), !has_room) }
        });
        drop((held, parent));
        assert_idle(&gate);
    }
}

/// A task yields although each of its requests, which had to wait, was admitted before the task polls it again.
#[test]
fn handed_over_permits_spend_the_budget() {
    assert_yields(&gate(1), |gate| async move {
        let held = gate.try_acquire().unwrap();
        let mut waiting = pin!(gate.acquire());
        assert!(poll_once(&mut waiting).is_pending());
        drop(held);
        drop(waiting.await.unwrap());
    });
}

/// A task whose requests are rejected in a loop yields, whatever the reason.
#[test]
fn rejections_spend_the_budget() {
    let closed = gate(1);
    closed.close();
    assert_loop_yields(&closed, |gate| async move { assert!(gate.acquire().await.is_err()) });
    let full = Gate::builder(NAME, Limit::new(1)).queue(0).build();
    let held = full.try_acquire().unwrap();
    assert_loop_yields(&full, |gate| async move { assert!(gate.acquire_owned().await.is_err()) });
    assert_loop_yields(&full, |gate| async move { assert!(gate.acquire_many(2).await.is_err()) });
    assert_loop_yields(&full, |gate| async move {
        assert!(gate.request().max_wait(Duration::ZERO).acquire().await.is_err());
    });
    drop(held);
    assert_idle(&full);
    // Requests that could wait for themselves: two keys of one gate.
    let keyed = Gate::builder(NAME, Limit::new(2)).keyed(Keys::up_to(2)).build();
    let (a, b) = (keyed.key("a"), keyed.key("b"));
    assert_loop_yields(&keyed, move |_| {
        let (a, b) = (a.clone(), b.clone());
        async move { assert!(acquire_all([(&a, 1), (&b, 1)]).await.is_err()) }
    });
    let (a, b) = (keyed.key("a"), keyed.key("b"));
    let work = a.try_acquire_many_owned(2).unwrap().lend();
    assert_loop_yields(&b, move |b| {
        let nested = b.request().under(&work).acquire();
        async move { assert!(matches!(nested.await, Err(AcquireError::SelfWait { .. }))) }
    });
    assert_idle(&keyed);
}

/// A rejection while the budget is spent is counted once, when the task has a budget again.
#[test]
fn a_rejection_waits_for_the_budget() {
    let gate = gate(1);
    current_thread_runtime().block_on(async {
        let mut too_large = Box::pin(gate.acquire_many(2));
        without_budget(|| assert!(poll_once(&mut too_large).is_pending())).await;
        assert_eq!(gate.status().totals.rejected.sum(), 0);
        assert!(too_large.await.is_err());
        assert_eq!(gate.status().totals.rejected.too_large, 1);
    });
    assert_idle(&gate);
}

/// Spends the budget of the task, then runs `then` in the same poll.
async fn without_budget<T>(mut then: impl FnMut() -> T) -> T {
    yield_now().await; // begins with the whole budget
    poll_fn(|cx| {
        while let Poll::Ready(budget) = poll_proceed(cx) {
            budget.made_progress();
        }
        assert!(!has_budget_remaining());
        Poll::Ready(then())
    })
    .await
}

/// A request that fits while the budget is spent is admitted in its turn, and its future returns the permit at the next poll
/// with a budget. If the future is dropped before, the permit admits the next request.
#[test]
fn a_request_keeps_its_turn_while_the_budget_is_spent() {
    for is_dropped in [false, true] {
        let gate = gate(1);
        let runtime = current_thread_runtime();
        runtime.block_on(async {
            let mut request = Box::pin(gate.acquire());
            without_budget(|| assert!(poll_once(&mut request).is_pending())).await;
            let (mut next, counter) = start_waiting(gate.acquire());
            let status = gate.status();
            assert_eq!((status.in_use, status.unclaimed, status.waiting), (1, 1, 1));
            if is_dropped {
                drop(request);
                assert_eq!(gate.status().totals.queue.abandoned, 1);
            } else {
                let permit = request.await.unwrap();
                assert_eq!((gate.status().in_use, gate.status().unclaimed, counter.wakes()), (1, 0, 0));
                drop(permit);
            }
            assert_eq!((gate.status().unclaimed, counter.wakes()), (1, 1));
            yield_now().await;
            assert!(poll_once(&mut next).is_ready());
        });
        assert_eq!(gate.status().totals.admitted, 2);
        assert_idle(&gate);
    }
}

/// The same holds for a nested request, whether it has permits of its own or borrows them.
#[test]
fn a_nested_request_keeps_its_permits_while_the_budget_is_spent() {
    for is_dropped in [false, true] {
        let gate = gate(2);
        let parent = gate.try_acquire_owned().unwrap().lend();
        current_thread_runtime().block_on(async {
            let mut nested = Box::pin(gate.request().under(&parent).acquire());
            without_budget(|| assert!(poll_once(&mut nested).is_pending())).await;
            assert_eq!(gate.in_use(), 2);
            if is_dropped {
                drop(nested);
            } else {
                drop(nested.await.unwrap());
            }
        });
        drop(parent);
        assert_idle(&gate);
    }
}

/// A request that has to wait while the budget is spent takes its place in the queue, and its deadline ends the wait.
#[test]
fn waiting_needs_no_budget() {
    let gate = gate(1);
    paused_runtime().block_on(async {
        let held = gate.try_acquire().unwrap();
        let mut first = Box::pin(gate.request().max_wait(MS).acquire());
        let mut second = Box::pin(gate.acquire_many(1));
        without_budget(|| {
            assert!(poll_once(&mut first).is_pending());
            assert!(poll_once(&mut second).is_pending());
        })
        .await;
        assert_eq!(gate.status().waiting, 2);
        advance(MS * 2).await;
        let expired = without_budget(|| poll_once(&mut first)).await;
        assert!(matches!(expired, Poll::Ready(Err(AcquireError::DeadlineExceeded { .. }))));
        drop(held);
        drop(second.await.unwrap());
    });
    assert_idle(&gate);
}

/// Outside a runtime there is no budget, and nothing yields.
#[test]
fn there_is_no_budget_outside_a_runtime() {
    let gate = gate(1);
    for _ in 0..1000 {
        assert!(poll_once(&mut Box::pin(gate.acquire())).is_ready());
    }
    assert_idle(&gate);
}
