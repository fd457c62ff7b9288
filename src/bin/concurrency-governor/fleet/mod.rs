//! `fleet`: shows and changes the limits that many processes share.

mod address;
mod args;
mod render;
mod run;

pub(crate) use args::{EXAMPLES, FleetArgs, NOTES};
pub(crate) use run::run;
