//! The rules of plans and settings, applied to a value of any format. Collects every problem.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigProblem;
use super::share::ShareConfig;
use super::value::{ConfigKey, Value, ValueKind};
use crate::plan::{
    BuildError, Formula, GateName, GatePath, GateSpec, Holders, Keys, Part, Policy, Problem, QueueSetting,
    Shed,
};
use crate::preset::Preset;

/// The keys of a plan.
pub(super) const PLAN_KEYS: [&str; 3] = ["preset", "gates", "overrides"];

/// The keys of a gate.
const GATE_KEYS: [&str; 12] = [
    "formula",
    "queue",
    "max_wait",
    "shed",
    "policy",
    "measure_waits",
    "track_holders",
    "within",
    "weight",
    "adaptive",
    "keys",
    "share",
];

/// The keys of the table `keys` of a gate.
const KEYS_TABLE_KEYS: [&str; 3] = ["max", "cap", "queue"];
const SETTING_KEYS: [&str; 3] = ["limit", "queue", "max_wait"];

/// Reads the parts of a configuration and collects their problems.
///
/// A method that returns `None` for a given value has reported a problem.
#[derive(Debug, Default)]
pub(super) struct ConfigReader {
    pub(super) problems: Vec<ConfigProblem>,
}

/// The gates of a configuration.
#[derive(Debug, Default)]
pub(super) struct ParsedGates {
    /// The valid gates.
    pub(super) specs: Vec<GateSpec>,
    /// The line of each gate with a valid name, whether or not the rest of it is valid.
    pub(super) lines: BTreeMap<GateName, Option<usize>>,
    /// How gates share their limits with other processes.
    pub(super) shares: Vec<(GateName, ShareConfig)>,
}

/// The settings of a table: limits, and those of queues.
#[derive(Debug, Default)]
pub(super) struct ReadSettings {
    pub(super) limits: Vec<(GatePath, usize)>,
    pub(super) queues: Vec<(GatePath, QueueSetting)>,
}

