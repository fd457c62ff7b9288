//! The cores that the probe, the standard library and the crate `num_cpus` detect, on captured trees and on
//! trees that are hard to read.
//!
//! A tree is mounted over `/sys/fs/cgroup` and the files of `/proc/self`, in a mount namespace of a child
//! process. Where this is not allowed, the test is skipped.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use concurrency_governor::probe::Cpu;
use concurrency_governor::{Quantity, Reading};

use crate::support::child::{RUN_TEST, is_child, shell, skip};
use crate::support::process::{allowed_cpu_count, set_soft_descriptor_limit};
use crate::support::temp_dir::TempDir;

const NAME: &str = "live::other_detectors::other_detectors_are_wrong_only_in_the_known_cases";

/// On every captured tree and every hard tree, the probe detects what the kernel grants. The other detectors
/// are wrong in the cases of [`KNOWN_ERRORS`], and in no other case.
#[test]
fn other_detectors_are_wrong_only_in_the_known_cases() {
    if is_child() {
        return print_detected_cores();
    }
    let allowed_cpus = allowed_cpu_count();
    if allowed_cpus < 2 {
        return skip(NAME, "on one CPU, a detector that sees no quota of a whole core is right by chance");
    }
    if !shell(&["--mount"], "exit 0", NAME).output().unwrap().status.success() {
        return skip(NAME, "this process is not allowed to create a mount namespace");
    }

    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kernel-6.1-cgroup-v2");
    let expected_cores = fs::read_to_string(fixtures.join("EXPECTED.tsv")).unwrap();
    let captured = expected_cores.lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.split('\t').collect();
        (cells[0].to_owned(), fixtures.join(cells[0]), cells[1].parse::<Quantity>().unwrap())
    });
    let directory = TempDir::new();
    let hard = HARD_TREES.map(|(name, files)| {
        for (path, content) in files {
            directory.write(Path::new(name).join(path), content);
        }
        (name.to_owned(), directory.path().join(name), Quantity::whole(1))
    });

    let (mut errors, mut expected_errors) = (Vec::new(), Vec::new());
    for (tree, root, granted) in captured.chain(hard) {
        // The affinity is that of this machine, since no mount changes the result of a system call.
        let granted = granted.min(Quantity::whole(allowed_cpus));
        let [probe, std, num_cpus, std_without_descriptors] = detect_cores_on(&root);
        assert_eq!(probe, granted.to_string(), "{tree}");
        assert_eq!(
            std_without_descriptors,
            allowed_cpus.to_string(),
            "{tree}: with no descriptor left, the standard library sees no quota"
        );
        let whole_cores = granted.floor().max(1);
        for (detector, detected) in [("std", std), ("num_cpus", num_cpus)] {
            if detected != whole_cores.to_string() {
                errors.push(format!("{tree}: {detector} {detected}"));
            }
        }
        for (_, detector, detected) in KNOWN_ERRORS.iter().filter(|(name, ..)| *name == tree) {
            let detected = *detected.min(&allowed_cpus);
            // On a machine with few CPUs, a wrong detector can be right by chance.
            if detected != whole_cores {
                expected_errors.push(format!("{tree}: {detector} {detected}"));
            }
        }
    }
    assert_eq!(errors, expected_errors);
}

/// Runs in the child process. Prints the cores that the probe, the standard library and `num_cpus` detect,
/// and those that the standard library detects with no descriptor left.
fn print_detected_cores() {
    let cpu = Cpu::new();
    let Reading::Finite(cores) = cpu.read().unwrap().reading() else { panic!("cores are finite") };
    let std = || std::thread::available_parallelism().unwrap();
    let (with_descriptors, num_cpus) = (std(), num_cpus::get());
    set_soft_descriptor_limit(0);
    let without_descriptors = std();
    let again = cpu.read().unwrap().reading();
    assert_eq!(again, Reading::Finite(cores), "a used probe needs no free descriptor");
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{PREFIX}{cores} {with_descriptors} {num_cpus} {without_descriptors}").unwrap();
}

