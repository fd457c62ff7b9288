//! What a measurement was made of: where all of it is still the same, so is the measurement.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource as Rlimit, getrlimit};
use nix::unistd::Pid;

use super::kept::Buffer;
use crate::plan::Measurement;
use crate::probe::roots::Roots;

/// What a measurement under way has asked the host and was told, in that order.
///
/// It is nothing once something was among it that is not asked again for the comparison: a file that is not kept open, a
/// directory, whatever failed. Then the next measurement is made anew.
#[derive(Debug, Default)]
pub(super) struct Inputs(Option<Vec<Input>>);

/// A question and its answer.
#[derive(Debug)]
pub(super) enum Input {
    /// A file that is kept open, and what it holds, as far as that counts.
    File { file: Arc<File>, part: Part, content: Vec<u8> },
    /// There is no such file.
    Absence(PathBuf),
    /// The CPUs that the process may run on.
    Affinity(CpuSet),
    /// A limit of the process, soft and hard.
    Limit(Rlimit, (u64, u64)),
}

/// What of a file counts: of those that are never the same twice, such as `/proc/meminfo`, a line may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The first line that starts so; nothing if there is none.
    Line(&'static str),
}

/// A measurement with all that it was made of.
#[derive(Debug)]
pub(super) struct Last {
    inputs: Vec<Input>,
    measured: Measurement,
}

impl Inputs {
    /// Notes what is asked from now on.
    pub(super) fn begin(&mut self) {
        self.0 = Some(Vec::new());
    }

    /// The host was asked this, if that is to be known.
    pub(super) fn note(&mut self, input: impl FnOnce() -> Input) {
        if let Some(inputs) = &mut self.0 {
            inputs.push(input());
        }
    }

    /// The host was asked something that is not noted, so that nothing can be said of the next measurement.
    pub(super) fn spoil(&mut self) {
        self.0 = None;
    }

    /// Ends noting: what was measured, if anything, with all that it was made of, if that is known.
    pub(super) fn end(&mut self, measured: Option<&Measurement>) -> Option<Last> {
        let inputs = self.0.take()?;
        Some(Last { inputs, measured: measured?.clone() })
    }
}

impl Last {
    /// The measurement, if the host still answers each question as it did. Which question comes next depends on nothing but
    /// the answers so far, so a measurement made anew would ask the same ones and come to the same.
    pub(super) fn again(&self, roots: &Roots, process: Pid, buffer: &mut Buffer) -> Option<&Measurement> {
        self.inputs.iter().all(|input| input.is_the_same(roots, process, buffer)).then_some(&self.measured)
    }
}

impl Input {
    /// Asks again. What fails is not the same.
    fn is_the_same(&self, roots: &Roots, process: Pid, buffer: &mut Buffer) -> bool {
        match self {
            Self::File { file, part, content } => {
                matches!(buffer.read(file), Ok(Some(read)) if part.of(read) == content)
            }
            Self::Absence(path) => matches!(roots.exists(path), Ok(false)),
            Self::Affinity(set) => sched_getaffinity(process).as_ref() == Ok(set),
            Self::Limit(limit, values) => getrlimit(*limit).as_ref() == Ok(values),
        }
    }
}

