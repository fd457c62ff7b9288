//! How much work may be in flight on this host.

pub mod gate;
pub mod plan;
pub mod probe;
pub mod testing;

pub use plan::{GateName, Limit, Quantity, Reading, Readings, Resource};
pub use probe::ResourceProbe;
