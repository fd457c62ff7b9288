//! `simulate`: sends requests through the gates of a plan, and reports waits and rejections.

mod args;
mod change;
mod engine;
mod fleet;
mod load;
mod overload;
mod plant;
mod progress;
mod random;
mod rate;
mod record;
mod render;
mod run;

pub(crate) use args::{EXAMPLES, NOTES, SimulateArgs};
pub(crate) use run::run;