impl ConfigReader {
    /// Returns the entries of a table in their order, and no entries if the value is null or not a table.
    ///
    /// Reports duplicate keys, and keys that are not in `allowed`. `None` allows any key. With a list of allowed keys, null
    /// values count as missing keys.
    pub(super) fn read_table<'v>(
        &mut self,
        path: &str,
        value: &'v Value,
        allowed: Option<&[&str]>,
    ) -> Vec<(&'v ConfigKey, &'v Value)> {
        let entries = match &value.kind {
            ValueKind::Null => return Vec::new(),
            ValueKind::Table(entries) => entries,
            _ => {
                let expected = if path.is_empty() {
                    "a table of keys and values".to_owned()
                } else {
                    format!("a table, as [{path}] in TOML")
                };
                self.report_invalid(path, value, "is not a table", &expected);
                return Vec::new();
            }
        };
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut valid = Vec::new();
        for (key, value) in entries {
            let name = key.text.as_str();
            if !seen.insert(name) {
                let key_path = join_path(path, key);
                self.report(key.line, format!("{key_path} is given twice (allowed: once)"));
                continue;
            }
            match allowed {
                Some(allowed) if !allowed.contains(&name) => {
                    let (key_path, allowed) = (join_path(path, key), allowed.join(", "));
                    self.report(key.line, format!("{key_path} is not a known key (allowed: {allowed})"));
                }
                _ if value.kind == ValueKind::Null && allowed.is_some() => {}
                _ => valid.push((key, value)),
            }
        }
        valid
    }

    pub(super) fn read_preset(&mut self, value: &Value) -> Option<Preset> {
        let allowed: Vec<String> = Preset::ALL.iter().map(|preset| format!("`{preset}`")).collect();
        let preset = as_text(value).and_then(|text| text.parse().ok());
        self.require("preset", value, preset, "is not a preset", &allowed.join(", "))
    }

    pub(super) fn read_gates(&mut self, value: &Value) -> ParsedGates {
        let mut gates = ParsedGates::default();
        for (key, value) in self.read_table("gates", value, None) {
            let path = join_path("gates", key);
            let name = self.parse_text::<GateName>(&path, key.line, &key.text);
            gates.lines.extend(name.map(|name| (name, key.line)));
            let share = self.read_share_of(&path, key, value);
            gates.shares.extend(name.zip(share));
            gates.specs.extend(self.read_gate(&path, name, key, value));
        }
        gates
    }

    /// Reads the table `share` of a gate. A gate that is within another one has none: it shares the lease of its root.
    fn read_share_of(&mut self, path: &str, key: &ConfigKey, value: &Value) -> Option<ShareConfig> {
        let ValueKind::Table(entries) = &value.kind else { return None };
        let field = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value);
        let share = field("share").filter(|value| value.kind != ValueKind::Null)?;
        let share = self.read_share(&format!("{path}.share"), share);
        if field("within").is_some_and(|within| within.kind != ValueKind::Null) {
            let allowed = "a gate that is within no other; the gates within it share its lease";
            self.report(
                key.line,
                format!("{path} has a share, and is within another gate (allowed: {allowed})"),
            );
        }
        share
    }

    /// Reads all keys of a gate, also if its name is invalid, so that every problem is reported.
    fn read_gate(
        &mut self,
        path: &str,
        name: Option<GateName>,
        key: &ConfigKey,
        value: &Value,
    ) -> Option<GateSpec> {
        let entries = self.read_table(path, value, Some(&GATE_KEYS));
        if !matches!(value.kind, ValueKind::Table(_) | ValueKind::Null) {
            return None; // reported by `read_table`; a missing formula is not a second problem
        }
        let field = |name: &str| find_field(&entries, name);
        if field("formula").is_none() {
            let example = "required, for example formula = \"cpu * 2\"";
            self.report(key.line, format!("{path} has no formula ({example})"));
        }
        let formula = field("formula").and_then(|value| self.read_formula(&format!("{path}.formula"), value));
        let queue = field("queue")
            .filter(|value| !is_blank(value))
            .map(|value| self.read_whole(&format!("{path}.queue"), value));
        let max_wait = field("max_wait").map(|value| self.read_duration(&format!("{path}.max_wait"), value));
        let shed = field("shed").map(|value| self.read_shed(&format!("{path}.shed"), value));
        let policy = field("policy").map(|value| self.read_policy(&format!("{path}.policy"), value));
        let measure_waits = field("measure_waits")
            .filter(|value| !is_blank(value))
            .map(|value| self.read_bool(&format!("{path}.measure_waits"), value));
        let track_holders =
            field("track_holders").map(|value| self.read_duration(&format!("{path}.track_holders"), value));
        let within = field("within").map(|value| self.read_gate_name(&format!("{path}.within"), value));
        let weight = field("weight")
            .filter(|value| !is_blank(value))
            .map(|value| self.read_weight(&format!("{path}.weight"), value));
        let adaptive = field("adaptive")
            .filter(|value| !is_blank(value))
            .map(|value| self.read_adaptive(&format!("{path}.adaptive"), value));
        let keys = field("keys").map(|value| self.read_keys(&format!("{path}.keys"), name, value));

        // The outer `Option` says whether the key is given, the inner one whether its value is valid.
        let mut spec = GateSpec::named(name?, formula?);
        if let Some(queue) = queue {
            spec = spec.queue(queue?);
        }
        if let Some(max_wait) = max_wait {
            spec = spec.max_wait(max_wait?);
        }
        if let Some(shed) = shed {
            spec = spec.shed(shed?);
        }
        if let Some(policy) = policy {
            spec = spec.policy(policy?);
        }
        if let Some(measure_waits) = measure_waits {
            spec = spec.measure_waits(measure_waits?);
        }
        if let Some(overdue_after) = track_holders {
            spec = spec.track_holders(Holders::overdue_after(overdue_after?));
        }
        if let Some(within) = within {
            spec = spec.within_named(within?);
        }
        if let Some(weight) = weight {
            spec = spec.weight(weight?);
        }
        if let Some(adaptive) = adaptive {
            spec = spec.adaptive(adaptive?);
        }
        if let Some(keys) = keys {
            spec = spec.keyed(keys?);
        }
        Some(spec)
    }

    /// Reads the table `keys` of a gate. `gate` is `None` if the gate's name is invalid.
    fn read_keys(&mut self, path: &str, gate: Option<GateName>, value: &Value) -> Option<Keys> {
        let entries = self.read_table(path, value, Some(&KEYS_TABLE_KEYS));
        if !matches!(value.kind, ValueKind::Table(_)) {
            return None; // reported by `read_table`
        }
        let field = |name: &str| find_field(&entries, name).filter(|value| !is_blank(value));
        if field("max").is_none() {
            self.report(value.line, format!("{path} has no max (required, for example max = 4096)"));
        }
        let max = field("max").and_then(|value| self.read_max_keys(&format!("{path}.max"), value));
        let cap = find_field(&entries, "cap").map(|value| self.read_cap(&format!("{path}.cap"), gate, value));
        let queue = field("queue").map(|value| self.read_whole(&format!("{path}.queue"), value));

        let mut keys = max?;
        if let Some(cap) = cap {
            keys = keys.cap(cap?);
        }
        if let Some(queue) = queue {
            keys = keys.queue(queue?);
        }
        Some(keys)
    }

    /// Reads a table of settings. Reports each gate that is not in `declared`; `None` skips this check. `path_of` returns the path of a
    /// gate, if it is known. Reports each given path that differs from it.
    pub(super) fn read_settings(
        &mut self,
        path: &str,
        value: &Value,
        declared: Option<&[GateName]>,
        path_of: impl Fn(GateName) -> Option<GatePath>,
    ) -> ReadSettings {
        let mut settings = ReadSettings::default();
        let mut seen: BTreeSet<GateName> = BTreeSet::new();
        for (key, value) in self.read_table(path, value, None) {
            let path = join_path(path, key);
            let Some(given) = self.parse_text::<GatePath>(&path, key.line, &key.text) else { continue };
            let gate = given.gate();
            if let Some(declared) = declared.filter(|declared| !declared.contains(&gate)) {
                let names: Vec<&str> = declared.iter().map(GateName::as_str).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                self.report(
                    key.line,
                    format!("{path}: the plan declares no such gate (it declares {names})"),
                );
            } else if let Some(right) = path_of(gate).filter(|right| !right.is_named_by(&given)) {
                let accepted = right.accepted();
                self.report(key.line, format!("{path}: gate `{gate}` is at `{right}` (allowed: {accepted})"));
            }
            if value.kind == ValueKind::Null || is_blank(value) {
                continue;
            }
            // The same key twice is reported with the table; a name and a path may also give the same gate.
            if !seen.insert(gate) {
                self.report(key.line, format!("{path} sets gate `{gate}` a second time (allowed: once)"));
            }
            if !matches!(value.kind, ValueKind::Table(_)) {
                let limit = self.read_whole(&path, value);
                settings.limits.extend(limit.map(|limit| (given, limit)));
                continue;
            }
            let entries = self.read_table(&path, value, Some(&SETTING_KEYS));
            let field = |name: &str| find_field(&entries, name).filter(|value| !is_blank(value));
            let limit = field("limit").and_then(|value| self.read_whole(&format!("{path}.limit"), value));
            let queue = field("queue").and_then(|value| self.read_whole(&format!("{path}.queue"), value));
            let max_wait = find_field(&entries, "max_wait")
                .and_then(|value| self.read_duration(&format!("{path}.max_wait"), value));
            settings.limits.extend(limit.map(|limit| (given.clone(), limit)));
            settings.queues.extend(queue.map(|queue| (given.clone(), QueueSetting::Bound(queue))));
            settings.queues.extend(max_wait.map(|wait| (given, QueueSetting::MaxWait(wait))));
        }
        settings
    }

    /// Reports the problems of the plan as a whole, each at the line of its gate.
    ///
    /// Leaves out problems that only follow from others: a gate that is declared but invalid counts as declared. If
    /// `declared` is `None`, nothing is reported, because the preset is invalid.
    pub(super) fn report_plan_problems(
        &mut self,
        error: &BuildError,
        lines: &BTreeMap<GateName, Option<usize>>,
        declared: Option<&[GateName]>,
        preset: Option<Preset>,
    ) {
        let Some(declared) = declared else { return };
        for problem in error.problems() {
            let gate = match problem {
                Problem::NoGates if !declared.is_empty() || !self.problems.is_empty() => continue,
                Problem::UnknownOperand { reads, .. } if declared.contains(reads) => continue,
                Problem::UnknownParent { parent, .. } if declared.contains(parent) => continue,
                Problem::DuplicateGate { gate, .. }
                | Problem::UnknownOperand { gate, .. }
                | Problem::UnknownParent { gate, .. }
                | Problem::WeightRange { gate, .. }
                | Problem::WeightWithoutParent { gate, .. }
                | Problem::FeedbackName { gate, .. } => Some(*gate),
                Problem::Cycle { circle } | Problem::ParentCycle { circle } => circle.first().copied(),
                Problem::TooDeep { path, .. } => Some(path.gate()),
                _ => None,
            };
            let line = gate.and_then(|gate| lines.get(&gate)).copied().flatten();
            let message = match (problem, preset) {
                // The file cannot declare a gate twice, so the other declaration is that of the preset.
                (Problem::DuplicateGate { gate, .. }, Some(preset)) => format!(
                    "gates.{}: preset `{}` declares a gate of this name (allowed: another name, or no preset)",
                    ConfigKey::new(gate.as_str()),
                    preset.as_str()
                ),
                _ => with_all_known(problem, declared).to_string(),
            };
            self.report(line, message);
        }
    }

    fn read_formula(&mut self, path: &str, value: &Value) -> Option<Formula> {
        let allowed = "text such as \"cpu * 2 | floor 4\"";
        let text = self.require(path, value, as_text(value), "is not a formula", allowed)?;
        self.parse_text(path, value.line, text)
    }

    fn read_gate_name(&mut self, path: &str, value: &Value) -> Option<GateName> {
        let allowed = "text such as \"io\"";
        let text = self.require(path, value, as_text(value), "is not the name of a gate", allowed)?;
        self.parse_text(path, value.line, text)
    }

    fn read_weight(&mut self, path: &str, value: &Value) -> Option<u32> {
        let weight = as_whole(value).and_then(|weight| u32::try_from(weight).ok());
        let weight = weight.filter(|weight| (1..=GateSpec::MAX_WEIGHT).contains(weight));
        self.require(path, value, weight, "is not a weight", &format!("1 to {}", GateSpec::MAX_WEIGHT))
    }

    fn read_max_keys(&mut self, path: &str, value: &Value) -> Option<Keys> {
        let max = as_whole(value).and_then(|max| u32::try_from(max).ok());
        let keys = max.and_then(|max| Keys::try_up_to(max).ok());
        self.require(path, value, keys, "is not a number of keys", &format!("1 to {}", u32::MAX))
    }

    /// Reads the cap of keys: a part of the gate's own limit, as a fraction or as an amount of the gate.
    fn read_cap(&mut self, path: &str, gate: Option<GateName>, value: &Value) -> Option<Part> {
        let part = as_text(value).and_then(|text| match text.split_once('*') {
            None => text.parse().ok(),
            Some((amount, part)) => {
                let mut words = amount.split_whitespace();
                let is_gate = words.next() == Some("gate");
                // If the name of the gate is invalid, which is reported elsewhere, any name is accepted here.
                let is_own = words.next().is_some_and(|name| gate.is_none_or(|gate| gate.as_str() == name));
                if is_gate && is_own && words.next().is_none() { part.parse().ok() } else { None }
            }
        });
        let own_name = gate.map_or("NAME".to_owned(), |gate| gate.to_string());
        let allowed =
            format!("a fraction above 0 and at most 1, such as \"1/4\" or \"gate {own_name} * 1/4\"");
        self.require(path, value, part, "is not a part of the gate's own limit", &allowed)
    }

    /// Reads a whole number, or a text that contains one, because environment variables are texts in every parser.
    fn read_whole(&mut self, path: &str, value: &Value) -> Option<usize> {
        let number = as_whole(value).and_then(|number| usize::try_from(number).ok());
        self.require(path, value, number, "is not a whole number", &format!("0 to {}", usize::MAX))
    }

    pub(super) fn read_duration(&mut self, path: &str, value: &Value) -> Option<Duration> {
        let duration = as_text(value).and_then(|text| humantime::parse_duration(text).ok());
        self.require(path, value, duration, "is not a duration", "text such as \"250ms\" or \"1m 30s\"")
    }

    /// Reads the target of shedding.
    fn read_shed(&mut self, path: &str, value: &Value) -> Option<Shed> {
        let target = as_text(value).and_then(|text| humantime::parse_duration(text).ok());
        let shed = target.and_then(|target| Shed::try_after(target).ok());
        self.require(path, value, shed, "is not a target of shedding", "a duration above 0 such as \"20ms\"")
    }

    fn read_policy(&mut self, path: &str, value: &Value) -> Option<Policy> {
        let policy = as_text(value).and_then(|text| text.parse().ok());
        self.require(path, value, policy, "is not a policy", "\"trust\", \"clamp\" or \"reject\"")
    }

    /// Reads a boolean, or a text that contains one, for the same reason as [`read_whole`](Self::read_whole).
    fn read_bool(&mut self, path: &str, value: &Value) -> Option<bool> {
        let truth = match &value.kind {
            ValueKind::Bool(truth) => Some(*truth),
            ValueKind::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        self.require(path, value, truth, "is not a boolean", "true or false")
    }

    /// Parses a text, and reports the error of its type.
    pub(super) fn parse_text<T: FromStr<Err: fmt::Display>>(
        &mut self,
        path: &str,
        line: Option<usize>,
        text: &str,
    ) -> Option<T> {
        text.parse().map_err(|error| self.report(line, format!("{path}: {error}"))).ok()
    }

    /// Returns `parsed`, and reports the value as invalid if it is `None`.
    pub(super) fn require<T>(
        &mut self,
        path: &str,
        value: &Value,
        parsed: Option<T>,
        problem: &str,
        allowed: &str,
    ) -> Option<T> {
        if parsed.is_none() {
            self.report_invalid(path, value, problem, allowed);
        }
        parsed
    }

    fn report_invalid(&mut self, path: &str, value: &Value, problem: &str, allowed: &str) {
        let equals = if path.is_empty() { "" } else { " = " };
        self.report(value.line, format!("{path}{equals}{value} {problem} (allowed: {allowed})"));
    }

    pub(super) fn report(&mut self, line: Option<usize>, message: String) {
        self.problems.push(ConfigProblem::new(line, message));
    }
}

