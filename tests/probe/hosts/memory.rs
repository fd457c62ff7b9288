//! Memory: the limits of the host, of the cgroups and of the address space.

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::Memory;

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
        let measured = read(&v2().file("/sys/fs/cgroup/memory.max", garbage));
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
