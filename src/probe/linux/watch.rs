//! Following what a probe measures: woken by the kernel where it tells of a change, and else by a slow clock.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::Interest;

use super::group::{Controller, Targets};
use super::host::{Host, SharedHost};
use super::notices::{Heard, Notices};
use super::own::Own;
use super::runtime::{self, Clock, EVERY, Unwatched, Watched};
use crate::jitter::jittered;
use crate::plan::Measurement;
use crate::probe::ProbeError;

/// Measures a host in one way, and waits until that would come to something else.
///
/// The notices of the kernel are kept between two calls of [`changed`](Self::changed), and what was measured last: what
/// changes while nobody waits is seen by the next call. A clone has notices of its own, and starts from what its original
/// measured.
#[derive(Debug)]
pub(in crate::probe) struct Watch {
    clock: Clock,
    state: Own<State>,
}

/// What is measured, of which host, and which groups limit it.
#[derive(Clone, Copy, Debug)]
pub(in crate::probe) struct Subject<'a> {
    pub(in crate::probe) host: &'a SharedHost,
    pub(in crate::probe) controllers: &'static [Controller],
    pub(in crate::probe) read: fn(&mut Host) -> Result<Measurement, ProbeError>,
}

#[derive(Debug, Default)]
struct State {
    /// What was measured last, or told to have changed.
    seen: Option<Outcome>,
    notices: Option<Notices>,
    /// What is watched.
    targets: Targets,
    fault: Option<Fault>,
}

/// Why the kernel tells of nothing, or not of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("inotify: {0}")]
    Kernel(Errno),
    #[error("{}", if cfg!(panic = "abort") { "the program aborts on panic" } else { "the runtime has no I/O" })]
    Runtime,
}

/// What came of a measurement, to be compared with the next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Measured(Measurement),
    /// The error, with its causes.
    Failed(String),
}

impl Watch {
    /// With another period of the clock, at least 10 ms.
    pub(in crate::probe) fn every(self, period: Duration) -> Self {
        Self { clock: Clock::new(period.max(SETTLE)), ..self }
    }

    /// The same for another host, which has not been measured yet.
    pub(in crate::probe) fn anew(&self) -> Self {
        Self { clock: self.clock.clone(), state: Own::default() }
    }

    /// Measures, and remembers what came of it.
    pub(in crate::probe) fn measure(&self, subject: Subject<'_>) -> Result<Measurement, ProbeError> {
        let Some(mut state) = self.state.lock() else { return subject.host.measure(subject.read) };
        let process = state.process();
        let measured = state.measure(process, subject, self.clock.period());
        state.seen = Some(Outcome::of(&measured));
        measured
    }

    /// Waits until a measurement comes to something else than the last one, or than the last one when the wait began.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what the kernel told is taken only together with the look that it leads to, and a change counts as
    /// seen when this resolves, which it does at once after such a look.
    pub(in crate::probe) async fn changed(&self, subject: Subject<'_>) {
        if !subject.host.may_change() {
            return pending().await;
        }
        let start = self.state.lock().and_then(|state| state.seen.clone());
        let start = start.as_ref();
        if self.look(subject, start) == Some(true) {
            return;
        }
        let every = self.clock.period_here();
        let mut watched = None;
        loop {
            if watched.is_none() {
                let Ok(found) = self.watched() else {
                    // Noted, which is a difference: who waits here should know.
                    if self.look(subject, start) == Some(true) {
                        return;
                    }
                    continue;
                };
                watched = found;
            }
            let ready = runtime::ready_within(watched.as_ref(), every.map(jittered)).await;
            if ready.is_some() && every.is_some() {
                runtime::pause(SETTLE).await;
            }
            // What can be compared with nothing may have changed.
            if self.look(subject, start) != Some(false) {
                return;
            }
            if let Some(mut taken) = ready {
                taken.clear_ready();
            }
        }
    }

