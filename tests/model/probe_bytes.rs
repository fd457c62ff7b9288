//! One model of the probes' parsers for fuzzing, its corpora and property tests: any bytes stand in one file of a host
//! whose other files are in order, and what is measured there is held to what must be true whatever the bytes.

use std::collections::BTreeMap;

use concurrency_governor::plan::Measurement;
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, ProbeError, Roots, Tasks};
use concurrency_governor::{Quantity, Reading};

/// The files, each by the name of its corpus, with what holds its bytes to account.
const DRIVES: [(&str, Drive); 6] = [
    ("cgroup", cgroup),
    ("mountinfo", mountinfo),
    ("cpu_max", cpu_max),
    ("pressure", pressure),
    ("meminfo", meminfo),
    ("limits", limits),
];

type Drive = fn(&[u8]);

/// Measures with the bytes as the file of this name, or as each in turn without a name; panics where something does not
/// hold.
pub(crate) fn drive(name: Option<&str>, bytes: &[u8]) {
    let mut count = 0;
    for (file, drive) in DRIVES {
        if name.is_none_or(|name| name == file) {
            drive(bytes);
            count += 1;
        }
    }
    assert!(count > 0, "there is no file {name:?}");
}

/// The bytes as `/proc/self/cgroup`: alone, and behind a line that counts.
fn cgroup(bytes: &[u8]) {
    let path = "/proc/self/cgroup";
    hold_cores(&host([(path, bytes.to_vec())]));
    let first = [b"4:cpu,cpuacct:/a\n0::/p/l\n", bytes].concat();
    assert_eq!(cores(&host([(path, first)])), Quantity::whole(2), "a foreign line counted");
}

/// The bytes as `/proc/self/mountinfo`: alone, and before a mount that hides whatever they mount on its point.
fn mountinfo(bytes: &[u8]) {
    let path = "/proc/self/mountinfo";
    hold_cores(&host([(path, bytes.to_vec())]));
    let last = [bytes, b"\n", MOUNTS].concat();
    let files = host([(path, last.clone())]);
    let again = [&last[..], b"\n", MOUNTS].concat();
    assert_eq!(cores(&files), cores(&host([(path, again)])), "a mount that is told twice counted twice");
}

/// The bytes, but the first, as the quota of a group of version 2, or as the quota or the period of one of version 1.
fn cpu_max(bytes: &[u8]) {
    let (path, bytes) = pick(
        [
            "/sys/fs/cgroup/p/l/cpu.max",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us",
            "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us",
        ],
        bytes,
    );
    let is_v2 = path.ends_with("cpu.max");
    let group: &[u8] = if is_v2 { b"0::/p/l\n" } else { b"4:cpu,cpuacct:/a\n" };
    let files = host([(path, bytes.to_vec()), ("/proc/self/cgroup", group.to_vec())]);
    hold_cores(&files);
    if !is_v2 {
        return;
    }
    assert!(cores(&files) <= Quantity::whole(3), "the group above grants no more");
    let line = String::from_utf8_lossy(bytes);
    let words = line.trim_ascii().split_once(' ');
    let numbers = words.map(|(quota, period)| (quota.parse::<u32>(), period.parse::<u32>()));
    if let Some((Ok(quota @ 1..), Ok(period @ 1..))) = numbers {
        // The parser of the standard library takes a sign, and the kernel writes none.
        if !line.contains('+') {
            let granted = u128::from(quota).saturating_mul(1000) / u128::from(period);
            let expected = u64::try_from(granted.clamp(1, 3000)).unwrap();
            assert_eq!(cores(&files), Quantity::from_thousandths(expected), "{line:?}");
        }
    }
}

/// The bytes as a pressure file of the own group, of the host, and of both.
fn pressure(bytes: &[u8]) {
    for paths in [&["/sys/fs/cgroup/p/l/cpu.pressure"][..], &["/proc/pressure/cpu"]] {
        let files = host(paths.iter().map(|path| (*path, bytes.to_vec())));
        let read = || Pressure::on_cpu().with_roots(Roots::in_memory(files.clone()));
        match read().read().unwrap().reading() {
            Reading::Finite(share) => assert!(share <= Quantity::whole(1), "{share}"),
            other => assert_eq!(other, Reading::Unknown),
        }
        let (before, after) = (read().sample().unwrap(), read().sample().unwrap());
        if let (Some(before), Some(after)) = (before, after) {
            assert!(after.some_since(&before).is_none_or(|share| share == Quantity::ZERO));
            assert!(after.full_since(&before).is_none_or(|share| share == Quantity::ZERO));
        }
    }
}

