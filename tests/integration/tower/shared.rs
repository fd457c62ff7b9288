//! Layers whose gate shares its limit with other processes.

use std::time::Duration;

use concurrency_governor::fleet::{Ledger, MemoryLedger, Share, SharedGate};
use concurrency_governor::integration::tower::{GateLayer, RequestPermit};
use concurrency_governor::{Formula, GateSpec, Governor, Holders, Keys};
use http::{Request, Response};
use tower::{Layer, ServiceExt};

use super::*;
use crate::unreachable_ledger::NoLedger;

const SHARED: GateSpec = GateSpec::new("api", Formula::fixed(8)).keyed(Keys::up_to(16));

async fn shared_gate(ledger: impl Ledger + 'static) -> (Governor, SharedGate) {
    let share = Share::of(ledger, "prod/api").limit(Limit::new(1)).max_hold(Duration::ZERO);
    let governor = Governor::builder().gate(SHARED).share(SHARED, share).build().await.unwrap();
    let gate = governor.shared(SHARED).unwrap();
    (governor, gate)
}

/// A request holds a leased permit of its key while it is in the service, and the service can check the lease.
#[tokio::test]
async fn a_request_holds_a_leased_permit() {
    let (_governor, gate) = shared_gate(MemoryLedger::new()).await;
    let layer = GateLayer::new(gate.clone()).pass_permit().by_key(|_: &Request<()>| "tenant");
    let seen = gate.clone();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let seen = seen.clone();
        async move {
            let permit: &RequestPermit = request.extensions().get().unwrap();
            permit.shared().unwrap().check().unwrap();
            assert_eq!((permit.key().unwrap().to_string(), permit.weight()), ("tenant".to_owned(), 1));
            assert_eq!(seen.status().in_use, 1);
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    for _ in 0..3 {
        service.clone().oneshot(Request::new(())).await.unwrap();
    }
    assert_eq!(gate.status().in_use, 0);
}

/// The holders of a shared gate behind a layer are requests of the layer: each has the location at which the layer was created, and none
/// a location in this crate.
#[tokio::test]
async fn a_holder_has_the_location_of_its_layer() {
    const TRACKED: GateSpec = GateSpec::new("api", Formula::fixed(8))
        .keyed(Keys::up_to(16))
        .track_holders(Holders::overdue_after(Duration::from_secs(60)));
    let share = Share::of(MemoryLedger::new(), "prod/api").limit(Limit::new(1)).max_hold(Duration::ZERO);
    let governor = Governor::builder().gate(TRACKED).share(TRACKED, share).build().await.unwrap();
    let gate = governor.shared(TRACKED).unwrap();
    drop(gate.acquire().await.unwrap()); // from here on there is a lease
    let line = line!() + 1;
    let layer = || GateLayer::new(gate.clone());
    for layer in [layer().max_wait(Duration::from_secs(60)), layer().no_wait()] {
        let seen = gate.clone();
        let service = layer.layer(service_fn(move |_: Request<()>| {
            let holders = seen.holders();
            let places = holders.iter().map(|holder| (holder.location.file(), holder.location.line()));
            assert_eq!(places.collect::<Vec<_>>(), [(file!(), line)]);
            async { Ok::<_, Infallible>(Response::new(())) }
        }));
        service.oneshot(Request::new(())).await.unwrap();
    }
}

/// Without permits from the ledger, a request is rejected with the reason `unleased`, whether it waits or not. As an HTTP response, the
/// rejection is 503 with `Retry-After`.
#[tokio::test]
async fn a_request_without_a_lease_gets_503() {
    let (_governor, gate) = shared_gate(NoLedger).await;
    let service = || service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    let wait = Duration::from_millis(10);
    let waiting =
        GateLayer::new(gate.clone()).max_wait(wait).retry_after(Duration::from_secs(7)).layer(service());
    let immediate = GateLayer::new(gate).no_wait().layer(service());
    let Err(GateError::Rejected(first)) = waiting.oneshot(Request::new(())).await else { panic!("no lease") };
    let Err(GateError::Rejected(second)) = immediate.oneshot(Request::new(())).await else {
        panic!("no lease")
    };
    assert_eq!((first.reason(), second.reason()), ("unleased", "unleased"));
    assert_eq!(first.gate(), SHARED.name());
    let response: Response<String> = first.into_response();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"7".parse().unwrap())
    );
    assert!(!response.body().contains("prod/api"), "{}", response.body());
}
