//! The pure core: what decides a limit. No tokio, no async, no environment, no input or output, no clock.
//!
//! Readings, a plan of formulas and the operators' overrides come in; limits with explanations come out.

mod amount;
mod declared;
mod derivation;
mod error;
mod formula;
mod formula_text;
mod limit;
mod name;
mod overrides;
mod quantity;
mod reading;
mod resolution;
mod spec;

pub use amount::{Amount, Operand};
pub use declared::Plan;
pub use derivation::{Derivation, DerivedPart, Effect};
pub use error::{BuildError, Problem, UnknownGateError};
pub use formula::{Base, Formula, FormulaError, Step};
pub use limit::{Limit, LimitError};
pub use name::{GateName, NameError, Resource};
pub use overrides::{EnvError, Origin, OverrideLayer, Overrides, Policy, PolicyError};
pub use quantity::{Plain, Quantity, QuantityError};
pub use reading::{Bound, Measurement, Reading, Readings, Source};
pub use resolution::{Decision, Explanation, Resolution, Shadowed, Standing};
pub use spec::GateSpec;
