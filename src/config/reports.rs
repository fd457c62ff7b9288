//! Serializes resolutions, statuses and events. Data that `concurrency-governor explain --json` also prints has the same shape as
//! there, except that a measurement has `stale` for `error` and no `figures`, and a gate has `lease`, but neither `formula` nor `share`.
//! There is no deserialization.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::event::Event;
use crate::feedback::{FeedbackDecision, OutcomeCounts};
use crate::gate::{
    CycleLink, GateStatus, GateTotals, Histogram, Holder, HolderState, QueueTotals, RejectedTotals, Stall,
    WaitCycle,
};
use crate::governor::{
    Bottleneck, Diagnosis, FeedbackStatus, GateDiagnosis, GovernorStatus, HolderGroup, ProbeStatus,
};
use crate::plan::{
    AncestorLimit, Bound, Decision, Derivation, DerivedPart, Effect, Explanation, FeedbackExplanation,
    LeaseExplanation, LeaseState, Measurement, Origin, QueueBounds, Readings, Resolution, Shadowed, Source,
    Standing,
};
use crate::pool::{CreateErrors, Discarded, ExpiredCheckouts, PoolStatus, PoolTotals};

/// Implements `Serialize` for structs: every field under its name. The list of fields must be complete, so a new field of the
/// struct does not compile before it is listed here.
macro_rules! impl_serialize_by_fields {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {$(
        /// Serializes every field under its name.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self { $($field),+ } = self;
                let count = [$(stringify!($field)),+].len();
                let mut fields = serializer.serialize_struct(stringify!($name), count)?;
                $(fields.serialize_field(stringify!($field), $field)?;)+
                fields.end()
            }
        }
    )+};
}

/// Serializes a struct of the given fields.
macro_rules! serialize_fields {
    ($serializer:expr, $name:literal, { $($key:literal: $value:expr),* $(,)? }) => {{
        let count = [$($key),*].len();
        let mut fields = $serializer.serialize_struct($name, count)?;
        $(fields.serialize_field($key, &$value)?;)*
        fields.end()
    }};
}

/// Serializes `readings` by resource and `gates` by name, in the order of the plan.
impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "Resolution", { "readings": self.readings(), "gates": ExplanationMap(self.explanations()) })
    }
}

/// Serializes explanations by the name of their gate.
struct ExplanationMap<'e>(&'e [Explanation]);

impl Serialize for ExplanationMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|explanation| (explanation.gate(), explanation)))
    }
}

/// Serializes the measurements by resource.
impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Serialize for Measurement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "Measurement", {
            "value": self.reading(),
            "bound": self.bound(),
            "sources": self.sources(),
            "notes": self.notes(),
            "stale": self.staleness(),
        })
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "Source", {
            "path": self.path(),
            "level": self.level(),
            "raw": self.raw(),
            "meaning": self.meaning(),
        })
    }
}

/// Serializes as `exact`, `at_most` or `at_least`.
impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Exact => "exact",
            Self::AtMost => "at_most",
            Self::AtLeast => "at_least",
        })
    }
}

/// Serializes `path` and `bound_by` too if the gate is within another one, `queue_bounds` if its queue or its waits are bounded,
/// `feedback` if it is adaptive, and `lease` if it has one.
impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_child = !self.path().parents().is_empty();
        let count = 5_usize.saturating_add(if is_child { 2 } else { 0 });
        let count = count.saturating_add(usize::from(self.queue_bounds().has_any()));
        let count = count.saturating_add(usize::from(self.feedback().is_some()));
        let count = count.saturating_add(usize::from(self.lease().is_some()));
        let mut fields = serializer.serialize_struct("Explanation", count)?;
        fields.serialize_field("limit", &self.limit())?;
        fields.serialize_field("decision", self.decision())?;
        fields.serialize_field("derived", &self.derivation().limit())?;
        fields.serialize_field("shadowed", self.shadowed())?;
        fields.serialize_field("derivation", self.derivation())?;
        if is_child {
            fields.serialize_field("path", self.path())?;
            fields.serialize_field("bound_by", &self.bound_by())?;
        }
        if self.queue_bounds().has_any() {
            fields.serialize_field("queue_bounds", self.queue_bounds())?;
        }
        if let Some(feedback) = self.feedback() {
            fields.serialize_field("feedback", feedback)?;
        }
        if let Some(lease) = self.lease() {
            fields.serialize_field("lease", lease)?;
        }
        fields.end()
    }
}

