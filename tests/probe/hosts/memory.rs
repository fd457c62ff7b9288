//! Memory: the limits of the host, of the cgroups and of the address space.

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::Memory;
use concurrency_governor::{Formula, GateSpec, Governor, Limit, Quantity, Reading};

use super::host::{InMemoryHost, cgroup_v1, cgroup_v2};

const GIB: u64 = 1 << 30;

/// A v1 host with 1 GiB of memory.
fn v1() -> InMemoryHost {
    with_one_gib(cgroup_v1())
}

/// A v2 host with 1 GiB of memory.
fn v2() -> InMemoryHost {
    with_one_gib(cgroup_v2())
}

fn with_one_gib(host: InMemoryHost) -> InMemoryHost {
    host.file("/proc/meminfo", "MemTotal:        1048576 kB\nMemFree:   1 kB\nMemAvailable: 524288 kB\n")
        .file(
            "/proc/self/limits",
            "Max address space         unlimited            unlimited            bytes\n",
        )
}

/// A v2 host whose process has these limits of its address space and its data.
fn with_process_limits(address_space: &str, data: &str) -> InMemoryHost {
    let lines = format!(
        "Max data size  {data}  unlimited  bytes\nMax address space  {address_space}  unlimited  bytes\n"
    );
    v2().file("/proc/self/limits", lines)
}

fn memory(host: &InMemoryHost) -> Memory {
    Memory::new().with_roots(host.roots())
}

fn read(host: &InMemoryHost) -> Measurement {
    memory(host).read().unwrap()
}

/// The reading is the minimum of the memory of the host, of the limits of every level, and of the address
/// space.
#[test]
fn the_lowest_limit_counts() {
    let limited = v2()
        .file("/sys/fs/cgroup/p/memory.max", "1048576\n")
        .file("/sys/fs/cgroup/p/l/memory.max", "2097152\n");
    let measured = read(&limited);
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(1 << 20), Bound::Exact));
    assert_eq!(measured.sources()[0].raw(), "MemTotal:        1048576 kB");
    assert_eq!(measured.sources()[1].level(), Some("/p"));
    assert_eq!(measured.sources().len(), 4);

    let limited = v1().file("/sys/fs/cgroup/memory/p/memory.limit_in_bytes", "4096\n");
    assert_eq!(read(&limited).reading(), Reading::whole(4096));
    let nothing = v2().file("/sys/fs/cgroup/p/memory.max", "0\n");
    assert_eq!(read(&nothing).reading(), Reading::whole(0));
    let address_space = v2().file("/proc/self/limits", "Max address space  65536  unlimited  bytes\n");
    assert_eq!(read(&address_space).reading(), Reading::whole(65536));
    let data = with_process_limits("unlimited", "32768");
    assert_eq!((read(&data).reading(), read(&data).bound()), (Reading::whole(32768), Bound::Exact));
}

/// The pool of huge pages is part of the total, and only few programs can use it, so it does not count. Before Linux
/// 4.19, the kernel reports only the pages of the default size.
#[test]
fn huge_pages_do_not_count() {
    let with_pool = |lines: &str| {
        read(&v2().file("/proc/meminfo", format!("MemTotal: 1048576 kB\nMemAvailable: 1 kB\n{lines}")))
    };
    let pages = "HugePages_Total:     256\nHugepagesize:       2048 kB\n";
    for lines in [&format!("{pages}Hugetlb:         786432 kB\n"), "Hugetlb: 786432 kB\n"] {
        let measured = with_pool(lines);
        assert_eq!(
            (measured.reading(), measured.bound()),
            (Reading::whole(GIB / 4), Bound::Exact),
            "{lines}"
        );
        assert_eq!(measured.sources()[1].raw().split(' ').next(), Some("Hugetlb:"));
    }
    let default_size = with_pool(pages);
    assert_eq!(default_size.reading(), Reading::whole(GIB / 2));
    assert_eq!(default_size.sources()[1].raw(), "HugePages_Total:     256");
    assert_eq!(with_pool("Hugetlb: 0 kB\n").reading(), Reading::whole(GIB));
    let invalid = with_pool("Hugetlb: x kB\n");
    assert_eq!((invalid.reading(), invalid.bound()), (Reading::whole(GIB), Bound::AtMost));
}

