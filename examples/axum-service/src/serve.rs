//! The service: two routes behind a gate, and routes for operators outside of it.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use axum::{BoxError, Extension, Router};
use concurrency_governor::gate::{Gate, Key};
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::integration::metrics::{HOLD, Metrics, SECONDS, WAIT};
use concurrency_governor::integration::tower::{GateError, GateLayer, RequestPermit};
use concurrency_governor::integration::tracing::TracingObserver;
use concurrency_governor::{
    Formula, GateName, GateSpec, Governor, Keys, OverrideLayer, Overrides, Resource, probe,
};
use futures_util::stream;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

/// 64 requests per core, on a quarter of the descriptors, shared fairly among tenants. 4096 more may wait, 1024 of each tenant.
const WORK: GateSpec = GateSpec::new(
    "work",
    Formula::of(Resource::CPU.times(64).assume(1)).at_most(Resource::FD.fraction(1, 4)),
)
.keyed(Keys::up_to(1024).queue(1024))
.queue(4096);

/// How long a request waits, unless the variable `APP_MAX_WAIT_MS` has another number of milliseconds.
const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(250);

/// The state of the operators' routes.
struct OperatorState {
    governor: Governor,
    work: Gate,
    /// The settings from the environment. Settings made at run time take precedence.
    environment: OverrideLayer,
    metrics: Metrics,
    prometheus: PrometheusHandle,
}

/// Serves until the process is interrupted.
pub async fn serve(address: SocketAddr) -> Result<(), BoxError> {
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
    let metrics = Metrics::builder().governor(&governor).build()?;

    // The work passes the gate. The operators' routes do not, so they respond under any load.
    let work_gate = governor.gate(WORK)?;
    let gate = GateLayer::new(work_gate.clone())
        .by_key(tenant_of)
        .max_wait(read_max_wait()?)
        .hold_until_body_ends()
        .pass_permit()
        .timed()
        .traced();
    let work_routes = Router::new()
        .route("/work/{ms}", get(work))
        .route("/stream/{chunks}", get(stream_chunks))
        .route("/block/{ms}", get(block))
        .layer(ServiceBuilder::new().layer(HandleErrorLayer::new(respond_to_rejection)).layer(gate));
    let state = Arc::new(OperatorState { governor, work: work_gate, environment, metrics, prometheus });
    let operator_routes = Router::new()
        .route("/metrics", get(scrape))
        .route("/limits", get(explain_limits))
        .route("/limits/{gate}/{limit}", put(set_limit))
        .route("/tenants", get(list_busiest_tenants))
        .with_state(state);

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, work_routes.merge(operator_routes)).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

/// Returns the tenant of a request. Only a proxy that clients cannot bypass may set the header: a client that invents tenants would get
/// the share of each. A request without it acquires from the gate itself.
fn tenant_of(request: &Request) -> Option<Key> {
    let tenant = request.headers().get("x-tenant")?;
    tenant.to_str().ok().map(Key::from)
}

fn read_max_wait() -> Result<Duration, BoxError> {
    let Some(given) = std::env::var_os("APP_MAX_WAIT_MS") else { return Ok(DEFAULT_MAX_WAIT) };
    let number = given.to_str().and_then(|given| given.parse().ok());
    let number = number
        .ok_or_else(|| format!("APP_MAX_WAIT_MS is {given:?} (allowed: a whole number of milliseconds)"))?;
    Ok(Duration::from_millis(number))
}

/// Responds to a rejected request with 503 and `Retry-After`.
async fn respond_to_rejection(error: GateError<Infallible>) -> Response {
    error.into_response()
}

/// Simulates work that frees its thread while it waits.
async fn work(Path(ms): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("worked for {ms} ms\n")
}

/// Blocks a thread. It uses the permit of its request; a second permit of the same gate might never be admitted.
async fn block(Extension(permit): Extension<RequestPermit>, Path(ms): Path<u64>) -> Result<String, Response> {
    permit.run_blocking(move || std::thread::sleep(Duration::from_millis(ms))).await?;
    Ok(format!("blocked for {ms} ms\n"))
}

/// Streams the response body. The permit is in use until the last chunk.
async fn stream_chunks(Path(chunks): Path<u32>) -> Body {
    Body::from_stream(stream::unfold(0, move |sent| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        (sent < chunks).then(|| (Ok::<_, Infallible>(format!("chunk {sent}\n")), sent + 1))
    }))
}

/// Records the metrics of the gates, and renders all metrics for Prometheus.
async fn scrape(State(state): State<Arc<OperatorState>>) -> String {
    state.metrics.record();
    state.prometheus.render()
}

/// Explains every limit.
async fn explain_limits(State(state): State<Arc<OperatorState>>) -> String {
    let resolution = state.governor.resolution();
    resolution.explanations().iter().map(|explanation| format!("{explanation:#}\n")).collect()
}

/// Lists the tenants with the most requests waiting and permits in use, the busiest first.
async fn list_busiest_tenants(State(state): State<Arc<OperatorState>>) -> String {
    let tenants = state.work.busiest_keys(10).into_iter();
    tenants
        .map(|tenant| format!("{}: {} in use, {} waiting\n", tenant.key, tenant.in_use, tenant.waiting))
        .collect()
}

/// Applies another limit at once, and returns its explanation. Requests in flight are not interrupted.
async fn set_limit(
    State(state): State<Arc<OperatorState>>,
    Path((gate, limit)): Path<(String, usize)>,
) -> Result<String, (StatusCode, String)> {
    let bad_request = |error: &dyn Error| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    let gate: GateName = gate.parse().map_err(|error| bad_request(&error))?;
    let live = OverrideLayer::new("live").set(gate, limit);
    let overrides = Overrides::new().then(live).then(state.environment.clone());
    let resolution = state.governor.set_overrides(overrides).map_err(|error| bad_request(&error))?;
    let explanation = resolution.explain(gate).map_err(|error| bad_request(&error))?;
    Ok(format!("{explanation}\n"))
}

/// Waits for Ctrl-C, or for ever if its handler cannot be installed.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
