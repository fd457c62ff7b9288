//! A gateway that calls a server whose capacity it does not know. The limit of the calls follows their outcomes:
//!
//! ```text
//! $ upstream 127.0.0.1:8080 &
//! $ axum-service load 127.0.0.1:8080 /call/20 64 10 &
//! $ curl http://127.0.0.1:8080/limits
//! $ curl http://127.0.0.1:8080/decisions
//! ```

use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use concurrency_governor::feedback::Outcome;
use concurrency_governor::governor::RefreshPolicy;
use concurrency_governor::integration::tower::{GateError, GateLayer};
use concurrency_governor::{Adaptive, Formula, Gate, GateSpec, Governor, Resource, probe};
use tokio::net::TcpListener;
use tower::{Layer, Service, service_fn};

/// At most 64 calls per core. Within that, as many as the server can handle.
const UPSTREAM: GateSpec =
    GateSpec::new("upstream", Formula::of(Resource::CPU.times(64).assume(1)).floor(64))
        .adaptive(Adaptive::latency().start(16).floor(4))
        .max_wait(Duration::from_secs(1));

#[derive(Clone)]
struct Gateway {
    governor: Governor,
    upstream: Gate,
}

/// Your client of the other server: it returns the status of the answer.
async fn call_upstream(ms: u64) -> Result<StatusCode, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(StatusCode::OK)
}

/// What an answer means for the load of the server.
fn classify(answer: &Result<StatusCode, std::io::Error>) -> Outcome {
    match answer {
        Ok(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) | Err(_) => Outcome::Overload,
        Ok(status) if status.is_server_error() => Outcome::Ignore,
        Ok(_) => Outcome::Success,
    }
}

/// Makes one call through the gate. A client with retries would repeat this, and each attempt would acquire a permit of its own.
async fn call(State(gateway): State<Gateway>, Path(ms): Path<u64>) -> Response {
    let mut client = GateLayer::new(gateway.upstream).observe(classify).layer(service_fn(call_upstream));
    match client.call(ms).await {
        Ok(status) => status.into_response(),
        Err(GateError::Rejected(rejected)) => rejected.into_response(),
        Err(GateError::Service(error)) => (StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response(),
    }
}

/// Explains the limit: the formula, the band, and the last decision.
async fn explain(State(gateway): State<Gateway>) -> String {
    gateway.governor.resolution().explanations().iter().map(|limit| format!("{limit:#}\n")).collect()
}

/// Prints the last decisions, each as a line that `concurrency-governor simulate --replay` reads.
async fn decisions(State(gateway): State<Gateway>) -> String {
    gateway.governor.feedbacks().map(|feedback| feedback.history.to_string()).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let governor = Governor::builder().gate(UPSTREAM).probes(probe::host()).build().await?;
    let _refresh = governor.spawn_refresh(RefreshPolicy::new());
    let upstream = governor.gate(UPSTREAM)?;
    let routes = Router::new()
        .route("/call/{ms}", get(call))
        .route("/limits", get(explain))
        .route("/decisions", get(decisions))
        .with_state(Gateway { governor, upstream });
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}