/// If the kernel does not overcommit, its limit for all processes counts, and is a bound. Otherwise it does not count.
#[test]
fn the_commit_limit_counts_without_overcommit() {
    let host = |mode: &str| {
        let lines = "MemTotal: 1048576 kB\nMemAvailable: 900000 kB\nCommitLimit: 524288 kB\nCommitted_AS: 131072 kB\n";
        v2().file("/proc/meminfo", lines).file("/proc/sys/vm/overcommit_memory", mode)
    };
    for mode in ["0\n", "1\n", "x"] {
        let measured = read(&host(mode));
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(GIB), Bound::Exact), "{mode}");
    }
    let measured = read(&host("2\n"));
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(GIB / 2), Bound::AtMost));
    let available = memory(&host("2\n")).read_available().unwrap();
    assert_eq!((available.reading(), available.bound()), (Reading::whole(GIB * 3 / 8), Bound::AtMost));
    let without = read(&host("2\n").file("/proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 1 kB\n"));
    assert_eq!((without.reading(), without.bound()), (Reading::whole(GIB), Bound::AtMost));
}

/// If the cpuset allows only some NUMA nodes, only their memory counts, without their huge pages. If all are allowed,
/// no node is read.
#[test]
fn only_allowed_nodes_count() {
    let node = |number: u32, kilobytes: u32| {
        format!(
            "Node {number} MemTotal: {kilobytes} kB\nNode {number} MemFree: 1024 kB\n\
             Node {number} HugePages_Total:     2\n"
        )
    };
    let host = |allowed: &str| {
        v2().file("/proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 900000 kB\nHugepagesize: 2048 kB\n")
            .file("/proc/self/status", format!("Mems_allowed:\tff\nMems_allowed_list:\t{allowed}\n"))
            .file("/sys/devices/system/node/online", "0-2\n")
            .file("/sys/devices/system/node/node0/meminfo", node(0, 262_144))
            .file("/sys/devices/system/node/node1/meminfo", node(1, 524_288))
            .file("/sys/devices/system/node/node2/meminfo", node(2, 262_144))
    };
    for (allowed, megabytes) in
        [("0", 252), ("1", 508), ("0,2", 504), ("1-2", 760), ("0-2", 1024), ("0-63", 1024)]
    {
        let measured = read(&host(allowed));
        assert_eq!(
            (measured.reading(), measured.bound()),
            (Reading::whole(megabytes << 20), Bound::Exact),
            "{allowed}"
        );
    }
    let nodes = read(&host("0-2")).sources().iter().filter(|source| source.path().contains("/node/")).count();
    assert_eq!(nodes, 0);
    // The caches of the nodes can be reclaimed.
    let available = memory(&host("0,2")).read_available().unwrap();
    assert_eq!((available.reading(), available.bound()), (Reading::whole(2 << 20), Bound::AtLeast));

    // A node that cannot be read makes the reading a bound, and lowers nothing.
    let missing = read(&host("0-1").without("/sys/devices/system/node/node1/meminfo"));
    assert_eq!((missing.reading(), missing.bound()), (Reading::whole(GIB), Bound::AtMost));
    let invalid = read(&host("0").file("/proc/self/status", "Mems_allowed_list:\tx\n"));
    assert_eq!((invalid.reading(), invalid.bound()), (Reading::whole(GIB), Bound::AtMost));
    let endless = host("0-4294967294").file("/sys/devices/system/node/online", "0-4294967295\n");
    let endless = read(&endless);
    assert_eq!((endless.reading(), endless.bound()), (Reading::whole(GIB), Bound::AtMost));
}

/// In version 1 before Linux 5.11, a cgroup without `memory.use_hierarchy` does not limit the cgroups below it.
#[test]
fn levels_without_hierarchy_do_not_bind() {
    let host = |root: &str, parent: &str| {
        v1().file("/sys/fs/cgroup/memory/memory.use_hierarchy", root)
            .file("/sys/fs/cgroup/memory/p/memory.use_hierarchy", parent)
            .file("/sys/fs/cgroup/memory/p/l/memory.use_hierarchy", parent)
            .file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1048576")
            .file("/sys/fs/cgroup/memory/p/memory.limit_in_bytes", "2097152")
            .file("/sys/fs/cgroup/memory/p/l/memory.limit_in_bytes", "4194304")
    };
    for (root, parent, expected) in [("1", "1", 1), ("0", "1", 2), ("0", "0", 4)] {
        let measured = read(&host(root, parent));
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(expected << 20), Bound::Exact));
    }
    // A newer kernel has the hierarchy always, and may not have the file.
    let newer = host("0", "0").without("/sys/fs/cgroup/memory/p/memory.use_hierarchy");
    assert_eq!(read(&newer).reading(), Reading::whole(2 << 20));
}

