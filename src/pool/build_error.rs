//! Why a pool could not be built.

use std::time::Duration;

use super::create_error::CreateError;
use crate::plan::debug_as_display::impl_debug_as_display;
use crate::plan::debug_as_display::impl_debug_with_causes;
use crate::plan::{GateName, LimitError};

/// Why a pool could not be built.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PoolBuildError {
    /// The settings are invalid. The error lists every problem.
    #[error("{}", join(problems))]
    Invalid {
        /// The problems, at least one.
        problems: Vec<PoolProblem>,
    },
    /// There is no tokio runtime to create items on.
    #[error("the pool of gate `{gate}` needs a tokio runtime to create items on: call `build` inside one")]
    NoRuntime {
        /// The pool's gate.
        gate: GateName,
    },
    /// One of the first items, for `min_idle`, could not be created.
    #[error(transparent)]
    Create(CreateError),
    /// The gate was closed while the first items were being created.
    #[error(
        "gate `{gate}` was closed while its pool was being built: build the pool on a gate that stays open"
    )]
    Closed {
        /// The pool's gate.
        gate: GateName,
    },
}

fn join(problems: &[PoolProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// One problem with the settings of a [`PoolBuilder`](super::PoolBuilder).
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolProblem {
    /// Neither a maximum nor a gate nor a group was given.
    #[error("a pool takes its limit from `max`, `gate` or `group` (given: none of them): call one of them")]
    NoLimit,
    /// Both a gate and a maximum were given.
    #[error(
        "a pool takes its limit from `gate` or from `max` (given: gate `{gate}` and max {max}): remove one of them"
    )]
    TwoLimits {
        /// The gate.
        gate: GateName,
        /// The maximum.
        max: u32,
    },
    /// Both a group, whose gate has the limit, and another limit were given.
    #[error(
        "the group takes the limit of its pools from gate `{gate}` (given: `gate` or `max` as well): remove them"
    )]
    GroupAndLimit {
        /// The group's gate.
        gate: GateName,
    },
    /// A name was given together with a gate, which has a name already.
    #[error(
        "`name` names the gate that `max` creates (given: name `{name}` with gate `{gate}`): remove `name`"
    )]
    NameOfAnother {
        /// The gate.
        gate: GateName,
        /// The name.
        name: GateName,
    },
    /// The maximum is not a valid limit.
    #[error("`max`: {0}")]
    Max(LimitError),
    /// The gate is already closed.
    #[error("gate `{gate}` is closed (allowed: an open gate): build the pool before the gate is closed")]
    Closed {
        /// The gate.
        gate: GateName,
    },
    /// A duration is zero that must not be.
    #[error("`{setting}` is zero (allowed: any longer duration)")]
    Zero {
        /// The builder's method.
        setting: &'static str,
    },
    /// More items were given than may be live.
    #[error(
        "`initial` has {items} items (allowed: {limit}, which fit below the limit): give fewer, or raise the limit"
    )]
    Initial {
        /// The number of items.
        items: usize,
        /// How many of them fit below the limit. In a group, other pools may have slots.
        limit: usize,
    },
    /// The longest backoff delay is shorter than the first one.
    #[error(
        "`create_backoff`: the longest delay {longest:?} is shorter than the first delay (allowed: {first:?} or more)"
    )]
    Backoff {
        /// The first delay.
        first: Duration,
        /// The longest delay.
        longest: Duration,
    },
}

impl_debug_as_display!(PoolProblem);

impl_debug_with_causes!(PoolBuildError);
