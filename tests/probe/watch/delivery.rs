//! No change is lost: not between two calls of `changed`, not in a stress test, and not with several callers.

use std::fs;
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::{Governor, Limit, Quantity, ResourceProbe};
use tokio::time::timeout;

use super::support::{
    ChangingHost, HOUR, LONG, OWN_QUOTA, SHORT, WORKERS, assert_no_notification, measure_cores, measure_once,
    wait_until,
};
use crate::support::poll_once;

/// A change between two calls resolves the next call: before the first call, after a cancelled call, and
/// while no call waits.
#[tokio::test]
async fn a_change_between_two_calls_resolves_the_next_call() {
    let host = ChangingHost::new();
    let cpu = host.cpu();
    measure_once(&cpu);
    host.set_quota(3);
    timeout(LONG, cpu.changed()).await.expect("a change before the first call");
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(3));

    assert_no_notification(&cpu, "nothing has changed").await;
    let clone = cpu.clone();
    host.set_quota(2);
    timeout(LONG, cpu.changed()).await.expect("a change after a cancelled call");
    timeout(LONG, clone.changed()).await.expect("a clone starts with the last measurement of the original");

    // During the wait, another measurement is taken, and then the previous value is restored.
    let mut changed = pin!(cpu.changed());
    assert_eq!(poll_once(changed.as_mut()), Poll::Pending);
    host.set_quota(1);
    assert_eq!(measure_cores(&cpu).await, Quantity::whole(1));
    host.set_quota(2);
    timeout(LONG, changed).await.expect("a change is compared with the last measurement");
}

/// With writes at random intervals and calls that are cancelled at random times, the last value is always
/// measured.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_is_lost() {
    const ROUNDS: u32 = 150;

    let host = ChangingHost::new();
    let cpu = host.cpu();
    let mut random = 1_u64;
    for round in 0..ROUNDS {
        // A xorshift generator.
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let last = if round % 2 == 0 { 2 } else { 3 };
        let (earlier_writes, interval) = (next(4), next(12_000));
        let path = host.path(OWN_QUOTA);
        let writer = thread::spawn(move || {
            for cores in (0..earlier_writes).map(|index| index % 5 + 1).chain([last]) {
                fs::write(&path, format!("{cores}00000 100000")).unwrap();
                thread::sleep(Duration::from_micros(interval));
            }
        });
        let (mut measured, expected) = (measure_cores(&cpu).await, Quantity::whole(last));
        while measured != expected || !writer.is_finished() {
            // A cancelled call leaves its notification to the next call.
            let patience = Duration::from_micros(next(25_000));
            let mut is_notified = timeout(patience, cpu.changed()).await.is_ok();
            if !is_notified && measured != expected && writer.is_finished() {
                timeout(LONG, cpu.changed()).await.expect("a notification of the last value");
                is_notified = true;
            }
            if is_notified {
                measured = measure_cores(&cpu).await;
            }
        }
        writer.join().unwrap();
        random = next(u64::MAX) | 1;
    }
}

/// Two governors with clones of one probe both follow the host, and two callers that wait on one probe are
/// both notified.
#[tokio::test]
async fn every_clone_and_every_waiting_caller_is_notified() {
    let host = ChangingHost::new();
    let cpu = host.cpu();
    let mut governors = Vec::new();
    for probe in [cpu.clone(), cpu.clone()] {
        let governor = Governor::builder().gate(WORKERS).probe(probe).build().await.unwrap();
        let refresh = governor.spawn_refresh(RefreshPolicy::new().every(HOUR).rise_after(Duration::ZERO));
        governors.push((governor, refresh));
    }
    for cores in [2, 6, 1] {
        host.set_quota(cores);
        for (governor, _) in &governors {
            wait_until(|| governor.gate(WORKERS).unwrap().limit() == Limit::new(cores)).await;
        }
    }
    measure_once(&cpu);
    let (mut first, mut second) = (pin!(cpu.changed()), pin!(cpu.changed()));
    assert!(timeout(SHORT, &mut first).await.is_err() && timeout(SHORT, &mut second).await.is_err());
    host.set_quota(3);
    timeout(LONG, first).await.unwrap();
    timeout(LONG, second).await.unwrap();
}
