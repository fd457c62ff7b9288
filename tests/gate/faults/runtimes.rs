//! Runtimes that go, or that nobody drives, while tasks of theirs hold permits, wait, or were just let in.

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use concurrency_governor::gate::{AcquireError, Gate};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::support::{PATIENCE, assert_at_rest, drive_until, ended, gate, peek, until};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(20);

/// A runtime dropped with holders, with waiters with and without deadlines, and with tasks that were let in and not
/// resumed yet takes nothing with it.
#[test]
fn a_dropped_runtime_takes_nothing_with_it() {
    let runtime = one_thread();
    let gate = gate(4);
    let mine = gate.try_acquire_many(3).unwrap();
    for wait in [Duration::MAX, Duration::MAX, HOUR, Duration::MAX, HOUR] {
        let handle = gate.clone();
        runtime.spawn(async move { handle.request().max_wait(wait).run(pending::<()>()).await });
    }
    drive_until(&runtime, || gate.status().waiting == 4);
    drop(mine);
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.admitted), (4, 1, 3));

    drop(runtime);
    let queue = gate.status().totals.queue;
    assert_eq!((queue.unclaimed, queue.admitted + queue.cancelled), (queue.admitted, 4));
    assert_at_rest(&gate);
    goes_on(&gate);
}

/// Dropped in the middle of traffic, time after time, a runtime takes nothing with it.
#[test]
fn runtimes_dropped_in_traffic_take_nothing_with_them() {
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
        let enough = gate.status().totals.admitted + 200;
        until(|| gate.status().totals.admitted > enough);
        drop(runtime);
        assert_at_rest(&gate);
    }
    goes_on(&gate);
}

/// While a runtime shuts down in the background, deadlines on another one are met: of those who waited before, and of
/// those who come after. What its blocked worker holds comes back when that ends.
#[test]
fn a_runtime_shut_down_in_the_background_holds_up_no_deadline() {
    let gate = gate(2);
    let (going, staying) = (
        Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
        Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap(),
    );
    let (leave, may_leave) = mpsc::channel::<()>();
    let handle = gate.clone();
    going.spawn(async move { handle.run(async move { may_leave.recv().is_err() }).await });
    until(|| gate.status().in_use == 1);
    let held = gate.try_acquire().unwrap();
    for (nth, wait) in [HOUR, SOON / 2, HOUR].into_iter().enumerate() {
        let handle = gate.clone();
        going.spawn(async move { handle.request().max_wait(wait).run(pending::<()>()).await });
        until(|| gate.status().totals.queue.enqueued > nth as u64);
    }
    let handle = gate.clone();
    let before = staying.spawn(async move { expires(&handle).await });
    until(|| gate.status().totals.queue.enqueued == 4);

    going.shutdown_background();
    ended(&staying, before).unwrap();
    staying.block_on(expires(&gate));
    until(|| gate.status().waiting == 0);
    assert_eq!(gate.status().in_use, 2, "the blocked worker's, and ours");
    drop(leave);
    until(|| gate.status().in_use == 1);
    drop(held);
    assert_at_rest(&gate);
    goes_on(&gate);
}

/// Deadlines on a runtime that is driven are met, though requests before and after them wait on one that nobody drives;
/// and those are met once somebody does.
#[test]
fn a_runtime_that_nobody_drives_holds_up_no_deadline() {
    for idle_wait in [SOON / 4, HOUR] {
        for idle_first in [true, false] {
            let gate = gate(1);
            let held = gate.try_acquire().unwrap();
            let (idle, driven) = (one_thread(), one_thread());
            let handle = gate.clone();
            let on_idle = async move { handle.request().max_wait(idle_wait).acquire().await.map(drop) };
            let handle = gate.clone();
            let on_driven = async move { expires(&handle).await };
            // By who has joined, not by who waits: a short wait may be over before anybody looks.
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
            ended(&driven, on_driven).unwrap();
            driven.block_on(expires(&gate));

            if idle_wait == HOUR {
                drop(held);
                assert_eq!(ended(&idle, on_idle).unwrap(), Ok(()), "its turn comes all the same");
            } else {
                let outcome = ended(&idle, on_idle).unwrap();
                assert!(
                    matches!(outcome, Err(AcquireError::DeadlineExceeded { waited, .. }) if waited >= idle_wait)
                );
                drop(held);
            }
            assert_at_rest(&gate);
        }
    }
}

