//! The probes under real v1 cgroups. Each test creates cgroups of its own, and only its child process enters
//! them. Where the machine has no v1 cgroups, or this process is not allowed to create one, the test is
//! skipped.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::Bound;
use concurrency_governor::probe::{Cpu, Memory, Tasks};
use concurrency_governor::{Formula, GateSpec, Governor, Limit, Quantity, Reading, Resource};
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::support::child::{RUN_TEST, assert_passed, is_child, print_uncaptured, shell, skip};
use crate::support::process::allowed_cpu_count;

/// The readings are what the cgroups grant, and the next measurement sees a changed limit, a move of the
/// process and a removed cgroup.
#[test]
fn the_next_measurement_sees_each_change() {
    const NAME: &str = "live::real_cgroups::the_next_measurement_sees_each_change";
    if is_child() {
        return change_own_cgroups();
    }
    let Some(cgroups) = V1Cgroups::create(NAME) else { return };
    cgroups.run_test_in_child(NAME);
}

/// Runs in the child process, which enters the cgroups.
fn change_own_cgroups() {
    let name = env::var("CGROUP").unwrap();
    let [cpu, memory, pids] = ["cpu", "memory", "pids"].map(|controller| cgroup_path(controller, &name));
    let leaf = cpu.join("leaf");
    write_file(&cpu, "cpu.cfs_quota_us", "150000");
    write_file(&leaf, "cpu.cfs_quota_us", "100000");
    write_file(&leaf, "cpu.cfs_period_us", "100000");
    write_file(&memory, "memory.limit_in_bytes", "1073741824");
    write_file(&pids, "pids.max", "1000");
    let pid = std::process::id().to_string();
    for directory in [&leaf, &memory, &pids] {
        write_file(directory, "cgroup.procs", &pid);
    }

    let (cores, bytes, tasks) = (Cpu::new(), Memory::new(), Tasks::new());
    let read = || {
        let measured = [cores.read().unwrap(), bytes.read().unwrap(), tasks.read().unwrap()];
        let by_new =
            [Cpu::new().read().unwrap(), Memory::new().read().unwrap(), Tasks::new().read().unwrap()];
        assert_eq!(measured, by_new, "a used probe measures what a new probe measures");
        assert!(measured.iter().all(|measured| measured.bound() == Bound::Exact), "{measured:?}");
        measured.map(|measured| measured.reading())
    };
    let granted = [Reading::whole(1), Reading::whole(1 << 30), Reading::whole(1000)];
    assert_eq!(read(), granted);
    assert_eq!(read(), granted, "repeated measurements are equal");
    assert!(matches!(tasks.read_free().reading(), Reading::Finite(free) if free < Quantity::whole(1000)));
    let available = bytes.read_available().unwrap().reading();
    assert!(matches!(available, Reading::Finite(left) if left < Quantity::whole(1 << 30)), "{available}");

    // The quotas of both levels are among the files to watch.
    let files = cores.limit_files();
    for directory in [&leaf, &cpu] {
        assert!(files.contains(&directory.join("cpu.cfs_quota_us")), "{files:?}");
    }
    for _ in 0..2 {
        assert_eq!(read(), granted, "the other reads change no measurement");
    }
    write_file(&leaf, "cpu.cfs_quota_us", "50000");
    write_file(&memory, "memory.limit_in_bytes", "536870912");
    write_file(&pids, "pids.max", "900");
    let half: Quantity = "0.5".parse().unwrap();
    assert_eq!(read(), [half.into(), Reading::whole(1 << 29), Reading::whole(900)]);

    // The process moves to the parent, and its previous cgroup is removed: the open descriptors of the probe
    // are stale.
    write_file(&cpu, "cgroup.procs", &pid);
    fs::remove_dir(&leaf).unwrap();
    let one_and_half: Quantity = "1.5".parse().unwrap();
    assert_eq!(
        cores.read().unwrap().reading(),
        one_and_half.min(Quantity::whole(allowed_cpu_count())).into()
    );
    // The process moves to a new cgroup with the previous name.
    fs::create_dir(&leaf).unwrap();
    write_file(&leaf, "cpu.cfs_quota_us", "20000");
    write_file(&leaf, "cgroup.procs", &pid);
    assert_eq!(cores.read().unwrap().reading(), "0.2".parse::<Quantity>().unwrap().into());
    // The process leaves all cgroups of the test.
    for (directory, controller) in [(&cpu, "cpu"), (&memory, "memory"), (&pids, "pids")] {
        write_file(directory.parent().unwrap(), "cgroup.procs", &pid);
        assert!(directory.ends_with(&name), "{controller}");
    }
    assert_eq!(read()[0], Reading::whole(allowed_cpu_count()));
}

