//! What holds for any bytes in one file of a host. The other files of the host are valid.
//!
//! Property tests, the fuzz targets and the replay of their corpora use these checks. Each check panics if
//! the probes violate a rule.

use std::collections::BTreeMap;

use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, ProbeError, Roots, Tasks};
use concurrency_governor::{Quantity, Reading};

/// Runs the check for the inputs of this corpus.
pub(crate) fn check(corpus: &str, bytes: &[u8]) {
    let check = CHECKS.iter().find(|check| check.corpus == corpus).expect("the corpus has a check");
    (check.run)(bytes);
}

/// A check, with the name of its fuzz target and corpus.
pub(crate) struct BytesCheck {
    pub(crate) corpus: &'static str,
    pub(crate) run: fn(&[u8]),
}

pub(crate) const CHECKS: [BytesCheck; 6] = [
    BytesCheck { corpus: "cgroup", run: check_cgroup },
    BytesCheck { corpus: "mountinfo", run: check_mountinfo },
    BytesCheck { corpus: "cpu_max", run: check_cpu_max },
    BytesCheck { corpus: "pressure", run: check_pressure },
    BytesCheck { corpus: "meminfo", run: check_meminfo },
    BytesCheck { corpus: "limits", run: check_limits },
];

/// Checks the bytes as `/proc/self/cgroup`: alone, and after the line that counts.
fn check_cgroup(bytes: &[u8]) {
    let path = "/proc/self/cgroup";
    assert_cores(&ValidHost::with([(path, bytes.to_vec())]));
    let appended = [b"4:cpu,cpuacct:/a\n0::/p/l\n", bytes].concat();
    let cores = finite_cores(&ValidHost::with([(path, appended)]));
    assert_eq!(cores, Quantity::whole(2), "an appended line counted");
}

/// Checks the bytes as `/proc/self/mountinfo`: alone, and before mounts that cover what the bytes mount.
fn check_mountinfo(bytes: &[u8]) {
    let path = "/proc/self/mountinfo";
    assert_cores(&ValidHost::with([(path, bytes.to_vec())]));
    let covered = [bytes, b"\n", MOUNTS].concat();
    let repeated = [&covered[..], b"\n", MOUNTS].concat();
    assert_eq!(
        finite_cores(&ValidHost::with([(path, covered)])),
        finite_cores(&ValidHost::with([(path, repeated)])),
        "a repeated mount changed the cores"
    );
}

/// Checks the bytes as the quota of a v2 cgroup, or as the quota or the period of a v1 cgroup. The first byte
/// selects the file.
fn check_cpu_max(bytes: &[u8]) {
    let (path, bytes) = select_path(
        [
            "/sys/fs/cgroup/p/l/cpu.max",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us",
        ],
        bytes,
    );
    let is_v2 = path.ends_with("cpu.max");
    let cgroup: &[u8] = if is_v2 { b"0::/p/l\n" } else { b"4:cpu,cpuacct:/a\n" };
    let host = ValidHost::with([(path, bytes.to_vec()), ("/proc/self/cgroup", cgroup.to_vec())]);
    assert_cores(&host);
    if !is_v2 {
        return;
    }
    assert!(finite_cores(&host) <= Quantity::whole(3), "more than the quota of the parent");

    // A line that a simple parser accepts too grants what that parser computes.
    let line = String::from_utf8_lossy(bytes);
    let words = line.trim_ascii().split_once(' ');
    let numbers = words.map(|(quota, period)| (quota.parse::<u32>(), period.parse::<u32>()));
    if let Some((Ok(quota @ 1..), Ok(period @ 1..))) = numbers {
        // `parse` accepts a plus sign, which the kernel never writes.
        if !line.contains('+') {
            let granted = u128::from(quota).saturating_mul(1000) / u128::from(period);
            let expected = u64::try_from(granted.clamp(1, 3000)).unwrap();
            assert_eq!(finite_cores(&host), Quantity::from_thousandths(expected), "{line:?}");
        }
    }
}

