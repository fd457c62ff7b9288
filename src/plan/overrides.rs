//! The operators' settings: ordered layers, each with a name and a policy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use super::debug_as_display::impl_debug_as_display;
use super::name::GateName;

/// The operators' settings in ordered layers. The first layer that sets a gate wins; settings of the same gate in later
/// layers are shadowed.
///
/// The order in which you add the layers is their precedence:
///
/// ```
/// use concurrency_governor::{GateName, OverrideLayer, Overrides};
///
/// const IO: GateName = GateName::new("io");
/// let flag = Some(32); // from the command line
/// let file = None; // from a configuration file
///
/// let overrides = Overrides::new()
///     .then(OverrideLayer::new("cli").maybe_set(IO, flag))
///     .then(OverrideLayer::new("file").maybe_set(IO, file))
///     .then(OverrideLayer::env([(IO, "APP_IO")], std::env::var_os)?);
/// # Ok::<(), concurrency_governor::plan::EnvError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Overrides {
    layers: Vec<OverrideLayer>,
}

impl Overrides {
    /// Creates an empty list of layers: every limit is derived.
    pub const fn new() -> Self {
        Self { layers: Vec::new() }
    }

    /// Appends a layer. Earlier layers have precedence over it.
    pub fn then(mut self, layer: OverrideLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Returns the layers in order of precedence.
    pub fn layers(&self) -> &[OverrideLayer] {
        &self.layers
    }
}

/// The settings of one origin, such as the command line, a file or the environment.
///
/// A setting is any whole number. 0 becomes 1, and a number above [`Limit::MAX`](crate::Limit::MAX) becomes `Limit::MAX`:
/// each is the nearest limit. The explanation reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct OverrideLayer {
    name: Cow<'static, str>,
    policy: Policy,
    settings: Vec<LayerSetting>,
}

impl OverrideLayer {
    /// Creates a layer without settings. Explanations and errors use `name` for it.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), policy: Policy::Trust, settings: Vec::new() }
    }

    /// Creates a layer named `env` from environment variables.
    ///
    /// `variables` maps each gate to its variable. `lookup` returns the value of a variable: [`std::env::var_os`], or a map
    /// in a test. A variable that is not set adds no setting. An empty value counts as not set, because scripts and
    /// templates pass one on for a variable that they do not have.
    ///
    /// # Errors
    ///
    /// [`EnvError`] with every variable whose value is not a whole number.
    pub fn env<'v, G: Into<GateName>>(
        variables: impl IntoIterator<Item = (G, &'v str)>,
        lookup: impl Fn(&'v str) -> Option<OsString>,
    ) -> Result<Self, EnvError> {
        let mut reader = EnvReader::new();
        for (gate, variable) in variables {
            if let Some(value) = lookup(variable).filter(|value| !is_blank(value)) {
                reader.set(gate.into(), variable, &value);
            }
        }
        reader.finish()
    }

    /// Creates a layer named `env` from every environment variable that starts with `prefix`.
    ///
    /// `gates` are the gates of the plan, `variables` the environment: [`std::env::vars_os`], or a list in a test.
    ///
    /// The variable of a gate is the prefix, then the gate's name in capitals, with `_` for `-` and for `.`:
    ///
    /// ```
    /// use concurrency_governor::{Formula, GateSpec, OverrideLayer, Plan};
    ///
    /// let plan = Plan::new([GateSpec::new("http-client", Formula::fixed(8))])?;
    /// let variables = [("APP_LIMIT_HTTP_CLIENT".into(), "4".into()), ("PATH".into(), "/bin".into())];
    /// let layer = OverrideLayer::env_prefixed("APP_LIMIT_", plan.specs(), variables)?;
    /// assert_eq!(layer.settings().collect::<Vec<_>>(), [("http-client".parse()?, 4)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Use the prefix for these variables only: any other variable that starts with it is an error, since it is probably a
    /// misspelled gate. A variable with an empty value counts as not set, as in [`env`](Self::env).
    ///
    /// # Errors
    ///
    /// [`EnvError`] with every problem: a value that is not a whole number, a variable with the prefix that belongs to no
    /// gate, two gates with the same variable, an empty prefix.
    pub fn env_prefixed<G: Into<GateName>>(
        prefix: &str,
        gates: impl IntoIterator<Item = G>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvError> {
        let mut reader = EnvReader::new();
        if prefix.is_empty() {
            let fault =
                "the prefix of the environment variables is empty (allowed: a prefix such as APP_LIMIT_)";
            reader.faults.push(fault.to_owned());
            return reader.finish();
        }

        // Different gate names can give the same variable, such as `a-b` and `a.b`.
        let mut known: BTreeMap<String, GateName> = BTreeMap::new();
        for gate in gates.into_iter().map(Into::into) {
            let variable = format!("{prefix}{}", gate.as_str().to_ascii_uppercase().replace(['-', '.'], "_"));
            match known.insert(variable.clone(), gate) {
                Some(other) if other != gate => reader.faults.push(format!(
                    "gates `{other}` and `{gate}` are both set by {variable} (allowed: one gate per variable)"
                )),
                _ => {}
            }
        }

        let allowed: Vec<String> = known.keys().cloned().collect();
        let mut given: Vec<_> = variables
            .into_iter()
            .filter(|(variable, _)| variable.as_encoded_bytes().starts_with(prefix.as_bytes()))
            .filter(|(_, value)| !is_blank(value))
            .collect();
        given.sort(); // an environment has no order, the errors need one
        for (variable, value) in given {
            match variable.to_str().and_then(|variable| known.get_key_value(variable)) {
                Some((variable, gate)) => reader.set(*gate, variable, &value),
                None => reader.faults.push(format!(
                    "environment variable {} belongs to no gate (allowed: {})",
                    variable.to_string_lossy().escape_debug(),
                    if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") }
                )),
            }
        }
        reader.finish()
    }

    /// Sets a gate. A second setting of the same gate replaces the first.
    pub fn set(mut self, gate: impl Into<GateName>, value: usize) -> Self {
        self.insert(gate.into(), value, None);
        self
    }

    /// Same as [`set`](Self::set), with the key of the setting within the layer, such as a flag or the key of a file. The
    /// key becomes part of the [`Origin`].
    pub fn set_from(mut self, gate: impl Into<GateName>, value: usize, key: impl Into<String>) -> Self {
        self.insert(gate.into(), value, Some(key.into()));
        self
    }

    /// Sets a gate if `value` is `Some`, for optional flags and fields.
    pub fn maybe_set(self, gate: impl Into<GateName>, value: Option<usize>) -> Self {
        match value {
            Some(value) => self.set(gate, value),
            None => self,
        }
    }

    /// Sets the policy for settings of this layer that are above the derived limit.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Returns the name that explanations and errors use for the layer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the settings, in the order in which they were set.
    #[must_use]
    pub fn settings(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|setting| (setting.gate, setting.value))
    }

    /// Returns the policy for settings that are above the derived limit.
    #[must_use]
    pub fn override_policy(&self) -> Policy {
        self.policy
    }

    /// Returns the setting of a gate with its origin, if there is one.
    pub(super) fn find(&self, gate: GateName) -> Option<(Origin, usize)> {
        let setting = self.settings.iter().find(|setting| setting.gate == gate)?;
        Some((self.origin_of(setting), setting.value))
    }

    /// Returns each gate that the layer sets, with the origin of the setting.
    pub(super) fn origins(&self) -> impl Iterator<Item = (GateName, Origin)> {
        self.settings.iter().map(|setting| (setting.gate, self.origin_of(setting)))
    }

    fn insert(&mut self, gate: GateName, value: usize, key: Option<String>) {
        self.settings.retain(|setting| setting.gate != gate);
        self.settings.push(LayerSetting { gate, value, key });
    }

    fn origin_of(&self, setting: &LayerSetting) -> Origin {
        Origin { layer: self.name.clone(), key: setting.key.clone() }
    }
}

