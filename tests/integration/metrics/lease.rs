//! The metrics of gates that share their limit with other processes.

use std::time::Duration;

use concurrency_governor::fleet::{MemoryLedger, Share};
use concurrency_governor::integration::metrics::{
    FLEET_LIMIT, LEASE_PERMITS, LEASE_REMAINING, LEASE_STATE, LEDGER_EXCHANGE, LEDGER_EXCHANGES, Metrics,
};
use concurrency_governor::{Formula, GateSpec, Governor, Limit};

use super::*;
use crate::unreachable_ledger::NoLedger;

const IO: GateSpec = GateSpec::new("io", Formula::fixed(8));
const MAIL: GateSpec = GateSpec::new("mail", Formula::fixed(3));

/// A shared gate exports its block, the time that is left, its state, the limit of the fleet, and its exchanges. Of two
/// gates, each has its own numbers.
#[tokio::test]
async fn a_shared_gate_exports_its_lease() {
    let share = Share::of(MemoryLedger::new(), "prod/io").limit(Limit::new(20)).max_hold(Duration::ZERO);
    let unreachable = Share::of(NoLedger, "prod/mail").limit(Limit::new(5)).max_hold(Duration::ZERO);
    let builder = Governor::builder().gate(IO).gate(MAIL).share(IO, share).share(MAIL, unreachable);
    let governor = builder.build().await.unwrap();
    let permits = governor.shared(IO).unwrap().acquire_many(8).await.unwrap();
    let failed = || governor.shared(MAIL).unwrap().status().failed_exchanges;
    complete(async {
        while failed() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (metrics, failed_before) = (Metrics::builder().governor(&governor).build().unwrap(), failed());
    let (recorder, handle) = recorder();
    metrics::with_local_recorder(&recorder, || metrics.record());
    let scrape = handle.render();
    let series = series(&scrape);
    let value = |name: &str, gate: &str| series[&*format!("{name}{{gate=\"{gate}\"}}")];
    assert_eq!((value(LEASE_PERMITS, "io"), value(FLEET_LIMIT, "io")), (8.0, 20.0));
    assert_eq!((value(LEASE_PERMITS, "mail"), value(FLEET_LIMIT, "mail")), (0.0, 5.0));
    assert!(value(LEASE_REMAINING, "io") > 0.0 && value(LEASE_REMAINING, "io") <= 10.0, "{scrape}");
    assert_eq!(value(LEASE_REMAINING, "mail"), 0.0);
    let state =
        |gate: &str, state: &str| series[&*format!("{LEASE_STATE}{{gate=\"{gate}\",state=\"{state}\"}}")];
    let states = ["starting", "leased", "learning", "draining", "unreachable", "left"];
    assert_eq!(states.map(|name| state("io", name)), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(states.map(|name| state("mail", name)), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let exchanges = |gate: &str, outcome: &str| {
        series[&*format!("{LEDGER_EXCHANGES}{{gate=\"{gate}\",outcome=\"{outcome}\"}}")]
    };
    assert!(exchanges("io", "answered") >= 1.0 && exchanges("io", "failed") == 0.0, "{scrape}");
    #[expect(clippy::cast_precision_loss, reason = "a count of exchanges is small")]
    let failures = failed_before as f64..=failed() as f64;
    assert!(
        exchanges("mail", "answered") == 0.0 && failures.contains(&exchanges("mail", "failed")),
        "{scrape}"
    );
    assert_eq!(value(&format!("{LEDGER_EXCHANGE}_count"), "io"), exchanges("io", "answered"), "{scrape}");
    drop(permits);
}
