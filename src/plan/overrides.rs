//! Operators' settings: ordered layers, each with its origin and a policy.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use super::name::GateName;

/// Operators' settings in ordered layers: the first layer that sets a gate wins, the others are shadowed.
///
/// Precedence is the order in which you write them, nothing else:
///
/// ```
/// use concurrency_governor::{GateName, Layer, Overrides};
///
/// const IO: GateName = GateName::new("io");
/// let flag = Some(32); // from the command line
/// let file = None; // from a configuration file
///
/// let overrides = Overrides::new()
///     .then(Layer::new("cli").maybe_set(IO, flag))
///     .then(Layer::new("file").maybe_set(IO, file))
///     .then(Layer::env([(IO, "APP_IO")], std::env::var_os)?);
/// # Ok::<(), concurrency_governor::plan::EnvError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Overrides {
    layers: Vec<Layer>,
}

impl Overrides {
    /// No setting at all: every limit is derived.
    pub const fn new() -> Self {
        Self { layers: Vec::new() }
    }

    /// The same with a further layer, which yields to those before it.
    pub fn then(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The layers, the one that wins first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }
}

/// Settings of one origin, such as the command line, a file or the environment.
///
/// A setting is any whole number: 0 becomes 1, and what is above [`Limit::MAX`](crate::Limit::MAX) becomes that, since
/// those are the limits nearest to what was asked; the explanation says so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Layer {
    name: Cow<'static, str>,
    policy: Policy,
    settings: Vec<Setting>,
}

impl Layer {
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
        let mut layer = Self::new("env");
        let mut faults = Vec::new();
        for (gate, variable) in variables {
            let Some(value) = lookup(variable) else { continue };
            match value.to_str().map(str::trim).and_then(|value| value.parse().ok()) {
                Some(value) => layer.insert(gate.into(), value, Some(variable.to_owned())),
                None => faults.push(format!("{variable}={:?}", value.to_string_lossy())),
            }
        }
        if faults.is_empty() { Ok(layer) } else { Err(EnvError { faults }) }
    }

    /// Sets a gate. A second setting of one gate replaces the first.
    pub fn set(mut self, gate: impl Into<GateName>, value: usize) -> Self {
        self.insert(gate.into(), value, None);
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

/// Environment variables whose values are no settings, all of them, with what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a whole number in the environment: {} (allowed: 0 to {})", faults.join(", "), usize::MAX)]
pub struct EnvError {
    faults: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    gate: GateName,
    value: usize,
    key: Option<String>,
}
