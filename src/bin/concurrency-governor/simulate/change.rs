//! What changes while a simulation runs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use concurrency_governor::plan::QuantityError;
use concurrency_governor::{GateName, Reading, Resource};

use crate::args;

/// At a time, a name gets a value: `io=8@20s`, `cpu=1@30s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    name: String,
    value: String,
    pub(crate) at: Duration,
}

/// What a change is of, once the plan is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A setting of a gate, above all others.
    Setting(GateName, usize),
    /// A reading of the host, from which limits are derived anew.
    Reading(Resource, Reading),
}

impl Change {
    /// What it is of: a gate of the plan, or else a resource that the plan reads. It has to come before the end.
    pub(crate) fn what(
        &self,
        gates: &[GateName],
        resources: &[Resource],
        end: Duration,
    ) -> Result<What, ChangeError> {
        let Self { name, value, at } = self;
        if *at >= end {
            return Err(ChangeError::Late { end });
        }
        if let Some(gate) = gates.iter().find(|gate| gate.as_str() == name) {
            let limit = value.parse().map_err(|_| ChangeError::Limit { value: value.clone() })?;
            return Ok(What::Setting(*gate, limit));
        }
        let Some(resource) = resources.iter().find(|resource| resource.as_str() == name) else {
            let names = gates.iter().map(GateName::as_str).chain(resources.iter().map(Resource::as_str));
            let allowed = names.collect::<Vec<_>>().join(", ");
            return Err(ChangeError::Name { name: name.clone(), allowed });
        };
        Ok(What::Reading(*resource, args::reading(value)?))
    }
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(given: &str) -> Result<Self, ChangeError> {
        let (change, at) = given.rsplit_once('@').ok_or(ChangeError::Form)?;
        let (name, value) = change.split_once('=').ok_or(ChangeError::Form)?;
        let at = humantime::parse_duration(at).map_err(|_| ChangeError::At { at: at.to_owned() })?;
        Ok(Self { name: name.to_owned(), value: value.to_owned(), at })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}@{}", self.name, self.value, humantime::format_duration(self.at))
    }
}

/// Why a text is no change.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("it has not the form NAME=VALUE@TIME (allowed: such as io=8@20s or cpu=1@30s)")]
    Form,
    #[error("{at:?} is no duration (allowed: such as 20s or 1m 30s)")]
    At { at: String },
    #[error("`{name}` is neither a gate of the plan nor a resource that it reads (allowed: {allowed})")]
    Name { name: String, allowed: String },
    #[error("the run is over by then (allowed: a time before {}, or a longer --for)", humantime::format_duration(*end))]
    Late { end: Duration },
    #[error("{value:?} is not a whole number (allowed: 0 to {max})", max = usize::MAX)]
    Limit { value: String },
    #[error("{0}, or `unlimited`, or `unknown`")]
    Reading(#[from] QuantityError),
}
