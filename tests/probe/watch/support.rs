//! A host whose files change, and helpers to wait for notifications.

use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use concurrency_governor::probe::{Cpu, Roots};
use concurrency_governor::{Formula, GateSpec, Quantity, Reading, Resource, ResourceProbe};
use tokio::time::timeout;

use crate::support::temp_dir::TempDir;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Long enough for an expected notification.
pub(crate) const SHORT: Duration = Duration::from_millis(60);

/// A gate with one permit for each core.
pub(crate) const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::CPU, 1));

/// The quota of the cgroup of the process on a [`ChangingHost`].
pub(crate) const OWN_QUOTA: &str = "sys/fs/cgroup/a/b/cpu.max";

/// A v2 host in a directory, with eight CPUs and the process in the cgroup `/a/b`, which has a quota of four
/// cores.
pub(crate) struct ChangingHost(TempDir);

impl ChangingHost {
    pub(crate) fn new() -> Self {
        let host = Self(TempDir::new());
        for (path, content) in [
            ("proc/self/status", "Cpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\n"),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            (
                "proc/self/limits",
                "Max open files 1024 4096 files\nMax address space unlimited unlimited bytes\nMax processes 1000 1000 processes\n",
            ),
            ("proc/meminfo", "MemTotal: 8192 kB\n"),
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
            ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
            (OWN_QUOTA, "400000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/pids.max", "max\n"),
        ] {
            host.write(path, content);
        }
        host
    }

    /// Returns a v1 host with the process in the cgroups `/a/b`, whose quota is four cores.
    pub(crate) fn v1() -> Self {
        let host = Self::new();
        let controllers = ["cpu", "cpuset", "memory", "pids"];
        let lines = |line: fn(&str) -> String| controllers.map(line).concat();
        host.write("proc/self/cgroup", &lines(|name| format!("5:{name}:/a/b\n")));
        let mounts =
            lines(|name| format!("33 31 0:30 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"));
        host.write("proc/self/mountinfo", &mounts);
        for name in controllers {
            host.write(&format!("sys/fs/cgroup/{name}/cgroup.sane_behavior"), "0\n");
            host.write(&format!("sys/fs/cgroup/{name}/a/b/cgroup.procs"), "1\n");
        }
        host.write("sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "400000\n");
        host.write("sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
        host
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::at(self.0.path())
    }

    /// Returns a probe of the cores that does not poll within a test.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::new().with_roots(self.roots()).poll_every(HOUR)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file as a shell does it: the file is truncated first.
    pub(crate) fn write(&self, path: &str, content: &str) {
        self.0.write(path, content);
    }

    /// Sets the quota of the cgroup of the process.
    pub(crate) fn set_quota(&self, cores: u32) {
        self.write(OWN_QUOTA, &format!("{cores}00000 100000\n"));
    }
}

/// Asserts that the probe notifies after the change, and not before.
pub(crate) async fn assert_notifies(probe: &dyn ResourceProbe, change: impl FnOnce()) {
    let mut changed = pin!(probe.changed());
    assert!(timeout(SHORT, &mut changed).await.is_err(), "a notification before the change");
    change();
    timeout(LONG, changed).await.expect("a notification of the change");
}

/// Asserts that the probe does not notify.
pub(crate) async fn assert_no_notification(probe: &dyn ResourceProbe, reason: &str) {
    assert!(timeout(SHORT, probe.changed()).await.is_err(), "{reason}");
}

/// Measures once, so that the probe has a measurement to compare with.
pub(crate) fn measure_once(cpu: &Cpu) {
    drop(cpu.read().unwrap());
}

pub(crate) async fn measure_cores(cpu: &Cpu) -> Quantity {
    let measured = cpu.measure().await.unwrap();
    let Reading::Finite(cores) = measured.reading() else { panic!("{measured:?}") };
    cores
}

/// Waits until the condition holds.
pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, waiting).await.expect("the condition holds in the end");
}

/// Returns what the open descriptors of this process lead to. Only for a child process.
pub(crate) fn open_descriptors() -> Vec<PathBuf> {
    let listed = fs::read_dir("/proc/self/fd").unwrap();
    listed.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

/// Returns the number of open inotify descriptors. Only for a child process.
pub(crate) fn inotify_count() -> usize {
    open_descriptors().iter().filter(|link| link.as_os_str() == "anon_inode:inotify").count()
}
