//! A runtime all of whose workers stand still.

use std::future::pending;
use std::sync::mpsc;
use std::time::Duration;

use concurrency_governor::Limit;
use tokio::runtime::{Builder, Runtime};

use super::support::{PATIENCE, assert_at_rest, ended, gate, until};

const WORKERS: usize = 2;

/// A release hands on at once, though no worker turns: the books say so, and whoever was let in goes on when one does.
#[test]
fn a_release_moves_the_books_while_every_worker_is_blocked() {
    let runtime = runtime();
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (resumed, has_resumed) = mpsc::channel();
    let mut waiting = Vec::new();
    for weight in [1, 1, 2] {
        let (handle, resumed) = (gate.clone(), resumed.clone());
        let work = async move { resumed.send(weight).unwrap() };
        waiting.push(runtime.spawn(async move { handle.request().weight(weight).run(work).await }));
        until(|| gate.status().waiting == waiting.len());
    }
    let blocked = block_all(&runtime);

    drop(held);
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.admitted), (2, 1, 2));
    gate.resize(Limit::new(4));
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.admitted), (4, 0, 3));
    assert_eq!(has_resumed.try_recv(), Err(mpsc::TryRecvError::Empty), "somebody was resumed");

    drop(blocked);
    for task in waiting {
        ended(&runtime, task).unwrap().unwrap();
    }
    assert_eq!(has_resumed.try_iter().sum::<u32>(), 4);
    assert_at_rest(&gate);
}

/// A thread of one's own takes and gives permits as ever while every worker of the runtime is blocked.
#[test]
fn a_thread_goes_on_while_every_worker_is_blocked() {
    let runtime = runtime();
    let gate = gate(1);
    let held = gate.try_acquire_owned().unwrap();
    let (handle, tasks_turn) = (gate.clone(), runtime.handle().clone());
    let first = tasks_turn.spawn(async move { handle.run(async {}).await });
    until(|| gate.status().waiting == 1);
    let blocked = block_all(&runtime);
    let handle = gate.clone();
    let behind = std::thread::spawn(move || handle.acquire_blocking().map(drop));
    until(|| gate.status().waiting == 2);

    drop(held);
    assert_eq!((gate.status().in_use, gate.status().waiting), (1, 1), "it is the task's turn");
    gate.resize(Limit::new(2));
    assert_eq!(behind.join().unwrap(), Ok(()), "and then the thread's");
    drop(blocked);
    ended(&runtime, first).unwrap().unwrap();
    assert_at_rest(&gate);
}

/// A thread of one's own that gives up at its deadline makes way for a task, though every worker of its runtime is blocked.
#[test]
fn a_thread_that_gives_up_makes_way_while_every_worker_is_blocked() {
    let runtime = runtime();
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let handle = gate.clone();
    let heavy = std::thread::spawn(move || {
        handle.request().weight(2).max_wait(Duration::from_millis(50)).acquire_blocking().map(drop)
    });
    until(|| gate.status().totals.queue.enqueued == 1);
    let handle = gate.clone();
    let light = runtime.spawn(async move { handle.acquire_owned().await });
    // In line, or let in at once where the thread has given up by now.
    until(|| gate.status().totals.queue.enqueued == 2 || gate.status().in_use == 2);
    let blocked = block_all(&runtime);

    assert!(heavy.join().unwrap().is_err());
    assert_eq!((gate.status().in_use, gate.status().waiting), (2, 0));
    drop((held, blocked));
    drop(ended(&runtime, light).unwrap().unwrap());
    assert_at_rest(&gate);
}

/// Shut down while every worker is blocked, a runtime hands on what was granted to tasks of its that never ran again.
#[test]
fn a_blocked_runtime_that_goes_hands_on_its_grants() {
    let (going, staying) = (runtime(), runtime());
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    for nth in 1..=2 {
        let handle = gate.clone();
        going.spawn(async move { handle.run(pending::<()>()).await });
        until(|| gate.status().waiting == nth);
    }
    let blocked = block_all(&going);
    let handle = gate.clone();
    let behind =
        staying.spawn(async move { handle.request().weight(2).max_wait(PATIENCE).run(async {}).await });
    until(|| gate.status().waiting == 3);
    drop(held);
    assert_eq!((gate.status().in_use, gate.status().waiting), (2, 1));

    going.shutdown_background();
    drop(blocked);
    ended(&staying, behind).unwrap().unwrap();
    assert_at_rest(&gate);
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(WORKERS).enable_time().build().unwrap()
}

/// Blocks every worker, one after another, until what it gives is dropped.
fn block_all(runtime: &Runtime) -> Vec<mpsc::Sender<()>> {
    let mut blocked = Vec::new();
    for _ in 0..WORKERS {
        let (leave, may_leave) = mpsc::channel::<()>();
        let (blocks, is_blocked) = mpsc::channel();
        runtime.spawn(async move {
            blocks.send(()).unwrap();
            assert!(may_leave.recv().is_err());
        });
        is_blocked.recv().unwrap();
        blocked.push(leave);
    }
    blocked
}