/// A gate follows a lowered quota at once, and also a raised quota if the policy accepts a rise at once.
#[test]
fn gates_follow_a_quota() {
    const NAME: &str = "live::real_cgroups::gates_follow_a_quota";
    if is_child() {
        return Builder::new_current_thread().enable_all().build().unwrap().block_on(follow_a_quota());
    }
    if allowed_cpu_count() < 2 {
        return skip(NAME, "there is one CPU");
    }
    let Some(cgroups) = V1Cgroups::create(NAME) else { return };
    let output = cgroups.run_test_in_child(NAME);
    let stderr = String::from_utf8_lossy(&output.stderr);
    print_uncaptured(stderr.lines().find(|line| line.contains("followed within")).unwrap());
}

/// Runs in the child process, which enters the cgroup.
async fn follow_a_quota() {
    const HOUR: Duration = Duration::from_secs(3600);
    const WORKERS: GateSpec = GateSpec::new("workers", Formula::scale(Resource::CPU, 1));

    let cpu = cgroup_path("cpu", &env::var("CGROUP").unwrap());
    let leaf = cpu.join("leaf");
    write_file(&leaf, "cpu.cfs_quota_us", "200000");
    write_file(&leaf, "cgroup.procs", &std::process::id().to_string());
    let builder = Governor::builder().gate(WORKERS).probe(Cpu::new().poll_every(HOUR));
    let governor = builder.build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(Duration::ZERO));
    let workers = governor.gate(WORKERS).unwrap();
    let mut resolutions = governor.subscribe();
    let mut latencies = Vec::new();
    // Quotas of the cgroup of the process, and of its parent.
    for (directory, quota, cores) in
        [(&leaf, "100000", 1), (&leaf, "200000", 2), (&cpu, "100000", 1), (&cpu, "-1", 2)].repeat(13)
    {
        let written = Instant::now();
        // Version 1 rejects a quota of the parent that is below the quota of a child. So the child gets none
        // first.
        if directory == &cpu && cores == 1 {
            write_file(&leaf, "cpu.cfs_quota_us", "-1");
        }
        write_file(directory, "cpu.cfs_quota_us", quota);
        while workers.limit() != Limit::new(cores) {
            let changed = timeout(Duration::from_secs(20), resolutions.changed()).await;
            changed.expect("the gate follows").unwrap();
        }
        latencies.push(written.elapsed());
    }
    latencies.sort();
    let (least, median, most) = (latencies[0], latencies[latencies.len() / 2], latencies.last().unwrap());
    print_uncaptured(&format!(
        "{} changes followed within {least:?} to {most:?}, half of them {median:?}",
        latencies.len()
    ));
    assert!(median < Duration::from_millis(100), "{latencies:?}");
    assert!(governor.resolution().readings().get(Resource::CPU).unwrap().notes().is_empty());
}

