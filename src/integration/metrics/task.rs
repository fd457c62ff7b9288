//! Recording in the background.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Metrics;

impl Metrics {
    /// Records now and then once per period, until the task is dropped. The shortest period is 1 ms.
    ///
    /// Use the scrape interval or half of it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with time enabled.
    pub fn spawn(self, every: Duration) -> MetricsTask {
        let mut ticks = interval(every.max(MIN_PERIOD));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let task = tokio::spawn(async move {
            loop {
                ticks.tick().await;
                self.record();
            }
        });
        MetricsTask { task }
    }
}

/// A background task that records metrics; from [`Metrics::spawn`]. It stops when this handle is dropped.
#[derive(Debug)]
#[must_use = "the recording stops when this is dropped"]
pub struct MetricsTask {
    task: JoinHandle<()>,
}

impl MetricsTask {
    /// Returns `true` until the task is dropped, its runtime shuts down or the recorder panics.
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

/// The resolution of tokio's timer.
const MIN_PERIOD: Duration = Duration::from_millis(1);
