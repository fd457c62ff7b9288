//! What changes while nobody waits is missed by nobody, however many wait.

use std::fs;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::{Governor, Limit, Quantity, ResourceProbe};
use tokio::time::timeout;

use crate::support::{HOUR, LONG, SHORT, Tree, WORKERS, cores, known, poll_once, until};

/// Whatever changes between two calls is told by the next one: before the first, behind a future that was dropped, or
/// while nobody waits.
#[tokio::test]
async fn change_between_calls_is_told() {
    let tree = Tree::new("between");
    let cpu = tree.cpu();
    known(&cpu);
    tree.grant(3);
    timeout(LONG, cpu.changed()).await.expect("before the first call");
    assert_eq!(cores(&cpu).await, Quantity::whole(3));

    assert!(timeout(SHORT, cpu.changed()).await.is_err());
    let clone = cpu.clone();
    tree.grant(2);
    timeout(LONG, cpu.changed()).await.expect("behind a future that was dropped");
    timeout(LONG, clone.changed()).await.expect("a clone starts where its original stood");

    // Measured meanwhile, and back again before anybody looked.
    let mut changed = pin!(cpu.changed());
    assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
    tree.grant(1);
    assert_eq!(cores(&cpu).await, Quantity::whole(1));
    tree.grant(2);
    timeout(LONG, changed).await.expect("what was measured last counts");
}

/// Writes in any rhythm, waits that are given up in any place: the last value is always the one that is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost() {
    const ROUNDS: u32 = 150;

    let tree = Tree::new("stress");
    let cpu = tree.cpu();
    let mut random = 1_u64;
    for round in 0..ROUNDS {
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let last = if round % 2 == 0 { 2 } else { 3 };
        let (before, rhythm) = (next(4), next(12_000));
        let path = tree.path("sys/fs/cgroup/a/b/cpu.max");
        let writer = thread::spawn(move || {
            for cores in (0..before).map(|at| at % 5 + 1).chain([last]) {
                fs::write(&path, format!("{cores}00000 100000")).unwrap();
                thread::sleep(Duration::from_micros(rhythm));
            }
        });
        let (mut known, wanted) = (cores(&cpu).await, Quantity::whole(last));
        while known != wanted || !writer.is_finished() {
            // A wait that is given up leaves what it would have told to the next.
            let patience = Duration::from_micros(next(25_000));
            let mut told = timeout(patience, cpu.changed()).await.is_ok();
            if !told && known != wanted && writer.is_finished() {
                timeout(LONG, cpu.changed()).await.expect("told of the last value");
                told = true;
            }
            if told {
                known = cores(&cpu).await;
            }
        }
        writer.join().unwrap();
        random = next(u64::MAX) | 1;
    }
}

/// Two governors that follow one host by clones of one probe both do, and so do two that wait on one.
#[tokio::test]
async fn clones_are_told_apart() {
    let tree = Tree::new("clones");
    let cpu = tree.cpu();
    let mut governors = Vec::new();
    for probe in [cpu.clone(), cpu.clone()] {
        let governor = Governor::builder().gate(WORKERS).probe(probe).build().await.unwrap();
        let refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(1));
        governors.push((governor, refresh));
    }
    for cores in [2, 6, 1] {
        tree.grant(cores);
        for (governor, _) in &governors {
            until(|| governor.gate(WORKERS).unwrap().limit() == Limit::new(cores)).await;
        }
    }
    known(&cpu);
    let (mut one, mut other) = (pin!(cpu.changed()), pin!(cpu.changed()));
    assert!(timeout(SHORT, &mut one).await.is_err() && timeout(SHORT, &mut other).await.is_err());
    tree.grant(3);
    timeout(LONG, one).await.unwrap();
    timeout(LONG, other).await.unwrap();
}