/// The bytes, but the first, as `/proc/meminfo`, or as what a group says of its memory.
fn meminfo(bytes: &[u8]) {
    let (path, bytes) = pick(
        [
            "/proc/meminfo",
            "/sys/fs/cgroup/p/l/memory.max",
            "/sys/fs/cgroup/p/l/memory.high",
            "/sys/fs/cgroup/p/l/memory.current",
        ],
        bytes,
    );
    let files = host([(path, bytes.to_vec())]);
    hold_memory(&files);
    let memory = Memory::new().with_roots(Roots::in_memory(files)).read().unwrap().reading();
    assert!(matches!(memory, Reading::Finite(bytes) if bytes <= Quantity::whole(1 << 20)), "{memory}");
}

/// The bytes, but the first, as `/proc/self/limits`, or as another file that limits a process.
fn limits(bytes: &[u8]) {
    let (path, bytes) = pick(
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
        ],
        bytes,
    );
    let files = host([(path, bytes.to_vec())]);
    match path {
        "/sys/devices/system/cpu/online" => return hold_cores(&files),
        "/proc/self/limits" => hold_memory(&files),
        "/proc/self/status" => hold_cores(&files),
        _ => {}
    }
    hold_counts(&files);
}

/// The first byte picks a path, and the others are its file.
fn pick<'b, const N: usize>(paths: [&'static str; N], bytes: &'b [u8]) -> (&'static str, &'b [u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, bytes));
    (paths[usize::from(*first) % N], rest)
}

type Files = BTreeMap<String, Vec<u8>>;

/// A host with everything in order, and these files in place of its own.
fn host<P: AsRef<str>>(files: impl IntoIterator<Item = (P, Vec<u8>)>) -> Files {
    let own = OWN.map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()));
    let mounts = [("/proc/self/mountinfo".to_owned(), MOUNTS.to_vec())];
    let files = files.into_iter().map(|(path, content)| (path.as_ref().to_owned(), content));
    own.into_iter().chain(mounts).chain(files).collect()
}

fn cores(files: &Files) -> Quantity {
    match Cpu::new().with_roots(Roots::in_memory(files.clone())).read().unwrap().reading() {
        Reading::Finite(cores) => cores,
        other => panic!("cores are finite, not {other}"),
    }
}

/// What must be true of the cores of any host: they are some, and no more than there are.
fn hold_cores(files: &Files) {
    let cpu = Cpu::new().with_roots(Roots::in_memory(files.clone()));
    if let Some(cores) = hold(&|| cpu.read()) {
        let is_told = files["/proc/self/status"].starts_with(b"Cpus_allowed_list:\t0-7\n");
        let most = if is_told { Quantity::whole(8) } else { Quantity::MAX };
        assert!(
            matches!(cores, Reading::Finite(cores) if cores > Quantity::ZERO && cores <= most),
            "{cores}"
        );
    }
    assert!(cpu.limit_files().iter().all(|path| path.is_absolute()));
}

fn hold_memory(files: &Files) {
    let memory = Memory::new().with_roots(Roots::in_memory(files.clone()));
    hold(&|| memory.read());
    hold(&|| memory.read_available());
    hold(&|| Ok(memory.read_soft_limit()));
}

fn hold_counts(files: &Files) {
    let roots = Roots::in_memory(files.clone());
    let (open_files, tasks) = (OpenFiles::new().with_roots(roots.clone()), Tasks::new().with_roots(roots));
    hold(&|| open_files.read());
    hold(&|| open_files.read_free());
    hold(&|| tasks.read());
    hold(&|| Ok(tasks.read_free()));
}

/// The two readings of one host are equal, and what is said of them can be printed on a line.
fn hold(read: &dyn Fn() -> Result<Measurement, ProbeError>) -> Option<Reading> {
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

/// Version 2 at its usual place, with the processor's hierarchy of version 1 below it.
const MOUNTS: &[u8] = b"\
30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
";

const OWN: [(&str, &str); 22] = [
    ("/proc/self/status", "Cpus_allowed_list:\t0-7\nCapEff:\t0000000000000000\n"),
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
