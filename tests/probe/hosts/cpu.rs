//! Cores: the affinity, and the CPU quotas of the cgroups.

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::Cpu;

use super::host::{InMemoryHost, ONLINE_CPUS, cgroup_v1, cgroup_v2, cores};

fn read(host: &InMemoryHost) -> Measurement {
    Cpu::new().with_roots(host.roots()).read().unwrap()
}

/// Every level is a source with its text, from the root down, and the lowest quota is the reading.
#[test]
fn every_level_is_a_source() {
    let host = cgroup_v2().file(MAX[1], "150000 100000\n").file(MAX[2], "max 100000\n");
    let measured = read(&host);
    assert_eq!((measured.reading(), measured.bound()), (cores("1.5"), Bound::Exact));
    let sources: Vec<String> = measured.sources().iter().map(ToString::to_string).collect();
    let expected = [
        "/proc/self/status: 0-63",
        "/sys/devices/system/cpu/online: 0-7",
        "/sys/fs/cgroup/p/cpu.max: 150000 100000 (level /p)",
        "/sys/fs/cgroup/p/l/cpu.max: max 100000 (level /p/l)",
    ];
    assert_eq!(sources, expected);
}

/// At a level without the `cpu` controller, and at all levels below it, no quota is read. A controller with a
/// similar name does not count.
#[test]
fn levels_end_where_the_controller_is_disabled() {
    let with = |controllers: &str| {
        let host = cgroup_v2().file("/sys/fs/cgroup/p/cgroup.controllers", controllers);
        read(&host.file(MAX[1], "300000 100000").file(MAX[2], "150000 100000"))
    };
    let enabled = with("cpuset cpu io memory\n");
    assert_eq!((enabled.reading(), enabled.bound()), (cores("1.5"), Bound::Exact));
    let disabled = with("cpuset io memory\n");
    assert_eq!((disabled.reading(), disabled.bound()), (cores("8"), Bound::Exact));
    assert!(disabled.notes().is_empty(), "{disabled:?}");
}

/// In version 1, quota and period are two files. A missing period is taken to be the default of the kernel, and the
/// reading is a bound.
#[test]
fn v1_quota_and_period_are_two_files() {
    let host = cgroup_v1().file(QUOTA[0], "-1\n").file(QUOTA[2], "250000\n");
    let without_period = read(&host);
    assert_eq!((without_period.reading(), without_period.bound()), (cores("2.5"), Bound::AtMost));
    assert!(without_period.notes()[0].contains("has no period"), "{without_period:?}");
    let measured = read(&host.file(PERIOD[2], "1000000\n"));
    assert_eq!((measured.reading(), measured.bound()), (cores("0.25"), Bound::Exact));
    assert_eq!(measured.sources().len(), 5);
}

/// A quota without its period is a bound in version 2, too.
#[test]
fn a_quota_without_a_period_is_a_bound() {
    let measured = read(&cgroup_v2().file(MAX[2], "250000\n"));
    assert_eq!((measured.reading(), measured.bound()), (cores("2.5"), Bound::AtMost));
}

/// A ratio of quota and period that is no round number is rounded down to a thousandth of a core, in both versions.
#[test]
fn uneven_quotas_are_rounded_down() {
    for (quota, period, expected) in [
        ("66666", "33333", "2"),
        ("66667", "33333", "2"),
        ("66665", "33333", "1.999"),
        ("33333", "66666", "0.5"),
        ("100000", "300000", "0.333"),
        ("1000", "999999", "0.001"),
    ] {
        let v2 = read(&cgroup_v2().file(MAX[2], format!("{quota} {period}\n")));
        let v1 = read(&cgroup_v1().file(QUOTA[2], quota).file(PERIOD[2], period));
        for measured in [v1, v2] {
            let expected = (cores(expected), Bound::Exact);
            assert_eq!((measured.reading(), measured.bound()), expected, "{quota} {period}");
        }
    }
}

/// A file that is unreadable or invalid adds a note, makes the reading a bound, and never lowers it.
#[test]
fn invalid_files_weaken_the_bound_and_lower_nothing() {
    for garbage in
        ["", "\0", "1.5", "50000 0", "50000 x", "1 2 3", "99999999999999999999 1", "\u{ff11} 1", "max1"]
    {
        let measured = read(&cgroup_v2().file(MAX[0], "300000 100000").file(MAX[2], garbage));
        assert_eq!((measured.reading(), measured.bound()), (cores("3"), Bound::AtMost), "{garbage:?}");
        assert_eq!(measured.notes().len(), 1, "{measured:?}");
    }
    // The period is a directory, which cannot be read as a file.
    let unreadable = cgroup_v1().file(QUOTA[2], "50000").file(&format!("{}/x", PERIOD[2]), "");
    let measured = read(&unreadable);
    assert_eq!((measured.reading(), measured.bound()), (cores("8"), Bound::AtMost));
    assert!(measured.notes()[0].contains("cpu.cfs_period_us"), "{measured:?}");
}

/// Each text that means "no quota" leaves the reading exact.
#[test]
fn no_quota_is_exact() {
    for none in ["max 100000\n", "max\n", "max 0", "-1 100000", "0 100000", "0", "-99999999999999999999"] {
        let measured = read(&cgroup_v2().file(MAX[2], none));
        assert_eq!((measured.reading(), measured.bound()), (cores("8"), Bound::Exact), "{none}");
    }
}

