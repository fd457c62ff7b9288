//! Tasks: the limits of the cgroups, of the user and of the kernel.

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::Tasks;

use super::host::{InMemoryHost, cgroup_v2};

const NPROC: &str = "Max processes             1000                 1000                 processes\n";
const ALL_CAPABILITIES: &str = "Cpus_allowed_list:\t0\nCapEff:\t000001ffffffffff\n";
const NO_CAPABILITIES: &str = "CapEff:\t0000000000000000\n";

fn host() -> InMemoryHost {
    cgroup_v2()
        .file("/proc/self/limits", NPROC)
        .file("/proc/self/status", NO_CAPABILITIES)
        .file("/proc/sys/kernel/threads-max", "7000\n")
        .file("/proc/sys/kernel/pid_max", "32768\n")
        .file("/proc/loadavg", "0.20 0.18 0.12 1/80 11206\n")
}

/// Returns the limit and the free tasks.
fn read(host: &InMemoryHost) -> (Measurement, Measurement) {
    let tasks = Tasks::new().with_roots(host.roots());
    (tasks.read().unwrap(), tasks.read_free())
}

/// The reading is the lowest limit of the cgroups, the user and the kernel. The free tasks are the lowest
/// remainder of these limits.
#[test]
fn the_lowest_limit_counts() {
    let (limit, free) = read(&host());
    assert_eq!((limit.reading(), limit.bound()), (Reading::whole(1000), Bound::Exact));
    assert_eq!((free.reading(), free.bound()), (Reading::whole(1000), Bound::AtMost));
    let limited = host()
        .file("/sys/fs/cgroup/p/pids.max", "30\n")
        .file("/sys/fs/cgroup/p/pids.current", "4\n")
        .file("/sys/fs/cgroup/p/l/pids.max", "50\n")
        .file("/sys/fs/cgroup/p/l/pids.current", "4\n");
    let (limit, free) = read(&limited);
    assert_eq!((limit.reading(), free.reading()), (Reading::whole(30), Reading::whole(26)));
    let (_, exhausted) = read(&limited.file("/sys/fs/cgroup/p/pids.current", "31\n"));
    assert_eq!(exhausted.reading(), Reading::whole(0));
}

/// The limit of the user does not bind a process with the capability to exceed it, unless the process has the
/// capability only in its user namespace.
#[test]
fn the_user_limit_does_not_bind_a_privileged_process() {
    let with_map =
        |map: &str| host().file("/proc/self/status", ALL_CAPABILITIES).file("/proc/self/uid_map", map);
    let (limit, free) = read(&with_map("         0          0 4294967295\n"));
    assert_eq!((limit.reading(), limit.bound()), (Reading::whole(7000), Bound::Exact));
    assert_eq!((free.reading(), free.bound()), (Reading::whole(6920), Bound::Exact));
    assert_eq!(read(&with_map("         0     100000      65536\n")).0.reading(), Reading::whole(1000));
    let unknown = host().file("/proc/self/status", "Name: x\n");
    let (limit, _) = read(&unknown);
    assert_eq!((limit.reading(), limit.bound()), (Reading::whole(7000), Bound::AtMost));
    // If another limit is as low, it does not matter whether the limit of the user binds.
    let (limit, _) = read(&unknown.file("/proc/sys/kernel/threads-max", "1000\n"));
    assert_eq!((limit.reading(), limit.bound()), (Reading::whole(1000), Bound::Exact));
}

/// An invalid file makes the reading a bound and never lowers it. Without any limit, the reading is
/// unlimited.
#[test]
fn invalid_files_weaken_the_bound_and_lower_nothing() {
    for file in ["/sys/fs/cgroup/p/pids.max", "/proc/sys/kernel/threads-max", "/proc/self/limits"] {
        let (limit, _) = read(&host().file("/sys/fs/cgroup/p/l/pids.max", "900").file(file, "x"));
        assert_eq!((limit.reading(), limit.bound()), (Reading::whole(900), Bound::AtMost), "{file}");
    }
    let (_, free) = read(&host().file("/sys/fs/cgroup/p/l/pids.max", "5"));
    assert_eq!((free.reading(), free.bound()), (Reading::whole(5), Bound::AtMost));
    let none = cgroup_v2()
        .file("/proc/self/limits", "Max processes   unlimited   unlimited   processes\n")
        .file("/sys/fs/cgroup/p/pids.max", "max\n");
    assert_eq!(read(&none).0.reading(), Reading::Unlimited);
}
