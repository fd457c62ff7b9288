//! The probes on hosts that are not this one: captured trees, and trees of every shape that a kernel makes.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, Roots, Tasks};
use concurrency_governor::{Quantity, Reading};

/// On trees captured from a kernel the readings are what the kernel was seen to grant.
#[test]
fn captured_hosts_read_as_the_kernel_grants() {
    let expected = include_str!("fixtures/kernel-6.1-cgroup-v2/EXPECTED.tsv");
    for line in expected.lines().skip(1) {
        let [name, cores, cores_bound, memory, memory_bound, tasks, tasks_bound, ..] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2").join(name);
        let roots = || Roots::at(&root);
        let said =
            |measured: Measurement| (measured.reading().plain().to_string(), measured.bound().to_string());
        let of = |reading: &str, bound: &str| (reading.to_owned(), bound.to_owned());
        assert_eq!(said(Cpu::new().with_roots(roots()).read().unwrap()), of(cores, cores_bound), "{name}");
        assert_eq!(
            said(Memory::new().with_roots(roots()).read().unwrap()),
            of(memory, memory_bound),
            "{name}"
        );
        assert_eq!(said(Tasks::new().with_roots(roots()).read().unwrap()), of(tasks, tasks_bound), "{name}");
        let open_files = OpenFiles::new().with_roots(roots());
        assert_eq!(said(open_files.read().unwrap()), of("1024", "exact"), "{name}");
        assert_eq!(open_files.read_in_use().unwrap().reading(), Reading::Unknown, "{name}");
        assert_eq!(said(open_files.read_free().unwrap()), of("1024", "at most"), "{name}");
    }
}

/// A captured tree tells the other figures too.
#[test]
fn captured_hosts_tell_the_other_figures() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2/v2-pids-nested");
    let memory = Memory::new().with_roots(Roots::at(&root));
    assert_eq!(memory.read_soft_limit().reading(), Reading::Unlimited);
    assert_eq!(memory.read_available().unwrap().reading(), Reading::whole(440_320 * 1024));
    let free = Tasks::new().with_roots(Roots::at(&root)).read_free();
    assert_eq!((free.reading(), free.bound()), (Reading::whole(26), Bound::Exact));
    let pressure = Pressure::on_cpu().with_roots(Roots::at(&root)).read().unwrap();
    assert_eq!(pressure.reading(), thousandths(69));
    assert!(pressure.sources()[0].path().ends_with("/p/l/cpu.pressure"), "{pressure:?}");
}

/// What a captured directory holds in place of a file is refused and not waited for: a pipe, a file without end.
#[test]
fn pipes_and_endless_files_are_not_waited_for() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-hosts-{}", std::process::id()));
    std::fs::create_dir_all(root.join("proc/self")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.join("proc/meminfo")).unwrap();
    let pipe = root.join("proc/self/cgroup");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let memory = Memory::new().with_roots(Roots::at(&root)).read();
    let cores = Cpu::new().with_roots(Roots::at(&root)).read();
    std::fs::remove_dir_all(&root).unwrap();
    let endless = format!("{:#}", memory.unwrap_err());
    assert!(endless.ends_with("proc/meminfo: longer than 1048576 bytes"), "{endless}");
    assert!(cores.is_err());
}

mod cpu {
    use super::*;

    fn read(host: &Host) -> Measurement {
        Cpu::new().with_roots(host.roots()).read().unwrap()
    }

