//! The operator's settings in a configuration.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::ConfigError;
use super::reader::{ConfigReader, ReadSettings};
use super::value::Value;
use crate::plan::{GateName, GatePath, OverrideLayer, QueueSetting};

/// The operator's settings in a configuration: a table of gates and whole numbers. A gate is given by its name, or by its
/// path from the root, such as `io/messages`. In the place of the number there may be a table with the keys `limit`, `queue` and
/// `max_wait`: `uploads = { queue = 100, max_wait = "250ms" }`.
///
/// Use it in an application that declares its gates in code. The settings do not know the plan: an unknown gate or a wrong
/// path is reported when the plan is resolved or the governor is built.
///
/// ```
/// use concurrency_governor::config::Settings;
/// use concurrency_governor::{Formula, GateSpec, Overrides, Plan, Readings};
///
/// #[derive(serde::Deserialize)]
/// struct AppConfig {
///     listen: String,
///     #[serde(default)]
///     limits: Settings,
/// }
///
/// let config: AppConfig = toml::from_str("listen = '[::]:80'\n[limits]\nuploads = 12")?;
/// let overrides = Overrides::new().then(config.limits.under("limits").layer("app.toml"));
///
/// let plan = Plan::new([GateSpec::new("uploads", Formula::fixed(16))])?;
/// let resolution = plan.resolve(&Readings::new(), &overrides)?;
/// assert_eq!(resolution.explanations()[0].to_string(), "uploads = 12: set to 12 by app.toml limits.uploads, derived 16");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Settings {
    path: String,
    limits: Vec<(GatePath, usize)>,
    queues: Vec<(GatePath, QueueSetting)>,
}

impl Settings {
    /// Creates empty settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a gate. A second setting of the same gate replaces the first.
    pub fn set(mut self, gate: impl Into<GatePath>, value: usize) -> Self {
        let path = gate.into();
        self.limits.retain(|(other, _)| other.gate() != path.gate());
        self.limits.push((path, value));
        self
    }

    /// Sets the key of the table that contains the settings, such as `limits`. Origins contain it.
    pub fn under(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the bound of a gate's queue; see [`OverrideLayer::set_queue`]. A second setting replaces the first.
    pub fn set_queue(self, gate: impl Into<GatePath>, bound: usize) -> Self {
        self.insert_queue(gate.into(), QueueSetting::Bound(bound))
    }

    /// Sets the longest wait at a gate; see [`OverrideLayer::set_max_wait`]. A second setting replaces the first.
    pub fn set_max_wait(self, gate: impl Into<GatePath>, wait: Duration) -> Self {
        self.insert_queue(gate.into(), QueueSetting::MaxWait(wait))
    }

    fn insert_queue(mut self, path: GatePath, setting: QueueSetting) -> Self {
        self.queues.retain(|(other, old)| other.gate() != path.gate() || !old.is_kind_of(setting));
        self.queues.push((path, setting));
        self
    }

    /// Returns `true` if nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.queues.is_empty()
    }

    /// Returns the settings of limits in the order of the file, if the format keeps the order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.limits.iter().map(|(path, value)| (path.gate(), *value))
    }

    /// Converts the settings to an override layer. Name it after its source, such as the file. The origin of each setting
    /// contains its key.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        let dot = if self.path.is_empty() { "" } else { "." };
        let mut layer = self.limits.iter().fold(OverrideLayer::new(name.into()), |layer, (gate, value)| {
            layer.set_from(gate.clone(), *value, format!("{}{dot}{gate}", self.path))
        });
        for (gate, setting) in &self.queues {
            let key = format!("{}{dot}{gate}.{}", self.path, setting_key(*setting));
            layer.insert_queue(gate.clone(), *setting, Some(key));
        }
        layer
    }

    /// Reads settings from a value of any format.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem.
    pub fn read(value: &Value) -> Result<Self, ConfigError> {
        let mut reader = ConfigReader::default();
        let settings = reader.read_settings("", value, None, |_| None);
        if reader.problems.is_empty() {
            Ok(Self::of("", settings))
        } else {
            Err(ConfigError::of(reader.problems))
        }
    }

    pub(super) fn of(path: &str, read: ReadSettings) -> Self {
        Self { path: path.to_owned(), limits: read.limits, queues: read.queues }
    }
}

/// Accepts a number as text, as environment variables have it. Null, and an empty text for a number, count as no setting. An empty text for
/// a duration is an error.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut gates: Vec<&GatePath> = self.limits.iter().map(|(gate, _)| gate).collect();
        for (path, _) in &self.queues {
            if !gates.iter().any(|gate| gate.gate() == path.gate()) {
                gates.push(path);
            }
        }
        let mut map = serializer.serialize_map(Some(gates.len()))?;
        // TOML wants tables after values.
        let has_table = |gate: &GatePath| self.queues.iter().any(|(path, _)| path.gate() == gate.gate());
        gates.sort_by_key(|gate| has_table(gate));
        for path in gates {
            let limit =
                self.limits.iter().find(|(gate, _)| gate.gate() == path.gate()).map(|(_, limit)| *limit);
            match limit {
                Some(limit) if !has_table(path) => map.serialize_entry(path, &WholeNumber(limit))?,
                limit => map.serialize_entry(path, &SettingTable { settings: self, path, limit })?,
            }
        }
        map.end()
    }
}

/// Serializes the settings of one gate as a table.
struct SettingTable<'s> {
    settings: &'s Settings,
    path: &'s GatePath,
    limit: Option<usize>,
}

impl Serialize for SettingTable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(limit) = self.limit {
            map.serialize_entry("limit", &WholeNumber(limit))?;
        }
        for (_, setting) in self.settings.queues.iter().filter(|(path, _)| path.gate() == self.path.gate()) {
            match setting {
                QueueSetting::Bound(bound) => {
                    map.serialize_entry(setting_key(*setting), &WholeNumber(*bound))?;
                }
                QueueSetting::MaxWait(wait) => {
                    let wait = humantime::format_duration(*wait).to_string();
                    map.serialize_entry(setting_key(*setting), &wait)?;
                }
            }
        }
        map.end()
    }
}

const fn setting_key(setting: QueueSetting) -> &'static str {
    match setting {
        QueueSetting::Bound(_) => "queue",
        QueueSetting::MaxWait(_) => "max_wait",
    }
}

/// Serializes as a number, or as text above `i64::MAX`, which formats with signed integers, such as TOML, cannot hold.
pub(super) struct WholeNumber(pub(super) usize);

impl Serialize for WholeNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.collect_str(&self.0),
        }
    }
}
