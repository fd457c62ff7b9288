//! The resolution: what a plan comes to on one host, each limit with its explanation.

use std::fmt;

use super::derivation::Derivation;
use super::error::{Problem, UnknownGateError};
use super::limit::Limit;
use super::name::GateName;
use super::overrides::{Origin, Overrides, Policy};
use super::reading::{Reading, Readings};
use super::spec::GateSpec;

/// What a plan comes to on one host: a limit for each gate, with its explanation, and the readings behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    explanations: Vec<Explanation>,
    readings: Readings,
}

impl Resolution {
    pub(super) fn new(explanations: Vec<Explanation>, readings: Readings) -> Self {
        Self { explanations, readings }
    }

    /// The limit of a gate.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan declares no such gate.
    pub fn limit(&self, gate: impl Into<GateName>) -> Result<Limit, UnknownGateError> {
        self.explain(gate).map(Explanation::limit)
    }

    /// Where the limit of a gate comes from.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan declares no such gate.
    pub fn explain(&self, gate: impl Into<GateName>) -> Result<&Explanation, UnknownGateError> {
        let gate = gate.into();
        self.explanations.iter().find(|explanation| explanation.gate == gate).ok_or_else(|| {
            let known = self.explanations.iter().map(Explanation::gate).collect();
            UnknownGateError { given: gate, known }
        })
    }

    /// Every gate's explanation, in the order of the plan.
    #[must_use]
    pub fn explanations(&self) -> &[Explanation] {
        &self.explanations
    }

    /// The readings that it was resolved against.
    pub fn readings(&self) -> &Readings {
        &self.readings
    }
}

/// Where a gate's limit comes from: the derivation, what overrides it, and what that shadows.
///
/// `{}` prints one line, `{:#}` the whole derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    gate: GateName,
    limit: Limit,
    decision: Decision,
    shadowed: Vec<Shadowed>,
    derivation: Derivation,
}

impl Explanation {
    /// Decides a gate's limit: the first layer that sets it, else the derivation.
    pub(super) fn decide(
        spec: &GateSpec,
        derivation: Derivation,
        overrides: &Overrides,
    ) -> Result<Self, Problem> {
        let gate = spec.name();
        let mut settings = overrides.layers().iter().filter_map(|layer| Some((layer, layer.find(gate)?)));
        let winner = settings.next();
        let shadowed = settings.map(|(_, (origin, value))| Shadowed { origin, value }).collect();
        let derived = derivation.limit();
        let Some((layer, (origin, value))) = winner else {
            return Ok(Self { gate, limit: derived, decision: Decision::Derived, shadowed, derivation });
        };
        let asked = Limit::saturating(value as u64);
        let (limit, standing) = match spec.override_policy().max(layer.override_policy()) {
            _ if asked <= derived => (asked, Standing::Within),
            Policy::Trust => (asked, Standing::AboveDerived),
            Policy::Clamp => (derived, Standing::Clamped),
            Policy::Reject => return Err(Problem::Rejected { gate, origin, value, derived }),
        };
        Ok(Self {
            gate,
            limit,
            decision: Decision::Overridden { origin, value, standing },
            shadowed,
            derivation,
        })
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> GateName {
        self.gate
    }

    /// Its limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// What decided the limit.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The settings that lost to the one that decided, in order of precedence.
    #[must_use]
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    /// What the formula comes to on this host, step by step, overridden or not.
    #[must_use]
    pub fn derivation(&self) -> &Derivation {
        &self.derivation
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, limit, decision, derivation, .. } = self;
        let binding = derivation.binding();
        write!(f, "{gate} = {limit}: {decision}")?;
        match decision {
            Decision::Derived => write!(f, ", `{}` decides", binding.text())?,
            Decision::Overridden { .. } => write!(f, ", derived {}", derivation.limit())?,
        }
        // A floor says nothing of why it decides; that the base is unknown does.
        let base = &derivation.parts()[0];
        let told = if base.value() == Reading::Unknown { base } else { binding };
        match told.remark() {
            remark if *decision == Decision::Derived && !remark.is_empty() => write!(f, " ({remark})")?,
            _ => {}
        }
        for Shadowed { origin, value } in &self.shadowed {
            write!(f, ", shadows {origin} = {value}")?;
        }
        if !f.alternate() {
            return Ok(());
        }
        let width = derivation.parts().iter().map(|part| part.text().chars().count()).max().unwrap_or(0);
        for part in derivation.parts() {
            let decides = if part.decides() { "<- decides" } else { "" };
            let line = format!(
                "{:width$}  {:>10}  {decides:10}  {}",
                part.text(),
                part.value().plain(),
                part.remark()
            );
            write!(f, "\n    {}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What decided a limit. Closed: a limit is derived or overridden.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The formula.
    Derived,
    /// An operator's setting.
    Overridden {
        /// Where the setting came from.
        origin: Origin,
        /// What it asked for, as it was given.
        value: usize,
        /// How it stands to the derived limit.
        standing: Standing,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Derived => f.write_str("derived"),
            Self::Overridden { origin, value, standing } => {
                write!(f, "set to {value} by {origin}")?;
                match *value {
                    0 => f.write_str(" (raised to 1)")?,
                    value if value as u64 > Limit::MAX.into() => write!(f, " (lowered to {})", Limit::MAX)?,
                    _ => {}
                }
                f.write_str(match standing {
                    Standing::Within => "",
                    Standing::AboveDerived => " (above what is derived)",
                    Standing::Clamped => " (lowered to what is derived)",
                })
            }
        }
    }
}

/// How an operator's setting stands to the derived limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// It is at most the derived limit.
    Within,
    /// It is above, and trusted.
    AboveDerived,
    /// It is above, and was lowered to the derived limit.
    Clamped,
}

/// A setting that lost to one before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Shadowed {
    /// Where it came from.
    pub origin: Origin,
    /// What it asked for.
    pub value: usize,
}
