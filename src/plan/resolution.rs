//! The resolution: the limits of a plan on one host, each with its explanation.

use std::fmt;

use super::adaptive::Adaptive;
use super::derivation::Derivation;
use super::error::{Problem, UnknownGateError};
use super::lease::LeaseExplanation;
use super::limit::Limit;
use super::name::{GateName, Resource};
use super::overrides::{Origin, Overrides, Policy};
use super::path::GatePath;
use super::queue_bounds::QueueBounds;
use super::reading::{Escaped, Measurement, Reading, Readings};
use super::spec::GateSpec;

/// The limits of a plan on one host: an explained limit for each gate, and the readings that were used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    explanations: Vec<Explanation>,
    readings: Readings,
}

impl Resolution {
    pub(super) fn new(explanations: Vec<Explanation>, readings: Readings) -> Self {
        Self { explanations, readings }
    }

    /// Returns the limit of a gate.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan does not declare the gate.
    pub fn limit(&self, gate: impl Into<GateName>) -> Result<Limit, UnknownGateError> {
        self.explain(gate).map(Explanation::limit)
    }

    /// Returns the explanation of a gate's limit.
    ///
    /// # Errors
    ///
    /// [`UnknownGateError`] if the plan does not declare the gate.
    pub fn explain(&self, gate: impl Into<GateName>) -> Result<&Explanation, UnknownGateError> {
        let gate = gate.into();
        self.explanations.iter().find(|explanation| explanation.gate() == gate).ok_or_else(|| {
            let known = self.explanations.iter().map(Explanation::gate).collect();
            UnknownGateError { given: gate, known }
        })
    }

    /// Returns the explanation of every gate, in the order of the plan.
    #[must_use]
    pub fn explanations(&self) -> &[Explanation] {
        &self.explanations
    }

    /// Returns the readings that the plan was resolved against.
    pub fn readings(&self) -> &Readings {
        &self.readings
    }
}

/// The explanation of a gate's limit: the derivation, the setting that overrides it, the settings that are shadowed, a
/// gate above it whose limit is lower, and the lease of a gate that shares its limit with other processes.
///
/// `{}` prints one line, `{:#}` prints the whole derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    path: GatePath,
    limit: Limit,
    decision: Decision,
    shadowed: Vec<Shadowed>,
    derivation: Derivation,
    bound_by: Option<AncestorLimit>,
    feedback: Option<FeedbackExplanation>,
    lease: Option<LeaseExplanation>,
    queue_bounds: QueueBounds,
}

impl Explanation {
    /// Decides a gate's limit: by the first layer that sets the gate, or else by the derivation.
    pub(super) fn decide(
        spec: &GateSpec,
        derivation: Derivation,
        overrides: &Overrides,
        readings: &Readings,
    ) -> Result<Self, Problem> {
        let gate = spec.name();
        let feedback = spec.adaptivity().map(|adaptive| FeedbackExplanation {
            adaptive,
            ceiling: derivation.ceiling(),
            measurement: Resource::feedback(gate).and_then(|resource| readings.get(resource)).cloned(),
        });
        let mut settings = overrides.layers().iter().filter_map(|layer| Some((layer, layer.find(gate)?)));
        let winner = settings.next();
        let shadowed = settings.map(|(_, (origin, value))| Shadowed { origin, value }).collect();
        // A setting is compared with what the host grants, not with what feedback chooses at the moment.
        let (derived, granted) = (derivation.limit(), derivation.ceiling());
        let explain = |limit, decision| Self {
            path: gate.into(),
            limit,
            decision,
            shadowed,
            derivation,
            bound_by: None,
            feedback,
            lease: None,
            queue_bounds: QueueBounds::decide(spec, overrides),
        };
        let Some((layer, (origin, value))) = winner else { return Ok(explain(derived, Decision::Derived)) };
        // The policy matters only above the derived limit. The stricter of the gate's and the layer's policy applies.
        let requested = Limit::saturating(value as u64);
        let (limit, standing) = match spec.override_policy().max(layer.override_policy()) {
            _ if requested <= granted => (requested, Standing::Within),
            Policy::Trust => (requested, Standing::AboveDerived),
            Policy::Clamp => (granted, Standing::Clamped),
            Policy::Reject => return Err(Problem::Rejected { gate, origin, value, derived: granted }),
        };
        Ok(explain(limit, Decision::Overridden { origin, value, standing }))
    }

