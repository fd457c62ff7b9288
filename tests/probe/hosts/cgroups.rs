//! How the cgroup of the process is found: `/proc/self/cgroup`, the mounts, and the levels between them.

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory};

use super::host::{InMemoryHost, cgroup_v1, cgroup_v2, cores, eight_cores, v2_mount};

/// Returns the levels whose quotas are read, with the measurement of the cores.
fn read_levels(host: &InMemoryHost) -> (Vec<String>, Measurement) {
    let measured = Cpu::new().with_roots(host.roots()).read().unwrap();
    let levels = measured.sources().iter().filter_map(|source| source.level().map(str::to_owned));
    (levels.collect(), measured)
}

/// Each controller is resolved on its own, since a hybrid host mixes both versions.
#[test]
fn hybrid_hosts_mix_both_versions() {
    let host = eight_cores()
        .file("/proc/meminfo", "MemTotal: 1048576 kB\n")
        .file("/proc/self/limits", "Max address space  unlimited  unlimited  bytes\n")
        .file("/proc/self/cgroup", "4:cpu,cpuacct:/c\n1:name=memory:/s\n0::/u\n")
        .file(
            "/proc/self/mountinfo",
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             32 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=memory\n",
        )
        .file("/sys/fs/cgroup/cpu,cpuacct/cgroup.sane_behavior", "0")
        .file("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "200000")
        .file("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000")
        .file("/sys/fs/cgroup/unified/c/cpu.max", "1000 100000")
        .file("/sys/fs/cgroup/unified/u/memory.max", "4096");
    let (levels, measured) = read_levels(&host);
    // The quota and its period.
    assert_eq!(levels, ["/c", "/c"]);
    assert_eq!((measured.reading(), measured.bound()), (cores("2"), Bound::Exact));
    let memory = Memory::new().with_roots(host.roots()).read().unwrap();
    assert_eq!((memory.reading(), memory.bound()), (Reading::whole(4096), Bound::Exact));
}

/// The name of a cgroup may hold every character that a path may hold: colons, spaces, line breaks, dots.
#[test]
fn unusual_names_are_resolved() {
    for name in ["a b", "c:d", "e.slice", "f\\x2d", "g (deleted)", "-h", "...", "\u{e9}"] {
        let path = format!("/sys/fs/cgroup/{name}/cpu.max");
        let host = in_cgroup(&format!("/{name}")).file(&path, "100000 100000");
        assert_eq!(read_levels(&host).1.reading(), cores("1"), "{name}");
        let (levels, measured) = read_levels(&host);
        assert_eq!((levels, measured.bound()), (vec![format!("/{name}")], Bound::Exact), "{name}");
    }
}

/// A mount point may have any path, which the kernel escapes in mountinfo.
#[test]
fn unusual_mount_points_are_resolved() {
    for (point, escaped) in [
        ("/mnt/a b", r"/mnt/a\040b"),
        ("/mnt/\t\n\\#", r"/mnt/\011\012\134\043"),
        ("/srv/cgroup2 - cgroup2", r"/srv/cgroup2\040-\040cgroup2"),
    ] {
        let host = in_cgroup("/p/l")
            .file("/proc/self/mountinfo", format!("30 24 0:26 / {escaped} rw - cgroup2 cgroup2 rw\n"))
            .file(&format!("{point}/p/l/cpu.max"), "100000 100000")
            .file("/sys/fs/cgroup/p/l/cpu.max", "1000 100000");
        assert_eq!(read_levels(&host).1.reading(), cores("1"), "{point}");
    }
}

/// If only a part of a hierarchy is mounted, its levels are read, and the reading is a bound.
#[test]
fn a_partial_mount_is_a_bound() {
    let host = in_cgroup("/docker/abc/x")
        .file("/proc/self/mountinfo", v2_mount("/docker/abc", "/sys/fs/cgroup"))
        .file("/sys/fs/cgroup/cgroup.type", "domain")
        .file("/sys/fs/cgroup/cpu.max", "300000 100000")
        .file("/sys/fs/cgroup/x/cpu.max", "200000 100000");
    let (levels, measured) = read_levels(&host);
    assert_eq!(levels, ["/docker/abc", "/docker/abc/x"]);
    assert_eq!((measured.reading(), measured.bound()), (cores("2"), Bound::AtMost));
    assert_eq!(measured.notes(), ["groups above /sys/fs/cgroup are hidden, and may set limits"]);
}

/// If several mounts show the cgroup, the mount with the most levels counts.
#[test]
fn the_mount_with_the_most_levels_counts() {
    for order in [["/p", "/"], ["/", "/p"]] {
        let mounts = order.map(|root| v2_mount(root, if root == "/" { "/whole" } else { "/part" })).concat();
        let host = in_cgroup("/p/l")
            .file("/proc/self/mountinfo", mounts)
            .file("/part/l/cpu.max", "200000 100000")
            .file("/whole/p/cpu.max", "100000 100000")
            .file("/whole/p/l/cpu.max", "200000 100000");
        let (levels, measured) = read_levels(&host);
        assert_eq!((levels, measured.bound()), (vec!["/p".to_owned(), "/p/l".to_owned()], Bound::Exact));
        assert_eq!(measured.reading(), cores("1"));
    }
}

/// On a kernel without `cgroup.type`, before 4.14, other files of a mount point show that it is not the root.
#[test]
fn old_kernels_hide_ancestors_as_well() {
    for file in ["cgroup.events", "memory.max"] {
        let hidden = in_cgroup("/").file(&format!("/sys/fs/cgroup/{file}"), "max\n");
        assert_eq!(read_levels(&hidden).1.bound(), Bound::AtMost, "{file}");
        let below = in_cgroup("/a").file(&format!("/sys/fs/cgroup/a/{file}"), "max\n");
        assert_eq!(read_levels(&below).1.bound(), Bound::Exact, "{file}");
    }
}

/// A mountinfo of any size is read, also on a node with thousands of mounts.
#[test]
fn a_mountinfo_of_any_size_is_read() {
    let overlay =
        format!("50 24 0:9 / /run/{} rw - overlay o lowerdir={}\n", "c".repeat(64), "/x:".repeat(999));
    let pods = overlay.repeat(2000) + &v2_mount("/", "/pods/sys/fs/cgroup").repeat(500);
    let host = in_cgroup("/p").file("/sys/fs/cgroup/p/cpu.max", "50000 100000");
    let mounts = pods.clone() + &v2_mount("/", "/sys/fs/cgroup") + &pods;
    let (levels, measured) = read_levels(&host.file("/proc/self/mountinfo", mounts));
    assert_eq!((levels, measured.reading()), (vec!["/p".to_owned()], cores("0.5")));
    assert_eq!(measured.bound(), Bound::Exact);
}

/// A mount that another mount covers does not count, nor does a mount whose directory is gone.
#[test]
fn covered_and_missing_mounts_do_not_count() {
    let covered = v2_mount("/", "/sys/fs/cgroup") + "31 24 0:9 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n";
    let host =
        in_cgroup("/p").file("/proc/self/mountinfo", covered).file("/sys/fs/cgroup/p/cpu.max", "1 100000");
    let (levels, measured) = read_levels(&host);
    assert_eq!((levels.len(), measured.reading(), measured.bound()), (0, cores("8"), Bound::AtMost));
    assert_eq!(measured.notes(), ["the cpu control groups are not mounted"]);
    let missing = v2_mount("/", "/gone") + &v2_mount("/", "/here");
    let host = in_cgroup("/p").file("/proc/self/mountinfo", missing).file("/here/p/cpu.max", "100000 100000");
    assert_eq!(read_levels(&host).1.reading(), cores("1"));
}

/// In a cgroup namespace that still sees the mounts of the outer namespace, no cgroup of the outer namespace
/// is taken for the cgroup of the process, whatever its root and its path look like.
#[test]
fn mounts_of_an_outer_namespace_are_not_the_own_cgroup() {
    for (root, cgroup) in
        [("/../..", "/"), ("/..", "/../.."), ("/", "/../x"), ("/a/..", "/"), ("/a", "/ab"), ("/a", "/")]
    {
        let host = in_cgroup(cgroup)
            .file("/proc/self/mountinfo", v2_mount(root, "/sys/fs/cgroup"))
            .file("/sys/fs/cgroup/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/x/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/b/cpu.max", "1000 100000")
            // Where `..` would lead.
            .file("/sys/fs/cgroup/../x/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/../cpu.max", "1000 100000");
        let (levels, measured) = read_levels(&host);
        assert_eq!((levels.len(), measured.bound()), (0, Bound::AtMost), "{root} {cgroup}");
        assert!(measured.notes()[0].ends_with("is not below any mounted hierarchy"), "{measured:?}");
    }
    // The same prefix of `..` in the root and in the path cancels out.
    let sibling = in_cgroup("/../../x/y")
        .file("/proc/self/mountinfo", v2_mount("/../..", "/sys/fs/cgroup"))
        .file("/sys/fs/cgroup/x/y/cpu.max", "100000 100000");
    let (levels, measured) = read_levels(&sibling);
    assert_eq!((levels, measured.reading()), (vec!["/../../x/y".to_owned()], cores("1")));
    assert_eq!(measured.bound(), Bound::AtMost);
}

/// A mount point that is not the root of its hierarchy hides cgroups, in both versions.
#[test]
fn hidden_ancestors_are_a_bound() {
    for host in [
        cgroup_v2().file("/sys/fs/cgroup/cgroup.type", "domain"),
        cgroup_v1().without("/sys/fs/cgroup/cpu/cgroup.sane_behavior"),
    ] {
        let measured = read_levels(&host).1;
        assert_eq!(measured.bound(), Bound::AtMost);
        assert!(measured.notes()[0].ends_with("are hidden, and may set limits"), "{measured:?}");
    }
}

/// If the cgroup is gone, or its path is invalid, no limit is read, and never the limit of another cgroup.
#[test]
fn a_missing_cgroup_is_not_taken_for_another() {
    let long = "/a".repeat(35 << 10);
    for path in [
        "/docker/abc",
        "/docker/abc (deleted)",
        "/docker/\0",
        "/../a",
        "/a/../../b",
        "/a/./b",
        "a",
        "",
        &long,
    ] {
        let host = in_cgroup(path)
            .file("/sys/fs/cgroup/docker/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/a/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/../a/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/a/../../b/cpu.max", "1000 100000");
        let (levels, measured) = read_levels(&host);
        assert_eq!(
            (levels.len(), measured.reading(), measured.bound()),
            (0, cores("8"), Bound::AtMost),
            "{path}"
        );
        assert!(measured.notes()[0].len() < 1000, "{measured:?}");
    }
}

/// A path of almost 4096 bytes, the most that the kernel opens, is resolved.
#[test]
fn the_longest_path_is_resolved() {
    let path = format!("/{}", vec!["x".repeat(255); 15].join("/"));
    let host = in_cgroup(&path).file(&format!("/sys/fs/cgroup{path}/cpu.max"), "100000 100000");
    let measured = read_levels(&host).1;
    assert_eq!((measured.reading(), measured.bound()), (cores("1"), Bound::Exact));
}

/// Without the controller there is no limit. If `/proc/self/cgroup` is missing or invalid, or the hierarchy
/// is not mounted, a limit may exist, and the reading is a bound.
#[test]
fn no_controller_differs_from_no_information() {
    for (content, bound) in [
        ("", Bound::Exact),
        ("1:name=systemd:/\n", Bound::Exact),
        ("rubbish\n", Bound::AtMost),
        ("x:cpu:/\n", Bound::AtMost),
        ("0::/\n", Bound::AtMost),
        ("1:cpu:/\n", Bound::AtMost),
    ] {
        let (levels, measured) = read_levels(&eight_cores().file("/proc/self/cgroup", content));
        assert_eq!((levels.len(), measured.bound()), (0, bound), "{content}");
        assert_eq!(measured.notes().len(), 1);
    }
    assert_eq!(read_levels(&eight_cores()).1.bound(), Bound::AtMost);
}

/// A host whose process is in this cgroup of version 2. The whole hierarchy is mounted at the usual place.
fn in_cgroup(path: &str) -> InMemoryHost {
    eight_cores()
        .file("/proc/self/cgroup", format!("0::{path}\n"))
        .file("/proc/self/mountinfo", v2_mount("/", "/sys/fs/cgroup"))
}