/// Adds the gates that are declared but invalid to the gates that the message lists as declared.
fn with_all_known(problem: &Problem, declared: &[GateName]) -> Problem {
    let mut problem = problem.clone();
    if let Problem::UnknownOperand { known, .. } | Problem::UnknownParent { known, .. } = &mut problem {
        let invalid: Vec<GateName> = declared.iter().filter(|gate| !known.contains(gate)).copied().collect();
        known.extend(invalid);
    }
    problem
}

/// Returns the value of a key.
pub(super) fn find_field<'v>(entries: &[(&ConfigKey, &'v Value)], name: &str) -> Option<&'v Value> {
    entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| *value)
}

/// Returns `true` for an empty text. Where a number or a boolean may be text, it counts as a missing key, because an
/// environment variable without a value becomes an empty text.
pub(super) fn is_blank(value: &Value) -> bool {
    as_text(value).is_some_and(|text| text.trim().is_empty())
}

pub(super) fn as_text(value: &Value) -> Option<&str> {
    match &value.kind {
        ValueKind::Text(text) => Some(text),
        _ => None,
    }
}

/// Returns the whole number that a value is, or that its text contains.
pub(super) fn as_whole(value: &Value) -> Option<u64> {
    match &value.kind {
        ValueKind::Whole(number) => Some(*number),
        ValueKind::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn join_path(path: &str, key: &ConfigKey) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}
