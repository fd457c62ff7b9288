//! The table `adaptive` of a gate.

use super::reader::{ConfigReader, as_text, as_whole, find_field, is_blank};
use super::value::{Value, ValueKind};
use crate::plan::{Adaptive, AdaptiveRule, Limit, OverloadSign, RuleName};

/// The keys of the table.
const ADAPTIVE_KEYS: [&str; 5] = ["rule", "start", "floor", "max_healthy", "overload"];

impl ConfigReader {
    /// Reads how the limit of a gate follows outcomes: a table, or a text such as `latency, start 16`.
    pub(super) fn read_adaptive(&mut self, path: &str, value: &Value) -> Option<Adaptive> {
        if let Some(text) = as_text(value) {
            return self.parse_text(path, value.line, text);
        }
        let entries = self.read_table(path, value, Some(&ADAPTIVE_KEYS));
        if !matches!(value.kind, ValueKind::Table(_)) {
            return None; // reported by `read_table`
        }
        let field = |name: &str| find_field(&entries, name);
        if field("rule").is_none() {
            self.report(value.line, format!("{path} has no rule (required, for example rule = \"latency\")"));
        }
        let max_healthy = field("max_healthy");
        let max_healthy = max_healthy.map(|value| self.read_duration(&format!("{path}.max_healthy"), value));
        let limit = |reader: &mut Self, name: &str| {
            let given = field(name).filter(|value| !is_blank(value));
            given.map(|value| reader.read_limit(&format!("{path}.{name}"), value))
        };
        let (start, floor) = (limit(self, "start"), limit(self, "floor"));
        let overload = field("overload").map(|value| {
            let sign = as_text(value).and_then(|text| text.parse::<OverloadSign>().ok());
            let allowed = "1 to 100 percent of a resource, such as \"20% pressure.cpu\"";
            self.require(&format!("{path}.overload"), value, sign, "is not a sign of overload", allowed)
        });

        // `max_healthy` belongs to the rule `aimd` alone.
        let given = field("rule")?;
        let rule = match (as_text(given), max_healthy) {
            (Some("aimd"), Some(max_healthy)) => Some(AdaptiveRule::Aimd { max_healthy: max_healthy? }),
            (Some("aimd"), None) => {
                let example = "required for `aimd`, for example max_healthy = \"200ms\"";
                self.report(given.line, format!("{path} has no max_healthy ({example})"));
                return None;
            }
            (text, max_healthy) => {
                let rule = text.and_then(parse_rule_without_aimd);
                if rule.is_some() && max_healthy.is_some() {
                    self.report(given.line, format!("{path}.max_healthy is only for the rule `aimd`"));
                    return None;
                }
                rule
            }
        };
        let allowed = "\"latency\", \"arc\", \"aimd\" with max_healthy, or \"custom:NAME\"";
        let rule = self.require(&format!("{path}.rule"), given, rule, "is not a rule", allowed)?;
        let mut adaptive = Adaptive::by(rule);
        if let Some(start) = start {
            adaptive = adaptive.start_at(start?);
        }
        if let Some(floor) = floor {
            adaptive = adaptive.floor_at(floor?);
        }
        if let Some(sign) = overload {
            adaptive = adaptive.overload_by(sign?);
        }
        Some(adaptive)
    }

    pub(super) fn read_limit(&mut self, path: &str, value: &Value) -> Option<Limit> {
        let limit = as_whole(value).and_then(|limit| Limit::try_new(limit).ok());
        self.require(path, value, limit, "is not a limit", &format!("1 to {}", Limit::MAX))
    }
}

fn parse_rule_without_aimd(text: &str) -> Option<AdaptiveRule> {
    match text {
        "latency" => Some(AdaptiveRule::Latency),
        "arc" => Some(AdaptiveRule::Arc),
        _ => text.strip_prefix("custom:")?.parse::<RuleName>().ok().map(AdaptiveRule::Custom),
    }
}