/// Serializes the bounds, each with its origin. The longest wait is in seconds.
impl Serialize for QueueBounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "QueueBounds", {
            "queue": self.queue(),
            "queue_origin": self.queue_origin(),
            "max_wait": self.max_wait().map(|wait| wait.as_secs_f64()),
            "max_wait_origin": self.max_wait_origin(),
        })
    }
}

/// Serializes every field under its name. `remaining` is in seconds.
impl Serialize for LeaseExplanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, limit, version, block, without_lease, remaining, state, problem } = self;
        serialize_fields!(serializer, "LeaseExplanation", {
            "name": name, "limit": limit, "version": version, "block": block,
            "without_lease": without_lease, "remaining": remaining.as_secs_f64(), "state": state, "problem": problem,
        })
    }
}

/// Serializes as its name.
impl Serialize for LeaseState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Serializes the band, the declared start, the chosen limit, and the last decision as text. The last two are null outside of a governor,
/// and the decision is null before the first one.
impl Serialize for FeedbackExplanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let measurement = self.measurement();
        let decision = measurement.and_then(|measured| measured.sources().last()).map(Source::raw);
        serialize_fields!(serializer, "FeedbackExplanation", {
            "rule": self.adaptive().rule().to_string(),
            "start": self.adaptive().start_limit(),
            "floor": self.floor(),
            "ceiling": self.ceiling(),
            "chosen": measurement.map(Measurement::reading),
            "decision": decision,
        })
    }
}

/// Serializes the limits, the reason and the numbers of the rule, and the `record` that can be replayed.
impl Serialize for FeedbackDecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "FeedbackDecision", {
            "at": self.at().as_secs_f64(),
            "rule": self.rule(),
            "before": self.before(),
            "after": self.after(),
            "reason": self.opinion().reason().name(),
            "numbers": DecisionNumbers(self.opinion().numbers()),
            "floor": self.band().floor(),
            "ceiling": self.band().ceiling(),
            "record": self.to_line(),
        })
    }
}

/// Serializes the numbers of a rule by their names.
struct DecisionNumbers<'n>(&'n [(Cow<'static, str>, f64)]);

impl Serialize for DecisionNumbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, number)| (name, number)))
    }
}

/// Serializes the band, the chosen limit, the counts, and the decisions, oldest first.
impl Serialize for FeedbackStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OutcomeCounts { successes, overloads, ignored } = self.outcomes;
        serialize_fields!(serializer, "FeedbackStatus", {
            "gate": self.gate,
            "rule": self.rule.to_string(),
            "floor": self.band.floor(),
            "ceiling": self.band.ceiling(),
            "limit": self.limit,
            "paused": self.is_paused,
            "successes": successes,
            "overloads": overloads,
            "ignored": ignored,
            "decisions": self.history.iter().collect::<Vec<_>>(),
        })
    }
}

impl Serialize for AncestorLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "AncestorLimit", { "gate": self.gate, "limit": self.limit })
    }
}

/// Serializes `kind`: `derived`, or `overridden` with the setting.
impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Derived => serialize_fields!(serializer, "Decision", { "kind": "derived" }),
            Self::Overridden { origin, value, standing } => serialize_fields!(serializer, "Decision", {
                "kind": "overridden",
                "origin": origin,
                "value": value,
                "standing": standing,
            }),
        }
    }
}

/// Serializes as text: the name of the layer, and the key if there is one.
impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serializes as `within`, `clamped` or `above_derived`.
impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Within => "within",
            Self::Clamped => "clamped",
            Self::AboveDerived => "above_derived",
        })
    }
}

impl Serialize for Shadowed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_fields!(serializer, "Shadowed", { "origin": self.origin, "value": self.value })
    }
}

/// Serializes the parts in their order.
impl Serialize for Derivation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.parts())
    }
}

impl Serialize for DerivedPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (operand, reading) = self.operand().unzip();
        serialize_fields!(serializer, "DerivedPart", {
            "step": self.text(),
            "operand": operand.map(|operand| operand.to_string()),
            "reading": reading,
            "amount": self.amount(),
            "assumed": self.assumed(),
            "value": self.value(),
            "effect": self.effect(),
            "remark": self.remark(),
            "decides": self.decides(),
        })
    }
}

