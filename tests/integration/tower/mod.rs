//! The tower layer: readiness, permits, rejections and bodies. Futures are polled by hand.

#![expect(clippy::arithmetic_side_effects, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod body;
mod budget;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod combinations;
mod keys;
mod outcomes;
mod passing;
mod permits;
mod readiness;
mod rejections;
#[cfg(feature = "fleet")]
mod shared;
mod stack;
#[cfg(feature = "tracing")]
mod traced;

use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use concurrency_governor::integration::tower::{GateError, Rejected};
use concurrency_governor::{Gate, GateName, Limit};
use tokio::sync::oneshot;
use tower::{Service, service_fn};

use crate::support::{complete, poll};

const API: GateName = GateName::new("api");

fn gate(limit: u32) -> Gate {
    Gate::new(API, Limit::new(limit))
}

/// Returns the permits in use and the number of waiters, after a check of the sum of the permits.
fn in_use_and_waiting(gate: &Gate) -> (u32, usize) {
    let status = gate.status();
    assert_eq!(
        status.in_use + status.available,
        status.limit.get() + status.debt,
        "permits in use and available permits add up to limit and debt"
    );
    (status.in_use, status.waiting)
}

fn is_ready<R, S: Service<R>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// A service that responds once the test sends a number through the request's channel.
fn wait_for_reply()
-> impl Service<oneshot::Receiver<u32>, Response = u32, Error = Infallible, Future: Send> + Clone {
    service_fn(|reply: oneshot::Receiver<u32>| async move { Ok(reply.await.unwrap()) })
}

fn echo() -> impl Service<u32, Response = u32, Error = Infallible, Future: Send> + Clone {
    service_fn(|number: u32| async move { Ok(number) })
}

fn expect_rejected<T, E>(response: Poll<Result<T, GateError<E>>>) -> Rejected {
    match response {
        Poll::Ready(Err(GateError::Rejected(rejected))) => rejected,
        _ => panic!("the request was not rejected"),
    }
}