/// In version 1, `hierarchical_memory_limit` covers the levels that are hidden. If none is hidden, it is not
/// read.
#[test]
fn hidden_v1_levels_count() {
    let host = v1()
        .without("/sys/fs/cgroup/memory/cgroup.sane_behavior")
        .file("/sys/fs/cgroup/memory/p/l/memory.limit_in_bytes", "9223372036854771712\n")
        .file("/sys/fs/cgroup/memory/p/l/memory.stat", "cache 1\nhierarchical_memory_limit 8192\nrss 1\n");
    let measured = read(&host);
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(8192), Bound::AtMost));
    let whole = read(&host.file("/sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n"));
    assert_eq!(whole.bound(), Bound::Exact);
    assert!(!whole.sources().iter().any(|source| source.path().ends_with("memory.stat")), "{whole:?}");
}

/// Each text that means "no limit", for every kernel and page size, leaves the reading exact. Its source has
/// the meaning beside the number.
#[test]
fn no_limit_is_exact() {
    for none in [
        "max",
        "-1",
        "9223372036854771712",
        "9223372036854710272",
        "9223372036854775807",
        "18446744073709551615",
    ] {
        let measured = read(&v1().file("/sys/fs/cgroup/memory/p/l/memory.limit_in_bytes", none));
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(GIB), Bound::Exact), "{none}");
        assert_eq!(measured.sources()[1].meaning(), Some("no limit"));
        assert!(measured.sources()[1].to_string().ends_with(&format!(": {none}, no limit (level /p/l)")));
    }
}

/// A file that is unreadable or invalid adds a note, makes the reading a bound, and never lowers it.
#[test]
fn invalid_files_weaken_the_bound_and_lower_nothing() {
    let at_most = |bytes: u64| (Reading::whole(bytes), Bound::AtMost);
    for garbage in ["", "x", "1 2", "1.5", "0x10", "\0", "99999999999999999999"] {
        let measured = read(&v2().file("/sys/fs/cgroup/p/memory.max", garbage));
        assert_eq!((measured.reading(), measured.bound()), at_most(GIB), "{garbage:?}");
        assert_eq!(measured.notes().len(), 1);
    }
    for garbage in ["", "MemTotal: 1\n", "MemTotal: 0 kB\n", "MemTotal: x kB\n", "MemFree: 1 kB\n"] {
        let measured = read(&v2().file("/proc/meminfo", garbage).file("/sys/fs/cgroup/p/memory.max", "4096"));
        assert_eq!((measured.reading(), measured.bound()), at_most(4096), "{garbage:?}");
    }
    let measured = read(&v2().file("/proc/self/limits", "Max address space\n"));
    assert_eq!((measured.reading(), measured.bound()), at_most(GIB));
}

/// If no limit of the memory is known, the error names the file that was read.
#[test]
fn unknown_memory_is_an_error() {
    let error = memory(&InMemoryHost::new()).read().unwrap_err();
    assert!(format!("{error:#}").ends_with("proc/meminfo: entity not found"), "{error:#}");
    let error = memory(&v2().file("/proc/meminfo", "")).read().unwrap_err();
    assert!(error.to_string().starts_with("cannot measure memory: "), "{error}");
}

/// The soft limit is the lowest `memory.high`. Without version 2 there is none. If levels are hidden and the
/// visible ones have none, it is unknown.
#[test]
fn the_soft_limit_is_the_lowest_memory_high() {
    let high = |host: InMemoryHost| {
        let host = host
            .file("/sys/fs/cgroup/p/memory.high", "4096\n")
            .file("/sys/fs/cgroup/p/l/memory.high", "max\n");
        memory(&host).read_soft_limit()
    };
    assert_eq!((high(v2()).reading(), high(v2()).bound()), (Reading::whole(4096), Bound::Exact));
    assert_eq!(high(v1()).reading(), Reading::Unlimited);
    assert_eq!(memory(&v2()).read_soft_limit().reading(), Reading::Unlimited);
    let hidden = v2().file("/sys/fs/cgroup/cgroup.type", "domain");
    assert_eq!(memory(&hidden).read_soft_limit().reading(), Reading::Unknown);
    assert_eq!(high(hidden).reading(), Reading::whole(4096));
}

