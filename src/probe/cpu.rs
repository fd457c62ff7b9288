//! How many cores this process may run on.

#[cfg(target_os = "linux")]
use super::linux;
use super::{ProbeError, ResourceProbe, async_trait};
use crate::plan::{Measurement, Resource};

/// Measures [`Resource::CPU`]: the cores that the scheduler lets this process run on at once, fractional (`1.5`).
///
/// The number is the least of two kinds of limit, and nothing is rounded:
///
/// - the process's affinity, by `sched_getaffinity`: that of the process and not of the thread which measures, so that
///   a thread pinned to one core does not speak for all. Where it does not answer, `Cpus_allowed_list` of
///   `/proc/self/status`, as far as those CPUs are online;
/// - the bandwidth quota of each control group that holds the process, up to the mount point: `cpu.max` in version 2,
///   `cpu.cfs_quota_us` over `cpu.cfs_period_us` in version 1. Weights and shares are no number of cores.
///
/// It is [`AtMost`](crate::plan::Bound::AtMost) as soon as a level could not be read, or is hidden as it is in a
/// container, with a note on what that was. On systems other than Linux it is
/// [`available_parallelism`](std::thread::available_parallelism), as a bound.
///
/// ```
/// use concurrency_governor::probe::Cpu;
///
/// let cores = Cpu::new().read()?;
/// println!("{} cores ({})", cores.reading(), cores.bound());
/// for source in cores.sources() {
///     println!("  {source}");
/// }
/// # Ok::<(), concurrency_governor::probe::ProbeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    #[cfg(target_os = "linux")]
    roots: linux::Roots,
}

impl Cpu {
    /// A probe of this process's cores.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the affinity and the quotas now: a system call and a few small files of `/proc` and `/sys`.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if neither the affinity nor any quota could be known.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        let mut evidence = linux::Evidence::default();
        linux::affinity(&self.roots, &mut evidence);
        linux::quota(&self.roots, &mut evidence);
        evidence.measurement(Resource::CPU)
    }

    /// Asks the standard library.
    ///
    /// # Errors
    ///
    /// [`ProbeError`] if it does not know.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self) -> Result<Measurement, ProbeError> {
        const CALL: &str = "available_parallelism";

        let cores = std::thread::available_parallelism()
            .map_err(|error| ProbeError::io(Resource::CPU, CALL, error))?
            .get();
        // No host has more than 2^64 cores.
        let reading = crate::plan::Reading::whole(u64::try_from(cores).unwrap_or(u64::MAX));
        Ok(Measurement::new(reading).at_most().source(crate::plan::Source::new(CALL, cores.to_string())))
    }
}

