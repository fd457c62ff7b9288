//! What is written is told at once, and what nothing tells of is looked for.

use std::fs;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::probe::{Memory, OpenFiles, Tasks};
use concurrency_governor::{Governor, Limit, Quantity, Reading, ResourceProbe};
use tokio::time::timeout;

use crate::support::{HOUR, LONG, SHORT, Tree, WORKERS, cores, told_of, until};

/// A gate follows a quota on the heels of the write: with both clocks at an hour, only the kernel's word can do it.
#[tokio::test]
async fn written_quota_moves_the_gate() {
    let tree = Tree::new("gate");
    let governor = Governor::builder().gate(WORKERS).probe(tree.cpu()).build().await.unwrap();
    let _refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(1));
    let workers = governor.gate(WORKERS).unwrap();
    let mut resolutions = governor.subscribe();
    let mut took = Vec::new();
    for cores in [7, 3].repeat(10) {
        let written = Instant::now();
        tree.grant(cores);
        while workers.limit() != Limit::new(cores) {
            timeout(LONG, resolutions.changed()).await.expect("the gate follows").unwrap();
        }
        took.push(written.elapsed());
    }
    took.sort();
    let median = took[took.len().div_ceil(2)];
    assert!(median < Duration::from_millis(100), "{took:?}");
}

/// A rise is told as fast as a fall, and believed when the policy says.
#[tokio::test]
async fn rise_is_damped() {
    let tree = Tree::new("rise");
    let governor = Governor::builder().gate(WORKERS).probe(tree.cpu()).build().await.unwrap();
    let policy = RefreshPolicy::new().every(Duration::from_millis(20)).rise_after(u32::MAX);
    let _refresh = governor.spawn_refresh(policy);
    let limit = || governor.gate(WORKERS).unwrap().limit();
    assert_eq!(limit(), Limit::new(4));
    tree.grant(8);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(limit(), Limit::new(4));
    tree.grant(2);
    until(|| limit() == Limit::new(2)).await;
}

/// Writes on each other's heels come as one change, to the last of them; the same value again is none.
#[tokio::test]
async fn writes_in_a_row_are_one_change() {
    const ROUNDS: u32 = 20;

    let tree = Tree::new("coalesced");
    let cpu = tree.cpu();
    let mut at_once = 0_u32;
    for round in 0..ROUNDS {
        let wanted = round % 2 + 1;
        assert_ne!(cores(&cpu).await, Quantity::whole(wanted.into()));
        let mut changed = pin!(cpu.changed());
        assert!(timeout(SHORT, &mut changed).await.is_err(), "nothing has changed");
        // As a shell does it: the first event shows something else than what is to be.
        let path = tree.path("sys/fs/cgroup/a/b/cpu.max");
        let writer = thread::spawn(move || {
            fs::write(&path, "700000 100000\n").unwrap();
            thread::sleep(Duration::from_millis(1));
            fs::write(&path, format!("{wanted}00000 100000\n")).unwrap();
        });
        timeout(LONG, changed).await.unwrap();
        let is_last = cores(&cpu).await == Quantity::whole(wanted.into());
        at_once = at_once.saturating_add(is_last.into());
        writer.join().unwrap();
        // On a busy machine the second write may come late.
        while cores(&cpu).await != Quantity::whole(wanted.into()) {
            timeout(LONG, cpu.changed()).await.unwrap();
        }
        tree.grant(wanted);
        assert!(timeout(SHORT, cpu.changed()).await.is_err(), "the same again is none");
    }
    assert!(at_once > ROUNDS / 2, "{at_once}");
}

/// Every level counts, also one that comes, goes, or is replaced.
#[tokio::test]
async fn levels_come_and_go() {
    let tree = Tree::new("levels");
    let cpu = tree.cpu();
    let told = async |change: &dyn Fn(), expected| {
        told_of(&cpu, change).await;
        assert_eq!(cores(&cpu).await, Quantity::whole(expected));
    };
    assert_eq!(cores(&cpu).await, Quantity::whole(4));
    told(&|| tree.write("sys/fs/cgroup/a/cpu.max", "300000 100000"), 3).await;
    told(&|| fs::remove_file(tree.path("sys/fs/cgroup/a/cpu.max")).unwrap(), 4).await;
    told(&|| tree.write("sys/fs/cgroup/a/cpu.max", "100000 100000"), 1).await;
    let other = tree.path("sys/fs/cgroup/a/other");
    let replace = || {
        fs::write(&other, "200000 100000").unwrap();
        fs::rename(&other, tree.path("sys/fs/cgroup/a/cpu.max")).unwrap();
    };
    told(&replace, 2).await;
    told(&|| tree.write("sys/fs/cgroup/a/cpu.max", "100000 100000"), 1).await;
    told(&|| fs::remove_dir_all(tree.path("sys/fs/cgroup/a")).unwrap(), 8).await;
    let anew = || {
        fs::create_dir_all(tree.path("sys/fs/cgroup/a/b")).unwrap();
        tree.grant(5);
    };
    told(&anew, 5).await;
    told(&|| tree.grant(6), 6).await;
}

/// The other probes are told of their files, and all look for what nothing tells of.
#[tokio::test]
async fn each_probe_follows_its_own() {
    let tree = Tree::new("each");
    let memory = Memory::new().with_roots(tree.roots()).poll_every(HOUR);
    let tasks = Tasks::new().with_roots(tree.roots()).poll_every(HOUR);
    let files = OpenFiles::new().with_roots(tree.roots()).poll_every(Duration::from_millis(20));
    for (probe, path, content, expected) in [
        (&memory as &dyn ResourceProbe, "sys/fs/cgroup/a/b/memory.max", "4096", 4096),
        (&tasks, "sys/fs/cgroup/a/pids.max", "77", 77),
        (&files, "proc/self/limits", "Max open files 99 99 files\nMax processes 9 9 processes\n", 99),
    ] {
        drop(probe.measure().await.unwrap());
        told_of(probe, &|| tree.write(path, content)).await;
        assert_eq!(probe.measure().await.unwrap().reading(), Reading::whole(expected), "{path}");
    }
}

/// A process that is moved is found by a look, and its new group is watched from then on, the old one no more.
#[tokio::test]
async fn moved_process_is_looked_for() {
    let tree = Tree::new("moved");
    tree.write("sys/fs/cgroup/c/cpu.max", "200000 100000");
    let cpu = tree.cpu().poll_every(Duration::from_millis(20));
    assert_eq!(cores(&cpu).await, Quantity::whole(4));
    told_of(&cpu, &|| tree.write("proc/self/cgroup", "0::/c\n")).await;
    assert_eq!(cores(&cpu).await, Quantity::whole(2));

    // Whoever measures finds it as well.
    let cpu = tree.cpu();
    assert_eq!(cores(&cpu).await, Quantity::whole(2));
    assert!(timeout(SHORT, cpu.changed()).await.is_err());
    tree.write("proc/self/cgroup", "0::/a/b\n");
    assert_eq!(cores(&cpu).await, Quantity::whole(4));
    told_of(&cpu, &|| tree.grant(3)).await;
    assert_eq!(cores(&cpu).await, Quantity::whole(3));
    tree.write("sys/fs/cgroup/c/cpu.max", "100000 100000");
    assert!(timeout(SHORT, cpu.changed()).await.is_err());
}
