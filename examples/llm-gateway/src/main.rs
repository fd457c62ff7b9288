//! A gateway between many tenants and one LLM provider. `README.md` says how to run it, and what to see:
//!
//! ```text
//! $ llm-gateway 127.0.0.1:8080 http://127.0.0.1:9000 redis://127.0.0.1/
//! $ curl -d 'why is the sky blue?' -H 'x-tenant: blue' http://127.0.0.1:8080/complete
//! ```

mod limits;
mod operators;
mod provider;

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{BoxError, Router};
use concurrency_governor::gate::{InvalidPriority, Key, Priority};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use limits::{Limits, MAX_HOLD};
use provider::{CallError, Provider, outcome_of};

#[derive(Clone)]
struct Gateway {
    limits: Arc<Limits>,
    provider: Provider,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, provider, redis] = &arguments[..] else {
        eprintln!("usage: llm-gateway ADDRESS PROVIDER-URL REDIS-URL");
        std::process::exit(2)
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let limits = Arc::new(Limits::new(redis).await?);
    let gateway = Gateway { limits: Arc::clone(&limits), provider: Provider::new(provider)? };
    let routes = Router::new()
        .route("/complete", post(complete))
        .with_state(gateway)
        .merge(operators::routes(Arc::clone(&limits))?);

    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(shutdown_signal()?).await?;
    // Every request is answered. Calls whose clients have gone away may still be running. After them the ledger gets the permits of
    // this gateway back at once, and not only when its lease has ended.
    let closed = limits.governor.close_all(Instant::now() + 2 * MAX_HOLD).await;
    if !closed.is_complete() {
        eprintln!("{closed}");
    }
    Ok(())
}

/// Passes one request to the provider. A request that is not admitted gets 503 and `Retry-After`: nothing was sent, so a retry is safe.
async fn complete(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    prompt: Bytes,
) -> Result<Response, Response> {
    let Some(tenant) = tenant_of(&headers) else {
        return Err((StatusCode::UNAUTHORIZED, "no tenant: send x-tenant\n").into_response());
    };
    let priority = priority_of(&headers)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("x-priority: {error}\n")).into_response())?;
    let attempt = gateway.limits.admit(tenant, priority).await?;
    // The call is a task of its own. A client that goes away ends this function, and must not release the permit while the provider
    // still works: the next call would be one too many for it.
    let call = tokio::spawn(async move {
        let answer = gateway.provider.complete(prompt).await;
        attempt.finish(outcome_of(&answer));
        answer
    });
    match call.await {
        Ok(Ok(answer)) => Ok(answer.into_response()),
        Ok(Err(error @ CallError::TimedOut)) => {
            Err((StatusCode::GATEWAY_TIMEOUT, format!("{error}\n")).into_response())
        }
        Ok(Err(error)) => Err((StatusCode::BAD_GATEWAY, format!("{error}\n")).into_response()),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    }
}

/// Returns the tenant of a request. In your gateway, what its API key belongs to: a client that invents tenants would get the share of
/// each.
fn tenant_of(headers: &HeaderMap) -> Option<Key> {
    headers.get("x-tenant")?.to_str().ok().map(Key::from)
}

/// Returns the priority of a request: normal, if it has none.
fn priority_of(headers: &HeaderMap) -> Result<Priority, InvalidPriority> {
    let Some(value) = headers.get("x-priority") else { return Ok(Priority::Normal) };
    String::from_utf8_lossy(value.as_bytes()).parse()
}

/// Returns a future that waits for Ctrl-C, or for the SIGTERM of an orchestrator.
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupted, mut terminated) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}
