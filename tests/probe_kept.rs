//! A probe that is kept answers as one that has just been made, whatever the process does to itself.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::Command;

use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Tasks};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
use nix::unistd::getpid;

/// After each change by a system call, and again when nothing has changed.
#[test]
fn kept_probes_follow_system_calls() {
    const CHILD: &str = "CONCURRENCY_GOVERNOR_TEST_CHILD";
    const NAME: &str = "kept_probes_follow_system_calls";

    if std::env::var_os(CHILD).is_some() {
        return follow_system_calls();
    }
    // What changes is the whole process's.
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && printed.contains("1 passed");
    assert!(passed, "{printed}{}", String::from_utf8_lossy(&output.stderr));
}

fn follow_system_calls() {
    let (cpu, open_files, memory, tasks) = (Cpu::new(), OpenFiles::new(), Memory::new(), Tasks::new());
    let agree = |change: &str| {
        for _ in 0..3 {
            assert_eq!(cpu.read().unwrap(), Cpu::new().read().unwrap(), "{change}");
            assert_eq!(open_files.read().unwrap(), OpenFiles::new().read().unwrap(), "{change}");
            assert_eq!(memory.read().unwrap(), Memory::new().read().unwrap(), "{change}");
            assert_eq!(tasks.read().unwrap(), Tasks::new().read().unwrap(), "{change}");
        }
    };
    agree("nothing");

    let every = sched_getaffinity(getpid()).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::count()).find(|cpu| every.is_set(*cpu).unwrap()).unwrap()).unwrap();
    for (change, set) in [("one processor", one), ("all processors", every)] {
        sched_setaffinity(getpid(), &set).unwrap();
        agree(change);
    }
    for (limit, values) in [
        (Rlimit::RLIMIT_NOFILE, [64, 65]),
        (Rlimit::RLIMIT_AS, [1 << 33, 1 << 34]),
        (Rlimit::RLIMIT_NPROC, [500, 7]),
    ] {
        let (soft, hard) = getrlimit(limit).unwrap();
        for soft in values.map(|value| value.min(hard)).into_iter().chain([soft]) {
            setrlimit(limit, soft, hard).unwrap();
            agree(&format!("{limit:?} {soft}"));
        }
    }
    let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
    setrlimit(Rlimit::RLIMIT_NOFILE, 64, hard.min(4096)).unwrap();
    agree("a lower hard limit");
}
