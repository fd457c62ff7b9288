//! The service: two routes behind a gate, and beside it what operators need.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::routing::{get, put};
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::integration::metrics::{HOLD, Metrics, SECONDS, WAIT};
use concurrency_governor::integration::tower::{GateError, GateLayer};
use concurrency_governor::integration::tracing::TracingObserver;
use concurrency_governor::{
    Formula, GateName, GateSpec, Governor, OverrideLayer, Overrides, Resource, probe,
};
use futures_util::stream;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

use crate::Failure;

/// 64 requests a core, on a quarter of the descriptors; as many again wait, for a quarter of a second.
const WORK: GateSpec = GateSpec::new(
    "work",
    Formula::of(Resource::CPU.times(64).assume(1)).at_most(Resource::FD.fraction(1, 4)),
)
.queue(128)
.max_wait(Duration::from_millis(250));

/// What the routes of operators know.
struct Service {
    governor: Governor,
    /// The settings of the environment, under those made while it runs.
    environment: OverrideLayer,
    metrics: Metrics,
    prometheus: PrometheusHandle,
}

/// Serves until its process is told to stop.
pub async fn serve(address: SocketAddr) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(WAIT.to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(HOLD.to_owned()), &SECONDS)?
        .install_recorder()?;

    let environment = OverrideLayer::env([(WORK, "APP_WORK")], std::env::var_os)?;
    let governor = Governor::builder()
        .gate(WORK)
        .probes(probe::host())
        .overrides(Overrides::new().then(environment.clone()))
        .observer(TracingObserver::new())
        .build()
        .await?;
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let metrics = Metrics::new().governor(&governor);

    let gate = GateLayer::new(governor.gate(WORK)?).hold_until_body_ends().timed().traced();
    let gated = Router::new()
        .route("/work/{ms}", get(work))
        .route("/stream/{chunks}", get(streamed))
        .layer(ServiceBuilder::new().layer(HandleErrorLayer::new(shed)).layer(gate));
    let service = Arc::new(Service { governor, environment, metrics, prometheus });
    let operators = Router::new()
        .route("/metrics", get(scrape))
        .route("/limits", get(limits))
        .route("/limits/{gate}/{limit}", put(set_limit))
        .with_state(service);

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, gated.merge(operators)).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

/// A request that was refused: 503, with `Retry-After`.
async fn shed(refused: GateError<Infallible>) -> Response<Body> {
    refused.into_response()
}

/// Work that frees its thread while it waits.
async fn work(Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("worked for {ms} ms\n")
}

/// An answer of which most of the work is in the body; its permit is out until the last chunk.
async fn streamed(Path(chunks): Path<u32>) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        (sent < chunks).then(|| (Ok::<_, Infallible>(format!("chunk {sent}\n")), sent + 1))
    }))
}

async fn scrape(State(service): State<Arc<Service>>) -> String {
    service.metrics.record();
    service.prometheus.render()
}

/// Every limit, and where it comes from.
async fn limits(State(service): State<Arc<Service>>) -> String {
    let resolution = service.governor.resolution();
    resolution.explanations().iter().map(|explanation| format!("{explanation:#}\n")).collect()
}

/// Puts another limit in force at once. Requests under way are not disturbed.
async fn set_limit(
    State(service): State<Arc<Service>>,
    Path((gate, limit)): Path<(String, usize)>,
) -> Result<String, (StatusCode, String)> {
    let refuse = |error: &dyn std::error::Error| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    let gate: GateName = gate.parse().map_err(|error| refuse(&error))?;
    let live = OverrideLayer::new("live").set(gate, limit);
    let overrides = Overrides::new().then(live).then(service.environment.clone());
    let resolution = service.governor.set_overrides(overrides).map_err(|error| refuse(&error))?;
    let explanation = resolution.explain(gate).map_err(|error| refuse(&error))?;
    Ok(format!("{explanation}\n"))
}

async fn interrupted() {
    // Without a handler it runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
