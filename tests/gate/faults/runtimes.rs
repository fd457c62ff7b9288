//! Runtimes that shut down, or are not driven, while their tasks hold permits, wait, or have just been
//! admitted.

use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate};
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::support::{
    HANG_TIMEOUT, HOUR, MS, assert_idle, current_thread_runtime, drive_until, gate, join, poll_once,
    spin_until,
};

const SHORT_WAIT: Duration = MS.saturating_mul(20);

/// A runtime is dropped with tasks that hold permits, wait with and without deadlines, or were admitted and
/// not resumed. All their permits are released and all their requests leave the queue.
#[test]
fn a_dropped_runtime_loses_no_permit() {
    let runtime = current_thread_runtime();
    let gate = gate(4);
    let held = gate.try_acquire_many(3).unwrap();
    for max_wait in [Duration::MAX, Duration::MAX, HOUR, Duration::MAX, HOUR] {
        let handle = gate.clone();
        runtime.spawn(async move { handle.request().max_wait(max_wait).run(pending::<()>()).await });
    }
    drive_until(&runtime, || gate.status().waiting == 4);
    drop(held);
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.admitted), (4, 1, 3));

    drop(runtime);
    let queue = gate.status().totals.queue;
    assert_eq!((queue.abandoned, queue.admitted + queue.cancelled), (queue.admitted, 4));
    assert_idle(&gate);
    assert_usable_on_new_runtime(&gate);
}

/// A runtime that is dropped under load, several times in a row, loses no permit.
#[test]
fn runtimes_dropped_under_load_lose_no_permit() {
    let gate = gate(3);
    for _ in 0..20 {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        for weight in [1, 1, 2, 1, 3, 1, 2, 1] {
            let handle = gate.clone();
            runtime.spawn(async move {
                loop {
                    handle.request().weight(weight).max_wait(HOUR).run(yield_now()).await.unwrap();
                }
            });
        }
        let admitted = gate.status().totals.admitted + 200;
        spin_until(|| gate.status().totals.admitted > admitted);
        drop(runtime);
        assert_idle(&gate);
    }
    assert_usable_on_new_runtime(&gate);
}

/// While one runtime shuts down in the background, deadlines on another one are met, of requests that arrived
/// before and after. The permit of its blocked worker is released when the worker ends.
#[test]
fn a_background_shutdown_delays_no_deadline() {
    let gate = gate(2);
    let (stopping, running) = (
        Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
        Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap(),
    );

    // On the runtime that stops: a worker blocked with a permit, and requests with long and short deadlines.
    let (unblock, blocked) = mpsc::channel::<()>();
    let handle = gate.clone();
    stopping.spawn(async move { handle.run(async move { blocked.recv().is_err() }).await });
    spin_until(|| gate.status().in_use == 1);
    let held = gate.try_acquire().unwrap();
    for (nth, max_wait) in [HOUR, SHORT_WAIT / 2, HOUR].into_iter().enumerate() {
        let handle = gate.clone();
        stopping.spawn(async move { handle.request().max_wait(max_wait).run(pending::<()>()).await });
        spin_until(|| gate.status().totals.queue.enqueued > nth as u64);
    }

    // On the other runtime, a request waits before the shutdown and another one arrives after it.
    let handle = gate.clone();
    let arrived_before = running.spawn(async move { assert_request_expires(&handle).await });
    spin_until(|| gate.status().totals.queue.enqueued == 4);
    stopping.shutdown_background();
    join(&running, arrived_before).unwrap();
    running.block_on(assert_request_expires(&gate));
    spin_until(|| gate.status().waiting == 0);
    assert_eq!(gate.status().in_use, 2, "the permits of the blocked worker and of this test");

    drop(unblock);
    spin_until(|| gate.status().in_use == 1);
    drop(held);
    assert_idle(&gate);
    assert_usable_on_new_runtime(&gate);
}

/// Deadlines on a driven runtime are met, although requests before or behind them wait on a runtime that is
/// not driven. Those requests are admitted or expire when their runtime is driven again.
#[test]
fn an_idle_runtime_delays_no_deadline() {
    for idle_wait in [SHORT_WAIT / 4, HOUR] {
        for idle_first in [true, false] {
            let gate = gate(1);
            let held = gate.try_acquire().unwrap();
            let (idle, driven) = (current_thread_runtime(), current_thread_runtime());
            let handle = gate.clone();
            let on_idle = async move { handle.request().max_wait(idle_wait).acquire().await.map(drop) };
            let handle = gate.clone();
            let on_driven = async move { assert_request_expires(&handle).await };

            // Both join the queue, in either order. The condition counts enqueued requests, not waiting ones,
            // because a short wait may end before it is checked.
            let (on_idle, on_driven) = if idle_first {
                let on_idle = idle.spawn(on_idle);
                drive_until(&idle, || gate.status().totals.queue.enqueued == 1);
                (on_idle, driven.spawn(on_driven))
            } else {
                let on_driven = driven.spawn(on_driven);
                drive_until(&driven, || gate.status().totals.queue.enqueued == 1);
                let on_idle = idle.spawn(on_idle);
                drive_until(&idle, || gate.status().totals.queue.enqueued == 2);
                (on_idle, on_driven)
            };
            join(&driven, on_driven).unwrap();
            driven.block_on(assert_request_expires(&gate));

            if idle_wait == HOUR {
                drop(held);
                assert_eq!(join(&idle, on_idle).unwrap(), Ok(()), "the request is admitted");
            } else {
                let outcome = join(&idle, on_idle).unwrap();
                assert!(is_expired_after(idle_wait, &outcome), "{outcome:?}");
                drop(held);
            }
            assert_idle(&gate);
        }
    }
}

