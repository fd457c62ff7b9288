//! Runtimes that lack something, and that come and go.

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

use crate::support::{LONG, Tree, cores, known, poll_once, told_of};

/// Without I/O in the runtime it is the clock alone, and the measurement says so; without a timer the kernel's word
/// alone; with neither, or no runtime, it waits. No panic reaches anybody.
#[test]
fn runtime_may_lack_anything() {
    // Without a timer only another thread can say that it takes too long.
    let (done, is_done) = mpsc::channel();
    let tested = thread::spawn(move || {
        lack_anything();
        done.send(()).unwrap();
    });
    let waited = is_done.recv_timeout(LONG);
    assert_ne!(waited, Err(mpsc::RecvTimeoutError::Timeout), "a change is not told");
    tested.join().unwrap();
}

fn lack_anything() {
    let tree = Tree::new("lacking");
    let cpu = tree.cpu();
    known(&cpu);
    assert_eq!(poll_once(pin!(cpu.changed())), Poll::Pending);

    let timed = Builder::new_current_thread().enable_time().build().unwrap();
    timed.block_on(async {
        let cpu = cpu.clone().poll_every(Duration::from_millis(20));
        timeout(LONG, cpu.changed()).await.expect("told of the note");
        let measured = cpu.measure().await.unwrap();
        let note = "no change notification (the runtime has no I/O); polled every 20ms";
        assert_eq!(measured.notes(), [note]);
        told_of(&cpu, &|| tree.grant(1)).await;
        assert_eq!(cores(&cpu).await, Quantity::whole(1));
    });

    let notified = Builder::new_current_thread().enable_io().build().unwrap();
    notified.block_on(async {
        let cpu = tree.cpu();
        known(&cpu);
        let path = tree.path("sys/fs/cgroup/a/b/cpu.max");
        let mut changed = pin!(cpu.changed());
        assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            fs::write(path, "200000 100000").unwrap();
        });
        changed.await;
        // Nothing lets the write settle here, so the file may have been seen empty.
        while cores(&cpu).await != Quantity::whole(2) {
            cpu.changed().await;
        }
        writer.join().unwrap();
    });

    Builder::new_current_thread().build().unwrap().block_on(async {
        let cpu = tree.cpu();
        cpu.changed().await;
        let note = "no change notification (the runtime has no I/O) and no polling";
        assert_eq!(cpu.measure().await.unwrap().notes(), [note]);
        assert_eq!(poll_once(pin!(cpu.changed())), Poll::Pending);
    });
    let in_memory = Cpu::new().with_roots(Roots::in_memory([("/proc/self/cgroup", "")]));
    assert_eq!(poll_once(pin!(in_memory.changed())), Poll::Pending, "texts do not change");
}

/// A probe goes on from one runtime to the next.
#[test]
fn runtimes_come_and_go() {
    let tree = Tree::new("runtimes");
    let cpu = tree.cpu();
    for expected in [3, 2, 1] {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            known(&cpu);
            told_of(&cpu, &|| tree.grant(expected)).await;
            assert_eq!(cores(&cpu).await, Quantity::whole(expected.into()));
        });
    }
}
