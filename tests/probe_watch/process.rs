//! What a probe takes of a process, and what a process takes from it: each test in a process of its own.

use std::fs;
use std::pin::pin;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::probe::{Cpu, OpenFiles};
use concurrency_governor::{Governor, Quantity, ResourceProbe};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::support::{
    CHILD, LONG, SHORT, Tree, WORKERS, cores, known, notices, open, poll_once, skip, told_of, until,
};

/// Where the kernel has no notices left to give, the clock stands in, and the measurement says so.
#[test]
fn exhausted_notices_leave_the_clock() {
    const NAME: &str = "process::exhausted_notices_leave_the_clock";
    if std::env::var_os(CHILD).is_some() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(async {
            let tree = Tree::new("exhausted");
            let cpu = tree.cpu().poll_every(Duration::from_millis(20));
            known(&cpu);
            timeout(LONG, cpu.changed()).await.expect("told of the note");
            let note = "no change notification (inotify: EMFILE: Too many open files); polled every 20ms";
            assert_eq!(cpu.measure().await.unwrap().notes(), [note]);
            told_of(&cpu, &|| tree.grant(2)).await;
            assert_eq!(cores(&cpu).await, Quantity::whole(2));
            // Once there are some again, they are taken, and told of.
            let allow = || fs::write("/proc/sys/user/max_inotify_instances", "9").unwrap();
            told_of(&cpu, &allow).await;
            assert_eq!(cpu.measure().await.unwrap().notes(), [""; 0]);
        });
    }
    let script =
        "echo 0 > /proc/sys/user/max_inotify_instances || exit 77; exec \"$0\" --exact \"$1\" --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--", "sh", "-c", script])
        .args([std::env::current_exe().unwrap().as_os_str(), NAME.as_ref()])
        .env(CHILD, "1")
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
            panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        _ => skip(NAME, "this process may make no namespace of users"),
    }
}

/// What a probe keeps for its changes goes with it, and with a wait that is given up what that had.
#[test]
fn descriptors_go_with_the_probe() {
    const NAME: &str = "process::descriptors_go_with_the_probe";
    if std::env::var_os(CHILD).is_none() {
        return in_child(NAME);
    }
    let tree = Tree::new("descriptors");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let before = (open().len(), notices());
    runtime.block_on(async {
        let cpu = tree.cpu();
        assert_eq!(notices(), 0, "nothing is watched for nobody");
        for _ in 0..3 {
            let mut changed = pin!(cpu.changed());
            assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
            assert_eq!(notices(), 2, "the probe's and the waiter's");
        }
    });
    assert_eq!((open().len(), notices()), before);
    runtime.block_on(async {
        let cpu = tree.cpu();
        for _ in 0..3 {
            assert!(timeout(SHORT, cpu.changed()).await.is_err());
            assert_eq!(notices(), 1, "kept between two calls");
        }
        drop(cpu);
        assert_eq!(notices(), 0);
        let governor = Governor::builder().gate(WORKERS).probe(tree.cpu()).build().await.unwrap();
        let refresh = governor.spawn_refresh(RefreshPolicy::new());
        until(|| notices() == 2).await;
        drop((refresh, governor));
        until(|| notices() == 0).await;
    });
    assert_eq!((open().len(), notices()), before);
}

/// On the running host, what a process does to itself is looked for.
#[test]
fn own_limits_are_looked_for() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
    use nix::unistd::getpid;

    const NAME: &str = "process::own_limits_are_looked_for";
    if std::env::var_os(CHILD).is_none() {
        return in_child(NAME);
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let period = Duration::from_millis(20);
        let (cpu, files) = (Cpu::new().poll_every(period), OpenFiles::new().poll_every(period));
        known(&cpu);
        drop(files.read().unwrap());
        let (soft, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
        let lower = || setrlimit(Rlimit::RLIMIT_NOFILE, soft.saturating_sub(1), hard).unwrap();
        told_of(&files, &lower).await;

        let allowed = sched_getaffinity(getpid()).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        if (first..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).count() < 2 {
            return skip(NAME, "there is one processor");
        }
        let mut one = CpuSet::new();
        one.set(first).unwrap();
        told_of(&cpu, &|| sched_setaffinity(getpid(), &one).unwrap()).await;
        assert!(cores(&cpu).await <= Quantity::whole(1));
    });
}

/// Runs a test in a process of its own.
fn in_child(test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{test} is not run");
}
