//! The host's own probes and the trait they share, through the public surface.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as tests do")]

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{self, Cpu, Fixed, Memory, OpenFiles, ProbeError, Tasks, async_trait};
use concurrency_governor::{Quantity, Reading, Resource, ResourceProbe};

/// Every probe of the host measures here, and asynchronously what it reads plainly.
#[tokio::test]
async fn host_is_measured() {
    let probes = probe::host();
    let resources: Vec<Resource> = probes.iter().map(ResourceProbe::resource).collect();
    assert_eq!(resources, [Resource::CPU, Resource::FD, Resource::MEMORY, Resource::TASKS]);
    let read = [Cpu::new().read(), OpenFiles::new().read(), Memory::new().read(), Tasks::new().read()];
    for (probe, read) in probes.iter().zip(read) {
        let measured = probe.measure().await.unwrap();
        assert_eq!(measured, read.unwrap());
        assert_eq!(measured.staleness(), None);
        assert!(!measured.sources().is_empty() || !cfg!(target_os = "linux"), "{measured:?}");
    }
}

/// Outside of a runtime the probes of the host have nothing to be woken by: they wait, and do not panic.
#[test]
fn hosts_probes_wait_anywhere() {
    for probe in probe::host() {
        assert_eq!(poll_once(probe.changed()), Poll::Pending);
    }
}

/// A fixed probe says that it is one.
#[tokio::test]
async fn fixed_probe_says_so() {
    let probe = Fixed::new(Resource::MEMORY, "512Mi".parse::<Quantity>().unwrap());
    let measured = probe.measure().await.unwrap();
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(512 << 20), Bound::Exact));
    assert_eq!(measured.sources()[0].to_string(), "fixed: 512Mi");
    assert_eq!(Fixed::new(Resource::FD, Reading::Unlimited).read().reading(), Reading::Unlimited);
}

/// A shared or boxed probe is a probe, and passes everything on, changes included.
#[tokio::test]
async fn pointers_to_probes_are_probes() {
    /// Always has a change to tell.
    struct Restless;

    #[async_trait]
    impl ResourceProbe for Restless {
        fn resource(&self) -> Resource {
            Resource::TASKS
        }

        async fn measure(&self) -> Result<Measurement, ProbeError> {
            Err(ProbeError::new(Resource::TASKS, "never at rest"))
        }

        async fn changed(&self) {}
    }

    fn own(probe: impl ResourceProbe + 'static) -> Box<dyn ResourceProbe> {
        Box::new(probe)
    }
    let shared: Arc<dyn ResourceProbe> = Arc::new(Restless);
    for probe in [own(Restless), own(Box::new(Restless)), own(shared)] {
        assert_eq!(probe.resource(), Resource::TASKS);
        assert_eq!(probe.measure().await.unwrap_err().to_string(), "cannot measure tasks: never at rest");
        probe.changed().await;
    }
}

/// An error says which resource and what was read; its cause is its source, and `{:#}` prints the whole chain.
#[test]
fn error_names_resource_path_and_cause() {
    let cause = io::Error::other("the disk is asleep");
    let error = ProbeError::io(Resource::FD, "/proc/self/limits", cause);
    assert_eq!(error.resource(), Resource::FD);
    assert_eq!(error.source().unwrap().to_string(), "the disk is asleep");
    assert_eq!(error.to_string(), "cannot measure fd: cannot read /proc/self/limits");
    let outer = ProbeError::new(Resource::CPU, "the other probe failed").caused_by(error.clone());
    assert_eq!(
        format!("{outer:#}"),
        "cannot measure cpu: the other probe failed: cannot measure fd: cannot read /proc/self/limits: \
         the disk is asleep"
    );
    assert!(ProbeError::new(Resource::CPU, "no cause").source().is_none());
}

#[cfg(target_os = "linux")]
mod linux {
    use std::num::NonZeroUsize;
    use std::thread;

    use concurrency_governor::probe::{Pressure, Roots};
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
    use nix::unistd::{Pid, getpid};

    use super::*;

    /// In whole cores the host is what the standard library takes it for.
    #[test]
    fn whole_cores_are_the_available_parallelism() {
        assert_eq!(whole_cores(), thread::available_parallelism().unwrap().get());
    }

    /// The same when the process is pinned.
    #[test]
    fn pinned_process_has_the_cores_it_is_pinned_to() {
        in_child("linux::pinned_process_has_the_cores_it_is_pinned_to", || {
            let one = first_cpu();
            sched_setaffinity(getpid(), &one).unwrap();
            sched_setaffinity(CALLING_THREAD, &one).unwrap();
            assert_eq!(whole_cores(), 1);
            assert_eq!(thread::available_parallelism().unwrap(), NonZeroUsize::MIN);
        });
    }

