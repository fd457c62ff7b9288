//! Directory trees that were captured from a kernel, and directories that hold no regular files.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use concurrency_governor::Reading;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory, OpenFiles, Pressure, Roots, Tasks};

use super::host::thousandths;
use crate::support::temp_dir::TempDir;

/// On a captured tree, the readings are what the kernel was observed to grant.
#[test]
fn readings_are_what_the_kernel_granted() {
    let expected = include_str!("../../fixtures/kernel-6.1-cgroup-v2/EXPECTED.tsv");
    for line in expected.lines().skip(1) {
        let [name, cores, cores_bound, memory, memory_bound, tasks, tasks_bound, ..] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}")
        };
        let roots = || Roots::at(captured_tree(name));
        let texts =
            |measured: Measurement| (measured.reading().plain().to_string(), measured.bound().to_string());
        let expected = |reading: &str, bound: &str| (reading.to_owned(), bound.to_owned());
        let cpu = Cpu::new().with_roots(roots());
        assert_eq!(texts(cpu.read().unwrap()), expected(cores, cores_bound), "{name}");
        let bytes = Memory::new().with_roots(roots());
        assert_eq!(texts(bytes.read().unwrap()), expected(memory, memory_bound), "{name}");
        let threads = Tasks::new().with_roots(roots());
        assert_eq!(texts(threads.read().unwrap()), expected(tasks, tasks_bound), "{name}");
        let open_files = OpenFiles::new().with_roots(roots());
        assert_eq!(texts(open_files.read().unwrap()), expected("1024", "exact"), "{name}");
        assert_eq!(open_files.read_in_use().unwrap().reading(), Reading::Unknown, "{name}");
        assert_eq!(texts(open_files.read_free().unwrap()), expected("1024", "at most"), "{name}");
    }
}

/// A captured tree also holds the soft limit and the available memory, the free tasks, and the pressure.
#[test]
fn secondary_readings_are_captured() {
    let root = captured_tree("v2-pids-nested");
    let memory = Memory::new().with_roots(Roots::at(&root));
    assert_eq!(memory.read_soft_limit().reading(), Reading::Unlimited);
    assert_eq!(memory.read_available().unwrap().reading(), Reading::whole(440_320 * 1024));
    let free = Tasks::new().with_roots(Roots::at(&root)).read_free();
    assert_eq!((free.reading(), free.bound()), (Reading::whole(26), Bound::Exact));
    let pressure = Pressure::on_cpu().with_roots(Roots::at(&root)).read().unwrap();
    assert_eq!(pressure.reading(), thousandths(69));
    assert!(pressure.sources()[0].path().ends_with("/p/l/cpu.pressure"), "{pressure:?}");
}

/// A pipe or an endless file in place of a captured file is an error, and the probe does not wait for it.
#[test]
fn pipes_and_endless_files_are_errors() {
    let root = TempDir::new();
    std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
    symlink("/dev/zero", root.path().join("proc/meminfo")).unwrap();
    let pipe = root.path().join("proc/self/cgroup");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let memory = Memory::new().with_roots(Roots::at(root.path())).read();
    let endless = format!("{:#}", memory.unwrap_err());
    assert!(endless.ends_with("proc/meminfo: longer than 1048576 bytes"), "{endless}");
    assert!(Cpu::new().with_roots(Roots::at(root.path())).read().is_err());
}

/// On the trees of hosts that other detectors got wrong, the readings are right.
#[test]
fn readings_of_reported_hosts_are_right() {
    let expected = include_str!("../../fixtures/reports/EXPECTED.tsv");
    for line in expected.lines().skip(1) {
        let [name, resource, value, bound, ..] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let roots = || Roots::at(fixture("reports").join(name));
        let memory = Memory::new().with_roots(roots());
        let measured = match resource {
            "cpu" => Cpu::new().with_roots(roots()).read(),
            "memory" => memory.read(),
            "memory.available" => memory.read_available(),
            "tasks" => Tasks::new().with_roots(roots()).read(),
            other => panic!("{other}"),
        };
        // A probe that fails leaves its resource unknown.
        let measured = measured.unwrap_or_default();
        let text = measured.reading().plain().to_string();
        let value = value.split(" (").next().unwrap();
        let most = value.strip_suffix(" or less").or_else(|| value.strip_prefix("at most "));
        let is_right = match most {
            Some(most) => {
                let most: u64 = most.parse().unwrap();
                (most / 2..=most).contains(&text.parse().unwrap())
            }
            None => text == value,
        };
        assert!(is_right, "{name}: {resource} is {text}, not {value}: {measured:#?}");
        let measured_bound = measured.bound().to_string().replace(' ', "_");
        assert!(bound == "any" || measured_bound == bound, "{name}: {measured:#?}");
    }
}

/// The available memory is never more than the memory, whatever limits it.
#[test]
fn available_memory_is_at_most_the_memory() {
    let reports = fixture("reports").read_dir().unwrap();
    let kernel = fixture("kernel-6.1-cgroup-v2").read_dir().unwrap();
    for tree in reports.chain(kernel).map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let memory = Memory::new().with_roots(Roots::at(&tree));
        let (Ok(limit), Ok(available)) = (memory.read(), memory.read_available()) else { continue };
        let bytes = |measured: &Measurement| match measured.reading() {
            Reading::Finite(bytes) => bytes,
            other => panic!("{other}"),
        };
        assert!(bytes(&available) <= bytes(&limit), "{}: {available:#?} {limit:#?}", tree.display());
    }
}

fn captured_tree(name: &str) -> PathBuf {
    fixture("kernel-6.1-cgroup-v2").join(name)
}

fn fixture(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(directory)
}