    /// Takes what the kernel told, and looks whether anything is different; `None` if nothing could be remembered.
    fn look(&self, subject: Subject<'_>, start: Option<&Outcome>) -> Option<bool> {
        let mut state = self.state.lock()?;
        let process = state.process();
        state.follow(subject);
        let now = Outcome::of(&state.measure(process, subject, self.clock.period()));
        let differs = start.into_iter().chain(&state.seen).any(|known| *known != now);
        state.seen = Some(now);
        Some(differs)
    }

    /// The notices as the runtime watches them; `None` if there are none to be waited for. A fault is one that was not
    /// known yet.
    fn watched(&self) -> Result<Option<Watched>, Fault> {
        // Not under the lock: a runtime is other people's code.
        let Some(descriptor) = self.descriptor() else { return Ok(None) };
        match Watched::new(descriptor, Interest::READABLE) {
            Ok(watched) => Ok(Some(watched)),
            Err(Unwatched::NoRuntime | Unwatched::Failed(_)) => Ok(None),
            Err(Unwatched::NoDriver) => {
                let Some(mut state) = self.state.lock() else { return Ok(None) };
                state.notices = None;
                Err(*state.fault.insert(Fault::Runtime))
            }
        }
    }

    fn descriptor(&self) -> Option<OwnedFd> {
        self.state.lock()?.notices.as_ref()?.descriptor().ok()
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { clock: Clock::new(EVERY), state: Own::default() }
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        let seen = self.state.lock().and_then(|state| state.seen.clone());
        let state = State { seen, ..State::default() };
        Self { clock: self.clock.clone(), state: Own::new(state) }
    }
}

impl State {
    /// Measures, and watches other groups if it was them that were measured.
    fn measure(
        &mut self,
        process: u32,
        subject: Subject<'_>,
        every: Option<Duration>,
    ) -> Result<Measurement, ProbeError> {
        let Subject { host, controllers, read } = subject;
        let (mut measured, are_watched) = host.measure_in(process, |host| {
            (host.measure_again(read), self.targets.are_current(host, controllers))
        });
        if self.notices.is_some() && !are_watched {
            self.watch(subject);
            measured = host.measure_in(process, |host| host.measure_again(read));
        }
        let Some(fault) = self.fault else { return measured };
        let instead = match every {
            Some(every) => format!("and looked for every {every:?}"),
            None => "nor looked for".to_owned(),
        };
        measured.map(|measured| measured.note(format!("changes are not told of ({fault}), {instead}")))
    }

    /// Takes what the kernel told, and sees to it that it tells of everything.
    fn follow(&mut self, subject: Subject<'_>) {
        let heard = match &mut self.notices {
            Some(notices) => notices.take(),
            None if subject.controllers.is_empty() || self.fault == Some(Fault::Runtime) => return,
            None => Notices::open().map(|notices| {
                self.notices = Some(notices);
                Heard::Places
            }),
        };
        match heard {
            Ok(Heard::Places) => self.watch(subject),
            // There may be room for what could not be watched.
            Ok(_) if self.fault.is_some() => self.watch(subject),
            Ok(_) => {}
            Err(errno) => {
                self.notices = None;
                self.fault = Some(Fault::Kernel(errno));
            }
        }
    }

    /// Watches the groups that the process is in now.
    fn watch(&mut self, subject: Subject<'_>) {
        self.targets = subject.host.measure(|host| Targets::of(host, subject.controllers));
        let Some(notices) = &mut self.notices else { return };
        self.fault = notices.watch(&self.targets.targets).err().map(Fault::Kernel);
    }
}

impl Outcome {
    fn of(measured: &Result<Measurement, ProbeError>) -> Self {
        match measured {
            Ok(measured) => Self::Measured(measured.clone()),
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }
}

/// What comes in groups comes as one: a shell's `>` first empties the file, which changes nothing yet, and a quota goes
/// with a period.
const SETTLE: Duration = Duration::from_millis(10);
