//! The program of the cookbook's page `overload.md`: a service that rejects requests early under overload.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use concurrency_governor::gate::Gate;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::integration::tower::{GateError, GateLayer};
use concurrency_governor::{Formula, GateSpec, Governor, OverrideLayer, Overrides, Resource, Shed, probe};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

/// 8 requests per core. Callers wait up to 2 s for a response. Under lasting overload, a request waits about 100 ms or is rejected.
/// `queue` bounds the memory, and `max_wait` the wait in a short burst.
const API: GateSpec = GateSpec::new("api", Formula::of(Resource::CPU.times(8).assume(1)))
    .shed(Shed::after(Duration::from_millis(100)))
    .queue(1000)
    .max_wait(Duration::from_millis(1500));

/// Responds to a rejected request with 503 and `Retry-After`.
async fn respond_to_rejection(error: GateError<Infallible>) -> Response {
    error.into_response()
}

/// Your handler.
async fn quote() -> &'static str {
    tokio::time::sleep(Duration::from_millis(100)).await;
    "the quote\n"
}

/// Shows whether requests are being shed, for operators.
async fn overload(State(gate): State<Gate>) -> String {
    let status = gate.status();
    let (admitted, shed) = (status.totals.admitted, status.totals.queue.shed);
    format!("standing: {}, {} waiting, {admitted} admitted, {shed} shed\n", status.standing, status.waiting)
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

    let limited = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(respond_to_rejection))
        .layer(GateLayer::new(gate.clone()));
    let app = Router::new()
        .route("/quote", get(quote))
        .route_layer(limited)
        .route("/overload", get(overload)) // added after the layer, so it responds under any load
        .with_state(gate);

    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
