//! A runtime whose workers are all blocked.

use std::future::pending;
use std::sync::mpsc;
use std::thread;

use concurrency_governor::Limit;
use tokio::runtime::{Builder, Runtime};

use crate::support::{HANG_TIMEOUT, MS, assert_idle, gate, join, spin_until};

const WORKERS: usize = 2;

/// A release or a raised limit admits waiting tasks at once, although every worker is blocked. The tasks
/// resume when a worker is free again.
#[test]
fn tasks_are_admitted_while_every_worker_is_blocked() {
    let runtime = runtime();
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    let (resumed, has_resumed) = mpsc::channel();
    let mut waiting = Vec::new();
    for weight in [1, 1, 2] {
        let (handle, resumed) = (gate.clone(), resumed.clone());
        let work = async move { resumed.send(weight).unwrap() };
        waiting.push(runtime.spawn(async move { handle.request().weight(weight).run(work).await }));
        spin_until(|| gate.status().waiting == waiting.len());
    }
    let blocked = block_all_workers(&runtime);

    drop(held);
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.admitted), (2, 1, 2));
    gate.resize(Limit::new(4));
    let status = gate.status();
    assert_eq!((status.in_use, status.waiting, status.totals.queue.admitted), (4, 0, 3));
    assert_eq!(has_resumed.try_recv(), Err(mpsc::TryRecvError::Empty), "no task can resume yet");

    drop(blocked);
    for task in waiting {
        join(&runtime, task).unwrap().unwrap();
    }
    assert_eq!(has_resumed.try_iter().sum::<u32>(), 4);
    assert_idle(&gate);
}

/// A thread outside the runtime is admitted and releases permits while every worker of the runtime is
/// blocked.
#[test]
fn a_thread_is_admitted_while_every_worker_is_blocked() {
    let runtime = runtime();
    let gate = gate(1);
    let held = gate.try_acquire_owned().unwrap();
    let (handle, spawner) = (gate.clone(), runtime.handle().clone());
    let first = spawner.spawn(async move { handle.run(async {}).await });
    spin_until(|| gate.status().waiting == 1);
    let blocked = block_all_workers(&runtime);
    let handle = gate.clone();
    let behind = thread::spawn(move || handle.acquire_blocking().map(drop));
    spin_until(|| gate.status().waiting == 2);

    drop(held);
    assert_eq!((gate.status().in_use, gate.status().waiting), (1, 1), "the task is admitted first");
    gate.resize(Limit::new(2));
    assert_eq!(behind.join().unwrap(), Ok(()), "the thread is admitted next");
    drop(blocked);
    join(&runtime, first).unwrap().unwrap();
    assert_idle(&gate);
}

/// A thread outside the runtime that expires at the head of the queue admits a task behind it, although every
/// worker is blocked.
#[test]
fn an_expired_thread_admits_a_task_while_every_worker_is_blocked() {
    let runtime = runtime();
    let gate = gate(2);
    let held = gate.try_acquire().unwrap();
    let handle = gate.clone();
    let heavy =
        thread::spawn(move || handle.request().weight(2).max_wait(50 * MS).acquire_blocking().map(drop));
    spin_until(|| gate.status().totals.queue.enqueued == 1);
    let handle = gate.clone();
    let light = runtime.spawn(async move { handle.acquire_owned().await });
    // The task waits, or was admitted at once if the thread has expired already.
    spin_until(|| gate.status().totals.queue.enqueued == 2 || gate.status().in_use == 2);
    let blocked = block_all_workers(&runtime);

    assert!(heavy.join().unwrap().is_err());
    assert_eq!((gate.status().in_use, gate.status().waiting), (2, 0));
    drop((held, blocked));
    drop(join(&runtime, light).unwrap().unwrap());
    assert_idle(&gate);
}

/// A runtime that is shut down while every worker is blocked releases the permits of its admitted tasks,
/// which never resumed.
#[test]
fn a_blocked_runtime_that_shuts_down_releases_its_permits() {
    let (stopping, running) = (runtime(), runtime());
    let gate = gate(2);
    let held = gate.try_acquire_many(2).unwrap();
    for waiting in 1..=2 {
        let handle = gate.clone();
        stopping.spawn(async move { handle.run(pending::<()>()).await });
        spin_until(|| gate.status().waiting == waiting);
    }
    let blocked = block_all_workers(&stopping);
    let handle = gate.clone();
    let behind =
        running.spawn(async move { handle.request().weight(2).max_wait(HANG_TIMEOUT).run(async {}).await });
    spin_until(|| gate.status().waiting == 3);
    drop(held);
    assert_eq!((gate.status().in_use, gate.status().waiting), (2, 1));

    stopping.shutdown_background();
    drop(blocked);
    join(&running, behind).unwrap().unwrap();
    assert_idle(&gate);
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(WORKERS).enable_time().build().unwrap()
}

/// Blocks every worker until the returned senders are dropped.
fn block_all_workers(runtime: &Runtime) -> Vec<mpsc::Sender<()>> {
    let mut senders = Vec::new();
    for _ in 0..WORKERS {
        let (unblock, until_unblocked) = mpsc::channel::<()>();
        let (blocks, is_blocked) = mpsc::channel();
        runtime.spawn(async move {
            blocks.send(()).unwrap();
            assert!(until_unblocked.recv().is_err());
        });
        is_blocked.recv().unwrap(); // so that the next task needs another worker
        senders.push(unblock);
    }
    senders
}
