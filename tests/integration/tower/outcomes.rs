//! The layer reports outcomes to a gate whose limit follows them.

use std::time::Duration;

use concurrency_governor::feedback::{Outcome, OutcomeCounts};
use concurrency_governor::gate::Key;
use concurrency_governor::integration::tower::GateLayer;
use concurrency_governor::{Adaptive, Formula, GateSpec, Governor, Keys};
use tower::{Layer, ServiceExt};

use super::*;

const UPSTREAM: GateSpec = GateSpec::new("upstream", Formula::fixed(8))
    .keyed(Keys::up_to(10))
    .adaptive(Adaptive::latency().start(8));

/// Returns the outcomes that the governor has seen.
async fn outcomes_of(governor: &Governor) -> OutcomeCounts {
    governor.refresh().await.unwrap();
    governor.feedback(UPSTREAM).unwrap().unwrap().outcomes
}

fn classify(result: &Result<u32, &'static str>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err("busy") => Outcome::Overload,
        Err(_) => Outcome::Ignore,
    }
}

/// Each result of the service is classified, with a key and without. Requests that are rejected or dropped have no outcome, and a layer
/// without `observe` reports none.
#[tokio::test(start_paused = true)]
async fn each_result_is_classified() {
    let governor = Governor::builder().gate(UPSTREAM).build().await.unwrap();
    let gate = governor.gate(UPSTREAM).unwrap();
    let work = service_fn(|number: u32| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        match number {
            0 => Err("busy"),
            1 => Err("not found"),
            number => Ok(number),
        }
    });
    let observed = GateLayer::new(gate.clone()).no_wait().observe(classify);
    let keyed = observed.clone().by_key(|number: &u32| Key::from(u64::from(*number)));

    for number in 0..5 {
        let result = observed.layer(work).oneshot(number).await;
        assert_eq!(result.ok(), Some(number).filter(|number| *number > 1));
        let _ = keyed.layer(work).oneshot(number).await;
        let _ = GateLayer::new(gate.clone()).layer(work).oneshot(number).await;
    }
    let expected = OutcomeCounts { successes: 6, overloads: 2, ignored: 2 };
    assert_eq!(outcomes_of(&governor).await, expected);

    let all = gate.try_acquire_many(8).unwrap();
    assert!(observed.layer(work).oneshot(7).await.is_err());
    drop(all);
    let dropped = observed.layer(work).oneshot(7);
    assert!(tokio::time::timeout(Duration::from_millis(5), dropped).await.is_err());
    assert_eq!((outcomes_of(&governor).await, gate.in_use()), (expected, 0));
}

/// The latency that counts is that of the service, whatever the wait for the permit and the body of the response.
#[tokio::test(start_paused = true)]
async fn the_latency_is_that_of_the_service() {
    let governor = Governor::builder().gate(UPSTREAM).build().await.unwrap();
    let layer = GateLayer::new(governor.gate(UPSTREAM).unwrap()).pass_permit().hold_until_body_ends();
    let layer =
        layer.observe(|_: &Result<http::Response<http_body_util::Full<&'static [u8]>>, Infallible>| {
            Outcome::Success
        });
    let work = service_fn(|_: http::Request<()>| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(http::Response::new(http_body_util::Full::new(&b"body"[..])))
    });
    // 160 requests in rounds of 8: the last one waits for 400 ms.
    let requests = (0..160).map(|_| tokio::spawn(layer.layer(work).oneshot(http::Request::new(()))));
    for request in requests.collect::<Vec<_>>() {
        drop(request.await.unwrap().unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    governor.refresh().await.unwrap();
    let feedback = governor.feedback(UPSTREAM).unwrap().unwrap();
    let observed = *feedback.history.iter().next().unwrap().observed();
    assert_eq!((observed.samples, observed.mean), (160, Duration::from_millis(20)));
}
