//! Readings of this host, as it is.

use std::num::NonZeroUsize;
use std::thread;

use concurrency_governor::probe::{self, Cpu, Memory, OpenFiles, Pressure, Roots, Tasks};
use concurrency_governor::{Quantity, Reading};
use nix::sched::sched_setaffinity;

use crate::support::child::run_in_child;
use crate::support::process::{CALLING_THREAD, allowed_cpu_count, first_allowed_cpu, whole_cores};
use crate::support::temp_dir::TempDir;

/// Rounded down, the cores of this host are the `available_parallelism` of the standard library.
#[test]
fn whole_cores_are_the_available_parallelism() {
    assert_eq!(whole_cores(), thread::available_parallelism().unwrap().get());
}

/// A probe on a pinned thread measures the cores of the process, not those of its thread. A note says that the two
/// differ.
#[test]
fn a_pinned_thread_measures_the_cores_of_the_process() {
    run_in_child("live::readings::a_pinned_thread_measures_the_cores_of_the_process", || {
        const NOTE: &str = "some threads have another affinity than the main thread, whose affinity counts";

        let cores = Cpu::new().read().unwrap();
        assert!(!cores.notes().contains(&NOTE.to_owned()), "{cores:?}");
        let pinned = thread::spawn(|| {
            sched_setaffinity(CALLING_THREAD, &first_allowed_cpu()).unwrap();
            assert_eq!(thread::available_parallelism().unwrap(), NonZeroUsize::MIN);
            Cpu::new().read().unwrap()
        });
        let pinned = pinned.join().unwrap();
        assert_eq!((pinned.reading(), pinned.bound()), (cores.reading(), cores.bound()));
        // With one CPU, the affinities are equal.
        assert_eq!(pinned.notes().contains(&NOTE.to_owned()), allowed_cpu_count() > 1);
    });
}

/// Threads that share a probe all get the same measurement.
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

/// Pressure is a share from 0 to 1, or unknown.
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

/// A capture gives the readings of this host, and never overwrites a directory.
#[test]
fn a_capture_reads_as_this_host() {
    let directory = TempDir::new();
    let written = probe::capture(directory.path()).unwrap();
    assert!(
        written.len() >= 10 && written.iter().all(|path| path.starts_with(directory.path())),
        "{written:?}"
    );

    let again = probe::capture(directory.path()).unwrap_err();
    let expected = format!(
        "{} is not empty (allowed: an empty directory, or one that does not exist yet)",
        directory.path().display()
    );
    assert_eq!(again.to_string(), expected);

    let roots = || Roots::at(directory.path());
    for (here, captured) in [
        (Cpu::new().read(), Cpu::new().with_roots(roots()).read()),
        (OpenFiles::new().read(), OpenFiles::new().with_roots(roots()).read()),
        (Memory::new().read(), Memory::new().with_roots(roots()).read()),
        (Tasks::new().read(), Tasks::new().with_roots(roots()).read()),
    ] {
        let (here, captured) = (here.unwrap(), captured.unwrap());
        assert_eq!(
            (here.reading(), here.bound()),
            (captured.reading(), captured.bound()),
            "{here:?} {captured:?}"
        );
    }
    let [here, captured] = [Memory::new(), Memory::new().with_roots(roots())];
    assert_eq!(here.read_soft_limit().reading(), captured.read_soft_limit().reading());
    let available = captured.read_available().unwrap().reading();
    assert!(matches!(available, Reading::Finite(bytes) if bytes > Quantity::ZERO));
}

/// The memory is finite, and at most the memory of the machine.
#[test]
fn memory_is_at_most_that_of_the_machine() {
    let Reading::Finite(memory) = Memory::new().read().unwrap().reading() else { panic!("memory is finite") };
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(memory <= Quantity::whole(total * 1024));
    assert!(memory > Quantity::ZERO);
}
