//! How much work may be in flight on this host.

pub mod gate;
pub mod plan;
pub mod probe;
pub mod testing;

pub use plan::{
    Amount, Formula, GateName, GateSpec, Layer, Limit, Overrides, Plan, Quantity, Reading, Readings, Resolution, Resource,
};
pub use probe::ResourceProbe;
