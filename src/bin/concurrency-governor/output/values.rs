//! How measurements and decisions are written.

use std::time::Duration;

use concurrency_governor::plan::{Bound, Decision, Explanation, Measurement};
use concurrency_governor::{Keys, Limit, Quantity, Reading, Resource};

/// Formats a measurement for people: bytes in binary units, with "at most" or "at least" where the reading is a bound.
pub(crate) fn format_measurement(resource: Resource, measurement: &Measurement) -> String {
    let bound = format_bound(measurement);
    match measurement.reading() {
        Reading::Finite(bytes) if resource.is_in_bytes() => format!("{bound}{}", format_bytes(bytes)),
        Reading::Finite(number) => format!("{bound}{}", number.plain()),
        other => other.plain().to_string(),
    }
}

/// Same as [`format_measurement`], with all digits: bytes are not rounded.
pub(crate) fn format_exact_measurement(resource: Resource, measurement: &Measurement) -> String {
    let bound = format_bound(measurement);
    match measurement.reading() {
        Reading::Finite(number) => {
            let unit = if resource.is_in_bytes() { " bytes" } else { "" };
            format!("{bound}{}{unit}", number.plain())
        }
        other => other.plain().to_string(),
    }
}

fn format_bound(measurement: &Measurement) -> &'static str {
    match measurement.bound() {
        Bound::AtMost => "at most ",
        Bound::AtLeast => "at least ",
        _ => "",
    }
}

/// Formats what decided a limit: the step of the formula, or the setting.
pub(crate) fn format_decision(explanation: &Explanation) -> String {
    match explanation.decision() {
        Decision::Derived => format!("`{}`", explanation.derivation().binding().text()),
        decision @ Decision::Overridden { .. } => decision.to_string(),
    }
}

/// Formats the bounds of a gate's keys, such as "keys: at most 4096 busy, each with at most 16 permits and 64 waiting requests".
pub(crate) fn format_keys(keys: Keys, limit: Limit) -> String {
    let permits = match keys.cap_part().of_limit(limit).get() {
        1 => "1 permit".to_owned(),
        permits => format!("{permits} permits"),
    };
    let waiting = match keys.queue_bound() {
        None => String::new(),
        Some(1) => " and 1 waiting request".to_owned(),
        Some(bound) => format!(" and {bound} waiting requests"),
    };
    format!("keys: at most {} busy, each with at most {permits}{waiting}", keys.max())
}

/// Formats the time for which a ledger still learns: `learning for 46.8 s`.
pub(crate) fn format_learning(left: Duration) -> String {
    format!("learning for {:.1} s", left.as_secs_f64())
}

/// Formats a number of bytes in the largest binary unit that fits, with at most two decimal places.
fn format_bytes(bytes: Quantity) -> String {
    const UNITS: [(&str, u32); 5] = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

    let whole = bytes.floor();
    let Some((unit, power)) = UNITS.into_iter().find(|(_, power)| whole >> power > 0) else {
        return format!("{} bytes", bytes.plain());
    };
    let hundredths = u128::from(whole).saturating_mul(100) >> power;
    let [units, rest] = [hundredths / 100, hundredths % 100];
    match rest {
        0 => format!("{units} {unit}"),
        _ => format!("{units}.{rest:02} {unit}"),
    }
}
