//! What a process admits while its ledger cannot be reached.

use std::time::Duration;

use concurrency_governor::fleet::{
    Ledger, MemoryLedger, Share, SharedAcquireError, SharedGate, SharedTryError, Unreachable,
};
use concurrency_governor::gate::{AcquireError, TryAcquireError};
use concurrency_governor::plan::LeaseState;
use concurrency_governor::{Formula, GateName, GateSpec, Governor, Limit, OverrideLayer, Overrides};

use crate::flaky::{Failing, FlakyLedger};
use crate::waiting::wait_until;

const IO: GateName = GateName::new("io");
const TTL: Duration = Duration::from_secs(1);
const TWO_OF_EACH: Unreachable = Unreachable::Reserved { permits: 2, processes: 2 };

fn share(ledger: &(impl Ledger + Clone + 'static), limit: u32) -> Share {
    let share = Share::of(ledger.clone(), "prod/io").limit(Limit::new(limit));
    share.ttl(TTL).max_hold(Duration::from_millis(100))
}

/// Acquires one permit after the other until the gate has no more.
fn acquire_all(gate: &SharedGate) -> Vec<concurrency_governor::fleet::SharedPermit> {
    std::iter::from_fn(|| gate.try_acquire().ok()).collect()
}

/// Reserved: without a ledger from the start, each process admits what it has reserved, and no more.
#[tokio::test]
async fn reserved_permits_need_no_ledger() {
    let ledger = FlakyLedger::default();
    ledger.fails(Failing::Yes);
    let gate = share(&ledger, 10).unreachable(TWO_OF_EACH).open(IO).unwrap();
    let permits = acquire_all(&gate);
    assert_eq!(permits.len(), 2);
    permits[0].check().unwrap();
    let error = gate.try_acquire().unwrap_err();
    assert_eq!(error, SharedTryError::Rejected(TryAcquireError::NoPermits { gate: IO }));
    assert_eq!((gate.status().without_lease, gate.status().cap), (2, 0));
    drop(permits);
    drop(gate.acquire_many(2).await.unwrap());
}

/// Reserved: what is reserved counts against the limit up front, so all processes together never have more than the limit. After
/// the loss of the ledger each process keeps what it has reserved, and a permit of the lease is lost.
#[tokio::test]
async fn reserved_permits_count_against_the_limit() {
    let ledger = FlakyLedger::default();
    let open = || share(&ledger, 10).unreachable(TWO_OF_EACH).open(IO).unwrap();
    let gates = [open(), open()];
    let first = gates[0].acquire_many(8).await.unwrap();
    assert_eq!(gates[0].status().limit.limit, Limit::new(6), "the ledger has the rest");
    let second = gates[1].acquire_many(2).await.unwrap();
    wait_until(|| gates[1].status().exchanges > 3).await;
    assert!(gates[1].try_acquire().is_err(), "10 are in use");
    drop(second);

    ledger.fails(Failing::Yes);
    first.lost().await;
    first.check().unwrap_err();
    wait_until(|| gates[1].status().cap == 0).await;
    assert!(gates[0].try_acquire().is_err(), "8 are still in use");
    assert_eq!(acquire_all(&gates[1]).len(), 2);
    drop(first);
    let kept = acquire_all(&gates[0]);
    assert_eq!(kept.len(), 2);
    kept[1].check().unwrap();

    ledger.fails(Failing::No);
    let more = gates[0].acquire_many(6).await.unwrap();
    assert_eq!(gates[0].status().in_use, 8);
    kept[1].check().unwrap();
    drop((kept, more));
}

/// Reserved: a process whose lease has no permits waits for what it has reserved. If the wait ends at its deadline, the lease is not the
/// reason.
#[tokio::test]
async fn reserved_permits_in_use_are_no_lack_of_a_lease() {
    let ledger = FlakyLedger::default();
    let open = || share(&ledger, 10).unreachable(TWO_OF_EACH).open(IO).unwrap();
    let gates = [open(), open()];
    let _all_of_the_ledger = gates[0].acquire_many(8).await.unwrap();
    let _reserved = gates[1].acquire_many(2).await.unwrap();
    wait_until(|| gates[1].status().state == LeaseState::Leased && gates[1].status().cap == 0).await;
    let error = gates[1].request().max_wait(Duration::from_millis(1)).acquire().await.unwrap_err();
    assert!(
        matches!(error, SharedAcquireError::Rejected(AcquireError::DeadlineExceeded { .. })),
        "{error:?}"
    );
}

/// Reserved: the status shows at most the local limit as the permits without a lease, also while there is a lease.
#[tokio::test]
async fn the_status_shows_at_most_the_local_limit() {
    const SPEC: GateSpec = GateSpec::new("io", Formula::fixed(1));
    let ledger = FlakyLedger::default();
    let shared = share(&ledger, 10).unreachable(TWO_OF_EACH);
    let governor = Governor::builder().gate(SPEC).share(SPEC, shared).build().await.unwrap();
    let gate = governor.shared(SPEC).unwrap();
    wait_until(|| gate.status().state == LeaseState::Leased).await;
    assert_eq!(gate.status().without_lease, 1);
    ledger.fails(Failing::Yes);
    wait_until(|| gate.status().state == LeaseState::Unreachable).await;
    assert_eq!(gate.status().without_lease, 1);
}

/// Reserved: if the local limit was below the reserve and then rises, the whole reserve can be acquired, also during an exchange.
#[tokio::test]
async fn a_higher_local_limit_admits_the_whole_reserve() {
    const SPEC: GateSpec = GateSpec::new("io", Formula::fixed(5));
    let ledger = FlakyLedger::default();
    ledger.fails(Failing::Hangs);
    let lower = Overrides::new().then(OverrideLayer::new("admin").set(SPEC, 1));
    let builder = Governor::builder().gate(SPEC).share(SPEC, share(&ledger, 10).unreachable(TWO_OF_EACH));
    let governor = builder.overrides(lower).build().await.unwrap();
    let gate = governor.shared(SPEC).unwrap();
    assert_eq!(acquire_all(&gate).len(), 1);
    governor.set_overrides(Overrides::new()).unwrap();
    assert_eq!(acquire_all(&gate).len(), 2);
}

/// Local: once an exchange has failed, the process admits up to its local limit, and says so. When the ledger answers again, the process
/// admits nothing until enough work has ended.
#[tokio::test]
async fn the_local_limit_replaces_a_lost_lease() {
    const SPEC: GateSpec = GateSpec::new("io", Formula::fixed(5));
    let ledger = FlakyLedger::default();
    let shared = share(&ledger, 3).unreachable(Unreachable::Local);
    let governor = Governor::builder().gate(SPEC).share(SPEC, shared).build().await.unwrap();
    let gate = governor.shared(SPEC).unwrap();
    let leased = gate.acquire_many(3).await.unwrap();
    assert!(gate.try_acquire().is_err());
    ledger.fails(Failing::Yes);
    leased.lost().await;
    let more = gate.acquire_many(2).await.unwrap();
    more.check().unwrap();
    leased.check().unwrap_err();
    let status = gate.status();
    assert_eq!((status.in_use, status.without_lease, status.state), (5, 5, LeaseState::Draining));
    let text = governor.explain(SPEC).unwrap().to_string();
    assert!(text.contains(", 5 without a lease, draining"), "{text}");

    ledger.fails(Failing::No);
    wait_until(|| gate.status().state == LeaseState::Leased).await;
    assert_eq!(gate.status().without_lease, 0);
    drop(more);
    assert!(gate.try_acquire().is_err(), "3 of 3 are in use");
    drop(leased);
    assert_eq!(gate.acquire_many(3).await.unwrap().weight(), 3);
}

/// A reserve of nothing, which has no text that parses, and a reserve of the whole limit are rejected.
#[test]
fn a_reserve_is_more_than_nothing_and_less_than_the_limit() {
    for (permits, processes) in [(2, 2), (2, 3), (0, 2), (2, 0)] {
        let reserved = Unreachable::Reserved { permits, processes };
        let share = share(&MemoryLedger::new(), 4).unreachable(reserved);
        let error = share.open(IO).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the share of gate `io` reserves {permits} permits for each of {processes} processes, and its limit is 4 \
                 (allowed: a sum of at least 1 and below the limit)"
            )
        );
    }
}