    /// Each level is a source with its text, from the widest down, and the least of them is the reading.
    #[test]
    fn every_level_is_a_source() {
        let host = version_2().file(MAX[1], "150000 100000\n").file(MAX[2], "max 100000\n");
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

    /// Where a controller is off, as for a level and all below it, there is no file of it to look for; another one of
    /// nearly the same name does not count.
    #[test]
    fn levels_end_where_the_controller_is_off() {
        let with = |controllers: &str| {
            let host = version_2().file("/sys/fs/cgroup/p/cgroup.controllers", controllers);
            read(&host.file(MAX[1], "300000 100000").file(MAX[2], "150000 100000"))
        };
        let on = with("cpuset cpu io memory\n");
        assert_eq!((on.reading(), on.bound()), (cores("1.5"), Bound::Exact));
        let off = with("cpuset io memory\n");
        assert_eq!((off.reading(), off.bound()), (cores("8"), Bound::Exact));
        assert!(off.notes().is_empty(), "{off:?}");
    }

    /// Version 1 keeps the two numbers apart, and a missing period is the kernel's own.
    #[test]
    fn version_1_keeps_quota_and_period_apart() {
        let host = version_1().file(QUOTA[0], "-1\n").file(QUOTA[2], "250000\n");
        assert_eq!(read(&host).reading(), cores("2.5"));
        let measured = read(&host.file(PERIOD[2], "1000000\n"));
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
        let host = || Host::new().file("/proc/self/cgroup", "");
        let status = |list: &str| format!("Cpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
        let both = read(&host().file("/proc/self/status", status("2-5,8")).file(ONLINE, "0-3,8\n"));
        assert_eq!((both.reading(), both.bound()), (cores("3"), Bound::Exact));
        for host in [
            host().file("/proc/self/status", status("0-2")),
            host().file("/proc/self/status", status("0-2")).file(ONLINE, "rubbish"),
            host().file("/proc/self/status", status("rubbish")).file(ONLINE, "0-2"),
            host().file("/proc/self/status", "\n\0\n").file(ONLINE, "0-2"),
            host().file(ONLINE, "0-2"),
        ] {
            let one = read(&host);
            assert_eq!((one.reading(), one.bound()), (cores("3"), Bound::AtMost), "{one:?}");
        }
    }

    /// With nothing to go by it fails, and says what it would have read.
    #[test]
    fn nothing_known_is_an_error() {
        let error = Cpu::new().with_roots(Host::new().roots()).read().unwrap_err();
        let expected = "cannot measure cpu: cannot read /proc/self/status: entity not found";
        assert_eq!(format!("{error:#}"), expected);
        let disjoint = eight_cores().file(ONLINE, "64-65").file("/proc/self/cgroup", "");
        let error = Cpu::new().with_roots(disjoint.roots()).read().unwrap_err().to_string();
        assert!(error.contains("none is online"), "{error}");
    }

    /// Whoever follows the quota watches the files of every level, those included that are not there yet.
    #[test]
    fn files_to_watch_are_those_of_every_level() {
        let files = |host: &Host| -> Vec<String> {
            let files = Cpu::new().with_roots(host.roots()).limit_files();
            files.iter().map(|path| path.display().to_string()).collect()
        };
        let cpuset = ["", "/p", "/p/l"].map(|level| format!("/sys/fs/cgroup{level}/cpuset.cpus"));
        assert_eq!(files(&version_2()), [&MAX.map(str::to_owned)[..], &cpuset].concat());
        let expected: Vec<&str> =
            QUOTA.iter().zip(&PERIOD).flat_map(|(quota, period)| [*quota, *period]).collect();
        assert_eq!(files(&version_1()), expected);
        assert!(files(&Host::new()).is_empty());
    }

    const MAX: [&str; 3] =
        ["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/p/cpu.max", "/sys/fs/cgroup/p/l/cpu.max"];
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
}

mod groups {
    use super::*;

    /// The levels that are read, and how sure that is.
    fn seen(host: &Host) -> (Vec<String>, Measurement) {
        let measured = Cpu::new().with_roots(host.roots()).read().unwrap();
        let levels = measured.sources().iter().filter_map(|source| source.level().map(str::to_owned));
        (levels.collect(), measured)
    }

    /// Each controller is looked for by itself: hybrid hosts mix the versions.
    #[test]
    fn hybrid_hosts_mix_the_versions() {
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
            .file("/sys/fs/cgroup/unified/c/cpu.max", "1000 100000")
            .file("/sys/fs/cgroup/unified/u/memory.max", "4096");
        let (levels, measured) = seen(&host);
        assert_eq!(
            (levels, measured.reading(), measured.bound()),
            (vec!["/c".to_owned()], cores("2"), Bound::Exact)
        );
        let memory = Memory::new().with_roots(host.roots()).read().unwrap();
        assert_eq!((memory.reading(), memory.bound()), (Reading::whole(4096), Bound::Exact));
    }

    /// Names may hold what a path may hold: colons, spaces, line breaks, dots.
    #[test]
    fn odd_names_are_followed() {
        for name in ["a b", "c:d", "e.slice", "f\\x2d", "g (deleted)", "-h", "...", "\u{e9}"] {
            let path = format!("/sys/fs/cgroup/{name}/cpu.max");
            let host = in_group(&format!("/{name}")).file(&path, "100000 100000");
            assert_eq!(seen(&host).1.reading(), cores("1"), "{name}");
            let (levels, measured) = seen(&host);
            assert_eq!((levels, measured.bound()), (vec![format!("/{name}")], Bound::Exact), "{name}");
        }
    }

    /// A mount point may be anywhere and bear any name, as the kernel escapes it.
    #[test]
    fn odd_mount_points_are_followed() {
        for (point, escaped) in [
            ("/mnt/a b", r"/mnt/a\040b"),
            ("/mnt/\t\n\\#", r"/mnt/\011\012\134\043"),
            ("/srv/cgroup2 - cgroup2", r"/srv/cgroup2\040-\040cgroup2"),
        ] {
            let host = in_group("/p/l")
                .file("/proc/self/mountinfo", format!("30 24 0:26 / {escaped} rw - cgroup2 cgroup2 rw\n"))
                .file(&format!("{point}/p/l/cpu.max"), "100000 100000")
                .file("/sys/fs/cgroup/p/l/cpu.max", "1000 100000");
            assert_eq!(seen(&host).1.reading(), cores("1"), "{point}");
        }
    }

    /// A part of the hierarchy that is mounted shows the levels from there down, and leaves the rest in doubt.
    #[test]
    fn part_of_a_hierarchy_shows_its_levels() {
        let host = in_group("/docker/abc/x")
            .file("/proc/self/mountinfo", v2_mount("/docker/abc", "/sys/fs/cgroup"))
            .file("/sys/fs/cgroup/cgroup.type", "domain")
            .file("/sys/fs/cgroup/cpu.max", "300000 100000")
            .file("/sys/fs/cgroup/x/cpu.max", "200000 100000");
        let (levels, measured) = seen(&host);
        assert_eq!(levels, ["/docker/abc", "/docker/abc/x"]);
        assert_eq!((measured.reading(), measured.bound()), (cores("2"), Bound::AtMost));
        assert_eq!(measured.notes(), ["groups above /sys/fs/cgroup are hidden, and may set limits"]);
    }

    /// Of several mounts that show the group, the one that shows the most levels counts.
    #[test]
    fn widest_mount_counts() {
        for order in [["/p", "/"], ["/", "/p"]] {
            let mounts =
                order.map(|root| v2_mount(root, if root == "/" { "/whole" } else { "/part" })).concat();
            let host = in_group("/p/l")
                .file("/proc/self/mountinfo", mounts)
                .file("/part/l/cpu.max", "200000 100000")
                .file("/whole/p/cpu.max", "100000 100000")
                .file("/whole/p/l/cpu.max", "200000 100000");
            let (levels, measured) = seen(&host);
            assert_eq!((levels, measured.bound()), (vec!["/p".to_owned(), "/p/l".to_owned()], Bound::Exact));
            assert_eq!(measured.reading(), cores("1"));
        }
    }

    /// What is mounted over the groups hides them; a mount that is not there any more does not count.
    #[test]
    fn hidden_mounts_do_not_count() {
        let over = v2_mount("/", "/sys/fs/cgroup") + "31 24 0:9 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n";
        let host =
            in_group("/p").file("/proc/self/mountinfo", over).file("/sys/fs/cgroup/p/cpu.max", "1 100000");
        let (levels, measured) = seen(&host);
        assert_eq!((levels.len(), measured.reading(), measured.bound()), (0, cores("8"), Bound::AtMost));
        assert_eq!(measured.notes(), ["the cpu control groups are not mounted"]);
        let gone = v2_mount("/", "/gone") + &v2_mount("/", "/here");
        let host = in_group("/p").file("/proc/self/mountinfo", gone).file("/here/p/cpu.max", "100000 100000");
        assert_eq!(seen(&host).1.reading(), cores("1"));
    }

    /// A namespace that still sees the mounts of the one outside shows nothing of its own group, wherever its root
    /// seems to be.
    #[test]
    fn mounts_of_the_namespace_outside_are_no_groups_of_this_one() {
        for (root, group) in
            [("/../..", "/"), ("/..", "/../.."), ("/", "/../x"), ("/a/..", "/"), ("/a", "/ab"), ("/a", "/")]
        {
            let host = in_group(group)
                .file("/proc/self/mountinfo", v2_mount(root, "/sys/fs/cgroup"))
                .file("/sys/fs/cgroup/cpu.max", "1000 100000")
                .file("/sys/fs/cgroup/x/cpu.max", "1000 100000")
                .file("/sys/fs/cgroup/b/cpu.max", "1000 100000")
                // What a step up would lead to.
                .file("/sys/fs/cgroup/../x/cpu.max", "1000 100000")
                .file("/sys/fs/cgroup/../cpu.max", "1000 100000");
            let (levels, measured) = seen(&host);
            assert_eq!((levels.len(), measured.bound()), (0, Bound::AtMost), "{root} {group}");
            assert!(measured.notes()[0].ends_with("is not below any mounted hierarchy"), "{measured:?}");
        }
        let beside = in_group("/../../x/y")
            .file("/proc/self/mountinfo", v2_mount("/../..", "/sys/fs/cgroup"))
            .file("/sys/fs/cgroup/x/y/cpu.max", "100000 100000");
        let (levels, measured) = seen(&beside);
        assert_eq!((levels, measured.reading()), (vec!["/../../x/y".to_owned()], cores("1")));
        assert_eq!(measured.bound(), Bound::AtMost);
    }

    /// A mount point that is not the root of its hierarchy hides groups, in both versions.
    #[test]
    fn hidden_ancestors_are_a_doubt() {
        for host in [
            version_2().file("/sys/fs/cgroup/cgroup.type", "domain"),
            version_1().without("/sys/fs/cgroup/cpu/cgroup.sane_behavior"),
        ] {
            let measured = seen(&host).1;
            assert_eq!(measured.bound(), Bound::AtMost);
            assert!(measured.notes()[0].ends_with("are hidden, and may set limits"), "{measured:?}");
        }
    }

    /// A group that is gone, or whose path cannot be one, leaves nothing to read, and never another group's limit.
    #[test]
    fn group_that_is_not_there_is_never_mistaken() {
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
            let host = in_group(path)
                .file("/sys/fs/cgroup/docker/cpu.max", "1000 100000")
                .file("/sys/fs/cgroup/a/cpu.max", "1000 100000")
                .file("/sys/fs/cgroup/../a/cpu.max", "1000 100000")
                .file("/sys/fs/cgroup/a/../../b/cpu.max", "1000 100000");
            let (levels, measured) = seen(&host);
            assert_eq!(
                (levels.len(), measured.reading(), measured.bound()),
                (0, cores("8"), Bound::AtMost),
                "{path}"
            );
            assert!(measured.notes()[0].len() < 1000, "{measured:?}");
        }
    }

    /// A path as long as the kernel has it is followed to its end.
    #[test]
    fn longest_path_is_followed() {
        let path = format!("/{}", vec!["x".repeat(255); 15].join("/"));
        let host = in_group(&path).file(&format!("/sys/fs/cgroup{path}/cpu.max"), "100000 100000");
        let measured = seen(&host).1;
        assert_eq!((measured.reading(), measured.bound()), (cores("1"), Bound::Exact));
    }

    /// No controller means no limit; no file, or one that makes no sense, means that none could be seen.
    #[test]
    fn absence_is_told_from_blindness() {
        for (content, bound) in [
            ("", Bound::Exact),
            ("1:name=systemd:/\n", Bound::Exact),
            ("rubbish\n", Bound::AtMost),
            ("x:cpu:/\n", Bound::AtMost),
            ("0::/\n", Bound::AtMost),
            ("1:cpu:/\n", Bound::AtMost),
        ] {
            let (levels, measured) = seen(&eight_cores().file("/proc/self/cgroup", content));
            assert_eq!((levels.len(), measured.bound()), (0, bound), "{content}");
            assert_eq!(measured.notes().len(), 1);
        }
        assert_eq!(seen(&eight_cores()).1.bound(), Bound::AtMost);
    }

    /// A host whose process is in this group of version 2, mounted whole where it usually is.
    fn in_group(path: &str) -> Host {
        eight_cores()
            .file("/proc/self/cgroup", format!("0::{path}\n"))
            .file("/proc/self/mountinfo", v2_mount("/", "/sys/fs/cgroup"))
    }
}

mod memory {
    use super::*;

