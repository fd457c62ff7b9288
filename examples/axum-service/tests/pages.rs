//! The parts of services that pages of `docs/` show, compiled and run. `tests/repository` of the crate checks that each of them is here.
//! A part has its own imports, as on its page.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use concurrency_governor::gate::{Gate, Key};
use concurrency_governor::{GateName, Limit};
use tower::Service;

/// `docs/OBSERVABILITY.md`, "Tower": the layer responds with 503 while no permit is available, and leaves other paths alone.
mod layer {
    use super::*;

    async fn work() -> &'static str {
        "done"
    }

    #[tokio::test]
    async fn a_layer_rejects_with_503() {
        let work_gate = gate();
        let gate = work_gate.clone();

        use std::convert::Infallible;
        use std::time::Duration;

        use axum::{Router, body::Body, error_handling::HandleErrorLayer, routing::get};
        use concurrency_governor::integration::tower::{GateError, GateLayer};
        use tower::ServiceBuilder;

        async fn respond_503(error: GateError<Infallible>) -> axum::http::Response<Body> {
            error.into_response()
        }

        let app: Router = Router::new().route("/work", get(work)).route_layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(respond_503))
                .layer(GateLayer::new(gate).max_wait(Duration::from_millis(100)).hold_until_body_ends()),
        );

        assert_eq!(send(&app, "GET", "/work", "").await, (StatusCode::OK, "done".to_owned()));
        let _permit = work_gate.try_acquire().unwrap();
        assert_eq!(send(&app, "GET", "/work", "").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(send(&app, "GET", "/other", "").await.0, StatusCode::NOT_FOUND);
    }
}

/// `docs/OBSERVABILITY.md`, "Tower": a handler runs blocking work under the permit of its request.
mod passed_permit {
    use std::convert::Infallible;

    use axum::error_handling::HandleErrorLayer;
    use axum::response::Response;
    use axum::routing::post;
    use concurrency_governor::integration::tower::{GateError, GateLayer};
    use tower::ServiceBuilder;

    use super::*;

    use axum::Extension;
    use concurrency_governor::integration::tower::RequestPermit;

    // Behind `GateLayer::new(gate).pass_permit()`:
    async fn hash(Extension(permit): Extension<RequestPermit>, body: String) -> Result<String, Response> {
        Ok(permit.run_blocking(move || expensive_hash(&body)).await?)
    }

    fn expensive_hash(text: &str) -> String {
        text.len().to_string()
    }

    #[tokio::test]
    async fn blocking_work_needs_no_second_permit() {
        let layer = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |error: GateError<Infallible>| error.into_response::<Body>()))
            .layer(GateLayer::new(gate()).pass_permit());
        let app = Router::new().route("/hash", post(hash)).route_layer(layer);
        assert_eq!(send(&app, "POST", "/hash", "seven").await, (StatusCode::OK, "5".to_owned()));
    }
}

/// `docs/OBSERVABILITY.md`, "Tower": a handler that acquires a permit itself responds with 503 by `?`.
mod own_permit {
    use axum::extract::State;
    use axum::routing::get;

    use super::*;

    use axum::response::Response;

    async fn download(State(gate): State<Gate>) -> Result<String, Response> {
        let _permit = gate.acquire().await?;
        Ok(read_file().await)
    }

    async fn read_file() -> String {
        "the file".to_owned()
    }

