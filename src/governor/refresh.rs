//! Refreshing in the background: on a slow, jittered clock, and whenever a probe says that something changed.

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Governor;
use crate::jitter::jittered;
use crate::probe::ResourceProbe;

/// When to refresh in the background, and how long a rise must last to be believed.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::governor::RefreshPolicy;
///
/// let policy = RefreshPolicy::new().every(Duration::from_secs(30)).rise_after(5);
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct RefreshPolicy {
    every: Duration,
    rise_after: NonZeroU32,
}

impl RefreshPolicy {
    /// Every 10 s, and a rise must be seen 3 times in a row.
    ///
    /// Ten seconds are a compromise: a refresh of the built-in probes takes microseconds, and what no probe is told of,
    /// such as a process moved to another cgroup, is rare. What they are told of they report at once.
    pub const fn new() -> Self {
        Self { every: Duration::from_secs(10), rise_after: NonZeroU32::MIN.saturating_add(2) }
    }

    /// How long to wait between refreshes when no probe reports a change, give or take a tenth, so that a fleet does
    /// not refresh in step. At least 10 ms.
    pub const fn every(mut self, period: Duration) -> Self {
        self.every = period;
        self
    }

    /// How many times in a row a rise must be seen before the limits follow it; 0 counts as 1. A fall counts at once.
    ///
    /// So a flapping probe does not flap the limits: they stand at the low end of what it says.
    pub const fn rise_after(mut self, times: u32) -> Self {
        self.rise_after = match NonZeroU32::new(times) {
            Some(times) => times,
            None => NonZeroU32::MIN,
        };
        self
    }

    /// The period, moved by up to a tenth either way.
    fn next_delay(&self) -> Duration {
        jittered(self.every).max(SETTLE)
    }
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// A background refresh; it stops when this is dropped.
///
/// ```
/// # use concurrency_governor::{Governor, governor::RefreshPolicy};
/// struct Service {
///     governor: Governor,
///     _refresh: concurrency_governor::governor::RefreshTask, // stops with the service
/// }
/// ```
#[derive(Debug)]
#[must_use = "the refresh stops when this is dropped"]
pub struct RefreshTask {
    task: JoinHandle<()>,
}

impl RefreshTask {
    pub(super) fn spawn(governor: Governor, policy: RefreshPolicy) -> Self {
        Self { task: tokio::spawn(follow(governor, policy)) }
    }

    /// Whether it still runs: it does until it is dropped or its runtime shuts down.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for RefreshTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A write to a cgroup file is often reported before it can be read, and changes come in groups: wait this long after a
/// report before measuring. It is also the least time between two refreshes, however often a probe reports.
const SETTLE: Duration = Duration::from_millis(10);

async fn follow(governor: Governor, policy: RefreshPolicy) {
    let probes = governor.0.prober.lock().await.probes();
    let mut changes = Changes::new(&probes);
    loop {
        if timeout(policy.next_delay(), changes.next()).await.is_ok() {
            sleep(SETTLE).await;
        }
        // What was rejected stands in the events; the next refresh may do better.
        let _ = governor.refresh_damped(policy.rise_after).await;
    }
}

/// Waits for whichever probe reports a change first.
struct Changes<'p> {
    probes: &'p [Arc<dyn ResourceProbe>],
    /// `None` for a probe whose `changed` panicked: it is not asked again, and the clock stands in for it.
    waiting: Vec<Option<Change<'p>>>,
}

type Change<'p> = Pin<Box<dyn Future<Output = ()> + Send + 'p>>;

impl<'p> Changes<'p> {
    fn new(probes: &'p [Arc<dyn ResourceProbe>]) -> Self {
        let waiting = probes.iter().map(|probe| started(&**probe)).collect();
        Self { probes, waiting }
    }

    /// Resolves when any probe has reported a change. Dropping it loses none.
    async fn next(&mut self) {
        poll_fn(|context| {
            let mut changed = Poll::Pending;
            for (waiting, probe) in self.waiting.iter_mut().zip(self.probes) {
                let Some(change) = waiting else { continue };
                match panic::catch_unwind(AssertUnwindSafe(|| change.as_mut().poll(context))) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(())) => {
                        *waiting = started(&**probe);
                        changed = Poll::Ready(());
                    }
                    Err(_) => *waiting = None,
                }
            }
            changed
        })
        .await;
    }
}

/// A panic may come before there is a future at all.
fn started(probe: &dyn ResourceProbe) -> Option<Change<'_>> {
    panic::catch_unwind(AssertUnwindSafe(|| probe.changed())).ok()
}
