//! The metrics of gates that share their limit with other processes.

use std::time::Duration;

use concurrency_governor::fleet::{MemoryLedger, Share};
use concurrency_governor::integration::metrics::{
    FLEET_LIMIT, LEASE_PERMITS, LEASE_REMAINING, LEASE_STATE, LEDGER_EXCHANGE, LEDGER_EXCHANGES, Metrics,
};
use concurrency_governor::{Formula, GateSpec, Governor, Limit};

use super::*;

const SHARED: GateSpec = GateSpec::new("io", Formula::fixed(8));

/// A shared gate exports its block, the time that is left, its state, the limit of the fleet, and its exchanges.
#[tokio::test]
async fn a_shared_gate_exports_its_lease() {
    let share = Share::of(MemoryLedger::new(), "prod/io").limit(Limit::new(5)).max_hold(Duration::ZERO);
    let governor = Governor::builder().gate(SHARED).share(SHARED, share).build().await.unwrap();
    let permit = governor.shared(SHARED).unwrap().acquire_many(5).await.unwrap();
    let metrics = Metrics::builder().governor(&governor).build().unwrap();
    let (recorder, handle) = recorder();
    metrics::with_local_recorder(&recorder, || metrics.record());
    let scrape = handle.render();
    let series = series(&scrape);
    let value = |name: &str| series[&*format!("{name}{{gate=\"io\"}}")];
    assert_eq!((value(LEASE_PERMITS), value(FLEET_LIMIT)), (5.0, 5.0));
    assert!(value(LEASE_REMAINING) > 0.0 && value(LEASE_REMAINING) <= 10.0, "{scrape}");
    let state = |state: &str| series[&*format!("{LEASE_STATE}{{gate=\"io\",state=\"{state}\"}}")];
    assert_eq!(["leased", "learning", "draining", "unreachable"].map(state), [1.0, 0.0, 0.0, 0.0]);
    let exchanges =
        |outcome: &str| series[&*format!("{LEDGER_EXCHANGES}{{gate=\"io\",outcome=\"{outcome}\"}}")];
    assert!(exchanges("answered") >= 1.0 && exchanges("failed") == 0.0, "{scrape}");
    assert_eq!(value(&format!("{LEDGER_EXCHANGE}_count")), exchanges("answered"), "{scrape}");
    drop(permit);
}
