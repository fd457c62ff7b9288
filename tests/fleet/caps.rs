//! What a process asks its ledger for when limits below its gate bind: the caps of keys, and the limits of children.

use std::time::Duration;

use concurrency_governor::fleet::{Ledger, MemoryLedger, Share, SharedGate, SharedPermit};
use concurrency_governor::gate::AcquireError;
use concurrency_governor::{Formula, GateSpec, Governor, Keys, Limit, OverrideLayer, Overrides, Part};
use futures_util::FutureExt;

use crate::flaky::{Failing, FlakyLedger};
use crate::waiting::wait_until;

const IO: GateSpec = GateSpec::new("io", Formula::fixed(64));
const KEYED: GateSpec = IO.keyed(Keys::up_to(16).cap(Part::of(1, 4)));
const MAIL: GateSpec = GateSpec::new("mail", Formula::fixed(2)).within(IO);
const FLEET: u32 = 20;

fn share(ledger: &(impl Ledger + Clone + 'static)) -> Share {
    let share = Share::of(ledger.clone(), "prod/io").limit(Limit::new(FLEET));
    share.ttl(Duration::from_millis(300)).max_hold(Duration::from_millis(100))
}

async fn open(specs: &[GateSpec], share: Share) -> (Governor, SharedGate) {
    let builder = specs.iter().fold(Governor::builder(), |builder, spec| builder.gate(*spec));
    let governor = builder.share(IO.name(), share).build().await.unwrap();
    let io = governor.shared(IO).unwrap();
    (governor, io)
}

/// Starts requests that keep their permits until the receiver is dropped.
fn request_many(gate: &SharedGate, requests: usize) -> tokio::sync::mpsc::UnboundedReceiver<SharedPermit> {
    let (admitted, permits) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..requests {
        let (gate, admitted) = (gate.clone(), admitted.clone());
        tokio::spawn(async move {
            if let Ok(permit) = gate.acquire().await {
                // The test may have ended.
                let _ = admitted.send(permit);
            }
        });
    }
    permits
}

/// Waits for some more exchanges.
async fn exchanges(gate: &SharedGate, count: u64) {
    let begin = gate.status().exchanges;
    wait_until(|| gate.status().exchanges >= begin + count).await;
}

/// A process asks for the block that its key needs for its cap: four permits of a key that may have a quarter need a block of 16.
#[tokio::test]
async fn a_process_asks_for_what_its_caps_need() {
    let ledger = FlakyLedger::default();
    let (_governor, io) = open(&[KEYED], share(&ledger)).await;
    let _permits = request_many(&io.key("a"), 4);
    wait_until(|| io.status().in_use == 4).await;
    assert_eq!(ledger.most_wanted(), 16);
}

/// If one key alone has demand in a process, the key gets the cap that it would have at a gate with the limit of the fleet.
#[tokio::test]
async fn a_lone_key_gets_its_cap_of_the_limit_of_the_fleet() {
    let ledger = FlakyLedger::default();
    let (_governor, io) = open(&[KEYED], share(&ledger)).await;
    let tenant = io.key("a");
    let _permits = request_many(&tenant, 40);
    wait_until(|| io.status().in_use == 5).await;
    exchanges(&io, 6).await;
    assert_eq!((io.status().in_use, ledger.most_wanted()), (5, FLEET));
    wait_until(|| io.status().cap == FLEET).await; // on a busy machine the lease may end meanwhile
    assert_eq!(tenant.gate_status().limit, Limit::new(5));
    let error = tenant.acquire_many(6).await.unwrap_err();
    assert_eq!(error, AcquireError::TooLarge { gate: IO.name(), weight: 6, limit: Limit::new(5) }.into());

    // A second key has a cap of its own.
    let _more = request_many(&io.key("b"), 3);
    wait_until(|| io.status().in_use == 8).await;
}

/// The caps follow the limit of the fleet when an operator changes it, and the lower local limit.
#[tokio::test]
async fn caps_follow_the_limits() {
    let ledger = MemoryLedger::new();
    let (governor, io) = open(&[KEYED], share(&ledger)).await;
    let tenant = io.key("a");
    let _permits = request_many(&tenant, 40);
    wait_until(|| io.status().in_use == 5).await;
    ledger.set_limit("prod/io", Limit::new(40), "test").await.unwrap();
    wait_until(|| io.status().in_use == 10).await;
    let set = |limit| Overrides::new().then(OverrideLayer::new("admin").set(IO, limit));
    governor.set_overrides(set(48)).unwrap();
    assert_eq!(tenant.gate_status().limit, Limit::new(10), "the limit of the fleet is lower");
    governor.set_overrides(set(8)).unwrap();
    assert_eq!(tenant.gate_status().limit, Limit::new(2));
}

/// The caps of a key in all processes together are its part of the limit of the fleet, because each is that part of a block.
#[tokio::test]
async fn a_cap_holds_in_all_processes_together() {
    let ledger = MemoryLedger::new();
    let mut processes = Vec::new();
    for _ in 0..2 {
        let (governor, io) = open(&[KEYED], share(&ledger)).await;
        let tenant = io.key("a");
        for _ in 0..20 {
            let tenant = tenant.clone();
            tokio::spawn(async move {
                while let Ok(permit) = tenant.acquire().await {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    drop(permit);
                }
            });
        }
        processes.push((governor, io, tenant));
    }
    wait_until(|| processes.iter().all(|(_, io, _)| io.status().cap == FLEET / 2)).await;
    let caps = processes.iter().map(|(_, _, tenant)| tenant.gate_status().limit.get());
    assert!(caps.sum::<u32>() <= FLEET / 4);
}

/// While one process waits, another one has no permits that the limits of its children keep it from using.
#[tokio::test]
async fn no_permit_is_leased_that_a_child_cannot_use() {
    let ledger = MemoryLedger::new();
    let (governor, bound) = open(&[IO, MAIL], share(&ledger)).await;
    let _bound_permits = request_many(&governor.shared(MAIL).unwrap(), 40);
    wait_until(|| bound.status().in_use == 2).await;

    let (_other_governor, other) = open(&[IO], share(&ledger)).await;
    let _other_permits = request_many(&other, 40);
    wait_until(|| other.status().in_use == FLEET - 2).await;
    assert_eq!(bound.status().in_use, 2);
}

/// A process stops asking for the permits of keys whose demand has ended: another process gets them.
#[tokio::test]
async fn demand_that_has_gone_is_forgotten() {
    let ledger = MemoryLedger::new();
    let (_governor, io) = open(&[KEYED], share(&ledger)).await;
    let permits: Vec<_> = ["a", "b", "c", "d"].map(|key| request_many(&io.key(key), 5)).into();
    wait_until(|| io.status().in_use == FLEET).await;
    drop(permits);
    let (_other_governor, other) = open(&[IO], share(&ledger)).await;
    let heavy = other.request().weight(FLEET - 1).max_wait(Duration::from_secs(60)).acquire().await;
    assert_eq!(heavy.unwrap().weight(), FLEET - 1);
}

/// After an outage a process asks for the permits of the requests that wait, within their caps.
#[tokio::test]
async fn caps_bind_after_an_outage() {
    let ledger = FlakyLedger::default();
    let (_governor, io) = open(&[KEYED], share(&ledger)).await;
    ledger.fails(Failing::Yes);
    wait_until(|| io.status().cap == 0).await;
    let _permits = request_many(&io.key("a"), 40);
    wait_until(|| io.status().waiting == 40).await;
    assert!(
        io.key("a").acquire_many(6).now_or_never().is_some(),
        "a weight above the cap is rejected at once"
    );
    ledger.fails(Failing::No);
    wait_until(|| io.status().in_use == 5).await;
    assert!(ledger.most_wanted() <= FLEET);
}
