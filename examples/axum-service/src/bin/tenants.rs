//! The program of the cookbook's page `tenants.md`: a service that shares its permits fairly among tenants.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use concurrency_governor::gate::{Gate, Key};
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::integration::tower::{GateError, GateLayer};
use concurrency_governor::{Formula, GateSpec, Governor, Keys, OverrideLayer, Overrides, Resource, probe};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

/// 64 requests per core, on a quarter of the descriptors, shared fairly by at most 4096 tenants at a time. At most 10 000 more
/// requests wait, 1000 of each tenant, each for 5 s.
const API: GateSpec =
    GateSpec::new("api", Formula::of(Resource::CPU.times(64).assume(1)).at_most(Resource::FD.fraction(1, 4)))
        .keyed(Keys::up_to(4096).queue(1000))
        .queue(10_000)
        .max_wait(Duration::from_secs(5));

/// Returns the tenant of a request, from a header that only your proxy or your authentication sets.
fn tenant_of(request: &Request) -> Option<Key> {
    let tenant = request.headers().get("x-tenant")?;
    tenant.to_str().ok().map(Key::from)
}

/// Responds to a rejected request with 503 and `Retry-After`.
async fn respond_to_rejection(error: GateError<Infallible>) -> Response {
    error.into_response()
}

/// Your handler.
async fn report() -> &'static str {
    tokio::time::sleep(Duration::from_millis(100)).await;
    "the report\n"
}

/// Lists the busiest tenants, for operators.
async fn busiest(State(gate): State<Gate>) -> String {
    let keys = gate.busiest_keys(10).into_iter();
    keys.map(|tenant| format!("{}: {} in use, {} waiting\n", tenant.key, tenant.in_use, tenant.waiting))
        .collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let governor = Governor::builder()
        .gate(API)
        .probes(probe::host())
        .overrides(Overrides::new().then(OverrideLayer::env([(API, "APP_API")], std::env::var_os)?))
        .build()
        .await?;
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let gate = governor.gate(API)?;

    let by_tenant = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(respond_to_rejection))
        .layer(GateLayer::new(gate.clone()).by_key(tenant_of));
    let app = Router::new()
        .route("/report", get(report))
        .route_layer(by_tenant)
        .route("/busiest", get(busiest)) // added after the layer, so it responds under any load
        .with_state(gate);

    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
