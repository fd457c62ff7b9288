//! Changes of limits and readings during a simulation.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::plan::{FindGateError, QuantityError};
use concurrency_governor::{GateName, GateSpec, Plan, Reading, Resource};

use crate::report::parse_reading;

/// A change as given on the command line: at a time, a name gets a value (`io=8@20s`, `cpu=1@30s`).
///
/// Whether the name is a gate or a resource is known only together with the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedChange {
    name: String,
    value: String,
    pub(crate) at: Duration,
}

/// The effect of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeAction {
    /// Sets the limit of a gate, with precedence over all other settings.
    SetLimit(GateName, usize),
    /// Replaces a reading of the host. The limits are derived again.
    SetReading(Resource, Reading),
}

impl PlannedChange {
    /// Resolves the name: a gate of the plan, or else a resource that the plan reads.
    ///
    /// # Errors
    ///
    /// [`PlannedChangeError`] if the name is neither, the value does not fit, or the run ends before the change.
    pub(crate) fn resolve(
        &self,
        plan: &Plan,
        resources: &[Resource],
        end: Duration,
    ) -> Result<ChangeAction, PlannedChangeError> {
        let Self { name, value, at } = self;
        if *at >= end {
            return Err(PlannedChangeError::AfterEnd { end });
        }
        match name.parse().map(|path| plan.find(&path)) {
            Ok(Ok(spec)) => {
                let limit = value.parse().map_err(|_| PlannedChangeError::Limit { value: value.clone() })?;
                return Ok(ChangeAction::SetLimit(spec.name(), limit));
            }
            Ok(Err(error @ FindGateError::WrongPath { .. })) => return Err(error.into()),
            _ => {} // it may be a resource
        }
        let Some(resource) = resources.iter().find(|resource| resource.as_str() == name) else {
            let gates: Vec<GateName> = plan.specs().iter().map(GateSpec::name).collect();
            let names = gates.iter().map(GateName::as_str).chain(resources.iter().map(Resource::as_str));
            let allowed = names.collect::<Vec<_>>().join(", ");
            return Err(PlannedChangeError::UnknownName { name: name.clone(), allowed });
        };
        Ok(ChangeAction::SetReading(*resource, parse_reading(value)?))
    }
}

impl FromStr for PlannedChange {
    type Err = PlannedChangeError;

    fn from_str(given: &str) -> Result<Self, PlannedChangeError> {
        let (change, at) = given.rsplit_once('@').ok_or(PlannedChangeError::Syntax)?;
        let (name, value) = change.split_once('=').ok_or(PlannedChangeError::Syntax)?;
        let at =
            humantime::parse_duration(at).map_err(|_| PlannedChangeError::Time { time: at.to_owned() })?;
        Ok(Self { name: name.to_owned(), value: value.to_owned(), at })
    }
}

impl fmt::Display for PlannedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}@{}", self.name, self.value, humantime::format_duration(self.at))
    }
}

/// The text is not a change, or the change does not fit the plan. The caller puts the flag and its value in front.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlannedChangeError {
    #[error("not a change (allowed: NAME=VALUE@TIME, such as io=8@20s or cpu=1@30s)")]
    Syntax,
    #[error("{time:?} is not a duration (allowed: such as 20s or 1m 30s)")]
    Time { time: String },
    #[error("`{name}` is neither a gate of the plan nor a resource that the plan reads (allowed: {allowed})")]
    UnknownName { name: String, allowed: String },
    #[error(transparent)]
    WrongPath(#[from] FindGateError),
    #[error("the run ends before that time (allowed: a time before {}, or a longer `--for`)", humantime::format_duration(*end))]
    AfterEnd { end: Duration },
    #[error("{value:?} is not a whole number (allowed: 0 to {max})", max = usize::MAX)]
    Limit { value: String },
    #[error("{0}; `unlimited` and `unknown` are also allowed")]
    Reading(#[from] QuantityError),
}
