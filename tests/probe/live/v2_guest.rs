//! The probes under a real cgroup v2 kernel, live changes included. `.ci/run v2-guest` boots one and runs these tests there, as
//! root and one after the other. Elsewhere they are skipped, because some change settings of the whole machine.
//!
//! Each test runs in a child process, which enters cgroups of its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::plan::{Bound, Measurement};
use concurrency_governor::probe::{Cpu, Memory, Pressure, Tasks};
use concurrency_governor::{Governor, Limit, Quantity, Reading, ResourceProbe};
use nix::unistd::gettid;
use tokio::time::timeout;

use crate::support::child::{is_child, run_in_child, skip};
use crate::support::unsupported_file;
use crate::watch::support::{HOUR, WORKERS, wait_until};

/// The readings are what the cgroups grant, from the lowest limit of all levels. The host is not a container, so nothing is
/// hidden.
#[test]
fn readings_are_what_the_cgroups_grant() {
    run_in_guest("readings_are_what_the_cgroups_grant", async || {
        let [parent, leaf] = create_and_enter("readings");
        write(&parent, "cpu.max", "150000 100000");
        write(&leaf, "cpu.max", "300000 100000");
        write(&parent, "memory.max", "268435456");
        write(&leaf, "memory.high", "134217728");
        write(&leaf, "pids.max", "100");

        assert_is(&Cpu::new().read().unwrap(), thousandths(1500), Bound::Exact);
        assert_is(&Memory::new().read().unwrap(), Reading::whole(256 << 20), Bound::Exact);
        assert_is(&Tasks::new().read().unwrap(), Reading::whole(100), Bound::Exact);
        assert_is(&Memory::high().read().unwrap(), Reading::whole(128 << 20), Bound::Exact);
        // Whether the page cache of the binary counts here depends on which cgroup read it first.
        let available = Memory::available().read().unwrap();
        assert_eq!(available.bound(), Bound::AtLeast, "{available:?}");
        assert!(bytes(&available) < 256 << 20, "{available:?}");
        // 33 333 µs in each 66 666 µs.
        write(&parent, "cpu.max", "33333 66666");
        assert_is(&Cpu::new().read().unwrap(), thousandths(500), Bound::Exact);
    });
}

/// A gate follows a quota that is written to the cgroup of the process or to its parent, down and up. The polls take an hour,
/// so only the kernel can notify.
#[test]
fn a_gate_follows_a_written_quota() {
    run_in_guest("a_gate_follows_a_written_quota", async || {
        let [parent, leaf] = create_and_enter("quota");
        write(&leaf, "cpu.max", "300000 100000");
        let builder = Governor::builder().gate(WORKERS).probe(Cpu::new().poll_every(HOUR));
        let governor = builder.build().await.unwrap();
        let _refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(Duration::ZERO));
        let workers = governor.gate(WORKERS).unwrap();
        assert_eq!(workers.limit(), Limit::new(3));
        for (directory, quota, cores) in [
            (&leaf, "100000 100000", 1),
            (&leaf, "400000 100000", 4),
            (&parent, "200000 100000", 2),
            (&parent, "max", 4),
        ] {
            write(directory, "cpu.max", quota);
            wait_until(|| workers.limit() == Limit::new(cores)).await;
        }
    });
}

/// The poll finds that the process was moved to another cgroup, and the limits there are watched from then on.
#[test]
fn a_moved_process_is_found() {
    run_in_guest("a_moved_process_is_found", async || {
        let [parent, leaf] = create_and_enter("moved");
        let other = parent.with_file_name("moved-to");
        fs::create_dir(&other).unwrap();
        write(&leaf, "cpu.max", "300000 100000");
        write(&other, "cpu.max", "200000 100000");
        let cpu = Cpu::new().poll_every(Duration::from_millis(50));
        assert_is(&cpu.read().unwrap(), Reading::whole(3), Bound::Exact);
        enter(&other);
        changed(&cpu).await;
        assert_is(&cpu.read().unwrap(), Reading::whole(2), Bound::Exact);
        let cpu = cpu.poll_every(HOUR);
        write(&other, "cpu.max", "100000 100000");
        changed(&cpu).await;
        assert_is(&cpu.read().unwrap(), Reading::whole(1), Bound::Exact);
    });
}