    /// A probe that runs on a pinned worker does not take its one core for the process's.
    #[test]
    fn pinned_worker_does_not_speak_for_the_process() {
        let cores = Cpu::new().read().unwrap();
        let seen = thread::spawn(|| {
            sched_setaffinity(CALLING_THREAD, &first_cpu()).unwrap();
            assert_eq!(thread::available_parallelism().unwrap(), NonZeroUsize::MIN);
            Cpu::new().read().unwrap()
        });
        assert_eq!(seen.join().unwrap(), cores);
    }

    /// The soft limit of descriptors is the number, the hard one stands beside it; 0 counts as unknown. Where none is
    /// left to read the host's own limit by, it is a bound.
    #[test]
    fn soft_limit_of_descriptors_is_read() {
        in_child("linux::soft_limit_of_descriptors_is_read", || {
            let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
            for (soft, reading, bound) in [
                (64, Reading::whole(64), Bound::Exact),
                (1, Reading::whole(1), Bound::AtMost),
                (0, Reading::Unknown, Bound::AtMost),
            ] {
                setrlimit(Rlimit::RLIMIT_NOFILE, soft, hard).unwrap();
                let measured = OpenFiles::new().read().unwrap();
                assert_eq!((measured.reading(), measured.bound()), (reading, bound));
                assert_eq!(measured.sources()[0].raw(), soft.to_string());
                assert!(measured.notes().last().unwrap().starts_with("the hard limit is "), "{measured:?}");
            }
        });
    }

    /// The soft limit is raised to the hard one by whoever asks for it, and by nobody else; then as many can be open, and
    /// children inherit it.
    #[test]
    fn soft_limit_of_descriptors_is_raised_on_request() {
        in_child("linux::soft_limit_of_descriptors_is_raised_on_request", || {
            let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
            setrlimit(Rlimit::RLIMIT_NOFILE, 64, hard.min(4096)).unwrap();
            let hard = hard.min(4096);
            let open_files = OpenFiles::new();
            let before = open_files.read().unwrap();
            let note = format!("the hard limit is {hard}, which the soft one may be raised to");
            assert_eq!((before.reading(), before.notes()), (Reading::whole(64), &[note][..]));
            assert_eq!(getrlimit(Rlimit::RLIMIT_NOFILE).unwrap(), (64, hard));

            let raised = OpenFiles::raise_soft_limit().unwrap();
            assert_eq!((raised.from, raised.to), (Reading::whole(64), Reading::whole(hard)));
            assert_eq!(getrlimit(Rlimit::RLIMIT_NOFILE).unwrap(), (hard, hard));
            let after = open_files.read().unwrap();
            assert_eq!(after.reading(), Reading::whole(hard));
            assert_eq!(after.notes(), [format!("the hard limit is {hard}")]);
            let open: Vec<_> = (0..100).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
            assert_eq!(open.len(), 100);
            let child = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
            assert_eq!(String::from_utf8(child.stdout).unwrap().trim(), hard.to_string());

            let again = OpenFiles::raise_soft_limit().unwrap();
            assert_eq!((again.from, again.to), (Reading::whole(hard), Reading::whole(hard)));
        });
    }

    /// With no descriptor left the quotas cannot be read: the cores are then a bound, and say so.
    #[test]
    fn exhausted_descriptors_leave_a_bound() {
        in_child("linux::exhausted_descriptors_leave_a_bound", || {
            let cores = Cpu::new().read().unwrap();
            let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
            setrlimit(Rlimit::RLIMIT_NOFILE, 0, hard).unwrap();
            let blind = Cpu::new().read().unwrap();
            assert_eq!(blind.bound(), Bound::AtMost);
            assert!(blind.notes()[0].starts_with("cannot read /proc/self/cgroup"), "{blind:?}");
            let (Reading::Finite(blind), Reading::Finite(cores)) = (blind.reading(), cores.reading()) else {
                panic!("cores are finite")
            };
            assert!(blind >= cores);
            assert!(Memory::new().read().is_err());
        });
    }

    /// A probe that has measured keeps what it needs: with no descriptor left it still sees the quotas.
    #[test]
    fn kept_descriptors_outlast_the_table() {
        in_child("linux::kept_descriptors_outlast_the_table", || {
            let (cpu, memory, tasks) = (Cpu::new(), Memory::new(), Tasks::new());
            let before = (cpu.read().unwrap(), memory.read().unwrap().sources().len(), tasks.read().unwrap());
            let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
            setrlimit(Rlimit::RLIMIT_NOFILE, 0, hard).unwrap();
            let after = (cpu.read().unwrap(), memory.read().unwrap().sources().len(), tasks.read().unwrap());
            assert_eq!(after, before);
        });
    }

    /// What is kept is shared by the clones of a probe and not made anew by each measurement.
    #[test]
    fn measuring_again_opens_nothing() {
        in_child("linux::measuring_again_opens_nothing", || {
            let (cpu, memory, tasks, open_files) =
                (Cpu::new(), Memory::new(), Tasks::new(), OpenFiles::new());
            let measure = || {
                let all =
                    [cpu.clone().read(), memory.clone().read(), tasks.clone().read(), open_files.read()];
                assert!(all.iter().all(Result::is_ok));
                open_files.read_in_use().unwrap().reading()
            };
            let first = measure();
            for _ in 0..20 {
                assert_eq!(measure(), first);
            }
        });
    }

