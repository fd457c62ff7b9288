//! `simulate --plant` runs a rule for adaptive limits on a server in simulated time. `simulate --replay` replays its decisions.

mod render;
mod replay;
mod run;

pub(super) use render::PlantRun;
pub(super) use replay::{ReplayFileError, replay};
pub(super) use run::run_plant;
