//! Cached descriptors and cached cgroups change no measurement.

use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::read::limit_files;
use super::{CgroupController, ChangeWatcher, Roots, SharedHostReader, WatchedMeasurement};
use crate::plan::{Measurement, Reading};
use crate::probe::{Cpu, Memory, OpenFiles, Tasks};

proptest! {
    // Each case writes and reads a few hundred small files.
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a host changes between two measurements, a reader with caches measures what a new reader measures, and
    /// repeated measurements are equal.
    #[test]
    fn cached_readers_are_never_stale(
        steps in prop::collection::vec((change(), 1_usize..=3, 0..=OTHER_READS.len()), 1..32),
    ) {
        let tree = TempHost::new(FILES);
        let cached = [(); 4].map(|()| (tree.caching_reader(), ChangeWatcher::default()));
        for (change, times, other) in steps {
            tree.write(change);
            for (index, (host, watcher)) in cached.iter().enumerate() {
                let expected = outcome(&ChangeWatcher::default(), subjects(&tree.new_reader())[index]);
                for _ in 0..times {
                    prop_assert_eq!(&outcome(watcher, subjects(host)[index]), &expected);
                }
                OTHER_READS.iter().skip(other).take(1).for_each(|read| read(host));
            }
        }
    }
}

/// Repeated measurements are equal, also after a change of lines that no probe reads. A changed limit is seen by the
/// next measurement.
#[test]
fn only_changed_limits_change_a_measurement() {
    let tree = TempHost::new(FILES);
    let host = tree.caching_reader();
    let watchers = [(); 4].map(|()| ChangeWatcher::default());
    let measure = || [0, 1, 2, 3].map(|index| outcome(&watchers[index], subjects(&host)[index]).unwrap());
    let first = measure();
    assert_eq!(measure(), first);
    for _ in 0..3 {
        tree.write(&[
            ("/proc/meminfo", "MemTotal: 1048576 kB\nMemFree: 1 kB\nMemAvailable: 9 kB\n"),
            ("/proc/self/status", "Threads:\t9\nCpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\n"),
        ]);
        assert_eq!(measure(), first);
    }
    tree.write(&[("/sys/fs/cgroup/unified/p/l/pids.max", "7\n")]);
    let changed = measure();
    assert_eq!(changed[..3], first[..3]);
    assert_eq!(changed[3].reading(), Reading::whole(7));
    assert_eq!(measure(), changed);
}

/// A process that returns to its previous cgroup is resolved again, since the cgroup may be mounted elsewhere by
/// then.
#[test]
fn returning_to_a_cgroup_resolves_it_again() {
    let (tree, watcher) = (TempHost::new(FILES), ChangeWatcher::default());
    let host = tree.caching_reader();
    let cores = |host: &SharedHostReader, watcher: &ChangeWatcher| outcome(watcher, subjects(host)[0]);
    let before = cores(&host, &watcher);
    assert_eq!(cores(&host, &watcher), before);
    tree.write(&[(MEMBERSHIP, "0::/q\n")]);
    host.measure(|reader| limit_files(reader, &[CgroupController::Cpu]));
    tree.write(&[
        (MEMBERSHIP, "0::/p/l\n"),
        ("/proc/self/mountinfo", "32 31 0:29 / /mnt rw - cgroup2 cgroup2 rw\n"),
        ("/mnt/p/l/cpu.max", "100000 100000\n"),
    ]);
    let after = cores(&host, &watcher);
    assert_eq!(after, cores(&tree.new_reader(), &ChangeWatcher::default()));
    assert_ne!(after, before);
}

/// A forked child measures its own files, not the files that its parent has open.
#[test]
fn forked_child_measures_anew() {
    let tree = TempHost::new(FILES);
    let host = tree.caching_reader();
    let subject = subjects(&host)[0];
    let parent = host.measure(subject.measure).unwrap();
    tree.replace("/sys/fs/cgroup/unified/p/l/cpu.max", "100000 100000\n");
    assert_eq!(host.measure(subject.measure).unwrap(), parent, "the parent reads the file that it has open");
    let child = process::id().wrapping_add(1);
    let measured = host.measure_in_process(child, subject.measure).unwrap();
    assert_eq!(Ok(measured), outcome(&ChangeWatcher::default(), subjects(&tree.new_reader())[0]));
}

/// A host as a directory. Its files are changed in place, as the kernel's are. It is removed on drop.
struct TempHost(PathBuf);

