//! How much work may be in flight on this host.

pub mod preset;

pub mod governor;

pub mod gate;
pub mod probe;

pub mod plan;

pub mod event;
pub mod testing;

pub use event::Event;
pub use gate::{AcquireError, Gate, Permit};
pub use governor::Governor;
pub use plan::{
    Amount, Formula, GateName, GateSpec, Layer, Limit, Overrides, Plan, Quantity, Reading, Readings,
    Resolution, Resource,
};
pub use probe::ResourceProbe;