/// Serializes as `set`, `changed`, `held` or `skipped`.
impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl_serialize_by_fields! {
    GateTotals { admitted, borrowed, queue, rejected }
    QueueTotals { enqueued, admitted, abandoned, cancelled, expired, too_large, closed, pushed_out, shed, unleased }
    RejectedTotals { no_permits, paused, queue_full, expired, too_large, zero_weight, closed, too_many_keys, would_expire, unleased }

    PoolTotals { created, added, reused, evicted, detached, discarded, create_errors, expired }
    Discarded { broken, incomplete, panicked, recycle, health, expired, surplus, retain, closed }
    CreateErrors { failed, timed_out, panicked, not_started, abandoned }
    ExpiredCheckouts { admission, item, backoff, start, creation, check }

    Bottleneck { gate, limit, decided_by }
    Diagnosis { gates, cycles }
    GateDiagnosis {
        gate, limit, in_use, debt, waiting, unclaimed, paused, closed, bottleneck, lease, tracked, holders, stall
    }

    GovernorStatus { refreshes, rejected, probes }
    ProbeStatus { resource, reading, stale, measured, failed }
}

/// Serializes every field under its name. `max_wait`, `retry_after` and `oldest_permit` are in seconds, or null.
impl Serialize for GateStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            name,
            limit,
            in_use,
            available,
            debt,
            waiting,
            queue_bound,
            max_wait,
            unclaimed,
            paused,
            closed,
            standing,
            retry_after,
            resized,
            totals,
            waits,
            holds,
            oldest_permit,
        } = self;
        serialize_fields!(serializer, "GateStatus", {
            "name": name, "limit": limit, "in_use": in_use, "available": available, "debt": debt, "waiting": waiting,
            "queue_bound": queue_bound, "max_wait": max_wait.map(|wait| wait.as_secs_f64()),
            "unclaimed": unclaimed, "paused": paused, "closed": closed, "standing": standing,
            "retry_after": retry_after.map(|wait| wait.as_secs_f64()), "resized": resized, "totals": totals, "waits": waits,
            "holds": holds, "oldest_permit": oldest_permit.map(|age| age.as_secs_f64()),
        })
    }
}

/// Serializes every field under its name. `start_delay` and `backing_off` are in seconds, or null.
impl Serialize for PoolStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            gate,
            limit,
            size,
            idle,
            in_use,
            checking,
            creating,
            dropping,
            waiting,
            start_delay,
            backing_off,
            closed,
            totals,
            creates,
            waits,
        } = self;
        serialize_fields!(serializer, "PoolStatus", {
            "gate": gate, "limit": limit, "size": size, "idle": idle, "in_use": in_use, "checking": checking,
            "creating": creating, "dropping": dropping, "waiting": waiting,
            "start_delay": start_delay.map(|delay| delay.as_secs_f64()), "backing_off": backing_off.map(|left| left.as_secs_f64()),
            "closed": closed, "totals": totals, "creates": creates, "waits": waits,
        })
    }
}

/// Serializes the number of waits, and their mean, median, 99th percentile and maximum in seconds. Without waits, these
/// are null.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = |wait: Option<std::time::Duration>| wait.map(|wait| wait.as_secs_f64());
        serialize_fields!(serializer, "Histogram", {
            "count": self.count(),
            "mean": seconds(self.mean()),
            "median": seconds(self.quantile(1, 2)),
            "p99": seconds(self.quantile(99, 100)),
            "max": seconds(self.max()),
        })
    }
}

/// Serializes every field under its name, except `since`, and except the key, which may be a secret. `location` and `task` are texts,
/// and `age` is in seconds.
impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { gate, key: _, label, location, task, weight, since: _, age, state } = self;
        serialize_fields!(serializer, "Holder", {
            "gate": gate, "label": label, "location": location.to_string(), "task": task.map(|task| task.to_string()),
            "weight": weight, "age": age.as_secs_f64(), "state": state,
        })
    }
}

/// Serializes as `held`, `granted_not_polled` or `forgotten`.
impl Serialize for HolderState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Held => "held",
            Self::GrantedNotPolled => "granted_not_polled",
            Self::Forgotten => "forgotten",
        })
    }
}