impl TempHost {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);

        let name = format!("governor-cached-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let tree = Self(std::env::temp_dir().join(name));
        tree.write(files);
        tree
    }

    fn write(&self, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }

    /// Puts another file in the place of one, so that an open descriptor still leads to the old file.
    fn replace(&self, path: &str, content: &str) {
        std::fs::remove_file(self.path(path)).unwrap();
        self.write(&[(path, content)]);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Creates a reader without caches.
    fn new_reader(&self) -> SharedHostReader {
        SharedHostReader::new(Roots::at(&self.0))
    }

    /// Creates a reader with the caches that it would have on the running host.
    fn caching_reader(&self) -> SharedHostReader {
        SharedHostReader::caching(Roots::at(&self.0))
    }
}

impl Drop for TempHost {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The measurements of the four probes.
fn subjects(host: &SharedHostReader) -> [WatchedMeasurement<'_>; 4] {
    let subject = |measure| WatchedMeasurement { host, controllers: &[], measure };
    [
        subject(Cpu::measure_on),
        subject(OpenFiles::measure_on),
        subject(Memory::measure_on),
        subject(|reader| Ok(Tasks::measure_on(reader))),
    ]
}

/// Other reads of the same host, which share its caches.
const OTHER_READS: [fn(&SharedHostReader); 3] = [
    |host| drop(host.measure(Memory::available_on)),
    |host| drop(host.measure(Tasks::free_on)),
    |host| drop(host.measure(|reader| limit_files(reader, &[CgroupController::Cpu, CgroupController::Pids]))),
];

fn outcome(watcher: &ChangeWatcher, subject: WatchedMeasurement<'_>) -> Result<Measurement, String> {
    watcher.measure(subject).map_err(|error| format!("{error:#}"))
}

/// A move to another cgroup, which may switch between v1 and v2, or any other change.
fn change() -> impl Strategy<Value = &'static [(&'static str, &'static str)]> {
    prop_oneof![1 => prop::sample::select(MOVES), 4 => prop::sample::select(CHANGES)]
}

const MEMBERSHIP: &str = "/proc/self/cgroup";
const ROOT_QUOTA: &str = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us";