/// Checks the bytes as a pressure file: of the own cgroup, and of the host.
fn check_pressure(bytes: &[u8]) {
    for path in ["/sys/fs/cgroup/p/l/cpu.pressure", "/proc/pressure/cpu"] {
        let host = ValidHost::with([(path, bytes.to_vec())]);
        let pressure = || Pressure::on_cpu().with_roots(host.roots());
        match pressure().read().unwrap().reading() {
            Reading::Finite(share) => assert!(share <= Quantity::whole(1), "{share}"),
            other => assert_eq!(other, Reading::Unknown),
        }
        let (before, after) = (pressure().sample().unwrap(), pressure().sample().unwrap());
        if let (Some(before), Some(after)) = (before, after) {
            assert!(after.some_since(&before).is_none_or(|share| share == Quantity::ZERO));
            assert!(after.full_since(&before).is_none_or(|share| share == Quantity::ZERO));
        }
    }
}

/// Checks the bytes as `/proc/meminfo`, or as a memory file of a cgroup. The first byte selects the file.
fn check_meminfo(bytes: &[u8]) {
    let (path, bytes) = select_path(
        [
            "/proc/meminfo",
            "/sys/fs/cgroup/p/l/memory.max",
            "/sys/fs/cgroup/p/l/memory.high",
            "/sys/fs/cgroup/p/l/memory.current",
            "/sys/devices/system/node/online",
            "/sys/devices/system/node/node0/meminfo",
            "/proc/sys/vm/overcommit_memory",
        ],
        bytes,
    );
    let host = ValidHost::with([(path, bytes.to_vec())]);
    assert_memory(&host);
    let memory = Memory::new().with_roots(host.roots()).read().unwrap().reading();
    assert!(matches!(memory, Reading::Finite(bytes) if bytes <= Quantity::whole(1 << 20)), "{memory}");
}

/// Checks the bytes as `/proc/self/limits`, or as another file that limits a process. The first byte selects
/// the file.
fn check_limits(bytes: &[u8]) {
    let (path, bytes) = select_path(
        [
            "/proc/self/limits",
            "/proc/self/status",
            "/proc/self/uid_map",
            "/proc/sys/fs/nr_open",
            "/proc/sys/fs/file-nr",
            "/proc/sys/kernel/pid_max",
            "/proc/loadavg",
            "/sys/fs/cgroup/p/l/pids.max",
            "/sys/devices/system/cpu/online",
            "/proc/sys/vm/max_map_count",
        ],
        bytes,
    );
    let host = ValidHost::with([(path, bytes.to_vec())]);
    match path {
        "/sys/devices/system/cpu/online" => return assert_cores(&host),
        "/proc/self/limits" => assert_memory(&host),
        "/proc/self/status" => assert_cores(&host),
        _ => {}
    }
    assert_open_files_and_tasks(&host);
}

/// Selects a path by the first byte, and returns it with the other bytes.
fn select_path<'b, const N: usize>(paths: [&'static str; N], bytes: &'b [u8]) -> (&'static str, &'b [u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, bytes));
    (paths[usize::from(*first) % N], rest)
}

/// Asserts what holds for the cores of any host: more than 0, and at most the allowed CPUs.
fn assert_cores(host: &ValidHost) {
    let cpu = Cpu::new().with_roots(host.roots());
    if let Some(cores) = assert_repeatable(&|| cpu.read()) {
        let is_affinity_known = host.0["/proc/self/status"].starts_with(b"Cpus_allowed_list:\t0-7\n");
        let most = if is_affinity_known { Quantity::whole(8) } else { Quantity::MAX };
        assert!(
            matches!(cores, Reading::Finite(cores) if cores > Quantity::ZERO && cores <= most),
            "{cores}"
        );
    }
    assert!(cpu.limit_files().iter().all(|path| path.is_absolute()));
}

fn assert_memory(host: &ValidHost) {
    let memory = Memory::new().with_roots(host.roots());
    let limit = assert_repeatable(&|| memory.read());
    let available = assert_repeatable(&|| memory.read_available());
    assert_is_part(available, limit);
    assert_repeatable(&|| Ok(memory.read_soft_limit()));
}

fn assert_open_files_and_tasks(host: &ValidHost) {
    let open_files = OpenFiles::new().with_roots(host.roots());
    let limit = assert_repeatable(&|| open_files.read());
    let free = assert_repeatable(&|| open_files.read_free());
    assert_is_part(free, limit);
    let tasks = Tasks::new().with_roots(host.roots());
    let limit = assert_repeatable(&|| tasks.read());
    let free = assert_repeatable(&|| Ok(tasks.read_free()));
    assert_is_part(free, limit);
}

