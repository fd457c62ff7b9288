//! The pure core: it alone decides what a limit is. No tokio, no async, no environment, no I/O and no clock.
//!
//! Input: readings, a plan of formulas, and the operators' overrides. Output: limits with their explanations.

pub(crate) mod debug_as_display;

mod name;
mod quantity;

mod limit;
mod reading;

mod adaptive;
mod amount;
mod formula;
mod formula_text;

mod env;
mod holders;
mod keys;
mod lease;
mod overrides;
mod path;
mod shed;
mod spec;
mod unreachable;

mod derivation;
mod error;
mod hierarchy;
mod queue_bounds;
mod resolution;

#[expect(clippy::module_inception, reason = "the module is the pure core, the file holds its type `Plan`")]
mod plan;

pub use adaptive::{Adaptive, AdaptiveRule, InvalidAdaptive, InvalidOverloadSign, OverloadSign};
pub use amount::{Amount, Operand};
pub use derivation::{Derivation, DerivedPart, Effect};
pub use env::EnvError;
pub use error::{BuildError, FindGateError, GateHandleError, Problem, UnknownGateError};
pub use formula::{Base, Formula, FormulaError, Step};
#[cfg(feature = "serde")]
pub(crate) use hierarchy::{find_path, index_gates};
pub use holders::Holders;
pub use keys::{InvalidKeys, InvalidPart, Keys, Part};
pub use lease::{LeaseExplanation, LeaseState};
pub use limit::{Limit, LimitError};
pub use name::{GateName, NameError, Resource, RuleName};
pub use overrides::{Origin, OverrideLayer, Overrides, Policy, PolicyError, QueueSetting};
pub use path::{GatePath, PathError};
pub use plan::Plan;
pub use quantity::{Plain, Quantity, QuantityError};
pub use queue_bounds::QueueBounds;
pub(crate) use reading::Escaped;
pub use reading::{Bound, Measurement, Reading, Readings, Source};
pub use resolution::{
    AncestorLimit, Decision, Explanation, FeedbackExplanation, Resolution, Shadowed, Standing,
};
pub use shed::{InvalidShed, Shed};
pub use spec::GateSpec;
pub use unreachable::{InvalidUnreachable, Unreachable};