    /// The open descriptors are counted, and what is free is the limit less those.
    #[test]
    fn open_descriptors_are_counted() {
        in_child("linux::open_descriptors_are_counted", || {
            let open_files = OpenFiles::new();
            let in_use = || {
                let Reading::Finite(open) = open_files.read_in_use().unwrap().reading() else {
                    panic!("a number")
                };
                open.floor()
            };
            let free = || {
                let Reading::Finite(free) = open_files.read_free().unwrap().reading() else {
                    panic!("a number")
                };
                free.floor()
            };
            // What is kept is opened first.
            assert!(in_use() > 0 && free() > 0);
            let (before, free_before) = (in_use(), free());
            assert_eq!(before, std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1);
            let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
            assert_eq!((in_use(), free()), (before + 100, free_before - 100));
            drop(files);
            assert_eq!((in_use(), free()), (before, free_before));
            let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
            setrlimit(Rlimit::RLIMIT_NOFILE, 3, hard).unwrap();
            assert_eq!(free(), 0);
        });
    }

    /// Threads that measure by one probe all see the same.
    #[test]
    fn threads_share_a_probe() {
        let cpu = Cpu::new();
        let first = cpu.read().unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        assert_eq!(cpu.read().unwrap(), first);
                    }
                });
            }
        });
    }

    /// The pressure of a window is a share of it.
    #[test]
    fn pressure_is_a_share() {
        for pressure in [Pressure::on_cpu(), Pressure::on_memory(), Pressure::on_io()] {
            for _ in 0..3 {
                match pressure.read().unwrap().reading() {
                    Reading::Finite(share) => assert!(share <= Quantity::whole(1), "{share}"),
                    other => assert_eq!(other, Reading::Unknown),
                }
            }
        }
    }

    /// What is captured reads as this host does, and nothing is written where something is.
    #[test]
    fn capture_reads_as_the_host() {
        let directory = std::env::temp_dir().join(format!("governor-capture-{}", std::process::id()));
        let written = probe::capture(&directory).unwrap();
        let again = probe::capture(&directory).unwrap_err();
        let roots = || Roots::at(&directory);
        let pairs = [
            (Cpu::new().read(), Cpu::new().with_roots(roots()).read()),
            (OpenFiles::new().read(), OpenFiles::new().with_roots(roots()).read()),
            (Memory::new().read(), Memory::new().with_roots(roots()).read()),
            (Tasks::new().read(), Tasks::new().with_roots(roots()).read()),
        ];
        let soft = [Memory::new(), Memory::new().with_roots(roots())].map(|memory| memory.read_soft_limit());
        let available = Memory::new().with_roots(roots()).read_available();
        std::fs::remove_dir_all(&directory).unwrap();

        assert!(
            written.len() >= 10 && written.iter().all(|path| path.starts_with(&directory)),
            "{written:?}"
        );
        let expected = format!(
            "{} is not empty (allowed: an empty directory, or one that is not there yet)",
            directory.display()
        );
        assert_eq!(again.to_string(), expected);
        for (here, there) in pairs {
            let (here, there) = (here.unwrap(), there.unwrap());
            assert_eq!(
                (here.reading(), here.bound()),
                (there.reading(), there.bound()),
                "{here:?} {there:?}"
            );
        }
        assert_eq!(soft[0].reading(), soft[1].reading());
        assert!(matches!(available.unwrap().reading(), Reading::Finite(bytes) if bytes > Quantity::ZERO));
    }

    /// Memory is finite, and no more than the machine's.
    #[test]
    fn memory_is_at_most_the_machines() {
        let Reading::Finite(memory) = Memory::new().read().unwrap().reading() else {
            panic!("memory is finite")
        };
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
        let total: u64 = meminfo.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(memory <= Quantity::whole(total * 1024));
        assert!(memory > Quantity::ZERO);
    }

    fn whole_cores() -> usize {
        let Reading::Finite(cores) = Cpu::new().read().unwrap().reading() else { panic!("cores are finite") };
        usize::try_from(cores.floor().max(1)).unwrap()
    }

    fn first_cpu() -> CpuSet {
        let allowed = sched_getaffinity(getpid()).unwrap();
        let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
        let mut set = CpuSet::new();
        set.set(first).unwrap();
        set
    }

    const CALLING_THREAD: Pid = Pid::from_raw(0);
}

/// Runs the body of the test of this name in a process of its own, which may change its limits.
fn in_child(test: &str, body: impl FnOnce()) {
    const CHILD: &str = "CONCURRENCY_GOVERNOR_TEST_CHILD";

    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && printed.contains("1 passed");
    assert!(passed, "{printed}{}", String::from_utf8_lossy(&output.stderr));
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}