    fn memory(host: &Host) -> Memory {
        Memory::new().with_roots(host.roots())
    }

    fn read(host: &Host) -> Measurement {
        memory(host).read().unwrap()
    }

    const GIB: u64 = 1 << 30;

    /// A host of 1 GiB.
    fn gibibyte(host: Host) -> Host {
        host.file("/proc/meminfo", "MemTotal:        1048576 kB\nMemFree:   1 kB\nMemAvailable: 524288 kB\n")
            .file(
                "/proc/self/limits",
                "Max address space         unlimited            unlimited            bytes\n",
            )
    }

    fn v1() -> Host {
        gibibyte(version_1())
    }

    fn v2() -> Host {
        gibibyte(version_2())
    }

    /// The least of the host's memory, of the limits at every level and of the address space, in bytes.
    #[test]
    fn least_level_counts() {
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

    /// Version 1 tells the least limit of all levels, the hidden ones included; where none is hidden, nobody asks.
    #[test]
    fn hidden_level_of_version_1_counts() {
        let host = v1()
            .without("/sys/fs/cgroup/memory/cgroup.sane_behavior")
            .file("/sys/fs/cgroup/memory/p/l/memory.limit_in_bytes", "9223372036854771712\n")
            .file(
                "/sys/fs/cgroup/memory/p/l/memory.stat",
                "cache 1\nhierarchical_memory_limit 8192\nrss 1\n",
            );
        let measured = read(&host);
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(8192), Bound::AtMost));
        let whole = read(&host.file("/sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n"));
        assert_eq!(whole.bound(), Bound::Exact);
        assert!(!whole.sources().iter().any(|source| source.path().ends_with("memory.stat")), "{whole:?}");
    }

