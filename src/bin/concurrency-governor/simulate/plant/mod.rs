//! `simulate --plant`: a rule for adaptive limits on a server in simulated time, and `--replay`: its decisions again.

mod render;
mod replay;
mod run;

pub(super) use render::PlantRun;
pub(super) use replay::{ReplayFileError, replay};
pub(super) use run::run_plant;