/// Only CPUs that are both allowed and online count. If one of the two sets is unknown, the other one is a
/// bound.
#[test]
fn cores_are_both_allowed_and_online() {
    let host = || InMemoryHost::new().file("/proc/self/cgroup", "");
    let status = |list: &str| format!("Cpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
    let both = read(&host().file("/proc/self/status", status("2-5,8")).file(ONLINE_CPUS, "0-3,8\n"));
    assert_eq!((both.reading(), both.bound()), (cores("3"), Bound::Exact));
    for host in [
        host().file("/proc/self/status", status("0-2")),
        host().file("/proc/self/status", status("0-2")).file(ONLINE_CPUS, "rubbish"),
        host().file("/proc/self/status", status("rubbish")).file(ONLINE_CPUS, "0-2"),
        host().file("/proc/self/status", "\n\0\n").file(ONLINE_CPUS, "0-2"),
        host().file(ONLINE_CPUS, "0-2"),
    ] {
        let one = read(&host);
        assert_eq!((one.reading(), one.bound()), (cores("3"), Bound::AtMost), "{one:?}");
    }
}

/// The online CPUs of a container with lxcfs are numbered from 0. The allowed CPUs, which have the numbers of the host,
/// count, without those that are offline. Where these are not known, the reading is a bound.
#[test]
fn renumbered_online_cpus_are_ignored() {
    for (allowed, online, expected) in
        [("24", "0", "1"), ("0,24", "0-1", "2"), ("2-5", "0-3", "4"), ("7", "8", "1")]
    {
        let host = InMemoryHost::new()
            .file("/proc/self/cgroup", "")
            .file("/proc/self/status", format!("Cpus_allowed_list:\t{allowed}\n"))
            .file(ONLINE_CPUS, online);
        let bounded = read(&host);
        assert_eq!(
            (bounded.reading(), bounded.bound()),
            (cores(expected), Bound::AtMost),
            "{allowed} {online}"
        );
        let exact = read(&host.clone().file(OFFLINE_CPUS, "\n"));
        assert_eq!((exact.reading(), exact.bound()), (cores(expected), Bound::Exact), "{allowed} {online}");
        let contradiction = read(&host.file(OFFLINE_CPUS, "0-63\n"));
        assert_eq!(contradiction.reading(), cores(expected));
    }
    let host = InMemoryHost::new()
        .file("/proc/self/cgroup", "")
        .file("/proc/self/status", "Cpus_allowed_list:\t20-27\n")
        .file(ONLINE_CPUS, "0-5")
        .file(OFFLINE_CPUS, "24-25,64-127\n");
    assert_eq!(read(&host).reading(), cores("6"));
}

/// If nothing is known of the cores, the error names the file that was read.
#[test]
fn unknown_cores_are_an_error() {
    let error = Cpu::new().with_roots(InMemoryHost::new().roots()).read().unwrap_err();
    let expected = "cannot measure cpu: cannot read /proc/self/status: entity not found";
    assert_eq!(format!("{error:#}"), expected);
}

/// A note says that the threads of a process may be in cgroups with quotas of their own.
#[test]
fn threaded_cgroups_are_noted() {
    let notes = |kind: &str| {
        let measured = read(&cgroup_v2().file("/sys/fs/cgroup/p/l/cgroup.type", kind));
        assert_eq!((measured.reading(), measured.bound()), (cores("8"), Bound::Exact));
        measured.notes().len()
    };
    assert_eq!(["domain\n", "domain threaded\n", "threaded\n", "domain invalid\n"].map(notes), [0, 1, 1, 0]);
}

/// The files to watch are those of every level, also those that do not exist yet.
#[test]
fn limit_files_cover_every_level() {
    let files = |host: &InMemoryHost| -> Vec<String> {
        let files = Cpu::new().with_roots(host.roots()).limit_files();
        files.iter().map(|path| path.display().to_string()).collect()
    };
    let cpuset = ["", "/p", "/p/l"].map(|level| format!("/sys/fs/cgroup{level}/cpuset.cpus"));
    assert_eq!(files(&cgroup_v2()), [&MAX.map(str::to_owned)[..], &cpuset].concat());
    let expected: Vec<&str> =
        QUOTA.iter().zip(&PERIOD).flat_map(|(quota, period)| [*quota, *period]).collect();
    assert_eq!(files(&cgroup_v1()), expected);
    assert!(files(&InMemoryHost::new()).is_empty());
}

const OFFLINE_CPUS: &str = "/sys/devices/system/cpu/offline";
/// `cpu.max` of each level, from the root to the cgroup of the process.
const MAX: [&str; 3] = ["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/p/cpu.max", "/sys/fs/cgroup/p/l/cpu.max"];
const QUOTA: [&str; 3] = [
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/p/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/p/l/cpu.cfs_quota_us",
];
const PERIOD: [&str; 3] = [
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "/sys/fs/cgroup/cpu/p/cpu.cfs_period_us",
    "/sys/fs/cgroup/cpu/p/l/cpu.cfs_period_us",
];