    /// Every way to say that there is no limit is no limit, on kernels old and new, whatever the size of a page; and
    /// a huge number says what it means.
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
            let measured = read(&v1().file("/sys/fs/cgroup/memory/p/l/memory.limit_in_bytes", none));
            assert_eq!((measured.reading(), measured.bound()), (Reading::whole(GIB), Bound::Exact), "{none}");
            assert_eq!(measured.sources()[1].meaning(), Some("no limit"));
            assert!(measured.sources()[1].to_string().ends_with(&format!(": {none}, no limit (level /p/l)")));
        }
    }

    /// What cannot be read or understood is noted, makes the number a bound, and never lowers it.
    #[test]
    fn faults_are_doubts_and_lower_nothing() {
        let at_most = |bytes: u64| (Reading::whole(bytes), Bound::AtMost);
        for garbage in ["", "x", "1 2", "1.5", "0x10", "\0", "99999999999999999999"] {
            let measured = read(&v2().file("/sys/fs/cgroup/memory.max", garbage));
            assert_eq!((measured.reading(), measured.bound()), at_most(GIB), "{garbage:?}");
            assert_eq!(measured.notes().len(), 1);
        }
        for garbage in ["", "MemTotal: 1\n", "MemTotal: 0 kB\n", "MemTotal: x kB\n", "MemFree: 1 kB\n"] {
            let measured =
                read(&v2().file("/proc/meminfo", garbage).file("/sys/fs/cgroup/p/memory.max", "4096"));
            assert_eq!((measured.reading(), measured.bound()), at_most(4096), "{garbage:?}");
        }
        let measured = read(&v2().file("/proc/self/limits", "Max address space\n"));
        assert_eq!((measured.reading(), measured.bound()), at_most(GIB));
    }

    /// With nothing to go by it fails, and says what it would have read.
    #[test]
    fn nothing_known_is_an_error() {
        let error = memory(&Host::new()).read().unwrap_err();
        assert!(format!("{error:#}").ends_with("proc/meminfo: entity not found"), "{error:#}");
        let error = memory(&v2().file("/proc/meminfo", "")).read().unwrap_err();
        assert!(error.to_string().starts_with("cannot measure memory: "), "{error}");
    }

    /// The level of slowing down is the least of version 2; without one there is none, and hidden levels leave it open.
    #[test]
    fn soft_limit_is_the_least_high() {
        let high = |host: Host| {
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

    /// What is left is the least of what the host and each limited level have left, and never below nothing.
    #[test]
    fn available_is_the_least_that_is_left() {
        let left = |host: &Host| memory(host).read_available().unwrap();
        assert_eq!(left(&v2()).reading(), Reading::whole(GIB / 2));
        let used = |host: Host, used: &str| {
            left(
                &host
                    .file("/sys/fs/cgroup/p/memory.max", "8192\n")
                    .file("/sys/fs/cgroup/p/memory.current", used),
            )
        };
        assert_eq!(used(v2(), "4096\n").reading(), Reading::whole(4096));
        assert_eq!(used(v2(), "9000\n").reading(), Reading::whole(0));
        let unknown = used(v2(), "x");
        assert_eq!((unknown.reading(), unknown.bound()), (Reading::whole(8192), Bound::AtMost));
        let v1 = v1()
            .file("/sys/fs/cgroup/memory/p/memory.limit_in_bytes", "8192")
            .file("/sys/fs/cgroup/memory/p/memory.usage_in_bytes", "8000");
        assert_eq!(left(&v1).reading(), Reading::whole(192));
    }
}

mod open_files {
    use super::*;

    fn limits(soft: &str, hard: &str) -> Host {
        let line = format!("Max open files            {soft}                 {hard}                 files\n");
        Host::new().file("/proc/self/limits", line)
    }

    fn read(host: &Host) -> Measurement {
        OpenFiles::new().with_roots(host.roots()).read().unwrap()
    }

    /// The soft limit counts, capped by what the host allows any process; the hard one stands beside it.
    #[test]
    fn soft_limit_is_capped() {
        let measured = read(&limits("1024", "4096"));
        assert_eq!((measured.reading(), measured.bound()), (Reading::whole(1024), Bound::Exact));
        assert_eq!(measured.sources()[0].to_string(), "/proc/self/limits: Max open files: 1024");
        assert_eq!(measured.notes(), ["the hard limit is 4096, which the soft one may be raised to"]);
        let capped = |soft| read(&limits(soft, "unlimited").file(NR_OPEN, "1000\n"));
        assert_eq!(capped("1024").reading(), Reading::whole(1000));
        assert_eq!(capped("unlimited").reading(), Reading::whole(1000));
        assert_eq!(capped("10").reading(), Reading::whole(10));
    }

    /// Infinity is unlimited where nothing caps it, and 0 is unknown: neither becomes a number that a formula would
    /// divide.
    #[test]
    fn infinity_and_zero_are_no_numbers() {
        assert_eq!(read(&limits("unlimited", "unlimited")).reading(), Reading::Unlimited);
        let zero = read(&limits("0", "4096").file(NR_OPEN, "1000\n"));
        assert_eq!((zero.reading(), zero.bound()), (Reading::Unknown, Bound::Exact));
        assert_eq!(zero.notes().len(), 2);
        let garbled = read(&limits("64000", "4096").file(NR_OPEN, "x"));
        assert_eq!((garbled.reading(), garbled.bound()), (Reading::whole(64000), Bound::AtMost));
        assert_eq!(garbled.sources()[0].raw(), "64000");
    }

    /// With no limit to be found it fails, and says where it looked.
    #[test]
    fn nothing_known_is_an_error() {
        let error = OpenFiles::new().with_roots(Host::new().roots()).read().unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "cannot measure fd: cannot read /proc/self/limits: entity not found"
        );
        let garbled = Host::new().file("/proc/self/limits", "Max open files x y files\n");
        assert!(OpenFiles::new().with_roots(garbled.roots()).read().is_err());
    }

    /// What the host as a whole has left caps what is free.
    #[test]
    fn rest_of_the_host_caps_what_is_free() {
        let host = limits("1024", "4096").file("/proc/sys/fs/file-nr", "70\t0\t100\n");
        let free = OpenFiles::new().with_roots(host.roots()).read_free().unwrap();
        assert_eq!((free.reading(), free.bound()), (Reading::whole(30), Bound::AtMost));
    }

    const NR_OPEN: &str = "/proc/sys/fs/nr_open";
}

