//! `check`: tells by its exit code whether limits and readings are as required.

mod args;
mod requirement;
mod run;

pub(crate) use args::{CheckArgs, EXAMPLES, NOTES};
pub(crate) use run::run;