/// The runtime on which the first deadline of a gate was set may go, and one that comes after sets its own.
#[test]
fn deadlines_move_from_runtime_to_runtime() {
    let gate = gate(1);
    let _held = gate.try_acquire().unwrap();
    for _ in 0..3 {
        let runtime = one_thread();
        let handle = gate.clone();
        runtime.spawn(async move { handle.request().max_wait(HOUR).acquire().await.map(drop) });
        drive_until(&runtime, || gate.status().waiting == 1);
        runtime.block_on(expires(&gate));
        drop(runtime);
        assert_eq!(gate.status().waiting, 0);
    }
}

/// A request that outlives its runtime meets its deadline on the one that polls it next, neither before nor never.
#[test]
fn a_request_that_outlives_its_runtime_expires_on_another() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    for wait in [SOON, HOUR] {
        let (going, staying) = (one_thread(), one_thread());
        let mut outliving = Box::pin(gate.request().max_wait(wait).acquire());
        let inside = going.enter();
        assert!(peek(&mut outliving).is_pending());
        drop(inside);
        drop(going);
        if wait == SOON {
            let outcome = staying.block_on(async { timeout(PATIENCE, outliving).await });
            let outcome = outcome.expect("its deadline is not met");
            assert!(matches!(outcome, Err(AcquireError::DeadlineExceeded { waited, .. }) if waited >= SOON));
        } else {
            let outcome = staying.block_on(async { timeout(SOON, outliving).await });
            assert!(outcome.is_err(), "it came too early: {outcome:?}");
        }
        assert_eq!(gate.status().waiting, 0);
    }
    drop(held);
    assert_at_rest(&gate);
}

/// Of a crowd with as many deadlines on two runtimes, some of whom give up meanwhile, each hears of its own deadline, not
/// before it and not never.
#[test]
fn every_deadline_of_a_crowd_on_two_runtimes_is_met() {
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let runtimes = [1, 2]
        .map(|workers| Builder::new_multi_thread().worker_threads(workers).enable_time().build().unwrap());
    let mut crowd = Vec::new();
    for nth in 0..400_u32 {
        let handle = gate.clone();
        let wait = Duration::from_micros((nth * 7919 % 400 * 100).into());
        let request = async move {
            let outcome = handle.request().max_wait(wait).acquire().await.map(drop);
            matches!(outcome, Err(AcquireError::DeadlineExceeded { waited, .. }) if wait.is_zero() || waited >= wait)
        };
        let runtime = &runtimes[nth as usize % 2];
        crowd.push(runtime.spawn(async move { timeout(PATIENCE, request).await }));
    }
    for giving_up in crowd.iter().step_by(5) {
        giving_up.abort();
    }
    for (nth, task) in crowd.into_iter().enumerate() {
        match ended(&runtimes[0], task) {
            Ok(outcome) => assert_eq!(outcome, Ok(true), "{nth}"),
            Err(ended) => assert!(ended.is_cancelled() && nth % 5 == 0, "{ended}"),
        }
    }
    drop(held);
    assert_at_rest(&gate);
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// A request to a full gate gives up at its deadline, and neither before nor never.
async fn expires(gate: &Gate) {
    let request = gate.request().max_wait(SOON).acquire();
    let outcome = timeout(PATIENCE, request).await.expect("its deadline is not met");
    assert!(matches!(outcome, Err(AcquireError::DeadlineExceeded { waited, .. }) if waited >= SOON));
}

/// Another runtime finds the gate as it should be: its requests wait, are let in, and expire.
fn goes_on(gate: &Gate) {
    let runtime = one_thread();
    runtime.block_on(async {
        let all = gate.request().weight(gate.limit().get()).max_wait(HOUR);
        let held = all.acquire().await.unwrap();
        expires(gate).await;
        let handle = gate.clone();
        let waiting = tokio::spawn(async move { handle.request().max_wait(HOUR).run(async { "on" }).await });
        while gate.status().waiting == 0 {
            yield_now().await;
        }
        drop(held);
        assert_eq!(waiting.await.unwrap(), Ok("on"));
    });
    assert_at_rest(gate);
}
