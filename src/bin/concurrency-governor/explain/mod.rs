//! `explain`: prints readings and limits with their reasons.

mod args;
mod json;
mod run;
mod table;

pub(crate) use args::{EXAMPLES, ExplainArgs, NOTES};
pub(crate) use run::run;
