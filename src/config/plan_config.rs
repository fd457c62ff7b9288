//! A whole plan in a configuration.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::ConfigError;
#[cfg(feature = "fleet")]
use super::error::ConfigProblem;
use super::reader::{ConfigReader, PLAN_KEYS, find_field};
use super::settings::{Settings, WholeNumber};
use super::share::ShareConfig;
use super::value::Value;
#[cfg(feature = "fleet")]
use crate::fleet::Share;
use crate::plan::{
    Adaptive, AdaptiveRule, BuildError, GateName, GateSpec, Keys, OverrideLayer, Overrides, Part, Plan,
    Policy, find_path, index_gates,
};
use crate::preset::Preset;

/// A whole plan in a configuration: a preset, gates by name, and overrides.
///
/// ```toml
/// preset = "astrid"              # the gates of this preset come first
///
/// [gates.uploads]
/// formula = "(cpu or 2) * 8 | floor 16 | at most fd * 1/4"   # the only required key of a gate
/// queue = 1000                   # at most 1000 requests wait
/// max_wait = "250ms"             # no request waits longer
/// shed = "20ms"                  # under lasting overload, requests that have waited longer are rejected
/// policy = "clamp"               # for overrides above the derived limit: trust, clamp or reject
/// measure_waits = false          # whether to measure wait times; the default is true
/// track_holders = "30s"          # keeps a record of each permit; one in use for longer is overdue
///
/// [gates.images]
/// formula = "gate uploads * 1/4"
/// within = "uploads"             # each permit also counts at this gate
/// weight = 2                     # the share relative to the other gates within `uploads`
/// adaptive = { rule = "latency", start = 16, floor = 4 }   # the limit follows outcomes, below the formula's
/// keys = { max = 4096, cap = "1/4", queue = 64 }   # gates made on demand, such as one for each tenant
///
/// [gates.uploads.share]          # the limit is shared with other processes
/// name = "prod/uploads"          # the gate in the ledger
/// ledger_env = "UPLOADS_LEDGER"  # the environment variable with the URL of the ledger; or ledger_file = "/run/secrets/ledger"
/// limit = 200                    # of all processes together; used if the ledger has no limit yet
/// max_hold = "30s"               # the longest time for which a permit is held
/// ttl = "10s"                    # how long a lease lasts
/// unreachable = "closed"         # what is admitted without the ledger: closed, reserved 2 for 15, or local
///
/// [overrides]
/// uploads = 32
/// "uploads/images" = 6           # a name or a path
/// ```
///
/// Deserialization checks the whole configuration, so a `PlanConfig` always contains a valid [`Plan`]. Only the ranges of the times and
/// the reserve of a share are checked when the governor is built. The error has every problem. The gates keep the order of the format.
/// Their limits do not depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PlanConfig {
    preset: Option<Preset>,
    plan: Plan,
    shares: Vec<(GateName, ShareConfig)>,
    overrides: Settings,
}

impl PlanConfig {
    /// Reads a plan from a value of any format. The errors contain the lines that the value has.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem.
    pub fn read(value: &Value) -> Result<Self, ConfigError> {
        let mut reader = ConfigReader::default();
        let entries = reader.read_table("", value, Some(&PLAN_KEYS));
        let preset = find_field(&entries, "preset").map(|value| reader.read_preset(value));
        let gates = find_field(&entries, "gates").map(|value| reader.read_gates(value)).unwrap_or_default();

        let preset_specs = preset.flatten().map(Preset::specs).unwrap_or_default();
        let mut declared: Vec<GateName> = preset_specs.iter().map(GateSpec::name).collect();
        declared.extend(gates.lines.keys());
        // An invalid preset leaves the set of declared gates unknown, so no gate is reported as missing.
        let declared = Some(declared.as_slice()).filter(|_| preset != Some(None));
        let shares = gates.shares;
        let specs: Vec<GateSpec> = preset_specs.iter().copied().chain(gates.specs).collect();
        let indices = index_gates(&specs);
        let overrides = find_field(&entries, OVERRIDES)
            .map(|value| {
                reader.read_settings(OVERRIDES, value, declared, |gate| find_path(&specs, &indices, gate))
            })
            .unwrap_or_default();

        let plan = Plan::new(specs).map_err(|error| {
            reader.report_plan_problems(&error, &gates.lines, declared, preset.flatten());
        });
        match plan {
            Ok(plan) if reader.problems.is_empty() => {
                let plan = plan.with_shared(shares.iter().map(|(gate, _)| *gate).collect());
                let overrides = Settings::of(OVERRIDES, overrides);
                Ok(Self { preset: preset.flatten(), plan, shares, overrides })
            }
            _ => Err(ConfigError::of(reader.problems)),
        }
    }

    /// Replaces the overrides.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with each setting whose gate the plan does not declare, or whose path is not that of its gate.
    pub fn with_overrides(self, settings: Settings) -> Result<Self, BuildError> {
        let overrides = settings.under(OVERRIDES);
        let layers = Overrides::new().then(overrides.layer("the configuration"));
        match Plan::override_problems(self.plan.specs(), &layers) {
            problems if problems.is_empty() => Ok(Self { overrides, ..self }),
            problems => Err(BuildError::of(problems)),
        }
    }

    /// Returns the preset, if the configuration has one.
    #[must_use]
    pub fn preset(&self) -> Option<Preset> {
        self.preset
    }

    /// Returns the plan: the gates of the preset, then those of the configuration.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns how a gate shares its limit with other processes, if it does.
    #[must_use]
    pub fn share(&self, gate: impl Into<GateName>) -> Option<&ShareConfig> {
        let gate = gate.into();
        self.shares.iter().find(|(name, _)| *name == gate).map(|(_, share)| share)
    }

