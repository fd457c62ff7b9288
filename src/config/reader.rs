//! The rules of plans and settings, applied to a value of whatever format. Keeps everything that is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::error::ConfigProblem;
use super::value::{Key, Kind, Value};
use crate::plan::{BuildError, Formula, GateName, GateSpec, Policy, Problem};
use crate::preset::Preset;

/// The keys of a plan.
pub(super) const PLAN_KEYS: [&str; 3] = ["preset", "gates", "overrides"];

/// The keys of a gate.
pub(super) const GATE_KEYS: [&str; 5] = ["formula", "queue", "max_wait", "policy", "measure_waits"];

/// Reads the parts of a configuration.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) faults: Vec<ConfigProblem>,
}

/// The gates that a configuration declares, and the line of each.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub(super) specs: Vec<GateSpec>,
    pub(super) lines: BTreeMap<GateName, Option<usize>>,
}

impl Reader {
    /// The entries of a table in their order, less those that have no value; none where it is no table. Refuses a key
    /// that is there twice, and any that is not allowed.
    pub(super) fn entries<'v>(
        &mut self,
        path: &str,
        value: &'v Value,
        allowed: Option<&[&str]>,
    ) -> Vec<(&'v Key, &'v Value)> {
        let entries = match &value.kind {
            Kind::Nothing => return Vec::new(),
            Kind::Table(entries) => entries,
            _ => {
                let shape = if path.is_empty() {
                    "keys and values".to_owned()
                } else {
                    format!("[{path}] and what belongs to it")
                };
                self.expect(path, value, None::<()>, "is no table", &shape);
                return Vec::new();
            }
        };
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let mut taken = Vec::new();
        for (key, value) in entries {
            let name = key.text.as_str();
            if !known.insert(name) {
                self.refuse(key.line, format!("{} is given twice (allowed: once)", below(path, key)));
                continue;
            }
            match allowed {
                Some(allowed) if !allowed.contains(&name) => {
                    let allowed = allowed.join(", ");
                    self.refuse(
                        key.line,
                        format!("{} is no known key (allowed: {allowed})", below(path, key)),
                    );
                }
                _ if value.kind == Kind::Nothing && allowed.is_some() => {}
                _ => taken.push((key, value)),
            }
        }
        taken
    }

    pub(super) fn preset(&mut self, value: &Value) -> Option<Preset> {
        let presets: Vec<String> = Preset::ALL.iter().map(|preset| format!("`{preset}`")).collect();
        let preset = text(value).and_then(|text| text.parse().ok());
        self.expect("preset", value, preset, "is no preset", &presets.join(", "))
    }

    pub(super) fn gates(&mut self, value: &Value) -> Gates {
        let mut gates = Gates::default();
        for (key, value) in self.entries("gates", value, None) {
            let path = below("gates", key);
            let name = self.parsed::<GateName>(&path, key.line, &key.text);
            gates.lines.extend(name.map(|name| (name, key.line)));
            gates.specs.extend(self.gate(&path, name, key, value));
        }
        gates
    }

    fn gate(&mut self, path: &str, name: Option<GateName>, key: &Key, value: &Value) -> Option<GateSpec> {
        if !matches!(value.kind, Kind::Table(_) | Kind::Nothing) {
            self.entries(path, value, None);
            return None;
        }
        let entries = self.entries(path, value, Some(&GATE_KEYS));
        let field = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| *value);
        if field("formula").is_none() {
            let needed = "needed: such as formula = \"cpu * 2\"";
            self.refuse(key.line, format!("{path} has no formula ({needed})"));
        }
        let formula = field("formula").and_then(|value| self.formula(&format!("{path}.formula"), value));
        let queue = field("queue").map(|value| self.whole(&format!("{path}.queue"), value));
        let max_wait = field("max_wait").map(|value| self.duration(&format!("{path}.max_wait"), value));
        let policy = field("policy").map(|value| self.policy(&format!("{path}.policy"), value));
        let measures =
            field("measure_waits").map(|value| self.truth(&format!("{path}.measure_waits"), value));

        let mut spec = GateSpec::named(name?, formula?);
        if let Some(queue) = queue {
            spec = spec.queue(queue?);
        }
        if let Some(max_wait) = max_wait {
            spec = spec.max_wait(max_wait?);
        }
        if let Some(policy) = policy {
            spec = spec.policy(policy?);
        }
        if let Some(measures) = measures {
            spec = spec.measure_waits(measures?);
        }
        Some(spec)
    }

    /// The settings of a table; of gates that are not among the known ones, where those are given, none.
    pub(super) fn settings(
        &mut self,
        path: &str,
        value: &Value,
        known: Option<&[GateName]>,
    ) -> Vec<(GateName, usize)> {
        let mut settings = Vec::new();
        for (key, value) in self.entries(path, value, None) {
            let path = below(path, key);
            let Some(gate) = self.parsed::<GateName>(&path, key.line, &key.text) else { continue };
            if let Some(known) = known.filter(|known| !known.contains(&gate)) {
                let declared = list(known);
                self.refuse(
                    key.line,
                    format!("{path}: the plan declares no such gate (it declares {declared})"),
                );
            }
            if value.kind != Kind::Nothing {
                settings.extend(self.whole(&path, value).map(|value| (gate, value)));
            }
        }
        settings
    }

    /// What is wrong with the gates as a whole, each with the line of the gate that it is about; less what is only wrong
    /// because a gate that is declared was not understood, and nothing where nobody knows which are.
    pub(super) fn refuse_whole(
        &mut self,
        error: &BuildError,
        lines: &BTreeMap<GateName, Option<usize>>,
        declared: Option<&[GateName]>,
    ) {
        let Some(declared) = declared else { return };
        for problem in error.problems() {
            let gate = match problem {
                Problem::NoGates if !declared.is_empty() || !self.faults.is_empty() => continue,
                Problem::UnknownOperand { reads, .. } if declared.contains(reads) => continue,
                Problem::DuplicateGate { gate, .. } | Problem::UnknownOperand { gate, .. } => Some(gate),
                Problem::Cycle { circle } => circle.first(),
                _ => None,
            };
            let line = gate.and_then(|gate| lines.get(gate)).copied().flatten();
            self.refuse(line, problem.to_string());
        }
    }

    fn formula(&mut self, path: &str, value: &Value) -> Option<Formula> {
        let allowed = "text such as \"cpu * 2 | floor 4\"";
        let text = self.expect(path, value, text(value), "is no formula", allowed)?;
        self.parsed(path, value.line, text)
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(
        &mut self,
        path: &str,
        line: Option<usize>,
        text: &str,
    ) -> Option<T> {
        text.parse().map_err(|error| self.refuse(line, format!("{path}: {error}"))).ok()
    }

    /// A whole number, or the text of one: variables of an environment are texts, whoever reads them.
    fn whole(&mut self, path: &str, value: &Value) -> Option<usize> {
        let number = match &value.kind {
            Kind::Whole(number) => usize::try_from(*number).ok(),
            Kind::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        self.expect(path, value, number, "is not a whole number", &format!("0 to {}", usize::MAX))
    }

    fn duration(&mut self, path: &str, value: &Value) -> Option<Duration> {
        let duration = text(value).and_then(|text| humantime::parse_duration(text).ok());
        self.expect(path, value, duration, "is no duration", "text such as \"250ms\" or \"1m 30s\"")
    }

    fn policy(&mut self, path: &str, value: &Value) -> Option<Policy> {
        let policy = text(value).and_then(|text| text.parse().ok());
        self.expect(path, value, policy, "is no policy", "\"trust\", \"clamp\" or \"reject\"")
    }

    /// A truth value, or the text of one, for the same reason.
    fn truth(&mut self, path: &str, value: &Value) -> Option<bool> {
        let truth = match &value.kind {
            Kind::Truth(truth) => Some(*truth),
            Kind::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        self.expect(path, value, truth, "is no truth value", "true or false")
    }

    /// Refuses the value if it was not understood.
    fn expect<T>(
        &mut self,
        path: &str,
        value: &Value,
        found: Option<T>,
        fault: &str,
        allowed: &str,
    ) -> Option<T> {
        if found.is_none() {
            let equals = if path.is_empty() { "" } else { " = " };
            self.refuse(value.line, format!("{path}{equals}{value} {fault} (allowed: {allowed})"));
        }
        found
    }

    fn refuse(&mut self, line: Option<usize>, what: String) {
        self.faults.push(ConfigProblem::new(line, what));
    }
}

fn text(value: &Value) -> Option<&str> {
    match &value.kind {
        Kind::Text(text) => Some(text),
        _ => None,
    }
}

fn below(path: &str, key: &Key) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

fn list(gates: &[GateName]) -> String {
    let names: Vec<&str> = gates.iter().map(GateName::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
