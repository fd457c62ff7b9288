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
}

/// The limits of the kernel exist on every host. If they are hidden, the tasks are unknown, or a bound, and never
/// unlimited. The same holds for the number of existing tasks.
#[test]
fn hidden_limits_of_the_kernel_are_not_absent() {
    let hidden = cgroup_v2()
        .file("/proc/self/limits", "Max processes   unlimited   unlimited   processes\n")
        .file("/sys/fs/cgroup/p/pids.max", "max\n");
    let (limit, free) = read(&hidden);
    assert_eq!((limit.reading(), free.reading()), (Reading::Unknown, Reading::Unknown));
    assert!(limit.notes()[0].starts_with("/proc/sys/kernel/threads-max is hidden"), "{limit:?}");
    let (limit, _) = read(&hidden.file("/sys/fs/cgroup/p/pids.max", "30\n"));
    assert_eq!((limit.reading(), limit.bound()), (Reading::whole(30), Bound::AtMost));
    let with_map = host().file("/proc/self/status", ALL_CAPABILITIES);
    let (limit, free) = read(&with_map.without("/proc/loadavg"));
    assert_eq!((limit.reading(), limit.bound()), (Reading::whole(7000), Bound::Exact));
    assert_eq!((free.reading(), free.bound()), (Reading::whole(7000), Bound::AtMost));
}

/// The limit of the user binds neither the real user root, whatever its capabilities, nor another user that becomes
/// root by a set-user-ID program.
#[test]
fn the_user_limit_does_not_bind_root() {
    let with_users = |users: &str| {
        let status = format!("Uid:\t{users}\n{NO_CAPABILITIES}");
        read(&host().file("/proc/self/status", status).file("/proc/self/uid_map", "0 0 4294967295\n")).0
    };
    let root = with_users("0\t1000\t1000\t1000");
    assert_eq!((root.reading(), root.bound()), (Reading::whole(7000), Bound::Exact));
    assert_eq!(with_users("1000\t0\t0\t0").reading(), Reading::whole(1000));
}

/// In a user namespace, the limit that its creator had applies, and is hidden. So the tasks are a bound, whatever the
/// limit of the process is.
#[test]
fn the_creator_of_a_user_namespace_may_have_a_limit() {
    for status in [NO_CAPABILITIES, ALL_CAPABILITIES, "Uid:\t0\t0\t0\t0\nCapEff:\t0\n"] {
        for (nproc, expected) in [(NPROC, 1000), (&NPROC.replace("1000     ", "unlimited"), 7000)] {
            let host = host()
                .file("/proc/self/limits", nproc)
                .file("/proc/self/status", status)
                .file("/proc/self/uid_map", "0 1000 1\n1 100000 65536\n");
            let (limit, free) = read(&host);
            assert_eq!(
                (limit.reading(), limit.bound()),
                (Reading::whole(expected), Bound::AtMost),
                "{status}"
            );
            assert_eq!(free.bound(), Bound::AtMost);
        }
    }
}

/// A note says to how many threads the memory mappings limit one process, if that is below the limit of the tasks.
#[test]
fn the_limit_of_mappings_is_noted() {
    let notes = |mappings: &str| {
        let (limit, free) = read(&host().file("/proc/sys/vm/max_map_count", mappings));
        assert_eq!((limit.reading(), limit.bound()), (Reading::whole(1000), Bound::Exact));
        assert!(free.notes().iter().all(|note| !note.contains("max_map_count")));
        limit.notes().to_vec()
    };
    let expected =
        "vm.max_map_count of 1998 limits one process to about 999 threads, as each takes two mappings";
    assert_eq!(notes("1998\n"), [expected]);
    for enough in ["2000\n", "65530\n", "x"] {
        assert_eq!(notes(enough), [""; 0]);
    }
}
