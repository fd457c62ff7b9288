//! Closing all gates of a governor: new work is rejected, what is under way ends, and what is left at the deadline is reported.

use std::time::Duration;

use concurrency_governor::gate::{AcquireError, OwnedPermit};
use concurrency_governor::pool::{Manager, Pool};
use concurrency_governor::{Gate, Holders, Keys};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const REQUESTS: GateSpec = GateSpec::new("requests", Formula::fixed(2)).queue(10);
const OUTBOUND: GateSpec = GateSpec::new("outbound", Formula::fixed(1));
const TRACKED: GateSpec = GateSpec::new("tracked", Formula::fixed(3))
    .track_holders(Holders::overdue_after(Duration::from_secs(30)));

/// A request holds its permit for a second, and then needs one of `outbound` for a second.
async fn serve(requests: Gate, outbound: Gate) -> Result<(), AcquireError> {
    let permit = requests.acquire().await?;
    sleep(SECOND).await;
    outbound.run(sleep(SECOND)).await?;
    drop(permit);
    Ok(())
}

/// The gates are closed in the order of the plan: work that was admitted, or waited, passes the later gates. Newcomers are rejected.
#[tokio::test(start_paused = true)]
async fn work_under_way_passes_all_gates() {
    let governor = Governor::builder().gate(REQUESTS).gate(OUTBOUND).build().await.unwrap();
    let [requests, outbound] = governor.gates([REQUESTS, OUTBOUND]).unwrap();
    let work: Vec<_> = (0..5).map(|_| tokio::spawn(serve(requests.clone(), outbound.clone()))).collect();
    yield_now().await;
    assert_eq!((requests.in_use(), requests.waiting()), (2, 3));
    let closing = tokio::spawn({
        let governor = governor.clone();
        async move { governor.close_all(Instant::now() + 60 * SECOND).await }
    });
    yield_now().await;
    assert!(requests.is_closed() && !outbound.is_closed());
    assert!(matches!(requests.acquire().await, Err(AcquireError::Closed { .. })));
    let report = closing.await.unwrap();
    assert!(report.is_complete() && report.to_string() == "all work ended before the deadline");
    assert!(outbound.is_closed());
    for work in work {
        work.await.unwrap().unwrap();
    }
    assert_eq!((requests.status().totals.admitted, requests.status().totals.queue.closed), (5, 0));
}

/// At the deadline everything is closed, and the report names the permits in use, the requests that were rejected, and the holders.
#[tokio::test(start_paused = true)]
async fn the_report_names_what_is_left_at_the_deadline() {
    let governor = Governor::builder().gate(TRACKED).gate(OUTBOUND).build().await.unwrap();
    let [tracked, outbound] = governor.gates([TRACKED, OUTBOUND]).unwrap();
    let held: Vec<OwnedPermit> = (0..3).map(|_| tracked.try_acquire_owned().unwrap()).collect();
    for permit in &held {
        permit.label("session");
    }
    let waiting = tokio::spawn(tracked.acquire_owned());
    yield_now().await;
    let start = Instant::now();
    let report = governor.close_all(start + SECOND).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    assert!(!report.is_complete() && outbound.is_closed());
    let [left] = &report.left[..] else { panic!("{report}") };
    assert_eq!((left.gate, left.in_use, left.rejected), (TRACKED.name(), 3, 1));
    assert_eq!((left.holders.len(), left.holders[0].permits), (1, 3));
    let text = report.to_string();
    assert!(
        text.starts_with(
            "gate tracked: 3 permits still in use, 1 waiting request was rejected\n  3 permits held"
        ),
        "{text}"
    );
    assert!(text.contains("for \"session\""), "{text}");
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Closed { .. })));
    assert_eq!(tracked.in_use(), 3, "permits are not revoked");
    drop(held);
    assert!(governor.close_all(Instant::now()).await.is_complete());
}

