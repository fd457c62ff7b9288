//! The load: the requests of many principals, all at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time;

use crate::args::{Args, LimitChange};
use crate::engine::Engine;

/// The number of requests by outcome.
#[derive(Debug, Default)]
pub struct LoadReport {
    pub requested: usize,
    pub completed: usize,
    /// Requests whose capsule trapped because of `--poison`.
    pub trapped: usize,
    /// Requests that failed for another reason, by reason.
    pub failed: BTreeMap<String, usize>,
    pub duration: Duration,
    expected_to_trap: usize,
}

impl LoadReport {
    /// Returns whether every request completed, except those that had to trap.
    pub fn is_as_expected(&self) -> bool {
        self.failed.is_empty()
            && self.trapped == self.expected_to_trap
            && self.completed + self.trapped == self.requested
    }

    fn count(&mut self, outcome: RequestOutcome) {
        match outcome {
            RequestOutcome::Completed => self.completed += 1,
            RequestOutcome::Trapped => self.trapped += 1,
            RequestOutcome::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
        }
    }
}

enum RequestOutcome {
    Completed,
    Trapped,
    Failed(String),
}

/// Starts every request at once, and waits for all of them.
pub async fn run(engine: &Arc<Engine>, args: &Args) -> LoadReport {
    let requested = args.principals.saturating_mul(args.requests);
    let bar = ProgressBar::new(requested as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    let changes = tokio::spawn(apply_changes(Arc::clone(engine), args.lower.clone(), bar.clone()));
    let start = Instant::now();
    let is_poisoned = |request: usize| args.poison.is_some_and(|nth| (request + 1).is_multiple_of(nth.get()));
    let mut requests = JoinSet::new();
    for request in 0..requested {
        let principal = request / args.requests; // there is no request if this is 0
        requests.spawn(handle_request(
            Arc::clone(engine),
            principal as u64,
            args.fetches,
            is_poisoned(request),
        ));
    }
    let mut report = LoadReport {
        requested,
        expected_to_trap: (0..requested).filter(|request| is_poisoned(*request)).count(),
        ..LoadReport::default()
    };
    while let Some(ended) = requests.join_next().await {
        report.count(
            ended.unwrap_or_else(|error| {
                RequestOutcome::Failed(format!("the request's task failed: {error}"))
            }),
        );
        bar.inc(1);
    }
    report.duration = start.elapsed();
    changes.abort();
    bar.finish_and_clear();
    report
}

/// Handles one request of one principal in an instance from the pool.
async fn handle_request(
    engine: Arc<Engine>,
    principal: u64,
    fetches: u16,
    is_poisoned: bool,
) -> RequestOutcome {
    let mut instance = match engine.pool.checkout().await {
        Ok(instance) => instance,
        Err(error) => return RequestOutcome::Failed(error.to_string()),
    };
    let _running = engine.requests.enter();
    // If the request ends before `complete`, the pool discards the instance, because its state is unknown.
    match instance.handle(engine.gates_of(principal), fetches, is_poisoned).await {
        Ok(_) => {
            instance.complete();
            RequestOutcome::Completed
        }
        Err(error) if is_poisoned && error.downcast_ref::<wasmtime::Trap>().is_some() => {
            RequestOutcome::Trapped
        }
        Err(error) => RequestOutcome::Failed(error.root_cause().to_string()),
    }
}

/// Applies each limit change after its delay.
async fn apply_changes(engine: Arc<Engine>, mut changes: Vec<LimitChange>, bar: ProgressBar) {
    let start = time::Instant::now();
    changes.sort_by_key(|change| change.after);
    for (at, change) in changes.iter().enumerate() {
        time::sleep_until(start + change.after).await;
        match engine.apply(&changes[..=at]) {
            Ok(()) => bar.println(format!(
                "{:?}: the limit of gate {} is now {}",
                change.after, change.gate, change.limit
            )),
            Err(error) => bar.println(format!("{:?}: {error}", change.after)),
        }
    }
}
