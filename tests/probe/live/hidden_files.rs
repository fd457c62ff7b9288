//! What a process sees where files or limits are hidden, do not apply, or appear later. Each test runs in a child process
//! with namespaces or capabilities of its own. Where this process is not allowed to create these, the test is skipped.

use std::process::Command;
use std::thread;

use concurrency_governor::plan::Bound;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Tasks};
use concurrency_governor::{Reading, ResourceProbe};
use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
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
    run_in_namespaces(NAME, &MOUNTS, "mount -t proc -o subset=pid proc /proc");
}

/// In a user namespace, the limit that its creator had on its tasks applies, too, and is hidden: the tasks are a bound.
#[test]
fn a_user_namespace_hides_a_limit() {
    const NAME: &str = "live::hidden_files::a_user_namespace_hides_a_limit";
    if is_child() {
        let tasks = Tasks::new().read().unwrap();
        assert_eq!(tasks.bound(), Bound::AtMost, "{tasks:?}");
        assert!(
            tasks.notes().iter().any(|note| note.contains("creator of this user namespace")),
            "{tasks:?}"
        );
        return;
    }
    run_in_namespaces(NAME, &["--user", "--map-root-user"], "true");
}

/// The limit of the user does not bind root, whatever its capabilities.
#[test]
fn the_user_limit_does_not_bind_root() {
    const NAME: &str = "live::hidden_files::the_user_limit_does_not_bind_root";
    if is_child() {
        let before = Tasks::new().read().unwrap();
        let (_, hard) = getrlimit(Rlimit::RLIMIT_NPROC).unwrap();
        setrlimit(Rlimit::RLIMIT_NPROC, 1, hard).unwrap();
        assert_eq!(Tasks::new().read().unwrap().reading(), before.reading());
        // The kernel agrees.
        thread::spawn(|| ()).join().unwrap();
        return;
    }
    let script =
        format!("[ $(id -u) = 0 ] || exit 77; exec setpriv --inh-caps=-all --bounding-set=-all {RUN_TEST}");
    match shell(&[], &script, NAME).output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running ") => assert_passed(&output),
        _ => skip(NAME, "this process is not root, or cannot drop its capabilities"),
    }
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
    run_in_namespaces(NAME, &MOUNTS, "mount -t tmpfs none /sys/fs/cgroup");
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

/// Runs the test in a child process, after `command` in new namespaces.
fn run_in_namespaces(test: &str, namespaces: &[&str], command: &str) {
    let script = format!("{command} || exit 77; exec {RUN_TEST}");
    match shell(namespaces, &script, test).output() {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running ") => assert_passed(&output),
        // The script ended before it started the test.
        _ => skip(test, "this process is not allowed to create such namespaces"),
    }
}

/// The namespace in which a test changes the mounts.
const MOUNTS: [&str; 3] = ["--mount", "--propagation", "private"];
