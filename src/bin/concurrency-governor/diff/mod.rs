//! `diff`: compares two hosts.

mod args;
mod run;

pub(crate) use args::{DiffArgs, EXAMPLES, NOTES};
pub(crate) use run::run;