mod tasks {
    use super::*;

    const NPROC: &str = "Max processes             1000                 1000                 processes\n";
    const ALL_RIGHTS: &str = "Cpus_allowed_list:\t0\nCapEff:\t000001ffffffffff\n";
    const NO_RIGHTS: &str = "CapEff:\t0000000000000000\n";

    fn host() -> Host {
        version_2()
            .file("/proc/self/limits", NPROC)
            .file("/proc/self/status", NO_RIGHTS)
            .file("/proc/sys/kernel/threads-max", "7000\n")
            .file("/proc/sys/kernel/pid_max", "32768\n")
            .file("/proc/loadavg", "0.20 0.18 0.12 1/80 11206\n")
    }

    fn tasks(host: &Host) -> (Measurement, Measurement) {
        let tasks = Tasks::new().with_roots(host.roots());
        (tasks.read().unwrap(), tasks.read_free())
    }

    /// The least of the groups', the user's and the kernel's limits counts; what is left, of each less what it holds.
    #[test]
    fn least_limit_counts() {
        let (whole, free) = tasks(&host());
        assert_eq!((whole.reading(), whole.bound()), (Reading::whole(1000), Bound::Exact));
        assert_eq!((free.reading(), free.bound()), (Reading::whole(1000), Bound::AtMost));
        let grouped = host()
            .file("/sys/fs/cgroup/p/pids.max", "30\n")
            .file("/sys/fs/cgroup/p/pids.current", "4\n")
            .file("/sys/fs/cgroup/p/l/pids.max", "50\n")
            .file("/sys/fs/cgroup/p/l/pids.current", "4\n");
        let (whole, free) = tasks(&grouped);
        assert_eq!((whole.reading(), free.reading()), (Reading::whole(30), Reading::whole(26)));
        let (_, full) = tasks(&grouped.file("/sys/fs/cgroup/p/pids.current", "31\n"));
        assert_eq!(full.reading(), Reading::whole(0));
    }