/// The treatment of a setting above the derived limit. Ordered by strictness, the most lenient first. The enum is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// The setting becomes the limit, and the explanation flags it: the operator knows better.
    #[default]
    Trust,
    /// The setting is lowered to the derived limit, and the explanation reports it.
    Clamp,
    /// The whole resolution fails.
    Reject,
}

impl Policy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Clamp => "clamp",
            Self::Reject => "reject",
        }
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(given: &str) -> Result<Self, PolicyError> {
        let policies = [Self::Trust, Self::Clamp, Self::Reject];
        let named = policies.into_iter().find(|policy| policy.as_str() == given);
        named.ok_or_else(|| PolicyError { given: given.to_owned() })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error for a text that is not a policy: the given text, and what is allowed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a policy (allowed: `trust`, `clamp`, `reject`)")]
pub struct PolicyError {
    given: String,
}

/// The origin of a setting: the layer, and the key within the layer if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    layer: Cow<'static, str>,
    key: Option<String>,
}

impl Origin {
    /// Returns the name of the layer.
    #[must_use]
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Returns the key within the layer, such as the environment variable.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// Prints the layer and the key: `cli`, or `env APP_IO`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.layer)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " {key}"))
    }
}

/// The error for the environment variables of a layer: every problem, with what was given and what is allowed.
///
/// It prints as one line.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct EnvError {
    /// The variables whose values are not whole numbers, as `VARIABLE="value"`.
    bad_values: Vec<String>,
    /// Every other problem, as a message.
    faults: Vec<String>,
}

impl_debug_as_display!(EnvError, PolicyError);

impl EnvError {
    fn message(&self) -> String {
        let mut messages = self.faults.clone();
        if !self.bad_values.is_empty() {
            let given = self.bad_values.join(", ");
            let message =
                format!("not a whole number in the environment: {given} (allowed: 0 to {})", usize::MAX);
            messages.insert(0, message);
        }
        messages.join("; ")
    }
}

/// Builds a layer from variables, and collects every problem.
struct EnvReader {
    layer: OverrideLayer,
    bad_values: Vec<String>,
    faults: Vec<String>,
}

impl EnvReader {
    fn new() -> Self {
        Self { layer: OverrideLayer::new("env"), bad_values: Vec::new(), faults: Vec::new() }
    }

    fn set(&mut self, gate: GateName, variable: &str, value: &OsStr) {
        match value.to_str().map(str::trim).and_then(|value| value.parse().ok()) {
            Some(value) => self.layer.insert(gate, value, Some(variable.to_owned())),
            None => self.bad_values.push(format!("{variable}={:?}", value.to_string_lossy())),
        }
    }

    fn finish(self) -> Result<OverrideLayer, EnvError> {
        let Self { layer, bad_values, faults } = self;
        if bad_values.is_empty() && faults.is_empty() {
            Ok(layer)
        } else {
            Err(EnvError { bad_values, faults })
        }
    }
}

/// Returns `true` for the value of a variable that counts as not set.
fn is_blank(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.trim().is_empty())
}

/// One setting of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LayerSetting {
    gate: GateName,
    value: usize,
    key: Option<String>,
}