    #[tokio::test]
    async fn a_rejection_becomes_a_response() {
        let gate = gate();
        let app = Router::new().route("/file", get(download)).with_state(gate.clone());
        assert_eq!(send(&app, "GET", "/file", "").await, (StatusCode::OK, "the file".to_owned()));
        gate.close();
        assert_eq!(send(&app, "GET", "/file", "").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
}

/// `docs/OBSERVABILITY.md`, "Tracing": the subscriber can be built and installed.
mod subscriber {
    #[test]
    fn the_subscriber_is_installed() {
        // cargo add tracing-subscriber --features env-filter
        use tracing_subscriber::EnvFilter;
        use tracing_subscriber::fmt::format::FmtSpan;

        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(EnvFilter::from_default_env())
            .with_span_events(FmtSpan::CLOSE) // without it, spans are not printed
            .init();

        assert!(tracing::dispatcher::has_been_set());
    }
}

/// `docs/cookbook/priorities.md`: a layer finds the priority of each request.
mod priorities {
    use std::convert::Infallible;

    use axum::error_handling::HandleErrorLayer;
    use axum::routing::get;
    use concurrency_governor::Keys;
    use concurrency_governor::integration::tower::{GateError, GateLayer};
    use tower::ServiceBuilder;

    use super::*;

    fn tenant_of(_: &axum::extract::Request) -> Option<Key> {
        Some(Key::from("a"))
    }

    #[tokio::test]
    async fn a_layer_sets_priorities() {
        let gate = Gate::builder(GateName::new("work"), Limit::new(1)).keyed(Keys::up_to(16)).build();
        let work_gate = gate.clone();

        use axum::extract::Request;
        use concurrency_governor::gate::Priority;

        fn priority_of(request: &Request) -> Priority {
            match request.uri().path() {
                "/checkout" => Priority::Critical,
                path if path.starts_with("/export/") => Priority::Batch,
                _ => Priority::Normal,
            }
        }

        let layer = GateLayer::new(gate).by_key(tenant_of).priority(priority_of);

        let layer = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |error: GateError<Infallible>| error.into_response::<Body>()))
            .layer(layer);
        let app = Router::new().route("/checkout", get(async || "paid")).route_layer(layer);
        assert_eq!(send(&app, "GET", "/checkout", "").await, (StatusCode::OK, "paid".to_owned()));
        assert_eq!(work_gate.status().totals.admitted, 1);
    }
}

/// `docs/cookbook/graceful-shutdown.md`, "With axum": the server answers until the signal comes, and then ends.
mod shutdown {
    use std::error::Error;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use concurrency_governor::probe::Fixed;
    use concurrency_governor::{Formula, GateSpec, Governor, Reading, Resource};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep, timeout_at};

    use super::*;

    const NOTICE: Duration = Duration::from_millis(10);
    const GRACE: Duration = Duration::from_secs(10);
    const ANSWERS: Duration = Duration::from_secs(10);

    async fn serve(
        listener: TcpListener,
        router: Router,
        governor: Governor,
        stopping: Arc<AtomicBool>,
    ) -> Result<(), Box<dyn Error>> {
        let mut terminate = signal(SignalKind::terminate())?; // before the first request: until then, the signal ends the process
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
            let _ = stopped.await;
        });
        let server = tokio::spawn(serving.into_future());

        terminate.recv().await;
        stopping.store(true, Ordering::Relaxed); // an `AtomicBool`, for which `/ready` answers 503; requests are still served
        sleep(NOTICE).await; // until the load balancer has asked `/ready`
        let _ = stop.send(()); // accepts no more connections
        let deadline = Instant::now() + GRACE;
        let closed = governor.close_all(deadline).await;
        if !closed.is_complete() {
            eprintln!("{closed}");
        }
        match timeout_at(deadline + ANSWERS, server).await {
            // the last answers, and slow clients
            Ok(ended) => ended??,
            Err(_elapsed) => std::process::exit(1), // the end of `main` would wait for blocking closures
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_signal_ends_the_server() {
        const REQUESTS: GateSpec = GateSpec::new("requests", Formula::scale(Resource::CPU, 1));

        let cpu = Fixed::new(Resource::CPU, Reading::whole(1));
        let governor = Governor::builder().gate(REQUESTS).probe(cpu).build().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = Arc::new(AtomicBool::new(false));
        // This task runs when `serve` waits for the signal, so the handler of the signal is installed.
        let signalling = tokio::spawn(async move {
            drop(TcpStream::connect(address).await.unwrap());
            let killed = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
            assert!(killed.unwrap().success());
        });
        serve(listener, Router::new(), governor.clone(), Arc::clone(&stopping)).await.unwrap();
        signalling.await.unwrap();
        assert!(stopping.load(Ordering::Relaxed));
        assert!(governor.gate(REQUESTS).unwrap().is_closed());
        assert!(TcpStream::connect(address).await.is_err());
    }
}

/// Returns a gate with one permit.
fn gate() -> Gate {
    Gate::new(GateName::new("work"), Limit::new(1))
}

/// Sends a request to the service, and returns the status and the body of the response.
async fn send(app: &Router, method: &str, path: &str, body: &'static str) -> (StatusCode, String) {
    let request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
    let response = app.clone().call(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
