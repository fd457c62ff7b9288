//! What a process changes of itself: its affinity, its resource limits, its open descriptors. Each test runs
//! in a child process.

use std::fs::File;
use std::num::NonZeroUsize;
use std::process::Command;
use std::thread;

use concurrency_governor::Reading;
use concurrency_governor::plan::Bound;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Tasks};
use nix::sched::{sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
use nix::unistd::getpid;

use crate::support::child::run_in_child;
use crate::support::process::{CALLING_THREAD, first_allowed_cpu, set_soft_descriptor_limit, whole_cores};

/// A process that is pinned to one core has one core.
#[test]
fn a_pinned_process_has_the_cores_of_its_affinity() {
    run_in_child("live::process_changes::a_pinned_process_has_the_cores_of_its_affinity", || {
        let one = first_allowed_cpu();
        sched_setaffinity(getpid(), &one).unwrap();
        sched_setaffinity(CALLING_THREAD, &one).unwrap();
        assert_eq!(whole_cores(), 1);
        assert_eq!(thread::available_parallelism().unwrap(), NonZeroUsize::MIN);
    });
}

/// After each change by a system call, and again after no change, a probe that was used before measures what
/// a new probe measures.
#[test]
fn reused_probes_follow_system_calls() {
    run_in_child("live::process_changes::reused_probes_follow_system_calls", || {
        let (cpu, open_files, memory, tasks) = (Cpu::new(), OpenFiles::new(), Memory::new(), Tasks::new());
        let assert_equal_to_new = |change: &str| {
            for _ in 0..3 {
                assert_eq!(cpu.read().unwrap(), Cpu::new().read().unwrap(), "{change}");
                assert_eq!(open_files.read().unwrap(), OpenFiles::new().read().unwrap(), "{change}");
                assert_eq!(memory.read().unwrap(), Memory::new().read().unwrap(), "{change}");
                assert_eq!(tasks.read().unwrap(), Tasks::new().read().unwrap(), "{change}");
            }
        };
        assert_equal_to_new("no change");

        let all = sched_getaffinity(getpid()).unwrap();
        for (change, set) in [("one CPU", first_allowed_cpu()), ("all CPUs", all)] {
            sched_setaffinity(getpid(), &set).unwrap();
            assert_equal_to_new(change);
        }
        for (limit, values) in [
            (Rlimit::RLIMIT_NOFILE, [64, 65]),
            (Rlimit::RLIMIT_AS, [1 << 33, 1 << 34]),
            (Rlimit::RLIMIT_NPROC, [500, 7]),
        ] {
            let (soft, hard) = getrlimit(limit).unwrap();
            for soft in values.map(|value| value.min(hard)).into_iter().chain([soft]) {
                setrlimit(limit, soft, hard).unwrap();
                assert_equal_to_new(&format!("{limit:?} {soft}"));
            }
        }
        let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
        setrlimit(Rlimit::RLIMIT_NOFILE, 64, hard.min(4096)).unwrap();
        assert_equal_to_new("a lower hard limit");
    });
}

/// The reading is the soft limit of open descriptors, with the hard limit in a note. A limit of 0 is unknown.
/// With too few descriptors to read `fs.nr_open`, the reading is a bound.
#[test]
fn the_soft_limit_is_read() {
    run_in_child("live::process_changes::the_soft_limit_is_read", || {
        for (soft, reading, bound) in [
            (64, Reading::whole(64), Bound::Exact),
            (1, Reading::whole(1), Bound::AtMost),
            (0, Reading::Unknown, Bound::AtMost),
        ] {
            set_soft_descriptor_limit(soft);
            let measured = OpenFiles::new().read().unwrap();
            assert_eq!((measured.reading(), measured.bound()), (reading, bound));
            assert_eq!(measured.sources()[0].raw(), soft.to_string());
            assert!(measured.notes().last().unwrap().starts_with("the hard limit is "), "{measured:?}");
        }
    });
}

/// `raise_soft_limit` raises the soft limit to its ceiling, or to a lower hard limit, and no measurement does. Then the process can
/// open that many files, and its child processes inherit the limit.
#[test]
fn the_soft_limit_is_raised_only_on_request() {
    run_in_child("live::process_changes::the_soft_limit_is_raised_only_on_request", || {
        let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
        let hard = hard.min(4096);
        setrlimit(Rlimit::RLIMIT_NOFILE, 64, hard).unwrap();
        let open_files = OpenFiles::new();
        let before = open_files.read().unwrap();
        let note = format!("the hard limit is {hard}, which the soft one may be raised to");
        assert_eq!((before.reading(), before.notes()), (Reading::whole(64), &[note][..]));
        assert_eq!(getrlimit(Rlimit::RLIMIT_NOFILE).unwrap(), (64, hard));

        for (ceiling, from, to) in [(0, 64, 64), (64, 64, 64), (100, 64, 100), (65, 100, 100)] {
            let raised = OpenFiles::raise_soft_limit(ceiling).unwrap();
            assert_eq!((raised.from, raised.to), (Reading::whole(from), Reading::whole(to)), "{ceiling}");
            assert_eq!(getrlimit(Rlimit::RLIMIT_NOFILE).unwrap(), (to, hard));
        }
        let raised = OpenFiles::raise_soft_limit(u64::MAX).unwrap();
        assert_eq!((raised.from, raised.to), (Reading::whole(100), Reading::whole(hard)));
        assert_eq!(getrlimit(Rlimit::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let after = open_files.read().unwrap();
        assert_eq!(after.reading(), Reading::whole(hard));
        assert_eq!(after.notes(), [format!("the hard limit is {hard}")]);
        let open: Vec<_> = (0..100).map_while(|_| File::open("/dev/null").ok()).collect();
        assert_eq!(open.len(), 100);
        let child = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
        assert_eq!(String::from_utf8(child.stdout).unwrap().trim(), hard.to_string());

        let again = OpenFiles::raise_soft_limit(u64::MAX).unwrap();
        assert_eq!((again.from, again.to), (Reading::whole(hard), Reading::whole(hard)));
    });
}

/// With no descriptor left, a new probe cannot read the quotas: the cores are a bound, with a note. The
/// memory is a bound, too: the kernel reports its total without a file.
#[test]
fn without_descriptors_a_new_probe_gives_a_bound() {
    run_in_child("live::process_changes::without_descriptors_a_new_probe_gives_a_bound", || {
        let cores = Cpu::new().read().unwrap();
        set_soft_descriptor_limit(0);
        let degraded = Cpu::new().read().unwrap();
        assert_eq!(degraded.bound(), Bound::AtMost);
        assert!(degraded.notes()[0].starts_with("cannot read /proc/self/cgroup"), "{degraded:?}");
        let (Reading::Finite(degraded), Reading::Finite(cores)) = (degraded.reading(), cores.reading())
        else {
            panic!("cores are finite")
        };
        assert!(degraded >= cores);
        let memory = Memory::new().read().unwrap();
        assert_eq!((memory.sources()[0].path(), memory.bound()), ("sysinfo", Bound::AtMost));
    });
}

/// A probe that has measured keeps its files open: with no descriptor left, it still reads the limits.
#[test]
fn without_descriptors_a_used_probe_still_measures() {
    run_in_child("live::process_changes::without_descriptors_a_used_probe_still_measures", || {
        let (cpu, memory, tasks) = (Cpu::new(), Memory::new(), Tasks::new());
        let read = || (cpu.read().unwrap(), memory.read().unwrap().sources().len(), tasks.read().unwrap());
        let before = read();
        set_soft_descriptor_limit(0);
        assert_eq!(read(), before);
    });
}

/// The clones of a probe share its open files, and a repeated measurement opens no file.
#[test]
fn repeated_measurements_open_no_descriptor() {
    run_in_child("live::process_changes::repeated_measurements_open_no_descriptor", || {
        let (cpu, memory, tasks, open_files) = (Cpu::new(), Memory::new(), Tasks::new(), OpenFiles::new());
        let measure = || {
            let all = [cpu.clone().read(), memory.clone().read(), tasks.clone().read(), open_files.read()];
            assert!(all.iter().all(Result::is_ok));
            open_files.read_in_use().unwrap().reading()
        };
        let first = measure();
        for _ in 0..20 {
            assert_eq!(measure(), first);
        }
    });
}

/// The open descriptors are counted, and the free descriptors are the limit minus the open ones, but never
/// negative.
#[test]
fn open_descriptors_are_counted() {
    run_in_child("live::process_changes::open_descriptors_are_counted", || {
        let open_files = OpenFiles::new();
        let floor = |reading: Reading| {
            let Reading::Finite(count) = reading else { panic!("{reading}") };
            count.floor()
        };
        let in_use = || floor(open_files.read_in_use().unwrap().reading());
        let free = || floor(open_files.read_free().unwrap().reading());
        // The first read opens the files that the probe keeps open.
        assert!(in_use() > 0 && free() > 0);
        let (before, free_before) = (in_use(), free());
        assert_eq!(before, std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1);
        let files: Vec<_> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        assert_eq!((in_use(), free()), (before + 100, free_before - 100));
        drop(files);
        assert_eq!((in_use(), free()), (before, free_before));
        set_soft_descriptor_limit(3);
        assert_eq!(free(), 0);
    });
}
