//! Operators' settings: ordered layers, each with its origin and a policy.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::str::FromStr;

use super::name::GateName;

/// Operators' settings in ordered layers: the first layer that sets a gate wins, the others are shadowed.
///
/// Precedence is the order in which you write them, nothing else:
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
    /// No setting at all: every limit is derived.
    pub const fn new() -> Self {
        Self { layers: Vec::new() }
    }

    /// The same with a further layer, which yields to those before it.
    pub fn then(mut self, layer: OverrideLayer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The layers, the one that wins first.
    pub fn layers(&self) -> &[OverrideLayer] {
        &self.layers
    }
}

/// Settings of one origin, such as the command line, a file or the environment.
///
/// A setting is any whole number: 0 becomes 1, and what is above [`Limit::MAX`](crate::Limit::MAX) becomes that, since
/// those are the limits nearest to what was asked; the explanation says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct OverrideLayer {
    name: Cow<'static, str>,
    policy: Policy,
    settings: Vec<Setting>,
}

impl OverrideLayer {
    /// A layer that sets nothing yet. The name is what explanations and errors call it.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), policy: Policy::Trust, settings: Vec::new() }
    }

    /// A layer named `env` from environment variables, given which variable sets which gate, and how to look one up:
    /// [`std::env::var_os`], or a map in a test. A variable that is not there sets nothing.
    ///
    /// # Errors
    ///
    /// [`EnvError`] naming every variable whose value is not a whole number, an empty one included.
    pub fn env<'v, G: Into<GateName>>(
        variables: impl IntoIterator<Item = (G, &'v str)>,
        lookup: impl Fn(&'v str) -> Option<OsString>,
    ) -> Result<Self, EnvError> {
        let mut reader = EnvReader::new();
        for (gate, variable) in variables {
            if let Some(value) = lookup(variable) {
                reader.set(gate.into(), variable, &value);
            }
        }
        reader.finish()
    }

    /// A layer named `env` from every environment variable that starts with a prefix, given the gates there are and
    /// the variables of the environment: [`std::env::vars_os`], or a list in a test.
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
    /// The prefix should be of these variables alone, since whatever else starts with it is taken for a mistake.
    ///
    /// # Errors
    ///
    /// [`EnvError`] with everything that is wrong: a value that is not a whole number, a variable with the prefix that
    /// is no gate's, two gates of one variable, a prefix that is empty.
    pub fn env_prefixed<G: Into<GateName>>(
        prefix: &str,
        gates: impl IntoIterator<Item = G>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvError> {
        let mut reader = EnvReader::new();
        if prefix.is_empty() {
            reader
                .faults
                .push("the prefix of the variables is empty (allowed: one such as APP_LIMIT_)".to_owned());
            return reader.finish();
        }
        let mut known: BTreeMap<String, GateName> = BTreeMap::new();
        for gate in gates.into_iter().map(Into::into) {
            let variable = format!("{prefix}{}", gate.as_str().to_ascii_uppercase().replace(['-', '.'], "_"));
            match known.insert(variable.clone(), gate) {
                Some(other) if other != gate => reader.faults.push(format!(
                    "gates `{other}` and `{gate}` are both set by {variable} (allowed: one gate a variable)"
                )),
                _ => {}
            }
        }
        let allowed: Vec<String> = known.keys().cloned().collect();
        let mut given: Vec<_> = variables
            .into_iter()
            .filter(|(variable, _)| variable.as_encoded_bytes().starts_with(prefix.as_bytes()))
            .collect();
        given.sort(); // the order of an environment is nobody's
        for (variable, value) in given {
            match variable.to_str().and_then(|variable| known.get_key_value(variable)) {
                Some((variable, gate)) => reader.set(*gate, variable, &value),
                None => reader.faults.push(format!(
                    "{} in the environment is the variable of no gate (allowed: {})",
                    variable.to_string_lossy().escape_debug(),
                    list(&allowed)
                )),
            }
        }
        reader.finish()
    }

    /// Sets a gate. A second setting of one gate replaces the first.
    pub fn set(mut self, gate: impl Into<GateName>, value: usize) -> Self {
        self.insert(gate.into(), value, None);
        self
    }

    /// As [`set`](Self::set), with where in the layer the setting stands, such as the key of a file or a flag: the
    /// [`Origin`] names it.
    pub fn set_from(mut self, gate: impl Into<GateName>, value: usize, key: impl Into<String>) -> Self {
        self.insert(gate.into(), value, Some(key.into()));
        self
    }

    /// Sets a gate if there is a value, as an optional flag or field has.
    pub fn maybe_set(self, gate: impl Into<GateName>, value: Option<usize>) -> Self {
        match value {
            Some(value) => self.set(gate, value),
            None => self,
        }
    }

    /// What becomes of this layer's values above the derived limit.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// What explanations and errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it sets, in the order of setting.
    #[must_use]
    pub fn settings(&self) -> impl ExactSizeIterator<Item = (GateName, usize)> {
        self.settings.iter().map(|setting| (setting.gate, setting.value))
    }

    /// What becomes of its values above the derived limit.
    #[must_use]
    pub fn override_policy(&self) -> Policy {
        self.policy
    }

    pub(super) fn find(&self, gate: GateName) -> Option<(Origin, usize)> {
        let setting = self.settings.iter().find(|setting| setting.gate == gate)?;
        Some((self.origin_of(setting), setting.value))
    }

    pub(super) fn origins(&self) -> impl Iterator<Item = (GateName, Origin)> {
        self.settings.iter().map(|setting| (setting.gate, self.origin_of(setting)))
    }

    fn insert(&mut self, gate: GateName, value: usize, key: Option<String>) {
        self.settings.retain(|setting| setting.gate != gate);
        self.settings.push(Setting { gate, value, key });
    }

    fn origin_of(&self, setting: &Setting) -> Origin {
        Origin { layer: self.name.clone(), key: setting.key.clone() }
    }
}

/// What becomes of a setting above the derived limit. In the order of strictness, the most lenient first; closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// It holds, and the explanation flags it: the operator knows better.
    #[default]
    Trust,
    /// It is lowered to the derived limit, and the explanation says so.
    Clamp,
    /// The whole resolution is refused.
    Reject,
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(given: &str) -> Result<Self, PolicyError> {
        let policies = [Self::Trust, Self::Clamp, Self::Reject];
        let named = policies.into_iter().find(|policy| policy.as_str() == given);
        named.ok_or_else(|| PolicyError { given: given.to_owned() })
    }
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

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no policy, with what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no policy (allowed: `trust`, `clamp`, `reject`)")]
pub struct PolicyError {
    given: String,
}

/// Where a setting came from: its layer, and the key within it where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    layer: Cow<'static, str>,
    key: Option<String>,
}

