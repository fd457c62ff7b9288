//! The load: requests of many principals, all at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time;

use crate::args::{Args, Change};
use crate::engine::Engine;

/// What became of all requests.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub requested: usize,
    pub completed: usize,
    /// Those whose capsule trapped, as it was told to.
    pub trapped: usize,
    /// Those that failed otherwise, by reason.
    pub failed: BTreeMap<String, usize>,
    pub took: Duration,
    expected_to_trap: usize,
}

impl Outcomes {
    /// Whether every request completed but for those whose capsule was told to trap.
    pub fn are_as_expected(&self) -> bool {
        self.failed.is_empty()
            && self.trapped == self.expected_to_trap
            && self.completed + self.trapped == self.requested
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Trapped => self.trapped += 1,
            Outcome::Failed(reason) => *self.failed.entry(reason).or_default() += 1,
        }
    }
}

enum Outcome {
    Completed,
    Trapped,
    Failed(String),
}

/// Makes every request at once, and waits for all of them.
pub async fn run(engine: &Arc<Engine>, args: &Args) -> Outcomes {
    let requested = args.principals.saturating_mul(args.requests);
    let bar = ProgressBar::new(requested as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    let changes = tokio::spawn(change(Arc::clone(engine), args.lower.clone(), bar.clone()));
    let began = Instant::now();
    let is_poisoned = |request: usize| args.poison.is_some_and(|nth| (request + 1).is_multiple_of(nth.get()));
    let mut requests = JoinSet::new();
    for request in 0..requested {
        requests.spawn(handle(Arc::clone(engine), args.fetches, is_poisoned(request)));
    }
    let mut outcomes = Outcomes {
        requested,
        expected_to_trap: (0..requested).filter(|request| is_poisoned(*request)).count(),
        ..Outcomes::default()
    };
    while let Some(ended) = requests.join_next().await {
        outcomes.count(
            ended.unwrap_or_else(|error| Outcome::Failed(format!("the request's task failed: {error}"))),
        );
        bar.inc(1);
    }
    outcomes.took = began.elapsed();
    changes.abort();
    bar.finish_and_clear();
    outcomes
}

/// One request of one principal, in an instance of its own for as long as it takes.
async fn handle(engine: Arc<Engine>, fetches: u16, is_poisoned: bool) -> Outcome {
    let mut instance = match engine.pool.checkout().await {
        Ok(instance) => instance,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let _at_work = engine.handling.enter();
    instance.begin(); // whatever ends this before it is complete leaves an instance behind that nobody may use again
    match instance.handle(fetches, is_poisoned).await {
        Ok(_) => {
            instance.complete();
            Outcome::Completed
        }
        Err(error) if is_poisoned && error.downcast_ref::<wasmtime::Trap>().is_some() => Outcome::Trapped,
        Err(error) => Outcome::Failed(error.root_cause().to_string()),
    }
}

/// Changes limits when their time has come.
async fn change(engine: Arc<Engine>, mut changes: Vec<Change>, bar: ProgressBar) {
    let began = time::Instant::now();
    changes.sort_by_key(|change| change.after);
    for (at, change) in changes.iter().enumerate() {
        time::sleep_until(began + change.after).await;
        match engine.change(&changes[..=at]) {
            Ok(()) => bar.println(format!(
                "{:?}: gate {} now has the limit {}",
                change.after, change.gate, change.limit
            )),
            Err(error) => bar.println(format!("{:?}: {error}", change.after)),
        }
    }
}
