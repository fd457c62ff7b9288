//! Change notification: inotify for limit files, PSI triggers for pressure, and a slow poll for everything else.

mod fork_local;
mod inotify;
mod runtime;
mod targets;

mod change_watcher;
mod psi_trigger;

pub(in crate::probe) use change_watcher::{ChangeWatcher, WatchedMeasurement};
pub(in crate::probe) use psi_trigger::PsiTrigger;
