//! `simulate --hosts`: a fleet of hosts that lease permits from one ledger, in simulated time and with faults.
//!
//! The lease of each host and the step of the ledger are those of the library. The work, the network and the clock are simulated.

mod args;
mod events;
mod fault;
mod model;
mod record;
mod render;
mod run;

pub(super) use args::FleetFlags;
pub(super) use run::{FleetRunError, run_fleet};