/// Runs this test in a child process with the files of `root` in place of the files of this host. Returns
/// what the child process prints.
fn detect_cores_on(root: &Path) -> [String; 4] {
    let script = format!(
        "mount --bind \"$ROOT/sys/fs/cgroup\" /sys/fs/cgroup \
         && mount --bind \"$ROOT/proc/self/cgroup\" /proc/$$/cgroup \
         && mount --bind \"$ROOT/proc/self/mountinfo\" /proc/$$/mountinfo \
         && exec {RUN_TEST}"
    );
    let mut command = shell(&["--mount", "--propagation", "private"], &script, NAME);
    let output = command.env("ROOT", root).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let detected = stdout.lines().find_map(|line| Some(line.split_once(PREFIX)?.1.split(' ')));
    let detected = detected.unwrap_or_else(|| panic!("{}: {output:?}", root.display()));
    detected.map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

/// The prefix of the line that the child process prints.
const PREFIX: &str = "cores: ";

/// Tree, detector, and the wrong number of whole cores that it detects.
///
/// `num_cpus` rounds up, and reads only the cgroup of the process. Neither detector finds a hierarchy that is
/// mounted at another place or in part. The standard library finds no version 2 that is mounted beside
/// version 1.
const KNOWN_ERRORS: [(&str, &str, u64); 14] = [
    ("v2-one-and-half", "num_cpus", 2),
    ("v2-leaf3-parent1.5", "num_cpus", 3),
    ("v2-period-1s", "num_cpus", 2),
    ("v2-leaf-without-cpu.max", "num_cpus", ALL),
    ("v2-cgroupns-own-mount", "num_cpus", 2),
    ("v1: the parent grants less", "num_cpus", ALL),
    ("v1: a partial mount", "num_cpus", ALL),
    ("v2: a partial mount", "std", ALL),
    ("v2: a partial mount", "num_cpus", ALL),
    ("v2 beside v1", "std", ALL),
    ("v2: an unusual mount point", "std", ALL),
    ("v2: an unusual mount point", "num_cpus", ALL),
    ("v2: another cgroup with a similar name", "std", ALL),
    ("v2: another cgroup with a similar name", "num_cpus", ALL),
];

/// All allowed CPUs.
const ALL: u64 = u64::MAX;

/// Trees that are hard to read, each with its name and its files. Each grants one core.
const HARD_TREES: [(&str, &[(&str, &str)]); 6] = [
    (
        "v1: the parent grants less",
        &[
            ("proc/self/cgroup", "3:cpu,cpuacct:/p/l\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cgroup.sane_behavior", "0\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/l/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/p/l/cpu.cfs_period_us", "100000\n"),
        ],
    ),
    (
        "v1: a partial mount",
        &[
            ("proc/self/cgroup", "3:cpu,cpuacct:/docker/ab/x\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 /docker/ab /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n"),
        ],
    ),
    (
        "v2: a partial mount",
        &[
            ("proc/self/cgroup", "0::/docker/ab/x\n"),
            ("proc/self/mountinfo", "33 31 0:30 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/cgroup.type", "domain\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu\n"),
            ("sys/fs/cgroup/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/x/cpu.max", "max 100000\n"),
        ],
    ),
    (
        "v2 beside v1",
        &[
            ("proc/self/cgroup", "1:name=systemd:/s\n0::/l\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                 34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n",
            ),
            ("sys/fs/cgroup/unified/l/cpu.max", "100000 100000\n"),
        ],
    ),
    (
        "v2: an unusual mount point",
        &[
            ("proc/self/cgroup", "0::/l\n"),
            ("proc/self/mountinfo", "33 31 0:30 / /sys/fs/cgroup/a\\040b rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/a b/l/cpu.max", "100000 100000\n"),
        ],
    ),
    (
        "v2: another cgroup with a similar name",
        &[
            ("proc/self/cgroup", "0::/docker/ab\n"),
            (
                "proc/self/mountinfo",
                "33 31 0:30 /docker/a /sys/fs/cgroup/a rw - cgroup2 cgroup2 rw\n\
                 34 31 0:30 /docker/ab /sys/fs/cgroup/ab rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/a/cpu.max", "1000 100000\n"),
            ("sys/fs/cgroup/ab/cpu.max", "100000 100000\n"),
        ],
    ),
];