    /// Opens the ledgers of the gates that share their limits, for
    /// [`GovernorBuilder::shares`](crate::governor::GovernorBuilder::shares). Reads the URLs of the ledgers from the environment and the
    /// files that the configuration names. It does not connect.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every variable and file that is missing, or has no URL of a ledger of this program. It does not show the URL.
    #[cfg(feature = "fleet")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fleet")))]
    pub fn shares(&self) -> Result<Vec<(GateName, Share)>, ConfigError> {
        let (mut shares, mut problems) = (Vec::new(), Vec::new());
        for (gate, share) in &self.shares {
            match share.open() {
                Ok(share) => shares.push((*gate, share)),
                Err(problem) => {
                    problems.push(ConfigProblem::new(None, format!("gates.{gate}.share: {problem}")));
                }
            }
        }
        if problems.is_empty() { Ok(shares) } else { Err(ConfigError::of(problems)) }
    }

    /// Returns the overrides.
    pub fn overrides(&self) -> &Settings {
        &self.overrides
    }

    /// Converts the overrides to an override layer. Name it after its source, such as the file. The origin of each setting
    /// contains its key: `limits.toml overrides.uploads`.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.overrides.layer(name)
    }
}

/// Creates a configuration of these gates, without overrides.
impl From<Plan> for PlanConfig {
    fn from(plan: Plan) -> Self {
        Self { preset: None, plan, shares: Vec::new(), overrides: Settings::new().under(OVERRIDES) }
    }
}

impl<'de> Deserialize<'de> for PlanConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Serializes in the shape of a plan file. Values that equal their default are left out.
impl Serialize for PlanConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(preset) = self.preset {
            map.serialize_entry("preset", preset.as_str())?;
        }
        let preset_gates = self.preset.map_or(0, |preset| preset.specs().len());
        let own_specs = self.plan.specs().get(preset_gates..).unwrap_or_default();
        if !own_specs.is_empty() {
            map.serialize_entry("gates", &GateTables(own_specs, &self.shares))?;
        }
        if !self.overrides.is_empty() {
            map.serialize_entry(OVERRIDES, &self.overrides)?;
        }
        map.end()
    }
}

/// Serializes gates as a table by name.
struct GateTables<'s>(&'s [GateSpec], &'s [(GateName, ShareConfig)]);

impl Serialize for GateTables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(specs, shares) = self;
        serializer.collect_map(specs.iter().map(|spec| {
            let share = shares.iter().find(|(gate, _)| *gate == spec.name()).map(|(_, share)| share);
            (spec.name(), GateTable(spec, share))
        }))
    }
}

/// Serializes a gate as the table of its keys.
struct GateTable<'s>(&'s GateSpec, Option<&'s ShareConfig>);

impl Serialize for GateTable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(spec, share) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("formula", spec.formula())?;
        if let Some(bound) = spec.queue_bound() {
            map.serialize_entry("queue", &WholeNumber(bound))?;
        }
        if let Some(longest) = spec.longest_wait() {
            map.serialize_entry("max_wait", &humantime::format_duration(longest).to_string())?;
        }
        if let Some(shed) = spec.shedding() {
            map.serialize_entry("shed", &humantime::format_duration(shed.target()).to_string())?;
        }
        if spec.override_policy() != Policy::default() {
            map.serialize_entry("policy", &spec.override_policy())?;
        }
        if !spec.measures_waits() {
            map.serialize_entry("measure_waits", &false)?;
        }
        if let Some(holders) = spec.holders() {
            let overdue_after = humantime::format_duration(holders.overdue_duration()).to_string();
            map.serialize_entry("track_holders", &overdue_after)?;
        }
        if let Some(parent) = spec.parent() {
            map.serialize_entry("within", &parent)?;
        }
        if spec.has_weight() {
            map.serialize_entry("weight", &spec.share_weight())?;
        }
        if let Some(adaptive) = spec.adaptivity() {
            map.serialize_entry("adaptive", &AdaptiveTable(adaptive))?;
        }
        if let Some(keys) = spec.keys() {
            map.serialize_entry("keys", &KeysTable(keys))?; // the tables after the values, as TOML wants
        }
        if let Some(share) = share {
            map.serialize_entry("share", share)?;
        }
        map.end()
    }
}

/// Serializes how the limit of a gate follows outcomes as a table.
struct AdaptiveTable(Adaptive);

impl Serialize for AdaptiveTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(adaptive) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("rule", &adaptive.rule().to_string())?;
        if let AdaptiveRule::Aimd { max_healthy } = adaptive.rule() {
            map.serialize_entry("max_healthy", &humantime::format_duration(max_healthy).to_string())?;
        }
        if adaptive.start_limit() != Adaptive::DEFAULT_START {
            map.serialize_entry("start", &adaptive.start_limit())?;
        }
        if adaptive.floor_limit() != Adaptive::DEFAULT_FLOOR {
            map.serialize_entry("floor", &adaptive.floor_limit())?;
        }
        if let Some(sign) = adaptive.overload_sign() {
            map.serialize_entry("overload", &sign.to_string())?;
        }
        map.end()
    }
}

/// Serializes the keys of a gate as a table.
struct KeysTable(Keys);

impl Serialize for KeysTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(keys) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("max", &keys.max())?;
        if keys.cap_part() != Part::WHOLE {
            map.serialize_entry("cap", &keys.cap_part())?;
        }
        if let Some(bound) = keys.queue_bound() {
            map.serialize_entry("queue", &WholeNumber(bound))?;
        }
        map.end()
    }
}

const OVERRIDES: &str = "overrides";
