//! The CPUs and the resource limits of this process.

use concurrency_governor::Reading;
use concurrency_governor::probe::Cpu;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource as Rlimit, getrlimit, setrlimit};
use nix::unistd::{Pid, getpid};

/// Returns the cores that the probe measures, rounded down.
pub(crate) fn whole_cores() -> usize {
    let Reading::Finite(cores) = Cpu::new().read().unwrap().reading() else { panic!("cores are finite") };
    usize::try_from(cores.floor().max(1)).unwrap()
}

/// Returns the number of CPUs on which this process may run.
pub(crate) fn allowed_cpu_count() -> u64 {
    allowed_cpus().len().try_into().unwrap()
}

/// Returns the set of only the first CPU on which this process may run.
pub(crate) fn first_allowed_cpu() -> CpuSet {
    let mut set = CpuSet::new();
    set.set(allowed_cpus()[0]).unwrap();
    set
}

fn allowed_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(getpid()).unwrap();
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect()
}

/// Sets the soft limit of open descriptors of this process. Only for a child process.
pub(crate) fn set_soft_descriptor_limit(soft: u64) {
    let (_, hard) = getrlimit(Rlimit::RLIMIT_NOFILE).unwrap();
    setrlimit(Rlimit::RLIMIT_NOFILE, soft, hard).unwrap();
}

/// Stands for the calling thread in the affinity system calls.
pub(crate) const CALLING_THREAD: Pid = Pid::from_raw(0);