/// Serializes every field under its name. `location` is a text, and `oldest` is in seconds.
impl Serialize for HolderGroup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { label, location, state, holders, permits, oldest, overdue } = self;
        serialize_fields!(serializer, "HolderGroup", {
            "label": label, "location": location.to_string(), "state": state, "holders": holders, "permits": permits,
            "oldest": oldest.as_secs_f64(), "overdue": overdue,
        })
    }
}

/// Serializes every field under its name, except `since`. `lasted` is in seconds.
impl Serialize for Stall {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { gate, waiting, since: _, lasted, suspects } = self;
        serialize_fields!(serializer, "Stall", {
            "gate": gate, "waiting": waiting, "lasted": lasted.as_secs_f64(), "suspects": suspects,
        })
    }
}

/// Serializes the waits, in the order of the cycle.
impl Serialize for WaitCycle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.links.serialize(serializer)
    }
}

/// Serializes every field under its name. The locations and `task` are texts, and `waited` is in seconds.
impl Serialize for CycleLink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { task, gate, location, weight, waited, holds_from, label } = self;
        serialize_fields!(serializer, "CycleLink", {
            "task": task.map(|task| task.to_string()), "gate": gate, "location": location.to_string(), "weight": weight,
            "waited": waited.as_secs_f64(), "holds_from": holds_from.to_string(), "label": label,
        })
    }
}

/// Serializes the `kind`, the fields of the event under their names, and a human-readable `message`. The `error` of a rejected refresh
/// becomes `problems`, and the `since` of a stall is left out.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.to_string();
        match self {
            Self::LimitChanged { gate, from, to, debt, explanation } => {
                serialize_fields!(serializer, "Event", {
                    "kind": "limit_changed", "gate": gate, "from": from, "to": to, "debt": debt,
                    "explanation": explanation, "message": message,
                })
            }
            Self::ReadingChanged { resource, from, to } => serialize_fields!(serializer, "Event", {
                "kind": "reading_changed", "resource": resource, "from": from, "to": to, "message": message,
            }),
            Self::FeedbackDecided { gate, decision } => serialize_fields!(serializer, "Event", {
                "kind": "feedback_decided", "gate": gate, "decision": decision, "message": message,
            }),
            Self::RiseHeld { resource, held, seen, remaining } => serialize_fields!(serializer, "Event", {
                "kind": "rise_held", "resource": resource, "held": held, "seen": seen,
                "remaining": remaining.as_secs_f64(), "message": message,
            }),
            Self::ProbeFailed { resource, fault, kept } => serialize_fields!(serializer, "Event", {
                "kind": "probe_failed", "resource": resource, "fault": fault.to_string(), "kept": kept,
                "message": message,
            }),
            Self::ProbeRecovered { resource, reading } => serialize_fields!(serializer, "Event", {
                "kind": "probe_recovered", "resource": resource, "reading": reading, "message": message,
            }),
            Self::RefreshRejected { error } => serialize_fields!(serializer, "Event", {
                "kind": "refresh_rejected",
                "problems": error.problems().iter().map(ToString::to_string).collect::<Vec<_>>(),
                "message": message,
            }),
            Self::LeaseChanged { gate, from, to, lease } => serialize_fields!(serializer, "Event", {
                "kind": "lease_changed", "gate": gate, "from": from, "to": to, "lease": lease, "message": message,
            }),
            Self::FleetLimitChanged { gate, from, to, version } => serialize_fields!(serializer, "Event", {
                "kind": "fleet_limit_changed", "gate": gate, "from": from, "to": to, "version": version,
                "message": message,
            }),
            Self::PermitOverdue { gate, overdue, oldest } => serialize_fields!(serializer, "Event", {
                "kind": "permit_overdue", "gate": gate, "overdue": overdue, "oldest": oldest, "message": message,
            }),
            Self::GrantUnclaimed { gate, unclaimed, oldest } => serialize_fields!(serializer, "Event", {
                "kind": "grant_unclaimed", "gate": gate, "unclaimed": unclaimed, "oldest": oldest,
                "message": message,
            }),
            Self::Stalled { gate, waiting, since: _, lasted, suspects } => {
                serialize_fields!(serializer, "Event", {
                    "kind": "stalled", "gate": gate, "waiting": waiting, "lasted": lasted.as_secs_f64(),
                    "suspects": suspects, "message": message,
                })
            }
            Self::WaitCycle { cycle } => serialize_fields!(serializer, "Event", {
                "kind": "wait_cycle", "cycle": cycle, "message": message,
            }),
        }
    }
}
