//! The plan file: gates and settings in TOML, each mistake with its line, its key and what is allowed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum as _;
use concurrency_governor::plan::{BuildError, Policy, Problem};
use concurrency_governor::{Formula, GateName, GateSpec, Layer, Plan};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::preset::Preset;

/// What a plan file declares and sets.
#[derive(Debug)]
pub(crate) struct PlanFile {
    /// The preset that it starts from.
    pub(crate) preset: Option<Preset>,
    /// The gates: the preset's, then its own, each in the order of declaration.
    pub(crate) plan: Plan,
    /// Its `[overrides]`, as a layer named after the file.
    pub(crate) overrides: Layer,
}

impl PlanFile {
    /// Reads a plan file.
    ///
    /// # Errors
    ///
    /// [`PlanFileError`] if it cannot be read, or with everything that is wrong in it.
    pub(crate) fn read(path: &Path) -> Result<Self, PlanFileError> {
        let file = path.display().to_string();
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => return Err(PlanFileError::Unread { file, error }),
        };
        Self::parse(&file, &text).map_err(|mut faults| {
            faults.sort_by_key(|fault| fault.line);
            PlanFileError::Wrong { file, faults }
        })
    }

    fn parse(file: &str, text: &str) -> Result<Self, Vec<Fault>> {
        let document = DeTable::parse(text).map_err(|error| {
            let at = error.span().map(|span| span.start);
            let given = at.map_or(String::new(), |at| format!(", in {:?}", excerpt(line_at(text, at))));
            let line = at.map(|at| line_of(text, at));
            vec![Fault { line, what: format!("not TOML: {}{given}", error.message()) }]
        })?;
        let document = document.get_ref();
        let mut reader = Reader { text, faults: Vec::new() };
        reader.only("", document, &["preset", "gates", "overrides"]);
        let preset = field(document, "preset").map(|value| reader.preset(value));
        let gates = field(document, "gates").map(|value| reader.gates(value)).unwrap_or_default();

        let preset_specs = preset.flatten().map(Preset::specs).unwrap_or_default();
        let mut known: Vec<GateName> = preset_specs.iter().map(GateSpec::name).collect();
        known.extend(gates.lines.keys().copied());
        let mut overrides = Layer::new(file.to_owned());
        // Under a preset that is not there, nobody can tell which gates there are.
        if let Some(value) = field(document, "overrides").filter(|_| preset != Some(None)) {
            for (gate, value) in reader.overrides(value, &known) {
                overrides = overrides.set(gate, value);
            }
        }
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
        let plan = Plan::new(preset_specs.into_iter().chain(gates.specs))
            .map_err(|error| faults_of(&error, &gates.lines))?;
        Ok(Self { preset: preset.flatten(), plan, overrides })
    }
}

/// The gates that a file declares, and the line of each.
#[derive(Debug, Default)]
struct Gates {
    specs: Vec<GateSpec>,
    lines: BTreeMap<GateName, usize>,
}

