//! Recording in the background.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Metrics;

/// Records in the background; it stops when this is dropped.
#[derive(Debug)]
#[must_use = "the recording stops when this is dropped"]
pub struct MetricsTask {
    task: JoinHandle<()>,
}

impl MetricsTask {
    pub(super) fn spawn(metrics: Metrics, every: Duration) -> Self {
        let mut ticks = interval(every.max(SHORTEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let task = tokio::spawn(async move {
            loop {
                ticks.tick().await;
                metrics.record();
            }
        });
        Self { task }
    }

    /// Whether it still runs: it does until it is dropped, its runtime shuts down or its recorder panics.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for MetricsTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a timer of tokio's can tell apart.
const SHORTEST: Duration = Duration::from_millis(1);