    /// The user's limit does not hold whoever may pass it, unless that right is one in a namespace only.
    #[test]
    fn users_limit_holds_whom_it_holds() {
        let with = |map: &str| host().file("/proc/self/status", ALL_RIGHTS).file("/proc/self/uid_map", map);
        let (whole, free) = tasks(&with("         0          0 4294967295\n"));
        assert_eq!((whole.reading(), whole.bound()), (Reading::whole(7000), Bound::Exact));
        assert_eq!((free.reading(), free.bound()), (Reading::whole(6920), Bound::Exact));
        assert_eq!(tasks(&with("         0     100000      65536\n")).0.reading(), Reading::whole(1000));
        let unsure = host().file("/proc/self/status", "Name: x\n");
        let (whole, _) = tasks(&unsure);
        assert_eq!((whole.reading(), whole.bound()), (Reading::whole(7000), Bound::AtMost));
        // Where something else leaves no more, it does not matter.
        let (whole, _) = tasks(&unsure.file("/proc/sys/kernel/threads-max", "1000\n"));
        assert_eq!((whole.reading(), whole.bound()), (Reading::whole(1000), Bound::Exact));
    }

    /// What cannot be understood is a doubt, and none lowers the number; no limit at all is unlimited.
    #[test]
    fn faults_are_doubts_and_lower_nothing() {
        for file in ["/sys/fs/cgroup/p/pids.max", "/proc/sys/kernel/threads-max", "/proc/self/limits"] {
            let (whole, _) = tasks(&host().file("/sys/fs/cgroup/p/l/pids.max", "900").file(file, "x"));
            assert_eq!((whole.reading(), whole.bound()), (Reading::whole(900), Bound::AtMost), "{file}");
        }
        let (_, free) = tasks(&host().file("/sys/fs/cgroup/p/l/pids.max", "5"));
        assert_eq!((free.reading(), free.bound()), (Reading::whole(5), Bound::AtMost));
        let none = version_2()
            .file("/proc/self/limits", "Max processes   unlimited   unlimited   processes\n")
            .file("/sys/fs/cgroup/p/pids.max", "max\n");
        assert_eq!(tasks(&none).0.reading(), Reading::Unlimited);
    }
}

