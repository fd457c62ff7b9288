//! The errors of a service behind a gate.

use std::pin::pin;
use std::time::Duration;

use concurrency_governor::integration::tower::GateLayer;
use concurrency_governor::{Permit, Shed};
use http::{Response, StatusCode};
use tower::Layer;

use super::*;

/// A rejection has a reason and a retry time. As an HTTP response it is 503 with `Retry-After` in whole seconds.
#[tokio::test(start_paused = true)]
async fn a_rejection_has_a_reason_and_a_retry_time() {
    let gate = Gate::builder(API, Limit::new(1)).queue(1).build();
    let permit = gate.try_acquire().unwrap();
    let layer = GateLayer::new(gate.clone()).retry_after(Duration::from_millis(2500));

    let shed = expect_rejected(poll(pin!(layer.clone().no_wait().layer(echo()).call(1))));
    assert_eq!((shed.reason(), shed.gate()), ("no_permits", API));
    let full = Gate::new(API, Limit::new(1));
    let _permit = full.try_acquire().unwrap();
    assert_eq!(
        shed.to_string(),
        full.try_acquire().unwrap_err().to_string(),
        "the message is the gate's own"
    );
    let as_error = GateError::<&str>::from(shed.clone());
    assert_eq!([format!("{shed:?}"), format!("{as_error:?}")], [shed.to_string(), as_error.to_string()]);

    let max_wait = Duration::from_millis(40);
    let start = tokio::time::Instant::now();
    let expired = complete(layer.clone().max_wait(max_wait).layer(echo()).call(1)).await;
    assert_eq!(start.elapsed(), max_wait);
    assert_eq!(expect_rejected(Poll::Ready(expired)).reason(), "expired");

    let mut waiting = Box::pin(layer.layer(echo()).call(1));
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(expect_rejected(poll(pin!(layer.layer(echo()).call(1)))).reason(), "queue_full");
    gate.close();
    assert_eq!(expect_rejected(poll(waiting.as_mut())).reason(), "closed");
    assert_eq!(expect_rejected(poll(pin!(layer.clone().no_wait().layer(echo()).call(1)))).reason(), "closed");
    drop(permit);
    assert_eq!(gate.status().totals.admitted, 1, "no request of the service was admitted");
    assert_eq!(gate.status().totals.rejected.no_permits, 1, "a request that waits is not rejected first");

    let response: Response<String> = GateError::<Infallible>::from(shed).into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "3", "rounded up");
    assert_eq!(response.body(), "the service is busy: try again in 3 s\n");
    assert!(!response.body().contains("api"), "the response does not name the gate");

    let closed: Response<String> =
        expect_rejected(poll(pin!(layer.clone().no_wait().layer(echo()).call(1)))).into_response();
    assert_eq!(
        (closed.status(), closed.body().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "the service is shutting down\n")
    );
    assert!(!closed.headers().contains_key("retry-after"), "a closed gate does not open again");

    let full = Gate::new(API, Limit::new(1));
    let _held = full.try_acquire().unwrap();
    let without_delay = GateLayer::new(full.clone()).retry_after(Duration::ZERO).no_wait().layer(echo());
    let response: Response<String> =
        expect_rejected(poll(pin!(without_delay.clone().call(1)))).into_response();
    assert_eq!(response.headers()["retry-after"], "1", "at least 1");
}

/// An error of the inner service is passed on unchanged, and the permit is released.
#[test]
fn errors_of_the_service_are_passed_on() {
    let gate = gate(1);
    let fails = service_fn(|(): ()| async { Err::<(), &'static str>("broken") });
    let response = poll(pin!(GateLayer::new(gate.clone()).layer(fails).call(())));
    assert_eq!(response, Poll::Ready(Err(GateError::Service("broken"))));
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}

/// A handler that acquires permits itself responds to a rejection with 503 and `Retry-After` by `?`, whichever method it calls.
#[test]
#[expect(clippy::result_large_err, reason = "a response is the error of a handler in axum, too")]
fn a_rejection_converts_to_a_response() {
    type Handled<'g> = Result<Permit<'g>, Response<String>>;
    let gate = Gate::builder(API, Limit::new(1)).queue(0).build();
    let _held = gate.try_acquire().unwrap();
    let acquire = async || -> Handled<'_> { Ok(gate.acquire().await?) };
    let try_acquire = || -> Handled<'_> { Ok(gate.try_acquire()?) };
    let rejected = || -> Handled<'_> {
        let later = |error| Rejected::from(error).with_retry_after(Duration::from_secs(7));
        Ok(gate.try_acquire().map_err(later)?)
    };
    let gate_error = || -> Handled<'_> { Ok(gate.try_acquire().map_err(GateError::<Infallible>::from)?) };

    let Poll::Ready(acquired) = poll(pin!(acquire())) else { panic!("no request may wait") };
    let results = [(acquired, "1"), (try_acquire(), "1"), (rejected(), "7"), (gate_error(), "1")];
    for (handled, retry_after) in results {
        let response = handled.unwrap_err();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], retry_after);
    }
    gate.close();
    let error: GateError<&str> = gate.acquire_blocking().unwrap_err().into();
    assert_eq!(expect_rejected(Poll::Ready(Err::<(), _>(error))).reason(), "closed");
}

/// At a gate that sheds, the retry time is the time in which the queue will have drained, plus or minus up to a quarter. Otherwise it is
/// the time of the layer.
#[tokio::test(start_paused = true)]
async fn the_hint_of_the_gate_is_the_retry_time() {
    let gate =
        Gate::builder(API, Limit::new(1)).queue(2).shed(Shed::after(Duration::from_secs(3600))).build();
    let layer = GateLayer::new(gate.clone()).retry_after(Duration::from_secs(9));
    let mut permit = gate.try_acquire_owned().unwrap();
    let mut waiting = [(); 2].map(|()| Box::pin(gate.acquire_owned()));
    for request in &mut waiting {
        assert!(poll(request.as_mut()).is_pending());
    }
    let full = expect_rejected(poll(pin!(layer.layer(echo()).call(1))));
    assert_eq!(
        (full.reason(), full.retry_after()),
        ("queue_full", Duration::from_secs(9)),
        "the rate is unknown"
    );
    // One request a second: each waits for two others.
    for number in 0..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(permit);
        let request = &mut waiting[number % 2];
        permit = complete(request.as_mut()).await.unwrap();
        request.set(gate.acquire_owned());
        let _ = poll(request.as_mut());
    }
    let hint = gate.status().retry_after.unwrap(); // read first, because each rejection is given a later time
    let rejected = expect_rejected(poll(pin!(layer.layer(echo()).call(1))));
    let expected = hint.mul_f64(0.75)..=hint.mul_f64(1.25);
    assert!(
        expected.contains(&rejected.retry_after()),
        "{:?} is not in {expected:?}",
        rejected.retry_after()
    );
    assert_eq!(
        expect_rejected(poll(pin!(layer.no_wait().layer(echo()).call(1)))).retry_after(),
        Duration::from_secs(9)
    );
}
