//! Pressure: the file that counts, and the share between two samples of it.

use std::fs;
use std::os::unix::fs::symlink;

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Fixed, Pressure, ResourceProbe, Roots};
use concurrency_governor::{Quantity, Reading};
use futures_util::FutureExt;

use super::host::{InMemoryHost, cgroup_v1, cgroup_v2, thousandths, v2_mount};
use crate::support::child::skip;
use crate::support::temp_dir::TempDir;
use crate::support::unsupported_file;

const LINE: &str = "some avg10=12.30 avg60=0.00 avg300=0.00 total=5\n";

fn read(host: &InMemoryHost) -> Measurement {
    Pressure::on_memory().with_roots(host.roots()).read().unwrap()
}

/// The pressure of the own cgroup counts. Without it, the pressure of the host counts.
#[test]
fn the_own_cgroup_precedes_the_host() {
    let host = cgroup_v2().file("/proc/pressure/memory", LINE);
    assert_eq!(read(&host).reading(), thousandths(123));
    let own = host.file("/sys/fs/cgroup/p/l/memory.pressure", LINE.replace("12.30", "0.50"));
    let measured = read(&own);
    assert_eq!(measured.reading(), thousandths(5));
    assert_eq!(measured.sources()[0].to_string(), "/sys/fs/cgroup/p/l/memory.pressure: some total=5");
    assert_eq!(read(&cgroup_v1().file("/proc/pressure/memory", LINE)).reading(), thousandths(123));
}

/// Without a valid pressure file, the reading is unknown and never 0.
#[test]
fn absent_pressure_is_unknown() {
    let absent = read(&cgroup_v2());
    assert_eq!(absent.reading(), Reading::Unknown);
    assert_eq!(absent.notes(), ["this kernel reports no pressure"]);
    // On disk, opening a missing file fails with ENOENT.
    let directory = TempDir::new();
    let missing = Pressure::on_memory().with_roots(Roots::at(directory.path()));
    assert_eq!(missing.read().unwrap(), absent);
    assert!(missing.sample().unwrap().is_none());
    let invalid = read(&cgroup_v2().file("/sys/fs/cgroup/p/l/memory.pressure", "x"));
    assert_eq!(invalid.reading(), Reading::Unknown);
    assert!(invalid.notes()[0].starts_with("cannot parse "), "{invalid:?}");
}

/// A file whose read fails with `EOPNOTSUPP`, as on some kernels where PSI is disabled, counts as absent: the pressure of
/// the host counts, or the reading is unknown. It is no error.
#[test]
fn unsupported_pressure_is_absent() {
    const OWN: &str = "sys/fs/cgroup/p/l/memory.pressure";
    const HOST: &str = "proc/pressure/memory";

    let Some(unsupported) = unsupported_file() else {
        return skip(
            "hosts::pressure::unsupported_pressure_is_absent",
            "no attribute of a network interface fails with EOPNOTSUPP",
        );
    };
    let directory = TempDir::new();
    directory.write("proc/self/cgroup", "0::/p/l\n");
    directory.write("proc/self/mountinfo", v2_mount("/", "/sys/fs/cgroup"));
    directory.write(OWN, LINE.replace("12.30", "0.50"));
    directory.write(HOST, LINE);
    let pressure = Pressure::on_memory().with_roots(Roots::at(directory.path()));
    let replace = |file: &str| {
        fs::remove_file(directory.path().join(file)).unwrap();
        symlink(&unsupported, directory.path().join(file)).unwrap();
    };
    assert_eq!(pressure.read().unwrap().reading(), thousandths(5));
    replace(OWN);
    assert_eq!(pressure.read().unwrap().reading(), thousandths(123));
    replace(HOST);
    let absent = pressure.read().unwrap();
    assert_eq!((absent.reading(), absent.bound()), (Reading::Unknown, Bound::AtMost));
    assert_eq!(absent.notes(), ["this kernel reports no pressure"]);
    assert!(pressure.sample().unwrap().is_none());
}

/// A file that exists and cannot be read for another reason is an error, and not an unknown reading.
#[test]
fn unreadable_pressure_is_an_error() {
    // A directory in the place of the file.
    let host = cgroup_v2().file("/proc/pressure/memory/file", LINE);
    let error = Pressure::on_memory().with_roots(host.roots()).read().unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "cannot measure pressure.memory: cannot read the pressure files: is a directory"
    );
}

/// A probe with its own interval has a share since its creation, and ends no interval of the other one.
#[test]
fn a_probe_with_its_own_interval_reads_by_itself() {
    let pressure =
        Pressure::on_memory().with_roots(InMemoryHost::new().file("/proc/pressure/memory", LINE).roots());
    let own = pressure.with_own_interval().unwrap();
    let reading = own.measure().now_or_never().unwrap().unwrap();
    assert_eq!((reading.reading(), reading.notes().len()), (thousandths(0), 0), "{reading:?}");
    assert_eq!(own.resource(), Pressure::MEMORY);
    let first = pressure.read().unwrap();
    assert_eq!(first.reading(), thousandths(123));
    assert_eq!(first.notes(), ["the kernel's average over 10 s"]);
    assert!(Fixed::new(Pressure::MEMORY, Reading::Unknown).with_own_interval().is_none());
}

/// Two samples of one file give a share. Samples of two files, as after a move of the process, give none.
#[test]
fn only_samples_of_one_file_give_a_share() {
    let sample = |host: &InMemoryHost| Pressure::on_memory().with_roots(host.roots()).sample().unwrap();
    let with_total = |total: u64| {
        InMemoryHost::new().file("/proc/pressure/memory", LINE.replace("=5", &format!("={total}")))
    };
    let (before, after) = (sample(&with_total(5)).unwrap(), sample(&with_total(u64::MAX)).unwrap());
    assert_eq!(after.some_since(&before), Some(Quantity::whole(1)));
    assert_eq!(after.full_since(&before), None);
    assert_eq!(before.some_since(&after), None);
    let moved = cgroup_v2().file("/sys/fs/cgroup/p/l/memory.pressure", LINE);
    assert_eq!(sample(&moved).unwrap().some_since(&before), None);
    assert!(sample(&InMemoryHost::new()).is_none());
}