mod pressure {
    use super::*;

    const LINE: &str = "some avg10=12.30 avg60=0.00 avg300=0.00 total=5\n";

    fn read(host: &Host) -> Measurement {
        Pressure::on_memory().with_roots(host.roots()).read().unwrap()
    }

    /// The own group's pressure counts, or else the host's.
    #[test]
    fn own_group_counts_before_the_host() {
        let host = version_2().file("/proc/pressure/memory", LINE);
        assert_eq!(read(&host).reading(), thousandths(123));
        let own = host.file("/sys/fs/cgroup/p/l/memory.pressure", LINE.replace("12.30", "0.50"));
        let measured = read(&own);
        assert_eq!(measured.reading(), thousandths(5));
        assert_eq!(measured.sources()[0].to_string(), "/sys/fs/cgroup/p/l/memory.pressure: some total=5");
        assert_eq!(read(&version_1().file("/proc/pressure/memory", LINE)).reading(), thousandths(123));
    }

    /// No pressure file, or one that makes no sense, is unknown: never 0.
    #[test]
    fn absent_pressure_is_unknown() {
        let absent = read(&version_2());
        assert_eq!((absent.reading(), absent.bound()), (Reading::Unknown, Bound::Exact));
        assert_eq!(absent.notes(), ["this kernel reports no pressure"]);
        let garbled = read(&version_2().file("/sys/fs/cgroup/p/l/memory.pressure", "x"));
        assert_eq!((garbled.reading(), garbled.bound()), (Reading::Unknown, Bound::AtMost));
    }

