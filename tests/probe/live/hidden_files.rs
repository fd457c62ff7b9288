//! What a process sees where files are hidden or appear later. Each test runs in a child process with mounts of its
//! own. Where this process is not allowed to create these, the test is skipped.

use std::process::Command;

use concurrency_governor::plan::Bound;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Tasks};
use concurrency_governor::{Reading, ResourceProbe};
use tokio::time::timeout;

use crate::support::child::{RUN_TEST, assert_passed, is_child, shell, skip};
use crate::support::process::allowed_cpu_count;
use crate::watch::support::{LONG, SHORT};

/// With only the processes in `/proc`, as by `ProcSubset=pid` of systemd, the total memory is still known, and no limit
/// that is hidden is taken for an absent one.
#[test]
fn hidden_files_are_not_absent_limits() {
    const NAME: &str = "live::hidden_files::hidden_files_are_not_absent_limits";
    if is_child() {
        let memory = Memory::new().read().unwrap();
        assert_eq!((memory.sources()[0].path(), memory.bound()), ("sysinfo", Bound::AtMost));
        let tasks = Tasks::new().read().unwrap();
        assert_ne!(tasks.reading(), Reading::Unlimited);
        assert!(tasks.bound() == Bound::AtMost, "{tasks:?}");
        assert!(OpenFiles::new().read().is_ok() && Cpu::new().read().is_ok());
        return;
    }
    run_with_mounts(NAME, "mount -t proc -o subset=pid proc /proc");
}

/// A cgroup hierarchy that is mounted after the first measurement counts from the next one on, and a probe that waits
/// finds it by its poll.
#[test]
fn a_hierarchy_that_is_mounted_later_counts() {
    const NAME: &str = "live::hidden_files::a_hierarchy_that_is_mounted_later_counts";
    if is_child() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(mount_a_hierarchy());
    }
    run_with_mounts(NAME, "mount -t tmpfs none /sys/fs/cgroup");
}

/// Runs in the child process, in which no hierarchy is visible.
async fn mount_a_hierarchy() {
    let cpu = Cpu::new();
    let waiting = Cpu::new().poll_every(SHORT);
    drop(waiting.read().unwrap());
    let expected = (Reading::whole(allowed_cpu_count()), Bound::AtMost);
    for _ in 0..2 {
        let measured = cpu.read().unwrap();
        assert_eq!((measured.reading(), measured.bound()), expected);
        assert!(measured.notes()[0].contains(" mounted"), "{measured:?}");
    }
    // The process is in the hierarchy of the controller `cpu`: of version 1 or 2.
    let script = "mkdir /sys/fs/cgroup/cpu && \
        { mount -t cgroup -o cpu none /sys/fs/cgroup/cpu || mount -t cgroup2 none /sys/fs/cgroup/cpu; }";
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
    timeout(LONG, waiting.changed()).await.expect("the poll finds the mount");
    for probe in [&cpu, &waiting] {
        let measured = probe.read().unwrap();
        assert!(measured.notes().iter().all(|note| !note.contains(" mounted")), "{measured:?}");
    }
    assert_eq!(cpu.read().unwrap(), Cpu::new().read().unwrap());
}

/// Runs the test in a child process, after `mount` in a mount namespace of its own.
fn run_with_mounts(test: &str, mount: &str) {
    let script = format!("{mount} || exit 77; exec {RUN_TEST}");
    match shell(&["--mount", "--propagation", "private"], &script, test).output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running ") => assert_passed(&output),
        // The script ended before it started the test.
        _ => skip(test, "this process is not allowed to mount file systems"),
    }
}
