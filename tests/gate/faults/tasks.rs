//! Tasks that panic or are aborted, at each stage of their way through a gate.

use std::future::{pending, poll_fn};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use concurrency_governor::gate::Gate;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, yield_now};

use crate::support::{
    HOUR, WakeCounter, assert_idle, current_thread_runtime, drive_until, gate, join, poll_once, spin_until,
    start_waiting,
};

/// A task that panics with a permit, in work under `run` or in work under `run_blocking` releases its permit,
/// which admits the next request.
#[test]
fn a_panicking_task_releases_its_permit_to_the_next() {
    let runtime = current_thread_runtime();
    let spawn_panicking: [fn(Gate, &Runtime) -> JoinHandle<()>; 4] = [
        |gate, runtime| {
            runtime.spawn(async move {
                let _permit = gate.acquire().await.unwrap();
                yield_now().await;
                panic!("with a permit")
            })
        },
        |gate, runtime| {
            runtime.spawn(async move {
                let permit = gate.acquire_owned().await.unwrap();
                let inner = tokio::spawn(async move {
                    let _permit = permit;
                    panic!("with an owned permit")
                });
                inner.await.unwrap();
            })
        },
        |gate, runtime| {
            let work = async { panic!("in the work") };
            runtime.spawn(async move { gate.run(work).await.unwrap() })
        },
        |gate, runtime| {
            let work = || panic!("in the blocking work");
            runtime.spawn(async move { gate.run_blocking(work).await.unwrap() })
        },
    ];
    for spawn in spawn_panicking {
        let gate = gate(1);
        let held = gate.try_acquire().unwrap();
        let panicking = spawn(gate.clone(), &runtime);
        drive_until(&runtime, || gate.status().waiting == 1);
        let (mut next, _) = start_waiting(gate.request().max_wait(Duration::MAX).acquire());
        drop(held);
        assert!(join(&runtime, panicking).unwrap_err().is_panic());
        spin_until(|| gate.status().waiting == 0);
        assert!(poll_once(&mut next).is_ready());
        assert_idle(&gate);
    }
}

/// The stage that a task has reached when it is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AbortedStage {
    Unpolled,
    Waiting,
    Admitted,
    Holding,
}

/// A task that is aborted before its first poll, while it waits, after its admission or with its permit
/// leaves all permits to the next request, with a deadline or without.
#[test]
fn a_task_aborted_at_any_stage_admits_the_next() {
    use AbortedStage::{Admitted, Holding, Unpolled, Waiting};
    for max_wait in [Duration::MAX, HOUR] {
        for stage in [Unpolled, Waiting, Admitted, Holding] {
            let runtime = current_thread_runtime();
            let gate = gate(1);
            let mut held = gate.try_acquire().ok();
            let handle = gate.clone();
            let task =
                runtime.spawn(async move { handle.request().max_wait(max_wait).run(pending::<()>()).await });
            if stage >= Waiting {
                drive_until(&runtime, || gate.status().waiting == 1);
            }
            let (mut next, _) = start_waiting(gate.acquire());
            if stage >= Admitted {
                held = None;
                assert_eq!((gate.status().in_use, gate.status().waiting), (1, 1));
            }
            if stage == Holding {
                runtime.block_on(yield_now());
            }

            task.abort();
            assert!(join(&runtime, task).unwrap_err().is_cancelled());
            let queue = gate.status().totals.queue;
            let expected = match stage {
                Unpolled => (1, 0, 0),
                Waiting => (2, 1, 0),
                Admitted => (2, 0, 1),
                Holding => (2, 0, 0),
            };
            assert_eq!((queue.enqueued, queue.cancelled, queue.abandoned), expected, "{stage:?}");
            drop(held);
            assert!(poll_once(&mut next).is_ready(), "{stage:?}");
            assert_idle(&gate);
        }
    }
}

/// The gate keeps no waker of an aborted task and does not wake it.
#[test]
fn an_aborted_task_leaves_no_waker() {
    let runtime = current_thread_runtime();
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let counter = WakeCounter::new();
    let (handle, waker) = (gate.clone(), Waker::from(Arc::clone(&counter)));
    let task = runtime.spawn(async move {
        let mut waiting = Box::pin(handle.acquire());
        poll_fn(|_| waiting.as_mut().poll(&mut Context::from_waker(&waker)).map(drop)).await;
    });
    drive_until(&runtime, || gate.status().waiting == 1);
    assert_eq!(Arc::strong_count(&counter), 3, "of the test, the task and the gate");
    task.abort();
    assert!(join(&runtime, task).unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&counter), 1);
    drop(held);
    assert_eq!(counter.wakes(), 0);
    assert_idle(&gate);
}

/// Blocking work whose task is aborted while it waits never starts. Work that has started holds its permit
/// until it ends.
#[test]
fn an_aborted_task_does_not_end_its_blocking_work() {
    let runtime = current_thread_runtime();
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let handle = gate.clone();
    let waiting =
        runtime.spawn(async move { handle.run_blocking(|| unreachable!("its task was aborted")).await });
    drive_until(&runtime, || gate.status().waiting == 1);
    waiting.abort();
    assert!(join(&runtime, waiting).unwrap_err().is_cancelled());
    assert_eq!(gate.status().waiting, 0);
    drop(held);
    assert_idle(&gate);

    let (started, has_started) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel::<()>();
    let handle = gate.clone();
    let running = runtime.spawn(async move {
        let work = move || {
            started.send(()).unwrap();
            assert!(may_finish.recv().is_err());
        };
        handle.run_blocking(work).await
    });
    drive_until(&runtime, || gate.status().in_use == 1);
    has_started.recv().unwrap();
    running.abort();
    assert!(join(&runtime, running).unwrap_err().is_cancelled());
    assert_eq!(gate.status().in_use, 1, "the blocking work still runs");
    drop(finish);
    spin_until(|| gate.status().in_use == 0);
    assert_idle(&gate);
}
