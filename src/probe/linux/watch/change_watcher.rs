//! Measures a resource, and waits until the measurement changes.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;

use super::super::host::{CgroupController, HostReader, SharedHostReader};
use super::fork_local::ForkLocal;
use super::inotify::{InotifyEvents, InotifyWatcher};
use super::runtime::{self, PollInterval, RegisterFdError, RegisteredFd};
use super::targets::CgroupWatchTargets;
use crate::jitter::jittered;
use crate::plan::Measurement;
use crate::probe::error::ProbeError;

/// Waits for changes of one measurement: woken by inotify where the kernel reports changes, and by a slow poll
/// elsewhere.
///
/// The inotify instance and the last measurement are kept between two calls of [`changed`](Self::changed), so a
/// change that happens between them is found by the next call. A clone has its own inotify instance and starts from
/// the last measurement of the original.
#[derive(Debug, Default)]
pub(in crate::probe) struct ChangeWatcher {
    poll: PollInterval,
    state: ForkLocal<WatcherState>,
}

/// What is measured: the host, the measurement function, and the controllers whose limits are watched.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct WatchedMeasurement<'a> {
    pub(in crate::probe) host: &'a SharedHostReader,
    pub(in crate::probe) controllers: &'static [CgroupController],
    pub(in crate::probe) measure: fn(&mut HostReader) -> Result<Measurement, ProbeError>,
}

#[derive(Debug, Default)]
struct WatcherState {
    /// The last measurement that a caller of `measure` got or `changed` reported.
    last: Option<MeasurementOutcome>,
    inotify: Option<InotifyWatcher>,
    targets: CgroupWatchTargets,
    error: Option<NotificationError>,
}

/// The reason why the kernel reports no changes, or not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotificationError {
    #[error("inotify: {0}")]
    Inotify(Errno),
    #[error("{}", runtime::NO_IO_DRIVER)]
    NoIoDriver,
}

/// The result of a measurement in comparable form.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MeasurementOutcome {
    Measured(Measurement),
    /// The error with its causes, as text.
    Failed(String),
}

impl ChangeWatcher {
    /// Sets the poll interval, at least 10 ms.
    pub(in crate::probe) fn with_poll_interval(self, period: Duration) -> Self {
        Self { poll: PollInterval::new(period.max(SETTLE_TIME)), ..self }
    }

    /// Returns a watcher with the same poll interval that has not measured yet, for another host.
    pub(in crate::probe) fn without_history(&self) -> Self {
        Self { poll: self.poll.clone(), state: ForkLocal::default() }
    }

    /// Measures, and keeps the result for comparison.
    pub(in crate::probe) fn measure(
        &self,
        subject: WatchedMeasurement<'_>,
    ) -> Result<Measurement, ProbeError> {
        let Some(mut state) = self.state.lock() else { return subject.host.measure(subject.measure) };
        let process = state.process();
        let measured = state.measure(process, subject, self.poll.period());
        state.last = Some(MeasurementOutcome::new(&measured));
        measured
    }

    /// Waits until a measurement differs from the last one, or from the one that was the last when the wait began.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Events are taken from the queue only together with the measurement that they cause, and the
    /// future resolves right after a measurement that differs.
    pub(in crate::probe) async fn changed(&self, subject: WatchedMeasurement<'_>) {
        if !subject.host.can_change() {
            return pending().await;
        }
        let start = self.state.lock().and_then(|state| state.last.clone());
        let start = start.as_ref();
        if self.check(subject, start) == Some(true) {
            return;
        }
        let poll_interval = self.poll.detect_timer();
        let mut registered = None;
        loop {
            // Registers the inotify instance with this runtime, once there is one.
            if registered.is_none() {
                let Ok(found) = self.register() else {
                    // The error adds a note to the measurement, which is a change that the caller should see.
                    if self.check(subject, start) == Some(true) {
                        return;
                    }
                    continue;
                };
                registered = found;
            }
            let ready = runtime::ready_within(registered.as_ref(), poll_interval.map(jittered)).await;
            // Several writes in a row are reported as one change. Without a timer, the pause would never end.
            if ready.is_some() && poll_interval.is_some() {
                runtime::pause(SETTLE_TIME).await;
            }
            // `None` means that there is nothing to compare with, so the value may have changed.
            if self.check(subject, start) != Some(false) {
                return;
            }
            if let Some(mut guard) = ready {
                guard.clear_ready();
            }
        }
    }