    /// Sets the path of the gate, and finds the gate above it that binds. `limit_of` returns the limit of a gate.
    pub(super) fn place_at(&mut self, path: GatePath, limit_of: impl Fn(GateName) -> Limit) {
        // `min_by_key` returns the first of several lowest limits: from the gate upwards, that is the nearest one.
        let ancestors =
            path.parents().iter().rev().map(|&gate| AncestorLimit { gate, limit: limit_of(gate) });
        self.bound_by =
            ancestors.min_by_key(|ancestor| ancestor.limit).filter(|ancestor| ancestor.limit < self.limit);
        self.path = path;
    }

    /// Adds the lease of the gate.
    #[must_use]
    pub(crate) fn with_lease(mut self, lease: LeaseExplanation) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Returns the gate.
    #[must_use]
    pub fn gate(&self) -> GateName {
        self.path.gate()
    }

    /// Returns the path of the gate from its root.
    #[must_use]
    pub fn path(&self) -> &GatePath {
        &self.path
    }

    /// Returns the limit. A gate above this one may have a lower limit: see [`bound_by`](Self::bound_by).
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns what decided the limit: the formula or a setting.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns the settings of later layers that the deciding setting shadows, in order of precedence.
    #[must_use]
    pub fn shadowed(&self) -> &[Shadowed] {
        &self.shadowed
    }

    /// Returns the gate above this one that keeps it below its own limit: the one with the lowest limit, if that is below the
    /// limit of this gate. Of several, it is the nearest one.
    #[must_use]
    pub fn bound_by(&self) -> Option<&AncestorLimit> {
        self.bound_by.as_ref()
    }

    /// Returns the band in which feedback chooses the limit, and its last choice with the reason, if the gate is
    /// [adaptive](GateSpec::adaptive).
    #[must_use]
    pub fn feedback(&self) -> Option<&FeedbackExplanation> {
        self.feedback.as_ref()
    }

    /// Returns the lease of a gate that shares its limit with other processes. Only an explanation from
    /// [`Governor::explain`](crate::Governor::explain) has it, because it changes with each exchange.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseExplanation> {
        self.lease.as_ref()
    }

    /// Returns the bound of the queue and the longest wait, as declared or as an operator has set them.
    #[must_use]
    pub fn queue_bounds(&self) -> &QueueBounds {
        &self.queue_bounds
    }

    /// Returns the step-by-step evaluation of the formula on this host, also if a setting overrides it.
    #[must_use]
    pub fn derivation(&self) -> &Derivation {
        &self.derivation
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, limit, decision, derivation, .. } = self;
        let binding = derivation.binding();
        write!(f, "{path} = {limit}: {decision}")?;
        match decision {
            Decision::Derived => write!(f, ", `{}` decides", binding.text())?,
            Decision::Overridden { .. } => write!(f, ", derived {}", derivation.ceiling())?,
        }
        // If the base is unknown, its remark explains the limit better than that of the floor which decides.
        let base = &derivation.parts()[0];
        let remarked = if base.value() == Reading::Unknown { base } else { binding };
        match remarked.remark() {
            remark if *decision == Decision::Derived && !remark.is_empty() => write!(f, " ({remark})")?,
            _ => {}
        }
        for Shadowed { origin, value } in &self.shadowed {
            write!(f, ", shadows {origin} = {value}")?;
        }
        if let Some(ancestor) = &self.bound_by {
            write!(f, ", {ancestor}")?;
        }
        if let Some(lease) = self.lease.as_ref().filter(|_| !f.alternate()) {
            write!(f, ", {lease}")?;
        }
        if !f.alternate() {
            return Ok(());
        }

        // The alternate form adds a table: one row per part, with the columns text, number, mark and remark.
        let width = derivation.parts().iter().map(|part| part.text().chars().count()).max().unwrap_or(0);
        let mark = match decision {
            Decision::Derived => "<- decides",
            Decision::Overridden { .. } => "<- would decide",
        };
        for part in derivation.parts() {
            let decides = if part.decides() { mark } else { "" };
            let row = format!(
                "{:width$}  {:>10}  {decides:mark_width$}  {}",
                part.text(),
                part.value().plain(),
                part.remark(),
                mark_width = mark.len(),
            );
            write!(f, "\n    {}", row.trim_end())?;
        }
        if self.queue_bounds.is_overridden() {
            write!(f, "\n    {}", self.queue_bounds)?;
        }
        if let Some(feedback) = &self.feedback {
            write!(f, "\n    {feedback}")?;
        }
        self.lease.as_ref().map_or(Ok(()), |lease| write!(f, "\n    {lease}"))
    }
}