/// Asserts that what is left of a resource is at most its limit, where both are known.
fn assert_is_part(rest: Option<Reading>, limit: Option<Reading>) {
    if let (Some(Reading::Finite(rest)), Some(Reading::Finite(limit))) = (rest, limit) {
        assert!(rest <= limit, "{rest} of {limit}");
    }
}

/// Asserts that two measurements of one host are equal, and that each source and each note prints as one line
/// without control characters. Returns the reading.
fn assert_repeatable(read: &dyn Fn() -> Result<Measurement, ProbeError>) -> Option<Reading> {
    let (first, second) = (read(), read());
    match (&first, &second) {
        (Ok(first), Ok(second)) => assert_eq!(first, second),
        (first, second) => assert_eq!(format!("{first:?}"), format!("{second:?}")),
    }
    let measured = first.ok()?;
    let sources = measured.sources().iter().map(ToString::to_string);
    for line in sources.chain(measured.notes().iter().cloned()) {
        assert!(line.len() < 40_000 && !line.contains(char::is_control), "{line:?}");
    }
    Some(measured.reading())
}

fn finite_cores(host: &ValidHost) -> Quantity {
    match Cpu::new().with_roots(host.roots()).read().unwrap().reading() {
        Reading::Finite(cores) => cores,
        other => panic!("cores are finite, not {other}"),
    }
}

/// The files of a host on which every file is valid, except for the files that a check replaces.
struct ValidHost(BTreeMap<String, Vec<u8>>);

impl ValidHost {
    /// Creates the host, with `replaced` in place of its own files.
    fn with<const N: usize>(replaced: [(&str, Vec<u8>); N]) -> Self {
        let valid = VALID_FILES.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()));
        let mounts = [("/proc/self/mountinfo".to_owned(), MOUNTS.to_vec())];
        let replaced = replaced.map(|(path, content)| (path.to_owned(), content));
        Self(valid.into_iter().chain(mounts).chain(replaced).collect())
    }

    fn roots(&self) -> Roots {
        Roots::in_memory(self.0.clone())
    }
}

/// The v2 hierarchy at its usual place, with the v1 hierarchy of the `cpu` controller below it.
const MOUNTS: &[u8] = b"\
30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
";

const VALID_FILES: [(&str, &str); 24] = [
    ("/proc/self/status", "Cpus_allowed_list:\t0-7\nMems_allowed_list:\t0\nCapEff:\t0000000000000000\n"),
    ("/sys/devices/system/node/online", "0-1\n"),
    ("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 524288 kB\nNode 0 MemFree: 1024 kB\n"),
    ("/sys/devices/system/cpu/online", "0-7\n"),
    ("/proc/self/cgroup", "0::/p/l\n"),
    (
        "/proc/self/limits",
        "Max processes  900  900  processes\nMax open files  1024  4096  files\nMax address space  unlimited  unlimited  bytes\n",
    ),
    ("/proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n"),
    ("/proc/loadavg", "0.20 0.18 0.12 1/80 11206\n"),
    ("/proc/sys/fs/nr_open", "1048576\n"),
    ("/proc/sys/fs/file-nr", "1024\t0\t9223372036854775807\n"),
    ("/proc/sys/kernel/threads-max", "7000\n"),
    ("/proc/sys/kernel/pid_max", "32768\n"),
    ("/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
    ("/sys/fs/cgroup/p/cpu.max", "300000 100000\n"),
    ("/sys/fs/cgroup/p/memory.max", "1048576\n"),
    ("/sys/fs/cgroup/p/memory.current", "4096\n"),
    ("/sys/fs/cgroup/p/pids.max", "100\n"),
    ("/sys/fs/cgroup/p/pids.current", "3\n"),
    ("/sys/fs/cgroup/p/l/cpu.max", "max 100000\n"),
    ("/sys/fs/cgroup/p/l/memory.max", "max\n"),
    ("/sys/fs/cgroup/p/l/cgroup.type", "domain\n"),
    ("/sys/fs/cgroup/cpu/cgroup.sane_behavior", "0\n"),
    ("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000\n"),
    ("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"),
];
