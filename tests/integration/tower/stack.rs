//! The layer within a stack of tower's own layers.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use concurrency_governor::integration::tower::GateLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::*;

/// In a `Buffer`, whose requests share one service, waiters do not block other requests, and the limit holds.
#[tokio::test]
async fn waiters_do_not_block_a_buffer() {
    let gate = gate(2);
    let most_in_use = Arc::new(AtomicUsize::new(0));
    let (gate_of_service, seen) = (gate.clone(), Arc::clone(&most_in_use));
    let service = ServiceBuilder::new().buffer(64).layer(GateLayer::new(gate.clone())).service(service_fn(
        move |number: u32| {
            seen.fetch_max(gate_of_service.status().in_use as usize, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                Ok::<_, BoxError>(number)
            }
        },
    ));
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let mut service = service.clone();
            tokio::spawn(async move { service.ready().await?.call(number).await })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(complete(task).await.unwrap().unwrap() as usize, number);
    }
    assert_eq!(most_in_use.load(Ordering::Relaxed), 2);
    assert_eq!(in_use_and_waiting(&gate), (0, 0));
}

/// `LoadShed` outside of the layer sheds nothing, because the service is ready. `GateLayer::no_wait` does.
#[tokio::test]
async fn the_layer_sheds_itself_and_load_shed_does_not() {
    let gate = gate(1);
    let permit = gate.try_acquire().unwrap();
    let stack = ServiceBuilder::new().load_shed();
    let mut waits = stack.clone().layer(GateLayer::new(gate.clone())).service(echo());
    assert!(is_ready(&mut waits));
    let mut response = pin!(waits.call(7));
    assert!(poll(response.as_mut()).is_pending());
    let mut sheds = stack.layer(GateLayer::new(gate.clone()).no_wait()).service(echo());
    let error = complete(sheds.ready().await.unwrap().call(7)).await.unwrap_err();
    let Some(GateError::Rejected(rejected)) = error.downcast_ref::<GateError<Infallible>>() else {
        panic!("{error}")
    };
    assert_eq!(rejected.reason(), "no_permits");
    drop(permit);
    assert_eq!(complete(response).await.unwrap(), 7);
}
