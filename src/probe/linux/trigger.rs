//! Being told that work stalls: the triggers of pressure files.

use std::fs::OpenOptions;
use std::future::pending;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::Interest;

use super::evidence::Evidence;
use super::host::SharedHost;
use super::own::Own;
use super::pressure;
use super::runtime::{self, Clock, EVERY, Unwatched, Watched};

/// Waits until work has stalled for so long within a window. A clone has a trigger of its own.
#[derive(Debug)]
pub(in crate::probe) struct Trigger {
    stall: Duration,
    window: Duration,
    clock: Clock,
    state: Own<State>,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    /// What was stalled when somebody was last told, or began to wait.
    base: Option<Base>,
    fault: Option<String>,
    /// Once a runtime had no I/O, nobody waits for a trigger.
    is_polled: bool,
}

/// A trigger that the kernel has taken; it holds for as long as the descriptor is open.
#[derive(Debug)]
struct Armed {
    file: PathBuf,
    descriptor: OwnedFd,
}

#[derive(Debug)]
struct Base {
    file: PathBuf,
    total: Duration,
}

/// Why to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    /// Somebody begins to wait.
    Start,
    /// The kernel says that the trigger fired, or that its group is gone.
    Told,
    /// The clock.
    Time,
}

impl Trigger {
    pub(in crate::probe) fn new(stall: Duration, window: Duration) -> Self {
        // Shorter ones would be looked at all the time where the kernel has none; it takes none below 500 ms itself.
        let window = window.max(Duration::from_millis(10));
        Self { stall, window, clock: Clock::new(EVERY), state: Own::default() }
    }

    /// Why the kernel tells of nothing.
    pub(in crate::probe) fn note(&self) -> Option<String> {
        let state = self.state.lock()?;
        let fault = state.fault.as_ref()?;
        Some(format!("stalls are not told of ({fault}), and looked for every {:?}", self.window))
    }

    /// Waits until some task of the group stalled for so long within a window, at `cpu`, `memory` or `io`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a trigger that fired for a wait that was given up has left its stall in the sum, which the next call
    /// begins with.
    pub(in crate::probe) async fn fired(&self, resource: &str, host: &SharedHost) {
        if !host.may_change() {
            return pending().await;
        }
        let mut occasion = Occasion::Start;
        let mut watched: Option<(PathBuf, Watched)> = None;
        loop {
            if self.look(resource, host, occasion) {
                return;
            }
            let armed = self.armed();
            if watched.as_ref().map(|(file, _)| file) != armed.as_ref() {
                watched = self.watched();
            }
            let period =
                self.clock.period_here().map(|every| if watched.is_some() { every } else { self.window });
            let ready = runtime::ready_within(watched.as_ref().map(|(_, watched)| watched), period).await;
            occasion = if ready.is_some() { Occasion::Told } else { Occasion::Time };
            if let Some(mut ready) = ready {
                ready.clear_ready();
            }
        }
    }

    /// Reads how long work has stalled, and says whether that is to be told.
    fn look(&self, resource: &str, host: &SharedHost, occasion: Occasion) -> bool {
        let stalls = host.measure(|host| pressure::stalls(resource, host, &mut Evidence::default()));
        let Some(mut state) = self.state.lock() else { return occasion != Occasion::Start };
        let Ok(Some((file, stalls))) = stalls else {
            // There is nothing to be told of, until there is.
            (state.armed, state.base) = (None, None);
            return false;
        };
        let total = stalls.some.total;
        let base = state.base.take().filter(|base| base.file == file);
        self.arm(&mut state, &file, host.is_running());
        let grown = base.as_ref().map(|base| total.saturating_sub(base.total) >= self.stall);
        let fired = match (occasion, &state.armed) {
            // Of another group than before.
            (Occasion::Told, Some(_)) => grown.is_some(),
            // Over more than a window, so that it says nothing.
            (Occasion::Time, Some(_)) => false,
            (Occasion::Start, _) | (_, None) => grown == Some(true),
        };
        let keeps_base = occasion == Occasion::Time && state.armed.is_some();
        state.base = base.filter(|_| keeps_base).or(Some(Base { file, total }));
        fired
    }

    /// Sets the trigger on a file, if it is not the one that it is set on.
    fn arm(&self, state: &mut State, file: &Path, is_running: bool) {
        if state.is_polled || state.armed.as_ref().is_some_and(|armed| armed.file == file) {
            return;
        }
        state.armed = None;
        // A file of a host that is not running would be written over.
        let armed =
            if is_running { self.set(file) } else { Err(io::Error::other("the host is not running")) };
        match armed {
            Ok(descriptor) => {
                state.armed = Some(Armed { file: file.to_owned(), descriptor });
                state.fault = None;
            }
            Err(error) => state.fault = Some(error.to_string()),
        }
    }

    fn set(&self, file: &Path) -> io::Result<OwnedFd> {
        let mut opened =
            OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(file)?;
        // The kernel wants it in one piece, with a zero behind it.
        let trigger = format!("some {} {}\0", self.stall.as_micros(), self.window.as_micros());
        opened.write_all(trigger.as_bytes())?;
        Ok(opened.into())
    }

    fn armed(&self) -> Option<PathBuf> {
        Some(self.state.lock()?.armed.as_ref()?.file.clone())
    }

    /// The trigger as the runtime watches it; `None` if there is none to be waited for.
    fn watched(&self) -> Option<(PathBuf, Watched)> {
        let (file, descriptor) = {
            let state = self.state.lock()?;
            let armed = state.armed.as_ref()?;
            (armed.file.clone(), armed.descriptor.as_fd().try_clone_to_owned().ok()?)
        };
        match Watched::new(descriptor, Interest::PRIORITY) {
            Ok(watched) => Some((file, watched)),
            Err(Unwatched::NoRuntime | Unwatched::Failed(_)) => None,
            Err(Unwatched::NoDriver) => {
                let fault = Some(Unwatched::NoDriver.to_string());
                **self.state.lock()? = State { fault, is_polled: true, ..State::default() };
                None
            }
        }
    }
}

impl Clone for Trigger {
    fn clone(&self) -> Self {
        Self::new(self.stall, self.window)
    }
}
