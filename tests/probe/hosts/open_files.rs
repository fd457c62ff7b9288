//! File descriptors: the limit of the process, and what the whole host has left.

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::OpenFiles;

use super::host::InMemoryHost;

const NR_OPEN: &str = "/proc/sys/fs/nr_open";

fn with_limits(soft: &str, hard: &str) -> InMemoryHost {
    let line = format!("Max open files            {soft}                 {hard}                 files\n");
    InMemoryHost::new().file("/proc/self/limits", line)
}

fn read(host: &InMemoryHost) -> Measurement {
    OpenFiles::new().with_roots(host.roots()).read().unwrap()
}

/// The reading is the soft limit, capped by `fs.nr_open`. A note has the hard limit.
#[test]
fn the_soft_limit_is_capped_by_nr_open() {
    let measured = read(&with_limits("1024", "4096"));
    assert_eq!((measured.reading(), measured.bound()), (Reading::whole(1024), Bound::Exact));
    assert_eq!(measured.sources()[0].to_string(), "/proc/self/limits: Max open files: 1024");
    assert_eq!(measured.notes(), ["the hard limit is 4096, which the soft one may be raised to"]);
    let capped = |soft| read(&with_limits(soft, "unlimited").file(NR_OPEN, "1000\n"));
    assert_eq!(capped("1024").reading(), Reading::whole(1000));
    assert_eq!(capped("unlimited").reading(), Reading::whole(1000));
    assert_eq!(capped("10").reading(), Reading::whole(10));
}

/// Infinity without a cap is unlimited, and 0 is unknown: neither becomes a number that a formula would
/// divide.
#[test]
fn infinity_is_unlimited_and_zero_is_unknown() {
    let unlimited = read(&with_limits("unlimited", "unlimited"));
    // The cap exists on every kernel, and is hidden here.
    assert_eq!((unlimited.reading(), unlimited.bound()), (Reading::Unlimited, Bound::AtMost));
    let zero = read(&with_limits("0", "4096").file(NR_OPEN, "1000\n"));
    assert_eq!(zero.reading(), Reading::Unknown);
    assert_eq!(zero.notes().len(), 2);
    let invalid_cap = read(&with_limits("64000", "4096").file(NR_OPEN, "x"));
    assert_eq!((invalid_cap.reading(), invalid_cap.bound()), (Reading::whole(64000), Bound::AtMost));
    assert_eq!(invalid_cap.sources()[0].raw(), "64000");
}

/// If the limit is not known, the error names the file that was read.
#[test]
fn an_unknown_limit_is_an_error() {
    let error = OpenFiles::new().with_roots(InMemoryHost::new().roots()).read().unwrap_err();
    assert_eq!(format!("{error:#}"), "cannot measure fd: cannot read /proc/self/limits: entity not found");
    let invalid = InMemoryHost::new().file("/proc/self/limits", "Max open files x y files\n");
    assert!(OpenFiles::new().with_roots(invalid.roots()).read().is_err());
}

/// The free descriptors are at most those that the whole host has left.
#[test]
fn the_rest_of_the_host_caps_the_free_descriptors() {
    let host = with_limits("1024", "4096").file("/proc/sys/fs/file-nr", "70\t0\t100\n");
    let free = OpenFiles::new().with_roots(host.roots()).read_free().unwrap();
    assert_eq!((free.reading(), free.bound()), (Reading::whole(30), Bound::AtMost));
}
