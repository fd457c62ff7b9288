//! The descriptors that a probe holds, and changes of the process itself. Each test runs in a child process.

use std::fs;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::probe::{Cpu, OpenFiles};
use concurrency_governor::{Governor, Quantity, ResourceProbe};
use nix::sched::sched_setaffinity;
use nix::sys::resource::{Resource as Rlimit, getrlimit};
use nix::unistd::getpid;
use tokio::runtime::{Builder, Runtime};

use super::support::{
    ChangingHost, LONG, WORKERS, assert_no_notification, assert_notifies, inotify_count, measure_cores,
    measure_once, open_descriptors, wait_until,
};
use crate::support::child::{RUN_TEST, assert_passed, is_child, run_in_child, shell, skip};
use crate::support::poll_once;
use crate::support::process::{allowed_cpu_count, first_allowed_cpu, set_soft_descriptor_limit};

/// Without a free inotify instance, the probe polls, and the measurement has a note. Once an instance is
/// free, the probe uses it, and notifies of the change of the note.
#[test]
fn without_inotify_the_probe_polls() {
    const NAME: &str = "watch::process::without_inotify_the_probe_polls";
    if is_child() {
        return runtime().block_on(async {
            let host = ChangingHost::new();
            let cpu = host.cpu().poll_every(Duration::from_millis(20));
            measure_once(&cpu);
            tokio::time::timeout(LONG, cpu.changed()).await.expect("a notification of the note");
            let note = "no change notification (inotify: EMFILE: Too many open files); polled every 20ms";
            assert_eq!(cpu.measure().await.unwrap().notes(), [note]);
            assert_notifies(&cpu, || host.set_quota(2)).await;
            assert_eq!(measure_cores(&cpu).await, Quantity::whole(2));
            let allow_inotify = || fs::write("/proc/sys/user/max_inotify_instances", "9").unwrap();
            assert_notifies(&cpu, allow_inotify).await;
            assert_eq!(cpu.measure().await.unwrap().notes(), [""; 0]);
        });
    }
    // The limit is that of a new user namespace, and binds only processes in it.
    let script = format!("echo 0 > /proc/sys/user/max_inotify_instances || exit 77; exec {RUN_TEST}");
    match shell(&["--user", "--map-root-user"], &script, NAME).output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running ") => {
            assert_passed(&output);
        }
        // The script ended before it started the test.
        _ => skip(NAME, "this process is not allowed to create a user namespace"),
    }
}

/// From the first wait on, a probe holds one inotify descriptor, and one more during each wait. They are
/// closed when the wait ends, and when the probe or its governor is dropped.
#[test]
fn a_dropped_probe_closes_its_descriptors() {
    run_in_child("watch::process::a_dropped_probe_closes_its_descriptors", || {
        let host = ChangingHost::new();
        let runtime = runtime();
        let before = (open_descriptors().len(), inotify_count());
        runtime.block_on(async {
            let cpu = host.cpu();
            assert_eq!(inotify_count(), 0, "no descriptor before the first wait");
            for _ in 0..3 {
                let mut changed = pin!(cpu.changed());
                assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
                assert_eq!(inotify_count(), 2, "one of the probe and one of the wait");
            }
        });
        assert_eq!((open_descriptors().len(), inotify_count()), before);
        runtime.block_on(async {
            let cpu = host.cpu();
            for _ in 0..3 {
                assert_no_notification(&cpu, "nothing has changed").await;
                assert_eq!(inotify_count(), 1, "the probe keeps its descriptor between two waits");
            }
            drop(cpu);
            assert_eq!(inotify_count(), 0);
            let governor = Governor::builder().gate(WORKERS).probe(host.cpu()).build().await.unwrap();
            let refresh = governor.spawn_refresh(RefreshPolicy::new());
            wait_until(|| inotify_count() == 2).await;
            drop((refresh, governor));
            wait_until(|| inotify_count() == 0).await;
        });
        assert_eq!((open_descriptors().len(), inotify_count()), before);
    });
}

/// On this host, the poll finds a changed resource limit and a changed affinity of the process.
#[test]
fn changes_of_the_process_are_polled() {
    const NAME: &str = "watch::process::changes_of_the_process_are_polled";
    run_in_child(NAME, || {
        runtime().block_on(async {
            let period = Duration::from_millis(20);
            let (cpu, files) = (Cpu::new().poll_every(period), OpenFiles::new().poll_every(period));
            measure_once(&cpu);
            drop(files.read().unwrap());
            let (soft, _) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
            assert_notifies(&files, || set_soft_descriptor_limit(soft.saturating_sub(1))).await;

            if allowed_cpu_count() < 2 {
                return skip(NAME, "there is one CPU");
            }
            let one = first_allowed_cpu();
            assert_notifies(&cpu, || sched_setaffinity(getpid(), &one).unwrap()).await;
            assert!(measure_cores(&cpu).await <= Quantity::whole(1));
        });
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
