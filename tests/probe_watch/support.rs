//! A host whose files change, and waiting for what becomes of that.

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::{Cpu, Roots};
use concurrency_governor::{Formula, GateSpec, Quantity, Reading, Resource, ResourceProbe};
use tokio::time::timeout;

pub(crate) const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::CPU, 1));

/// A host of version 2 as a directory, with the process in the group `/a/b`; removed on drop.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new(name: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("probe-watch-{name}-{}-{number}", std::process::id());
        let tree = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
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
            ("sys/fs/cgroup/a/b/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/pids.max", "max\n"),
        ] {
            tree.write(path, content);
        }
        tree
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::at(&self.0)
    }

    /// A probe that looks for nothing by itself.
    pub(crate) fn cpu(&self) -> Cpu {
        Cpu::new().with_roots(self.roots()).poll_every(HOUR)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Sets the quota of the process's own group, as a shell does: the file is emptied first.
    pub(crate) fn grant(&self, cores: u32) {
        self.write("sys/fs/cgroup/a/b/cpu.max", &format!("{cores}00000 100000\n"));
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // A folder that stays behind in the build folder harms nobody.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits, sees to it that nothing is told, makes a change, and goes on to wait.
pub(crate) async fn told_of(probe: &dyn ResourceProbe, change: &dyn Fn()) {
    let mut changed = pin!(probe.changed());
    assert!(timeout(SHORT, &mut changed).await.is_err(), "nothing has changed yet");
    change();
    timeout(LONG, changed).await.expect("the change is told");
}

/// Measures, so that there is something to compare with.
pub(crate) fn known(cpu: &Cpu) {
    drop(cpu.read().unwrap());
}

pub(crate) async fn cores(cpu: &Cpu) -> Quantity {
    let measured: Measurement = cpu.measure().await.unwrap();
    let Reading::Finite(cores) = measured.reading() else { panic!("{measured:?}") };
    cores
}

/// Waits until something holds, or for too long.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it comes to hold");
}

pub(crate) fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// What the descriptors of this process lead to.
pub(crate) fn open() -> Vec<PathBuf> {
    let listed = fs::read_dir("/proc/self/fd").unwrap();
    listed.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}

pub(crate) fn notices() -> usize {
    open().iter().filter(|link| link.as_os_str() == "anon_inode:inotify").count()
}

/// Says that a test is skipped, past whatever captures what tests print.
pub(crate) fn skip(test: &str, reason: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "skipped: {test}: {reason}").unwrap();
}

pub(crate) const CHILD: &str = "CONCURRENCY_GOVERNOR_TEST_CHILD";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Long enough for what would be told to be told.
pub(crate) const SHORT: Duration = Duration::from_millis(60);
