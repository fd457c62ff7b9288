//! A whole plan, as a configuration holds it.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::ConfigError;
use super::reader::{PLAN_KEYS, Reader};
use super::settings::{Settings, Whole};
use super::value::Value;
use crate::plan::{BuildError, GateName, GateSpec, OverrideLayer, Overrides, Plan, Policy};
use crate::preset::Preset;

/// A whole plan as a configuration holds it: a preset, gates by name, and settings.
///
/// ```toml
/// preset = "astrid"              # its gates come first
///
/// [gates.uploads]
/// formula = "(cpu or 2) * 8 | floor 16 | at most fd * 1/4"   # the one key that a gate needs
/// queue = 1000                   # so many may wait
/// max_wait = "250ms"             # nobody waits longer
/// policy = "clamp"               # of settings above what is derived: trust, clamp or reject
/// measure_waits = false          # whether it measures how long requests wait: it does unless said
///
/// [overrides]
/// uploads = 32
/// ```
///
/// Whatever serde reads it from, it is checked as a whole: what there is, is a [`Plan`]. The error has everything that is
/// wrong. Gates keep the order in which the format gives them; which limits they get does not depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PlanConfig {
    preset: Option<Preset>,
    plan: Plan,
    overrides: Settings,
}

impl PlanConfig {
    /// Applies the rules to a value of any format, which may know its lines.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(value: &Value) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        let entries = reader.entries("", value, Some(&PLAN_KEYS));
        let field = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| *value);
        let preset = field("preset").map(|value| reader.preset(value));
        let gates = field("gates").map(|value| reader.gates(value)).unwrap_or_default();

        let preset_specs = preset.flatten().map(Preset::specs).unwrap_or_default();
        let mut known: Vec<GateName> = preset_specs.iter().map(GateSpec::name).collect();
        known.extend(gates.lines.keys());
        // Under a preset that is not there, nobody can tell which gates there are.
        let judged = Some(known.as_slice()).filter(|_| preset != Some(None));
        let overrides =
            field(OVERRIDES).map(|value| reader.settings(OVERRIDES, value, judged)).unwrap_or_default();

        let plan = Plan::new(preset_specs.iter().copied().chain(gates.specs));
        match plan.map_err(|error| reader.refuse_whole(&error, &gates.lines, judged)) {
            Ok(plan) if reader.faults.is_empty() => {
                Ok(Self { preset: preset.flatten(), plan, overrides: Settings::of(OVERRIDES, overrides) })
            }
            _ => Err(ConfigError::of(reader.faults)),
        }
    }

    /// The same with these settings in place of its own.
    ///
    /// # Errors
    ///
    /// [`BuildError`] naming each that is of no gate of the plan.
    pub fn with_overrides(self, settings: Settings) -> Result<Self, BuildError> {
        let overrides = settings.under(OVERRIDES);
        let layers = Overrides::new().then(overrides.layer("the configuration"));
        match Plan::override_problems(self.plan.specs(), &layers) {
            problems if problems.is_empty() => Ok(Self { overrides, ..self }),
            problems => Err(BuildError::of(problems)),
        }
    }

    /// The preset that it starts from.
    #[must_use]
    pub fn preset(&self) -> Option<Preset> {
        self.preset
    }

    /// The gates: the preset's, then its own.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its settings.
    pub fn overrides(&self) -> &Settings {
        &self.overrides
    }

    /// Its settings as a layer, named after where they are from, such as the file. Each origin has its key:
    /// `limits.toml overrides.uploads`.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.overrides.layer(name)
    }
}

/// A plan of these gates, with no settings.
impl From<Plan> for PlanConfig {
    fn from(plan: Plan) -> Self {
        Self { preset: None, plan, overrides: Settings::new().under(OVERRIDES) }
    }
}

impl<'de> Deserialize<'de> for PlanConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// In the same shape; what is as it would be without being said is left out.
impl Serialize for PlanConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(preset) = self.preset {
            map.serialize_entry("preset", preset.as_str())?;
        }
        let of_preset = self.preset.map_or(0, |preset| preset.specs().len());
        let own = self.plan.specs().get(of_preset..).unwrap_or_default();
        if !own.is_empty() {
            map.serialize_entry("gates", &Gates(own))?;
        }
        if self.overrides.iter().len() > 0 {
            map.serialize_entry(OVERRIDES, &self.overrides)?;
        }
        map.end()
    }
}

struct Gates<'s>(&'s [GateSpec]);

impl Serialize for Gates<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|spec| (spec.name(), Gate(spec))))
    }
}

struct Gate<'s>(&'s GateSpec);

impl Serialize for Gate<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(spec) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("formula", spec.formula())?;
        if let Some(bound) = spec.queue_bound() {
            map.serialize_entry("queue", &Whole(bound))?;
        }
        if let Some(longest) = spec.longest_wait() {
            map.serialize_entry("max_wait", &humantime::format_duration(longest).to_string())?;
        }
        if spec.override_policy() != Policy::default() {
            map.serialize_entry("policy", &spec.override_policy())?;
        }
        if !spec.measures_waits() {
            map.serialize_entry("measure_waits", &false)?;
        }
        map.end()
    }
}

const OVERRIDES: &str = "overrides";