impl Origin {
    /// The layer's name.
    #[must_use]
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// The key within the layer, such as the environment variable.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

/// `cli`, or `env APP_IO`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.layer)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " {key}"))
    }
}

/// What is wrong with the environment variables of a layer, all of it, with what was given and what is allowed.
///
/// It prints as one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct EnvError {
    /// Variables whose values are no numbers, with the values.
    numbers: Vec<String>,
    /// Anything else, in words.
    faults: Vec<String>,
}

impl EnvError {
    fn text(&self) -> String {
        let numbers = list(&self.numbers);
        let numbers =
            format!("not a whole number in the environment: {numbers} (allowed: 0 to {})", usize::MAX);
        let numbers = Some(numbers).filter(|_| !self.numbers.is_empty());
        numbers.iter().chain(&self.faults).map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

/// Makes a layer of variables, and keeps what is wrong with them.
struct EnvReader {
    layer: OverrideLayer,
    numbers: Vec<String>,
    faults: Vec<String>,
}

impl EnvReader {
    fn new() -> Self {
        Self { layer: OverrideLayer::new("env"), numbers: Vec::new(), faults: Vec::new() }
    }

    fn set(&mut self, gate: GateName, variable: &str, value: &OsStr) {
        match value.to_str().map(str::trim).and_then(|value| value.parse().ok()) {
            Some(value) => self.layer.insert(gate, value, Some(variable.to_owned())),
            None => self.numbers.push(format!("{variable}={:?}", value.to_string_lossy())),
        }
    }

    fn finish(self) -> Result<OverrideLayer, EnvError> {
        let Self { layer, numbers, faults } = self;
        if numbers.is_empty() && faults.is_empty() { Ok(layer) } else { Err(EnvError { numbers, faults }) }
    }
}

fn list(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    gate: GateName,
    value: usize,
    key: Option<String>,
}
