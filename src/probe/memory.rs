//! How much memory this process may use.

#[cfg(target_os = "linux")]
use super::linux;
use super::{ProbeError, ResourceProbe, async_trait};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::MEMORY`]: the bytes of memory this process may use, those in use included.
///
/// The number is the least of what the host has, `MemTotal` of `/proc/meminfo`, and the limit of each control group
/// that holds the process, up to the mount point: `memory.max` in version 2, `memory.limit_in_bytes` in version 1.
/// A limit of 0 is a limit. Swap is not counted.
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On systems other than Linux it is
/// [`Unknown`](crate::Reading::Unknown), with a note.
///
/// ```
/// use concurrency_governor::probe::Memory;
///
/// let memory = Memory::new().read()?;
/// println!("{} bytes ({})", memory.reading(), memory.bound());
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    #[cfg(target_os = "linux")]
    roots: linux::Roots,
}

impl Memory {
    /// A probe of this process's memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the host's memory and the limits now: a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the host's memory nor any limit could be known.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::memory_total(&self.roots, &mut evidence);
        linux::memory_limits(&self.roots, &mut evidence);
        evidence.measurement(Resource::MEMORY)
    }

    /// Says that memory is not measured here.
    ///
    /// # Errors
    ///
    /// None on this system.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        Ok(Measurement::default().note("memory is not measured on this system"))
    }
}

#[async_trait]
impl ResourceProbe for Memory {
    fn resource(&self) -> Resource {
        Resource::MEMORY
    }

    async fn measure(&self) -> Result<Measurement, ProbeError> {
        self.read()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use proptest::prelude::*;

    use super::super::linux::tree::{Tree, captured};
    use super::*;
    use crate::plan::{Bound, Reading};

    fn read(tree: &Tree) -> Measurement {
        Memory { roots: tree.roots() }.read().unwrap()
    }

    /// A host of 1 GiB with the process in the group `/p/l` of version 2.
    fn version_2() -> Tree {
        Tree::new()
            .file("proc/meminfo", "MemTotal:        1048576 kB\nMemFree:   1 kB\n")
            .file("proc/self/cgroup", "0::/p/l\n")
            .file("sys/fs/cgroup/cgroup.controllers", "memory\n")
            .file("sys/fs/cgroup/p/l/cgroup.type", "domain\n")
    }

    /// The same in version 1.
    fn version_1() -> Tree {
        version_2()
            .file("proc/self/cgroup", "5:memory:/p/l\n")
            .file("sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n")
            .file("sys/fs/cgroup/memory/p/l/cgroup.procs", "1\n")
    }

    const GIB: u64 = 1 << 30;

    /// The least of the host's memory and of the limits at every level, in bytes.
    #[test]
    fn least_level_counts() {
        let limited = version_2()
            .file("sys/fs/cgroup/p/memory.max", "1048576\n")
            .file("sys/fs/cgroup/p/l/memory.max", "2097152\n");
        let measured = read(&limited);
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(1 << 20), Bound::Exact));
        assert_eq!(measured.sources()[0].raw(), "MemTotal:        1048576 kB");
        assert_eq!(measured.sources()[1].level(), Some("/p"));
        assert_eq!(measured.sources().len(), 3);

        let limited = version_1().file("sys/fs/cgroup/memory/p/memory.limit_in_bytes", "4096\n");
        assert_eq!(read(&limited).reading(), Reading::whole(4096));
        let nothing = version_2().file("sys/fs/cgroup/p/memory.max", "0\n");
        assert_eq!(read(&nothing).reading(), Reading::whole(0));
    }

    /// Every way to say that there is no limit is no limit, on kernels old and new, whatever the size of a page.
    #[test]
    fn no_limit_is_no_doubt() {
        for none in [
            "max",
            "-1",
            "9223372036854771712",
            "9223372036854710272",
            "9223372036854775807",
            "18446744073709551615",
        ] {
            let measured = read(&version_1().file("sys/fs/cgroup/memory/p/l/memory.limit_in_bytes", none));
            assert_eq!((measured.reading(), measured.bound()), (Reading::whole(GIB), Bound::Exact), "{none}");
        }
    }

    /// What cannot be read or understood is noted, makes the number a bound, and never lowers it.
    #[test]
    fn faults_are_doubts_and_lower_nothing() {
        for garbage in ["", "x", "1 2", "1.5", "0x10", "\0", "99999999999999999999"] {
            let measured = read(&version_2().file("sys/fs/cgroup/memory.max", garbage));
            assert_eq!(
                (measured.reading(), measured.bound()),
                (Reading::whole(GIB), Bound::AtMost),
                "{garbage:?}"
            );
            assert_eq!(measured.notes().len(), 1);
        }
        for garbage in ["", "MemTotal: 1\n", "MemTotal: 0 kB\n", "MemTotal: x kB\n", "MemFree: 1 kB\n"] {
            let tree = version_2().file("proc/meminfo", garbage).file("sys/fs/cgroup/p/memory.max", "4096");
            let measured = read(&tree);
            assert_eq!(
                (measured.reading(), measured.bound()),
                (Reading::whole(4096), Bound::AtMost),
                "{garbage:?}"
            );
        }
    }

    /// With nothing to go by it fails, and says what it would have read.
    #[test]
    fn nothing_known_is_an_error() {
        let error = Memory { roots: Tree::new().roots() }.read().unwrap_err();
        assert!(format!("{error:#}").ends_with("proc/meminfo: entity not found"), "{error:#}");
        let error = Memory { roots: version_2().file("proc/meminfo", "").roots() }.read().unwrap_err();
        assert!(error.to_string().starts_with("cannot measure memory: "), "{error}");
    }

    /// On trees captured from a kernel the memory is the machine's: none of them sets a limit.
    #[test]
    fn captured_hosts_have_the_machines_memory() {
        for name in ["v2-no-limit", "v2-half", "v2-cgroupns-own-mount"] {
            let roots = captured(&format!("kernel-6.1-cgroup-v2/{name}"));
            assert_eq!(Memory { roots }.read().unwrap().reading(), Reading::whole(480_564 * 1024), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// No bytes in any file make it panic.
        #[test]
        fn any_bytes_are_measured(
            total in prop_oneof![any::<Vec<u8>>(), "[ \t0-9kBMemTotal:]{0,40}".prop_map(String::into_bytes)],
            limit in prop_oneof![any::<Vec<u8>>(), "-?[0-9]{0,30}|max".prop_map(String::into_bytes)],
        ) {
            let tree = version_2()
                .file("proc/meminfo", [&b"MemTotal:"[..], &total].concat())
                .file("sys/fs/cgroup/p/l/memory.max", limit);
            let probe = Memory { roots: tree.roots() };
            prop_assert_eq!(format!("{:?}", probe.read()), format!("{:?}", probe.read()));
        }
    }
}