/// The runtime on which a gate's first deadline was set may be dropped. A later deadline sets a timer on its
/// own runtime.
#[test]
fn deadlines_are_met_on_one_runtime_after_another() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    for _ in 0..3 {
        let runtime = current_thread_runtime();
        let handle = gate.clone();
        runtime.spawn(async move { handle.request().max_wait(HOUR).acquire().await.map(drop) });
        drive_until(&runtime, || gate.status().waiting == 1);
        runtime.block_on(assert_request_expires(&gate));
        drop(runtime);
        assert_eq!(gate.status().waiting, 0);
    }
}

/// A request that outlives its runtime expires on the runtime that polls it next, and not before its
/// deadline.
#[test]
fn a_request_that_outlives_its_runtime_expires_on_another() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    for max_wait in [SHORT_WAIT, HOUR] {
        let (first, second) = (current_thread_runtime(), current_thread_runtime());
        let mut request = Box::pin(gate.request().max_wait(max_wait).acquire());
        let inside = first.enter();
        assert!(poll_once(&mut request).is_pending());
        drop(inside);
        drop(first);
        if max_wait == SHORT_WAIT {
            let outcome = second.block_on(async { timeout(HANG_TIMEOUT, request).await });
            let outcome = outcome.expect("the request never expired");
            assert!(is_expired_after(SHORT_WAIT, &outcome), "{outcome:?}");
        } else {
            let outcome = second.block_on(async { timeout(SHORT_WAIT, request).await });
            assert!(outcome.is_err(), "the request expired too early: {outcome:?}");
        }
        assert_eq!(gate.status().waiting, 0);
    }
    drop(held);
    assert_idle(&gate);
}

/// 400 requests with different deadlines wait on two runtimes, and some are aborted. Each request that is not
/// aborted expires, and not before its deadline.
#[test]
fn every_deadline_of_many_requests_on_two_runtimes_is_met() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let runtimes = [1, 2]
        .map(|workers| Builder::new_multi_thread().worker_threads(workers).enable_time().build().unwrap());
    let mut tasks = Vec::new();
    for nth in 0..400_u32 {
        let handle = gate.clone();
        let max_wait = Duration::from_micros((nth * 7919 % 400 * 100).into()); // 0 to 39.9 ms, in mixed order
        let request = async move {
            let outcome = handle.request().max_wait(max_wait).acquire().await.map(drop);
            is_expired_after(max_wait, &outcome)
        };
        let runtime = &runtimes[nth as usize % 2];
        tasks.push(runtime.spawn(async move { timeout(HANG_TIMEOUT, request).await }));
    }
    for aborted in tasks.iter().step_by(5) {
        aborted.abort();
    }
    for (nth, task) in tasks.into_iter().enumerate() {
        match join(&runtimes[0], task) {
            Ok(outcome) => assert_eq!(outcome, Ok(true), "{nth}"),
            Err(error) => assert!(error.is_cancelled() && nth % 5 == 0, "{error}"),
        }
    }
    drop(held);
    assert_idle(&gate);
}

/// Asserts that a request to a full gate expires, and not before its deadline.
async fn assert_request_expires(gate: &Gate) {
    let request = gate.request().max_wait(SHORT_WAIT).acquire();
    let outcome = timeout(HANG_TIMEOUT, request).await.expect("the request never expired");
    assert!(is_expired_after(SHORT_WAIT, &outcome), "{outcome:?}");
}

/// Returns `true` if a request expired, and not before it had waited this long.
fn is_expired_after<T>(max_wait: Duration, outcome: &Result<T, AcquireError>) -> bool {
    matches!(outcome, Err(AcquireError::DeadlineExceeded { waited, .. }) if *waited >= max_wait)
}

/// Asserts that requests on a new runtime wait, are admitted and expire.
fn assert_usable_on_new_runtime(gate: &Gate) {
    let runtime = current_thread_runtime();
    runtime.block_on(async {
        let all_permits = gate.request().weight(gate.limit().get()).max_wait(HOUR);
        let held = all_permits.acquire().await.unwrap();
        assert_request_expires(gate).await;
        let handle = gate.clone();
        let waiting =
            tokio::spawn(async move { handle.request().max_wait(HOUR).run(async { "done" }).await });
        while gate.status().waiting == 0 {
            yield_now().await;
        }
        drop(held);
        assert_eq!(waiting.await.unwrap(), Ok("done"));
    });
    assert_idle(gate);
}

/// A thread that waits with a deadline on a runtime that is shut down elsewhere does not spin. It panics as it does in a
/// runtime without a timer, and nothing is left in the queue.
#[test]
fn a_wait_on_a_runtime_that_is_shut_down_does_not_spin() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    let runtime = current_thread_runtime();
    let (handle, polls) = (runtime.handle().clone(), AtomicUsize::new(0));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut request = Box::pin(gate.request().max_wait(HOUR).acquire());
            handle.block_on(poll_fn(|cx| {
                polls.fetch_add(1, Ordering::SeqCst);
                request.as_mut().poll(cx).map(|result| result.map(drop))
            }))
        });
        spin_until(|| gate.waiting() == 1);
        runtime.shutdown_background();
        assert!(waiting.join().is_err(), "there is no timer for its deadline any more");
    });
    let polls = polls.into_inner();
    assert!(polls < 10, "{polls} polls");
    assert_eq!(gate.waiting(), 0);
}
