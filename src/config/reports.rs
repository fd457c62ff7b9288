//! What a resolution, a gate and a governor say, written by serde: in the shape of `concurrency-governor explain --json`
//! where that says the same. Nothing of it is read back.

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use crate::event::Event;
use crate::gate::{GateStatus, GateTotals, Histogram, QueueTotals, RejectedTotals};
use crate::plan::{
    Bound, Decision, Derivation, DerivedPart, Effect, Explanation, Measurement, Origin, Readings, Resolution,
    Shadowed, Source, Standing,
};

/// Writes fields by name, each with its value.
macro_rules! fields {
    ($serializer:expr, $name:literal, { $($key:literal: $value:expr),* $(,)? }) => {{
        let count = [$($key),*].len();
        let mut fields = $serializer.serialize_struct($name, count)?;
        $(fields.serialize_field($key, &$value)?;)*
        fields.end()
    }};
}

/// `readings` by resource, `gates` by name in the order of the plan.
impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "Resolution", { "readings": self.readings(), "gates": Gates(self.explanations()) })
    }
}

struct Gates<'e>(&'e [Explanation]);

impl Serialize for Gates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|explanation| (explanation.gate(), explanation)))
    }
}

/// Measurements by resource.
impl Serialize for Readings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Serialize for Measurement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "Measurement", {
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
        fields!(serializer, "Source", {
            "path": self.path(),
            "level": self.level(),
            "raw": self.raw(),
            "meaning": self.meaning(),
        })
    }
}

/// `exact` or `at_most`.
impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Exact => "exact",
            Self::AtMost => "at_most",
        })
    }
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "Explanation", {
            "limit": self.limit(),
            "decision": self.decision(),
            "derived": self.derivation().limit(),
            "shadowed": self.shadowed(),
            "derivation": self.derivation(),
        })
    }
}

/// Its `kind`: `derived`, or `overridden` with the setting.
impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Derived => fields!(serializer, "Decision", { "kind": "derived" }),
            Self::Overridden { origin, value, standing } => fields!(serializer, "Decision", {
                "kind": "overridden",
                "origin": origin,
                "value": value,
                "standing": standing,
            }),
        }
    }
}

/// As it prints: the layer's name, and the key where there is one.
impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `within`, `clamped` or `above_derived`.
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
        fields!(serializer, "Shadowed", { "origin": self.origin, "value": self.value })
    }
}

/// Its parts in order.
impl Serialize for Derivation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.parts())
    }
}

impl Serialize for DerivedPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (operand, reading) = self.operand().unzip();
        fields!(serializer, "DerivedPart", {
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

/// `set`, `changed`, `held` or `skipped`.
impl Serialize for Effect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Every field by its name.
impl Serialize for GateStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "GateStatus", {
            "name": self.name,
            "limit": self.limit,
            "in_use": self.in_use,
            "available": self.available,
            "debt": self.debt,
            "waiting": self.waiting,
            "closed": self.closed,
            "resized": self.resized,
            "totals": self.totals,
            "waits": self.waits,
        })
    }
}

/// Every field by its name.
impl Serialize for GateTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "GateTotals", { "admitted": self.admitted, "queue": self.queue, "rejected": self.rejected })
    }
}

/// Every field by its name.
impl Serialize for QueueTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "QueueTotals", {
            "enqueued": self.enqueued,
            "admitted": self.admitted,
            "unclaimed": self.unclaimed,
            "cancelled": self.cancelled,
            "expired": self.expired,
            "too_large": self.too_large,
            "closed": self.closed,
        })
    }
}

/// Every field by its name.
impl Serialize for RejectedTotals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "RejectedTotals", {
            "no_permits": self.no_permits,
            "queue_full": self.queue_full,
            "expired": self.expired,
            "too_large": self.too_large,
            "zero_weight": self.zero_weight,
            "closed": self.closed,
        })
    }
}

/// How many waits, and their mean, median, 99th percentile and maximum in seconds, null where there are none.
impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = |wait: Option<std::time::Duration>| wait.map(|wait| wait.as_secs_f64());
        fields!(serializer, "Histogram", {
            "count": self.count(),
            "mean": seconds(self.mean()),
            "median": seconds(self.quantile(1, 2)),
            "p99": seconds(self.quantile(99, 100)),
            "max": seconds(self.max()),
        })
    }
}

/// Its `kind`, the fields of the event by their names, and a `message` for people.
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.to_string();
        match self {
            Self::LimitChanged { gate, from, to, debt, explanation } => fields!(serializer, "Event", {
                "kind": "limit_changed", "gate": gate, "from": from, "to": to, "debt": debt,
                "explanation": explanation, "message": message,
            }),
            Self::ReadingChanged { resource, from, to } => fields!(serializer, "Event", {
                "kind": "reading_changed", "resource": resource, "from": from, "to": to, "message": message,
            }),
            Self::RiseHeld { resource, held, seen, remaining } => fields!(serializer, "Event", {
                "kind": "rise_held", "resource": resource, "held": held, "seen": seen, "remaining": remaining,
                "message": message,
            }),
            Self::ProbeFailed { resource, fault, kept } => fields!(serializer, "Event", {
                "kind": "probe_failed", "resource": resource, "fault": fault.to_string(), "kept": kept,
                "message": message,
            }),
            Self::ProbeRecovered { resource, reading } => fields!(serializer, "Event", {
                "kind": "probe_recovered", "resource": resource, "reading": reading, "message": message,
            }),
            Self::RefreshRejected { error } => fields!(serializer, "Event", {
                "kind": "refresh_refused",
                "problems": error.problems().iter().map(ToString::to_string).collect::<Vec<_>>(),
                "message": message,
            }),
        }
    }
}
