//! Changes of which the kernel notifies, and changes that only a poll finds.

use std::fs;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::probe::{Memory, OpenFiles, Tasks};
use concurrency_governor::{Governor, Limit, Quantity, Reading, ResourceProbe};
use tokio::time::timeout;

use super::support::{
    ChangingHost, HOUR, LONG, OWN_QUOTA, SHORT, WORKERS, assert_no_notification, assert_notifies,
    measure_cores, wait_until,
};

/// A gate follows a written quota at once. The poll and the refresh take an hour, so only the kernel can
/// notify.
#[tokio::test]
async fn a_gate_follows_a_written_quota() {
    let host = ChangingHost::new();
    let governor = Governor::builder().gate(WORKERS).probe(host.cpu()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(Duration::ZERO));
    let workers = governor.gate(WORKERS).unwrap();
    let mut resolutions = governor.subscribe();
    let mut latencies = Vec::new();
    for cores in [7, 3].repeat(10) {
        let written = Instant::now();
        host.set_quota(cores);
        while workers.limit() != Limit::new(cores) {
            timeout(LONG, resolutions.changed()).await.expect("the gate follows").unwrap();
        }
        latencies.push(written.elapsed());
    }
    latencies.sort();
    let median = latencies[latencies.len().div_ceil(2)];
    assert!(median < Duration::from_millis(100), "{latencies:?}");
}

/// A gate follows a lowered quota at once, and a raised quota only as the refresh policy says.
#[tokio::test]
async fn the_policy_delays_a_rise() {
    let host = ChangingHost::new();
    let governor = Governor::builder().gate(WORKERS).probe(host.cpu()).build().await.unwrap();
    let policy = RefreshPolicy::new().every(Duration::from_millis(20)).rise_after(Duration::MAX);
    let _refresh = governor.spawn_refresh(policy);
    let limit = || governor.gate(WORKERS).unwrap().limit();
    assert_eq!(limit(), Limit::new(4));
    host.set_quota(8);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(limit(), Limit::new(4));
    host.set_quota(2);
    wait_until(|| limit() == Limit::new(2)).await;
}

/// Writes in quick succession are one change, to the last value. A write of the same value is no change.
#[tokio::test]
async fn writes_in_quick_succession_are_one_change() {
    const ROUNDS: u32 = 20;

    let host = ChangingHost::new();
    let cpu = host.cpu();
    let mut coalesced = 0_u32;
    for round in 0..ROUNDS {
        let cores = round % 2 + 1;
        let last = Quantity::whole(cores.into());
        assert_ne!(measure_cores(&cpu).await, last);
        let mut changed = pin!(cpu.changed());
        assert!(timeout(SHORT, &mut changed).await.is_err(), "nothing has changed");
        let path = host.path(OWN_QUOTA);
        let writer = thread::spawn(move || {
            fs::write(&path, "700000 100000\n").unwrap();
            thread::sleep(Duration::from_millis(1));
            fs::write(&path, format!("{cores}00000 100000\n")).unwrap();
        });
        timeout(LONG, changed).await.unwrap();
        if measure_cores(&cpu).await == last {
            coalesced += 1;
        }
        writer.join().unwrap();
        // On a busy machine, the second write may be late, and is then a change of its own.
        while measure_cores(&cpu).await != last {
            timeout(LONG, cpu.changed()).await.unwrap();
        }
        host.set_quota(cores);
        assert_no_notification(&cpu, "the same value is no change").await;
    }
    // Most are on an idle machine.
    assert!(coalesced > 0, "no two writes were one change");
}

/// The quota of every level counts, also after its file or its directory was created, removed or replaced.
#[tokio::test]
async fn levels_are_created_removed_and_replaced() {
    const PARENT_QUOTA: &str = "sys/fs/cgroup/a/cpu.max";

    let host = ChangingHost::new();
    let cpu = host.cpu();
    let assert_cores_after = async |change: &dyn Fn(), expected| {
        assert_notifies(&cpu, change).await;
        assert_eq!(measure_cores(&cpu).await, Quantity::whole(expected));
    };
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(4));
    assert_cores_after(&|| host.write(PARENT_QUOTA, "300000 100000"), 3).await;
    assert_cores_after(&|| fs::remove_file(host.path(PARENT_QUOTA)).unwrap(), 4).await;
    assert_cores_after(&|| host.write(PARENT_QUOTA, "100000 100000"), 1).await;
    let replace_file = || {
        let other = host.path("sys/fs/cgroup/a/other");
        fs::write(&other, "200000 100000").unwrap();
        fs::rename(&other, host.path(PARENT_QUOTA)).unwrap();
    };
    assert_cores_after(&replace_file, 2).await;
    assert_cores_after(&|| host.write(PARENT_QUOTA, "100000 100000"), 1).await;
    assert_cores_after(&|| fs::remove_dir_all(host.path("sys/fs/cgroup/a")).unwrap(), 8).await;
    let create_again = || {
        fs::create_dir_all(host.path("sys/fs/cgroup/a/b")).unwrap();
        host.set_quota(5);
    };
    assert_cores_after(&create_again, 5).await;
    assert_cores_after(&|| host.set_quota(6), 6).await;
}

