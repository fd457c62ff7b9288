//! Services that use the permit of their request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};

use concurrency_governor::AcquireError;
use concurrency_governor::integration::tower::{GateLayer, RequestPermit};
use http::{Request, Response};
use tower::Layer;

use super::*;

fn take_permit(request: &mut Request<()>) -> RequestPermit {
    request.extensions_mut().remove().expect("the layer passes the permit")
}

/// At a limit of 1, a service that runs blocking work under the permit of its request does not deadlock: it waits for no
/// second permit.
#[tokio::test]
async fn blocking_work_uses_the_permit_of_its_request() {
    let gate = gate(1);
    let gate_of_service = gate.clone();
    let service = service_fn(move |mut request: Request<()>| {
        let (permit, gate) = (take_permit(&mut request), gate_of_service.clone());
        async move {
            assert_eq!((permit.weight(), permit.gate()), (1, API));
            permit.run_blocking(move || in_use_and_waiting(&gate)).await
        }
    });
    let mut service = GateLayer::new(gate.clone()).pass_permit().layer(service);
    assert_eq!(complete(service.call(Request::new(()))).await.unwrap(), (1, 0));
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
    assert_eq!(gate.status().totals.admitted, 1);
}

/// The permit is in use until the blocking work ends, although the request was cancelled.
#[tokio::test]
async fn a_cancelled_request_counts_until_its_blocking_work_ends() {
    let gate = gate(1);
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(Some(released)));
    let service = service_fn(move |mut request: Request<()>| {
        let (permit, released) = (take_permit(&mut request), released.lock().unwrap().take().unwrap());
        permit.run_blocking(move || assert!(released.recv().is_err(), "nothing is sent"))
    });
    let mut response =
        Box::pin(GateLayer::new(gate.clone()).pass_permit().layer(service).call(Request::new(())));
    assert!(poll(response.as_mut()).is_pending());
    drop(response);
    assert_eq!(in_use_and_waiting(&gate), (1, 0), "the thread still works");

    let mut next = pin!(gate.acquire());
    assert!(poll(next.as_mut()).is_pending());
    drop(release);
    drop(complete(next).await.unwrap());
}

/// The permit is released when both the layer and the service have dropped it, in either order, and the request itself
/// does not keep it in use.
#[test]
fn the_permit_is_released_by_the_last_of_layer_and_service() {
    let gate = gate(1);
    let kept = Arc::new(Mutex::new(None));
    let kept_by_service = Arc::clone(&kept);
    let service = service_fn(move |mut request: Request<bool>| {
        let permit = request.extensions_mut().remove::<RequestPermit>();
        *kept_by_service.lock().unwrap() = permit.filter(|_| *request.body());
        async { Ok::<_, Infallible>(Response::new(http_body_util::Full::new(&b"seven"[..]))) }
    });
    let layer = GateLayer::new(gate.clone()).pass_permit();
    for keep in [false, true] {
        let response = poll(pin!(layer.layer(service.clone()).call(Request::new(keep))));
        assert_eq!(in_use_and_waiting(&gate), (u32::from(keep), 0));
        drop(response);
        assert_eq!(in_use_and_waiting(&gate), (u32::from(keep), 0));
        *kept.lock().unwrap() = None;
        assert_eq!(in_use_and_waiting(&gate), (0, 0));

        let response =
            poll(pin!(layer.clone().hold_until_body_ends().layer(service.clone()).call(Request::new(keep))));
        *kept.lock().unwrap() = None;
        assert_eq!(in_use_and_waiting(&gate), (1, 0), "the body still holds it");
        drop(response);
        assert_eq!(in_use_and_waiting(&gate), (0, 0));
    }
}

/// A panic of the service releases a permit that was passed to it, and a panic of blocking work continues in the service.
#[tokio::test]
async fn a_panic_releases_a_passed_permit() {
    let gate = gate(1);
    let in_future = service_fn(|mut request: Request<()>| {
        let permit = take_permit(&mut request);
        async move {
            let _permit = permit;
            panic!("in the future") as Result<(), Infallible>
        }
    });
    let layer = GateLayer::new(gate.clone()).pass_permit();
    let mut response = Box::pin(layer.layer(in_future).call(Request::new(())));
    catch_unwind(AssertUnwindSafe(|| poll(response.as_mut()))).unwrap_err();
    assert_eq!(in_use_and_waiting(&gate), (0, 0));

    let in_thread = service_fn(|mut request: Request<()>| {
        let permit = take_permit(&mut request);
        permit.run_blocking(|| -> () { panic!("in the thread") })
    });
    let response = tokio::spawn(layer.layer(in_thread).call(Request::new(())));
    assert!(complete(response).await.unwrap_err().is_panic());
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}

/// Without a runtime, blocking work is rejected and the permit is released.
#[test]
fn blocking_work_needs_a_runtime() {
    let gate = gate(1);
    let service = service_fn(|mut request: Request<()>| take_permit(&mut request).run_blocking(|| 7));
    let response =
        poll(pin!(GateLayer::new(gate.clone()).pass_permit().layer(service).call(Request::new(()))));
    assert_eq!(response, Poll::Ready(Err(GateError::Service(AcquireError::NoRuntime { gate: API }))));
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}