/// Reads the parts of a document, and keeps what is wrong with them.
struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn preset(&mut self, value: &Value<'_>) -> Option<Preset> {
        let preset = value.get_ref().as_str().and_then(|name| Preset::from_str(name, false).ok());
        self.expect("preset", value, preset, "is no preset", &Preset::names())
    }

    fn gates(&mut self, value: &Value<'_>) -> Gates {
        let mut gates = Gates::default();
        let Some(table) = self.table("gates", value) else { return gates };
        for (key, value) in table {
            let path = format!("gates.{}", bare(key.get_ref()));
            let name = self.name(&path, key);
            if let Some(name) = name {
                gates.lines.insert(name, line_of(self.text, key.span().start));
            }
            let Some(table) = self.table(&path, value) else { continue };
            gates.specs.extend(self.gate(&path, name, key, table));
        }
        gates
    }

    fn gate(
        &mut self,
        path: &str,
        name: Option<GateName>,
        key: &Key<'_>,
        table: &DeTable<'_>,
    ) -> Option<GateSpec> {
        self.only(path, table, &["formula", "queue", "max_wait", "policy"]);
        let formula = field(table, "formula");
        if formula.is_none() {
            let needed = "needed: such as formula = \"cpu * 2\"";
            self.refuse(key.span().start, format!("{path} has no formula ({needed})"));
        }
        let formula = formula.and_then(|value| self.formula(&format!("{path}.formula"), value));
        let queue = field(table, "queue").map(|value| self.whole(&format!("{path}.queue"), value));
        let max_wait =
            field(table, "max_wait").map(|value| self.duration(&format!("{path}.max_wait"), value));
        let policy = field(table, "policy").map(|value| self.policy(&format!("{path}.policy"), value));

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
        Some(spec)
    }

    fn overrides(&mut self, value: &Value<'_>, known: &[GateName]) -> Vec<(GateName, usize)> {
        let Some(table) = self.table("overrides", value) else { return Vec::new() };
        let mut settings = Vec::new();
        for (key, value) in table {
            let path = format!("overrides.{}", bare(key.get_ref()));
            let Some(gate) = self.name(&path, key) else { continue };
            if !known.contains(&gate) {
                let declared = list(known);
                self.refuse(
                    key.span().start,
                    format!("{path}: the plan declares no such gate (it declares {declared})"),
                );
            }
            settings.extend(self.whole(&path, value).map(|value| (gate, value)));
        }
        settings
    }

    fn formula(&mut self, path: &str, value: &Value<'_>) -> Option<Formula> {
        let text = value.get_ref().as_str();
        let text = self.expect(path, value, text, "is no formula", "text such as \"cpu * 2 | floor 4\"")?;
        self.parsed(path, value.span().start, text)
    }

    fn name(&mut self, path: &str, key: &Key<'_>) -> Option<GateName> {
        self.parsed(path, key.span().start, key.get_ref())
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, path: &str, at: usize, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.refuse(at, format!("{path}: {error}"))).ok()
    }

    fn whole(&mut self, path: &str, value: &Value<'_>) -> Option<usize> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        self.expect(path, value, number, "is not a whole number", &format!("0 to {}", usize::MAX))
    }

    fn duration(&mut self, path: &str, value: &Value<'_>) -> Option<Duration> {
        let duration = value.get_ref().as_str().and_then(|text| humantime::parse_duration(text).ok());
        self.expect(path, value, duration, "is no duration", "text such as \"250ms\" or \"1m 30s\"")
    }

    fn policy(&mut self, path: &str, value: &Value<'_>) -> Option<Policy> {
        let policy = value.get_ref().as_str().and_then(|text| text.parse().ok());
        self.expect(path, value, policy, "is no policy", "\"trust\", \"clamp\" or \"reject\"")
    }

    fn table<'v, 't>(&mut self, path: &str, value: &'v Value<'t>) -> Option<&'v DeTable<'t>> {
        let table = value.get_ref().as_table();
        self.expect(path, value, table, "is no table", &format!("[{path}] and what belongs to it"))
    }

    /// Refuses every key but these.
    fn only(&mut self, path: &str, table: &DeTable<'_>, allowed: &[&str]) {
        let dot = if path.is_empty() { "" } else { "." };
        for key in table.keys().filter(|key| !allowed.contains(&key.get_ref().as_ref())) {
            let key_given = bare(key.get_ref());
            let allowed = allowed.join(", ");
            self.refuse(
                key.span().start,
                format!("{path}{dot}{key_given} is no known key (allowed: {allowed})"),
            );
        }
    }

    /// Refuses the value if it was not understood.
    fn expect<T>(
        &mut self,
        path: &str,
        value: &Value<'_>,
        found: Option<T>,
        fault: &str,
        allowed: &str,
    ) -> Option<T> {
        if found.is_none() {
            let given = excerpt(self.text.get(value.span()).unwrap_or_default());
            self.refuse(value.span().start, format!("{path} = {given} {fault} (allowed: {allowed})"));
        }
        found
    }

    fn refuse(&mut self, at: usize, what: String) {
        self.faults.push(Fault { line: Some(line_of(self.text, at)), what });
    }
}

type Key<'t> = Spanned<DeString<'t>>;
type Value<'t> = Spanned<DeValue<'t>>;

fn field<'v, 't>(table: &'v DeTable<'t>, key: &str) -> Option<&'v Value<'t>> {
    table.get(key)
}

/// What is wrong with the gates as a whole, each with the line of the gate that it is about.
fn faults_of(error: &BuildError, lines: &BTreeMap<GateName, usize>) -> Vec<Fault> {
    let fault = |problem: &Problem| {
        let gate = match problem {
            Problem::DuplicateGate { gate, .. } | Problem::UnknownOperand { gate, .. } => Some(gate),
            Problem::Cycle { circle } => circle.first(),
            _ => None,
        };
        Fault { line: gate.and_then(|gate| lines.get(gate)).copied(), what: problem.to_string() }
    };
    error.problems().iter().map(fault).collect()
}

/// The file as text, as long as it is of a length that a plan could have: not `/dev/zero`.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line =
            error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count().saturating_add(1);
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// The line that holds the byte.
fn line_at(text: &str, at: usize) -> &str {
    text.lines().nth(line_of(text, at).saturating_sub(1)).unwrap_or_default().trim()
}

/// A key as it stands in TOML, quoted where it must be.
fn bare(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { format!("{key:?}") }
}

/// What was given, as far as it fits into a line.
fn excerpt(given: &str) -> String {
    match given.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => format!("{}…", &given[..end]),
        None => given.to_owned(),
    }
}

fn list(gates: &[GateName]) -> String {
    let names: Vec<&str> = gates.iter().map(GateName::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Why a plan file is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanFileError {
    /// The file is not there, or holds no text.
    #[error("cannot read plan file {file}: {error} (allowed: a TOML file of at most 1 MiB)")]
    Unread {
        /// The path as given.
        file: String,
        /// The cause.
        error: io::Error,
    },
    /// Its text is wrong.
    #[error("plan file {file}: {}", faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
    Wrong {
        /// The path as given.
        file: String,
        /// Everything that is wrong, at least one thing.
        faults: Vec<Fault>,
    },
}

/// One thing that is wrong in a plan file.
#[derive(Debug)]
pub(crate) struct Fault {
    line: Option<usize>,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// 1 MiB: a thousand gates take a tenth of it.
const MAX_BYTES: u64 = 1 << 20;

/// So many characters of a wrong value tell which one it is.
const MAX_EXCERPT: usize = 60;
