//! Waits for stalled tasks: the triggers of pressure files.

use std::fs::OpenOptions;
use std::future::pending;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::Interest;

use super::super::host::SharedHostReader;
use super::super::read::{MeasurementBuilder, pressure};
use super::fork_local::ForkLocal;
use super::runtime::{self, PollInterval, RegisterFdError, RegisteredFd};

/// Waits until tasks have stalled for `stall` within `window`, or for `stall` in total since an earlier wait. A clone has its own trigger.
#[derive(Debug)]
pub(in crate::probe) struct PsiTrigger {
    stall: Duration,
    window: Duration,
    poll: PollInterval,
    state: ForkLocal<TriggerState>,
}

#[derive(Debug, Default)]
struct TriggerState {
    armed: Option<ArmedTrigger>,
    /// The total of the stalls at the last report or at the start of the wait.
    baseline: Option<StallBaseline>,
    /// The reason why the kernel has no trigger for this file.
    error: Option<String>,
    /// Set once a runtime had no I/O driver. A trigger could not be waited for then.
    is_polled: bool,
}

/// A trigger that the kernel has accepted. It is active while the descriptor is open.
#[derive(Debug)]
struct ArmedTrigger {
    file: PathBuf,
    descriptor: OwnedFd,
}

#[derive(Debug)]
struct StallBaseline {
    file: PathBuf,
    total: Duration,
}

/// The reason for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckReason {
    /// A wait begins.
    Start,
    /// The trigger fired, or its cgroup was removed.
    TriggerReady,
    /// The poll interval has passed.
    PollInterval,
}

impl PsiTrigger {
    /// Creates a trigger that is not armed yet. The window is at least 10 ms.
    pub(in crate::probe) fn new(stall: Duration, window: Duration) -> Self {
        // The window is also the poll interval if the kernel accepts no trigger. The kernel's own minimum is 500 ms.
        let window = window.max(Duration::from_millis(10));
        Self { stall, window, poll: PollInterval::default(), state: ForkLocal::default() }
    }

    /// Returns a note with the reason why the kernel does not report stalls.
    pub(in crate::probe) fn note(&self) -> Option<String> {
        let state = self.state.lock()?;
        let error = state.error.as_ref()?;
        let instead = match self.poll.period() {
            Some(_) => format!("; polled every {:?}", self.window),
            None => " and no polling".to_owned(),
        };
        Some(format!("no pressure notification ({error}){instead}"))
    }

    /// Waits until the tasks of the cgroup have stalled for `stall` within `window`, or have stalled for `stall` in total since an
    /// earlier call when this one begins. `resource` is `cpu`, `memory` or
    /// `io`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. The stall of a trigger that fired during a cancelled wait is part of the total, and the next call
    /// compares the total first.
    pub(in crate::probe) async fn fired(&self, resource: &str, host: &SharedHostReader) {
        if !host.can_change() {
            return pending().await;
        }
        let mut reason = CheckReason::Start;
        let mut registered: Option<(PathBuf, RegisteredFd)> = None;
        loop {
            if self.check(resource, host, reason) {
                return;
            }
            // Registers the trigger with this runtime. A check may have armed one on another file.
            let armed = self.armed_file();
            if registered.as_ref().map(|(file, _)| file) != armed.as_ref() {
                registered = self.register();
            }
            // Without a trigger, the stalls are polled once per window.
            let period =
                self.poll.detect_timer().map(|slow| if registered.is_some() { slow } else { self.window });
            let descriptor = registered.as_ref().map(|(_, descriptor)| descriptor);
            let ready = runtime::ready_within(descriptor, period).await;
            reason = if ready.is_some() { CheckReason::TriggerReady } else { CheckReason::PollInterval };
            if let Some(mut guard) = ready {
                guard.clear_ready();
            }
        }
    }

    /// Reads the total of the stalls, and returns whether the wait is over.
    fn check(&self, resource: &str, host: &SharedHostReader, reason: CheckReason) -> bool {
        let read = host
            .measure(|reader| pressure::read_stalls(resource, reader, &mut MeasurementBuilder::default()));
        let Some(mut state) = self.state.lock() else { return reason != CheckReason::Start };
        let Ok(Some((file, stalls))) = read else {
            // No pressure file can be read at the moment.
            (state.armed, state.baseline) = (None, None);
            return false;
        };
        let total = stalls.some.total;
        // A baseline of another cgroup cannot be compared.
        let baseline = state.baseline.take().filter(|baseline| baseline.file == file);
        self.arm(&mut state, &file, host.is_running_host());
        let has_stalled =
            baseline.as_ref().map(|baseline| total.saturating_sub(baseline.total) >= self.stall);
        let is_over = match (reason, &state.armed) {
            // Without a baseline the event belongs to the trigger of the previous cgroup.
            (CheckReason::TriggerReady, Some(_)) => has_stalled.is_some(),
            // The poll interval is longer than a window, so the sum over it cannot be compared with `stall`.
            (CheckReason::PollInterval, Some(_)) => false,
            (CheckReason::Start, _) | (_, None) => has_stalled == Some(true),
        };
        let keeps_baseline = reason == CheckReason::PollInterval && state.armed.is_some();
        state.baseline = baseline.filter(|_| keeps_baseline).or(Some(StallBaseline { file, total }));
        is_over
    }

    /// Arms a trigger on a pressure file, unless one is armed on it.
    fn arm(&self, state: &mut TriggerState, file: &Path, is_running_host: bool) {
        if state.is_polled || state.armed.as_ref().is_some_and(|armed| armed.file == file) {
            return;
        }
        state.armed = None;
        // The file of a captured host must not be written to.
        let descriptor = if is_running_host {
            self.write_trigger(file)
        } else {
            Err(io::Error::other("the host is not running"))
        };
        match descriptor {
            Ok(descriptor) => {
                state.armed = Some(ArmedTrigger { file: file.to_owned(), descriptor });
                state.error = None;
            }
            Err(error) => state.error = Some(error.to_string()),
        }
    }

    fn write_trigger(&self, file: &Path) -> io::Result<OwnedFd> {
        let mut opened =
            OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(file)?;
        // The kernel expects a single write that ends with a NUL byte.
        let trigger = format!("some {} {}\0", self.stall.as_micros(), self.window.as_micros());
        opened.write_all(trigger.as_bytes())?;
        Ok(opened.into())
    }

    fn armed_file(&self) -> Option<PathBuf> {
        Some(self.state.lock()?.armed.as_ref()?.file.clone())
    }

    /// Registers the armed trigger with the runtime. Returns `None` if there is no trigger to wait for.
    fn register(&self) -> Option<(PathBuf, RegisteredFd)> {
        // The runtime is not called while the lock is held.
        let (file, descriptor) = {
            let state = self.state.lock()?;
            let armed = state.armed.as_ref()?;
            (armed.file.clone(), armed.descriptor.as_fd().try_clone_to_owned().ok()?)
        };
        match RegisteredFd::new(descriptor, Interest::PRIORITY) {
            Ok(registered) => Some((file, registered)),
            Err(RegisterFdError::NoRuntime | RegisterFdError::Failed(_)) => None,
            Err(RegisterFdError::NoIoDriver) => {
                let error = Some(RegisterFdError::NoIoDriver.to_string());
                **self.state.lock()? = TriggerState { error, is_polled: true, ..TriggerState::default() };
                None
            }
        }
    }
}

impl Clone for PsiTrigger {
    fn clone(&self) -> Self {
        Self::new(self.stall, self.window)
    }
}
