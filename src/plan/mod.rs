//! The pure core: what decides a limit. No tokio, no async, no environment, no input or output, no clock.

mod limit;
mod name;
mod quantity;
mod reading;

pub use limit::{Limit, LimitError};
pub use name::{GateName, NameError, Resource};
pub use quantity::{Plain, Quantity, QuantityError};
pub use reading::{Bound, Measurement, Reading, Readings, Source};
