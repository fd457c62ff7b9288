//! The operator's settings in a configuration.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::error::ConfigError;
use super::reader::ConfigReader;
use super::value::Value;
use crate::plan::{GateName, GatePath, OverrideLayer};

/// The operator's settings in a configuration: a table of gates and whole numbers. A gate is given by its name, or by its
/// path from the root, such as `io/messages`.
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
    settings: Vec<(GatePath, usize)>,
}

impl Settings {
    /// Creates empty settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a gate. A second setting of the same gate replaces the first.
    pub fn set(mut self, gate: impl Into<GatePath>, value: usize) -> Self {
        let path = gate.into();
        self.settings.retain(|(other, _)| other.gate() != path.gate());
        self.settings.push((path, value));
        self
    }

    /// Sets the key of the table that contains the settings, such as `limits`. Origins contain it.
    pub fn under(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Returns the settings in the order of the file, if the format keeps the order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|(path, value)| (path.gate(), *value))
    }

    /// Converts the settings to an override layer. Name it after its source, such as the file. The origin of each setting
    /// contains its key.
    pub fn layer(&self, name: impl Into<String>) -> OverrideLayer {
        self.settings.iter().fold(OverrideLayer::new(name.into()), |layer, (gate, value)| {
            let dot = if self.path.is_empty() { "" } else { "." };
            layer.set_from(gate.clone(), *value, format!("{}{dot}{gate}", self.path))
        })
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

    pub(super) fn of(path: &str, settings: Vec<(GatePath, usize)>) -> Self {
        Self { path: path.to_owned(), settings }
    }
}

/// Accepts a number as text, as environment variables have it. Null and an empty text count as no setting.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.settings.len()))?;
        for (gate, value) in &self.settings {
            map.serialize_entry(gate, &WholeNumber(*value))?;
        }
        map.end()
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