/// A host with v1 and v2 hierarchies. Only a part of the v1 memory hierarchy is mounted.
const FILES: &[(&str, &str)] = &[
    (MEMBERSHIP, "0::/p/l\n"),
    (
        "/proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
         33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         34 31 0:31 /p /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    ),
    ("/proc/self/status", "Cpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\n"),
    ("/sys/devices/system/cpu/online", "0-63\n"),
    (
        "/proc/self/limits",
        "Max processes 90 90 x\nMax open files 1024 4096 x\nMax address space unlimited unlimited x\n",
    ),
    ("/proc/meminfo", "MemTotal: 1048576 kB\nMemFree: 5 kB\nMemAvailable: 524288 kB\n"),
    ("/proc/sys/kernel/threads-max", "30000\n"),
    ("/sys/fs/cgroup/unified/p/cgroup.controllers", "cpu memory pids\n"),
    ("/sys/fs/cgroup/unified/p/cpu.max", "400000 100000\n"),
    ("/sys/fs/cgroup/unified/p/memory.max", "max\n"),
    ("/sys/fs/cgroup/unified/p/pids.max", "max\n"),
    ("/sys/fs/cgroup/unified/p/l/cgroup.controllers", "cpu memory pids\n"),
    ("/sys/fs/cgroup/unified/p/l/cpu.max", "300000 100000\n"),
    ("/sys/fs/cgroup/unified/p/l/memory.max", "65536\n"),
    ("/sys/fs/cgroup/unified/p/l/pids.max", "100\n"),
    ("/sys/fs/cgroup/unified/q/cgroup.controllers", "memory\n"),
    ("/sys/fs/cgroup/unified/q/memory.max", "4096\n"),
    ("/sys/fs/cgroup/cpu/cgroup.sane_behavior", "0\n"),
    (ROOT_QUOTA, "-1\n"),
    ("/sys/fs/cgroup/cpu/p/cpu.cfs_quota_us", "-1\n"),
    ("/sys/fs/cgroup/cpu/p/l/cpu.cfs_quota_us", "150000\n"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ("/sys/fs/cgroup/memory/memory.stat", "cache 1\nhierarchical_memory_limit 8192\n"),
    ("/sys/fs/cgroup/memory/l/memory.limit_in_bytes", "16384\n"),
    ("/sys/fs/cgroup/memory/l/memory.stat", "cache 1\nhierarchical_memory_limit 8192\n"),
];

/// Moves of the process to another cgroup.
const MOVES: &[&[(&str, &str)]] = &[
    &[(MEMBERSHIP, "0::/p/l\n")],
    &[(MEMBERSHIP, "0::/p\n")],
    &[(MEMBERSHIP, "0::/q\n")],
    &[(MEMBERSHIP, "0::/\n")],
    &[(MEMBERSHIP, "3:cpu,cpuacct:/p\n4:memory:/p\n0::/p/l\n")],
    &[(MEMBERSHIP, "3:cpu,cpuacct:/p/l\n4:memory:/p/l\n0::/p\n")],
    &[(MEMBERSHIP, "3:cpu,cpuacct:/\n4:memory:/elsewhere\n0::/p\n")],
    &[(MEMBERSHIP, "rubbish\n")],
];

/// Changes of the files.
const CHANGES: &[&[(&str, &str)]] = &[
    &[("/proc/self/status", "Cpus_allowed_list:\t0-1\nCapEff:\t0000000000000000\n")],
    &[("/proc/self/status", "Cpus_allowed_list:\t0-1\nCapEff:\t000001ffffffffff\n")],
    &[("/proc/self/status", "Cpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\nThreads:\t9\n")],
    &[("/proc/self/uid_map", "0 0 4294967295\n")],
    &[("/sys/devices/system/cpu/online", "0-4\n")],
    &[("/sys/devices/system/cpu/online", "0-63\n")],
    &[(
        "/proc/self/limits",
        "Max processes 90 90 x\nMax open files 64 4096 x\nMax address space 2048 4096 x\n",
    )],
    &[(
        "/proc/self/limits",
        "Max processes 20 90 x\nMax open files 64 8192 x\nMax address space unlimited 4096 x\n",
    )],
    &[("/proc/sys/fs/nr_open", "512\n")],
    &[("/proc/sys/fs/nr_open", "16\n")],
    &[("/proc/meminfo", "MemTotal: 1048576 kB\nMemFree: 7 kB\nMemAvailable: 7 kB\n")],
    &[("/proc/meminfo", "MemTotal: 8 kB\nMemFree: 7 kB\nMemAvailable: 7 kB\n")],
    &[("/proc/sys/kernel/threads-max", "60\n")],
    &[("/proc/sys/kernel/pid_max", "50\n")],
    &[("/proc/sys/kernel/pid_max", "32768\n")],
    &[("/sys/fs/cgroup/unified/p/cpu.max", "100000 100000\n")],
    &[("/sys/fs/cgroup/unified/p/l/cpu.max", "max 100000\n")],
    &[("/sys/fs/cgroup/unified/p/l/cpu.max", "50000 100000\n")],
    &[("/sys/fs/cgroup/unified/p/l/cpu.max", "nonsense\n")],
    &[("/sys/fs/cgroup/unified/p/memory.max", "512\n")],
    &[("/sys/fs/cgroup/unified/p/l/memory.max", "max\n")],
    &[("/sys/fs/cgroup/unified/p/pids.max", "30\n")],
    &[("/sys/fs/cgroup/unified/p/l/pids.max", "10\n")],
    // A controller is enabled, and its files appear.
    &[
        ("/sys/fs/cgroup/unified/q/cgroup.controllers", "cpu memory pids\n"),
        ("/sys/fs/cgroup/unified/q/cpu.max", "200000 100000\n"),
        ("/sys/fs/cgroup/unified/q/pids.max", "25\n"),
    ],
    &[(ROOT_QUOTA, "250000\n")],
    &[("/sys/fs/cgroup/cpu/p/cpu.cfs_quota_us", "350000\n")],
    &[("/sys/fs/cgroup/cpu/p/cpu.cfs_period_us", "200000\n")],
    &[("/sys/fs/cgroup/cpu/p/l/cpu.cfs_quota_us", "-1\n")],
    &[("/sys/fs/cgroup/cpu/p/l/cpu.cfs_quota_us", "150000\n")],
    &[("/sys/fs/cgroup/cpu/p/l/cpu.cfs_period_us", "50000\n")],
    &[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "12288\n")],
    &[("/sys/fs/cgroup/memory/memory.stat", "cache 2\nhierarchical_memory_limit 2048\n")],
    &[("/sys/fs/cgroup/memory/l/memory.limit_in_bytes", "1024\n")],
    &[("/sys/fs/cgroup/memory/l/memory.stat", "cache 3\nhierarchical_memory_limit 8192\n")],
    &[("/sys/fs/cgroup/memory/l/memory.stat", "cache 3\nhierarchical_memory_limit 256\n")],
];