/// The other probes notify of their files as well. `OpenFiles` has no file that the kernel watches, and
/// polls.
#[tokio::test]
async fn every_probe_follows_its_files() {
    let host = ChangingHost::new();
    let memory = Memory::new().with_roots(host.roots()).poll_every(HOUR);
    let tasks = Tasks::new().with_roots(host.roots()).poll_every(HOUR);
    let files = OpenFiles::new().with_roots(host.roots()).poll_every(Duration::from_millis(20));
    for (probe, path, content, expected) in [
        (&memory as &dyn ResourceProbe, "sys/fs/cgroup/a/b/memory.max", "4096", 4096),
        (&tasks, "sys/fs/cgroup/a/pids.max", "77", 77),
        (&files, "proc/self/limits", "Max open files 99 99 files\nMax processes 9 9 processes\n", 99),
    ] {
        drop(probe.measure().await.unwrap());
        assert_notifies(probe, || host.write(path, content)).await;
        assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(expected), "{path}");
    }
}

/// Every limit file is watched, at every level, in both versions: also those of the memory nodes, which are limited by
/// the cpuset, and of the soft limit.
#[tokio::test]
async fn every_limit_file_is_watched() {
    for (probe, path, content, expected) in [
        ("v1 cpu", "cpu/a/cpu.cfs_quota_us", "300000", 3),
        ("v1 cpu", "cpu/a/b/cpu.cfs_quota_us", "200000", 2),
        ("v1 cpu", "cpu/a/b/cpu.cfs_period_us", "400000", 1),
        ("v1 cpu", "cpuset/a/cpuset.cpus", "0", 2),
        ("v1 memory", "memory/a/memory.limit_in_bytes", "4096", 4096),
        ("v1 memory", "memory/a/b/memory.limit_in_bytes", "8192", 8192),
        ("v1 memory", "cpuset/a/b/cpuset.mems", "1", 2 << 20),
        ("v1 tasks", "pids/a/pids.max", "7", 7),
        ("v1 tasks", "pids/a/b/pids.max", "8", 8),
        ("v2 memory", "a/cpuset.mems", "1", 2 << 20),
        ("v2 high", "a/memory.high", "512", 512),
    ] {
        let host = if probe.starts_with("v1") { ChangingHost::v1() } else { ChangingHost::new() };
        host.write("sys/devices/system/node/online", "0-1\n");
        host.write("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 2048 kB\n");
        // The file exists, so that the write is seen, not its creation.
        let file = format!("sys/fs/cgroup/{path}");
        host.write(&file, if path.ends_with("period_us") { "100000" } else { "-1" });
        let probe: Box<dyn ResourceProbe> = match probe.split(' ').next_back() {
            Some("cpu") => Box::new(host.cpu()),
            Some("memory") => Box::new(Memory::new().with_roots(host.roots()).poll_every(HOUR)),
            Some("high") => Box::new(Memory::high().with_roots(host.roots()).poll_every(HOUR)),
            _ => Box::new(Tasks::new().with_roots(host.roots()).poll_every(HOUR)),
        };
        drop(probe.measure().await.unwrap());
        let write = || {
            // A cpuset changes what the kernel reports in the status, of which it does not notify.
            if path.contains("cpuset") {
                let status = "Cpus_allowed_list:\t0-1\nMems_allowed_list:\t1\nCapEff:\t0\n";
                host.write("proc/self/status", status);
            }
            host.write(&file, content);
        };
        assert_notifies(&*probe, write).await;
        assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(expected), "{path}");
    }
}

/// The poll, or any measurement, finds that a cgroup hierarchy was mounted. From then on the probe watches it.
#[tokio::test]
async fn a_mounted_hierarchy_is_found_and_watched() {
    let host = ChangingHost::new();
    let mounts = fs::read_to_string(host.path("proc/self/mountinfo")).unwrap();
    host.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n");
    let (polling, cpu) = (host.cpu().poll_every(Duration::from_millis(20)), host.cpu());
    assert_eq!(measure_cores(&polling).await, Quantity::whole(8));
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(8));
    assert_notifies(&polling, || host.write("proc/self/mountinfo", &mounts)).await;
    assert_eq!(measure_cores(&polling).await, Quantity::whole(4));

    // The poll of this probe takes an hour. A measurement finds the mount, and the quota is watched.
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(4));
    assert_notifies(&cpu, || host.set_quota(3)).await;
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(3));
}

/// The poll, or any measurement, finds that the process moved to another cgroup. From then on the probe
/// watches the new cgroup and not the previous one.
#[tokio::test]
async fn a_moved_process_is_found_and_its_new_cgroup_is_watched() {
    let host = ChangingHost::new();
    host.write("sys/fs/cgroup/c/cpu.max", "200000 100000");
    let cpu = host.cpu().poll_every(Duration::from_millis(20));
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(4));
    assert_notifies(&cpu, || host.write("proc/self/cgroup", "0::/c\n")).await;
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(2));

    // Without a poll, a measurement finds the move back.
    let cpu = host.cpu();
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(2));
    assert_no_notification(&cpu, "nothing has changed").await;
    host.write("proc/self/cgroup", "0::/a/b\n");
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(4));
    assert_notifies(&cpu, || host.set_quota(3)).await;
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(3));
    host.write("sys/fs/cgroup/c/cpu.max", "100000 100000");
    assert_no_notification(&cpu, "the previous cgroup does not count").await;
}
