//! Tasks that panic or are aborted, at each stage of their way through a gate.

use std::future::{pending, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use concurrency_governor::gate::Gate;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, yield_now};

use super::support::{assert_at_rest, drive_until, ended, gate, peek, until, wait};

const HOUR: Duration = Duration::from_secs(3600);

/// A panic in a task that holds a permit, in work under `run` and in work under `run_blocking` gives the permit to the
/// next in line.
#[test]
fn a_panicking_task_gives_its_permit_to_the_next() {
    let runtime = runtime();
    let works: [fn(Gate, &Runtime) -> JoinHandle<()>; 4] = [
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
                    panic!("with a permit of its own")
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
    for work in works {
        let gate = gate(1);
        let held = gate.try_acquire().unwrap();
        let panicking = work(gate.clone(), &runtime);
        drive_until(&runtime, || gate.status().waiting == 1);
        let mut next = wait(gate.request().max_wait(Duration::MAX).acquire());
        drop(held);
        assert!(ended(&runtime, panicking).unwrap_err().is_panic());
        until(|| gate.status().waiting == 0);
        assert!(peek(&mut next).is_ready());
        assert_at_rest(&gate);
    }
}

/// How far a task has come when it is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Unpolled,
    InLine,
    Granted,
    Holding,
}

/// A task that is aborted before its first poll, in line, when its turn has come, or with its permit leaves everything
/// to the next in line; with a deadline or without.
#[test]
fn a_task_aborted_at_any_stage_makes_way_for_the_next() {
    for max_wait in [Duration::MAX, HOUR] {
        for stage in [Stage::Unpolled, Stage::InLine, Stage::Granted, Stage::Holding] {
            let runtime = runtime();
            let gate = gate(1);
            let mut held = gate.try_acquire().ok();
            let handle = gate.clone();
            let task =
                runtime.spawn(async move { handle.request().max_wait(max_wait).run(pending::<()>()).await });
            if stage >= Stage::InLine {
                drive_until(&runtime, || gate.status().waiting == 1);
            }
            let mut next = wait(gate.acquire());
            if stage >= Stage::Granted {
                held = None;
                assert_eq!((gate.status().in_use, gate.status().waiting), (1, 1));
            }
            if stage == Stage::Holding {
                runtime.block_on(yield_now());
            }

            task.abort();
            assert!(ended(&runtime, task).unwrap_err().is_cancelled());
            let queue = gate.status().totals.queue;
            let expected = match stage {
                Stage::Unpolled => (1, 0, 0),
                Stage::InLine => (2, 1, 0),
                Stage::Granted => (2, 0, 1),
                Stage::Holding => (2, 0, 0),
            };
            assert_eq!((queue.enqueued, queue.cancelled, queue.unclaimed), expected, "{stage:?}");
            drop(held);
            assert!(peek(&mut next).is_ready(), "{stage:?}");
            assert_at_rest(&gate);
        }
    }
}

/// The gate keeps nothing of an aborted task: not its waker either.
#[test]
fn an_aborted_task_leaves_no_waker() {
    #[derive(Default)]
    struct Bell(AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let runtime = runtime();
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let bell = Arc::<Bell>::default();
    let (handle, waker) = (gate.clone(), Waker::from(Arc::clone(&bell)));
    let task = runtime.spawn(async move {
        let mut waiting = Box::pin(handle.acquire());
        poll_fn(|_| waiting.as_mut().poll(&mut Context::from_waker(&waker)).map(drop)).await;
    });
    drive_until(&runtime, || gate.status().waiting == 1);
    assert_eq!(Arc::strong_count(&bell), 3, "ours, the task's and the gate's");
    task.abort();
    assert!(ended(&runtime, task).unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&bell), 1);
    drop(held);
    assert_eq!(bell.0.load(Ordering::SeqCst), 0);
    assert_at_rest(&gate);
}

/// Blocking work whose task is aborted in line never begins; once begun it counts until it ends.
#[test]
fn aborting_a_task_does_not_end_its_blocking_work() {
    let runtime = runtime();
    let gate = gate(1);
    let held = gate.try_acquire().unwrap();
    let handle = gate.clone();
    let never = runtime.spawn(async move { handle.run_blocking(|| unreachable!("it was given up")).await });
    drive_until(&runtime, || gate.status().waiting == 1);
    never.abort();
    assert!(ended(&runtime, never).unwrap_err().is_cancelled());
    assert_eq!(gate.status().waiting, 0);
    drop(held);
    assert_at_rest(&gate);

    let (starts, has_started) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel::<()>();
    let handle = gate.clone();
    let begun = runtime.spawn(async move {
        let work = move || {
            starts.send(()).unwrap();
            assert!(may_finish.recv().is_err());
        };
        handle.run_blocking(work).await
    });
    drive_until(&runtime, || gate.status().in_use == 1);
    has_started.recv().unwrap();
    begun.abort();
    assert!(ended(&runtime, begun).unwrap_err().is_cancelled());
    assert_eq!(gate.status().in_use, 1, "its thread still runs");
    drop(finish);
    until(|| gate.status().in_use == 0);
    assert_at_rest(&gate);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}