impl Part {
    /// The part of a file's content.
    pub(super) fn of(self, content: &[u8]) -> &[u8] {
        match self {
            Self::Whole => content,
            Self::Line(start) => {
                let mut lines = content.split(|byte| *byte == b'\n');
                lines.find(|line| line.starts_with(start.as_bytes())).unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;
    use std::process;
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::super::host::{Host, SharedHost};
    use super::super::{Controller, Subject, Watch, limit_files};
    use super::*;
    use crate::probe::{Cpu, Memory, OpenFiles, Tasks};

    /// A host whose files change in their places, as those of a running one do; removed on drop.
    struct Tree(PathBuf);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);

            let name = format!("governor-inputs-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let tree = Self(std::env::temp_dir().join(name));
            tree.put(files);
            tree
        }

        fn put(&self, files: &[(&str, &str)]) {
            for (path, content) in files {
                let path = self.0.join(path.trim_start_matches('/'));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
        }

        /// Nothing of it is kept.
        fn fresh(&self) -> SharedHost {
            SharedHost::new(Roots::at(&self.0))
        }

        /// What would be kept of the running host is.
        fn keeping(&self) -> SharedHost {
            SharedHost::keeping(Roots::at(&self.0))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    /// What each of the probes measures of a host.
    fn subjects(host: &SharedHost) -> [Subject<'_>; 4] {
        let subject = |read| Subject { host, controllers: &[], read };
        [
            subject(Cpu::measure_on),
            subject(OpenFiles::measure_on),
            subject(Memory::measure_on),
            subject(|host| Ok(Tasks::measure_on(host))),
        ]
    }

    /// What the same hosts are asked beside.
    const OTHERS: [fn(&SharedHost); 3] = [
        |host| drop(host.measure(Memory::available_on)),
        |host| drop(host.measure(Tasks::free_on)),
        |host| drop(host.measure(|host| limit_files(host, &[Controller::Cpu, Controller::Pids]))),
    ];

    fn said(watch: &Watch, subject: Subject<'_>) -> Result<Measurement, String> {
        watch.measure(subject).map_err(|error| format!("{error:#}"))
    }

    proptest! {
        // Each case writes and reads a few hundred small files.
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        /// However a host changes between two measurements, who kept what it could says what is said by who kept nothing.
        #[test]
        fn kept_measurements_are_never_stale(
            refuses in any::<bool>(),
            steps in prop::collection::vec((change(), 1_usize..=3, 0..=OTHERS.len()), 1..32),
        ) {
            let tree = Tree::new(FILES);
            // The kernel's root has no quota and gets none. An imitator's may be any.
            tree.put(&[(ROOT_QUOTA, if refuses { "-1\n" } else { "600000\n" })]);
            let kept = [(); 4].map(|()| (tree.keeping(), Watch::default()));
            for (change, times, other) in steps {
                if !(refuses && change[0].0 == ROOT_QUOTA) {
                    tree.put(change);
                }
                for (at, (host, watch)) in kept.iter().enumerate() {
                    let fresh = said(&Watch::default(), subjects(&tree.fresh())[at]);
                    for _ in 0..times {
                        prop_assert_eq!(&said(watch, subjects(host)[at]), &fresh);
                    }
                    OTHERS.iter().skip(other).take(1).for_each(|ask| ask(host));
                }
            }
        }
    }

    /// A move to another group, which has the files of one version count, or any other change.
    fn change() -> impl Strategy<Value = &'static [(&'static str, &'static str)]> {
        prop_oneof![1 => prop::sample::select(MOVES), 4 => prop::sample::select(CHANGES)]
    }

    /// What would come to the same is not measured again, and shares what it says with the last.
    #[test]
    fn the_same_is_not_measured_again() {
        thread_local!(static RUNS: Cell<u32> = const { Cell::new(0) });

        let counted = |host: &mut Host| {
            RUNS.set(RUNS.get().saturating_add(1));
            let read: [Measurement; 3] =
                [Cpu::measure_on(host)?, Memory::measure_on(host)?, Tasks::measure_on(host)];
            Ok(read.into_iter().fold(Measurement::default(), |all, one| {
                one.sources().iter().fold(all, |all, source| all.source(source.clone()))
            }))
        };
        let (tree, watch) = (Tree::new(FILES), Watch::default());
        let host = tree.keeping();
        let run = || {
            let measured = said(&watch, Subject { host: &host, controllers: &[], read: counted }).unwrap();
            (measured, RUNS.take())
        };
        // The first finds the groups, the second what is to be compared.
        let first = run();
        assert_eq!(run(), first);
        for _ in 0..3 {
            // What does not count of a file may be another each time.
            tree.put(&[
                ("/proc/meminfo", "MemTotal: 1048576 kB\nMemFree: 1 kB\nMemAvailable: 9 kB\n"),
                ("/proc/self/status", "Threads:\t9\nCpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\n"),
            ]);
            assert_eq!(run(), (first.0.clone(), 0));
        }
        tree.put(&[("/sys/fs/cgroup/unified/p/l/pids.max", "7\n")]);
        let (changed, runs) = run();
        assert_eq!((changed == first.0, runs), (false, 1));
        assert_eq!(run(), (changed, 0));
        // A forked child has another group, perhaps, and other limits.
        let child = process::id().wrapping_add(1);
        assert!(host.measure_in(child, |host| host.measure_again(counted)).is_ok());
        assert_eq!(RUNS.take(), 1);
    }

    /// Back in a group that it has left, a process is looked for anew: where the group is may be another place by now.
    #[test]
    fn way_back_is_looked_for_anew() {
        let (tree, watch) = (Tree::new(FILES), Watch::default());
        let host = tree.keeping();
        let cores = |host: &SharedHost, watch: &Watch| said(watch, subjects(host)[0]);
        let before = cores(&host, &watch);
        assert_eq!(cores(&host, &watch), before);
        tree.put(&[(MEMBERSHIP, "0::/q\n")]);
        host.measure(|host| limit_files(host, &[Controller::Cpu]));
        tree.put(&[
            (MEMBERSHIP, "0::/p/l\n"),
            ("/proc/self/mountinfo", "32 31 0:29 / /mnt rw - cgroup2 cgroup2 rw\n"),
            ("/mnt/p/l/cpu.max", "100000 100000\n"),
        ]);
        let after = cores(&host, &watch);
        assert_eq!(after, cores(&tree.fresh(), &Watch::default()));
        assert_ne!(after, before);
    }

    /// What is asked of the process by system calls is compared too; what fails is never the same.
    #[test]
    fn calls_are_asked_again() {
        let (roots, pid, buffer) = (Roots::host(), nix::unistd::getpid(), &mut Buffer::default());
        let mut same = |input: &Input| input.is_the_same(&roots, pid, buffer);
        let (mut set, limit) = (sched_getaffinity(pid).unwrap(), Rlimit::RLIMIT_NOFILE);
        assert!(same(&Input::Affinity(set)));
        let first = (0..CpuSet::count()).find(|cpu| set.is_set(*cpu).unwrap()).unwrap();
        set.unset(first).unwrap();
        assert!(!same(&Input::Affinity(set)));
        let (soft, hard) = getrlimit(limit).unwrap();
        assert!(same(&Input::Limit(limit, (soft, hard))));
        assert!(!same(&Input::Limit(limit, (soft ^ 1, hard))));
        assert!(!same(&Input::Limit(limit, (soft, hard ^ 1))));
        assert!(same(&Input::Absence("/nonexistent/cpu.max".into())));
        assert!(!same(&Input::Absence("/proc/self".into())));
        let directory = Arc::new(File::open(Path::new("/proc/self")).unwrap());
        assert!(!same(&Input::File { file: directory, part: Part::Whole, content: Vec::new() }));
    }

    /// A line is found by how it begins, and what has none has an empty one.
    #[test]
    fn lines_are_found_by_their_beginning() {
        let part = |start| Part::Line(start).of(b"MemTotal2: 1 kB\nMemTotal:   2 kB\nMemTotal: 3 kB\n");
        assert_eq!(part("MemTotal:"), b"MemTotal:   2 kB");
        assert_eq!(part("Total"), b"");
    }

    const MEMBERSHIP: &str = "/proc/self/cgroup";
    const ROOT_QUOTA: &str = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us";

    /// A host with both versions, of which the memory of version 1 is mounted in part.
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

    /// Where the process may be moved to.
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

    /// What else may happen.
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
        // A controller is switched on, and brings its files.
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
}
