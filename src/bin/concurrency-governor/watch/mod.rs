//! `watch`: shows readings and limits, refreshed, with each change.

mod args;
mod diagnosis;
mod history;
mod ledgers;
mod lines;
mod run;
mod screen;
#[cfg(unix)]
mod signals;
mod terminal;

pub(crate) use args::{EXAMPLES, NOTES, WatchArgs};
pub(crate) use run::run;