/// The band in which feedback chooses the limit of a gate, and its last choice with the reason.
///
/// It prints as one line, such as `rule latency, from 4 to 512: 18 -> 16: congested (latency_ms=25, baseline_ms=20)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackExplanation {
    adaptive: Adaptive,
    ceiling: Limit,
    measurement: Option<Measurement>,
}

impl FeedbackExplanation {
    /// Returns the declaration: the rule, the start and the floor.
    pub fn adaptive(&self) -> &Adaptive {
        &self.adaptive
    }

    /// Returns the lowest limit of the band: the declared floor, or the ceiling if that is lower.
    #[must_use]
    pub fn floor(&self) -> Limit {
        self.adaptive.floor_limit().min(self.ceiling)
    }

    /// Returns the highest limit of the band: what the formula derives from the host.
    #[must_use]
    pub fn ceiling(&self) -> Limit {
        self.ceiling
    }

    /// Returns the limit before the first decision: the declared start, or the nearest limit of the band.
    #[must_use]
    pub fn start(&self) -> Limit {
        self.adaptive.start_limit().max(self.floor()).min(self.ceiling)
    }

    /// Returns the choice in force as a measurement. Its source has the last decision with its reason and its numbers. Before the first
    /// decision it has no source. `None` outside of a governor.
    #[must_use]
    pub fn measurement(&self) -> Option<&Measurement> {
        self.measurement.as_ref()
    }
}

impl fmt::Display for FeedbackExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}, from {} to {}", self.adaptive.rule(), self.floor(), self.ceiling)?;
        let sources = self.measurement.iter().flat_map(Measurement::sources);
        match sources.last() {
            Some(source) => write!(f, ": {}", Escaped(source.raw())),
            None => write!(f, ": starts at {}", self.start()),
        }
    }
}

/// What decided a limit. The enum is closed: a limit is either derived or overridden.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The formula decided.
    Derived,
    /// An operator's setting decided.
    Overridden {
        /// The origin of the setting.
        origin: Origin,
        /// The value as it was given.
        value: usize,
        /// The relation of the value to the derived limit before feedback.
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
                    Standing::AboveDerived => " (above the derived limit)",
                    Standing::Clamped => " (lowered to the derived limit)",
                })
            }
        }
    }
}

/// The relation of an operator's setting to the derived limit, which is that [before feedback](Derivation::ceiling).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// The setting is at most the derived limit.
    Within,
    /// The setting is above the derived limit, and trusted.
    AboveDerived,
    /// The setting was above the derived limit, and was lowered to it.
    Clamped,
}

/// A setting that is shadowed by a setting of an earlier layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Shadowed {
    /// The origin of the setting.
    pub origin: Origin,
    /// The value of the setting.
    pub value: usize,
}

/// The limit of a gate above another one: a gate that the other is within, directly or through others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AncestorLimit {
    /// The gate above.
    pub gate: GateName,
    /// Its limit.
    pub limit: Limit,
}

/// Prints what it means for the gate below: "at most 16 at a time, because gate `io` above it has 16".
impl fmt::Display for AncestorLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, limit } = self;
        write!(f, "at most {limit} at a time, because gate `{gate}` above it has {limit}")
    }
}