/// A paused gate keeps its queue until the deadline. A gate of a tree is closed after its children.
#[tokio::test(start_paused = true)]
async fn paused_gates_and_trees_are_closed() {
    let root = GateSpec::new("root", Formula::fixed(2)).keyed(Keys::up_to(8));
    let (first, second) = (
        GateSpec::new("first", Formula::fixed(2)).within(root),
        GateSpec::new("second", Formula::fixed(1)).within(root),
    );
    let governor =
        Governor::builder().gate(root).gate(first).gate(second).gate(OUTBOUND).build().await.unwrap();
    let [root, first, second, outbound] = governor.gates([root, first, second, OUTBOUND]).unwrap();
    // Work at the first child goes on at the second one, and then at a key.
    let work = tokio::spawn({
        let (root, first, second) = (root.clone(), first.clone(), second.clone());
        async move {
            let permit = first.acquire().await?;
            sleep(SECOND).await;
            second.run(sleep(SECOND)).await?;
            root.key(7).run(sleep(SECOND)).await?;
            drop(permit);
            Ok::<_, AcquireError>(())
        }
    });
    outbound.pause();
    let waiting = tokio::spawn(outbound.acquire_owned());
    yield_now().await;
    let start = Instant::now();
    let report = governor.close_all(start + 10 * SECOND).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    work.await.unwrap().unwrap();
    assert_eq!(report.to_string(), "gate outbound: 0 permits still in use, 1 waiting request was rejected");
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Closed { .. })));
    assert!([&root, &first, &second, &outbound].iter().all(|gate| gate.is_closed()));
}

/// A gate that is added while the others are closed is closed, too: after its work, or at the deadline.
#[tokio::test(start_paused = true)]
async fn gates_that_are_added_meanwhile_are_closed() {
    for releases_at in [10, 90] {
        let governor = Governor::builder().gate(REQUESTS).build().await.unwrap();
        let held = governor.gate(REQUESTS).unwrap().try_acquire_owned().unwrap();
        let closing = tokio::spawn({
            let governor = governor.clone();
            async move { governor.close_all(Instant::now() + 60 * SECOND).await }
        });
        yield_now().await;
        let added = governor.add(OUTBOUND).await.unwrap();
        let held_at_added = added.try_acquire_owned().unwrap();
        sleep(releases_at * SECOND).await;
        drop(held);
        sleep(SECOND).await;
        assert!(added.is_closed());
        assert_eq!(closing.is_finished(), releases_at > 60);
        drop(held_at_added);
        let report = closing.await.unwrap();
        assert_eq!(report.left.len(), if releases_at > 60 { 2 } else { 0 }, "{report}");
    }
}

struct Sessions;

impl Manager for Sessions {
    type Item = u8;
    type Error = std::io::Error;

    async fn create(&self) -> Result<u8, std::io::Error> {
        Ok(0)
    }
}

/// A pool on a gate serves the checkouts that wait, and is closed with the gate.
#[tokio::test(start_paused = true)]
async fn a_pool_goes_on_until_its_gate_is_drained() {
    let governor = Governor::builder().gate(OUTBOUND).build().await.unwrap();
    let pool =
        Pool::builder(Sessions).gate(governor.gate(OUTBOUND).unwrap()).min_idle(1).build().await.unwrap();
    let work: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let session = pool.checkout().await.unwrap();
                sleep(SECOND).await;
                drop(session);
            })
        })
        .collect();
    yield_now().await;
    let report = governor.close_all(Instant::now() + 60 * SECOND).await;
    assert!(report.is_complete(), "{report}");
    pool.drained().await;
    for work in work {
        work.await.unwrap();
    }
    let status = pool.status();
    assert_eq!((status.closed, status.size, status.totals.created, status.totals.reused), (true, 0, 1, 3));
}

/// A close that is dropped leaves the gates serving their queues, and can be made again.
#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_can_be_repeated() {
    let governor = Governor::builder().gate(REQUESTS).gate(OUTBOUND).build().await.unwrap();
    let [requests, outbound] = governor.gates([REQUESTS, OUTBOUND]).unwrap();
    let held = requests.try_acquire_owned().unwrap();
    let closing = governor.close_all(Instant::now() + 60 * SECOND);
    assert!(tokio::time::timeout(SECOND, closing).await.is_err());
    assert!(requests.is_closed() && !outbound.is_closed());
    drop(held);
    assert!(governor.close_all(Instant::now()).await.is_complete() && outbound.is_closed());
}