/// In a cgroup namespace with the mounts of the outer namespace, no visible cgroup is taken for the cgroup of
/// the process: the CPUs are a bound.
#[test]
fn a_cgroup_namespace_with_outer_mounts_is_a_bound() {
    const NAME: &str = "live::real_cgroups::a_cgroup_namespace_with_outer_mounts_is_a_bound";
    if is_child() {
        let measured = Cpu::new().read().unwrap();
        let expected = (Reading::whole(allowed_cpu_count()), Bound::AtMost);
        assert_eq!((measured.reading(), measured.bound()), expected);
        assert!(measured.notes()[0].ends_with("is not below any mounted hierarchy"), "{measured:?}");
        return;
    }
    let Some(cgroups) = V1Cgroups::create(NAME) else { return };
    let cpu = cgroup_path("cpu", &cgroups.name);
    write_file(&cpu, "cpu.cfs_quota_us", "150000");
    let script = format!("echo $$ > \"$CGROUP/cgroup.procs\" && exec unshare --cgroup -- {RUN_TEST}");
    let output = shell(&[], &script, NAME).env("CGROUP", &cpu).output().unwrap();
    drop(cgroups);
    assert_passed(&output);
}

/// The v1 cgroups of one test: one for each of the controllers `cpu`, `memory` and `pids`, and `leaf` below
/// that of `cpu`. They are removed on drop.
struct V1Cgroups {
    name: String,
}

impl V1Cgroups {
    /// Creates the cgroups. If that is not possible, reports that the test is skipped.
    fn create(test: &str) -> Option<Self> {
        let name = format!("governor-{}-{}", test.replace("::", "-"), std::process::id());
        let cgroups = Self { name };
        for controller in ["cpu", "memory", "pids"] {
            let created = check_mounted(controller).and_then(|()| {
                let directory = cgroup_path(controller, &cgroups.name);
                fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))
            });
            if let Err(reason) = created {
                skip(test, &reason);
                return None;
            }
        }
        fs::create_dir(cgroup_path("cpu", &cgroups.name).join("leaf")).unwrap();
        Some(cgroups)
    }

    /// Runs the test in a child process, which enters the cgroups itself. Removes the cgroups, and then
    /// asserts that the test passed.
    fn run_test_in_child(self, test: &str) -> Output {
        let output = shell(&[], &format!("exec {RUN_TEST}"), test)
            .env("CGROUP", &self.name)
            .env(OUTER_MEMORY_CGROUP, outer_memory_cgroup())
            .output()
            .unwrap();
        drop(self);
        assert_passed(&output);
        output
    }
}

impl Drop for V1Cgroups {
    fn drop(&mut self) {
        let [cpu, memory, pids] =
            ["cpu", "memory", "pids"].map(|controller| cgroup_path(controller, &self.name));
        for directory in [cpu.join("leaf"), cpu, memory, pids] {
            // A cgroup that was not created cannot be removed.
            drop(fs::remove_dir(directory));
        }
    }
}

/// Checks that the v1 hierarchy of the controller is mounted at its usual place.
fn check_mounted(controller: &str) -> Result<(), String> {
    let root = Path::new("/sys/fs/cgroup").join(controller);
    if root.join("cgroup.procs").exists() {
        Ok(())
    } else {
        Err(format!("{} is not a mounted v1 hierarchy", root.display()))
    }
}

/// Returns the directory of a cgroup of a test.
///
/// In the memory hierarchy it is below the cgroup in which the test run was started, so that the limit of
/// that cgroup still binds. In the other hierarchies it is below the root.
fn cgroup_path(controller: &str, name: &str) -> PathBuf {
    let parent = if controller == "memory" { outer_memory_cgroup() } else { String::new() };
    Path::new("/sys/fs/cgroup").join(controller).join(parent).join(name)
}

/// Returns the v1 memory cgroup in which the test run was started, relative to the root. A child process,
/// which may have left that cgroup, gets it from its parent process.
fn outer_memory_cgroup() -> String {
    env::var(OUTER_MEMORY_CGROUP).unwrap_or_else(|_| {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = membership.lines().find_map(|line| line.split_once(":memory:/")).map(|(_, path)| path);
        path.unwrap_or_default().to_owned()
    })
}

fn write_file(directory: &Path, file: &str, text: &str) {
    let path = directory.join(file);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

const OUTER_MEMORY_CGROUP: &str = "OUTER_MEMORY_CGROUP";
