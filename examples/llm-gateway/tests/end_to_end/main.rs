//! The whole on loopback: two gateways, one Redis and one provider, under a flood and under faults.
//!
//! The test waits for what it wants to see, never for a time. It prints a table, which the README shows.

mod fleet;
mod processes;
mod table;

use fleet::{Fleet, Stats};
use table::{Figures, Phase, print_table};

/// The limit of the fleet, in `src/limits.rs`. No phase of the test may show more calls in flight.
const FLEET_LIMIT: u64 = 24;

/// A tenant floods both gateways, the provider becomes slow and fast again, and Redis is killed and comes back. Meanwhile the
/// provider never sees more calls than the fleet's limit, no other tenant is hurt by the flood, and each time everything recovers.
/// In the end the gateways leave the fleet.
#[test]
fn a_fleet_protects_its_tenants_and_its_provider() {
    let Some(mut fleet) = Fleet::start() else { return };
    let mut phases = Vec::new();

    let calm = fleet.phase("calm", |fleet| fleet.wait_for_calls(60));
    fleet.start_flood();
    let flood = fleet.phase("flood", |fleet| {
        fleet.wait_for_peak("the whole limit is used", |peak| peak >= FLEET_LIMIT - 2);
        fleet.wait_for_calls(800);
    });

    // A third of its capacity: with 24 calls in flight, each takes three times as long.
    fleet.set_provider_capacity(8);
    let slow = fleet.phase("slow provider", |fleet| {
        fleet.wait_for_peak("the gateways make fewer calls", |peak| peak <= FLEET_LIMIT * 3 / 4);
    });
    fleet.set_provider_capacity(24);
    let fast = fleet.phase("fast again", |fleet| {
        fleet.wait_for_peak("the whole limit is used again", |peak| peak >= FLEET_LIMIT - 2);
    });

    fleet.kill_redis();
    let without_redis = fleet.phase("Redis gone", |fleet| {
        fleet.wait_for_peak("no call is made without a lease", |peak| peak == 0);
        fleet.check_rejection_without_redis();
    });
    fleet.start_redis();
    let learning = fleet.phase("Redis back", |fleet| {
        fleet.wait_for_peak("the whole limit is used again", |peak| peak >= FLEET_LIMIT - 2);
    });
    let recovered = fleet.phase("recovered", |fleet| fleet.wait_for_calls(800));

    // Its clients go away while the provider works for them.
    fleet.kill_flood();
    let calm_again = fleet.phase("calm again", |fleet| fleet.wait_for_calls(60));

    let Stats { most, .. } = fleet.stats();
    phases.extend([calm, flood, slow, fast, without_redis, learning, recovered, calm_again]);
    print_table(&phases, most, FLEET_LIMIT);
    check(&phases, most);
    // At once, and not only when the leases have ended.
    assert_eq!(fleet.terminate(), 0, "the ledger has the permits of the gateways back");
}

/// Checks the figures of all phases.
fn check(phases: &[Phase], most: u64) {
    assert!(most <= FLEET_LIMIT, "the provider has seen {most} calls at once");
    for Phase { name, flood, others, .. } in phases {
        assert_eq!((flood.failed, others.failed), (0, 0), "{name}: an answer is neither 200 nor 503");
        assert!(others.answered > 0, "{name}: no request of another tenant is answered");
        // Without Redis nothing is admitted. That is the price of a limit that holds.
        if !name.starts_with("Redis") {
            // At most one in twenty, so that one stall of a busy machine fails nothing.
            let Figures { answered, rejected, .. } = others;
            assert!(rejected * 20 <= *answered, "{name}: {rejected} requests of other tenants are rejected");
        }
    }
    let [calm, flood, ..] = phases else { panic!("two phases") };
    assert!(flood.flood.rejected * 10 > flood.flood.answered, "the flood is too small to hurt others");
    for Phase { name, others, .. } in
        phases.iter().filter(|phase| ["flood", "calm again"].contains(&phase.name))
    {
        let (before, now) = (calm.others.p50, others.p50);
        assert!(
            now <= 3 * before,
            "{name}: the median latency of another tenant is {now} ms, and was {before} ms"
        );
    }
}