/// A controller that is enabled after the start gives the cgroup of the process files that did not exist. The kernel
/// notifies of it.
#[test]
fn an_enabled_controller_counts() {
    run_in_guest("an_enabled_controller_counts", async || {
        let [parent, leaf] = create_and_enter("enabled");
        write(&parent, "cgroup.subtree_control", "-cpu -memory -pids");
        assert!(!leaf.join("cpu.max").exists());
        let cpu = Cpu::new().poll_every(HOUR);
        assert_is(&cpu.read().unwrap(), Reading::whole(4), Bound::Exact);
        assert_eq!(Memory::high().read().unwrap().reading(), Reading::Unlimited);
        let waiting = cpu.clone();
        let wait = tokio::spawn(async move { changed(&waiting).await });
        tokio::task::yield_now().await;
        write(&parent, "cgroup.subtree_control", "+cpu +memory +pids");
        write(&leaf, "cpu.max", "50000 100000");
        wait.await.unwrap();
        assert_is(&cpu.read().unwrap(), thousandths(500), Bound::Exact);
        write(&leaf, "memory.high", "134217728");
        assert_is(&Memory::high().read().unwrap(), Reading::whole(128 << 20), Bound::Exact);
    });
}

/// Threads in a threaded child have the quota of the child. The reading is that of the main thread, with a note.
#[test]
fn a_threaded_child_is_noted() {
    run_in_guest("a_threaded_child_is_noted", async || {
        // The controller `memory` cannot be enabled above a threaded cgroup.
        let [parent, leaf] = create_and_enter("threaded");
        let threads = leaf.join("threads");
        fs::create_dir(&threads).unwrap();
        assert!(!mentions_threads(&Cpu::new().read().unwrap()));
        write(&threads, "cgroup.type", "threaded");
        write(&leaf, "cgroup.subtree_control", "+cpu");
        write(&parent, "cpu.max", "300000 100000");
        write(&threads, "cpu.max", "100000 100000");
        let measured = Cpu::new().read().unwrap();
        assert_is(&measured, Reading::whole(3), Bound::Exact);
        assert!(mentions_threads(&measured), "{measured:?}");
        let in_thread = thread::spawn(move || {
            write(&threads, "cgroup.threads", &gettid().to_string());
            Cpu::new().read().unwrap()
        });
        assert_eq!(in_thread.join().unwrap(), measured, "the main thread counts");
    });
}

/// Only the memory of the allowed NUMA nodes counts, and the kernel notifies of a change.
#[test]
fn only_allowed_nodes_count() {
    run_in_guest("only_allowed_nodes_count", async || {
        let [_, leaf] = create_and_enter("nodes");
        let memory = Memory::new().poll_every(HOUR);
        let whole = bytes(&memory.read().unwrap());
        let waiting = memory.clone();
        let wait = tokio::spawn(async move { changed(&waiting).await });
        tokio::task::yield_now().await;
        write(&leaf, "cpuset.mems", "0");
        wait.await.unwrap();
        let node = read("/sys/devices/system/node/node0/meminfo");
        let kilobytes: u64 = node.split_ascii_whitespace().nth(3).unwrap().parse().unwrap();
        let measured = memory.read().unwrap();
        assert_is(&measured, Reading::whole(kilobytes * 1024), Bound::Exact);
        assert!(bytes(&measured) < whole);
        let available = memory.read_available().unwrap();
        assert!(bytes(&available) < bytes(&measured), "{available:?}");
        assert_eq!(available.bound(), Bound::AtLeast);
    });
}

/// The pool of huge pages is not memory that may be used. The poll finds that the pool has another size.
#[test]
fn huge_pages_do_not_count() {
    run_in_guest("huge_pages_do_not_count", async || {
        const PAGES: &str = "/proc/sys/vm/nr_hugepages";

        let memory = Memory::new().poll_every(Duration::from_millis(50));
        let before = bytes(&memory.read().unwrap());
        fs::write(PAGES, "32").unwrap();
        let reserved: u64 = read(PAGES).trim().parse().unwrap();
        changed(&memory).await;
        let with_pool = memory.read();
        fs::write(PAGES, "0").unwrap();
        assert!(reserved > 0);
        assert_is(&with_pool.unwrap(), Reading::whole(before - (reserved << 21)), Bound::Exact);
        changed(&memory).await;
        assert_is(&memory.read().unwrap(), Reading::whole(before), Bound::Exact);
    });
}