#[async_trait]
impl ResourceProbe for Cpu {
    fn resource(&self) -> Resource {
        Resource::CPU
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
    use crate::plan::{Bound, Quantity, Reading};

    fn read(tree: &Tree) -> Measurement {
        Cpu { roots: tree.roots() }.read().unwrap()
    }

    fn cores(text: &str) -> Reading {
        text.parse::<Quantity>().unwrap().into()
    }

    /// A host of eight cores, all allowed, before any control group is made.
    fn eight_cores() -> Tree {
        Tree::new().file("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-63\n").file(ONLINE, "0-7\n")
    }

    /// The same with the process in the group `/p/l` of version 2.
    fn version_2() -> Tree {
        eight_cores()
            .file("proc/self/cgroup", "0::/p/l\n")
            .file("sys/fs/cgroup/cgroup.controllers", "cpu\n")
            .file("sys/fs/cgroup/p/l/cgroup.type", "domain\n")
    }

    /// The same with the process in the group `/p/l` of version 1.
    fn version_1() -> Tree {
        eight_cores()
            .file("proc/self/cgroup", "3:cpu,cpuacct:/p/l\n0::/\n")
            .file("sys/fs/cgroup/cpu/cgroup.sane_behavior", "0\n")
            .file("sys/fs/cgroup/cpu/p/l/cgroup.procs", "1\n")
    }

    const ONLINE: &str = "sys/devices/system/cpu/online";
    const MAX: [&str; 3] = ["sys/fs/cgroup/cpu.max", "sys/fs/cgroup/p/cpu.max", "sys/fs/cgroup/p/l/cpu.max"];
    const QUOTA: [&str; 3] = [
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        "sys/fs/cgroup/cpu/p/cpu.cfs_quota_us",
        "sys/fs/cgroup/cpu/p/l/cpu.cfs_quota_us",
    ];
    const PERIOD: [&str; 3] = [
        "sys/fs/cgroup/cpu/cpu.cfs_period_us",
        "sys/fs/cgroup/cpu/p/cpu.cfs_period_us",
        "sys/fs/cgroup/cpu/p/l/cpu.cfs_period_us",
    ];

    /// On trees captured from a kernel the cores are those that the kernel was seen to grant.
    #[test]
    fn captured_hosts_read_as_the_kernel_grants() {
        let expected = include_str!("../../tests/fixtures/kernel-6.1-cgroup-v2/EXPECTED.tsv");
        for line in expected.lines().skip(1) {
            let [name, granted, bound] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let roots = captured(&format!("kernel-6.1-cgroup-v2/{name}"));
            let measured = Cpu { roots }.read().unwrap();
            assert_eq!(measured.reading(), cores(granted), "{name}: {measured:?}");
            assert_eq!(measured.bound().to_string(), bound, "{name}: {measured:?}");
        }
    }

    /// Each level is a source with its text, from the widest down, and the least of them is the reading.
    #[test]
    fn every_level_is_a_source() {
        let tree = version_2().file(MAX[1], "150000 100000\n").file(MAX[2], "max 100000\n");
        let measured = read(&tree);
        assert_eq!((measured.reading(), measured.bound()), (cores("1.5"), Bound::Exact));
        let sources: Vec<String> = measured.sources().iter().map(ToString::to_string).collect();
        let expected = [
            format!("{}: 0-63", tree.path("proc/self/status")),
            format!("{}: 0-7", tree.path(ONLINE)),
            format!("{}: 150000 100000 (level /p)", tree.path(MAX[1])),
            format!("{}: max 100000 (level /p/l)", tree.path(MAX[2])),
        ];
        assert_eq!(sources, expected);
    }

    /// Version 1 keeps the two numbers apart, and a missing period is the kernel's own.
    #[test]
    fn version_1_keeps_quota_and_period_apart() {
        let tree = version_1().file(QUOTA[0], "-1\n").file(QUOTA[2], "250000\n");
        assert_eq!(read(&tree).reading(), cores("2.5"));
        let measured = read(&tree.file(PERIOD[2], "1000000\n"));
        assert_eq!((measured.reading(), measured.bound()), (cores("0.25"), Bound::Exact));
        assert_eq!(measured.sources().len(), 5);
    }

    /// What cannot be read or understood is noted, makes the number a bound, and never lowers it.
    #[test]
    fn faults_are_doubts_and_lower_nothing() {
        for garbage in
            ["", "\0", "1.5", "50000 0", "50000 x", "1 2 3", "99999999999999999999 1", "\u{ff11} 1", "max1"]
        {
            let measured = read(&version_2().file(MAX[0], "300000 100000").file(MAX[2], garbage));
            assert_eq!((measured.reading(), measured.bound()), (cores("3"), Bound::AtMost), "{garbage:?}");
            assert_eq!(measured.notes().len(), 1, "{measured:?}");
        }
        // A directory cannot be read as a file.
        let unreadable = version_1().file(QUOTA[2], "50000").file(&format!("{}/x", PERIOD[2]), "");
        let measured = read(&unreadable);
        assert_eq!((measured.reading(), measured.bound()), (cores("8"), Bound::AtMost));
        assert!(measured.notes()[0].contains("cpu.cfs_period_us"), "{measured:?}");
    }

    /// Every way to say that there is no quota is no quota, and nothing is in doubt.
    #[test]
    fn no_quota_is_no_doubt() {
        for none in ["max 100000\n", "max\n", "max 0", "-1 100000", "0 100000", "0", "-99999999999999999999"]
        {
            let measured = read(&version_2().file(MAX[2], none));
            assert_eq!((measured.reading(), measured.bound()), (cores("8"), Bound::Exact), "{none}");
        }
    }

    /// Only CPUs that are both allowed and online count; where one is not told, the other bounds the number.
    #[test]
    fn affinity_without_the_system_call() {
        let host = || Tree::new().file("proc/self/cgroup", "");
        let status = |list: &str| format!("Cpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
        let both = read(&host().file("proc/self/status", status("2-5,8")).file(ONLINE, "0-3,8\n"));
        assert_eq!((both.reading(), both.bound()), (cores("3"), Bound::Exact));
        for tree in [
            host().file("proc/self/status", status("0-2")),
            host().file("proc/self/status", status("0-2")).file(ONLINE, "rubbish"),
            host().file("proc/self/status", status("rubbish")).file(ONLINE, "0-2"),
            host().file("proc/self/status", "\n\0\n").file(ONLINE, "0-2"),
            host().file(ONLINE, "0-2"),
        ] {
            let one = read(&tree);
            assert_eq!((one.reading(), one.bound()), (cores("3"), Bound::AtMost), "{one:?}");
        }
    }

    /// With nothing to go by it fails, and says what it would have read.
    #[test]
    fn nothing_known_is_an_error() {
        let tree = Tree::new();
        let error = Cpu { roots: tree.roots() }.read().unwrap_err();
        let expected =
            format!("cannot measure cpu: cannot read {}: entity not found", tree.path("proc/self/status"));
        assert_eq!(format!("{error:#}"), expected);
        let disjoint = eight_cores().file(ONLINE, "64-65").file("proc/self/cgroup", "");
        let error = Cpu { roots: disjoint.roots() }.read().unwrap_err().to_string();
        assert!(error.contains("none is online"), "{error}");
    }

    /// What a level may hold: a quota in thousandths of a core with the period, none, or nothing that makes sense.
    fn level() -> impl Strategy<Value = Option<(u64, u64)>> {
        prop::option::weighted(
            0.8,
            (1_u64..20_000, prop::sample::select(vec![1_000_u64, 10_000, 100_000, 1_000_000])),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The cores are the least of affinity and quotas, whichever version tells them; and lowering a level never
        /// raises them.
        #[test]
        fn least_level_counts(levels in prop::array::uniform3(level()), at in 0_usize..3, less in 1_u64..20_000) {
            let of = |levels: [Option<(u64, u64)>; 3]| {
                let (mut v1, mut v2) = (version_1(), version_2());
                for (at, level) in levels.into_iter().enumerate() {
                    let Some((thousandths, period)) = level else { continue };
                    let quota = thousandths.saturating_mul(period) / 1000;
                    v1 = v1.file(QUOTA[at], quota.to_string()).file(PERIOD[at], period.to_string());
                    v2 = v2.file(MAX[at], format!("{quota} {period}\n"));
                }
                (read(&v1).reading(), read(&v2).reading())
            };
            let least = levels.iter().flatten().map(|level| level.0).min().unwrap_or(u64::MAX).min(8000);
            let expected = Reading::Finite(Quantity::from_thousandths(least));
            prop_assert_eq!(of(levels), (expected, expected));

            let mut lowered = levels;
            lowered[at] = Some((less.min(levels[at].map_or(u64::MAX, |level| level.0)), 1000));
            let (Reading::Finite(lower), _) = of(lowered) else { panic!("finite levels have a finite least") };
            prop_assert!(lower <= Quantity::from_thousandths(least));
        }

        /// No bytes in any file make it panic or give no cores; two readings of one tree are equal.
        #[test]
        fn any_bytes_are_measured(contents in prop::array::uniform5(bytes())) {
            let [list, status, online, wide, own] = contents;
            let tree = version_2()
                .file("proc/self/cgroup", [&b"0::/p/l\n"[..], &list].concat())
                .file("proc/self/status", [&b"Cpus_allowed_list:"[..], &status].concat())
                .file(ONLINE, online)
                .file(MAX[0], wide)
                .file(MAX[2], own);
            let probe = Cpu { roots: tree.roots() };
            let (first, second) = (probe.read(), probe.read());
            prop_assert_eq!(format!("{first:?}"), format!("{second:?}"));
            if let Ok(measured) = first {
                prop_assert!(matches!(measured.reading(), Reading::Finite(cores) if cores > Quantity::ZERO));
            }
        }
    }

    /// Bytes of any kind, and bytes that nearly make sense.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            any::<Vec<u8>>(),
            "(max|-|[0-9]{1,3}|[0-9]{20}|,| |\n|:|/|[.][.]|cpu){0,8}".prop_map(String::into_bytes),
            Just(vec![b'7'; 70 << 10]),
        ]
    }
}
