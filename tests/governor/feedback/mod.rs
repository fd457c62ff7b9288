//! Limits that follow the outcomes of work: from an attempt under a permit to the limit of the gate.

mod faults;
mod follow;
mod samples;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use concurrency_governor::feedback::Outcome;
use concurrency_governor::governor::{FeedbackStatus, RefreshPolicy};
use concurrency_governor::{Adaptive, Gate, GateSpec, OverrideLayer, Overrides};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::*;

/// At most 64 calls per core, and at most the limit that follows the outcomes.
const UPSTREAM: GateSpec =
    GateSpec::new("upstream", Formula::scale(Resource::CPU, 64)).adaptive(Adaptive::latency());

/// The rises of host probes are damped for longer than any test.
const POLICY: RefreshPolicy = RefreshPolicy::new().rise_after(Duration::from_secs(3600));

fn feedback_of(governor: &Governor, gate: impl Into<GateName>) -> FeedbackStatus {
    governor.feedback(gate).unwrap().unwrap()
}

/// Callers that make one call after another for some seconds of simulated time, each with this latency and outcome.
async fn call(gate: &Gate, callers: u32, millis: u64, outcome: Outcome, seconds: f64) {
    let mut calls = JoinSet::new();
    let start = tokio::time::Instant::now();
    for _ in 0..callers {
        let gate = gate.clone();
        calls.spawn(async move {
            while start.elapsed().as_secs_f64() < seconds {
                let work = async { sleep(Duration::from_millis(millis)).await };
                gate.request().observe(work, |()| outcome).await.unwrap();
            }
        });
    }
    calls.join_all().await;
}
