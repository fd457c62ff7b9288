//! The mock of an LLM provider. It counts the calls that it works on at the same time, and can be made slower while it runs:
//!
//! ```text
//! $ provider 127.0.0.1:9000
//! $ curl -X PUT http://127.0.0.1:9000/capacity/8
//! $ curl http://127.0.0.1:9000/stats
//! ```
//!
//! It rejects nothing, and knows nothing of permits. With more calls in flight than its capacity, each takes longer.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use tokio::net::TcpListener;

/// How long a call takes while there is capacity for it.
const LATENCY: Duration = Duration::from_millis(100);

struct Provider {
    /// How many calls it works on at full speed.
    capacity: u32,
    in_flight: u32,
    /// The most calls in flight since the last request for `/stats`, and since the start.
    peak: u32,
    most: u32,
    completed: u64,
}

type SharedProvider = Arc<Mutex<Provider>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let provider = Provider { capacity: 24, in_flight: 0, peak: 0, most: 0, completed: 0 };
    let routes = Router::new()
        .route("/complete", post(complete))
        .route("/capacity/{calls}", put(set_capacity))
        .route("/stats", get(stats))
        .with_state(Arc::new(Mutex::new(provider)));
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

async fn complete(State(provider): State<SharedProvider>, prompt: String) -> String {
    let (call, latency) = Call::begin(&provider);
    tokio::time::sleep(latency).await;
    // Before the answer: when the gateway has it, the next call may already be on its way.
    drop(call);
    format!("an answer to {} characters\n", prompt.len())
}

async fn set_capacity(State(provider): State<SharedProvider>, Path(calls): Path<u32>) {
    lock(&provider).capacity = calls.max(1);
}

async fn stats(State(provider): State<SharedProvider>) -> String {
    let mut provider = lock(&provider);
    let Provider { in_flight, peak, most, completed, .. } = *provider;
    provider.peak = in_flight;
    format!("in_flight={in_flight} peak={peak} most={most} completed={completed}\n")
}

/// A call in flight. It counts until it is dropped, also if the gateway goes away.
struct Call(SharedProvider);

impl Call {
    /// Counts the call. Returns how long it takes.
    fn begin(shared: &SharedProvider) -> (Self, Duration) {
        let mut provider = lock(shared);
        provider.in_flight += 1;
        provider.peak = provider.peak.max(provider.in_flight);
        provider.most = provider.most.max(provider.in_flight);
        let load = f64::from(provider.in_flight) / f64::from(provider.capacity);
        (Self(Arc::clone(shared)), LATENCY.mul_f64(load.max(1.0)))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut provider = lock(&self.0);
        provider.in_flight -= 1;
        provider.completed += 1;
    }
}

fn lock(provider: &Mutex<Provider>) -> MutexGuard<'_, Provider> {
    provider.lock().unwrap_or_else(PoisonError::into_inner)
}
