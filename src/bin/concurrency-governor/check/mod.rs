//! `check`: compares limits and readings with requirements. Its exit code is the result.

mod args;
mod requirement;
mod run;

pub(crate) use args::{CheckArgs, EXAMPLES, NOTES};
pub(crate) use run::run;
