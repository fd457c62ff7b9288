//! The background refresh: its policy, its task, and the change reports of the probes.

use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::prober::RefreshScope;
use crate::jitter::jittered;
use crate::probe::ResourceProbe;

/// When the background refresh runs, and how long a rise must last before the limits follow it.
///
/// ```
/// use std::time::Duration;
/// use concurrency_governor::governor::RefreshPolicy;
///
/// let policy = RefreshPolicy::new().every(Duration::from_secs(30)).rise_after(Duration::from_secs(60));
/// # let _ = policy;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct RefreshPolicy {
    every: Duration,
    rise_after: Duration,
}

impl RefreshPolicy {
    /// Creates the default policy: a refresh every 10 s, and a rise must last for 5 s.
    ///
    /// Most changes do not wait for the timer, because the built-in probes report them at once. The timer is for changes
    /// that no probe reports, such as a process that moves to another cgroup. Those are rare, and a refresh of the
    /// built-in probes takes little time.
    ///
    /// A Kubernetes resize writes each limit once. A rise that has lasted for 5 s is hardly ever taken back, and 5 s are
    /// short enough for an operator who waits for the new limit.
    pub const fn new() -> Self {
        Self { every: Duration::from_secs(10), rise_after: Duration::from_secs(5) }
    }

    /// Sets the period between refreshes while no probe reports a change. The minimum is 10 ms.
    ///
    /// Each period is jittered by up to a tenth, so that the processes of a fleet do not refresh at the same time.
    pub const fn every(mut self, period: Duration) -> Self {
        self.every = period;
        self
    }

    /// Sets how long a rise must last before the limits follow it. With [`Duration::ZERO`], they follow at once.
    ///
    /// The time begins with the first measurement that sees the rise, and ends with a measurement of its own, whatever
    /// the period of the refresh. It begins again after a measurement that does not see the rise, or fails.
    ///
    /// A change from or to an unknown reading must last, too. A fall takes effect in the refresh that measures it. So a flapping reading
    /// does not make the limits flap: they stay at its low end.
    pub const fn rise_after(mut self, duration: Duration) -> Self {
        self.rise_after = duration;
        self
    }

    pub(super) const fn rise_duration(&self) -> Duration {
        self.rise_after
    }
}

impl Default for RefreshPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// The background refresh of a governor. It stops when this is dropped.
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
    refresh: JoinHandle<()>,
    /// The tasks that report other events to the observers, such as stalls and changes of leases.
    others: Vec<JoinHandle<()>>,
}

impl RefreshTask {
    pub(super) fn spawn(
        refresh_loop: impl Future<Output = ()> + Send + 'static,
        watch_loop: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { refresh: tokio::spawn(refresh_loop), others: vec![tokio::spawn(watch_loop)] }
    }

    /// Runs another loop for as long as the refresh.
    #[cfg(feature = "fleet")]
    pub(super) fn also(&mut self, other_loop: impl Future<Output = ()> + Send + 'static) {
        self.others.push(tokio::spawn(other_loop));
    }

    /// Returns `true` until the task is dropped or its runtime shuts down.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.refresh.is_finished()
    }
}

impl Drop for RefreshTask {
    fn drop(&mut self) {
        self.refresh.abort();
        self.others.iter().for_each(JoinHandle::abort);
    }
}

/// The delay between a change report and the measurement, and the shortest period between two refreshes.
///
/// A write to a cgroup file is often reported before it can be read, and changes come in bursts.
const SETTLE_TIME: Duration = Duration::from_millis(10);

/// The pending change reports of all probes.
pub(super) struct ChangeReports<'p> {
    probes: &'p [Arc<dyn ResourceProbe>],
    /// `None` for a probe whose `changed` has panicked. It is not called again; the timer covers the probe.
    pending: Vec<Option<Pin<Box<dyn Future<Output = ()> + Send + 'p>>>>,
    /// When all probes are measured next, if no report causes that before. `None` after such a refresh.
    full_refresh_due: Option<Instant>,
}

impl<'p> ChangeReports<'p> {
    pub(super) fn new(probes: &'p [Arc<dyn ResourceProbe>]) -> Self {
        let pending = probes.iter().map(|probe| call_changed(&**probe)).collect();
        Self { probes, pending, full_refresh_due: None }
    }

    /// Waits until the next refresh is due: after a change report, after the policy's period, or when a rise has lasted. Returns which
    /// probes to measure: all, unless nothing else is due and only probes reported whose readings rise at once.
    pub(super) async fn wait_for_refresh(
        &mut self,
        policy: &RefreshPolicy,
        rise_due: Option<Instant>,
    ) -> RefreshScope {
        let now = Instant::now();
        // The period goes on during a refresh of some probes: probes that report often must not delay the measurement of the others.
        self.full_refresh_due = self.full_refresh_due.or_else(|| now.checked_add(jittered(policy.every)));
        let dues = [self.full_refresh_due, rise_due];
        let untils = dues.into_iter().flatten().map(|due| due.saturating_duration_since(now));
        let period = untils.min().unwrap_or(Duration::MAX).max(SETTLE_TIME);
        if let Ok(reported) = timeout(period, self.next()).await {
            sleep(SETTLE_TIME).await;
            let is_due = dues.into_iter().flatten().any(|due| due <= Instant::now());
            if !is_due && reported.iter().all(|index| self.probes[*index].rises_at_once()) {
                return RefreshScope::Only(reported);
            }
        }
        self.full_refresh_due = None;
        RefreshScope::All
    }

    /// Resolves when probes have reported a change, with their indices. Dropping the future loses no report.
    async fn next(&mut self) -> Vec<usize> {
        poll_fn(|context| {
            let mut reported = Vec::new();
            // All probes are polled, also after the first report, so that each has this task's waker.
            for (index, (pending, probe)) in self.pending.iter_mut().zip(self.probes).enumerate() {
                let Some(report) = pending else { continue };
                match panic::catch_unwind(AssertUnwindSafe(|| report.as_mut().poll(context))) {
                    Ok(Poll::Pending) => {}
                    Ok(Poll::Ready(())) => {
                        *pending = call_changed(&**probe);
                        reported.push(index);
                    }
                    Err(_) => *pending = None,
                }
            }
            if reported.is_empty() { Poll::Pending } else { Poll::Ready(reported) }
        })
        .await
    }
}

/// Calls `changed`. Returns `None` if it panics before it returns its future.
fn call_changed(probe: &dyn ResourceProbe) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
    panic::catch_unwind(AssertUnwindSafe(|| probe.changed())).ok()
}
