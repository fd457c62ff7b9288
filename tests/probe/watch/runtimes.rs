//! Runtimes without I/O or timers, and a probe that outlives its runtime.

use std::fs;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::probe::{Cpu, Roots};
use concurrency_governor::{Quantity, ResourceProbe};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::support::{ChangingHost, LONG, OWN_QUOTA, assert_notifies, measure_cores, measure_once};
use crate::support::poll_once;

/// Without I/O, the probe only polls, and the measurement has a note. Without a timer, there is only
/// notification. Without both, or outside of a runtime, the probe waits. It never panics.
#[test]
fn a_runtime_may_lack_drivers() {
    // Without a timer, only another thread can detect that the test hangs.
    let (sender, receiver) = mpsc::channel();
    let test = thread::spawn(move || {
        watch_without_drivers();
        sender.send(()).unwrap();
    });
    let result = receiver.recv_timeout(LONG);
    assert_ne!(result, Err(mpsc::RecvTimeoutError::Timeout), "no notification of a change");
    test.join().unwrap();
}

fn watch_without_drivers() {
    let host = ChangingHost::new();
    let cpu = host.cpu();
    measure_once(&cpu);
    assert_eq!(poll_once(cpu.changed()), Poll::Pending, "outside of a runtime");

    let with_timer = Builder::new_current_thread().enable_time().build().unwrap();
    with_timer.block_on(async {
        let cpu = cpu.clone().poll_every(Duration::from_millis(20));
        timeout(LONG, cpu.changed()).await.expect("a notification of the note");
        let measured = cpu.measure().await.unwrap();
        let note = "no change notification (the runtime has no I/O); polled every 20ms";
        assert_eq!(measured.notes(), [note]);
        assert_notifies(&cpu, || host.set_quota(1)).await;
        assert_eq!(measure_cores(&cpu).await, Quantity::whole(1));
    });

    let with_io = Builder::new_current_thread().enable_io().build().unwrap();
    with_io.block_on(async {
        let cpu = host.cpu();
        measure_once(&cpu);
        let path = host.path(OWN_QUOTA);
        let mut changed = pin!(cpu.changed());
        assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            fs::write(path, "200000 100000").unwrap();
        });
        changed.await;
        // Without a timer, the probe does not wait for the write to end, so it may measure the empty file.
        while measure_cores(&cpu).await != Quantity::whole(2) {
            cpu.changed().await;
        }
        writer.join().unwrap();
    });

    Builder::new_current_thread().build().unwrap().block_on(async {
        let cpu = host.cpu();
        cpu.changed().await;
        let note = "no change notification (the runtime has no I/O) and no polling";
        assert_eq!(cpu.measure().await.unwrap().notes(), [note]);
        assert_eq!(poll_once(cpu.changed()), Poll::Pending);
    });
    let in_memory = Cpu::new().with_roots(Roots::in_memory([("/proc/self/cgroup", "")]));
    assert_eq!(poll_once(in_memory.changed()), Poll::Pending, "a host in memory does not change");
}

/// A probe works on one runtime after another.
#[test]
fn a_probe_outlives_its_runtime() {
    let host = ChangingHost::new();
    let cpu = host.cpu();
    for expected in [3, 2, 1] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            measure_once(&cpu);
            assert_notifies(&cpu, || host.set_quota(expected)).await;
            assert_eq!(measure_cores(&cpu).await, Quantity::whole(expected.into()));
        });
    }
}