/// What is left of a cgroup's limit is a lower bound, because the usage includes page cache. So is not what the host or
/// the limits of the process have left, nor what is left of a limit that something hidden may lower.
#[test]
fn available_memory_of_a_cgroup_is_a_lower_bound() {
    let bounds = |host: &InMemoryHost| {
        let (limit, available) = (read(host), memory(host).read_available().unwrap());
        (available.reading(), available.bound(), limit.bound())
    };
    let limited = |limit: &str, usage: &str| {
        v2().file("/sys/fs/cgroup/p/memory.max", limit).file("/sys/fs/cgroup/p/memory.current", usage)
    };
    assert_eq!(bounds(&limited("8192", "4096")), (Reading::whole(4096), Bound::AtLeast, Bound::Exact));
    assert_eq!(bounds(&limited("8192", "0")), (Reading::whole(8192), Bound::Exact, Bound::Exact));
    assert_eq!(bounds(&limited("max", "4096")), (Reading::whole(GIB / 2), Bound::Exact, Bound::Exact));
    let hidden = limited("8192", "4096").file("/sys/fs/cgroup/cgroup.type", "domain");
    assert_eq!(bounds(&hidden), (Reading::whole(4096), Bound::AtMost, Bound::AtMost));
    let process =
        with_process_limits("65536", "49152").file("/proc/self/status", "VmSize:\t 32 kB\nVmData:\t 24 kB\n");
    assert_eq!(bounds(&process), (Reading::whole(24 << 10), Bound::Exact, Bound::Exact));
    let process = with_process_limits("65536", "unlimited").file("/proc/self/status", "Name: x\n");
    assert_eq!(bounds(&process), (Reading::whole(64 << 10), Bound::AtMost, Bound::Exact));
}

/// The available memory is the minimum of what the host and each limited level have left, and never negative.
#[test]
fn available_memory_is_the_lowest_remainder() {
    let available = |host: &InMemoryHost| memory(host).read_available().unwrap();
    assert_eq!(available(&v2()).reading(), Reading::whole(GIB / 2));
    let with_usage = |usage: &str| {
        let host = v2().file("/sys/fs/cgroup/p/memory.max", "8192\n");
        available(&host.file("/sys/fs/cgroup/p/memory.current", usage))
    };
    assert_eq!(with_usage("4096\n").reading(), Reading::whole(4096));
    assert_eq!(with_usage("9000\n").reading(), Reading::whole(0));
    let unknown = with_usage("x");
    assert_eq!((unknown.reading(), unknown.bound()), (Reading::whole(8192), Bound::AtMost));
    let v1 = v1()
        .file("/sys/fs/cgroup/memory/p/memory.limit_in_bytes", "8192")
        .file("/sys/fs/cgroup/memory/p/memory.usage_in_bytes", "8000");
    assert_eq!(available(&v1).reading(), Reading::whole(192));
}

/// Formulas can read the available memory and `memory.high`, which have probes of their own. Without `memory.high`, its
/// bound is skipped.
#[tokio::test]
async fn formulas_read_the_available_memory_and_the_soft_limit() {
    const JOBS: GateSpec = GateSpec::new(
        "jobs",
        Formula::of(Memory::AVAILABLE.per(Quantity::whole(1 << 20)))
            .floor(1)
            .at_most(Memory::HIGH.per(Quantity::whole(1 << 20))),
    );
    let limited = v2()
        .file("/sys/fs/cgroup/p/memory.max", "8388608\n")
        .file("/sys/fs/cgroup/p/memory.current", "2097152\n");
    for (high, expected, decides) in
        [("4194304\n", 4, "memory.high = 4Mi"), ("max\n", 6, "memory.available = 6Mi")]
    {
        let host = limited.clone().file("/sys/fs/cgroup/p/memory.high", high);
        let builder = Governor::builder()
            .gate(JOBS)
            .probe(Memory::available().with_roots(host.roots()))
            .probe(Memory::high().with_roots(host.roots()));
        let governor = builder.build().await.unwrap();
        assert_eq!(governor.gate(JOBS).unwrap().limit(), Limit::new(expected), "{high}");
        let resolution = governor.resolution();
        let available = resolution.readings().get(Memory::AVAILABLE).unwrap();
        assert_eq!(available.bound(), Bound::AtLeast);
        let explanation = format!("{:#}", resolution.explain(JOBS).unwrap());
        assert!(explanation.contains(decides), "{explanation}");
    }
    let empty = Memory::available().with_roots(InMemoryHost::new().roots()).read().unwrap_err();
    assert!(empty.to_string().starts_with("cannot measure memory.available: "), "{empty}");
}
