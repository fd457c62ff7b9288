//! The cooperative budget of tokio: a task whose requests never have to wait still yields to the runtime.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use concurrency_governor::integration::tower::GateLayer;
use tokio::task::coop::poll_proceed;
use tokio::task::yield_now;
use tower::Layer;

use super::*;

/// More requests than the budget of any task.
const MANY: u32 = 100_000;

/// Calls a service of the layer in a loop, and checks that another task runs before the loop ends.
async fn assert_yields(layer: GateLayer, is_admitted: bool) {
    let mut service = layer.layer(echo());
    let other_ran = Arc::new(AtomicBool::new(false));
    let other = Arc::clone(&other_ran);
    let other = tokio::spawn(async move { other.store(true, SeqCst) });
    let mut rounds = 0;
    while rounds < MANY && !other_ran.load(SeqCst) {
        assert!(is_ready(&mut service));
        assert_eq!(service.call(7).await.is_ok(), is_admitted);
        rounds += 1;
    }
    assert!(rounds < MANY, "the task did not yield");
    other.await.unwrap();
}

/// A task whose requests are admitted or rejected in a loop yields.
#[tokio::test]
async fn requests_spend_the_budget() {
    let gate = gate(1);
    let layer = || GateLayer::new(gate.clone());
    for layer in [layer(), layer().max_wait(Duration::from_secs(1)), layer().no_wait()] {
        assert_yields(layer, true).await;
    }
    let held = gate.try_acquire().unwrap();
    assert_yields(layer().no_wait(), false).await;
    assert_yields(layer().max_wait(Duration::ZERO), false).await;
    drop(held);
    gate.close();
    assert_yields(layer(), false).await;
}

/// A request of a task without budget acquires its permit at once, and calls the service when the task has a budget again. With
/// `no_wait`, the permit is acquired only then.
#[tokio::test]
async fn a_request_keeps_its_turn_while_the_budget_is_spent() {
    let gate = gate(1);
    for (layer, in_use) in [(GateLayer::new(gate.clone()), 1), (GateLayer::new(gate.clone()).no_wait(), 0)] {
        let mut service = layer.layer(echo());
        assert!(is_ready(&mut service));
        let mut request = pin!(service.call(7));
        yield_now().await; // begins with the whole budget
        poll_fn(|cx| {
            while let Poll::Ready(budget) = poll_proceed(cx) {
                budget.made_progress();
            }
            assert!(poll(request.as_mut()).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(in_use_and_waiting(&gate), (in_use, 0));
        assert_eq!(request.await, Ok(7));
    }
}
