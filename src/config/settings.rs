//! Operators' settings, as a configuration holds them.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::ConfigError;
use super::reader::Reader;
use super::value::Value;
use crate::plan::{GateName, OverrideLayer};

/// Operators' settings as a configuration holds them: gates by name, each with a whole number.
///
/// For an application whose gates are declared in its code. Whether there is such a gate is told when the plan is
/// resolved, or the governor built: the settings do not know the plan.
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
    settings: Vec<(GateName, usize)>,
}

impl Settings {
    /// Settings of no gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a gate. A second setting of one gate replaces the first.
    pub fn set(mut self, gate: impl Into<GateName>, value: usize) -> Self {
        let gate = gate.into();
        self.settings.retain(|(other, _)| *other != gate);
        self.settings.push((gate, value));
        self
    }

    /// The same as they stand below this key of their file, such as `limits`: origins name it.
    pub fn under(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// What is set, in the order of the file as far as its format keeps one.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().copied()
    }

    /// A layer of these settings, named after where they are from, such as their file. Each origin has its key.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.settings.iter().fold(OverrideLayer::new(name.into()), |layer, &(gate, value)| {
            let dot = if self.path.is_empty() { "" } else { "." };
            layer.set_from(gate, value, format!("{}{dot}{gate}", self.path))
        })
    }

    /// Applies the rules to a value of any format.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with everything that is wrong.
    pub fn read(value: &Value) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        let settings = reader.settings("", value, None);
        if reader.faults.is_empty() {
            Ok(Self::of("", settings))
        } else {
            Err(ConfigError::of(reader.faults))
        }
    }

    pub(super) fn of(path: &str, settings: Vec<(GateName, usize)>) -> Self {
        Self { path: path.to_owned(), settings }
    }
}

/// A table of gates and numbers. A number may be a text, as in an environment; null is no setting.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.settings.len()))?;
        for (gate, value) in &self.settings {
            map.serialize_entry(gate.as_str(), &Whole(*value))?;
        }
        map.end()
    }
}

/// A whole number; as a text where it is above what formats with signed integers hold, TOML among them.
pub(super) struct Whole(pub(super) usize);

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(self.0) {
            Ok(number) => serializer.serialize_i64(number),
            Err(_) => serializer.collect_str(&self.0),
        }
    }
}