    /// Of two samples of one file the share is known; one that was moved between has none.
    #[test]
    fn samples_of_one_group_are_compared() {
        let sample = |host: &Host| Pressure::on_memory().with_roots(host.roots()).sample().unwrap();
        let of =
            |total: u64| Host::new().file("/proc/pressure/memory", LINE.replace("=5", &format!("={total}")));
        let (before, after) = (sample(&of(5)).unwrap(), sample(&of(u64::MAX)).unwrap());
        assert_eq!(after.some_since(&before), Some(Quantity::whole(1)));
        assert_eq!(after.full_since(&before), None);
        assert_eq!(before.some_since(&after), None);
        let moved = version_2().file("/sys/fs/cgroup/p/l/memory.pressure", LINE);
        assert_eq!(sample(&moved).unwrap().some_since(&before), None);
        assert!(sample(&Host::new()).is_none());
    }
}

/// The files of a host, put together by a test.
#[derive(Clone, Default)]
struct Host(std::collections::BTreeMap<String, Vec<u8>>);

impl Host {
    fn new() -> Self {
        Self::default()
    }

    /// The same with a file of this content.
    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), content.into());
        self
    }

    fn without(mut self, path: &str) -> Self {
        self.0.remove(path).unwrap();
        self
    }

    fn roots(&self) -> Roots {
        Roots::in_memory(self.0.clone())
    }
}

/// A host of eight cores, all allowed, before any control group is made.
fn eight_cores() -> Host {
    Host::new().file("/proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-63\n").file(ONLINE, "0-7\n")
}

/// The same with the process in the group `/p/l` of version 2.
fn version_2() -> Host {
    eight_cores()
        .file("/proc/self/cgroup", "0::/p/l\n")
        .file("/proc/self/mountinfo", v2_mount("/", "/sys/fs/cgroup"))
        .file("/sys/fs/cgroup/p/l/cgroup.type", "domain\n")
}

/// The same in version 1.
fn version_1() -> Host {
    eight_cores()
        .file("/proc/self/cgroup", "5:memory:/p/l\n3:cpu,cpuacct:/p/l\n0::/\n")
        .file(
            "/proc/self/mountinfo",
            "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        )
        .file("/sys/fs/cgroup/cpu/cgroup.sane_behavior", "0\n")
        .file("/sys/fs/cgroup/cpu/p/l/cgroup.procs", "1\n")
        .file("/sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n")
        .file("/sys/fs/cgroup/memory/p/l/cgroup.procs", "1\n")
}

fn v2_mount(root: &str, point: &str) -> String {
    format!("30 24 0:26 {root} {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
}

const ONLINE: &str = "/sys/devices/system/cpu/online";

fn cores(text: &str) -> Reading {
    text.parse::<Quantity>().unwrap().into()
}

fn thousandths(count: u64) -> Reading {
    Quantity::from_thousandths(count).into()
}