    /// Takes the pending events, measures, and returns whether the result differs from `start` or the last one.
    ///
    /// Returns `None` if the state is not available, as in a forked child.
    fn check(&self, subject: WatchedMeasurement<'_>, start: Option<&MeasurementOutcome>) -> Option<bool> {
        let mut state = self.state.lock()?;
        let process = state.process();
        state.process_events(subject);
        let current = MeasurementOutcome::new(&state.measure(process, subject, self.poll.period()));
        let differs = start.into_iter().chain(&state.last).any(|known| *known != current);
        state.last = Some(current);
        Some(differs)
    }

    /// Registers the inotify instance with the runtime. Returns `None` if there is nothing to wait for.
    ///
    /// # Errors
    ///
    /// A [`NotificationError`] that was not known before.
    fn register(&self) -> Result<Option<RegisteredFd>, NotificationError> {
        // The runtime is not called while the lock is held.
        let Some(descriptor) = self.duplicate_descriptor() else { return Ok(None) };
        match RegisteredFd::new(descriptor, Interest::READABLE) {
            Ok(registered) => Ok(Some(registered)),
            Err(RegisterFdError::NoRuntime | RegisterFdError::Failed(_)) => Ok(None),
            Err(RegisterFdError::NoIoDriver) => {
                let Some(mut state) = self.state.lock() else { return Ok(None) };
                state.inotify = None;
                Err(*state.error.insert(NotificationError::NoIoDriver))
            }
        }
    }

    fn duplicate_descriptor(&self) -> Option<OwnedFd> {
        self.state.lock()?.inotify.as_ref()?.duplicate_descriptor().ok()
    }
}

impl Clone for ChangeWatcher {
    fn clone(&self) -> Self {
        let last = self.state.lock().and_then(|state| state.last.clone());
        let state = WatcherState { last, ..WatcherState::default() };
        Self { poll: self.poll.clone(), state: ForkLocal::new(state) }
    }
}

impl WatcherState {
    /// Measures. If the process has moved to another cgroup, watches that one and measures again.
    ///
    /// Without the second measurement, a write between the first one and the new watches would be lost.
    fn measure(
        &mut self,
        process: u32,
        subject: WatchedMeasurement<'_>,
        poll_interval: Option<Duration>,
    ) -> Result<Measurement, ProbeError> {
        let WatchedMeasurement { host, controllers, measure } = subject;
        let (mut measured, are_targets_current) = host.measure_in_process(process, |reader| {
            (measure(reader), self.targets.are_current(reader, controllers))
        });
        if self.inotify.is_some() && !are_targets_current {
            self.update_watches(subject);
            measured = host.measure_in_process(process, measure);
        }
        let Some(error) = self.error else { return measured };
        let instead = match poll_interval {
            Some(period) => format!("; polled every {period:?}"),
            None => " and no polling".to_owned(),
        };
        measured.map(|measured| measured.note(format!("no change notification ({error}){instead}")))
    }

    /// Takes the pending events. Creates the inotify instance and sets the watches where necessary.
    fn process_events(&mut self, subject: WatchedMeasurement<'_>) {
        let events = match &mut self.inotify {
            Some(inotify) => inotify.take_events(),
            None if subject.controllers.is_empty() || self.error == Some(NotificationError::NoIoDriver) => {
                return;
            }
            None => InotifyWatcher::new().map(|inotify| {
                self.inotify = Some(inotify);
                InotifyEvents::Paths
            }),
        };
        match events {
            Ok(InotifyEvents::Paths) => self.update_watches(subject),
            // A watch that could not be added before may be possible now.
            Ok(_) if self.error.is_some() => self.update_watches(subject),
            Ok(_) => {}
            Err(errno) => {
                self.inotify = None;
                self.error = Some(NotificationError::Inotify(errno));
            }
        }
    }

    /// Watches the cgroups that the process is in now.
    fn update_watches(&mut self, subject: WatchedMeasurement<'_>) {
        self.targets = subject.host.measure(|reader| CgroupWatchTargets::find(reader, subject.controllers));
        let Some(inotify) = &mut self.inotify else { return };
        self.error = inotify.set_targets(&self.targets.targets).err().map(NotificationError::Inotify);
    }
}

impl MeasurementOutcome {
    fn new(measured: &Result<Measurement, ProbeError>) -> Self {
        match measured {
            Ok(measured) => Self::Measured(measured.clone()),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

/// The delay between the first event and the measurement. Writes come in groups: a shell's `>` truncates the file
/// first, and a quota is often written together with its period.
const SETTLE_TIME: Duration = Duration::from_millis(10);