/// If the kernel does not overcommit, its limit for all processes is a bound of the memory. The poll finds that the kernel has another
/// mode.
#[test]
fn the_commit_limit_counts() {
    run_in_guest("the_commit_limit_counts", async || {
        const MODE: &str = "/proc/sys/vm/overcommit_memory";

        let memory = Memory::new().poll_every(Duration::from_millis(50));
        let before = memory.read().unwrap();
        fs::write(MODE, "2").unwrap();
        changed(&memory).await;
        let measured = memory.read();
        let available = Memory::available().read();
        fs::write(MODE, "0").unwrap();
        changed(&memory).await;
        assert_eq!(memory.read().unwrap(), before);
        let meminfo = read("/proc/meminfo");
        let line = meminfo.lines().find_map(|line| line.strip_prefix("CommitLimit:")).unwrap();
        let kilobytes: u64 = line.split_ascii_whitespace().next().unwrap().parse().unwrap();
        assert_is(&measured.unwrap(), Reading::whole(kilobytes * 1024), Bound::AtMost);
        let available = available.unwrap();
        assert!(bytes(&available) < kilobytes * 1024, "{available:?}");
        assert_eq!(available.bound(), Bound::AtMost);
    });
}

/// If the pressure of the cgroup is switched off, that of the host counts, also for a probe that has the file of the cgroup
/// open. If the read of the host's file fails with `EOPNOTSUPP`, as on some kernels where PSI is disabled, the pressure is
/// unknown.
#[test]
fn disabled_pressure_is_absent() {
    run_in_guest("disabled_pressure_is_absent", async || {
        const HOST: &str = "/proc/pressure/memory";

        let [_, leaf] = create_and_enter("pressure");
        let own = leaf.join("memory.pressure");
        let pressure = Pressure::on_memory();
        let source = || PathBuf::from(pressure.read().unwrap().sources()[0].path());
        assert_eq!(source(), own);
        write(&leaf, "cgroup.pressure", "0");
        assert_eq!(source(), Path::new(HOST));
        let unsupported =
            unsupported_file().expect("this kernel shows attributes that `lo` does not implement");
        run("mount", &["-o".as_ref(), "bind".as_ref(), &unsupported, HOST.as_ref()]);
        let absent = Pressure::on_memory();
        let readings = [absent.read(), absent.read()];
        run("umount", &[HOST.as_ref()]);
        for absent in readings.map(Result::unwrap) {
            assert_is(&absent, Reading::Unknown, Bound::AtMost);
            assert_eq!(absent.notes(), ["this kernel reports no pressure"]);
        }
        write(&leaf, "cgroup.pressure", "1");
        assert_eq!(source(), own);
    });
}

/// Runs the body in a child process, if this is the guest.
fn run_in_guest(test: &str, body: impl AsyncFnOnce()) {
    if !is_child() && env::var_os("CONCURRENCY_GOVERNOR_V2_GUEST").is_none() {
        return skip(test, "this is not the guest of `.ci/run v2-guest`");
    }
    run_in_child(&format!("live::v2_guest::{test}"), || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body());
    });
}

/// Creates a cgroup below the root with one below it, which this process enters. All controllers are enabled in both.
fn create_and_enter(name: &str) -> [PathBuf; 2] {
    let parent = Path::new("/sys/fs/cgroup").join(name);
    let leaf = parent.join("leaf");
    fs::create_dir_all(&leaf).unwrap();
    let controllers = if name == "threaded" { "+cpu" } else { "+cpu +cpuset +memory +pids" };
    write(&parent, "cgroup.subtree_control", controllers);
    enter(&leaf);
    [parent, leaf]
}

fn enter(directory: &Path) {
    write(directory, "cgroup.procs", &std::process::id().to_string());
}

fn write(directory: &Path, file: &str, text: &str) {
    let path = directory.join(file);
    fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

/// Runs a program, which must succeed.
fn run(program: &str, arguments: &[&Path]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

/// Waits for a notification. The guest is emulated, so it may take long.
async fn changed(probe: &impl ResourceProbe) {
    timeout(Duration::from_secs(60), probe.changed()).await.expect("a notification");
}

#[track_caller]
fn assert_is(measured: &Measurement, reading: Reading, bound: Bound) {
    assert_eq!((measured.reading(), measured.bound()), (reading, bound), "{measured:#?}");
}

fn mentions_threads(measured: &Measurement) -> bool {
    measured.notes().iter().any(|note| note.contains("threaded groups"))
}

fn bytes(measured: &Measurement) -> u64 {
    let Reading::Finite(bytes) = measured.reading() else { panic!("{measured:?}") };
    bytes.floor()
}

fn thousandths(count: u64) -> Reading {
    Quantity::from_thousandths(count).into()
}
